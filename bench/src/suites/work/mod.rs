//! A transaction: one row read, changed and stored, and one stored beside it.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use tenantry_store::{Repository as _, RepositoryExt as _, TenantStore};

use super::{Bench, Ping, settle};
use crate::database::{Fixture, Tenants};
use crate::error::Result;
use crate::model::{COLUMNS, Key, Order, PlainOrder};
use crate::network::Link;
use crate::report::{Report, Target};
use crate::runner::{Operation, Side};

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let fixture = Fixture::new("work", 100_000, Tenants::Even(100));
    bench.database.load(&fixture).await?;
    let keys: Arc<[Key]> = bench.database.keys(&fixture, 50_000).await?.into();
    for link in Link::ALL {
        let sides = [
            Side::new("tenantry", ours(bench, link, &fixture, &keys).await?),
            Side::new(
                "plain-transaction",
                Plain::open(bench, link, Ping::Yes, &fixture, &keys).await?,
            ),
            Side::new(
                "plain-transaction-without-ping",
                Plain::open(bench, link, Ping::No, &fixture, &keys).await?,
            ),
        ];
        settle().await;
        let targets = [Target::Times(1.05), Target::None];
        bench
            .compare(report, "work", link, &sides, &targets)
            .await?;
    }
    Ok(())
}

/// Returns a unit of work of ours, for other suites too.
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
    type Input = (Key, Order);

    fn prepare(&self, turn: usize) -> (Key, Order) {
        (self.keys[turn % self.keys.len()], Order::fresh(turn))
    }

    async fn run(&self, (key, mut fresh): (Key, Order)) -> Result<()> {
        let work = self.store.tenant(key.tenant).begin().await?;
        let orders = work.repository::<Order>();
        let mut order = orders.get(key.id).await?;
        order.total_cents += 1;
        orders.update(&mut order).await?;
        orders.insert(&mut fresh).await?;
        work.commit().await?;
        Ok(())
    }
}

/// The same statements in a transaction on the twin.
struct Plain {
    pool: PgPool,
    statements: Statements,
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
        let statements = Statements::on(&fixture.twin_schema());
        let pool = bench.twin_pool(link, ping).await?;
        Ok(Self {
            pool,
            statements,
            keys: Arc::clone(keys),
        })
    }
}

struct Statements {
    read: Arc<str>,
    update: Arc<str>,
    insert: Arc<str>,
}

impl Statements {
    fn on(schema: &str) -> Self {
        Self {
            read: format!("select {COLUMNS} from {schema}.orders where id = $1").into(),
            update: format!(
                "update {schema}.orders set customer = $3, reference = $4, total_cents = $5, \
                 lines = $6, placed_at = $7, note = $8, version = version + 1 \
                 where id = $1 and version = $2"
            )
            .into(),
            insert: format!(
                "insert into {schema}.orders ({COLUMNS}) values ($1, $2, $3, $4, $5, $6, $7, $8)"
            )
            .into(),
        }
    }

    async fn update(&self, connection: &mut PgConnection, order: &PlainOrder) -> Result<()> {
        let updated = sqlx::query(AssertSqlSafe(Arc::clone(&self.update)))
            .bind(order.id)
            .bind(order.version)
            .bind(&order.customer)
            .bind(&order.reference)
            .bind(order.total_cents)
            .bind(order.lines)
            .bind(order.placed_at)
            .bind(&order.note)
            .execute(connection)
            .await?;
        if updated.rows_affected() == 1 {
            Ok(())
        } else {
            Err("the row has moved on".into())
        }
    }

    async fn insert(&self, connection: &mut PgConnection, order: &Order) -> Result<()> {
        sqlx::query(AssertSqlSafe(Arc::clone(&self.insert)))
            .bind(order.id)
            .bind(&order.customer)
            .bind(&order.reference)
            .bind(order.total_cents)
            .bind(order.lines)
            .bind(order.placed_at)
            .bind(&order.note)
            .bind(1_i64)
            .execute(connection)
            .await?;
        Ok(())
    }
}

impl Operation for Plain {
    type Input = (Key, Order);

    fn prepare(&self, turn: usize) -> (Key, Order) {
        (self.keys[turn % self.keys.len()], Order::fresh(turn))
    }

    async fn run(&self, (key, fresh): (Key, Order)) -> Result<()> {
        let mut transaction = self.pool.begin().await?;
        let mut order: PlainOrder =
            sqlx::query_as(AssertSqlSafe(Arc::clone(&self.statements.read)))
                .bind(key.id)
                .fetch_one(&mut *transaction)
                .await?;
        order.total_cents += 1;
        self.statements.update(&mut transaction, &order).await?;
        self.statements.insert(&mut transaction, &fresh).await?;
        transaction.commit().await?;
        Ok(())
    }
}
