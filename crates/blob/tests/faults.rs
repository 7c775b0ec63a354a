//! What a backend refuses, loses or answers too late is told as it is, by all that stands on it.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod refusing;
#[cfg(feature = "encryption")]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use tenantry_blob::{
    BlobBackend as _, BlobKind, BlobName, BlobStore, HoldTag, ListOptions, LockMode, MemoryBlobs,
    PutOptions, RehydratePriority, Retention, RetentionAct, RetentionAction, RetentionAudit,
    SweepPolicy, Sweeper, TenantBlobs, Tier,
};
use tenantry_core::{Clock as _, Error, ErrorKind, ManualClock, Result, Service, TenantId};

use self::refusing::{Call, Lists, Refusing};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn options(retention: Retention) -> PutOptions {
    PutOptions::new(Service::Reporting, retention)
}

async fn put(blobs: &TenantBlobs, retention: Retention) -> BlobName {
    let name = blobs.name(&BlobKind::new("exports").unwrap()).unwrap();
    let put = blobs.put_bytes(&name, options(retention), "personal").await;
    put.unwrap();
    name
}

fn scene() -> (Arc<Refusing>, TenantBlobs) {
    let backend = Refusing::around(MemoryBlobs::new());
    let store = BlobStore::new(Arc::<Refusing>::clone(&backend));
    (backend, store.tenant(TenantId::generate()))
}

/// As under a lease, which a service answers with a conflict as long as it is there.
#[tokio::test]
async fn what_cannot_be_erased_for_a_conflict_has_failed() {
    let (backend, blobs) = scene();
    let name = put(&blobs, Retention::days(1)).await;
    let other = put(&blobs, Retention::days(1)).await;
    let leased = name.clone();
    backend.refuse(move |call, of| {
        (call == Call::Delete && *of == leased).then_some(ErrorKind::Conflict)
    });
    let report = blobs.erase("they left").await.unwrap();
    assert_eq!(report.failed, [(name.clone(), ErrorKind::Conflict)]);
    assert_eq!(report.erased.len(), 1);
    assert_eq!(report.erased[0].name, other);
    assert!(!report.is_complete() && !report.is_unreadable(), "{report}");
    assert!(blobs.get(&name).await.is_ok(), "it is still there");
    backend.refuse_nothing();
    let report = blobs.erase("they left").await.unwrap();
    assert!(report.is_complete() && report.erased[0].name == name);
}

#[tokio::test]
async fn what_was_changed_once_is_erased_all_the_same() {
    let (backend, blobs) = scene();
    put(&blobs, Retention::days(1)).await;
    let met = AtomicBool::new(false);
    backend.refuse(move |call, _| {
        let is_first = call == Call::Delete && !met.swap(true, Ordering::SeqCst);
        is_first.then_some(ErrorKind::Conflict)
    });
    let report = blobs.erase("they left").await.unwrap();
    assert!(report.is_complete() && report.erased.len() == 1, "{report}");
}

/// As where a blob is deleted, and a version of it cannot be.
#[tokio::test]
async fn what_was_deleted_without_an_answer_stands_in_the_report_of_an_erasure() {
    let (backend, blobs) = scene();
    put(&blobs, Retention::days(1)).await;
    let unanswered = put(&blobs, Retention::days(1)).await;
    let of = unanswered.clone();
    backend.refuse(move |call, name| {
        (call == Call::Deleted && *name == of).then_some(ErrorKind::PermissionDenied)
    });
    let report = blobs.erase("they left").await.unwrap();
    let failed = (unanswered, ErrorKind::PermissionDenied);
    assert_eq!((report.failed, report.erased.len()), (vec![failed], 1));
}

#[tokio::test]
async fn a_report_of_an_erasure_shows_lengths_that_nothing_has() {
    let (backend, blobs) = scene();
    for _ in 0..2 {
        put(&blobs, Retention::days(1)).await;
    }
    backend.tell_length(u64::MAX);
    let report = blobs.erase("they left").await.unwrap();
    let told = format!("2 erased, {} bytes", u64::MAX);
    assert!(report.to_string().contains(&told), "{report}");
}

