//! Whether what is kept is what the store has.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::DateTime;
use tenantry_cache::{
    Cache, CachePolicy, CheckPolicy, Consistency, ConsistencyChecker, Lookup, Verdict,
};
use tenantry_core::{Clock, ErrorKind, Result, TenantId, TenantLabel};

use super::{Fixture, SECOND, settle};

const FRESH: Verdict = Verdict::Stale {
    age: Duration::ZERO,
};

fn checker(fixture: &Fixture) -> ConsistencyChecker {
    fixture.cache.checker(CheckPolicy::default()).unwrap()
}

impl Fixture {
    async fn check(&self, checker: &ConsistencyChecker) -> Verdict {
        self.checked(checker, self.tenant.tenant()).await.unwrap()
    }

    async fn checked(&self, checker: &ConsistencyChecker, tenant: TenantId) -> Result<Verdict> {
        let load = || self.source.load();
        checker.check(tenant, &self.kind, "7", load).await
    }
}

/// Returns the only row of a report.
fn only(checker: &ConsistencyChecker) -> Consistency {
    let report = checker.report();
    assert_eq!(report.len(), 1, "{report:?}");
    report[0].clone()
}

#[tokio::test]
async fn what_nobody_tells_of_is_found_with_its_age() {
    let fixture = Fixture::new();
    let checker = checker(&fixture);
    assert_eq!(fixture.check(&checker).await, Verdict::NotKept);
    fixture.text("7").await;
    assert_eq!(fixture.check(&checker).await, Verdict::Same);
    fixture.source.set("two");
    assert_eq!(fixture.check(&checker).await, FRESH);
    for (wait, older) in [
        (999, [0, 0, 0, 0]),
        (1, [1, 0, 0, 0]),
        (3_999, [1, 0, 0, 0]),
        (1, [1, 1, 0, 0]),
        (5_000, [1, 1, 1, 0]),
        (50_000, [1, 1, 1, 1]),
        (50_000, [1, 1, 1, 1]),
    ] {
        fixture.clock.advance(Duration::from_millis(wait));
        fixture.check(&checker).await;
        let it = only(&checker);
        let found = [
            it.older_than_1s,
            it.older_than_5s,
            it.older_than_10s,
            it.older_than_60s,
        ];
        assert_eq!(found, older, "{it:?}");
    }
    let it = only(&checker);
    assert_eq!((it.looks, it.differed), (9, 1));
    assert_eq!(it.longest, 110 * SECOND);
    assert_eq!(&*it.kind, "name");
}

#[tokio::test]
async fn what_was_ended_in_time_is_not_older() {
    let fixture = Fixture::new();
    let checker = checker(&fixture);
    for value in ["two", "three", "four"] {
        fixture.text("7").await;
        fixture.source.set(value);
        assert_eq!(fixture.check(&checker).await, FRESH);
        fixture.tenant.invalidate(&fixture.kind, "7").await.unwrap();
        assert_eq!(fixture.check(&checker).await, Verdict::NotKept);
        fixture.clock.advance(5 * SECOND);
    }
    let it = only(&checker);
    assert_eq!((it.differed, it.older_than_1s), (3, 0));
}

/// A value that comes and goes differs for a moment again and again, and never for long.
#[tokio::test]
async fn another_value_that_differs_begins_anew() {
    let fixture = Fixture::new();
    let checker = checker(&fixture);
    for _ in 0..5 {
        fixture.source.set("one");
        fixture.text("7").await;
        fixture.source.set("two");
        assert_eq!(fixture.check(&checker).await, FRESH);
        fixture.tenant.invalidate(&fixture.kind, "7").await.unwrap();
        fixture.clock.advance(SECOND);
    }
    assert_eq!(only(&checker).older_than_1s, 0);
}

