//! What the official client fails with, as an error of ours.
//!
//! Nothing of the client's own errors is kept but names and numbers: they hold whole answers, and
//! the text of a parser may repeat a value.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use azure_core::error::ErrorKind as AzureErrorKind;
use azure_core::http::RawResponse;
use azure_core::http::headers::RETRY_AFTER;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use tenantry_core::{Clock as _, Error, ErrorKind, SystemClock};

use super::credential::{KeyVaultCredential, Late};

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Put,
    Switch,
    List,
}

impl Operation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read key vault",
            Self::Put => "write key vault",
            Self::Switch => "switch version in key vault",
            Self::List => "list key vault",
        }
    }

    /// Returns the error of an answer that says something else than it should.
    pub(super) fn misread(self, detail: &'static str) -> Error {
        match self {
            Self::Put => {
                let detail = format!(
                    "{detail}; the new version is stored or it is not, so look before storing it again"
                );
                Error::new(ErrorKind::CommitUnknown, self.as_str()).with_detail(detail)
            }
            Self::Read | Self::Switch | Self::List => {
                Error::new(ErrorKind::Unexpected, self.as_str()).with_detail(detail)
            }
        }
    }

    /// Returns the error of a request that cannot be made.
    pub(super) fn unsent(self) -> Error {
        Error::new(ErrorKind::Unexpected, self.as_str())
            .with_detail("the request cannot be written as JSON")
    }

    pub(super) fn missing(self) -> Error {
        Error::new(ErrorKind::NotFound, self.as_str()).with_detail(MISSING)
    }

    /// Turns an error of the official client into one of ours.
    pub(super) fn refused(
        self,
        error: &azure_core::Error,
        credential: &KeyVaultCredential,
    ) -> Error {
        match error.kind() {
            AzureErrorKind::HttpResponse {
                status,
                raw_response,
                ..
            } => self.answered((*status).into(), raw_response.as_deref()),
            AzureErrorKind::Connection | AzureErrorKind::Io => self.unreachable(error),
            AzureErrorKind::Credential => self.without_token(error, credential),
            // The client checks the challenge of a vault before it asks for a token.
            AzureErrorKind::DataConversion | AzureErrorKind::Other
                if chain(error).any(|cause| cause.to_string().contains("challenge")) =>
            {
                Error::new(ErrorKind::AuthenticationFailed, self.as_str()).with_detail(
                    "who answers for the vault asks for a token of something else, and was given \
                     none: find out who does, a proxy or a wrong name",
                )
            }
            _ => self.misread("the answer is not understood: find out who answers for the vault"),
        }
    }

    fn answered(self, status: u16, response: Option<&RawResponse>) -> Error {
        let answer = Answer::of(status, response);
        let (kind, detail): (_, Cow<'static, str>) = match (status, answer.inner.as_str()) {
            (_, "ObjectIsDeletedButRecoverable" | "ObjectIsBeingDeleted") => (
                ErrorKind::SecretDeleted,
                "it was deleted: recover it, or purge it".into(),
            ),
            (409, "ObjectIsBeingRecovered") => (
                ErrorKind::Unavailable,
                "it is being recovered: wait a moment".into(),
            ),
            (409, _) => (ErrorKind::Conflict, "another change is under way".into()),
            (404, _) => (ErrorKind::NotFound, MISSING.into()),
            (403, "SecretDisabled") => (
                ErrorKind::SecretDisabled,
                "this version is switched off: enable it, or store a new one".into(),
            ),
            (403, "ForbiddenByFirewall" | "ForbiddenByConnection") => (
                ErrorKind::PermissionDenied,
                "the vault's network rules refuse this address: let it in, or come by a private \
                 endpoint"
                    .into(),
            ),
            (403, "ForbiddenByRbac") => (ErrorKind::PermissionDenied, self.role().into()),
            (403, "AccessDenied" | "ForbiddenByPolicy") => {
                (ErrorKind::PermissionDenied, self.policy().into())
            }
            (403, _) => (
                ErrorKind::PermissionDenied,
                "look at the caller's roles, the vault's access policies and its network rules"
                    .into(),
            ),
            (401, _) => (
                ErrorKind::AuthenticationFailed,
                "the vault refuses the token: most often it is of another directory than the \
                 vault's own"
                    .into(),
            ),
            (429, _) => (
                ErrorKind::Throttled,
                "the vault is called too often: keep values longer, or spread secrets over vaults"
                    .into(),
            ),
            (400 | 413, _) if self == Self::Put => (
                ErrorKind::InvalidInput,
                "the vault does not take it: a value has at most 25 KB".into(),
            ),
            (400 | 413, _) => (
                ErrorKind::InvalidInput,
                "the vault does not understand the request: look at name and version".into(),
            ),
            (408 | 500..=599, _) => {
                let (kind, detail) = self.unanswered();
                (kind, detail.into())
            }
            _ => (
                ErrorKind::Unexpected,
                format!("the vault answers {answer}").into(),
            ),
        };
        let error = Error::new(kind, self.as_str())
            .with_detail(detail)
            .with_source(answer);
        match response.and_then(|response| retry_after(response, SystemClock.now())) {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }

    const fn role(self) -> &'static str {
        match self {
            Self::Read => {
                "no role lets the caller read the values of secrets: assign it `Key Vault Secrets \
                 User`"
            }
            Self::Put | Self::Switch => {
                "no role lets the caller write secrets: assign it `Key Vault Secrets Officer`"
            }
            Self::List => {
                "no role lets the caller list secrets: assign it `Key Vault Reader` or `Key Vault \
                 Secrets User`"
            }
        }
    }

    const fn policy(self) -> &'static str {
        match self {
            Self::Read => "the vault's access policies do not let the caller `get` secrets",
            Self::Put | Self::Switch => {
                "the vault's access policies do not let the caller `set` secrets"
            }
            Self::List => "the vault's access policies do not let the caller `list` secrets",
        }
    }

    const fn unanswered(self) -> (ErrorKind, &'static str) {
        match self {
            Self::Put => (
                ErrorKind::CommitUnknown,
                "the vault did not answer: the new version is stored or it is not, so look before \
                 storing it again",
            ),
            _ => (
                ErrorKind::Unavailable,
                "the vault does not answer: try again later, or look at its health in Azure",
            ),
        }
    }

    fn unreachable(self, error: &azure_core::Error) -> Error {
        let is_tls = chain(error).any(is_of_tls);
        let (kind, detail) = if is_tls {
            (
                ErrorKind::TlsFailed,
                "who answers for the vault has no certificate that this process trusts",
            )
        } else if *error.kind() == AzureErrorKind::Connection {
            (
                ErrorKind::Unavailable,
                "the vault cannot be reached: look at its name, at DNS and at the network",
            )
        } else {
            self.unanswered()
        };
        Error::new(kind, self.as_str())
            .with_detail(detail)
            .with_source(Cause::of(error))
    }

    fn without_token(self, error: &azure_core::Error, credential: &KeyVaultCredential) -> Error {
        let mut kind = ErrorKind::AuthenticationFailed;
        let mut is_of_network = false;
        let mut codes = String::new();
        for cause in chain(error) {
            if cause.is::<Late>() {
                (kind, is_of_network) = (ErrorKind::Unavailable, true);
            }
            match cause.downcast_ref().map(azure_core::Error::kind) {
                Some(AzureErrorKind::HttpResponse {
                    status, error_code, ..
                }) => {
                    if matches!(u16::from(*status), 408 | 429 | 500..=599) {
                        kind = ErrorKind::Unavailable;
                    }
                    codes = error_code.as_deref().map(entra_codes).unwrap_or_default();
                }
                Some(AzureErrorKind::Connection | AzureErrorKind::Io) => {
                    (kind, is_of_network) = (ErrorKind::Unavailable, true);
                }
                // A gateway's page, where a refusal would have been JSON.
                Some(AzureErrorKind::DataConversion) => kind = ErrorKind::Unavailable,
                _ => {}
            }
        }
        let what = match kind {
            ErrorKind::Unavailable => "who gives tokens does not answer as it should",
            _ => "no token was given",
        };
        let detail = format!("{what}{codes}: {}", credential.advice());
        let told = Error::new(kind, self.as_str()).with_detail(detail);
        match is_of_network {
            true => told.with_source(Cause::of(error)),
            false => told,
        }
    }
}

