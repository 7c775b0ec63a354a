//! One row by its identifier.

use std::hint::black_box;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, PgPool};
use tenantry_store::{Repository as _, TenantStore};
use tenaxum::Tenancy;

use super::{Bench, CONNECTIONS, Ping, missing, settle};
use crate::database::{Fixture, Tenants};
use crate::error::Result;
use crate::model::{COLUMNS, Key, Order, OrderTuple, PlainOrder};
use crate::network::Link;
use crate::report::{Report, Target};
use crate::runner::{Operation, Side};

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let fixture = Fixture::new("read", 100_000, Tenants::Even(100));
    bench.database.load(&fixture).await?;
    let keys: Arc<[Key]> = bench.database.keys(&fixture, 10_000).await?.into();
    for link in Link::ALL {
        let (sides, targets) = sides(bench, link, &fixture, &keys).await?;
        settle().await;
        bench
            .compare(report, "read", link, &sides, &targets)
            .await?;
    }
    Ok(())
}

async fn sides(
    bench: &Bench,
    link: Link,
    fixture: &Fixture,
    keys: &Arc<[Key]>,
) -> Result<(Vec<Side>, Vec<Target>)> {
    let sides = vec![
        Side::new("tenantry", ours(bench, link, fixture, keys).await?),
        Side::new(
            "plain-pool",
            Plain::open(bench, link, Ping::Yes, fixture, keys).await?,
        ),
        Side::new(
            "set-config-by-hand",
            ByHand::open(bench, link, Ping::Yes, fixture, keys).await?,
        ),
        Side::new(
            "plain-pool-without-ping",
            Plain::open(bench, link, Ping::No, fixture, keys).await?,
        ),
        Side::new(
            "set-config-by-hand-without-ping",
            ByHand::open(bench, link, Ping::No, fixture, keys).await?,
        ),
        Side::new("tenaxum", Tenaxum::open(bench, link, fixture, keys).await?),
    ];
    let targets = vec![
        Target::Times(1.10),
        Target::Times(0.60),
        Target::None,
        Target::None,
        Target::None,
    ];
    Ok((sides, targets))
}

/// Returns a read of ours, for other suites too.
pub(super) async fn ours(
    bench: &Bench,
    link: Link,
    fixture: &Fixture,
    keys: &Arc<[Key]>,
) -> Result<impl Operation + use<>> {
    Ok(Ours {
        store: bench.store(link, fixture).await?,
        keys: Arc::clone(keys),
    })
}

struct Ours {
    store: TenantStore,
    keys: Arc<[Key]>,
}

impl Operation for Ours {
    type Input = Key;

    fn prepare(&self, turn: usize) -> Key {
        self.keys[turn % self.keys.len()]
    }

    async fn run(&self, key: Key) -> Result<()> {
        let orders = self.store.tenant(key.tenant).repository::<Order>();
        black_box(orders.find(&key.id).await?.ok_or_else(missing)?);
        Ok(())
    }
}

/// The same query on the twin: no tenancy at all.
struct Plain {
    pool: PgPool,
    sql: Arc<str>,
    keys: Arc<[Key]>,
}

impl Plain {
    async fn open(
        bench: &Bench,
        link: Link,
        ping: Ping,
        fixture: &Fixture,
        keys: &Arc<[Key]>,
    ) -> Result<Self> {
        let sql = format!(
            "select {COLUMNS} from {}.orders where id = $1",
            fixture.twin_schema()
        );
        let pool = bench.twin_pool(link, ping).await?;
        Ok(Self {
            pool,
            sql: sql.into(),
            keys: Arc::clone(keys),
        })
    }
}

impl Operation for Plain {
    type Input = Key;

    fn prepare(&self, turn: usize) -> Key {
        self.keys[turn % self.keys.len()]
    }

    async fn run(&self, key: Key) -> Result<()> {
        let order: Option<PlainOrder> = sqlx::query_as(AssertSqlSafe(Arc::clone(&self.sql)))
            .bind(key.id)
            .fetch_optional(&self.pool)
            .await?;
        black_box(order.ok_or_else(missing)?);
        Ok(())
    }
}

/// What one writes by hand for row-level security: the tenant set in a transaction.
struct ByHand {
    pool: PgPool,
    sql: Arc<str>,
    keys: Arc<[Key]>,
}

impl ByHand {
    async fn open(
        bench: &Bench,
        link: Link,
        ping: Ping,
        fixture: &Fixture,
        keys: &Arc<[Key]>,
    ) -> Result<Self> {
        let sql = format!(
            "select {COLUMNS} from {}.orders where tenant_id = $1 and id = $2",
            fixture.schema
        );
        let pool = bench.walled_pool(link, ping).await?;
        Ok(Self {
            pool,
            sql: sql.into(),
            keys: Arc::clone(keys),
        })
    }
}

impl Operation for ByHand {
    type Input = Key;

    fn prepare(&self, turn: usize) -> Key {
        self.keys[turn % self.keys.len()]
    }

    async fn run(&self, key: Key) -> Result<()> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("select set_config('tenantry.tenant_id', $1, true)")
            .bind(key.tenant.to_string())
            .execute(&mut *transaction)
            .await?;
        let order: Option<PlainOrder> = sqlx::query_as(AssertSqlSafe(Arc::clone(&self.sql)))
            .bind(key.tenant.as_uuid())
            .bind(key.id)
            .fetch_optional(&mut *transaction)
            .await?;
        transaction.commit().await?;
        black_box(order.ok_or_else(missing)?);
        Ok(())
    }
}

/// Another crate's way: the tenant set on the session at check-out, and taken back at release.
struct Tenaxum {
    pool: sqlx_08::PgPool,
    sql: String,
    keys: Arc<[Key]>,
}

impl Tenaxum {
    async fn open(bench: &Bench, link: Link, fixture: &Fixture, keys: &Arc<[Key]>) -> Result<Self> {
        let url = bench.network.url(link, bench.database.app_url())?;
        let options = sqlx_08::postgres::PgPoolOptions::new().max_connections(CONNECTIONS);
        let tenancy = Tenancy::new().guc("tenantry.tenant_id");
        let pool = tenancy.with_tenant_hooks(options).connect(&url).await?;
        // Row-level security alone names the tenant, as its manual has it.
        let sql = format!(
            "select {COLUMNS} from {}.orders where id = $1",
            fixture.schema
        );
        Ok(Self {
            pool,
            sql,
            keys: Arc::clone(keys),
        })
    }
}

impl Operation for Tenaxum {
    type Input = Key;

    fn prepare(&self, turn: usize) -> Key {
        self.keys[turn % self.keys.len()]
    }

    async fn run(&self, key: Key) -> Result<()> {
        let tenant = tenaxum::TenantId::from(key.tenant.as_uuid());
        let order: Option<OrderTuple> = tenaxum::pool::scope_tenant(
            tenant,
            sqlx_08::query_as(&self.sql)
                .bind(key.id)
                .fetch_optional(&self.pool),
        )
        .await?;
        black_box(order.ok_or_else(missing)?);
        Ok(())
    }
}
