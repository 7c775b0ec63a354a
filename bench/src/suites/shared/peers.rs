//! The same hit, by others.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use cached::{AsyncRedisCache, ConcurrentCachedAsync as _};
use multi_tier_cache::{
    CacheError, CacheManager, CacheStrategy, MokaCache, MokaCacheConfig, RedisCache,
};

use super::super::{CacheBench, missing};
use super::KEYS;
use crate::error::Result;
use crate::model::Profile;
use crate::network::Link;
use crate::runner::Operation;
use crate::server::Stripes;

const TIME_TO_LIVE: Duration = Duration::from_secs(3_600);

/// Bytes as they lie there, which nobody decodes.
pub(super) struct RawGet {
    stripes: Arc<Stripes>,
    keys: Box<[String]>,
}

impl RawGet {
    pub(super) async fn open(bench: &CacheBench, link: Link) -> Result<Self> {
        let stripes = bench.server.stripes(link).await?;
        let keys: Box<[String]> = (0..KEYS).map(|it| format!("raw:profile:{it}")).collect();
        for (number, key) in keys.iter().enumerate() {
            redis::cmd("SET")
                .arg(key)
                .arg(postcard::to_stdvec(&Profile::numbered(number))?)
                .exec_async(&mut stripes.next())
                .await?;
        }
        Ok(Self { stripes, keys })
    }
}

impl Operation for RawGet {
    type Input = usize;

    fn prepare(&self, turn: usize) -> usize {
        turn % KEYS
    }

    async fn run(&self, number: usize) -> Result<()> {
        let found: Option<Vec<u8>> = redis::cmd("GET")
            .arg(&self.keys[number])
            .query_async(&mut self.stripes.next())
            .await?;
        black_box(found.ok_or_else(missing)?);
        Ok(())
    }
}

/// With no room in this process, as ours.
pub(super) struct MultiTier {
    manager: CacheManager,
    keys: Box<[String]>,
}

impl MultiTier {
    pub(super) async fn open(bench: &CacheBench, link: Link) -> Result<Self> {
        let near = MokaCache::new(MokaCacheConfig {
            max_capacity: 0,
            ..MokaCacheConfig::default()
        })?;
        let far = RedisCache::with_url(&bench.server.url(link)?).await?;
        let manager = CacheManager::new_with_backends(Arc::new(near), Arc::new(far), None)?;
        let keys: Box<[String]> = (0..KEYS).map(|it| format!("tiers:profile:{it}")).collect();
        for (number, key) in keys.iter().enumerate() {
            let load = || async { Ok(Profile::numbered(number)) };
            manager
                .get_or_compute_typed(key, CacheStrategy::MediumTerm, load)
                .await?;
        }
        Ok(Self { manager, keys })
    }
}

impl Operation for MultiTier {
    type Input = usize;

    fn prepare(&self, turn: usize) -> usize {
        turn % KEYS
    }

    async fn run(&self, number: usize) -> Result<()> {
        let load = || async { Err(CacheError::NotFound) };
        let found = self
            .manager
            .get_or_compute_typed::<Profile, _, _>(
                &self.keys[number],
                CacheStrategy::MediumTerm,
                load,
            )
            .await?;
        black_box(found);
        Ok(())
    }
}

pub(super) struct Cached {
    cache: AsyncRedisCache<String, Profile>,
    keys: Box<[String]>,
}

impl Cached {
    pub(super) async fn open(bench: &CacheBench, link: Link) -> Result<Self> {
        let cache = AsyncRedisCache::builder("profile")
            .ttl(TIME_TO_LIVE)
            .connection_string(&bench.server.url(link)?)
            .build()
            .await?;
        let keys: Box<[String]> = (0..KEYS).map(|it| format!("customer {it}")).collect();
        for (number, key) in keys.iter().enumerate() {
            let profile = Profile::numbered(number);
            cache.async_cache_set(key.clone(), profile).await?;
        }
        Ok(Self { cache, keys })
    }
}

impl Operation for Cached {
    type Input = usize;

    fn prepare(&self, turn: usize) -> usize {
        turn % KEYS
    }

    async fn run(&self, number: usize) -> Result<()> {
        let found = self.cache.async_cache_get(&self.keys[number]).await?;
        black_box(found.ok_or_else(missing)?);
        Ok(())
    }
}
