//! Rows and blobs stay together where something fails or comes late between them.

#![cfg(feature = "artifacts")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod refusing;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::stream;
use tenantry_blob::{
    ARTIFACTS_SQLITE, Artifact, ArtifactState, ArtifactSweep, ArtifactSweeper, BlobBackend as _,
    BlobKind, BlobStore, HoldTag, ListOptions, MemoryBlobs, PutOptions, Retention, RetentionAct,
    RetentionAction, TenantArtifacts,
};
use tenantry_core::{Actor, Clock as _, ErrorKind, ManualClock, Result, Service, TenantId};
use tenantry_store::{
    Migrations, Query, Repository as _, SqliteSettings, TenantScope, TenantStore, sqlite,
};
use tokio::sync::mpsc;

use self::refusing::{Call, Refusing};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// The artifacts of a tenant, over a backend that refuses what it is told to.
struct Scene {
    clock: ManualClock,
    backend: Arc<Refusing>,
    blobs: BlobStore,
    store: TenantStore,
    scope: TenantScope,
}

impl Scene {
    async fn new() -> Self {
        Self::with_migrations(&[(1, "artifacts", ARTIFACTS_SQLITE)]).await
    }

    async fn with_migrations(migrations: &[(i64, &'static str, &'static str)]) -> Self {
        let settings = SqliteSettings::temporary();
        let migrations = Migrations::embedded(migrations);
        sqlite::migrate(&settings, &migrations).await.unwrap();
        let store = TenantStore::sqlite(settings).await.unwrap();
        let clock = ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap());
        let backend = Refusing::around(MemoryBlobs::with_clock(Arc::new(clock.clone())));
        Self {
            clock,
            blobs: BlobStore::new(Arc::<Refusing>::clone(&backend)),
            backend,
            scope: store.tenant(TenantId::generate()),
            store,
        }
    }

    fn artifacts(&self) -> TenantArtifacts {
        TenantArtifacts::new(&self.blobs, &self.scope)
    }

    async fn try_upload(&self, retention: Retention) -> Result<Artifact> {
        let options = PutOptions::new(Service::Reporting, retention);
        let body = stream::iter([Ok::<_, std::io::Error>(Bytes::from("a report"))]);
        self.artifacts().upload(&kind(), options, body).await
    }

    async fn committed(&self, retention: Retention) -> Artifact {
        let mut artifact = self.try_upload(retention).await.unwrap();
        let work = self.scope.begin().await.unwrap();
        let artifacts = self.artifacts();
        artifacts.commit(&work, &mut artifact).await.unwrap();
        work.commit().await.unwrap();
        artifact
    }

    async fn rows(&self) -> Vec<Artifact> {
        let rows = self.scope.repository::<Artifact>();
        rows.list(Query::new()).await.unwrap().items
    }

    async fn count_blobs(&self) -> usize {
        let artifacts = self.artifacts();
        let page = artifacts.blobs().list(ListOptions::new()).await.unwrap();
        page.records.len()
    }

    /// Begins an upload whose body ends when the sender is dropped, and returns when its row is there.
    async fn slow_upload(
        &self,
        retention: Retention,
    ) -> (
        mpsc::Sender<Bytes>,
        tokio::task::JoinHandle<Result<Artifact>>,
    ) {
        let (send, receive) = mpsc::channel::<Bytes>(1);
        let body = stream::unfold(receive, |mut receive| async move {
            let piece = receive.recv().await?;
            Some((Ok::<_, std::io::Error>(piece), receive))
        });
        let (artifacts, options) = (
            self.artifacts(),
            PutOptions::new(Service::Reporting, retention),
        );
        let upload = async move { artifacts.upload(&kind(), options, body).await };
        let uploading = tokio::spawn(upload);
        send.send(Bytes::from("a report")).await.unwrap();
        while self.rows().await.is_empty() {
            tokio::task::yield_now().await;
        }
        (send, uploading)
    }
}

fn kind() -> BlobKind {
    BlobKind::new("reports").unwrap()
}

