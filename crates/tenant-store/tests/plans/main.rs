//! What the server makes of our statements: for each, its text and its plan stand in a file beside
//! this one, and a change of either is seen in a review.
//!
//! Under both walls the policy has to become a one-time filter, and the index that begins with the
//! tenant has to be used. The files are for PostgreSQL 15; on others the rules alone are checked.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

#[path = "../support/mod.rs"]
mod support;

use std::fmt::Write as _;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use tenantry_core::TenantId;
use tenantry_store::guard::SqlGuard;
use tenantry_store::postgres::migrate;
use tenantry_store::{
    Aggregate, Changes, ErrorKind, Migrations, Query, Repository, RepositoryExt, TenantScope,
    Version,
};
use tenantry_testkit::{PostgresServer, ServerOptions, wall_two_alone};
use uuid::Uuid;

use support::Walled;

#[derive(Debug, Clone, PartialEq, Eq, Aggregate)]
#[aggregate(table = "orders")]
struct Order {
    #[aggregate(id)]
    id: Uuid,
    customer: Uuid,
    status: String,
    total_cents: i64,
    #[aggregate(version)]
    version: Version,
}

const SCHEMA: &str = "
    create table customers (
        tenant_id uuid not null, id uuid not null, name text not null, primary key (tenant_id, id));
    create table orders (
        tenant_id uuid not null, id uuid not null, customer uuid not null, status text not null,
        total_cents bigint not null, version bigint not null, primary key (tenant_id, id));
    create index orders_by_status on orders (tenant_id, status);
    create index orders_by_customer on orders (tenant_id, customer);
    select tenantry.protect('customers'), tenantry.protect('orders');
";

/// A big tenant, one of the usual size, and a small one.
const ROWS: &str = "
    insert into customers
    select tenant, md5('c' || tenant || n)::uuid, 'customer ' || n
    from (values (TENANT, 300), (md5('2')::uuid, 3000), (md5('3')::uuid, 30)) t (tenant, rows),
        generate_series(1, rows) n;
    insert into orders
    select tenant, md5(tenant || ' ' || n)::uuid, md5('c' || tenant || n % (rows / 10))::uuid,
        case n % 10 when 0 then 'open' else 'paid' end, n, 1
    from (values (TENANT, 3000), (md5('2')::uuid, 30000), (md5('3')::uuid, 300)) t (tenant, rows),
        generate_series(1, rows) n;
";

struct Fixture {
    walled: Walled,
    scope: TenantScope,
    admin: PgConnection,
    version: i32,
}

impl Fixture {
    async fn open(server: &PostgresServer) -> Self {
        let walled = Walled::on(server).await;
        let migrations = Migrations::embedded(&[
            (
                1,
                "conformance",
                tenantry_store::conformance::POSTGRES_SCHEMA,
            ),
            (2, "orders", SCHEMA),
        ]);
        migrate(walled.owner.url(), &migrations).await.unwrap();
        let tenant = TenantId::generate();
        let rows = ROWS.replace("TENANT", &format!("'{tenant}'::uuid"));
        walled.database.execute(&rows).await.unwrap();
        // So that it does not depend on the server's own vacuum what an index alone can answer.
        let vacuum = "vacuum (analyze) customers, orders";
        walled.database.execute(vacuum).await.unwrap();
        let mut admin = PgConnection::connect(walled.database.admin_url())
            .await
            .unwrap();
        let version = sqlx::query_scalar("select current_setting('server_version_num')::int")
            .fetch_one(&mut admin)
            .await
            .unwrap();
        Self {
            scope: walled.store().await.tenant(tenant),
            walled,
            admin,
            version,
        }
    }

