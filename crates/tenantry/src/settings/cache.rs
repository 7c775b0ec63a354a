use std::sync::Arc;

#[cfg(feature = "redis")]
use tenantry_cache::RedisSettings;
use tenantry_cache::{Cache, RateLimits, SessionStore};
#[cfg(feature = "redis")]
use tenantry_core::SecretReference;

#[cfg(feature = "settings-file")]
use super::{file::Section, url::Url};
#[cfg(feature = "settings-file")]
use tenantry_store::Result;

/// Cache, rate limits and sessions: one place for all, and what is made in code.
#[derive(Debug, Clone, Default)]
pub(crate) struct CacheSettings {
    pub(crate) place: Option<CachePlace>,
    /// How much the cache takes in this process.
    pub(crate) bytes: Option<u64>,
    pub(crate) made: Option<Cache>,
    pub(crate) limits: Option<Arc<dyn RateLimits>>,
    pub(crate) sessions: Option<Arc<dyn SessionStore>>,
}

#[derive(Debug, Clone)]
pub(crate) enum CachePlace {
    Memory,
    #[cfg(feature = "redis")]
    Redis {
        settings: Box<RedisSettings>,
        password: Option<SecretReference>,
    },
}

impl CacheSettings {
    #[cfg(feature = "sqlite")]
    pub(super) fn in_memory() -> Self {
        Self {
            place: Some(CachePlace::Memory),
            ..Self::default()
        }
    }

    #[cfg(feature = "redis")]
    pub(crate) const fn has_password(&self) -> bool {
        matches!(
            &self.place,
            Some(CachePlace::Redis {
                password: Some(_),
                ..
            })
        )
    }

    #[cfg(all(feature = "redis", feature = "secrets"))]
    pub(super) const fn password(&self) -> Option<&SecretReference> {
        match &self.place {
            Some(CachePlace::Redis { password, .. }) => password.as_ref(),
            _ => None,
        }
    }

    #[cfg(feature = "settings-file")]
    pub(super) fn read(mut section: Section) -> Result<Self> {
        let url = section.url()?;
        let place = match url.scheme.as_str() {
            "memory" => CachePlace::Memory,
            "redis" | "rediss" => of_redis(&mut section, &url)?,
            _ => return Err(section.unknown_scheme("memory:, redis:// or rediss://")),
        };
        let bytes = section.number("bytes")?;
        section.end()?;
        Ok(Self {
            place: Some(place),
            bytes,
            ..Self::default()
        })
    }
}

#[cfg(all(feature = "settings-file", feature = "redis"))]
fn of_redis(section: &mut Section, url: &Url) -> Result<CachePlace> {
    section.refuse_password(url, super::url::UserInUrl::Allowed)?;
    #[cfg(not(feature = "redis-tls"))]
    if url.scheme == "rediss" {
        return Err(section.without_feature("redis-tls"));
    }
    let mut settings = RedisSettings::new(&url.text);
    if let Some(user) = section.text("user")? {
        settings = settings.with_user(user);
    }
    if let Some(prefix) = section.text("prefix")? {
        settings = settings.with_prefix(prefix);
    }
    Ok(CachePlace::Redis {
        settings: Box::new(settings),
        password: section.password("password")?,
    })
}

#[cfg(all(feature = "settings-file", not(feature = "redis")))]
fn of_redis(section: &mut Section, _url: &Url) -> Result<CachePlace> {
    Err(section.without_feature("redis"))
}
