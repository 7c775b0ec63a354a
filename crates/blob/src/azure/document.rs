//! What is known of a blob, as its metadata and properties tell it.

use std::collections::{BTreeMap, HashMap};

use azure_core::time::OffsetDateTime;
use azure_storage_blob::models::{
    AccessTier, ArchiveStatus, BlobProperties, ImmutabilityPolicyMode,
    RehydratePriority as AzurePriority,
};
use chrono::{DateTime, TimeDelta, Utc};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use tenantry_core::{Actor, Error, ErrorKind, Result, Service, TraceParent};
use uuid::Uuid;

use super::LONGEST;
use crate::backend::{NewBlob, Seal};
use crate::integrity::Sha256;
use crate::name::BlobName;
use crate::record::{
    BlobEncryption, BlobRecord, ContentType, ETag, Metadata, RehydratePriority, Rehydration, Tags,
    Tier,
};
use crate::retention::{HoldTag, LegalHold, LockMode, RetentionState};
use crate::store::about;

/// The name of the metadata that is ours; what a service says stands beside it under its own names.
const RECORD: &str = "tenantry_record";
/// How much metadata Azure takes, names and values together.
const MOST: usize = 8 * 1024;
/// What stands for an empty value, which not every way keeps; no value has a control character.
const EMPTY: &str = "%00";
/// How long after its creation a move to a tier is that of the put itself.
const PUT: TimeDelta = TimeDelta::minutes(1);

/// The characters that may stand in a header but for a space at an end.
const IN_JSON: &AsciiSet = &CONTROLS.add(b'%');
const IN_VALUE: &AsciiSet = &IN_JSON.add(b' ');

/// What is kept of a blob in its metadata: whatever the service itself does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Document {
    pub(super) name: BlobName,
    length: u64,
    sha256: Sha256,
    #[serde(with = "crate::as_text")]
    owner: Service,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "crate::as_text::optional"
    )]
    trace: Option<TraceParent>,
    created_at: DateTime<Utc>,
    /// That it was put into.
    tier: Tier,
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    tags: Tags,
    /// As it was asked for; what the service keeps counts.
    pub(super) retention: RetentionState,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "crate::as_text::optional"
    )]
    encryption: Option<BlobEncryption>,
    /// By whom it was put: tells one's own from what another put under the same name.
    pub(super) upload: Uuid,
}

impl Document {
    pub(super) fn new(blob: &NewBlob, seal: Seal, upload: Uuid) -> Self {
        Self {
            name: blob.name.clone(),
            length: seal.length,
            sha256: seal.sha256,
            owner: blob.owner,
            trace: blob.trace,
            created_at: blob.created_at,
            tier: blob.tier,
            tags: blob.tags.clone(),
            retention: blob.retention.clone(),
            encryption: blob.encryption.clone(),
            upload,
        }
    }

    pub(super) fn with_encryption(&self, encryption: BlobEncryption) -> Self {
        Self {
            encryption: Some(encryption),
            ..self.clone()
        }
    }

    pub(super) fn with_retention(&self, retention: RetentionState) -> Self {
        Self {
            retention: RetentionState {
                locked_by_others: None,
                ..retention
            },
            ..self.clone()
        }
    }

    /// Returns whether the policy of the blob is its own: then it has the end that counts.
    pub(super) const fn has_lock(&self) -> bool {
        self.retention.lock.is_some()
    }

    /// Returns whether its own end has come by a time.
    pub(super) fn ends_by(&self, time: DateTime<Utc>) -> bool {
        self.retention.until.is_some_and(|end| end <= time)
    }

    /// Returns the metadata of a blob, with what its service says of it.
    pub(super) fn write(&self, metadata: &Metadata) -> Result<HashMap<String, String>> {
        let json = serde_json::to_string(self).map_err(|cause| {
            about(Error::new(ErrorKind::Unexpected, "write blob"), &self.name).with_source(cause)
        })?;
        let encoded = |value: &str| match value {
            "" => EMPTY.to_owned(),
            value => utf8_percent_encode(value, IN_VALUE).to_string(),
        };
        let mut all: HashMap<_, _> = metadata
            .iter()
            .map(|(name, value)| (name.to_owned(), encoded(value)))
            .collect();
        let json = utf8_percent_encode(&json, IN_JSON).to_string();
        all.insert(RECORD.to_owned(), json);
        let length: usize = all
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        match length > MOST {
            false => Ok(all),
            true => Err(about(
                Error::new(ErrorKind::InvalidInput, "write blob"),
                &self.name,
            )
            .with_detail(
                "Azure takes 8 KiB of metadata: say less of it, or give shorter reasons for holds",
            )),
        }
    }
}

