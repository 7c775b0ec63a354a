//! Derive macros of the tenant store: what turns a struct into a row.
//!
//! | derive | on | gives |
//! |---|---|---|
//! | [`Aggregate`](derive@Aggregate) | a struct with named fields | a row of one table |
//! | [`AggregateId`](derive@AggregateId) | a newtype | what identifies the row |
//! | [`ColumnValue`](derive@ColumnValue) | a newtype, or an enum of bare variants | a value in a column |
//!
//! A service does not depend on this crate: `tenantry_store` and the facade `tenantry` hand the
//! macros out beside the traits of the same names. The generated code finds either of the two by
//! the `Cargo.toml` of the crate it is used in, renamed or not.
//!
//! Wrong use is a compile error at the place that is wrong, with a text that says what to do; all
//! errors of one struct come together.

mod aggregate;
mod aggregate_id;
mod attribute;
mod column_value;
mod errors;
mod names;
mod newtype;
mod root;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Stores a struct as one row of a tenant's table.
///
/// Each field is a column, in the order of the fields. There is no field for the tenant: the row
/// has it, and the repository puts it there.
///
/// # On the struct
///
/// | attribute | meaning |
/// |---|---|
/// | `#[aggregate(table = "invoices")]` | The name of the table, without a schema. Required. |
/// | `#[aggregate(soft_delete)]` | `delete` stamps `deleted_at` and `deleted_by` and keeps the row; `restore` takes it back, `purge` removes it for good. |
/// | `#[aggregate(audited)]` | Every write stamps `created_at`, `created_by`, `modified_at`, `modified_by` and `trace_id` from the request context. |
/// | `#[aggregate(crate = "path")]` | Where `tenantry_store` is found, when neither it nor `tenantry` is a plain dependency of the crate: re-exported by another one, say, or a dependency of the tests alone. |
///
/// # On a field
///
/// | attribute | meaning |
/// |---|---|
/// | `#[aggregate(id)]` | Identifies the row within its tenant. Exactly one; its type is an `AggregateId`. |
/// | `#[aggregate(version)]` | Guards updates against each other. At most one; its type is `Version`, and a `Version` without the mark does not compile. |
/// | `#[aggregate(column = "name")]` | The name of the column, where it is not the field's. |
/// | `#[aggregate(json)]` | Stores any serde type as a JSON document. An `Option` that is `None` is NULL. |
///
/// Attributes may stand together, `#[aggregate(table = "invoices", audited)]`, or apart.
///
/// # Names
///
/// The name of a table or column is a lower-case letter or `_`, followed by lower-case letters,
/// digits and `_`, 63 bytes at most. `tenant_id` is reserved, and so are the columns that
/// `soft_delete` and `audited` bring, on structs that have these.
///
/// # What is generated
///
/// `impl Aggregate`, and for each field a constant of the type `Column`, in upper case and with the
/// visibility of the field: `Invoice::TOTAL_CENTS` for `total_cents`. For a field of the type `T`
/// with `#[aggregate(json)]` it is a column of `Json<T>`.
///
/// # Examples
///
/// ```
/// use serde::{Deserialize, Serialize};
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
/// #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
/// pub struct Line {
///     pub text: String,
///     pub cents: i64,
/// }
///
/// #[derive(Debug, Clone, PartialEq, Aggregate)]
/// #[aggregate(table = "invoices", audited)]
/// pub struct Invoice {
///     #[aggregate(id)]
///     pub id: InvoiceId,
///     pub status: InvoiceStatus,
///     pub total_cents: i64,
///     #[aggregate(column = "remark")]
///     pub note: Option<String>,
///     #[aggregate(json)]
///     pub lines: Vec<Line>,
///     #[aggregate(version)]
///     pub version: Version,
/// }
///
/// assert_eq!(Invoice::DESCRIPTOR.table(), "invoices");
/// assert!(Invoice::DESCRIPTOR.is_audited());
/// assert_eq!(Invoice::NOTE.name(), "remark");
///
/// let open_and_big = Invoice::STATUS.eq(InvoiceStatus::Open).and(Invoice::TOTAL_CENTS.ge(1_000));
/// # drop(open_and_big);
/// ```
#[proc_macro_derive(Aggregate, attributes(aggregate))]
pub fn aggregate(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    aggregate::expand(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes a newtype over `Uuid`, `i64` or `String` the identifier of an aggregate.
///
/// The struct has one field, named or not. Two kinds of identifiers are then two types, and one
/// cannot be handed in for the other.
///
/// | attribute | meaning |
/// |---|---|
/// | `#[aggregate_id(crate = "path")]` | Where `tenantry_store` is found, as in `#[derive(Aggregate)]`. |
///
/// # What is generated
///
/// `AggregateId`, `ColumnValue` (do not derive it besides), `Display` as the field's, and `From` the
/// field. `Clone`, `PartialEq` and `Debug` are yours to derive.
///
/// # Examples
///
/// ```
/// use tenantry_store::AggregateId;
///
/// #[derive(Debug, Clone, PartialEq, AggregateId)]
/// pub struct InvoiceNumber(String);
///
/// let number = InvoiceNumber::from("2026-0815".to_owned());
/// assert_eq!(number.to_string(), "2026-0815");
/// ```
#[proc_macro_derive(AggregateId, attributes(aggregate_id))]
pub fn aggregate_id(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    aggregate_id::expand(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Stores a newtype as what it wraps, or an enum as text.
///
/// A newtype is a struct with one field, named or not, whose type is a `ColumnValue` and no
/// `Option`: the field of the aggregate is the `Option`.
///
/// An enum has bare variants alone. Each is stored as its name in `snake_case`; a text in the
/// database that is none of them is an error when it is read, never a default. Texts are stored, so
/// that a variant which is renamed in the code wants `rename` to go on reading old rows.
///
/// # On the enum
///
/// | attribute | meaning |
/// |---|---|
/// | `#[column_value(rename_all = "kebab-case")]` | How the variants' names are spelled: see below. |
/// | `#[column_value(crate = "path")]` | Where `tenantry_store` is found, as in `#[derive(Aggregate)]`; on a newtype as well. |
///
/// | `rename_all` | `PastDue` is stored as |
/// |---|---|
/// | `snake_case` (the default) | `past_due` |
/// | `kebab-case` | `past-due` |
/// | `SCREAMING_SNAKE_CASE` | `PAST_DUE` |
/// | `lowercase` | `pastdue` |
/// | `UPPERCASE` | `PASTDUE` |
/// | `PascalCase` | `PastDue` |
/// | `camelCase` | `pastDue` |
///
/// # On a variant
///
/// | attribute | meaning |
/// |---|---|
/// | `#[column_value(rename = "x")]` | The text of this variant. |
///
/// # What is generated
///
/// `ColumnValue`, and on an enum the method `as_column_text`, for SQL written by hand.
///
/// # Examples
///
/// ```
/// use tenantry_store::ColumnValue;
///
/// #[derive(Debug, Clone, Copy, PartialEq, Eq, ColumnValue)]
/// pub struct Cents(pub i64);
///
/// #[derive(Debug, Clone, Copy, PartialEq, Eq, ColumnValue)]
/// #[column_value(rename_all = "kebab-case")]
/// pub enum InvoiceStatus {
///     Open,
///     PastDue,
///     #[column_value(rename = "void")]
///     Cancelled,
/// }
///
/// assert_eq!(InvoiceStatus::PastDue.as_column_text(), "past-due");
/// assert_eq!(InvoiceStatus::Cancelled.as_column_text(), "void");
/// ```
#[proc_macro_derive(ColumnValue, attributes(column_value))]
pub fn column_value(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    column_value::expand(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