    /// Returns the plan that serves whatever the arguments are.
    async fn plan(&self, sql: &str, first_is_tenant: bool) -> Vec<String> {
        // Statements prepared by SQL bind no argument.
        let url = wall_two_alone(self.walled.app.url()).unwrap();
        let mut app = PgConnection::connect(&url).await.unwrap();
        let number = |text: &str| -> usize {
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().unwrap_or(0)
        };
        let arguments = sql.split('$').skip(1).map(number).max().unwrap_or(0);
        let types = if first_is_tenant { "(uuid)" } else { "" };
        let nulls = match arguments {
            0 => String::new(),
            arguments => format!("({})", vec!["null"; arguments].join(", ")),
        };
        let script = format!(
            "set plan_cache_mode = force_generic_plan; prepare statement {types} as {sql}; \
             begin; set local tenantry.tenant_id = '{}'; explain (costs off) execute statement {nulls}",
            self.scope.tenant()
        );
        let rows = sqlx::raw_sql(AssertSqlSafe(script))
            .fetch_all(&mut app)
            .await
            .unwrap_or_else(|error| panic!("{error}: {sql}"));
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Adds a statement and its plan to a file, and sees that it keeps to the rules.
    async fn add(&self, file: &mut String, name: &str, sql: &str, first_is_tenant: bool) {
        let plan = self.plan(sql, first_is_tenant).await;
        let all = plan.join("\n");
        if all.contains("Scan on orders") || all.contains("on orders o") {
            assert!(all.contains("One-Time Filter"), "{name}: {sql}\n{all}");
        }
        assert!(!all.contains("Seq Scan on orders"), "{name}: {sql}\n{all}");
        writeln!(file, "## {name}\n\n{sql}\n\n{all}\n").unwrap();
    }

    /// Sees that the guard takes a statement of ours as it takes a service's: it writes the tenant by
    /// itself, or sets it, and is refused; or it carries the tenant once more.
    async fn guard(&self, guard: &SqlGuard, sql: &str) {
        let is_refused = sql.contains("set_config") || sql.contains("INSERT INTO");
        match guard.rewrite(sql) {
            Ok(guarded) => {
                assert!(!is_refused, "{}", guarded.sql());
                let plan = self.plan(guarded.sql(), true).await.join("\n");
                assert!(
                    plan.contains("One-Time Filter"),
                    "{}\n{plan}",
                    guarded.sql()
                );
            }
            Err(error) => {
                assert!(is_refused, "{error}: {sql}");
                assert_eq!(error.kind(), ErrorKind::RefusedStatement);
            }
        }
    }

    /// Returns the statements on `orders` that a call sends, by the server's log.
    async fn sent<T>(&mut self, call: impl Future<Output = T>) -> Vec<String> {
        let before = self.log().await.len();
        call.await;
        let log = self.log().await;
        let prefix = format!("{} LOG:  execute ", self.walled.app.user());
        log[before..]
            .lines()
            .filter_map(|line| line.strip_prefix(&*prefix))
            .filter_map(|line| line.split_once(": "))
            .map(|(_, statement)| statement.to_owned())
            .filter(|statement| statement.contains("\"orders\""))
            .collect()
    }

    /// Returns the log up to now: it is written by a process of its own, so a mark is left in it
    /// and waited for.
    async fn log(&mut self) -> String {
        let mark = format!("-- mark {}", Uuid::new_v4());
        let statement = AssertSqlSafe(format!("select 1 {mark}"));
        sqlx::raw_sql(statement)
            .execute(&mut self.admin)
            .await
            .unwrap();
        loop {
            let log: String = sqlx::query_scalar("select pg_read_file('log/all.log')")
                .fetch_one(&mut self.admin)
                .await
                .unwrap();
            if log.contains(&mark) {
                return log;
            }
        }
    }

    fn compare(&self, file: &str, expected: &str, actual: &str) {
        if self.version / 10_000 != 15 || actual == expected {
            return;
        }
        let place = std::env::temp_dir().join(format!("tenantry-plans-{file}"));
        std::fs::write(&place, actual).unwrap();
        let mut known = expected.lines();
        let differs = actual.lines().find(|line| known.next() != Some(line));
        panic!(
            "the plans differ from tests/plans/{file}, first in {differs:?}; what was seen is in {}: if \
             that is right, copy it over",
            place.display()
        );
    }
}

#[tokio::test]
async fn plans_of_the_repository_are_those_of_the_file() {
    let options = ServerOptions::default()
        .with_setting("logging_collector", "on")
        .with_setting("log_directory", "log")
        .with_setting("log_filename", "all.log")
        .with_setting("log_line_prefix", "%u ")
        .with_setting("log_statement", "all");
    let server = PostgresServer::start_with(&options).await.unwrap();
    let mut fixture = Fixture::open(&server).await;
    let scope = fixture.scope.clone();
    let orders = scope.repository::<Order>();
    orders
        .count(Order::STATUS.eq("open".to_owned()))
        .await
        .unwrap();
    let page = Query::new()
        .filter(Order::STATUS.eq("open".to_owned()))
        .sort(Order::TOTAL_CENTS.desc())
        .limit(50);
    let first = orders.list(page.clone()).await.unwrap();
    let order = first.items[0].clone();
    let ids: Vec<Uuid> = first.items.iter().map(|order| order.id).collect();
    let fresh = || Order {
        id: Uuid::now_v7(),
        version: Version::NEW,
        ..order.clone()
    };
    let next = page.clone().cursor(first.next.clone().unwrap());

    let guard = fixture.walled.store().await.sql_guard().await.unwrap();
    let mut file = String::new();
    macro_rules! add {
        ($name:literal, $call:expr) => {
            let sent = fixture.sent(async { $call.await.unwrap() }).await;
            assert!(!sent.is_empty(), "{} sends nothing", $name);
            for sql in sent {
                fixture.add(&mut file, $name, &sql, true).await;
                fixture.guard(&guard, &sql).await;
            }
        };
    }
    add!("get", orders.get(order.id));
    add!("exists", orders.exists(&order.id));
    add!("get_many", orders.get_many(&ids));
    add!("count", orders.count(Order::STATUS.eq("open".to_owned())));
    add!("list", orders.list(page));
    add!("list, the next page", orders.list(next));
    let mut inserted = fresh();
    add!("insert", orders.insert(&mut inserted));
    add!("update", orders.update(&mut inserted));
    add!(
        "upsert of a row that is there",
        orders.upsert(&mut inserted)
    );
    let mut upserted = fresh();
    add!("upsert of a new row", orders.upsert(&mut upserted));
    let mut many = [fresh(), fresh()];
    add!("insert_many", orders.insert_many(&mut many));
    let raise = Changes::new().set(Order::TOTAL_CENTS, 5);
    add!(
        "update_where",
        orders.update_where(Order::STATUS.eq("open".to_owned()), raise, 100)
    );
    let inserted = orders.get(inserted.id).await.unwrap();
    add!("delete", orders.delete(&inserted));
    add!(
        "delete_where",
        orders.delete_where(Order::CUSTOMER.eq(order.customer), 100)
    );
    fixture.compare("repository.txt", include_str!("repository.txt"), &file);
}

/// Hand-written statements, as a service would have them.
const STATEMENTS: &[(&str, &str)] = &[
    ("by identifier", "select * from orders where id = $1"),
    (
        "through an index",
        "select id, total_cents from orders where status = $1 order by total_cents desc limit 20",
    ),
    (
        "left join",
        "select o.id, c.name from orders o left join customers c on c.id = o.customer where o.status = \
         'open'",
    ),
    (
        "full join",
        "select coalesce(o.customer, c.id), count(o.id) from orders o full join customers c on c.id = \
         o.customer group by 1",
    ),
    (
        "exists",
        "select c.name from customers c where exists (select from orders o where o.customer = c.id and \
         o.total_cents > $1)",
    ),
    (
        "common table expression",
        "with best as (select customer, sum(total_cents) as cents from orders group by customer) select \
         c.name, b.cents from best b join customers c on c.id = b.customer order by 2 desc limit 5",
    ),
    (
        "queue",
        "select id from orders where status = 'open' order by id limit 10 for update skip locked",
    ),
    (
        "update",
        "update orders set total_cents = total_cents + 1 where status = $1",
    ),
    (
        "update from",
        "update orders o set status = 'vip' from customers c where c.id = o.customer and c.name = $1",
    ),
    (
        "delete",
        "delete from orders where id = $1 returning status",
    ),
    (
        "upsert",
        "insert into orders (id, customer, status, total_cents, version) values ($1, $2, 'open', 0, 1) on \
         conflict (tenant_id, id) do update set total_cents = orders.total_cents + 1",
    ),
    (
        "insert from a query",
        "insert into orders (id, customer, status, total_cents, version) select gen_random_uuid(), \
         customer, 'open', total_cents, 1 from orders where status = $1",
    ),
];

#[tokio::test]
async fn plans_of_guarded_statements_are_those_of_the_file() {
    let server = PostgresServer::shared().await.unwrap();
    let fixture = Fixture::open(server).await;
    let store = fixture.walled.store().await;
    let guard = store.sql_guard().await.unwrap();
    let mut file = String::new();
    for (name, sql) in STATEMENTS {
        let guarded = guard.rewrite(sql).unwrap();
        fixture.add(&mut file, name, guarded.sql(), false).await;
    }
    fixture.compare("guard.txt", include_str!("guard.txt"), &file);
}
