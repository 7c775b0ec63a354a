//! What moves bytes from a file to another without keeping them.

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStoreExt as _, WriteMultipart};
use sha2::{Digest as _, Sha256};
use tokio::fs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::error::{Error, Result};

/// How long the pieces are that all sides read and write by, as far as they let one choose.
pub(super) const PIECE: usize = 1024 * 1024;

/// Returns a file by pieces.
pub(super) fn pieces_of(
    file: fs::File,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    stream::try_unfold(file, |mut file| async move {
        let mut piece = Vec::with_capacity(PIECE);
        let length = (&mut file)
            .take(PIECE as u64)
            .read_to_end(&mut piece)
            .await?;
        Ok((length > 0).then(|| (Bytes::from(piece), file)))
    })
}

/// Copies by a call of the kernel, to the disk: no byte comes into this process.
pub(super) async fn copied(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).await?;
    fs::File::open(to).await?.sync_all().await?;
    Ok(())
}

/// Copies by reading and writing, to the disk.
pub(super) async fn read_and_written(from: &Path, to: &Path) -> Result<()> {
    written(
        pieces_of(fs::File::open(from).await?).map_err(Error::from),
        to,
    )
    .await
}

/// Writes a stream to a file, to the disk.
pub(super) async fn written(
    body: impl Stream<Item = Result<Bytes>> + Send,
    to: &Path,
) -> Result<()> {
    let mut file = fs::File::create(to).await?;
    let mut body = std::pin::pin!(body);
    while let Some(piece) = body.try_next().await? {
        file.write_all(&piece).await?;
    }
    file.sync_all().await?;
    Ok(())
}

/// Reads a stream to its end, and counts.
pub(super) async fn drained(body: impl Stream<Item = Result<Bytes>> + Send) -> Result<u64> {
    let mut body = std::pin::pin!(body);
    let mut length = 0;
    while let Some(piece) = body.try_next().await? {
        length += black_box(piece).len() as u64;
    }
    Ok(length)
}

/// Reckons the digest of a file that is in memory already, in one thread: nothing that checks a blob as a
/// whole can be faster.
pub(super) async fn hashed(from: &Path) -> Result<()> {
    let from = from.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut file = std::fs::File::open(from)?;
        let (mut hasher, mut piece) = (Sha256::new(), vec![0; PIECE]);
        loop {
            let length = file.read(&mut piece)?;
            if length == 0 {
                black_box(hasher.finalize());
                return Ok(());
            }
            hasher.update(&piece[..length]);
        }
    })
    .await?
}

/// `object_store` in a folder, which keeps neither checksums nor a promise that bytes are on the disk.
#[derive(Debug, Clone)]
pub(super) struct Objects(Arc<LocalFileSystem>);

impl Objects {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self(Arc::new(LocalFileSystem::new_with_prefix(folder)?)))
    }

    /// Puts a file by parts, and has it on the disk: it does not do that by itself.
    pub(super) async fn put(&self, from: &Path, name: &str, folder: &Path) -> Result<()> {
        let upload = self.0.put_multipart(&ObjectPath::from(name)).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, 4 * PIECE);
        let mut body = pieces_of(fs::File::open(from).await?).boxed();
        while let Some(piece) = body.try_next().await? {
            upload.wait_for_capacity(2).await?;
            upload.put(piece);
        }
        upload.finish().await?;
        fs::File::open(folder.join(name)).await?.sync_all().await?;
        Ok(())
    }

    pub(super) async fn get(&self, name: &str) -> Result<u64> {
        let body = self.0.get(&ObjectPath::from(name)).await?;
        drained(body.into_stream().map_err(Error::from)).await
    }

    pub(super) async fn remove(&self, name: &str) -> Result<()> {
        Ok(self.0.delete(&ObjectPath::from(name)).await?)
    }

    /// Makes objects of these names without going through it.
    pub(super) fn fill(folder: &Path, names: impl Iterator<Item = String>) -> Result<()> {
        for name in names {
            let path = folder.join(name);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::File::create(path)?.write_all(b"x")?;
        }
        Ok(())
    }

    pub(super) async fn list(&self) -> Result<usize> {
        use object_store::ObjectStore as _;
        let listed: Vec<_> = self.0.list(None).try_collect().await?;
        Ok(black_box(listed).len())
    }
}
