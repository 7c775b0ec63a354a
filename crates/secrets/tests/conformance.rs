//! The vault in memory does what every vault must do.

use std::sync::Arc;

use tenantry_secrets::conformance::vault_conformance;
use tenantry_secrets::{MemoryVault, Vault};

#[tokio::test]
async fn memory_vault_conforms() {
    vault_conformance(&MemoryVault::new()).await;
}

#[tokio::test]
async fn a_shared_vault_conforms() {
    let vault: Arc<dyn Vault> = Arc::new(MemoryVault::new());
    vault_conformance(&*vault).await;
}
