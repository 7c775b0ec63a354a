//! The level that several processes share, in a Redis.

mod acl;
mod channel;
mod connection;
mod error;
mod handover;
mod keys;
mod limits;
mod login;
mod observe;
mod outage;
mod sessions;
mod settings;
#[cfg(feature = "redis-tls")]
mod tls;
#[cfg(not(feature = "redis-tls"))]
#[path = "no_tls.rs"]
mod tls;
mod tokens;

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use redis::{RedisError, Script, Value};
use tenantry_core::{Error, ErrorKind, Result, TenantId};

use self::channel::Channel;
use self::connection::{Connected, Connections, KEPT, NONCE, millis, nonce};
use self::keys::Keys;
pub use self::limits::RedisLimits;
use self::observe::Operation;
pub use self::sessions::RedisSessions;
pub use self::settings::RedisSettings;
pub use self::tokens::{RedisToken, RedisTokens};
use crate::shared::{Invalidation, Kept, Listener, SharedFence, SharedLevel, Slot, Turn};

const READ: Operation = Operation::new("cache_read", "read shared cache");
const BEGIN: Operation = Operation::new("cache_begin", "begin load in shared cache");
const STORE: Operation = Operation::new("cache_store", "store in shared cache");
const GIVE_UP: Operation = Operation::new("cache_give_up", "give up load in shared cache");
const INVALIDATE: Operation = Operation::new("cache_invalidate", "invalidate in shared cache");

const CHECK: Operation = Operation::new("cache_check", "check shared cache");

/// What the script that stores says: the fence does not hold.
const IS_OVER: u8 = 0;
/// The tenant has too much already.
const NO_ROOM: u8 = 2;

/// How many digits the time has before a value, in milliseconds.
const DIGITS: usize = 16;

/// A level in a Redis.
///
/// A value lies in a hash beside a nonce, one field for each schema. Removing the hash ends the value
/// for all schemas, whoever wrote them. Before each value stands the fence that it was loaded under:
/// the nonces of the epoch, of the tenant, of its tags and of the hash. It is used only while they are
/// the current ones, so that whatever the server loses, none that was ended comes back.
pub(crate) struct RedisLevel {
    connections: Arc<Connections>,
    keys: Keys,
    channel: Channel,
    /// The most of one tenant; zero for no end.
    bytes_of_a_tenant: u64,
    begin: Script,
    store: Script,
    give_up: Script,
    invalidate: Script,
}

impl RedisLevel {
    /// Returns the level of a server, which is reached when it is used first.
    pub(crate) fn new(settings: &RedisSettings) -> Result<Self> {
        let (connections, keys) = settings.open()?;
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::new(ErrorKind::Unsupported, "build cache")
                .with_detail("build it inside a runtime of Tokio, which listens to the server"));
        }
        Ok(Self {
            bytes_of_a_tenant: settings.bytes_of_a_tenant.unwrap_or(0),
            channel: Channel::open(Arc::clone(&connections), keys.clone()),
            connections,
            keys,
            begin: Script::new(include_str!("scripts/begin.lua")),
            store: Script::new(include_str!("scripts/store.lua")),
            give_up: Script::new(include_str!("scripts/give_up.lua")),
            invalidate: Script::new(include_str!("scripts/invalidate.lua")),
        })
    }
}

fn field(schema: u32) -> String {
    format!("value {schema}")
}

