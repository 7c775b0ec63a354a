//! Rows say which blobs count, whatever fails between the two.

#![cfg(feature = "artifacts")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::stream;
use tenantry_blob::{
    ARTIFACTS_POSTGRES, ARTIFACTS_SQLITE, Artifact, ArtifactRepository as _, ArtifactState,
    ArtifactSweep, ArtifactSweeper, BlobKind, BlobStore, HoldTag, MemoryBlobs, PutOptions,
    Retention, TenantArtifacts,
};
use tenantry_core::{Clock as _, ErrorKind, ManualClock, Result, Service, TenantId};
use tenantry_store::{
    Migrations, PostgresSettings, Repository as _, SqliteSettings, TenantScope, TenantStore,
    postgres, sqlite,
};
use tenantry_testkit::{PostgresServer, Roles, TestDatabase};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Two tenants over one database and one store of blobs.
struct Scene {
    clock: ManualClock,
    blobs: BlobStore,
    scopes: [TenantScope; 2],
}

impl Scene {
    fn new(store: &TenantStore) -> Self {
        let clock = ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap());
        let backend = MemoryBlobs::with_clock(Arc::new(clock.clone()));
        Self {
            clock,
            blobs: BlobStore::new(Arc::new(backend)),
            scopes: [1, 2].map(|_| store.tenant(TenantId::generate())),
        }
    }

    fn of(&self, tenant: usize) -> TenantArtifacts {
        TenantArtifacts::new(&self.blobs, &self.scopes[tenant])
    }

    async fn upload(&self, tenant: usize, retention: Retention) -> Artifact {
        let options = PutOptions::new(Service::Reporting, retention);
        let body = stream::iter([Ok::<_, std::io::Error>(Bytes::from("a report"))]);
        let kind = BlobKind::new("reports").unwrap();
        self.of(tenant).upload(&kind, options, body).await.unwrap()
    }

    async fn committed(&self, tenant: usize, retention: Retention) -> Artifact {
        let mut artifact = self.upload(tenant, retention).await;
        let work = self.scopes[tenant].begin().await.unwrap();
        self.of(tenant).commit(&work, &mut artifact).await.unwrap();
        work.commit().await.unwrap();
        artifact
    }

    async fn state(&self, tenant: usize, artifact: &Artifact) -> ArtifactState {
        let rows = self.scopes[tenant].repository::<Artifact>();
        rows.find(&artifact.id).await.unwrap().unwrap().state
    }

    async fn has_blob(&self, tenant: usize, artifact: &Artifact) -> bool {
        let blobs = self.of(tenant);
        match blobs.blobs().head(&artifact.blob_name().unwrap()).await {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotFound);
                false
            }
        }
    }
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

async fn a_tenant_is_erased_with_its_rows(scene: &Scene) {
    let artifacts = scene.of(0);
    let pending = scene.upload(0, Retention::days(1)).await;
    let gone = scene.committed(0, Retention::days(365)).await;
    let locked = scene.committed(0, Retention::days(365).locked()).await;
    let theirs = scene.committed(1, Retention::days(365)).await;
    let report = artifacts.erase("they left").await.unwrap();
    assert_eq!((report.blobs.erased.len(), report.erased_rows), (2, 2));
    assert_eq!(report.kept_rows, [locked.id]);
    assert!(!report.is_complete() && report.to_string().contains("rows of artifacts: 2 erased"));
    let rows = scene.scopes[0].repository::<Artifact>();
    for id in [pending.id, gone.id] {
        assert_eq!(rows.find(&id).await.unwrap(), None);
    }
    // What has to stay is still found, and goes when it may.
    assert_eq!(artifacts.get(locked.id).await.unwrap(), locked);
    scene.clock.advance(366 * DAY);
    let report = artifacts.erase("they left").await.unwrap();
    assert!(report.is_complete() && report.erased_rows == 1, "{report}");
    let again = artifacts.erase("they left").await.unwrap();
    assert!(again.is_complete() && again.erased_rows == 0);
    assert!(scene.has_blob(1, &theirs).await);
    assert_eq!(scene.state(1, &theirs).await, ArtifactState::Committed);
}

