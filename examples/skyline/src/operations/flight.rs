//! A flight, and what is asked about flights.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tenantry::prelude::*;
use uuid::Uuid;

/// A flight of an airline as it was planned, and how late it leaves.
#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "flights")]
pub(crate) struct Flight {
    #[aggregate(id)]
    pub(crate) id: FlightId,
    pub(crate) number: i32,
    pub(crate) tail_number: Option<String>,
    pub(crate) origin: String,
    pub(crate) destination: String,
    pub(crate) scheduled_departure: DateTime<Utc>,
    /// In minutes; before time is below zero, and a cancelled flight has none.
    pub(crate) departure_delay: Option<i32>,
    pub(crate) is_cancelled: bool,
    #[aggregate(version)]
    pub(crate) version: Version,
}

/// Identifies a flight within its airline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, AggregateId)]
pub(crate) struct FlightId(pub(crate) Uuid);

/// What others see of a flight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FlightView {
    pub(crate) id: Uuid,
    pub(crate) number: i32,
    pub(crate) origin: String,
    pub(crate) destination: String,
    pub(crate) scheduled_departure: DateTime<Utc>,
    pub(crate) departure_delay: Option<i32>,
    pub(crate) is_cancelled: bool,
}

impl From<Flight> for FlightView {
    fn from(flight: Flight) -> Self {
        Self {
            id: flight.id.0,
            number: flight.number,
            origin: flight.origin,
            destination: flight.destination,
            scheduled_departure: flight.scheduled_departure,
            departure_delay: flight.departure_delay,
            is_cancelled: flight.is_cancelled,
        }
    }
}

/// The questions of this service about flights, over any repository of them: one of a unit of work, one with a
/// cache before it.
#[async_trait]
pub(crate) trait FlightRepository: Repository<Flight> {
    /// Returns a page of flights, the latest first, or those that are most late.
    async fn page(&self, late_first: bool, cursor: Option<String>) -> Result<Page<Flight>> {
        let mut query = Query::new().limit(PAGE);
        query = match late_first {
            true => query
                .filter(Flight::DEPARTURE_DELAY.gt(0))
                .sort(Flight::DEPARTURE_DELAY.desc()),
            false => query.sort(Flight::SCHEDULED_DEPARTURE.desc()),
        };
        if let Some(cursor) = cursor {
            query = query.cursor(cursor);
        }
        self.list(query).await
    }
}

const PAGE: u32 = 12;

impl<R: Repository<Flight> + ?Sized> FlightRepository for R {}
