//! The stores and the services, by name.

use std::fmt;
use std::str::FromStr;

use super::{STORAGE_MAP, StoreDescriptor};
use crate::Error;

/// Defines an enum whose variants have a stable name each: `ALL`, `as_str`, `Display`, `FromStr`.
macro_rules! named {
    (
        $(#[$enum_doc:meta])*
        $name:ident, $operation:literal, $expected:literal:
        $($(#[$doc:meta])* $variant:ident = $text:literal,)+
    ) => {
        $(#[$enum_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// All of them, in the order of the storage map.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Returns the stable name in `snake_case`, as it stands in metrics and settings.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(name: &str) -> Result<Self, Error> {
                match name {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(Error::refused($operation, $expected)),
                }
            }
        }
    };
}

named! {
    /// A store of the product.
    ///
    /// # Examples
    ///
    /// ```
    /// use tenantry_core::{Retention, Service, Store};
    ///
    /// let artifacts: Store = "report_artifacts".parse()?;
    /// let descriptor = artifacts.descriptor();
    /// assert!(descriptor.owners.include(Service::Reporting));
    /// assert_eq!(descriptor.retention, Retention::Configurable { default_days: 365 });
    /// # Ok::<(), tenantry_core::Error>(())
    /// ```
    Store, "parse store", "expected the snake_case name of a store in the storage map":

    /// Tenant registry.
    TenantRegistry = "tenant_registry",
    /// Users, roles, permissions.
    Identity = "identity",
    /// OpenIddict tokens and clients.
    Tokens = "tokens",
    /// Subscriptions, editions, billing.
    Subscriptions = "subscriptions",
    /// Feature flags, configuration.
    Configuration = "configuration",
    /// Domain data.
    DomainData = "domain_data",
    /// Audit entries.
    AuditEntries = "audit_entries",
    /// Notifications.
    Notifications = "notifications",
    /// Integration connections.
    IntegrationConnections = "integration_connections",
    /// Report definitions, runs.
    Reports = "reports",
    /// Report and export artifacts.
    ReportArtifacts = "report_artifacts",
    /// Audit archive.
    AuditArchive = "audit_archive",
    /// Notification attachments.
    NotificationAttachments = "notification_attachments",
    /// Session and hot read cache.
    Cache = "cache",
    /// Rate-limit counters.
    RateLimits = "rate_limits",
    /// Outbox messages.
    Outbox = "outbox",
    /// Secrets, connection strings.
    Secrets = "secrets",
}

impl Store {
    /// Returns the row of the storage map.
    #[must_use]
    pub const fn descriptor(self) -> &'static StoreDescriptor {
        &STORAGE_MAP[self as usize]
    }
}

named! {
    /// A service of the product, as far as it has stores.
    Service, "parse service", "expected the snake_case name of a service in the storage map":

    /// Tenant Management.
    TenantManagement = "tenant_management",
    /// Identity.
    Identity = "identity",
    /// Authorization Server.
    AuthorizationServer = "authorization_server",
    /// Subscription & Billing.
    SubscriptionBilling = "subscription_billing",
    /// Configuration.
    Configuration = "configuration",
    /// Any domain service: one that serves the product's own business.
    Domain = "domain",
    /// Audit Trail.
    AuditTrail = "audit_trail",
    /// Notification.
    Notification = "notification",
    /// Integration.
    Integration = "integration",
    /// Reporting & Analytics.
    Reporting = "reporting",
    /// Gateway.
    Gateway = "gateway",
}

impl Service {
    /// Returns the stores of the service, those included that every service has.
    ///
    /// # Examples
    ///
    /// ```
    /// use tenantry_core::{Service, Store};
    ///
    /// let stores: Vec<Store> = Service::Gateway.stores().map(|row| row.store).collect();
    /// assert_eq!(stores, [Store::Cache, Store::RateLimits, Store::Outbox, Store::Secrets]);
    /// ```
    pub fn stores(self) -> impl Iterator<Item = &'static StoreDescriptor> {
        STORAGE_MAP
            .iter()
            .filter(move |row| row.owners.include(self))
    }
}
