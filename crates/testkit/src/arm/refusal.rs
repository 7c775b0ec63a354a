//! What the service answers when it does not do what it was asked for.

use serde_json::{Value, json};

/// An error of the service: a status and a code.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidRequestPropertyValue", message)
    }

    pub(super) fn no_container() -> Self {
        Self::new(
            404,
            "ContainerNotFound",
            "The specified container does not exist.",
        )
    }

    pub(super) fn changed() -> Self {
        let message = "The condition specified using HTTP conditional header(s) is not met.";
        Self::new(412, "PreconditionFailed", message)
    }

    pub(super) fn locked() -> Self {
        let message = "The requested operation is not allowed as the container has a locked immutability policy.";
        Self::new(409, "ContainerImmutabilityPolicyLocked", message)
    }

    pub(super) fn to_json(&self) -> Value {
        json!({ "error": { "code": self.code, "message": self.message } })
    }
}
