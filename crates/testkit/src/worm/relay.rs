//! One request through the front.

use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use crc_fast::CrcAlgorithm;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::net::TcpStream;

use super::State;
use super::fault::BlobFault;
use super::listing::with_kept;
use super::rules::{Kept, Refused};

const UNTIL: &str = "x-ms-immutability-policy-until-date";
const MODE: &str = "x-ms-immutability-policy-mode";
const HOLD: &str = "x-ms-legal-hold";
const CRC64: HeaderName = HeaderName::from_static("x-ms-content-crc64");
const WANTS_CRC64: &str = "x-ms-range-get-content-crc64";

type Body = UnsyncBoxBody<Bytes, Failed>;

/// The connection is cut.
#[derive(Debug)]
pub(super) struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut on purpose, or by the account")
    }
}

impl std::error::Error for Failed {}

/// Answers a request; an error cuts its connection.
pub(super) async fn answer(
    state: &State,
    request: Request<Incoming>,
) -> Result<Response<Body>, Failed> {
    state.requests.fetch_add(1, Ordering::SeqCst);
    let target = request.uri().to_string();
    let fault = state.faults.take(request.method().as_str(), &target);
    match fault {
        Some(BlobFault::Refused {
            status,
            code,
            retry_after,
        }) => {
            // The connection goes on, so all of it is read.
            let _ = request.into_body().collect().await;
            return Ok(refusal((status, code), retry_after));
        }
        Some(BlobFault::CutWithin(most)) => {
            let mut body = request.into_body();
            let mut come = 0;
            while come < most {
                match body.frame().await {
                    Some(Ok(frame)) => come += frame.data_ref().map_or(0, Bytes::len),
                    _ => break,
                }
            }
            return Err(Failed);
        }
        Some(BlobFault::Silence) => {
            let () = std::future::pending().await;
        }
        _ => {}
    }
    let altered = fault == Some(BlobFault::BodyAltered);
    let answer = kept(state, request, altered).await?;
    match fault {
        Some(BlobFault::AnswerLost) => {
            let _ = answer.into_body().collect().await;
            Err(Failed)
        }
        Some(BlobFault::AnswerAltered) => {
            let (head, body) = answer.into_parts();
            let mut bytes = body.collect().await?.to_bytes().to_vec();
            alter(&mut bytes);
            Ok(Response::from_parts(head, whole(bytes)))
        }
        Some(BlobFault::AnswerCutAfter(length)) => Ok(cut(answer, length).await?),
        Some(BlobFault::SlowAnswer(pause)) => Ok(slow(answer, pause)),
        _ => Ok(answer),
    }
}

/// What a request asks for, as far as locks and holds have a say in it.
enum Asked {
    SetPolicy,
    DeletePolicy,
    SetHold,
    Create,
    Write,
    Delete,
    Read,
    List,
    Other,
}

impl Asked {
    fn of(method: &Method, query: &str, is_blob: bool) -> Self {
        let comp = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("comp="))
            .unwrap_or_default()
            .to_ascii_lowercase();
        match (method.as_str(), comp.as_str(), is_blob) {
            ("GET", "list", false) if query.contains("restype=container") => Self::List,
            ("PUT", "immutabilitypolicies", true) => Self::SetPolicy,
            ("DELETE", "immutabilitypolicies", true) => Self::DeletePolicy,
            ("PUT", "legalhold", true) => Self::SetHold,
            ("PUT", "" | "blocklist", true) => Self::Create,
            ("PUT", "metadata" | "properties" | "snapshot", true) => Self::Write,
            ("DELETE", "", true) => Self::Delete,
            ("GET" | "HEAD", "", true) => Self::Read,
            _ => Self::Other,
        }
    }
}

