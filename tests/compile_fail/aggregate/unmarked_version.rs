//! A `Version` is marked, whatever it goes by; it would guard nothing otherwise.

use tenantry_store::{Aggregate, ColumnValue, Version};
use uuid::Uuid;

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct Forgotten {
    #[aggregate(id)]
    id: Uuid,
    version: Version,
}

type Revision = Version;

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct Another {
    #[aggregate(id)]
    id: Uuid,
    #[aggregate(version)]
    version: Version,
    #[aggregate(column = "revision")]
    seen: Revision,
}

#[derive(ColumnValue)]
struct InvoiceVersion(Version);

mod release {
    #[derive(tenantry_store::ColumnValue)]
    pub struct Version(String);
}

#[derive(Aggregate)]
#[aggregate(table = "receipts")]
struct Allowed {
    #[aggregate(id)]
    id: Uuid,
    of: InvoiceVersion,
    printed_by: release::Version,
    before: Option<Version>,
}

fn main() {}
