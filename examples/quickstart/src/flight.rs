//! What is stored: a flight of an airline.

use chrono::{DateTime, Utc};
use tenantry::prelude::*;
use uuid::Uuid;

/// A flight as its airline planned it, and what became of it.
///
/// The struct has no field for the airline: the row has it, as its tenant, and the repository
/// puts it there. Each field becomes a column, and a constant such as `Flight::DEPARTURE_DELAY`
/// for filters and sorts.
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
    /// In minutes, as all delays; before time is below zero.
    pub(crate) departure_delay: Option<i32>,
    /// Absent as well when the flight came down elsewhere.
    pub(crate) arrival_delay: Option<i32>,
    /// In miles.
    pub(crate) distance: i32,
    pub(crate) status: FlightStatus,
    /// Raised by every write: who writes what has changed since it was read is told `Conflict`.
    #[aggregate(version)]
    pub(crate) version: Version,
}

/// Identifies a flight within its airline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, AggregateId)]
pub(crate) struct FlightId(Uuid);

impl FlightId {
    /// Returns the identifier of the flight in a line of the file.
    ///
    /// A service would take `Uuid::now_v7()`. Here a line always gives the same identifier, so
    /// that one airline can ask for exactly what another has stored.
    pub(crate) const fn of_line(line: u64) -> Self {
        Self(Uuid::from_u128(
            0xf119_0000_2013_8001_8000_0000_0000_0000 | line as u128,
        ))
    }
}

/// Stored as text, `departed` and `cancelled`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ColumnValue)]
pub(crate) enum FlightStatus {
    Departed,
    Cancelled,
}

/// The tenants. A service keeps them in its registry and learns from the request which one asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Airline {
    number: u8,
    pub(crate) code: &'static str,
    pub(crate) name: &'static str,
}

impl Airline {
    /// All airlines, in the order of their codes.
    pub(crate) const ALL: [Self; 16] = [
        Self::new(1, "9E", "Endeavor Air"),
        Self::new(2, "AA", "American Airlines"),
        Self::new(3, "AS", "Alaska Airlines"),
        Self::new(4, "B6", "JetBlue Airways"),
        Self::new(5, "DL", "Delta Air Lines"),
        Self::new(6, "EV", "ExpressJet Airlines"),
        Self::new(7, "F9", "Frontier Airlines"),
        Self::new(8, "FL", "AirTran Airways"),
        Self::new(9, "HA", "Hawaiian Airlines"),
        Self::new(10, "MQ", "Envoy Air"),
        Self::new(11, "OO", "SkyWest Airlines"),
        Self::new(12, "UA", "United Air Lines"),
        Self::new(13, "US", "US Airways"),
        Self::new(14, "VX", "Virgin America"),
        Self::new(15, "WN", "Southwest Airlines"),
        Self::new(16, "YV", "Mesa Airlines"),
    ];

    const fn new(number: u8, code: &'static str, name: &'static str) -> Self {
        Self { number, code, name }
    }

    pub(crate) fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|airline| airline.code == code)
    }

    pub(crate) const fn tenant(self) -> TenantId {
        TenantId::from_u128(0xa1e0_0000_0000_8000_8000_0000_0000_0000 | self.number as u128)
            .expect("neither nil nor max")
    }
}
