//! The cache: the handle of a service, and that of one tenant.

mod alarm;
mod batch;
mod counts;
mod far;
mod fence;
#[cfg(test)]
mod interleavings;
mod key;
mod kind;
mod near;
mod peek;
mod room;

use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tenantry_core::{Error, ErrorKind, Result, SharedClock, SystemClock, TenantId};
use tokio::task::JoinError;
use tracing::{Instrument as _, Span};

use self::batch::Batch;
pub use self::counts::CacheCounts;
use self::counts::{Counted, Counters};
use self::far::{Far, Turn};
use self::fence::{Tenant, Tenants};
use self::key::KeyRef;
use self::kind::CacheId;
pub use self::kind::{CacheKind, CachePolicy};
use self::near::{Flight, Found, Near, Ticket, Value};
pub(crate) use self::peek::{Kept, Peek};
use crate::shared::{Invalidation, Listener, SharedLevel, Slot, wire};
use crate::telemetry::{self, Loads, Observed};

const LOAD: &str = "load into cache";

/// For how long a value that is past its time is given out without a try, after a load has failed.
const REST: Duration = Duration::from_secs(1);

/// Keeps what was loaded of tenants, and forgets it when it changes; cheap to clone.
///
/// A load that began before an invalidation never stores what it got: not of a key, not of a tag, not
/// of a tenant, and not in the background. It answers who waited for it, and nobody else.
///
/// # Examples
///
/// ```
/// use tenantry_cache::{Cache, CachePolicy};
/// use tenantry_core::TenantId;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tenantry_core::Result<()> {
/// let cache = Cache::builder().build()?;
/// let names = cache.kind::<String>("name", CachePolicy::default())?;
///
/// let tenant = cache.tenant(TenantId::generate());
/// let load = || async { Ok(Some("Ada".to_owned())) };
/// let name = tenant.get_or_load(&names, "7", load).await?;
/// assert_eq!(name.as_deref().map(String::as_str), Some("Ada"));
///
/// tenant.invalidate(&names, "7").await?;
/// assert!(tenant.get(&names, "7").await.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    id: CacheId,
    clock: SharedClock,
    near: Near,
    far: Option<Arc<Far>>,
    tenants: Arc<Tenants>,
    /// What type the values of each kind are of, and how often they were asked for.
    kinds: Mutex<HashMap<Arc<str>, Known>>,
    loads: Loads,
    /// The store that it is in front of: rows of two would be one to it.
    #[cfg(feature = "repository")]
    store: std::sync::OnceLock<tenantry_store::StoreId>,
}

type Known = (TypeId, Arc<Counters>);

/// Says how much a [`Cache`] keeps, to build it.
#[derive(Debug)]
pub struct CacheBuilder {
    clock: SharedClock,
    bytes: u64,
    quota: Option<usize>,
    level: Option<Arc<dyn SharedLevel>>,
}

/// Keeps what was loaded of one tenant, and of no other; cheap to clone.
///
/// It is for the work of one request or one task: who keeps it for long keeps a little memory.
#[derive(Clone)]
pub struct TenantCache {
    inner: Arc<Inner>,
    tenant: Arc<Tenant>,
}

/// A key, and the tags that its value depends on.
///
/// # Examples
///
/// ```
/// use tenantry_cache::Lookup;
///
/// let plain: Lookup<'_> = "7".into();
/// let tagged = Lookup::new("7").with_tags(&["customer:12"]);
/// # let _ = (plain, tagged);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookup<'k> {
    key: &'k str,
    tags: &'k [&'k str],
}

impl<'k> Lookup<'k> {
    /// Looks for a key; any text is one.
    #[must_use]
    pub const fn new(key: &'k str) -> Self {
        Self { key, tags: &[] }
    }

    /// Says what the value depends on: it ends with each of these tags.
    ///
    /// They are named whenever the value is asked for: one that was loaded without a tag that is named
    /// now is loaded anew.
    #[must_use]
    pub const fn with_tags(mut self, tags: &'k [&'k str]) -> Self {
        self.tags = tags;
        self
    }

    pub(crate) const fn key(&self) -> &'k str {
        self.key
    }

    pub(crate) const fn tags(&self) -> &'k [&'k str] {
        self.tags
    }
}

