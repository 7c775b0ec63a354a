//! Hand-written SQL, made safe: the tenant is put into each statement, or the statement is refused.
//!
//! A service writes plain `sqlx::query*` and runs it on [`UnitOfWork::sqlx_postgres`] or
//! [`TenantScope::sqlx_postgres`] (`sqlx_sqlite` likewise). Each table that belongs to tenants gets
//! `tenant_id = $n`, wherever it stands, new rows are stamped, and the tenant is bound as the last
//! argument. What is not proven to be safe is refused with [`ErrorKind::RefusedStatement`], which
//! names the construct and what to write instead. What has to see all tenants goes through
//! [`PlatformScope::sqlx_postgres`], unguarded.
//!
//! # Examples
//!
//! ```
#![doc = include_str!("../examples/open.md")]
//! use tenantry_store::guard::OrStoreError as _;
//!
//! tenant.repository().insert(&mut invoice("Ada", 12_000)).await?;
//! let owed: Vec<(String, i64)> = sqlx::query_as(
//!     "select customer, sum(total_cents) from invoices where total_cents > $1 group by customer",
//! )
//! .bind(0)
//! .fetch_all(tenant.sqlx_sqlite()?)
//! .await
//! .or_store_error()?;
//! assert_eq!(owed, [("Ada".to_owned(), 12_000)]);
#![doc = include_str!("../examples/close.md")]
//! ```
//!
//! What becomes of each construct, and what is refused, stands in `docs/sql.md`.
//!
//! [`UnitOfWork::sqlx_postgres`]: crate::UnitOfWork::sqlx_postgres
//! [`TenantScope::sqlx_postgres`]: crate::TenantScope::sqlx_postgres
//! [`PlatformScope::sqlx_postgres`]: crate::PlatformScope::sqlx_postgres
//! [`ErrorKind::RefusedStatement`]: crate::ErrorKind::RefusedStatement

mod catalog;
mod error;
mod executor;
mod live;
mod refusal;
mod rewrite;
mod source;
#[cfg(any(test, feature = "conformance"))]
mod specimen;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tenantry_core::{Error, ErrorKind, Result};

pub use error::{OrStoreError, store_error};
pub use executor::{GuardedDatabase, GuardedExecutor, UnguardedExecutor};

pub(crate) use catalog::{Catalog, Closed, Keys, Ownership};
pub(crate) use error::kind_of;
pub(crate) use executor::{into_driver_error, sealed};
pub(crate) use live::{Declared, LiveGuard};
#[cfg(feature = "sqlite")]
pub(crate) use source::view_query;

/// Puts the tenant into statements, by the catalog of one database.
///
/// It keeps what it has rewritten, up to [`SqlGuard::MOST_BYTES`] in all; the least used goes
/// first. Made by [`TenantStore::sql_guard`](crate::TenantStore::sql_guard) to look at what becomes
/// of a statement; to run one, no guard has to be asked for.
pub struct SqlGuard {
    known: RwLock<Arc<Known>>,
    /// When the catalog was read again.
    read_again: Mutex<Option<Instant>>,
    /// Whether the database has answered as if the catalog were another.
    is_doubted: AtomicBool,
}

/// What is known of one reading of the catalog.
pub(crate) struct Known {
    since: Instant,
    /// Of the schema that was read.
    mark: Option<i64>,
    catalog: Catalog,
    statements: Cache<Box<str>, Arc<GuardedStatement>, Bytes>,
}

/// A statement with the tenant in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardedStatement {
    sql: Arc<str>,
    arguments: usize,
    binds_tenant: bool,
    written: Vec<Arc<str>>,
}

impl GuardedStatement {
    /// Returns the text that the database gets.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Returns how many arguments the caller binds; the tenant, if it is bound, comes after them.
    #[must_use]
    pub const fn arguments(&self) -> usize {
        self.arguments
    }

    /// Returns whether the tenant is an argument: a statement without any table of tenants has
    /// none.
    #[must_use]
    pub const fn binds_tenant(&self) -> bool {
        self.binds_tenant
    }

    /// Returns whether the statement changes rows.
    #[must_use]
    pub const fn writes(&self) -> bool {
        !self.written.is_empty()
    }

    /// Returns the tables whose rows the statement changes.
    pub fn written(&self) -> impl Iterator<Item = &str> {
        self.written.iter().map(|table| &**table)
    }

    pub(crate) const fn text(&self) -> &Arc<str> {
        &self.sql
    }

    pub(crate) fn written_tables(&self) -> &[Arc<str>] {
        &self.written
    }
}

impl SqlGuard {
    /// The most memory that the statements it keeps may take, in bytes: 8 MiB.
    pub const MOST_BYTES: u64 = 8 << 20;

    pub(crate) fn new(catalog: Catalog, mark: Option<i64>) -> Self {
        Self {
            known: RwLock::new(Arc::new(Known::new(catalog, mark))),
            read_again: Mutex::new(None),
            is_doubted: AtomicBool::new(false),
        }
    }

