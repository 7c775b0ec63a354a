//! Rate limits: the handle of a service, and what a backend does.

mod decision;
mod headers;
#[cfg(feature = "tower")]
mod layer;
mod lease;
mod rule;
pub(crate) mod usage;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tenantry_core::{Error, ErrorKind, Result, TenantId, TenantLabel};

pub use self::decision::{Decision, Standing};
#[cfg(feature = "tower")]
pub use self::layer::{Charge, RateLimitLayer, RateLimited, Refusal, Refuse, StatusAlone};
pub use self::lease::{LeasePolicy, LeasedLimits};
pub use self::rule::{Limit, OnFailure, Rule};
use crate::MemoryLimits;
use crate::telemetry::Decisions;

const TAKE: &str = "take from rate limits";
const PEEK: &str = "look at rate limits";
const REFUND: &str = "refund to rate limits";

/// How many limits one request can be under.
const STACKED: usize = 4;

/// Keeps count of what tenants do.
///
/// # Contract
///
/// An implementer
///
/// - checks all limits of a call before it charges any, in one step that no other call sees half of;
/// - admits no more than the limit within any span of time as long as the window, and for limits up
///   to 1,000 no less; above, it may count what is older than the window by a sixtieth of it. What admits
///   more or less than that says by how much, as [`LeasedLimits`] does;
/// - goes by the limit that a call brings, which may differ from that of the last; the window under a name
///   is one;
/// - keeps the counts of tenants apart, whatever rules and subjects are called.
#[async_trait]
pub trait RateLimits: Send + Sync + std::fmt::Debug {
    /// Charges a cost to each of the limits if it passes all of them, and to none if it does not.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) and the like where nothing could be counted.
    async fn take(&self, tenant: TenantId, limits: &[Limit<'_>], cost: u64) -> Result<Decision>;

    /// Says what [`take`](Self::take) of one would do, and charges nothing.
    ///
    /// # Errors
    ///
    /// As `take`.
    async fn peek(&self, tenant: TenantId, limits: &[Limit<'_>]) -> Result<Decision>;

    /// Takes back what is counted longest, as far as it still is.
    ///
    /// # Errors
    ///
    /// As `take`.
    async fn refund(&self, tenant: TenantId, limits: &[Limit<'_>], cost: u64) -> Result<()>;
}

/// Limits what tenants do; cheap to clone.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use tenantry_cache::{MemoryLimits, RateLimiter, Rule};
/// use tenantry_core::TenantId;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tenantry_core::Result<()> {
/// let limiter = RateLimiter::new(Arc::new(MemoryLimits::new()));
/// let of_tenant = Rule::new("tenant", 1_000, Duration::from_secs(60))?;
/// let of_route = Rule::new("route", 2, Duration::from_secs(1))?;
///
/// let tenant = limiter.tenant(TenantId::generate());
/// let limits = [of_tenant.limit(""), of_route.limit("POST /invoices")];
/// assert!(tenant.take(&limits, 1).await?.is_admitted());
/// assert!(tenant.take(&limits, 1).await?.is_admitted());
/// let third = tenant.take(&limits, 1).await?;
/// assert!(!third.is_admitted());
/// assert!(third.retry_after() <= Some(Duration::from_secs(1)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RateLimiter {
    limits: Arc<dyn RateLimits>,
    /// Counts the shares of this process where the other cannot count.
    shares: Arc<MemoryLimits>,
    decisions: Decisions,
    interruption: Arc<Interruption>,
}

/// Limits what one tenant does.
#[derive(Debug, Clone)]
pub struct TenantLimiter {
    limits: Arc<dyn RateLimits>,
    shares: Arc<MemoryLimits>,
    decisions: Decisions,
    interruption: Arc<Interruption>,
    tenant: TenantId,
}

/// Whether nothing can be counted at the moment, of which is told once.
#[derive(Debug, Default)]
struct Interruption(AtomicBool);

impl Interruption {
    fn counted(&self) {
        // Nobody writes what all of them read.
        if self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed) {
            tracing::info!(target: "tenantry::limits", "rate limits are counted again");
        }
    }

    fn failed(&self, error: &Error) {
        if !self.0.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "tenantry::limits",
                %error,
                "rate limits cannot be counted: until they can, each rule decides by itself"
            );
        }
    }
}

impl RateLimiter {
    /// Counts by this backend.
    #[must_use]
    pub fn new(limits: Arc<dyn RateLimits>) -> Self {
        Self {
            limits,
            shares: Arc::default(),
            decisions: Decisions::new(TenantLabel::none()),
            interruption: Arc::default(),
        }
    }

    /// Sets which tenants the metric of decisions counts by name: none by default, and all together.
    #[must_use]
    pub fn with_tenant_label(mut self, label: TenantLabel) -> Self {
        self.decisions = Decisions::new(label);
        self
    }

    /// Returns the handle of one tenant.
    #[must_use]
    pub fn tenant(&self, tenant: TenantId) -> TenantLimiter {
        TenantLimiter {
            limits: Arc::clone(&self.limits),
            shares: Arc::clone(&self.shares),
            decisions: self.decisions.clone(),
            interruption: Arc::clone(&self.interruption),
            tenant,
        }
    }
}

impl TenantLimiter {
    /// Returns the tenant.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Charges a cost to each of up to four limits if it passes all of them, and to none if it does
    /// not.
    ///
    /// What is not admitted is not counted. Where nothing can be counted, the [`OnFailure`] of the
    /// rules decides: all of them have to admit it.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): no limit, more than four, the same twice, a cost
    ///   of zero, or one above a limit, which would never pass.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the cost is charged or it is not.
    pub async fn take(&self, limits: &[Limit<'_>], cost: u64) -> Result<Decision> {
        check(TAKE, limits)?;
        if cost == 0 {
            return Err(invalid(TAKE, "a cost of nothing: use peek to look"));
        }
        if let Some(limit) = limits.iter().find(|limit| cost > limit.rule().most()) {
            return Err(Error::new(ErrorKind::InvalidInput, TAKE)
                .with_subject(limit.rule().name().to_owned())
                .with_detail(format!(
                    "a cost of {cost} never passes a limit of {}",
                    limit.rule().most()
                )));
        }
        match self.limits.take(self.tenant, limits, cost).await {
            Ok(taken) => {
                let outcome = match taken.is_admitted() {
                    true => "admitted",
                    false => "refused",
                };
                self.decisions.decided(self.tenant, outcome);
                self.interruption.counted();
                Ok(taken)
            }
            Err(error) => {
                self.interruption.failed(&error);
                let is_admitted = self.take_share(limits, cost).await;
                let outcome = match is_admitted {
                    true => "admitted_uncounted",
                    false => "refused_uncounted",
                };
                self.decisions.decided(self.tenant, outcome);
                Ok(Decision::uncounted(is_admitted, error))
            }
        }
    }

    /// Says what a cost of one would meet, and charges nothing.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has done nothing.
    pub async fn peek(&self, limits: &[Limit<'_>]) -> Result<Decision> {
        check(PEEK, limits)?;
        match self.limits.peek(self.tenant, limits).await {
            Ok(seen) => Ok(seen),
            Err(error) => {
                let is_admitted = match self.shares_of(limits, 1) {
                    None => false,
                    Some(shares) => {
                        let shares: Vec<_> =
                            shares.iter().map(|(rule, it)| rule.limit(it)).collect();
                        let seen = self.shares.peek(self.tenant, &shares).await;
                        seen.is_ok_and(|seen| seen.is_admitted())
                    }
                };
                Ok(Decision::uncounted(is_admitted, error))
            }
        }
    }

    /// Returns by which limits this process counts alone; nothing where a rule admits nothing then.
    fn shares_of<'l>(&self, limits: &[Limit<'l>], cost: u64) -> Option<Vec<(Rule, &'l str)>> {
        let mut shares = Vec::new();
        for limit in limits {
            match limit.rule().on_failure() {
                OnFailure::Admit => {}
                OnFailure::Refuse => return None,
                OnFailure::Share(processes) => match limit.rule().share(processes) {
                    Some(share) if share.most() >= cost => shares.push((share, limit.subject())),
                    _ => return None,
                },
            }
        }
        Some(shares)
    }

    /// Says whether a cost passes where nothing can be counted for all processes: each rule has to admit it.
    async fn take_share(&self, limits: &[Limit<'_>], cost: u64) -> bool {
        let Some(shares) = self.shares_of(limits, cost) else {
            return false;
        };
        let shares: Vec<_> = shares
            .iter()
            .map(|(rule, subject)| rule.limit(subject))
            .collect();
        // A subject for which there is no room is not let in.
        let taken = self.shares.take(self.tenant, &shares, cost).await;
        taken.is_ok_and(|taken| taken.is_admitted())
    }

    /// Takes back a cost that was charged and not used, such as that of a request which failed: the
    /// oldest that is counted, as far as there is any, so that no window has too many. Within the window:
    /// after it the cost counts no more, and that of others would be taken back.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): as [`take`](Self::take).
    /// - the kinds of the backend, where nothing could be taken back.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the cost is taken back or it is not.
    pub async fn refund(&self, limits: &[Limit<'_>], cost: u64) -> Result<()> {
        check(REFUND, limits)?;
        self.limits.refund(self.tenant, limits, cost).await
    }
}

fn check(operation: &'static str, limits: &[Limit<'_>]) -> Result<()> {
    if limits.is_empty() || limits.len() > STACKED {
        return Err(invalid(operation, "expected one limit to four"));
    }
    let is_twice = limits.iter().enumerate().any(|(index, limit)| {
        limits[..index]
            .iter()
            .any(|other| other.key() == limit.key())
    });
    if is_twice {
        return Err(invalid(
            operation,
            "one rule and subject stand twice among the limits",
        ));
    }
    Ok(())
}

fn invalid(operation: &'static str, detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, operation).with_detail(detail)
}
