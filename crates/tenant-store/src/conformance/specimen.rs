use chrono::{DateTime, NaiveDate, SubsecRound as _, TimeZone as _, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Aggregate, AggregateId, ColumnValue, Version};

/// The identifier of a [`Specimen`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, AggregateId)]
pub struct SpecimenId(pub Uuid);

/// A state, stored as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ColumnValue)]
pub enum State {
    /// Not yet begun.
    New,
    /// Under way.
    InProgress,
    /// At its end.
    Done,
}

/// Something stored as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// Any texts.
    pub tags: Vec<String>,
    /// Any number.
    pub level: i64,
}

/// An aggregate with a column of every type.
#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "specimens")]
pub struct Specimen {
    /// Its identifier.
    #[aggregate(id)]
    pub id: SpecimenId,
    /// A text.
    pub label: String,
    /// A text that may lack.
    pub remark: Option<String>,
    /// A truth value.
    pub flag: bool,
    /// A small integer.
    pub small: i16,
    /// An integer.
    pub medium: i32,
    /// A big integer.
    pub big: i64,
    /// A big integer that may lack.
    pub rank: Option<i64>,
    /// A double.
    pub ratio: f64,
    /// A decimal.
    pub amount: Decimal,
    /// Bytes.
    pub payload: Vec<u8>,
    /// A UUID that may lack.
    pub link: Option<Uuid>,
    /// A time.
    pub seen_at: DateTime<Utc>,
    /// A date that may lack.
    pub due: Option<NaiveDate>,
    /// An enum.
    #[aggregate(column = "progress")]
    pub state: State,
    /// JSON.
    #[aggregate(json)]
    pub notes: Notes,
    /// The version.
    #[aggregate(version)]
    pub version: Version,
}

impl Specimen {
    /// Returns a specimen with a new identifier and a label.
    #[must_use]
    pub fn named(label: &str) -> Self {
        Self::with_id(Uuid::now_v7(), label)
    }

    /// Returns a specimen with a given identifier and a label.
    #[must_use]
    pub fn with_id(id: Uuid, label: &str) -> Self {
        Self {
            id: SpecimenId(id),
            label: label.to_owned(),
            remark: None,
            flag: false,
            small: 1,
            medium: 2,
            big: 3,
            rank: None,
            ratio: 0.5,
            amount: Decimal::new(1_999, 2),
            payload: vec![0, 255],
            link: None,
            seen_at: Utc
                .timestamp_opt(1_356_998_400, 0)
                .single()
                .unwrap_or_default()
                .trunc_subsecs(6),
            due: None,
            state: State::New,
            notes: Notes::default(),
            version: Version::NEW,
        }
    }
}

/// An aggregate that is marked when it is deleted, and tells who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Aggregate)]
#[aggregate(table = "tracked", soft_delete, audited)]
pub struct Tracked {
    /// Its identifier.
    #[aggregate(id)]
    pub id: Uuid,
    /// A text.
    pub name: String,
    /// The version.
    #[aggregate(version)]
    pub version: Version,
}

/// The same table, seen with the columns that the store keeps.
#[derive(Debug, Clone, PartialEq, Eq, Aggregate)]
#[aggregate(table = "tracked")]
pub struct TrackedColumns {
    /// Its identifier.
    #[aggregate(id)]
    pub id: Uuid,
    /// A text.
    pub name: String,
    /// The version.
    #[aggregate(version)]
    pub version: Version,
    /// When it was inserted.
    pub created_at: DateTime<Utc>,
    /// Who inserted it.
    pub created_by: String,
    /// When it was written last.
    pub modified_at: DateTime<Utc>,
    /// Who wrote it last.
    pub modified_by: String,
    /// The trace of the last write.
    pub trace_id: Option<String>,
    /// When it was marked.
    pub deleted_at: Option<DateTime<Utc>>,
    /// Who marked it.
    pub deleted_by: Option<String>,
}

/// An aggregate without a version, identified by a text.
#[derive(Debug, Clone, PartialEq, Eq, Aggregate)]
#[aggregate(table = "settings")]
pub struct Setting {
    /// Its identifier.
    #[aggregate(id)]
    pub key: String,
    /// A text.
    pub value: String,
}

/// An aggregate identified by a number, whose table names are reserved words.
#[derive(Debug, Clone, PartialEq, Eq, Aggregate)]
#[aggregate(table = "order")]
pub struct Order {
    /// Its identifier.
    #[aggregate(id, column = "select")]
    pub number: i64,
    /// The version.
    #[aggregate(version, column = "from")]
    pub version: Version,
}

/// The table of specimens, read with types that are too narrow for it.
#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "specimens")]
pub struct NarrowSpecimen {
    /// Its identifier.
    #[aggregate(id)]
    pub id: SpecimenId,
    /// Fewer bits than the column has.
    pub big: i16,
    /// Required, where the column may be NULL.
    pub remark: String,
    /// Fewer variants than the column has.
    #[aggregate(column = "progress")]
    pub state: OnlyNew,
    /// Another shape than the column has.
    #[aggregate(json)]
    pub notes: Vec<u8>,
    /// The other columns that must have a value.
    pub label: String,
    /// As in [`Specimen`].
    pub flag: bool,
    /// As in [`Specimen`].
    pub small: i16,
    /// As in [`Specimen`].
    pub medium: i32,
    /// As in [`Specimen`].
    pub ratio: f64,
    /// As in [`Specimen`].
    pub amount: Decimal,
    /// As in [`Specimen`].
    pub payload: Vec<u8>,
    /// As in [`Specimen`].
    pub seen_at: DateTime<Utc>,
    /// The version.
    #[aggregate(version)]
    pub version: Version,
}

/// One variant, where the column knows three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ColumnValue)]
pub enum OnlyNew {
    /// Not yet begun.
    New,
}

/// The tables of the suite on SQLite.
pub const SQLITE_SCHEMA: &str = include_str!("schema/sqlite.sql");

/// The tables of the suite on PostgreSQL, protected.
pub const POSTGRES_SCHEMA: &str = include_str!("schema/postgres.sql");
