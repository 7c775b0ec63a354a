//! What a file of a blob holds: its bytes, then the CRC64 of each block, then what tells where they are.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};

use crate::integrity::Crc64;

const MAGIC: &[u8; 4] = b"TBF1";
/// The length of the blob, that of a block, the magic, and the checksum of all of that and the list.
const FOOT: usize = 24;

/// The checksums of a file.
#[derive(Debug, Default)]
pub(super) struct Checksums {
    block: u32,
    length: u64,
    list: Vec<u64>,
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

    /// Writes them behind the bytes.
    pub(super) fn write(&self, mut file: &File) -> io::Result<()> {
        let mut bytes: Vec<u8> = self.list.iter().flat_map(|it| it.to_le_bytes()).collect();
        bytes.extend_from_slice(&self.length.to_le_bytes());
        bytes.extend_from_slice(&self.block.to_le_bytes());
        bytes.extend_from_slice(MAGIC);
        let own = Crc64::of(&bytes).0;
        bytes.extend_from_slice(&own.to_le_bytes());
        file.write_all(&bytes)
    }

    /// Reads those of a file of a blob of this length, and leaves it at its beginning; nothing where the
    /// file is none of such a blob.
    pub(super) fn read(mut file: &File, length: u64) -> io::Result<Option<Self>> {
        let all = file.metadata()?.len();
        let foot = FOOT as u64;
        let Some(room) = all
            .checked_sub(length)
            .filter(|room| *room >= foot && room % 8 == 0)
        else {
            return Ok(None);
        };
        let Ok(room) = usize::try_from(room) else {
            return Ok(None);
        };
        // A blob has a block for each eight bytes of the list: a file that is far too long is none.
        if room as u64 > foot + 8 * length.max(1) {
            return Ok(None);
        }
        let mut bytes = vec![0; room];
        file.seek(SeekFrom::Start(length))?;
        file.read_exact(&mut bytes)?;
        file.seek(SeekFrom::Start(0))?;
        let (checked, own) = bytes.split_at(room - 8);
        let (list, foot) = checked.split_at(room - FOOT);
        let block = number(&foot[8..12]);
        let is_whole = number(own) == Crc64::of(checked).0
            && &foot[12..] == MAGIC
            && number(&foot[..8]) == length
            && block > 0
            && length.div_ceil(block) == (list.len() / 8) as u64;
        Ok(is_whole.then(|| Self {
            block: u32::try_from(block).unwrap_or(u32::MAX),
            length,
            list: list.chunks_exact(8).map(number).collect(),
        }))
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |all, byte| all << 8 | u64::from(*byte))
}
