//! Blobs in Azurite, and in Azurite behind a front that keeps locks and breaks on purpose.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod access;
mod account;
mod answers;
mod conformance;
#[cfg(feature = "encryption")]
mod encrypted;
mod faults;
mod lists;
mod locks;
mod others;
mod races;
mod stall;
#[cfg(feature = "encryption")]
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use azure_core::time::OffsetDateTime;
use azure_storage_blob::BlobClient;
use azure_storage_blob::models::{BlobClientSetImmutabilityPolicyOptions, ImmutabilityPolicyMode};
use chrono::{DateTime, Utc};
use tenantry_blob::{AzureBlobs, AzureCredential, AzureLayout, AzureSettings, BlobName};
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

/// Returns what another program has of a blob, where the names of all tenants lie in one container.
fn official(
    url: &str,
    server: &AzuriteServer,
    layout: &AzureLayout,
    name: &BlobName,
) -> BlobClient {
    let client = AzureBlobs::official_client(&settings(url, server, layout.clone())).unwrap();
    client.blob_client(&layout.container_of(name.tenant()), name.as_str())
}

/// Sets an unlocked policy, as another program does.
async fn set_policy(official: &BlobClient, end: DateTime<Utc>) {
    set_policy_of(ImmutabilityPolicyMode::Unlocked, official, end).await;
}

async fn set_policy_of(mode: ImmutabilityPolicyMode, official: &BlobClient, end: DateTime<Utc>) {
    let options = BlobClientSetImmutabilityPolicyOptions {
        immutability_policy_mode: Some(mode),
        ..BlobClientSetImmutabilityPolicyOptions::default()
    };
    let end = OffsetDateTime::from_unix_timestamp(end.timestamp()).unwrap();
    official
        .set_immutability_policy(&end, Some(options))
        .await
        .unwrap();
}