    /// Returns the statement with the tenant in it.
    ///
    /// A statement that was seen before is looked up, in less than a microsecond.
    ///
    /// # Errors
    ///
    /// `RefusedStatement` names what is not proven to be safe, and what to write instead.
    pub fn rewrite(&self, sql: &str) -> Result<Arc<GuardedStatement>> {
        self.known().rewrite(sql).map_err(|stale| stale.error)
    }

    /// Returns what is known now. Who has checked it goes on with it, for another may be put into
    /// its place at any time.
    pub(crate) fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read())
    }

    /// Returns whether the catalog may be read again: not more than once a second, for whoever can
    /// choose names could keep the database busy.
    pub(crate) fn may_read_again(&self) -> bool {
        let mut last = self.read_again.lock();
        let may = last.is_none_or(|last| last.elapsed() >= SHORTEST_AGE);
        if may {
            *last = Some(Instant::now());
        }
        may
    }

    /// Says that the database answers as if the catalog were another.
    pub(crate) fn doubt(&self) {
        self.is_doubted.store(true, Ordering::Relaxed);
    }

    /// Returns whether the catalog may well be another by now.
    pub(crate) fn is_due(&self, known: &Known) -> bool {
        self.is_doubted.load(Ordering::Relaxed) || known.since.elapsed() >= LONGEST_AGE
    }

    /// Takes a newer catalog, and forgets what was rewritten by the old one; returns what is known
    /// now, which is another's where the session that was asked still sees an older state.
    pub(crate) fn replace(&self, catalog: Catalog, mark: Option<i64>) -> Arc<Known> {
        let mut known = self.known.write();
        if known.catalog.as_of <= catalog.as_of {
            *known = Arc::new(Known::new(catalog, mark));
            self.is_doubted.store(false, Ordering::Relaxed);
        }
        Arc::clone(&known)
    }
}

impl fmt::Debug for SqlGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlGuard")
            .field("statements", &self.known.read().statements.len())
            .finish_non_exhaustive()
    }
}

impl Known {
    fn new(catalog: Catalog, mark: Option<i64>) -> Self {
        Self {
            since: Instant::now(),
            mark,
            catalog,
            statements: Cache::with_weighter(EXPECTED, SqlGuard::MOST_BYTES, Bytes),
        }
    }

    /// Returns whether this is the schema with that mark. Where the guard is the only wall, the mark
    /// tells of every change at once.
    pub(crate) fn is_of(&self, mark: Option<i64>) -> bool {
        self.mark == mark
    }

    /// Returns the statement with the tenant in it, or else whether a newer catalog might help.
    pub(crate) fn rewrite(&self, sql: &str) -> Result<Arc<GuardedStatement>, Stale> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement);
        }
        let rewritten = rewrite::rewrite(&self.catalog, sql).map_err(|refusal| Stale {
            may_be: refusal.unknown_name,
            error: refusal.into_error(),
        })?;
        let statement = Arc::new(GuardedStatement {
            sql: rewritten.text.into(),
            arguments: rewritten.arguments,
            binds_tenant: rewritten.binds_tenant,
            written: rewritten.written,
        });
        self.statements.insert(sql.into(), Arc::clone(&statement));
        Ok(statement)
    }
}

/// Refuses the executor of a database that the store is not.
pub(crate) fn another_database(
    operation: &'static str,
    database: &'static str,
    instead: &'static str,
) -> Error {
    Error::new(ErrorKind::Unsupported, operation)
        .with_detail(format!("the store is {database}: use {instead}"))
}

/// Answers a session of another database, which the checks before do not let come to pass.
pub(crate) fn no_session<'s, DB: sqlx::Database>() -> sealed::Rows<'s, DB> {
    let error = into_driver_error(Error::new(ErrorKind::Unsupported, "sqlx"));
    Box::pin(futures_util::stream::once(async { Err(error) }))
}

/// A refusal, and whether it may come from an old catalog.
pub(crate) struct Stale {
    pub(crate) may_be: bool,
    pub(crate) error: tenantry_core::Error,
}

/// Reckons with what a statement takes in memory.
#[derive(Clone)]
struct Bytes;

impl Weighter<Box<str>, Arc<GuardedStatement>> for Bytes {
    fn weight(&self, sql: &Box<str>, statement: &Arc<GuardedStatement>) -> u64 {
        let bytes = sql.len() + statement.sql.len() + 16 * statement.written.len() + OVERHEAD;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// What a statement takes beside its two texts: the entry, the two counts, the allocator's share.
const OVERHEAD: usize = 256;

/// How many statements a service has, for the first size of the table.
const EXPECTED: usize = 1_000;

/// How old the catalog is at least when it is read again.
const SHORTEST_AGE: Duration = Duration::from_secs(1);

/// How old it may become: a migration may change what a view is, and no error tells.
const LONGEST_AGE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
