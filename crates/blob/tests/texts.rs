//! What stands in texts that go to a log.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::sync::Arc;

use tenantry_blob::{BlobKind, BlobStore, MemoryBlobs, Metadata, PutOptions, Retention, Tags};
use tenantry_core::{Service, TenantId};

const CANARY: &str = "canary4711";

#[tokio::test]
async fn no_byte_and_no_value_of_a_blob_is_in_what_is_shown_of_it() {
    let store = BlobStore::new(Arc::new(MemoryBlobs::new()));
    for tenant in [TenantId::generate(), TenantId::generate()] {
        let blobs = store.tenant(tenant);
        let name = blobs.name(&BlobKind::new("letters").unwrap()).unwrap();
        let options = PutOptions::new(Service::Notification, Retention::days(1))
            .with_metadata(Metadata::new().with("patient", CANARY).unwrap())
            .with_tags(Tags::new().with("ward", CANARY).unwrap());
        let shown = format!("{options:?}");
        assert!(
            shown.contains("patient") && !shown.contains(CANARY),
            "{shown}"
        );
        blobs.put_bytes(&name, options, CANARY).await.unwrap();
        let stored = blobs.get(&name).await.unwrap();
        assert_eq!(stored.bytes, CANARY);
        let shown = format!("{stored:?}");
        assert!(shown.contains("ward") && !shown.contains(CANARY), "{shown}");
        // As bytes are shown elsewhere.
        assert!(
            !shown.contains(&format!("{:?}", CANARY.as_bytes())),
            "{shown}"
        );
    }
}
