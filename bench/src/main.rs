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
//! | [`blob`](suites::blob) | blobs of a GiB in a folder, and many of them | copies of files; `object_store` in a folder; SHA-256 alone |
//! | [`azure`](suites::azure) | blobs of a GiB in Azurite, and lists of many; encrypted ones in a folder | the official client alone; `object_store`; plain ones |
//! | [`read`](suites::read) | `find` by identifier | a plain pool, set_config by hand, tenaxum |
//! | [`work`](suites::work) | a unit of work: one read, two writes | a plain transaction, without a tenant and with it in the key; both walls by hand |
//! | [`list`](suites::list) | a page of 1,000 rows | `query_as` |
//! | [`bulk`](suites::bulk) | `insert_many` of 10,000 rows | one `UNNEST` by hand |
//! | [`guard`](suites::guard) | hand-written SQL through the guard | the same with the predicate by hand |
//! | [`outbox`](suites::outbox) | a backlog that leaves in order, also beside others; a unit of work with a message | `DELETE … SKIP LOCKED … RETURNING`; the same without |
//! | [`backlog`](suites::backlog) | ten million messages that wait | ten thousand |
//! | [`held`](suites::held) | an outbox beside a transaction that stays open for ten minutes | none |
//! | [`scale`](suites::scale) | read and unit of work with 100,000 tenants | the same with 10 |
//! | [`hit`](suites::hit) | a value that is kept in this process | raw `moka`; `cached`; multi-tier-cache |
//! | [`shared`](suites::shared) | a value that is kept in Redis; a load, and its store | `GET`, `SET` by hand; `cached`; multi-tier-cache |
//! | [`flush`](suites::flush) | everything of a tenant with a million keys | the same of one with a single key |
//! | [`limit`](suites::limit) | a decision in Redis; as many as are allowed, by 512 tasks of 8 nodes | an empty script |
//! | [`lease`](suites::lease) | decisions in this process | limits in memory, `governor` |
//! | [`repository`](suites::repository) | `find` of a row that is kept | `find` on SQLite |
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
mod server;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

use error::Result;
use options::{Options, Suite};
use report::Report;
use suites::{Bench, CacheBench};

/// Counts the allocations of the whole process.
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    match start(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "tenantry-bench: {}", error::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn start(options: Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let out = options.out.clone();
    // Spawned, because the thread that blocks on a runtime is not one of its workers.
    let report = runtime.block_on(runtime.spawn(async move { measure(&options).await }))??;
    report.write(&out)?;
    report.print(&mut io::stdout().lock())?;
    Ok(())
}

async fn measure(options: &Options) -> Result<Report> {
    let mut report = Report::default();
    let mut servers = Servers::default();
    for suite in options.suites() {
        let _ = writeln!(io::stderr(), "tenantry-bench: {}", suite.name());
        let (servers, report) = (&mut servers, &mut report);
        match suite {
            Suite::Stream => {
                suites::stream::run(servers.store(options, report).await?, report).await?
            }
            Suite::Blob => suites::blob::run(options, report).await?,
            Suite::Azure => suites::azure::run(options, report).await?,
            Suite::Read => suites::read::run(servers.store(options, report).await?, report).await?,
            Suite::Work => suites::work::run(servers.store(options, report).await?, report).await?,
            Suite::List => suites::list::run(servers.store(options, report).await?, report).await?,
            Suite::Bulk => suites::bulk::run(servers.store(options, report).await?, report).await?,
            Suite::Guard => {
                suites::guard::run(servers.store(options, report).await?, report).await?
            }
            Suite::Outbox => {
                suites::outbox::run(servers.store(options, report).await?, report).await?
            }
            Suite::Backlog => {
                suites::backlog::run(servers.store(options, report).await?, report).await?
            }
            Suite::Held => suites::held::run(servers.store(options, report).await?, report).await?,
            Suite::Scale => {
                suites::scale::run(servers.store(options, report).await?, report).await?
            }
            Suite::Hit => suites::hit::run(servers.cache(options).await?, report).await?,
            Suite::Shared => suites::shared::run(servers.cache(options).await?, report).await?,
            Suite::Flush => suites::flush::run(servers.cache(options).await?, report).await?,
            Suite::Limit => suites::limit::run(servers.cache(options).await?, report).await?,
            Suite::Lease => suites::lease::run(servers.cache(options).await?, report).await?,
            Suite::Repository => {
                suites::repository::run(servers.cache(options).await?, report).await?
            }
        }
    }
    Ok(report)
}

/// The servers that the suites have needed up to now.
#[derive(Debug, Default)]
struct Servers {
    postgres: Option<Bench>,
    redis: Option<CacheBench>,
}

impl Servers {
    async fn store(&mut self, options: &Options, report: &mut Report) -> Result<&Bench> {
        let bench = match self.postgres.take() {
            Some(bench) => bench,
            None => {
                let bench = Bench::open(options).await?;
                suites::delay(&bench, report).await?;
                bench
            }
        };
        Ok(self.postgres.insert(bench))
    }

    async fn cache(&mut self, options: &Options) -> Result<&CacheBench> {
        // The suites of the store are over; a server that idles still has things to do.
        self.postgres = None;
        let bench = match self.redis.take() {
            Some(bench) => bench,
            None => CacheBench::open(options).await?,
        };
        Ok(self.redis.insert(bench))
    }
}
