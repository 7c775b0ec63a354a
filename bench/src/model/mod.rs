//! The row that every side reads and writes: eight columns.

use chrono::{DateTime, Utc};
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
