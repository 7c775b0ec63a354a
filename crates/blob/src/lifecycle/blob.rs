//! What a policy looks at in a blob.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::layout::LifecycleLayout;
use super::rule::{BlobPart, CLASS_TAG, KIND_TAG};
use crate::record::{BlobRecord, Tier};
use crate::retention::RetentionState;

/// What a policy looks at in a blob, a version or a snapshot, and what keeps it.
///
/// # Examples
///
/// ```
/// use tenantry_blob::{LifecycleBlob, Tier};
///
/// let created_at = "2026-01-01T00:00:00Z".parse()?;
/// let mut blob = LifecycleBlob::new("imports/2026/a.csv", created_at);
/// blob.tier = Tier::Cool;
/// # Ok::<(), chrono::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LifecycleBlob {
    /// Its container and its name, with a slash between them.
    pub path: String,
    /// What of the blob it is.
    pub part: BlobPart,
    /// How many bytes it has.
    pub length: u64,
    /// The tags that the storage service finds it by.
    pub tags: BTreeMap<String, String>,
    /// When it was put.
    pub created_at: DateTime<Utc>,
    /// When it or its metadata was last changed.
    pub modified_at: DateTime<Utc>,
    /// When it was last read or written, where the account keeps track of it.
    pub accessed_at: Option<DateTime<Utc>>,
    /// Its tier.
    pub tier: Tier,
    /// When it was last moved to a tier, if it ever was.
    pub tier_changed_at: Option<DateTime<Utc>>,
    /// What keeps it, where that is known.
    pub retention: Option<RetentionState>,
    /// Whether a policy of immutability is on its container, out of which no rule deletes.
    pub is_in_immutable_container: bool,
    /// Whether it is encrypted by a scope: then no rule archives it.
    pub is_scoped: bool,
}

impl LifecycleBlob {
    /// Returns a blob in the hot tier that was put then, without tags, and kept by nothing.
    #[must_use]
    pub fn new(path: impl Into<String>, created_at: DateTime<Utc>) -> Self {
        Self {
            path: path.into(),
            part: BlobPart::Base,
            length: 0,
            tags: BTreeMap::new(),
            created_at,
            modified_at: created_at,
            accessed_at: None,
            tier: Tier::Hot,
            tier_changed_at: None,
            retention: None,
            is_in_immutable_container: false,
            is_scoped: false,
        }
    }

    /// Returns the blob of a record, with its class and its kind among its tags.
    ///
    /// A record does not tell when its metadata was last changed: the creation stands for it, which is
    /// the soonest.
    #[must_use]
    pub fn from_record(record: &BlobRecord, layout: &LifecycleLayout) -> Self {
        let of_service = record.tags.iter();
        let mut tags: BTreeMap<_, _> = of_service
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        tags.insert(CLASS_TAG.to_owned(), record.retention.class.clone());
        tags.insert(KIND_TAG.to_owned(), record.name.kind().as_str().to_owned());
        Self {
            length: record.length,
            tags,
            tier: record.tier,
            tier_changed_at: record.tier_changed_at,
            retention: Some(record.retention.clone()),
            ..Self::new(layout.path(&record.name), record.created_at)
        }
    }
}
