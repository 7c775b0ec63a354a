//! A blob on its way in.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tenantry_core::{Error, ErrorKind, Result};
use tokio::task::{JoinHandle, spawn_blocking};
use uuid::Uuid;

use super::changes::{Change, change, failed, new_file};
use super::disk::{Step, begin_flush, remove};
use super::layout::{Checksums, Identity};
use super::{BLOCK, Inner};
use crate::backend::{BlobUpload, NewBlob, Seal};
use crate::integrity::{Block, Lane, Work};
use crate::name::BlobName;
use crate::record::BlobRecord;
use crate::store::about;

const PUT: &str = "put blob";
/// How much is written before it begins its way to the disk: what is there at the end waits for little.
const FLUSH: u64 = 8 * 1024 * 1024;

/// The file that bytes come in; removed, unless they stay.
pub(super) struct Staged {
    inner: Arc<Inner>,
    name: BlobName,
    file: Uuid,
    is_kept: bool,
}

impl Staged {
    pub(super) const fn file(&self) -> Uuid {
        self.file
    }

    pub(super) fn path(&self) -> PathBuf {
        self.inner.disk.staged(self.file.to_string())
    }

    /// Makes the file that the bytes come in.
    fn begin(&self) -> Result<File> {
        let disk = &self.inner.disk;
        let made = disk
            .make_place(&self.name)
            .and_then(|()| disk.stage(&self.path()));
        made.map_err(|cause| failed(&self.name, PUT, cause))
    }

    /// Removes the file, and the folders that were made for its bytes: they take room that others may need.
    fn remover(&self) -> impl FnOnce() -> bool + Send + 'static {
        let (inner, name, path) = (Arc::clone(&self.inner), self.name.clone(), self.path());
        move || {
            let removed = remove(&path);
            inner.disk.remove_empty(&name);
            removed.is_ok()
        }
    }

    /// Leaves the file where it is.
    pub(super) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        let remove = self.remover();
        // What stays is removed by the next who opens the store. To remove a long file takes a while.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => drop(remove()),
        }
    }
}

/// A blob on its way in: while blocks are written, the next come.
pub(super) struct Upload {
    inner: Arc<Inner>,
    blob: NewBlob,
    lane: Lane<Writing>,
    // Dropped behind the lane, whose thread may hold the file still.
    staged: Staged,
}

/// What writes the blocks.
struct Writing {
    inner: Arc<Inner>,
    name: BlobName,
    file: File,
    checksums: Checksums,
    written: u64,
    /// How much of that is on its way to the disk.
    flushed: u64,
}

impl Work for Writing {
    type Piece = Block;

    fn work(&mut self, block: Block) -> Result<()> {
        if !block.is_intact() {
            return Err(about(Error::new(ErrorKind::Corrupt, PUT), &self.name)
                .with_detail("a block has another checksum than it came with"));
        }
        self.write(&block)
            .map_err(|cause| failed(&self.name, PUT, cause))?;
        self.checksums.push(block.length(), block.crc64());
        Ok(())
    }
}

impl Writing {
    fn write(&mut self, block: &Block) -> io::Result<()> {
        for chunk in block.chunks() {
            self.file.write_all(chunk)?;
        }
        self.written += block.length() as u64;
        self.inner.disk.reached(Step::Written)?;
        if self.written - self.flushed >= FLUSH {
            begin_flush(&self.file, self.flushed, self.written);
            self.flushed = self.written;
        }
        Ok(())
    }
}

impl Upload {
    pub(super) async fn begin(inner: Arc<Inner>, blob: NewBlob) -> Result<Self> {
        let staged = Staged {
            inner: Arc::clone(&inner),
            name: blob.name.clone(),
            file: new_file(),
            is_kept: false,
        };
        // Folders would take the room that a deletion on a full disk has given up for its record, so that they are
        // made in turn with changes.
        if !inner.disk.is_ready_for(&blob.name) {
            let made = change(&inner, Change::Place(blob.name.clone())).await.pop();
            if let Some(Err(error)) = made {
                return Err(about(error, &blob.name));
            }
        }
        // Where nobody waits any longer, the thread gives up what it has made.
        let begin = move || staged.begin().map(|file| (staged, file));
        let (staged, file) = joined(spawn_blocking(begin), &blob.name).await?;
        let writing = Writing {
            inner: Arc::clone(&inner),
            name: blob.name.clone(),
            file,
            checksums: Checksums::new(BLOCK),
            written: 0,
            flushed: 0,
        };
        Ok(Self {
            inner,
            blob,
            lane: Lane::new(writing),
            staged,
        })
    }
}

impl Upload {
    /// Waits until all bytes and their checksums are on the disk.
    async fn seal(&mut self, seal: &Seal) -> Result<File> {
        let written = self.lane.finish().await;
        let Writing {
            file, checksums, ..
        } = written.map_err(|error| about(error, &self.blob.name))?;
        let (disk, name) = (Arc::clone(&self.inner), self.blob.name.clone());
        let identity = Identity::of(&name, &seal.sha256);
        let seal = move || {
            checksums
                .write(&file, identity)
                .and_then(|()| file.sync_data())
                .and_then(|()| disk.disk.reached(Step::Sealed))
                .map_err(|cause| failed(&name, PUT, cause))?;
            Ok(file)
        };
        joined(spawn_blocking(seal), &self.blob.name).await
    }
}

#[async_trait]
impl BlobUpload for Upload {
    async fn write(&mut self, block: Block) -> Result<()> {
        let length = block.length();
        let sent = self.lane.send(block, length).await;
        sent.map_err(|error| about(error, &self.blob.name))
    }

    async fn commit(mut self: Box<Self>, seal: Seal) -> Result<BlobRecord> {
        let file = match self.seal(&seal).await {
            Ok(file) => file,
            Err(error) => {
                self.abort().await;
                return Err(error);
            }
        };
        let Self {
            inner,
            blob,
            staged,
            ..
        } = *self;
        let name = blob.name.clone();
        let put = Change::Put {
            blob: Box::new(blob),
            seal,
            staged,
            file,
        };
        match change(&inner, put).await.pop() {
            Some(Ok(Some(record))) => Ok(record),
            Some(Err(error)) => Err(about(error, &name)),
            _ => Err(about(Error::new(ErrorKind::Unexpected, PUT), &name)),
        }
    }

    async fn abort(mut self: Box<Self>) {
        let writing = self.lane.finish().await;
        drop(writing);
        // Here it is worth waiting for.
        let remove = self.staged.remover();
        self.staged.is_kept = spawn_blocking(remove).await.unwrap_or_default();
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("blob", &self.blob)
            .finish_non_exhaustive()
    }
}

/// Waits for a thread of the runtime.
pub(super) async fn joined<T>(thread: JoinHandle<Result<T>>, name: &BlobName) -> Result<T> {
    thread.await.unwrap_or_else(|cause| {
        Err(
            about(Error::new(ErrorKind::Unavailable, "work on blob"), name)
                .with_detail("the runtime shuts down")
                .with_source(cause),
        )
    })
}
