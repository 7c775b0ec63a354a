//! Containers, and the legal holds on them.

use azure_core::http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tenantry_core::{ErrorKind, Result};

use super::act::{ManagementAction, ManagementOrder};
use super::immutability::{ImmutabilityPolicy, Policy};
use super::name::{ContainerName, ScopeName};
use super::refusal::Operation;
use super::{Call, StorageManagement, part};
use crate::record::ETag;
use crate::retention::HoldTag;

/// How many tags of holds a container has.
const HOLDS: usize = 10;

/// What a container is created with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewContainer {
    has_immutable_versions: bool,
    scope: Option<ScopeName>,
}

impl NewContainer {
    /// Returns a container that nobody may read without a token, and nothing else.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            has_immutable_versions: false,
            scope: None,
        }
    }

    /// Lets each blob be locked by itself: what a retention that is `locked` needs. It is said now or
    /// never, and takes an account with versions.
    #[must_use]
    pub const fn with_immutable_versions(mut self) -> Self {
        self.has_immutable_versions = true;
        self
    }

    /// Encrypts all that is written by a scope, and refuses to write by another.
    #[must_use]
    pub fn with_scope(mut self, scope: ScopeName) -> Self {
        self.scope = Some(scope);
        self
    }

    fn properties(&self) -> Value {
        let mut properties = json!({ "publicAccess": "None" });
        if self.has_immutable_versions {
            properties["immutableStorageWithVersioning"] = json!({ "enabled": true });
        }
        if let Some(scope) = &self.scope {
            properties["defaultEncryptionScope"] = json!(scope.as_str());
            properties["denyEncryptionScopeOverride"] = json!(true);
        }
        properties
    }
}

/// What is set on a container.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContainerState {
    /// Whether each blob can be locked by itself.
    pub has_immutable_versions: bool,
    /// The policy of immutability of all its blobs, if there is one.
    pub immutability: Option<ImmutabilityPolicy>,
    /// The tags of the legal holds on it.
    pub holds: Vec<String>,
    /// The scope by which is encrypted what names none.
    pub scope: Option<String>,
    /// Whether a blob may name another scope.
    pub may_override_scope: bool,
    /// Whether anybody may read it without a token.
    pub is_public: bool,
    /// Its state.
    pub etag: ETag,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    etag: Option<String>,
    properties: Properties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    immutable_storage_with_versioning: Option<Switch>,
    immutability_policy: Option<Policy>,
    legal_hold: Option<Holds>,
    default_encryption_scope: Option<String>,
    deny_encryption_scope_override: Option<bool>,
    public_access: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Switch {
    pub(super) enabled: Option<bool>,
}

#[derive(Deserialize)]
struct Holds {
    #[serde(default)]
    tags: Vec<Held>,
}

/// A tag stands by itself, or with who placed it and when.
#[derive(Deserialize)]
#[serde(untagged)]
enum Held {
    Alone(String),
    Told { tag: String },
}

impl Held {
    fn tag(self) -> String {
        match self {
            Self::Alone(tag) | Self::Told { tag } => tag,
        }
    }
}

impl ContainerState {
    fn read(operation: &Operation, answer: &Value) -> Result<Self> {
        let Container { etag, properties } = part(operation, answer)?;
        let policy = properties.immutability_policy;
        let holds = properties.legal_hold.into_iter().flat_map(|it| it.tags);
        Ok(Self {
            has_immutable_versions: properties
                .immutable_storage_with_versioning
                .is_some_and(|it| it.enabled == Some(true)),
            immutability: policy.and_then(|policy| policy.read(None)),
            holds: holds.map(Held::tag).collect(),
            scope: properties.default_encryption_scope,
            may_override_scope: properties.deny_encryption_scope_override != Some(true),
            is_public: properties.public_access.is_some_and(|it| it != "None"),
            etag: ETag::new(etag.unwrap_or_default()),
        })
    }
}

pub(super) fn path(container: &ContainerName) -> String {
    format!("/blobServices/default/containers/{container}")
}

