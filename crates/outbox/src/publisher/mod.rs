//! Where messages go: the contract of a publisher, the one in this process, and those of brokers.

#[cfg(any(feature = "nats", feature = "rabbitmq", feature = "redis-streams"))]
mod looked;
mod memory;
#[cfg(feature = "nats")]
mod nats;
#[cfg(any(feature = "rabbitmq", feature = "redis-streams"))]
mod opening;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "redis-streams")]
mod redis_streams;
mod routes;
#[cfg(any(feature = "nats", feature = "rabbitmq", feature = "redis-streams"))]
mod told;
#[cfg(any(feature = "nats", feature = "rabbitmq", feature = "redis-streams"))]
mod written;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use async_trait::async_trait;

#[cfg(any(feature = "nats", feature = "rabbitmq"))]
pub(crate) use self::looked::Looked;
pub(crate) use self::memory::{Handed, Handled, Unhandled};
pub use self::memory::{MemoryPublisher, Subscription};
#[cfg(feature = "nats")]
pub use self::nats::{NatsPublisher, NatsSettings};
#[cfg(feature = "nats")]
pub(crate) use self::nats::{covers, losses, wire_len};
#[cfg(feature = "rabbitmq")]
pub(crate) use self::rabbitmq::{Place, fault_of};
#[cfg(feature = "rabbitmq")]
pub use self::rabbitmq::{RabbitMqPublisher, RabbitMqSettings};
#[cfg(feature = "redis-streams")]
pub use self::redis_streams::{RedisDurability, RedisStreamsPublisher, RedisStreamsSettings};
pub use self::routes::Routes;

use crate::Message;

/// Hands messages to a broker.
///
/// # Contract
///
/// An implementer owes:
///
/// - A message counts as handed over when the broker has said that it has it, as safely as it keeps
///   anything: a publish acknowledgement of JetStream, a confirm of RabbitMQ without the message coming back, an entry
///   number of a Redis stream. Settings under which a broker says so and may lose it are refused when the
///   publisher is made.
/// - The messages of one call are of one tenant and key, and are handed over in their order: none is on
///   its way while one before it may still fail. The number of those that were acknowledged
///   is told, and the rest was not sent, or was not taken.
/// - The identifier of the message is what the broker tells duplicates by, where it does.
/// - A future that is dropped has handed over some of its messages, from the first on.
///
/// Callers may rely on that, call it for several keys at once, and hand over a message again. A call that panics has
/// refused its first message. `publisher_suite!` (feature `conformance`) tries the contract against a broker.
///
/// # Examples
///
/// ```
/// use std::fs::OpenOptions;
/// use std::io::{self, Write as _};
/// use std::path::PathBuf;
///
/// use tenantry_core::TenantId;
/// use tenantry_outbox::{
///     Message, NewMessage, PublishError, PublishErrorKind, Publisher, Stopped,
/// };
/// use tenantry_store::async_trait;
///
/// /// JSON documents in a file, each on disk before it counts as handed over.
/// #[derive(Debug)]
/// struct Spool(PathBuf);
///
/// impl Spool {
///     async fn append(&self, document: Vec<u8>) -> io::Result<()> {
///         let path = self.0.clone();
///         let writing = tokio::task::spawn_blocking(move || {
///             let mut file = OpenOptions::new().create(true).append(true).open(path)?;
///             file.write_all(&document)?;
///             file.sync_data()
///         });
///         writing.await?
///     }
/// }
///
/// #[async_trait]
/// impl Publisher for Spool {
///     async fn publish(&self, messages: &[Message]) -> Result<(), Stopped> {
///         for (done, message) in messages.iter().enumerate() {                // of one key, in their order
///             let document = message.cloud_event("/services/billing").structured().map_err(|error| {
///                 let error = PublishError::new(PublishErrorKind::Poison, "its payload is no JSON").with_source(error);
///                 Stopped::new(done, error)
///             })?;
///             self.append(document).await.map_err(|error| {
///                 let error = PublishError::new(PublishErrorKind::Unavailable, "no file").with_source(error);
///                 Stopped::new(done, error)
///             })?;
///         }
///         Ok(())
///     }
///
///     async fn check(&self) -> tenantry_core::Result<()> {
///         Ok(())
///     }
///
///     fn system(&self) -> &'static str {
///         "spool"
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("spool");
/// let paid = NewMessage::new("billing.invoice.paid", "7").with_payload("application/json", b"{}".to_vec());
/// let message = Message::new(TenantId::generate(), paid);
/// Spool(path.clone()).publish(&[message.clone()]).await?;
/// assert!(std::fs::read_to_string(path)?.contains(&message.id().to_string()));
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Publisher: fmt::Debug + Send + Sync {
    /// Hands over messages of one key, and returns when all were acknowledged.
    ///
    /// # Errors
    ///
    /// The first message that was not acknowledged, how many before it were, and why.
    async fn publish(&self, messages: &[Message]) -> Result<(), Stopped>;

    /// Looks whether the broker would take messages, and hands over none: for a probe, which asks again every
    /// few seconds.
    ///
    /// A publisher of a broker asks for what it looks at when it connects: the stream, or the exchange and its queues. One
    /// with nothing to ask says that it would.
    ///
    /// # Errors
    ///
    /// `Unavailable`, `AuthenticationFailed`, `TlsFailed` or `PermissionDenied` for a broker that cannot be
    /// reached, `InvalidSettings` for one that would lose what it is given.
    async fn check(&self) -> tenantry_core::Result<()>;

    /// Returns what spans and metrics call the broker, such as `rabbitmq`: `messaging.system`.
    fn system(&self) -> &'static str;
}