async fn an_artifact_counts_from_its_commit_on(scene: &Scene) {
    let artifacts = scene.of(0);
    let mut artifact = scene.upload(0, Retention::days(365)).await;
    assert_eq!(
        kind(artifacts.get(artifact.id).await),
        Some(ErrorKind::NotFound)
    );
    let work = scene.scopes[0].begin().await.unwrap();
    artifacts.commit(&work, &mut artifact).await.unwrap();
    work.rollback().await.unwrap();
    assert_eq!(
        kind(artifacts.open(artifact.id).await),
        Some(ErrorKind::NotFound)
    );

    let artifact = scene.committed(0, Retention::days(365)).await;
    let read = artifacts.get(artifact.id).await.unwrap();
    assert_eq!(read, artifact);
    assert_eq!(
        (read.length, read.policy.as_str()),
        (Some(8), "fixed-period")
    );
    assert_eq!(
        read.expires_at,
        Some(scene.clock.now() + TimeDelta::days(365))
    );
    let bytes = artifacts
        .open(artifact.id)
        .await
        .unwrap()
        .into_bytes()
        .await
        .unwrap();
    assert_eq!(bytes.bytes, "a report");
    let mut again = read;
    let work = scene.scopes[0].begin().await.unwrap();
    let committed = artifacts.commit(&work, &mut again).await;
    assert_eq!(
        kind(committed),
        Some(ErrorKind::InvalidInput),
        "it counts already"
    );
}

async fn what_another_tenant_has_does_not_exist(scene: &Scene) {
    let theirs = scene.committed(0, Retention::days(365)).await;
    let mut pending = scene.upload(0, Retention::days(365)).await;
    let other = scene.of(1);
    assert_eq!(kind(other.get(theirs.id).await), Some(ErrorKind::NotFound));
    assert_eq!(kind(other.open(theirs.id).await), Some(ErrorKind::NotFound));
    let work = scene.scopes[1].begin().await.unwrap();
    let committed = other.commit(&work, &mut pending).await;
    assert_eq!(kind(committed), Some(ErrorKind::InvalidInput));
    let committed = scene.of(0).commit(&work, &mut pending).await;
    assert_eq!(kind(committed), Some(ErrorKind::InvalidInput));
    work.rollback().await.unwrap();
    scene.clock.advance(DAY * 400);
    assert_eq!(
        other.sweep(HOUR, 100).await.unwrap(),
        ArtifactSweep::default()
    );
    assert_eq!(scene.state(0, &theirs).await, ArtifactState::Committed);
}

async fn an_upload_that_fails_leaves_nothing(scene: &Scene) {
    let options = PutOptions::new(Service::Reporting, Retention::days(1)).with_length(9);
    let body = stream::iter([Ok::<_, std::io::Error>(Bytes::from("a report"))]);
    let name = BlobKind::new("reports").unwrap();
    let upload = scene.of(0).upload(&name, options, body).await;
    assert_eq!(kind(upload), Some(ErrorKind::InvalidInput));
    let rows = scene.scopes[0].repository::<Artifact>();
    let later = scene.clock.now() + TimeDelta::days(1);
    assert_eq!(rows.pending_since(later, 100).await.unwrap(), []);
}

