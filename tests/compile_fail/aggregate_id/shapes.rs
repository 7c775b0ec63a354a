//! An identifier is a newtype.

use std::marker::PhantomData;

use tenantry_store::AggregateId;
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, AggregateId)]
struct Unit;

#[derive(Debug, Clone, PartialEq, AggregateId)]
struct Composite(Uuid, i64);

#[derive(Debug, Clone, PartialEq, AggregateId)]
struct Generic<T>(Uuid, PhantomData<T>);

#[derive(Debug, Clone, PartialEq, AggregateId)]
enum Enum {
    Number(i64),
}

#[derive(Debug, Clone, PartialEq, AggregateId)]
#[aggregate_id(prefix = "INV")]
struct Keyed(Uuid);

fn main() {}
