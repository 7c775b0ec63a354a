//! What an operator sees of the calls of a Redis, and what nobody may see there.

#![cfg(all(feature = "otel", feature = "redis"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

#[path = "../../tenant-store/tests/trouble/capture.rs"]
mod capture;
mod exported;

use std::sync::Arc;
use std::time::Duration;

use capture::{Capture, Seen};
use tenantry_cache::{
    Cache, CacheKind, CachePolicy, RateLimiter, RedisLimits, RedisSessions, RedisSettings, Rule,
    SessionPolicy, Sessions, TenantCache,
};
use tenantry_core::{ErrorKind, TenantId, TenantLabel};
use tenantry_testkit::{RedisOptions, RedisServer, StopMode};

const CANARY: &str = "c4n4ry";

fn settings(server: &RedisServer) -> RedisSettings {
    RedisSettings::new(server.url()).with_prefix("told")
}

/// Returns a cache whose own process has no room, unless it is given some.
fn cache(settings: &RedisSettings, bytes: usize) -> (Cache, CacheKind<String>) {
    let builder = Cache::builder().with_bytes_of_a_tenant(bytes);
    let cache = builder.with_redis(settings).unwrap().build().unwrap();
    let kind = cache.kind("name", CachePolicy::default()).unwrap();
    (cache, kind)
}

async fn read(tenant: &TenantCache, kind: &CacheKind<String>) {
    let load = || async { Ok(Some(CANARY.to_owned())) };
    let value = tenant.get_or_load(kind, CANARY, load).await.unwrap();
    assert_eq!(value.unwrap().as_str(), CANARY);
}

