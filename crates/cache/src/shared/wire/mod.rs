//! How a value is written where others read it.

#[cfg(feature = "zstd")]
mod compression;
#[cfg(not(feature = "zstd"))]
#[path = "no_compression.rs"]
mod compression;
mod format;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::format::Format;
use super::Slot;

/// The first bytes of every value: the layout below, in its first version.
const MAGIC: [u8; 4] = *b"TnC1";

/// That there is no value.
const ABSENT: u8 = 0b0000_0001;
/// That the value is compressed, by zstd.
const COMPRESSED: u8 = 0b0000_0010;
/// Of what nothing is known yet.
const UNKNOWN: u8 = 0b0000_1100;
/// By how many bits the number of the format is moved up.
const FORMAT: u8 = 4;

/// How values are written, and up to which size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Encoding {
    pub(crate) format: Format,
    /// Compressed is what is larger.
    pub(crate) compress_above: usize,
    /// The most bytes of a value, before it is compressed and after that is undone.
    pub(crate) most: usize,
}

impl Default for Encoding {
    fn default() -> Self {
        Self {
            format: Format::Postcard,
            compress_above: 2 * 1024,
            most: 1024 * 1024,
        }
    }
}

/// What is wrong with bytes that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// They are no value of a cache, cut or altered.
    Unreadable,
    /// They are a value, and of something else than they were kept under.
    Misplaced,
    /// They are a value, and a larger one than is taken.
    Oversized,
    /// They may be a value for others: of another version, format or type.
    Foreign,
}

/// Why a value is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unwritten {
    /// It is larger than allowed, by its bytes.
    Oversized(usize),
    /// The format has no way to write it.
    Unwritable,
}

/// A value that was written, before it is one again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Written<'b> {
    /// The value itself; nothing if it says that there is none.
    value: Option<&'b [u8]>,
    flags: u8,
    /// How long it took to load.
    pub(crate) took: Duration,
}

/// Writes a value: magic, flags, how long it took to load in milliseconds, schema, tenant, kind, key,
/// the value, and a checksum of all that. Returns also how many bytes the value itself has.
///
/// Numbers are big-endian; kind and key come after their lengths. Who is who stands in it, so that a
/// value which comes to lie under another key is not taken for what belongs there.
pub(crate) fn write<T: Serialize>(
    slot: &Slot,
    value: Option<&T>,
    took: Duration,
    encoding: Encoding,
) -> Result<(Vec<u8>, usize), Unwritten> {
    let (mut flags, mut length, mut written) = (ABSENT, 0, Vec::new());
    if let Some(value) = value {
        let format = encoding.format;
        written = format.write(value).ok_or(Unwritten::Unwritable)?;
        (flags, length) = (format.number() << FORMAT, written.len());
    }
    if length > encoding.most {
        return Err(Unwritten::Oversized(length));
    }
    if length > encoding.compress_above
        && let Some(shorter) = compression::compress(&written)
    {
        (flags, written) = (flags | COMPRESSED, shorter);
    }
    let identity = identity(slot);
    let mut bytes = Vec::with_capacity(16 + identity.len() + written.len());
    bytes.extend(MAGIC);
    bytes.push(flags);
    let took = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
    bytes.extend(took.to_be_bytes());
    bytes.extend(identity);
    bytes.extend(written);
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    Ok((bytes, length))
}

/// Reads what was written for a slot.
pub(crate) fn read<'b>(slot: &Slot, bytes: &'b [u8]) -> Result<Written<'b>, Damage> {
    let (body, sum) = bytes.split_last_chunk::<4>().ok_or(Damage::Unreadable)?;
    if crc32fast::hash(body).to_be_bytes() != *sum {
        return Err(Damage::Unreadable);
    }
    let (magic, rest) = body.split_first_chunk::<4>().ok_or(Damage::Unreadable)?;
    let (flags, rest) = rest.split_first().ok_or(Damage::Unreadable)?;
    let (took, rest) = rest.split_first_chunk::<4>().ok_or(Damage::Unreadable)?;
    if magic[..3] != MAGIC[..3] {
        return Err(Damage::Unreadable);
    }
    if *magic != MAGIC || flags & UNKNOWN != 0 {
        return Err(Damage::Foreign);
    }
    let value = rest
        .strip_prefix(&*identity(slot))
        .ok_or(Damage::Misplaced)?;
    Ok(Written {
        value: (flags & ABSENT == 0).then_some(value),
        flags: *flags,
        took: Duration::from_millis(u32::from_be_bytes(*took).into()),
    })
}

impl Written<'_> {
    /// Returns the value, unless its bytes are of another type or too many; and how many they are.
    pub(crate) fn value<T: DeserializeOwned>(
        &self,
        most: usize,
    ) -> Result<(Option<T>, usize), Damage> {
        let Some(bytes) = self.value else {
            return Ok((None, 0));
        };
        let format = Format::of(self.flags >> FORMAT).ok_or(Damage::Foreign)?;
        let larger;
        let bytes = match self.flags & COMPRESSED {
            0 => bytes,
            _ => {
                larger = compression::decompress(bytes, most)?;
                &larger
            }
        };
        if bytes.len() > most {
            return Err(Damage::Oversized);
        }
        let value = format.read(bytes).ok_or(Damage::Foreign)?;
        Ok((Some(value), bytes.len()))
    }
}

fn identity(slot: &Slot) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32 + slot.kind.len() + slot.key.len());
    bytes.extend(slot.schema.to_be_bytes());
    bytes.extend(slot.tenant.as_uuid().as_bytes());
    for text in [&slot.kind, &slot.key] {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        bytes.extend(length.to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes
}
