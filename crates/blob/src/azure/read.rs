//! Reading bytes, in ranges of which several are on their way at a time.

use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use azure_storage_blob::models::BlobClientDownloadOptions;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, Result};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::document::quoted;
use super::refusal::Refusal;
use super::retry::{Late, after};
use super::{BLOCK, Inner, LOOK, checksum};
use crate::backend::BlobRead;
use crate::integrity::Crc64;
use crate::name::BlobName;
use crate::store::{about, not_found, outside, rehydrating};

const READ: &str = "read blob";
/// How many ranges are on their way at a time.
const AT_ONCE: usize = 4;
/// How often a range is asked for whose answer breaks off.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn read(
    inner: &Arc<Inner>,
    name: &BlobName,
    range: Option<Range<u64>>,
) -> Result<BlobRead> {
    let look = inner.look(LOOK, name);
    // How long it is, and in which state, is not known yet.
    let (seen, first) = match range {
        Some(_) => (look.await, None),
        None => {
            let first = fetch(Arc::clone(inner), name.clone(), 0..BLOCK, None);
            let (seen, first) = tokio::join!(look, first);
            (seen, Some(first))
        }
    };
    let seen = seen?;
    if !seen.record.is_readable() {
        return Err(rehydrating(&seen.record));
    }
    let length = seen.record.length;
    let range = range.unwrap_or(0..length);
    if range.start > range.end || range.end > length {
        return Err(outside(name));
    }
    let etag = quoted(&seen.told);
    let state = Arc::new(State {
        upload: seen.document.upload,
        etag: Mutex::new(etag.clone()),
    });
    let mut start = range.start;
    let mut begun = Vec::new();
    if let Some(Ok(pieces)) = first
        && pieces.etag.as_deref() == Some(etag.as_str())
        && length_of(&pieces.bytes) == range.end.min(BLOCK)
    {
        start = range.end.min(BLOCK);
        begun = pieces.bytes;
    }
    let rest = stream::iter(ranges(start..range.end)).map({
        let (inner, name) = (Arc::clone(inner), name.clone());
        move |range| {
            Task::of(fetch(
                Arc::clone(&inner),
                name.clone(),
                range,
                Some(Arc::clone(&state)),
            ))
        }
    });
    let rest = rest.buffered(AT_ONCE).map_ok(|pieces| pieces.bytes);
    let bytes = stream::iter([Ok(begun)])
        .chain(rest)
        .map_ok(|pieces| stream::iter(pieces).map(Ok))
        .try_flatten();
    Ok(BlobRead {
        record: seen.record,
        bytes: bytes.boxed(),
    })
}

fn ranges(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    std::iter::successors(Some(range.start), move |start| start.checked_add(BLOCK))
        .take_while(move |start| *start < end)
        .map(move |start| start..start.saturating_add(BLOCK).min(end))
}

fn length_of(pieces: &[Bytes]) -> u64 {
    let length: usize = pieces.iter().map(Bytes::len).sum();
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The state of the blob that is read: others may change its record meanwhile, and never its bytes.
struct State {
    /// Tells it from what another put under the same name.
    upload: Uuid,
    etag: Mutex<String>,
}

/// The bytes of a range, as they came.
struct Pieces {
    bytes: Vec<Bytes>,
    etag: Option<String>,
}

/// Reads one range whole, as often as it takes, and checks it where the service tells its checksum.
async fn fetch(
    inner: Arc<Inner>,
    name: BlobName,
    range: Range<u64>,
    state: Option<Arc<State>>,
) -> Result<Pieces> {
    let end = after(inner.settings.deadline);
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match fetch_once(&inner, &name, &range, state.as_deref(), end).await {
            Err(Failed::OnTheWay(_)) if Instant::now() + pause < end => {
                sleep(pause).await;
                pause *= 2;
            }
            outcome => return outcome.map_err(Failed::into_error),
        }
    }
    fetch_once(&inner, &name, &range, state.as_deref(), end)
        .await
        .map_err(Failed::into_error)
}

enum Failed {
    /// Another try may do better.
    OnTheWay(Error),
    ForGood(Error),
}

impl Failed {
    fn into_error(self) -> Error {
        match self {
            Self::OnTheWay(error) | Self::ForGood(error) => error,
        }
    }
}

async fn fetch_once(
    inner: &Inner,
    name: &BlobName,
    range: &Range<u64>,
    state: Option<&State>,
    end: Instant,
) -> Result<Pieces, Failed> {
    let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let options = BlobClientDownloadOptions {
        if_match: state.map(|state| state.etag.lock().clone().into()),
        parallel: NonZero::new(1),
        partition_size: NonZero::new(length),
        range: Some((range.start..range.end).into()),
        range_get_content_crc64: inner.settings.checks_ranges.then_some(true),
        ..BlobClientDownloadOptions::default()
    };
    let answer = match inner.blob(name).download(Some(options)).await {
        Ok(answer) => answer,
        Err(error) => {
            let is_changed = Refusal::of(&error).status() == Some(412);
            let refused = inner.refused(READ, name, &error);
            return Err(match state.filter(|_| is_changed) {
                Some(state) => state.looked_after(inner, name, refused).await,
                None => Failed::ForGood(refused),
            });
        }
    };
    let told = answer
        .properties
        .content_crc64
        .as_deref()
        .and_then(checksum::read);
    let limit = end.min(after(inner.settings.try_timeout));
    let body = timeout_at(limit, answer.body.try_collect::<Vec<Bytes>>()).await;
    let body = body.unwrap_or_else(|_| {
        Err(azure_core::Error::new(
            azure_core::error::ErrorKind::Io,
            Late,
        ))
    });
    let bytes = body.map_err(|error| Failed::OnTheWay(inner.refused(READ, name, &error)))?;
    let is_whole = state.is_none() || length_of(&bytes) == range.end - range.start;
    let is_intact = told.is_none_or(|told| Crc64::of_all(bytes.iter().map(|it| &**it)) == told);
    if !is_whole || !is_intact {
        let corrupt = about(Error::new(ErrorKind::Corrupt, READ), name);
        return Err(Failed::OnTheWay(corrupt.with_detail(
            "a part of it has another length or checksum than the service tells of it",
        )));
    }
    Ok(Pieces {
        bytes,
        etag: answer.properties.etag.map(|etag| etag.to_string()),
    })
}

impl State {
    /// Looks at a blob that has another state than it had: whether it is still the same one.
    async fn looked_after(&self, inner: &Inner, name: &BlobName, changed: Error) -> Failed {
        match inner.look(READ, name).await {
            Ok(seen) if seen.document.upload == self.upload => {
                *self.etag.lock() = quoted(&seen.told);
                Failed::OnTheWay(changed)
            }
            // It was deleted, and put anew by somebody else: this is another blob.
            Ok(_) => Failed::ForGood(not_found(LOOK, name)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Failed::ForGood(not_found(LOOK, name))
            }
            Err(error) => Failed::ForGood(error),
        }
    }
}

/// Work that goes on while its caller does something else, and ends when its caller is gone.
struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<Result<T>> {
    async fn of(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let mut task = Self(tokio::spawn(work));
        (&mut task.0).await.unwrap_or_else(|cause| {
            Err(Error::new(ErrorKind::Unavailable, READ)
                .with_detail("the runtime shuts down")
                .with_source(cause))
        })
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
