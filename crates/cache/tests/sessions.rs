//! Sessions in this process.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tenantry_cache::{
    MemorySessions, SessionId, SessionPolicy, SessionStore, Sessions, TenantSessions,
};
use tenantry_core::{Clock as _, ErrorKind, ManualClock, TenantId};

const MINUTE: Duration = Duration::from_secs(60);
const MILLI: Duration = Duration::from_millis(1);

fn clock() -> ManualClock {
    ManualClock::new("2026-01-31T12:00:00Z".parse().unwrap())
}

fn policy() -> SessionPolicy {
    SessionPolicy::default()
        .with_absolute(60 * MINUTE)
        .with_idle(20 * MINUTE)
}

/// One tenant, by a clock.
fn tenant(clock: &ManualClock) -> TenantSessions<String> {
    let store = MemorySessions::with_clock(Arc::new(clock.clone()));
    tenant_in(Arc::new(store))
}

fn tenant_in(store: Arc<dyn SessionStore>) -> TenantSessions<String> {
    let sessions = Sessions::new(store, policy()).unwrap();
    sessions.tenant(TenantId::generate())
}

#[tokio::test]
async fn one_that_is_idle_ends() {
    let clock = clock();
    let tenant = tenant(&clock);
    let session = tenant.create_for("user", "one".to_owned()).await.unwrap();
    clock.advance(20 * MINUTE - MILLI);
    assert!(tenant.load(session.id()).await.unwrap().is_some());
    clock.advance(MILLI);
    assert!(tenant.load(session.id()).await.unwrap().is_none());
    assert!(tenant.list("user").await.unwrap().is_empty());
    assert!(!tenant.delete(session.id()).await.unwrap());
}

#[tokio::test]
async fn a_touch_after_the_end_does_not_begin_it_anew() {
    let clock = clock();
    let tenant = tenant(&clock);
    let mut session = tenant.create("one".to_owned()).await.unwrap();
    clock.advance(20 * MINUTE);
    assert!(tenant.touch(session.id()).await.unwrap().is_none());
    let saved = tenant.save(&mut session).await.unwrap_err();
    assert_eq!(saved.kind(), ErrorKind::NotFound);
    assert!(tenant.load(session.id()).await.unwrap().is_none());
}

/// Those that are over are taken away a few at a time.
#[tokio::test]
async fn one_that_is_over_is_none_though_it_takes_room_yet() {
    let clock = clock();
    let tenant = tenant(&clock);
    let mut sessions = Vec::new();
    for _ in 0..200 {
        sessions.push(tenant.create_for("user", String::new()).await.unwrap());
    }
    clock.advance(20 * MINUTE);
    assert!(tenant.list("user").await.unwrap().is_empty());
    let mut ends = 0;
    for session in &mut sessions {
        ends += u32::from(tenant.touch(session.id()).await.unwrap().is_none());
        assert!(tenant.save(session).await.is_err());
    }
    assert_eq!(ends, 200);
}

