//! Putting blobs: blocks of which several are on their way at a time, and a list of them at the end.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use azure_storage_blob::models::BlockBlobClientStageBlockOptions;
use tenantry_core::{Error, ErrorKind, Result};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::checksum::written;
use super::commit::Commit;
use super::{BLOCKS, Inner, LONGEST, apart};
use crate::backend::{BlobUpload, NewBlob, Seal};
use crate::integrity::{Block, Crc64, Sha256};
use crate::name::BlobName;
use crate::record::BlobRecord;
use crate::store::{about, taken};

pub(super) const PUT: &str = "put blob";
/// How many bytes are on their way at a time: four blocks of the usual length.
const ON_THE_WAY: usize = 16 * 1024 * 1024;

/// A blob on its way to the account.
///
/// Blocks that were sent and are on no list are thrown away by the service after a week, or when a blob
/// of the name is put.
pub(super) struct Upload {
    inner: Arc<Inner>,
    blob: NewBlob,
    block: usize,
    /// Tells its blocks, and what became of it, from those of others under the same name.
    id: Uuid,
    /// The first block, for as long as it may be the only one: a blob of one block is one request.
    first: Option<Block>,
    on_the_way: JoinSet<Result<()>>,
    sent: u32,
}

impl Upload {
    pub(super) fn new(inner: Arc<Inner>, blob: NewBlob, block: usize) -> Self {
        Self {
            inner,
            blob,
            block,
            id: Uuid::new_v4(),
            first: None,
            on_the_way: JoinSet::new(),
            sent: 0,
        }
    }

    /// Checks what would be refused in the end, before many bytes are sent in vain.
    pub(super) async fn check_early(&self) -> Result<()> {
        if self.blob.length.is_some_and(|length| length > LONGEST) {
            return Err(
                about(Error::new(ErrorKind::InvalidInput, PUT), &self.blob.name)
                    .with_detail("no blob is so long: Azure takes 50,000 blocks of 4,000 MiB"),
            );
        }
        let seal = Seal {
            length: 0,
            sha256: Sha256([0; 32]),
        };
        Commit::new(&self.inner, &self.blob, seal, self.id)?;
        match self.is_long() {
            true => self.check().await,
            false => Ok(()),
        }
    }

    fn is_long(&self) -> bool {
        let block = u64::try_from(self.block).unwrap_or(u64::MAX);
        self.blob.length.is_some_and(|length| length > block)
    }

    async fn check(&self) -> Result<()> {
        match self.inner.look(PUT, &self.blob.name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() != ErrorKind::Corrupt => Err(error),
            Ok(_) | Err(_) => Err(taken(&self.blob.name)),
        }
    }

    async fn send(&mut self, block: Block) -> Result<()> {
        if u64::from(self.sent) == BLOCKS {
            return Err(Error::new(ErrorKind::InvalidInput, PUT)
                .with_detail("a blob of more than 195 GiB is put with its length said before"));
        }
        let (inner, name) = (Arc::clone(&self.inner), self.blob.name.clone());
        let id = self.block_id(self.sent);
        self.sent += 1;
        self.on_the_way
            .spawn(async move { stage(&inner, &name, &id, block).await });
        // Not before it is sent: it would lie in memory, and the next one as well that comes meanwhile.
        while self.on_the_way.len() >= (ON_THE_WAY / self.block).max(1) {
            self.arrived().await?;
        }
        Ok(())
    }

    /// Waits for a block that is on its way, if one is.
    async fn arrived(&mut self) -> Result<()> {
        match self.on_the_way.join_next().await {
            None => Ok(()),
            Some(Ok(outcome)) => outcome,
            Some(Err(cause)) => Err(Error::new(ErrorKind::Unavailable, PUT)
                .with_detail("the runtime shuts down")
                .with_source(cause)),
        }
    }

    async fn end(mut self: Box<Self>, seal: Seal) -> Result<BlobRecord> {
        let first = self.first.take();
        let commit = Commit::new(&self.inner, &self.blob, seal, self.id)?;
        if self.sent > 0 {
            let blocks = (0..self.sent).map(|number| self.block_id(number));
            return commit.list(blocks.collect()).await;
        }
        let crc64 = first.as_ref().map_or(Crc64::of(b""), Block::crc64);
        let bytes = first.map(Block::into_bytes).unwrap_or_default();
        commit.whole(bytes, crc64).await
    }

    /// All ids of the blocks of a blob have one length.
    fn block_id(&self, number: u32) -> Vec<u8> {
        [&self.id.as_bytes()[..], &number.to_be_bytes()].concat()
    }
}

#[async_trait]
impl BlobUpload for Upload {
    async fn write(&mut self, block: Block) -> Result<()> {
        if self.sent == 0 && self.first.is_none() && !self.is_long() {
            self.first = Some(block);
            return Ok(());
        }
        if let Some(first) = self.first.take() {
            self.check().await?;
            self.send(first).await?;
        }
        self.send(block).await
    }

    async fn commit(mut self: Box<Self>, seal: Seal) -> Result<BlobRecord> {
        while !self.on_the_way.is_empty() {
            self.arrived()
                .await
                .map_err(|error| about(error, &self.blob.name))?;
        }
        let name = self.blob.name.clone();
        // A lock that is not kept is seen after the blob is there: nobody may break off before that.
        apart(PUT, &name, async move { self.end(seal).await }).await
    }

    async fn abort(mut self: Box<Self>) {
        self.on_the_way.shutdown().await;
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("blob", &self.blob)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

/// Sends one block, which the service checks before it takes it.
async fn stage(inner: &Inner, name: &BlobName, id: &[u8], block: Block) -> Result<()> {
    let length = u64::try_from(block.length()).unwrap_or(u64::MAX);
    let crc64 = written(block.crc64());
    let bytes = block.into_bytes();
    let client = inner.blob(name).block_blob_client();
    let once = || async {
        let options = BlockBlobClientStageBlockOptions {
            encryption_scope: inner.scope(name),
            transactional_content_crc64: Some(crc64.clone()),
            ..BlockBlobClientStageBlockOptions::default()
        };
        let body = bytes.clone().into();
        client.stage_block(id, length, body, Some(options)).await
    };
    let answer = match once().await {
        Err(error) if inner.makes_container(name, &error).await? => once().await,
        answer => answer,
    };
    answer
        .map(drop)
        .map_err(|error| inner.refused(PUT, name, &error))
}