async fn what_a_crash_has_left_is_gone_after_its_grace_time(scene: &Scene) {
    // The process died between put and commit, and after the row.
    let mut orphan = scene.upload(0, Retention::days(365)).await;
    let locked = scene.upload(0, Retention::days(7).locked()).await;
    let kept = scene.committed(0, Retention::days(365)).await;
    scene.clock.advance(HOUR);
    let swept = scene.of(0).sweep(HOUR, 100).await.unwrap();
    assert_eq!(
        swept,
        ArtifactSweep::default(),
        "it may still be on its way"
    );
    scene.clock.advance(Duration::from_micros(1));
    let swept = scene.of(0).sweep(HOUR, 100).await.unwrap();
    assert_eq!((swept.orphans, swept.deleted, swept.kept), (2, 1, 1));
    assert!(!scene.has_blob(0, &orphan).await && scene.has_blob(0, &kept).await);
    assert_eq!(scene.state(0, &orphan).await, ArtifactState::Deleted);
    assert_eq!(scene.state(0, &locked).await, ArtifactState::Expired);
    // Who was slow is told so, and nothing comes back.
    let work = scene.scopes[0].begin().await.unwrap();
    let late = scene.of(0).commit(&work, &mut orphan).await;
    assert_eq!(kind(late), Some(ErrorKind::Conflict));
    work.rollback().await.unwrap();
    scene.clock.advance(DAY * 7);
    assert_eq!(scene.of(0).sweep(HOUR, 100).await.unwrap().deleted, 1);
    assert!(!scene.has_blob(0, &locked).await);
}

async fn what_is_over_is_not_read_and_goes(scene: &Scene) {
    let artifacts = scene.of(0);
    let over = scene.committed(0, Retention::days(2)).await;
    let longer = scene.committed(0, Retention::days(2)).await;
    let held = scene.committed(0, Retention::days(2)).await;
    let unknown = scene.committed(0, Retention::days(2)).await;
    let endless = scene
        .committed(0, Retention::until_event_then_days(1))
        .await;
    let tag = HoldTag::new("case17").unwrap();
    let until = scene.clock.now() + TimeDelta::days(9);
    artifacts
        .extend(longer.id, until, "a request")
        .await
        .unwrap();
    artifacts
        .place_hold(held.id, &tag, "they sue")
        .await
        .unwrap();
    // Extended past its row, as by a process that died in the midst.
    let name = unknown.blob_name().unwrap();
    artifacts
        .blobs()
        .extend_retention(&name, until, "a request")
        .await
        .unwrap();
    scene.clock.advance(DAY * 2);
    assert_eq!(
        kind(artifacts.get(over.id).await),
        Some(ErrorKind::NotFound),
        "before any sweep"
    );
    for kept in [&longer, &held, &endless] {
        assert!(artifacts.get(kept.id).await.is_ok());
    }
    let rows = scene.scopes[0].repository::<Artifact>();
    let served = rows.served_at(scene.clock.now(), 100).await.unwrap();
    assert_eq!(served.len(), 3);
    let swept = artifacts.sweep(HOUR, 100).await.unwrap();
    assert_eq!((swept.expired, swept.deleted, swept.corrected), (1, 1, 1));
    assert_eq!(scene.state(0, &over).await, ArtifactState::Deleted);
    assert!(!scene.has_blob(0, &over).await);
    assert!(
        artifacts.get(unknown.id).await.is_ok(),
        "its row was corrected"
    );
    artifacts
        .clear_hold(held.id, &tag, "it was settled")
        .await
        .unwrap();
    // The sweeper of blobs may have been quicker.
    artifacts
        .blobs()
        .delete(&held.blob_name().unwrap())
        .await
        .unwrap();
    let swept = artifacts.sweep(HOUR, 100).await.unwrap();
    assert_eq!((swept.expired, swept.deleted), (1, 1));
    assert_eq!(scene.state(0, &held).await, ArtifactState::Deleted);
}

async fn what_a_lock_keeps_does_not_hold_up_what_stands_behind(scene: &Scene) {
    for _ in 0..5 {
        scene.upload(0, Retention::days(7).locked()).await;
    }
    scene.clock.advance(HOUR);
    let mut free = Vec::new();
    for _ in 0..5 {
        free.push(scene.upload(0, Retention::days(7)).await);
    }
    scene.clock.advance(HOUR * 2);
    let mut deleted = 0;
    for _ in 0..5 {
        deleted += scene.of(0).sweep(HOUR, 2).await.unwrap().deleted;
    }
    assert_eq!(deleted, 5);
    for artifact in free {
        assert_eq!(scene.state(0, &artifact).await, ArtifactState::Deleted);
    }
}

