//! The storage layer of a multi-tenant SaaS product, with the tenant built into every query.
//!
//! A service derives [`Aggregate`](prelude::Aggregate) on a struct, and from then on a repository
//! reaches no row but those of the tenant it was made for, whatever the service writes. The tenant is a value that owns the handle:
//! it is not looked up anywhere, so there is nothing to forget and nothing to reset.
//!
//! ```
//! use tenantry::prelude::*;
//! use tenantry::{Migrations, SqliteSettings, Storage, store};
//! use uuid::Uuid;
//!
//! #[derive(Debug, Clone, Copy, PartialEq, Eq, AggregateId)]
//! pub struct InvoiceId(pub Uuid);
//!
//! #[derive(Debug, Clone, Copy, PartialEq, Eq, ColumnValue)]
//! pub enum InvoiceStatus {
//!     Open,
//!     Paid,
//! }
//!
//! #[derive(Debug, Clone, PartialEq, Aggregate)]
//! #[aggregate(table = "invoices")]
//! pub struct Invoice {
//!     #[aggregate(id)]
//!     pub id: InvoiceId,
//!     pub customer: String,
//!     pub total_cents: i64,
//!     pub status: InvoiceStatus,
//!     #[aggregate(version)]
//!     pub version: Version,
//! } // no tenant_id: rows have it, structs do not
//!
//! const INVOICES: &str = "create table invoices (
//!     tenant_id blob not null,
//!     id blob not null,
//!     customer text not null,
//!     total_cents integer not null,
//!     status text not null,
//!     version integer not null,
//!     primary key (tenant_id, id)
//! ) strict";
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> tenantry::Result<()> {
//! let settings = SqliteSettings::temporary();
//! store::sqlite::migrate(&settings, &Migrations::embedded(&[(1, "invoices", INVOICES)])).await?;
//! let storage = Storage::sqlite(settings).await?;
//!
//! let acme = storage.tenant(TenantId::generate());   // the only way to a repository
//! let invoices = acme.repository::<Invoice>();
//! let mut invoice = Invoice {
//!     id: InvoiceId(Uuid::now_v7()),
//!     customer: "Ada".into(),
//!     total_cents: 12_000,
//!     status: InvoiceStatus::Open,
//!     version: Version::NEW,
//! };
//! invoices.insert(&mut invoice).await?;
//!
//! let work = acme.begin().await?;                    // one transaction
//! invoice.status = InvoiceStatus::Paid;
//! work.repository().update(&mut invoice).await?;     // a stale version answers Conflict
//! work.commit().await?;
//!
//! let page = invoices
//!     .list(Query::new().filter(Invoice::STATUS.eq(InvoiceStatus::Paid)).limit(50))
//!     .await?;
//! assert_eq!(page.items, [invoice.clone()]);
//!
//! let other = storage.tenant(TenantId::generate());
//! let foreign = other.repository::<Invoice>().get(invoice.id).await.unwrap_err();
//! assert_eq!(foreign.kind(), ErrorKind::NotFound);   // as for an id that nobody has
//! # Ok(())
//! # }
//! ```
//!
//! # What is here
//!
//! | part | where |
//! |---|---|
//! | repositories, units of work, filters, pages | `store`, which is `tenantry_store` |
//! | tenants, request context, clock, keys, secret references, storage map | `core`, which is `tenantry_core` |
//! | what a service imports | [`prelude`] |
//! | opening everything from settings, its health, its end | [`Storage`], [`Settings`], [`Health`], [`ShutdownReport`] |
//! | each part of the settings by itself, for who has to tell which of them is wrong | [`Parts`] |
//! | SQL written by hand, with the tenant put into it (feature `guard`) | `store::guard` |
//! | reads across tenants, for operators | `store::PlatformStore` |
//! | the audit of a database: is every table behind the wall | `store::postgres::audit`, `store::sqlite::audit`, and the command `tenantry audit` |
//! | secrets by reference, cached and rotated (feature `secrets`) | `secrets`, which is `tenantry_secrets` |
//! | blobs with retention (feature `blob`) | `blob`, which is `tenantry_blob` |
//! | a cache before repositories, rate limits, sessions (feature `cache`) | `cache`, which is `tenantry_cache` |
//! | events that leave in order, exactly those that were committed (feature `outbox`) | `outbox`, which is `tenantry_outbox` |
//!
//! # Two walls
//!
//! On PostgreSQL every statement carries the tenant in its condition, *and* row-level security
//! compares it with the tenant of the transaction, for a role that can neither own a table nor
//! bypass it. The first wall keeps queries fast, the second catches what the first might miss.
//! SQLite has the first wall alone.
//!
//! What belongs to another tenant does not exist: same error, same text, same statements as for
//! an identifier that nobody has.
//!
//! # Features
//!
//! | feature | brings | default |
//! |---|---|---|
//! | `sqlite` | the embedded backend | yes |
//! | `settings-file` | settings from a file in TOML and the environment | yes |
//! | `postgres` | the PostgreSQL backend | |
//! | `postgres-tls` | encrypted connections to PostgreSQL, by rustls | |
//! | `guard` | hand-written SQL by sqlx, with the tenant put into it | |
//! | `otel` | OpenTelemetry metrics; spans come by `tracing` in any case | |
//! | `otel-links` | spans of messages, linked to the trace in which they were appended | |
//! | `testkit` | for dev-dependencies: a [`Storage`] as the parameter of a test by `tenantry-testkit` | |
//! | `blob` | blobs with retention, in memory, and artifacts | |
//! | `blob-fs` | the same in a folder | |
//! | `blob-lifecycle` | rules by which a storage account archives and deletes, compiled and tried | |
//! | `blob-azure-management` | what is set on a storage account: immutability, legal holds, rules, scopes of encryption | |
//! | `blob-encryption` | each tenant's blobs encrypted by a key of its own | |
//! | `blob-object-store` | the blobs of a tenant as an `ObjectStore` | |
//! | `blob-azure` | the same in Azure Blob Storage | |
//! | `cache` | a cache before repositories, rate limits and sessions, in the process | |
//! | `redis` | the same, shared by several processes | |
//! | `redis-tls` | encrypted connections to it, by rustls | |
//! | `message-pack`, `zstd` | how values are written there | |
//! | `tower` | rate limits as a layer before a service that speaks HTTP | |
//! | `tower-sessions` | sessions for the middleware of that name | |
//! | `outbox` | messages of units of work, the worker that hands them over, the inbox | |
//! | `nats`, `rabbitmq` | brokers to hand them to, and consumers of those | |
//! | `redis-streams` | a stream of a Redis to hand them to | |
//! | `redis-streams-tls` | encrypted connections to it, by rustls | |
//! | `secrets` | secrets by reference, cached and rotated | |
//! | `file-vault` | secrets in one encrypted file | |
//! | `key-vault` | secrets of Azure Key Vault | |

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod settings;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod storage;

#[cfg(feature = "blob")]
pub use tenantry_blob as blob;
#[cfg(feature = "cache")]
pub use tenantry_cache as cache;
pub use tenantry_core as core;
#[cfg(feature = "outbox")]
pub use tenantry_outbox as outbox;
#[cfg(feature = "secrets")]
pub use tenantry_secrets as secrets;
pub use tenantry_store as store;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use settings::Settings;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use storage::{
    DatabaseSettings, Health, PartHealth, Parts, ShutdownReport, Storage, StoragePart, Unfinished,
};
pub use tenantry_core::{RequestContext, TenantId};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use tenantry_store::Migrations;
#[cfg(feature = "sqlite")]
pub use tenantry_store::SqliteSettings;
pub use tenantry_store::{
    AuditReport, Error, ErrorKind, Finding, Fix, Grants, PlatformScope, PlatformStore, Result,
    Severity, TableRights, TenantStore,
};
#[cfg(feature = "postgres")]
pub use tenantry_store::{BootAudit, Pooler, PostgresSettings};

/// What a service imports: `use tenantry::prelude::*`.
pub mod prelude {
    pub use tenantry_core::{Actor, RequestContext, TenantId, TraceParent};
    pub use tenantry_store::{
        Aggregate, AggregateId, Changes, Column, ColumnValue, Cursor, Deleted, Error, ErrorKind,
        Filter, Isolation, Json, Page, Query, Repository, RepositoryExt, Result, RetryPolicy, Sort,
        SqlRepository, TenantScope, UnitOfWork, Version, WorkOptions, async_trait,
    };

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub use crate::Storage;
    #[cfg(feature = "guard")]
    pub use tenantry_store::guard::OrStoreError;
}

/// The pages of the repository, whose examples are compiled and run as tests of this crate.
#[cfg(all(
    doctest,
    feature = "postgres",
    feature = "sqlite",
    feature = "guard",
    feature = "file-vault",
    feature = "key-vault",
    feature = "nats",
    feature = "rabbitmq",
    feature = "redis",
    feature = "tower",
    feature = "blob-fs",
    feature = "blob-azure-management",
    feature = "blob-encryption",
    feature = "blob-object-store",
    feature = "settings-file"
))]
mod pages {
    macro_rules! pages {
        ($($name:ident: $path:literal;)*) => {$(
            #[doc = include_str!($path)]
            mod $name {}
        )*};
    }