/// Returns what a server holds for a slot, if it is under the fence that is current.
fn kept(answers: Vec<Value>) -> Option<Kept> {
    let mut answers = answers.into_iter();
    let mut fence = bytes(answers.next()?)?;
    let Value::Array(generations) = answers.next()? else {
        return None;
    };
    for generation in generations {
        fence.extend(bytes(generation)?);
    }
    let Value::Array(hash) = answers.next()? else {
        return None;
    };
    let mut hash = hash.into_iter();
    fence.extend(bytes(hash.next()?)?);
    let mut kept = bytes(hash.next()?)?;
    let Value::Array(time) = answers.next()? else {
        return None;
    };
    let mut time = time.into_iter().map(|part| number(&bytes(part)?));
    let now = time.next()?? * 1_000 + time.next()?? / 1_000;
    let (until, rest) = kept.split_at_checked(DIGITS)?;
    let until = number(until)?;
    let value = rest.strip_prefix(&*fence)?.len();
    let start = kept.len() - value;
    kept.drain(..start);
    Some(Kept {
        bytes: kept,
        fresh: Duration::from_millis(until.saturating_sub(now)),
        until,
    })
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[async_trait]
impl SharedLevel for RedisLevel {
    async fn read(&self, slot: &Slot) -> Result<Option<Kept>> {
        let keys = self.keys.of_slot(slot)?;
        let [epoch, generations @ .., value] = &*keys else {
            return Ok(None);
        };
        let mut pipe = redis::pipe();
        pipe.cmd("HGET").arg(epoch).arg("epoch");
        pipe.cmd("MGET").arg(generations);
        pipe.cmd("HMGET")
            .arg(value)
            .arg("nonce")
            .arg(field(slot.schema));
        pipe.cmd("TIME");
        let answers = self
            .connections
            .call(READ, Some(slot.tenant), |mut to| async move {
                pipe.query_async(&mut to.connection).await
            })
            .await?;
        Ok(kept(answers))
    }

    async fn begin(&self, slot: &Slot, lease: Duration, known: u64) -> Result<Turn> {
        let keys = self.keys.of_slot(slot)?;
        let call = |mut to: Connected| async move {
            let mut begin = self.begin.prepare_invoke();
            for key in &keys {
                begin.key(key);
            }
            // Each has one of its own, or a fence of fewer would be the beginning of one of more.
            let nonces: Vec<u8> = keys.iter().flat_map(|_| nonce()).collect();
            begin.arg(nonces).arg(millis(lease)).arg(millis(KEPT));
            begin.arg(&*to.identity).arg(field(slot.schema)).arg(known);
            begin
                .invoke_async::<Option<Vec<u8>>>(&mut to.connection)
                .await
        };
        let tenant = Some(slot.tenant);
        let fence = self.connections.call(BEGIN, tenant, call).await?;
        Ok(fence.map_or(Turn::Wait, |fence| Turn::Load(SharedFence(fence))))
    }

    async fn store(
        &self,
        slot: &Slot,
        fence: &SharedFence,
        bytes: Vec<u8>,
        fresh: Duration,
    ) -> Result<bool> {
        let (keys, of_tenant) = (self.keys.of_slot(slot)?, self.keys.bytes(slot.tenant)?);
        if fence.0.len() != NONCE * keys.len() {
            return Ok(false);
        }
        let length = bytes.len();
        let call = |mut to: Connected| async move {
            let mut store = self.store.prepare_invoke();
            for key in &keys {
                store.key(key);
            }
            store
                .key(of_tenant)
                .arg(&*fence.0)
                .arg(field(slot.schema))
                .arg(millis(fresh))
                // No longer than what tells it from older ones.
                .arg(millis(fresh.min(KEPT)).max(1))
                .arg(bytes)
                .arg(self.bytes_of_a_tenant);
            store.invoke_async::<u8>(&mut to.connection).await
        };
        let tenant = Some(slot.tenant);
        let stored = self.connections.call(STORE, tenant, call).await?;
        if stored == NO_ROOM {
            tracing::warn!(
                target: "tenantry::cache",
                tenant = %slot.tenant,
                kind = &*slot.kind,
                bytes = length,
                "the tenant has no room for a value in the shared cache: see with_bytes_of_a_tenant"
            );
        }
        Ok(stored != IS_OVER)
    }

    async fn give_up(&self, slot: &Slot, fence: &SharedFence) -> Result<()> {
        let keys = self.keys.of_slot(slot)?;
        let call = |mut to: Connected| async move {
            let mut give_up = self.give_up.prepare_invoke();
            if let Some(value) = keys.last() {
                give_up.key(value);
            }
            give_up.arg(&*fence.0);
            give_up.invoke_async::<()>(&mut to.connection).await
        };
        let tenant = Some(slot.tenant);
        self.connections.call(GIVE_UP, tenant, call).await
    }

    async fn invalidate(&self, tenant: TenantId, what: &[Invalidation]) -> Result<()> {
        let (number, of_tenant) = (self.keys.number(tenant)?, self.keys.bytes(tenant)?);
        let is_value = |what: &&Invalidation| matches!(what, Invalidation::Key { .. });
        let (values, others): (Vec<_>, Vec<_>) = what.iter().partition(is_value);
        let over = values.iter().chain(&others);
        let over = over.map(|what| self.keys.of_invalidation(tenant, what));
        let over: Vec<_> = over.collect::<Result<_>>()?;
        let message = self.channel.message(tenant, what);
        let channel = self.keys.invalidations();
        let call = |mut to: Connected| async move {
            let mut invalidate = self.invalidate.prepare_invoke();
            invalidate.key(number).key(of_tenant);
            for key in &over {
                invalidate.key(key);
            }
            invalidate.arg(channel).arg(millis(KEPT)).arg(message);
            invalidate.arg(values.len());
            let numbered: Result<u64, RedisError> =
                invalidate.invoke_async(&mut to.connection).await;
            numbered.map(drop)
        };
        self.connections.call(INVALIDATE, Some(tenant), call).await
    }

    async fn check(&self) -> Result<()> {
        // What a user is allowed in any case; `PING` is one command more.
        let call = |mut to: Connected| async move {
            redis::cmd("TIME")
                .query_async::<Value>(&mut to.connection)
                .await
        };
        self.connections.call(CHECK, None, call).await.map(drop)
    }

    fn listen(&self, listener: Weak<dyn Listener>) {
        self.channel.add(listener);
    }
}

impl fmt::Debug for RedisLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLevel")
            .field("connections", &self.connections)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}
