//! Secrets in the environment of the process.

use std::collections::BTreeSet;
use std::sync::Arc;

use tenantry_core::{Error, ErrorKind, Result, Secret};

use crate::vault::{SecretRecord, Validity};

/// The variables that references may name: a reference may come from a tenant's own settings.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    names: BTreeSet<String>,
}

impl Environment {
    pub(crate) fn allow(&mut self, name: String) {
        self.names.insert(name);
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "this is where variables that hold secrets are read"
    )]
    pub(crate) fn read(&self, name: &str) -> Result<SecretRecord> {
        if !self.names.contains(name) {
            return Err(Error::new(ErrorKind::NotFound, "read variable")
                .with_detail("references may not name it: allow it by with_variable"));
        }
        let secret = match std::env::var(name) {
            Ok(value) => Secret::new(value),
            Err(std::env::VarError::NotPresent) => {
                return Err(
                    Error::new(ErrorKind::NotFound, "read variable").with_detail("it is not set")
                );
            }
            // The text of this error would repeat the value.
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err(Error::new(ErrorKind::InvalidValue, "read variable")
                    .with_detail("its value is no Unicode text"));
            }
        };
        Ok(SecretRecord {
            version: None,
            secret: Arc::new(secret),
            validity: Validity::ALWAYS,
        })
    }
}
