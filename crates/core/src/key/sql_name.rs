//! Names of database objects.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result, TenantId};

const EXPECTED: &str = "expected 1 to 63 characters of [a-z0-9_], the first of them no digit";

/// The name of a database object, as PostgreSQL keeps it without quotes.
///
/// It matches `[a-z_][a-z0-9_]{0,62}`: nothing in it ends a quoted name, folds to another name
/// or is cut off. Statements quote it all the same, for it may be a reserved word.
///
/// # Examples
///
/// ```
/// use tenantry_core::{SqlName, TenantId};
///
/// let tenant: TenantId = "0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a".parse()?;
/// let schema = SqlName::for_tenant("tenant", tenant)?;
/// assert_eq!(schema.as_str(), "tenant_0190b5a48f2e7c3d9a614f0e5d2c1b7a");
/// assert!(SqlName::new("invoices; drop table invoices").is_err());
/// # Ok::<(), tenantry_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SqlName(Box<str>);

impl SqlName {
    /// Returns `name` as a name.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): it does not match
    ///   `[a-z_][a-z0-9_]{0,62}`.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let is_valid = (1..=63).contains(&name.len())
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if is_valid {
            Ok(Self(name.into_boxed_str()))
        } else {
            Err(Error::refused("make SQL name", EXPECTED))
        }
    }

    /// Returns the name of an object that `tenant` has for itself: `<prefix>_<32 hex digits>`.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): `prefix` is not itself a name, or is
    ///   longer than 30 bytes, so that PostgreSQL would cut the tenant off.
    pub fn for_tenant(prefix: &str, tenant: TenantId) -> Result<Self> {
        Self::new(prefix)?;
        Self::new(format!("{prefix}_{}", tenant.as_uuid().simple()))
    }

    /// Returns the name, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SqlName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for SqlName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for SqlName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}