async fn each_sweep_goes_on_though_time_has_passed(scene: &Scene) {
    let tag = HoldTag::new("case17").unwrap();
    let mut held = Vec::new();
    for number in 0..5 {
        // Some begin in the same moment.
        scene
            .clock
            .advance(Duration::from_millis(u64::from(number % 2 == 0)));
        scene.committed(0, Retention::days(1)).await;
        let artifact = scene.committed(0, Retention::days(1)).await;
        let artifacts = scene.of(0);
        artifacts
            .place_hold(artifact.id, &tag, "they sue")
            .await
            .unwrap();
        held.push(artifact);
    }
    // The last one's row does not hear of it.
    let freed = held.pop().unwrap();
    let artifacts = scene.of(0);
    let blobs = artifacts.blobs();
    blobs
        .clear_hold(&freed.blob_name().unwrap(), &tag, "settled")
        .await
        .unwrap();
    scene.clock.advance(DAY * 2);
    let mut all = ArtifactSweep::default();
    for _ in 0..3 {
        let swept = artifacts.sweep(HOUR, 2).await.unwrap();
        all.expired += swept.expired;
        all.deleted += swept.deleted;
        all.kept += swept.kept;
        scene.clock.advance(Duration::from_secs(900));
    }
    assert_eq!((all.expired, all.deleted, all.kept), (6, 6, 4));
    assert_eq!(scene.state(0, &freed).await, ArtifactState::Deleted);
    for artifact in held {
        assert!(artifacts.get(artifact.id).await.is_ok());
    }
}

async fn an_artifact_ends_after_its_event(scene: &Scene) {
    let artifacts = scene.of(0);
    let waiting = Retention::until_event_then_days(1);
    let reported = scene.committed(0, waiting.clone()).await;
    let of_blob = scene.committed(0, waiting.clone()).await;
    let endless = scene.committed(0, waiting).await;
    let at = scene.clock.now();
    let ends = artifacts
        .report_event(reported.id, at, "the contract has ended")
        .await
        .unwrap();
    assert_eq!(ends.expires_at, Some(at + TimeDelta::days(1)));
    assert_eq!(artifacts.get(reported.id).await.unwrap(), ends);
    let again = artifacts.report_event(reported.id, at, "again").await;
    assert_eq!(kind(again), Some(ErrorKind::InvalidInput));
    let theirs = scene.of(1).report_event(endless.id, at, "not ours").await;
    assert_eq!(kind(theirs), Some(ErrorKind::NotFound));
    // A process died in the midst.
    let name = of_blob.blob_name().unwrap();
    let blobs = artifacts.blobs();
    blobs.report_event(&name, at, "it has ended").await.unwrap();
    let swept = artifacts.sweep(HOUR, 100).await.unwrap();
    assert_eq!((swept.corrected, swept.kept), (1, 0));
    let seen = artifacts.get(of_blob.id).await.unwrap();
    assert_eq!(seen.expires_at, ends.expires_at);
    scene.clock.advance(DAY);
    for artifact in [&reported, &of_blob] {
        let over = artifacts.get(artifact.id).await;
        assert_eq!(kind(over), Some(ErrorKind::NotFound), "before any sweep");
    }
    assert_eq!(artifacts.sweep(HOUR, 100).await.unwrap().deleted, 2);
    assert!(artifacts.get(endless.id).await.is_ok());
}

/// The sweeper of blobs was quicker than that of artifacts, whose row has heard of no event.
async fn a_row_that_waits_for_an_event_goes_with_its_blob(scene: &Scene) {
    let artifacts = scene.of(0);
    let waiting = Retention::until_event_then_days(1);
    let artifact = scene.committed(0, waiting).await;
    let (name, at) = (artifact.blob_name().unwrap(), scene.clock.now());
    let blobs = artifacts.blobs();
    blobs.report_event(&name, at, "it has ended").await.unwrap();
    scene.clock.advance(DAY);
    blobs.delete(&name).await.unwrap();
    let swept = artifacts.sweep(HOUR, 100).await.unwrap();
    assert_eq!((swept.expired, swept.deleted), (1, 1));
    assert_eq!(scene.state(0, &artifact).await, ArtifactState::Deleted);
}

