//! A vault that does as it is told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, ManualClock, Result, Secret};
use tenantry_secrets::{MemoryVault, SecretAttributes, SecretRecord, SecretVersion, Vault};
use tokio::sync::Semaphore;

/// What the next read does in place of an answer.
pub(crate) enum Trouble {
    Error(Error),
    Panic,
    Silence,
    /// An answer after this time.
    Delay(Duration),
}

#[derive(Debug)]
pub(crate) struct ScriptedVault {
    pub(crate) memory: MemoryVault,
    reads: AtomicUsize,
    troubles: Mutex<VecDeque<Trouble>>,
    /// Whether writes store, and never answer.
    are_writes_held: AtomicBool,
    /// Closed, reads wait.
    gate: Mutex<Option<Arc<Semaphore>>>,
}

impl std::fmt::Debug for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trouble")
    }
}

impl ScriptedVault {
    pub(crate) fn new(clock: ManualClock) -> Self {
        Self {
            memory: MemoryVault::with_clock(Arc::new(clock)),
            reads: AtomicUsize::new(0),
            troubles: Mutex::default(),
            are_writes_held: AtomicBool::new(false),
            gate: Mutex::default(),
        }
    }

    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    /// Fails the next reads, each once.
    pub(crate) fn fail(&self, kinds: impl IntoIterator<Item = ErrorKind>) {
        let errors = kinds
            .into_iter()
            .map(|kind| Trouble::Error(Error::new(kind, "read")));
        self.troubles.lock().extend(errors);
    }

    pub(crate) fn trouble(&self, trouble: Trouble) {
        self.troubles.lock().push_back(trouble);
    }

    pub(crate) fn go_well(&self) {
        self.troubles.lock().clear();
    }

    /// Lets writes store, and not answer.
    pub(crate) fn hold_writes(&self) {
        self.are_writes_held.store(true, Ordering::Relaxed);
    }

    /// Makes reads wait, until the semaphore has a permit.
    pub(crate) fn close(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.gate.lock() = Some(Arc::clone(&gate));
        gate
    }

    pub(crate) async fn store(&self, name: &str, value: &str) -> String {
        let (secret, attributes) = (Secret::new(value), SecretAttributes::default());
        let stored = self.memory.put(name, &secret, &attributes);
        stored.await.unwrap().version.to_string()
    }
}

#[async_trait]
impl Vault for ScriptedVault {
    fn service_name(&self) -> Option<&str> {
        Some("vault-prod-weu")
    }

    async fn read(&self, name: &str, version: Option<&str>) -> Result<SecretRecord> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let trouble = self.troubles.lock().pop_front();
        match trouble {
            Some(Trouble::Error(error)) => return Err(error),
            Some(Trouble::Panic) => panic!("the vault panics"),
            Some(Trouble::Silence) => std::future::pending().await,
            Some(Trouble::Delay(time)) => tokio::time::sleep(time).await,
            None => {}
        }
        let record = self.memory.read(name, version).await;
        let gate = self.gate.lock().clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        record
    }

    async fn put(
        &self,
        name: &str,
        value: &Secret,
        attributes: &SecretAttributes,
    ) -> Result<SecretVersion> {
        let stored = self.memory.put(name, value, attributes).await;
        if self.are_writes_held.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        stored
    }

    async fn set_enabled(&self, name: &str, version: &str, enabled: bool) -> Result<()> {
        self.memory.set_enabled(name, version, enabled).await
    }

    async fn versions(&self, name: &str) -> Result<Vec<SecretVersion>> {
        self.memory.versions(name).await
    }

    async fn newest(&self) -> Result<Vec<(String, SecretVersion)>> {
        self.memory.newest().await
    }
}
