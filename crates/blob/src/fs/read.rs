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
use uuid::Uuid;

use super::changes::failed;
use super::layout::{Checksums, Found, Identity};
use super::own::open_file;
use super::upload::joined;
use super::{BLOCK, Inner};
use crate::integrity::{Crc64, Hasher};
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

/// Opens the file of a blob, which is `staged` where it is not in its place yet, at a range; a thread of the runtime waits for the disk.
pub(super) async fn open(
    inner: &Arc<Inner>,
    record: &BlobRecord,
    staged: Option<Uuid>,
    range: Option<Range<u64>>,
) -> Result<BoxStream<'static, Result<Bytes>>> {
    let (opening, of) = (Arc::clone(inner), record.clone());
    let open = move || Reading::open(&opening, &of, staged, range);
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
    fn open(
        inner: &Inner,
        record: &BlobRecord,
        staged: Option<Uuid>,
        range: Option<Range<u64>>,
    ) -> Result<Self> {
        let (name, length) = (&record.name, record.length);
        let opened = open_bytes(inner, name, staged).and_then(|file| {
            let found = Checksums::read(&file, length)?;
            Ok((file, found))
        });
        let (file, found) = opened.map_err(|cause| match cause.kind() {
            io::ErrorKind::NotFound => lost(name).with_source(cause),
            io::ErrorKind::InvalidData => damaged(name).with_source(cause),
            _ => failed(name, READ, cause),
        })?;
        let checksums = match found {
            Found::Checksums(checksums) => checksums,
            Found::Newer => return Err(newer(name)),
            Found::Damage => return Err(damaged(name)),
        };
        match checksums.identity() {
            Some(identity) if identity == Identity::of(name, &record.sha256) => {}
            Some(_) => return Err(foreign(name)),
            // Whoever reads the whole checks its digest, which tells whose it is; who reads a range, be it as
            // long as the whole, checks none.
            None if range.is_none() => {}
            None => check_whole(&file, record)?,
        }
        let range = range.unwrap_or(0..length);
        let start = range.start - range.start % checksums.block();
        if start > 0 {
            let seek = (&file).seek(SeekFrom::Start(start));
            seek.map_err(|cause| failed(name, READ, cause))?;
        }
        Ok(Self {
            file,
            name: name.clone(),
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

fn open_bytes(inner: &Inner, name: &BlobName, staged: Option<Uuid>) -> io::Result<File> {
    if let Some(staged) = staged {
        match open_file(&inner.disk.staged(staged.to_string())) {
            // It was moved into its place since that was looked up.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
    }
    open_file(&inner.disk.place(name))
}

/// Checks whether a file has all the bytes of its blob, and leaves it at its beginning.
fn check_whole(file: &File, record: &BlobRecord) -> Result<()> {
    let name = &record.name;
    let mut hasher = Hasher::default();
    let mut rest = file.take(record.length);
    let mut bytes = Vec::with_capacity(BLOCK);
    loop {
        bytes.clear();
        let read = rest.by_ref().take(BLOCK as u64).read_to_end(&mut bytes);
        if read.map_err(|cause| failed(name, READ, cause))? == 0 {
            break;
        }
        hasher.update(&bytes);
    }
    if hasher.finish() != record.sha256 {
        return Err(foreign(name));
    }
    let mut file = file;
    let back = file.seek(SeekFrom::Start(0));
    back.map(drop).map_err(|cause| failed(name, READ, cause))
}

fn foreign(name: &BlobName) -> Error {
    about(Error::new(ErrorKind::Corrupt, READ), name)
        .with_detail("its file is not the one that was written for it: restore it")
}

fn newer(name: &BlobName) -> Error {
    about(Error::new(ErrorKind::SchemaMismatch, READ), name)
        .with_detail("a newer release has written its file: deploy that one")
}

fn damaged(name: &BlobName) -> Error {
    about(Error::new(ErrorKind::Corrupt, READ), name)
        .with_detail("its file is not as it was written: restore it")
}

fn lost(name: &BlobName) -> Error {
    about(Error::new(ErrorKind::Corrupt, READ), name)
        .with_detail("its file is not there: restore it")
}
