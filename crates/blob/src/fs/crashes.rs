//! Crashes at each step of a put and of a deletion.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tenantry_core::Service;

use super::disk::{AtStep, Step};
use super::scene::{PUT_STEPS, Scene, assert_dies_at, blobs_that_die, bytes_of, name, put};
use super::*;
use crate::retention::Retention;
use crate::store::PutOptions;

#[tokio::test]
async fn bytes_that_cannot_be_moved_into_place_are_by_the_next_who_opens() {
    let scene = Scene::new().await;
    let failing = AtomicBool::new(true);
    let at_step: AtStep = Box::new(move |step| match step {
        Step::Placed if failing.swap(false, Ordering::Relaxed) => Err(io::Error::other("once")),
        _ => Ok(()),
    });
    put(&scene.blobs_with(at_step).await, 2, "new")
        .await
        .unwrap();
    assert_eq!(bytes_of(&scene.blobs(1).await, 2).await.unwrap(), "new");
    scene.assert_tidy().await;
}

#[tokio::test]
async fn a_crash_at_any_step_of_a_put_leaves_all_of_it_or_nothing() {
    for step in PUT_STEPS {
        let scene = Scene::new().await;
        // One that has it open all the time, and one that opens it afterwards.
        let witness = scene.blobs(1).await;
        assert_dies_at(
            step,
            "fs::crashes::child_dies_in_a_put",
            scene.folder.path(),
        );
        // What stands in the journal has happened, synced or not: the process died, not the machine.
        let has_happened = matches!(step, Step::Appended | Step::Recorded | Step::Placed);
        let expected = has_happened.then(|| Bytes::from("new"));
        assert_eq!(bytes_of(&witness, 2).await, expected, "{step:?}");
        let after = scene.blobs(1).await;
        assert_eq!(bytes_of(&after, 2).await, expected, "{step:?}");
        assert_eq!(bytes_of(&after, 1).await.unwrap(), "old", "{step:?}");
        if has_happened {
            let error = put(&after, 2, "again").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{step:?}");
        } else {
            put(&after, 2, "again").await.unwrap();
        }
        scene.assert_tidy().await;
    }
}

#[tokio::test]
#[ignore = "the child of a_crash_at_any_step_of_a_put_leaves_all_of_it_or_nothing"]
async fn child_dies_in_a_put() {
    let blobs = blobs_that_die().await;
    put(&blobs, 2, "new").await.unwrap();
}

#[tokio::test]
async fn a_crash_at_any_step_of_a_deletion_deletes_all_of_it_or_nothing() {
    for step in [Step::Appended, Step::Recorded, Step::Unlinked] {
        let scene = Scene::new().await;
        let witness = scene.blobs(1).await;
        let options = PutOptions::new(Service::Reporting, Retention::days(0));
        let over = name(&witness, 3);
        witness
            .put_bytes(&over, options.clone(), "over")
            .await
            .unwrap();
        assert_dies_at(
            step,
            "fs::crashes::child_dies_in_a_deletion",
            scene.folder.path(),
        );
        for blobs in [&witness, &scene.blobs(1).await] {
            let error = blobs.get(&over).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{step:?}");
        }
        scene.assert_tidy().await;
        witness.put_bytes(&over, options, "anew").await.unwrap();
        assert_eq!(scene.blobs(1).await.get(&over).await.unwrap().bytes, "anew");
        scene.assert_tidy().await;
    }
}

#[tokio::test]
#[ignore = "the child of a_crash_at_any_step_of_a_deletion_deletes_all_of_it_or_nothing"]
async fn child_dies_in_a_deletion() {
    let blobs = blobs_that_die().await;
    blobs.delete(&name(&blobs, 3)).await.unwrap();
}