/// By the clock of the system, which goes on while a run goes through what is over.
async fn one_run_ends_all_that_is_over(store: &TenantStore) {
    let scene = Scene {
        blobs: BlobStore::new(Arc::new(MemoryBlobs::new())),
        ..Scene::new(store)
    };
    for _ in 0..7 {
        scene.committed(0, Retention::days(0)).await;
    }
    let tenant = scene.scopes[0].tenant();
    let sweeper = ArtifactSweeper::new(&scene.blobs, store, DAY).with_turn(2);
    let report = sweeper.run([tenant]).await;
    assert_eq!((report.failed, report.failures.len()), (0, 0));
    assert_eq!((report.swept.expired, report.swept.deleted), (7, 7));
    assert!(report.is_complete);
}

async fn all_tenants_are_swept_in_turn(store: &TenantStore) {
    let scene = Scene::new(store);
    let mut left = Vec::new();
    for number in 0..7 {
        left.push((0, scene.upload(0, Retention::days(7)).await));
        if number < 2 {
            left.push((1, scene.upload(1, Retention::days(7)).await));
        }
    }
    scene.clock.advance(HOUR * 2);
    let tenants = [0, 1].map(|tenant| scene.scopes[tenant].tenant());
    let sweeper = ArtifactSweeper::new(&scene.blobs, store, HOUR).with_turn(3);
    // With no time there is no turn.
    let none = sweeper.clone().with_longest(Duration::ZERO);
    let report = none.run(tenants).await;
    assert_eq!((report.tenants, report.is_complete), (0, false));
    let report = sweeper.run(tenants).await;
    assert_eq!((report.tenants, report.failed), (2, 0));
    assert_eq!((report.swept.orphans, report.swept.deleted), (9, 9));
    assert!(report.is_complete);
    for (tenant, artifact) in &left {
        assert_eq!(scene.state(*tenant, artifact).await, ArtifactState::Deleted);
    }
}

async fn every_story(store: &TenantStore) {
    store.verify::<Artifact>().await.unwrap();
    an_artifact_counts_from_its_commit_on(&Scene::new(store)).await;
    what_another_tenant_has_does_not_exist(&Scene::new(store)).await;
    an_upload_that_fails_leaves_nothing(&Scene::new(store)).await;
    what_a_crash_has_left_is_gone_after_its_grace_time(&Scene::new(store)).await;
    what_is_over_is_not_read_and_goes(&Scene::new(store)).await;
    a_tenant_is_erased_with_its_rows(&Scene::new(store)).await;
    what_a_lock_keeps_does_not_hold_up_what_stands_behind(&Scene::new(store)).await;
    each_sweep_goes_on_though_time_has_passed(&Scene::new(store)).await;
    an_artifact_ends_after_its_event(&Scene::new(store)).await;
    a_row_that_waits_for_an_event_goes_with_its_blob(&Scene::new(store)).await;
    all_tenants_are_swept_in_turn(store).await;
    one_run_ends_all_that_is_over(store).await;
}

#[tokio::test]
async fn artifacts_on_sqlite() {
    let settings = SqliteSettings::temporary();
    let migrations = Migrations::embedded(&[(1, "artifacts", ARTIFACTS_SQLITE)]);
    sqlite::migrate(&settings, &migrations).await.unwrap();
    every_story(&TenantStore::sqlite(settings).await.unwrap()).await;
}

