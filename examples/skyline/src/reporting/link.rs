//! Links by which whoever has one downloads one file, for five minutes.

use chrono::{DateTime, TimeDelta, Utc};
use tenantry::prelude::*;
use uuid::Uuid;

use crate::signature::{Purpose, SigningKey};

/// For how long a link is good.
pub(super) const VALID: TimeDelta = TimeDelta::minutes(5);

/// What a link leads to; the signature over it is what authenticates the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) tenant: TenantId,
    pub(super) artifact: Uuid,
}

impl Link {
    /// Returns the text that stands in the address.
    pub(super) fn sign(self, key: &SigningKey, now: DateTime<Utc>) -> Result<String> {
        let Self { tenant, artifact } = self;
        let until = (now + VALID).timestamp();
        key.seal(Purpose::Link, &format!("{tenant}.{artifact}.{until}"))
    }

    /// Reads a text that was signed and is not over.
    pub(super) fn read(key: &SigningKey, text: &str, now: DateTime<Utc>) -> Option<Self> {
        let mut parts = key.open(Purpose::Link, text)?.split('.');
        let tenant = parts.next()?.parse().ok()?;
        let artifact = parts.next()?.parse().ok()?;
        let until: i64 = parts.next()?.parse().ok()?;
        (parts.next().is_none() && now.timestamp() < until).then_some(Self { tenant, artifact })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tenantry::core::Secret;

    use super::*;

    #[test]
    fn a_link_leads_to_its_file_until_it_is_over_and_no_other() {
        let key = SigningKey::new(Arc::new(Secret::new("links")));
        let (tenant, artifact) = (TenantId::generate(), Uuid::now_v7());
        let link = Link { tenant, artifact };
        let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
        let text = link.sign(&key, now).unwrap();
        assert_eq!(Link::read(&key, &text, now), Some(link));
        assert_eq!(Link::read(&key, &text, now + VALID), None);
        let other = TenantId::generate().to_string();
        let forged = text.replace(&tenant.to_string(), &other);
        assert_eq!(Link::read(&key, &forged, now), None);
    }
}
