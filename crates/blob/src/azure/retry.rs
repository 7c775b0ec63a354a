//! Few tries within a deadline, whatever the service asks to wait.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::Error;
use azure_core::error::ErrorKind;
use azure_core::http::headers::{Headers, RETRY_AFTER};
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Request, StatusCode};
use tokio::time::{Instant, sleep, timeout_at};

/// How often something is tried.
const TRIES: u32 = 5;
/// The pause before the second try; it doubles, and a part of it is left to chance.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// How long a pause may be that the service asks for; what it wants beyond is for the caller to wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Tells whether an answer was lost to one of the tries of a request, which may have been carried out.
#[derive(Debug, Clone, Default)]
pub(super) struct Lost(Arc<AtomicBool>);

impl Lost {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Tries again in place of the official client, which waits as long as the service wants it to.
///
/// All requests are such that a second one changes nothing that the first has not; what a second one
/// answers of the first is for the caller to tell, by [`Lost`].
#[derive(Debug)]
pub(super) struct Retry {
    each: Duration,
    all: Duration,
}

impl Retry {
    pub(super) const fn new(each: Duration, all: Duration) -> Self {
        Self { each, all }
    }
}

#[allow(
    elided_lifetimes_in_paths,
    reason = "as the trait has it, without a name for the lifetime"
)]
#[async_trait]
impl Policy for Retry {
    async fn send(
        &self,
        context: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let end = after(self.all);
        let whole = request.clone();
        let mut pause = FIRST_PAUSE;
        let mut tries = 0;
        loop {
            tries += 1;
            let limit = end.min(after(self.each));
            let sent = next[0].send(context, request, &next[1..]);
            let outcome = timeout_at(limit, sent)
                .await
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Io, Late)));
            if let (true, Some(Lost(lost))) = (may_be_done(&outcome), context.value()) {
                lost.store(true, Ordering::Release);
            }
            if tries == TRIES || !may_differ(&outcome) {
                return outcome;
            }
            let asked = outcome.as_ref().ok().and_then(|it| wait_of(it.headers()));
            let wait = asked
                .unwrap_or_default()
                .max(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0));
            if wait > LONGEST_PAUSE || Instant::now() + wait >= end {
                return outcome;
            }
            sleep(wait).await;
            pause *= 2;
            *request = whole.clone();
        }
    }
}

/// Returns the time after so long: decades from now on where there is none, for a clock has an end.
pub(super) fn after(duration: Duration) -> Instant {
    const DECADES: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    let now = Instant::now();
    now.checked_add(duration).unwrap_or(now + DECADES)
}

/// Returns how long the service wants to be left alone.
pub(super) fn wait_of(headers: &Headers) -> Option<Duration> {
    let milliseconds = headers.get_optional_string(&"x-ms-retry-after-ms".into());
    if let Some(wait) = milliseconds.and_then(|text| text.parse().ok()) {
        return Some(Duration::from_millis(wait));
    }
    let seconds = headers.get_optional_str(&RETRY_AFTER)?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// Returns whether another try may come to something else.
fn may_differ(outcome: &PolicyResult) -> bool {
    match outcome {
        Ok(response) => matches!(
            response.status(),
            StatusCode::RequestTimeout
                | StatusCode::TooManyRequests
                | StatusCode::InternalServerError
                | StatusCode::BadGateway
                | StatusCode::ServiceUnavailable
                | StatusCode::GatewayTimeout
        ),
        Err(error) => matches!(error.kind(), ErrorKind::Connection | ErrorKind::Io),
    }
}

/// Returns whether the service may have done what was asked, though it did not say so.
fn may_be_done(outcome: &PolicyResult) -> bool {
    match outcome {
        Ok(response) => matches!(
            response.status(),
            StatusCode::RequestTimeout
                | StatusCode::InternalServerError
                | StatusCode::BadGateway
                | StatusCode::GatewayTimeout
        ),
        Err(error) => *error.kind() == ErrorKind::Io,
    }
}

/// No answer came in time.
#[derive(Debug)]
pub(super) struct Late;

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no whole answer came in time")
    }
}

impl std::error::Error for Late {}
