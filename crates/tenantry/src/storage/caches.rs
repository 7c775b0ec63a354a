//! Cache, rate limits and sessions of a service.

use std::sync::Arc;

use tenantry_cache::{
    Cache, CachedStore, MemoryLimits, MemorySessions, RateLimiter, RateLimits, SessionPolicy,
    SessionStore, Sessions,
};
#[cfg(feature = "redis")]
use tenantry_cache::{RedisLimits, RedisSessions, RedisSettings};
use tenantry_core::{Service, Store};
use tenantry_store::Result;

use super::Storage;
use super::open::Passwords;
use super::ownership::{check, missing, owns};
use crate::settings::Settings;
use crate::settings::cache::CachePlace;

/// What there is of them.
#[derive(Debug, Default)]
pub(super) struct Caches {
    pub(super) cache: Option<Cache>,
    limits: Option<RateLimiter>,
    sessions: Option<Arc<dyn SessionStore>>,
    /// What spans and metrics call it.
    pub(super) system: &'static str,
}

/// Opens what a service has of them.
pub(super) fn open(settings: &Settings, passwords: &Passwords) -> Result<Caches> {
    let service = settings.service;
    let wanted = &settings.cache;
    let (has_cache, has_limits) = (
        owns(service, Store::Cache),
        owns(service, Store::RateLimits),
    );
    let mut opened = match &wanted.place {
        None => Opened::default(),
        Some(_) if !has_cache && !has_limits => Opened::default(),
        Some(CachePlace::Memory) => in_memory(wanted.bytes, service)?,
        #[cfg(feature = "redis")]
        Some(CachePlace::Redis { settings, password }) => {
            let redis = RedisSettings::clone(settings);
            let redis = match password {
                None => redis,
                Some(password) => redis.with_password_from(passwords.source()?, password.clone()),
            };
            in_redis(&redis, wanted.bytes, service)?
        }
    };
    #[cfg(not(feature = "redis"))]
    let _ = passwords;
    let is_of_place = wanted.made.is_none();
    if has_cache {
        opened.cache = wanted.made.clone().or(opened.cache);
        opened.sessions = wanted.sessions.clone().or(opened.sessions);
    }
    if has_limits {
        opened.limits = wanted.limits.clone().or(opened.limits);
    }
    let system = match &wanted.place {
        #[cfg(feature = "redis")]
        Some(CachePlace::Redis { .. }) if is_of_place => tenantry_core::telemetry::REDIS,
        _ if is_of_place => "memory",
        _ => "custom",
    };
    Ok(Caches {
        cache: opened.cache,
        limits: opened.limits.map(RateLimiter::new),
        sessions: opened.sessions,
        system,
    })
}

#[derive(Default)]
struct Opened {
    cache: Option<Cache>,
    limits: Option<Arc<dyn RateLimits>>,
    sessions: Option<Arc<dyn SessionStore>>,
}

fn in_memory(bytes: Option<u64>, service: Option<Service>) -> Result<Opened> {
    let mut builder = Cache::builder();
    if let Some(bytes) = bytes {
        builder = builder.with_bytes(bytes);
    }
    let mut opened = Opened::default();
    if owns(service, Store::Cache) {
        opened.cache = Some(builder.build()?);
        opened.sessions = Some(Arc::new(MemorySessions::new()));
    }
    if owns(service, Store::RateLimits) {
        opened.limits = Some(Arc::new(MemoryLimits::new()));
    }
    Ok(opened)
}

#[cfg(feature = "redis")]
fn in_redis(redis: &RedisSettings, bytes: Option<u64>, service: Option<Service>) -> Result<Opened> {
    let mut opened = Opened::default();
    if owns(service, Store::Cache) {
        let mut builder = Cache::builder();
        if let Some(bytes) = bytes {
            builder = builder.with_bytes(bytes);
        }
        opened.cache = Some(builder.with_redis(redis)?.build()?);
        opened.sessions = Some(Arc::new(RedisSessions::new(redis)?));
    }
    if owns(service, Store::RateLimits) {
        opened.limits = Some(Arc::new(RedisLimits::new(redis)?));
    }
    Ok(opened)
}

const ADD: &str = "add a section [cache] with a url to the settings, or make it in code by \
                   Settings::with_cache and the like";

impl Storage {
    /// Returns the cache of the service.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` if it is not a store of the service, `InvalidSettings` if the settings name none.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # mod example {
    /// use tenantry::core::TenantId;
    /// use tenantry::cache::CachePolicy;
    /// use tenantry::Storage;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let storage = Storage::embedded(folder.path()).await?;
    /// let names = storage.cache()?.kind::<String>("name", CachePolicy::default())?;
    ///
    /// let tenant = storage.cache()?.tenant(TenantId::generate());
    /// let name = tenant.get_or_load(&names, "7", || async { Ok(Some("Ada".to_owned())) }).await?;
    /// assert_eq!(name.as_deref().map(String::as_str), Some("Ada"));
    /// # storage.close().await;
    /// # Ok(())
    /// # }
    /// # }
    /// # #[cfg(feature = "sqlite")]
    /// # example::main().unwrap();
    /// ```
    pub fn cache(&self) -> Result<&Cache> {
        check(self.inner.service, Store::Cache)?;
        let cache = self.inner.caches.cache.as_ref();
        cache.ok_or_else(|| missing("cache", ADD))
    }

    /// Returns what counts requests: limits of one process, or of all that share a server.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` if it is not a store of the service, `InvalidSettings` if the settings name none.
    pub fn rate_limiter(&self) -> Result<&RateLimiter> {
        check(self.inner.service, Store::RateLimits)?;
        let limits = self.inner.caches.limits.as_ref();
        limits.ok_or_else(|| missing("rate limits", ADD))
    }

    /// Returns where sessions are kept.
    ///
    /// # Errors
    ///
    /// `PermissionDenied` if it is not a store of the service, `InvalidSettings` if the settings name none.
    pub fn session_store(&self) -> Result<Arc<dyn SessionStore>> {
        check(self.inner.service, Store::Cache)?;
        let sessions = self.inner.caches.sessions.clone();
        sessions.ok_or_else(|| missing("sessions", ADD))
    }

    /// Returns the sessions of the service, whose data is of one type.
    ///
    /// # Errors
    ///
    /// As [`session_store`](Self::session_store), and `InvalidSettings` for a policy that contradicts
    /// itself.
    pub fn sessions<T>(&self, policy: SessionPolicy) -> Result<Sessions<T>> {
        Sessions::new(self.session_store()?, policy)
    }

    /// Puts a cache in front of the repositories: what is committed from now on ends what is kept.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](tenantry_core::ErrorKind::InvalidSettings): the cache is in front of another
    ///   store already.
    pub fn cached(&self, cache: &Cache) -> Result<CachedStore> {
        CachedStore::new(&self.store, cache)
    }
}
