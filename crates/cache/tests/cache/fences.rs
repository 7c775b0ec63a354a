//! A load that began before an invalidation stores nothing.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tenantry_cache::{CachePolicy, Lookup};
use tenantry_core::TenantId;

use super::{Fixture, SECOND, settle};

const TAGS: &[&str] = &["customer:12", "all"];

type Invalidate = for<'f> fn(&'f Fixture) -> BoxFuture<'f, ()>;

/// Every way in which the value under `7`, with [`TAGS`], is invalidated.
const WAYS: [(&str, Invalidate); 5] = [
    ("key", |fixture| {
        Box::pin(async { fixture.tenant.invalidate(&fixture.kind, "7").await.unwrap() })
    }),
    ("tag", |fixture| {
        Box::pin(async { fixture.tenant.invalidate_tag("all").await.unwrap() })
    }),
    ("other tag", |fixture| {
        Box::pin(async { fixture.tenant.invalidate_tag("customer:12").await.unwrap() })
    }),
    ("tenant", |fixture| {
        Box::pin(async { fixture.tenant.flush().await.unwrap() })
    }),
    ("everything", |fixture| {
        Box::pin(async { fixture.cache.clear() })
    }),
];

const SEVEN: Lookup<'static> = Lookup::new("7").with_tags(TAGS);

#[tokio::test]
async fn what_is_invalidated_is_loaded_anew() {
    for (way, invalidate) in WAYS {
        let fixture = Fixture::new();
        assert_eq!(fixture.text(SEVEN).await, "one");
        fixture.source.set("two");
        assert_eq!(fixture.text(SEVEN).await, "one", "{way}");
        invalidate(&fixture).await;
        assert_eq!(fixture.text(SEVEN).await, "two", "{way}");
        assert_eq!(fixture.text(SEVEN).await, "two", "{way}");
        assert_eq!(fixture.source.loads(), 2, "{way}");
    }
}

#[tokio::test]
async fn a_load_that_began_before_answers_who_waits_and_is_not_kept() {
    for (way, invalidate) in WAYS {
        let fixture = Fixture::new();
        let gate = fixture.source.close();
        let reader = fixture.begin(TAGS).await;
        fixture.source.set("two");
        invalidate(&fixture).await;
        gate.add_permits(10);
        let answered = reader.await.unwrap().unwrap();
        assert_eq!(answered.as_deref(), Some("one"), "{way}");
        assert_eq!(fixture.text(SEVEN).await, "two", "{way}");
    }
}

/// Who comes after the invalidation does not wait for the load from before it.
#[tokio::test]
async fn who_comes_after_does_not_join_a_load_from_before() {
    for (way, invalidate) in WAYS {
        let fixture = Fixture::new();
        let gate = fixture.source.close();
        let before = fixture.begin(TAGS).await;
        fixture.source.set("two");
        invalidate(&fixture).await;
        let after = fixture.begin(TAGS).await;
        assert_eq!(fixture.source.loads(), 2, "{way}");
        fixture.source.open();
        gate.add_permits(10);
        let after = after.await.unwrap().unwrap();
        assert_eq!(after.as_deref(), Some("two"), "{way}");
        before.await.unwrap().unwrap();
        settle().await;
        assert_eq!(fixture.text(SEVEN).await, "two", "{way}");
        assert_eq!(fixture.source.loads(), 2, "{way}: the later one is kept");
    }
}

/// The same where nobody waits any more for the load.
#[tokio::test(start_paused = true)]
async fn a_load_in_the_background_is_not_kept_either() {
    let policies = [
        // Before its time is over, and sure to be.
        CachePolicy::default()
            .with_jitter(0.0)
            .with_early_refresh(100.0),
        CachePolicy::default()
            .with_jitter(0.0)
            .with_max_stale(Duration::from_secs(600)),
    ];
    for (is_stale, policy) in [false, true].into_iter().zip(policies) {
        for (way, invalidate) in WAYS {
            let fixture = Fixture::with(policy.clone());
            let gate = fixture.source.close();
            let first = fixture.begin(TAGS).await;
            // It took long, and is loaded anew early for that.
            fixture.clock.advance(100 * SECOND);
            gate.add_permits(1);
            first.await.unwrap().unwrap();
            fixture
                .clock
                .advance(if is_stale { 201 * SECOND } else { 199 * SECOND });
            let background = fixture.begin(TAGS).await;
            assert_eq!(background.await.unwrap().unwrap().unwrap(), "one", "{way}");
            assert_eq!(fixture.source.loads(), 2, "{way}: it goes on");
            fixture.source.set("two");
            invalidate(&fixture).await;
            gate.add_permits(10);
            settle().await;
            assert_eq!(fixture.text(SEVEN).await, "two", "{way}");
        }
    }
}