#[tokio::test]
async fn a_put_whose_lock_could_not_be_read_back_is_unknown() {
    let (backend, blobs) = scene();
    backend.refuse(|call, _| (call == Call::Head).then_some(ErrorKind::Unavailable));
    let name = blobs.name(&BlobKind::new("exports").unwrap()).unwrap();
    let locked = options(Retention::days(1).locked());
    let error = blobs.put_bytes(&name, locked, "sealed").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CommitUnknown, "{error:?}");
    assert!(!error.is_retryable());
    backend.refuse_nothing();
    let there = blobs.head(&name).await.unwrap();
    assert_eq!(there.retention.lock, Some(LockMode::Locked));
}

/// A clock, a backend that refuses, and the blobs of a tenant in it.
fn timed() -> (ManualClock, Arc<Refusing>, BlobStore, TenantBlobs) {
    let clock = ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap());
    let hours = Duration::from_secs(5 * 60 * 60);
    let memory = MemoryBlobs::with_rehydration(Arc::new(clock.clone()), hours);
    let backend = Refusing::around(memory);
    let store = BlobStore::new(Arc::<Refusing>::clone(&backend));
    let blobs = store.tenant(TenantId::generate());
    (clock, backend, store, blobs)
}

#[tokio::test]
async fn what_a_sweep_never_deletes_is_a_failure_and_left_to_do() {
    let (clock, backend, store, blobs) = timed();
    put(&blobs, Retention::days(1)).await;
    let cold = put(&blobs, Retention::days(90).archived_after_days(1)).await;
    clock.advance(DAY * 30);
    backend
        .refuse(|call, _| matches!(call, Call::Delete | Call::Tier).then_some(ErrorKind::Conflict));
    let sweeper = Sweeper::new(&store, SweepPolicy::default()).unwrap();
    for _ in 0..2 {
        let report = sweeper.run().await.unwrap();
        assert_eq!((report.failed, report.skipped, report.backlog), (2, 0, 2));
        assert_eq!(report.failures[0].kind, ErrorKind::Conflict);
    }
    backend.refuse_nothing();
    let report = sweeper.run().await.unwrap();
    assert_eq!((report.deleted, report.archived, report.failed), (1, 1, 0));
    assert_eq!(blobs.head(&cold).await.unwrap().tier, Tier::Archive);
}

/// Extended, so that it is over all the same, or kept.
#[tokio::test]
async fn what_was_changed_behind_a_list_is_swept_as_it_is_now() {
    let (clock, backend, store, blobs) = timed();
    let over = put(&blobs, Retention::days(1)).await;
    let kept = put(&blobs, Retention::days(1)).await;
    clock.advance(DAY * 30);
    let (other, names) = (blobs.clone(), [over.clone(), kept.clone()]);
    let ends = [
        clock.now() - TimeDelta::days(1),
        clock.now() + TimeDelta::days(1),
    ];
    backend.behind_next_list(async move {
        for (name, end) in names.iter().zip(ends) {
            other
                .extend_retention(name, end, "a request")
                .await
                .unwrap();
        }
    });
    let sweeper = Sweeper::new(&store, SweepPolicy::default()).unwrap();
    let report = sweeper.run().await.unwrap();
    assert_eq!((report.deleted, report.skipped, report.failed), (1, 1, 0));
    assert!(blobs.head(&over).await.is_err() && blobs.head(&kept).await.is_ok());
}

#[tokio::test]
async fn what_is_held_or_brought_back_behind_a_list_is_not_archived() {
    let (clock, backend, store, blobs) = timed();
    let cold = Retention::days(100).archived_after_days(10);
    let (held, wanted) = (put(&blobs, cold.clone()).await, put(&blobs, cold).await);
    clock.advance(DAY * 11);
    let (other, names) = (blobs.clone(), (held.clone(), wanted.clone()));
    backend.behind_next_list(async move {
        let tag = HoldTag::new("case17").unwrap();
        other.place_hold(&names.0, &tag, "they sue").await.unwrap();
        // Another sweeper, and then somebody who needs it.
        other.set_tier(&names.1, Tier::Archive).await.unwrap();
        let priority = RehydratePriority::High;
        let back = other.rehydrate(&names.1, Tier::Hot, priority).await;
        assert!(back.unwrap().rehydration.is_some());
    });
    let sweeper = Sweeper::new(&store, SweepPolicy::default()).unwrap();
    let report = sweeper.run().await.unwrap();
    assert_eq!((report.archived, report.skipped, report.failed), (0, 2, 0));
    assert_eq!(blobs.head(&held).await.unwrap().tier, Tier::Hot);
    let wanted = blobs.head(&wanted).await.unwrap();
    assert!(wanted.rehydration.is_some(), "it is still on its way back");
}

