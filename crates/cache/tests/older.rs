//! Nobody is given what is older than what was seen, where the newer value is not kept.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use tenantry_cache::{Cache, CacheKind, CachePolicy};
use tenantry_core::{Error, ErrorKind, ManualClock, TenantId};

const SECOND: Duration = Duration::from_secs(1);

fn clock() -> ManualClock {
    ManualClock::new(DateTime::from_timestamp(1_800_000_000, 0).unwrap())
}

fn policy() -> CachePolicy {
    CachePolicy::default()
        .with_time_to_live(10 * SECOND)
        .with_jitter(0.0)
        .with_early_refresh(0.0)
        .with_max_stale(60 * SECOND)
}

/// A reader was told that the row is gone; what was there before does not come back when the source fails.
#[tokio::test]
async fn what_a_load_found_gone_does_not_come_back_when_the_next_fails() {
    let clock = clock();
    let cache = Cache::builder()
        .with_clock(Arc::new(clock.clone()))
        .build()
        .unwrap();
    let policy = policy().with_negative_time_to_live(Duration::ZERO);
    let kind: CacheKind<String> = cache.kind("name", policy).unwrap();
    let tenant = cache.tenant(TenantId::generate());
    let one = || async { Ok(Some("one".to_owned())) };
    tenant.get_or_load(&kind, "7", one).await.unwrap();
    clock.advance(11 * SECOND);
    let gone = tenant
        .get_or_load(&kind, "7", || async { Ok(None) })
        .await
        .unwrap();
    assert_eq!(gone, None);
    let fails = || async { Err(Error::new(ErrorKind::Unavailable, "read source")) };
    let after = tenant.get_or_load(&kind, "7", fails).await;
    assert!(
        !matches!(after, Ok(Some(_))),
        "it was gone, and is back: {after:?}"
    );
}

/// The same where the newer value has no place.
#[tokio::test]
async fn a_value_does_not_come_back_after_a_newer_one_that_was_not_kept() {
    let clock = clock();
    let cache = Cache::builder()
        .with_clock(Arc::new(clock.clone()))
        .with_bytes_of_a_tenant(1_000)
        .build()
        .unwrap();
    let kind: CacheKind<String> = cache.kind("name", policy()).unwrap();
    let tenant = cache.tenant(TenantId::generate());
    let one = || async { Ok(Some("one".to_owned())) };
    tenant.get_or_load(&kind, "7", one).await.unwrap();
    clock.advance(11 * SECOND);
    let large = || async { Ok(Some("2".repeat(2_000))) };
    let seen = tenant
        .get_or_load(&kind, "7", large)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(seen.len(), 2_000);
    let fails = || async { Err(Error::new(ErrorKind::Unavailable, "read source")) };
    let after = tenant.get_or_load(&kind, "7", fails).await;
    assert!(
        !matches!(&after, Ok(Some(it)) if **it == "one"),
        "the older is back: {after:?}"
    );
}
