//! What the parts of the product are opened with.

use std::str::FromStr;

use tenantry::blob::ARTIFACTS_SQLITE;
use tenantry::outbox::{Event as _, OUTBOX_SQLITE};
use tenantry::{Migrations, Settings, Storage};

use crate::broker::Broker;
use crate::edge::{self, Addresses};
use crate::events::{FlightDelayed, FlightsImported, ReportReady, TenantChanged, TenantRegistered};
use crate::keys::Keys;
use crate::part::Part;
use crate::{Result, notifications, operations, reporting, tenants};

/// A service of the product, or the edge before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PartName {
    /// *Tenants*.
    Tenants,
    /// *Operations*.
    Operations,
    /// *Notifications*.
    Notifications,
    /// *Reporting*.
    Reporting,
    /// The edge.
    Edge,
}

/// What a part needs beside its own code.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where its stores are.
    pub settings: Settings,
    /// The keys that it refers to; its settings have a vault of their folder.
    pub keys: Keys,
    /// Where it hears of others.
    pub broker: Broker,
    /// How many requests of a tenant the edge lets through in a minute: [`REQUESTS`](Self::REQUESTS), or more for those
    /// who pay for it.
    pub requests_per_minute: u64,
}

impl Setup {
    /// How many requests of a tenant are let through in a minute, unless it is said otherwise.
    pub const REQUESTS: u64 = 600;
}

/// Which database tables are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    #[cfg(feature = "servers")]
    Postgres,
}

impl PartName {
    /// The services, and then the edge.
    pub const ALL: [Self; 5] = [
        Self::Tenants,
        Self::Operations,
        Self::Notifications,
        Self::Reporting,
        Self::Edge,
    ];

    /// Returns the name, as in settings and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenants => "tenants",
            Self::Operations => "operations",
            Self::Notifications => "notifications",
            Self::Reporting => "reporting",
            Self::Edge => "edge",
        }
    }

    /// Returns the types of the events that it hears of.
    #[must_use]
    pub const fn hears(self) -> &'static [&'static str] {
        match self {
            Self::Tenants => &[FlightsImported::TYPE],
            Self::Operations => &[TenantRegistered::TYPE],
            Self::Notifications => &[FlightDelayed::TYPE, ReportReady::TYPE],
            Self::Reporting => &[TenantRegistered::TYPE, FlightDelayed::TYPE],
            Self::Edge => &[TenantChanged::TYPE],
        }
    }

    /// Makes the tables of the part that are not there yet: as the role that owns them.
    ///
    /// # Errors
    ///
    /// As [`Storage::migrate`].
    pub async fn migrate(self, settings: &Settings, engine: Engine) -> tenantry::Result<()> {
        Storage::migrate(settings, &self.tables(engine))
            .await
            .map(drop)
    }

    fn tables(self, engine: Engine) -> Migrations {
        // A product copies the texts of Tenantry into files of its own: here they are of one state of the repository,
        // and databases are made anew with it.
        /// The numbered files of a part, after those of Tenantry itself.
        macro_rules! tables {
            ($folder:literal, $outbox:expr, $artifacts:expr) => {
                match self {
                    Self::Edge => Migrations::embedded(&[(1, "outbox", $outbox)]),
                    Self::Tenants => Migrations::embedded(&[
                        (1, "outbox", $outbox),
                        (
                            2,
                            "tenants",
                            include_str!(concat!("../migrations/", $folder, "/tenants.sql")),
                        ),
                    ]),
                    Self::Operations => Migrations::embedded(&[
                        (1, "outbox", $outbox),
                        (
                            2,
                            "flights",
                            include_str!(concat!("../migrations/", $folder, "/operations.sql")),
                        ),
                    ]),
                    Self::Notifications => Migrations::embedded(&[
                        (1, "outbox", $outbox),
                        (
                            2,
                            "notifications",
                            include_str!(concat!("../migrations/", $folder, "/notifications.sql")),
                        ),
                    ]),
                    Self::Reporting => Migrations::embedded(&[
                        (1, "outbox", $outbox),
                        (2, "artifacts", $artifacts),
                        (
                            3,
                            "reports",
                            include_str!(concat!("../migrations/", $folder, "/reporting.sql")),
                        ),
                    ]),
                }
            };
        }
        match engine {
            Engine::Sqlite => tables!("sqlite", OUTBOX_SQLITE, ARTIFACTS_SQLITE),
            #[cfg(feature = "servers")]
            Engine::Postgres => tables!(
                "postgres",
                tenantry::outbox::OUTBOX_POSTGRES,
                tenantry::blob::ARTIFACTS_POSTGRES
            ),
        }
    }

    /// Opens the stores of the part, whose tables are there, and subscribes to what it hears of. The edge has to know where
    /// the services are.
    pub(crate) async fn open(self, setup: &Setup, services: Option<Addresses>) -> Result<Part> {
        Ok(match self {
            Self::Tenants => tenants::open(setup).await?,
            Self::Operations => operations::open(setup).await?,
            Self::Notifications => notifications::open(setup).await?,
            Self::Reporting => reporting::open(setup).await?,
            Self::Edge => {
                let services = services.ok_or("the edge has to know where the services are")?;
                edge::open(setup, services).await?
            }
        })
    }
}

impl FromStr for PartName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let mut all = Self::ALL.into_iter();
        all.find(|part| part.as_str() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str);
            format!("expected one of {}", names.join(", "))
        })
    }
}