impl<'k> From<&'k str> for Lookup<'k> {
    fn from(key: &'k str) -> Self {
        Self::new(key)
    }
}

impl<'k> From<&'k String> for Lookup<'k> {
    fn from(key: &'k String) -> Self {
        Self::new(key)
    }
}

/// What a load failed with, for all who waited for it.
#[derive(Debug, Clone)]
struct Failure(Arc<Error>);

impl Failure {
    fn new(error: Error) -> Self {
        Self(Arc::new(error))
    }

    /// Returns what is told of a load whose task did not end.
    fn lost(error: &JoinError) -> Self {
        Self::new(match error.is_panic() {
            true => panicked(),
            false => Error::new(ErrorKind::Unavailable, LOAD)
                .with_detail("the runtime that loaded it has ended: try again"),
        })
    }

    fn kind(&self) -> &'static str {
        self.0.kind().as_str()
    }

    /// Returns the error of one of them, which is as the loader told it.
    fn error(self) -> Error {
        match Arc::try_unwrap(self.0) {
            Ok(error) => error,
            Err(shared) => Error::retold(shared.operation(), shared),
        }
    }
}

/// How one value is loaded.
trait Load<T>: Send + 'static {
    /// Returns who hears that another process is loading it.
    fn waits(&self) -> Box<dyn Fn() + Send + Sync> {
        Box::new(|| {})
    }

    fn load(self) -> impl Future<Output = Result<Option<T>>> + Send;
}

/// By a function of its own.
struct Alone<L>(L);

impl<T, L, F> Load<T> for Alone<L>
where
    L: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<Option<T>>> + Send,
{
    async fn load(self) -> Result<Option<T>> {
        (self.0)().await
    }
}

fn panicked() -> Error {
    Error::new(ErrorKind::Unexpected, LOAD).with_detail("the load has panicked")
}

impl CacheBuilder {
    /// Sets how much memory the values of this process take: 256 MiB by default.
    ///
    /// A value counts by the bytes that it takes encoded, its key, and 512 bytes beside, and each of its
    /// tags by its text and 64 bytes. What is asked for more often stays (the policy W-TinyLFU, by `moka`).
    #[must_use]
    pub const fn with_bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// Sets how much of the memory one tenant may take: a quarter by default. Its oldest values go
    /// first; a value that is larger by itself is not kept.
    #[must_use]
    pub const fn with_bytes_of_a_tenant(mut self, bytes: usize) -> Self {
        self.quota = Some(bytes);
        self
    }

    /// Sets the clock.
    #[must_use]
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Keeps values in a Redis as well, which other processes share.
    ///
    /// It need not be there: a cache that does not answer is done without.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): the URL or the prefix is none.
    /// - [`Unsupported`](ErrorKind::Unsupported): it is called outside a runtime of Tokio, in which it
    ///   listens to the server.
    #[cfg(feature = "redis")]
    pub fn with_redis(self, settings: &crate::RedisSettings) -> Result<Self> {
        let level = crate::redis::RedisLevel::new(settings)?;
        Ok(self.with_level(Arc::new(level)))
    }

    /// Keeps values in a level that several processes share as well.
    #[cfg(any(test, feature = "redis"))]
    pub(crate) fn with_level(mut self, level: Arc<dyn SharedLevel>) -> Self {
        self.level = Some(level);
        self
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): nothing could be kept.
    pub fn build(self) -> Result<Cache> {
        let quarter = usize::try_from(self.bytes / 4).unwrap_or(usize::MAX);
        let quota = self.quota.unwrap_or(quarter);
        if self.bytes == 0 || quota == 0 {
            return Err(Error::new(ErrorKind::InvalidSettings, "build cache")
                .with_detail("it may take no memory: allow some, or do without a cache"));
        }
        let clock = Arc::clone(&self.clock);
        let far = self.level.map(|level| Arc::new(Far::new(level, clock)));
        let tenants = Arc::new(Tenants::new(quota));
        let inner = Arc::new(Inner {
            id: CacheId::next(),
            clock: self.clock,
            near: Near::new(self.bytes, &tenants, far.is_none()),
            far,
            tenants,
            kinds: Mutex::default(),
            loads: Loads::new(),
            #[cfg(feature = "repository")]
            store: Default::default(),
        });
        if let Some(far) = &inner.far {
            let listener: Weak<Inner> = Arc::downgrade(&inner);
            far.level().listen(listener);
        }
        telemetry::observe_lookups(Arc::downgrade(&inner));
        Ok(Cache { inner })
    }
}

