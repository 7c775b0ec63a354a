//! Sessions of tenants behind the middleware `tower-sessions`.

#![cfg(feature = "tower-sessions")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use tenantry_cache::{MemorySessions, SessionPolicy, SessionStore, Sessions, TowerSessionStore};
use tenantry_core::{Clock as _, ManualClock, TenantId};
use time::OffsetDateTime;
use tokio::sync::Notify;
use tower::{Layer as _, ServiceExt as _};
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::Error;
use tower_sessions::{Session, SessionManagerLayer, SessionStore as _};

const MINUTE: Duration = Duration::from_secs(60);

fn sessions(store: Arc<dyn SessionStore>) -> Sessions<()> {
    let policy = SessionPolicy::default()
        .with_absolute(60 * MINUTE)
        .with_idle(20 * MINUTE)
        .with_most_bytes(1_000);
    Sessions::new(store, policy).unwrap()
}

fn of_a_tenant(sessions: &Sessions<()>) -> TowerSessionStore {
    TowerSessionStore::new(&sessions.tenant(TenantId::generate()))
}

fn record(text: &str, lasts: Duration) -> Record {
    Record {
        id: Id::default(),
        data: [("text".to_owned(), text.into())].into(),
        expiry_date: OffsetDateTime::now_utc() + lasts,
    }
}

async fn text(store: &TowerSessionStore, id: &Id) -> Option<String> {
    let loaded = store.load(id).await.unwrap();
    loaded.map(|record| record.data["text"].as_str().unwrap().to_owned())
}

/// What the middleware expects of a store, whichever backend it has.
async fn is_as_expected(sessions: &Sessions<()>) {
    a_record_makes_the_round_trip(&of_a_tenant(sessions)).await;
    an_id_that_is_taken_is_drawn_anew(&of_a_tenant(sessions)).await;
    what_was_deleted_is_not_saved(&of_a_tenant(sessions)).await;
    a_record_expires_when_the_middleware_says(&of_a_tenant(sessions)).await;
    data_beyond_the_cap_is_refused(&of_a_tenant(sessions)).await;
    another_tenant_has_nothing(sessions).await;
    requests_of_two_tenants_share_nothing(sessions).await;
    a_slow_request_that_saves_after_the_logout_stays_logged_out(sessions).await;
    an_id_is_cycled_where_a_user_signs_in(sessions).await;
}

async fn a_record_makes_the_round_trip(store: &TowerSessionStore) {
    let mut one = record("one", MINUTE);
    let id = one.id;
    store.create(&mut one).await.unwrap();
    assert_eq!(one.id, id, "nobody has it");
    let loaded = store.load(&id).await.unwrap().unwrap();
    assert_eq!((loaded.id, &loaded.data), (id, &one.data));
    let apart = (loaded.expiry_date - one.expiry_date).unsigned_abs();
    assert!(apart < Duration::from_secs(2), "{apart:?}");
    for again in ["two", "three"] {
        one.data.insert("text".to_owned(), again.into());
        store.save(&one).await.unwrap();
        assert_eq!(text(store, &id).await.as_deref(), Some(again));
    }
    store.delete(&id).await.unwrap();
    assert_eq!(text(store, &id).await, None);
    store.delete(&id).await.unwrap();
}

async fn an_id_that_is_taken_is_drawn_anew(store: &TowerSessionStore) {
    let mut first = record("first", MINUTE);
    store.create(&mut first).await.unwrap();
    let mut second = record("second", MINUTE);
    second.id = first.id;
    store.create(&mut second).await.unwrap();
    assert_ne!(first.id, second.id);
    assert_eq!(text(store, &first.id).await.as_deref(), Some("first"));
    assert_eq!(text(store, &second.id).await.as_deref(), Some("second"));
}

async fn what_was_deleted_is_not_saved(store: &TowerSessionStore) {
    let mut deleted = record("deleted", MINUTE);
    store.create(&mut deleted).await.unwrap();
    store.delete(&deleted.id).await.unwrap();
    for gone in [&deleted, &record("never", MINUTE)] {
        let refused = store.save(gone).await.unwrap_err();
        assert!(matches!(refused, Error::Backend(_)), "{refused:?}");
        assert_eq!(text(store, &gone.id).await, None);
    }
}

