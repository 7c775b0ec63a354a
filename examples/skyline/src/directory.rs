//! How the services and the edge name tenants.

use sha2::{Digest as _, Sha256};
use tenantry::{Error, ErrorKind, Result, TenantId};
use uuid::Builder;

/// The name by which people know a tenant: the first label of its host, `united.localhost`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slug(String);

impl Slug {
    /// Who runs the product: a tenant as any other, which may see the operator's page.
    pub const OPERATOR: &str = "operator";

    /// Checks a name.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is not 2 to 30 letters `a` to `z`, digits and `-`, beginning with a letter.
    pub fn new(text: &str) -> Result<Self> {
        let is_fine = (2..=30).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        match is_fine {
            true => Ok(Self(text.to_owned())),
            false => Err(Error::new(ErrorKind::InvalidInput, "read tenant name")
                .with_detail("expected 2 to 30 letters a to z, digits and -, the first a letter")),
        }
    }

    /// Returns the operator.
    #[must_use]
    pub fn operator() -> Self {
        Self(Self::OPERATOR.to_owned())
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the tenant of the name.
    ///
    /// It follows from the name, so that no name is taken twice, by the key of the registry's table, and
    /// nobody has to look across tenants to find one.
    ///
    /// # Errors
    ///
    /// `InvalidInput` never in practice: the digest would have to be of zeros.
    pub fn tenant(&self) -> Result<TenantId> {
        let digest = Sha256::new()
            .chain_update(b"skyline:")
            .chain_update(&self.0)
            .finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        TenantId::new(Builder::from_custom_bytes(bytes).into_uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_always_leads_to_the_same_tenant_and_another_to_another() {
        let united = Slug::new("united").unwrap();
        assert_eq!(united.tenant().unwrap(), united.clone().tenant().unwrap());
        assert_ne!(united.tenant().unwrap(), Slug::operator().tenant().unwrap());
        for wrong in ["", "u", "United", "7up", "a.b", "a_b", &"a".repeat(31)] {
            assert!(Slug::new(wrong).is_err(), "{wrong}");
        }
    }
}
