//! Who deleted and changed a row comes from the context, never from the struct.

use tenantry_store::Aggregate;
use uuid::Uuid;

#[derive(Aggregate)]
#[aggregate(table = "invoices", audited)]
struct Audited {
    #[aggregate(id)]
    id: Uuid,
    created_at: i64,
    created_by: String,
    modified_at: i64,
    modified_by: String,
    trace_id: String,
}

#[derive(Aggregate)]
#[aggregate(table = "invoices", soft_delete)]
struct SoftDeleted {
    #[aggregate(id)]
    id: Uuid,
    deleted_at: Option<i64>,
    deleted_by: Option<String>,
}

fn main() {}
