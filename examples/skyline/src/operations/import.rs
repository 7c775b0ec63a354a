//! The flights of a new tenant.

use tenantry::outbox::{Event as _, HandlerError, Message, MessageHandler};
use tenantry::prelude::*;

use super::delayed;
use super::flight::Flight;
use super::timetable::flights_of;
use crate::events::{FlightsImported, TenantRegistered};

/// From how many minutes on a delay of the file is told of.
const LONG: i32 = 180;

/// How many rows go into one statement.
const CHUNK: usize = 1_000;

/// Stores the flights of a tenant that was registered: all of them, with what is told of them, or none.
pub(super) struct Import {
    storage: Storage,
}

impl Import {
    pub(super) const fn new(storage: Storage) -> Self {
        Self { storage }
    }
}

#[async_trait]
impl MessageHandler for Import {
    async fn handle(&self, work: &UnitOfWork, message: &Message) -> Result<(), HandlerError> {
        if message.event_type() != TenantRegistered::TYPE {
            return Ok(());
        }
        let TenantRegistered { slug, carrier } = message.read_event()?;
        let read = tokio::task::spawn_blocking(move || flights_of(&carrier)).await;
        let mut flights = read.map_err(|panic| {
            Error::new(ErrorKind::Unexpected, "read timetable").with_source(panic)
        })??;
        let repository = work.repository::<Flight>();
        for chunk in flights.chunks_mut(CHUNK) {
            repository.insert_many(chunk).await?;
        }
        let late: Vec<_> = flights
            .iter()
            .filter_map(|flight| Some((flight, flight.departure_delay?)))
            .filter(|(_, minutes)| *minutes >= LONG)
            .map(|(flight, minutes)| delayed(flight, minutes, true))
            .collect();
        let outbox = self.storage.outbox();
        outbox.append_all(work, &late)?;
        let flights = u32::try_from(flights.len()).unwrap_or(u32::MAX);
        outbox.append(work, &FlightsImported { slug, flights })?;
        Ok(())
    }
}
