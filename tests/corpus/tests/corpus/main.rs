//! The SQL guard before its judges.
//!
//! For each statement of a corpus: the rows of the rewritten text on a database that three tenants
//! share equal the rows of the text itself on a database that holds one of them alone, for all three;
//! and in the plan that PostgreSQL makes of the rewritten text every scan of a table with a tenant
//! is restricted to it. Nothing here is under row-level security, which would hide a fault.

#![allow(clippy::unwrap_used, reason = "a set-up that fails ends the test")]
#![allow(
    clippy::future_not_send,
    reason = "each test keeps to a thread of its own"
)]
#![allow(clippy::print_stdout, reason = "scripts/prove keeps what is printed")]

mod benchmarks;
mod crafted;
mod files;
mod generated;
mod grammar;
mod guard;
mod judge;
mod oracles;
mod plan;
mod regress;
mod report;
mod rewriter;
mod schema;
mod split;
mod tpcc;
mod tpch;
mod world;
mod zoo;

/// How long a proof may take.
#[allow(
    clippy::disallowed_methods,
    reason = "set by scripts/prove, for proofs alone"
)]
fn long() -> std::time::Duration {
    let seconds = std::env::var("TENANTRY_PROVE_SECONDS").unwrap();
    std::time::Duration::from_secs(seconds.parse().unwrap())
}