#[tokio::test]
async fn a_store_that_changes_meanwhile_tells_nothing() {
    let fixture = Fixture::new();
    let checker = checker(&fixture);
    fixture.text("7").await;
    let load = || async {
        let read = fixture.source.loads.fetch_add(1, Ordering::Relaxed);
        Ok(Some(read.to_string()))
    };
    for _ in 0..3 {
        let tenant = fixture.tenant.tenant();
        let verdict = checker.check(tenant, &fixture.kind, "7", load).await;
        assert_eq!(verdict.unwrap(), Verdict::Undecided);
        fixture.clock.advance(5 * SECOND);
    }
    let it = only(&checker);
    assert_eq!((it.looks, it.undecided, it.differed), (0, 3, 0));
}

#[tokio::test]
async fn that_there_is_none_is_compared_as_well() {
    let fixture = Fixture::new();
    let checker = checker(&fixture);
    *fixture.source.value.lock() = None;
    assert_eq!(fixture.read("7").await.unwrap(), None);
    assert_eq!(fixture.check(&checker).await, Verdict::Same);
    fixture.source.set("one");
    assert_eq!(fixture.check(&checker).await, FRESH);
}

/// What has no order is encoded in any, and what is no number does not equal itself.
#[tokio::test]
async fn what_equals_or_is_encoded_alike_is_the_same() {
    use std::collections::HashMap;

    let cache = Cache::builder().build().unwrap();
    let checker = cache.checker(CheckPolicy::default()).unwrap();
    let tenant = TenantId::generate();
    let kind = cache.kind("map", CachePolicy::default()).unwrap();
    let load = || async {
        let numbers = (0..100).map(|number: u8| (number, number));
        Ok(Some(numbers.collect::<HashMap<_, _>>()))
    };
    let of_tenant = cache.tenant(tenant);
    of_tenant.get_or_load(&kind, "7", load).await.unwrap();
    let verdict = checker.check(tenant, &kind, "7", load).await.unwrap();
    assert_eq!(verdict, Verdict::Same);

    let kind = cache.kind("number", CachePolicy::default()).unwrap();
    let load = || async { Ok(Some(f64::NAN)) };
    of_tenant.get_or_load(&kind, "7", load).await.unwrap();
    let verdict = checker.check(tenant, &kind, "7", load).await.unwrap();
    assert_eq!(verdict, Verdict::Same);
}

#[tokio::test]
async fn tenants_are_looked_at_apart_and_counted_by_label() {
    let fixture = Fixture::new();
    let (one, others) = (
        fixture.tenant.tenant(),
        [(); 3].map(|()| TenantId::generate()),
    );
    let label = TenantLabel::allow([one]).unwrap();
    let policy = CheckPolicy::default().with_tenant_label(label);
    let checker = fixture.cache.checker(policy).unwrap();
    for tenant in others {
        let tenant = fixture.cache.tenant(tenant);
        fixture.read_of(&tenant, "7").await.unwrap();
    }
    assert_eq!(fixture.check(&checker).await, Verdict::NotKept);
    fixture.text("7").await;
    assert_eq!(fixture.check(&checker).await, Verdict::Same);
    fixture.source.set("two");
    for tenant in others {
        assert_eq!(fixture.checked(&checker, tenant).await.unwrap(), FRESH);
    }
    let report = checker.report();
    let found: Vec<_> = report
        .iter()
        .map(|it| (it.tenant.as_deref(), it.looks, it.differed))
        .collect();
    let one = one.to_string();
    assert_eq!(found, [(Some(&*one), 1, 0), (Some("other"), 3, 3)]);
}

#[tokio::test]
async fn a_store_that_fails_or_does_not_answer_is_no_difference() {
    let fixture = Fixture::with(CachePolicy::default().with_load_timeout(SECOND));
    let checker = checker(&fixture);
    fixture.text("7").await;
    *fixture.source.error.lock() = Some(ErrorKind::Unavailable);
    let tenant = fixture.tenant.tenant();
    let error = fixture.checked(&checker, tenant).await.unwrap_err();
    assert_eq!(error.operation(), "read source");
    tokio::time::pause();
    let _gate = fixture.source.close();
    let error = fixture.checked(&checker, tenant).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(checker.report().is_empty());
}

