//! Outbox, inbox and broker of a service, and the workers that hand over.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tenantry_outbox::{
    Consumer, Inbox, MemoryPublisher, Outbox, OutboxWorker, Publisher, WorkerSettings,
};
use tenantry_store::{Error, ErrorKind, Result};

use super::Storage;
use super::open::Passwords;
use super::ownership::missing;
use crate::settings::Settings;
use crate::settings::broker::Broker;
#[cfg(any(feature = "nats", feature = "rabbitmq", feature = "redis-streams"))]
use crate::settings::broker::Remote;

/// What there is of them.
#[derive(Debug)]
pub(super) struct Messages {
    /// One for a store, made when it is asked for: each commit is looked at from then on.
    outbox: OnceLock<Outbox>,
    /// The most bytes of a payload, where the settings say so.
    most_bytes: Option<usize>,
    pub(super) publisher: Option<Arc<dyn Publisher>>,
    pub(super) workers: Mutex<Vec<Arc<OutboxWorker>>>,
    pub(super) consumers: Mutex<Vec<Arc<Consumer>>>,
}

/// Makes the publisher of a broker, which is reached when there is something to hand over.
pub(super) fn open(settings: &Settings, passwords: &Passwords) -> Result<Messages> {
    let publisher = settings
        .broker
        .as_ref()
        .map(|broker| -> Result<Arc<dyn Publisher>> {
            Ok(match broker {
                Broker::Made(publisher) => Arc::clone(publisher),
                Broker::Memory => Arc::new(MemoryPublisher::new()),
                #[cfg(feature = "nats")]
                Broker::Nats(remote) => nats(remote, passwords)?,
                #[cfg(feature = "rabbitmq")]
                Broker::RabbitMq(remote) => rabbitmq(remote, passwords)?,
                #[cfg(feature = "redis-streams")]
                Broker::RedisStreams(remote) => redis_streams(remote, passwords)?,
            })
        });
    #[cfg(not(any(feature = "nats", feature = "rabbitmq", feature = "redis-streams")))]
    let _ = passwords;
    Ok(Messages {
        outbox: OnceLock::new(),
        most_bytes: settings.outbox_bytes,
        publisher: publisher.transpose()?,
        workers: Mutex::default(),
        consumers: Mutex::default(),
    })
}

#[cfg(feature = "nats")]
fn nats(remote: &Remote, passwords: &Passwords) -> Result<Arc<dyn Publisher>> {
    use tenantry_outbox::{NatsConnection, NatsPublisher, NatsSettings, Routes};

    let mut connection = NatsConnection::new(&remote.url);
    if let Some((user, password)) = &remote.login {
        connection = connection
            .with_user(user)
            .with_password_from(passwords.source()?, password.clone());
    }
    let mut settings = NatsSettings::new(connection, &remote.destination, &remote.source);
    if let Some(prefix) = &remote.prefix {
        settings = settings.with_routes(Routes::new(prefix)?);
    }
    Ok(Arc::new(NatsPublisher::new(settings)?))
}

#[cfg(feature = "rabbitmq")]
fn rabbitmq(remote: &Remote, passwords: &Passwords) -> Result<Arc<dyn Publisher>> {
    use tenantry_outbox::{RabbitMqConnection, RabbitMqPublisher, RabbitMqSettings, Routes};

    let mut connection = RabbitMqConnection::new(&remote.url);
    if let Some((user, password)) = &remote.login {
        connection = connection
            .with_user(user)
            .with_password_from(passwords.source()?, password.clone());
    }
    let mut settings = RabbitMqSettings::new(connection, &remote.destination, &remote.source);
    if let Some(prefix) = &remote.prefix {
        settings = settings.with_routes(Routes::new(prefix)?);
    }
    Ok(Arc::new(RabbitMqPublisher::new(settings)?))
}

#[cfg(feature = "redis-streams")]
fn redis_streams(remote: &Remote, passwords: &Passwords) -> Result<Arc<dyn Publisher>> {
    use tenantry_outbox::{RedisConnection, RedisStreamsPublisher, RedisStreamsSettings};

    let mut connection = RedisConnection::new(&remote.url);
    if let Some((user, password)) = &remote.login {
        connection = connection
            .with_user(user)
            .with_password_from(passwords.source()?, password.clone());
    }
    let settings = RedisStreamsSettings::new(connection, &remote.destination, &remote.source);
    Ok(Arc::new(RedisStreamsPublisher::new(settings)?))
}

