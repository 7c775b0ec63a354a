//! What holds of one blob.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::LegalHold;
use crate::name::BlobName;
use crate::record::ETag;

/// How firmly the storage service keeps a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LockMode {
    /// Until the end, which can be moved in both directions.
    Unlocked,
    /// Until the end, which can only be moved away.
    Locked,
}

impl fmt::Display for LockMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unlocked => "unlocked",
            Self::Locked => "locked",
        })
    }
}

/// What keeps one blob, with all times worked out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionState {
    /// The name of its [`RetentionClass`](crate::RetentionClass).
    pub class: String,
    /// From when on it may be deleted; `None` as long as its event was not reported.
    pub until: Option<DateTime<Utc>>,
    /// How long it is kept after its event, where one was to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_event: Option<Duration>,
    /// Whether and how firmly the storage service keeps it until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockMode>,
    /// From when on it goes to the archive tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_at: Option<DateTime<Utc>>,
    /// Before which moment it may not be made to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<DateTime<Utc>>,
    /// After which moment it may not be made to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<DateTime<Utc>>,
    /// Until when it is locked by others as well, who have put a policy of immutability of their own on it,
    /// such as the default of a container in Azure: told by the service, and never stored.
    #[serde(skip)]
    pub locked_by_others: Option<DateTime<Utc>>,
    /// What keeps it beyond all that.
    ///
    /// A service that only knows whether there is a hold tells of one with a tag of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<LegalHold>,
}

/// Proves that the storage service keeps a blob: it was read back after the put.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetentionReceipt {
    /// The blob.
    pub name: BlobName,
    /// How firmly it is kept.
    pub mode: LockMode,
    /// Until when.
    pub until: DateTime<Utc>,
    /// Which state of the blob was read.
    pub etag: ETag,
    /// When it was read.
    pub verified_at: DateTime<Utc>,
}
