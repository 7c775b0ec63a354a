//! Rate limits of tenants, which never admit one request too many.
//!
//! | part | is |
//! |---|---|
//! | [`RateLimiter`], [`TenantLimiter`] | the handle of a service, and that of one tenant |
//! | [`Rule`], [`Limit`] | so much within a time, and for whom |
//! | [`Decision`], [`Standing`] | what became of a request, and what is left |
//! | [`RateLimits`] | what a backend does |
//! | [`MemoryLimits`] | the backend in this process |
//!
//! # What it is not
//!
//! - No cache and no sessions yet, and no backend that several processes share.
//! - No queue: a request that does not pass is told when it would, and waits by itself.

mod limit;
mod memory;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/rate-limits.md")]
mod page {}

pub use self::limit::{
    Decision, Limit, OnFailure, RateLimiter, RateLimits, Rule, Standing, TenantLimiter,
};
pub use self::memory::MemoryLimits;
