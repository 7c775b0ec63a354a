//! The stores of the product, as data.
//!
//! Ownership checks, metric labels, retention, lifecycle rules and audits are driven from
//! [`STORAGE_MAP`]; what the table says is changed here and nowhere else.

mod map;
mod names;

use std::fmt;

pub use self::map::STORAGE_MAP;
pub use self::names::{Service, Store};

/// What is fixed for one store: one row of [`STORAGE_MAP`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreDescriptor {
    /// The store.
    pub store: Store,
    /// What it is kept in.
    pub backend: BackendKind,
    /// Who owns it.
    pub owners: Owners,
    /// How it is read and written.
    pub access: AccessPattern,
    /// How long an entry is kept.
    pub retention: Retention,
    /// What else is to be known of its retention; may be empty.
    pub notes: &'static str,
}

/// What a store is kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendKind {
    /// Tables of a relational database.
    Sql,
    /// Tables that take new rows only.
    AppendOnlySql,
    /// Tables in the database of each service that has the store.
    SqlPerService,
    /// Tables, with large bodies in blobs.
    SqlAndBlob,
    /// Blobs.
    Blob,
    /// Blobs that cannot be changed or deleted before their time.
    ImmutableBlob,
    /// Redis.
    Redis,
    /// Azure Key Vault.
    KeyVault,
}

impl BackendKind {
    /// Returns the stable name in `snake_case`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sql => "sql",
            Self::AppendOnlySql => "append_only_sql",
            Self::SqlPerService => "sql_per_service",
            Self::SqlAndBlob => "sql_and_blob",
            Self::Blob => "blob",
            Self::ImmutableBlob => "immutable_blob",
            Self::Redis => "redis",
            Self::KeyVault => "key_vault",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Who owns a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Owners {
    /// These services, and no other.
    Services(&'static [Service]),
    /// Each domain service has one of its own.
    EachDomainService,
    /// Each service that publishes messages has one of its own.
    EachPublishingService,
    /// No service owns it: all read, and operators write.
    AllReadOnly,
}

impl Owners {
    /// Returns whether `service` is among them.
    ///
    /// Any service may publish and any may read secrets, so that [`EachPublishingService`] and
    /// [`AllReadOnly`] include them all; whether it may write is
    /// [`may_write`](Self::may_write).
    ///
    /// [`EachPublishingService`]: Self::EachPublishingService
    /// [`AllReadOnly`]: Self::AllReadOnly
    #[must_use]
    pub fn include(self, service: Service) -> bool {
        match self {
            Self::Services(services) => services.contains(&service),
            Self::EachDomainService => service == Service::Domain,
            Self::EachPublishingService | Self::AllReadOnly => true,
        }
    }

    /// Returns whether `service` may write to the store.
    #[must_use]
    pub fn may_write(self, service: Service) -> bool {
        self != Self::AllReadOnly && self.include(service)
    }
}

impl fmt::Display for Owners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Services(services) => {
                let names: Vec<_> = services.iter().map(|service| service.as_str()).collect();
                f.pad(&names.join(", "))
            }
            Self::EachDomainService => f.pad("each domain service"),
            Self::EachPublishingService => f.pad("each publishing service"),
            Self::AllReadOnly => f.pad("all (read)"),
        }
    }
}

/// How a store is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AccessPattern {
    /// Looked up often, rarely changed.
    ReadHeavyLookups,
    /// Read often, for authorisation; changed now and then.
    ReadHeavyModerateWrite,
    /// Read whenever something is validated.
    HighReadOnValidation,
    /// Changed in transactions.
    Transactional,
    /// Read in nearly every request.
    ReadVeryHeavy,
    /// Whatever the owner does.
    Mixed,
    /// Appended to, and queried.
    AppendAndQuery,
    /// Written once, then only the state of delivery changes.
    WriteAndDeliveryState,
    /// Written once, read many times.
    WriteOnceReadMany,
    /// Written once, hardly ever read.
    WriteOnce,
    /// Read and written with little latency.
    LowLatency,
    /// Counted up in every request.
    HighFrequencyIncrement,
    /// Written, then drained in order.
    WriteAndDrain,
    /// Read when a process starts and when a value is rotated.
    StartUpAndRotation,
}

impl AccessPattern {
    /// Returns the stable name in `snake_case`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadHeavyLookups => "read_heavy_lookups",
            Self::ReadHeavyModerateWrite => "read_heavy_moderate_write",
            Self::HighReadOnValidation => "high_read_on_validation",
            Self::Transactional => "transactional",
            Self::ReadVeryHeavy => "read_very_heavy",
            Self::Mixed => "mixed",
            Self::AppendAndQuery => "append_and_query",
            Self::WriteAndDeliveryState => "write_and_delivery_state",
            Self::WriteOnceReadMany => "write_once_read_many",
            Self::WriteOnce => "write_once",
            Self::LowLatency => "low_latency",
            Self::HighFrequencyIncrement => "high_frequency_increment",
            Self::WriteAndDrain => "write_and_drain",
            Self::StartUpAndRotation => "start_up_and_rotation",
        }
    }
}

impl fmt::Display for AccessPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How long a store keeps an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retention {
    /// As long as the tenant is one.
    TenantLifetime,
    /// As long as the tenant is one, and then as long as the law keeps financial records.
    TenantLifetimeAndFinancial,
    /// As long as the token is valid.
    TokenLifetime,
    /// For years, whatever becomes of the tenant.
    LongTerm {
        /// How many, where the map says so.
        years: Option<u16>,
    },
    /// At hand for some days, then in an archive.
    HotThenArchive {
        /// How many days it is at hand.
        hot_days: u16,
    },
    /// As long as the setting of the tenant or the kind says.
    Configurable {
        /// How many days without a setting.
        default_days: u16,
    },
    /// Until its time to live is over.
    TimeToLive,
    /// Until the window slides past it.
    SlidingWindow,
    /// Until the broker has confirmed it.
    UntilPublished,
    /// Until another value takes its place.
    UntilRotated,
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TenantLifetime => f.pad("tenant lifetime"),
            Self::TenantLifetimeAndFinancial => f.pad("tenant lifetime + financial"),
            Self::TokenLifetime => f.pad("token lifetime"),
            Self::LongTerm { years: Some(years) } => write!(f, "long-term ({years} years)"),
            Self::LongTerm { years: None } => f.pad("long-term"),
            Self::HotThenArchive { hot_days } => write!(f, "{hot_days} days hot, then archive"),
            Self::Configurable { default_days } => write!(f, "configurable ({default_days} days)"),
            Self::TimeToLive => f.pad("TTL"),
            Self::SlidingWindow => f.pad("sliding-window TTL"),
            Self::UntilPublished => f.pad("until published"),
            Self::UntilRotated => f.pad("until rotated"),
        }
    }
}

#[cfg(test)]
mod tests;
