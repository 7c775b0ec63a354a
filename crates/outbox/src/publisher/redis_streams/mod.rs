//! Messages into a stream of a Redis.

mod outcome;
mod server;
mod settings;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use parking_lot::RwLock;
use redis::Script;
use redis::aio::MultiplexedConnection;
use tenantry_core::Result;
use tokio::sync::Mutex;

pub use self::settings::{RedisDurability, RedisStreamsSettings};

use self::outcome::{failed, not_answered, of_error};
use super::looked::{Looked, is_refused};
use super::opening::Opening;
use super::told::told;
use super::written;
use crate::{Message, PublishError, PublishErrorKind, PublishReason, Publisher, Stopped};

/// How many messages are appended by one script at most, so that others have their turn.
const CHUNK: usize = 100;

/// After how many calls what is read is removed.
const BETWEEN_TRIMS: usize = 256;

/// Hands messages to a stream of a Redis.
///
/// The messages of a key are appended by one script, all of those or none, in their order. A message counts as handed over
/// when the server has written it as safely as [`RedisDurability`] asks; one that is handed over again within the
/// duplicate window is not there twice. Its fields are the attributes of the [`CloudEvent`](crate::CloudEvent), and
/// `data`. There is no subject: consumers read the whole stream.
///
/// The server is looked at with each new connection, and every 10 s while there are messages: one that is a replica, may
/// throw the stream away when its memory is full, or does not store as safely as is asked for, gets no message, and
/// neither does one without the stream, which is made together with its groups.
///
/// | trouble | kind | reason |
/// |---|---|---|
/// | larger than the settings allow | poison | `TooLarge` |
/// | an event by its content type | poison | `Unwritable` |
/// | the stream holds all that it may, or the server has no memory | unavailable | `Full` |
/// | fewer replicas than asked for have it in time | unavailable | `NoAnswer` |
/// | no stream, or a server that is refused | unavailable | `DestinationMissing`, `DestinationUnsafe` |
/// | no connection, no login, no right, no answer | unavailable | `Disconnected`, `LoginRefused`, `Forbidden`, `NoAnswer` |
///
/// # Examples
///
/// ```no_run
/// use tenantry_outbox::{RedisConnection, RedisStreamsPublisher, RedisStreamsSettings};
///
/// # async fn example() -> tenantry_core::Result<()> {
/// let connection = RedisConnection::new("redis://redis.internal");
/// let settings = RedisStreamsSettings::new(connection, "events", "/services/billing");
/// let publisher = RedisStreamsPublisher::connect(settings).await?;
/// # drop(publisher);
/// # Ok(())
/// # }
/// ```
pub struct RedisStreamsPublisher {
    settings: RedisStreamsSettings,
    append: Script,
    trim: Script,
    calls: AtomicUsize,
    live: RwLock<Option<Arc<Live>>>,
    /// Held by the one who waits for a connection.
    opening: Mutex<Opening<Live>>,
}

struct Live {
    connection: MultiplexedConnection,
    looked: Looked,
}

impl RedisStreamsPublisher {
    /// Returns a publisher that connects when there is something to publish.
    ///
    /// # Errors
    ///
    /// `InvalidSettings` for what can never work.
    pub fn new(settings: RedisStreamsSettings) -> Result<Self> {
        settings.check()?;
        Ok(Self {
            settings,
            append: Script::new(include_str!("append.lua")),
            trim: Script::new(include_str!("trim.lua")),
            calls: AtomicUsize::new(0),
            live: RwLock::default(),
            opening: Mutex::default(),
        })
    }

    /// Connects, and looks at the server and the stream.
    ///
    /// # Errors
    ///
    /// `InvalidSettings` for what can never work, for a stream that is missing and a server that may lose what it has
    /// taken; `AuthenticationFailed`, `TlsFailed` or `Unavailable` for one that cannot be reached.
    pub async fn connect(settings: RedisStreamsSettings) -> Result<Self> {
        let publisher = Self::new(settings)?;
        match publisher.ready().await {
            Ok(_) => Ok(publisher),
            Err(error) => Err(told(error)),
        }
    }

    async fn ready(&self) -> Result<Arc<Live>, PublishError> {
        let live = self.live.read().clone();
        if let Some(live) = live {
            return match live.looked.is_due() {
                true => self.look_again(live).await,
                false => Ok(live),
            };
        }
        let mut opening = self.opening.lock().await;
        if let Some(live) = self.live.read().clone() {
            // Another has connected meanwhile.
            return Ok(live);
        }
        let live = opening.finish(open(self.settings.clone())).await?;
        let live = Arc::new(live);
        *self.live.write() = Some(Arc::clone(&live));
        Ok(live)
    }

    /// Looks at the server and the stream while others publish: they may be others by now.
    async fn look_again(&self, live: Arc<Live>) -> Result<Arc<Live>, PublishError> {
        let mut connection = live.connection.clone();
        match server::look(&mut connection, &self.settings).await {
            Err(error) if is_refused(&error) => {
                self.forget(&live);
                Err(error)
            }
            _ => Ok(live),
        }
    }

    fn forget(&self, live: &Arc<Live>) {
        self.live.write().take_if(|kept| Arc::ptr_eq(kept, live));
    }

