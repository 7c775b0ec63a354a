//! Reading bytes, in ranges of which several are on their way at a time.

use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use azure_core::http::headers::{HeaderName, Headers};
use azure_storage_blob::models::BlobClientDownloadOptions;
use bytes::Bytes;
use futures_util::future::{Either, ready, try_join};
use futures_util::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::document::{bare, quoted};
use super::refusal::Refusal;
use super::retry::{Late, after};
use super::{BLOCK, Inner, LOOK, checksum};
use crate::backend::BlobRead;
use crate::integrity::{Buffers, Crc64, Summing};
use crate::name::BlobName;
use crate::store::{about, not_found, outside, rehydrating};

const READ: &str = "read blob";
const SERVER: HeaderName = HeaderName::from_static("server");
/// How many ranges are asked for at a time.
const AT_ONCE: usize = 4;
/// How many ranges have begun and are not read yet: where the first is slow, those behind it make room for more.
const AHEAD: usize = 6;
/// How often a range is asked for whose answer breaks off.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn read(
    inner: &Arc<Inner>,
    name: &BlobName,
    range: Option<Range<u64>>,
) -> Result<BlobRead> {
    let look = inner.look(LOOK, name);
    let buffers = Buffers::of(usize::try_from(BLOCK).unwrap_or(usize::MAX));
    // How long it is, and in which state, is not known yet.
    let (seen, first) = match range {
        Some(_) => (look.await?, None),
        None => {
            let fetching = Fetching {
                inner: Arc::clone(inner),
                name: name.clone(),
                buffers: buffers.clone(),
                state: None,
            };
            // Where the look fails, nobody waits for bytes.
            try_join(look, fetching.fetch(0..BLOCK).map(|first| Ok(first.ok()))).await?
        }
    };
    if !seen.record.is_readable() {
        return Err(rehydrating(&seen.record));
    }
    let length = seen.record.length;
    let range = range.unwrap_or(0..length);
    if range.start > range.end || range.end > length {
        return Err(outside(name));
    }
    let etag = quoted(&seen.told);
    let mut start = range.start;
    let mut begun = None;
    if let Some(part) = first
        && part.etag.as_deref() == Some(etag.as_str())
        && length_of(&part.bytes) == range.end.min(BLOCK)
    {
        start = range.end.min(BLOCK);
        begun = Some(part.bytes).filter(|bytes| !bytes.is_empty());
    }
    let fetching = Fetching {
        inner: Arc::clone(inner),
        name: name.clone(),
        buffers,
        state: Some(Arc::new(State {
            upload: seen.document.upload,
            etag: Mutex::new(etag),
        })),
    };
    let begun = begun
        .into_iter()
        .map(|bytes| Either::Left(ready(Ok(bytes))));
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let rest = ranges(start..range.end).map(move |range| {
        let (fetching, turns) = (fetching.clone(), Arc::clone(&turns));
        Either::Right(Task::of(async move {
            // In the order in which they are to be read; it is never closed.
            let _turn = turns.acquire().await;
            Ok(fetching.fetch(range).await?.bytes)
        }))
    });
    // While the first is read, those behind it are on their way.
    let bytes = stream::iter(begun.chain(rest)).buffered(AHEAD);
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

fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The state of the blob that is read: others may change its record meanwhile, and never its bytes.
struct State {
    /// Tells it from what another put under the same name.
    upload: Uuid,
    etag: Mutex<String>,
}

/// What it takes to read a range.
#[derive(Clone)]
struct Fetching {
    inner: Arc<Inner>,
    name: BlobName,
    buffers: Buffers,
    /// The state that is read, once it is known.
    state: Option<Arc<State>>,
}

/// The bytes of a range.
struct Part {
    bytes: Bytes,
    etag: Option<String>,
}

enum Failed {
    /// Another try may do better.
    OnTheWay(Error),
    /// Others have changed its record meanwhile, and its state is known again.
    Changed(Error),
    ForGood(Error),
}

impl Failed {
    fn into_error(self) -> Error {
        match self {
            Self::OnTheWay(error) | Self::Changed(error) | Self::ForGood(error) => error,
        }
    }
}

impl Fetching {
    /// Reads one range whole, as often as it takes, and checks it where the service tells its checksum.
    async fn fetch(&self, range: Range<u64>) -> Result<Part> {
        let end = after(self.inner.settings.deadline);
        let (mut pause, mut tries) = (FIRST_PAUSE, 1);
        loop {
            match self.fetch_once(&range, end).await {
                // Nothing has failed: each time another state was there.
                Err(Failed::Changed(_)) if Instant::now() < end => {}
                Err(Failed::OnTheWay(_)) if tries < TRIES && Instant::now() + pause < end => {
                    tries += 1;
                    sleep(pause).await;
                    pause *= 2;
                }
                outcome => return outcome.map_err(Failed::into_error),
            }
        }
    }

    async fn fetch_once(&self, range: &Range<u64>, end: Instant) -> Result<Part, Failed> {
        let (inner, name) = (&*self.inner, &self.name);
        let state = self.state.as_deref();
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let asked = state.map(|state| state.etag.lock().clone());
        let options = BlobClientDownloadOptions {
            if_match: asked.clone().map(Into::into),
            parallel: NonZero::new(1),
            partition_size: NonZero::new(length),
            range: Some((range.start..range.end).into()),
            range_get_content_crc64: inner.settings.checks_ranges.then_some(true),
            ..BlobClientDownloadOptions::default()
        };
        let blob = inner.blob(name);
        let download = blob.download(Some(options));
        let answer = match timeout_at(end, download).await.unwrap_or_else(late) {
            Ok(answer) => answer,
            Err(error) => {
                let refusal = Refusal::of(&error);
                let is_changed = refusal.status() == Some(412);
                let refused = inner.refused(READ, name, &error);
                return Err(match state.zip(asked).filter(|_| is_changed) {
                    Some((state, asked)) => {
                        state.looked_after(inner, name, (&asked, refused)).await
                    }
                    None if refusal.is_of_other_range() => Failed::OnTheWay(refused),
                    None => Failed::ForGood(refused),
                });
            }
        };
        let told = answer.properties;
        let crc64 = told.content_crc64.as_deref().and_then(checksum::read);
        let corrupt = |detail| {
            let corrupt = about(Error::new(ErrorKind::Corrupt, READ), name);
            Failed::OnTheWay(corrupt.with_detail(detail))
        };
        let etag = told.etag.map(|etag| etag.to_string());
        let is_other = |asked: &String| etag.as_deref().map(bare) != Some(bare(asked));
        if let Some((state, asked)) = state.zip(asked).filter(|(_, asked)| is_other(asked)) {
            // Its record may have changed between the condition and the answer; if not, somebody is on the way.
            let corrupt = about(Error::new(ErrorKind::Corrupt, READ), name).with_detail(
                "bytes of another state came than were asked for: look at what stands before the account",
            );
            return Err(state.looked_after(inner, name, (&asked, corrupt)).await);
        }
        let is_empty = told.content_length == Some(0);
        if crc64.is_none()
            && inner.settings.checks_ranges
            && !is_empty
            && !ignores_wishes(&answer.headers)
        {
            return Err(corrupt(
                "a part of it came without the checksum that was asked for: look at what stands before the \
                 account",
            ));
        }
        // Without a state it may be shorter than the range.
        let expected = told.content_length.map(usize::try_from);
        let room = expected.and_then(Result::ok).unwrap_or(length).min(length);
        let limit = end.min(after(inner.settings.try_timeout));
        let body = timeout_at(limit, self.collect(answer.body, room, crc64)).await;
        let body = body.unwrap_or_else(late);
        let bytes = body.map_err(|error| Failed::OnTheWay(inner.refused(READ, name, &error)))?;
        let is_whole = |bytes: &Bytes| state.is_none() || bytes.len() == length;
        let bytes = bytes.filter(is_whole).ok_or_else(|| {
            corrupt("a part of it has another length or checksum than the service tells of it")
        })?;
        Ok(Part { bytes, etag })
    }

    /// Returns all that comes in one piece: nothing if that is more than there is room for, or has another
    /// checksum.
    ///
    /// What comes is a part of larger memory, most of which is unused: it is not kept.
    async fn collect(
        &self,
        mut body: impl Stream<Item = azure_core::Result<Bytes>> + Unpin,
        room: usize,
        crc64: Option<Crc64>,
    ) -> azure_core::Result<Option<Bytes>> {
        let mut buffer = self.buffers.take(room);
        let mut summing = crc64.map(|_| Summing::default());
        while let Some(piece) = body.try_next().await? {
            if buffer.fill(&piece) < piece.len() {
                return Ok(None);
            }
            if let Some(summing) = &mut summing {
                summing.add(&piece);
            }
        }
        let is_intact = summing.map(Summing::finish) == crc64;
        Ok(is_intact.then(|| buffer.into_bytes()))
    }
}

/// Returns whether an answer is that of Azurite, which ignores what it cannot do under `--loose`.
fn ignores_wishes(headers: &Headers) -> bool {
    let server = headers.get_optional_str(&SERVER);
    server.is_some_and(|name| name.starts_with("Azurite-"))
}

fn late<T>(_: Elapsed) -> azure_core::Result<T> {
    Err(azure_core::Error::new(
        azure_core::error::ErrorKind::Io,
        Late,
    ))
}

impl State {
    /// Looks at a blob that has another state than it had: whether it is still the same one.
    async fn looked_after(
        &self,
        inner: &Inner,
        name: &BlobName,
        (asked, changed): (&str, Error),
    ) -> Failed {
        match inner.look(READ, name).await {
            Ok(seen) if seen.document.upload == self.upload => {
                let now = quoted(&seen.told);
                let is_other = now != asked;
                *self.etag.lock() = now;
                match is_other {
                    true => Failed::Changed(changed),
                    false => Failed::OnTheWay(changed),
                }
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
            let (kind, detail) = match cause.is_panic() {
                true => (ErrorKind::Unexpected, "it panicked, which is a bug"),
                false => (ErrorKind::Unavailable, "the runtime shuts down"),
            };
            Err(Error::new(kind, READ).with_detail(detail))
        })
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
