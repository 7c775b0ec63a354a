//! Bytes that take less room.

use super::Damage;

/// The fastest that gives something: each level above takes longer for a few bytes less.
const LEVEL: i32 = 1;

/// Returns bytes in a shorter form, where there is one.
pub(super) fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    let shorter = zstd::bulk::compress(bytes, LEVEL).ok()?;
    (shorter.len() < bytes.len()).then_some(shorter)
}

/// Returns what was compressed, unless that is more than so much: before any of it is there.
pub(super) fn decompress(bytes: &[u8], most: usize) -> Result<Vec<u8>, Damage> {
    // How long it is stands in all that is written here.
    let length = zstd::decompressed_size(bytes).ok_or(Damage::Unreadable)?;
    let length = usize::try_from(length).map_err(|_| Damage::Oversized)?;
    if length > most {
        return Err(Damage::Oversized);
    }
    // One that says less than it is is told by the same.
    zstd::bulk::decompress(bytes, length).map_err(|_| Damage::Unreadable)
}
