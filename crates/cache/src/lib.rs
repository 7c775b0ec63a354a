//! A cache that is never stale after an invalidation, rate limits that never admit one request too many,
//! and sessions that stay ended, each of one tenant at a time.
//!
//! | part | is |
//! |---|---|
//! | [`Cache`], [`TenantCache`] | what was loaded: the handle of a service, and that of one tenant |
//! | [`CacheKind`], [`CachePolicy`], [`Lookup`] | one type under one name, how long it is kept, and what it depends on |
//! | `RedisSettings`, feature `redis` | a level that several processes share |
//! | `CachedStore`, `CachedRepository`, feature `repository` | repositories of a store with a cache in front |
//! | `RedisTokens`, feature `redis` | who gives tokens that take a password's place |
//! | [`Format`] | how values are written that several processes share |
//! | [`ConsistencyChecker`], [`CheckPolicy`], [`Consistency`] | looks whether what is kept is what the store has |
//! | [`RateLimiter`], [`TenantLimiter`] | the handle of a service, and that of one tenant |
//! | [`Rule`], [`Limit`] | so much within a time, and for whom |
//! | [`Decision`], [`Standing`] | what became of a request, and what is left |
//! | `RateLimitLayer`, feature `tower` | the limiter before a service that speaks HTTP |
//! | [`RateLimits`] | what a backend does |
//! | [`MemoryLimits`] | the backend in this process |
//! | [`LeasedLimits`], [`LeasePolicy`] | a backend of which a part is held in this process, without a round trip |
//! | `RedisLimits`, feature `redis` | the backend that several processes share |
//! | [`Sessions`], [`TenantSessions`] | what is remembered of visitors: the handle of a service, and that of one tenant |
//! | [`Session`], [`SessionId`], [`SessionHash`] | one of them, what lets its visitor in, and what names it and does not |
//! | [`SessionPolicy`] | how long sessions last, and how much they hold |
//! | [`SessionStore`] | what a backend does |
//! | [`MemorySessions`] | the backend in this process |
//! | `RedisSessions`, feature `redis` | the backend that several processes share |
//! | `TowerSessionStore`, feature `tower-sessions` | the sessions of one tenant, as the middleware of that name takes them |
//!
//! With the feature `conformance`, a module of that name holds backends of rate limits and of sessions to
//! their contracts.
//!
//! # What it is not
//!
//! - No cookies: the id of a session travels in whatever the service puts it, or in those of
//!   `tower-sessions`.
//! - No queue: a request that does not pass is told when it would, and waits by itself.

mod cache;
mod checker;
#[cfg(feature = "conformance")]
pub mod conformance;
mod limit;
mod memory;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "repository")]
mod repository;
mod session;
#[cfg_attr(
    not(feature = "redis"),
    allow(dead_code, reason = "used by each backend")
)]
mod shared;
mod telemetry;

pub use self::cache::{
    Cache, CacheBuilder, CacheCounts, CacheKind, CachePolicy, Lookup, TenantCache,
};
pub use self::checker::{CacheLevel, CheckPolicy, Consistency, ConsistencyChecker, Verdict};
#[cfg(feature = "tower")]
pub use self::limit::{Charge, RateLimitLayer, RateLimited, Refusal, Refuse, StatusAlone};
pub use self::limit::{
    Decision, LeasePolicy, LeasedLimits, Limit, OnFailure, RateLimiter, RateLimits, Rule, Standing,
    TenantLimiter,
};
pub use self::memory::{MemoryLimits, MemorySessions};
#[cfg(feature = "redis")]
pub use self::redis::{RedisLimits, RedisSessions, RedisSettings, RedisToken, RedisTokens};
#[cfg(feature = "repository")]
pub use self::repository::{
    CachedAggregate, CachedRepository, CachedStore, INVALIDATIONS_POSTGRES, INVALIDATIONS_SQLITE,
    Replay,
};
#[cfg(feature = "tower-sessions")]
pub use self::session::TowerSessionStore;
pub use self::session::{
    ListedSession, NewSession, Session, SessionChange, SessionHash, SessionId, SessionMetadata,
    SessionPolicy, SessionStore, Sessions, SignIn, StoredSession, TenantSessions,
};
pub use self::shared::wire::Format;

/// Returns bytes as a text, two digits for each.
#[cfg(any(feature = "redis", feature = "repository"))]
fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut shown, byte| {
            // To a text, it does not fail.
            let _ = write!(shown, "{byte:02x}");
            shown
        })
}