#[tokio::test]
async fn no_more_is_sampled_than_the_policy_has_it() {
    let fixture = Fixture::new();
    fixture.text("7").await;
    let before = fixture.source.loads();
    let looked = async |policy: CheckPolicy| {
        let checker = fixture.cache.checker(policy).unwrap();
        for _ in 0..1_000 {
            let source = Arc::clone(&fixture.source);
            let load = move || {
                let source = Arc::clone(&source);
                async move { source.load().await }
            };
            checker.sample(fixture.tenant.tenant(), &fixture.kind, "7", load);
            fixture.clock.advance(Duration::from_millis(1));
            settle().await;
        }
        checker.report().first().map_or(0, |it| it.looks)
    };
    let policy = || CheckPolicy::default().with_fraction(1.0);
    assert_eq!(looked(policy()).await, 10);
    assert_eq!(looked(policy().with_most_per_second(100)).await, 100);
    assert_eq!(looked(policy().with_most_per_second(0)).await, 0);
    assert_eq!(looked(policy().with_fraction(0.0)).await, 0);
    let some = looked(policy().with_fraction(0.5).with_most_per_second(1_000)).await;
    assert!((400..600).contains(&some), "{some}");
    let looks = usize::try_from(110 + some).unwrap();
    assert_eq!(fixture.source.loads() - before, looks, "each by one read");
    for fraction in [-0.1, 1.1, f64::NAN] {
        let policy = CheckPolicy::default().with_fraction(fraction);
        let error = fixture.cache.checker(policy).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSettings);
    }
}

/// The time of Tokio, which passes by itself where all wait.
#[derive(Debug)]
struct Passing(tokio::time::Instant);

impl Clock for Passing {
    fn now(&self) -> DateTime<chrono::Utc> {
        DateTime::UNIX_EPOCH
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_sample_that_differs_is_looked_at_until_it_has_gone() {
    let clock = Arc::new(Passing(tokio::time::Instant::now()));
    let cache = Cache::builder().with_clock(clock).build().unwrap();
    let kind = cache.kind("name", CachePolicy::default()).unwrap();
    let tenant = cache.tenant(TenantId::generate());
    let policy = CheckPolicy::default().with_fraction(1.0);
    let checker = cache.checker(policy).unwrap();
    let load = |value: &'static str| move || async move { Ok(Some(value.to_owned())) };
    let lookup = Lookup::new("7").with_tags(&["tag"]);
    tenant
        .get_or_load(&kind, lookup, load("one"))
        .await
        .unwrap();
    checker.sample(tenant.tenant(), &kind, lookup, load("two"));
    tokio::time::sleep(11 * SECOND).await;
    tenant.invalidate_tag("tag").await.unwrap();
    tokio::time::sleep(200 * SECOND).await;
    let it = only(&checker);
    assert_eq!((it.older_than_10s, it.older_than_60s), (1, 0));
    assert_eq!((it.looks, it.differed), (4, 1), "and no more since");
    assert!(
        it.longest >= 10 * SECOND && it.longest < 11 * SECOND,
        "{it:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_checker_that_is_dropped_looks_at_nothing_any_more() {
    let fixture = Fixture::new();
    fixture.text("7").await;
    let checker = fixture
        .cache
        .checker(CheckPolicy::default().with_fraction(1.0));
    let checker = checker.unwrap();
    let held = Arc::new(());
    let of_load = Arc::clone(&held);
    let load = move || {
        let _held = &of_load;
        async { Ok(Some("two".to_owned())) }
    };
    checker.sample(fixture.tenant.tenant(), &fixture.kind, "7", load);
    settle().await;
    assert_eq!(only(&checker).differed, 1);
    assert_eq!(Arc::strong_count(&held), 2, "it is looked at again");
    assert!(!format!("{checker:?} {:?}", checker.report()).contains("two"));
    drop(checker);
    settle().await;
    assert_eq!(Arc::strong_count(&held), 1);
}
