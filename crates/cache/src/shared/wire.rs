//! How a value is written where others read it.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Slot;

/// The first bytes of every value: the layout below, in its first version.
const MAGIC: [u8; 4] = *b"TnC1";
const ABSENT: u8 = 1;

/// What is wrong with bytes that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// They are no value of a cache, of another version, cut or altered.
    Unreadable,
    /// They are a value, and of something else than they were kept under.
    Misplaced,
}

/// A value that was written, before it is one again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Written<'b> {
    /// The value itself; nothing if it says that there is none.
    pub(crate) value: Option<&'b [u8]>,
    /// How long it took to load.
    pub(crate) took: Duration,
}

/// Writes a value: magic, flags, how long it took to load in milliseconds, schema, tenant, kind, key,
/// the value, and a checksum of all that.
///
/// Numbers are big-endian; kind and key come after their lengths. Who is who stands in it, so that a
/// value which comes to lie under another key is not taken for what belongs there.
pub(crate) fn write<T: Serialize>(
    slot: &Slot,
    value: Option<&T>,
    took: Duration,
) -> Result<Vec<u8>, postcard::Error> {
    let mut bytes = Vec::with_capacity(64 + slot.kind.len() + slot.key.len());
    bytes.extend(MAGIC);
    bytes.push(if value.is_some() { 0 } else { ABSENT });
    let took = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
    bytes.extend(took.to_be_bytes());
    bytes.extend(identity(slot));
    let mut bytes = match value {
        Some(value) => postcard::to_extend(value, bytes)?,
        None => bytes,
    };
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    Ok(bytes)
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
    if *magic != MAGIC || flags & !ABSENT != 0 {
        return Err(Damage::Unreadable);
    }
    let value = rest
        .strip_prefix(&*identity(slot))
        .ok_or(Damage::Misplaced)?;
    Ok(Written {
        value: (flags & ABSENT == 0).then_some(value),
        took: Duration::from_millis(u32::from_be_bytes(*took).into()),
    })
}

/// Returns a value that was written, unless its bytes are of another type.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Some(value),
        _ => None,
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

#[cfg(test)]
mod tests {
    use tenantry_core::TenantId;

    use super::*;

    fn slot() -> Slot {
        Slot {
            tenant: TenantId::from_u128(0x0190_b5a4_8f2e_7c3d_9a61_4f0e_5d2c_1b7a).unwrap(),
            kind: "name".into(),
            schema: 3,
            key: "7".into(),
            tags: Box::default(),
        }
    }

    fn read_back(slot: &Slot, bytes: &[u8]) -> Result<Option<String>, Damage> {
        let written = read(slot, bytes)?;
        Ok(written.value.map(|value| decode(value).unwrap()))
    }

    #[test]
    fn the_bytes_stay_what_they_are() {
        let ada = write(&slot(), Some(&"Ada"), Duration::from_millis(258)).unwrap();
        let expected: &[&[u8]] = &[
            b"TnC1\x00\x00\x00\x01\x02\x00\x00\x00\x03",
            &[
                0x01, 0x90, 0xb5, 0xa4, 0x8f, 0x2e, 0x7c, 0x3d, 0x9a, 0x61, 0x4f, 0x0e, 0x5d, 0x2c,
                0x1b, 0x7a,
            ],
            b"\x00\x00\x00\x04name\x00\x00\x00\x017\x03Ada",
        ];
        let (body, sum) = ada.split_last_chunk::<4>().unwrap();
        assert_eq!(body, expected.concat());
        assert_eq!(*sum, [0x89, 0x0c, 0xae, 0x8a]);
        assert_eq!(read_back(&slot(), &ada), Ok(Some("Ada".to_owned())));
        assert_eq!(
            read(&slot(), &ada).unwrap().took,
            Duration::from_millis(258)
        );
        let none = write::<String>(&slot(), None, Duration::MAX).unwrap();
        assert_eq!(read_back(&slot(), &none), Ok(None));
    }

    #[test]
    fn whatever_is_cut_or_altered_is_told() {
        let bytes = write(&slot(), Some(&"Ada"), Duration::ZERO).unwrap();
        for length in 0..bytes.len() {
            assert_eq!(read(&slot(), &bytes[..length]), Err(Damage::Unreadable));
        }
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut altered = bytes.clone();
                altered[place] ^= 1 << bit;
                assert_eq!(read(&slot(), &altered), Err(Damage::Unreadable));
            }
        }
        let mut newer = bytes[..bytes.len() - 4].to_vec();
        newer[3] = b'2';
        newer.extend(crc32fast::hash(&newer).to_be_bytes());
        assert_eq!(read(&slot(), &newer), Err(Damage::Unreadable));
    }

    #[test]
    fn what_lies_under_another_key_is_told() {
        let bytes = write(&slot(), Some(&"Ada"), Duration::ZERO).unwrap();
        let others = [
            Slot {
                tenant: TenantId::generate(),
                ..slot()
            },
            Slot {
                kind: "nam".into(),
                ..slot()
            },
            Slot {
                key: "77".into(),
                ..slot()
            },
            Slot {
                schema: 4,
                ..slot()
            },
        ];
        for other in others {
            assert_eq!(read(&other, &bytes), Err(Damage::Misplaced));
        }
    }

    #[test]
    fn of_another_type_it_is_nothing() {
        let bytes = postcard::to_allocvec(&(7_u8, "Ada")).unwrap();
        assert_eq!(decode::<(u8, String)>(&bytes), Some((7, "Ada".to_owned())));
        assert_eq!(decode::<u8>(&bytes), None, "something is left");
        assert_eq!(decode::<(u8, String, u8)>(&bytes), None);
    }
}
