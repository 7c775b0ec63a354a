//! Tenantry against its peers, side by side in one run: plain sqlx, the same by hand, and another
//! tenancy crate.
//!
//! Absolute figures drift with the machine and its load; ratios of one run do not, as long as both
//! sides meet the same noise. So the sides take turns in short blocks, many times over, and the
//! ratio is the median of the ratios of these rounds. Every comparison is made on the loopback and
//! through a proxy that holds each answer back by a millisecond, as another machine would.
//!
//! | suite | ours | peers |
//! |---|---|---|
//! | [`stream`](suites::stream) | `stream` over a million rows | `query_as().fetch()` |
//! | [`read`](suites::read) | `find` by identifier | a plain pool, set_config by hand, tenaxum |
//! | [`work`](suites::work) | a unit of work: one read, two writes | a plain transaction, without a tenant and with it in the key; both walls by hand |
//! | [`list`](suites::list) | a page of 1,000 rows | `query_as` |
//! | [`bulk`](suites::bulk) | `insert_many` of 10,000 rows | one `UNNEST` by hand |
//! | [`guard`](suites::guard) | hand-written SQL through the guard | the same with the predicate by hand |
//! | [`scale`](suites::scale) | read and unit of work with 100,000 tenants | the same with 10 |
//!
//! Plain peers have twin tables without row-level security: without a tenant for `read` and `work`,
//! as a service without tenants would have them; with the tenant in the key for `list` and `bulk`,
//! where the server's plan would else be another. All pools have ten connections, and all sides
//! run on one runtime of two threads.

mod error;
mod options;

mod runner;
mod suites;

mod database;
mod model;
mod network;
mod process;
mod report;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;

use database::Database;
use error::Result;
use network::Network;
use options::{Options, Suite};
use report::Report;
use runner::Runner;
use suites::Bench;

/// Counts the allocations of the whole process.
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    match start(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "tenantry-bench: {}", error::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn start(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let database = Arc::new(runtime.block_on(Database::create(options.database.as_deref()))?);
    let network = Arc::new(Network::start(&database.address())?);
    let bench = Bench {
        database,
        runner: Runner::new(options.pace(), Arc::clone(&network)),
        network,
        rows: options.rows,
        quick: options.quick,
    };
    let chosen = options.suites();
    // Spawned, because the thread that blocks on a runtime is not one of its workers.
    let report =
        runtime.block_on(runtime.spawn(async move { measure(&bench, &chosen).await }))??;
    report.write(&options.out)?;
    report.print(&mut io::stdout().lock())?;
    Ok(())
}

async fn measure(bench: &Bench, chosen: &[Suite]) -> Result<Report> {
    let mut report = Report::default();
    suites::delay(bench, &mut report).await?;
    for suite in chosen {
        let _ = writeln!(io::stderr(), "tenantry-bench: {}", suite.name());
        match suite {
            Suite::Stream => suites::stream::run(bench, &mut report).await?,
            Suite::Read => suites::read::run(bench, &mut report).await?,
            Suite::Work => suites::work::run(bench, &mut report).await?,
            Suite::List => suites::list::run(bench, &mut report).await?,
            Suite::Bulk => suites::bulk::run(bench, &mut report).await?,
            Suite::Guard => suites::guard::run(bench, &mut report).await?,
            Suite::Scale => suites::scale::run(bench, &mut report).await?,
        }
    }
    Ok(report)
}
