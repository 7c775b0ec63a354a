//! What an operator sees of caches, limits and sessions in metrics.

#![cfg(feature = "otel")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod exported;

use std::sync::Arc;
use std::time::Duration;

use tenantry_cache::{
    Cache, CachePolicy, MemoryLimits, MemorySessions, RateLimiter, Rule, SessionPolicy, Sessions,
};
use tenantry_core::{Error, ErrorKind, TenantId, TenantLabel};

// One test alone: the provider is that of the whole process.
#[tokio::test]
async fn what_becomes_of_calls_is_counted_without_keys_and_ids_and_tenants_by_name_alone() {
    let (provider, exporter) = exported::begin();
    let cache = Cache::builder().build().unwrap();
    let names = cache
        .kind::<String>("name", CachePolicy::default())
        .unwrap();
    let tenant = cache.tenant(TenantId::generate());
    for _ in 0..3 {
        let load = || async { Ok(Some("Ada".to_owned())) };
        tenant.get_or_load(&names, "7", load).await.unwrap();
    }
    let fails = || async { Err(Error::new(ErrorKind::Unavailable, "load")) };
    tenant.get_or_load(&names, "8", fails).await.unwrap_err();

    let limiter = RateLimiter::new(Arc::new(MemoryLimits::new()));
    let rule = Rule::new("tenant", 2, Duration::from_secs(60)).unwrap();
    for _ in 0..3 {
        let tenant = limiter.tenant(tenant.tenant());
        let _ = tenant.take(&[rule.limit("")], 1).await.unwrap();
    }

    let watched = TenantId::generate();
    let label = TenantLabel::allow([watched]).unwrap();
    let labelled = RateLimiter::new(Arc::new(MemoryLimits::new())).with_tenant_label(label.clone());
    let taken = labelled.tenant(watched).take(&[rule.limit("")], 1).await;
    assert!(taken.unwrap().is_admitted());
    let store = Arc::new(MemorySessions::new().with_most_sessions(3));
    let sessions = Sessions::new(store, SessionPolicy::default()).unwrap();
    sessions_come_and_go(&sessions, tenant.tenant()).await;
    let sessions = sessions.with_tenant_label(label);
    sessions
        .tenant(watched)
        .create(String::new())
        .await
        .unwrap();
    let other = sessions.tenant(TenantId::generate());
    let ended = other.create(String::new()).await.unwrap();
    assert!(other.delete(ended.id()).await.unwrap());

    provider.force_flush().unwrap();
    let told = exported::told(&exporter);
    let watched = watched.to_string();
    let expected = [
        (
            "tenantry.cache.load.duration error.type=unavailable tenantry.cache.kind=name",
            1,
        ),
        ("tenantry.cache.load.duration tenantry.cache.kind=name", 1),
        (
            "tenantry.cache.lookups tenantry.cache.kind=name tenantry.outcome=failed",
            1,
        ),
        (
            "tenantry.cache.lookups tenantry.cache.kind=name tenantry.outcome=hit",
            2,
        ),
        (
            "tenantry.cache.lookups tenantry.cache.kind=name tenantry.outcome=loaded",
            1,
        ),
        (
            "tenantry.cache.lookups tenantry.cache.kind=name tenantry.outcome=miss",
            2,
        ),
        (
            "tenantry.cache.lookups tenantry.cache.kind=name tenantry.outcome=shared_hit",
            0,
        ),
        (
            "tenantry.cache.lookups tenantry.cache.kind=name tenantry.outcome=stale",
            0,
        ),
        ("tenantry.cache.values ", 1),
        ("tenantry.rate_limit.decisions tenantry.outcome=admitted", 2),
        (
            "tenantry.rate_limit.decisions tenantry.outcome=admitted tenantry.tenant=watched",
            1,
        ),
        ("tenantry.rate_limit.decisions tenantry.outcome=refused", 1),
        (
            "tenantry.session.calls error.type=storage_full tenantry.outcome=failed tenantry.session.operation=create",
            1,
        ),
        (
            "tenantry.session.calls tenantry.outcome=conflict tenantry.session.operation=save",
            1,
        ),
        (
            "tenantry.session.calls tenantry.outcome=missing tenantry.session.operation=delete",
            1,
        ),
        (
            "tenantry.session.calls tenantry.outcome=missing tenantry.session.operation=load",
            1,
        ),
        (
            "tenantry.session.calls tenantry.outcome=missing tenantry.session.operation=save",
            1,
        ),
        (
            "tenantry.session.calls tenantry.outcome=missing tenantry.session.operation=touch",
            1,
        ),
        (
            "tenantry.session.calls tenantry.outcome=ok tenantry.session.operation=create",
            3,
        ),
        (
            "tenantry.session.calls tenantry.outcome=ok tenantry.session.operation=create tenantry.tenant=other",
            1,
        ),
        (
            "tenantry.session.calls tenantry.outcome=ok tenantry.session.operation=create tenantry.tenant=watched",
            1,
        ),
        (
            "tenantry.session.calls tenantry.outcome=ok tenantry.session.operation=delete",
            1,
        ),
        (
            "tenantry.session.calls tenantry.outcome=ok tenantry.session.operation=delete tenantry.tenant=other",
            1,
        ),
        (
            "tenantry.session.calls tenantry.outcome=ok tenantry.session.operation=delete_by_user",
            1,
        ),
        (
            "tenantry.session.calls tenantry.outcome=ok tenantry.session.operation=list",
            1,
        ),
        (
            "tenantry.session.calls tenantry.outcome=ok tenantry.session.operation=load",
            1,
        ),
        (
            "tenantry.session.calls tenantry.outcome=ok tenantry.session.operation=rotate",
            1,
        ),
        (
            "tenantry.session.calls tenantry.outcome=ok tenantry.session.operation=save",
            1,
        ),
        (
            "tenantry.session.calls tenantry.outcome=ok tenantry.session.operation=sign_in",
            1,
        ),
        (
            "tenantry.session.calls tenantry.outcome=ok tenantry.session.operation=touch",
            1,
        ),
        ("tenantry.session.ended ", 3),
        ("tenantry.session.ended tenantry.tenant=other", 1),
    ];
    let mut shown = told.clone();
    let bytes = shown.remove("tenantry.cache.size ").unwrap();
    assert_eq!(
        bytes,
        u64::try_from(cache.bytes_of(tenant.tenant())).unwrap()
    );
    let mut shown: Vec<_> = shown
        .iter()
        .map(|(name, count)| (name.replace(&watched, "watched"), *count))
        .collect();
    shown.sort();
    let expected = expected.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(shown, expected);
}