/// What the service tells of a blob.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    pub(super) etag: String,
    pub(super) content_type: Option<String>,
    pub(super) metadata: HashMap<String, String>,
    pub(super) tier: Option<AccessTier>,
    pub(super) tier_changed_at: Option<DateTime<Utc>>,
    pub(super) created_at: Option<DateTime<Utc>>,
    pub(super) archive_status: Option<ArchiveStatus>,
    pub(super) priority: Option<AzurePriority>,
    pub(super) policy: Option<Policy>,
    pub(super) is_held: bool,
    pub(super) version: Option<String>,
}

/// A policy of immutability, as the service keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) until: DateTime<Utc>,
    pub(super) mode: LockMode,
}

impl Policy {
    pub(super) fn of(
        until: Option<OffsetDateTime>,
        mode: Option<ImmutabilityPolicyMode>,
    ) -> Option<Self> {
        let mode = match mode? {
            ImmutabilityPolicyMode::Locked => LockMode::Locked,
            ImmutabilityPolicyMode::Unlocked => LockMode::Unlocked,
            // It says that there is none.
            _ => return None,
        };
        let until = time(until?)?;
        Some(Self { until, mode })
    }
}

impl Told {
    pub(super) fn of_list(properties: BlobProperties, metadata: HashMap<String, String>) -> Self {
        Self {
            etag: properties
                .etag
                .map(|etag| bare(etag.as_ref()))
                .unwrap_or_default(),
            content_type: properties.content_type,
            metadata,
            tier: properties.access_tier,
            tier_changed_at: properties.access_tier_change_time.and_then(time),
            created_at: properties.creation_time.and_then(time),
            archive_status: properties.archive_status,
            priority: properties.rehydrate_priority,
            policy: Policy::of(
                properties.immutability_policy_expires_on,
                properties.immutability_policy_mode,
            ),
            is_held: properties.legal_hold.unwrap_or_default(),
            version: None,
        }
    }

    /// Reads what is known of a blob.
    pub(super) fn read(self, name: &BlobName) -> Result<Seen> {
        let corrupt = |detail| {
            Err(
                about(Error::new(ErrorKind::Corrupt, "read record of blob"), name)
                    .with_detail(detail),
            )
        };
        let Some(document) = document_of(&self.metadata) else {
            return corrupt("it was not put by Tenantry, or its metadata was changed by others");
        };
        if document.name != *name {
            return corrupt("its metadata are those of another blob: it was copied by others");
        }
        if document.length > LONGEST {
            return corrupt("its metadata were changed by others: no blob is so long");
        }
        let Some(metadata) = metadata_of(&self.metadata) else {
            return corrupt("its metadata were changed by others");
        };
        let content_type = self.content_type.as_deref().map(ContentType::new);
        let Some(Ok(content_type)) = content_type else {
            return corrupt("its content type was changed by others");
        };
        let tier = tier_of(self.tier.as_ref());
        let record = BlobRecord {
            name: document.name.clone(),
            length: document.length,
            sha256: document.sha256,
            content_type,
            metadata,
            tags: document.tags.clone(),
            owner: document.owner,
            trace: document.trace,
            created_at: document.created_at,
            tier,
            tier_changed_at: self.moved_at(&document, tier),
            brought_back_at: self.moved_at(&document, tier),
            rehydration: self.rehydration(),
            retention: self.retention(&document),
            encryption: document.encryption.clone(),
            etag: self.state(),
        };
        Ok(Seen {
            record,
            document,
            told: self,
        })
    }

    /// Returns what tells one state from another: the service's own tag stands for the bytes and the
    /// metadata alone.
    fn state(&self) -> ETag {
        let tier = tier_of(self.tier.as_ref());
        let way = self.rehydration().map_or("", |way| way.to.as_str());
        let lock = self.policy.map_or_else(String::new, |policy| {
            format!("{} {}", policy.mode, policy.until.timestamp())
        });
        let hold = if self.is_held { "held" } else { "" };
        ETag::new(format!("{};{tier};{way};{lock};{hold}", self.etag))
    }

