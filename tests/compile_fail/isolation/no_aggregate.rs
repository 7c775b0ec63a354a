//! A repository is of an aggregate; the message says how to derive one.

use tenantry_store::TenantScope;

struct Invoice;

fn read(tenant: &TenantScope) {
    let _ = tenant.repository::<Invoice>();
}

fn main() {}