impl Cache {
    /// Begins to say how much is kept.
    #[must_use]
    pub fn builder() -> CacheBuilder {
        CacheBuilder {
            clock: Arc::new(SystemClock),
            bytes: 256 * 1024 * 1024,
            quota: None,
            level: None,
        }
    }

    /// Returns whether this is the store that the cache is in front of; the first that asks is.
    #[cfg(feature = "repository")]
    pub(crate) fn is_before(&self, store: tenantry_store::StoreId) -> bool {
        *self.inner.store.get_or_init(|| store) == store
    }

    /// Returns a kind of values: one type under one name, in this whole cache.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): no kind can be called so, its values are of
    ///   another type already, or the policy contradicts itself.
    pub fn kind<T>(&self, name: &str, policy: CachePolicy) -> Result<CacheKind<T>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let mut kind = CacheKind::new(name, policy, self.inner.id)?;
        let mut kinds = self.inner.kinds.lock();
        let value_type = CacheKind::<T>::value_type();
        let known = kinds.entry(Arc::clone(&kind.name));
        let (known, counters) = known.or_insert_with(|| (value_type, Arc::clone(&kind.counters)));
        kind.counters = Arc::clone(counters);
        if *known != value_type {
            return Err(Error::new(ErrorKind::InvalidSettings, "make cache kind")
                .with_subject(name.to_owned())
                .with_detail("its values are of another type already: choose another name"));
        }
        Ok(kind)
    }

    /// Returns the handle of one tenant.
    #[must_use]
    pub fn tenant(&self, tenant: TenantId) -> TenantCache {
        TenantCache {
            inner: Arc::clone(&self.inner),
            tenant: self.inner.tenants.get(tenant),
        }
    }

    /// Forgets everything, of all tenants, in this process.
    pub fn clear(&self) {
        self.inner.near.clear();
    }

    /// Asks the level that several processes share for an answer; without one there is nothing to ask.
    ///
    /// A cache whose shared level does not answer is done without: this is for a probe that tells of it.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `AuthenticationFailed` and the like: the server does not answer, or not to this user.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has done nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> tenantry_core::Result<()> {
    /// let cache = tenantry_cache::Cache::builder().build()?;
    /// cache.check().await?;                               // it is in this process
    /// # Ok(())
    /// # }
    /// ```
    pub async fn check(&self) -> Result<()> {
        match &self.inner.far {
            Some(far) => far.level().check().await,
            None => Ok(()),
        }
    }

    /// Returns how many bytes the values of a tenant take in this process.
    #[must_use]
    pub fn bytes_of(&self, tenant: TenantId) -> usize {
        let known = self.inner.tenants.known(tenant);
        known.map_or(0, |tenant| tenant.room.bytes())
    }
}

