//! The guard of a store, which reads the catalog where it is used first.

use std::sync::{Arc, OnceLock};

use tenantry_core::{ErrorKind, Result};

use super::{GuardedStatement, SqlGuard};
use crate::backend::{Access, Begin, Session};
use crate::store::{StoreInner, TenantStore};

/// What the catalog itself does not tell.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    /// Functions of the service's own that the guard lets pass, as `schema.name`.
    pub(crate) trusted_functions: Vec<String>,
    /// Tables without tenants, where the database has no way to say so.
    pub(crate) shared_tables: Vec<String>,
}

/// The guard, once the catalog was read.
#[derive(Debug, Default)]
pub(crate) struct LiveGuard {
    declared: Declared,
    guard: OnceLock<Arc<SqlGuard>>,
}

impl LiveGuard {
    pub(crate) const fn new(declared: Declared) -> Self {
        Self {
            declared,
            guard: OnceLock::new(),
        }
    }

    async fn get(&self, session: &mut dyn Session) -> Result<&Arc<SqlGuard>> {
        if let Some(guard) = self.guard.get() {
            return Ok(guard);
        }
        let mark = session.schema_mark().await?;
        let catalog = session.catalog(&self.declared).await?;
        let guard = || Arc::new(SqlGuard::new(catalog, mark));
        Ok(self.guard.get_or_init(guard))
    }
}

impl StoreInner {
    /// Returns a statement with its tenant; reads the catalog in `session` if that is needed.
    pub(crate) async fn guarded(
        &self,
        session: &mut dyn Session,
        sql: &str,
    ) -> Result<Arc<GuardedStatement>> {
        let guard = self.guard.get(session).await?;
        let mark = session.schema_mark().await?;
        let mut known = guard.known();
        if !known.is_of(mark) || guard.is_due(&known) && guard.may_read_again() {
            let catalog = session.catalog(&self.guard.declared).await?;
            known = guard.replace(catalog, mark);
        }
        match known.rewrite(sql) {
            Ok(statement) => Ok(statement),
            Err(stale) if stale.may_be && guard.may_read_again() => {
                let catalog = session.catalog(&self.guard.declared).await?;
                let known = guard.replace(catalog, mark);
                known.rewrite(sql).map_err(|stale| stale.error)
            }
            Err(stale) => Err(stale.error),
        }
    }
}

impl StoreInner {
    /// Takes note of an error of a statement that the guard has let through: what it knows of the
    /// tables may be old.
    pub(crate) fn take_note(&self, error: &sqlx::Error) {
        let is_of_the_schema = matches!(
            super::kind_of(error),
            ErrorKind::UnknownTable | ErrorKind::SchemaMismatch | ErrorKind::PermissionDenied
        );
        if is_of_the_schema && let Some(guard) = self.guard.guard.get() {
            guard.doubt();
        }
    }
}

impl TenantStore {
    /// Returns the guard of this store, to look at what becomes of a statement.
    ///
    /// # Errors
    ///
    /// `Unavailable` and the other kinds of a read of the catalog.
    ///
    /// # Examples
    ///
    /// ```
    #[doc = include_str!("../examples/open.md")]
    /// let guard = store.sql_guard().await?;
    /// let statement = guard.rewrite("select customer from invoices where total_cents > $1")?;
    /// assert_eq!(
    ///     statement.sql(),
    ///     "select customer from invoices where invoices.tenant_id = $2 and (total_cents > $1)"
    /// );
    /// assert!(guard.rewrite("drop table invoices").is_err());
    #[doc = include_str!("../examples/close.md")]
    /// ```
    pub async fn sql_guard(&self) -> Result<Arc<SqlGuard>> {
        let inner = self.inner();
        let mut session = inner
            .backend
            .begin(&Begin {
                operation: "sql_guard",
                tenant: None,
                access: Access::ReadOne,
                isolation: None,
                statement_timeout: inner.statement_timeout(),
            })
            .await?;
        inner.guard.get(&mut *session).await.map(Arc::clone)
    }
}
