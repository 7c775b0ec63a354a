//! Answers as they come from the account, before the official client makes something of them.
//!
//! The client reads the body of a refusal outside of all policies, without a limit of its own; it holds the
//! number in a `Content-Range` for right, and asks for what that leaves open. So what it is given has an end, and
//! is of the range that was asked for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::Error;
use azure_core::error::ErrorKind;
use azure_core::http::headers::HeaderName;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{AsyncRawResponse, Context, HttpClient, Method, Request, StatusCode};
use bytes::BytesMut;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, future};
use tokio::time::timeout;

/// How much is read of a body that nobody asked for, so that its connection can be used again.
const SHORT: usize = 64 * 1024;
/// How long such a body is waited for: what an answer means stands in its head.
const PAUSE: Duration = Duration::from_secs(2);

/// How long the body of an answer may be; stands in the context of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Longest(pub(super) usize);

/// Sends requests, and passes on no answer that is not fit for the client.
#[derive(Debug)]
pub(super) struct Answers(reqwest::Client);

impl Answers {
    pub(super) const fn by(client: reqwest::Client) -> Self {
        Self(client)
    }
}

#[allow(
    elided_lifetimes_in_paths,
    reason = "as the trait has it, without a name for the lifetime"
)]
#[async_trait]
impl Policy for Answers {
    async fn send(
        &self,
        context: &Context,
        request: &mut Request,
        _last: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let answer = self.0.execute_request(request).await?;
        let status = answer.status();
        let has_body = matches!(status, StatusCode::Ok | StatusCode::PartialContent);
        if !(has_body && request.method() == Method::Get) {
            return Ok(shortened(answer).await);
        }
        if !is_of_range(request, &answer) {
            return Err(Error::new(ErrorKind::DataConversion, Unfit::OtherRange));
        }
        Ok(match context.value() {
            Some(Longest(longest)) => limited(answer, *longest),
            None => answer,
        })
    }
}

/// Returns an answer with as much of its body as has come in a moment.
async fn shortened(answer: AsyncRawResponse) -> AsyncRawResponse {
    let (status, headers, mut body) = answer.deconstruct();
    let mut bytes = BytesMut::new();
    let read = async {
        while let Ok(Some(piece)) = body.try_next().await {
            let room = SHORT - bytes.len();
            bytes.extend_from_slice(&piece[..piece.len().min(room)]);
            if bytes.len() == SHORT {
                break;
            }
        }
    };
    // Whether all of it came is nothing to those who see the status.
    let _ = timeout(PAUSE, read).await;
    AsyncRawResponse::from_bytes(status, headers, bytes.freeze())
}

/// Returns an answer that fails where its body is longer than that.
fn limited(answer: AsyncRawResponse, longest: usize) -> AsyncRawResponse {
    let (status, headers, body) = answer.deconstruct();
    AsyncRawResponse::new(status, headers, bounded(body, longest).boxed())
}

fn bounded<T: AsRef<[u8]>>(
    body: impl Stream<Item = azure_core::Result<T>>,
    longest: usize,
) -> impl Stream<Item = azure_core::Result<T>> {
    let mut room = longest;
    body.and_then(move |piece| {
        let left = room.checked_sub(piece.as_ref().len());
        room = left.unwrap_or_default();
        let too_long = || Error::new(ErrorKind::DataConversion, Unfit::TooLong);
        future::ready(left.map(|_| piece).ok_or_else(too_long))
    })
}

/// Returns whether an answer is of the range that was asked for, as far as the blob has it.
fn is_of_range(request: &Request, answer: &AsyncRawResponse) -> bool {
    let asked = request.headers().get_optional_str(&RANGE);
    let told = answer.headers().get_optional_str(&CONTENT_RANGE);
    match (asked, told) {
        (None, None) => true,
        // All of it may come where it is asked for from its begin on.
        (Some(asked), None) => {
            answer.status() == StatusCode::Ok
                && Asked::parse(asked).is_some_and(|asked| asked.start == 0)
        }
        (Some(asked), Some(told)) => Asked::parse(asked).is_some_and(|asked| asked.is_met_by(told)),
        (None, Some(_)) => false,
    }
}

