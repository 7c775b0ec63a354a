//! A transaction: one row read, changed and stored, and one stored beside it.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Transaction};
use tenantry_core::TenantId;
use tenantry_store::{Repository as _, RepositoryExt as _, TenantStore};

use super::{Bench, Ping, settle};
use crate::database::{Fixture, Tenants, Twin};
use crate::error::Result;
use crate::model::{COLUMNS, Key, Order, PlainOrder};
use crate::network::Link;
use crate::report::{Report, Target};
use crate::runner::{Operation, Side};

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let fixture = Fixture::new("work", 100_000, Tenants::Even(100));
    bench.database.load(&fixture).await?;
    // The walls apart from the tenant in the key: the same rows in a table that has the column.
    let keyed = Fixture::new("work_keyed", 100_000, Tenants::Even(100)).with_twin(Twin::WithTenant);
    bench.database.load(&keyed).await?;
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
            Side::new(
                "plain-transaction-with-tenant",
                Plain::open(bench, link, Ping::Yes, &keyed, &keys).await?,
            ),
            Side::new(
                "walled-by-hand",
                Plain::walled(bench, link, &keyed, &keys).await?,
            ),
        ];
        settle().await;
        let targets = [
            Target::Times(1.05),
            Target::None,
            Target::None,
            Target::None,
        ];
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

/// The same statements in a transaction on the twin, or on the table behind the walls.
struct Plain {
    /// Whether the message that begins the transaction names the tenant.
    is_walled: bool,
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
        let statements = Statements::on(&fixture.twin_schema(), fixture.twin == Twin::WithTenant);
        let pool = bench.twin_pool(link, ping).await?;
        Ok(Self {
            is_walled: false,
            pool,
            statements,
            keys: Arc::clone(keys),
        })
    }

    /// What we do, done by hand: no library but the driver.
    async fn walled(
        bench: &Bench,
        link: Link,
        fixture: &Fixture,
        keys: &Arc<[Key]>,
    ) -> Result<Self> {
        Ok(Self {
            is_walled: true,
            pool: bench.walled_pool(link, Ping::No).await?,
            statements: Statements::on(&fixture.schema, true),
            keys: Arc::clone(keys),
        })
    }

    async fn begin(&self, tenant: TenantId) -> Result<Transaction<'static, Postgres>> {
        if !self.is_walled {
            return Ok(self.pool.begin().await?);
        }
        let begin = format!("BEGIN; SET LOCAL tenantry.tenant_id = '{tenant}'");
        Ok(self.pool.begin_with(AssertSqlSafe(begin)).await?)
    }
}

struct Statements {
    /// Whether the tenant comes after all other arguments.
    has_tenant: bool,
    read: Arc<str>,
    update: Arc<str>,
    insert: Arc<str>,
}

impl Statements {
    fn on(schema: &str, has_tenant: bool) -> Self {
        let owned = |number: u8| match has_tenant {
            true => format!("tenant_id = ${number} and "),
            false => String::new(),
        };
        let [name, value] = if has_tenant {
            [", tenant_id", ", $9"]
        } else {
            ["", ""]
        };
        Self {
            has_tenant,
            read: format!(
                "select {COLUMNS} from {schema}.orders where {}id = $1",
                owned(2)
            )
            .into(),
            update: format!(
                "update {schema}.orders set customer = $3, reference = $4, total_cents = $5, \
                 lines = $6, placed_at = $7, note = $8, version = version + 1 \
                 where {}id = $1 and version = $2",
                owned(9)
            )
            .into(),
            insert: format!(
                "insert into {schema}.orders ({COLUMNS}{name}) \
                 values ($1, $2, $3, $4, $5, $6, $7, $8{value})"
            )
            .into(),
        }
    }

    async fn read(&self, connection: &mut PgConnection, key: Key) -> Result<PlainOrder> {
        let mut read = sqlx::query_as(AssertSqlSafe(Arc::clone(&self.read))).bind(key.id);
        if self.has_tenant {
            read = read.bind(key.tenant.as_uuid());
        }
        Ok(read.fetch_one(connection).await?)
    }

    async fn update(
        &self,
        connection: &mut PgConnection,
        tenant: TenantId,
        order: &PlainOrder,
    ) -> Result<()> {
        let mut update = sqlx::query(AssertSqlSafe(Arc::clone(&self.update)))
            .bind(order.id)
            .bind(order.version)
            .bind(&order.customer)
            .bind(&order.reference)
            .bind(order.total_cents)
            .bind(order.lines)
            .bind(order.placed_at)
            .bind(&order.note);
        if self.has_tenant {
            update = update.bind(tenant.as_uuid());
        }
        let updated = update.execute(connection).await?;
        if updated.rows_affected() == 1 {
            Ok(())
        } else {
            Err("the row has moved on".into())
        }
    }

    async fn insert(
        &self,
        connection: &mut PgConnection,
        tenant: TenantId,
        order: &Order,
    ) -> Result<()> {
        let mut insert = sqlx::query(AssertSqlSafe(Arc::clone(&self.insert)))
            .bind(order.id)
            .bind(&order.customer)
            .bind(&order.reference)
            .bind(order.total_cents)
            .bind(order.lines)
            .bind(order.placed_at)
            .bind(&order.note)
            .bind(1_i64);
        if self.has_tenant {
            insert = insert.bind(tenant.as_uuid());
        }
        insert.execute(connection).await?;
        Ok(())
    }
}

impl Operation for Plain {
    type Input = (Key, Order);

    fn prepare(&self, turn: usize) -> (Key, Order) {
        (self.keys[turn % self.keys.len()], Order::fresh(turn))
    }

    async fn run(&self, (key, fresh): (Key, Order)) -> Result<()> {
        let mut transaction = self.begin(key.tenant).await?;
        let mut order = self.statements.read(&mut transaction, key).await?;
        order.total_cents += 1;
        self.statements
            .update(&mut transaction, key.tenant, &order)
            .await?;
        self.statements
            .insert(&mut transaction, key.tenant, &fresh)
            .await?;
        transaction.commit().await?;
        Ok(())
    }
}
