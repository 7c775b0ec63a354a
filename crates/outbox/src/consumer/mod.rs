//! The side that gets messages from a broker: handles each in a unit of work of its tenant, once.
//!
//! ```text
//!   broker ──▶ read envelope ──▶ lane of tenant and key ──▶ begin ─▶ inbox ─▶ handler ─▶ commit ──▶ acknowledge
//!                   │                                                    │ fails
//!                   │ no message, no tenant                              ├── again after a while, in its lane
//!                   ▼                                                    ▼ given up
//!              dead letters ◀──────────────────────────────────────  the whole envelope
//! ```

mod alone;
mod attempt;
mod delivery;
#[cfg(any(feature = "nats", feature = "rabbitmq"))]
mod graves;
mod hands;
mod lanes;
mod memory;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
mod settings;
mod settle;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tenantry_core::{Error, ErrorKind, Result};
use tenantry_store::{TenantStore, UnitOfWork};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

#[cfg(feature = "nats")]
pub use self::nats::NatsSource;
#[cfg(feature = "rabbitmq")]
pub use self::rabbitmq::RabbitMqSource;
pub use self::settings::ConsumerSettings;

use self::lanes::Lanes;
use crate::{MemoryPublisher, Message};

/// What a service does with a message.
///
/// # Examples
///
/// ```
/// use tenantry_outbox::{HandlerError, Message, MessageHandler};
/// use tenantry_store::{UnitOfWork, async_trait};
///
/// #[derive(Debug)]
/// struct SendReceipt;
///
/// #[async_trait]
/// impl MessageHandler for SendReceipt {
///     async fn handle(&self, work: &UnitOfWork, message: &Message) -> Result<(), HandlerError> {
///         if message.event_type() != "billing.invoice.paid" {
///             return Ok(());                                      // none of ours
///         }
///         // Effects, by `work`, which is of the tenant of the message.
///         assert_eq!(work.tenant(), message.tenant());
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait MessageHandler: Send + Sync + 'static {
    /// Handles a message in a unit of work of its tenant, which is committed afterwards; the inbox has found that it is
    /// the first time.
    ///
    /// # Errors
    ///
    /// Whether another attempt may help. The unit of work is rolled back.
    ///
    /// # Cancel safety
    ///
    /// It is dropped after the time that [`ConsumerSettings::with_handle_timeout`] allows; the unit of work is rolled
    /// back then.
    async fn handle(&self, work: &UnitOfWork, message: &Message) -> Result<(), HandlerError>;

    /// Hears that the effects of a message are stored, before the broker does: to wake who waits for them. It may hear so
    /// again where the message comes again, and does not where the process ends in between.
    ///
    /// As it stands it does nothing; a handler that wraps another passes it on.
    fn handled(&self, _message: &Message) {}
}

/// Why a message was not handled.
#[derive(Debug)]
#[non_exhaustive]
pub enum HandlerError {
    /// Another attempt may help.
    Retry(Error),
    /// None ever will: the message is a dead letter.
    Poison(Error),
}

impl From<Error> for HandlerError {
    /// Takes a value that cannot be read or written (`InvalidValue`) for poison, and says of all else that another attempt
    /// may help.
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidValue => Self::Poison(error),
            _ => Self::Retry(error),
        }
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retry(_) => "the message was not handled, and is tried again",
            Self::Poison(_) => "the message can be handled by no attempt",
        })
    }
}

impl StdError for HandlerError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let (Self::Retry(error) | Self::Poison(error)) = self;
        Some(error)
    }
}

/// Handles the messages of a broker until it is stopped.
///
/// Each is handled in a unit of work of its tenant, with the trace and the correlation of its envelope as context, and
/// marked in the [`Inbox`](crate::Inbox) there; it is acknowledged after the commit. One that comes again is acknowledged
/// and not handled. Messages of one tenant and key are handled one after the other, those of others side by side.
///
/// One that fails is tried again in its place after a while, and those of its key wait; when the budget is used up, it
/// becomes a dead letter of the broker, whole, with the reason in its headers, and its key goes on.
///
/// One that was given out more than twice as often as it may be tried, and so may end the process each time, is handled
/// alone, with a mark before it in the inbox of its tenant. It is given up when the process has ended then as often as it may be
/// tried, up to ten times.
///
/// What is no message, bears no tenant, or another one than its subject says, is handled by nobody: it becomes a dead
/// letter at once.
///
/// # Isolation
///
/// The tenant is that of the envelope, and only if the name under which the broker has the message says the same: who
/// may publish for one tenant alone cannot speak for another.
///
/// # Order
///
/// Within a key, as the broker delivers, by one instance of a consumer. **Several of one name may handle two messages of
/// a key at once, the later one first**: brokers give messages out to whoever is free, and know no keys. So:
///
/// - Run one instance, or several of which one is at work and the others stand by: a queue of RabbitMQ that was declared
///   with `x-single-active-consumer`, or `NatsSource::with_one_at_a_time`.
/// - To share the work, part it by tenant, and by nothing else: keys are within a tenant. In RabbitMQ a consumer for each
///   part has a queue of its own behind an exchange of the type `x-consistent-hash`, whose argument `hash-header` is
///   `cloudEvents_tenantid`; in NATS a name and [`Routes`](crate::Routes) of its own, below which a mapping of subjects
///   with `partition` puts the part.
/// - Or let handlers not depend on the order: they compare a version in the message with that of the row.
///
/// # Fairness
///
/// What waits here is handled round the tenants, and not as it came: whoever has much, or is slow, holds up another by what
/// is under way, and not by what stands behind that. What the broker has not given out yet, the consumer cannot know of.
///
/// Dropped, it ends at once, and what was under way comes again.
#[must_use = "dropped, it ends at once"]
pub struct Consumer {
    name: Arc<str>,
    system: &'static str,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
    abort: tokio::task::AbortHandle,
}

