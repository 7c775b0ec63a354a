//! At most one field is the version, and nothing else besides.

use tenantry_store::{Aggregate, Version};
use uuid::Uuid;

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct Twice {
    #[aggregate(id)]
    id: Uuid,
    #[aggregate(version)]
    version: Version,
    #[aggregate(version)]
    revision: Version,
}

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct Identifier {
    #[aggregate(id, version)]
    id: i64,
}

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct AsJson {
    #[aggregate(id)]
    id: Uuid,
    #[aggregate(version, json)]
    version: Version,
}

fn main() {}
