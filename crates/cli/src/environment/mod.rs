//! What stands in the environment, and not in the list of processes.

use std::env::VarError;

use tenantry_core::{Error, ErrorKind, Result, Secret};

/// Where the database is, and the password of the role.
pub(crate) struct Environment {
    pub(crate) url: Option<String>,
    pub(crate) password: Option<Secret>,
}

impl Environment {
    /// Reads `TENANTRY_DATABASE_URL` and `TENANTRY_DATABASE_PASSWORD`; empty is as if not set.
    pub(crate) fn from_env() -> Result<Self> {
        Ok(Self {
            url: read("TENANTRY_DATABASE_URL")?,
            password: read("TENANTRY_DATABASE_PASSWORD")?.map(Secret::new),
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "`from_env` is where the environment is read"
)]
fn read(name: &str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => {
            Err(Error::new(ErrorKind::InvalidSettings, "read environment")
                .with_detail(format!("{name} is no UTF-8 text")))
        }
    }
}
