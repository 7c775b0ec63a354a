//! Where a secret is kept.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::{Error, Result, TenantId};

const EXPECTED: &str = "expected kv://<vault>/<name>[/<version>] of letters, digits and hyphens, \
                        https://<vault>.vault.azure.net/secrets/<name>[/<version>], \
                        file:<path>[#<key>] or env:<NAME>; a secret itself does not belong here";
const MAX_BYTES: usize = 1024;
/// What the name of a tenant's secret begins with.
const TENANT_MARK: &str = "t-";

/// Where a secret is kept: what aggregates and settings hold in place of the secret.
///
/// Safe to store and to print. The forms are
///
/// - `kv://<vault>/<name>[/<version>]`, in Azure Key Vault. The identifier that Azure shows,
///   `https://<vault>.vault.azure.net/secrets/<name>[/<version>]`, is the same reference.
///   Vault and version are kept in lower case;
/// - `file:<path>[#<key>]`, the content of a file, or one key in it. The path has no `..` and
///   names no host;
/// - `env:<NAME>`, an environment variable.
///
/// Without a version, the latest one is meant. A [`SecretResolver`](crate::SecretResolver) turns
/// the reference into a [`Secret`](crate::Secret).
///
/// # Examples
///
/// ```
/// use tenantry_core::{SecretLocation, SecretReference, SecretScheme};
///
/// let reference: SecretReference = "kv://billing-prod/db-password".parse()?;
/// assert_eq!(reference.scheme(), SecretScheme::KeyVault);
/// assert_eq!(
///     reference.location(),
///     SecretLocation::KeyVault { vault: "billing-prod", name: "db-password", version: None }
/// );
///
/// let as_azure_shows_it = "https://billing-prod.vault.azure.net/secrets/db-password";
/// assert_eq!(as_azure_shows_it.parse::<SecretReference>()?, reference);
/// # Ok::<(), tenantry_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretReference {
    place: Place,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Place {
    KeyVault {
        vault: Box<str>,
        name: Box<str>,
        version: Option<Box<str>>,
    },
    File {
        path: Box<str>,
        key: Option<Box<str>>,
    },
    Env {
        name: Box<str>,
    },
}

/// The kind of place that a [`SecretReference`] names; it decides which resolver is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SecretScheme {
    /// Azure Key Vault, `kv`.
    KeyVault,
    /// A file, `file`.
    File,
    /// An environment variable, `env`.
    Env,
}

impl SecretScheme {
    /// Returns the stable name: `kv`, `file` or `env`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeyVault => "kv",
            Self::File => "file",
            Self::Env => "env",
        }
    }
}

impl fmt::Display for SecretScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The parts of a [`SecretReference`], for the resolver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretLocation<'a> {
    /// A secret of Azure Key Vault.
    KeyVault {
        /// The vault, in lower case.
        vault: &'a str,
        /// The secret's name, as it was written; Azure does not tell upper from lower case.
        name: &'a str,
        /// The version in 32 lower-case hexadecimal digits, or `None` for the latest.
        version: Option<&'a str>,
    },
    /// A file, or one key in it.
    File {
        /// The path, as it was written.
        path: &'a str,
        /// The key in the file, or `None` for its whole content.
        key: Option<&'a str>,
    },
    /// An environment variable.
    Env {
        /// The variable's name.
        name: &'a str,
    },
}