impl TenantCache {
    /// Returns the tenant.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.tenant.id
    }

    /// Refuses a kind of another cache, in which its name may stand for another type.
    fn check_kind<T>(&self, kind: &CacheKind<T>) -> Result<()> {
        match kind.cache == self.inner.id {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::InvalidInput, LOAD)
                .with_subject(kind.name.to_string())
                .with_detail("the kind was made by another cache")),
        }
    }

    /// Returns what is known of a key: a value, that there is none (`Some(None)`), or nothing, as of a kind that another
    /// cache has made.
    ///
    /// A shared level that does not answer knows nothing.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has done nothing.
    pub async fn get<T>(
        &self,
        kind: &CacheKind<T>,
        lookup: impl Into<Lookup<'_>>,
    ) -> Option<Option<Arc<T>>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let lookup = lookup.into();
        if kind.cache != self.inner.id {
            return None;
        }
        if let Found::Fresh { value, .. } = self.look(kind, lookup) {
            kind.counters.count(Counted::Hit);
            return Some(downcast(value));
        }
        kind.counters.count(Counted::Miss);
        let far = self.inner.far.as_ref()?;
        let slot = Slot::new(
            self.tenant.id,
            &kind.name,
            kind.schema,
            lookup.key.into(),
            lookup.tags.iter().copied(),
        );
        // It is not kept here: only a load that is known here is kept from storing what has changed.
        match far.read::<T>(&slot, &kind.policy).await {
            Ok(far::Looked::Value(read)) => {
                kind.counters.count(Counted::SharedHit);
                Some(read.value.map(Arc::new))
            }
            _ => None,
        }
    }

    /// Returns what is known of a key, or loads it; `None` where the loader found nothing.
    ///
    /// Whoever asks for a key at the same time shares one load, which runs in a task of its own, with
    /// the loader of whoever came first. A load that fails is told to all of them, and not kept.
    ///
    /// # Errors
    ///
    /// - those of the loader.
    /// - [`InvalidInput`](ErrorKind::InvalidInput): another cache has made the kind.
    /// - [`Unavailable`](ErrorKind::Unavailable): it took longer than
    ///   [`with_load_timeout`](CachePolicy::with_load_timeout) allows; it goes on, and what it gives
    ///   is kept.
    /// - [`Unexpected`](ErrorKind::Unexpected): it has panicked.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the load goes on, and what it gives is kept.
    pub async fn get_or_load<T, F>(
        &self,
        kind: &CacheKind<T>,
        lookup: impl Into<Lookup<'_>>,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Option<Arc<T>>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        F: Future<Output = Result<Option<T>>> + Send,
    {
        self.check_kind(kind)?;
        let (lookup, load) = (lookup.into(), Alone(load));
        match self.look(kind, lookup) {
            Found::Fresh { value, due } => {
                kind.counters.count(Counted::Hit);
                if due.is_some() {
                    drop(self.load(kind, lookup, due, &mut Some(load)));
                }
                Ok(downcast(value))
            }
            Found::Stale {
                value,
                may_load: true,
            } => {
                let loaded = self.loaded(kind, lookup, load);
                match tokio::time::timeout(kind.policy.patience, loaded).await {
                    Ok(Ok(value)) => {
                        kind.counters.count(Counted::Miss);
                        Ok(downcast(value))
                    }
                    Ok(Err(Failure(error))) => {
                        kind.counters.count(Counted::Stale);
                        tracing::warn!(
                            target: "tenantry::cache",
                            kind = kind.name(),
                            error = error.kind().as_str(),
                            "a value past its time is used, for it cannot be loaded anew"
                        );
                        Ok(downcast(value))
                    }
                    // It goes on, and the next reader has what it gives.
                    Err(_) => {
                        kind.counters.count(Counted::Stale);
                        Ok(downcast(value))
                    }
                }
            }
            Found::Stale { value, .. } => {
                kind.counters.count(Counted::Stale);
                Ok(downcast(value))
            }
            Found::Nothing => {
                kind.counters.count(Counted::Miss);
                let timeout = kind.policy.load_timeout;
                let loaded = self.loaded(kind, lookup, load);
                let ended = tokio::time::timeout(timeout, loaded).await;
                let value = ended.map_err(|_| too_long(kind))?;
                value.map(downcast).map_err(Failure::error)
            }
        }
    }

    /// Returns what is known of several keys, each in its place, and loads all the others by one call.
    ///
    /// The loader gets the places of the keys that it has to load, and gives a value for each of them, in
    /// their order. It is called once, and once more for each key that another process was loading and
    /// did not store, or that somebody has begun to load before an invalidation of which this process
    /// could not hear. Those whose time is nearly over are loaded anew by one call beside it, in the
    /// background.
    ///
    /// # Errors
    ///
    /// As [`get_or_load`](Self::get_or_load); where one key fails, all do. Values past their time are not
    /// given out.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the load goes on, and what it gives is kept.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tenantry_cache::{Cache, CachePolicy, Lookup};
    /// # use tenantry_core::TenantId;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> tenantry_core::Result<()> {
    /// # let cache = Cache::builder().build()?;
    /// let names = cache.kind::<String>("name", CachePolicy::default())?;
    /// let tenant = cache.tenant(TenantId::generate());
    /// tenant.get_or_load(&names, "7", || async { Ok(Some("Ada".to_owned())) }).await?;
    ///
    /// let load = |places: Vec<usize>| async move {
    ///     assert_eq!(places, [1, 2]);                             // the first is known
    ///     Ok(vec![Some("Zoë".to_owned()), None])
    /// };
    /// let keys = ["7", "8", "9"].map(Lookup::new);
    /// let found = tenant.get_or_load_many(&names, &keys, load).await?;
    /// assert_eq!(found[1].as_deref().map(String::as_str), Some("Zoë"));
    /// assert!(found[0].is_some() && found[2].is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_or_load_many<T, F>(
        &self,
        kind: &CacheKind<T>,
        lookups: &[Lookup<'_>],
        load: impl Fn(Vec<usize>) -> F + Send + Sync + 'static,
    ) -> Result<Vec<Option<Arc<T>>>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        F: Future<Output = Result<Vec<Option<T>>>> + Send + 'static,
    {
        self.check_kind(kind)?;
        let near = &self.inner.near;
        let now = self.inner.clock.monotonic();
        let (arrived, is_sure) = (near.next_id(), near.is_sure(now));
        let mut found = vec![None; lookups.len()];
        let (mut missing, mut due) = (Vec::new(), Vec::new());
        for (place, lookup) in lookups.iter().enumerate() {
            match self.look(kind, *lookup) {
                Found::Fresh { value, due: until } => {
                    kind.counters.count(Counted::Hit);
                    found[place] = downcast(value);
                    due.extend(until.map(|until| (place, until)));
                }
                _ => {
                    kind.counters.count(Counted::Miss);
                    missing.push(place);
                }
            }
        }
        let load = Arc::new(load);
        if !due.is_empty() {
            self.refresh(kind, lookups, &due, &load);
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let batch = Batch::new(load);
        // Nothing is loaded before all are known.
        let mut parts: Vec<_> = missing
            .iter()
            .map(|place| Some(batch.part(*place)))
            .collect();
        let mut flights = Vec::with_capacity(missing.len());
        for (place, part) in missing.iter().zip(&mut parts) {
            flights.push(self.load(kind, lookups[*place], None, part));
        }
        // Those that others are loading.
        drop(parts);
        let ended = async {
            let taken = flights.iter().map(|it| is_sure || it.id() >= arrived);
            let taken: Vec<_> = taken.collect();
            // All at once: they wait for each other.
            let ends = join_all(flights.into_iter().map(Flight::end)).await;
            for ((place, outcome), is_taken) in missing.into_iter().zip(ends).zip(taken) {
                let value = match outcome {
                    Ok(_) if !is_taken => {
                        self.loaded(kind, lookups[place], batch.part(place)).await
                    }
                    outcome => outcome,
                };
                found[place] = downcast(value.map_err(Failure::error)?);
            }
            Ok(found)
        };
        let ended = tokio::time::timeout(kind.policy.load_timeout, ended).await;
        ended.unwrap_or_else(|_| Err(too_long(kind)))
    }

    /// Loads several keys anew by one call, in the background, of which each is fresh until a time.
    fn refresh<T, L, F>(
        &self,
        kind: &CacheKind<T>,
        lookups: &[Lookup<'_>],
        due: &[(usize, Duration)],
        load: &Arc<L>,
    ) where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        L: Fn(Vec<usize>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Vec<Option<T>>>> + Send + 'static,
    {
        let batch = Batch::new(Arc::clone(load));
        let mut parts: Vec<_> = due
            .iter()
            .map(|(place, _)| Some(batch.part(*place)))
            .collect();
        for ((place, until), part) in due.iter().zip(&mut parts) {
            // Dropped, it goes on.
            drop(self.load(kind, lookups[*place], Some(*until), part));
        }
    }

    /// Forgets a key, and keeps loads that have begun from storing it.
    ///
    /// Call it after the change is committed: a load that begins in between would see the old value,
    /// and keep it.
    ///
    /// # Errors
    ///
    /// - [`Unavailable`](ErrorKind::Unavailable) and the like: the shared level does not answer. It is
    ///   forgotten here, and this process goes on to tell the level until it does.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done all the same, in the background.
    pub async fn invalidate<T>(&self, kind: &CacheKind<T>, key: &str) -> Result<()> {
        self.end_all(vec![Invalidation::Key {
            kind: Arc::clone(&kind.name),
            key: key.into(),
        }])
        .await
    }

    /// Forgets all that depends on a tag.
    ///
    /// # Errors
    ///
    /// As [`invalidate`](Self::invalidate).
    ///
    /// # Cancel safety
    ///
    /// As [`invalidate`](Self::invalidate).
    pub async fn invalidate_tag(&self, tag: &str) -> Result<()> {
        self.end_all(vec![Invalidation::Tag(tag.into())]).await
    }

    /// Forgets all that is known of the tenant, in one step, however much that is.
    ///
    /// # Errors
    ///
    /// As [`invalidate`](Self::invalidate).
    ///
    /// # Cancel safety
    ///
    /// As [`invalidate`](Self::invalidate).
    pub async fn flush(&self) -> Result<()> {
        self.end_all(vec![Invalidation::Tenant]).await
    }

    /// Ends all of these, as [`invalidate`](Self::invalidate) does one.
    pub(crate) async fn end_all(&self, over: Vec<Invalidation>) -> Result<()> {
        self.end_here(&over);
        let Some(far) = &self.inner.far else {
            return Ok(());
        };
        // Whoever reads the shared level meanwhile may read what is over, also where this is dropped.
        let again = EndAgain { cache: self, over };
        far.invalidate(self.tenant.id, &again.over).await
    }

    /// Ends all of these here, and in the shared level as soon as that has heard of it.
    #[cfg(feature = "repository")]
    pub(crate) fn end_later(&self, over: &[Invalidation]) {
        if let Some(far) = &self.inner.far {
            for what in over {
                far.wait_with(self.tenant.id, what.clone());
            }
        }
        // After it is known that the level may hold what is over: who reads it meanwhile is ended too.
        self.end_here(over);
    }

    fn end_here(&self, over: &[Invalidation]) {
        for what in over {
            self.inner.end(&self.tenant, what);
        }
    }

    fn look<T>(&self, kind: &CacheKind<T>, lookup: Lookup<'_>) -> Found {
        let Inner { near, clock, .. } = &*self.inner;
        let key = KeyRef::new(self.tenant.id, &kind.name, lookup.key);
        near.look(&self.tenant, key, lookup.tags, &**clock)
    }

    /// Waits for the load of a key, whoever began it.
    ///
    /// One from before this call may be from before an invalidation of another process, of which this
    /// one has not heard: unless it is sure to hear of all, it is waited for and not taken.
    async fn loaded<T>(
        &self,
        kind: &CacheKind<T>,
        lookup: Lookup<'_>,
        load: impl Load<T>,
    ) -> Result<Value, Failure>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let near = &self.inner.near;
        let (arrived, mut load) = (near.next_id(), Some(load));
        loop {
            let is_sure = near.is_sure(self.inner.clock.monotonic());
            let flight = self.load(kind, lookup, None, &mut load);
            let is_taken = is_sure || flight.id() >= arrived;
            match flight.end().await {
                Ok(_) if !is_taken => {}
                outcome => return outcome,
            }
        }
    }

    /// Joins the load of a key that is under way, or begins one in a task of its own.
    fn load<T, L: Load<T>>(
        &self,
        kind: &CacheKind<T>,
        lookup: Lookup<'_>,
        refresh: Option<Duration>,
        load: &mut Option<L>,
    ) -> Flight
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let key = KeyRef::new(self.tenant.id, &kind.name, lookup.key).to_key(&kind.name);
        let near = &self.inner.near;
        near.flight(&self.tenant, key, lookup.tags, |ticket| {
            let (inner, kind, load) = (Arc::clone(&self.inner), kind.clone(), load.take());
            let span = tracing::info_span!(
                target: "tenantry::cache",
                "tenantry.cache",
                db.operation.name = "load",
                tenantry.cache.kind = kind.name(),
                tenant.id = %self.tenant.id,
                tenantry.outcome = tracing::field::Empty,
            );
            let course = async move {
                // Whoever begins one returns with it.
                let load = load.ok_or_else(|| Failure::new(panicked()))?;
                let landing = Landing { inner, ticket };
                let outcome = landing.get(kind, refresh, load).await;
                let told = outcome.as_ref().map_or_else(Failure::kind, |_| "ok");
                Span::current().record("tenantry.outcome", told);
                outcome
            };
            // A value of the shared level may panic when it is read.
            let course = AssertUnwindSafe(course).catch_unwind();
            let course = course.map(|end| end.unwrap_or_else(|_| Err(Failure::new(panicked()))));
            match span.is_disabled() {
                true => course.boxed(),
                false => course.instrument(span).boxed(),
            }
        })
    }
}

/// Ends something in this process once more, when the shared level has been told or will be.
struct EndAgain<'c> {
    cache: &'c TenantCache,
    over: Vec<Invalidation>,
}

