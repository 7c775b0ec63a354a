//! Repositories and units of work with the tenant built in, on PostgreSQL and SQLite.
//!
//! A struct that derives [`Aggregate`](derive@Aggregate) is stored as one row of a table that many
//! tenants share. It is read and written through a [`Repository`], and the only way to a repository
//! is a [`TenantScope`]: code that has no tenant has no method to call.
//!
//! # What it is not
//!
//! - No object-relational mapper: no relations, no lazy loading, no joins. An aggregate is one row,
//!   and a filter is about its own columns.
//! - No registry of tenants: which tenant a request belongs to, and whether that exists, is for the
//!   service to know.
//! - No ambient context: no task-local or thread-local is read, and there is no default tenant.
//! - No SQL past the tenant: repositories write theirs, and what they cannot say is written by hand
//!   and gets the tenant from the `guard` (a feature), or is refused.
//!
//! # Parts
//!
//! ```text
//! TenantStore ── tenant(id) ──▶ TenantScope ── repository::<A>() ──▶ SqlRepository<A>: Repository<A>
//!                                    │                                        ▲
//!                                    └── begin() ──▶ UnitOfWork ── repository::<A>()
//! ```
//!
//! | part | is |
//! |---|---|
//! | [`TenantStore`] | a database, opened once per process; it can neither read nor write |
//! | [`TenantScope`] | one tenant's view of it, and who asks; cheap to clone |
//! | [`Repository`], [`RepositoryExt`] | what is read and written of one aggregate; object-safe, so that a cache can stand in front |
//! | [`Query`], [`Filter`], [`Page`], [`Cursor`] | which rows, in what order, page by page |
//! | [`Changes`] | what `update_where` does to many rows |
//! | [`UnitOfWork`], [`Savepoint`], [`RetryPolicy`] | one transaction, a place to go back to, and trying again |
//! | [`CommitListener`], [`BeforeCommit`] | hears what was committed; writes into a transaction what belongs to it |
//! | [`Migrations`] | the tables, as numbered SQL |
//! | [`PlatformStore`] | the one named way across tenants |
//! | [`AuditReport`], [`Finding`] | every way round the walls, as data |
//! | [`Grants`], [`TableRights`] | what the role of a service may do, as SQL and to compare with |
//! | [`ColumnValue`], [`Json`], [`Value`] | what a column can hold |
//! | [`postgres`], [`sqlite`] | the backends: bootstrap, check, migrations |
//!
//! # Example
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # mod example {
//! use tenantry_core::TenantId;
//! use tenantry_store::{
//!     Aggregate, AggregateId, ColumnValue, ErrorKind, Migrations, Query, Repository,
//!     RepositoryExt as _, Result, SqliteSettings, TenantStore, Version, sqlite,
//! };
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
//! }
//!
//! const INVOICES: &str = "create table invoices (
//!     tenant_id blob not null, id blob not null, customer text not null,
//!     total_cents integer not null, status text not null, version integer not null,
//!     primary key (tenant_id, id)
//! ) strict";
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # pub async fn main() -> Result<()> {
//! let settings = SqliteSettings::temporary();
//! sqlite::migrate(&settings, &Migrations::embedded(&[(1, "invoices", INVOICES)])).await?;
//! let store = TenantStore::sqlite(settings).await?;
//!
//! // A tenant's repository: each call is a transaction of its own.
//! let acme = store.tenant(TenantId::generate());
//! let invoices = acme.repository::<Invoice>();
//! let mut invoice = Invoice {
//!     id: InvoiceId(Uuid::now_v7()),
//!     customer: "Ada".to_owned(),
//!     total_cents: 12_000,
//!     status: InvoiceStatus::Open,
//!     version: Version::NEW,
//! };
//! invoices.insert(&mut invoice).await?;
//! let stale = invoice.clone();
//!
//! // A unit of work: all of it, or nothing.
//! let work = acme.begin().await?;
//! invoice.status = InvoiceStatus::Paid;
//! work.repository().update(&mut invoice).await?;
//! work.commit().await?;
//!
//! // Who read before that cannot write over it.
//! let conflict = invoices.update(&mut stale.clone()).await.unwrap_err();
//! assert_eq!(conflict.kind(), ErrorKind::Conflict);
//!
//! // A page of what is paid.
//! let paid = Query::new()
//!     .filter(Invoice::STATUS.eq(InvoiceStatus::Paid))
//!     .sort(Invoice::TOTAL_CENTS.desc())
//!     .limit(50);
//! assert_eq!(invoices.list(paid).await?.items, [invoice.clone()]);
//!
//! // To another tenant all this does not exist.
//! let other = store.tenant(TenantId::generate()).repository::<Invoice>();
//! let foreign = other.get(invoice.id).await.unwrap_err();
//! assert_eq!(foreign.kind(), ErrorKind::NotFound);
//! # Ok(())
//! # }
//! # }
//! # #[cfg(feature = "sqlite")]
//! # example::main().unwrap();
//! ```
//!
//! # Isolation
//!
//! The tenant is a value that the handle owns. Every statement of a repository carries it as its
//! first argument and has it in its condition, writes and bulk writes included; the identifier of a
//! row is unique within its tenant, and two tenants may use the same one.
//!
//! What belongs to another tenant does not exist. Reading, changing or removing it answers as for an
//! identifier that nobody has: the same kind, the same text, the same statements.
//!
//! # Two walls
//!
//! | | PostgreSQL | SQLite |
//! |---|---|---|
//! | one: the tenant in every statement | yes | yes |
//! | two: row-level security for the tenant of the transaction | yes | |
//!
//! On PostgreSQL the message that begins a transaction names its tenant, or the statement itself if
//! it is one by itself, and the tenant is gone with the transaction, behind a pooler as well. The role can neither own a table nor bypass row-level
//! security; [`TenantStore::postgres`] checks this, and that every table within reach is protected,
//! before it hands anything out. [`postgres::Bootstrap`] prepares a database once,
//! `tenantry.protect` each table in its migration.
//!
//! # Cancel safety
//!
//! Any future here may be dropped. Outside a unit of work a dropped call is rolled back, unless its
//! commit had begun, which goes on to its end in the background. Inside, a dropped read does no harm, and a dropped write ends the unit of
//! work: the next call and the commit answer `WorkAborted`. No connection goes back to its pool
//! inside a transaction, or with a tenant set.
//!
//! # Errors
//!
//! There is one [`Error`], and its [`kind`](Error::kind) is what to branch on;
//! [`is_retryable`](Error::is_retryable) tells whether the same work can succeed unchanged. A write
//! that fails has changed nothing, except that after [`CommitUnknown`](ErrorKind::CommitUnknown) all
//! of it is stored or none. Messages name the operation and the identifier, and hold no stored
//! value and no secret.
//!
//! # Features
//!
//! | feature | brings |
//! |---|---|
//! | `sqlite` | the embedded backend |
//! | `postgres` | the PostgreSQL backend |
//! | `postgres-tls` | encrypted connections to it, by rustls |
//! | `guard` | hand-written SQL by sqlx, with the tenant put into it ([`guard`]) |
//! | `own-tables` | tables that another crate of Tenantry keeps; for those crates, unstable |
//! | `otel` | an OpenTelemetry histogram; spans come by `tracing` in any case |
//! | `conformance` | the contract of [`Repository`] as a suite of tests, for wrappers; unstable |
//!
//! None is on by default. Most services use the facade `tenantry`, which hands all of this out.

