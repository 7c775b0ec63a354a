//! One connection: TLS, HTTP, and what goes wrong with either.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use super::fault::{Denial, Fault, Meeting, Moment};
use super::ledger::{Entry, VaultRequest};
use super::refusal::Refusal;
use super::rest::{self, Call};
use super::{Shared, names};

/// What a client asks for a token for.
const RESOURCE: &str = "https://vault.azure.net";

/// Far more than the longest value, escaped.
const LONGEST_BODY: usize = 1024 * 1024;

const CLIENT_REQUEST_ID: &str = "x-ms-client-request-id";

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

/// What one request has come to.
struct Outcome {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Option<Value>,
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        let body = Some(refusal.to_json());
        Self {
            status: refusal.status,
            headers: refusal.headers,
            body,
        }
    }
}

/// Answers a request; an error cuts the connection.
async fn answer(shared: &Shared, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
    let (head, body) = request.into_parts();
    let text = |name| {
        head.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let body = Limited::new(body, LONGEST_BODY).collect().await?.to_bytes();
    let authority = text(HOST.as_str());
    let vault = names::vault_of(authority);
    let entry = shared.ledger.begin(VaultRequest {
        method: head.method.to_string(),
        vault: vault.clone().unwrap_or_else(|| authority.to_owned()),
        path: head.uri.path().to_owned(),
        has_token: head.headers.contains_key(AUTHORIZATION),
        body_length: body.len(),
        status: None,
    });
    let call = Call {
        method: head.method.as_str(),
        authority,
        vault: vault.as_deref().unwrap_or_default(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        body: &body,
    };
    let is_authorized = shared.accepts(text(AUTHORIZATION.as_str()));
    let fault = shared.meet(&Meeting {
        vault: call.vault,
        secret: rest::secret_of(call.path),
        is_authorized,
    });
    match &fault {
        Some(Fault::Cut(Moment::BeforeAnswer)) => return Err(cut().into()),
        Some(Fault::Slow {
            delay,
            moment: Moment::BeforeAnswer,
        }) => tokio::time::sleep(*delay).await,
        _ => {}
    }
    let caller = Caller {
        has_token: head.headers.contains_key(AUTHORIZATION),
        is_authorized,
    };
    let outcome = outcome(shared, &call, caller, fault.as_ref());
    Ok(respond(
        shared,
        &entry,
        outcome,
        fault.as_ref(),
        text(CLIENT_REQUEST_ID),
    )?)
}

#[derive(Clone, Copy)]
struct Caller {
    has_token: bool,
    /// The token is taken.
    is_authorized: bool,
}

fn outcome(shared: &Shared, call: &Call<'_>, caller: Caller, fault: Option<&Fault>) -> Outcome {
    if let Some(refusal) = fault.and_then(|fault| refusal(shared, fault)) {
        return refusal.into();
    }
    if call.vault.is_empty() {
        let message = format!("{} is no vault", call.authority);
        return Refusal::new(404, "VaultNotFound", message).into();
    }
    if !caller.is_authorized {
        return challenge(shared, RESOURCE, caller).into();
    }
    match shared.with_store(|store, now| rest::handle(store, call, now)) {
        Ok(answer) => Outcome {
            status: answer.status,
            headers: Vec::new(),
            body: answer.body,
        },
        Err(refusal) => refusal.into(),
    }
}

/// What a fault answers in place of the vault, if it does.
fn refusal(shared: &Shared, fault: &Fault) -> Option<Refusal> {
    match fault {
        Fault::Throttle { retry_after } => {
            let message = "Request was not processed because too many requests were received. \
                 Reason: VaultRequestTypeLimitReached";
            let refusal = Refusal::new(429, "Throttled", message);
            Some(match retry_after {
                Some(wait) => refusal.with_header("retry-after", whole_seconds(*wait)),
                None => refusal,
            })
        }
        Fault::Unauthorized => {
            let claims = STANDARD.encode(r#"{"access_token":{"nbf":{"essential":true}}}"#);
            let challenge = format!(
                r#"{}, error="insufficient_claims", claims="{claims}""#,
                shared.challenge(RESOURCE)
            );
            let message = "The token was issued before access was withdrawn.";
            let refusal = Refusal::new(401, "Unauthorized", message);
            Some(refusal.with_header("www-authenticate", challenge))
        }
        Fault::Forbidden(denial) => {
            let (inner, message) = match denial {
                Denial::Role => (
                    "ForbiddenByRbac",
                    "Caller is not authorized to perform action on resource.",
                ),
                Denial::AccessPolicy => (
                    "AccessDenied",
                    "The caller does not have secrets permission on the key vault.",
                ),
                Denial::Firewall => (
                    "ForbiddenByFirewall",
                    "Client address is not authorized and caller is not a trusted service.",
                ),
            };
            Some(Refusal::new(403, "Forbidden", message).with_inner(inner))
        }
        Fault::WrongChallenge { resource } => {
            let caller = Caller {
                has_token: false,
                is_authorized: false,
            };
            Some(challenge(shared, resource, caller))
        }
        Fault::Status(status) => {
            let message = "The answer was asked for by the test.";
            Some(Refusal::new(*status, "InjectedFault", message))
        }
        Fault::Slow { .. } | Fault::Cut(_) => None,
    }
}

fn challenge(shared: &Shared, resource: &str, caller: Caller) -> Refusal {
    let (challenge, message) = if caller.has_token {
        (
            format!(r#"{}, error="invalid_token""#, shared.challenge(resource)),
            "Error validating token: it is unknown, expired or revoked.",
        )
    } else {
        (
            shared.challenge(resource),
            "Request is missing a Bearer or PoP token.",
        )
    };
    Refusal::new(401, "Unauthorized", message).with_header("www-authenticate", challenge)
}

fn respond(
    shared: &Shared,
    entry: &Entry,
    outcome: Outcome,
    fault: Option<&Fault>,
    client_request_id: &str,
) -> Result<Response<Body>, hyper::http::Error> {
    let bytes = match outcome.body {
        Some(body) => Bytes::from(body.to_string()),
        None => Bytes::new(),
    };
    let mut response = Response::builder()
        .status(outcome.status)
        .header(CACHE_CONTROL, "no-cache")
        .header("x-ms-request-id", Uuid::new_v4().to_string());
    if !client_request_id.is_empty() {
        response = response.header(CLIENT_REQUEST_ID, client_request_id);
    }
    if outcome.status != 204 {
        response = response
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            // A body that is cut is known to be: it is shorter than this.
            .header(CONTENT_LENGTH, bytes.len());
    }
    for (name, value) in outcome.headers {
        response = response.header(name, value);
    }
    let response = response.body(body(steps(bytes, fault)))?;
    shared.ledger.answer(entry, outcome.status);
    Ok(response)
}

/// How a body is sent.
enum Step {
    Send(Bytes),
    /// Lets out what is to be sent, and waits.
    Wait(Duration),
    Cut,
}

fn steps(mut bytes: Bytes, fault: Option<&Fault>) -> Vec<Step> {
    let middle = match fault {
        Some(Fault::Cut(Moment::InBody)) => vec![Step::Wait(Duration::ZERO), Step::Cut],
        Some(Fault::Slow {
            delay,
            moment: Moment::InBody,
        }) => vec![Step::Wait(*delay)],
        _ => return vec![Step::Send(bytes)],
    };
    let half = bytes.split_to(bytes.len() / 2);
    let mut steps = vec![Step::Send(half)];
    steps.extend(middle);
    steps.push(Step::Send(bytes));
    steps
}

fn body(steps: Vec<Step>) -> Body {
    let frames = stream::unfold(steps.into_iter(), |mut steps| async move {
        loop {
            match steps.next()? {
                Step::Send(bytes) => return Some((Ok(Frame::data(bytes)), steps)),
                // Also none at all lets the connection write out what it has.
                Step::Wait(delay) => tokio::time::sleep(delay).await,
                Step::Cut => return Some((Err(cut()), steps)),
            }
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

fn cut() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

fn whole_seconds(wait: Duration) -> String {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    seconds.to_string()
}
