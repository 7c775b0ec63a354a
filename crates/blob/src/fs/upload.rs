//! A blob on its way in.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tenantry_core::{Error, ErrorKind, Result};
use tokio::task::{JoinHandle, spawn_blocking};
use uuid::Uuid;

use super::changes::{Change, change, failed, new_file};
use super::disk::{Step, remove};
use super::layout::Checksums;
use super::{BLOCK, Inner};
use crate::backend::{BlobUpload, NewBlob, Seal};
use crate::integrity::Block;
use crate::name::BlobName;
use crate::record::BlobRecord;
use crate::store::about;

const PUT: &str = "put blob";
/// How much is written before it begins its way to the disk: what is there at the end waits for little.
const FLUSH: usize = 32 * 1024 * 1024;

/// The file that bytes come in; removed, unless they stay.
pub(super) struct Staged {
    inner: Arc<Inner>,
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
        let path = self.path();
        // What stays is removed by the next who opens the store. To remove a long file takes a while.
        let remove = move || drop(remove(&path));
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// A blob on its way in: while one block is written, the next comes.
pub(super) struct Upload {
    inner: Arc<Inner>,
    blob: NewBlob,
    state: State,
    /// How much was written since a part was last sent to the disk, and what became of that.
    unflushed: usize,
    flushing: Option<JoinHandle<Result<()>>>,
    // Dropped behind the state, whose thread may hold the file still.
    staged: Staged,
}

enum State {
    Here(Writing),
    InThread(JoinHandle<Result<Writing>>),
    Failed,
}

struct Writing {
    file: File,
    checksums: Checksums,
}

impl Upload {
    pub(super) async fn begin(inner: Arc<Inner>, blob: NewBlob) -> Result<Self> {
        let staged = Staged {
            inner: Arc::clone(&inner),
            file: new_file(),
            is_kept: false,
        };
        let (disk, name) = (Arc::clone(&inner), blob.name.clone());
        // Where nobody waits any longer, the thread gives up what it has made.
        let begin = move || match disk.disk.stage(&staged.path()) {
            Ok(file) => Ok((staged, file)),
            Err(cause) => Err(failed(&name, PUT, cause)),
        };
        let (staged, file) = joined(spawn_blocking(begin), &blob.name).await?;
        let checksums = Checksums::new(BLOCK);
        Ok(Self {
            inner,
            blob,
            state: State::Here(Writing { file, checksums }),
            unflushed: 0,
            flushing: None,
            staged,
        })
    }

    /// Sends to the disk what was written, beside what is written next.
    async fn flush(&mut self, file: &File) -> Result<()> {
        let is_busy = self.flushing.as_ref().is_some_and(|it| !it.is_finished());
        if self.unflushed < FLUSH || is_busy {
            return Ok(());
        }
        self.flushed().await?;
        self.unflushed = 0;
        let name = self.blob.name.clone();
        let file = file
            .try_clone()
            .map_err(|cause| failed(&name, PUT, cause))?;
        let flush = move || file.sync_data().map_err(|cause| failed(&name, PUT, cause));
        self.flushing = Some(spawn_blocking(flush));
        Ok(())
    }

    /// Waits for what is on its way to the disk: what failed there is told once, and to nobody else.
    async fn flushed(&mut self) -> Result<()> {
        match self.flushing.take() {
            Some(flushing) => joined(flushing, &self.blob.name).await,
            None => Ok(()),
        }
    }

    /// Waits for the block that is written.
    async fn idle(&mut self) -> Result<Writing> {
        match mem::replace(&mut self.state, State::Failed) {
            State::Here(writing) => Ok(writing),
            State::InThread(thread) => joined(thread, &self.blob.name).await,
            State::Failed => Err(
                about(Error::new(ErrorKind::WorkAborted, PUT), &self.blob.name)
                    .with_detail("it has failed before: begin anew"),
            ),
        }
    }
}

#[async_trait]
impl BlobUpload for Upload {
    async fn write(&mut self, block: Block) -> Result<()> {
        let writing = self.idle().await?;
        self.flush(&writing.file).await?;
        self.unflushed += block.length();
        let (inner, name) = (Arc::clone(&self.inner), self.blob.name.clone());
        let write = move || write(&inner, &name, writing, &block);
        self.state = State::InThread(spawn_blocking(write));
        Ok(())
    }

    async fn commit(mut self: Box<Self>, seal: Seal) -> Result<BlobRecord> {
        let Writing { file, checksums } = self.idle().await?;
        self.flushed().await?;
        let Self {
            inner,
            blob,
            staged,
            ..
        } = *self;
        let (disk, name) = (Arc::clone(&inner), blob.name.clone());
        let sealed = move || {
            checksums
                .write(&file)
                .and_then(|()| file.sync_data())
                .and_then(|()| disk.disk.reached(Step::Sealed))
                .map_err(|cause| failed(&name, PUT, cause))?;
            Ok(file)
        };
        let file = joined(spawn_blocking(sealed), &blob.name).await?;
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
        let writing = self.idle().await;
        drop(writing);
        // Here it is worth waiting for.
        let path = self.staged.path();
        self.staged.is_kept = spawn_blocking(move || remove(&path).is_ok())
            .await
            .unwrap_or_default();
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("blob", &self.blob)
            .finish_non_exhaustive()
    }
}

fn write(inner: &Inner, name: &BlobName, mut writing: Writing, block: &Block) -> Result<Writing> {
    if !block.is_intact() {
        return Err(about(Error::new(ErrorKind::Corrupt, PUT), name)
            .with_detail("a block has another checksum than it came with"));
    }
    for chunk in block.chunks() {
        let written = writing.file.write_all(chunk);
        written.map_err(|cause| failed(name, PUT, cause))?;
    }
    let reached = inner.disk.reached(Step::Written);
    reached.map_err(|cause| failed(name, PUT, cause))?;
    writing.checksums.push(block.length(), block.crc64());
    Ok(writing)
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
