//! What the derive macros make of a struct, seen through the traits alone.

mod support;

use serde::{Deserialize, Serialize};
use support::{Cells, row};
use tenantry_store::{
    Aggregate, AggregateId, Column, ColumnType, ColumnValue, Json, Value, ValueError, Version,
};
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq, AggregateId)]
struct InvoiceId(Uuid);

#[derive(Debug, Clone, PartialEq, AggregateId)]
struct Number {
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ColumnValue)]
struct Cents(i64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ColumnValue)]
enum Status {
    Open,
    PastDue,
    #[column_value(rename = "void")]
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Line {
    text: String,
}

#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "invoices", soft_delete)]
#[aggregate(audited)]
struct Invoice {
    #[aggregate(id)]
    id: InvoiceId,
    status: Status,
    r#type: Option<Cents>,
    #[aggregate(column = "remark")]
    note: String,
    #[aggregate(json)]
    lines: Vec<Line>,
    #[aggregate(json)]
    address: Option<Line>,
    // A field may well be called like what the trait has.
    descriptor: bool,
    #[aggregate(version)]
    version: Version,
}

/// An aggregate with the least there can be.
#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "tags")]
struct Tag {
    #[aggregate(id)]
    name: String,
}

/// A macro of the user's may write the struct around a type that it was handed.
macro_rules! document {
    ($name:ident, $body:ty) => {
        #[derive(Debug, Clone, PartialEq, Aggregate)]
        #[aggregate(table = "documents")]
        struct $name {
            #[aggregate(id)]
            id: i64,
            #[aggregate(json)]
            body: $body,
            #[aggregate(json)]
            draft: Option<$body>,
        }
    };
}

document!(Letter, Vec<String>);

fn invoice() -> Invoice {
    Invoice {
        id: InvoiceId(Uuid::from_u128(1)),
        status: Status::PastDue,
        r#type: Some(Cents(7)),
        note: "late".to_owned(),
        lines: vec![Line {
            text: "a line".to_owned(),
        }],
        address: None,
        descriptor: true,
        version: Version::new(3),
    }
}

#[test]
fn descriptor_tells_table_columns_and_options() {
    let descriptor = <Invoice as Aggregate>::DESCRIPTOR;
    assert_eq!(descriptor.table(), "invoices");
    assert!(descriptor.is_soft_deleted() && descriptor.is_audited());
    assert_eq!((descriptor.id(), descriptor.version()), (0, Some(7)));
    let columns: Vec<_> = descriptor
        .columns()
        .iter()
        .map(|column| (column.name(), column.column_type(), column.is_nullable()))
        .collect();
    assert_eq!(
        columns,
        [
            ("id", ColumnType::Uuid, false),
            ("status", ColumnType::Text, false),
            ("type", ColumnType::Int64, true),
            ("remark", ColumnType::Text, false),
            ("lines", ColumnType::Json, false),
            ("address", ColumnType::Json, true),
            ("descriptor", ColumnType::Bool, false),
            ("version", ColumnType::Int64, false),
        ]
    );
}

#[test]
fn options_are_off_unless_asked_for() {
    let descriptor = Tag::DESCRIPTOR;
    assert!(!descriptor.is_soft_deleted() && !descriptor.is_audited());
    assert_eq!(descriptor.version(), None);
    let mut tag = Tag {
        name: "urgent".to_owned(),
    };
    tag.set_version(Version::new(9));
    assert_eq!(tag.version(), Version::NEW);
}

#[test]
fn columns_are_written_in_the_order_of_the_fields() {
    let cells = row(&invoice());
    assert_eq!(
        cells.0,
        [
            Value::Uuid(Uuid::from_u128(1)),
            Value::Text("past_due".to_owned()),
            Value::Int64(7),
            Value::Text("late".to_owned()),
            Value::Json(r#"[{"text":"a line"}]"#.to_owned()),
            Value::Null(ColumnType::Json),
            Value::Bool(true),
            Value::Int64(3),
        ]
    );
}

#[test]
fn what_was_written_is_read_back() {
    let invoice = invoice();
    assert_eq!(Invoice::read(&row(&invoice)), Ok(invoice.clone()));
    let other = Invoice {
        r#type: None,
        address: Some(Line {
            text: "a street".to_owned(),
        }),
        status: Status::Cancelled,
        ..invoice
    };
    assert_eq!(Invoice::read(&row(&other)), Ok(other));
    let letter = Letter {
        id: 1,
        body: vec!["Dear".to_owned()],
        draft: Some(vec![]),
    };
    assert_eq!(Letter::read(&row(&letter)), Ok(letter));
}

#[test]
fn version_is_read_and_taken_over() {
    let mut invoice = invoice();
    assert_eq!(invoice.version(), Version::new(3));
    invoice.set_version(Version::new(4));
    assert_eq!(invoice.version, Version::new(4));
}

#[test]
fn error_names_the_column() {
    let mut bad = invoice();
    bad.note = "a\0b".to_owned();
    let error = bad
        .write(3, &mut Cells::default())
        .expect_err("a text with NUL");
    assert_eq!(error.column(), Some(3));
    bad.lines[0].text = "a\0b".to_owned();
    let error = bad
        .write(4, &mut Cells::default())
        .expect_err("JSON with NUL");
    assert_eq!(error.column(), Some(4));
    let error = bad
        .write(8, &mut Cells::default())
        .expect_err("no such column");
    assert_eq!(error.column(), Some(8));

    let mut cells = row(&invoice());
    cells.0[1] = Value::Text("lost".to_owned());
    let unknown = ValueError::new("holds a text that is no variant of the field's enum");
    assert_eq!(Invoice::read(&cells), Err(unknown.at(1)));
    cells.0[0] = Value::Null(ColumnType::Uuid);
    assert_eq!(Invoice::read(&cells).expect_err("no id").column(), Some(0));
    let mut cells = row(&invoice());
    cells.0[4] = Value::Null(ColumnType::Json);
    assert_eq!(
        Invoice::read(&cells).expect_err("no lines").column(),
        Some(4)
    );
    cells.0[4] = Value::Json("7".to_owned());
    assert_eq!(
        Invoice::read(&cells).expect_err("other JSON").column(),
        Some(4)
    );
}

#[test]
fn constants_have_the_stored_types_and_names() {
    let _: Column<Invoice, InvoiceId> = Invoice::ID;
    let _: Column<Invoice, Option<Cents>> = Invoice::TYPE;
    let _: Column<Invoice, Json<Vec<Line>>> = Invoice::LINES;
    let _: Column<Invoice, Option<Json<Line>>> = Invoice::ADDRESS;
    let _: Column<Invoice, bool> = Invoice::DESCRIPTOR;
    assert_eq!(Invoice::TYPE.name(), "type");
    assert_eq!(Invoice::NOTE.name(), "remark");
    assert_eq!(Invoice::VERSION.name(), "version");
}

#[test]
fn identifier_prints_and_converts_as_what_it_wraps() {
    let uuid = Uuid::from_u128(1);
    assert_eq!(InvoiceId::from(uuid).to_string(), uuid.to_string());
    assert_eq!(format!("{:>6}", Number::from("2026".to_owned())), "  2026");
    assert_eq!(
        Value::of(&Number {
            text: "x".to_owned()
        }),
        Ok(Value::Text("x".to_owned()))
    );
}

#[test]
fn enum_is_stored_as_its_text() {
    for (status, text) in [
        (Status::Open, "open"),
        (Status::PastDue, "past_due"),
        (Status::Cancelled, "void"),
    ] {
        assert_eq!(status.as_column_text(), text);
        assert_eq!(Value::of(&status), Ok(Value::Text(text.to_owned())));
    }
}
