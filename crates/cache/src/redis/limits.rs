//! Rate limits that several processes share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::Script;
use tenantry_core::{Error, ErrorKind, Result, TenantId};

use super::RedisSettings;
use super::connection::{Connected, Connections};
use super::keys::Keys;
use super::observe::Operation;
use crate::limit::usage::EXACT;
use crate::{Decision, Limit, RateLimits, Standing};

const TAKE: Operation = Operation::new("limit_take", "take from rate limits");
const PEEK: Operation = Operation::new("limit_peek", "look at rate limits");
const REFUND: Operation = Operation::new("limit_refund", "refund to rate limits");

/// The largest limit: a server reckons with numbers of 53 bits.
const LARGEST: u64 = 1_000_000_000_000_000;

/// Rate limits in a Redis, which several processes share.
///
/// All limits of a request are checked and charged by one script, by the clock of the server. Whatever is
/// written has an end: that of the window.
///
/// Choose a server that evicts nothing (`maxmemory-policy noeviction`): a count that is evicted is a
/// window that begins anew. A fail-over to a replica may lose the last uses.
///
/// # Examples
///
/// ```no_run
/// use std::sync::Arc;
///
/// use tenantry_cache::{RateLimiter, RedisLimits, RedisSettings};
///
/// # fn run() -> tenantry_core::Result<()> {
/// let settings = RedisSettings::new("redis://limits.internal:6379").with_prefix("gateway");
/// let limiter = RateLimiter::new(Arc::new(RedisLimits::new(&settings)?));
/// # let _ = limiter;
/// # Ok(())
/// # }
/// ```
pub struct RedisLimits {
    connections: Arc<Connections>,
    keys: Keys,
    script: Script,
}

/// What the script does with a cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Charge,
    Look,
    TakeBack,
}

impl RedisLimits {
    /// Counts in a server, which is reached when something is counted first.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): the URL or the prefix is none.
    pub fn new(settings: &RedisSettings) -> Result<Self> {
        let (connections, keys) = settings.open()?;
        Ok(Self {
            connections,
            keys,
            script: Script::new(include_str!("scripts/limit.lua")),
        })
    }

    async fn run(
        &self,
        operation: Operation,
        tenant: TenantId,
        limits: &[Limit<'_>],
        cost: u64,
        mode: Mode,
    ) -> Result<(bool, Vec<Standing>)> {
        let mut call = self.script.prepare_invoke();
        let mode = match mode {
            Mode::Charge => 1,
            Mode::Look => 0,
            Mode::TakeBack => -1,
        };
        call.arg(cost.min(LARGEST)).arg(mode).arg(EXACT);
        for limit in limits {
            let rule = limit.rule();
            if rule.most() > LARGEST {
                return Err(Error::new(ErrorKind::Unsupported, operation.text())
                    .with_subject(rule.name().to_owned())
                    .with_detail(format!("a limit is {LARGEST} at most here")));
            }
            let key = self.keys.of_limit(tenant, rule.name(), limit.subject())?;
            call.key(key).arg(rule.most()).arg(micros(rule.window()));
        }
        let call = &call;
        let answer: Vec<i64> = self
            .connections
            .call(operation, Some(tenant), |mut to: Connected| async move {
                call.invoke_async(&mut to.connection).await
            })
            .await?;
        let number = |answer: i64| u64::try_from(answer).unwrap_or_default();
        let (passes, parts) = answer.split_first().ok_or_else(|| misread(operation))?;
        if parts.len() != 3 * limits.len() {
            return Err(misread(operation));
        }
        let standings = limits.iter().zip(parts.chunks_exact(3));
        let standings = standings.map(|(limit, parts)| Standing {
            most: limit.rule().most(),
            remaining: number(parts[0]),
            retry_after: Duration::from_micros(number(parts[1])),
            reset_after: Duration::from_micros(number(parts[2])),
        });
        Ok((*passes == 1, standings.collect()))
    }
}

fn misread(operation: Operation) -> Error {
    Error::new(ErrorKind::Unexpected, operation.text())
        .with_detail("the server answers something else than its script says")
}

/// Returns a window in microseconds, as the clock of a server goes, and no shorter than it is.
fn micros(window: Duration) -> u64 {
    let micros = window.as_nanos().div_ceil(1_000);
    u64::try_from(micros).unwrap_or(u64::MAX)
}

#[async_trait]
impl RateLimits for RedisLimits {
    async fn take(&self, tenant: TenantId, limits: &[Limit<'_>], cost: u64) -> Result<Decision> {
        let taken = self.run(TAKE, tenant, limits, cost, Mode::Charge).await;
        taken.map(|(passes, standings)| Decision::new(passes, standings))
    }

    async fn peek(&self, tenant: TenantId, limits: &[Limit<'_>]) -> Result<Decision> {
        let seen = self.run(PEEK, tenant, limits, 1, Mode::Look).await;
        seen.map(|(passes, standings)| Decision::new(passes, standings))
    }

    async fn refund(&self, tenant: TenantId, limits: &[Limit<'_>], cost: u64) -> Result<()> {
        let refunded = self.run(REFUND, tenant, limits, cost, Mode::TakeBack).await;
        refunded.map(drop)
    }
}

impl fmt::Debug for RedisLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLimits")
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}
