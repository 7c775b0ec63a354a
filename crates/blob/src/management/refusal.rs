//! What the service or the way to it fails with, as an error of ours.
//!
//! Of an answer its status and its code are kept, of the network the words of who met it: nothing that
//! was sent, and so no token.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use azure_core::error::ErrorKind as AzureErrorKind;
use azure_core::http::RawResponse;
use serde::Deserialize;
use tenantry_core::{Clock as _, Error, ErrorKind, SystemClock};

use super::credential::{Late, ManagementCredential};
use super::retry::retry_after;

/// The longest time to wait that is told on: what is longer than an hour is a mistake, or no friend.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// What was being done, and to what.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) subject: String,
    /// It changes something.
    pub(super) is_write: bool,
}

impl Operation {
    pub(super) fn failed(&self, kind: ErrorKind, detail: impl Into<Cow<'static, str>>) -> Error {
        Error::new(kind, self.name)
            .with_subject(self.subject.clone())
            .with_detail(detail)
    }

    /// Returns the error of an answer that says something else than it should.
    pub(super) fn misread(&self) -> Error {
        let (kind, detail) = match self.is_write {
            true => (
                ErrorKind::CommitUnknown,
                "the answer is not understood: look whether it was done",
            ),
            false => (
                ErrorKind::Unexpected,
                "the answer is not understood: find out who answers for Azure",
            ),
        };
        self.failed(kind, detail)
    }

    pub(super) fn unanswered(&self) -> Error {
        let (kind, detail) = match self.is_write {
            true => (
                ErrorKind::CommitUnknown,
                "Azure did not answer: it was done or it was not, so look before trying again",
            ),
            false => (
                ErrorKind::Unavailable,
                "Azure does not answer: try again later, or look at its health",
            ),
        };
        self.failed(kind, detail)
    }

    /// Turns an answer that is no success into an error.
    pub(super) fn refused(&self, response: &RawResponse) -> Error {
        let answer = Answer::of(response);
        let error = self.answered(&answer).with_source(answer);
        match retry_after(response.headers(), SystemClock.now()) {
            Some(wait) => error.with_retry_after(wait.min(LONGEST_WAIT)),
            None => error,
        }
    }

    fn answered(&self, answer: &Answer) -> Error {
        let (kind, detail) = match (answer.status, &*answer.code) {
            (404, "SubscriptionNotFound" | "ResourceGroupNotFound" | "ResourceNotFound") => (
                ErrorKind::NotFound,
                "correct subscription, resource group and account, or let the caller read them",
            ),
            (404, _) => (ErrorKind::NotFound, "create it, or correct its name"),
            (409, "ContainerAlreadyExists" | "ResourceAlreadyExists") => {
                (ErrorKind::AlreadyExists, "it is there")
            }
            (
                409,
                "ContainerImmutabilityPolicyLocked"
                | "ImmutabilityPolicyLocked"
                | "ContainerHasLegalHold"
                | "ContainerImmutabilityPolicyExtensionLimit",
            ) => (
                ErrorKind::Retained,
                "a locked policy is only extended, and that five times; a legal hold is cleared first",
            ),
            (409, _) => (
                ErrorKind::Conflict,
                "its state does not allow it, or another change is under way",
            ),
            (412, _) => (
                ErrorKind::Conflict,
                "another has changed it: read it again and decide anew",
            ),
            (401, _) => (
                ErrorKind::AuthenticationFailed,
                "the token is refused: most often it is of another directory than the subscription",
            ),
            (403, "ScopeLocked") => (
                ErrorKind::PermissionDenied,
                "a lock is on the resource: whoever placed it has to take it off",
            ),
            (403, _) => (
                ErrorKind::PermissionDenied,
                "no role lets the caller do it: assign it `Storage Account Contributor` at the account",
            ),
            (429, _) => (
                ErrorKind::Throttled,
                "Azure is asked too often: leave it alone for a while",
            ),
            (400, _) => (
                ErrorKind::InvalidInput,
                "the service does not take it: see the code that it gives",
            ),
            (408 | 500..=599, _) => return self.unanswered(),
            _ => (
                ErrorKind::Unexpected,
                "the service answers what no rule expects",
            ),
        };
        self.failed(kind, format!("{detail} ({answer})"))
    }

    /// Turns what came in place of an answer into an error.
    pub(super) fn unreached(
        &self,
        error: &azure_core::Error,
        credential: &ManagementCredential,
    ) -> Error {
        let is_of_network =
            |kind: &AzureErrorKind| matches!(kind, AzureErrorKind::Connection | AzureErrorKind::Io);
        if *error.kind() == AzureErrorKind::Credential {
            let passes = chain(error).any(|cause| {
                let inner = cause.downcast_ref().map(azure_core::Error::kind);
                cause.is::<Late>() || inner.is_some_and(is_of_network)
            });
            let kind = match passes {
                true => ErrorKind::Unavailable,
                false => ErrorKind::AuthenticationFailed,
            };
            return self.failed(kind, format!("no token was given: {}", credential.advice()));
        }
        if chain(error).any(is_of_tls) {
            let detail = "who answers for Azure has no certificate that this process trusts";
            return self
                .failed(ErrorKind::TlsFailed, detail)
                .with_source(Cause::of(error));
        }
        match error.kind() {
            AzureErrorKind::Connection => self.failed(
                ErrorKind::Unavailable,
                "Azure cannot be reached: look at DNS and at the network",
            ),
            AzureErrorKind::Io => self.unanswered(),
            _ => return self.misread(),
        }
        .with_source(Cause::of(error))
    }
}

/// What the service answered: a status, and the code of its error.
#[derive(Debug)]
struct Answer {
    status: u16,
    code: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    error: Code,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Code {
    code: String,
}

impl Answer {
    fn of(response: &RawResponse) -> Self {
        let body: Body = serde_json::from_slice(response.body().as_ref()).unwrap_or_default();
        let code = body.error.code;
        let is_code = code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
        Self {
            status: response.status().into(),
            code: if is_code { code } else { String::new() },
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        match self.code.is_empty() {
            true => Ok(()),
            false => write!(f, " {}", self.code),
        }
    }
}

impl StdError for Answer {}

/// What failed in the network, in the words of who met it: nothing of a request but its address.
#[derive(Debug)]
struct Cause(String);

impl Cause {
    fn of(error: &azure_core::Error) -> Self {
        let innermost = chain(error)
            .filter(|cause| !cause.is::<azure_core::Error>())
            .last();
        Self(innermost.map_or_else(|| "no answer".to_owned(), ToString::to_string))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Cause {}

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

#[cfg(test)]
mod tests {
    use azure_core::http::headers::{Headers, RETRY_AFTER};

    use super::*;

    #[test]
    fn no_wait_is_told_on_that_is_longer_than_an_hour() {
        let operation = Operation {
            name: "read account",
            subject: "billing".to_owned(),
            is_write: false,
        };
        for (text, wait) in [("7", 7), ("86400", 3_600), ("18446744073709551615", 3_600)] {
            let mut headers = Headers::new();
            headers.insert(RETRY_AFTER, text);
            let response = RawResponse::from_bytes(429.into(), headers, "");
            let told = operation.refused(&response).retry_after();
            assert_eq!(told, Some(Duration::from_secs(wait)));
        }
    }
}
