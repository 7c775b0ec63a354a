//! What is over, as a row of the transaction that ends it.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tenantry_core::{Error, ErrorKind, Result};
use tenantry_store::{Aggregate, BeforeCommit, ChangedRow, Json, Repository as _, UnitOfWork};
use uuid::Uuid;

use super::Tables;
use crate::shared::Invalidation;

/// The table of [`CachedStore::record_invalidations`](super::CachedStore::record_invalidations) on
/// PostgreSQL, for the migrations of the service: copy the text into a file of these, for a release may change the
/// constant, and a migration that has run must not change.
pub const INVALIDATIONS_POSTGRES: &str = include_str!("invalidations_postgres.sql");

/// The same on SQLite.
pub const INVALIDATIONS_SQLITE: &str = include_str!("invalidations_sqlite.sql");

/// What ends with a transaction, for as long as nobody has said that it did.
#[derive(Debug, Clone, Aggregate)]
#[aggregate(table = "cache_invalidations")]
pub(super) struct InvalidationRecord {
    #[aggregate(id)]
    pub(super) id: Uuid,
    over: Json<serde_json::Value>,
}

impl InvalidationRecord {
    pub(super) const TABLE: &'static str = Self::DESCRIPTOR.table();

    /// Returns what ends: all of the tenant, where another release has written what this one does not know.
    pub(super) fn into_over(self) -> Vec<Invalidation> {
        match serde_json::from_value::<Vec<Over>>(self.over.0) {
            Ok(over) => over.into_iter().map(Invalidation::from).collect(),
            Err(_) => vec![Invalidation::Tenant],
        }
    }
}

/// An [`Invalidation`] of a transaction, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Over {
    Key { kind: String, key: String },
    Tag(String),
    Tenant,
}

impl From<Invalidation> for Over {
    fn from(what: Invalidation) -> Self {
        match what {
            Invalidation::Key { kind, key } => Self::Key {
                kind: (*kind).to_owned(),
                key: (*key).to_owned(),
            },
            Invalidation::Tag(tag) => Self::Tag((*tag).to_owned()),
            Invalidation::Tenant => Self::Tenant,
        }
    }
}

impl From<Over> for Invalidation {
    fn from(what: Over) -> Self {
        match what {
            Over::Key { kind, key } => Self::Key {
                kind: kind.into(),
                key: key.into(),
            },
            Over::Tag(tag) => Self::Tag(tag.into()),
            Over::Tenant => Self::Tenant,
        }
    }
}

/// Writes the records.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) tables: Arc<Tables>,
}

#[async_trait]
impl BeforeCommit for Recorder {
    async fn write(
        &self,
        work: &UnitOfWork,
        rows: &[ChangedRow],
        tables: &[Arc<str>],
    ) -> Result<()> {
        let over = self.tables.over(rows, tables);
        if over.is_empty() {
            return Ok(());
        }
        let over: Vec<_> = over.into_iter().map(Over::from).collect();
        let written = serde_json::to_value(over).map_err(|error| {
            Error::new(ErrorKind::Unexpected, "record invalidations").with_source(error)
        })?;
        let mut record = InvalidationRecord {
            id: Uuid::now_v7(),
            over: Json(written),
        };
        work.repository().insert(&mut record).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_stays_what_it_is() {
        let over = [
            Over::Key {
                kind: "invoices".into(),
                key: "7".into(),
            },
            Over::Tag("rows of invoices".into()),
            Over::Tenant,
        ];
        let written =
            r#"[{"key":{"kind":"invoices","key":"7"}},{"tag":"rows of invoices"},"tenant"]"#;
        assert_eq!(serde_json::to_string(&over).unwrap(), written);
        assert_eq!(serde_json::from_str::<Vec<Over>>(written).unwrap(), over);
    }
}
