//! A blob on its way out.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use tenantry_core::{Error, ErrorKind, Result};
use tokio::task::{JoinHandle, spawn_blocking};

use super::Inner;
use super::changes::failed;
use super::layout::Checksums;
use super::upload::joined;
use crate::integrity::Crc64;
use crate::name::BlobName;
use crate::record::BlobRecord;
use crate::store::about;

const READ: &str = "read blob";

/// A file that is read block by block.
struct Reading {
    file: File,
    name: BlobName,
    length: u64,
    checksums: Checksums,
    /// What is still to come.
    range: Range<u64>,
}

/// Opens the file of a blob at a range; a thread of the runtime waits for the disk.
pub(super) async fn open(
    inner: &Arc<Inner>,
    record: &BlobRecord,
    range: Range<u64>,
) -> Result<BoxStream<'static, Result<Bytes>>> {
    let (opening, length, of) = (Arc::clone(inner), record.length, record.name.clone());
    let open = move || Reading::open(&opening, of, length, range);
    let reading = joined(spawn_blocking(open), &record.name).await?;
    let name = record.name.clone();
    // The next block is read while whoever reads works with this one.
    let next = spawn_blocking(move || reading.next());
    let blocks = stream::try_unfold((Some(next), name), |(next, name)| async move {
        let Some(next) = next else { return Ok(None) };
        let Some((bytes, reading)) = joined(next, &name).await? else {
            return Ok(None);
        };
        let next = ahead(reading);
        Ok(Some((bytes, (next, name))))
    });
    Ok(blocks.boxed())
}

type Next = Result<Option<(Bytes, Reading)>>;

fn ahead(reading: Reading) -> Option<JoinHandle<Next>> {
    (!reading.range.is_empty()).then(|| spawn_blocking(move || reading.next()))
}

impl Reading {
    fn open(inner: &Inner, name: BlobName, length: u64, range: Range<u64>) -> Result<Self> {
        let opened = File::open(inner.disk.place(&name)).and_then(|file| {
            let checksums = Checksums::read(&file, length)?;
            Ok((file, checksums))
        });
        let (file, checksums) = opened.map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => lost(&name).with_source(cause),
            _ => failed(&name, READ, cause),
        })?;
        let checksums = checksums.ok_or_else(|| damaged(&name))?;
        let start = range.start - range.start % checksums.block();
        if start > 0 {
            let seek = (&file).seek(SeekFrom::Start(start));
            seek.map_err(|cause| failed(&name, READ, cause))?;
        }
        Ok(Self {
            file,
            name,
            length,
            checksums,
            range,
        })
    }

    /// Reads the next block, and gives out what of it is in the range.
    fn next(mut self) -> Next {
        if self.range.is_empty() {
            return Ok(None);
        }
        let block = self.checksums.block();
        let number = self.range.start / block;
        let start = number * block;
        let end = (start + block).min(self.length);
        let length = usize::try_from(end - start).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(length);
        (&self.file)
            .take(end - start)
            .read_to_end(&mut bytes)
            .map_err(|cause| failed(&self.name, READ, cause))?;
        if bytes.len() != length || self.checksums.of_block(number) != Some(Crc64::of(&bytes)) {
            return Err(damaged(&self.name));
        }
        let within = |position: u64| usize::try_from(position - start).unwrap_or(length);
        let stop = self.range.end.min(end);
        let piece = Bytes::from(bytes).slice(within(self.range.start)..within(stop));
        self.range.start = stop;
        Ok(Some((piece, self)))
    }
}

fn damaged(name: &BlobName) -> Error {
    about(Error::new(ErrorKind::Corrupt, READ), name)
        .with_detail("its file is not as it was written: restore it")
}

fn lost(name: &BlobName) -> Error {
    about(Error::new(ErrorKind::Corrupt, READ), name)
        .with_detail("its file is not there: restore it")
}
