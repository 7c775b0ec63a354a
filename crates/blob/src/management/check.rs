//! Whether an account and a container are as a retention that is `locked` needs them.

use std::fmt;

use tenantry_core::Result;

use super::StorageManagement;
use super::container::ContainerState;
use super::name::ContainerName;
use super::service::{AccountState, BlobServiceState};
use crate::retention::LockMode;

/// What was found wrong, or worth a look.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManagementFinding {
    /// How bad it is.
    pub severity: ManagementSeverity,
    /// Its stable name in `snake_case`.
    pub code: &'static str,
    /// What is wrong, and what to do.
    pub advice: &'static str,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ManagementSeverity {
    /// It is as it may be, and worth knowing.
    Note,
    /// Retention holds, and less firmly than it could.
    Warning,
    /// Locks do not hold, or cannot be set.
    Error,
}

impl fmt::Display for ManagementSeverity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// What an account and a container lack for a retention that is `locked`.
///
/// As text, one finding a line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ManagementReport {
    /// The account and the container.
    pub subject: String,
    /// What was found, the worst first.
    pub findings: Vec<ManagementFinding>,
}

impl ManagementReport {
    /// Returns whether locks can be set and hold.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let is_error = |it: &ManagementFinding| it.severity == ManagementSeverity::Error;
        !self.findings.iter().any(is_error)
    }
}

impl fmt::Display for ManagementReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.is_ready() {
            true => "is ready for locked retention",
            false => "is not ready for locked retention",
        };
        write!(f, "{} {verdict}", self.subject)?;
        for finding in &self.findings {
            let ManagementFinding {
                severity,
                code,
                advice,
            } = finding;
            write!(f, "\n{severity} {code}: {advice}")?;
        }
        Ok(())
    }
}

/// The check.
impl StorageManagement {
    /// Tells what an account and a container lack for a retention that is `locked`; it changes nothing.
    ///
    /// # Errors
    ///
    /// [Those of all](StorageManagement#errors).
    pub async fn check(&self, container: &ContainerName) -> Result<ManagementReport> {
        let account = self.account_state().await?;
        let service = self.service_state().await?;
        let state = self.container(container).await?;
        let mut findings = findings(&account, &service, &state);
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Ok(ManagementReport {
            subject: format!("{}/{container}", self.account),
            findings,
        })
    }
}

fn findings(
    account: &AccountState,
    service: &BlobServiceState,
    container: &ContainerState,
) -> Vec<ManagementFinding> {
    use ManagementSeverity::{Error, Note, Warning};
    let policy = container.immutability.as_ref();
    let has_policy = |mode| policy.is_some_and(|policy| policy.mode == mode);
    let all = [
        (
            account.is_hierarchical,
            Error,
            "hierarchical_account",
            "an account with folders locks no blob by itself and has no tags: take another account",
        ),
        (
            !service.has_versions,
            Error,
            "no_versions",
            "the service keeps no versions, without which no blob is locked: switch them on",
        ),
        (
            !container.has_immutable_versions,
            Error,
            "no_immutable_versions",
            "the container was created without immutable versions: create another, or migrate it",
        ),
        (
            container.is_public,
            Error,
            "public_container",
            "anybody may read the container without a token: take the public access away",
        ),
        (
            account.takes_http,
            Error,
            "takes_http",
            "the account takes connections without TLS: require secure transfer",
        ),
        (
            account.takes_shared_keys,
            Warning,
            "takes_shared_keys",
            "the keys of the account open it past all roles: disallow shared key access",
        ),
        (
            account.may_be_public,
            Warning,
            "may_be_public",
            "containers of the account may be made public: disallow it",
        ),
        (
            has_policy(LockMode::Unlocked),
            Warning,
            "unlocked_policy",
            "the policy of the container is a trial that can be taken off: lock it",
        ),
        (
            container.scope.is_some() && container.may_override_scope,
            Warning,
            "scope_override",
            "a blob may name another scope of encryption than that of the container: deny it",
        ),
        (
            has_policy(LockMode::Locked),
            Note,
            "locked_policy",
            "a locked policy keeps every blob of the container, also those without a lock",
        ),
        (
            !container.holds.is_empty(),
            Note,
            "container_hold",
            "a legal hold keeps every blob of the container",
        ),
        (
            service.deleted_blobs_days.is_some(),
            Note,
            "soft_delete",
            "deleted blobs stay for some days, so that an erased tenant is gone after these",
        ),
    ];
    let found = all.into_iter().filter(|(is_found, ..)| *is_found);
    found
        .map(|(_, severity, code, advice)| ManagementFinding {
            severity,
            code,
            advice,
        })
        .collect()
}
