//! What a vault answers when it does not do what it was asked for.

use std::fmt;

use serde_json::{Value, json};

/// An error of the service: a status, a code, and in some cases a second code inside.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    code: &'static str,
    inner: Option<&'static str>,
    message: String,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            code,
            inner: None,
            message: message.into(),
        }
    }

    pub(super) fn with_inner(mut self, code: &'static str) -> Self {
        self.inner = Some(code);
        self
    }

    pub(super) fn with_header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn bad_parameter(message: impl Into<String>) -> Self {
        Self::new(400, "BadParameter", message)
    }

    /// There is no such secret, or no such version of it: the vault makes no difference.
    pub(super) fn not_found(id: &str) -> Self {
        let message = format!(
            "A secret with (name/id) {id} was not found in this key vault. If you recently deleted \
             this secret you may be able to recover it using the correct recovery command."
        );
        Self::new(404, "SecretNotFound", message)
    }

    pub(super) fn deleted_not_found(name: &str) -> Self {
        let message = format!("Deleted Secret not found: {name}");
        Self::new(404, "SecretNotFound", message)
    }

    pub(super) fn disabled() -> Self {
        let message = "Operation get is not allowed on a disabled secret.";
        Self::new(403, "Forbidden", message).with_inner("SecretDisabled")
    }

    pub(super) fn deleted_but_recoverable(name: &str) -> Self {
        let message = format!(
            "Secret {name} is currently in a deleted but recoverable state, and its name cannot be \
             reused; in this state, the secret can only be recovered or purged."
        );
        Self::new(409, "Conflict", message).with_inner("ObjectIsDeletedButRecoverable")
    }

    pub(super) fn exists(name: &str) -> Self {
        Self::new(409, "Conflict", format!("Secret {name} already exists."))
    }

    /// The body of the answer.
    pub(super) fn to_json(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(code) = self.inner {
            error["innererror"] = json!({ "code": code });
        }
        json!({ "error": error })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.code)?;
        if let Some(code) = self.inner {
            write!(f, " ({code})")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Refusal {}
