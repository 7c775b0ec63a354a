//! Encrypted bytes on their way out.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use tenantry_core::{Error, ErrorKind, Result};
use tokio::task::spawn_blocking;

use super::SHORT;
use super::cipher::SegmentCipher;
use super::layout::Layout;
use crate::integrity::{Block, Blocks};
use crate::name::BlobName;
use crate::store::about;

const READ: &str = "read blob";
/// How much is opened at once, by a thread that may be busy.
const GROUP: usize = 1024 * 1024;
/// How many groups are opened while whoever reads works with another.
const AHEAD: usize = 2;

/// What is read of a blob, and how it opens.
#[derive(Clone)]
pub(super) struct Opening {
    pub(super) name: BlobName,
    pub(super) cipher: Arc<SegmentCipher>,
    pub(super) layout: Layout,
    /// How many segments the blob has.
    pub(super) segments: u64,
    /// Which bytes of the blob are wanted.
    pub(super) range: Range<u64>,
}

/// Opens segments from `first` on, of which so many bytes come.
pub(super) fn open(
    opening: Opening,
    first: u64,
    length: u64,
    bytes: BoxStream<'static, Result<Bytes>>,
) -> BoxStream<'static, Result<Bytes>> {
    let segments = (GROUP / opening.layout.segment()).max(1);
    let blocks = Blocks::new(bytes, segments * opening.layout.segment());
    let step = u64::try_from(segments).unwrap_or(u64::MAX);
    let name = opening.name.clone();
    let groups = stream::try_unfold(
        (blocks, first, length),
        move |(mut blocks, first, missing)| {
            let name = name.clone();
            async move {
                let Some(block) = blocks.next().await? else {
                    return match missing {
                        0 => Ok(None),
                        _ => Err(truncated(&name)),
                    };
                };
                let came = u64::try_from(block.length()).unwrap_or(u64::MAX);
                let missing = missing.checked_sub(came).ok_or_else(|| truncated(&name))?;
                Ok(Some(((first, block), (blocks, first + step, missing))))
            }
        },
    );
    let opened = groups.map(move |group| {
        let opening = opening.clone();
        async move {
            let (first, block) = group?;
            if block.length() <= SHORT {
                return opening.open(first, block);
            }
            let thread = spawn_blocking(move || opening.open(first, block));
            thread.await.unwrap_or_else(|cause| {
                Err(Error::new(ErrorKind::Unavailable, READ)
                    .with_detail("the runtime shuts down")
                    .with_source(cause))
            })
        }
    });
    opened
        .buffered(AHEAD)
        .filter(|piece| {
            let is_empty = piece.as_ref().is_ok_and(Bytes::is_empty);
            std::future::ready(!is_empty)
        })
        .boxed()
}

impl Opening {
    /// Opens some segments, and returns what is wanted of them.
    fn open(&self, first: u64, block: Block) -> Result<Bytes> {
        let whole = block.into_bytes();
        // Copied only where others hold the same bytes.
        let mut bytes = whole
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&*shared));
        let (mut opened, mut start, mut number) = (0, 0, first);
        while start < bytes.len() {
            let end = bytes.len().min(start + self.layout.segment());
            let place = (number, number + 1 == self.segments);
            let content = self
                .cipher
                .open(place, &mut bytes[opened..end], start - opened)
                .map_err(|_| altered(&self.name))?;
            (opened, start, number) = (opened + content, end, number + 1);
        }
        bytes.truncate(opened);
        Ok(self.wanted(first, &bytes.freeze()))
    }

    fn wanted(&self, first: u64, bytes: &Bytes) -> Bytes {
        let position = self.layout.position(first);
        let within = |at: u64| {
            let offset = usize::try_from(at.saturating_sub(position));
            offset.unwrap_or(usize::MAX).min(bytes.len())
        };
        bytes.slice(within(self.range.start)..within(self.range.end))
    }
}

fn altered(name: &BlobName) -> Error {
    about(Error::new(ErrorKind::Corrupt, READ), name)
        .with_detail("its key does not open its bytes: they were altered; restore it")
}

pub(super) fn truncated(name: &BlobName) -> Error {
    about(Error::new(ErrorKind::Corrupt, READ), name)
        .with_detail("it has another length than it was put with: restore it")
}
