//! Reading blobs.

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use tenantry_core::{Error, ErrorKind, Result};

use super::{TenantBlobs, about};
use crate::backend::BlobRead;
use crate::integrity::Hashing;
use crate::name::BlobName;
use crate::record::{BlobEncryption, BlobRecord, KeyState};

const READ: &str = "read blob";
/// How much room is made before the bytes come that are told of.
const FORESEEN: u64 = 64 * 1024 * 1024;

/// A blob in memory.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredBytes {
    /// What is known of it.
    pub record: BlobRecord,
    /// Its bytes.
    pub bytes: Bytes,
}

impl fmt::Debug for StoredBytes {
    /// Without its bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredBytes")
            .field("record", &self.record)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

/// A blob, or a range of it, as a stream of its bytes.
///
/// What was read is right when the stream has ended without an error.
pub struct BlobReader {
    record: BlobRecord,
    bytes: BoxStream<'static, Result<Bytes>>,
}

impl BlobReader {
    /// Returns what is known of the blob.
    #[must_use]
    pub const fn record(&self) -> &BlobRecord {
        &self.record
    }

    /// Reads it into memory.
    ///
    /// # Errors
    ///
    /// Those of the stream.
    pub async fn into_bytes(mut self) -> Result<StoredBytes> {
        let mut pieces: Vec<Bytes> = Vec::new();
        while let Some(piece) = self.bytes.try_next().await? {
            pieces.push(piece);
        }
        Ok(StoredBytes {
            bytes: joined(pieces),
            record: self.record,
        })
    }
}

impl Stream for BlobReader {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.bytes.poll_next_unpin(context)
    }
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobReader")
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

impl TenantBlobs {
    pub(super) async fn reader(&self, name: &BlobName) -> Result<BlobReader> {
        self.check_owned("look up blob", name)?;
        let BlobRead { record, bytes } = self.backend().read(name, None).await?;
        check_opened(&record)?;
        Ok(BlobReader {
            bytes: checked(record.clone(), bytes),
            record,
        })
    }

    pub(super) async fn range_reader(
        &self,
        name: &BlobName,
        range: Range<u64>,
    ) -> Result<BlobReader> {
        self.check_owned("look up blob", name)?;
        if range.start > range.end {
            return Err(outside(name));
        }
        let expected = range.end - range.start;
        let BlobRead { record, bytes } = self.backend().read(name, Some(range)).await?;
        check_opened(&record)?;
        Ok(BlobReader {
            bytes: counted(record.name.clone(), expected, bytes),
            record,
        })
    }
}

/// Returns the bytes of a range with an error at their end if there are fewer or more of them.
fn counted(
    name: BlobName,
    expected: u64,
    bytes: BoxStream<'static, Result<Bytes>>,
) -> BoxStream<'static, Result<Bytes>> {
    let counted = stream::try_unfold((bytes, expected), move |(mut bytes, missing)| {
        let name = name.clone();
        async move {
            let Some(piece) = bytes.try_next().await? else {
                return match missing {
                    0 => Ok(None),
                    _ => Err(truncated(&name)),
                };
            };
            match missing.checked_sub(length_of(&piece)) {
                Some(missing) => Ok(Some((piece, (bytes, missing)))),
                None => Err(truncated(&name)),
            }
        }
    });
    counted.boxed()
}

/// What nobody has decrypted is not given out as what was put.
pub(super) fn check_opened(record: &BlobRecord) -> Result<()> {
    let is_opened = |encryption: &BlobEncryption| encryption.state() != KeyState::NotAsked;
    if record.encryption.as_ref().is_none_or(is_opened) {
        return Ok(());
    }
    Err(
        about(Error::new(ErrorKind::Unsupported, READ), &record.name)
            .with_detail("it is encrypted: read it through `EncryptedBlobs` around this backend"),
    )
}

/// Returns the refusal of a range that does not lie within a blob.
pub(crate) fn outside(name: &BlobName) -> Error {
    about(Error::new(ErrorKind::InvalidInput, READ), name)
        .with_detail("the range does not lie within the blob")
}

/// Returns the bytes of a blob with an error at their end if they are not those that were put.
fn checked(
    record: BlobRecord,
    bytes: BoxStream<'static, Result<Bytes>>,
) -> BoxStream<'static, Result<Bytes>> {
    struct Reading {
        record: BlobRecord,
        bytes: BoxStream<'static, Result<Bytes>>,
        hashing: Hashing,
    }
    let reading = Reading {
        record,
        bytes,
        hashing: Hashing::new(),
    };
    stream::try_unfold(Some(reading), |reading| async move {
        let Some(mut reading) = reading else {
            return Ok(None);
        };
        let Some(piece) = reading.bytes.try_next().await? else {
            let Reading {
                record, hashing, ..
            } = reading;
            if hashing.length() != record.length {
                return Err(truncated(&record.name));
            }
            if hashing.finish().await? != record.sha256 {
                return Err(about(Error::new(ErrorKind::Corrupt, READ), &record.name)
                    .with_detail("its bytes are not those that were put: restore it"));
            }
            return Ok(None);
        };
        // It is hashed while whoever reads works with it.
        reading.hashing.add(std::slice::from_ref(&piece)).await?;
        if reading.hashing.length() > reading.record.length {
            return Err(truncated(&reading.record.name));
        }
        Ok(Some((piece, Some(reading))))
    })
    .boxed()
}

fn truncated(name: &BlobName) -> Error {
    about(Error::new(ErrorKind::Corrupt, READ), name)
        .with_detail("it has another length than it was put with: restore it")
}

fn joined(mut pieces: Vec<Bytes>) -> Bytes {
    if pieces.len() < 2 {
        return pieces.pop().unwrap_or_default();
    }
    let length: u64 = pieces.iter().map(length_of).sum();
    let mut whole = BytesMut::with_capacity(usize::try_from(length.min(FORESEEN)).unwrap_or(0));
    for piece in pieces {
        whole.extend_from_slice(&piece);
    }
    whole.freeze()
}

fn length_of(piece: &Bytes) -> u64 {
    u64::try_from(piece.len()).unwrap_or(u64::MAX)
}