#[tokio::test]
async fn nothing_is_archived_by_a_clock_that_was_set_back() {
    let (clock, backend, store, blobs) = timed();
    let right = clock.now();
    let cold = put(&blobs, Retention::days(100).archived_after_days(10)).await;
    clock.set(right + TimeDelta::days(30));
    backend.now();
    clock.set(right);
    let sweeper = Sweeper::new(&store, SweepPolicy::default()).unwrap();
    let report = sweeper.run().await.unwrap();
    assert_eq!((report.archived, report.failed), (0, 1));
    assert_eq!(report.failures[0].kind, ErrorKind::Retained);
    assert_eq!(blobs.head(&cold).await.unwrap().tier, Tier::Hot);
}

/// Somebody has made up how long an encrypted blob is.
#[cfg(feature = "encryption")]
#[tokio::test]
async fn lengths_that_nothing_has_give_out_no_wrong_byte() {
    let backend = Refusing::around(MemoryBlobs::new());
    let inner: Arc<dyn tenantry_blob::BlobBackend> = Arc::<Refusing>::clone(&backend);
    let (keys, secrets) = support::tenant_keys();
    let encrypted = tenantry_blob::EncryptedBlobs::new(inner, keys, secrets);
    let blobs = BlobStore::new(Arc::new(encrypted)).tenant(TenantId::generate());
    let name = put(&blobs, Retention::days(1)).await;
    let most = u64::MAX;
    let lengths = [
        0,
        15,
        16,
        17,
        24,
        1 << 40,
        most / 2,
        most - 65_536,
        most - 15,
        most,
    ];
    for length in lengths {
        backend.tell_length(length);
        let told = blobs.head(&name).await.map_or(0, |record| record.length);
        let last = told.saturating_sub(1);
        for range in [0..1, 0..told, last..told, told..told, most - 1..most] {
            let Ok(bytes) = blobs.range(&name, range.clone()).await else {
                continue;
            };
            let within = |at: u64| usize::try_from(at).unwrap();
            let put = &b"personal"[within(range.start)..within(range.end)];
            assert_eq!(bytes, put, "{range:?} of {length}");
        }
    }
}

/// Keeps what it hears of, unless it is full.
#[derive(Debug, Default)]
struct Acts {
    heard: Mutex<Vec<RetentionAction>>,
    is_full: AtomicBool,
}

#[async_trait]
impl RetentionAudit for Acts {
    async fn record(&self, act: &RetentionAct) -> Result<()> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::StorageFull, "write audit"));
        }
        self.heard.lock().push(act.action);
        Ok(())
    }
}

/// A service takes the lock and keeps none: what was put goes again, and that is an act as well.
#[tokio::test]
async fn what_is_deleted_for_it_has_no_lock_is_told_to_the_audit() {
    let backend = Refusing::around(MemoryBlobs::new());
    backend.ignore_locks();
    let acts = Arc::new(Acts::default());
    let store = BlobStore::new(Arc::<Refusing>::clone(&backend));
    let store = store.with_audit(Arc::<Acts>::clone(&acts));
    let blobs = store.tenant(TenantId::generate());
    for is_full in [false, true] {
        acts.is_full.store(is_full, Ordering::SeqCst);
        let name = blobs.name(&BlobKind::new("exports").unwrap()).unwrap();
        let put = blobs.put_bytes(&name, options(Retention::days(7).unlocked()), "x");
        let error = put.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RetentionNotEnforced);
        // What the audit does not take is not done.
        assert_eq!(blobs.head(&name).await.is_ok(), is_full);
        assert_eq!(error.detail().contains("still there"), is_full, "{error}");
    }
    assert_eq!(*acts.heard.lock(), [RetentionAction::DeletedEarly]);
}

