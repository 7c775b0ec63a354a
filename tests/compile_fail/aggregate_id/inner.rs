//! An identifier wraps what can be one.

use tenantry_store::AggregateId;

#[derive(Debug, Clone, PartialEq, AggregateId)]
struct InvoiceId(bool);

fn main() {}
