//! The table is named, and by a plain lower-case name.

use tenantry_store::Aggregate;
use uuid::Uuid;

#[derive(Aggregate)]
struct Nameless {
    #[aggregate(id)]
    id: Uuid,
}

#[derive(Aggregate)]
#[aggregate(table = "Invoices")]
struct UpperCase {
    #[aggregate(id)]
    id: Uuid,
}

#[derive(Aggregate)]
#[aggregate(table = "billing.invoices")]
struct Qualified {
    #[aggregate(id)]
    id: Uuid,
}

#[derive(Aggregate)]
#[aggregate(table = "")]
struct Empty {
    #[aggregate(id)]
    id: Uuid,
}

#[derive(Aggregate)]
#[aggregate(table = "a_name_that_postgresql_would_cut_without_a_word_after_63_bytes__")]
struct TooLong {
    #[aggregate(id)]
    id: Uuid,
}

#[derive(Aggregate)]
#[aggregate(table = "sqlite_invoices")]
struct OfSqlite {
    #[aggregate(id)]
    id: Uuid,
}

fn main() {}
