//! What a message costs its writer, how fast messages leave, and how soon.

mod broker;
mod cost;
mod drain;
mod fair;
mod graphile;
mod soon;
mod writer;

use std::sync::Arc;

use tenantry_outbox::OUTBOX_POSTGRES;
use tenantry_store::{PlatformStore, PostgresSettings};

pub(super) use self::broker::Broker;
use super::{Bench, CONNECTIONS};
use crate::database::{Fixture, Tenants, Twin};
use crate::error::Result;
use crate::model::Key;
use crate::network::Link;
use crate::report::Report;

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let fixture = Fixture::new("outbox", 20_000, Tenants::Even(100)).with_twin(Twin::None);
    bench.database.load(&fixture).await?;
    bench
        .database
        .migrate(&fixture.schema, OUTBOX_POSTGRES)
        .await?;
    let keys: Arc<[Key]> = bench.database.keys(&fixture, 20_000).await?.into();
    drain::run(bench, report, &fixture, &keys).await?;
    soon::run(bench, report, &fixture, &keys).await?;
    fair::run(bench, report, &fixture).await?;
    writer::run(bench, report, &fixture, &keys).await
}

/// Makes a schema with an outbox, and few rows beside it.
pub(super) async fn outbox_fixture(bench: &Bench, schema: &'static str) -> Result<Fixture> {
    let fixture = Fixture::new(schema, 1_000, Tenants::Even(10)).with_twin(Twin::None);
    bench.database.load(&fixture).await?;
    let database = &bench.database;
    database.migrate(&fixture.schema, OUTBOX_POSTGRES).await?;
    Ok(fixture)
}

/// Opens the store of the workers.
pub(super) async fn platform(bench: &Bench, fixture: &Fixture) -> Result<PlatformStore> {
    let url = bench
        .network
        .url(Link::Loopback, bench.database.platform_url())?;
    let settings = PostgresSettings::new(url)
        .with_schema(fixture.schema.clone())
        .with_max_connections(CONNECTIONS);
    Ok(PlatformStore::postgres(settings).await?)
}
