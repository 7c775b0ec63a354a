//! A store of sessions whose calls are counted.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tenantry_core::{ErrorKind, Result, TenantId, TenantLabel};

use super::{
    ListedSession, NewSession, SessionChange, SessionHash, SessionMetadata, SessionStore, SignIn,
    StoredSession,
};
use crate::telemetry::SessionCalls;

const OK: &str = "ok";
const MISSING: &str = "missing";

/// Returns a store that counts its calls, with these labels of tenants.
pub(super) fn by(store: &Arc<dyn SessionStore>, label: TenantLabel) -> Arc<dyn SessionStore> {
    Arc::new(Counted {
        inner: Arc::clone(store),
        calls: SessionCalls::new(label),
    })
}

struct Counted {
    inner: Arc<dyn SessionStore>,
    calls: SessionCalls,
}

impl Counted {
    /// Counts a call by what became of it.
    fn count<T>(
        &self,
        tenant: TenantId,
        operation: &'static str,
        ended: Result<T>,
        outcome: impl FnOnce(&T) -> &'static str,
    ) -> Result<T> {
        let (outcome, failure) = match &ended {
            Ok(given) => (outcome(given), None),
            Err(error) => match error.kind() {
                ErrorKind::NotFound => (MISSING, None),
                ErrorKind::Conflict => ("conflict", None),
                kind => ("failed", Some(kind.as_str())),
            },
        };
        self.calls.called(tenant, operation, outcome, failure);
        ended
    }
}

const fn found<T>(given: &Option<T>) -> &'static str {
    if given.is_some() { OK } else { MISSING }
}

#[async_trait]
impl SessionStore for Counted {
    async fn create(
        &self,
        tenant: TenantId,
        hash: SessionHash,
        new: NewSession<'_>,
    ) -> Result<SessionMetadata> {
        let created = self.inner.create(tenant, hash, new).await;
        self.count(tenant, "create", created, |_| OK)
    }

    async fn load(&self, tenant: TenantId, hash: SessionHash) -> Result<Option<StoredSession>> {
        let loaded = self.inner.load(tenant, hash).await;
        self.count(tenant, "load", loaded, found)
    }

    async fn touch(
        &self,
        tenant: TenantId,
        hash: SessionHash,
        idle: Duration,
    ) -> Result<Option<StoredSession>> {
        let touched = self.inner.touch(tenant, hash, idle).await;
        self.count(tenant, "touch", touched, found)
    }

    async fn save(
        &self,
        tenant: TenantId,
        hash: SessionHash,
        change: SessionChange,
    ) -> Result<SessionMetadata> {
        let saved = self.inner.save(tenant, hash, change).await;
        self.count(tenant, "save", saved, |_| OK)
    }

    async fn rotate(
        &self,
        tenant: TenantId,
        hash: SessionHash,
        to: SessionHash,
        change: SessionChange,
        sign_in: Option<SignIn<'_>>,
    ) -> Result<SessionMetadata> {
        let operation = match sign_in {
            Some(_) => "sign_in",
            None => "rotate",
        };
        let rotated = self.inner.rotate(tenant, hash, to, change, sign_in).await;
        self.count(tenant, operation, rotated, |_| OK)
    }

    async fn delete(
        &self,
        tenant: TenantId,
        hash: SessionHash,
        user: Option<&str>,
    ) -> Result<bool> {
        let deleted = self.inner.delete(tenant, hash, user).await;
        if let Ok(true) = deleted {
            self.calls.ended(tenant, 1);
        }
        let outcome = |&was_there: &bool| if was_there { OK } else { MISSING };
        self.count(tenant, "delete", deleted, outcome)
    }

    async fn list(&self, tenant: TenantId, user: &str) -> Result<Vec<ListedSession>> {
        let listed = self.inner.list(tenant, user).await;
        self.count(tenant, "list", listed, |_| OK)
    }

    async fn delete_by_user(
        &self,
        tenant: TenantId,
        user: &str,
        except: Option<SessionHash>,
    ) -> Result<u64> {
        let deleted = self.inner.delete_by_user(tenant, user, except).await;
        if let Ok(sessions) = deleted {
            self.calls.ended(tenant, sessions);
        }
        self.count(tenant, "delete_by_user", deleted, |_| OK)
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
