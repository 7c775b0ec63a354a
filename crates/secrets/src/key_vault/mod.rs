//! A vault of Azure Key Vault, through the official client.

mod connection;
mod credential;
mod refusal;
mod retry;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::http::{ClientOptions, RetryOptions};
use azure_core::time::OffsetDateTime;
use azure_security_keyvault_secrets::models::{
    SecretAttributes as AzureAttributes, SecretClientGetSecretOptions,
    SecretClientUpdateSecretPropertiesOptions, SecretProperties, SetSecretParameters,
    UpdateSecretPropertiesParameters,
};
use azure_security_keyvault_secrets::{ResourceId, SecretClient, SecretClientOptions};
use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tenantry_core::{Error, ErrorKind, Result, Secret, SecretReference};

use self::connection::Connections;
pub use self::connection::KeyVaultConnection;
pub use self::credential::KeyVaultCredential;
use self::refusal::Operation;
use self::retry::Retry;
use crate::vault::{SecretAttributes, SecretRecord, SecretVersion, Validity, Vault};

/// How many lists of versions are asked for at a time.
const AT_A_TIME: usize = 8;

/// Keeps secrets in a vault of Azure Key Vault, `https://<name>.vault.azure.net`.
///
/// Make one for each vault and share it: a client's first request goes out without a token, to learn
/// from the vault's challenge what token it wants. A challenge that names anything but the vault's
/// own domain is refused, and gets no token.
///
/// # Calls
///
/// | what | calls |
/// |---|---|
/// | the first of a client, whatever it is, and those that begin before its answer | one more, for the challenge |
/// | [`read`](Vault::read), [`put`](Vault::put), [`set_enabled`](Vault::set_enabled) | 1 |
/// | [`versions`](Vault::versions) | 1 for each 25 versions |
/// | [`newest`](Vault::newest) | 1 for each 25 secrets, and 1 for each 25 versions of a secret that is enabled and has an end; 8 of these at a time |
/// | a token | 1 to Entra ID or the machine, about once an hour or a day |
///
/// A read, a list and a switch are tried up to three times where the vault does not answer or answers
/// with a failure of its own, with pauses below a second; a write is only where no connection came
/// about. A vault that throttles is not called again: [`Secrets`](crate::Secrets) waits for all.
/// One try takes 5 seconds at most, and a token 8.
///
/// # Errors
///
/// | kind | when |
/// |---|---|
/// | [`NotFound`](ErrorKind::NotFound) | there is no such secret or version, or it is deleted |
/// | [`SecretDeleted`](ErrorKind::SecretDeleted) | a write meets a deleted secret of that name |
/// | [`SecretDisabled`](ErrorKind::SecretDisabled) | the version is switched off |
/// | [`PermissionDenied`](ErrorKind::PermissionDenied) | a role or access policy is missing, or the vault's network rules refuse: the text says which |
/// | [`AuthenticationFailed`](ErrorKind::AuthenticationFailed) | the credential gives no token, the vault takes none of it, or the challenge is not the vault's |
/// | [`Throttled`](ErrorKind::Throttled) | the vault is called too often, with the time to wait if it says so |
/// | [`Unavailable`](ErrorKind::Unavailable) | the vault, or who gives tokens, cannot be reached or fails |
/// | [`TlsFailed`](ErrorKind::TlsFailed) | the certificate is not one to trust |
/// | [`InvalidInput`](ErrorKind::InvalidInput) | the value is larger than 25 KB |
/// | [`Conflict`](ErrorKind::Conflict) | another change of the secret is under way |
///
/// A read of a deleted secret answers `NotFound`, as the vault does. To tell the two apart would
/// cost another call for each miss and a permission that a reader does not have.
///
/// # Order
///
/// A vault tells when a version was stored in whole seconds. Of versions of the same second,
/// [`versions`](Vault::versions) cannot say which came first; a read of the newest always gives the
/// one that was stored last.
///
/// # What is kept secret, and what is not
///
/// No value and no token is in an error, in its sources or in `Debug`, and the official crates log
/// neither, at any level. A value is moved into a [`Secret`], which wipes it in the end; buffers of
/// TLS, HTTP and JSON are freed without that, in either direction. The feature `debug` of
/// `azure_core` has its crates log all headers, the token with them: with it,
/// [`new`](Self::new) fails.
///
/// # Examples
///
/// ```no_run
/// use std::sync::Arc;
///
/// use tenantry_core::SecretResolver as _;
/// use tenantry_secrets::{KeyVault, KeyVaultCredential, Secrets};
///
/// # async fn run() -> tenantry_core::Result<()> {
/// let vault = KeyVault::new("billing-prod", KeyVaultCredential::workload_identity())?;
/// let secrets = Secrets::builder()
///     .with_vault("billing-prod", Arc::new(vault))?
///     .build()?;
///
/// let password = secrets.resolve(&"kv://billing-prod/db-password".parse()?).await?;
/// # let _ = password;
/// # Ok(())
/// # }
/// ```
pub struct KeyVault {
    name: Box<str>,
    credential: KeyVaultCredential,
    client: SecretClient,
}