impl SecretReference {
    /// Returns the reference of a secret that belongs to a tenant: `kv://<vault>/t-<tenant>-<name>`,
    /// the tenant as 32 hexadecimal digits.
    ///
    /// Only a resolver that is bound to the tenant gives it out; a tenant's own settings can name no
    /// other.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): the vault is none, or `name` is not 1 to
    ///   92 of `[0-9A-Za-z-]`.
    ///
    /// # Examples
    ///
    /// ```
    /// use tenantry_core::{SecretReference, TenantId};
    ///
    /// let tenant: TenantId = "0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a".parse()?;
    /// let reference = SecretReference::of_tenant("integrations", tenant, "smtp-password")?;
    /// assert_eq!(
    ///     reference.to_string(),
    ///     "kv://integrations/t-0190b5a48f2e7c3d9a614f0e5d2c1b7a-smtp-password"
    /// );
    /// assert_eq!(reference.tenant(), Some(tenant));
    /// # Ok::<(), tenantry_core::Error>(())
    /// ```
    pub fn of_tenant(vault: &str, tenant: TenantId, name: &str) -> Result<Self> {
        let named = format!("{TENANT_MARK}{}-{name}", tenant.as_uuid().simple());
        // A name of its own has no separator that would begin a version.
        let place = (!name.is_empty() && is_secret_name(&named))
            .then(|| key_vault(vault, &named))
            .flatten();
        place.map(|place| Self { place }).ok_or_else(|| {
            Error::refused(
                "name secret of tenant",
                "expected a vault, and a name of 1 to 92 characters of [0-9A-Za-z-]",
            )
        })
    }

    /// Returns the tenant that the secret belongs to, or `None` if it is the platform's.
    #[must_use]
    pub fn tenant(&self) -> Option<TenantId> {
        let Place::KeyVault { name, .. } = &self.place else {
            return None;
        };
        let (mark, rest) = name.split_at_checked(TENANT_MARK.len())?;
        let (tenant, rest) = rest.split_at_checked(32)?;
        // Azure does not tell upper from lower case.
        let is_of_tenant =
            mark.eq_ignore_ascii_case(TENANT_MARK) && rest.starts_with('-') && rest.len() > 1;
        let tenant = is_of_tenant.then(|| uuid::Uuid::try_parse(tenant).ok())??;
        TenantId::new(tenant).ok()
    }

    /// Returns the reference of a version of the same secret of Key Vault.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): it is no secret of Key Vault, or the
    ///   version is not 32 hexadecimal digits.
    pub fn with_version(&self, version: &str) -> Result<Self> {
        match &self.place {
            Place::KeyVault { vault, name, .. } if is_version(version) => Ok(Self {
                place: Place::KeyVault {
                    vault: vault.clone(),
                    name: name.clone(),
                    version: Some(version.to_ascii_lowercase().into()),
                },
            }),
            _ => Err(Error::refused(
                "name version of secret",
                "expected a reference kv://…, and a version of 32 hexadecimal digits",
            )),
        }
    }

    /// Returns the same reference with the name in lower case, where the place does not tell it from
    /// upper case: so that one secret is one key of a map.
    #[must_use]
    pub fn in_lower_case(&self) -> Cow<'_, Self> {
        match &self.place {
            Place::KeyVault {
                vault,
                name,
                version,
            } if name.bytes().any(|byte| byte.is_ascii_uppercase()) => Cow::Owned(Self {
                place: Place::KeyVault {
                    vault: vault.clone(),
                    name: name.to_ascii_lowercase().into(),
                    version: version.clone(),
                },
            }),
            _ => Cow::Borrowed(self),
        }
    }

    /// Returns which kind of place is named.
    #[must_use]
    pub const fn scheme(&self) -> SecretScheme {
        match self.place {
            Place::KeyVault { .. } => SecretScheme::KeyVault,
            Place::File { .. } => SecretScheme::File,
            Place::Env { .. } => SecretScheme::Env,
        }
    }

    /// Returns the parts.
    #[must_use]
    pub fn location(&self) -> SecretLocation<'_> {
        match &self.place {
            Place::KeyVault {
                vault,
                name,
                version,
            } => SecretLocation::KeyVault {
                vault,
                name,
                version: version.as_deref(),
            },
            Place::File { path, key } => SecretLocation::File {
                path,
                key: key.as_deref(),
            },
            Place::Env { name } => SecretLocation::Env { name },
        }
    }
}

