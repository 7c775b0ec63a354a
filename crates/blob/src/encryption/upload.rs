//! An encrypted blob on its way in.

use std::fmt;
use std::mem;

use async_trait::async_trait;
use bytes::BytesMut;
use tenantry_core::{Error, ErrorKind, Result};
use tokio::task::{JoinHandle, spawn_blocking};

use super::cipher::{DataKey, SegmentCipher};
use super::layout::Layout;
use super::{SHORT, opened};
use crate::backend::{BlobUpload, Seal};
use crate::integrity::{Block, Sha256};
use crate::name::BlobName;
use crate::record::BlobRecord;
use crate::store::about;

const PUT: &str = "put blob";

/// A blob on its way in: while one block is encrypted, the one before is written and the next comes.
pub(super) struct Upload {
    inner: Box<dyn BlobUpload>,
    name: BlobName,
    key: DataKey,
    state: State,
}

enum State {
    Here(Box<Sealing>),
    InThread(JoinHandle<Result<Box<Sealing>>>),
    Failed,
}

/// What came, cut into segments, sealed, and cut into the blocks of the backend.
pub(super) struct Sealing {
    cipher: SegmentCipher,
    layout: Layout,
    block: usize,
    /// Sealed segments, and the one that is not full or may be the last.
    bytes: BytesMut,
    /// How many bytes in front are sealed.
    sealed: usize,
    number: u64,
    pub(super) ready: Vec<Block>,
    /// How many bytes have gone out.
    pub(super) length: u64,
}

impl Upload {
    pub(super) fn new(
        inner: Box<dyn BlobUpload>,
        name: BlobName,
        key: DataKey,
        sealing: Sealing,
    ) -> Self {
        Self {
            inner,
            name,
            key,
            state: State::Here(Box::new(sealing)),
        }
    }

    /// Waits for the block that is being encrypted.
    async fn idle(&mut self) -> Result<Box<Sealing>> {
        match mem::replace(&mut self.state, State::Failed) {
            State::Here(sealing) => Ok(sealing),
            State::InThread(thread) => thread.await.unwrap_or_else(|cause| {
                Err(Error::new(ErrorKind::Unavailable, PUT)
                    .with_detail("the runtime shuts down")
                    .with_source(cause))
            }),
            State::Failed => Err(Error::new(ErrorKind::WorkAborted, PUT)
                .with_detail("it has failed before: begin anew")),
        }
        .map_err(|error| about(error, &self.name))
    }
}

#[async_trait]
impl BlobUpload for Upload {
    async fn write(&mut self, block: Block) -> Result<()> {
        let mut sealing = self.idle().await?;
        let ready = mem::take(&mut sealing.ready);
        let is_short = block.length() <= SHORT;
        let seal = move || {
            sealing.take(&block)?;
            Ok(sealing)
        };
        self.state = match is_short {
            true => State::Here(seal().map_err(|error| about(error, &self.name))?),
            false => State::InThread(spawn_blocking(seal)),
        };
        for block in ready {
            self.inner.write(block).await?;
        }
        Ok(())
    }

    async fn commit(mut self: Box<Self>, seal: Seal) -> Result<BlobRecord> {
        // One segment is left, or none.
        let sealing = self.idle().await?.finish();
        let sealing = sealing.map_err(|error| about(error, &self.name))?;
        let length = sealing.length;
        for block in sealing.ready {
            self.inner.write(block).await?;
        }
        let sealed = Seal {
            length,
            sha256: Sha256(self.key.masked(seal.sha256.0)?),
        };
        let record = self.inner.commit(sealed).await?;
        opened(record, &self.key)
    }

    async fn abort(self: Box<Self>) {
        self.inner.abort().await;
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Sealing {
    pub(super) fn new(cipher: SegmentCipher, layout: Layout, block: usize) -> Self {
        Self {
            cipher,
            layout,
            block: block.max(1),
            bytes: BytesMut::new(),
            sealed: 0,
            number: 0,
            ready: Vec::new(),
            length: 0,
        }
    }

    pub(super) fn take(&mut self, block: &Block) -> Result<()> {
        if !block.is_intact() {
            return Err(Error::new(ErrorKind::Corrupt, PUT)
                .with_detail("a block has another checksum than it came with"));
        }
        if self.bytes.is_empty() {
            let room = block.length().min(self.block) + self.layout.segment();
            self.bytes.reserve(room);
        }
        for chunk in block.chunks() {
            let mut rest = &chunk[..];
            while !rest.is_empty() {
                let room = self.layout.content() - (self.bytes.len() - self.sealed);
                if room == 0 {
                    // More has come: it is not the last.
                    self.seal(false)?;
                    continue;
                }
                let (now, later) = rest.split_at(room.min(rest.len()));
                self.bytes.extend_from_slice(now);
                rest = later;
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self: Box<Self>) -> Result<Box<Self>> {
        self.seal(true)?;
        if !self.bytes.is_empty() {
            let rest = mem::take(&mut self.bytes);
            self.send(rest);
        }
        Ok(self)
    }

    fn seal(&mut self, is_last: bool) -> Result<()> {
        self.cipher
            .seal((self.number, is_last), &mut self.bytes, self.sealed)?;
        self.number += 1;
        while self.bytes.len() >= self.block {
            let block = self.bytes.split_to(self.block);
            self.send(block);
        }
        self.sealed = self.bytes.len();
        Ok(())
    }

    fn send(&mut self, bytes: BytesMut) {
        self.length += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.ready.push(Block::of(bytes.freeze()));
    }
}
