//! One load for all who ask, whatever becomes of it.

use std::sync::Arc;
use std::time::Duration;

use tenantry_cache::{Cache, CachePolicy, Lookup};
use tenantry_core::{ErrorKind, TenantId};

use super::{Fixture, SECOND, settle};

#[tokio::test]
async fn ten_thousand_who_ask_at_once_load_once() {
    let fixture = Fixture::new();
    let gate = fixture.source.close();
    let readers: Vec<_> = (0..10_000)
        .map(|_| {
            let (tenant, kind) = (fixture.tenant.clone(), fixture.kind.clone());
            let source = Arc::clone(&fixture.source);
            tokio::spawn(async move {
                let load = move || async move { source.load().await };
                tenant.get_or_load(&kind, "7", load).await
            })
        })
        .collect();
    settle().await;
    gate.add_permits(1);
    for reader in readers {
        assert_eq!(*reader.await.unwrap().unwrap().unwrap(), "one");
    }
    assert_eq!(fixture.source.loads(), 1);
}

#[tokio::test]
async fn who_goes_away_harms_nobody_and_the_load_goes_on() {
    let fixture = Fixture::new();
    let gate = fixture.source.close();
    let first = fixture.begin(&[]).await;
    first.abort();
    settle().await;
    gate.add_permits(1);
    assert_eq!(fixture.text("7").await, "one");
    assert_eq!(fixture.source.loads(), 1);
}

#[tokio::test]
async fn an_error_is_told_to_all_and_not_kept() {
    let fixture = Fixture::new();
    *fixture.source.error.lock() = Some(ErrorKind::Unavailable);
    let gate = fixture.source.close();
    let one = fixture.begin(&[]).await;
    let opened = async {
        settle().await;
        gate.add_permits(1);
    };
    let (other, ()) = tokio::join!(fixture.read("7"), opened);
    for outcome in [one.await.unwrap(), other] {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(
            error.to_string(),
            "read source: unavailable: as the test wants"
        );
    }
    assert_eq!(fixture.source.loads(), 1);
    *fixture.source.error.lock() = None;
    fixture.source.open();
    assert_eq!(fixture.text("7").await, "one");
}

#[tokio::test]
async fn a_load_that_panics_is_an_error_and_the_next_goes_well() {
    let fixture = Fixture::new();
    let load = || async { panic!("the loader panics") };
    let error = fixture
        .tenant
        .get_or_load::<String, std::future::Ready<_>>(&fixture.kind, "7", || {
            panic!("the loader panics")
        })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected);
    let error = fixture
        .tenant
        .get_or_load(&fixture.kind, "7", load)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected);
    assert_eq!(fixture.text("7").await, "one");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_takes_too_long_goes_on_and_is_kept() {
    let fixture = Fixture::new();
    let gate = fixture.source.close();
    let error = fixture.read("7").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("longer than 10s"), "{error}");
    gate.add_permits(1);
    settle().await;
    assert_eq!(fixture.text("7").await, "one");
    assert_eq!(fixture.source.loads(), 1);
}

/// What a runtime takes with it when it ends is begun anew by the next.
#[test]
fn a_load_is_not_lost_with_its_runtime() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    };
    let fixture = Fixture::new();
    let first = runtime();
    let gate = fixture.source.close();
    first.block_on(async {
        let read = fixture.read("7");
        let late = tokio::time::timeout(Duration::from_millis(5), read).await;
        assert!(late.is_err());
    });
    drop(first);
    gate.add_permits(10);
    runtime().block_on(async {
        assert_eq!(fixture.text("7").await, "one");
    });
}

#[tokio::test(start_paused = true)]
async fn a_value_past_its_time_is_given_while_it_cannot_be_loaded_anew() {
    let policy = CachePolicy::default()
        .with_jitter(0.0)
        .with_early_refresh(0.0)
        .with_max_stale(600 * SECOND);
    let fixture = Fixture::with(policy);
    fixture.text("7").await;
    *fixture.source.error.lock() = Some(ErrorKind::Unavailable);
    fixture.clock.advance(301 * SECOND);
    for _ in 0..100 {
        assert_eq!(fixture.text("7").await, "one");
    }
    assert_eq!(fixture.source.loads(), 2, "the source is left alone");
    fixture.clock.advance(2 * SECOND);
    fixture.text("7").await;
    assert_eq!(fixture.source.loads(), 3);
    *fixture.source.error.lock() = None;
    fixture.source.set("two");
    fixture.clock.advance(2 * SECOND);
    assert_eq!(fixture.text("7").await, "two");

    *fixture.source.error.lock() = Some(ErrorKind::Unavailable);
    fixture.clock.advance(901 * SECOND);
    let error = fixture.read("7").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "it is too old");
}

#[tokio::test(start_paused = true)]
async fn a_reader_waits_for_no_longer_than_its_patience_where_there_is_a_value() {
    let policy = CachePolicy::default()
        .with_jitter(0.0)
        .with_early_refresh(0.0)
        .with_max_stale(600 * SECOND);
    let fixture = Fixture::with(policy);
    fixture.text("7").await;
    fixture.source.set("two");
    let gate = fixture.source.close();
    fixture.clock.advance(301 * SECOND);
    let begun = tokio::time::Instant::now();
    assert_eq!(fixture.text("7").await, "one");
    assert_eq!(begun.elapsed(), Duration::from_millis(100));
    gate.add_permits(1);
    settle().await;
    assert_eq!(fixture.text("7").await, "two");
    assert_eq!(fixture.source.loads(), 2);
}

