//! The code of an answer that is no success: what a program branches on, where the status alone is too coarse.

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use tenantry::ErrorKind;

/// The header that it stands in, from the services to the edge and from there to whoever has asked.
pub(crate) const PROBLEM: HeaderName = HeaderName::from_static("x-skyline-problem");

/// The tenant is not served.
pub(crate) const SUSPENDED: HeaderValue = HeaderValue::from_static("suspended");

/// The tenant is not served yet.
pub(crate) const PROVISIONING: HeaderValue = HeaderValue::from_static("provisioning");

/// Returns the code for an error of a store.
pub(crate) fn of(kind: ErrorKind) -> HeaderValue {
    HeaderValue::from_static(kind.as_str())
}

/// Gives an answer that is no success the code of its status, unless it has one: what extractors and layers of others
/// refuse has none.
pub(crate) async fn named(mut response: Response) -> Response {
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        let headers = response.headers_mut();
        headers.entry(PROBLEM).or_insert_with(|| by_status(status));
    }
    response
}

fn by_status(status: StatusCode) -> HeaderValue {
    HeaderValue::from_static(match status {
        StatusCode::UNAUTHORIZED => "signed_out",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::CONFLICT => "conflict",
        StatusCode::TOO_MANY_REQUESTS => "throttled",
        StatusCode::BAD_GATEWAY => "unreachable",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        status if status.is_client_error() => "invalid_input",
        _ => "unexpected",
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[tokio::test]
    async fn each_refusal_has_a_code_and_keeps_its_own() {
        let answer = |status| {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            response
        };
        let plain = named(answer(StatusCode::UNSUPPORTED_MEDIA_TYPE)).await;
        assert_eq!(plain.headers()[PROBLEM], "invalid_input");
        let mut own = answer(StatusCode::SERVICE_UNAVAILABLE);
        own.headers_mut()
            .insert(PROBLEM, of(ErrorKind::PoolExhausted));
        assert_eq!(named(own).await.headers()[PROBLEM], "pool_exhausted");
        let fine = named(answer(StatusCode::SEE_OTHER)).await;
        assert!(!fine.headers().contains_key(PROBLEM));
    }
}
