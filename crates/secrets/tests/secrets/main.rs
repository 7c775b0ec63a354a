//! Secrets before a vault that is slow, down, throttled or changed.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod cache;
mod canary;
mod places;
mod races;
mod rotation;
mod vault;
mod watch;

use std::sync::Arc;

use chrono::DateTime;
use tenantry_core::{ManualClock, SecretReference, SecretWatch};
use tenantry_secrets::{CachePolicy, Secrets};
use vault::ScriptedVault;

/// A vault, a clock, and what resolves by them.
struct Fixture {
    vault: Arc<ScriptedVault>,
    clock: ManualClock,
    secrets: Secrets,
}

impl Fixture {
    fn new() -> Self {
        Self::with(CachePolicy::default().with_jitter(0.0))
    }

    fn with(policy: CachePolicy) -> Self {
        let clock = ManualClock::new(DateTime::from_timestamp(1_800_000_000, 0).unwrap());
        let vault = Arc::new(ScriptedVault::new(clock.clone()));
        let secrets = Secrets::builder()
            .with_vault("vault", Arc::clone(&vault) as Arc<_>)
            .unwrap()
            .with_policy(policy)
            .with_clock(Arc::new(clock.clone()))
            .build()
            .unwrap();
        Self {
            vault,
            clock,
            secrets,
        }
    }

    async fn watch(&self, text: &str) -> Arc<dyn SecretWatch> {
        use tenantry_core::SecretSource as _;

        self.secrets.watch(&reference(text)).await.unwrap()
    }

    async fn text(&self, text: &str) -> tenantry_core::Result<String> {
        use tenantry_core::SecretResolver as _;

        let secret = self.secrets.resolve(&reference(text)).await?;
        Ok(secret.expose().to_owned())
    }
}

fn reference(text: &str) -> SecretReference {
    text.parse().unwrap()
}

/// A runtime that a test can end.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

/// Lets tasks that can go on do so.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
