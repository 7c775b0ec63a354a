//! What an account, a container and a scope are called.

use std::fmt;

use tenantry_core::{Error, ErrorKind, Result, TenantId};

const NAME: &str = "name for storage management";

/// A storage account, and where it is: by the ids of Azure, none of which is a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageAccount {
    subscription: String,
    group: String,
    name: String,
}

impl StorageAccount {
    /// Returns the account of a name in a resource group of a subscription.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the subscription is no UUID, or Azure calls no group
    ///   or account so.
    pub fn new(subscription: &str, group: &str, name: &str) -> Result<Self> {
        let is_group = (1..=90).contains(&group.len())
            && !group.ends_with('.')
            && group.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'(' | b')')
            })
            && group.bytes().any(|byte| byte != b'.');
        let is_name = (3..=24).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let subscription = uuid::Uuid::try_parse(subscription).ok();
        match subscription {
            Some(subscription) if is_group && is_name => Ok(Self {
                subscription: subscription.hyphenated().to_string(),
                group: group.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err(invalid(
                "expected the UUID of a subscription, the name of a resource group, and an account of \
                 3 to 24 lower-case letters and digits",
            )),
        }
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn path(&self) -> String {
        let Self {
            subscription,
            group,
            name,
        } = self;
        format!(
            "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Storage/\
             storageAccounts/{name}"
        )
    }
}

impl fmt::Display for StorageAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

/// A container: 3 to 63 lower-case letters, digits and single hyphens between them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContainerName(String);

impl ContainerName {
    /// Returns the container of this name.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): Azure calls none so.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        Ok(Self(checked(name.into())?))
    }

    /// Returns the container of a tenant where each has its own, by what stands before its id.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): what stands before it is too long, or of another
    ///   form.
    pub fn of_tenant(prefix: &str, tenant: TenantId) -> Result<Self> {
        Self::new(format!("{prefix}{tenant}"))
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A scope of encryption: what is written under it is encrypted by a key of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScopeName(String);

impl ScopeName {
    /// Returns the scope of this name, of the form of a container's.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): Azure calls none so.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        Ok(Self(checked(name.into())?))
    }

    /// Returns the scope of a tenant: `t-` and its id.
    #[must_use]
    pub fn of_tenant(tenant: TenantId) -> Self {
        Self(format!("t-{tenant}"))
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ScopeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

fn checked(name: String) -> Result<String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_name = (3..=63).contains(&name.len())
        && name.bytes().all(fits)
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    match is_name {
        true => Ok(name),
        false => Err(invalid(
            "expected 3 to 63 lower-case letters, digits and single hyphens between them",
        )),
    }
}

fn invalid(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, NAME).with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBSCRIPTION: &str = "00000000-0000-0000-0000-00000000000a";

    #[test]
    fn no_name_leaves_its_place_in_a_path() {
        for name in [
            "", "ab", "a/b", "a..b", "A-b", "-ab", "ab-", "a--b", "%2e%2e", "a?b",
        ] {
            assert!(ContainerName::new(name).is_err(), "{name}");
            assert!(ScopeName::new(name).is_err(), "{name}");
        }
        for group in ["", ".", "..", "a/b", "a?b", "a%b", "a.", &"a".repeat(91)] {
            assert!(
                StorageAccount::new(SUBSCRIPTION, group, "abc").is_err(),
                "{group}"
            );
        }
        for (subscription, name) in [("x", "abc"), (SUBSCRIPTION, "a-b"), (SUBSCRIPTION, "../a")] {
            assert!(
                StorageAccount::new(subscription, "g", name).is_err(),
                "{name}"
            );
        }
        let account = StorageAccount::new(&SUBSCRIPTION.to_uppercase(), "my.group_(1)", "abc1");
        assert!(account.unwrap().path().contains(SUBSCRIPTION));
    }

    #[test]
    fn tenants_have_containers_and_scopes_of_their_own() {
        let (one, other) = (TenantId::generate(), TenantId::generate());
        assert_ne!(ScopeName::of_tenant(one), ScopeName::of_tenant(other));
        assert!(ScopeName::new(ScopeName::of_tenant(one).as_str()).is_ok());
        let of = |tenant| ContainerName::of_tenant("artifacts-", tenant).unwrap();
        assert_ne!(of(one), of(other));
        assert!(ContainerName::of_tenant("../", one).is_err());
    }
}
