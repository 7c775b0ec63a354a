//! The tenant is no field, under whatever name it goes in the struct.

use tenantry_store::Aggregate;
use uuid::Uuid;

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct Invoice {
    #[aggregate(id)]
    id: Uuid,
    tenant_id: Uuid,
}

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct Renamed {
    #[aggregate(id)]
    id: Uuid,
    #[aggregate(column = "tenant_id")]
    owner: Uuid,
}

fn main() {}