    pages! {
        readme: "../../../README.md";
        index: "../../../docs/README.md";
        guide: "../../../docs/guide.md";
        from_sqlx: "../../../docs/from-sqlx.md";
        from_abp: "../../../docs/from-abp.md";
        storage: "../../../docs/storage.md";
        aggregates: "../../../docs/aggregates.md";
        queries: "../../../docs/queries.md";
        sql: "../../../docs/sql.md";
        unit_of_work: "../../../docs/unit-of-work.md";
        requests: "../../../docs/requests.md";
        postgres: "../../../docs/postgres.md";
        audit: "../../../docs/audit.md";
        migrations: "../../../docs/migrations.md";
        sqlite: "../../../docs/sqlite.md";
        errors: "../../../docs/errors.md";
        platform: "../../../docs/platform.md";
        testing: "../../../docs/testing.md";
        telemetry: "../../../docs/telemetry.md";
        cache: "../../../docs/cache.md";
        rate_limits: "../../../docs/rate-limits.md";
        sessions: "../../../docs/sessions.md";
        outbox: "../../../docs/outbox.md";
        brokers: "../../../docs/brokers.md";
        secrets: "../../../docs/secrets.md";
        file_vault: "../../../docs/file-vault.md";
        key_vault: "../../../docs/key-vault.md";
        blobs: "../../../docs/blobs.md";
        lifecycle: "../../../docs/lifecycle.md";
        blob_encryption: "../../../docs/blob-encryption.md";
        object_store: "../../../docs/object-store.md";
    }
}
