//! Sessions that several processes share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use redis::{FromRedisValue, Script};
use tenantry_core::{Error, ErrorKind, Result, TenantId};

use super::RedisSettings;
use super::connection::{Connected, Connections, millis};
use super::keys::Keys;
use super::observe::Operation;
use crate::session::store::{LISTED, MOVED, missing, stale, taken};
use crate::{
    ListedSession, NewSession, SessionChange, SessionHash, SessionMetadata, SessionStore, SignIn,
    StoredSession,
};

const CREATE: Operation = Operation::new("session_create", "create session");
const LOAD: Operation = Operation::new("session_load", "load session");
const TOUCH: Operation = Operation::new("session_touch", "touch session");
const SAVE: Operation = Operation::new("session_save", "save session");
const ROTATE: Operation = Operation::new("session_rotate", "rotate session");
const LIST: Operation = Operation::new("session_list", "list sessions");
const DELETE: Operation = Operation::new("session_delete", "delete session");
const DELETE_BY_USER: Operation =
    Operation::new("session_delete_by_user", "delete sessions of user");

/// Returns a script, behind what all of them share.
macro_rules! script {
    ($name:literal) => {
        Script::new(concat!(
            include_str!("scripts/session.lua"),
            include_str!(concat!("scripts/session_", $name, ".lua"))
        ))
    };
}

/// Sessions in a Redis, which several processes share.
///
/// Each call is one script and one round trip, by the clock of the server. A session lies under the hash of
/// its id, and nothing that is written outlives it: neither what leads to it, nor its place in the index of
/// its user. They are never kept in a process, so that what was deleted is gone for all.
///
/// Choose a server that evicts nothing (`maxmemory-policy noeviction`): a session that is evicted is a user
/// who was logged out. A fail-over to a replica may lose the last writes, a deletion among them.
///
/// # Examples
///
/// ```no_run
/// use std::sync::Arc;
///
/// use tenantry_cache::{RedisSessions, RedisSettings, SessionPolicy, Sessions};
///
/// # fn run() -> tenantry_core::Result<()> {
/// let settings = RedisSettings::new("redis://sessions.internal:6379").with_prefix("gateway");
/// let store = Arc::new(RedisSessions::new(&settings)?);
/// let sessions = Sessions::<Vec<String>>::new(store, SessionPolicy::default())?;
/// # let _ = sessions;
/// # Ok(())
/// # }
/// ```
pub struct RedisSessions {
    connections: Arc<Connections>,
    keys: Keys,
    scripts: Scripts,
}

struct Scripts {
    create: Script,
    load: Script,
    save: Script,
    rotate: Script,
    delete: Script,
    list: Script,
    delete_by_user: Script,
}

/// A call of a script, with its keys and arguments.
type Call<'a> = redis::ScriptInvocation<'a>;

impl RedisSessions {
    /// Keeps sessions in a server, which is reached when one is asked for first.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): the URL or the prefix is none.
    pub fn new(settings: &RedisSettings) -> Result<Self> {
        let (connections, keys) = settings.open()?;
        Ok(Self {
            connections,
            keys,
            scripts: Scripts {
                create: script!("create"),
                load: script!("load"),
                save: script!("save"),
                rotate: script!("rotate"),
                delete: script!("delete"),
                list: script!("list"),
                delete_by_user: script!("delete_by_user"),
            },
        })
    }

    /// Begins the call of a script about one session: its key, and whom it must be of.
    fn about<'a>(
        &self,
        script: &'a Script,
        tenant: TenantId,
        hash: SessionHash,
    ) -> Result<Call<'a>> {
        let mut call = script.prepare_invoke();
        call.key(self.keys.of_session(tenant, hash)?)
            .arg(identity(tenant, hash));
        Ok(call)
    }

    async fn run<T: FromRedisValue>(
        &self,
        operation: Operation,
        tenant: TenantId,
        call: Call<'_>,
    ) -> Result<T> {
        let call = &call;
        self.connections
            .call(operation, Some(tenant), |mut to: Connected| async move {
                call.invoke_async(&mut to.connection).await
            })
            .await
    }

    /// Runs a script that answers what became of a session.
    async fn write(
        &self,
        operation: Operation,
        tenant: TenantId,
        call: Call<'_>,
    ) -> Result<SessionMetadata> {
        let answer: Vec<u64> = self.run(operation, tenant, call).await?;
        match *answer {
            [1, version, created, seen, expires] => {
                metadata(operation, version, [created, seen, expires])
            }
            [0] => Err(taken(operation.text())),
            [2] => Err(missing(operation.text())),
            [3] => Err(stale(operation.text())),
            _ => Err(misread(operation)),
        }
    }

    async fn read(
        &self,
        operation: Operation,
        tenant: TenantId,
        call: Call<'_>,
    ) -> Result<Option<StoredSession>> {
        type Answer = (String, Vec<u8>, u64, u64, u64, u64);
        let answer: Option<Answer> = self.run(operation, tenant, call).await?;
        let Some((user, data, version, created, seen, expires)) = answer else {
            return Ok(None);
        };
        Ok(Some(StoredSession {
            user: (!user.is_empty()).then_some(user),
            data,
            metadata: metadata(operation, version, [created, seen, expires])?,
        }))
    }
}