const RANGE: HeaderName = HeaderName::from_static("range");
const CONTENT_RANGE: HeaderName = HeaderName::from_static("content-range");

/// The range that a request asks for, up to its last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    start: u64,
    last: u64,
}

impl Asked {
    fn parse(text: &str) -> Option<Self> {
        let (start, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        Some(Self {
            start: start.parse().ok()?,
            last: match last {
                "" => u64::MAX - 1,
                last => last.parse().ok()?,
            },
        })
    }

    /// Returns whether an answer tells of this range, or of what is there of it.
    fn is_met_by(self, told: &str) -> bool {
        let met = || {
            let (range, whole) = told.strip_prefix("bytes ")?.split_once('/')?;
            let (start, last) = range.split_once('-')?;
            let (start, last) = (start.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
            let is_last = match whole {
                "*" => last <= self.last,
                whole => last == self.last.min(whole.parse::<u64>().ok()?.checked_sub(1)?),
            };
            // The client reckons with what comes behind the last byte.
            Some(start == self.start && start <= last && last < u64::MAX && is_last)
        };
        met().unwrap_or_default()
    }
}

/// Why an answer is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    OtherRange,
    TooLong,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherRange => "the answer is of another range than was asked for",
            Self::TooLong => "the answer is longer than what was asked for can be",
        })
    }
}

impl std::error::Error for Unfit {}

#[cfg(test)]
mod tests {
    use azure_core::http::headers::Headers;
    use bytes::Bytes;
    use futures_util::{FutureExt as _, stream};

    use super::*;

    #[test]
    fn a_range_is_met_by_what_is_there_of_it_alone() {
        let asked = Asked::parse("bytes=10-19").unwrap();
        assert_eq!((asked.start, asked.last), (10, 19));
        for told in [
            "bytes 10-19/20",
            "bytes 10-19/99",
            "bytes 10-14/15",
            "bytes 10-14/*",
        ] {
            assert!(asked.is_met_by(told), "{told}");
        }
        for told in [
            "",
            "bytes */20",
            "items 10-19/20",
            "bytes 9-19/20",
            "bytes 11-19/20",
            "bytes 10-18/20",
            "bytes 10-20/21",
            "bytes 10-20/*",
            "bytes 10-9/10",
            "bytes 10-19/0",
            "bytes 10-19/19",
            "bytes 10-18446744073709551615/11",
        ] {
            assert!(!asked.is_met_by(told), "{told}");
        }
        let to_the_end = Asked::parse("bytes=10-").unwrap();
        assert!(to_the_end.is_met_by("bytes 10-19/20"));
        for told in [
            "bytes 10-18446744073709551615/*",
            "bytes 10-18446744073709551615/18446744073709551615",
        ] {
            assert!(!to_the_end.is_met_by(told), "{told}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_body_that_nobody_asked_for_the_begin_is_read() {
        let piece = || Ok(Bytes::from_static(&[7; 10_000]));
        let bodies = [
            stream::iter([piece(), Err(Error::new(ErrorKind::Io, "broken"))]).boxed(),
            stream::iter([piece()]).chain(stream::pending()).boxed(),
            stream::repeat_with(piece).boxed(),
        ];
        for (body, length) in bodies.into_iter().zip([10_000, 10_000, SHORT]) {
            let answer = AsyncRawResponse::new(StatusCode::NotFound, Headers::new(), body);
            let answer = shortened(answer).await;
            assert_eq!(answer.status(), StatusCode::NotFound);
            let body = answer.into_body().collect().await.unwrap();
            assert_eq!(body.len(), length);
        }
    }

    #[test]
    fn a_body_may_be_as_long_as_its_limit() {
        let read = |longest| {
            let pieces = [b"abc", b"def"].map(|piece| Ok(&piece[..]));
            let body = bounded(stream::iter(pieces), longest);
            let all = body.try_collect::<Vec<_>>().now_or_never().unwrap();
            all.map(|pieces| pieces.concat())
        };
        assert_eq!(read(6).unwrap(), b"abcdef");
        let error = read(5).unwrap_err();
        assert!(error.to_string().contains("longer"), "{error}");
    }
}
