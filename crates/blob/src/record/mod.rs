//! What is known of a blob beside its bytes.

mod attributes;
mod encryption;
mod tier;

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tenantry_core::{Service, TraceParent};

#[cfg(any(feature = "azure", feature = "lifecycle"))]
pub(crate) use self::attributes::{CLASS_TAG, KIND_TAG};
pub use self::attributes::{ContentType, Metadata, Tags};
#[cfg(feature = "encryption")]
pub(crate) use self::encryption::opened_length;
pub use self::encryption::{BlobEncryption, KeyState};
pub use self::tier::{RehydratePriority, Rehydration, Tier};
use crate::integrity::Sha256;
use crate::name::BlobName;
use crate::retention::RetentionState;

/// Tells one state of a blob from another: whatever changes it, changes this.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ETag(String);

impl ETag {
    /// Returns the tag as its backend writes it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What is known of a blob beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRecord {
    /// Its name, which holds its tenant.
    pub name: BlobName,
    /// How many bytes it has.
    pub length: u64,
    /// The digest of its bytes, taken when they were put.
    pub sha256: Sha256,
    /// What its bytes are.
    pub content_type: ContentType,
    /// What the service has said of it.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    /// What it is found by on the side of the storage service.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// The service that it belongs to.
    #[serde(with = "crate::as_text")]
    pub owner: Service,
    /// The trace in which it was put.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "crate::as_text::optional"
    )]
    pub trace: Option<TraceParent>,
    /// When it was put.
    pub created_at: DateTime<Utc>,
    /// How quickly it can be read.
    pub tier: Tier,
    /// When it was last moved to a tier, if it ever was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier_changed_at: Option<DateTime<Utc>>,
    /// When it came back from the archive tier, if it ever did: it is not sent there again by its retention.
    ///
    /// A service that does not tell one move from another tells of the last, as Azure does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brought_back_at: Option<DateTime<Utc>>,
    /// Where it is being brought back to, while it cannot be read yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehydration: Option<Rehydration>,
    /// What keeps it.
    pub retention: RetentionState,
    /// How its bytes are encrypted by the process that puts them, where they are.
    ///
    /// Length and digest are those of the bytes before that, as far as the key is
    /// [at hand](BlobEncryption::state).
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "crate::as_text::optional"
    )]
    pub encryption: Option<BlobEncryption>,
    /// Its state.
    pub etag: ETag,
}

impl BlobRecord {
    /// Returns whether its bytes can be read now.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.tier != Tier::Archive
    }

    /// Returns whether its digest is that of the bytes that were put: not where they are encrypted, and
    /// their key is lost.
    #[must_use]
    pub fn shows_digest(&self) -> bool {
        let is_shown = |it: &BlobEncryption| it.state() == KeyState::Opened;
        self.encryption.as_ref().is_none_or(is_shown)
    }

    /// Returns how many bytes were put: of encrypted ones there are more, and they tell how many.
    pub(crate) fn length_as_put(&self) -> u64 {
        let opened = self.encryption.as_ref().map(|it| it.length_of(self.length));
        opened.unwrap_or(self.length)
    }

    /// Returns what it is at a time at which an archived blob may have come back.
    #[must_use]
    pub(crate) fn settled_at(mut self, now: DateTime<Utc>) -> Self {
        if let Some(back) = self.rehydration
            && back.ready_at.is_some_and(|ready| ready <= now)
        {
            self.tier = back.to;
            self.tier_changed_at = back.ready_at;
            self.brought_back_at = back.ready_at;
            self.rehydration = None;
        }
        self
    }
}
