//! Decisions of the limiter in Redis.

mod exact;

use std::sync::Arc;
use std::time::Duration;

use redis::Script;
use tenantry_cache::{RateLimiter, RedisLimits, Rule, TenantLimiter};
use tenantry_core::TenantId;

use super::CacheBench;
use crate::error::Result;
use crate::network::Link;
use crate::report::{Report, Target};
use crate::runner::{Operation, Side};
use crate::server::Stripes;

const MINUTE: Duration = Duration::from_secs(60);

/// How many wait for decisions at the same time, over as many connections as ever.
const TASKS: usize = 64;

const ROUTE: &str = "POST /invoices";

/// What is never reached.
const PLENTY: u64 = 1_000_000_000;

pub(crate) async fn run(bench: &CacheBench, report: &mut Report) -> Result<()> {
    for link in Link::ALL {
        for (suite, rules) in decisions()? {
            let sides = sides(bench, link, rules).await?;
            let targets = [Target::Times(1.5)];
            let one = Target::Figure(1.0);
            bench
                .compare(report, &suite, link, &sides, &targets, one)
                .await?;
        }
    }
    for (suite, rules) in decisions()? {
        let sides = sides(bench, Link::Loopback, rules).await?;
        let rates = bench.runner.throughput(&sides, TASKS).await?;
        let names = sides.each_ref().map(|side| side.name);
        let targets = [Target::TimesAtLeast(0.6)];
        report.add_throughput(&suite, Link::Loopback, &names, &rates, TASKS, &targets);
    }
    exact::run(bench, report).await?;
    bench.server.clear().await
}

/// Returns the limits of a request: one or four that are not reached, and one that is over, each use
/// of which is remembered by its own time.
fn decisions() -> Result<[(String, Vec<Rule>); 3]> {
    let plenty = |number| Rule::new(format!("rule {number}"), PLENTY, MINUTE);
    let four: Result<Vec<_>, _> = (0..4).map(plenty).collect();
    Ok([
        ("limit/1".to_owned(), vec![plenty(0)?]),
        ("limit/4-stacked".to_owned(), four?),
        (
            "limit/refused".to_owned(),
            vec![Rule::new("few", 1_000, 60 * MINUTE)?],
        ),
    ])
}

async fn sides(bench: &CacheBench, link: Link, rules: Vec<Rule>) -> Result<[Side; 2]> {
    Ok([
        Side::new("tenantry", Ours::open(bench, link, rules).await?),
        Side::new(
            "empty-script",
            Empty {
                stripes: bench.server.stripes(link).await?,
                script: Script::new(""),
            },
        ),
    ])
}

struct Ours {
    tenant: TenantLimiter,
    rules: Vec<Rule>,
    is_admitted: bool,
}

impl Ours {
    async fn open(bench: &CacheBench, link: Link, rules: Vec<Rule>) -> Result<Self> {
        let limiter = limiter(bench, link)?;
        let tenant = limiter.tenant(TenantId::generate());
        let is_admitted = rules.iter().all(|rule| rule.most() >= PLENTY);
        if !is_admitted {
            for rule in &rules {
                for _ in 0..rule.most() {
                    let _ = tenant.take(&[rule.limit(ROUTE)], 1).await?;
                }
            }
        }
        Ok(Self {
            tenant,
            rules,
            is_admitted,
        })
    }
}

fn limiter(bench: &CacheBench, link: Link) -> Result<RateLimiter> {
    let settings = bench.server.settings(link, "limit")?;
    Ok(RateLimiter::new(Arc::new(RedisLimits::new(&settings)?)))
}

impl Operation for Ours {
    type Input = ();

    fn prepare(&self, _turn: usize) {}

    async fn run(&self, (): ()) -> Result<()> {
        let limits: Vec<_> = self.rules.iter().map(|rule| rule.limit(ROUTE)).collect();
        decided(&self.tenant.take(&limits, 1).await?, self.is_admitted)
    }
}

/// Says that a decision is another one than it has to be.
fn decided(decision: &tenantry_cache::Decision, is_admitted: bool) -> Result<()> {
    if decision.failure().is_some() || decision.is_admitted() != is_admitted {
        return Err(format!("a limit has decided otherwise: {decision:?}").into());
    }
    Ok(())
}

struct Empty {
    stripes: Arc<Stripes>,
    script: Script,
}

impl Operation for Empty {
    type Input = ();

    fn prepare(&self, _turn: usize) {}

    async fn run(&self, (): ()) -> Result<()> {
        let mut connection = self.stripes.next();
        Ok(self.script.invoke_async(&mut connection).await?)
    }
}