/// What is done to an artifact while its key is switched off leaves the digest in its row as it was.
#[cfg(feature = "encryption")]
#[tokio::test]
async fn a_lost_key_leaves_the_row_right() {
    use tenantry_blob::{BlobBackend, EncryptedBlobs, VaultKeys};
    use tenantry_core::{Secret, SecretReference};
    use tenantry_secrets::{MemoryVault, Secrets, Vault as _};

    let settings = SqliteSettings::temporary();
    let migrations = Migrations::embedded(&[(1, "artifacts", ARTIFACTS_SQLITE)]);
    sqlite::migrate(&settings, &migrations).await.unwrap();
    let store = TenantStore::sqlite(settings).await.unwrap();
    let (vault, memory) = (Arc::new(MemoryVault::new()), Arc::new(MemoryBlobs::new()));
    // As a process that has just started, which has no key in its cache.
    let scene = || {
        let secrets = Secrets::builder().with_vault("blobs", Arc::<MemoryVault>::clone(&vault));
        let secrets = secrets.unwrap().build().unwrap();
        let keys = VaultKeys::new("blobs", "key").unwrap();
        let inner: Arc<dyn BlobBackend> = Arc::<MemoryBlobs>::clone(&memory);
        let blobs = EncryptedBlobs::new(inner, Arc::new(keys), Arc::new(secrets));
        Scene {
            blobs: BlobStore::new(Arc::new(blobs)),
            ..Scene::new(&store)
        }
    };
    let first = scene();
    let tenant = first.scopes[0].tenant();
    let name = format!("t-{}-key", tenant.as_uuid().simple());
    let key = Secret::new("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    let version = vault
        .put(&name, &key, &Default::default())
        .await
        .unwrap()
        .version;
    assert_eq!(
        SecretReference::of_tenant("blobs", tenant, "key")
            .unwrap()
            .to_string(),
        format!("kv://blobs/{name}")
    );
    let artifact = first.committed(0, Retention::days(9)).await;
    let mut later = scene();
    later.scopes = [0, 1].map(|at| first.scopes[at].clone());
    vault.set_enabled(&name, &version, false).await.unwrap();
    let tag = HoldTag::new("case1").unwrap();
    let held = later
        .of(0)
        .place_hold(artifact.id, &tag, "they sue")
        .await
        .unwrap();
    assert!(held.held);
    assert_eq!(held.sha256, artifact.sha256);
    assert_eq!(
        kind(later.of(0).open(artifact.id).await),
        Some(ErrorKind::KeyUnavailable)
    );
    vault.set_enabled(&name, &version, true).await.unwrap();
    let read = first.of(0).open(artifact.id).await.unwrap();
    assert_eq!(read.into_bytes().await.unwrap().bytes, "a report");
}

#[tokio::test]
async fn artifacts_are_swept_again_and_again_until_the_schedule_is_stopped() {
    let settings = SqliteSettings::temporary();
    let migrations = Migrations::embedded(&[(1, "artifacts", ARTIFACTS_SQLITE)]);
    sqlite::migrate(&settings, &migrations).await.unwrap();
    let store = TenantStore::sqlite(settings).await.unwrap();
    let scene = Scene::new(&store);
    let orphans = [
        scene.upload(0, Retention::days(7)).await,
        scene.upload(1, Retention::days(7)).await,
    ];
    scene.clock.advance(HOUR * 2);
    let tenants = [0, 1].map(|tenant| scene.scopes[tenant].tenant());
    let (asked, seen) = tokio::sync::mpsc::unbounded_channel();
    let known = move || {
        asked.send(()).unwrap();
        std::future::ready(Ok(tenants.to_vec()))
    };
    let sweeper = ArtifactSweeper::new(&scene.blobs, &store, HOUR);
    let schedule = sweeper.start_every(Duration::from_secs(1), known).unwrap();
    let mut seen = seen;
    seen.recv().await.unwrap();
    seen.recv().await.unwrap();
    schedule.stop().await.unwrap();
    for (tenant, orphan) in orphans.iter().enumerate() {
        assert_eq!(scene.state(tenant, orphan).await, ArtifactState::Deleted);
    }
}

#[tokio::test]
async fn artifacts_on_postgres() {
    let server = PostgresServer::shared().await.unwrap();
    let database = TestDatabase::create(server).await.unwrap();
    let Roles { owner, app, .. } = database.bootstrap().await.unwrap();
    let migrations = Migrations::embedded(&[(1, "artifacts", ARTIFACTS_POSTGRES)]);
    postgres::migrate(owner.url(), &migrations).await.unwrap();
    let settings = PostgresSettings::new(app.url()).with_max_connections(3);
    every_story(&TenantStore::postgres(settings).await.unwrap()).await;
}
