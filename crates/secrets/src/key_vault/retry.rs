//! Few and quick tries, of what may be done twice.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::headers::RETRY_AFTER;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Method, Request, StatusCode};

/// How often something is tried.
const TRIES: u32 = 3;
/// The pause before the second try; it doubles, and a part of it is left to chance.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Tries again in place of the official client, which does so eight times within a minute, a write
/// as well, and loses the body of a first request that is not challenged but fails.
///
/// - A vault that throttles is never called again from here: [`Secrets`](crate::Secrets) leaves it
///   alone for all who ask.
/// - A new version is stored again only where no connection came about. Any other failure may hide
///   that it is stored, and a second try would store another.
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
            if !may_differ(whole.method(), &outcome) {
                return outcome;
            }
            tokio::time::sleep(pause.mul_f64(1.0 + rand::random::<f64>())).await;
            pause *= 2;
            *request = whole.clone();
        }
        next[0].send(context, request, &next[1..]).await
    }
}

/// What the official client says where another of its requests, challenged at the same time, has taken
/// the token away that was just given for this one.
const TOKEN_TAKEN_AWAY: &str =
    "The request failed due to an error while fetching the access token.";

/// Returns whether another try is allowed, and may come to something else.
fn may_differ(method: Method, outcome: &PolicyResult) -> bool {
    let is_repeatable = method != Method::Put;
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
            let asks_to_wait = response.headers().get_optional_str(&RETRY_AFTER).is_some();
            is_repeatable && is_passing && !asks_to_wait
        }
        Err(error) => match error.kind() {
            ErrorKind::Connection => true,
            ErrorKind::Io => is_repeatable,
            // Before anything of worth is sent: the first request goes without its body.
            ErrorKind::Credential => error.to_string() == TOKEN_TAKEN_AWAY,
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use azure_core::Error;

    use super::*;

    #[test]
    fn a_token_that_another_has_taken_away_is_asked_for_again_and_a_refused_one_is_not() {
        for method in [Method::Get, Method::Put] {
            let failed = |text| Err(Error::with_message(ErrorKind::Credential, text));
            assert!(may_differ(method, &failed(TOKEN_TAKEN_AWAY)));
            assert!(!may_differ(method, &failed("no login")));
        }
    }
}
