//! What is set on the account, and on its service for blobs.

use azure_core::http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tenantry_core::{ErrorKind, Result};

use super::container::Switch;
use super::refusal::Operation;
use super::{Call, StorageManagement, part};

const SERVICE: &str = "/blobServices/default";

/// What is set on an account.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccountState {
    /// Such as `StorageV2`.
    pub kind: String,
    /// Such as `Standard_GRS`.
    pub sku: String,
    /// Whether it has folders, with which no blob is locked by itself and none has tags.
    pub is_hierarchical: bool,
    /// Whether its keys open it, past all roles.
    pub takes_shared_keys: bool,
    /// Whether its containers may be public.
    pub may_be_public: bool,
    /// Whether it takes connections without TLS.
    pub takes_http: bool,
}

/// What is set on the service for blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobServiceState {
    /// Whether what is replaced or deleted becomes a version.
    pub has_versions: bool,
    /// For how many days deleted blobs can be brought back.
    pub deleted_blobs_days: Option<u32>,
    /// For how many days deleted containers can be brought back.
    pub deleted_containers_days: Option<u32>,
    /// Whether it keeps track of accesses.
    pub tracks_access: bool,
}

/// What is to be set on the service for blobs; what is not said stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlobServiceChange {
    versions: Option<bool>,
    deleted_blobs_days: Option<u32>,
    deleted_containers_days: Option<u32>,
    tracks_access: Option<bool>,
}

impl BlobServiceChange {
    /// Returns nothing to be set.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            versions: None,
            deleted_blobs_days: None,
            deleted_containers_days: None,
            tracks_access: None,
        }
    }

    /// Keeps versions, or no longer does.
    #[must_use]
    pub const fn with_versions(mut self, versions: bool) -> Self {
        self.versions = Some(versions);
        self
    }

    /// Lets deleted blobs be brought back for 1 to 365 days: until then an erased tenant is not gone.
    #[must_use]
    pub const fn with_deleted_blobs_days(mut self, days: u32) -> Self {
        self.deleted_blobs_days = Some(days);
        self
    }

    /// Lets deleted containers be brought back for 1 to 365 days.
    #[must_use]
    pub const fn with_deleted_containers_days(mut self, days: u32) -> Self {
        self.deleted_containers_days = Some(days);
        self
    }

    /// Keeps track of accesses, or no longer does; each costs an operation a day and blob.
    #[must_use]
    pub const fn with_access_tracking(mut self, tracks: bool) -> Self {
        self.tracks_access = Some(tracks);
        self
    }

    fn apply(&self, properties: &mut Value) {
        if let Some(versions) = self.versions {
            properties["isVersioningEnabled"] = json!(versions);
        }
        for (name, days) in [
            ("deleteRetentionPolicy", self.deleted_blobs_days),
            (
                "containerDeleteRetentionPolicy",
                self.deleted_containers_days,
            ),
        ] {
            if let Some(days) = days {
                if !properties[name].is_object() {
                    properties[name] = json!({});
                }
                properties[name]["enabled"] = json!(true);
                properties[name]["days"] = json!(days);
            }
        }
        if let Some(tracks) = self.tracks_access {
            properties["lastAccessTimeTrackingPolicy"] = match tracks {
                true => json!({
                    "enable": true,
                    "name": "AccessTimeTracking",
                    "trackingGranularityInDays": 1,
                    "blobType": ["blockBlob"],
                }),
                false => json!({ "enable": false }),
            };
        }
    }
}

#[derive(Deserialize)]
struct Account {
    kind: String,
    sku: Sku,
    #[serde(default)]
    properties: AccountProperties,
}

#[derive(Deserialize)]
struct Sku {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AccountProperties {
    is_hns_enabled: Option<bool>,
    allow_shared_key_access: Option<bool>,
    allow_blob_public_access: Option<bool>,
    supports_https_traffic_only: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    is_versioning_enabled: Option<bool>,
    delete_retention_policy: Option<Days>,
    container_delete_retention_policy: Option<Days>,
    last_access_time_tracking_policy: Option<Tracking>,
}

#[derive(Deserialize)]
struct Days {
    #[serde(flatten)]
    switch: Switch,
    days: Option<u32>,
}

#[derive(Deserialize)]
struct Tracking {
    enable: Option<bool>,
}

impl BlobServiceState {
    fn read(operation: &Operation, answer: &Value) -> Result<Self> {
        let properties: Properties = part(operation, &answer["properties"])?;
        let days = |policy: Option<Days>| {
            policy
                .filter(|policy| policy.switch.enabled == Some(true))
                .and_then(|policy| policy.days)
        };
        let tracking = properties.last_access_time_tracking_policy;
        Ok(Self {
            has_versions: properties.is_versioning_enabled == Some(true),
            deleted_blobs_days: days(properties.delete_retention_policy),
            deleted_containers_days: days(properties.container_delete_retention_policy),
            tracks_access: tracking.is_some_and(|it| it.enable == Some(true)),
        })
    }
}

/// The account, and its service for blobs.
impl StorageManagement {
    /// Returns what is set on the account.
    ///
    /// # Errors
    ///
    /// [Those of all](StorageManagement#errors).
    pub async fn account_state(&self) -> Result<AccountState> {
        let operation = self.reading("read storage account", "");
        let Account {
            kind,
            sku,
            properties,
        } = part(&operation, &self.get(&operation, "").await?)?;
        Ok(AccountState {
            kind,
            sku: sku.name,
            is_hierarchical: properties.is_hns_enabled == Some(true),
            // What is not said is allowed.
            takes_shared_keys: properties.allow_shared_key_access != Some(false),
            may_be_public: properties.allow_blob_public_access == Some(true),
            takes_http: properties.supports_https_traffic_only == Some(false),
        })
    }

    /// Returns what is set on the service for blobs.
    ///
    /// # Errors
    ///
    /// [Those of all](StorageManagement#errors).
    pub async fn service_state(&self) -> Result<BlobServiceState> {
        let operation = self.reading("read blob service", "");
        let answer = self.get(&operation, SERVICE).await?;
        BlobServiceState::read(&operation, &answer)
    }

    /// Sets something on the service for blobs, and leaves the rest as it is.
    ///
    /// The service takes all properties at once and no condition: what another sets at the same moment may
    /// be lost.
    ///
    /// # Errors
    ///
    /// [Those of all](StorageManagement#errors), and [`InvalidInput`](ErrorKind::InvalidInput) for days
    /// that are not 1 to 365.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done or it is not, and may be called again.
    pub async fn service_change(&self, change: &BlobServiceChange) -> Result<BlobServiceState> {
        let operation = self.writing("set blob service", "");
        let days = [change.deleted_blobs_days, change.deleted_containers_days];
        if days.iter().flatten().any(|days| !(1..=365).contains(days)) {
            return Err(operation.failed(ErrorKind::InvalidInput, "expected 1 to 365 days"));
        }
        let reading = self.reading(operation.name, "");
        let mut found = self.get(&reading, SERVICE).await?;
        let mut properties = found["properties"].take();
        if !properties.is_object() {
            return Err(reading.misread());
        }
        change.apply(&mut properties);
        let call = Call::new(Method::Put, SERVICE).with_body(json!({ "properties": properties }));
        let answer = self.call(&operation, call).await?.model(&operation)?;
        BlobServiceState::read(&operation, &answer)
    }
}
