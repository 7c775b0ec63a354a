//! What is set on a storage account and its containers, through Azure Resource Manager: immutability,
//! legal holds, the life cycle, versions, scopes of encryption.

mod act;
mod check;
mod connection;
mod container;
mod credential;
mod immutability;
mod name;
mod refusal;
mod retry;
mod rules;
mod scope;
mod service;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use azure_core::http::headers::{ACCEPT, CONTENT_TYPE, HeaderName, IF_MATCH};
use azure_core::http::policies::auth::BearerTokenAuthorizationPolicy;
use azure_core::http::{
    ClientOptions, Context, Method, Pipeline, PipelineSendOptions, RawResponse, Request,
    RetryOptions, Sanitizer as _, Url,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tenantry_core::{ErrorKind, Result};

pub use self::act::{ManagementAct, ManagementAction, ManagementAudit, ManagementOrder};
pub use self::check::{ManagementFinding, ManagementReport, ManagementSeverity};
pub use self::connection::ManagementConnection;
use self::connection::{Connections, HOST, invalid};
pub use self::container::{ContainerState, NewContainer};
pub use self::credential::ManagementCredential;
pub use self::immutability::{ImmutabilityPolicy, ProtectedAppends};
pub use self::name::{ContainerName, ScopeName, StorageAccount};
use self::refusal::Operation;
use self::retry::Retry;
pub use self::scope::{EncryptionScope, ScopeKey};
pub use self::service::{AccountState, BlobServiceChange, BlobServiceState};
use crate::record::ETag;

const SET_UP: &str = "set up storage management";
/// The version of the protocol.
const API_VERSION: &str = "2025-06-01";
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");

/// Manages a storage account: a small client of Azure Resource Manager, for what no data plane can do.
///
/// Keep it out of services: it takes a role that can take retention away. It is for deployments, for
/// operators and for a command that looks whether an account is as it must be.
///
/// # Calls
///
/// A read is tried up to three times where Azure does not answer or is throttling, a write only where it
/// is certain that it was not done. Pauses that Azure asks for are kept up to 5 seconds; what is longer is
/// told as [`retry_after`](tenantry_core::Error::retry_after). All together take 30 seconds at most, or
/// what [`with_deadline`](Self::with_deadline) says.
///
/// # Acts
///
/// What nobody undoes easily takes a [`ManagementOrder`], and is told to the [`ManagementAudit`] before it
/// is done; without one it is an event of `tracing` at `INFO`, target `tenantry::blob::audit`.
///
/// # Errors
///
/// | kind | when |
/// |---|---|
/// | [`NotFound`](ErrorKind::NotFound) | account, container, policy or scope is not there |
/// | [`Conflict`](ErrorKind::Conflict) | it was changed since it was read, or its state does not allow it |
/// | [`Retained`](ErrorKind::Retained) | a locked policy, or a legal hold, keeps it as it is |
/// | [`InvalidInput`](ErrorKind::InvalidInput) | the service does not take it |
/// | [`AuthenticationFailed`](ErrorKind::AuthenticationFailed), [`PermissionDenied`](ErrorKind::PermissionDenied) | there is no token, it is refused, or a role is missing |
/// | [`Throttled`](ErrorKind::Throttled), [`Unavailable`](ErrorKind::Unavailable), [`TlsFailed`](ErrorKind::TlsFailed) | it is asked too often, does not answer, or is not to be trusted |
/// | [`CommitUnknown`](ErrorKind::CommitUnknown) | the answer to a write was lost |
/// | [`RetentionNotEnforced`](ErrorKind::RetentionNotEnforced) | the service took immutability and does not show it |
///
/// No token is in an error, in its sources or in `Debug`.
///
/// # Examples
///
/// ```no_run
/// use tenantry_blob::{ContainerName, ManagementCredential, StorageAccount, StorageManagement};
///
/// # async fn run() -> tenantry_core::Result<()> {
/// let account = StorageAccount::new("00000000-0000-0000-0000-000000000000", "prod", "artifacts1")?;
/// let management = StorageManagement::new(account, ManagementCredential::developer_tools())?;
/// let report = management.check(&ContainerName::new("audit-archive")?).await?;
/// println!("{report}");
/// # Ok(())
/// # }
/// ```
pub struct StorageManagement {
    account: StorageAccount,
    credential: ManagementCredential,
    pipeline: Pipeline,
    deadline: Duration,
    audit: Arc<dyn ManagementAudit>,
}

impl StorageManagement {
    /// Returns the management of an account, without a call.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): the credential cannot be used in this process,
    ///   the system trusts no certificate, or the official crates were built to log tokens.
    pub fn new(account: StorageAccount, credential: ManagementCredential) -> Result<Self> {
        Self::new_with(account, credential, &ManagementConnection::default())
    }

    /// Returns the management of an account, reached in another way than by default; without a call.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new), and [`InvalidSettings`](ErrorKind::InvalidSettings) for a certificate
    /// that is none.
    pub fn new_with(
        account: StorageAccount,
        credential: ManagementCredential,
        connection: &ManagementConnection,
    ) -> Result<Self> {
        if shows_tokens() {
            return Err(invalid(
                "the feature `debug` of azure_core is on, with which tokens are logged: find by \
                 `cargo tree -e features -i typespec_client_core` who asks for it",
            ));
        }
        let connections = Connections::new(connection)?;
        let tokens = credential.connect(&connections)?;
        let options = ClientOptions {
            retry: RetryOptions::none(),
            transport: Some(connections.manager),
            ..ClientOptions::default()
        };
        // It refuses to send a token without TLS.
        let bearer =
            BearerTokenAuthorizationPolicy::new(tokens, [format!("https://{HOST}/.default")]);
        let pipeline = Pipeline::new(
            option_env!("CARGO_PKG_NAME"),
            option_env!("CARGO_PKG_VERSION"),
            options,
            vec![Arc::new(Retry)],
            vec![Arc::new(bearer)],
            None,
        );
        Ok(Self {
            account,
            credential,
            pipeline,
            deadline: Duration::from_secs(30),
            audit: Arc::new(act::TracedAudit),
        })
    }

    /// Sets how long a call takes at most, with its tries, its pauses and its token.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Tells of acts here, in place of `tracing`.
    #[must_use]
    pub fn with_audit(mut self, audit: Arc<dyn ManagementAudit>) -> Self {
        self.audit = audit;
        self
    }

    /// Returns the account.
    #[must_use]
    pub const fn account(&self) -> &StorageAccount {
        &self.account
    }

    fn operation(&self, name: &'static str, subject: &str, is_write: bool) -> Operation {
        let account = self.account.name();
        Operation {
            name,
            subject: match subject.is_empty() {
                true => account.to_owned(),
                false => format!("{account}/{subject}"),
            },
            is_write,
        }
    }

    fn reading(&self, name: &'static str, subject: &str) -> Operation {
        self.operation(name, subject, false)
    }

    fn writing(&self, name: &'static str, subject: &str) -> Operation {
        self.operation(name, subject, true)
    }

    /// Tells of an act before it is done.
    async fn order(
        &self,
        action: ManagementAction,
        subject: &str,
        order: &ManagementOrder,
    ) -> Result<()> {
        let act = ManagementAct {
            account: self.account.clone(),
            subject: subject.to_owned(),
            action,
            actor: order.actor.clone(),
            reason: order.reason.clone(),
        };
        self.audit.record(&act).await
    }

    async fn get(&self, operation: &Operation, path: &str) -> Result<Value> {
        let call = Call::new(Method::Get, path);
        self.call(operation, call).await?.model(operation)
    }

    /// The same, where nothing there is an answer.
    async fn get_optional(&self, operation: &Operation, path: &str) -> Result<Option<Value>> {
        match self.get(operation, path).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a call, and returns its answer if that is a success.
    async fn call(&self, operation: &Operation, call: Call<'_>) -> Result<Answered> {
        let answer = tokio::time::timeout(self.deadline, self.send(operation, call));
        match answer.await {
            Ok(answer) => answer,
            Err(_) => Err(operation.unanswered()),
        }
    }

    async fn send(&self, operation: &Operation, call: Call<'_>) -> Result<Answered> {
        let unsent = || operation.failed(ErrorKind::Unexpected, "the request cannot be written");
        let mut url = Url::parse(&format!("https://{HOST}")).map_err(|_| unsent())?;
        url.set_path(&format!("{}{}", self.account.path(), call.path));
        url.query_pairs_mut()
            .append_pair("api-version", API_VERSION);
        let mut request = Request::new(url, call.method);
        request.insert_header(ACCEPT, "application/json");
        let id = uuid::Uuid::new_v4().hyphenated().to_string();
        request.insert_header(CLIENT_REQUEST_ID, id);
        if let Some(etag) = call.if_match {
            request.insert_header(IF_MATCH, etag.as_str().to_owned());
        }
        if let Some(body) = &call.body {
            request.insert_header(CONTENT_TYPE, "application/json");
            request.set_body(body.to_string());
        }
        let options = PipelineSendOptions {
            skip_checks: true,
            ..PipelineSendOptions::default()
        };
        let context = Context::new();
        let sent = self.pipeline.send(&context, &mut request, Some(options));
        let response = sent
            .await
            .map_err(|error| operation.unreached(&error, &self.credential))?;
        match u16::from(response.status()) {
            200..=299 => Ok(Answered(response)),
            _ => Err(operation.refused(&response)),
        }
    }
}

impl fmt::Debug for StorageManagement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorageManagement")
            .field("account", &self.account)
            .field("credential", &self.credential)
            .finish_non_exhaustive()
    }
}