const MISSING: &str = "create it, or correct the reference; if it was deleted, recover it";

/// Returns the codes of Entra ID, such as 7000215, where they are numbers.
fn entra_codes(codes: &str) -> String {
    let is_number = |code: &&str| {
        (1..=10).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_digit())
    };
    let codes: Vec<_> = codes
        .split(',')
        .filter(is_number)
        .map(|code| format!("AADSTS{code}"))
        .take(3)
        .collect();
    match codes.is_empty() {
        true => String::new(),
        false => format!(" ({})", codes.join(", ")),
    }
}

/// What a vault answered: a status, and the two codes of its error.
#[derive(Debug)]
struct Answer {
    status: u16,
    code: String,
    inner: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    error: Codes,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Codes {
    code: String,
    innererror: InnerCode,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct InnerCode {
    code: String,
}

impl Answer {
    fn of(status: u16, response: Option<&RawResponse>) -> Self {
        let body: Option<Body> =
            response.and_then(|response| serde_json::from_slice(response.body().as_ref()).ok());
        let Codes {
            code,
            innererror: InnerCode { code: inner },
        } = body.unwrap_or_default().error;
        Self {
            status,
            code: name(code),
            inner: name(inner),
        }
    }
}

/// Returns a code of the service, and nothing that is none.
fn name(code: String) -> String {
    let is_name = code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_name { code } else { String::new() }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        for code in [&self.code, &self.inner] {
            if !code.is_empty() {
                write!(f, " {code}")?;
            }
        }
        Ok(())
    }
}

impl StdError for Answer {}

/// What failed in the network, in the words of who met it: nothing of a request but its address.
#[derive(Debug)]
struct Cause {
    text: String,
    source: Option<Box<Self>>,
}

impl Cause {
    /// Keeps what stands below the official client's own errors.
    fn of(error: &azure_core::Error) -> Self {
        let mut texts: Vec<String> = chain(error)
            .filter(|cause| !cause.is::<azure_core::Error>())
            .map(ToString::to_string)
            .collect();
        texts.dedup();
        let innermost = texts.pop().unwrap_or_else(|| "no answer".to_owned());
        let innermost = Self {
            text: innermost,
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

/// Returns how long a vault wants to be left alone, which it says in seconds or as a date.
fn retry_after(response: &RawResponse, now: DateTime<Utc>) -> Option<Duration> {
    let text = response.headers().get_optional_str(&RETRY_AFTER)?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    Some((date.to_utc() - now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use azure_core::http::StatusCode;
    use azure_core::http::headers::Headers;

    use super::*;

    fn response(wait: &str, body: &str) -> RawResponse {
        let mut headers = Headers::new();
        headers.insert(RETRY_AFTER, wait.to_owned());
        RawResponse::from_bytes(StatusCode::TooManyRequests, headers, body.to_owned())
    }

    #[test]
    fn a_wait_is_told_in_seconds_or_as_a_date() {
        let now = "2026-01-31T12:00:00Z".parse().unwrap();
        let wait = |text| retry_after(&response(text, ""), now).map(|wait| wait.as_secs());
        assert_eq!(wait("7"), Some(7));
        assert_eq!(wait("Sat, 31 Jan 2026 12:00:30 GMT"), Some(30));
        assert_eq!(wait("Sat, 31 Jan 2026 11:59:00 GMT"), Some(0));
        for text in ["", "-1", "soon", "7.5", "99999999999999999999"] {
            assert_eq!(wait(text), None, "{text}");
        }
    }

    #[test]
    fn of_an_answer_its_codes_are_kept_and_nothing_else() {
        let body = r#"{"error":{"code":"Forbidden","message":"canary","innererror":{"code":"ForbiddenByRbac","more":"canary"}}}"#;
        let answer = Answer::of(403, Some(&response("", body)));
        assert_eq!(answer.to_string(), "403 Forbidden ForbiddenByRbac");
        for body in [
            "",
            "canary",
            r#"{"error":"canary"}"#,
            r#"{"error":{"code":"the canary","innererror":{"code":"{canary}"}}}"#,
        ] {
            let answer = Answer::of(403, Some(&response("", body)));
            assert_eq!(answer.to_string(), "403", "{body}");
            assert!(!format!("{answer:?}").contains("canary"));
        }
    }

    #[test]
    fn codes_of_entra_are_numbers() {
        assert_eq!(entra_codes("7000215"), " (AADSTS7000215)");
        assert_eq!(entra_codes("700016,90002"), " (AADSTS700016, AADSTS90002)");
        assert_eq!(entra_codes("canary,,12345678901"), "");
    }
}
