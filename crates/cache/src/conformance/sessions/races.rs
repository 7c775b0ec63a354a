//! What comes at once.

use futures_util::future::{join, join_all, join3};
use tenantry_core::ErrorKind;

use super::{created, created_for, loaded, other};
use crate::Sessions;

pub(super) async fn of_saves_at_once_one_wins(sessions: &Sessions<String>) {
    let tenant = other(sessions);
    let mut session = created(&tenant, "").await;
    for round in 0..8 {
        let saves = (0..8).map(|number| {
            let (tenant, id) = (&tenant, session.id());
            async move {
                let mut session = loaded(tenant, id).await.expect("a session");
                session.data.push_str(&format!("{round}.{number} "));
                (session.metadata().version, tenant.save(&mut session).await)
            }
        });
        let version = session.metadata().version;
        let mut saved: u64 = 0;
        for (loaded, outcome) in join_all(saves).await {
            assert!(loaded >= version);
            match outcome {
                Ok(()) => saved += 1,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
            }
        }
        session = loaded(&tenant, session.id()).await.expect("a session");
        assert!(saved >= 1);
        assert_eq!(session.metadata().version, version + saved);
        // Each that was told of its save is found.
        let told = session.data.split_whitespace().count() as u64;
        assert_eq!(told + 1, session.metadata().version);
    }
}

pub(super) async fn of_rotations_at_once_one_wins(sessions: &Sessions<String>) {
    let tenant = other(sessions);
    let session = created_for(&tenant, "user").await;
    let rotations = (0..8).map(|_| async {
        let mut session = loaded(&tenant, session.id()).await?;
        tenant.rotate(&mut session).await.ok().map(|()| session)
    });
    let rotated: Vec<_> = join_all(rotations).await.into_iter().flatten().collect();
    assert_eq!(rotated.len(), 1);
    let listed = tenant.list("user").await.expect("a list");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].hash, rotated[0].hash());
}

pub(super) async fn what_was_deleted_stays_deleted_whatever_comes_at_once(
    sessions: &Sessions<String>,
) {
    let tenant = other(sessions);
    for round in 0..64 {
        let session = created_for(&tenant, "user").await;
        let id = session.id();
        let mut slow = loaded(&tenant, id).await.expect("a session");
        let mut slower = loaded(&tenant, id).await.expect("a session");
        let saves = async {
            // Refused or not: it is gone in the end.
            let _ = tenant.save(&mut slow).await;
            let _ = tenant.touch(id).await;
            let _ = tenant.save(&mut slow).await;
        };
        let rotates = async {
            let _ = tenant.touch(id).await;
            let _ = tenant.rotate(&mut slower).await;
            let _ = tenant.touch(slower.id()).await;
        };
        let deletes = async {
            for _ in 0..round % 4 {
                let _ = tenant.load(id).await;
            }
            assert!(tenant.delete(id).await.expect("a deletion"));
        };
        join3(saves, rotates, deletes).await;
        assert!(loaded(&tenant, id).await.is_none(), "round {round}");
        assert!(
            loaded(&tenant, slower.id()).await.is_none(),
            "round {round}"
        );
        assert!(tenant.list("user").await.expect("a list").is_empty());
    }
}

pub(super) async fn none_outlives_the_end_of_its_user_unless_it_began_after(
    sessions: &Sessions<String>,
) {
    let tenant = other(sessions);
    for round in 0..32 {
        let mut before = created_for(&tenant, "user").await;
        let begins = async {
            for _ in 0..round % 3 {
                let _ = tenant.list("user").await;
            }
            let _ = tenant.rotate(&mut before).await;
            created_for(&tenant, "user").await
        };
        let ended = async { tenant.delete_by_user("user").await.expect("a deletion") };
        let (begun, ended) = join(begins, ended).await;
        assert!(
            loaded(&tenant, before.id()).await.is_none(),
            "round {round}"
        );
        let is_there = loaded(&tenant, begun.id()).await.is_some();
        assert_eq!(ended, if is_there { 1 } else { 2 }, "round {round}");
        let listed = tenant.list("user").await.expect("a list");
        assert_eq!(listed.len(), usize::from(is_there));
        tenant.delete_by_user("user").await.expect("a deletion");
    }
}
