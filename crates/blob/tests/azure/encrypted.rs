//! The same with each tenant's bytes encrypted before they leave.

use std::sync::Arc;

use tenantry_blob::conformance::blob_backend_conformance;
use tenantry_blob::{BlobBackend, BlobKind, BlobStore, EncryptedBlobs, PutOptions, Retention};
use tenantry_core::{ErrorKind, Service, TenantId};
use tenantry_testkit::AzuriteServer;

use super::support::tenant_keys;
use super::{layouts, open, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encrypted_azure_conforms() {
    let server = AzuriteServer::shared().await.unwrap();
    let [layout, _] = layouts();
    let inner = open(settings(server.url(), server, layout));
    let (keys, secrets) = tenant_keys();
    blob_backend_conformance(Arc::new(EncryptedBlobs::new(inner, keys, secrets))).await;
}

/// What opens a blob is said otherwise where nobody else was quicker, and what is there stays readable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_a_blob_is_encrypted_is_said_otherwise_once() {
    let server = AzuriteServer::shared().await.unwrap();
    let [layout, _] = layouts();
    let inner = open(settings(server.url(), server, layout));
    let (keys, secrets) = tenant_keys();
    let outer = EncryptedBlobs::new(Arc::clone(&inner) as Arc<dyn BlobBackend>, keys, secrets);
    let store = BlobStore::new(Arc::new(outer));
    for tenant in [TenantId::generate(), TenantId::generate()] {
        let blobs = store.tenant(tenant);
        let name = blobs
            .name(&BlobKind::new("report-exports").unwrap())
            .unwrap();
        let options = PutOptions::new(Service::Reporting, Retention::days(1));
        blobs.put_bytes(&name, options, "id,total\n").await.unwrap();
        let before = inner.head(&name).await.unwrap();
        let encryption = before.encryption.clone().unwrap();
        let after = inner
            .set_encryption(&name, &before.etag, &encryption)
            .await
            .unwrap();
        assert_ne!(after.etag, before.etag);
        assert_eq!(after.encryption, before.encryption);
        let stale = inner.set_encryption(&name, &before.etag, &encryption).await;
        assert_eq!(stale.unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(blobs.get(&name).await.unwrap().bytes, "id,total\n");
    }
}