/// What a session knows of itself, and is found by.
fn identity(tenant: TenantId, hash: SessionHash) -> String {
    format!("{tenant}:{hash}")
}

fn version(expected: Option<u64>) -> String {
    expected
        .map(|version| version.to_string())
        .unwrap_or_default()
}

fn metadata(operation: Operation, version: u64, times: [u64; 3]) -> Result<SessionMetadata> {
    let time = |millis: u64| {
        let millis = i64::try_from(millis).ok();
        millis
            .and_then(DateTime::<Utc>::from_timestamp_millis)
            .ok_or_else(|| misread(operation))
    };
    let [created, seen, expires] = times;
    Ok(SessionMetadata {
        version,
        created_at: time(created)?,
        last_seen_at: time(seen)?,
        expires_at: time(expires)?,
    })
}

fn misread(operation: Operation) -> Error {
    Error::new(ErrorKind::Unexpected, operation.text())
        .with_detail("the server answers something else than its script says")
}

#[async_trait]
impl SessionStore for RedisSessions {
    async fn create(
        &self,
        tenant: TenantId,
        hash: SessionHash,
        new: NewSession<'_>,
    ) -> Result<SessionMetadata> {
        let mut call = self.about(&self.scripts.create, tenant, hash)?;
        call.arg(millis(new.lifetime))
            .arg(millis(new.idle))
            .arg(new.data);
        if let Some(user) = new.user {
            call.key(self.keys.of_user(tenant, user)?).arg(user);
        }
        self.write(CREATE, tenant, call).await
    }

    async fn load(&self, tenant: TenantId, hash: SessionHash) -> Result<Option<StoredSession>> {
        let mut call = self.about(&self.scripts.load, tenant, hash)?;
        call.arg("");
        self.read(LOAD, tenant, call).await
    }

    async fn touch(
        &self,
        tenant: TenantId,
        hash: SessionHash,
        idle: Duration,
    ) -> Result<Option<StoredSession>> {
        let mut call = self.about(&self.scripts.load, tenant, hash)?;
        call.arg(millis(idle));
        self.read(TOUCH, tenant, call).await
    }

    async fn save(
        &self,
        tenant: TenantId,
        hash: SessionHash,
        change: SessionChange,
    ) -> Result<SessionMetadata> {
        let mut call = self.about(&self.scripts.save, tenant, hash)?;
        call.arg(version(change.version))
            .arg(millis(change.idle))
            .arg(change.data);
        self.write(SAVE, tenant, call).await
    }

    async fn rotate(
        &self,
        tenant: TenantId,
        hash: SessionHash,
        to: SessionHash,
        change: SessionChange,
        sign_in: Option<SignIn<'_>>,
    ) -> Result<SessionMetadata> {
        let mut call = self.about(&self.scripts.rotate, tenant, hash)?;
        call.key(self.keys.of_session(tenant, to)?)
            .arg(version(change.version))
            .arg(millis(change.idle))
            .arg(change.data)
            .arg(identity(tenant, to))
            .arg(millis(MOVED));
        if let Some(SignIn { user, lifetime }) = sign_in {
            call.key(self.keys.of_user(tenant, user)?)
                .arg(millis(lifetime))
                .arg(user);
        }
        self.write(ROTATE, tenant, call).await
    }

    async fn delete(
        &self,
        tenant: TenantId,
        hash: SessionHash,
        user: Option<&str>,
    ) -> Result<bool> {
        let mut call = self.about(&self.scripts.delete, tenant, hash)?;
        if let Some(user) = user {
            call.arg(user);
        }
        self.run(DELETE, tenant, call).await
    }

    async fn list(&self, tenant: TenantId, user: &str) -> Result<Vec<ListedSession>> {
        let mut call = self.scripts.list.prepare_invoke();
        call.key(self.keys.of_user(tenant, user)?).arg(LISTED);
        let answer: Vec<(String, u64, u64, u64, u64)> = self.run(LIST, tenant, call).await?;
        answer
            .into_iter()
            .map(|(key, version, created, seen, expires)| {
                let hash = key.rsplit(':').next().and_then(|hash| hash.parse().ok());
                Ok(ListedSession {
                    hash: hash.ok_or_else(|| misread(LIST))?,
                    metadata: metadata(LIST, version, [created, seen, expires])?,
                })
            })
            .collect()
    }

    async fn delete_by_user(
        &self,
        tenant: TenantId,
        user: &str,
        except: Option<SessionHash>,
    ) -> Result<u64> {
        let except = except.map(|hash| self.keys.of_session(tenant, hash));
        let mut call = self.scripts.delete_by_user.prepare_invoke();
        call.key(self.keys.of_user(tenant, user)?)
            .arg(except.transpose()?.unwrap_or_default());
        self.run(DELETE_BY_USER, tenant, call).await
    }
}

impl fmt::Debug for RedisSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSessions")
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}
