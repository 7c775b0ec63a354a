//! The guard itself, as what is judged.

use std::sync::Arc;

use tenantry_store::guard::SqlGuard;
use tenantry_store::{ErrorKind, TenantStore};

use super::rewriter::{Refusal, Rewriter, Rewritten};

/// The guard of a store, with the catalog of its database.
#[derive(Debug)]
pub(crate) struct Guard(Arc<SqlGuard>);

impl Guard {
    pub(crate) async fn of(store: &TenantStore) -> Self {
        Self(store.sql_guard().await.unwrap())
    }
}

impl Rewriter for Guard {
    fn rewrite(&self, statement: &str) -> Result<Rewritten, Refusal> {
        match self.0.rewrite(statement) {
            Ok(guarded) => Ok(Rewritten {
                text: guarded.sql().to_owned(),
                binds_tenant: guarded.binds_tenant(),
                arguments: guarded.arguments(),
                writes: guarded.writes(),
            }),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::RefusedStatement, "{error}");
                Err(Refusal::new(error.to_string()))
            }
        }
    }
}
