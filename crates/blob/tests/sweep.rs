//! What is over goes, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tenantry_blob::{
    BackendPage, BlobBackend, BlobEncryption, BlobKind, BlobName, BlobPrefix, BlobRead, BlobRecord,
    BlobStore, BlobUpload, Deletion, DueAction, ETag, HoldTag, ListOptions, ListedBlob, ListedDue,
    MemoryBlobs, NewBlob, PutOptions, RehydratePriority, Retention, RetentionAct, RetentionState,
    SignedUrl, SweepPolicy, Sweeper, TenantBlobs, Tier,
};
use tenantry_core::{Clock as _, Error, ErrorKind, ManualClock, Result, Service, TenantId};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Blobs in memory, of which some cannot be deleted or moved.
#[derive(Debug)]
struct Stubborn {
    inner: MemoryBlobs,
    names: Mutex<Vec<BlobName>>,
    /// Those whose record cannot be read.
    unread: Mutex<Vec<BlobName>>,
    /// How often it was asked what is due, and whether it cannot tell.
    asked: AtomicUsize,
    is_down: AtomicBool,
}

impl Stubborn {
    fn check(&self, name: &BlobName) -> Result<()> {
        match self.names.lock().contains(name) {
            true => Err(Error::new(ErrorKind::Unavailable, "change blob")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl BlobBackend for Stubborn {
    fn system(&self) -> &'static str {
        self.inner.system()
    }

    fn now(&self) -> DateTime<Utc> {
        self.inner.now()
    }

    fn check_clock(&self, operation: &'static str) -> Result<()> {
        self.inner.check_clock(operation)
    }

    fn block_length(&self, length: Option<u64>) -> usize {
        self.inner.block_length(length)
    }

    fn takes_whole_blocks(&self) -> bool {
        self.inner.takes_whole_blocks()
    }

    async fn keeps_deleted_for(&self) -> Result<Option<Duration>> {
        self.inner.keeps_deleted_for().await
    }

    async fn create(&self, blob: NewBlob) -> Result<Box<dyn BlobUpload>> {
        self.inner.create(blob).await
    }

    async fn head(&self, name: &BlobName) -> Result<BlobRecord> {
        self.inner.head(name).await
    }

    async fn read(&self, name: &BlobName, range: Option<Range<u64>>) -> Result<BlobRead> {
        self.inner.read(name, range).await
    }

    async fn list(
        &self,
        prefix: &BlobPrefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<BlobRecord>> {
        self.inner.list(prefix, after, limit).await
    }

    async fn list_each(
        &self,
        prefix: &BlobPrefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<ListedBlob>> {
        self.inner.list_each(prefix, after, limit).await
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }

    async fn forget_deleted(&self, tenant: TenantId) -> Result<()> {
        self.inner.forget_deleted(tenant).await
    }

    async fn due(
        &self,
        at: DateTime<Utc>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<ListedDue>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.is_down.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, "list due blobs"));
        }
        let mut page = self.inner.due(at, after, limit).await?;
        let unread = self.unread.lock();
        for item in &mut page.items {
            if unread.contains(&item.name) {
                item.due = Err(Error::new(ErrorKind::Corrupt, "read record of blob"));
            }
        }
        Ok(page)
    }

    async fn delete(&self, deletions: &[Deletion]) -> Vec<Result<()>> {
        let mut answers = Vec::new();
        for deletion in deletions {
            answers.push(match self.check(&deletion.name) {
                Ok(()) => self
                    .inner
                    .delete(std::slice::from_ref(deletion))
                    .await
                    .remove(0),
                stubborn => stubborn,
            });
        }
        answers
    }

    async fn set_retention(
        &self,
        name: &BlobName,
        etag: &ETag,
        next: &RetentionState,
        act: &RetentionAct,
    ) -> Result<BlobRecord> {
        self.inner.set_retention(name, etag, next, act).await
    }

    async fn set_tier(
        &self,
        name: &BlobName,
        etag: &ETag,
        tier: Tier,
        priority: RehydratePriority,
    ) -> Result<BlobRecord> {
        self.check(name)?;
        self.inner.set_tier(name, etag, tier, priority).await
    }

    async fn set_encryption(
        &self,
        name: &BlobName,
        etag: &ETag,
        next: &BlobEncryption,
    ) -> Result<BlobRecord> {
        self.inner.set_encryption(name, etag, next).await
    }

    async fn signed_url(&self, name: &BlobName, valid_for: Duration) -> Result<SignedUrl> {
        self.inner.signed_url(name, valid_for).await
    }
}

struct Scene {
    clock: ManualClock,
    backend: Arc<Stubborn>,
    store: BlobStore,
    tenants: [TenantBlobs; 2],
}

impl Scene {
    fn new() -> Self {
        let clock = ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap());
        let backend = Arc::new(Stubborn {
            inner: MemoryBlobs::with_clock(Arc::new(clock.clone())),
            names: Mutex::default(),
            unread: Mutex::default(),
            asked: AtomicUsize::new(0),
            is_down: AtomicBool::new(false),
        });
        let store = BlobStore::new(Arc::<Stubborn>::clone(&backend));
        let tenants = [1, 2].map(|number| store.tenant(TenantId::from_u128(number).unwrap()));
        Self {
            clock,
            backend,
            store,
            tenants,
        }
    }

    fn sweeper(&self, policy: SweepPolicy) -> Sweeper {
        Sweeper::new(&self.store, policy).unwrap()
    }

    async fn put(&self, tenant: usize, retention: Retention) -> BlobName {
        let blobs = &self.tenants[tenant];
        let name = blobs.name(&BlobKind::new("exports").unwrap()).unwrap();
        let options = PutOptions::new(Service::Reporting, retention);
        blobs.put_bytes(&name, options, "bytes").await.unwrap();
        name
    }

    async fn names(&self) -> Vec<BlobName> {
        let mut names = Vec::new();
        for blobs in &self.tenants {
            let page = blobs
                .list(ListOptions::new().with_limit(5_000))
                .await
                .unwrap();
            names.extend(page.records.into_iter().map(|record| record.name));
        }
        names
    }
}

#[tokio::test]
async fn what_is_over_goes_on_time_and_what_is_kept_stays() {
    let scene = Scene::new();
    let sweeper = scene.sweeper(SweepPolicy::default());
    for tenant in [0, 1] {
        scene.put(tenant, Retention::days(1)).await;
        scene.put(tenant, Retention::days(1).locked()).await;
    }
    let kept = [
        scene.put(0, Retention::days(2)).await,
        scene.put(0, Retention::until_event_then_days(0)).await,
        scene.put(0, Retention::days(1)).await,
        scene.put(1, Retention::days(3)).await,
    ];
    let tag = HoldTag::new("case17").unwrap();
    scene.tenants[0]
        .place_hold(&kept[2], &tag, "they sue")
        .await
        .unwrap();
    scene.clock.advance(DAY - Duration::from_micros(1));
    assert_eq!(sweeper.run().await.unwrap().examined, 0);
    scene.clock.advance(Duration::from_micros(1));
    let plan = sweeper.plan().await.unwrap();
    assert_eq!(
        (plan.deleted, scene.names().await.len()),
        (4, 8),
        "a plan changes nothing"
    );
    let report = sweeper.run().await.unwrap();
    assert_eq!(
        (report.deleted, report.deleted_bytes, report.backlog),
        (4, 20, 0)
    );
    assert_eq!(
        (report.skipped, report.failed, report.is_complete),
        (0, 0, true)
    );
    assert_eq!(report.oldest_due, Some(report.at));
    let mut kept = kept.to_vec();
    kept.sort();
    assert_eq!(scene.names().await, kept);
}

#[tokio::test]
async fn what_is_due_for_the_archive_goes_there_once() {
    let scene = Scene::new();
    let sweeper = scene.sweeper(SweepPolicy::default());
    let name = scene
        .put(0, Retention::days(90).archived_after_days(1))
        .await;
    let other = scene.put(1, Retention::days(90)).await;
    scene.clock.advance(DAY);
    assert_eq!(sweeper.run().await.unwrap().archived, 1);
    let record = scene.tenants[0].head(&name).await.unwrap();
    assert_eq!(record.tier, Tier::Archive);
    assert_eq!(scene.tenants[1].head(&other).await.unwrap().tier, Tier::Hot);
    assert_eq!(sweeper.run().await.unwrap().examined, 0);
    // What somebody brought back stays.
    let priority = RehydratePriority::Standard;
    scene.tenants[0]
        .rehydrate(&name, Tier::Hot, priority)
        .await
        .unwrap();
    assert_eq!(sweeper.run().await.unwrap().examined, 0);
    scene.clock.advance(DAY * 89);
    assert_eq!(sweeper.run().await.unwrap().deleted, 2);
    assert!(scene.names().await.is_empty());
}

#[tokio::test]
async fn a_run_is_bounded_and_the_next_goes_on_past_what_failed() {
    let scene = Scene::new();
    let policy = SweepPolicy::default().with_batch(3).with_most(7);
    let sweeper = scene.sweeper(policy);
    let mut names = Vec::new();
    for number in 0..20 {
        names.push(scene.put(number % 2, Retention::days(1)).await);
    }
    let cold = scene
        .put(0, Retention::days(90).archived_after_days(2))
        .await;
    names.sort();
    scene
        .backend
        .names
        .lock()
        .extend(names[..8].iter().cloned());
    scene.backend.names.lock().push(cold.clone());
    scene.clock.advance(DAY * 2);
    let first = sweeper.run().await.unwrap();
    assert_eq!((first.examined, first.deleted, first.failed), (7, 0, 7));
    assert_eq!((first.backlog, first.is_complete), (21, false));
    assert_eq!(first.failures[0].kind, ErrorKind::Unavailable);
    let second = sweeper.run().await.unwrap();
    assert_eq!((second.examined, second.deleted, second.failed), (7, 6, 1));
    let third = sweeper.run().await.unwrap();
    assert_eq!((third.examined, third.deleted, third.failed), (7, 6, 1));
    assert_eq!(third.failures[0].action, Some(DueAction::Archive));
    // From its beginning again, where the failures are.
    scene.backend.names.lock().clear();
    let rest = [sweeper.run().await.unwrap(), sweeper.run().await.unwrap()];
    assert_eq!(rest[0].deleted + rest[1].deleted, 8);
    assert_eq!(rest[0].archived + rest[1].archived, 1);
    assert_eq!(scene.names().await, [cold]);
}

#[tokio::test]
async fn what_cannot_be_read_has_failed_and_holds_up_no_other() {
    let scene = Scene::new();
    // With a share of one both laps come by.
    let policy = SweepPolicy::default().with_batch(2).with_share(1);
    let sweeper = scene.sweeper(policy);
    let mut names = Vec::new();
    for _ in 0..9 {
        names.push(scene.put(0, Retention::days(1)).await);
    }
    let unread = [names[0].clone(), names[4].clone()];
    scene.backend.unread.lock().extend(unread.clone());
    scene.clock.advance(DAY);
    for report in [sweeper.plan().await.unwrap(), sweeper.run().await.unwrap()] {
        assert_eq!((report.examined, report.deleted, report.failed), (9, 7, 2));
        assert_eq!((report.backlog, report.is_complete), (2, true));
        let mut failed: Vec<_> = report.failures.iter().map(|it| it.name.clone()).collect();
        failed.sort();
        let mut expected = unread.to_vec();
        expected.sort();
        assert_eq!(failed, expected);
        for failure in report.failures {
            assert_eq!((failure.action, failure.kind), (None, ErrorKind::Corrupt));
        }
    }
    let report = sweeper.run().await.unwrap();
    assert_eq!((report.examined, report.failed), (2, 2));
}

#[tokio::test]
async fn a_tenant_with_many_does_not_hold_up_the_others() {
    let scene = Scene::new();
    for _ in 0..300 {
        scene.put(0, Retention::days(1)).await;
    }
    scene.clock.advance(DAY);
    for _ in 0..15 {
        scene.put(1, Retention::days(1)).await;
    }
    scene.clock.advance(DAY);
    let policy = SweepPolicy::default()
        .with_batch(8)
        .with_share(10)
        .with_most(50);
    let sweeper = scene.sweeper(policy);
    let plan = sweeper.plan().await.unwrap();
    let left = async |tenant: usize| {
        let options = ListOptions::new().with_limit(5_000);
        let page = scene.tenants[tenant].list(options).await.unwrap();
        page.records.len()
    };
    let report = sweeper.run().await.unwrap();
    assert_eq!(
        (left(0).await, left(1).await),
        (260, 5),
        "10 of each, then the longest due"
    );
    assert_eq!((report.deleted, report.backlog), (50, 265));
    assert_eq!(
        (plan.deleted, plan.backlog),
        (50, 265),
        "a plan tells the same"
    );
    assert!(!report.is_complete);
    sweeper.run().await.unwrap();
    assert_eq!((left(0).await, left(1).await), (215, 0));
    for _ in 0..4 {
        sweeper.run().await.unwrap();
    }
    let last = sweeper.run().await.unwrap();
    assert_eq!(
        (last.deleted, last.backlog, last.is_complete),
        (15, 0, true)
    );
}

#[tokio::test]
async fn what_fails_has_one_turn_in_a_run_and_holds_up_nothing() {
    let scene = Scene::new();
    let mut names = Vec::new();
    for _ in 0..40 {
        names.push(scene.put(0, Retention::days(1)).await);
    }
    names.sort();
    scene
        .backend
        .names
        .lock()
        .extend(names[..20].iter().cloned());
    scene.clock.advance(DAY);
    let policy = SweepPolicy::default().with_batch(3).with_share(7);
    let sweeper = scene.sweeper(policy.clone());
    let report = sweeper.run().await.unwrap();
    assert_eq!(
        (report.examined, report.deleted, report.failed),
        (40, 20, 20)
    );
    assert_eq!((report.backlog, report.is_complete), (20, true));
    // Bounded to fewer than those that fail, it comes past them all the same.
    let behind = scene.put(0, Retention::days(0)).await;
    scene.clock.advance(DAY);
    let sweeper = scene.sweeper(policy.with_most(5));
    for _ in 0..8 {
        sweeper.run().await.unwrap();
    }
    assert!(!scene.names().await.contains(&behind));
}

#[tokio::test]
async fn a_clock_that_was_set_back_is_a_failure_and_no_success() {
    let scene = Scene::new();
    scene.put(0, Retention::days(1)).await;
    scene.put(1, Retention::days(1)).await;
    scene.clock.advance(DAY);
    scene.backend.now();
    let right = scene.clock.clone();
    right.set(right.now() - DAY / 2);
    let report = scene.sweeper(SweepPolicy::default()).run().await.unwrap();
    assert_eq!((report.deleted, report.skipped), (0, 0));
    assert_eq!((report.failed, report.backlog), (2, 2));
    assert_eq!(report.failures[0].kind, ErrorKind::Retained);
}

#[tokio::test(start_paused = true)]
async fn a_schedule_goes_on_after_a_failure_and_until_it_is_stopped() {
    let scene = Scene::new();
    let asked = || scene.backend.asked.load(Ordering::Relaxed);
    let minute = Duration::from_secs(60);
    let sweeper = scene.sweeper(SweepPolicy::default());
    let schedule = sweeper.start_every(minute).unwrap();
    tokio::time::sleep(minute / 10).await;
    assert_eq!(asked(), 1, "the first comes soon");
    scene.backend.is_down.store(true, Ordering::Relaxed);
    tokio::time::sleep(minute).await;
    assert_eq!(asked(), 2);
    scene.backend.is_down.store(false, Ordering::Relaxed);
    let name = scene.put(1, Retention::days(1)).await;
    scene.clock.advance(DAY);
    tokio::time::sleep(minute).await;
    assert!(!scene.names().await.contains(&name));
    schedule.stop().await.unwrap();
    schedule.stop().await.unwrap();
    let before = asked();
    tokio::time::sleep(minute * 10).await;
    assert_eq!(asked(), before, "it has ended");
    // Dropped, it ends as well.
    let schedule = sweeper.start_every(minute).unwrap();
    tokio::time::sleep(minute / 10).await;
    drop(schedule);
    let before = asked();
    tokio::time::sleep(minute * 10).await;
    assert_eq!(asked(), before);
    let error = sweeper.start_every(Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSettings);
}

#[tokio::test(start_paused = true)]
async fn a_schedule_goes_on_after_a_panic() {
    let scene = Scene::new();
    let minute = Duration::from_secs(60);
    scene.put(0, Retention::days(0)).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&runs);
    let sweeper = scene.sweeper(SweepPolicy::default());
    let sweeper = sweeper.with_progress(move |_| {
        let before = told.fetch_add(1, Ordering::Relaxed);
        assert_ne!(before, 0, "a bar that is gone");
    });
    let schedule = sweeper.start_every(minute).unwrap();
    tokio::time::sleep(minute / 10).await;
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    scene.put(1, Retention::days(0)).await;
    tokio::time::sleep(minute).await;
    assert_eq!(runs.load(Ordering::Relaxed), 2, "the next comes as ever");
    assert_eq!(scene.names().await, []);
    schedule.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_schedule_of_the_longest_time_waits_and_can_be_stopped() {
    let scene = Scene::new();
    let sweeper = scene.sweeper(SweepPolicy::default());
    for period in [Duration::MAX, Duration::MAX / 20] {
        let schedule = sweeper.start_every(period).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        schedule.stop().await.unwrap();
    }
}

#[tokio::test]
async fn two_at_once_do_nothing_twice() {
    let scene = Scene::new();
    for number in 0..50 {
        scene.put(number % 2, Retention::days(1)).await;
    }
    scene.clock.advance(DAY);
    let policy = SweepPolicy::default().with_batch(5);
    let (one, two) = (scene.sweeper(policy.clone()), scene.sweeper(policy));
    let (one, two) = futures_util::future::join(one.run(), two.run()).await;
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.deleted + two.deleted, 50);
    assert_eq!(one.failed + two.failed, 0);
    assert!(scene.names().await.is_empty());
}

#[tokio::test]
async fn progress_is_told_after_each_batch() {
    let scene = Scene::new();
    for number in 0..10 {
        scene.put(number % 2, Retention::days(1)).await;
    }
    scene.clock.advance(DAY);
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    let sweeper = scene
        .sweeper(SweepPolicy::default().with_batch(4))
        .with_progress(move |report| seen.lock().push(report.deleted));
    sweeper.run().await.unwrap();
    assert_eq!(*told.lock(), [4, 8, 10]);
}

#[test]
fn a_batch_without_blobs_is_refused() {
    let scene = Scene::new();
    for batch in [0, 5_001] {
        let policy = SweepPolicy::default().with_batch(batch);
        let error = Sweeper::new(&scene.store, policy).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSettings);
    }
    let policy = SweepPolicy::default().with_share(0);
    let error = Sweeper::new(&scene.store, policy).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSettings);
}
