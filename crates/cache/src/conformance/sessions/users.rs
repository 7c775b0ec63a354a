//! The sessions of users.

use tenantry_core::ErrorKind;

use super::{created, created_for, kind, loaded, other};
use crate::Sessions;

pub(super) async fn a_user_has_a_list_of_what_lives(sessions: &Sessions<String>) {
    let tenant = other(sessions);
    let mut live = Vec::new();
    for _ in 0..4 {
        live.push(created_for(&tenant, "user").await);
    }
    created_for(&tenant, "another").await;
    created(&tenant, "of nobody").await;
    tenant
        .delete(live.remove(0).id())
        .await
        .expect("a deletion");
    tenant.rotate(&mut live[0]).await.expect("a rotation");
    tenant.save(&mut live[1]).await.expect("a save");
    let listed = tenant.list("user").await.expect("a list");
    assert_eq!(listed.len(), live.len(), "{listed:?}");
    for session in &live {
        let listed = listed.iter().find(|listed| listed.hash == session.hash());
        assert_eq!(listed.expect("listed").metadata, session.metadata());
    }
    let is_sorted =
        listed.is_sorted_by(|one, next| one.metadata.last_seen_at >= next.metadata.last_seen_at);
    assert!(is_sorted, "{listed:?}");
}

pub(super) async fn a_user_ends_no_session_of_another(sessions: &Sessions<String>) {
    let tenant = other(sessions);
    let (ours, theirs) = (
        created_for(&tenant, "user").await,
        created_for(&tenant, "another").await,
    );
    let nobodys = created(&tenant, "").await;
    let ends = async |hash| {
        tenant
            .delete_listed("user", hash)
            .await
            .expect("a deletion")
    };
    assert!(!ends(theirs.hash()).await);
    assert!(!ends(nobodys.hash()).await);
    assert!(ends(ours.hash()).await);
    assert!(!ends(ours.hash()).await);
    for (session, is_there) in [(&ours, false), (&theirs, true), (&nobodys, true)] {
        assert_eq!(loaded(&tenant, session.id()).await.is_some(), is_there);
    }
}

pub(super) async fn all_of_a_user_end_at_once_and_nobody_elses(sessions: &Sessions<String>) {
    let (tenant, elsewhere) = (other(sessions), other(sessions));
    let mut of_user = Vec::new();
    for _ in 0..5 {
        of_user.push(created_for(&tenant, "user").await);
    }
    tenant.rotate(&mut of_user[0]).await.expect("a rotation");
    let others = [
        (&tenant, created_for(&tenant, "user2").await),
        (&tenant, created(&tenant, "user").await),
        (&elsewhere, created_for(&elsewhere, "user").await),
    ];
    let kept = of_user.pop().expect("a session");
    assert_eq!(tenant.delete_others(&kept).await.expect("a deletion"), 4);
    assert!(loaded(&tenant, kept.id()).await.is_some());
    for session in &mut of_user {
        assert!(loaded(&tenant, session.id()).await.is_none());
        assert_eq!(kind(tenant.save(session).await), Some(ErrorKind::NotFound));
    }
    assert_eq!(tenant.delete_by_user("user").await.expect("a deletion"), 1);
    assert_eq!(tenant.delete_by_user("user").await.expect("a deletion"), 0);
    assert!(tenant.list("user").await.expect("a list").is_empty());
    for (tenant, session) in &others {
        assert!(loaded(tenant, session.id()).await.is_some());
    }
}

pub(super) async fn users_are_kept_apart_whatever_they_are_called(sessions: &Sessions<String>) {
    let tenant = other(sessions);
    let longest = "x".repeat(200);
    let names = [
        "a", "a:b", "A", "{x}", "*", "\0", "a\0b", " ", "%-", "é", &longest,
    ];
    for name in names {
        created_for(&tenant, name).await;
    }
    for name in names {
        assert_eq!(
            tenant.list(name).await.expect("a list").len(),
            1,
            "{name:?}"
        );
        assert_eq!(tenant.delete_by_user(name).await.expect("a deletion"), 1);
    }
    for name in ["", &"x".repeat(201)] {
        let created = tenant.create_for(name, String::new()).await;
        assert_eq!(kind(created), Some(ErrorKind::InvalidInput));
        assert_eq!(kind(tenant.list(name).await), Some(ErrorKind::InvalidInput));
    }
}
