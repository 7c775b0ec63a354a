//! The contract of sessions.

mod races;
mod users;

use std::sync::Arc;
use std::time::Duration;

use tenantry_core::{ErrorKind, Result, TenantId};

use crate::session::store::{NewSession, SessionChange, SignIn};
use crate::{
    Session, SessionHash, SessionId, SessionPolicy, SessionStore, Sessions, TenantSessions,
};

/// So long that no session ends by itself while it is looked at.
const HOUR: Duration = Duration::from_secs(3_600);

/// Holds a backend to the contract of [`SessionStore`], as far as that can be seen without a clock.
///
/// It takes tenants that nobody has used yet: any backend will do.
///
/// # Panics
///
/// If the backend breaks its contract; the message says in what.
pub async fn session_store_conformance(store: Arc<dyn SessionStore>) {
    let policy = SessionPolicy::default()
        .with_absolute(2 * HOUR)
        .with_idle(HOUR);
    let sessions = Sessions::new(Arc::clone(&store), policy).expect("a policy");
    what_is_saved_is_loaded(&sessions).await;
    a_touch_changes_no_version(&sessions).await;
    nothing_but_create_creates(&*store).await;
    no_hash_is_taken_twice(&*store).await;
    another_tenant_has_nothing(&sessions).await;
    a_save_of_what_was_loaded_before_another_is_refused(&sessions).await;
    a_version_that_is_not_named_is_any(&*store).await;
    a_rotated_id_is_nobodys(&sessions).await;
    who_knew_the_id_before_a_sign_in_knows_nothing(&sessions).await;
    a_rotated_id_ends_what_it_has_become(&sessions).await;
    users::a_user_has_a_list_of_what_lives(&sessions).await;
    users::a_user_ends_no_session_of_another(&sessions).await;
    users::all_of_a_user_end_at_once_and_nobody_elses(&sessions).await;
    users::users_are_kept_apart_whatever_they_are_called(&sessions).await;
    any_bytes_are_kept(&*store).await;
    races::of_saves_at_once_one_wins(&sessions).await;
    races::of_rotations_at_once_one_wins(&sessions).await;
    races::what_was_deleted_stays_deleted_whatever_comes_at_once(&sessions).await;
    races::none_outlives_the_end_of_its_user_unless_it_began_after(&sessions).await;
}

type Tenant = TenantSessions<String>;

fn other(sessions: &Sessions<String>) -> Tenant {
    sessions.tenant(TenantId::generate())
}

async fn created(tenant: &Tenant, data: &str) -> Session<String> {
    tenant.create(data.to_owned()).await.expect("a session")
}

async fn created_for(tenant: &Tenant, user: &str) -> Session<String> {
    let created = tenant.create_for(user, String::new()).await;
    created.expect("a session")
}

async fn loaded(tenant: &Tenant, id: &SessionId) -> Option<Session<String>> {
    tenant.load(id).await.expect("an answer")
}

async fn data(tenant: &Tenant, id: &SessionId) -> Option<String> {
    loaded(tenant, id).await.map(|session| session.data)
}

fn hash() -> SessionHash {
    SessionId::generate().expect("an id").hash()
}

fn new(user: Option<&str>) -> NewSession<'_> {
    NewSession {
        user,
        data: b"new".to_vec(),
        lifetime: 2 * HOUR,
        idle: HOUR,
    }
}

