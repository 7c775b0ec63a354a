//! What every side reads and writes: a row of eight columns, and a value for the caches.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tenantry_core::TenantId;
use tenantry_store::{Aggregate, Version};
use uuid::Uuid;

/// The row as Tenantry sees it.
#[derive(Debug, Clone, PartialEq, Eq, Aggregate)]
#[aggregate(table = "orders")]
pub(crate) struct Order {
    #[aggregate(id)]
    pub(crate) id: Uuid,
    pub(crate) customer: String,
    pub(crate) reference: String,
    pub(crate) total_cents: i64,
    pub(crate) lines: i32,
    pub(crate) placed_at: DateTime<Utc>,
    pub(crate) note: Option<String>,
    #[aggregate(version)]
    pub(crate) version: Version,
}

/// The row as plain sqlx sees it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct PlainOrder {
    pub(crate) id: Uuid,
    pub(crate) customer: String,
    pub(crate) reference: String,
    pub(crate) total_cents: i64,
    pub(crate) lines: i32,
    pub(crate) placed_at: DateTime<Utc>,
    pub(crate) note: Option<String>,
    pub(crate) version: i64,
}

/// The row as a tuple, which sqlx reads by position and not by name.
pub(crate) type OrderTuple = (
    Uuid,
    String,
    String,
    i64,
    i32,
    DateTime<Utc>,
    Option<String>,
    i64,
);

/// The columns, in the order of the fields.
pub(crate) const COLUMNS: &str =
    "id, customer, reference, total_cents, lines, placed_at, note, version";

/// A row that is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) tenant: TenantId,
    pub(crate) id: Uuid,
}

impl Order {
    /// Returns a row that is not there yet.
    pub(crate) fn fresh(number: usize) -> Self {
        Self {
            id: Uuid::now_v7(),
            customer: format!("Customer {number}"),
            reference: format!("PO-2026-{number:09}"),
            total_cents: i64::try_from(number % 1_000_000).unwrap_or(0),
            lines: i32::try_from(number % 20).unwrap_or(0),
            placed_at: DateTime::UNIX_EPOCH,
            note: number
                .is_multiple_of(3)
                .then(|| "deliver to the back door".to_owned()),
            version: Version::NEW,
        }
    }
}

/// What the caches keep: a hundred bytes, about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) roles: Vec<String>,
    pub(crate) orders: u32,
    pub(crate) limit_cents: i64,
}

impl Profile {
    pub(crate) fn numbered(number: usize) -> Self {
        Self {
            name: format!("Customer {number:06}"),
            email: format!("customer.{number:06}@example.com"),
            roles: ["buyer", "approver", "administrator"]
                .map(str::to_owned)
                .into(),
            orders: u32::try_from(number % 1_000).unwrap_or(0),
            limit_cents: 1_000_000,
        }
    }
}
