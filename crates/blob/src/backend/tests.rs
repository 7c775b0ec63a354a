//! What is due, in memory and in a folder.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tenantry_core::{Clock as _, ManualClock, Service, TenantId};

use super::*;
use crate::memory::MemoryBlobs;
use crate::name::BlobKind;
use crate::retention::Retention;
use crate::store::{BlobStore, PutOptions, TenantBlobs};
use crate::sweep::{SweepPolicy, Sweeper};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A store of one technology, and what it needs.
struct Scene {
    clock: ManualClock,
    store: BlobStore,
    blobs: TenantBlobs,
    #[cfg(feature = "fs")]
    _folder: tempfile::TempDir,
}

impl Scene {
    /// Returns one of each backend that keeps its records itself.
    async fn all() -> Vec<Self> {
        let start: DateTime<Utc> = "2026-03-01T12:00:00.123456789Z".parse().unwrap();
        let clock = ManualClock::new(start);
        let memory = MemoryBlobs::with_clock(Arc::new(clock.clone()));
        vec![
            Self::of(clock, Arc::new(memory)),
            #[cfg(feature = "fs")]
            Self::in_folder(ManualClock::new(start)).await,
        ]
    }

    fn of(clock: ManualClock, backend: Arc<dyn BlobBackend>) -> Self {
        let store = BlobStore::new(backend);
        Self {
            clock,
            blobs: store.tenant(TenantId::generate()),
            store,
            #[cfg(feature = "fs")]
            _folder: tempfile::tempdir().unwrap(),
        }
    }

    #[cfg(feature = "fs")]
    async fn in_folder(clock: ManualClock) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = crate::FsSettings::new(folder.path()).with_clock(Arc::new(clock.clone()));
        let backend = crate::FsBlobs::open(settings).await.unwrap();
        Self {
            _folder: folder,
            ..Self::of(clock, Arc::new(backend))
        }
    }

    fn sweeper(&self) -> Sweeper {
        let policy = SweepPolicy::default().with_batch(1);
        Sweeper::new(&self.store, policy).unwrap()
    }

    async fn put(&self, retention: Retention) -> BlobName {
        let kind = BlobKind::new("exports").unwrap();
        let name = self.blobs.name(&kind).unwrap();
        let options = PutOptions::new(Service::Reporting, retention);
        self.blobs.put_bytes(&name, options, "x").await.unwrap();
        name
    }

    async fn tier(&self, name: &BlobName) -> Tier {
        self.blobs.head(name).await.unwrap().tier
    }
}

#[tokio::test]
async fn what_is_due_between_two_microseconds_is_told_once() {
    for scene in Scene::all().await {
        let end = scene.clock.now() + TimeDelta::days(1);
        for _ in 0..3 {
            scene.put(Retention::until(end)).await;
        }
        scene
            .put(Retention::until(end + TimeDelta::nanoseconds(1)))
            .await;
        // The first and the last that there are, and a leap second.
        scene.put(Retention::until(DateTime::<Utc>::MIN_UTC)).await;
        scene.put(Retention::until(DateTime::<Utc>::MAX_UTC)).await;
        let leap = "2027-06-30T23:59:60.5Z".parse().unwrap();
        scene.put(Retention::until(leap)).await;
        let (mut after, mut all) = (None, Vec::new());
        loop {
            let backend = scene.store.shared_backend();
            let at = DateTime::<Utc>::MAX_UTC;
            let page = backend.due(at, after.as_deref(), 1).await.unwrap();
            all.extend(page.items.into_iter().map(|due| due.name));
            assert!(all.len() <= 7, "it is told again and again");
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 7);
        scene.clock.advance(2 * DAY);
        let plan = scene.sweeper().plan().await.unwrap();
        assert_eq!((plan.examined, plan.is_complete), (5, true));
        let report = scene.sweeper().run().await.unwrap();
        assert_eq!((report.deleted, report.is_complete), (5, true));
    }
}

#[tokio::test]
async fn what_is_moved_after_its_time_is_archived_all_the_same() {
    for scene in Scene::all().await {
        let retention = Retention::days(100).archived_after_days(10);
        let name = scene.put(retention).await;
        scene.clock.advance(11 * DAY);
        scene.blobs.set_tier(&name, Tier::Cool).await.unwrap();
        assert_eq!(scene.sweeper().run().await.unwrap().archived, 1);
        assert_eq!(scene.tier(&name).await, Tier::Archive);
        // What somebody brought back stays, also where it is moved on.
        let priority = RehydratePriority::Standard;
        let back = scene.blobs.rehydrate(&name, Tier::Cool, priority).await;
        assert!(back.unwrap().brought_back_at.is_some());
        assert_eq!(scene.sweeper().run().await.unwrap().examined, 0);
        scene.clock.advance(DAY);
        scene.blobs.set_tier(&name, Tier::Hot).await.unwrap();
        assert_eq!(scene.sweeper().run().await.unwrap().examined, 0);
        assert_eq!(scene.tier(&name).await, Tier::Hot);
    }
}