impl Drop for EndAgain<'_> {
    fn drop(&mut self) {
        self.cache.end_here(&self.over);
    }
}

impl Landing {
    /// Gets a value from the shared level, or by a load in a task of its own, and keeps it.
    async fn get<T>(
        self,
        kind: CacheKind<T>,
        refresh: Option<Duration>,
        load: impl Load<T>,
    ) -> Result<Value, Failure>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let Self { inner, ticket } = &self;
        let mut turn = None;
        if let Some(far) = &inner.far {
            let slot = far::slot(ticket, kind.schema);
            let waits = load.waits();
            match far.look::<T>(&slot, &kind.policy, refresh, waits).await {
                far::Found::Value(far::Read {
                    value,
                    weight,
                    times,
                    ..
                }) => {
                    kind.counters.count(Counted::SharedHit);
                    let value: Value = value.map(|value| Arc::new(value) as Arc<_>);
                    let now = inner.clock.monotonic();
                    inner.near.store(ticket, value.clone(), weight, times, now);
                    return Ok(value);
                }
                far::Found::Nothing(fence) => turn = Some(Turn::new(far, slot, fence)),
                far::Found::Down => {}
            }
        }
        let loading = async move { self.inner.load(&kind, &self.ticket, turn, load).await };
        let ended = tokio::spawn(loading.in_current_span()).await;
        ended.unwrap_or_else(|error| Err(Failure::lost(&error)))
    }
}

