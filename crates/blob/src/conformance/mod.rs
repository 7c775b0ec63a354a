//! What every backend must do, as functions to call: the contract in a form that runs.
//!
//! The names in here may change in any release.

mod bytes;
mod changes;
mod drops;
mod lists;
mod locks;
mod tenants;

use std::sync::Arc;

use ::bytes::Bytes;
use futures_util::stream;
use tenantry_core::{
    Actor, Error, ErrorKind, ManualClock, RequestContext, Result, Service, TenantId,
};
use uuid::Uuid;

use crate::backend::BlobBackend;
use crate::name::{BlobKind, BlobName};
use crate::retention::Retention;
use crate::store::{BlobStore, PutOptions, StoredBlob, TenantBlobs};

/// Holds a backend to the contract of [`BlobBackend`], as far as it needs no lock and no clock.
///
/// It takes tenants that nobody has used yet, and leaves blobs of theirs behind: any backend will do.
///
/// # Panics
///
/// If the backend breaks its contract; the message says in what.
pub async fn blob_backend_conformance(backend: Arc<dyn BlobBackend>) {
    let scene = Scene::new(backend);
    // Before there is a blob, and with those that are there in the end.
    scene.backend.check().await.expect("it can be reached");
    bytes::what_was_put_comes_back(&scene).await;
    bytes::every_length_comes_back_whole_and_in_ranges(&scene).await;
    bytes::what_is_not_what_was_said_leaves_nothing(&scene).await;
    bytes::a_block_that_was_altered_on_its_way_is_refused(&scene).await;
    bytes::a_copy_is_another_blob_with_the_same_bytes(&scene).await;
    drops::a_dropped_put_leaves_all_or_nothing(&scene).await;
    drops::of_many_puts_under_one_name_one_wins(&scene).await;
    tenants::what_another_tenant_has_does_not_exist(&scene).await;
    lists::pages_have_each_blob_once_and_in_order(&scene).await;
    lists::a_kind_that_begins_another_does_not_list_it(&scene).await;
    lists::what_is_due_is_found_and_nothing_else(&scene).await;
    changes::what_is_kept_is_deleted_by_an_act_alone(&scene).await;
    changes::deletions_are_answered_one_by_one(&scene).await;
    changes::an_archived_blob_is_brought_back_before_it_is_read(&scene).await;
    changes::retention_is_extended_and_shortened_and_ended_by_events(&scene).await;
    changes::a_stale_state_changes_nothing(&scene).await;
    changes::a_tenant_is_erased_with_a_proof(&scene).await;
    scene.backend.check().await.expect("it can be reached");
}

/// Holds a backend to what it says of locks and legal holds: that it keeps them.
///
/// It leaves blobs behind that cannot be deleted for some minutes.
///
/// # Panics
///
/// If the backend breaks its contract; the message says in what.
pub async fn blob_lock_conformance(backend: Arc<dyn BlobBackend>) {
    let scene = Scene::new(backend);
    locks::a_lock_comes_with_a_receipt(&scene).await;
    locks::what_is_locked_is_neither_deleted_nor_shortened(&scene).await;
    locks::an_unlocked_lock_is_shortened_by_an_act_until_it_is_locked(&scene).await;
    locks::a_hold_keeps_whatever_else_is_said(&scene).await;
    locks::what_is_locked_or_held_outlives_an_erasure(&scene).await;
}

/// Holds a backend that goes by a clock which is handed in to what it says of time.
///
/// # Panics
///
/// If the backend breaks its contract; the message says in what.
pub async fn blob_clock_conformance(backend: Arc<dyn BlobBackend>, clock: &ManualClock) {
    let scene = Scene::new(backend);
    locks::a_lock_ends_exactly_at_its_end(&scene, clock).await;
    locks::nothing_ends_by_a_clock_that_was_set_back(&scene, clock).await;
}

/// Two tenants whose names differ in their last character alone, over one backend.
struct Scene {
    backend: Arc<dyn BlobBackend>,
    store: BlobStore,
    one: TenantBlobs,
    other: TenantBlobs,
}

impl Scene {
    fn new(backend: Arc<dyn BlobBackend>) -> Self {
        let store = BlobStore::new(Arc::clone(&backend));
        let (one, other) = neighbours();
        let context = RequestContext::new(Actor::new("user:17").expect("an actor"));
        Self {
            backend,
            one: store.tenant(one).with_context(context.clone()),
            other: store.tenant(other).with_context(context),
            store,
        }
    }

    /// Returns handles of two tenants that nobody has used yet.
    fn anew(&self) -> Self {
        Self::new(Arc::clone(&self.backend))
    }
}

fn neighbours() -> (TenantId, TenantId) {
    let base = Uuid::now_v7().as_u128() & !0xf;
    let tenant = |last| TenantId::from_u128(base | last).expect("a tenant");
    (tenant(1), tenant(0xa))
}

fn kind() -> BlobKind {
    kind_of("report-exports")
}

fn kind_of(name: &str) -> BlobKind {
    BlobKind::new(name).expect("a kind")
}

fn new_name(blobs: &TenantBlobs) -> BlobName {
    blobs.name(&kind()).expect("a name")
}

fn options(retention: Retention) -> PutOptions {
    PutOptions::new(Service::Reporting, retention)
}

async fn put(blobs: &TenantBlobs, retention: Retention, bytes: &'static str) -> BlobName {
    let name = new_name(blobs);
    stored(blobs, &name, retention, bytes).await;
    name
}

async fn stored(
    blobs: &TenantBlobs,
    name: &BlobName,
    retention: Retention,
    bytes: &'static str,
) -> StoredBlob {
    let stored = blobs.put_bytes(name, options(retention), bytes).await;
    stored.expect("a blob is put")
}

fn body(
    pieces: Vec<Result<Bytes>>,
) -> impl futures_util::Stream<Item = Result<Bytes>> + Send + 'static {
    stream::iter(pieces)
}

fn kind_of_failure<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[track_caller]
fn assert_fails<T>(result: Result<T>, kind: ErrorKind, what: &str) -> Error {
    match result {
        Ok(_) => panic!("{what}: it went well, and {kind} was expected"),
        Err(error) => {
            assert_eq!(error.kind(), kind, "{what}: {error:?}");
            error
        }
    }
}
