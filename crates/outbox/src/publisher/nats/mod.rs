//! Messages into a stream of NATS JetStream.

mod outcome;
mod settings;
mod stream;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{HeaderMap, Request};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tenantry_core::Result;
use tokio::sync::Mutex;

pub use self::settings::NatsSettings;
pub(crate) use self::stream::{covers, losses};

use self::outcome::{answered, disconnected, not_answered, of_error, unavailable};
use super::looked::{Looked, is_refused};
use super::told::told;
use super::written;
use crate::connection::NatsLink;
use crate::{
    CloudEvent, ContentMode, Message, PublishError, PublishErrorKind, PublishReason, Publisher,
    Routes, Stopped,
};

/// What the binding of HTTP, to which that of NATS refers, writes otherwise in a header.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// For how long no connection is tried after one could not be made.
const PAUSE: Duration = Duration::from_millis(200);

/// Hands messages to a stream of NATS JetStream.
///
/// A message counts as handed over when the stream has acknowledged it. Its tenant and identifier are the `Nats-Msg-Id`, by which the
/// stream drops what it gets again within its duplicate window; its subject is that of [`Routes`]. It bears the
/// attributes of the [`CloudEvent`] as headers `ce-…`, written as the binding says.
///
/// The stream is looked at before the first message, every 10 s while there are some, and after each trouble: one that
/// is missing, does not have the subjects, acknowledges nothing, or may lose what it has acknowledged gets none.
///
/// | trouble | kind | reason |
/// |---|---|---|
/// | larger than the server or the stream takes | poison | `TooLarge` |
/// | payload is no JSON, in structured mode, or an event by its content type | poison | `Unwritable` |
/// | the user may not publish to the subject | refused | `Forbidden` |
/// | the stream has no room, or the server no disk | unavailable | `Full` |
/// | the stream is missing, or is not as it should be | unavailable | `DestinationMissing`, `DestinationUnsafe` |
/// | no connection, no login, no answer | unavailable | `Disconnected`, `LoginRefused`, `NoAnswer` |
///
/// # Examples
///
/// ```no_run
/// use std::sync::Arc;
/// use tenantry_outbox::{NatsConnection, NatsPublisher, NatsSettings, OutboxWorker, WorkerSettings};
/// use tenantry_store::PlatformStore;
///
/// # async fn example(platform: &PlatformStore) -> tenantry_core::Result<()> {
/// let connection = NatsConnection::new("nats://nats.internal:4222");
/// let settings = NatsSettings::new(connection, "EVENTS", "/services/billing");
/// let publisher = NatsPublisher::connect(settings).await?;
/// let worker = OutboxWorker::start(platform, Arc::new(publisher), WorkerSettings::default())?;
/// # worker.stop().await
/// # }
/// ```
pub struct NatsPublisher {
    settings: NatsSettings,
    routes: Routes,
    live: RwLock<Option<Arc<Live>>>,
    /// Held by the one who connects; when it was tried in vain last.
    connecting: Mutex<Connecting>,
}

#[derive(Default)]
struct Connecting {
    link: Option<NatsLink>,
    in_vain: Option<(Instant, PublishReason, String)>,
}

/// A connection, and a stream that was looked at over it.
struct Live {
    link: NatsLink,
    breaks: u64,
    looked: Looked,
    /// The most bytes that the stream takes, headers included.
    most_bytes: usize,
}

impl NatsPublisher {
    /// Returns a publisher that connects when there is something to publish.
    ///
    /// # Errors
    ///
    /// `InvalidSettings` for what can never work.
    pub fn new(settings: NatsSettings) -> Result<Self> {
        let routes = settings.check()?;
        Ok(Self {
            settings,
            routes,
            live: RwLock::default(),
            connecting: Mutex::default(),
        })
    }