impl Inner {
    /// Loads a value, and keeps it.
    async fn load<T>(
        &self,
        kind: &CacheKind<T>,
        ticket: &Ticket,
        turn: Option<Turn>,
        load: impl Load<T>,
    ) -> Result<Value, Failure>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let begun = self.clock.monotonic();
        let load = AssertUnwindSafe(load.load());
        let outcome = load
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(panicked()));
        let now = self.clock.monotonic();
        let failure = outcome.as_ref().err().map(|error| error.kind().as_str());
        self.loads
            .ended(kind.name(), now.saturating_sub(begun), failure);
        match outcome {
            Ok(value) => {
                kind.counters.count(Counted::Load);
                Ok(self.keep(kind, ticket, turn, value, (begun, now)))
            }
            Err(error) => {
                kind.counters.count(Counted::FailedLoad);
                self.near.rest(ticket, now, now.saturating_add(REST));
                Err(Failure::new(error))
            }
        }
    }

    /// Keeps what was loaded, here and in the shared level, for which nobody waits.
    fn keep<T>(
        &self,
        kind: &CacheKind<T>,
        ticket: &Ticket,
        turn: Option<Turn>,
        value: Option<T>,
        (begun, now): (Duration, Duration),
    ) -> Value
    where
        T: Serialize + Send + Sync + 'static,
    {
        let lifetime = kind.policy.lifetime(value.is_some());
        let took = now.saturating_sub(begun);
        let (mut weight, mut written) = (0, None);
        if let Some(turn) = turn
            && let Some(lifetime) = lifetime
            && let Some((bytes, length)) = written_for(&turn, kind, value.as_ref(), took)
        {
            weight = length;
            // From the moment when it was asked for: it may be as old as that.
            let fresh = lifetime.saturating_sub(took);
            written = Some((turn, bytes, fresh));
        } else if let Some(value) = &value {
            weight = weight_of(value);
        }
        let is_there = value.is_some();
        let value: Value = value.map(|value| Arc::new(value) as Arc<_>);
        if let Some(lifetime) = lifetime {
            // From the moment when it was asked for: it may be as old as that.
            let until = begun.saturating_add(lifetime);
            let times = kind.policy.times(is_there, begun, until, took);
            self.near.store(ticket, value.clone(), weight, times, now);
        } else {
            self.near.forget_older(ticket);
        }
        if let Some((turn, bytes, fresh)) = written {
            tokio::spawn(turn.store(bytes, fresh));
        }
        value
    }

    /// Ends something in this process.
    fn end(&self, tenant: &Tenant, what: &Invalidation) {
        match what {
            Invalidation::Key { kind, key } => {
                let key = KeyRef::new(tenant.id, kind, key).to_key(kind);
                self.near.invalidate(&key);
            }
            Invalidation::Tag(tag) => tenant.flush_tag(tag),
            Invalidation::Tenant => tenant.flush(),
        }
    }
}

