//! A backend that can be looked at, halted and broken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tenantry_cache::{Decision, Limit, MemoryLimits, RateLimits};
use tenantry_core::{Error, ErrorKind, ManualClock, Result, TenantId};
use tokio::sync::watch;

#[derive(Debug)]
pub(crate) struct Backend {
    inner: MemoryLimits,
    pub(crate) takes: AtomicUsize,
    fails: AtomicBool,
    is_open: watch::Sender<bool>,
}

impl Backend {
    pub(crate) fn new(clock: &ManualClock) -> Self {
        Self {
            inner: MemoryLimits::with_clock(Arc::new(clock.clone())),
            takes: AtomicUsize::new(0),
            fails: AtomicBool::new(false),
            is_open: watch::Sender::new(true),
        }
    }

    /// Lets calls wait.
    pub(crate) fn close(&self) {
        self.is_open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.is_open.send_replace(true);
    }

    pub(crate) fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    async fn answers(&self) -> Result<()> {
        let _ = self.is_open.subscribe().wait_for(|is_open| *is_open).await;
        match self.fails.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::Unavailable, "count")),
            false => Ok(()),
        }
    }
}

#[async_trait::async_trait]
impl RateLimits for Backend {
    async fn take(&self, tenant: TenantId, limits: &[Limit<'_>], cost: u64) -> Result<Decision> {
        self.takes.fetch_add(1, Ordering::SeqCst);
        self.answers().await?;
        self.inner.take(tenant, limits, cost).await
    }

    async fn peek(&self, tenant: TenantId, limits: &[Limit<'_>]) -> Result<Decision> {
        self.answers().await?;
        self.inner.peek(tenant, limits).await
    }

    async fn refund(&self, tenant: TenantId, limits: &[Limit<'_>], cost: u64) -> Result<()> {
        self.answers().await?;
        self.inner.refund(tenant, limits, cost).await
    }
}