impl KeyVault {
    /// Returns the vault of this name, without a call.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): no vault can be called so, the credential
    ///   cannot be used in this process, or the system trusts no certificate.
    pub fn new(name: &str, credential: KeyVaultCredential) -> Result<Self> {
        Self::new_with(name, credential, &KeyVaultConnection::default())
    }

    /// Returns the vault of this name, reached in another way than by default; without a call.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new), and [`InvalidSettings`](ErrorKind::InvalidSettings) for a
    /// certificate that is none.
    ///
    /// # Examples
    ///
    /// Against a server for tests:
    ///
    /// ```no_run
    /// use tenantry_secrets::{KeyVault, KeyVaultCredential, KeyVaultConnection};
    ///
    /// # fn run(address: std::net::SocketAddr, certificate: &str, credential: KeyVaultCredential) -> tenantry_core::Result<()> {
    /// let connection = KeyVaultConnection::default()
    ///     .with_address(address)
    ///     .with_ca_certificate(certificate);
    /// let vault = KeyVault::new_with("orders", credential, &connection)?;
    /// # let _ = vault;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new_with(
        name: &str,
        credential: KeyVaultCredential,
        connection: &KeyVaultConnection,
    ) -> Result<Self> {
        let invalid = |detail| {
            Error::new(ErrorKind::InvalidSettings, "set up key vault")
                .with_subject(name.to_owned())
                .with_detail(detail)
        };
        let name = name.to_ascii_lowercase();
        if format!("kv://{name}/name")
            .parse::<SecretReference>()
            .is_err()
        {
            return Err(invalid(
                "expected 3 to 24 letters, digits and hyphens that begin with a letter",
            ));
        }
        if shows_values() {
            return Err(invalid(
                "the feature `debug` of azure_core is on, with which tokens are logged: find by \
                 `cargo tree -e features -i typespec_client_core` who asks for it",
            ));
        }
        let host = format!("{name}.vault.azure.net");
        let connections = Connections::new(&host, connection)?;
        let tokens = credential.connect(&connections)?;
        let client_options = SecretClientOptions {
            client_options: ClientOptions {
                per_call_policies: vec![Arc::new(Retry)],
                retry: RetryOptions::none(),
                transport: Some(connections.vault),
                ..ClientOptions::default()
            },
            verify_challenge_resource: Some(true),
            ..SecretClientOptions::default()
        };
        let client = SecretClient::new(&format!("https://{host}/"), tokens, Some(client_options))
            .map_err(|_| invalid("the official client cannot be set up"))?;
        Ok(Self {
            name: name.into(),
            credential,
            client,
        })
    }

    /// Returns the name, in lower case.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn told<T>(&self, operation: Operation, outcome: azure_core::Result<T>) -> Result<T> {
        outcome.map_err(|error| operation.refused(&error, &self.credential))
    }

    /// Lists the versions of a secret, in no order.
    async fn listed_versions(&self, name: &str) -> Result<Vec<Listed>> {
        let pages = self.client.list_secret_properties_versions(name, None);
        let pages = self.told(Operation::List, pages)?;
        let items: Vec<_> = self.told(Operation::List, pages.try_collect().await)?;
        items.iter().map(Listed::of).collect()
    }

    /// Finds out which version of a secret a list of secrets has told of.
    async fn newest_of(&self, secret: Listed) -> Result<Option<(String, SecretVersion)>> {
        let versions = self.listed_versions(&secret.name).await?;
        let is_it = |version: &&Listed| {
            (version.created_at, version.validity) == (secret.created_at, secret.validity)
        };
        // Unless it has changed since.
        let newest = versions
            .iter()
            .find(is_it)
            .or_else(|| versions.iter().max_by_key(|version| version.created_at));
        let newest = newest.map(Listed::version).transpose()?;
        Ok(newest.map(|version| (secret.name, version)))
    }
}

