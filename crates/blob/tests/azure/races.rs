//! Changes of what keeps a blob that fail half-way, or meet those of another process.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tenantry_blob::{
    AzureLayout, BlobKind, BlobName, BlobRecord, BlobStore, HoldTag, LockMode, PutOptions,
    Retention, TenantBlobs,
};
use tenantry_core::{Clock as _, ErrorKind, ManualClock, Service, SystemClock, TenantId};
use tenantry_testkit::{AzuriteServer, BlobFault, WormFront};

use super::stall::Stall;
use super::{layouts, official, open, set_policy, settings};

const POLICY: &str = "comp=immutabilityPolicies";
const HOLD: &str = "comp=legalhold";

/// Two processes at the blobs of one tenant; a request of the first can be held up.
struct Scene {
    front: WormFront,
    stall: Stall,
    layout: AzureLayout,
    first: TenantBlobs,
    other: TenantBlobs,
}

impl Scene {
    async fn new(text: &'static str) -> Self {
        let server = AzuriteServer::shared().await.unwrap();
        let front = WormFront::start(server).await.unwrap();
        let stall = Stall::before(front.url(), text).await;
        let [_, layout] = layouts();
        let tenant = TenantId::generate();
        let of =
            |url: &str| BlobStore::new(open(settings(url, server, layout.clone()))).tenant(tenant);
        Self {
            first: of(&stall.url),
            other: of(front.url()),
            layout,
            front,
            stall,
        }
    }

    async fn put(&self, retention: Retention) -> BlobName {
        put(&self.first, retention).await
    }

    async fn seen(&self, name: &BlobName) -> BlobRecord {
        self.other.head(name).await.unwrap()
    }
}

async fn put(blobs: &TenantBlobs, retention: Retention) -> BlobName {
    let name = blobs.name(&BlobKind::new("exports").unwrap()).unwrap();
    let options = PutOptions::new(Service::Reporting, retention);
    blobs.put_bytes(&name, options, "bytes").await.unwrap();
    name
}

fn tag(tag: &str) -> HoldTag {
    HoldTag::new(tag).unwrap()
}

fn years(years: i64) -> DateTime<Utc> {
    SystemClock.now() + TimeDelta::days(365 * years)
}

/// A lock that was taken off for a deletion is set again, with the end that it had.
#[tokio::test]
async fn a_deletion_that_fails_leaves_the_lock_and_its_end() {
    let clock = ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap());
    let server = AzuriteServer::shared().await.unwrap();
    let front = WormFront::start_with_clock(server, Arc::new(clock.clone()))
        .await
        .unwrap();
    let [layout, _] = layouts();
    let settings = settings(front.url(), server, layout).with_clock(Arc::new(clock.clone()));
    let blobs = BlobStore::new(open(settings)).tenant(TenantId::generate());
    let name = put(&blobs, Retention::days(7).unlocked()).await;
    let end = clock.now() + TimeDelta::days(3_650);
    let before = blobs
        .extend_retention(&name, end, "the contract")
        .await
        .unwrap();
    // What it was put with is over by now.
    clock.advance(Duration::from_secs(8 * 86_400));
    let refused = BlobFault::Refused {
        status: 403,
        code: "AuthorizationPermissionMismatch",
        retry_after: None,
    };
    // After the lock was taken off, the deletion alone is refused.
    front.inject_at(refused, ("DELETE", "exports"), 1, 1);
    let error = blobs.delete_early(&name, "a request").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    assert!(!front.is_armed());
    let after = blobs.head(&name).await.unwrap();
    assert_eq!(after.retention, before.retention);
    assert_eq!(after.retention.until, Some(end));
    blobs.delete_early(&name, "a request").await.unwrap();
}

#[tokio::test]
async fn a_lock_that_cannot_be_set_again_is_told_of() {
    let scene = Scene::new(POLICY).await;
    let name = scene.put(Retention::days(7).unlocked()).await;
    let refused = BlobFault::Refused {
        status: 403,
        code: "AuthorizationPermissionMismatch",
        retry_after: None,
    };
    scene.front.inject_at(refused, ("DELETE", "exports"), 1, 1);
    scene.front.inject(refused, ("PUT", POLICY));
    let error = scene
        .first
        .delete_early(&name, "a request")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    assert!(error.detail().contains("could not be set again"), "{error}");
    assert_eq!(scene.seen(&name).await.retention.lock, None);
}