/// Why a publisher has stopped at a message.
#[derive(Debug)]
#[non_exhaustive]
pub struct Stopped {
    /// How many messages before it were acknowledged.
    pub acknowledged: usize,
    /// Why it was not.
    pub error: PublishError,
}

impl Stopped {
    /// Says that the message behind those that were acknowledged was not.
    #[must_use]
    pub const fn new(acknowledged: usize, error: PublishError) -> Self {
        Self {
            acknowledged,
            error,
        }
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped after {} messages", self.acknowledged)
    }
}

impl StdError for Stopped {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.error)
    }
}

/// What a failure says of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PublishErrorKind {
    /// The broker takes nothing, or does not answer: no message is to blame, and all wait.
    Unavailable,
    /// The broker takes other messages and not this one, and may later: its key waits.
    Refused,
    /// No broker will ever take it: it is too large, or cannot be written.
    Poison,
}

impl PublishErrorKind {
    /// Returns the name, as it stands in metrics and in the table of dead letters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
            Self::Poison => "poison",
        }
    }
}

/// What went wrong, for those who look after it.
///
/// The [`PublishErrorKind`] decides what becomes of the message; this tells one trouble from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PublishReason {
    /// It is larger than the broker takes.
    TooLarge,
    /// It cannot be written as the broker wants it.
    Unwritable,
    /// The broker has it and nobody to give it to, and gave it back.
    Unroutable,
    /// The stream, exchange or key is not there.
    DestinationMissing,
    /// The broker would say that it has a message, and may lose it.
    DestinationUnsafe,
    /// The broker takes neither user nor password.
    LoginRefused,
    /// The user may not publish there.
    Forbidden,
    /// There is no connection.
    Disconnected,
    /// The broker has accepted the message and does not answer.
    NoAnswer,
    /// The broker has no room.
    Full,
}

impl PublishReason {
    /// Returns the name, as it stands in the table of dead letters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Unwritable => "unwritable",
            Self::Unroutable => "unroutable",
            Self::DestinationMissing => "destination_missing",
            Self::DestinationUnsafe => "destination_unsafe",
            Self::LoginRefused => "login_refused",
            Self::Forbidden => "forbidden",
            Self::Disconnected => "disconnected",
            Self::NoAnswer => "no_answer",
            Self::Full => "full",
        }
    }
}

/// A message that was not handed over.
pub struct PublishError {
    kind: PublishErrorKind,
    reason: Option<PublishReason>,
    detail: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl PublishError {
    /// Returns an error; the detail says what happened, and holds no payload and no secret.
    #[must_use]
    pub fn new(kind: PublishErrorKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            reason: None,
            detail: detail.into(),
            source: None,
        }
    }

    /// Sets what went wrong.
    #[must_use]
    pub const fn with_reason(mut self, reason: PublishReason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Sets the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns what the failure says of the message.
    #[must_use]
    pub const fn kind(&self) -> PublishErrorKind {
        self.kind
    }

    /// Returns what went wrong, where the publisher tells.
    #[must_use]
    pub const fn reason(&self) -> Option<PublishReason> {
        self.reason
    }

    /// Returns the name of what went wrong, or else of the kind.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self.reason {
            Some(reason) => reason.as_str(),
            None => self.kind.as_str(),
        }
    }

    /// Returns what happened.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "publish: {}: {}", self.code(), self.detail)
    }
}

impl fmt::Debug for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishError")
            .field("kind", &self.kind)
            .field("reason", &self.reason)
            .field("detail", &self.detail)
            .field("source", &self.source)
            .finish()
    }
}

impl StdError for PublishError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
