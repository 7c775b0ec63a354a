//! Sessions that are ended while they change, on both backends.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::sync::Arc;
use std::time::Duration;

use tenantry_cache::{
    MemorySessions, NewSession, SessionId, SessionPolicy, SessionStore, Sessions, TenantSessions,
};
use tenantry_core::TenantId;

const MINUTE: Duration = Duration::from_secs(60);

async fn stores() -> Vec<Arc<dyn SessionStore>> {
    let mut stores: Vec<Arc<dyn SessionStore>> = vec![Arc::new(MemorySessions::new())];
    #[cfg(feature = "redis")]
    {
        let server = tenantry_testkit::RedisServer::shared().await.unwrap();
        let settings = tenantry_cache::RedisSettings::new(server.url())
            .with_prefix("ended")
            .with_timeout(Duration::from_secs(10));
        stores.push(Arc::new(
            tenantry_cache::RedisSessions::new(&settings).unwrap(),
        ));
    }
    stores
}

fn tenant(store: &Arc<dyn SessionStore>) -> TenantSessions<String> {
    let sessions = Sessions::new(Arc::clone(store), SessionPolicy::default()).unwrap();
    sessions.tenant(TenantId::generate())
}

/// "For five minutes it still ends what it has become: who logs out while another request rotates is logged
/// out." A request that signs in and then rotates (a second factor) does so twice.
#[tokio::test]
async fn an_id_that_was_rotated_twice_ends_what_it_has_become() {
    let mut failed = Vec::new();
    for store in stores().await {
        let tenant = tenant(&store);
        let mut session = tenant.create(String::new()).await.unwrap();
        let cookie = session.id().clone();
        tenant.sign_in(&mut session, "user:17").await.unwrap();
        tenant.rotate(&mut session).await.unwrap();
        // The visitor, who has the first cookie yet, logs out.
        let ended = tenant.delete(&cookie).await.unwrap();
        let is_there = tenant.load(session.id()).await.unwrap().is_some();
        if !ended || is_there {
            failed.push(format!("{store:?}: ended {ended}, goes on {is_there}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// "`delete_others(&session)` ends all but one, for after a change of the password."
#[tokio::test]
async fn a_session_that_another_request_rotated_is_not_among_the_others() {
    let mut failed = Vec::new();
    for store in stores().await {
        let tenant = tenant(&store);
        let session = tenant.create_for("user:17", String::new()).await.unwrap();
        tenant.create_for("user:17", String::new()).await.unwrap();
        let mut same = tenant.load(session.id()).await.unwrap().unwrap();
        tenant.rotate(&mut same).await.unwrap();
        let ended = tenant.delete_others(&session).await.unwrap();
        let is_there = tenant.load(same.id()).await.unwrap().is_some();
        if ended != 1 || !is_there {
            failed.push(format!(
                "{store:?}: {ended} ended, its own goes on: {is_there}"
            ));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Each backend by the same contract: a user that is the empty text is nobody's wildcard.
#[tokio::test]
async fn a_user_without_a_name_owns_nothing() {
    let mut failed = Vec::new();
    for store in stores().await {
        let (tenant, hash) = (TenantId::generate(), SessionId::generate().unwrap().hash());
        let new = NewSession {
            user: Some("user:17"),
            data: b"{}".to_vec(),
            lifetime: MINUTE,
            idle: MINUTE,
        };
        store.create(tenant, hash, new).await.unwrap();
        if store.delete(tenant, hash, Some("")).await.unwrap() {
            failed.push(format!("{store:?} ends the session of another user"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// Deterministic rounds of everything at once, by one model: what was ended never answers again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_ended_comes_back_whatever_is_dropped() {
    for store in stores().await {
        let tenant = tenant(&store);
        for round in 0..150_u64 {
            let session = tenant.create_for("user", String::new()).await.unwrap();
            let id = session.id().clone();
            let mut tasks = Vec::new();
            for task in 0..6_u64 {
                let (tenant, id) = (tenant.clone(), id.clone());
                tasks.push(tokio::spawn(async move {
                    let Some(mut mine) = tenant.load(&id).await.unwrap() else {
                        return Vec::new();
                    };
                    let mut ids = vec![mine.id().clone()];
                    let micros = Duration::from_micros((round * 37 + task * 101) % 900);
                    for step in 0..4 {
                        let patience = micros + Duration::from_micros(step * 200);
                        match (task + step) % 3 {
                            0 => drop(tokio::time::timeout(patience, tenant.save(&mut mine)).await),
                            1 => {
                                drop(tokio::time::timeout(patience, tenant.rotate(&mut mine)).await)
                            }
                            _ => drop(
                                tokio::time::timeout(patience, tenant.sign_in(&mut mine, "user"))
                                    .await,
                            ),
                        }
                        ids.push(mine.id().clone());
                        let _ = tenant.touch(mine.id()).await;
                    }
                    ids
                }));
            }
            if round % 2 == 0 {
                tokio::time::sleep(Duration::from_micros(round * 11 % 700)).await;
            }
            let mut ids = vec![id];
            for task in tasks {
                ids.extend(task.await.unwrap());
            }
            // Dropped calls may be under way in the server: they come before this one on its connections
            // or after, and may not bring anything back.
            tenant.delete_by_user("user").await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
            for id in ids {
                assert!(tenant.load(&id).await.unwrap().is_none(), "round {round}");
            }
            assert!(
                tenant.list("user").await.unwrap().is_empty(),
                "round {round}"
            );
        }
    }
}
