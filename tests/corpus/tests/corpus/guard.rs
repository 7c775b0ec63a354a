//! The guard itself, as what is judged.

use tenantry_store::TenantStore;

use super::rewriter::{Refusal, Rewriter, Rewritten};

/// Refuses all: what is left is whether the statements of a corpus run at all.
#[derive(Debug)]
pub(crate) struct Guard;

impl Guard {
    pub(crate) async fn of(_store: &TenantStore) -> Self {
        Self
    }
}

impl Rewriter for Guard {
    fn rewrite(&self, _statement: &str) -> Result<Rewritten, Refusal> {
        Err(Refusal::new("there is no guard".to_owned()))
    }
}
