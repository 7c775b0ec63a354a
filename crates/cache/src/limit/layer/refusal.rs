use http::{Response, StatusCode};
use tenantry_core::Error;

use crate::Decision;

/// Why a request is refused.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    decision: Option<Decision>,
    error: Option<Error>,
}

/// Makes the answer to a request that is refused.
///
/// It is a function from a [`Refusal`]; see [`RateLimitLayer::with_refusal`](super::RateLimitLayer::with_refusal).
pub trait Refuse<B> {
    /// Returns the answer, to which the header fields of the limits are added.
    fn refuse(&self, refusal: &Refusal) -> Response<B>;
}

/// Refuses with the status alone, in any body that can be empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StatusAlone;

impl Refusal {
    /// Refuses before anything is counted.
    pub(super) const fn by_caller(status: StatusCode) -> Self {
        Self {
            status,
            decision: None,
            error: None,
        }
    }

    pub(super) const fn by_limits(decision: Decision) -> Self {
        let status = match decision.failure() {
            None => StatusCode::TOO_MANY_REQUESTS,
            Some(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self {
            status,
            decision: Some(decision),
            error: None,
        }
    }

    pub(super) const fn by_mistake(error: Error) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            decision: None,
            error: Some(error),
        }
    }

    /// Returns the status to answer with.
    ///
    /// - 429 (Too Many Requests): a limit is used up.
    /// - 503 (Service Unavailable): nothing could be counted, and a rule refuses then.
    /// - 500 (Internal Server Error): the charge is none that can pass; the [`error`](Self::error) tells why.
    /// - another: that which the function of the layer has answered.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns what is left of the limits, where they were looked at.
    #[must_use]
    pub const fn decision(&self) -> Option<&Decision> {
        self.decision.as_ref()
    }

    /// Returns what is wrong with the charge: it is a mistake of the service, not of the client.
    #[must_use]
    pub const fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }
}

impl<B: Default> Refuse<B> for StatusAlone {
    fn refuse(&self, refusal: &Refusal) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = refusal.status();
        response
    }
}

impl<B, F: Fn(&Refusal) -> Response<B>> Refuse<B> for F {
    fn refuse(&self, refusal: &Refusal) -> Response<B> {
        self(refusal)
    }
}