    /// Connects, and looks at the stream.
    ///
    /// # Errors
    ///
    /// `InvalidSettings` for what can never work, and for a stream that is missing or may lose what it has
    /// acknowledged; `AuthenticationFailed`, `TlsFailed` or `Unavailable` for a server that cannot be reached.
    pub async fn connect(settings: NatsSettings) -> Result<Self> {
        let publisher = Self::new(settings)?;
        match publisher.ready().await {
            Ok(_) => Ok(publisher),
            Err(error) => Err(told(error)),
        }
    }

    /// Returns a connection over which the stream was looked at since it stands.
    async fn ready(&self) -> Result<Arc<Live>, PublishError> {
        let usable =
            |live: &Arc<Live>| live.link.breaks() == live.breaks && live.link.is_connected();
        let live = self.live.read().clone();
        if let Some(live) = live.filter(usable) {
            return match live.looked.is_due() {
                true => self.look_again(live).await,
                false => Ok(live),
            };
        }
        let mut connecting = self.connecting.lock().await;
        if let Some(live) = self.live.read().clone().filter(usable) {
            // Another has connected meanwhile.
            return Ok(live);
        }
        if let Some((tried, reason, detail)) = &connecting.in_vain
            && tried.elapsed() < PAUSE
        {
            return Err(unavailable(*reason, detail.clone()));
        }
        match self.open(&mut connecting).await {
            Ok(live) => {
                connecting.in_vain = None;
                let live = Arc::new(live);
                *self.live.write() = Some(Arc::clone(&live));
                Ok(live)
            }
            Err(error) => {
                let reason = error.reason().unwrap_or(PublishReason::Disconnected);
                connecting.in_vain = Some((Instant::now(), reason, error.detail().to_owned()));
                Err(error)
            }
        }
    }

    async fn open(&self, connecting: &mut Connecting) -> Result<Live, PublishError> {
        let link = match &connecting.link {
            Some(link) => link.clone(),
            None => {
                let link = self.settings.connection.open("tenantry-outbox").await;
                let link = link.map_err(of_error)?;
                connecting.link = Some(link.clone());
                link
            }
        };
        self.live_over(link).await
    }

    /// Looks at the stream while others publish: it may be another by now.
    async fn look_again(&self, live: Arc<Live>) -> Result<Arc<Live>, PublishError> {
        match self.live_over(live.link.clone()).await {
            Ok(looked) => {
                let looked = Arc::new(looked);
                *self.live.write() = Some(Arc::clone(&looked));
                Ok(looked)
            }
            Err(error) if is_refused(&error) => {
                self.live.write().take_if(|kept| Arc::ptr_eq(kept, &live));
                Err(error)
            }
            Err(_) => Ok(live),
        }
    }

    async fn live_over(&self, link: NatsLink) -> Result<Live, PublishError> {
        let breaks = link.breaks();
        if !link.is_connected() {
            return Err(disconnected(&link));
        }
        let most_bytes = self.look(&link).await?;
        Ok(Live {
            breaks,
            looked: Looked::now(),
            most_bytes,
            link,
        })
    }