impl Observed for Inner {
    fn counts(&self, each: &mut dyn FnMut(&str, CacheCounts)) {
        for (name, (_, counters)) in &*self.kinds.lock() {
            each(name, counters.now());
        }
    }

    fn size(&self) -> (u64, u64) {
        self.near.size()
    }
}

impl Listener for Inner {
    fn heard(&self, tenant: TenantId, what: &[Invalidation]) {
        // Of a tenant of whom nothing is known, nothing is kept and nothing is being loaded.
        if let Some(tenant) = self.tenants.known(tenant) {
            for what in what {
                self.end(&tenant, what);
            }
        }
    }

    fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    fn missed(&self, tenant: TenantId) {
        self.heard(tenant, &[Invalidation::Tenant]);
    }

    fn missed_some(&self) {
        self.near.clear();
    }

    fn is_sure_until(&self, time: Duration) {
        self.near.is_sure_until(time, self.clock.monotonic());
    }
}

fn too_long<T: 'static>(kind: &CacheKind<T>) -> Error {
    let timeout = kind.policy.load_timeout;
    Error::new(ErrorKind::Unavailable, LOAD)
        .with_subject(kind.name().to_owned())
        .with_detail(format!("it takes longer than {timeout:?}, and goes on"))
}

/// Writes a value for other processes, if it is one for them.
fn written_for<T: Serialize>(
    turn: &Turn,
    kind: &CacheKind<T>,
    value: Option<&T>,
    took: Duration,
) -> Option<(Vec<u8>, usize)> {
    let written = wire::write(turn.slot(), value, took, kind.policy.encoding);
    written
        .map_err(|why| alarm::unwritten(turn.slot(), why))
        .ok()
}

/// Returns about how many bytes a value takes: as many as it does in the shortest encoding.
fn weight_of<T: Serialize>(value: &T) -> usize {
    // What postcard cannot write, such as what is flattened, JSON can.
    postcard::experimental::serialized_size(value)
        .unwrap_or_else(|_| serde_json::to_vec(value).map_or(usize::MAX, |written| written.len()))
}

/// Returns a value as what it is: a kind has one type.
fn downcast<T: Send + Sync + 'static>(value: Value) -> Option<Arc<T>> {
    value.and_then(|value| value.downcast().ok())
}

/// Says that a load has ended, also where its runtime ends.
struct Landing {
    inner: Arc<Inner>,
    ticket: Ticket,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.inner.near.landed(&self.ticket);
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (values, bytes) = self.inner.near.size();
        f.debug_struct("Cache")
            .field("values", &values)
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TenantCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantCache")
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}