    fn moved_at(&self, document: &Document, tier: Tier) -> Option<DateTime<Utc>> {
        let moved_at = self.tier_changed_at?;
        let by_put = self
            .created_at
            .is_none_or(|created| moved_at <= created + PUT);
        (tier != document.tier || !by_put).then_some(moved_at)
    }

    fn rehydration(&self) -> Option<Rehydration> {
        let to = match self.archive_status.as_ref()? {
            ArchiveStatus::RehydratePendingToCold => Tier::Cold,
            ArchiveStatus::RehydratePendingToCool => Tier::Cool,
            _ => Tier::Hot,
        };
        let priority = match self.priority {
            Some(AzurePriority::High) => RehydratePriority::High,
            _ => RehydratePriority::Standard,
        };
        Some(Rehydration {
            to,
            priority,
            ready_at: None,
        })
    }

    /// Returns what keeps the blob: of locks and holds, what the service keeps.
    ///
    /// A policy that others have set, as a container does by default, stands beside the blob's own end: the
    /// later counts, and it is a lock where that is the policy's. One that ends sooner and is locked
    /// keeps the blob from any early end.
    fn retention(&self, document: &Document) -> RetentionState {
        let mut retention = document.retention.clone();
        retention.lock = None;
        retention.locked_by_others = None;
        match self.policy {
            Some(policy) if document.has_lock() || document.ends_by(policy.until) => {
                retention.lock = Some(policy.mode);
                retention.until = Some(policy.until);
            }
            Some(policy) if policy.mode == LockMode::Locked => {
                retention.locked_by_others = Some(policy.until);
            }
            _ => {}
        }
        if !self.is_held {
            retention.holds.clear();
        } else if retention.holds.is_empty() {
            retention.holds.extend(unknown_hold(document.created_at));
        }
        retention
    }
}

/// A blob as it was seen.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) record: BlobRecord,
    pub(super) document: Document,
    pub(super) told: Told,
}

/// Returns a hold of which the service knows that there is one, and no more: it was placed on what was
/// locked already, whose metadata nobody writes, or past Tenantry.
fn unknown_hold(at: DateTime<Utc>) -> Option<LegalHold> {
    Some(LegalHold {
        tag: HoldTag::new("azure").ok()?,
        reason: "the service keeps a legal hold of which no more is known".to_owned(),
        by: Actor::system(),
        at,
    })
}

fn document_of(metadata: &HashMap<String, String>) -> Option<Document> {
    let json = decoded(metadata.get(RECORD)?)?;
    serde_json::from_str(&json).ok()
}

fn metadata_of(metadata: &HashMap<String, String>) -> Option<Metadata> {
    let mut own = BTreeMap::new();
    for (name, value) in metadata.iter().filter(|(name, _)| *name != RECORD) {
        let value = match value.as_str() {
            EMPTY => String::new(),
            value => decoded(value)?,
        };
        own.insert(name.clone(), value);
    }
    own.try_into().ok()
}

fn decoded(value: &str) -> Option<String> {
    let text = percent_decode_str(value).decode_utf8().ok()?;
    Some(text.into_owned())
}

pub(super) fn time(time: OffsetDateTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.unix_timestamp(), 0)
}

/// Returns the tag without the quotes that stand around it in a header.
pub(super) fn bare(etag: &str) -> String {
    etag.trim_matches('"').to_owned()
}

/// Returns the service's own tag of a state, as a header has it.
pub(super) fn quoted(told: &Told) -> String {
    format!("\"{}\"", told.etag)
}

fn tier_of(tier: Option<&AccessTier>) -> Tier {
    match tier {
        Some(AccessTier::Archive) => Tier::Archive,
        Some(AccessTier::Cold) => Tier::Cold,
        Some(AccessTier::Cool) => Tier::Cool,
        _ => Tier::Hot,
    }
}

pub(super) const fn azure_tier(tier: Tier) -> AccessTier {
    match tier {
        Tier::Hot => AccessTier::Hot,
        Tier::Cool => AccessTier::Cool,
        Tier::Cold => AccessTier::Cold,
        Tier::Archive => AccessTier::Archive,
    }
}
