//! How many of very many at once are admitted.

use std::time::Duration;

use tenantry_cache::Rule;
use tenantry_core::TenantId;
use tokio::task::JoinSet;

use super::super::CacheBench;
use super::limiter;
use crate::error::Result;
use crate::network::Link;
use crate::report::{Ratio, Report, Target};

const NODES: usize = 8;
const TASKS: usize = 64;

/// Of each task: more than the largest limit, all together.
const REQUESTS: usize = 16;

/// Longer than it takes.
const WINDOW: Duration = Duration::from_secs(3_600);

pub(super) async fn run(bench: &CacheBench, report: &mut Report) -> Result<()> {
    for most in [100_u32, 1_000, 5_000] {
        let admitted = admitted(bench, most).await?;
        report.add(Ratio::of(
            format!("limit/limit/{NODES}-nodes-of-{TASKS}-tasks/admitted"),
            f64::from(admitted),
            f64::from(most),
            Target::Same,
        ));
    }
    Ok(())
}

/// Returns how many requests of all nodes pass one limit.
async fn admitted(bench: &CacheBench, most: u32) -> Result<u32> {
    let tenant = TenantId::generate();
    let rule = Rule::new("tenant", u64::from(most), WINDOW)?;
    let mut running: JoinSet<Result<u32>> = JoinSet::new();
    for _ in 0..NODES {
        // With connections of its own.
        let tenant = limiter(bench, Link::Loopback)?.tenant(tenant);
        for _ in 0..TASKS {
            let (tenant, rule) = (tenant.clone(), rule.clone());
            running.spawn(async move {
                let mut admitted = 0;
                for _ in 0..REQUESTS {
                    let decision = tenant.take(&[rule.limit("")], 1).await?;
                    if let Some(failure) = decision.failure() {
                        return Err(format!("a limit was not counted: {failure}").into());
                    }
                    admitted += u32::from(decision.is_admitted());
                }
                Ok(admitted)
            });
        }
    }
    let mut admitted = 0;
    while let Some(finished) = running.join_next().await {
        admitted += finished??;
    }
    Ok(admitted)
}
