use std::fmt::{Debug, Display};

use uuid::Uuid;

use crate::value::ColumnValue;

/// The identifier of an aggregate: a newtype over `Uuid`, `i64` or `String`, or one of these.
///
/// Unique within its tenant, not across tenants: two tenants may hold the same identifier and
/// never meet. `Display` is what error messages and cache keys show, so an identifier is not the
/// place for a secret.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot identify an aggregate",
    note = "use `#[derive(AggregateId)]` on a newtype over `Uuid`, `i64` or `String`"
)]
pub trait AggregateId:
    ColumnValue<Operand = Self> + Clone + PartialEq + Debug + Display + Send + Sync
{
}

impl AggregateId for Uuid {}
impl AggregateId for i64 {}
impl AggregateId for String {}