#[tokio::test]
async fn a_kind_has_one_type() {
    let cache = Cache::builder().build().unwrap();
    cache
        .kind::<String>("name", CachePolicy::default())
        .unwrap();
    cache
        .kind::<String>("name", CachePolicy::default())
        .unwrap();
    let refused = [
        cache.kind::<u32>("name", CachePolicy::default()).err(),
        cache.kind::<u32>("Name", CachePolicy::default()).err(),
        cache.kind::<u32>("", CachePolicy::default()).err(),
        cache.kind::<u32>("a:b", CachePolicy::default()).err(),
        cache
            .kind::<u32>("x", CachePolicy::default().with_jitter(0.6))
            .err(),
        cache
            .kind::<u32>(
                "x",
                CachePolicy::default().with_time_to_live(Duration::ZERO),
            )
            .err(),
        cache
            .kind::<u32>("x", CachePolicy::default().with_early_refresh(f64::NAN))
            .err(),
        cache
            .kind::<u32>(
                "x",
                CachePolicy::default().with_load_timeout(Duration::ZERO),
            )
            .err(),
    ];
    for refusal in refused {
        assert_eq!(refusal.unwrap().kind(), ErrorKind::InvalidSettings);
    }
    for builder in [
        Cache::builder().with_bytes(0),
        Cache::builder().with_bytes_of_a_tenant(0),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSettings);
    }
}

/// Texts that would be one if they were put together.
#[tokio::test]
async fn no_two_keys_collide() {
    let cache = Cache::builder().build().unwrap();
    let kinds = ["a", "ab"].map(|name| cache.kind::<String>(name, CachePolicy::default()).unwrap());
    let tenants = [TenantId::generate(), TenantId::generate()];
    let long = "x".repeat(300);
    let keys = [
        "", "b", ":b", "a:b", "{x}", "*", "?", "[a]", "\0", "A", "a", &long,
    ];
    for round in 0..2 {
        for tenant in tenants {
            let handle = cache.tenant(tenant);
            for kind in &kinds {
                for key in keys {
                    let expected = format!("{tenant} {} {key}", kind.name());
                    let (loaded, is_known) = (expected.clone(), round == 1);
                    let load = move || async move {
                        assert!(!is_known);
                        Ok(Some(loaded))
                    };
                    let value = handle.get_or_load(kind, key, load).await.unwrap();
                    assert_eq!(*value.unwrap(), expected);
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn several_that_are_due_are_loaded_anew_by_one_call_in_the_background() {
    let policy = CachePolicy::default()
        .with_jitter(0.0)
        .with_early_refresh(100.0);
    let fixture = Fixture::with(policy);
    let (calls, clock) = (
        Arc::new(parking_lot::Mutex::new(Vec::new())),
        fixture.clock.clone(),
    );
    let ask = async |keys: &[&str]| {
        let lookups: Vec<_> = keys.iter().map(|key| Lookup::new(key)).collect();
        let (calls, clock) = (Arc::clone(&calls), clock.clone());
        let load = move |places: Vec<usize>| {
            let mut calls = calls.lock();
            if calls.is_empty() {
                // It took long, and is loaded anew early for that.
                clock.advance(100 * SECOND);
            }
            calls.push(places.clone());
            let text = format!("load {}", calls.len());
            async move { Ok(vec![Some(text); places.len()]) }
        };
        let found = fixture
            .tenant
            .get_or_load_many(&fixture.kind, &lookups, load);
        let found = found.await.unwrap();
        found
            .into_iter()
            .map(|it| it.unwrap().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(ask(&["7", "8"]).await, ["load 1", "load 1"]);
    fixture.clock.advance(199 * SECOND);
    let found = ask(&["7", "9", "8"]).await;
    assert_eq!(
        (&*found[0], &*found[2]),
        ("load 1", "load 1"),
        "nobody waits for it"
    );
    settle().await;
    let mut made = calls.lock().clone();
    made[1..].sort();
    assert_eq!(made, [vec![0, 1], vec![0, 2], vec![1]]);
    fixture.clock.advance(2 * SECOND);
    assert_ne!(ask(&["7"]).await, ["load 1"]);
    assert_eq!(calls.lock().len(), 3, "it was there");
}

#[tokio::test]
async fn a_kind_of_another_cache_knows_nothing_and_loads_nothing() {
    let [cache, other] = [(); 2].map(|()| Cache::builder().build().unwrap());
    let policy = CachePolicy::default;
    let numbers = cache.kind::<u64>("it", policy()).unwrap();
    let texts = other.kind::<String>("it", policy()).unwrap();
    for tenant in [TenantId::generate(), TenantId::generate()] {
        let tenant = cache.tenant(tenant);
        let load = || async { Ok(Some(7)) };
        tenant.get_or_load(&numbers, "a", load).await.unwrap();
        assert!(tenant.get(&texts, "a").await.is_none());
        let load = || async { Ok(Some("7".to_owned())) };
        let refused = tenant.get_or_load(&texts, "a", load).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        let load = |_| async { Ok(vec![Some("7".to_owned())]) };
        let lookups = [Lookup::from("a")];
        let refused = tenant.get_or_load_many(&texts, &lookups, load).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(
            tenant.get(&numbers, "a").await.flatten().as_deref(),
            Some(&7)
        );
    }
}