#[tokio::test]
async fn an_artifact_whose_blob_could_not_be_erased_keeps_its_row() {
    let scene = Scene::new().await;
    let artifact = scene.committed(Retention::days(3)).await;
    scene
        .backend
        .refuse(|call, _| (call == Call::Delete).then_some(ErrorKind::Conflict));
    let report = scene.artifacts().erase("they left").await.unwrap();
    assert!(!report.is_complete(), "{report}");
    assert_eq!(
        (report.kept_rows, report.erased_rows),
        (vec![artifact.id], 0)
    );
    assert_eq!(scene.rows().await.len(), 1);
    scene.backend.refuse_nothing();
    let report = scene.artifacts().erase("they left").await.unwrap();
    assert!(report.is_complete() && report.erased_rows == 1, "{report}");
}

#[tokio::test]
async fn no_artifact_ends_by_a_clock_that_was_set_back() {
    let scene = Scene::new().await;
    let right = scene.clock.now();
    let artifact = scene.committed(Retention::days(365).locked()).await;
    let pending = scene.try_upload(Retention::days(365)).await.unwrap();
    scene.clock.set(right + TimeDelta::days(3650));
    scene.backend.now();
    scene.clock.set(right + TimeDelta::minutes(10));
    let swept = scene.artifacts().sweep(HOUR, 100).await;
    assert_eq!(swept.unwrap_err().kind(), ErrorKind::Retained);
    let rows = scene.rows().await;
    let state = |id| rows.iter().find(|row| row.id == id).unwrap().state;
    assert_eq!(state(artifact.id), ArtifactState::Committed);
    assert_eq!(state(pending.id), ArtifactState::Pending);
}

/// As after a sweep by a clock that was ahead, of which nobody knows any more.
#[tokio::test]
async fn an_artifact_that_has_ended_is_there_again_where_its_blob_is_kept() {
    let scene = Scene::new().await;
    let mut artifact = scene.committed(Retention::days(365).locked()).await;
    artifact.state = ArtifactState::Expired;
    let rows = scene.scope.repository::<Artifact>();
    rows.update(&mut artifact).await.unwrap();
    let artifacts = scene.artifacts();
    assert!(artifacts.get(artifact.id).await.is_err());
    let swept = artifacts.sweep(HOUR, 100).await.unwrap();
    assert_eq!((swept.corrected, swept.kept, swept.deleted), (1, 0, 0));
    let read = artifacts.open(artifact.id).await.unwrap();
    assert_eq!(read.into_bytes().await.unwrap().bytes, "a report");
}

#[tokio::test]
async fn an_upload_whose_lock_could_not_be_read_back_keeps_its_row() {
    let scene = Scene::new().await;
    scene
        .backend
        .refuse(|call, _| (call == Call::Head).then_some(ErrorKind::Unavailable));
    let upload = scene.try_upload(Retention::days(9).unlocked()).await;
    assert_eq!(upload.unwrap_err().kind(), ErrorKind::CommitUnknown);
    scene.backend.refuse_nothing();
    assert_eq!(
        (scene.count_blobs().await, scene.rows().await.len()),
        (1, 1)
    );
    scene.clock.advance(HOUR * 2);
    let swept = scene.artifacts().sweep(HOUR, 100).await.unwrap();
    assert_eq!((swept.deleted, scene.count_blobs().await), (1, 0));
}

/// The service takes the lock, keeps none, and does not delete what was put either.
#[tokio::test]
async fn an_upload_whose_blob_stays_without_its_lock_keeps_its_row() {
    let scene = Scene::new().await;
    scene.backend.ignore_locks();
    scene
        .backend
        .refuse(|call, _| (call == Call::Delete).then_some(ErrorKind::Unavailable));
    let upload = scene.try_upload(Retention::days(9).locked()).await;
    assert_eq!(upload.unwrap_err().kind(), ErrorKind::RetentionNotEnforced);
    scene.backend.refuse_nothing();
    assert_eq!(
        (scene.count_blobs().await, scene.rows().await.len()),
        (1, 1)
    );
    // Where it could be deleted there is neither.
    let upload = scene.try_upload(Retention::days(9).locked()).await;
    assert_eq!(upload.unwrap_err().kind(), ErrorKind::RetentionNotEnforced);
    assert_eq!(
        (scene.count_blobs().await, scene.rows().await.len()),
        (1, 1)
    );
}

