//! Blobs in Azurite, and in Azurite behind a front that keeps locks and breaks on purpose.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod access;
mod conformance;
#[cfg(feature = "encryption")]
mod encrypted;
mod faults;
mod lists;
mod locks;
#[cfg(feature = "encryption")]
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use tenantry_blob::{AzureBlobs, AzureCredential, AzureLayout, AzureSettings};
use tenantry_core::Secret;
use tenantry_testkit::AzuriteServer;
use uuid::Uuid;

/// Returns the settings of an account, with a layout that nobody else uses.
fn settings(url: &str, server: &AzuriteServer, layout: AzureLayout) -> AzureSettings {
    let key = AzureCredential::shared_key(Secret::new(server.key()));
    AzureSettings::new(url, layout, key)
}

/// Returns both layouts, under names that nobody else uses.
fn layouts() -> [AzureLayout; 2] {
    let id = Uuid::new_v4().simple().to_string();
    [
        AzureLayout::container_per_tenant(&format!("t{}", &id[..8])).unwrap(),
        AzureLayout::prefix_per_tenant(&format!("all-{id}")).unwrap(),
    ]
}

fn open(settings: AzureSettings) -> Arc<AzureBlobs> {
    Arc::new(AzureBlobs::new(settings).unwrap())
}
