//! What is said of an object, and of a blob.

use ::object_store::{Attribute, Attributes, Error as StoreError, Result as StoreResult, TagSet};
use tenantry_core::{Error, Result};
use url::form_urlencoded;

use super::IMPLEMENTER;
use crate::record::{BlobRecord, Metadata, Tags, Tier};
use crate::store::PutOptions;

/// Returns what a service says of every blob, with what is said of this one.
///
/// The second error is that of a text that no blob can have; the first of what has no place here.
pub(super) fn options_of(
    options: &PutOptions,
    attributes: &Attributes,
    tags: &TagSet,
) -> StoreResult<Result<PutOptions>> {
    if let Some(other) = attributes.iter().map(|(name, _)| name).find(has_no_place) {
        return Err(StoreError::NotImplemented {
            operation: format!("put with {other:?}: say it in the metadata"),
            implementer: IMPLEMENTER.to_owned(),
        });
    }
    Ok(with_all(options.clone(), attributes, tags))
}

const fn has_no_place(attribute: &&Attribute) -> bool {
    !matches!(
        attribute,
        Attribute::ContentType | Attribute::StorageClass | Attribute::Metadata(_)
    )
}

fn with_all(mut options: PutOptions, attributes: &Attributes, tags: &TagSet) -> Result<PutOptions> {
    let mut metadata = options.metadata().clone();
    for (attribute, value) in attributes {
        match attribute {
            Attribute::ContentType => options = options.with_content_type(value)?,
            Attribute::StorageClass => options = options.with_tier(tier_of(value)?),
            Attribute::Metadata(name) => metadata = metadata.with(&**name, &**value)?,
            _ => {}
        }
    }
    let mut all: Tags = options.tags().clone();
    for (name, value) in form_urlencoded::parse(tags.encoded().as_bytes()) {
        all = all.with(name, value)?;
    }
    Ok(options.with_metadata(metadata).with_tags(all))
}

/// Returns what is known of a blob beside what an `ObjectMeta` has.
pub(super) fn attributes_of(record: &BlobRecord) -> Attributes {
    let mut attributes = Attributes::new();
    let content_type = record.content_type.as_str().to_owned();
    attributes.insert(Attribute::ContentType, content_type.into());
    if record.tier != Tier::Hot {
        attributes.insert(Attribute::StorageClass, record.tier.as_str().into());
    }
    let metadata: &Metadata = &record.metadata;
    for (name, value) in metadata.iter() {
        let name = Attribute::Metadata(name.to_owned().into());
        attributes.insert(name, value.to_owned().into());
    }
    attributes
}

fn tier_of(text: &str) -> Result<Tier> {
    [Tier::Hot, Tier::Cool, Tier::Cold, Tier::Archive]
        .into_iter()
        .find(|tier| tier.as_str().eq_ignore_ascii_case(text))
        .ok_or_else(|| {
            Error::new(tenantry_core::ErrorKind::InvalidInput, "put blob")
                .with_detail("expected hot, cool, cold or archive as storage class")
        })
}
