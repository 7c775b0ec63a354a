//! Ten thousand new rows at once.

use std::sync::Arc;

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgPool, Postgres};
use tenantry_core::TenantId;
use tenantry_store::{Repository as _, TenantStore};

use super::{Bench, Ping, settle};
use crate::database::{Fixture, Tenants, Twin};
use crate::error::Result;
use crate::model::{COLUMNS, Order};
use crate::network::Link;
use crate::report::{Report, Target};
use crate::runner::{Operation, Side};

const ROWS: usize = 10_000;

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    // A twin with the same key: where in an index a row goes is not what is compared.
    let fixture = Fixture::new("bulk", 100_000, Tenants::Even(100)).with_twin(Twin::WithTenant);
    bench.database.load(&fixture).await?;
    let tenant = bench.database.first_key(&fixture).await?.tenant;
    for link in Link::ALL {
        let plain = Plain {
            pool: bench.twin_pool(link, Ping::Yes).await?,
            sql: insert_into(&fixture.twin_schema()),
            tenant,
        };
        let by_hand = ByHand {
            pool: bench.walled_pool(link, Ping::Yes).await?,
            sql: insert_into(&fixture.schema),
            tenant,
        };
        let sides = [
            Side::new(
                "tenantry",
                Ours {
                    store: bench.store(link, &fixture).await?,
                    tenant,
                },
            ),
            Side::new("unnest", plain),
            Side::new("unnest-walled", by_hand),
        ];
        settle().await;
        let measurements = bench.runner.latencies(&sides).await?;
        let targets = [Target::Times(1.10), Target::Times(1.10)];
        report.add_latencies("bulk", link, &measurements, &targets);
    }
    Ok(())
}

fn insert_into(schema: &str) -> Arc<str> {
    format!(
        "insert into {schema}.orders ({COLUMNS}, tenant_id) select input.*, 1, $8 from unnest(\
         $1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::integer[], $6::timestamptz[], \
         $7::text[]) input"
    )
    .into()
}

fn fresh(turn: usize) -> Vec<Order> {
    (0..ROWS)
        .map(|row| Order::fresh(turn * ROWS + row))
        .collect()
}

struct Ours {
    store: TenantStore,
    tenant: TenantId,
}

impl Operation for Ours {
    type Input = Vec<Order>;

    fn prepare(&self, turn: usize) -> Vec<Order> {
        fresh(turn)
    }

    async fn run(&self, mut rows: Vec<Order>) -> Result<()> {
        let orders = self.store.tenant(self.tenant).repository::<Order>();
        orders.insert_many(&mut rows).await?;
        Ok(())
    }
}

/// An `UNNEST` by hand into the twin.
struct Plain {
    pool: PgPool,
    sql: Arc<str>,
    tenant: TenantId,
}

impl Operation for Plain {
    type Input = Vec<Order>;

    fn prepare(&self, turn: usize) -> Vec<Order> {
        fresh(turn)
    }

    async fn run(&self, rows: Vec<Order>) -> Result<()> {
        unnest(&self.sql, &rows, self.tenant)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

/// The same behind both walls: what `insert_many` does, written out.
struct ByHand {
    pool: PgPool,
    sql: Arc<str>,
    tenant: TenantId,
}

impl Operation for ByHand {
    type Input = Vec<Order>;

    fn prepare(&self, turn: usize) -> Vec<Order> {
        fresh(turn)
    }

    async fn run(&self, rows: Vec<Order>) -> Result<()> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("select set_config('tenantry.tenant_id', $1, true)")
            .bind(self.tenant.to_string())
            .execute(&mut *transaction)
            .await?;
        unnest(&self.sql, &rows, self.tenant)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// Binds an array for each column, and the tenant.
fn unnest<'q>(
    sql: &Arc<str>,
    rows: &'q [Order],
    tenant: TenantId,
) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(AssertSqlSafe(Arc::clone(sql)))
        .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
        .bind(
            rows.iter()
                .map(|row| row.customer.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(
            rows.iter()
                .map(|row| row.reference.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(rows.iter().map(|row| row.total_cents).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.lines).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.placed_at).collect::<Vec<_>>())
        .bind(
            rows.iter()
                .map(|row| row.note.as_deref())
                .collect::<Vec<_>>(),
        )
        .bind(tenant.as_uuid())
}
