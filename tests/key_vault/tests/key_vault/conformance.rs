//! The backend does what every vault must do.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tenantry_core::{Clock, ManualClock};
use tenantry_secrets::Vault;
use tenantry_secrets::conformance::vault_conformance;
use tenantry_testkit::key_vault::{KeyVaultOptions, KeyVaultServer};

use crate::support::{Result, ServerCredential, backend, noon};

/// Goes on by a second each time it is looked at: a vault tells its versions apart by seconds.
#[derive(Debug)]
struct TickingClock(ManualClock);

impl Clock for TickingClock {
    fn now(&self) -> DateTime<Utc> {
        self.0.advance(Duration::from_secs(1));
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

#[tokio::test]
async fn key_vault_conforms() -> Result {
    let clock = TickingClock(ManualClock::new(noon()));
    let options = KeyVaultOptions::default().with_clock(Arc::new(clock));
    let server = Arc::new(KeyVaultServer::start_with(options).await?);
    let credential = Arc::new(ServerCredential::new(&server));
    let vault: Arc<dyn Vault> = Arc::new(backend(&server, "orders", &credential)?);
    vault_conformance(&*vault).await;
    Ok(())
}