async fn a_record_expires_when_the_middleware_says(store: &TowerSessionStore) {
    let mut brief = record("brief", Duration::from_millis(150));
    store.create(&mut brief).await.unwrap();
    let mut saved = record("saved", MINUTE);
    store.create(&mut saved).await.unwrap();
    assert!(store.load(&saved.id).await.unwrap().is_some());
    saved.expiry_date = brief.expiry_date;
    store.save(&saved).await.unwrap();
    let mut past = record("past", Duration::ZERO);
    past.expiry_date -= MINUTE;
    store.create(&mut past).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    for gone in [&brief, &saved, &past] {
        assert_eq!(text(store, &gone.id).await, None);
        assert!(store.save(gone).await.is_err());
    }
    // It is capped by the absolute time.
    let mut long = record("long", 1_000 * MINUTE);
    store.create(&mut long).await.unwrap();
    let loaded = store.load(&long.id).await.unwrap().unwrap();
    assert!(loaded.expiry_date <= OffsetDateTime::now_utc() + 61 * MINUTE);
}

async fn data_beyond_the_cap_is_refused(store: &TowerSessionStore) {
    let mut large = record(&"secret".repeat(200), MINUTE);
    let refused = store.create(&mut large).await.unwrap_err();
    assert!(
        refused.to_string().contains("1000 are allowed"),
        "{refused}"
    );
    assert!(!format!("{refused:?}").contains("secretsecret"));
}

async fn another_tenant_has_nothing(sessions: &Sessions<()>) {
    let (ours, theirs) = (of_a_tenant(sessions), of_a_tenant(sessions));
    let mut one = record("one", MINUTE);
    ours.create(&mut one).await.unwrap();
    assert_eq!(text(&theirs, &one.id).await, None);
    assert!(theirs.save(&one).await.is_err());
    theirs.delete(&one.id).await.unwrap();
    assert_eq!(text(&ours, &one.id).await.as_deref(), Some("one"));
}

/// A service whose requests are of several tenants.
#[derive(Clone)]
struct Service {
    sessions: Sessions<()>,
    /// A slow request has loaded its session, and may go on.
    is_loaded: Arc<Notify>,
    may_save: Arc<Notify>,
}

impl Service {
    fn new(sessions: &Sessions<()>) -> Self {
        Self {
            sessions: sessions.clone(),
            is_loaded: Arc::default(),
            may_save: Arc::default(),
        }
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/count", get(count))
            .route("/slow", get(slow))
            .route("/login", get(login))
            .route("/logout", get(logout))
            .layer(from_fn_with_state(self.clone(), with_session))
            .with_state(self.clone())
    }

    /// Returns status, body, and the cookie that was set.
    async fn ask(
        &self,
        tenant: TenantId,
        path: &str,
        cookie: &str,
    ) -> (StatusCode, String, Option<String>) {
        let request = Request::builder()
            .uri(path)
            .header("x-tenant", tenant.to_string())
            .header(header::COOKIE, cookie)
            .body(Body::empty())
            .unwrap();
        let response = self.router().oneshot(request).await.unwrap();
        let cookie = response.headers().get(header::SET_COOKIE).map(|cookie| {
            let cookie = cookie.to_str().unwrap();
            cookie.split(';').next().unwrap().to_owned()
        });
        let status = response.status();
        let body = to_bytes(response.into_body(), 1_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap(), cookie)
    }

    async fn count(&self, tenant: TenantId, cookie: &str) -> String {
        let (status, body, _) = self.ask(tenant, "/count", cookie).await;
        assert_eq!(status, StatusCode::OK);
        body
    }
}

/// Chooses the store by the tenant of the request, as whatever authenticates it would tell.
async fn with_session(State(service): State<Service>, request: Request, next: Next) -> Response {
    let tenant = request.headers()["x-tenant"].to_str().unwrap();
    let tenant = service.sessions.tenant(tenant.parse().unwrap());
    let layer = SessionManagerLayer::new(TowerSessionStore::new(&tenant));
    let Ok(response) = layer.layer(next).oneshot(request).await;
    response
}

async fn count(session: Session) -> String {
    let count = session.get::<u64>("count").await.unwrap();
    let count = count.unwrap_or_default() + 1;
    session.insert("count", count).await.unwrap();
    count.to_string()
}

async fn slow(State(service): State<Service>, session: Session) -> String {
    let count = count(session).await;
    service.is_loaded.notify_one();
    service.may_save.notified().await;
    count
}

