//! Without a tenant there is no repository.

use tenantry_store::{Aggregate, TenantStore};
use uuid::Uuid;

#[derive(Aggregate)]
#[aggregate(table = "invoices")]
struct Invoice {
    #[aggregate(id)]
    id: Uuid,
}

fn read(store: &TenantStore) {
    let _ = store.repository::<Invoice>();
}

fn main() {}