    /// Refuses what will never be taken.
    fn check(&self, message: &Message) -> Result<(), PublishError> {
        written::check(message)?;
        let (bytes, most) = (message.payload().len(), self.settings.most_bytes);
        if bytes <= most {
            return Ok(());
        }
        let detail = format!("it takes {bytes} bytes, of {most} at most");
        Err(PublishError::new(PublishErrorKind::Poison, detail)
            .with_reason(PublishReason::TooLarge))
    }

    /// Returns how many of the messages are there: fewer than all where the stream has no more room.
    async fn append(&self, live: &Live, messages: &[Message]) -> Result<usize, PublishError> {
        let window = self.settings.duplicate_window.as_millis();
        let mut call = self.append.prepare_invoke();
        call.key(&self.settings.stream)
            .arg(self.settings.most_entries)
            .arg(u64::try_from(window).unwrap_or(u64::MAX));
        for message in messages {
            // In the slot of the stream.
            let (tenant, id) = (message.tenant(), message.id());
            call.key(format!("{{{}}}:sent:{tenant}:{id}", self.settings.stream));
        }
        for message in messages {
            let event = message.cloud_event(&self.settings.source);
            let attributes: Vec<_> = event.attributes().collect();
            call.arg(2 * attributes.len() + 2);
            for (name, value) in attributes {
                call.arg(name).arg(&*value);
            }
            call.arg("data").arg(message.payload());
        }
        let mut connection = live.connection.clone();
        let there = call
            .invoke_async::<usize>(&mut connection)
            .await
            .map_err(|error| failed(&error, &self.settings))?;
        if let RedisDurability::Replicas(asked) = self.settings.durability {
            // Half the time of an answer, which is waited for beside.
            let half = self.settings.connection.timeout().as_millis() / 2;
            let have: u32 = redis::cmd("WAIT")
                .arg(asked)
                .arg(u64::try_from(half.max(1)).unwrap_or(u64::MAX))
                .query_async(&mut connection)
                .await
                .map_err(|error| failed(&error, &self.settings))?;
            if have < asked {
                return Err(not_answered(&self.settings));
            }
        }
        Ok(there)
    }

    /// Removes what is read, every now and then.
    async fn trim(&self, live: &Live) {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        if !self.settings.trims || !calls.is_multiple_of(BETWEEN_TRIMS) {
            return;
        }
        let mut connection = live.connection.clone();
        let trimming = self
            .trim
            .key(&self.settings.stream)
            .invoke_async::<u64>(&mut connection)
            .await;
        if let Err(error) = trimming {
            // Tried again later; what is full says so.
            let error = failed(&error, &self.settings);
            tracing::warn!(target: "tenantry::outbox", %error, "a stream is not trimmed");
        }
    }
}

/// Connects, and looks at the server and the stream.
async fn open(settings: RedisStreamsSettings) -> Result<Live, PublishError> {
    let mut connection = settings.connection.open().await.map_err(of_error)?;
    server::look(&mut connection, &settings).await?;
    Ok(Live {
        connection,
        looked: Looked::now(),
    })
}

/// Gives a connection up over which a call has failed, or nobody waits for an answer any longer: those behind it would not
/// be answered either.
struct Unanswered<'a> {
    publisher: &'a RedisStreamsPublisher,
    live: &'a Arc<Live>,
    is_over: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.publisher.forget(self.live);
        }
    }
}

#[async_trait]
impl Publisher for RedisStreamsPublisher {
    async fn publish(&self, messages: &[Message]) -> Result<(), Stopped> {
        if messages.is_empty() {
            return Ok(());
        }
        let poison = messages
            .iter()
            .enumerate()
            .find_map(|(index, message)| Some((index, self.check(message).err()?)));
        let end = poison.as_ref().map_or(messages.len(), |(index, _)| *index);
        let live = self.ready().await.map_err(|error| Stopped::new(0, error))?;
        let mut waiting = Unanswered {
            publisher: self,
            live: &live,
            is_over: false,
        };
        let mut acknowledged = 0;
        for chunk in messages[..end].chunks(CHUNK) {
            let there = match self.append(&live, chunk).await {
                Ok(there) => there.min(chunk.len()),
                // Whatever it was, the next one looks at the server again.
                Err(error) => return Err(Stopped::new(acknowledged, error)),
            };
            acknowledged += there;
            if there < chunk.len() {
                self.trim(&live).await;
                waiting.is_over = true;
                return Err(Stopped::new(acknowledged, outcome::full(&self.settings)));
            }
        }
        self.trim(&live).await;
        waiting.is_over = true;
        match poison {
            None => Ok(()),
            Some((index, error)) => Err(Stopped::new(index, error)),
        }
    }

    async fn check(&self) -> Result<()> {
        let live = self.ready().await.map_err(told)?;
        let mut connection = live.connection.clone();
        let looked = server::look(&mut connection, &self.settings).await;
        looked.map_err(|error| {
            // The next one looks over another connection.
            self.forget(&live);
            told(error)
        })
    }

    fn system(&self) -> &'static str {
        "redis"
    }
}

impl fmt::Debug for RedisStreamsPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStreamsPublisher")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
