//! What becomes of an outbox in bad times: millions of messages that wait, and a transaction that stays open for
//! minutes.

mod deep;
mod held;

use tenantry_outbox::SCHEMA_POSTGRES;

use super::Bench;
use crate::database::{Fixture, Tenants, Twin};
use crate::error::Result;
use crate::report::Report;

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let fixture = Fixture::new("backlog", 1_000, Tenants::Even(10)).with_twin(Twin::None);
    bench.database.load(&fixture).await?;
    bench
        .database
        .migrate(&fixture.schema, SCHEMA_POSTGRES)
        .await?;
    held::run(bench, report, &fixture).await?;
    deep::run(bench, report, &fixture).await
}
