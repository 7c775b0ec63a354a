//! Only a struct with named fields is a row, and one struct is one table.

use tenantry_store::Aggregate;
use uuid::Uuid;

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct Newtype(Uuid);

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct Tuple(Uuid, i64);

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct Unit;

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
enum Enum {
    Open,
}

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
union Union {
    id: u32,
}

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct Generic<T> {
    #[aggregate(id)]
    id: T,
}

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct Borrowed<'a> {
    #[aggregate(id)]
    id: Uuid,
    customer: &'a str,
}

fn main() {}
