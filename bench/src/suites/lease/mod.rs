//! Decisions in this process, by two threads.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota};
use tenantry_cache::{
    LeasePolicy, LeasedLimits, MemoryLimits, RateLimiter, RateLimits, RedisLimits, Rule,
    TenantLimiter,
};
use tenantry_core::TenantId;

use super::CacheBench;
use crate::error::Result;
use crate::network::Link;
use crate::report::{Ratio, Report, Target};
use crate::runner::{Operation, Side, median};

const THREADS: usize = 2;

/// What is never reached within a minute.
const PLENTY: NonZeroU32 = NonZeroU32::MIN.saturating_add(2_000_000_000);

/// Among how many processes a limit is shared.
const NODES: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);

pub(crate) async fn run(bench: &CacheBench, report: &mut Report) -> Result<()> {
    let settings = bench.server.settings(Link::Loopback, "lease")?;
    let redis = Arc::new(RedisLimits::new(&settings)?);
    let leased: Arc<dyn RateLimits> = Arc::new(LeasedLimits::new(redis, LeasePolicy::new(NODES)));
    let memory: Arc<dyn RateLimits> = Arc::new(MemoryLimits::new());
    for (suite, subjects) in [("lease/one-subject", 1), ("lease/1000-subjects", 1_000)] {
        let subjects: Arc<[Box<str>]> = (0..subjects)
            .map(|number| format!("GET /{number}").into())
            .collect();
        let sides = [
            Side::new("tenantry", Ours::open(&leased, &subjects)?),
            Side::new("memory-limits", Ours::open(&memory, &subjects)?),
            Side::new("governor", Governor::open(&subjects)),
        ];
        let rates = bench.runner.throughput(&sides, THREADS).await?;
        let names = sides.each_ref().map(|side| side.name);
        report.add_throughput(suite, Link::Process, &names, &rates, THREADS, &[]);
        if let [ours, ..] = &*rates {
            let ours = median(ours.iter().copied()) / 1e6;
            let name = format!("{suite}/process/millions-per-second-{THREADS}-tasks");
            let target = Target::FigureAtLeast(5.0);
            report.add(Ratio::of(name, ours, f64::NAN, target));
        }
    }
    bench.server.clear().await
}

/// Decisions that are made before anybody looks at a clock.
const AT_ONCE: u32 = 100;

struct Ours {
    tenant: TenantLimiter,
    rule: Rule,
    subjects: Arc<[Box<str>]>,
}

impl Ours {
    fn open(limits: &Arc<dyn RateLimits>, subjects: &Arc<[Box<str>]>) -> Result<Self> {
        let minute = Duration::from_secs(60);
        Ok(Self {
            tenant: RateLimiter::new(Arc::clone(limits)).tenant(TenantId::generate()),
            rule: Rule::new("route", u64::from(PLENTY.get()), minute)?,
            subjects: Arc::clone(subjects),
        })
    }
}

impl Operation for Ours {
    type Input = usize;

    const TIMES: u32 = AT_ONCE;

    fn prepare(&self, turn: usize) -> usize {
        turn % self.subjects.len()
    }

    async fn run(&self, subject: usize) -> Result<()> {
        let limits = [self.rule.limit(&self.subjects[subject])];
        for _ in 0..AT_ONCE {
            let decision = self.tenant.take(&limits, 1).await?;
            if decision.failure().is_some() || !decision.is_admitted() {
                return Err(format!("a limit has decided otherwise: {decision:?}").into());
            }
        }
        Ok(())
    }
}

/// Which goes by a leaky bucket, and tells whether a request passes and nothing else.
struct Governor {
    limiter: DefaultKeyedRateLimiter<(TenantId, Box<str>)>,
    keys: Box<[(TenantId, Box<str>)]>,
}

impl Governor {
    fn open(subjects: &[Box<str>]) -> Self {
        let tenant = TenantId::generate();
        Self {
            limiter: DefaultKeyedRateLimiter::keyed(Quota::per_minute(PLENTY)),
            keys: subjects.iter().map(|it| (tenant, it.clone())).collect(),
        }
    }
}

impl Operation for Governor {
    type Input = usize;

    const TIMES: u32 = AT_ONCE;

    fn prepare(&self, turn: usize) -> usize {
        turn % self.keys.len()
    }

    async fn run(&self, key: usize) -> Result<()> {
        for _ in 0..AT_ONCE {
            let decision = self.limiter.check_key(&self.keys[key]);
            decision.map_err(|_| "a limit has decided otherwise")?;
        }
        Ok(())
    }
}
