//! Without the feature `zstd`, bytes stay as they are.

use super::Damage;

pub(super) const fn compress(_bytes: &[u8]) -> Option<Vec<u8>> {
    None
}

pub(super) const fn decompress(_bytes: &[u8], _most: usize) -> Result<Vec<u8>, Damage> {
    Err(Damage::Foreign)
}