impl fmt::Display for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (separator, last) = match &self.place {
            Place::KeyVault {
                vault,
                name,
                version,
            } => {
                write!(f, "kv://{vault}/{name}")?;
                ("/", version)
            }
            Place::File { path, key } => {
                write!(f, "file:{path}")?;
                ("#", key)
            }
            Place::Env { name } => return write!(f, "env:{name}"),
        };
        last.as_deref()
            .map_or(Ok(()), |last| write!(f, "{separator}{last}"))
    }
}

impl fmt::Debug for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretReference({self})")
    }
}

impl FromStr for SecretReference {
    type Err = Error;

    /// Parses one of the forms above.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): anything else; among it other hosts, a
    ///   user, port, query or fragment. The message never repeats the text, which may be a secret.
    fn from_str(text: &str) -> Result<Self> {
        parse(text)
            .map(|place| Self { place })
            .ok_or_else(|| Error::refused("parse secret reference", EXPECTED))
    }
}

impl TryFrom<&str> for SecretReference {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        text.parse()
    }
}

impl Serialize for SecretReference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Asked for text, a format refuses a number by itself, and repeats it; it may be a PIN.
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(TextVisitor)
        } else {
            deserializer.deserialize_str(TextVisitor)
        }
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = SecretReference;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret reference as text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretReference, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<SecretReference, E> {
        self.visit_str("")
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<SecretReference, E> {
        self.visit_str("")
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<SecretReference, E> {
        self.visit_str("")
    }
}

fn parse(text: &str) -> Option<Place> {
    if text.len() > MAX_BYTES {
        None
    } else if let Some(rest) = text.strip_prefix("kv://") {
        let (vault, secret) = rest.split_once('/')?;
        key_vault(vault, secret)
    } else if let Some(rest) = text.strip_prefix("https://") {
        let (host, path) = rest.split_once('/')?;
        key_vault(
            host.strip_suffix(".vault.azure.net")?,
            path.strip_prefix("secrets/")?,
        )
    } else if let Some(rest) = text.strip_prefix("file:") {
        let (path, key) = split_optional(rest, '#');
        let is_valid = is_path(path) && key.is_none_or(is_file_key);
        is_valid.then(|| Place::File {
            path: path.into(),
            key: key.map(Into::into),
        })
    } else {
        let name = text.strip_prefix("env:")?;
        is_variable(name).then(|| Place::Env { name: name.into() })
    }
}

/// Reads a vault and a `<name>[/<version>]`, which are the same in both forms.
fn key_vault(vault: &str, secret: &str) -> Option<Place> {
    let (name, version) = split_optional(secret, '/');
    let is_valid = is_vault(vault) && is_secret_name(name) && version.is_none_or(is_version);
    is_valid.then(|| Place::KeyVault {
        vault: vault.to_ascii_lowercase().into(),
        name: name.into(),
        version: version.map(|version| version.to_ascii_lowercase().into()),
    })
}

/// Splits at the first `separator`; more of them are left to the check of the second part.
fn split_optional(text: &str, separator: char) -> (&str, Option<&str>) {
    text.split_once(separator)
        .map_or((text, None), |(first, second)| (first, Some(second)))
}

fn is_vault(vault: &str) -> bool {
    (3..=24).contains(&vault.len())
        && vault.starts_with(|first: char| first.is_ascii_alphabetic())
        && vault
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !vault.contains("--")
        && !vault.ends_with('-')
}

fn is_secret_name(name: &str) -> bool {
    (1..=127).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_version(version: &str) -> bool {
    version.len() == 32 && version.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_path(path: &str) -> bool {
    let separators = ['/', '\\'];
    !path.is_empty()
        && path.trim() == path
        && !path.contains(char::is_control)
        // Two separators in front name a host: `file://host/path`, `\\host\share`.
        && !path.chars().take(2).eq(['/', '/'])
        && !path.chars().take(2).eq(['\\', '\\'])
        && !path.ends_with(separators)
        && path.split(separators).all(|part| part != "..")
}

fn is_file_key(key: &str) -> bool {
    (1..=127).contains(&key.len())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests;