#[tokio::test]
async fn one_that_is_used_goes_on_until_its_absolute_end() {
    let clock = clock();
    let tenant = tenant(&clock);
    let mut session = tenant.create("one".to_owned()).await.unwrap();
    let ends = clock.now() + chrono::TimeDelta::hours(1);
    for _ in 0..3 {
        clock.advance(15 * MINUTE);
        let touched = tenant.touch(session.id()).await.unwrap().unwrap();
        assert_eq!(touched.metadata().last_seen_at, clock.now());
        assert!(touched.metadata().expires_at <= ends);
    }
    tenant.rotate(&mut session).await.unwrap();
    assert_eq!(session.metadata().expires_at, ends);
    clock.advance(15 * MINUTE - MILLI);
    tenant.save(&mut session).await.unwrap();
    clock.advance(MILLI);
    assert!(tenant.load(session.id()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_look_does_not_make_it_last_longer() {
    let clock = clock();
    let tenant = tenant(&clock);
    let session = tenant.create("one".to_owned()).await.unwrap();
    clock.advance(10 * MINUTE);
    let seen = tenant.load(session.id()).await.unwrap().unwrap();
    assert_eq!(seen.metadata(), session.metadata());
    clock.advance(10 * MINUTE);
    assert!(tenant.load(session.id()).await.unwrap().is_none());
}

#[tokio::test]
async fn the_absolute_time_begins_anew_where_a_user_signs_in() {
    let clock = clock();
    let tenant = tenant(&clock);
    let mut session = tenant.create("basket".to_owned()).await.unwrap();
    for _ in 0..3 {
        clock.advance(18 * MINUTE);
        tenant.touch(session.id()).await.unwrap().unwrap();
    }
    tenant.sign_in(&mut session, "user").await.unwrap();
    assert_eq!(session.metadata().created_at, clock.now());
    for _ in 0..3 {
        clock.advance(18 * MINUTE);
        assert!(tenant.touch(session.id()).await.unwrap().is_some());
    }
    clock.advance(18 * MINUTE);
    assert!(tenant.touch(session.id()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_correction_of_the_time_of_day_ends_nothing() {
    let clock = clock();
    let tenant = tenant(&clock);
    let session = tenant.create("one".to_owned()).await.unwrap();
    clock.set("2030-01-01T00:00:00Z".parse().unwrap());
    assert!(tenant.load(session.id()).await.unwrap().is_some());
    clock.set("2020-01-01T00:00:00Z".parse().unwrap());
    clock.advance(20 * MINUTE);
    assert!(tenant.load(session.id()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_rotated_id_ends_what_it_has_become_for_five_minutes() {
    for (wait, is_ended) in [(5 * MINUTE - MILLI, true), (5 * MINUTE, false)] {
        let clock = clock();
        let tenant = tenant(&clock);
        let mut session = tenant.create("one".to_owned()).await.unwrap();
        let before = session.id().clone();
        tenant.rotate(&mut session).await.unwrap();
        clock.advance(wait);
        assert_eq!(tenant.delete(&before).await.unwrap(), is_ended);
        let is_there = tenant.load(session.id()).await.unwrap().is_some();
        assert_eq!(is_there, !is_ended);
    }
}

#[tokio::test]
async fn a_full_store_refuses_and_what_has_expired_makes_room() {
    let clock = clock();
    let store = MemorySessions::with_clock(Arc::new(clock.clone()))
        .with_most_sessions(150)
        .with_most_sessions_of_a_tenant(100);
    let store: Arc<dyn SessionStore> = Arc::new(store);
    let [one, other] = [(); 2].map(|()| tenant_in(Arc::clone(&store)));
    for (tenant, most) in [(&one, 100), (&other, 50)] {
        for _ in 0..most {
            tenant.create_for("user", String::new()).await.unwrap();
        }
        let refused = tenant.create(String::new()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::StorageFull);
    }
    assert_eq!(format!("{store:?}"), "MemorySessions { sessions: 150, .. }");
    // To rotate takes no room.
    let hash = one.list("user").await.unwrap()[0].hash;
    assert!(one.delete_listed("user", hash).await.unwrap());
    let mut last = one.create(String::new()).await.unwrap();
    for _ in 0..500 {
        one.rotate(&mut last).await.unwrap();
    }
    clock.advance(20 * MINUTE);
    other.create(String::new()).await.unwrap();
    one.create(String::new()).await.unwrap();
    for _ in 0..20 {
        assert!(other.list("user").await.unwrap().is_empty());
    }
    assert_eq!(format!("{store:?}"), "MemorySessions { sessions: 2, .. }");
}

#[tokio::test]
async fn data_beyond_the_cap_is_refused_and_leaves_what_was() {
    let sessions = Sessions::<String>::new(
        Arc::new(MemorySessions::new()),
        SessionPolicy::default().with_most_bytes(10),
    );
    let tenant = sessions.unwrap().tenant(TenantId::generate());
    let mut session = tenant.create("12345678".to_owned()).await.unwrap();
    session.data.push('9');
    for refused in [
        tenant.save(&mut session).await,
        tenant.rotate(&mut session).await,
        tenant.create("123456789".to_owned()).await.map(drop),
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidValue);
        assert!(
            refused.to_string().contains("11 bytes, and 10 are allowed"),
            "{refused}"
        );
    }
    let kept = tenant.load(session.id()).await.unwrap().unwrap();
    assert_eq!(kept.data, "12345678");
}

#[derive(Serialize, Deserialize)]
struct Old {
    name: String,
}

#[derive(Serialize, Deserialize)]
struct New {
    name: String,
    #[serde(default)]
    theme: Option<String>,
}

#[tokio::test]
async fn versions_of_a_service_read_each_other() {
    let (store, id) = (Arc::new(MemorySessions::new()), TenantId::generate());
    let old = Sessions::<Old>::new(Arc::clone(&store) as Arc<_>, policy()).unwrap();
    let new = Sessions::<New>::new(store, policy()).unwrap();
    let name = "Ada".to_owned();
    let session = old.tenant(id).create(Old { name }).await.unwrap();
    let mut newer = new.tenant(id).load(session.id()).await.unwrap().unwrap();
    assert_eq!((&*newer.data.name, &newer.data.theme), ("Ada", &None));
    newer.data.theme = Some("dark".to_owned());
    new.tenant(id).save(&mut newer).await.unwrap();
    let older = old.tenant(id).load(session.id()).await.unwrap().unwrap();
    assert_eq!(older.data.name, "Ada");
}

#[tokio::test]
async fn neither_debug_nor_errors_tell_what_is_stored() {
    let (store, id) = (Arc::new(MemorySessions::new()), TenantId::generate());
    let texts = Sessions::<String>::new(Arc::clone(&store) as Arc<_>, policy()).unwrap();
    let numbers = Sessions::<u64>::new(Arc::clone(&store) as Arc<_>, policy()).unwrap();
    let tenant = texts.tenant(id);
    let session = tenant
        .create_for("ada@example.com", "hunter2".to_owned())
        .await
        .unwrap();
    let misread = numbers.tenant(id).load(session.id()).await.unwrap_err();
    assert_eq!(misread.kind(), ErrorKind::InvalidValue);
    let unwritten =
        Sessions::<HashMap<(u8, u8), String>>::new(Arc::clone(&store) as _, policy()).unwrap();
    let data = HashMap::from([((1, 2), "hunter2".to_owned())]);
    let unwritten = unwritten.tenant(id).create(data).await.unwrap_err();
    assert_eq!(unwritten.kind(), ErrorKind::InvalidValue);
    let stored = store.load(id, session.hash()).await.unwrap().unwrap();
    let told = format!(
        "{misread} {misread:?} {unwritten} {unwritten:?} {session:?} {stored:?} {store:?} {tenant:?} {texts:?}"
    );
    for secret in ["hunter2", "ada@", session.id().expose()] {
        assert!(!told.contains(secret), "{told}");
    }
}

#[tokio::test]
async fn a_hash_lets_nobody_in() {
    let tenant = tenant(&clock());
    let session = tenant.create_for("user", String::new()).await.unwrap();
    let listed = tenant.list("user").await.unwrap();
    let forged: SessionId = listed[0].hash.to_string().parse().unwrap();
    assert!(tenant.load(&forged).await.unwrap().is_none());
    assert!(!tenant.delete(&forged).await.unwrap());
    assert!(tenant.load(session.id()).await.unwrap().is_some());
}

#[tokio::test]
async fn the_policy_is_looked_at_first() {
    let refused = Sessions::<()>::new(
        Arc::new(MemorySessions::new()),
        SessionPolicy::default().with_idle(Duration::ZERO),
    );
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidSettings);
}

/// On threads, where calls do meet.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_deleted_stays_deleted_on_threads() {
    let tenant = tenant_in(Arc::new(MemorySessions::new()));
    for _ in 0..500 {
        let session = tenant.create_for("user", String::new()).await.unwrap();
        let id = session.id().clone();
        let slow = tokio::spawn({
            let tenant = tenant.clone();
            let mut slow = tenant.load(&id).await.unwrap().unwrap();
            async move {
                let _ = tenant.rotate(&mut slow).await;
                let _ = tenant.save(&mut slow).await;
                slow
            }
        });
        let ended = tenant.delete(&id).await.unwrap();
        let slow = slow.await.unwrap();
        assert!(ended);
        for id in [&id, slow.id()] {
            assert!(tenant.touch(id).await.unwrap().is_none());
        }
    }
    assert!(tenant.list("user").await.unwrap().is_empty());
}

#[cfg(feature = "conformance")]
#[tokio::test]
async fn conforms() {
    use tenantry_cache::conformance::session_store_conformance;

    session_store_conformance(Arc::new(MemorySessions::new())).await;
}
