//! Connections to RabbitMQ.

mod confirmed;
mod confirms;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use lapin::protocol::{AMQPErrorKind, AMQPHardError};
use lapin::tcp::{AMQPUriTcpExt as _, RustlsConnector};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties, ErrorKind as LapinKind};
use tenantry_core::{Error, ErrorKind, Result, Secret};

pub(crate) use self::confirmed::ConfirmedChannel;
pub(crate) use self::confirms::{Lost, Outcome};

use super::access::{Access, connection_settings};
use super::quiet::leave_frames_out_of_log;
use super::tls::{self, Trust};
use super::{SILENT, UNREACHABLE};

const CONNECT: &str = "connect to rabbitmq";

/// After how many seconds without a sign of life either side gives a connection up.
const HEARTBEAT: u16 = 10;

/// Where a RabbitMQ is, and who asks.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tenantry_core::Secret;
/// use tenantry_outbox::RabbitMqConnection;
///
/// let connection = RabbitMqConnection::new("amqps://rabbitmq.internal:5671/billing")
///     .with_user("billing")
///     .with_password(Secret::new("from a vault"))
///     .with_timeout(Duration::from_secs(5));
/// # drop(connection);
/// ```
#[derive(Clone)]
pub struct RabbitMqConnection {
    access: Access<Trust>,
}

impl RabbitMqConnection {
    /// Returns the connection to a URL: `amqp://` or `amqps://`, perhaps with user and password, host, port and virtual
    /// host.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            access: Access::new(url.into()),
        }
    }

    /// Refuses what can never work.
    pub(crate) fn check(&self) -> Result<()> {
        self.access.check(CONNECT)?;
        if self.uri()?.scheme == AMQPScheme::AMQP && !self.access.trust.is_of_the_system() {
            return Err(invalid(
                "an authority is trusted, or a certificate shown, and no TLS is spoken: begin with amqps://",
            ));
        }
        self.access.trust.check(CONNECT)
    }

    fn uri(&self) -> Result<AMQPUri> {
        // Its error may repeat the URL, and with it a password.
        let expected = "expected amqp[s]://[user:password@]host[:port][/vhost]";
        let mut uri: AMQPUri = self.access.url.parse().map_err(|_| invalid(expected))?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        Ok(uri)
    }

    /// Connects; a connection that broke does not come back.
    pub(crate) async fn open(&self, name: &'static str) -> Result<Connection> {
        self.check()?;
        let current = self.access.password.follow().await?;
        let outcome = self.open_with(name, current.secret()).await;
        self.access.trust.heard(outcome.as_ref().err()).await;
        if matches!(&outcome, Err(error) if error.kind() == ErrorKind::AuthenticationFailed)
            && current.is_another_after_refusal().await?
        {
            return self.open_with(name, current.secret()).await;
        }
        outcome
    }

    async fn open_with(
        &self,
        name: &'static str,
        secret: Option<Arc<Secret>>,
    ) -> Result<Connection> {
        let mut uri = self.uri()?;
        if let Some(user) = &self.access.user {
            uri.authority.userinfo.username.clone_from(user);
        }
        if let Some(secret) = secret {
            secret
                .expose()
                .clone_into(&mut uri.authority.userinfo.password);
        }
        let connector = match uri.scheme {
            AMQPScheme::AMQPS => Some(self.access.trust.config(CONNECT).await?.into()),
            AMQPScheme::AMQP => None,
        };
        let timeout = self.access.timeout;
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let runtime = lapin::runtime::default_runtime().map_err(|error| {
            Error::new(ErrorKind::Unsupported, CONNECT)
                .with_detail("connect inside a runtime of Tokio")
                .with_source(error)
        })?;
        // The client's own way to speak TLS sets up cryptography for the whole process. And it connects in a thread that
        // outlives who waits for it.
        let connect = async move |mut uri: AMQPUri, runtime| {
            // It is called in the thread that writes the login, and each frame to the log as well.
            leave_frames_out_of_log("lapin");
            let connector: Option<&RustlsConnector> = connector.as_ref();
            let connecting = async {
                uri.scheme = AMQPScheme::AMQP;
                let stream = uri.connect_async(&runtime).await?;
                match connector {
                    Some(connector) => stream.into_rustls(connector, &uri.authority.host).await,
                    None => Ok(stream),
                }
            };
            let connected = tokio::time::timeout(timeout, connecting).await;
            Ok(connected.map_err(io::Error::from)??)
        };
        let opening = Connection::connector(uri, runtime, connect, properties);
        let opened = tokio::time::timeout(self.access.timeout.saturating_mul(2), opening).await;
        let opened =
            opened.map_err(|_| Error::new(ErrorKind::Unavailable, CONNECT).with_detail(SILENT))?;
        opened.map_err(|error| {
            if let Some(cause) = tls::cause(&error) {
                return tls::refused(cause, CONNECT);
            }
            let (kind, detail) = match answer_of(&error) {
                Some(403) => (
                    ErrorKind::AuthenticationFailed,
                    "the server takes neither user nor password: correct the settings",
                ),
                Some(530) => (
                    ErrorKind::InvalidSettings,
                    "the virtual host is not there, or not of the user",
                ),
                _ => (ErrorKind::Unavailable, UNREACHABLE),
            };
            Error::new(kind, CONNECT)
                .with_detail(detail)
                .with_source(error)
        })
    }
}

connection_settings!(RabbitMqConnection);

/// Returns the number by which a server says why it ends a channel or a connection.
pub(crate) fn answer_of(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        LapinKind::ProtocolError(error) => Some(match error.kind() {
            AMQPErrorKind::Soft(soft) => soft.get_id(),
            AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => 530,
            AMQPErrorKind::Hard(hard) => hard.get_id(),
        }),
        _ => None,
    }
}

/// Waits for an answer for so long.
pub(crate) async fn in_time<T>(
    timeout: Duration,
    asking: impl Future<Output = lapin::Result<T>>,
) -> Option<lapin::Result<T>> {
    tokio::time::timeout(timeout, asking).await.ok()
}

fn invalid(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidSettings, CONNECT).with_detail(detail)
}