// Without a backend there are traits and macros to compile against, and nobody to call the rest.
#![cfg_attr(not(any(feature = "postgres", feature = "sqlite")), allow(dead_code))]

// The derive macros name this crate by its path, also from inside it.
#[allow(unused_extern_crates, reason = "used by what the macros write")]
extern crate self as tenantry_store;

/// What generated code names, wherever the crate keeps it; not for others.
#[doc(hidden)]
pub mod __private {
    pub use crate::aggregate::{
        Aggregate, AggregateDescriptor, AggregateId, ColumnDescriptor, Version, VersionField,
    };
    pub use crate::query::Column;
    pub use crate::value::{ColumnType, ColumnValue, Json, Row, ValueError, ValueSink, json_write};
}

mod aggregate;
mod audit;
mod backend;
#[cfg(feature = "conformance")]
#[allow(
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    clippy::nonminimal_bool,
    clippy::unwrap_used,
    reason = "a suite of tests, which shows each condition as it is meant"
)]
pub mod conformance;
mod grants;
#[cfg(feature = "guard")]
#[cfg_attr(
    not(all(feature = "postgres", feature = "sqlite")),
    allow(dead_code, unused_imports, reason = "each database uses a part of it")
)]
pub mod guard;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod migrations;
#[cfg(feature = "own-tables")]
pub mod own;
mod platform;
mod query;
mod repository;
mod scope;
mod statement;
mod store;
mod telemetry;
mod value;
mod work;

#[doc(no_inline)]
pub use async_trait::async_trait;
#[doc(no_inline)]
pub use tenantry_core::{Error, ErrorKind, Result};
pub use tenantry_store_macros::{Aggregate, AggregateId, ColumnValue};

pub use aggregate::{Aggregate, AggregateDescriptor, AggregateId, ColumnDescriptor, Version};
pub use audit::{AuditReport, Finding, Fix, Severity};
#[cfg(feature = "postgres")]
pub use backend::postgres::{self, BootAudit, Pooler, PostgresSettings};
#[cfg(feature = "sqlite")]
pub use backend::sqlite::{self, SqliteSettings};
pub use grants::{Columns, Grants, TableRights};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use migrations::Migrations;
pub use platform::{PlatformScope, PlatformStore};
pub use query::{Changes, Column, Cursor, Deleted, Direction, Filter, Page, Query, Sort};
pub use repository::{Repository, RepositoryExt, SqlRepository};
pub use scope::TenantScope;
pub use store::{StoreId, TenantStore};
pub use value::{ColumnType, ColumnValue, Json, OwnedRow, Row, Value, ValueError, ValueSink};
pub use work::{
    BeforeCommit, ChangeKind, ChangedRow, CommitListener, CommitOutcome, CommittedChanges,
    Isolation, RetryPolicy, Retryable, Savepoint, UnitOfWork, WorkOptions,
};
