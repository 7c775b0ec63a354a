//! Repositories and units of work with the tenant built in, on PostgreSQL and SQLite.

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
mod error;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod migrations;
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
pub use tenantry_store_macros::{Aggregate, AggregateId, ColumnValue};

pub use aggregate::{Aggregate, AggregateDescriptor, AggregateId, ColumnDescriptor, Version};
#[cfg(feature = "postgres")]
pub use backend::postgres::{self, Pooler, PostgresSettings};
#[cfg(feature = "sqlite")]
pub use backend::sqlite::{self, SqliteSettings};
pub use error::{Error, ErrorKind, Result};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use migrations::Migrations;
pub use platform::{PlatformScope, PlatformStore};
pub use query::{Changes, Column, Cursor, Deleted, Direction, Filter, Page, Query, Sort};
pub use repository::{Repository, RepositoryExt, SqlRepository};
pub use scope::TenantScope;
pub use store::TenantStore;
pub use value::{ColumnType, ColumnValue, Json, Row, Value, ValueError, ValueSink};
pub use work::{
    ChangeKind, ChangedRow, CommitListener, CommitOutcome, CommittedChanges, Isolation,
    RetryPolicy, Retryable, Savepoint, UnitOfWork, WorkOptions,
};
