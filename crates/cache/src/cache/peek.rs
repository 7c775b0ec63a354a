//! What readers of a key would be given now, and who gives it.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tenantry_core::TenantId;

use super::key::KeyRef;
use super::{Cache, CacheKind, Lookup, downcast, far};
use crate::shared::Slot;

/// What lies in a level, as one load has left it.
pub(crate) struct Kept<T> {
    /// Another one for each load.
    pub(crate) entry: u64,
    pub(crate) value: Option<Arc<T>>,
}

/// What lies in each level; nothing where readers would be given nothing.
pub(crate) struct Peek<T> {
    pub(crate) near: Option<Kept<T>>,
    /// An error where it cannot be told.
    pub(crate) shared: Result<Option<Kept<T>>, ()>,
}

impl Cache {
    /// Looks what lies in each level, and changes nothing there.
    pub(crate) async fn peek<T>(
        &self,
        tenant: TenantId,
        kind: &CacheKind<T>,
        lookup: Lookup<'_>,
    ) -> Peek<T>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let near = self.inner.tenants.known(tenant).and_then(|known| {
            let key = KeyRef::new(tenant, &kind.name, lookup.key);
            let now = self.monotonic();
            self.inner.near.peek(&known, key, lookup.tags, now)
        });
        let near = near.map(|entry| Kept {
            entry: entry.id,
            value: downcast(entry.value),
        });
        let Some(far) = &self.inner.far else {
            return Peek {
                near,
                shared: Ok(None),
            };
        };
        let slot = Slot::new(
            tenant,
            &kind.name,
            kind.schema,
            lookup.key.into(),
            lookup.tags.iter().copied(),
        );
        let shared = match far.read::<T>(&slot, &kind.policy).await {
            Ok(far::Looked::Value(read)) => Ok(Some(Kept {
                entry: read.known,
                value: read.value.map(Arc::new),
            })),
            Ok(_) => Ok(None),
            Err(()) => Err(()),
        };
        Peek { near, shared }
    }

    /// Returns the time by the clock of the cache.
    pub(crate) fn monotonic(&self) -> Duration {
        self.inner.clock.monotonic()
    }

    #[cfg(feature = "repository")]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}