async fn kept(
    state: &State,
    request: Request<Incoming>,
    altered: bool,
) -> Result<Response<Body>, Failed> {
    let path = percent_decode_str(request.uri().path())
        .decode_utf8_lossy()
        .into_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    // `/<account>/<container>/<blob>`.
    let is_blob = path.trim_matches('/').splitn(3, '/').count() == 3;
    let asked = Asked::of(request.method(), &query, is_blob);
    let headers = request.headers().clone();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let now = state.clock.now();
    let before = state.ledger(|ledger| ledger.get(&path));
    match asked {
        Asked::SetPolicy | Asked::DeletePolicy | Asked::SetHold => {
            // Who asks is for the account to say, which knows the operation and does not do it.
            let answer = passed(state, request, false).await?;
            if answer.status().is_client_error() {
                return Ok(answer);
            }
            let changed = state.ledger(|ledger| match asked {
                Asked::SetPolicy => ledger.set_policy(&path, header(UNTIL), header(MODE), now),
                Asked::DeletePolicy => ledger.delete_policy(&path),
                _ => ledger.set_hold(&path, header(HOLD)),
            });
            Ok(match changed {
                Ok(kept) => {
                    let mut answer = Response::new(whole(Vec::new()));
                    tell(answer.headers_mut(), kept);
                    answer
                }
                Err(refused) => refusal(refused, None),
            })
        }
        Asked::Create => {
            let kept = match Kept::asked(header(UNTIL), header(MODE), header(HOLD), now) {
                Ok(kept) => kept,
                Err(refused) => return Ok(refusal(refused, None)),
            };
            // What may not be there is for the account to refuse.
            let replaces = headers.get(IF_NONE_MATCH).is_none();
            if let (true, Err(refused)) = (replaces, before.check_write()) {
                return Ok(refusal(refused, None));
            }
            let answer = passed(state, request, altered).await?;
            if answer.status() == StatusCode::CREATED {
                state.ledger(|ledger| ledger.put(&path, kept));
            }
            Ok(answer)
        }
        Asked::Write => match before.check_write() {
            Ok(()) => passed(state, request, altered).await,
            Err(refused) => Ok(refusal(refused, None)),
        },
        Asked::Delete => {
            if let Err(refused) = before.check_deletion(now) {
                return Ok(refusal(refused, None));
            }
            let answer = passed(state, request, altered).await?;
            if answer.status().is_success() {
                state.ledger(|ledger| ledger.remove(&path));
            }
            Ok(answer)
        }
        Asked::Read => {
            let wants_crc64 = header(WANTS_CRC64).is_some();
            let mut answer = passed(state, request, altered).await?;
            if answer.status().is_success() {
                tell(answer.headers_mut(), before);
            }
            match wants_crc64 && answer.status() == StatusCode::PARTIAL_CONTENT {
                true => with_crc64(answer).await,
                false => Ok(answer),
            }
        }
        Asked::List => {
            let includes = |what: &str| query.to_ascii_lowercase().contains(what);
            let wanted = (includes("immutabilitypolicy"), includes("legalhold"));
            let (mut head, body) = passed(state, request, altered).await?.into_parts();
            let xml = body.collect().await?.to_bytes();
            let xml = String::from_utf8_lossy(&xml);
            let of_container = |name: &str| format!("{}/{name}", path.trim_end_matches('/'));
            let told = state
                .ledger(|ledger| with_kept(&xml, wanted, |name| ledger.get(&of_container(name))));
            head.headers.remove(CONTENT_LENGTH);
            Ok(Response::from_parts(head, whole(told.into_bytes())))
        }
        Asked::Other => passed(state, request, altered).await,
    }
}

/// Passes a request on, over a connection of its own.
async fn passed(
    state: &State,
    request: Request<Incoming>,
    altered: bool,
) -> Result<Response<Body>, Failed> {
    let stream = TcpStream::connect(&state.server)
        .await
        .map_err(|_| Failed)?;
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Failed)?;
    tokio::spawn(connection);
    let (head, body) = request.into_parts();
    let body = match altered {
        false => body.map_err(|_| Failed).boxed_unsync(),
        true => {
            let collected = body.collect().await.map_err(|_| Failed)?;
            let mut bytes = collected.to_bytes().to_vec();
            alter(&mut bytes);
            whole(bytes)
        }
    };
    let answer = sender
        .send_request(Request::from_parts(head, body))
        .await
        .map_err(|_| Failed)?;
    Ok(answer.map(|body| body.map_err(|_| Failed).boxed_unsync()))
}

async fn with_crc64(answer: Response<Body>) -> Result<Response<Body>, Failed> {
    let (mut head, body) = answer.into_parts();
    let bytes = body.collect().await?.to_bytes();
    let crc64 = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &bytes);
    let text = BASE64_STANDARD.encode(crc64.to_le_bytes());
    if let Ok(value) = HeaderValue::from_str(&text) {
        head.headers.insert(CRC64, value);
    }
    Ok(Response::from_parts(head, whole(bytes)))
}

/// Tells in headers what keeps a blob.
fn tell(headers: &mut HeaderMap, kept: Kept) {
    let mut add = |name: &'static str, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    if let Some(policy) = kept.policy {
        add(
            UNTIL,
            &policy.until.format("%a, %d %b %Y %H:%M:%S GMT").to_string(),
        );
        add(MODE, policy.mode.as_str());
    }
    if kept.is_held {
        add(HOLD, "true");
    }
}

fn refusal((status, code): Refused, retry_after: Option<u64>) -> Response<Body> {
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
    );
    let mut answer = Response::new(whole(xml.into_bytes()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = answer.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/xml"));
    headers.insert("x-ms-error-code", HeaderValue::from_static(code));
    if let Some(seconds) = retry_after {
        headers.insert("retry-after", HeaderValue::from(seconds));
    }
    answer
}

/// Sends the head of an answer and so many bytes, and cuts the connection.
async fn cut(answer: Response<Body>, length: usize) -> Result<Response<Body>, Failed> {
    let (mut head, body) = answer.into_parts();
    let bytes = body.collect().await?.to_bytes();
    head.headers
        .insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    let begin = bytes.slice(..length.min(bytes.len()));
    let parts = stream::iter([Ok(Frame::data(begin)), Err(Failed)]);
    Ok(Response::from_parts(
        head,
        BodyExt::boxed_unsync(StreamBody::new(parts)),
    ))
}

fn slow(answer: Response<Body>, pause: Duration) -> Response<Body> {
    answer.map(|body| {
        let frames = stream::unfold(body, move |mut body| async move {
            tokio::time::sleep(pause).await;
            let frame = body.frame().await?;
            Some((frame, body))
        });
        BodyExt::boxed_unsync(StreamBody::new(frames))
    })
}

fn alter(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
}

fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|error: Infallible| match error {})
        .boxed_unsync()
}