/// What is asked, below the path of the account.
struct Call<'a> {
    method: Method,
    path: &'a str,
    if_match: Option<&'a ETag>,
    body: Option<Value>,
}

impl<'a> Call<'a> {
    const fn new(method: Method, path: &'a str) -> Self {
        Self {
            method,
            path,
            if_match: None,
            body: None,
        }
    }

    fn with_body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    const fn if_match(mut self, etag: &'a ETag) -> Self {
        self.if_match = Some(etag);
        self
    }
}

/// The answer of a success.
struct Answered(RawResponse);

impl Answered {
    fn model<T: DeserializeOwned>(&self, operation: &Operation) -> Result<T> {
        serde_json::from_slice(self.0.body().as_ref()).map_err(|_| operation.misread())
    }
}

/// Reads a part of an answer.
fn part<T: DeserializeOwned>(operation: &Operation, value: &Value) -> Result<T> {
    T::deserialize(value).map_err(|_| operation.misread())
}

/// Returns whether the official crates were built to show what they send.
fn shows_tokens() -> bool {
    let Ok(url) = Url::parse("https://localhost") else {
        return false;
    };
    let mut request = Request::new(url, Method::Get);
    request.insert_header("authorization", "canary");
    request
        .headers()
        .sanitize(&HashSet::new())
        .contains("canary")
}
