//! A service in miniature.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use tenantry::outbox::{
    Event, MemoryPublisher, OUTBOX_SQLITE, Outbox, OutboxWorker, WorkerSettings,
};
use tenantry::prelude::*;
use tenantry::store::sqlite;
use tenantry::{Migrations, PlatformStore, RequestContext, SqliteSettings, TenantStore};
use tracing::{Instrument as _, Span};

const ORDERS: &str = "create table orders (
    tenant_id blob not null, id text not null, cents integer not null,
    primary key (tenant_id, id)
) strict";

#[derive(Debug, Clone, Aggregate)]
#[aggregate(table = "orders")]
struct Order {
    #[aggregate(id)]
    id: String,
    cents: i64,
}

#[derive(Serialize)]
struct OrderPlaced {
    order: String,
}

impl Event for OrderPlaced {
    const TYPE: &'static str = "orders.placed";

    fn key(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.order)
    }
}

/// Writes an order and its event as a request would, and waits until the event has left.
///
/// # Errors
///
/// Those of the store.
pub async fn place_an_order() -> tenantry::Result<()> {
    let settings = SqliteSettings::temporary();
    let migrations = [(1, "orders", ORDERS), (2, "outbox", OUTBOX_SQLITE)];
    sqlite::migrate(&settings, &Migrations::embedded(&migrations)).await?;
    let store = TenantStore::sqlite(settings.clone()).await?;
    let platform = PlatformStore::sqlite(settings).await?;
    let outbox = Outbox::new(&store);
    let broker = MemoryPublisher::new();
    let mut placed = broker.subscribe("orders.", 10);
    let settings = WorkerSettings::default().with_outbox(&outbox);
    let worker = OutboxWorker::start(&platform, Arc::new(broker), settings)?;

    let request = tracing::info_span!("POST /orders", otel.kind = "server");
    handle(&store, &outbox).instrument(request).await?;
    placed.next().await;
    worker.stop().await
}

async fn handle(store: &TenantStore, outbox: &Outbox) -> tenantry::Result<()> {
    let mut context = RequestContext::system();
    if let Some(trace) = crate::trace_of(&Span::current()) {
        context = context.with_trace(trace);
    }
    let tenant = store.tenant(TenantId::generate()).with_context(context);
    let work = tenant.begin().await?;
    let mut order = Order {
        id: "7".to_owned(),
        cents: 12_000,
    };
    work.repository::<Order>().insert(&mut order).await?;
    outbox.append(&work, &OrderPlaced { order: order.id })?;
    work.commit().await
}
