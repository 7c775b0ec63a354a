//! The backends do what every backend must do.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::sync::Arc;

use tenantry_blob::MemoryBlobs;
use tenantry_blob::conformance::{
    blob_backend_conformance, blob_clock_conformance, blob_lock_conformance,
};
use tenantry_core::ManualClock;

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
