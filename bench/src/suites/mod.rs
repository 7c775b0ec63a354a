//! What is compared with what.

pub(crate) mod azure;
pub(crate) mod backlog;
pub(crate) mod blob;
pub(crate) mod bulk;
pub(crate) mod flush;
pub(crate) mod guard;
pub(crate) mod held;
pub(crate) mod hit;
pub(crate) mod lease;
pub(crate) mod limit;
pub(crate) mod list;
pub(crate) mod outbox;
pub(crate) mod read;
pub(crate) mod repository;
pub(crate) mod scale;
pub(crate) mod shared;
pub(crate) mod stream;
pub(crate) mod work;

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tenantry_store::{PostgresSettings, TenantStore};

use crate::database::{Database, Fixture};
use crate::error::Result;
use crate::network::{Link, Network};
use crate::options::Options;
use crate::report::{Report, Target};
use crate::runner::{Measurement, Operation, Runner, Side};
use crate::server::CacheServer;

/// What every suite of the store needs.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) database: Arc<Database>,
    pub(crate) network: Arc<Network>,
    pub(crate) runner: Runner,
    /// Rows in each table of the suite `scale`.
    pub(crate) rows: u32,
    pub(crate) quick: bool,
}

/// What every suite of the cache and the limiter needs.
#[derive(Debug)]
pub(crate) struct CacheBench {
    pub(crate) server: CacheServer,
    pub(crate) runner: Runner,
    pub(crate) quick: bool,
}

/// Whether a pool of sqlx asks a connection if it is alive before handing it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ping {
    /// As by default.
    Yes,
    No,
}

/// The size of every pool.
const CONNECTIONS: u32 = 10;

/// How many tasks make load for a throughput.
const TASKS: usize = 8;

impl Bench {
    pub(crate) async fn open(options: &Options) -> Result<Self> {
        let database = Arc::new(Database::create(options.database.as_deref()).await?);
        let network = Arc::new(Network::start(&database.address())?);
        Ok(Self {
            database,
            runner: Runner::new(options.pace(), Arc::clone(&network)),
            network,
            rows: options.rows,
            quick: options.quick,
        })
    }

    /// Opens a store of ours on the schema of a fixture.
    async fn store(&self, link: Link, fixture: &Fixture) -> Result<TenantStore> {
        let url = self.network.url(link, self.database.app_url())?;
        let settings = PostgresSettings::new(url)
            .with_schema(fixture.schema.clone())
            .with_max_connections(CONNECTIONS);
        Ok(TenantStore::postgres(settings).await?)
    }

    /// Opens a pool of plain sqlx for the role that owns the twins.
    async fn twin_pool(&self, link: Link, ping: Ping) -> Result<PgPool> {
        self.pool(link, self.database.peer_url(), ping).await
    }

    /// Opens a pool of plain sqlx for the role behind the walls.
    async fn walled_pool(&self, link: Link, ping: Ping) -> Result<PgPool> {
        self.pool(link, self.database.app_url(), ping).await
    }

    async fn pool(&self, link: Link, url: &str, ping: Ping) -> Result<PgPool> {
        let options = PgConnectOptions::from_str(&self.network.url(link, url)?)?;
        Ok(PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .test_before_acquire(ping == Ping::Yes)
            .connect_with(options)
            .await?)
    }

    /// Compares the first side with the others, by latency and by throughput, and on the long
    /// way by round trips.
    async fn compare(
        &self,
        report: &mut Report,
        suite: &str,
        link: Link,
        sides: &[Side],
        targets: &[Target],
    ) -> Result<()> {
        let measurements = self.runner.latencies(sides).await?;
        report.add_latencies(suite, link, &measurements, targets);
        let names: Vec<_> = sides.iter().map(|side| side.name).collect();
        let rates = self.runner.throughput(sides, TASKS).await?;
        report.add_throughput(suite, link, &names, &rates, TASKS, &[]);
        if link == Link::Delayed {
            let mut counts = Vec::new();
            for side in sides {
                counts.push((side.name, self.runner.round_trips(side).await?));
            }
            report.add_round_trips(suite, &counts, Target::None);
        }
        Ok(())
    }
}

impl CacheBench {
    pub(crate) async fn open(options: &Options) -> Result<Self> {
        let server = CacheServer::start().await?;
        Ok(Self {
            runner: Runner::new(options.pace(), Arc::clone(server.network())),
            server,
            quick: options.quick,
        })
    }

    /// Compares the first side with the others by latency, and on the long way by round trips, of
    /// which ours is to have so many.
    async fn compare(
        &self,
        report: &mut Report,
        suite: &str,
        link: Link,
        sides: &[Side],
        targets: &[Target],
        round_trips: Target,
    ) -> Result<Vec<Measurement>> {
        let measurements = self.runner.latencies(sides).await?;
        report.add_latencies(suite, link, &measurements, targets);
        if link == Link::Delayed {
            let mut counts = Vec::new();
            for side in sides {
                counts.push((side.name, self.runner.round_trips(side).await?));
            }
            report.add_round_trips(suite, &counts, round_trips);
        }
        Ok(measurements)
    }
}

/// Measures what the proxy really adds to a round trip.
pub(crate) async fn delay(bench: &Bench, report: &mut Report) -> Result<()> {
    let [delayed, loopback] = [
        RoundTrip {
            pool: bench.twin_pool(Link::Delayed, Ping::No).await?,
        },
        RoundTrip {
            pool: bench.twin_pool(Link::Loopback, Ping::No).await?,
        },
    ];
    let sides = [
        Side::new("delayed", delayed),
        Side::new("loopback", loopback),
    ];
    let measurements = bench.runner.latencies(&sides).await?;
    report.add_latencies("select-1", Link::Delayed, &measurements, &[Target::None]);
    Ok(())
}

struct RoundTrip {
    pool: PgPool,
}

impl Operation for RoundTrip {
    type Input = ();

    fn prepare(&self, _turn: usize) {}

    async fn run(&self, (): ()) -> Result<()> {
        sqlx::query("select 1").execute(&self.pool).await?;
        Ok(())
    }
}

/// Waits until the server has written down what a suite has loaded or left behind.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// Says that an operation did not find what was there.
fn missing() -> crate::error::Error {
    "a row that was loaded is not there".into()
}