/// Does everything once, and leaves nothing.
async fn sessions_come_and_go(sessions: &Sessions<String>, tenant: TenantId) {
    let sessions = sessions.tenant(tenant);
    let mut first = sessions.create_for("user:17", String::new()).await.unwrap();
    let id = first.id().clone();
    let mut stale = sessions.load(&id).await.unwrap().unwrap();
    sessions.save(&mut first).await.unwrap();
    sessions.save(&mut stale).await.unwrap_err();
    sessions.rotate(&mut first).await.unwrap();
    assert!(sessions.touch(first.id()).await.unwrap().is_some());
    assert!(sessions.touch(&id).await.unwrap().is_none());
    let mut second = sessions.create(String::new()).await.unwrap();
    sessions.sign_in(&mut second, "user:17").await.unwrap();
    assert_eq!(sessions.list("user:17").await.unwrap().len(), 2);
    let third = sessions.create(String::new()).await.unwrap();
    let full = sessions.create(String::new()).await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    assert_eq!(sessions.delete_by_user("user:17").await.unwrap(), 2);
    assert!(sessions.load(second.id()).await.unwrap().is_none());
    sessions.save(&mut second).await.unwrap_err();
    assert!(sessions.delete(third.id()).await.unwrap());
    assert!(!sessions.delete(third.id()).await.unwrap());
}
