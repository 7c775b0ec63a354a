//! One connection: TLS, HTTP, and what goes wrong with either.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HOST, IF_MATCH};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use super::fault::ArmFault;
use super::refusal::Refusal;
use super::rest::{self, Answer, Call};
use super::{ArmRequest, HOST_NAME, Shared, lock};

const LONGEST_BODY: usize = 4 * 1024 * 1024;

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Serves a client until it goes, or is cut.
pub(super) async fn serve(
    client: TcpStream,
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
) -> Result<(), Failure> {
    client.set_nodelay(true)?;
    let stream = acceptor.accept(client).await?;
    let service = service_fn(|request| answer(&shared, request));
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await?;
    Ok(())
}

/// Answers a request; an error cuts the connection.
async fn answer(shared: &Shared, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, LONGEST_BODY).collect().await?.to_bytes();
    let number = shared.received(ArmRequest {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        has_token: head.headers.contains_key(AUTHORIZATION),
        if_match: header(&head, IF_MATCH.as_str()).map(str::to_owned),
        status: None,
    });
    let fault = lock(&shared.faults).meet();
    let outcome = match &fault {
        Some(ArmFault::CutBefore) => return Err(cut().into()),
        Some(ArmFault::Throttle { .. }) => Err(Refusal::new(
            429,
            "TooManyRequests",
            "The request is being throttled.",
        )),
        Some(ArmFault::Status(status)) => {
            let message = "The answer was asked for by the test.";
            Err(Refusal::new(*status, "InjectedFault", message))
        }
        Some(ArmFault::Ignored) => ignored(shared, &head, &body),
        _ => outcome(shared, &head, &body),
    };
    if let Some(ArmFault::Slow(delay)) = &fault {
        tokio::time::sleep(*delay).await;
    }
    let (status, etag, body) = match outcome {
        Ok(Answer { status, etag, body }) => (status, etag, body),
        Err(refusal) => (refusal.status, None, refusal.to_json()),
    };
    shared.answered(number, status);
    let mut bytes = match body {
        Value::Null => Bytes::new(),
        body => Bytes::from(body.to_string()),
    };
    if fault == Some(ArmFault::Garbage) {
        bytes = Bytes::from_static(b"<html>a page of a proxy</html>");
    }
    let mut response = Response::builder()
        .status(status)
        .header("x-ms-request-id", Uuid::new_v4().to_string())
        .header("x-ms-correlation-request-id", Uuid::new_v4().to_string());
    if status != 204 {
        response = response
            .header(CONTENT_TYPE, "application/json")
            // A body that is cut is known to be: it is shorter than this.
            .header(CONTENT_LENGTH, bytes.len());
    }
    if let Some(etag) = etag {
        response = response.header(ETAG, etag);
    }
    if status == 401 {
        let challenge = r#"Bearer authorization_uri="https://login.microsoftonline.com/common", error="invalid_token""#;
        response = response.header("www-authenticate", challenge);
    }
    if let Some(ArmFault::Throttle {
        retry_after: Some(seconds),
    }) = fault
    {
        response = response.header("retry-after", seconds);
    }
    let is_cut = fault == Some(ArmFault::CutAfter);
    Ok(response.body(frames(bytes, is_cut))?)
}

fn outcome(shared: &Shared, head: &Parts, body: &[u8]) -> Result<Answer, Refusal> {
    let authority = header(head, HOST.as_str()).unwrap_or_default();
    let host = authority
        .split_once(':')
        .map_or(authority, |(host, _)| host);
    if !host.eq_ignore_ascii_case(HOST_NAME) {
        return Err(Refusal::new(404, "NotFound", "There is no such host."));
    }
    authorize(shared, head)?;
    check_version(head.uri.query().unwrap_or_default())?;
    let segments: Vec<_> = head.uri.path().split('/').skip(1).collect();
    let is_word = |at: usize, word: &str| {
        segments
            .get(at)
            .is_some_and(|it| it.eq_ignore_ascii_case(word))
    };
    let is_account = is_word(0, "subscriptions")
        && is_word(2, "resourceGroups")
        && is_word(4, "providers")
        && is_word(5, "Microsoft.Storage")
        && is_word(6, "storageAccounts")
        && segments.len() > 7;
    if !is_account {
        let message = "The resource type could not be found.";
        return Err(Refusal::new(404, "InvalidResourceType", message));
    }
    let (subscription, group, name) = (segments[1], segments[3], segments[7]);
    let call = Call {
        method: head.method.as_str(),
        id: format!("/{}", segments[..8].join("/")),
        rest: segments[8..].to_vec(),
        if_match: header(head, IF_MATCH.as_str()),
        body,
    };
    let now = shared.clock.now();
    shared.with_account(subscription, group, name, |account| {
        rest::handle(account, &call, now)
    })
}

/// Answers a write by what a read of the same path would.
fn ignored(shared: &Shared, head: &Parts, body: &[u8]) -> Result<Answer, Refusal> {
    let mut reading = Request::builder().method("GET").uri(head.uri.clone());
    for (name, value) in &head.headers {
        reading = reading.header(name, value);
    }
    match reading.body(()) {
        Ok(reading) => outcome(shared, &reading.into_parts().0, &[]),
        Err(_) => outcome(shared, head, body),
    }
}

fn authorize(shared: &Shared, head: &Parts) -> Result<(), Refusal> {
    let Some(authorization) = header(head, AUTHORIZATION.as_str()) else {
        let message = "Authentication failed. The 'Authorization' header is missing.";
        return Err(Refusal::new(401, "AuthenticationFailed", message));
    };
    if !shared.accepts(authorization) {
        let message = "The access token is invalid.";
        return Err(Refusal::new(401, "InvalidAuthenticationToken", message));
    }
    if shared.denies() {
        let message = "The client does not have authorization to perform action.";
        return Err(Refusal::new(403, "AuthorizationFailed", message));
    }
    Ok(())
}

fn check_version(query: &str) -> Result<(), Refusal> {
    let version =
        url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "api-version");
    let Some((_, version)) = version else {
        return Err(Refusal::new(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        ));
    };
    let is_known = chrono::NaiveDate::parse_from_str(&version, "%Y-%m-%d").is_ok()
        && ("2023-01-01"..="2025-06-01").contains(&&*version);
    match is_known {
        true => Ok(()),
        false => Err(Refusal::new(
            400,
            "InvalidApiVersionParameter",
            "The api-version is not one of 2023-01-01 to 2025-06-01.",
        )),
    }
}

fn header<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    head.headers.get(name).and_then(|value| value.to_str().ok())
}

fn frames(mut bytes: Bytes, is_cut: bool) -> Body {
    let first = match is_cut {
        true => bytes.split_to(bytes.len() / 2),
        false => bytes,
    };
    let sent = stream::iter([Ok(Frame::data(first))]);
    let end = stream::once(async move {
        match is_cut {
            true => {
                // Lets out what was sent.
                tokio::time::sleep(Duration::from_millis(1)).await;
                Some(Err(cut()))
            }
            false => None,
        }
    });
    StreamBody::new(sent.chain(end.filter_map(std::future::ready))).boxed_unsync()
}

fn cut() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}
