//! What Reporting hears of the other services.

use std::sync::Arc;

use tenantry::core::{Clock as _, SystemClock};
use tenantry::outbox::{Event as _, HandlerError, Message, MessageHandler};
use tenantry::prelude::*;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{DelayFact, ReportDefinition, ReportFormat, ReportRun};
use crate::events::{FlightDelayed, TenantRegistered};

/// Gives new tenants their reports, and keeps what is told of delays.
pub(super) struct Hearing {
    /// Told when there may be a run to do.
    pub(super) asked: Arc<Notify>,
}

#[async_trait]
impl MessageHandler for Hearing {
    async fn handle(&self, work: &UnitOfWork, message: &Message) -> Result<(), HandlerError> {
        match message.event_type() {
            TenantRegistered::TYPE => begin(work).await?,
            FlightDelayed::TYPE => keep(work, message.read_event()?).await?,
            _ => {}
        }
        Ok(())
    }

    fn handled(&self, _: &Message) {
        self.asked.notify_one();
    }
}

/// Stores the reports that every tenant has.
async fn begin(work: &UnitOfWork) -> Result<()> {
    let definition = |name: &str, least_minutes, runs_by_itself, retention_days| ReportDefinition {
        id: Uuid::now_v7(),
        name: name.to_owned(),
        least_minutes,
        format: ReportFormat::Csv,
        runs_by_itself,
        retention_days,
        version: Version::NEW,
    };
    let mut definitions = [
        definition("Delays of three hours", 180, false, 365),
        definition("Delay watch", 60, true, 30),
        ReportDefinition {
            format: ReportFormat::Parquet,
            ..definition("Delays to reckon with", 60, false, 365)
        },
    ];
    let repository = work.repository::<ReportDefinition>();
    repository.insert_many(&mut definitions).await
}

/// Keeps a delay, and has those reports made that are made by themselves.
async fn keep(work: &UnitOfWork, event: FlightDelayed) -> Result<()> {
    let mut fact = DelayFact {
        id: event.flight,
        number: event.number,
        origin: event.origin,
        destination: event.destination,
        scheduled_departure: event.scheduled_departure,
        minutes: event.minutes,
        version: Version::NEW,
    };
    work.repository().upsert(&mut fact).await?;
    if event.is_imported {
        return Ok(());
    }
    let concerned = ReportDefinition::RUNS_BY_ITSELF
        .eq(true)
        .and(ReportDefinition::LEAST_MINUTES.le(event.minutes));
    let definitions = work.repository::<ReportDefinition>();
    let definitions = definitions.list(Query::new().filter(concerned)).await?;
    let runs = definitions.items.iter();
    let mut runs: Vec<_> = runs
        .map(|it| ReportRun::of(it, work.context(), SystemClock.now()))
        .collect();
    match runs.is_empty() {
        true => Ok(()),
        false => work.repository::<ReportRun>().insert_many(&mut runs).await,
    }
}
