//! Hand-written SQL through the guard: what the guard itself takes, and what is left of it in
//! a query.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use sqlx::{AssertSqlSafe, Postgres, Transaction};
use tenantry_core::TenantId;
use tenantry_store::UnitOfWork;
use tenantry_store::guard::SqlGuard;
use tokio::sync::Mutex;

use super::{Bench, Ping, settle};
use crate::database::{Fixture, Tenants};
use crate::error::Result;
use crate::model::Key;
use crate::network::Link;
use crate::process::{allocations, heap};
use crate::report::{Ratio, Report, Target};
use crate::runner::{Operation, Side, median};

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let fixture = Fixture::new("guard", 100_000, Tenants::Even(100));
    bench.database.load(&fixture).await?;
    let store = bench.store(Link::Loopback, &fixture).await?;
    let guard = store.sql_guard().await?;
    let table = format!("{}.orders", fixture.schema);
    by_itself(report, &guard, &table)?;

    let keys: Arc<[Key]> = bench.database.keys(&fixture, 50_000).await?.into();
    // One tenant, for which the transactions of both sides stay open.
    let tenant = keys[0].tenant;
    let keys: Arc<[Key]> = keys
        .iter()
        .filter(|key| key.tenant == tenant)
        .copied()
        .collect();
    for (name, guarded, by_hand) in queries(&table) {
        let sides = [
            Side::new(
                "tenantry",
                Guarded {
                    work: store.tenant(tenant).begin().await?,
                    sql: guarded.into(),
                    keys: Arc::clone(&keys),
                },
            ),
            Side::new(
                "predicate-by-hand",
                ByHand::open(bench, tenant, by_hand, &keys).await?,
            ),
        ];
        settle().await;
        let measurements = bench.runner.latencies(&sides).await?;
        report.add_latencies(
            &format!("guard/{name}"),
            Link::Loopback,
            &measurements,
            &[Target::Times(1.02)],
        );
    }
    Ok(())
}

/// Statements without the tenant, and the same with it; $1 is an identifier.
fn queries(table: &str) -> [(&'static str, String, String); 2] {
    let columns = "o.customer, o.total_cents, o.lines, o.note";
    [
        (
            "by-id",
            format!("select {columns} from {table} o where o.id = $1"),
            format!("select {columns} from {table} o where o.tenant_id = $2 and (o.id = $1)"),
        ),
        (
            "join",
            format!(
                "select {columns} from {table} o left join {table} p on p.id = o.id and p.lines > 3 \
                 where o.id = $1 or o.reference = 'none'"
            ),
            format!(
                "select {columns} from {table} o left join {table} p on p.tenant_id = $2 and (p.id = \
                 o.id and p.lines > 3) where o.tenant_id = $2 and (o.id = $1 or o.reference = 'none')"
            ),
        ),
    ]
}

/// Measures what a statement of a KiB takes at first sight and later, and what 10,000 of them
/// leave in memory.
fn by_itself(report: &mut Report, guard: &SqlGuard, table: &str) -> Result<()> {
    const STATEMENTS: usize = 10_000;
    let (mut first, mut later) = (
        Vec::with_capacity(STATEMENTS),
        Vec::with_capacity(STATEMENTS),
    );
    let mut allocated = Vec::with_capacity(STATEMENTS);
    let before = heap();
    for number in 0..STATEMENTS {
        let sql = statement_of_a_kibibyte(table, number);
        let started = Instant::now();
        black_box(guard.rewrite(&sql)?);
        first.push(started.elapsed().as_secs_f64() * 1e6);
        let (counted, started) = (allocations(), Instant::now());
        for _ in 0..10 {
            black_box(guard.rewrite(&sql)?);
        }
        later.push(started.elapsed().as_secs_f64() * 1e9 / 10.0);
        // The runtime's own threads may allocate meanwhile.
        allocated.push((allocations() - counted) as f64);
    }
    let kept = heap().saturating_sub(before) as f64;
    let bound = SqlGuard::MOST_BYTES as f64;
    let mebibytes = 1024.0 * 1024.0;
    for (name, ours, target) in [
        ("guard/first-sight-of-1-kib/us", median(first), 200.0),
        ("guard/seen-before/ns", median(later), 1000.0),
        ("guard/seen-before/allocations", median(allocated), 0.0),
        (
            "guard/10000-statements/mib",
            kept / mebibytes,
            bound / mebibytes,
        ),
    ] {
        report.add(Ratio::of(name, ours, f64::NAN, Target::Figure(target)));
    }
    Ok(())
}

fn statement_of_a_kibibyte(table: &str, number: usize) -> String {
    let mut sql = format!(
        "with recent as (select o.id, o.customer, o.total_cents from {table} o where o.placed_at > $1 \
         and o.lines between {number} and $2) select r.customer, count(*) as orders, sum(r.total_cents) \
         as cents, max(case when p.note is null then 0 else p.lines end) as lines from recent r left \
         join {table} p on p.id = r.id and p.version > 1 where exists (select 1 from {table} q where \
         q.customer = r.customer and q.total_cents > $3) and r.customer in ("
    );
    while sql.len() < 960 {
        sql.push_str("'a customer', ");
    }
    sql.push_str("'the last') group by r.customer order by cents desc limit 10");
    sql
}

struct Guarded {
    work: UnitOfWork,
    sql: Arc<str>,
    keys: Arc<[Key]>,
}

impl Operation for Guarded {
    type Input = Key;

    fn prepare(&self, turn: usize) -> Key {
        self.keys[turn % self.keys.len()]
    }

    async fn run(&self, key: Key) -> Result<()> {
        let rows = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql)))
            .bind(key.id)
            .fetch_all(self.work.sqlx_postgres()?)
            .await?;
        black_box(rows);
        Ok(())
    }
}

struct ByHand {
    transaction: Mutex<Transaction<'static, Postgres>>,
    tenant: TenantId,
    sql: Arc<str>,
    keys: Arc<[Key]>,
}

impl ByHand {
    async fn open(bench: &Bench, tenant: TenantId, sql: String, keys: &Arc<[Key]>) -> Result<Self> {
        let pool = bench.walled_pool(Link::Loopback, Ping::No).await?;
        let begin = format!("BEGIN; SET LOCAL tenantry.tenant_id = '{tenant}'");
        Ok(Self {
            transaction: Mutex::new(pool.begin_with(AssertSqlSafe(begin)).await?),
            tenant,
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
        let mut transaction = self.transaction.lock().await;
        let rows = sqlx::query(AssertSqlSafe(Arc::clone(&self.sql)))
            .bind(key.id)
            .bind(self.tenant.as_uuid())
            .fetch_all(&mut **transaction)
            .await?;
        black_box(rows);
        Ok(())
    }
}