impl fmt::Debug for KeyVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyVault")
            .field("name", &self.name)
            .field("credential", &self.credential)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Vault for KeyVault {
    fn service_name(&self) -> Option<&str> {
        Some(&self.name)
    }

    async fn read(&self, name: &str, version: Option<&str>) -> Result<SecretRecord> {
        let options = SecretClientGetSecretOptions {
            secret_version: version.map(str::to_owned),
            ..SecretClientGetSecretOptions::default()
        };
        let answer = self.client.get_secret(name, Some(options)).await;
        let secret = self.told(Operation::Read, answer)?;
        let mut secret = secret
            .into_model()
            .map_err(|_| Operation::Read.misread(UNREADABLE))?;
        let value = secret.value.take();
        let value = Secret::new(value.ok_or_else(|| Operation::Read.misread(UNREADABLE))?);
        Ok(SecretRecord {
            version: Some(version_of(Operation::Read, secret.id.as_deref())?),
            secret: Arc::new(value),
            validity: validity(secret.attributes.as_ref()),
        })
    }

    async fn put(
        &self,
        name: &str,
        value: &Secret,
        attributes: &SecretAttributes,
    ) -> Result<SecretVersion> {
        let parameters = SetSecretParameters {
            value: Some(value.expose().to_owned()),
            secret_attributes: Some(AzureAttributes {
                // In whole seconds: what is between them is not given away.
                not_before: attributes.not_before.map(second_from).transpose()?,
                expires: attributes.expires_at.map(second_until).transpose()?,
                ..AzureAttributes::default()
            }),
            ..SetSecretParameters::default()
        };
        let body = parameters.try_into().map_err(|_| Operation::Put.unsent())?;
        let answer = self.client.set_secret(name, body, None).await;
        let mut secret = self
            .told(Operation::Put, answer)?
            .into_model()
            .map_err(|_| Operation::Put.misread(UNREADABLE))?;
        // The answer repeats it.
        drop(secret.value.take().map(Secret::new));
        Ok(SecretVersion {
            version: version_of(Operation::Put, secret.id.as_deref())?,
            created_at: created_at(Operation::Put, secret.attributes.as_ref())?,
            validity: validity(secret.attributes.as_ref()),
        })
    }

    async fn set_enabled(&self, name: &str, version: &str, enabled: bool) -> Result<()> {
        let parameters = UpdateSecretPropertiesParameters {
            secret_attributes: Some(AzureAttributes {
                enabled: Some(enabled),
                ..AzureAttributes::default()
            }),
            ..UpdateSecretPropertiesParameters::default()
        };
        let body = parameters
            .try_into()
            .map_err(|_| Operation::Switch.unsent())?;
        let options = SecretClientUpdateSecretPropertiesOptions {
            secret_version: Some(version.to_owned()),
            ..SecretClientUpdateSecretPropertiesOptions::default()
        };
        let answer = self
            .client
            .update_secret_properties(name, body, Some(options))
            .await;
        self.told(Operation::Switch, answer).map(drop)
    }

    async fn versions(&self, name: &str) -> Result<Vec<SecretVersion>> {
        let mut versions = self.listed_versions(name).await?;
        if versions.is_empty() {
            // The vault answers an empty list for what was never there.
            return Err(Operation::List.missing());
        }
        versions.sort_by_key(|version| version.created_at);
        versions.iter().map(Listed::version).collect()
    }

    async fn newest(&self) -> Result<Vec<(String, SecretVersion)>> {
        let pages = self.client.list_secret_properties(None);
        let pages = self.told(Operation::List, pages)?;
        let secrets: Vec<_> = self.told(Operation::List, pages.try_collect().await)?;
        let mut ending = Vec::new();
        for secret in &secrets {
            let secret = Listed::of(secret)?;
            if secret.validity.enabled && secret.validity.expires_at.is_some() {
                ending.push(self.newest_of(secret));
            }
        }
        let newest = futures_util::stream::iter(ending).buffered(AT_A_TIME);
        let newest: Vec<_> = newest.try_collect().await?;
        // One that was deleted meanwhile is none.
        let mut newest: Vec<_> = newest.into_iter().flatten().collect();
        newest.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(newest)
    }
}