/// That there is nothing is a value as any other.
#[tokio::test]
async fn what_was_not_there_is_found_once_it_is() {
    for (way, invalidate) in WAYS {
        let fixture = Fixture::new();
        *fixture.source.value.lock() = None;
        assert_eq!(fixture.read(SEVEN).await.unwrap(), None);
        assert_eq!(fixture.read(SEVEN).await.unwrap(), None);
        assert_eq!(fixture.source.loads(), 1, "{way}");
        fixture.source.set("one");
        invalidate(&fixture).await;
        assert_eq!(fixture.text(SEVEN).await, "one", "{way}");
    }
}

#[tokio::test]
async fn other_keys_tags_and_tenants_stay() {
    let fixture = Fixture::new();
    let other = fixture.cache.tenant(TenantId::generate());
    let eight = Lookup::new("8").with_tags(&["of eight"]);
    for _ in 0..2 {
        fixture.text(SEVEN).await;
        fixture.text(eight).await;
        fixture.read_of(&other, SEVEN).await.unwrap();
    }
    assert_eq!(fixture.source.loads(), 3);
    fixture.tenant.invalidate(&fixture.kind, "7").await.unwrap();
    fixture.tenant.invalidate_tag("customer:12").await.unwrap();
    fixture.tenant.invalidate_tag("of nobody").await.unwrap();
    fixture.text(eight).await;
    fixture.read_of(&other, SEVEN).await.unwrap();
    assert_eq!(fixture.source.loads(), 3);
    fixture.tenant.flush().await.unwrap();
    fixture.read_of(&other, SEVEN).await.unwrap();
    assert_eq!(fixture.source.loads(), 3);
    fixture.text(eight).await;
    assert_eq!(fixture.source.loads(), 4);
}

/// A value that was loaded without a tag would outlive it.
#[tokio::test]
async fn a_tag_that_is_named_later_has_the_value_loaded_anew() {
    let fixture = Fixture::new();
    fixture.text("7").await;
    fixture.text(SEVEN).await;
    assert_eq!(fixture.source.loads(), 2);
    fixture.text("7").await;
    assert_eq!(fixture.source.loads(), 2, "more than are named do no harm");
    fixture.tenant.invalidate_tag("all").await.unwrap();
    fixture.text("7").await;
    assert_eq!(fixture.source.loads(), 3);
}

#[tokio::test]
async fn a_flush_among_many_loads_ends_one_tenant_and_no_other() {
    let fixture = Fixture::new();
    let other = fixture.cache.tenant(TenantId::generate());
    let gate = fixture.source.close();
    let tenants = [fixture.tenant.clone(), other.clone()];
    let readers: Vec<_> = (0..1_000)
        .map(|number| {
            let tenant = tenants[number % 2].clone();
            let (kind, source) = (fixture.kind.clone(), Arc::clone(&fixture.source));
            tokio::spawn(async move {
                let key = (number / 2).to_string();
                let load = move || async move { source.load().await };
                tenant.get_or_load(&kind, &key, load).await
            })
        })
        .collect();
    while fixture.source.loads() < 1_000 {
        tokio::task::yield_now().await;
    }
    fixture.tenant.flush().await.unwrap();
    fixture.source.set("two");
    gate.add_permits(2_000);
    for reader in readers {
        reader.await.unwrap().unwrap();
    }
    for number in 0..500 {
        let key = number.to_string();
        let (ours, theirs) = (
            fixture.text(&key).await,
            fixture.read_of(&other, &key).await.unwrap(),
        );
        assert_eq!((&*ours, theirs.as_deref()), ("two", Some("one")));
    }
}
