//! The backend does what every backend must do, in both layouts.

use tenantry_blob::conformance::blob_backend_conformance;
use tenantry_testkit::AzuriteServer;

use super::{layouts, open, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_for_each_tenant_conforms() {
    let server = AzuriteServer::shared().await.unwrap();
    let [layout, _] = layouts();
    blob_backend_conformance(open(settings(server.url(), server, layout))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prefix_for_each_tenant_conforms() {
    let server = AzuriteServer::shared().await.unwrap();
    let [_, layout] = layouts();
    blob_backend_conformance(open(settings(server.url(), server, layout))).await;
}
