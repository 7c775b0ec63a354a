//! An object that comes in parts.

use std::collections::VecDeque;
use std::fmt;

use ::object_store::path::Path;
use ::object_store::{MultipartUpload, PutPayload, PutResult, Result as StoreResult, UploadPart};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, stream};
use tenantry_core::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{put_result, told};
use crate::name::BlobName;
use crate::store::{PutOptions, StoredBlob, TenantBlobs};

/// A blob that comes in parts: they go on as they come, in the order in which they were given.
///
/// Dropped, nothing of it is visible; while it is completed, all of it or nothing.
pub(super) struct Upload {
    blobs: TenantBlobs,
    path: Path,
    name: BlobName,
    /// Whether it was said that all parts have come: then it may be visible any moment.
    is_completing: bool,
    parts: mpsc::UnboundedSender<Sent>,
    put: Option<JoinHandle<Result<StoredBlob>>>,
}

enum Sent {
    /// A part, and whom to tell that it went on.
    Part(PutPayload, oneshot::Sender<()>),
    End,
}

impl Upload {
    pub(super) fn begin(
        blobs: TenantBlobs,
        path: Path,
        name: BlobName,
        options: PutOptions,
    ) -> Self {
        // How many parts wait is for the caller, who waits for each.
        let (parts, came) = mpsc::unbounded_channel();
        let (to, target) = (blobs.clone(), name.clone());
        let put = async move { to.put(&target, options, body(came)).await };
        Self {
            blobs,
            path,
            name,
            is_completing: false,
            parts,
            put: Some(tokio::spawn(put)),
        }
    }

    /// Waits for the end of the put, whatever that is.
    async fn ended(&mut self) -> Result<StoredBlob> {
        let put = self.put.as_mut().ok_or_else(over)?;
        let ended = put.await.unwrap_or_else(|cause| {
            Err(Error::new(ErrorKind::WorkAborted, "put blob")
                .with_detail("it was given up")
                .with_source(cause))
        });
        self.put = None;
        ended
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (taken, waiting) = oneshot::channel();
        // Here and not when the future is polled: the parts are in the order of these calls.
        let is_sent = self.parts.send(Sent::Part(data, taken)).is_ok();
        let path = self.path.clone();
        Box::pin(async move {
            match is_sent && waiting.await.is_ok() {
                true => Ok(()),
                false => Err(told(&path, over())),
            }
        })
    }

    async fn complete(&mut self) -> StoreResult<PutResult> {
        // Where nobody takes it, the put has failed, and says so.
        let _ = self.parts.send(Sent::End);
        self.is_completing = true;
        let ended = self.ended().await;
        let stored = ended.map_err(|error| told(&self.path, error))?;
        Ok(put_result(&stored.record))
    }

    async fn abort(&mut self) -> StoreResult<()> {
        let Some(put) = &self.put else {
            return Ok(());
        };
        if !self.is_completing {
            put.abort();
            // What it has taken is given back when it has ended.
            drop(self.ended().await);
            return Ok(());
        }
        // Nobody waits for `complete` any longer, and what it has put is not called back by that.
        let removed = match self.ended().await {
            Ok(_) => {
                let deleted = self
                    .blobs
                    .delete_early(&self.name, "its upload was aborted");
                deleted.await
            }
            Err(error) if error.kind() == ErrorKind::CommitUnknown => Err(error),
            Err(_) => Ok(()),
        };
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(told(&self.path, error)),
            _ => Ok(()),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(put) = &self.put {
            put.abort();
        }
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

fn over() -> Error {
    Error::new(ErrorKind::WorkAborted, "put blob")
        .with_detail("it has ended or failed before: `complete` tells of what, once")
}

/// Returns what comes as one stream, that ends where it was said to end and nowhere else.
fn body(came: mpsc::UnboundedReceiver<Sent>) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    struct Body {
        came: mpsc::UnboundedReceiver<Sent>,
        pieces: VecDeque<Bytes>,
        taken: Option<oneshot::Sender<()>>,
    }
    let body = Body {
        came,
        pieces: VecDeque::new(),
        taken: None,
    };
    stream::try_unfold(body, |mut body| async move {
        loop {
            if let Some(piece) = body.pieces.pop_front() {
                return Ok(Some((piece, body)));
            }
            if let Some(taken) = body.taken.take() {
                // Whoever does not wait any longer has no need of it.
                let _ = taken.send(());
            }
            match body.came.recv().await {
                Some(Sent::Part(payload, taken)) => {
                    body.pieces = payload.into_iter().collect();
                    body.taken = Some(taken);
                }
                Some(Sent::End) => return Ok(None),
                None => {
                    return Err(Error::new(ErrorKind::WorkAborted, "put blob")
                        .with_detail("its upload was dropped before it was completed"));
                }
            }
        }
    })
}
