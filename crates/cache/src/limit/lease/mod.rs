//! Limits of which a part is taken in advance, and admitted from without a round trip.

mod credit;
mod credits;
mod policy;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tenantry_core::{Error, ErrorKind, Result, SharedClock, SystemClock, TenantId};
use tokio::runtime::Handle;

use self::credit::{Answer, Asked};
use self::credits::{Call, Credits, Step};
pub use self::policy::LeasePolicy;
use super::TAKE;
use crate::{Decision, Limit, RateLimits, Rule};

/// How often a request waits for a lease of which others may leave it nothing.
const ROUNDS: usize = 3;

/// Rate limits that hold a part of each limit in this process: a *lease*, charged in the backend at once,
/// and admitted from without a round trip.
///
/// # Bounds
///
/// By a [`LeasePolicy`], with [`lease`](LeasePolicy::lease) what a process holds of a limit at most, and
/// [`overshoot`](LeasePolicy::overshoot) what all of them hold:
///
/// - Within any window no more is admitted than the limit and the overshoot: what was charged in it, and
///   what each process held when it began. Where a backend takes longer than half a window to take
///   something back, what is given back meanwhile may be admitted once more: the overshoot twice.
/// - A request is refused only where the limit without the overshoot, or more, was admitted within the
///   window: what others hold is charged. A process that ends loses what it holds until the window is over.
/// - What is refused is not asked for again until it would pass, for a second at most; another process may
///   take back something meanwhile.
///
/// A lease ends with the window in which it was charged.
///
/// # What is not leased
///
/// A request goes to the backend, which counts it as ever, if one of its limits is too small for a lease,
/// its cost is more than a lease, there are too many subjects, or there is no tokio runtime. Where the
/// backend refuses, this process gives back what it holds, if that lets the request pass.
///
/// # What is told
///
/// The standings of a request that was decided here are those of the last lease, less what was used here
/// since: what others have used since is not seen, nor what is over since. [`peek`](RateLimits::peek) asks
/// the backend.
///
/// # Refunds
///
/// The backend takes back what it counts longest. A use that is taken back within its window may have been
/// charged before: of those, by all processes, there are no more than the overshoot, which may be admitted
/// once more.
///
/// # Cancel safety
///
/// A lease is asked for in a task of its own: who waits for it may be dropped, and the next one has it.
/// What a request that is dropped was about to give back is lost until the window is over. That task is
/// one of the runtime of who asked first: where each worker has a runtime of its own, one that is blocked
/// holds up who waits for it.
///
/// # Examples
///
/// ```
/// use std::num::NonZeroU32;
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use tenantry_cache::{LeasePolicy, LeasedLimits, MemoryLimits, RateLimiter, Rule};
/// use tenantry_core::TenantId;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tenantry_core::Result<()> {
/// let policy = LeasePolicy::new(NonZeroU32::MIN.saturating_add(4));
/// let leased = LeasedLimits::new(Arc::new(MemoryLimits::new()), policy);  // or `RedisLimits`
/// let limiter = RateLimiter::new(Arc::new(leased));
///
/// let rule = Rule::new("tenant", 10_000, Duration::from_secs(60))?;
/// let tenant = limiter.tenant(TenantId::generate());
/// for _ in 0..100 {
///     // The first one asks for a hundred.
///     assert!(tenant.take(&[rule.limit("")], 1).await?.is_admitted());
/// }
/// # Ok(())
/// # }
/// ```
pub struct LeasedLimits {
    limits: Arc<dyn RateLimits>,
    policy: LeasePolicy,
    clock: SharedClock,
    credits: Credits,
}

impl LeasedLimits {
    /// Leases from this backend, by the clock of the machine.
    #[must_use]
    pub fn new(limits: Arc<dyn RateLimits>, policy: LeasePolicy) -> Self {
        Self {
            limits,
            policy,
            clock: Arc::new(SystemClock),
            credits: Credits::new(policy),
        }
    }

    /// Sets the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets of how many subjects something is held at a time: a hundred thousand by default.
    #[must_use]
    pub const fn with_most_subjects(mut self, subjects: usize) -> Self {
        self.credits.most_subjects = subjects;
        self
    }

