//! The keys of the server: all that belong to a tenant are made here.

use sha2::{Digest as _, Sha256};
use tenantry_core::{Result, TenantId, TenantKey};

use crate::SessionHash;
use crate::hexadecimal;
use crate::shared::{Invalidation, Slot};

/// The longest text that stands in a key as it is.
const LONGEST: usize = 200;

/// What the hash of a longer one begins with.
const HASHED: &str = "sha256~";

/// Makes keys that begin with a prefix, which tells one service from another on a server.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: Box<str>,
}

impl Keys {
    /// Returns those of a prefix of `[a-z0-9_.-]`.
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    pub(super) fn epoch(&self) -> String {
        format!("{}:epoch", self.prefix)
    }

    /// Returns the channel on which all hear of what is over.
    pub(super) fn invalidations(&self) -> String {
        format!("{}:invalidations", self.prefix)
    }

    /// Returns the channel on which one node hears itself.
    pub(super) fn heartbeat(&self, node: &str) -> String {
        format!("{}:heartbeat:{node}", self.prefix)
    }

    /// Returns the key of the number of a tenant's last invalidation.
    pub(super) fn number(&self, tenant: TenantId) -> Result<String> {
        self.of(tenant, "number", &[])
    }

    /// Returns the key of which values of a tenant take how much room.
    pub(super) fn bytes(&self, tenant: TenantId) -> Result<String> {
        self.of(tenant, "bytes", &[])
    }

    /// Returns the keys that a value depends on, its own last.
    pub(super) fn of_slot(&self, slot: &Slot) -> Result<Vec<String>> {
        let Slot {
            tenant,
            kind,
            key,
            tags,
            ..
        } = slot;
        let mut keys = Vec::with_capacity(3 + tags.len());
        keys.push(self.epoch());
        keys.push(self.of(*tenant, "generation", &[])?);
        for tag in tags {
            keys.push(self.of(*tenant, "tag", &[tag])?);
        }
        keys.push(self.of(*tenant, "value", &[kind, key])?);
        Ok(keys)
    }

    /// Returns the key of what a subject of a rule has used.
    pub(super) fn of_limit(&self, tenant: TenantId, rule: &str, subject: &str) -> Result<String> {
        self.of(tenant, "limit", &[rule, subject])
    }

    /// Returns the key of a session, which ends in its hash.
    pub(super) fn of_session(&self, tenant: TenantId, hash: SessionHash) -> Result<String> {
        self.of(tenant, "session", &[&hash.to_string()])
    }

    /// Returns the key of the index of a user's sessions.
    pub(super) fn of_user(&self, tenant: TenantId, user: &str) -> Result<String> {
        self.of(tenant, "sessions-of-user", &[user])
    }

    /// Returns the key that is removed to end something.
    pub(super) fn of_invalidation(&self, tenant: TenantId, what: &Invalidation) -> Result<String> {
        match what {
            Invalidation::Key { kind, key } => self.of(tenant, "value", &[kind, key]),
            Invalidation::Tag(tag) => self.of(tenant, "tag", &[tag]),
            Invalidation::Tenant => self.of(tenant, "generation", &[]),
        }
    }

    /// Returns a key whose hash tag is the tenant, so that all of a tenant are on one node of a cluster.
    fn of(&self, tenant: TenantId, what: &str, segments: &[&str]) -> Result<String> {
        let mut key = TenantKey::new(tenant, what)?;
        for segment in segments {
            key = match segment.len() {
                // What looks like one that is hashed is hashed as well, so that none is two.
                ..=LONGEST if !segment.starts_with(HASHED) => key.segment(segment),
                // The whole stands in the value, and is compared there.
                _ => key.segment(hashed(segment)),
            };
        }
        let of_tenant = TenantKey::prefix_of(tenant);
        let (of_tenant, rest) = key.as_str().split_at(of_tenant.len() - 1);
        Ok(format!("{}:{{{of_tenant}}}{rest}", self.prefix))
    }
}

fn hashed(text: &str) -> String {
    format!("{HASHED}{}", hexadecimal(&Sha256::digest(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_are_the_same_and_all_of_a_tenant_are_together() {
        let keys = Keys::new("svc");
        let long = "x".repeat(LONGEST + 1);
        let texts = [
            "", "a", "a:b", "b", "{x}", "}", "*", "?", "\0", "A", " ", &long,
        ];
        let tenants = [TenantId::generate(), TenantId::generate()];
        let mut all = HashSet::new();
        let mut count = 0;
        for tenant in tenants {
            let tag = format!("svc:{{t:{tenant}}}:");
            let mut add = |key: String| {
                assert!(key.starts_with(&tag), "{key}");
                assert!(key.len() < 2 * 3 * LONGEST + 100);
                // One pair of braces: it alone decides the slot.
                assert_eq!(key.matches(['{', '}']).count(), 2, "{key}");
                all.insert(key);
                count += 1;
            };
            add(keys.number(tenant).unwrap());
            for id in [b"one", b"two"] {
                let hash = SessionHash::of(id);
                add(keys.of_session(tenant, hash).unwrap());
            }
            add(keys.bytes(tenant).unwrap());
            let of = |what| keys.of_invalidation(tenant, &what).unwrap();
            add(of(Invalidation::Tenant));
            for one in texts {
                add(of(Invalidation::Tag(one.into())));
                add(keys.of_user(tenant, one).unwrap());
                for other in texts {
                    add(keys.of_limit(tenant, one, other).unwrap());
                    add(of(Invalidation::Key {
                        kind: one.into(),
                        key: other.into(),
                    }));
                }
            }
        }
        assert_eq!(all.len(), count);
    }
}
