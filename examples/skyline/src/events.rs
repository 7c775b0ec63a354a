//! What the services tell each other: all that one knows of another.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tenantry::outbox::Event;
use uuid::Uuid;

/// A tenant is to be set up: of Tenants, for all who keep something of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TenantRegistered {
    pub(crate) slug: String,
    /// The airline whose flights it has.
    pub(crate) carrier: String,
}

impl Event for TenantRegistered {
    const TYPE: &'static str = "tenants.tenant.registered";

    fn key(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.slug)
    }
}

/// A tenant has another status: of Tenants, for the edge, which holds it in its cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TenantChanged {
    pub(crate) slug: String,
}

impl Event for TenantChanged {
    const TYPE: &'static str = "tenants.tenant.changed";

    fn key(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.slug)
    }
}

/// The flights of a new tenant are there: of Operations, for Tenants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FlightsImported {
    pub(crate) slug: String,
    pub(crate) flights: u32,
}

impl Event for FlightsImported {
    const TYPE: &'static str = "operations.flights.imported";

    fn key(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.slug)
    }
}

/// A flight leaves late: of Operations, for Notifications and Reporting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FlightDelayed {
    pub(crate) flight: Uuid,
    pub(crate) number: i32,
    pub(crate) origin: String,
    pub(crate) destination: String,
    pub(crate) scheduled_departure: DateTime<Utc>,
    pub(crate) minutes: i32,
    /// Whether it comes from the file of a new tenant, so that nobody waits for it.
    pub(crate) is_imported: bool,
}

impl Event for FlightDelayed {
    const TYPE: &'static str = "operations.flight.delayed";

    fn key(&self) -> Cow<'_, str> {
        Cow::Owned(self.flight.to_string())
    }
}

/// A report can be downloaded: of Reporting, for Notifications.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReportReady {
    pub(crate) run: Uuid,
    pub(crate) name: String,
    pub(crate) lines: i64,
}

impl Event for ReportReady {
    const TYPE: &'static str = "reporting.report.ready";

    fn key(&self) -> Cow<'_, str> {
        Cow::Owned(self.run.to_string())
    }
}