    /// Looks at the stream, and returns the most bytes that it takes.
    async fn look(&self, link: &NatsLink) -> Result<usize, PublishError> {
        let mut context = jetstream::new(link.client.clone());
        context.set_timeout(self.settings.connection.timeout());
        let name = &self.settings.stream;
        let since = Instant::now();
        let looked = context.get_stream(name).await.map_err(|error| match error.kind() {
            GetStreamErrorKind::JetStream(answer)
                if answer.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                unavailable(
                    PublishReason::DestinationMissing,
                    format!("the stream {name} is not there: make it, with its subjects"),
                )
            }
            GetStreamErrorKind::JetStream(_) => unavailable(
                PublishReason::DestinationMissing,
                format!("the server has no JetStream for the stream {name}"),
            ),
            _ if link.take_refusal(&format!("$JS.API.STREAM.INFO.{name}"), since) => unavailable(
                PublishReason::Forbidden,
                format!("the user may not look at the stream {name}: allow $JS.API.STREAM.INFO.{name}"),
            ),
            _ if link.is_connected() => not_answered(self.settings.connection.timeout()),
            _ => disconnected(link),
        })?;
        let config = &looked.cached_info().config;
        if let Some(wrong) = stream::refuse(config, &self.settings, self.routes.prefix()) {
            return Err(unavailable(
                PublishReason::DestinationUnsafe,
                format!("the stream {name} is refused: {wrong}"),
            ));
        }
        Ok(usize::try_from(config.max_message_size)
            .ok()
            .filter(|most| *most > 0)
            .unwrap_or(usize::MAX))
    }

    async fn send(&self, live: &Live, message: &Message) -> Result<(), PublishError> {
        written::check(message)?;
        let subject = self.routes.of(message.tenant(), message.event_type());
        let (headers, payload) = self.written(message)?;
        let bytes = wire_len(&headers) + payload.len();
        let most = live.link.client.max_payload().min(live.most_bytes);
        if bytes > most {
            return Err(outcome::too_large(bytes, most));
        }
        let timeout = self.settings.connection.timeout();
        let request = Request::new()
            .headers(headers)
            .payload(payload)
            .timeout(Some(timeout));
        let since = Instant::now();
        let asked = live.link.client.send_request(subject.clone(), request);
        let answer = tokio::select! {
            answer = asked => answer,
            // Nobody answers to what was sent over a connection that is gone.
            () = live.link.breaks_after(live.breaks) => return Err(disconnected(&live.link)),
        };
        let answer = answer
            .map_err(|error| outcome::of_request(&error, &live.link, &subject, since, timeout))?;
        answered(&answer.payload, &self.settings.stream)
    }

    fn written(&self, message: &Message) -> Result<(HeaderMap, Bytes), PublishError> {
        let event = message.cloud_event(&self.settings.source);
        let mut headers = HeaderMap::new();
        // Another tenant may have a message of the same identifier.
        let id = format!("{}:{}", message.tenant(), message.id());
        headers.insert("Nats-Msg-Id", id);
        headers.insert("Nats-Expected-Stream", &*self.settings.stream);
        let payload = match self.settings.mode {
            ContentMode::Binary => {
                for (name, value) in event.attributes() {
                    let value = utf8_percent_encode(&value, ENCODED).to_string();
                    headers.insert(format!("ce-{name}"), value);
                }
                Bytes::copy_from_slice(message.payload())
            }
            ContentMode::Structured => {
                headers.insert("Content-Type", CloudEvent::structured_content_type());
                let document = event.structured().map_err(|error| {
                    PublishError::new(PublishErrorKind::Poison, error.detail().to_owned())
                        .with_reason(PublishReason::Unwritable)
                })?;
                Bytes::from(document)
            }
        };
        Ok((headers, payload))
    }
}

#[async_trait]
impl Publisher for NatsPublisher {
    async fn publish(&self, messages: &[Message]) -> Result<(), Stopped> {
        let mut live = self.ready().await.map_err(|error| Stopped::new(0, error))?;
        for (acknowledged, message) in messages.iter().enumerate() {
            if live.link.breaks() != live.breaks {
                live = self
                    .ready()
                    .await
                    .map_err(|error| Stopped::new(acknowledged, error))?;
            }
            if let Err(error) = self.send(&live, message).await {
                if error.kind() == PublishErrorKind::Unavailable {
                    // The stream may be another one when it is tried again.
                    self.live.write().take_if(|kept| Arc::ptr_eq(kept, &live));
                }
                return Err(Stopped::new(acknowledged, error));
            }
        }
        Ok(())
    }

    async fn check(&self) -> Result<()> {
        let live = self.ready().await.map_err(told)?;
        // It stood when it was connected to, and may have been removed since.
        self.look(&live.link).await.map(drop).map_err(told)
    }

    fn system(&self) -> &'static str {
        "nats"
    }
}

/// Returns how many bytes headers take as they are sent.
pub(crate) fn wire_len(headers: &HeaderMap) -> usize {
    let lines = headers.iter().flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        values
            .iter()
            .map(move |value| name.len() + value.as_str().len() + 4)
    });
    lines.sum::<usize>() + 12
}

impl fmt::Debug for NatsPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsPublisher")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
