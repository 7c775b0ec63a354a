//! What a service derives: the aggregate, its identifier and its version.

mod id;
mod version;

use crate::value::{ColumnType, Row, ValueError, ValueSink};

pub use id::AggregateId;
pub use version::{Version, VersionField};

/// A struct that is stored as one row of a tenant's table.
///
/// Derived, not written by hand: see `#[derive(Aggregate)]`. The struct has no tenant; the row has
/// it, and the repository puts it there.
///
/// # Examples
///
/// ```
/// use tenantry_store::{Aggregate, AggregateId, ColumnValue, Version};
/// use uuid::Uuid;
///
/// #[derive(Debug, Clone, Copy, PartialEq, Eq, AggregateId)]
/// pub struct InvoiceId(pub Uuid);
///
/// #[derive(Debug, Clone, Copy, PartialEq, Eq, ColumnValue)]
/// pub enum InvoiceStatus {
///     Open,
///     Paid,
/// }
///
/// #[derive(Debug, Clone, PartialEq, Aggregate)]
/// #[aggregate(table = "invoices")]
/// pub struct Invoice {
///     #[aggregate(id)]
///     pub id: InvoiceId,
///     pub customer: String,
///     pub total_cents: i64,
///     pub status: InvoiceStatus,
///     #[aggregate(version)]
///     pub version: Version,
/// }
///
/// assert_eq!(Invoice::DESCRIPTOR.table(), "invoices");
/// let open_and_big = Invoice::STATUS.eq(InvoiceStatus::Open).and(Invoice::TOTAL_CENTS.ge(1_000));
/// # drop(open_and_big);
/// ```
///
/// # Contract
///
/// `read` gives back what `write` wrote, column by column in the order of
/// [`AggregateDescriptor::columns`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an aggregate",
    note = "derive it: `#[derive(Aggregate)] #[aggregate(table = \"…\")]`, with one `#[aggregate(id)]` field"
)]
pub trait Aggregate: Sized + Send + Sync + 'static {
    /// The type of the identifier.
    type Id: AggregateId;

    /// Table, columns and options.
    const DESCRIPTOR: &'static AggregateDescriptor;

    /// Returns the identifier.
    fn id(&self) -> &Self::Id;

    /// Returns the version the struct was read at; [`Version::NEW`] if it has none.
    fn version(&self) -> Version;

    /// Takes over the version that the database now holds.
    fn set_version(&mut self, version: Version);

    /// Writes the column at `index` into `sink`.
    ///
    /// # Errors
    ///
    /// What the column cannot store.
    fn write(&self, index: usize, sink: &mut dyn ValueSink) -> Result<(), ValueError>;

    /// Reads a row whose columns stand in the order of the descriptor.
    ///
    /// # Errors
    ///
    /// A value that does not fit its field, with the position of the column.
    fn read(row: &dyn Row) -> Result<Self, ValueError>;
}

/// How an aggregate is stored: what `#[derive(Aggregate)]` found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateDescriptor {
    table: &'static str,
    columns: &'static [ColumnDescriptor],
    id: usize,
    version: Option<usize>,
    soft_delete: bool,
    audited: bool,
}

impl AggregateDescriptor {
    /// Describes an aggregate whose identifier stands in the column at `id`.
    #[doc(hidden)]
    #[must_use]
    pub const fn new(
        table: &'static str,
        columns: &'static [ColumnDescriptor],
        id: usize,
        version: Option<usize>,
    ) -> Self {
        Self {
            table,
            columns,
            id,
            version,
            soft_delete: false,
            audited: false,
        }
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn with_soft_delete(mut self) -> Self {
        self.soft_delete = true;
        self
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn with_audit(mut self) -> Self {
        self.audited = true;
        self
    }

    /// Returns the name of the table, without its schema.
    #[must_use]
    pub const fn table(&self) -> &'static str {
        self.table
    }

    /// Returns the columns of the struct, in the order of its fields.
    ///
    /// The tenant and the audit columns are not among them: they are in the table, not in the struct.
    #[must_use]
    pub const fn columns(&self) -> &'static [ColumnDescriptor] {
        self.columns
    }

    /// Returns the position of the identifier.
    #[must_use]
    pub const fn id(&self) -> usize {
        self.id
    }

    /// Returns the position of the version, if the aggregate has one.
    #[must_use]
    pub const fn version(&self) -> Option<usize> {
        self.version
    }

    /// Returns whether `delete` marks the row (`deleted_at`, `deleted_by`) and leaves it there.
    #[must_use]
    pub const fn is_soft_deleted(&self) -> bool {
        self.soft_delete
    }

    /// Returns whether every write stamps `created_at`, `created_by`, `modified_at`,
    /// `modified_by` and `trace_id`.
    #[must_use]
    pub const fn is_audited(&self) -> bool {
        self.audited
    }

    /// Returns the name of the column at `index`, or `?` outside the range.
    #[must_use]
    pub fn column_name(&self, index: usize) -> &'static str {
        self.columns.get(index).map_or("?", |column| column.name)
    }
}

/// One column of an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnDescriptor {
    name: &'static str,
    column_type: ColumnType,
    nullable: bool,
}

impl ColumnDescriptor {
    /// Describes a column.
    #[doc(hidden)]
    #[must_use]
    pub const fn new(name: &'static str, column_type: ColumnType, nullable: bool) -> Self {
        Self {
            name,
            column_type,
            nullable,
        }
    }

    /// Returns the name of the column in the table.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the type of the column.
    #[must_use]
    pub const fn column_type(&self) -> ColumnType {
        self.column_type
    }

    /// Returns whether the field is an `Option`.
    #[must_use]
    pub const fn is_nullable(&self) -> bool {
        self.nullable
    }
}
