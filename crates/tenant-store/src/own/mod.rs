//! Tables that another crate of Tenantry keeps beside those of the service.
//!
//! A repository has one row for an aggregate, and answers what stands in its columns. What an outbox asks
//! for is of another kind: numbers that the database draws, snapshots, leases. The crate that keeps such a
//! table writes the statements; connection, transaction, tenant, errors and spans are the store's. So that
//! crate knows no driver, and there is one place that knows passwords, poolers and silent networks.
//!
//! For services there is nothing here: hand-written SQL of theirs goes through the guard.

mod deferred;
mod platform;
mod rider;

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use tenantry_core::Result;

pub(crate) use deferred::Deferred;
pub use platform::OwnWork;
pub(crate) use rider::JoinedTexts;
pub use rider::Rider;

use crate::aggregate::AggregateDescriptor;
use crate::backend::{ArgumentSink, Dialect, Statement};
use crate::store::{StoreInner, TenantStore};
use crate::value::{ColumnType, ValueError, ValueSink};
use crate::work::UnitOfWork;

/// What other crates keep with a store, by its type.
pub(crate) type Kept = RwLock<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>;

/// The kinds of databases, for which statements are written differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// PostgreSQL: arguments are `$1`, and may be arrays.
    Postgres,
    /// SQLite: arguments are `?1`.
    Sqlite,
}

impl From<Dialect> for Engine {
    fn from(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Postgres => Self::Postgres,
            Dialect::Sqlite => Self::Sqlite,
        }
    }
}

/// A table of another crate, by its name: a `static` of it.
#[derive(Debug)]
pub struct OwnTable(AggregateDescriptor);

impl OwnTable {
    /// Returns the table of that name, which is on the search path.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self(AggregateDescriptor::new(name, &[], 0, None))
    }

    /// Returns the name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.0.table()
    }

    const fn descriptor(&'static self) -> &'static AggregateDescriptor {
        &self.0
    }
}

/// A statement over an [`OwnTable`].
///
/// In a unit of work the tenant is its first argument, before those that `bind` writes: the text has it in
/// each row that it writes and in each condition. Row-level security stands behind, as everywhere.
pub struct OwnStatement<'a> {
    /// What errors and spans call it.
    pub operation: &'static str,
    /// The table that errors and spans name.
    pub table: &'static OwnTable,
    /// The text; it is prepared once for each connection.
    pub sql: &'a Arc<str>,
    /// Writes the arguments.
    pub bind: &'a BindOwn<'a>,
}

/// Writes the arguments of a statement, in the order of their numbers; it may be called again.
pub type BindOwn<'a> = dyn Fn(&mut Arguments<'_>) -> Result<(), ValueError> + Send + Sync + 'a;

impl fmt::Debug for OwnStatement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnStatement")
            .field("operation", &self.operation)
            .field("table", &self.table.name())
            .finish_non_exhaustive()
    }
}

/// Where the arguments of an [`OwnStatement`] are written to.
pub struct Arguments<'s> {
    sink: &'s mut dyn ArgumentSink,
}

impl Arguments<'_> {
    /// Returns where the next argument is written to, by one call.
    pub fn value(&mut self) -> &mut dyn ValueSink {
        &mut *self.sink
    }

    /// Writes one argument that is an array, where the database has arrays.
    ///
    /// # Errors
    ///
    /// What an element cannot be stored as.
    pub fn array(
        &mut self,
        column_type: ColumnType,
        length: usize,
        element: &dyn Fn(usize, &mut dyn ValueSink) -> Result<(), ValueError>,
    ) -> Result<(), ValueError> {
        self.sink.array(column_type, length, element)
    }
}

impl fmt::Debug for Arguments<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Arguments")
    }
}

impl TenantStore {
    /// Returns which kind of database this is.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.inner().backend.dialect().into()
    }

    /// Returns what another crate keeps with a store and its clones, made where it is asked for the first time.
    pub fn keep<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let key = TypeId::of::<T>();
        let mut kept = self.inner().kept.write();
        let there = kept.get(&key).cloned();
        if let Some(there) = there.and_then(|it| it.downcast().ok()) {
            return there;
        }
        let made = Arc::new(make());
        kept.insert(key, Arc::clone(&made) as Arc<dyn Any + Send + Sync>);
        made
    }

    /// Returns whether a unit of work is one of this store, or of a clone of it.
    #[must_use]
    pub fn is_store_of_work(&self, work: &UnitOfWork) -> bool {
        self.is_store_of(work.scope())
    }

    /// Writes a text for this database: `{schema}` becomes the schema of the tables, with its dot.
    #[must_use]
    pub fn own_sql(&self, text: &str) -> Arc<str> {
        self.inner().own_sql(text)
    }
}

impl StoreInner {
    fn own_sql(&self, text: &str) -> Arc<str> {
        let schema = self.schema().map(|schema| {
            let name = crate::statement::quote(self.backend.dialect(), schema);
            format!("{name}.")
        });
        text.replace("{schema}", &schema.unwrap_or_default()).into()
    }
}

impl UnitOfWork {
    /// Runs a statement of another crate in this transaction, and returns how many rows it wrote.
    ///
    /// Who listens for commits hears that the table was written to.
    ///
    /// # Errors
    ///
    /// Those of a repository that writes.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it runs, it ends the unit of work, as any write does.
    pub async fn execute_own(&self, statement: &OwnStatement<'_>) -> Result<u64> {
        let (operation, table) = (statement.operation, statement.table);
        let tenant = self.tenant();
        let running = async {
            let mut guard = self.lock(operation).await?;
            let bind = |sink: &mut dyn ArgumentSink| {
                sink.uuid(tenant.as_uuid())?;
                (statement.bind)(&mut Arguments { sink })
            };
            let statement = Statement {
                operation,
                descriptor: table.descriptor(),
                key: None,
                sql: statement.sql,
                entering: None,
                bind: &bind,
            };
            guard.start_writing();
            let written = guard.session().execute(&statement).await;
            // What a statement that was answered by an error has done is known: nothing.
            match written {
                Ok(written) => {
                    guard.finish_tables(&[table.name().into()]);
                    Ok(written)
                }
                Err(error) => {
                    guard.end_writing();
                    Err(error)
                }
            }
        };
        let telemetry = &self.scope().store().telemetry;
        telemetry
            .observe(operation, table.name(), Some(tenant), running)
            .await
    }
}