/// Containers.
impl StorageManagement {
    /// Returns what is set on a container.
    ///
    /// # Errors
    ///
    /// [Those of all](StorageManagement#errors).
    pub async fn container(&self, container: &ContainerName) -> Result<ContainerState> {
        let operation = self.reading("read container", container.as_str());
        let answer = self.get(&operation, &path(container)).await?;
        ContainerState::read(&operation, &answer)
    }

    /// Creates a container, unless it is there as it is to be, and reads back what it has become.
    ///
    /// # Errors
    ///
    /// [Those of all](StorageManagement#errors), and:
    ///
    /// - [`RetentionNotEnforced`](ErrorKind::RetentionNotEnforced): its blobs cannot be locked, though
    ///   that was asked for: it was there before, or the service does not do it.
    /// - [`Conflict`](ErrorKind::Conflict): it is there with another scope.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done or it is not, and may be called again.
    pub async fn container_create(
        &self,
        container: &ContainerName,
        new: &NewContainer,
    ) -> Result<ContainerState> {
        let operation = self.writing("create container", container.as_str());
        let path = path(container);
        let call =
            Call::new(Method::Put, &path).with_body(json!({ "properties": new.properties() }));
        self.call(&operation, call).await?;
        let state = self.container(container).await?;
        if new.has_immutable_versions && !state.has_immutable_versions {
            return Err(operation.failed(
                ErrorKind::RetentionNotEnforced,
                "its blobs cannot be locked: it was there before, or the account has no versions",
            ));
        }
        let is_other = |scope: &ScopeName| {
            state.scope.as_deref() != Some(scope.as_str()) || state.may_override_scope
        };
        if new.scope.as_ref().is_some_and(is_other) {
            return Err(operation.failed(
                ErrorKind::Conflict,
                "it is there with another scope of encryption, and keeps that",
            ));
        }
        Ok(state)
    }

    /// Places legal holds on a container: nothing in it is changed or deleted until all are cleared.
    /// Returns the tags that are on it then.
    ///
    /// # Errors
    ///
    /// [Those of all](StorageManagement#errors), that of the audit, and
    /// [`InvalidInput`](ErrorKind::InvalidInput) for no tag or more than 10.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is done or it is not, and may be called again.
    pub async fn hold_place(
        &self,
        container: &ContainerName,
        tags: &[HoldTag],
        order: &ManagementOrder,
    ) -> Result<Vec<String>> {
        let operation = self.writing("place legal hold", container.as_str());
        let on = self
            .hold(&operation, container, tags, "setLegalHold", order)
            .await?;
        if !tags
            .iter()
            .all(|tag| on.iter().any(|it| it == tag.as_str()))
        {
            return Err(operation.failed(
                ErrorKind::RetentionNotEnforced,
                "the service took the hold and does not show it",
            ));
        }
        Ok(on)
    }

    /// Clears legal holds from a container, and returns the tags that are still on it.
    ///
    /// # Errors
    ///
    /// As [`hold_place`](Self::hold_place).
    ///
    /// # Cancel safety
    ///
    /// As [`hold_place`](Self::hold_place).
    pub async fn hold_clear(
        &self,
        container: &ContainerName,
        tags: &[HoldTag],
        order: &ManagementOrder,
    ) -> Result<Vec<String>> {
        let operation = self.writing("clear legal hold", container.as_str());
        self.hold(&operation, container, tags, "clearLegalHold", order)
            .await
    }

    async fn hold(
        &self,
        operation: &Operation,
        container: &ContainerName,
        tags: &[HoldTag],
        verb: &str,
        order: &ManagementOrder,
    ) -> Result<Vec<String>> {
        if !(1..=HOLDS).contains(&tags.len()) {
            return Err(operation.failed(ErrorKind::InvalidInput, "expected 1 to 10 tags"));
        }
        let action = match verb {
            "setLegalHold" => ManagementAction::HoldPlaced,
            _ => ManagementAction::HoldCleared,
        };
        self.order(action, container.as_str(), order).await?;
        let path = format!("{}/{verb}", path(container));
        let tags: Vec<_> = tags.iter().map(HoldTag::as_str).collect();
        let call = Call::new(Method::Post, &path).with_body(json!({ "tags": tags }));
        let holds: Holds = self.call(operation, call).await?.model(operation)?;
        Ok(holds.tags.into_iter().map(Held::tag).collect())
    }
}
