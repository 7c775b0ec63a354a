//! What one value is remembered under.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use moka::Equivalent;
use tenantry_core::TenantId;

/// A tenant, a kind and a text; no two that differ in any of them are equal.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    tenant: TenantId,
    kind: Arc<str>,
    text: Arc<str>,
}

/// The same without owning it: the order of the fields decides the hash, and is that of [`Key`].
#[derive(Clone, Copy, Hash)]
pub(super) struct KeyRef<'k> {
    tenant: TenantId,
    kind: &'k str,
    text: &'k str,
}

impl<'k> KeyRef<'k> {
    pub(super) const fn new(tenant: TenantId, kind: &'k str, text: &'k str) -> Self {
        Self { tenant, kind, text }
    }

    pub(super) fn to_key(self, kind: &Arc<str>) -> Key {
        debug_assert_eq!(self.kind, &**kind);
        Key {
            tenant: self.tenant,
            kind: Arc::clone(kind),
            text: self.text.into(),
        }
    }
}

impl Key {
    pub(super) const fn tenant(&self) -> TenantId {
        self.tenant
    }

    pub(super) const fn kind(&self) -> &Arc<str> {
        &self.kind
    }

    pub(super) const fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Returns how many bytes the text takes.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        (self.tenant, self.kind, self.text) == (key.tenant, &*key.kind, &*key.text)
    }
}

impl fmt::Debug for Key {
    /// Without the text, which may be of a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:…", self.tenant, self.kind)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher as _, RandomState};

    use super::*;

    #[test]
    fn a_key_and_its_reference_are_the_same() {
        let (one, other) = (TenantId::generate(), TenantId::generate());
        let hasher = RandomState::new();
        let names = ["a", "a:b", "", "b", "{x}", "ab", "\0", "*"];
        let mut all = Vec::new();
        for tenant in [one, other] {
            for kind in names {
                for text in names {
                    all.push(KeyRef::new(tenant, kind, text));
                }
            }
        }
        for (left, reference) in all.iter().enumerate() {
            for (right, of_key) in all.iter().enumerate() {
                let key = of_key.to_key(&of_key.kind.into());
                assert_eq!(reference.equivalent(&key), left == right);
                let is_same_hash = hasher.hash_one(reference) == hasher.hash_one(&key);
                assert_eq!(is_same_hash, left == right);
            }
        }
    }
}