#[tokio::test]
async fn an_upload_that_ends_after_its_grace_time_leaves_no_blob() {
    let scene = Scene::new().await;
    let waiting = Retention::until_event_then_days(3650);
    let (body, uploading) = scene.slow_upload(waiting).await;
    scene.clock.advance(HOUR * 2);
    let swept = scene.artifacts().sweep(HOUR, 100).await.unwrap();
    assert_eq!((swept.orphans, swept.deleted), (1, 1));
    drop(body);
    let error = uploading.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(scene.count_blobs().await, 0);
    scene.artifacts().sweep(HOUR, 100).await.unwrap();
    assert_eq!(scene.rows().await[0].state, ArtifactState::Deleted);
}

#[tokio::test]
async fn a_locked_upload_that_ends_after_its_grace_time_is_found_when_its_lock_ends() {
    let scene = Scene::new().await;
    let (body, uploading) = scene.slow_upload(Retention::days(7).locked()).await;
    scene.clock.advance(HOUR * 2);
    scene.artifacts().sweep(HOUR, 100).await.unwrap();
    drop(body);
    let error = uploading.await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), scene.count_blobs().await),
        (ErrorKind::Conflict, 1)
    );
    assert_eq!(scene.rows().await[0].state, ArtifactState::Expired);
    scene.clock.advance(DAY * 7);
    let swept = scene.artifacts().sweep(HOUR, 100).await.unwrap();
    assert_eq!((swept.deleted, scene.count_blobs().await), (1, 0));
}

/// As where the tenant was erased while it came.
#[tokio::test]
async fn an_upload_whose_row_is_gone_leaves_no_blob() {
    let scene = Scene::new().await;
    let (body, uploading) = scene.slow_upload(Retention::days(7)).await;
    let report = scene.artifacts().erase("they left").await.unwrap();
    assert_eq!(report.erased_rows, 1);
    drop(body);
    let error = uploading.await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), scene.count_blobs().await),
        (ErrorKind::Conflict, 0)
    );
}

#[tokio::test]
async fn a_sweep_goes_through_a_bounded_part_of_what_has_to_stay() {
    let scene = Scene::new().await;
    for _ in 0..30 {
        scene.try_upload(Retention::days(9).locked()).await.unwrap();
    }
    scene.clock.advance(HOUR);
    let free = scene.try_upload(Retention::days(30)).await.unwrap();
    scene.clock.advance(HOUR * 2);
    for _ in 0..7 {
        scene.artifacts().sweep(HOUR, 5).await.unwrap();
    }
    let state = async || {
        let rows = scene.rows().await;
        rows.iter().find(|row| row.id == free.id).unwrap().state
    };
    assert_eq!(state().await, ArtifactState::Deleted, "it was not held up");
    scene.backend.calls();
    let mut seen = std::collections::BTreeSet::new();
    let names = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let asked = Arc::clone(&names);
    scene.backend.refuse(move |_, name| {
        asked.lock().push(name.to_string());
        None
    });
    for _ in 0..7 {
        let swept = scene.artifacts().sweep(HOUR, 5).await.unwrap();
        assert!(swept.kept <= 5);
        let calls = scene.backend.calls().len();
        assert!(calls <= 2 * 5, "{calls} calls in a sweep of 5");
        seen.extend(names.lock().drain(..));
    }
    assert_eq!(seen.len(), 30, "each had its turn");
    scene.clock.advance(DAY * 9);
    for _ in 0..7 {
        scene.artifacts().sweep(HOUR, 5).await.unwrap();
    }
    assert_eq!(scene.count_blobs().await, 0);
}

/// Of three that are over, nobody can remove the bytes of one, or look at it.
#[tokio::test]
async fn one_blob_that_stays_keeps_no_other_artifact() {
    for (refused, kind) in [
        (Call::Delete, ErrorKind::Locked),
        (Call::Head, ErrorKind::Corrupt),
    ] {
        let scene = Scene::new().await;
        let mut all = Vec::new();
        for _ in 0..3 {
            all.push(scene.committed(Retention::days(1)).await);
            scene.clock.advance(HOUR);
        }
        scene.clock.advance(DAY * 2);
        let first = all[0].blob_name().unwrap();
        scene
            .backend
            .refuse(move |call, name| (call == refused && *name == first).then_some(kind));
        for _ in 0..2 {
            let swept = scene.artifacts().sweep(DAY, 100).await.unwrap();
            assert_eq!(swept.failed, 1, "{swept:?}");
        }
        assert_eq!(scene.count_blobs().await, 1, "the others are gone");
        scene.backend.refuse_nothing();
        let swept = scene.artifacts().sweep(DAY, 100).await.unwrap();
        assert_eq!((swept.deleted, swept.failed), (1, 0), "{swept:?}");
        assert_eq!(scene.count_blobs().await, 0);
    }
}