    fn call<'c>(&self, tenant: TenantId, limits: &'c [Limit<'c>], cost: u64) -> Call<'c> {
        Call {
            tenant,
            limits,
            cost,
            now: self.clock.monotonic(),
        }
    }

    fn is_leased(&self, limits: &[Limit<'_>], cost: u64) -> bool {
        let has_lease = |limit: &Limit<'_>| {
            let lease = self.policy.lease(limit.rule());
            lease > 0 && lease >= cost
        };
        limits.len() <= super::STACKED && limits.iter().all(has_lease)
    }

    /// Waits for leases, unless others leave too little of them too often.
    async fn take_of_lease(
        &self,
        tenant: TenantId,
        limits: &[Limit<'_>],
        cost: u64,
    ) -> Result<Decision> {
        for _ in 0..ROUNDS {
            let call = self.call(tenant, limits, cost);
            let Some(asked) = self.ask(&call) else { break };
            let answers = join_all(asked.iter().map(|(_, asked)| asked.clone())).await;
            let mut failure = None;
            for ((index, asked), answer) in asked.iter().zip(answers) {
                self.credits
                    .settle(&call, *index, asked, answer.as_ref().ok());
                failure = failure.or(answer.err());
            }
            if let Some(failure) = failure {
                return Err(Error::retold(TAKE, failure));
            }
            match self.credits.decide(&self.call(tenant, limits, cost)) {
                Step::Decided(decision) => return Ok(decision),
                Step::Lacks => {}
                Step::Unknown => break,
            }
        }
        self.take_of_backend(tenant, limits, cost).await
    }

    fn ask(&self, call: &Call<'_>) -> Option<Vec<(usize, Asked)>> {
        let runtime = Handle::try_current().ok()?;
        let begin = |limit: &Limit<'_>, room, needed| {
            let lease = Lease {
                limits: Arc::clone(&self.limits),
                clock: Arc::clone(&self.clock),
                tenant: call.tenant,
                rule: limit.rule().clone(),
                subject: limit.subject().into(),
                cost: call.cost,
            };
            let task = runtime.spawn(lease.take(room, needed));
            let answer = task.map(|ended| ended.unwrap_or_else(|_| Err(Arc::new(unfinished()))));
            answer.boxed().shared()
        };
        self.credits.ask(call, begin)
    }

    async fn take_of_backend(
        &self,
        tenant: TenantId,
        limits: &[Limit<'_>],
        cost: u64,
    ) -> Result<Decision> {
        let mut taken = self.limits.take(tenant, limits, cost).await?;
        if !taken.is_admitted() {
            let call = self.call(tenant, limits, cost);
            let given = self.credits.give_back(&call, taken.standings());
            if given.is_empty() {
                return Ok(taken);
            }
            for (index, amount) in given {
                self.limits
                    .refund(tenant, &limits[index..=index], amount)
                    .await?;
            }
            taken = self.limits.take(tenant, limits, cost).await?;
        }
        if !taken.is_admitted() {
            return Ok(taken);
        }
        let mut standings = taken.standings().to_vec();
        let call = self.call(tenant, limits, cost);
        self.credits.add_left(&call, &mut standings);
        Ok(Decision::new(true, standings))
    }
}

/// A lease that is asked for.
struct Lease {
    limits: Arc<dyn RateLimits>,
    clock: SharedClock,
    tenant: TenantId,
    rule: Rule,
    subject: Box<str>,
    cost: u64,
}

impl Lease {
    /// Takes as much as there is room for, or else what is left, or else what is needed.
    async fn take(self, room: u64, needed: u64) -> Result<Answer, Arc<Error>> {
        let limits = [self.rule.limit(&self.subject)];
        let mut amount = room;
        let mut is_first = true;
        loop {
            let since = self.clock.monotonic();
            let taken = self.limits.take(self.tenant, &limits, amount).await?;
            let standing = *taken.standings().first().ok_or_else(unfinished)?;
            if taken.is_admitted() || amount <= needed {
                return Ok(Answer {
                    cost: self.cost,
                    leased: if taken.is_admitted() { amount } else { 0 },
                    since,
                    at: self.clock.monotonic(),
                    standing,
                });
            }
            amount = match is_first {
                true => standing.remaining.clamp(needed, amount),
                false => needed,
            };
            is_first = false;
        }
    }
}

fn unfinished() -> Error {
    Error::new(ErrorKind::Unexpected, TAKE).with_detail("a lease was asked for and not answered")
}

#[async_trait]
impl RateLimits for LeasedLimits {
    async fn take(&self, tenant: TenantId, limits: &[Limit<'_>], cost: u64) -> Result<Decision> {
        if !self.is_leased(limits, cost) {
            return Box::pin(self.take_of_backend(tenant, limits, cost)).await;
        }
        match self.credits.decide(&self.call(tenant, limits, cost)) {
            Step::Decided(decision) => Ok(decision),
            Step::Lacks => Box::pin(self.take_of_lease(tenant, limits, cost)).await,
            Step::Unknown => Box::pin(self.take_of_backend(tenant, limits, cost)).await,
        }
    }

    async fn peek(&self, tenant: TenantId, limits: &[Limit<'_>]) -> Result<Decision> {
        let seen = self.limits.peek(tenant, limits).await?;
        let mut standings = seen.standings().to_vec();
        self.credits
            .add_left(&self.call(tenant, limits, 1), &mut standings);
        let passes = standings.iter().all(|standing| standing.remaining >= 1);
        Ok(Decision::new(passes, standings))
    }

    async fn refund(&self, tenant: TenantId, limits: &[Limit<'_>], cost: u64) -> Result<()> {
        self.limits.refund(tenant, limits, cost).await?;
        self.credits.forget_refusals(tenant, limits);
        Ok(())
    }
}

impl fmt::Debug for LeasedLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeasedLimits")
            .field("limits", &self.limits)
            .field("policy", &self.policy)
            .field("subjects", &self.credits.subjects())
            .finish_non_exhaustive()
    }
}