fn change(version: Option<u64>) -> SessionChange {
    SessionChange {
        version,
        data: b"changed".to_vec(),
        idle: HOUR,
    }
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

async fn what_is_saved_is_loaded(sessions: &Sessions<String>) {
    let tenant = other(sessions);
    let mut session = created(&tenant, "one").await;
    assert_eq!(session.metadata().version, 1);
    assert_eq!(data(&tenant, session.id()).await.as_deref(), Some("one"));
    session.data = "two".to_owned();
    tenant.save(&mut session).await.expect("a save");
    let again = loaded(&tenant, session.id()).await.expect("a session");
    assert_eq!((&*again.data, again.user()), ("two", None));
    assert_eq!(again.metadata(), session.metadata());
    assert_eq!(again.metadata().version, 2);
    let times = again.metadata();
    assert!(times.created_at <= times.last_seen_at, "{times:?}");
    let left = (times.expires_at - times.last_seen_at)
        .to_std()
        .expect("a time");
    assert!(left.abs_diff(HOUR) < Duration::from_secs(1), "{left:?}");
    assert!(tenant.delete(session.id()).await.expect("a deletion"));
    assert!(loaded(&tenant, session.id()).await.is_none(), "deleted");
    assert!(
        !tenant.delete(session.id()).await.expect("a deletion"),
        "twice"
    );
}

async fn a_touch_changes_no_version(sessions: &Sessions<String>) {
    let tenant = other(sessions);
    let mut session = created(&tenant, "one").await;
    for _ in 0..3 {
        let touched = tenant.touch(session.id()).await.expect("an answer");
        let touched = touched.expect("the session");
        assert_eq!((&*touched.data, touched.metadata().version), ("one", 1));
        assert!(touched.metadata().last_seen_at >= session.metadata().last_seen_at);
    }
    tenant.save(&mut session).await.expect("a save");
}

async fn nothing_but_create_creates(store: &dyn SessionStore) {
    let tenant = TenantId::generate();
    let (deleted, never, rotated, next) = (hash(), hash(), hash(), hash());
    for hash in [deleted, rotated] {
        store
            .create(tenant, hash, new(Some("user")))
            .await
            .expect("a session");
    }
    assert!(
        store
            .delete(tenant, deleted, None)
            .await
            .expect("a deletion")
    );
    let moved = store.rotate(tenant, rotated, next, change(Some(1)), None);
    moved.await.expect("a rotation");
    for hash in [deleted, never, rotated] {
        assert!(
            store
                .touch(tenant, hash, HOUR)
                .await
                .expect("a touch")
                .is_none()
        );
        for version in [None, Some(1), Some(2)] {
            let saved = store.save(tenant, hash, change(version)).await;
            assert_eq!(kind(saved), Some(ErrorKind::NotFound));
            let sign_in = Some(SignIn {
                user: "user",
                lifetime: HOUR,
            });
            let to = self::hash();
            let rotated = store
                .rotate(tenant, hash, to, change(version), sign_in)
                .await;
            assert_eq!(kind(rotated), Some(ErrorKind::NotFound));
            assert!(store.load(tenant, to).await.expect("an answer").is_none());
        }
        assert!(store.load(tenant, hash).await.expect("an answer").is_none());
    }
    let listed = store.list(tenant, "user").await.expect("a list");
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0].hash, next);
}

async fn no_hash_is_taken_twice(store: &dyn SessionStore) {
    let tenant = TenantId::generate();
    let (first, second, third) = (hash(), hash(), hash());
    for hash in [first, second] {
        store
            .create(tenant, hash, new(None))
            .await
            .expect("a session");
    }
    let again = store.create(tenant, first, new(Some("user"))).await;
    assert_eq!(kind(again), Some(ErrorKind::AlreadyExists));
    let onto = store
        .rotate(tenant, first, second, change(None), None)
        .await;
    assert_eq!(kind(onto), Some(ErrorKind::AlreadyExists));
    let moved = store.rotate(tenant, first, third, change(None), None).await;
    moved.expect("a rotation");
    let after = store.create(tenant, first, new(None)).await;
    assert_eq!(kind(after), Some(ErrorKind::AlreadyExists), "a moment ago");
    let stored = store.load(tenant, second).await.expect("an answer");
    assert_eq!(stored.expect("the second").data, b"new");
    let other = TenantId::generate();
    store
        .create(other, second, new(None))
        .await
        .expect("another tenant's");
}

async fn another_tenant_has_nothing(sessions: &Sessions<String>) {
    let (ours, theirs) = (other(sessions), other(sessions));
    let mut session = ours
        .create_for("user", "one".to_owned())
        .await
        .expect("a session");
    let (never, id) = (SessionId::generate().expect("an id"), session.id().clone());
    for id in [&never, &id] {
        assert!(loaded(&theirs, id).await.is_none());
        assert!(theirs.touch(id).await.expect("an answer").is_none());
        assert!(!theirs.delete(id).await.expect("a deletion"));
        let listed = theirs.delete_listed("user", id.hash()).await;
        assert!(!listed.expect("a deletion"));
    }
    let foreign = theirs.save(&mut session).await.expect_err("no save");
    assert_eq!(foreign.kind(), ErrorKind::NotFound);
    assert_eq!(
        kind(theirs.rotate(&mut session).await),
        Some(ErrorKind::NotFound)
    );
    let signed_in = theirs.sign_in(&mut session, "user").await;
    assert_eq!(kind(signed_in), Some(ErrorKind::NotFound));
    assert!(theirs.list("user").await.expect("a list").is_empty());
    assert_eq!(theirs.delete_by_user("user").await.expect("a deletion"), 0);
    assert_eq!(theirs.delete_others(&session).await.expect("a deletion"), 0);
    // Nor by a user of ours who is called as one of theirs.
    let mut namesake = created(&theirs, "theirs").await;
    let signed_in = theirs.sign_in(&mut namesake, "ada").await;
    signed_in.expect("a user");
    let mut of_ours = created(&ours, "ours").await;
    ours.sign_in(&mut of_ours, "ada").await.expect("a user");
    assert_eq!(theirs.delete_others(&of_ours).await.expect("a deletion"), 0);
    assert_eq!(theirs.list("ada").await.expect("a list").len(), 1);
    assert_eq!(data(&ours, &id).await.as_deref(), Some("one"));
    // In the words that are told of what never was.
    let mut gone = created(&ours, "").await;
    ours.delete(gone.id()).await.expect("a deletion");
    let gone = ours.save(&mut gone).await.expect_err("no save");
    assert_eq!(gone.to_string(), foreign.to_string());
}

