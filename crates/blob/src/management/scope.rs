//! Scopes of encryption: a key for each tenant.

use azure_core::http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tenantry_core::{ErrorKind, Result};

use super::act::{ManagementAction, ManagementOrder};
use super::name::ScopeName;
use super::refusal::Operation;
use super::{Call, StorageManagement, part};

/// A scope of encryption.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncryptionScope {
    /// Whether what is under it can be read and written.
    pub is_enabled: bool,
    /// Whose key it has.
    pub key: ScopeKey,
}

/// Whose key a scope has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScopeKey {
    /// One that Microsoft keeps: a scope that was switched off can be switched on again.
    Microsoft,
    /// One in a Key Vault, by its address: without its version, the newest is used.
    KeyVault {
        /// Such as `https://keys.vault.azure.net/keys/tenant-a`.
        uri: String,
    },
}

#[derive(Deserialize)]
struct Scope {
    properties: Properties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    state: Option<String>,
    key_vault_properties: Option<KeyVault>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyVault {
    key_uri: Option<String>,
}

impl EncryptionScope {
    fn read(operation: &Operation, answer: &Value) -> Result<Self> {
        let Scope { properties } = part(operation, answer)?;
        let uri = properties.key_vault_properties.and_then(|it| it.key_uri);
        Ok(Self {
            is_enabled: match properties.state.as_deref() {
                Some("Enabled") => true,
                Some("Disabled") => false,
                _ => return Err(operation.misread()),
            },
            key: uri.map_or(ScopeKey::Microsoft, |uri| ScopeKey::KeyVault { uri }),
        })
    }
}

fn path(scope: &ScopeName) -> String {
    format!("/encryptionScopes/{scope}")
}

/// Scopes of encryption.
impl StorageManagement {
    /// Returns a scope.
    ///
    /// # Errors
    ///
    /// [Those of all](StorageManagement#errors).
    pub async fn scope(&self, scope: &ScopeName) -> Result<EncryptionScope> {
        let operation = self.reading("read encryption scope", scope.as_str());
        let answer = self.get(&operation, &path(scope)).await?;
        EncryptionScope::read(&operation, &answer)
    }

    /// Creates a scope, unless it is there with this key and enabled.
    ///
    /// # Errors
    ///
    /// [Those of all](StorageManagement#errors), and [`Conflict`](ErrorKind::Conflict) where it is there
    /// with another key or switched off: it stays as it is.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done or it is not, and may be called again.
    pub async fn scope_create(&self, scope: &ScopeName, key: &ScopeKey) -> Result<EncryptionScope> {
        let operation = self.writing("create encryption scope", scope.as_str());
        let path = path(scope);
        // A put would switch on again what was switched off for good.
        let reading = self.reading(operation.name, scope.as_str());
        if let Some(found) = self.get_optional(&reading, &path).await? {
            let found = EncryptionScope::read(&reading, &found)?;
            if !found.is_enabled || found.key != *key {
                let detail = "it is there, switched off or with another key";
                return Err(operation.failed(ErrorKind::Conflict, detail));
            }
            return Ok(found);
        }
        let properties = match key {
            ScopeKey::Microsoft => json!({ "source": "Microsoft.Storage", "state": "Enabled" }),
            ScopeKey::KeyVault { uri } => json!({
                "source": "Microsoft.KeyVault",
                "state": "Enabled",
                "keyVaultProperties": { "keyUri": uri },
            }),
        };
        let call = Call::new(Method::Put, &path).with_body(json!({ "properties": properties }));
        let answer = self.call(&operation, call).await?.model(&operation)?;
        EncryptionScope::read(&operation, &answer)
    }

    /// Shreds all that is under a scope, by switching it off: from then on nobody reads or writes it,
    /// whatever role he has at its blobs.
    ///
    /// It is **final only once the key is gone**: with a key of [Microsoft's](ScopeKey::Microsoft) whoever
    /// may manage the account can switch the scope on again, so destroy the blobs as well; with one in a
    /// Key Vault, purge the key there. Blobs that are locked or held stay in the account and are counted,
    /// and cannot be read.
    ///
    /// # Errors
    ///
    /// [Those of all](StorageManagement#errors), and that of the audit.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done or it is not, and may be called again.
    pub async fn scope_shred(
        &self,
        scope: &ScopeName,
        order: &ManagementOrder,
    ) -> Result<EncryptionScope> {
        let operation = self.writing("shred encryption scope", scope.as_str());
        self.switch(&operation, scope, ManagementAction::ScopeShredded, order)
            .await
    }

    /// Switches a scope on again that was [shredded](Self::scope_shred) by mistake, as long as its key is
    /// there.
    ///
    /// # Errors
    ///
    /// As [`scope_shred`](Self::scope_shred).
    ///
    /// # Cancel safety
    ///
    /// As [`scope_shred`](Self::scope_shred).
    pub async fn scope_enable(
        &self,
        scope: &ScopeName,
        order: &ManagementOrder,
    ) -> Result<EncryptionScope> {
        let operation = self.writing("enable encryption scope", scope.as_str());
        self.switch(&operation, scope, ManagementAction::ScopeEnabled, order)
            .await
    }

    async fn switch(
        &self,
        operation: &Operation,
        scope: &ScopeName,
        action: ManagementAction,
        order: &ManagementOrder,
    ) -> Result<EncryptionScope> {
        let is_on = action == ManagementAction::ScopeEnabled;
        self.order(action, scope.as_str(), order).await?;
        let path = path(scope);
        let state = if is_on { "Enabled" } else { "Disabled" };
        let body = json!({ "properties": { "state": state } });
        let call = Call::new(Method::Patch, &path).with_body(body);
        let answer = self.call(operation, call).await?.model(operation)?;
        let scope = EncryptionScope::read(operation, &answer)?;
        match scope.is_enabled == is_on {
            true => Ok(scope),
            false => Err(operation.failed(
                ErrorKind::Unexpected,
                "the service took the switch and does not show it",
            )),
        }
    }
}