/// What is gone stands in the report, though not all was gone through; what is left, in the next.
#[tokio::test]
async fn an_erasure_that_is_broken_off_tells_what_it_has_erased() {
    const MORE_THAN_A_PAGE: usize = 520;
    let (backend, blobs) = scene();
    for _ in 0..MORE_THAN_A_PAGE {
        put(&blobs, Retention::days(1)).await;
    }
    backend.answer_lists(Some(Lists::FailAfter(0)));
    let error = blobs.erase("they left").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "nothing is gone yet");

    backend.answer_lists(Some(Lists::FailAfter(1)));
    let first = blobs.erase("they left").await.unwrap();
    assert_eq!(first.stopped_by, Some(ErrorKind::Unavailable));
    assert!(!first.is_complete() && !first.is_unreadable());
    assert!(first.to_string().contains("broken off"), "{first}");
    assert!(!first.erased.is_empty());

    backend.answer_lists(None);
    let second = blobs.erase("they left").await.unwrap();
    assert!(second.is_complete() && second.stopped_by.is_none());
    assert_eq!(first.erased.len() + second.erased.len(), MORE_THAN_A_PAGE);
}

/// As where the disk of the audit is full.
#[tokio::test]
async fn an_erasure_without_an_audit_deletes_nothing_more_and_tells_what_is_gone() {
    #[derive(Debug)]
    struct Full(AtomicUsize);

    #[async_trait]
    impl RetentionAudit for Full {
        async fn record(&self, _: &RetentionAct) -> Result<()> {
            match self.0.fetch_add(1, Ordering::Relaxed) {
                0..=510 => Ok(()),
                _ => Err(Error::new(ErrorKind::StorageFull, "write audit")),
            }
        }
    }

    let tenant = TenantId::generate();
    let store = BlobStore::new(Arc::new(MemoryBlobs::new()));
    let blobs = store.tenant(tenant);
    for _ in 0..520 {
        put(&blobs, Retention::days(1)).await;
    }
    let audited = store.with_audit(Arc::new(Full(AtomicUsize::new(0))));
    let report = audited.tenant(tenant).erase("they left").await.unwrap();
    assert_eq!(report.stopped_by, Some(ErrorKind::StorageFull));
    let left = blobs.list(ListOptions::new()).await.unwrap().records.len();
    assert_eq!((report.erased.len(), left), (500, 20));
}

/// A list that tells of another tenant's blobs is believed by nobody.
#[tokio::test]
async fn an_erasure_deletes_nothing_of_another_tenant_whatever_is_listed() {
    let backend = Refusing::around(MemoryBlobs::new());
    let store = BlobStore::new(Arc::<Refusing>::clone(&backend));
    let [one, ten] = [1, 10].map(|id| store.tenant(TenantId::from_u128(id).unwrap()));
    put(&one, Retention::days(1)).await;
    let other = put(&ten, Retention::days(1)).await;
    backend.answer_lists(Some(Lists::Of(ten.tenant())));
    let error = one.erase("they left").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected);
    let error = one.list(ListOptions::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected);
    assert!(ten.get(&other).await.is_ok());
}

/// Neither a list, nor an erasure, a sweep or a plan goes on for ever.
#[tokio::test]
async fn lists_that_lead_to_themselves_are_an_error() {
    let (backend, blobs) = scene();
    let name = put(&blobs, Retention::days(1)).await;
    backend.answer_lists(Some(Lists::NeverEnd));
    let first = blobs.list(ListOptions::new()).await.unwrap();
    let again = ListOptions::new().with_after(first.next.unwrap());
    let sweeper = Sweeper::new(
        &BlobStore::new(Arc::<Refusing>::clone(&backend)),
        SweepPolicy::default(),
    );
    let sweeper = sweeper.unwrap();
    for kind in [
        blobs.list(again).await.map(drop).unwrap_err().kind(),
        blobs.erase("they left").await.unwrap_err().kind(),
        sweeper.run().await.unwrap_err().kind(),
        sweeper.plan().await.unwrap_err().kind(),
    ] {
        assert_eq!(kind, ErrorKind::Unexpected);
    }
    backend.answer_lists(None);
    assert!(blobs.get(&name).await.is_ok());
}

/// Whoever puts is told at once, and not when the body goes on.
#[tokio::test]
async fn a_put_that_has_failed_does_not_wait_for_a_silent_body() {
    let (_, blobs) = scene();
    let name = blobs.name(&BlobKind::new("exports").unwrap()).unwrap();
    let first = Bytes::from(vec![1; 4 * 1024 * 1024]);
    let body = stream::iter([Ok::<_, std::io::Error>(first)]).chain(stream::pending());
    let options = options(Retention::days(1)).with_length(10);
    // It would hang.
    let error = blobs.put(&name, options, body).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(
        blobs.head(&name).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
}
