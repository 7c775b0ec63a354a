//! Few tries, of what may be done twice, and no wait that another chooses.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, Headers, RETRY_AFTER};
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Method, Request, StatusCode};
use chrono::{DateTime, Utc};
use tenantry_core::{Clock as _, SystemClock};

/// How often something is tried.
const TRIES: u32 = 3;
/// The pause before the second try, where none is asked for; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause that a service may ask for: what wants more is told to the caller.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const MILLISECONDS: [HeaderName; 2] = [
    HeaderName::from_static("x-ms-retry-after-ms"),
    HeaderName::from_static("retry-after-ms"),
];

/// Tries again in place of the official pipeline, which does so eight times, a write as well, and waits
/// for as long as it is told to.
///
/// A read is tried again after any passing failure; a write where it is certain that it was not done: it
/// was throttled, or no connection came about.
#[derive(Debug)]
pub(super) struct Retry;

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
        let whole = request.clone();
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            let outcome = next[0].send(context, request, &next[1..]).await;
            let Some(asked) = may_differ(whole.method(), &outcome) else {
                return outcome;
            };
            let wait = asked.unwrap_or(pause);
            if wait > LONGEST_PAUSE {
                return outcome;
            }
            drop(outcome);
            tokio::time::sleep(wait).await;
            pause *= 2;
            *request = whole.clone();
        }
        next[0].send(context, request, &next[1..]).await
    }
}

/// Returns the pause that was asked for, where another try is allowed and may come to something else.
fn may_differ(method: Method, outcome: &PolicyResult) -> Option<Option<Duration>> {
    let is_read = method == Method::Get;
    match outcome {
        Ok(response) => {
            let is_passing = matches!(
                response.status(),
                StatusCode::RequestTimeout
                    | StatusCode::InternalServerError
                    | StatusCode::BadGateway
                    | StatusCode::ServiceUnavailable
                    | StatusCode::GatewayTimeout
            );
            let is_undone = response.status() == StatusCode::TooManyRequests;
            let now = SystemClock.now();
            (is_undone || is_read && is_passing).then(|| retry_after(response.headers(), now))
        }
        Err(error) => match error.kind() {
            ErrorKind::Connection => Some(None),
            ErrorKind::Io if is_read => Some(None),
            _ => None,
        },
    }
}

/// Returns how long a service wants to be left alone, which it says in seconds, in milliseconds or as a
/// date.
pub(super) fn retry_after(headers: &Headers, now: DateTime<Utc>) -> Option<Duration> {
    for name in MILLISECONDS {
        if let Some(Ok(wait)) = headers.get_optional_str(&name).map(str::parse) {
            return Some(Duration::from_millis(wait));
        }
    }
    let text = headers.get_optional_str(&RETRY_AFTER)?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    Some((date.to_utc() - now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use azure_core::http::AsyncRawResponse;

    use super::*;

    fn answered(status: u16, wait: Option<&str>) -> PolicyResult {
        let mut headers = Headers::new();
        if let Some(wait) = wait {
            headers.insert(RETRY_AFTER, wait.to_owned());
        }
        Ok(AsyncRawResponse::from_bytes(status.into(), headers, ""))
    }

    #[test]
    fn a_write_is_tried_again_where_it_was_not_done() {
        let failed = |kind| Err(azure_core::Error::with_message(kind, "x"));
        for method in [Method::Put, Method::Post, Method::Patch, Method::Delete] {
            assert!(may_differ(method, &answered(429, None)).is_some());
            assert!(may_differ(method, &failed(ErrorKind::Connection)).is_some());
            for outcome in [
                answered(503, None),
                answered(500, None),
                failed(ErrorKind::Io),
            ] {
                assert!(may_differ(method, &outcome).is_none());
            }
        }
        for outcome in [
            answered(503, None),
            answered(429, None),
            failed(ErrorKind::Io),
        ] {
            assert!(may_differ(Method::Get, &outcome).is_some());
        }
        for status in [200, 400, 401, 403, 404, 409, 412, 501] {
            assert!(may_differ(Method::Get, &answered(status, None)).is_none());
        }
    }

    #[test]
    fn a_wait_is_told_in_seconds_milliseconds_or_as_a_date() {
        let now = "2026-01-31T12:00:00Z".parse().unwrap();
        let wait = |name: &'static str, text: &'static str| {
            let mut headers = Headers::new();
            headers.insert(HeaderName::from_static(name), text);
            retry_after(&headers, now).map(|wait| wait.as_millis())
        };
        assert_eq!(wait("retry-after", "7"), Some(7_000));
        assert_eq!(wait("retry-after-ms", "7"), Some(7));
        assert_eq!(wait("x-ms-retry-after-ms", "70"), Some(70));
        assert_eq!(
            wait("retry-after", "Sat, 31 Jan 2026 12:00:30 GMT"),
            Some(30_000)
        );
        assert_eq!(
            wait("retry-after", "Sat, 31 Jan 2026 11:59:00 GMT"),
            Some(0)
        );
        for text in ["", "-1", "soon", "7.5", "99999999999999999999"] {
            assert_eq!(wait("retry-after", text), None, "{text}");
        }
    }
}