impl Storage {
    /// Returns the outbox of the service's database, whose tables are there by a migration
    /// (`OUTBOX_POSTGRES` or `OUTBOX_SQLITE` of [`tenantry_outbox`]). The most bytes of a payload are `most_bytes` of
    /// the section `[outbox]`, or 1,000,000.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # mod example {
    /// use tenantry::core::TenantId;
    /// use tenantry::outbox::{NewMessage, OUTBOX_SQLITE, WorkerSettings};
    /// use tenantry::{Migrations, Settings, Storage};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let settings = Settings::embedded(folder.path())?;
    /// Storage::migrate(&settings, &Migrations::embedded(&[(1, "outbox", OUTBOX_SQLITE)])).await?;
    /// let storage = Storage::open(&settings).await?;
    /// storage.start_worker(WorkerSettings::default())?;   // hands over what is committed, until it is closed
    ///
    /// let work = storage.tenant(TenantId::generate()).begin().await?;
    /// storage.outbox().append_message(&work, NewMessage::new("billing.invoice.paid", "7"))?;
    /// work.commit().await?;
    /// storage.close().await;
    /// # Ok(())
    /// # }
    /// # }
    /// # #[cfg(feature = "sqlite")]
    /// # example::main().unwrap();
    /// ```
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        let messages = &self.inner.messages;
        messages.outbox.get_or_init(|| {
            let builder = Outbox::builder(&self.store);
            match messages.most_bytes {
                Some(bytes) => builder.with_most_bytes(bytes).build(),
                None => builder.build(),
            }
        })
    }

    /// Returns the inbox of the service's database, by which a consumer handles a message once.
    #[must_use]
    pub fn inbox(&self) -> Inbox {
        Inbox::new(&self.store)
    }

    /// Returns what hands messages to the broker.
    ///
    /// # Errors
    ///
    /// `InvalidSettings` if the settings name no broker.
    pub fn publisher(&self) -> Result<&Arc<dyn Publisher>> {
        let publisher = self.inner.messages.publisher.as_ref();
        publisher.ok_or_else(|| {
            missing(
                "broker",
                "add a section [broker] with a url to the settings, or make it in code by \
                 Settings::with_broker",
            )
        })
    }

    /// Starts a worker that hands over what the outbox holds, and stops when everything is
    /// [closed](Self::close). Several may run, here and in other processes.
    ///
    /// It hears at once of commits of this storage, works across tenants by the role of `[platform]`, and
    /// publishes to `[broker]`.
    ///
    /// # Errors
    ///
    /// `InvalidSettings` if there is no broker or no role for work across tenants, or for settings that do not
    /// fit each other; `Conflict` if the storage was closed; `Unsupported` outside a runtime of Tokio.
    pub fn start_worker(&self, settings: WorkerSettings) -> Result<()> {
        let publisher = Arc::clone(self.publisher()?);
        let platform = self.platform()?;
        let settings = settings.with_outbox(self.outbox());
        // Under the lock, so that none begins beside the close.
        let mut workers = self.inner.messages.workers.lock();
        if self.is_closed() {
            return Err(Error::new(ErrorKind::Conflict, "start outbox worker")
                .with_detail("the storage was closed: open another"));
        }
        workers.push(Arc::new(OutboxWorker::start(
            platform, publisher, settings,
        )?));
        Ok(())
    }

    /// Keeps a consumer that was started over [`tenant_store`](Self::tenant_store) until everything is
    /// [closed](Self::close): it is stopped first, before the workers, and [`health`](Self::health) tells whether it goes
    /// on.
    ///
    /// # Errors
    ///
    /// `Conflict` if the storage was closed: the consumer ends then, and what it had under way comes again.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # mod example {
    /// use std::sync::Arc;
    ///
    /// use tenantry::core::TenantId;
    /// use tenantry::outbox::{
    ///     Consumer, ConsumerSettings, HandlerError, MemoryPublisher, Message, MessageHandler, NewMessage, OUTBOX_SQLITE,
    ///     WorkerSettings,
    /// };
    /// use tenantry::prelude::{UnitOfWork, async_trait};
    /// use tenantry::{Migrations, Settings, Storage};
    ///
    /// struct SendReceipt;
    ///
    /// #[async_trait]
    /// impl MessageHandler for SendReceipt {
    ///     async fn handle(&self, work: &UnitOfWork, message: &Message) -> Result<(), HandlerError> {
    ///         assert_eq!(work.tenant(), message.tenant());     // effects go along with it, or not at all
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let broker = MemoryPublisher::new().with_consumer("receipts", ["billing.invoice."]);
    /// let settings = Settings::embedded(folder.path())?.with_broker(Arc::new(broker.clone()));
    /// Storage::migrate(&settings, &Migrations::embedded(&[(1, "outbox", OUTBOX_SQLITE)])).await?;
    /// let storage = Storage::open(&settings).await?;
    ///
    /// let receipts = ConsumerSettings::new("receipts");
    /// storage.keep_consumer(Consumer::start_memory(storage.tenant_store(), &broker, Arc::new(SendReceipt), receipts)?)?;
    /// storage.start_worker(WorkerSettings::default())?;
    ///
    /// let work = storage.tenant(TenantId::generate()).begin().await?;
    /// storage.outbox().append_message(&work, NewMessage::new("billing.invoice.paid", "7"))?;
    /// work.commit().await?;
    /// storage.close().await;
    /// # Ok(())
    /// # }
    /// # }
    /// # #[cfg(feature = "sqlite")]
    /// # example::main().unwrap();
    /// ```
    pub fn keep_consumer(&self, consumer: Consumer) -> Result<()> {
        // Under the lock, as a worker.
        let mut consumers = self.inner.messages.consumers.lock();
        if self.is_closed() {
            return Err(Error::new(ErrorKind::Conflict, "keep consumer")
                .with_subject(consumer.name().to_owned())
                .with_detail("the storage was closed: open another"));
        }
        consumers.push(Arc::new(consumer));
        Ok(())
    }
}
