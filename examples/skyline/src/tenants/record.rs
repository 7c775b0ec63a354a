//! What the registry knows of a tenant.

use serde::{Deserialize, Serialize};
use tenantry::core::SecretReference;
use tenantry::prelude::*;
use uuid::Uuid;

/// A tenant, in a row of its own.
#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "tenants", audited)]
pub(crate) struct TenantRecord {
    /// That of the tenant itself: of one tenant there is one row.
    #[aggregate(id)]
    pub(crate) id: Uuid,
    pub(crate) slug: String,
    pub(crate) name: String,
    /// The airline whose flights it has; the operator has none.
    pub(crate) carrier: Option<String>,
    pub(crate) status: TenantStatus,
    /// How many flights it was set up with.
    pub(crate) flights: i64,
    /// Where the code lies by which its people sign in; the code itself is in a vault.
    pub(crate) access_code: SecretReference,
    #[aggregate(version)]
    pub(crate) version: Version,
}

/// What becomes of a tenant.
///
/// ```text
/// Provisioning ── its flights are there ──▶ Active ◀──▶ Suspended
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, ColumnValue, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TenantStatus {
    Provisioning,
    Active,
    Suspended,
}

/// What others see of a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TenantView {
    pub(crate) slug: String,
    pub(crate) name: String,
    pub(crate) carrier: Option<String>,
    pub(crate) status: TenantStatus,
    pub(crate) flights: i64,
}

impl From<TenantRecord> for TenantView {
    fn from(record: TenantRecord) -> Self {
        Self {
            slug: record.slug,
            name: record.name,
            carrier: record.carrier,
            status: record.status,
            flights: record.flights,
        }
    }
}