#[tokio::test]
async fn a_leased_blob_that_is_not_deleted_keeps_its_lock() {
    let scene = Scene::new(POLICY).await;
    let name = scene.put(Retention::days(7).unlocked()).await;
    let server = AzuriteServer::shared().await.unwrap();
    let official = official(scene.front.url(), server, &scene.layout, &name);
    official.acquire_lease(-1, None).await.unwrap();
    let error = scene
        .first
        .delete_early(&name, "a request")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked, "{error:?}");
    let kept = scene.seen(&name).await.retention;
    assert_eq!(kept.lock, Some(LockMode::Unlocked));
}

/// Between the look of the first and its request another process places a hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_holds_meanwhile_is_not_deleted_and_keeps_its_lock() {
    let scene = Scene::new(POLICY).await;
    let name = scene.put(Retention::days(7).unlocked()).await;
    scene.stall.arm();
    let (first, other) = tokio::join!(scene.first.delete_early(&name, "a request"), async {
        scene.stall.reached().await;
        let placed = scene
            .other
            .place_hold(&name, &tag("case1"), "they sue")
            .await;
        scene.stall.release();
        placed
    });
    assert!(other.unwrap().retention.is_held());
    assert_eq!(first.unwrap_err().kind(), ErrorKind::Retained);
    let kept = scene.seen(&name).await.retention;
    assert!(kept.is_held());
    assert_eq!(kept.lock, Some(LockMode::Unlocked));
}

/// Two processes clear one hold, of which one places another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_another_has_placed_meanwhile_is_not_cleared() {
    let scene = Scene::new(HOLD).await;
    let name = scene.put(Retention::days(1)).await;
    let (one, two) = (tag("case1"), tag("case2"));
    scene
        .other
        .place_hold(&name, &one, "they sue")
        .await
        .unwrap();
    scene.stall.arm();
    let (first, other) = tokio::join!(scene.first.clear_hold(&name, &one, "settled"), async {
        scene.stall.reached().await;
        scene
            .other
            .clear_hold(&name, &one, "settled")
            .await
            .unwrap();
        let placed = scene.other.place_hold(&name, &two, "others sue").await;
        scene.stall.release();
        placed
    });
    assert!(other.unwrap().retention.is_held());
    // It looks again, and there is no such hold any more.
    assert_eq!(first.unwrap_err().kind(), ErrorKind::InvalidInput);
    let holds = scene.seen(&name).await.retention.holds;
    let tags: Vec<_> = holds.iter().map(|hold| &hold.tag).collect();
    assert_eq!(tags, [&two]);
}

/// What one process does to a blob it does in turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longer_of_two_extensions_in_a_process_stays() {
    let scene = Scene::new(POLICY).await;
    let name = scene.put(Retention::days(7).unlocked()).await;
    let (shorter, longer) = (years(1), years(10));
    scene.stall.arm();
    let one = scene.first.extend_retention(&name, shorter, "one year");
    let (one, ten, ()) = tokio::join!(
        one,
        async {
            scene.stall.reached().await;
            scene
                .first
                .extend_retention(&name, longer, "ten years")
                .await
        },
        // Without turns the longer one would be there by then, and the shorter would replace it.
        async {
            scene.stall.reached_and(Duration::from_millis(500)).await;
            scene.stall.release();
        }
    );
    one.unwrap();
    let ten = ten.unwrap().retention.until;
    assert!(ten >= Some(longer));
    assert_eq!(scene.seen(&name).await.retention.until, ten);
}

/// Whoever is told that a blob was extended finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_extended_in_a_process_is_not_deleted_by_a_stale_state() {
    let scene = Scene::new(POLICY).await;
    let name = scene.put(Retention::days(7).unlocked()).await;
    scene.stall.arm();
    let (deleted, extended, ()) = tokio::join!(
        scene.first.delete_early(&name, "a request"),
        async {
            scene.stall.reached().await;
            scene
                .first
                .extend_retention(&name, years(10), "longer")
                .await
        },
        async {
            scene.stall.reached_and(Duration::from_millis(500)).await;
            scene.stall.release();
        }
    );
    let is_there = scene.other.head(&name).await.is_ok();
    assert_eq!(extended.is_ok(), is_there, "{extended:?}");
    assert_eq!(deleted.is_ok(), !is_there, "{deleted:?}");
}