async fn login(session: Session) {
    session.cycle_id().await.unwrap();
    session.insert("user", "user:17").await.unwrap();
}

async fn logout(session: Session) {
    session.flush().await.unwrap();
}

async fn requests_of_two_tenants_share_nothing(sessions: &Sessions<()>) {
    let service = Service::new(sessions);
    let [ours, theirs] = [(); 2].map(|()| TenantId::generate());
    let (_, first, cookie) = service.ask(ours, "/count", "").await;
    let cookie = cookie.unwrap();
    assert_eq!(first, "1");
    assert_eq!(service.count(ours, &cookie).await, "2");
    // The cookie of another tenant is one that nobody has.
    let (_, other, another) = service.ask(theirs, "/count", &cookie).await;
    assert_eq!(other, "1");
    assert_ne!(another.unwrap(), cookie);
    assert_eq!(service.count(ours, &cookie).await, "3");
    for junk in [
        "id=",
        "id=junk",
        &format!("{cookie}A"),
        "id=AAAAAAAAAAAAAAAAAAAAAA",
    ] {
        assert_eq!(service.count(ours, junk).await, "1");
    }
    service.ask(theirs, "/logout", &cookie).await;
    assert_eq!(service.count(ours, &cookie).await, "4");
    service.ask(ours, "/logout", &cookie).await;
    assert_eq!(service.count(ours, &cookie).await, "1");
}

async fn a_slow_request_that_saves_after_the_logout_stays_logged_out(sessions: &Sessions<()>) {
    let service = Service::new(sessions);
    let tenant = TenantId::generate();
    let (_, _, cookie) = service.ask(tenant, "/count", "").await;
    let cookie = cookie.unwrap();
    let slow = tokio::spawn({
        let (service, cookie) = (service.clone(), cookie.clone());
        async move { service.ask(tenant, "/slow", &cookie).await }
    });
    service.is_loaded.notified().await;
    let (status, ..) = service.ask(tenant, "/logout", &cookie).await;
    assert_eq!(status, StatusCode::OK);
    service.may_save.notify_one();
    let (status, _, set) = slow.await.unwrap();
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(set, None);
    assert_eq!(service.count(tenant, &cookie).await, "1");
}

async fn an_id_is_cycled_where_a_user_signs_in(sessions: &Sessions<()>) {
    let service = Service::new(sessions);
    let tenant = TenantId::generate();
    let (_, _, before) = service.ask(tenant, "/count", "").await;
    let before = before.unwrap();
    let (status, _, after) = service.ask(tenant, "/login", &before).await;
    assert_eq!(status, StatusCode::OK);
    let after = after.unwrap();
    assert_ne!(before, after);
    assert_eq!(service.count(tenant, &after).await, "2");
    assert_eq!(service.count(tenant, &before).await, "1");
}

#[tokio::test]
async fn in_this_process_it_is_as_the_middleware_expects() {
    is_as_expected(&sessions(Arc::new(MemorySessions::new()))).await;
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn in_a_redis_it_is_as_the_middleware_expects() {
    let server = tenantry_testkit::RedisServer::shared().await.unwrap();
    let settings = tenantry_cache::RedisSettings::new(server.url()).with_prefix("tower");
    let store = tenantry_cache::RedisSessions::new(&settings).unwrap();
    is_as_expected(&sessions(Arc::new(store))).await;
}

#[tokio::test]
async fn a_record_lasts_by_the_clock_that_is_handed_in() {
    let clock = ManualClock::new("2026-01-31T12:00:00Z".parse().unwrap());
    let store = MemorySessions::with_clock(Arc::new(clock.clone()));
    let store = of_a_tenant(&sessions(Arc::new(store))).with_clock(Arc::new(clock.clone()));
    let mut one = record("one", MINUTE);
    one.expiry_date =
        OffsetDateTime::from_unix_timestamp(clock.now().timestamp()).unwrap() + MINUTE;
    store.create(&mut one).await.unwrap();
    assert_eq!(store.load(&one.id).await.unwrap(), Some(one.clone()));
    clock.advance(MINUTE - Duration::from_millis(1));
    assert!(store.load(&one.id).await.unwrap().is_some());
    clock.advance(Duration::from_millis(1));
    assert!(store.load(&one.id).await.unwrap().is_none());
}
