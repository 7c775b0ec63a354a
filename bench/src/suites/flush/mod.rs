//! Everything of a tenant at once, however much that is.

use std::time::{Duration, Instant};

use tenantry_cache::{Cache, CacheKind, CachePolicy, TenantCache};
use tenantry_core::TenantId;

use super::CacheBench;
use crate::error::Result;
use crate::model::Profile;
use crate::network::Link;
use crate::report::{Ratio, Report, Target};
use crate::runner::{median, percentile};

/// What goes over keys or fields one by one, or over all that there is.
const WALKS: &[&str] = &[
    "scan", "keys", "hscan", "sscan", "zscan", "flushdb", "flushall",
];

pub(crate) async fn run(bench: &CacheBench, report: &mut Report) -> Result<()> {
    let (keys, rounds): (u32, _) = match bench.quick {
        true => (50_000, 50),
        false => (1_000_000, 500),
    };
    let settings = bench.server.settings(Link::Loopback, "flush")?;
    let cache = Cache::builder().with_redis(&settings)?.build()?;
    let kind = cache.kind("profile", CachePolicy::default())?;
    let [large, small] = [(); 2].map(|()| Flushed {
        tenant: cache.tenant(TenantId::generate()),
        kind: kind.clone(),
    });
    large.keep().await?;
    multiply(bench, large.tenant.tenant(), keys).await?;
    bench.server.forget_calls().await?;

    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(large.flush().await?);
        peer.push(small.flush().await?);
    }
    let walks = bench.server.calls(WALKS).await?;
    let micros = |flushes: &[Duration], percent| percentile(flushes, percent).as_secs_f64() * 1e6;
    let ratios = ours.iter().zip(&peer);
    let ratios = ratios.map(|(ours, peer)| ours.as_secs_f64() / peer.as_secs_f64());
    report.add(Ratio {
        name: format!("flush/one-key/{keys}-keys/p50-us"),
        ours: micros(&ours, 50),
        peer: micros(&peer, 50),
        ratio: median(ratios),
        target: Target::Figure(1_000.0),
    });
    for (figure, ours, target) in [
        ("p99-us", micros(&ours, 99), Target::None),
        ("walks-over-keys", walks as f64, Target::Figure(0.0)),
    ] {
        let name = format!("flush/{keys}-keys/{figure}");
        report.add(Ratio::of(name, ours, f64::NAN, target));
    }
    bench.server.clear().await
}

/// A tenant of which everything ends, again and again.
struct Flushed {
    tenant: TenantCache,
    kind: CacheKind<Profile>,
}

impl Flushed {
    /// Has a value kept in the server.
    async fn keep(&self) -> Result<()> {
        let load = || async { Ok(Some(Profile::numbered(7))) };
        self.tenant
            .get_or_load(&self.kind, "customer 0", load)
            .await?;
        while self.tenant.get(&self.kind, "customer 0").await.is_none() {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Returns how long it takes to end what there is.
    async fn flush(&self) -> Result<Duration> {
        self.keep().await?;
        let started = Instant::now();
        self.tenant.flush().await?;
        let took = started.elapsed();
        match self.tenant.get(&self.kind, "customer 0").await {
            None => Ok(took),
            Some(_) => Err("a value is there after all of its tenant has ended".into()),
        }
    }
}

/// Copies the one value of a tenant until it has so many.
async fn multiply(bench: &CacheBench, tenant: TenantId, keys: u32) -> Result<()> {
    const COPY: &str = "for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do
        redis.call('COPY', KEYS[1], string.sub(KEYS[1], 1, -2) .. number)
    end";
    const AT_ONCE: u32 = 10_000;
    let mut connection = bench.server.stripes(Link::Loopback).await?.next();
    let found: Vec<String> = redis::cmd("KEYS")
        .arg(format!("flush:*{tenant}*:value:*"))
        .query_async(&mut connection)
        .await?;
    let [value] = &*found else {
        return Err("a tenant has not the one value that was loaded".into());
    };
    let copy = redis::Script::new(COPY);
    for from in (1..keys).step_by(usize::try_from(AT_ONCE)?) {
        copy.key(value)
            .arg(from)
            .arg((from + AT_ONCE).min(keys) - 1)
            .invoke_async::<()>(&mut connection)
            .await?;
    }
    let there: u32 = redis::cmd("DBSIZE").query_async(&mut connection).await?;
    match there >= keys {
        true => Ok(()),
        false => Err(format!("there are {there} keys in place of {keys}").into()),
    }
}