impl Consumer {
    /// Starts a consumer of the broker of this process, which has kept a place for its name, in the runtime of the caller.
    ///
    /// A message stays in the outbox that it came from until it was handled here, so nothing is lost with the process, and
    /// who has published is told what became of it: one that fails is tried again by that outbox after its
    /// [`FailurePolicy`](crate::FailurePolicy), with those of its key behind it, and what is poison becomes a dead letter of
    /// that outbox; [`ConsumerSettings::with_attempts`] says nothing here. A worker that waits no longer for one that takes
    /// long goes on with other keys, and is told of the same attempt when it asks again.
    ///
    /// # Errors
    ///
    /// `InvalidSettings` for what can never work, and for a name that the broker keeps no place for
    /// ([`MemoryPublisher::with_consumer`]); `Conflict` where there is one of its name; `Unsupported` outside a runtime of
    /// Tokio.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::sync::Arc;
    ///
    /// use tenantry_outbox::{Consumer, ConsumerSettings, MemoryPublisher, MessageHandler};
    /// use tenantry_store::TenantStore;
    ///
    /// # async fn example(store: TenantStore, handler: Arc<dyn MessageHandler>) -> tenantry_store::Result<()> {
    /// let broker = MemoryPublisher::new().with_consumer("receipts", ["billing.invoice."]);
    /// let settings = ConsumerSettings::new("receipts");
    /// let consumer = Consumer::start_memory(&store, &broker, handler, settings)?;
    /// // A worker that publishes to `broker` is answered from now on.
    /// consumer.stop().await
    /// # }
    /// ```
    pub fn start_memory(
        store: &TenantStore,
        broker: &MemoryPublisher,
        handler: Arc<dyn MessageHandler>,
        settings: ConsumerSettings,
    ) -> Result<Self> {
        settings.check()?;
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::new(ErrorKind::Unsupported, "start consumer")
                .with_subject(settings.name)
                .with_detail("start it inside a runtime of Tokio"));
        }
        let source = memory::Deliveries::open(broker, &settings)?;
        Ok(Self::start(store, source, handler, settings))
    }

    /// Starts a consumer of a stream of NATS JetStream, in the runtime of the caller.
    ///
    /// # Errors
    ///
    /// `InvalidSettings` for what can never work, a stream or a place for dead letters that is missing, one that would lose
    /// them, or a consumer on the server that acknowledges otherwise; `AuthenticationFailed`, `TlsFailed` or `Unavailable` for a server that cannot be reached.
    #[cfg(feature = "nats")]
    pub async fn start_nats(
        store: &TenantStore,
        source: NatsSource,
        handler: Arc<dyn MessageHandler>,
        settings: ConsumerSettings,
    ) -> Result<Self> {
        settings.check()?;
        let source = nats::Deliveries::open(source, &settings).await?;
        Ok(Self::start(store, source, handler, settings))
    }

    /// Starts a consumer of a queue of RabbitMQ, in the runtime of the caller.
    ///
    /// # Errors
    ///
    /// `InvalidSettings` for what can never work, a queue or an exchange for dead letters that is missing, and one that is
    /// not durable;
    /// `AuthenticationFailed`, `TlsFailed` or `Unavailable` for a server that cannot be reached.
    #[cfg(feature = "rabbitmq")]
    pub async fn start_rabbitmq(
        store: &TenantStore,
        source: RabbitMqSource,
        handler: Arc<dyn MessageHandler>,
        settings: ConsumerSettings,
    ) -> Result<Self> {
        settings.check()?;
        let source = rabbitmq::Deliveries::open(source, &settings).await?;
        Ok(Self::start(store, source, handler, settings))
    }

    fn start<S: delivery::Source>(
        store: &TenantStore,
        source: S,
        handler: Arc<dyn MessageHandler>,
        settings: ConsumerSettings,
    ) -> Self {
        let name: Arc<str> = settings.name.clone().into();
        let (stop, stopped) = watch::channel(false);
        let system = source.system();
        let lanes = Lanes::new(store, handler, settings, system, stopped);
        let task = tokio::spawn(lanes.run(source));
        Self {
            name,
            system,
            stop,
            abort: task.abort_handle(),
            task: Mutex::new(Some(task)),
        }
    }

    /// Returns the name by which the inbox tells it from other consumers.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what the broker is: `memory`, `nats` or `rabbitmq`.
    #[must_use]
    pub const fn system(&self) -> &'static str {
        self.system
    }

    /// Returns whether it goes on; false once it was stopped, or has panicked.
    ///
    /// One that cannot reach its broker or its database goes on, and tries again.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !*self.stop.borrow() && !self.abort.is_finished()
    }

    /// Lets the consumer end what it handles, and give back what waits; returns after that. It may be called again.
    ///
    /// # Errors
    ///
    /// `Unexpected` if it has panicked.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the consumer ends all the same.
    pub async fn stop(&self) -> Result<()> {
        // It has ended already, if nobody listens.
        let _ = self.stop.send(true);
        let mut task = self.task.lock().await;
        let Some(running) = &mut *task else {
            return Ok(());
        };
        let outcome = running.await;
        *task = None;
        outcome.map_err(|error| {
            Error::new(ErrorKind::Unexpected, "stop consumer")
                .with_subject(self.name.to_string())
                .with_detail("its task has panicked")
                .with_source(error)
        })
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if !*self.stop.borrow() {
            self.abort.abort();
        }
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
