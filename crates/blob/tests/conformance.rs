//! The backends do what every backend must do.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

#[cfg(feature = "encryption")]
mod support;

use std::sync::Arc;

use tenantry_blob::MemoryBlobs;
use tenantry_blob::conformance::{
    blob_backend_conformance, blob_clock_conformance, blob_lock_conformance,
};
use tenantry_core::ManualClock;

#[cfg(feature = "fs")]
mod fs {
    use tempfile::TempDir;
    use tenantry_blob::{FsBlobs, FsSettings};

    use super::*;

    pub(super) async fn open(folder: &TempDir, clock: &ManualClock) -> Arc<FsBlobs> {
        let settings = FsSettings::new(folder.path()).with_clock(Arc::new(clock.clone()));
        Arc::new(FsBlobs::open(settings).await.unwrap())
    }

    #[tokio::test]
    async fn fs_conforms() {
        let folder = tempfile::tempdir().unwrap();
        blob_backend_conformance(open(&folder, &clock()).await).await;
    }

    #[tokio::test]
    async fn fs_keeps_locks() {
        let folder = tempfile::tempdir().unwrap();
        blob_lock_conformance(open(&folder, &clock()).await).await;
    }

    #[tokio::test]
    async fn fs_goes_by_its_clock() {
        let folder = tempfile::tempdir().unwrap();
        let clock = clock();
        blob_clock_conformance(open(&folder, &clock).await, &clock).await;
    }
}

#[cfg(feature = "encryption")]
mod encrypted {
    use tenantry_blob::{BlobBackend, EncryptedBlobs};

    use super::support::tenant_keys;
    use super::*;

    fn encrypted(inner: Arc<dyn BlobBackend>) -> Arc<EncryptedBlobs> {
        let (keys, secrets) = tenant_keys();
        Arc::new(EncryptedBlobs::new(inner, keys, secrets))
    }

    #[tokio::test]
    async fn encrypted_memory_conforms() {
        blob_backend_conformance(encrypted(Arc::new(MemoryBlobs::new()))).await;
    }

    #[tokio::test]
    async fn encrypted_memory_keeps_locks() {
        blob_lock_conformance(encrypted(Arc::new(MemoryBlobs::new()))).await;
    }

    #[tokio::test]
    async fn encrypted_memory_goes_by_its_clock() {
        let clock = clock();
        let backend = MemoryBlobs::with_clock(Arc::new(clock.clone()));
        blob_clock_conformance(encrypted(Arc::new(backend)), &clock).await;
    }

    #[cfg(feature = "fs")]
    #[tokio::test]
    async fn encrypted_fs_conforms() {
        let folder = tempfile::tempdir().unwrap();
        blob_backend_conformance(encrypted(fs::open(&folder, &clock()).await)).await;
    }

    #[cfg(feature = "fs")]
    #[tokio::test]
    async fn encrypted_fs_keeps_locks() {
        let folder = tempfile::tempdir().unwrap();
        blob_lock_conformance(encrypted(fs::open(&folder, &clock()).await)).await;
    }

    #[cfg(feature = "fs")]
    #[tokio::test]
    async fn encrypted_fs_goes_by_its_clock() {
        let folder = tempfile::tempdir().unwrap();
        let clock = clock();
        blob_clock_conformance(encrypted(fs::open(&folder, &clock).await), &clock).await;
    }
}

fn clock() -> ManualClock {
    ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap())
}

#[tokio::test]
async fn memory_conforms() {
    blob_backend_conformance(Arc::new(MemoryBlobs::new())).await;
}

#[tokio::test]
async fn memory_keeps_locks() {
    blob_lock_conformance(Arc::new(MemoryBlobs::new())).await;
}

#[tokio::test]
async fn memory_goes_by_its_clock() {
    let clock = clock();
    let backend = MemoryBlobs::with_clock(Arc::new(clock.clone()));
    blob_clock_conformance(Arc::new(backend), &clock).await;
}
