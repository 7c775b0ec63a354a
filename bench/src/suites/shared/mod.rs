//! A value that is kept in Redis and not in this process; a load of one that is kept nowhere, and its store.

mod miss;
mod peers;
mod store;

use std::hint::black_box;
use std::sync::Arc;

use tenantry_cache::{Cache, CacheKind, CachePolicy, TenantCache};
use tenantry_core::{Error, ErrorKind, TenantId};

use self::peers::{Cached, MultiTier, RawGet};
use super::{CacheBench, missing};
use crate::error::Result;
use crate::model::Profile;
use crate::network::Link;
use crate::report::{Report, Target};
use crate::runner::{Operation, Side};

const KEYS: usize = 1_000;

pub(crate) async fn run(bench: &CacheBench, report: &mut Report) -> Result<()> {
    hits(bench, report).await?;
    miss::run(bench, report).await?;
    store::run(bench, report).await?;
    bench.server.clear().await
}

async fn hits(bench: &CacheBench, report: &mut Report) -> Result<()> {
    let keys: Arc<[String]> = (0..KEYS).map(|it| format!("customer {it}")).collect();
    for link in Link::ALL {
        let ours = Ours::open(bench, link, &keys).await?;
        let raw = Side::new("raw-get", RawGet::open(bench, link).await?);
        let get = [Side::new("tenantry", Get(ours.clone())), raw.clone()];
        let load = [
            Side::new("tenantry", ours),
            raw,
            Side::new("multi-tier-cache", MultiTier::open(bench, link).await?),
            Side::new("cached", Cached::open(bench, link).await?),
        ];
        let targets = [Target::Times(1.15), Target::None, Target::None];
        for (suite, sides) in [("shared/hit", &load[..]), ("shared/hit-by-get", &get)] {
            let one = Target::Figure(1.0);
            bench
                .compare(report, suite, link, sides, &targets, one)
                .await?;
        }
    }
    Ok(())
}

/// A cache of which nothing has room in this process.
async fn far_alone(bench: &CacheBench, link: Link) -> Result<(TenantCache, CacheKind<Profile>)> {
    let settings = bench.server.settings(link, "shared")?;
    let builder = Cache::builder().with_bytes_of_a_tenant(1);
    let cache = builder.with_redis(&settings)?.build()?;
    let kind = cache.kind("profile", CachePolicy::default())?;
    Ok((cache.tenant(TenantId::generate()), kind))
}

#[derive(Clone)]
struct Ours {
    tenant: TenantCache,
    kind: CacheKind<Profile>,
    keys: Arc<[String]>,
}

impl Ours {
    async fn open(bench: &CacheBench, link: Link, keys: &Arc<[String]>) -> Result<Self> {
        let (tenant, kind) = far_alone(bench, link).await?;
        for (number, key) in keys.iter().enumerate() {
            let load = move || async move { Ok(Some(Profile::numbered(number))) };
            tenant.get_or_load(&kind, key, load).await?;
        }
        // What was loaded is stored behind the caller.
        for key in keys.iter() {
            while tenant.get(&kind, key).await.is_none() {
                tokio::task::yield_now().await;
            }
        }
        Ok(Self {
            tenant,
            kind,
            keys: Arc::clone(keys),
        })
    }
}

impl Operation for Ours {
    type Input = usize;

    fn prepare(&self, turn: usize) -> usize {
        turn % KEYS
    }

    async fn run(&self, number: usize) -> Result<()> {
        let load = || async { Err(Error::new(ErrorKind::Unexpected, "load what is kept")) };
        let key = &self.keys[number];
        let found = self.tenant.get_or_load(&self.kind, key, load).await?;
        black_box(found.ok_or_else(missing)?);
        Ok(())
    }
}

/// Ours without a load.
struct Get(Ours);

impl Operation for Get {
    type Input = usize;

    fn prepare(&self, turn: usize) -> usize {
        turn % KEYS
    }

    async fn run(&self, number: usize) -> Result<()> {
        let Self(ours) = self;
        let found = ours.tenant.get(&ours.kind, &ours.keys[number]).await;
        black_box(found.flatten().ok_or_else(missing)?);
        Ok(())
    }
}
