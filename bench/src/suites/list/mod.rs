//! A page of a thousand rows.

use std::hint::black_box;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, PgPool};
use tenantry_core::TenantId;
use tenantry_store::{Query, Repository as _, TenantStore};

use super::{Bench, Ping, settle};
use crate::database::{Fixture, Tenants, Twin};
use crate::error::Result;
use crate::model::{COLUMNS, Order, OrderTuple, PlainOrder};
use crate::network::Link;
use crate::report::{Ratio, Report, Target};
use crate::runner::{Operation, Side};

const ROWS: u16 = 1_000;

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    // A page that others follow: it costs ours one row more, and a cursor.
    let fixture = Fixture::new("list", 100_000, Tenants::Even(50)).with_twin(Twin::WithTenant);
    bench.database.load(&fixture).await?;
    let tenant = bench.database.first_key(&fixture).await?.tenant;
    let sql: Arc<str> = format!(
        "select {COLUMNS} from {}.orders where tenant_id = $1 order by id limit {ROWS}",
        fixture.twin_schema()
    )
    .into();
    for link in Link::ALL {
        let pool = bench.twin_pool(link, Ping::Yes).await?;
        let sides = [
            Side::new(
                "tenantry",
                Ours {
                    store: bench.store(link, &fixture).await?,
                    tenant,
                },
            ),
            Side::new(
                "query-as",
                ByName {
                    pool: pool.clone(),
                    sql: Arc::clone(&sql),
                    tenant,
                },
            ),
            Side::new(
                "query-as-tuple",
                ByPosition {
                    pool,
                    sql: Arc::clone(&sql),
                    tenant,
                },
            ),
        ];
        settle().await;
        let measurements = bench.runner.latencies(&sides).await?;
        let targets = [Target::Times(1.05), Target::None];
        report.add_latencies("list", link, &measurements, &targets);
        if link == Link::Loopback {
            let [ours, peers @ ..] = measurements.as_slice() else {
                continue;
            };
            for (peer, target) in peers.iter().zip([Target::Times(1.20), Target::None]) {
                let name = format!("list/{}/allocations", peer.side);
                report.add(Ratio::of(
                    name,
                    ours.allocations(),
                    peer.allocations(),
                    target,
                ));
            }
        }
    }
    Ok(())
}

fn check(rows: usize) -> Result<()> {
    if rows == usize::from(ROWS) {
        Ok(())
    } else {
        Err(format!("{rows} rows in a page").into())
    }
}

struct Ours {
    store: TenantStore,
    tenant: TenantId,
}

impl Operation for Ours {
    type Input = ();

    fn prepare(&self, _turn: usize) {}

    async fn run(&self, (): ()) -> Result<()> {
        let orders = self.store.tenant(self.tenant).repository::<Order>();
        let page = orders.list(Query::new().limit(ROWS.into())).await?;
        check(black_box(page).items.len())
    }
}

/// The same query on the twin, into a struct that derives `FromRow`.
struct ByName {
    pool: PgPool,
    sql: Arc<str>,
    tenant: TenantId,
}

impl Operation for ByName {
    type Input = ();

    fn prepare(&self, _turn: usize) {}

    async fn run(&self, (): ()) -> Result<()> {
        let page: Vec<PlainOrder> = sqlx::query_as(AssertSqlSafe(Arc::clone(&self.sql)))
            .bind(self.tenant.as_uuid())
            .fetch_all(&self.pool)
            .await?;
        check(black_box(page).len())
    }
}

/// The same into a tuple, for which sqlx looks no name up.
struct ByPosition {
    pool: PgPool,
    sql: Arc<str>,
    tenant: TenantId,
}

impl Operation for ByPosition {
    type Input = ();

    fn prepare(&self, _turn: usize) {}

    async fn run(&self, (): ()) -> Result<()> {
        let page: Vec<OrderTuple> = sqlx::query_as(AssertSqlSafe(Arc::clone(&self.sql)))
            .bind(self.tenant.as_uuid())
            .fetch_all(&self.pool)
            .await?;
        check(black_box(page).len())
    }
}
