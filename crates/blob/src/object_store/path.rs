//! Which paths are names, and which are none.

use ::object_store::path::Path;
use ::object_store::{Error as StoreError, Result as StoreResult};
use tenantry_core::{Error, ErrorKind, TenantId};

use super::told;
use crate::name::{BlobKind, BlobName};
use crate::store::ListOptions;

const EXPECTED: &str = "no blob is called so: expected <kind>/<yyyy>/<mm>/<id>, a free one of which \
                        `TenantObjectStore::path` gives";

/// Returns the name that a path is, of this tenant: whatever stands in it, it is none of another's.
pub(super) fn name_of(tenant: TenantId, path: &Path) -> Option<BlobName> {
    format!("{tenant}/{path}").parse().ok()
}

/// Returns the path of a name within its tenant.
pub(super) fn path_of(name: &BlobName) -> Path {
    // Of its characters none is written otherwise in a path.
    Path::from(name.within_tenant())
}

/// Returns the name of a blob that is to be there.
pub(super) fn existing(tenant: TenantId, path: &Path) -> StoreResult<BlobName> {
    name_of(tenant, path).ok_or_else(|| StoreError::NotFound {
        path: path.to_string(),
        source: Box::new(Error::new(ErrorKind::NotFound, "look up blob").with_detail(EXPECTED)),
    })
}

/// Returns the name of a blob that is to be put.
pub(super) fn new(tenant: TenantId, path: &Path) -> StoreResult<BlobName> {
    name_of(tenant, path).ok_or_else(|| {
        let error = Error::new(ErrorKind::Unsupported, "put blob").with_detail(EXPECTED);
        told(path, error)
    })
}

/// Returns what is to be listed to find all that lies under a prefix, and maybe more; nothing where
/// nothing can.
pub(super) fn listing(prefix: Option<&Path>) -> Option<ListOptions> {
    let options = ListOptions::new().with_limit(PAGE);
    let mut parts = prefix.into_iter().flat_map(Path::parts);
    let Some(kind) = parts.next() else {
        return Some(options);
    };
    let options = options.with_kind(&BlobKind::new(kind.as_ref()).ok()?);
    let month = (
        parts.next().and_then(|year| number(year.as_ref(), 4)),
        parts.next().and_then(|month| number(month.as_ref(), 2)),
    );
    match month {
        (Some(year), Some(month @ 1..=12)) => {
            Some(options.with_month(year, u8::try_from(month).ok()?))
        }
        // A prefix that is another text matches no name, however long the list is.
        _ => Some(options),
    }
}

/// How many records are read at once.
const PAGE: usize = 1_000;

fn number(part: &str, digits: usize) -> Option<u16> {
    let is_number = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| part.parse().ok())?
}