/// Waits until a call has ended, which nobody else waits for.
async fn until_told(capture: &Capture, operation: &str) {
    for _ in 0..3_000 {
        let spans = capture.of("tenantry::redis");
        let is_told = |span: &Seen| span.closed && span.get("db.operation.name") == operation;
        if spans.iter().any(is_told) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{operation} is not told of");
}

fn told(capture: &Capture) -> Vec<(String, String)> {
    let spans = capture.of("tenantry::redis");
    let fields =
        |span: &Seen| ["db.operation.name", "tenantry.outcome"].map(|it| span.get(it).to_owned());
    spans.iter().map(fields).map(Into::into).collect()
}

fn ok(operations: &[&str]) -> Vec<(String, String)> {
    let ok = |it: &&str| ((*it).to_owned(), "ok".to_owned());
    operations.iter().map(ok).collect()
}

#[tokio::test]
async fn a_hit_in_the_process_has_no_span_and_one_in_the_server_has() {
    let server = RedisServer::start().await.unwrap();
    let capture = Capture::start();
    let (far, kind) = cache(&settings(&server), 1);
    let far = far.tenant(TenantId::generate());
    read(&far, &kind).await;
    until_told(&capture, "cache_store").await;
    assert_eq!(
        told(&capture),
        ok(&["cache_read", "cache_begin", "cache_store"])
    );
    read(&far, &kind).await;
    assert_eq!(told(&capture)[3..], ok(&["cache_read"]));
    far.invalidate(&kind, CANARY).await.unwrap();
    assert_eq!(told(&capture)[4..], ok(&["cache_invalidate"]));
    for span in capture.of("tenantry::redis") {
        assert_eq!(span.get("db.system.name"), "redis");
        assert_eq!(span.get("tenant.id"), far.tenant().to_string());
    }

    let (near, kind) = cache(&settings(&server), 1_000_000);
    let tenant = near.tenant(TenantId::generate());
    // It is used as soon as the first heartbeat has come back.
    while near.bytes_of(tenant.tenant()) == 0 {
        tenant.invalidate(&kind, CANARY).await.unwrap();
        read(&tenant, &kind).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    while kind.counts().hits == 0 {
        read(&tenant, &kind).await;
    }
    let (spans, hits) = (told(&capture).len(), kind.counts().hits);
    // For a moment after it, no heartbeat is due that would have to come back.
    for _ in 0..100 {
        read(&tenant, &kind).await;
    }
    assert_eq!(kind.counts().hits, hits + 100);
    assert_eq!(told(&capture).len(), spans);
    assert!(!capture.text().contains(CANARY));
}

#[tokio::test]
async fn a_call_that_fails_or_is_dropped_is_told_by_its_kind() {
    let server = RedisServer::start().await.unwrap();
    let settings = settings(&server).with_timeout(Duration::from_secs(20));
    let limits = Arc::new(RedisLimits::new(&settings).unwrap());
    let limiter = RateLimiter::new(limits).tenant(TenantId::generate());
    let rule = Rule::new("rule", 10, Duration::from_secs(60)).unwrap();
    let _ = limiter.take(&[rule.limit(CANARY)], 1).await.unwrap();
    let capture = Capture::start();
    server.pause().await.unwrap();
    let limits = [rule.limit(CANARY)];
    let mut call = Box::pin(limiter.take(&limits, 1));
    assert!(futures_util::poll!(&mut call).is_pending());
    drop(call);
    server.resume().await.unwrap();
    server.stop(StopMode::Immediate).await.unwrap();
    let taken = limiter.take(&limits, 1).await.unwrap();
    assert_eq!(taken.failure().unwrap().kind(), ErrorKind::Unavailable);
    let told = told(&capture);
    let outcomes: Vec<_> = told.iter().map(|(_, outcome)| &**outcome).collect();
    assert_eq!(outcomes, ["dropped", "unavailable"], "{told:?}");
    assert!(!capture.text().contains(CANARY));
}

// One test alone with metrics: the provider is that of the whole process.
#[tokio::test]
async fn each_call_is_in_the_histogram_and_shows_no_key_no_id_and_no_user() {
    let (provider, exporter) = exported::begin();
    let capture = Capture::start();
    let options = RedisOptions::default().with_setting("maxmemory-policy", "noeviction");
    let server = RedisServer::start_with(options).await.unwrap();
    let watched = TenantId::generate();
    let label = TenantLabel::allow([watched]).unwrap();
    let settings = settings(&server);

    let limits = Arc::new(RedisLimits::new(&settings).unwrap());
    let limiter = RateLimiter::new(limits).tenant(watched);
    let rule = Rule::new("rule", 10, Duration::from_secs(60)).unwrap();
    let limits = [rule.limit(CANARY)];
    let _ = limiter.take(&limits, 1).await.unwrap();
    let _ = limiter.peek(&limits).await.unwrap();
    limiter.refund(&limits, 1).await.unwrap();

    let store = Arc::new(RedisSessions::new(&settings.with_tenant_label(label)).unwrap());
    let sessions = Sessions::<String>::new(store, SessionPolicy::default()).unwrap();
    let other = sessions.tenant(TenantId::generate());
    let sessions = sessions.tenant(watched);
    let mut session = sessions.create(CANARY.to_owned()).await.unwrap();
    let mut ids = vec![session.id().clone()];
    sessions.sign_in(&mut session, CANARY).await.unwrap();
    ids.push(session.id().clone());
    sessions.touch(session.id()).await.unwrap();
    let mut stale = sessions.load(session.id()).await.unwrap().unwrap();
    sessions.save(&mut session).await.unwrap();
    let refused = sessions.save(&mut stale).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert_eq!(sessions.list(CANARY).await.unwrap().len(), 1);
    sessions.delete(session.id()).await.unwrap();
    sessions.delete_by_user(CANARY).await.unwrap();
    assert!(other.load(session.id()).await.unwrap().is_none());

    provider.force_flush().unwrap();
    let mut shown: Vec<_> = exported::told(&exporter)
        .into_iter()
        .filter_map(|(told, count)| {
            let told = told.strip_prefix("db.client.operation.duration ")?;
            assert!(told.contains("db.system.name=redis"), "{told}");
            let told = told.replace(&watched.to_string(), "watched");
            let told = told.replace("db.operation.name=", "");
            Some(format!(
                "{} {count}",
                told.replace(" db.system.name=redis", "")
            ))
        })
        .collect();
    shown.sort();
    assert_eq!(
        shown,
        [
            "limit_peek 1",
            "limit_refund 1",
            "limit_take 1",
            "session_create tenantry.tenant=watched 1",
            "session_delete tenantry.tenant=watched 1",
            "session_delete_by_user tenantry.tenant=watched 1",
            "session_list tenantry.tenant=watched 1",
            "session_load tenantry.tenant=other 1",
            "session_load tenantry.tenant=watched 1",
            "session_rotate tenantry.tenant=watched 1",
            // The server has answered, also where that was a refusal.
            "session_save tenantry.tenant=watched 2",
            "session_touch tenantry.tenant=watched 1",
        ]
    );
    let spans = capture.of("tenantry::redis");
    assert_eq!(spans.len(), 13);
    let text = capture.text();
    let password = server
        .url()
        .rsplit_once('@')
        .unwrap()
        .0
        .rsplit(':')
        .next()
        .unwrap();
    let hidden = [CANARY, password, &*session.hash().to_string()];
    for hidden in ids.iter().map(|id| id.expose()).chain(hidden) {
        assert!(!text.contains(hidden), "{hidden} in {text}");
    }
}