/// A process died between the blob and the row.
#[tokio::test]
async fn a_hold_that_is_cleared_of_the_blob_alone_does_not_stay_in_the_row() {
    let scene = Scene::new().await;
    let (artifacts, tag) = (scene.artifacts(), HoldTag::new("case17").unwrap());
    let [cleared, held] = [
        scene.committed(Retention::days(1)).await,
        scene.committed(Retention::days(1)).await,
    ];
    for artifact in [&cleared, &held] {
        artifacts
            .place_hold(artifact.id, &tag, "they sue")
            .await
            .unwrap();
    }
    let name = cleared.blob_name().unwrap();
    artifacts
        .blobs()
        .clear_hold(&name, &tag, "settled")
        .await
        .unwrap();
    scene.clock.advance(DAY * 2);
    let swept = artifacts.sweep(DAY, 100).await.unwrap();
    assert_eq!((swept.expired, swept.deleted, swept.kept), (1, 1, 1));
    assert!(artifacts.get(cleared.id).await.is_err());
    assert!(artifacts.get(held.id).await.unwrap().held);
    let swept = artifacts.sweep(DAY, 100).await.unwrap();
    assert_eq!((swept.corrected, swept.kept), (0, 1), "no row is written");
}

/// Somebody has written by hand what no blob is called.
#[tokio::test]
async fn a_row_that_names_no_blob_keeps_no_other_artifact() {
    let scene = Scene::new().await;
    let repository = scene.scope.repository::<Artifact>();
    for state in [ArtifactState::Committed, ArtifactState::Expired] {
        let mut odd = scene.committed(Retention::days(1)).await;
        odd.blob = "exports/2026/03/x".to_owned();
        odd.state = state;
        repository.update(&mut odd).await.unwrap();
    }
    scene.committed(Retention::days(1)).await;
    scene.clock.advance(2 * DAY);
    let swept = scene.artifacts().sweep(HOUR, 100).await.unwrap();
    assert_eq!((swept.deleted, swept.failed), (1, 2));
}

