//! The same hit, by others.

use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;

use cached::ShardedLruTtlCache;
use moka::sync::Cache as Moka;
use multi_tier_cache::{
    CacheError, CacheManager, CacheStrategy, MokaCache, MokaCacheConfig, RedisCache,
};

use super::super::{CacheBench, missing};
use super::{HITS, HOUR, Key, some_keys};
use crate::error::Result;
use crate::model::Profile;
use crate::network::Link;
use crate::runner::Operation;

/// More than there is.
const ROOM: u64 = 1_000_000;

/// With the hasher that ours has, and without a time to live.
pub(super) struct RawMoka {
    cache: Moka<Key, Arc<Profile>, ahash::RandomState>,
    keys: Arc<[Key]>,
}

impl RawMoka {
    pub(super) fn open(keys: &Arc<[Key]>) -> Self {
        let builder = Moka::builder().max_capacity(ROOM);
        let cache = builder.build_with_hasher(ahash::RandomState::new());
        for (number, key) in keys.iter().enumerate() {
            cache.insert(key.again(), Arc::new(Profile::numbered(number)));
        }
        Self {
            cache,
            keys: Arc::clone(keys),
        }
    }
}

impl Operation for RawMoka {
    type Input = Range<usize>;

    const TIMES: u32 = HITS;

    fn prepare(&self, turn: usize) -> Range<usize> {
        some_keys(turn, self.keys.len())
    }

    async fn run(&self, some: Range<usize>) -> Result<()> {
        for key in &self.keys[some] {
            black_box(self.cache.get(key).ok_or_else(missing)?);
        }
        Ok(())
    }
}

/// The store that its manual names for several threads, a bound and a time to live.
pub(super) struct Cached {
    cache: ShardedLruTtlCache<Key, Arc<Profile>>,
    keys: Arc<[Key]>,
}

impl Cached {
    pub(super) fn open(keys: &Arc<[Key]>) -> Self {
        let cache = ShardedLruTtlCache::new(10 * keys.len(), HOUR);
        for (number, key) in keys.iter().enumerate() {
            cache.set(key.again(), Arc::new(Profile::numbered(number)));
        }
        Self {
            cache,
            keys: Arc::clone(keys),
        }
    }
}

impl Operation for Cached {
    type Input = Range<usize>;

    const TIMES: u32 = HITS;

    fn prepare(&self, turn: usize) -> Range<usize> {
        some_keys(turn, self.keys.len())
    }

    async fn run(&self, some: Range<usize>) -> Result<()> {
        for key in &self.keys[some] {
            black_box(self.cache.get(key).ok_or_else(missing)?);
        }
        Ok(())
    }
}

/// Which keeps bytes, and decodes them for each reader.
pub(super) struct MultiTier {
    manager: CacheManager,
    keys: Box<[String]>,
}

impl MultiTier {
    pub(super) async fn open(bench: &CacheBench, keys: &[Key]) -> Result<Self> {
        let near = MokaCache::new(MokaCacheConfig {
            max_capacity: ROOM,
            time_to_live: HOUR,
            time_to_idle: HOUR,
        })?;
        let far = RedisCache::with_url(&bench.server.url(Link::Loopback)?).await?;
        let manager = CacheManager::new_with_backends(Arc::new(near), Arc::new(far), None)?;
        let name = |key: &Key| format!("{}:{}:{}", key.tenant, key.kind, key.text);
        let keys: Box<[String]> = keys.iter().map(name).collect();
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
    type Input = Range<usize>;

    const TIMES: u32 = HITS;

    fn prepare(&self, turn: usize) -> Range<usize> {
        some_keys(turn, self.keys.len())
    }

    async fn run(&self, some: Range<usize>) -> Result<()> {
        for key in &self.keys[some] {
            let load = || async { Err(CacheError::NotFound) };
            let found = self
                .manager
                .get_or_compute_typed::<Profile, _, _>(key, CacheStrategy::MediumTerm, load)
                .await?;
            black_box(found);
        }
        Ok(())
    }
}
