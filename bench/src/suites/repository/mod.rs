//! `find` of a row that is kept, beside the same of the store behind: SQLite, on this machine's disk.

use std::hint::black_box;
use std::sync::Arc;

use tenantry_cache::{Cache, CachePolicy, CachedStore};
use tenantry_core::TenantId;
use tenantry_store::{Migrations, Repository, SqliteSettings, TenantStore, sqlite};
use uuid::Uuid;

use super::{CacheBench, missing};
use crate::error::Result;
use crate::model::Order;
use crate::network::Link;
use crate::report::{Report, Target};
use crate::runner::{Operation, Side};

const ROWS: usize = 10_000;

const ORDERS: &str = "create table orders (
    tenant_id blob not null, id blob not null, customer text not null, reference text not null,
    total_cents integer not null, lines integer not null, placed_at text not null, note text,
    version integer not null, primary key (tenant_id, id)
) strict";

pub(crate) async fn run(bench: &CacheBench, report: &mut Report) -> Result<()> {
    let settings = SqliteSettings::temporary();
    let migrations = Migrations::embedded(&[(1, "orders", ORDERS)]);
    sqlite::migrate(&settings, &migrations).await?;
    let store = TenantStore::sqlite(settings).await?;
    let tenant = store.tenant(TenantId::generate());
    let mut orders: Vec<_> = (0..ROWS).map(Order::fresh).collect();
    let plain = tenant.repository::<Order>();
    plain.insert_many(&mut orders).await?;
    let ids: Arc<[Uuid]> = orders.iter().map(|order| order.id).collect();

    let cached = CachedStore::new(&store, &Cache::builder().build()?)?;
    let kept = cached.aggregate::<Order>(CachePolicy::default())?;
    let kept = kept.repository(&tenant)?;
    for id in ids.iter() {
        kept.find(id).await?;
    }
    let sides = [
        Side::new("tenantry", Find::new(kept, &ids)),
        Side::new("sqlite", Find::new(plain, &ids)),
    ];
    let targets = [Target::None];
    let compared = bench.compare(
        report,
        "repository",
        Link::Process,
        &sides,
        &targets,
        Target::None,
    );
    compared.await.map(drop)
}

struct Find<R> {
    orders: R,
    ids: Arc<[Uuid]>,
}

impl<R: Repository<Order>> Find<R> {
    fn new(orders: R, ids: &Arc<[Uuid]>) -> Self {
        Self {
            orders,
            ids: Arc::clone(ids),
        }
    }
}

impl<R: Repository<Order> + 'static> Operation for Find<R> {
    type Input = Uuid;

    fn prepare(&self, turn: usize) -> Uuid {
        self.ids[turn % ROWS]
    }

    async fn run(&self, id: Uuid) -> Result<()> {
        black_box(self.orders.find(&id).await?.ok_or_else(missing)?);
        Ok(())
    }
}