#[tokio::test]
async fn an_end_that_no_row_keeps_is_refused_before_anything_is_changed() {
    let scene = Scene::new().await;
    let artifact = scene.committed(Retention::days(1)).await;
    let waiting = Retention::until_event_then_days(1);
    let waiting = scene.committed(waiting).await;
    let artifacts = scene.artifacts();
    let (first, last) = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
    for refused in [
        artifacts.extend(artifact.id, last, "for ever").await,
        artifacts.shorten(artifact.id, first, "at once").await,
        artifacts.report_event(waiting.id, last, "late").await,
        artifacts.report_event(waiting.id, first, "soon").await,
        scene.try_upload(Retention::until(last)).await,
        scene.try_upload(Retention::until(first)).await,
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    for artifact in [artifact, waiting] {
        let name = artifact.blob_name().unwrap();
        let record = artifacts.blobs().head(&name).await.unwrap();
        assert_eq!(record.retention.until, artifact.expires_at);
        assert_eq!(artifacts.get(artifact.id).await.unwrap(), artifact);
    }
    assert_eq!(
        (scene.count_blobs().await, scene.rows().await.len()),
        (2, 2)
    );
}

/// As by another program, or a release that took any time.
#[tokio::test]
async fn a_blob_that_is_kept_longer_than_a_row_can_say_stops_no_sweep() {
    let scene = Scene::new().await;
    let endless = scene.committed(Retention::days(1)).await;
    scene.clock.advance(HOUR);
    scene.committed(Retention::days(1)).await;
    let (artifacts, name) = (scene.artifacts(), endless.blob_name().unwrap());
    let mut record = artifacts.blobs().head(&name).await.unwrap();
    record.retention.until = Some(DateTime::<Utc>::MAX_UTC);
    let act = RetentionAct {
        name: name.clone(),
        action: RetentionAction::Extended,
        actor: Actor::new("user:ada").unwrap(),
        reason: "for ever".to_owned(),
        at: scene.clock.now(),
        trace: None,
        until_before: endless.expires_at,
        until_after: record.retention.until,
    };
    scene
        .backend
        .set_retention(&name, &record.etag, &record.retention, &act)
        .await
        .unwrap();
    scene.clock.advance(2 * DAY);
    let swept = artifacts.sweep(HOUR, 100).await.unwrap();
    assert_eq!((swept.corrected, swept.deleted, swept.failed), (1, 1, 0));
    let seen = artifacts.get(endless.id).await.unwrap();
    let last = "9999-12-31T23:59:59.999999Z".parse().unwrap();
    assert_eq!(seen.expires_at, Some(last));
    let swept = artifacts.sweep(HOUR, 100).await.unwrap();
    assert_eq!(swept, ArtifactSweep::default());
}

/// The database refuses that one of them ends.
#[tokio::test]
async fn a_row_that_cannot_be_written_keeps_no_other_artifact() {
    let refusal = "create trigger refuses before update on artifacts \
         when old.policy = 'fixed-end' and new.state <> old.state \
         begin select raise(abort, 'no'); end";
    let scene =
        Scene::with_migrations(&[(1, "artifacts", ARTIFACTS_SQLITE), (2, "refuses", refusal)])
            .await;
    let end = scene.clock.now() + TimeDelta::days(1);
    let stays = scene.committed(Retention::until(end)).await;
    scene.clock.advance(HOUR);
    let goes = scene.committed(Retention::days(1)).await;
    scene.clock.advance(2 * DAY);
    let mut expired = 0;
    for _ in 0..2 {
        let swept = scene.artifacts().sweep(HOUR, 1).await.unwrap();
        assert!(swept.failed <= 1, "{swept:?}");
        expired += swept.expired;
    }
    assert_eq!(expired, 1);
    let rows = scene.rows().await;
    let state = |id| rows.iter().find(|row| row.id == id).unwrap().state;
    assert_eq!(state(stays.id), ArtifactState::Committed);
    assert_eq!(state(goes.id), ArtifactState::Deleted);
    let sweeper = ArtifactSweeper::new(&scene.blobs, &scene.store, HOUR);
    let report = sweeper.run([scene.scope.tenant()]).await;
    assert_eq!((report.swept.failed, report.failed), (1, 0));
}

/// The clock of Linux shows nanoseconds, and rows keep microseconds.
#[tokio::test]
async fn a_held_row_whose_end_is_between_two_microseconds_is_not_written_again() {
    let scene = Scene::new().await;
    let (artifacts, tag) = (scene.artifacts(), HoldTag::new("case17").unwrap());
    let end = scene.clock.now() + TimeDelta::days(1) + TimeDelta::nanoseconds(7);
    let extended = scene.committed(Retention::days(1)).await;
    let longer = end + TimeDelta::hours(1);
    let seen = artifacts.extend(extended.id, longer, "longer").await;
    let cut = longer - TimeDelta::nanoseconds(7);
    assert_eq!(seen.unwrap().expires_at, Some(cut));
    let put = scene.committed(Retention::until(end)).await;
    for artifact in [&extended, &put] {
        let held = artifacts.place_hold(artifact.id, &tag, "they sue").await;
        assert!(held.unwrap().held);
    }
    scene.clock.advance(2 * DAY);
    for _ in 0..2 {
        let swept = artifacts.sweep(HOUR, 100).await.unwrap();
        assert_eq!((swept.kept, swept.corrected), (2, 0));
    }
}

/// By a clock that was ahead nothing is over, neither a blob nor its artifact.
#[tokio::test]
async fn an_artifact_is_read_while_a_clock_that_was_ahead_is_caught_up_with() {
    let scene = Scene::new().await;
    let artifact = scene.committed(Retention::days(1)).await;
    let before = scene.clock.now();
    scene.clock.set(before + TimeDelta::days(365));
    scene.committed(Retention::days(1)).await;
    let over = scene.artifacts().open(artifact.id).await.unwrap_err();
    assert_eq!(over.kind(), ErrorKind::NotFound);
    scene.clock.set(before);
    assert!(scene.artifacts().open(artifact.id).await.is_ok());
}

/// First the blob and then the row, which would not hear of what becomes of the blob alone.
#[tokio::test]
async fn an_artifact_ends_sooner_or_at_once_with_its_blob() {
    let scene = Scene::new().await;
    let [sooner, at_once] = [
        scene.committed(Retention::days(365)).await,
        scene.committed(Retention::days(365)).await,
    ];
    let artifacts = scene.artifacts();
    let until = scene.clock.now() + TimeDelta::days(1);
    let shortened = artifacts.shorten(sooner.id, until, "asked for").await;
    assert_eq!(shortened.unwrap().expires_at, Some(until));
    artifacts
        .delete_early(at_once.id, "asked for")
        .await
        .unwrap();
    let gone = artifacts.get(at_once.id).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    assert_eq!(scene.count_blobs().await, 1);
    scene.clock.advance(2 * DAY);
    let gone = artifacts.get(sooner.id).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    assert_eq!(artifacts.sweep(HOUR, 100).await.unwrap().deleted, 1);
}

/// Where the rows cannot be read, what has become of the blobs is told all the same.
#[tokio::test]
async fn an_erasure_whose_rows_fail_tells_what_has_become_of_the_blobs() {
    let scene = Scene::new().await;
    scene.committed(Retention::days(1)).await;
    // A database that has no such table.
    let settings = SqliteSettings::temporary();
    let other = "create table other (tenant_id blob not null, id blob not null, primary key (tenant_id, id))";
    let migrations = Migrations::embedded(&[(1, "other", other)]);
    sqlite::migrate(&settings, &migrations).await.unwrap();
    let broken = TenantStore::sqlite(settings).await.unwrap();
    let scope = broken.tenant(scene.scope.tenant());
    let artifacts = TenantArtifacts::new(&scene.blobs, &scope);
    let report = artifacts.erase("they left").await.unwrap();
    assert_eq!(report.blobs.erased.len(), 1);
    assert!(report.stopped_by.is_some() && !report.is_complete());
    assert!(report.to_string().contains("rows broken off"), "{report}");
    // With nothing to tell, it is an error.
    assert!(artifacts.erase("they left").await.is_err());
    let again = scene.artifacts().erase("they left").await.unwrap();
    assert!(again.is_complete() && again.erased_rows == 1);
}

/// A service shuts down though nobody tells it its tenants.
#[tokio::test]
async fn a_schedule_that_waits_for_its_tenants_can_be_stopped() {
    let scene = Scene::new().await;
    let (asks, mut asked) = mpsc::channel::<()>(1);
    let sweeper = ArtifactSweeper::new(&scene.blobs, &scene.store, DAY);
    let schedule = sweeper.start_every(Duration::from_secs(1), move || {
        let _ = asks.try_send(());
        std::future::pending()
    });
    let schedule = schedule.unwrap();
    asked.recv().await.unwrap();
    schedule.stop().await.unwrap();
}

/// As where the container of a tenant cannot be reached.
#[tokio::test]
async fn a_tenant_whose_sweep_fails_holds_up_no_other() {
    let scene = Scene::new().await;
    let other = Scene {
        clock: scene.clock.clone(),
        backend: Arc::clone(&scene.backend),
        blobs: scene.blobs.clone(),
        scope: scene.store.tenant(TenantId::generate()),
        store: scene.store.clone(),
    };
    for scene in [&scene, &other] {
        scene.try_upload(Retention::days(7)).await.unwrap();
    }
    scene.clock.advance(2 * HOUR);
    let tenants = [&scene, &other].map(|scene| scene.scope.tenant());
    let [broken, _] = tenants;
    scene
        .backend
        .refuse(move |_, name| (name.tenant() == broken).then_some(ErrorKind::Unavailable));
    let sweeper = ArtifactSweeper::new(&scene.blobs, &scene.store, HOUR);
    let report = sweeper.run(tenants).await;
    assert_eq!((report.tenants, report.failed), (2, 1));
    assert_eq!(report.failures, [(broken, ErrorKind::Unavailable)]);
    assert_eq!(other.rows().await[0].state, ArtifactState::Deleted);
}
