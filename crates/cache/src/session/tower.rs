use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tenantry_core::{Error, ErrorKind, SharedClock, SystemClock, TenantId};
use time::OffsetDateTime;
use tower_sessions_core::session::{Id, Record};
use tower_sessions_core::session_store::{Error as StoreError, Result};

use super::{NewSession, SessionChange, SessionHash, SessionPolicy, SessionStore, TenantSessions};

const SAVE: &str = "save session";

/// How often another id is drawn where one is taken: of 128 bits of chance none ever is.
const DRAWS: usize = 8;

/// The sessions of one tenant, as a store of the middleware `tower-sessions`.
///
/// When a session expires, the middleware says; the absolute time of the policy ends it in any case, from
/// when it was created or its id was cycled. A save never creates: that of a session which has ended in
/// the meantime fails, and the middleware answers the request with 500.
///
/// The middleware knows no versions: of two requests that save at the same time, the later one wins as a
/// whole. And it cycles an id in two steps, so that a session which ends between them goes on under the
/// other id: cycle where a user signs in. Where that is not enough, use [`TenantSessions`] itself.
///
/// # Isolation
///
/// It is bound to its tenant. Where requests are of several, choose the store for each of them: the
/// layer is cheap to make.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use tenantry_cache::{MemorySessions, SessionPolicy, Sessions, TowerSessionStore};
/// use tenantry_core::TenantId;
/// use tower_sessions::SessionManagerLayer;
///
/// let store = Arc::new(MemorySessions::new());
/// let sessions = Sessions::<()>::new(store, SessionPolicy::default())?;
///
/// let tenant = sessions.tenant(TenantId::generate());     // of the request
/// let layer = SessionManagerLayer::new(TowerSessionStore::new(&tenant));
/// # let _ = layer;
/// # Ok::<(), tenantry_core::Error>(())
/// ```
#[derive(Clone)]
pub struct TowerSessionStore {
    store: Arc<dyn SessionStore>,
    policy: SessionPolicy,
    tenant: TenantId,
    clock: SharedClock,
}

impl TowerSessionStore {
    /// Keeps sessions where those of the tenant are kept.
    #[must_use]
    pub fn new<T>(sessions: &TenantSessions<T>) -> Self {
        Self {
            store: Arc::clone(&sessions.store),
            policy: sessions.policy,
            tenant: sessions.tenant,
            clock: Arc::new(SystemClock),
        }
    }

    /// Sets the clock by which the middleware says when sessions expire: that of the machine by default.
    #[must_use]
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Returns for how long a record is to last from now.
    fn left(&self, record: &Record) -> Duration {
        let left = record.expiry_date - at(self.clock.now());
        // What is over has no time left.
        left.try_into().unwrap_or_default()
    }

    fn encode(&self, record: &Record) -> Result<Vec<u8>> {
        let encoded = serde_json::to_vec(&record.data)
            .map_err(|_| StoreError::Encode("the data cannot be written as JSON".to_owned()))?;
        let checked = self.policy.check_size(SAVE, encoded.len());
        checked.map_err(backend)?;
        Ok(encoded)
    }
}

fn hash_of(id: Id) -> SessionHash {
    SessionHash::of(&id.0.to_le_bytes())
}

fn at(time: chrono::DateTime<chrono::Utc>) -> OffsetDateTime {
    let micros = i128::from(time.timestamp_micros());
    // A time that only one of both knows is past the end of any session.
    OffsetDateTime::from_unix_timestamp_nanos(micros * 1_000)
        .unwrap_or_else(|_| time::PrimitiveDateTime::MAX.assume_utc())
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn backend(error: Error) -> StoreError {
    StoreError::Backend(error.to_string())
}

#[async_trait]
impl tower_sessions_core::SessionStore for TowerSessionStore {
    async fn create(&self, record: &mut Record) -> Result<()> {
        let new = NewSession {
            user: None,
            data: self.encode(record)?,
            lifetime: self.policy.absolute,
            idle: self.left(record),
        };
        for _ in 1..DRAWS {
            let hash = hash_of(record.id);
            match self.store.create(self.tenant, hash, new.clone()).await {
                Err(taken) if taken.kind() == ErrorKind::AlreadyExists => {
                    record.id = Id::default();
                }
                created => return created.map(drop).map_err(backend),
            }
        }
        let created = self.store.create(self.tenant, hash_of(record.id), new);
        created.await.map(drop).map_err(backend)
    }

    async fn save(&self, record: &Record) -> Result<()> {
        let change = SessionChange {
            version: None,
            data: self.encode(record)?,
            idle: self.left(record),
        };
        let saved = self.store.save(self.tenant, hash_of(record.id), change);
        saved.await.map(drop).map_err(backend)
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let loaded = self.store.load(self.tenant, hash_of(*id)).await;
        let Some(stored) = loaded.map_err(backend)? else {
            return Ok(None);
        };
        let data: HashMap<_, _> = serde_json::from_slice(&stored.data)
            .map_err(|_| StoreError::Decode("what was stored is no object of JSON".to_owned()))?;
        Ok(Some(Record {
            id: *id,
            data,
            expiry_date: at(stored.metadata.expires_at),
        }))
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        let deleted = self.store.delete(self.tenant, hash_of(*id), None).await;
        deleted.map(drop).map_err(backend)
    }
}

impl fmt::Debug for TowerSessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TowerSessionStore")
            .field("store", &self.store)
            .field("policy", &self.policy)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}
