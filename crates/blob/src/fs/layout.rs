//! What a file of a blob holds: its bytes, then the CRC64 of each block, then what tells whose they are and
//! where.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};

use crate::integrity::{Crc64, Sha256};
use crate::name::BlobName;

/// The number is that of the format. One without an identity is read, and is not written any longer.
const MAGIC: &[u8; 4] = b"TBF2";
const WITHOUT_IDENTITY: &[u8; 4] = b"TBF1";
/// What every format has at its end: the length of the blob, that of a block, the magic, and the checksum of
/// all that is behind the bytes.
const FOOT: usize = 24;
/// The digest before it.
const IDENTITY: usize = 32;

/// Tells the file of a blob from that of any other, of the same length too: without it a part of a file that
/// was put in the place of another would be given out, for only the whole has the digest of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(Sha256);

impl Identity {
    pub(super) fn of(name: &BlobName, sha256: &Sha256) -> Self {
        Self(Sha256::of(format!("{name} {sha256}").as_bytes()))
    }
}

/// What was found behind the bytes of a file.
#[derive(Debug)]
pub(super) enum Found {
    Checksums(Checksums),
    /// It is of a format that a newer release writes.
    Newer,
    /// It is no file of a blob of this length, or is not as it was written.
    Damage,
}

/// The checksums of a file.
#[derive(Debug, Default)]
pub(super) struct Checksums {
    block: u32,
    length: u64,
    list: Vec<u64>,
    /// None where a format before this one was read.
    identity: Option<Identity>,
}

impl Checksums {
    pub(super) fn new(block: usize) -> Self {
        Self {
            block: u32::try_from(block).unwrap_or(u32::MAX),
            ..Self::default()
        }
    }

    /// Adds a block behind the others.
    pub(super) fn push(&mut self, length: usize, crc64: Crc64) {
        self.length += length as u64;
        self.list.push(crc64.0);
    }

    pub(super) const fn block(&self) -> u64 {
        self.block as u64
    }

    pub(super) fn of_block(&self, number: u64) -> Option<Crc64> {
        let number = usize::try_from(number).ok()?;
        self.list.get(number).copied().map(Crc64)
    }

    pub(super) const fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// Writes them behind the bytes.
    pub(super) fn write(&self, mut file: &File, identity: Identity) -> io::Result<()> {
        let mut bytes: Vec<u8> = self.list.iter().flat_map(|it| it.to_le_bytes()).collect();
        bytes.extend_from_slice(&identity.0.0);
        bytes.extend_from_slice(&self.length.to_le_bytes());
        bytes.extend_from_slice(&self.block.to_le_bytes());
        bytes.extend_from_slice(MAGIC);
        let own = Crc64::of(&bytes).0;
        bytes.extend_from_slice(&own.to_le_bytes());
        file.write_all(&bytes)
    }

    /// Reads those of a file of a blob of this length, and leaves it at its beginning.
    pub(super) fn read(mut file: &File, length: u64) -> io::Result<Found> {
        let all = file.metadata()?.len();
        let Some(room) = all
            .checked_sub(length)
            .filter(|room| *room >= FOOT as u64 && room % 8 == 0)
        else {
            return Ok(Found::Damage);
        };
        // A blob has a block for each eight bytes of the list: a file that is far too long is none.
        if room > (FOOT + IDENTITY) as u64 + 8 * length.max(1) {
            return Ok(Found::Damage);
        }
        let Ok(room) = usize::try_from(room) else {
            return Ok(Found::Damage);
        };
        let mut bytes = vec![0; room];
        file.seek(SeekFrom::Start(length))?;
        file.read_exact(&mut bytes)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Self::parse(&bytes, length))
    }

    /// Reads what is behind the bytes, which is as long as a foot at least.
    fn parse(bytes: &[u8], length: u64) -> Found {
        let (checked, own) = bytes.split_at(bytes.len() - 8);
        let (list, foot) = checked.split_at(bytes.len() - FOOT);
        let (block, magic) = (number(&foot[8..12]), &foot[12..]);
        if number(own) != Crc64::of(checked).0 || number(&foot[..8]) != length || block == 0 {
            return Found::Damage;
        }
        let (list, identity) = match magic {
            _ if magic == WITHOUT_IDENTITY => (list, None),
            _ if magic == MAGIC => match list.split_last_chunk::<IDENTITY>() {
                Some((list, digest)) => (list, Some(Identity(Sha256(*digest)))),
                None => return Found::Damage,
            },
            _ if magic.starts_with(&MAGIC[..3]) => return Found::Newer,
            _ => return Found::Damage,
        };
        if length.div_ceil(block) != (list.len() / 8) as u64 {
            return Found::Damage;
        }
        Found::Checksums(Self {
            block: u32::try_from(block).unwrap_or(u32::MAX),
            length,
            list: list.chunks_exact(8).map(number).collect(),
            identity,
        })
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |all, byte| all << 8 | u64::from(*byte))
}
