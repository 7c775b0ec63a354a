//! What the official client fails with, as an error of ours.
//!
//! Nothing of the client's own errors is kept but names and numbers: they hold whole answers, and URLs
//! with signatures in them.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use azure_core::error::ErrorKind as AzureErrorKind;
use azure_core::http::RawResponse;
use tenantry_core::{Error, ErrorKind};

use super::answer::Unfit;
use super::retry::{Late, wait_of};

/// The longest time to wait that is told on: what is longer than an hour is a mistake, or no friend.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// What a request is refused with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal<'e> {
    error: &'e azure_core::Error,
}

impl<'e> Refusal<'e> {
    pub(super) const fn of(error: &'e azure_core::Error) -> Self {
        Self { error }
    }

    fn response(self) -> Option<(u16, Option<&'e RawResponse>)> {
        match self.error.kind() {
            AzureErrorKind::HttpResponse {
                status,
                raw_response,
                ..
            } => Some((u16::from(*status), raw_response.as_deref())),
            _ => None,
        }
    }

    pub(super) fn status(self) -> Option<u16> {
        self.response().map(|(status, _)| status)
    }

    /// Returns the code of the service, such as `BlobNotFound`.
    pub(super) fn code(self) -> &'e str {
        let of_kind = match self.error.kind() {
            AzureErrorKind::HttpResponse { error_code, .. } => error_code.as_deref(),
            _ => None,
        };
        let (_, response) = self.response().unzip();
        let header = response
            .flatten()
            .and_then(|it| it.headers().get_optional_str(&"x-ms-error-code".into()));
        let code = header.or(of_kind).unwrap_or_default();
        let is_code = code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_code { code } else { "" }
    }

    /// Returns whether what was asked for may have been done all the same.
    pub(super) fn may_be_done(self) -> bool {
        match self.status() {
            Some(status) => matches!(status, 408 | 500 | 502 | 504),
            None => !matches!(
                self.error.kind(),
                AzureErrorKind::Connection | AzureErrorKind::Credential
            ),
        }
    }

    /// Returns whether bytes came that are not those that were asked for.
    pub(super) fn is_of_other_range(self) -> bool {
        let unfit = chain(self.error).find_map(|cause| cause.downcast_ref::<Unfit>());
        unfit == Some(&Unfit::OtherRange)
    }

    /// Returns it as an error of ours.
    pub(super) fn told(self, operation: &'static str, subject: &str) -> Error {
        let error = match self.response() {
            Some((status, response)) => self.answered(operation, status, response),
            None => self.unanswered(operation),
        };
        error.with_subject(subject.to_owned())
    }

    fn answered(
        self,
        operation: &'static str,
        status: u16,
        response: Option<&RawResponse>,
    ) -> Error {
        let code = self.code();
        let (kind, detail) = rule(status, code);
        let detail: Cow<'static, str> = match kind {
            ErrorKind::Unexpected => format!("the service answers {status} {code}").into(),
            _ => detail.into(),
        };
        let answer = Answer {
            status,
            code: code.to_owned(),
        };
        let error = Error::new(kind, operation)
            .with_detail(detail)
            .with_source(answer);
        match response.and_then(|response| wait_of(response.headers())) {
            Some(wait) if matches!(kind, ErrorKind::Throttled | ErrorKind::Unavailable) => {
                error.with_retry_after(wait.min(LONGEST_WAIT))
            }
            _ => error,
        }
    }

    fn unanswered(self, operation: &'static str) -> Error {
        let is_tls = chain(self.error).any(is_of_tls);
        let is_late = chain(self.error).any(|cause| cause.is::<Late>());
        let is_of_other = self.is_of_other_range();
        let (kind, detail) = match self.error.kind() {
            _ if is_tls => (
                ErrorKind::TlsFailed,
                "who answers for the account has no certificate that this process trusts",
            ),
            AzureErrorKind::Connection => (
                ErrorKind::Unavailable,
                "the account cannot be reached: look at its URL, at DNS and at the network",
            ),
            AzureErrorKind::Io if is_late => (
                ErrorKind::Unavailable,
                "no whole answer came in the time that the settings give",
            ),
            AzureErrorKind::Io => (ErrorKind::Unavailable, "the connection broke"),
            AzureErrorKind::Credential => (
                ErrorKind::AuthenticationFailed,
                "the credential gives no token",
            ),
            _ if is_of_other => (
                ErrorKind::Corrupt,
                "other bytes came than were asked for: look at what stands before the account",
            ),
            _ => (
                ErrorKind::Unexpected,
                "the answer is not that of Blob Storage: find out who answers for the account",
            ),
        };
        Error::new(kind, operation)
            .with_detail(detail)
            .with_source(Cause::of(self.error))
    }
}