/// One item of a list, of secrets or of versions.
struct Listed {
    name: String,
    /// A list of secrets does not tell it.
    version: Option<Arc<str>>,
    created_at: DateTime<Utc>,
    validity: Validity,
}

impl Listed {
    fn of(item: &SecretProperties) -> Result<Self> {
        let id = parsed(Operation::List, item.id.as_deref())?;
        Ok(Self {
            name: id.name,
            version: id.version.map(Into::into),
            created_at: created_at(Operation::List, item.attributes.as_ref())?,
            validity: validity(item.attributes.as_ref()),
        })
    }

    fn version(&self) -> Result<SecretVersion> {
        let version = self.version.clone();
        Ok(SecretVersion {
            version: version.ok_or_else(|| Operation::List.misread(UNREADABLE))?,
            created_at: self.created_at,
            validity: self.validity,
        })
    }
}

const UNREADABLE: &str = "the answer is not that of a vault: find out who answers for it";

fn parsed(operation: Operation, id: Option<&str>) -> Result<ResourceId> {
    id.and_then(|id| id.parse().ok())
        .ok_or_else(|| operation.misread(UNREADABLE))
}

fn version_of(operation: Operation, id: Option<&str>) -> Result<Arc<str>> {
    let version = parsed(operation, id)?.version;
    version
        .map(Into::into)
        .ok_or_else(|| operation.misread(UNREADABLE))
}

fn validity(attributes: Option<&AzureAttributes>) -> Validity {
    attributes.map_or(Validity::ALWAYS, |attributes| Validity {
        enabled: attributes.enabled.unwrap_or(true),
        not_before: attributes.not_before.and_then(time),
        expires_at: attributes.expires.and_then(time),
    })
}

fn created_at(operation: Operation, attributes: Option<&AzureAttributes>) -> Result<DateTime<Utc>> {
    attributes
        .and_then(|attributes| time(attributes.created?))
        .ok_or_else(|| operation.misread(UNREADABLE))
}

fn time(time: OffsetDateTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.unix_timestamp(), 0)
}

fn second_until(time: DateTime<Utc>) -> Result<OffsetDateTime> {
    second(time.timestamp())
}

fn second_from(time: DateTime<Utc>) -> Result<OffsetDateTime> {
    let is_between = time.timestamp_subsec_nanos() > 0;
    second(time.timestamp() + i64::from(is_between))
}

fn second(timestamp: i64) -> Result<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(timestamp).map_err(|_| {
        Error::new(ErrorKind::InvalidInput, "write key vault")
            .with_detail("a time is further away than a vault can write")
    })
}

/// Returns whether the official crates were built to show values.
fn shows_values() -> bool {
    let canary = SetSecretParameters {
        value: Some("canary".to_owned()),
        ..SetSecretParameters::default()
    };
    format!("{canary:?}").contains("canary")
}
