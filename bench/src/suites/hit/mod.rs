//! A value that is kept in this process.

mod peers;

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tenantry_cache::{Cache, CacheKind, CachePolicy, TenantCache};
use tenantry_core::{Error, ErrorKind, TenantId};

use self::peers::{Cached, MultiTier, RawMoka};
use super::{CacheBench, missing};
use crate::error::Result;
use crate::model::Profile;
use crate::network::Link;
use crate::report::{Ratio, Report, Target, Unit};
use crate::runner::{Measurement, Operation, Side};

/// As many as stay near a processor; and as many as do not.
const KEYS: [usize; 2] = [1_000, 100_000];

/// One is shorter than a clock can tell.
const HITS: u32 = 100;

/// Longer than a run.
const HOUR: Duration = Duration::from_secs(3_600);

const THREADS: usize = 2;

pub(crate) async fn run(bench: &CacheBench, report: &mut Report) -> Result<()> {
    let few = KEYS.iter().take(if bench.quick { 1 } else { KEYS.len() });
    for count in few {
        of_keys(bench, report, *count).await?;
    }
    bench.server.clear().await
}

async fn of_keys(bench: &CacheBench, report: &mut Report, count: usize) -> Result<()> {
    let tenant = TenantId::generate();
    let keys: Arc<[Key]> = (0..count).map(|number| Key::new(tenant, number)).collect();
    let ours = Ours::open(tenant, &keys).await?;
    let get = Side::new("tenantry", Get(ours.clone()));
    let moka = Side::new("moka", RawMoka::open(&keys));
    let get = [get, moka.clone()];
    let sides = [
        Side::new("tenantry", ours),
        moka,
        Side::new("cached", Cached::open(&keys)),
        Side::new("multi-tier-cache", MultiTier::open(bench, &keys).await?),
    ];
    let suite = format!("hit/{count}-keys");
    for (suite, sides) in [(suite.clone(), &sides[..]), (format!("{suite}/get"), &get)] {
        let measurements = bench.runner.latencies(sides).await?;
        let none = [Target::None; 3];
        report.add_latencies_in(Unit::Nanos, &suite, Link::Process, &measurements, &none);
        of_ours(report, &suite, &measurements, count);
    }
    let rates = bench.runner.throughput(&sides, THREADS).await?;
    let names = sides.each_ref().map(|side| side.name);
    let targets = [Target::TimesAtLeast(0.7)];
    report.add_throughput(&suite, Link::Process, &names, &rates, THREADS, &targets);
    Ok(())
}

/// Takes down what ours is held to: by time where the keys are few, and memory is no part of it.
fn of_ours(report: &mut Report, suite: &str, measurements: &[Measurement], count: usize) {
    let [ours, moka, ..] = measurements else {
        return;
    };
    let time = |most| match count == KEYS[0] {
        true => Target::Figure(most),
        false => Target::None,
    };
    let more = ours.micros_more_than(moka) * 1e3;
    for (name, figure, target) in [
        ("moka/process/more-ns", more, time(100.0)),
        ("process/p50-ns", ours.micros(50) * 1e3, time(300.0)),
        // `moka` allocates now and then, when it has looked sixty times.
        (
            "moka/process/more-allocations",
            ours.allocations() - moka.allocations(),
            Target::Figure(0.005),
        ),
    ] {
        let name = format!("{suite}/{name}");
        report.add(Ratio::of(name, figure, f64::NAN, target));
    }
}

/// The same that ours has.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    tenant: TenantId,
    kind: Arc<str>,
    text: Arc<str>,
}

impl Key {
    fn new(tenant: TenantId, number: usize) -> Self {
        Self {
            tenant,
            kind: "profile".into(),
            text: format!("customer {number}").into(),
        }
    }

    /// Returns one that is equal, and no more: callers have not the very texts that are kept.
    fn again(&self) -> Self {
        Self {
            tenant: self.tenant,
            kind: (*self.kind).into(),
            text: (*self.text).into(),
        }
    }
}

/// Returns which keys have their turn.
fn some_keys(turn: usize, keys: usize) -> Range<usize> {
    const SOME: usize = HITS as usize;
    let from = turn * SOME % keys;
    from..from + SOME
}

#[derive(Clone)]
struct Ours {
    tenant: TenantCache,
    kind: CacheKind<Profile>,
    keys: Arc<[Key]>,
}

impl Ours {
    async fn open(tenant: TenantId, keys: &Arc<[Key]>) -> Result<Self> {
        let cache = Cache::builder().build()?;
        let kind = cache.kind("profile", CachePolicy::default().with_time_to_live(HOUR))?;
        let tenant = cache.tenant(tenant);
        for (number, key) in keys.iter().enumerate() {
            let load = move || async move { Ok(Some(Profile::numbered(number))) };
            tenant.get_or_load(&kind, &*key.text, load).await?;
        }
        Ok(Self {
            tenant,
            kind,
            keys: Arc::clone(keys),
        })
    }
}

impl Operation for Ours {
    type Input = Range<usize>;

    const TIMES: u32 = HITS;

    fn prepare(&self, turn: usize) -> Range<usize> {
        some_keys(turn, self.keys.len())
    }

    async fn run(&self, some: Range<usize>) -> Result<()> {
        for key in &self.keys[some] {
            let load = || async { Err(Error::new(ErrorKind::Unexpected, "load what is kept")) };
            let found = self
                .tenant
                .get_or_load(&self.kind, &*key.text, load)
                .await?;
            black_box(found.ok_or_else(missing)?);
        }
        Ok(())
    }
}

/// Ours without a load.
struct Get(Ours);

impl Operation for Get {
    type Input = Range<usize>;

    const TIMES: u32 = HITS;

    fn prepare(&self, turn: usize) -> Range<usize> {
        some_keys(turn, self.0.keys.len())
    }

    async fn run(&self, some: Range<usize>) -> Result<()> {
        let Self(ours) = self;
        for key in &ours.keys[some] {
            let found = ours.tenant.get(&ours.kind, &*key.text).await;
            black_box(found.flatten().ok_or_else(missing)?);
        }
        Ok(())
    }
}