/// Returns what an answer means.
fn rule(status: u16, code: &str) -> (ErrorKind, &'static str) {
    match (status, code) {
        (409, "BlobAlreadyExists") => (
            ErrorKind::AlreadyExists,
            "the name is taken, and blobs are never replaced: take another name",
        ),
        (409, "BlobArchived") => (
            ErrorKind::Rehydrating,
            "it rests in the archive: rehydrate it, and read it hours later",
        ),
        (409, "BlobBeingRehydrated") => (
            ErrorKind::Conflict,
            "it is on its way back from the archive",
        ),
        (409, "BlobImmutableDueToPolicy") => (
            ErrorKind::Retained,
            "a policy of immutability keeps it, by the service itself",
        ),
        (409, "BlobImmutableDueToLegalHold") => (
            ErrorKind::Retained,
            "a legal hold keeps it, by the service itself",
        ),
        (409, "ContainerBeingDeleted") => (
            ErrorKind::Unavailable,
            "its container is being deleted: wait half a minute",
        ),
        (409, "SnapshotsPresent") => (
            ErrorKind::Retained,
            "it has snapshots that others have taken of it: have them deleted first",
        ),
        // No other look at it ends a lease: it is no change of others.
        (409 | 412, code) if code.starts_with("Lease") => (
            ErrorKind::Locked,
            "another program has a lease on it: have it released, or break it",
        ),
        (409 | 412, _) => (
            ErrorKind::Conflict,
            "it was changed meanwhile: read it again",
        ),
        (400, "Md5Mismatch" | "Crc64Mismatch") => (
            ErrorKind::Corrupt,
            "bytes changed on their way: send them again",
        ),
        (400, "InvalidHeaderValue" | "OutOfRangeInput") => (
            ErrorKind::InvalidInput,
            "the service does not take a value, such as an end of a lock that has passed already",
        ),
        (400, "MetadataTooLarge") => (ErrorKind::InvalidInput, "its metadata are too much"),
        (400, "ImmutableStorageWithVersioningNotEnabled") => (ErrorKind::Unsupported, NO_LOCKS),
        (404, _) => (ErrorKind::NotFound, ""),
        (401, _)
        | (
            403,
            "AuthenticationFailed"
            | "InvalidAuthenticationInfo"
            | "KeyBasedAuthenticationNotPermitted",
        ) => (
            ErrorKind::AuthenticationFailed,
            "the account refuses the credential: it is another's, has ended, or is of a kind that the \
             account does not take; a clock that goes wrong looks the same",
        ),
        (
            403,
            "AuthorizationPermissionMismatch"
            | "AuthorizationFailure"
            | "InsufficientAccountPermissions",
        ) => (
            ErrorKind::PermissionDenied,
            "no role or signature lets the caller do this, or the network rules of the account refuse \
             it: assign it `Storage Blob Data Contributor`, for locks and tags `Storage Blob Data Owner`",
        ),
        (403, _) => (
            ErrorKind::PermissionDenied,
            "look at the caller's roles, and at the network rules of the account",
        ),
        (416, _) => (
            ErrorKind::Corrupt,
            "it is shorter than it was when it was put: restore it",
        ),
        (429, _) | (503, "ServerBusy" | "") => (
            ErrorKind::Throttled,
            "the account is called too often: spread tenants over accounts, or wait",
        ),
        (501, _) | (_, "APINotImplemented" | "FeatureNotSupported") => (
            ErrorKind::Unsupported,
            "who answers for the account cannot do this",
        ),
        (408 | 500..=599, _) => (
            ErrorKind::Unavailable,
            "the service does not answer: try again later, or look at its health in Azure",
        ),
        _ => (ErrorKind::Unexpected, ""),
    }
}

pub(super) const NO_LOCKS: &str = "the container keeps no locks: switch on immutable storage with \
                                   versioning, for the account or for the container";

/// What the service answered: a status, and its code.
#[derive(Debug)]
struct Answer {
    status: u16,
    code: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        match self.code.as_str() {
            "" => Ok(()),
            code => write!(f, " {code}"),
        }
    }
}

impl StdError for Answer {}

/// What failed in the network, in the words of who met it; who knows the URL is not heard.
#[derive(Debug)]
struct Cause {
    text: String,
    source: Option<Box<Self>>,
}

impl Cause {
    fn of(error: &azure_core::Error) -> Self {
        let knows_url = |cause: &&(dyn StdError + 'static)| {
            cause.is::<azure_core::Error>() || cause.is::<reqwest::Error>()
        };
        let mut texts: Vec<String> = chain(error)
            .filter(|cause| !knows_url(cause))
            .map(ToString::to_string)
            .collect();
        texts.dedup();
        let innermost = Self {
            text: texts.pop().unwrap_or_else(|| "no answer".to_owned()),
            source: None,
        };
        texts.into_iter().rfold(innermost, |source, text| Self {
            text,
            source: Some(Box::new(source)),
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

/// Returns an error and all that caused it.
fn chain(error: &azure_core::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(Some(error as &(dyn StdError + 'static)), |&error| {
        error.source()
    })
}

fn is_of_tls(cause: &(dyn StdError + 'static)) -> bool {
    // An error of the system does not name the one that it was made of as its source.
    let inner = cause
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    cause.is::<rustls::Error>() || inner.is_some_and(|inner| is_of_tls(inner))
}