async fn a_save_of_what_was_loaded_before_another_is_refused(sessions: &Sessions<String>) {
    let tenant = other(sessions);
    let mut first = created(&tenant, "one").await;
    let mut second = loaded(&tenant, first.id()).await.expect("a session");
    first.data = "two".to_owned();
    tenant.save(&mut first).await.expect("a save");
    second.data = "lost".to_owned();
    assert_eq!(
        kind(tenant.save(&mut second).await),
        Some(ErrorKind::Conflict)
    );
    assert_eq!(
        kind(tenant.rotate(&mut second).await),
        Some(ErrorKind::Conflict)
    );
    let signed_in = tenant.sign_in(&mut second, "user").await;
    assert_eq!(kind(signed_in), Some(ErrorKind::Conflict));
    assert_eq!(second.user(), None);
    assert_eq!(data(&tenant, first.id()).await.as_deref(), Some("two"));
    let mut again = loaded(&tenant, second.id()).await.expect("a session");
    tenant.save(&mut again).await.expect("a save");
}

async fn a_version_that_is_not_named_is_any(store: &dyn SessionStore) {
    let (tenant, hash) = (TenantId::generate(), hash());
    store
        .create(tenant, hash, new(None))
        .await
        .expect("a session");
    for version in 2..5 {
        let saved = store.save(tenant, hash, change(None)).await;
        assert_eq!(saved.expect("a save").version, version);
    }
}

async fn a_rotated_id_is_nobodys(sessions: &Sessions<String>) {
    let tenant = other(sessions);
    let mut session = created(&tenant, "one").await;
    let mut slow = loaded(&tenant, session.id()).await.expect("a session");
    let began = session.metadata().created_at;
    session.data = "two".to_owned();
    tenant.rotate(&mut session).await.expect("a rotation");
    assert_ne!(session.id(), slow.id());
    assert!(loaded(&tenant, slow.id()).await.is_none());
    assert!(tenant.touch(slow.id()).await.expect("an answer").is_none());
    assert_eq!(
        kind(tenant.save(&mut slow).await),
        Some(ErrorKind::NotFound)
    );
    let again = loaded(&tenant, session.id()).await.expect("a session");
    assert_eq!((&*again.data, again.user()), ("two", None));
    assert_eq!(again.metadata(), session.metadata());
    assert_eq!(again.metadata().created_at, began);
    assert_eq!(again.metadata().version, 2);
    tenant.save(&mut session).await.expect("a save");
}

async fn who_knew_the_id_before_a_sign_in_knows_nothing(sessions: &Sessions<String>) {
    let tenant = other(sessions);
    let mut session = created(&tenant, "basket").await;
    let before = session.id().clone();
    for user in ["user:17", "user:18"] {
        tenant.sign_in(&mut session, user).await.expect("a sign-in");
        assert!(loaded(&tenant, &before).await.is_none());
        let again = loaded(&tenant, session.id()).await.expect("a session");
        assert_eq!((&*again.data, again.user()), ("basket", Some(user)));
        let listed = tenant.list(user).await.expect("a list");
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].hash, session.hash());
    }
    assert!(tenant.list("user:17").await.expect("a list").is_empty());
    assert_eq!(
        tenant.delete_by_user("user:17").await.expect("a deletion"),
        0
    );
    assert!(loaded(&tenant, session.id()).await.is_some());
}

/// Who logs out while another request rotates the id is logged out.
async fn a_rotated_id_ends_what_it_has_become(sessions: &Sessions<String>) {
    let tenant = other(sessions);
    let mut session = created_for(&tenant, "user").await;
    let before = session.id().clone();
    tenant.rotate(&mut session).await.expect("a rotation");
    assert!(tenant.delete(&before).await.expect("a deletion"));
    assert!(loaded(&tenant, session.id()).await.is_none());
    assert!(tenant.list("user").await.expect("a list").is_empty());
    assert!(!tenant.delete(&before).await.expect("a deletion"));
}

async fn any_bytes_are_kept(store: &dyn SessionStore) {
    let tenant = TenantId::generate();
    for data in [Vec::new(), (0..=255).collect(), vec![0xff; 64 * 1024]] {
        let hash = hash();
        let mut new = new(None);
        new.data.clone_from(&data);
        store.create(tenant, hash, new).await.expect("a session");
        let stored = store.load(tenant, hash).await.expect("an answer");
        assert!(stored.expect("a session").data == data);
    }
}
