//! Under what name a broker gets a message.

use std::fmt::Write as _;

use tenantry_core::{Error, ErrorKind, Result, TenantId};

/// The names under which brokers get messages: `prefix.tenant.type`, a subject of NATS or a routing key of RabbitMQ.
///
/// The parts of a type stay parts, so that a consumer may ask for `billing.invoice.*` of all tenants, or a user be
/// allowed what is of one. What is no letter, digit, `-` or `_` stands as `%` and two hexadecimal digits,
/// and a part without anything as `%`: no two types have one name, and none reaches beyond its own.
///
/// # Examples
///
/// ```
/// use tenantry_core::TenantId;
/// use tenantry_outbox::Routes;
///
/// let routes = Routes::new("events")?;
/// let tenant = TenantId::from_u128(7).unwrap();
/// let route = routes.of(tenant, "billing.invoice.paid");
/// assert_eq!(route, "events.00000000-0000-0000-0000-000000000007.billing.invoice.paid");
/// assert_eq!(routes.of(tenant, "*..>"), "events.00000000-0000-0000-0000-000000000007.%2A.%.%3E");
/// assert_eq!(routes.tenant_of(&route), Some(tenant));
/// # Ok::<(), tenantry_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes {
    prefix: String,
}

impl Routes {
    /// Returns the names below a prefix: parts of letters, digits, `-` and `_` with a point between them, up to 100
    /// bytes.
    ///
    /// # Errors
    ///
    /// `InvalidSettings` for another prefix.
    pub fn new(prefix: impl Into<String>) -> Result<Self> {
        let prefix = prefix.into();
        let is_part = |part: &str| !part.is_empty() && part.bytes().all(is_plain);
        if prefix.len() > 100 || !prefix.split('.').all(is_part) {
            return Err(
                Error::new(ErrorKind::InvalidSettings, "name routes").with_detail(
                    "a prefix is parts of letters, digits, - and _ with a point between them, up to 100 bytes",
                ),
            );
        }
        Ok(Self { prefix })
    }

    /// Returns the prefix.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns the name for messages of a tenant and a type.
    #[must_use]
    pub fn of(&self, tenant: TenantId, event_type: &str) -> String {
        let mut route = String::with_capacity(self.prefix.len() + 38 + event_type.len());
        // A text grows.
        let _ = write!(route, "{}.{tenant}", self.prefix);
        for part in event_type.split('.') {
            route.push('.');
            if part.is_empty() {
                route.push('%');
            }
            for byte in part.bytes() {
                match is_plain(byte) {
                    true => route.push(char::from(byte)),
                    false => {
                        let _ = write!(route, "%{byte:02X}");
                    }
                }
            }
        }
        route
    }

    /// Returns the tenant that a name is of; nothing for a name that is not below the prefix.
    #[must_use]
    pub fn tenant_of(&self, route: &str) -> Option<TenantId> {
        let rest = route.strip_prefix(&self.prefix)?.strip_prefix('.')?;
        let (tenant, event_type) = rest.split_once('.')?;
        let tenant: TenantId = tenant.parse().ok()?;
        // The one form that it is written in.
        (!event_type.is_empty() && rest.starts_with(&tenant.to_string())).then_some(tenant)
    }
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_types_meet_and_none_reaches_beyond_its_tenant() {
        let routes = Routes::new("a.b").unwrap();
        let tenants = [1, 2].map(|number| TenantId::from_u128(number).unwrap());
        let other = tenants[1].to_string();
        let types = [
            "a",
            "a.b",
            "a..b",
            "a.b.",
            ".a.b",
            "..",
            ".",
            "%",
            "%.%",
            "a%2Eb",
            "a.*",
            "a.>",
            "a.#",
            "*",
            ">",
            "#",
            "a b",
            "ä",
            "A",
            "a/b",
            "a:b",
            "$JS",
            &other,
            "x.y\u{7f}z",
        ];
        let mut seen = HashSet::new();
        for tenant in tenants {
            for event_type in types {
                let route = routes.of(tenant, event_type);
                assert!(seen.insert(route.clone()), "{route}");
                assert_eq!(routes.tenant_of(&route), Some(tenant));
                let is_allowed = |byte: u8| is_plain(byte) || matches!(byte, b'.' | b'%');
                assert!(route.bytes().all(is_allowed), "{route}");
                assert!(route.split('.').all(|part| !part.is_empty()), "{route}");
            }
        }
    }

    #[test]
    fn a_name_of_somebody_else_is_of_no_tenant() {
        let routes = Routes::new("events").unwrap();
        let tenant = "00000000-0000-0000-0000-00000000000a";
        for route in [
            "",
            "events",
            "events.a",
            &format!("events.{tenant}"),
            &format!("events.{tenant}."),
            &format!("event.{tenant}.a"),
            &format!("eventss.{tenant}.a"),
            &format!("events.{}.a", tenant.to_uppercase()),
            "events.00000000-0000-0000-0000-000000000000.a",
            "events.*.a",
        ] {
            assert_eq!(routes.tenant_of(route), None, "{route}");
        }
        assert!(routes.tenant_of(&format!("events.{tenant}.a")).is_some());
        for prefix in ["", ".", "a.", "a b", "a.*", "ä", &"a".repeat(101)] {
            assert!(Routes::new(prefix).is_err(), "{prefix}");
        }
    }
}
