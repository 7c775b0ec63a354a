//! How long what is kept is used.

use std::time::Duration;

use tenantry_cache::CachePolicy;

use super::{Fixture, SECOND};

#[tokio::test]
async fn a_value_is_used_until_its_time_is_over() {
    let policy = CachePolicy::default()
        .with_jitter(0.0)
        .with_early_refresh(0.0);
    let fixture = Fixture::with(policy);
    fixture.text("7").await;
    fixture
        .clock
        .advance(300 * SECOND - Duration::from_nanos(1));
    fixture.text("7").await;
    assert_eq!(fixture.source.loads(), 1);
    fixture.clock.advance(Duration::from_nanos(1));
    fixture.text("7").await;
    assert_eq!(fixture.source.loads(), 2);
}

#[tokio::test]
async fn that_there_is_nothing_is_remembered_for_less_long_or_not_at_all() {
    let fixture = Fixture::new();
    *fixture.source.value.lock() = None;
    for _ in 0..10 {
        assert_eq!(fixture.read("7").await.unwrap(), None);
    }
    assert_eq!(fixture.source.loads(), 1);
    fixture.clock.advance(31 * SECOND);
    assert_eq!(fixture.read("7").await.unwrap(), None);
    assert_eq!(fixture.source.loads(), 2);

    let fixture = Fixture::with(CachePolicy::default().with_negative_time_to_live(Duration::ZERO));
    *fixture.source.value.lock() = None;
    for _ in 0..10 {
        assert_eq!(fixture.read("7").await.unwrap(), None);
    }
    assert_eq!(fixture.source.loads(), 10);
}

#[tokio::test]
async fn what_was_loaded_together_does_not_end_together() {
    let policy = CachePolicy::default()
        .with_jitter(0.5)
        .with_early_refresh(0.0);
    let fixture = Fixture::with(policy);
    let keys: Vec<_> = (0..200).map(|number| number.to_string()).collect();
    let mut ended = Vec::new();
    for key in &keys {
        fixture.text(key).await;
    }
    for _ in 0..31 {
        fixture.clock.advance(10 * SECOND);
        let before = fixture.source.loads();
        for key in &keys {
            if fixture.tenant.get(&fixture.kind, key).await.is_none() {
                fixture.text(key).await;
            }
        }
        ended.push(fixture.source.loads() - before);
    }
    let (early, most) = (&ended[..14], ended.iter().max().unwrap());
    assert!(early.iter().all(|count| *count == 0), "{ended:?}");
    assert!(*most < 60, "{ended:?}");
}

/// No time is too long to reckon with.
#[tokio::test]
async fn values_can_be_kept_for_ever() {
    let policy = CachePolicy::default()
        .with_time_to_live(Duration::MAX)
        .with_negative_time_to_live(Duration::MAX)
        .with_max_stale(Duration::MAX)
        .with_patience(Duration::MAX)
        .with_load_timeout(Duration::MAX);
    let fixture = Fixture::with(policy);
    fixture.text("7").await;
    fixture.clock.advance(365 * 24 * 3_600 * SECOND);
    fixture.text("7").await;
    assert_eq!(fixture.source.loads(), 1);
}