/// As in a `select!` of which another branch calls the same blobs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_nobody_polls_any_longer_holds_up_no_other() {
    let scene = Scene::new("HEAD ").await;
    let tag = tag("case1");
    for polled_for in 0..20 {
        let name = scene.put(Retention::days(0)).await;
        let mut deleting = pin!(scene.first.delete_early(&name, "a request"));
        let pause = tokio::time::sleep(Duration::from_millis(polled_for));
        let early = tokio::select! {
            deleted = &mut deleting => Some(deleted),
            () = pause => None,
        };
        let placed = scene.first.place_hold(&name, &tag, "they sue");
        let placed = tokio::time::timeout(Duration::from_secs(30), placed).await;
        let deleted = match early {
            Some(deleted) => deleted,
            None => deleting.await,
        };
        assert_eq!(placed.expect("it ends").is_ok(), deleted.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_has_locked_meanwhile_stays_locked() {
    let scene = Scene::new(POLICY).await;
    let name = scene.put(Retention::days(700).unlocked()).await;
    let end = scene.seen(&name).await.retention.until;
    scene.stall.arm();
    let sooner = SystemClock.now() + TimeDelta::days(1);
    let (first, other) = tokio::join!(
        scene.first.shorten_retention(&name, sooner, "shorter"),
        async {
            scene.stall.reached().await;
            let locked = scene.other.lock_retention(&name, "for good").await;
            scene.stall.release();
            locked
        }
    );
    other.unwrap();
    assert_eq!(first.unwrap_err().kind(), ErrorKind::Retained);
    let kept = scene.seen(&name).await.retention;
    assert_eq!((kept.lock, kept.until), (Some(LockMode::Locked), end));
}

/// Another process, which had seen less, sets a shorter end: whoever extended notices as it looks back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_another_process_made_shorter_is_set_again() {
    let scene = Scene::new("HEAD ").await;
    let name = scene.put(Retention::days(7).unlocked()).await;
    let longer = years(10);
    let server = AzuriteServer::shared().await.unwrap();
    let official = official(scene.front.url(), server, &scene.layout, &name);
    scene.stall.arm();
    let set_shorter = async {
        // The look of the call, that before the request, and that after it.
        for look in 1..=3 {
            scene.stall.reached().await;
            match look {
                3 => set_policy(&official, years(1)).await,
                _ => scene.stall.arm(),
            }
            scene.stall.release();
        }
    };
    let (extended, ()) = tokio::join!(
        scene.first.extend_retention(&name, longer, "ten years"),
        set_shorter
    );
    assert!(extended.unwrap().retention.until >= Some(longer));
    assert!(scene.seen(&name).await.retention.until >= Some(longer));
}

/// Between the writing of a hold's tag and the hold itself another process writes the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_keeps_its_tag_and_reason_though_another_extends() {
    let scene = Scene::new(HOLD).await;
    let name = scene.put(Retention::days(1)).await;
    let case17 = tag("case17");
    scene.stall.arm();
    let (placed, extended) =
        tokio::join!(scene.first.place_hold(&name, &case17, "they sue"), async {
            scene.stall.reached().await;
            let extended = scene
                .other
                .extend_retention(&name, years(1), "longer")
                .await;
            scene.stall.release();
            extended
        });
    assert!(!extended.unwrap().retention.is_held());
    let [placed, seen] = [placed.unwrap(), scene.seen(&name).await].map(|it| it.retention);
    assert_eq!(placed, seen);
    let [hold] = &seen.holds[..] else {
        panic!("{seen:?}");
    };
    assert_eq!((&hold.tag, hold.reason.as_str()), (&case17, "they sue"));
    assert!(seen.until > Some(years(0)), "it was extended");
    let cleared = scene.other.clear_hold(&name, &case17, "settled").await;
    assert!(!cleared.unwrap().retention.is_held());
    // What was cleared comes back with no later change.
    let longer = scene
        .other
        .extend_retention(&name, years(2), "longer")
        .await;
    assert!(!longer.unwrap().retention.is_held());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_place_a_hold_one_is_told_that_it_is_the_others() {
    let scene = Scene::new(HOLD).await;
    let name = scene.put(Retention::days(1)).await;
    let (case17, case18) = (tag("case17"), tag("case18"));
    scene.stall.arm();
    let (first, other) = tokio::join!(scene.first.place_hold(&name, &case17, "they sue"), async {
        scene.stall.reached().await;
        let other = scene.other.place_hold(&name, &case18, "so do they").await;
        scene.stall.release();
        other
    });
    let error = first.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retained, "{error:?}");
    let seen = scene.seen(&name).await;
    assert_eq!(other.unwrap(), seen);
    let tags: Vec<_> = seen.retention.holds.iter().map(|it| &it.tag).collect();
    assert_eq!(tags, [&case18]);
}
