//! A secret is not stored in a row.

use tenantry_core::Secret;
use tenantry_store::Aggregate;
use uuid::Uuid;

#[derive(Aggregate)]
#[aggregate(table = "connections")]
struct Connection {
    #[aggregate(id)]
    id: Uuid,
    password: Secret,
}

fn main() {}
