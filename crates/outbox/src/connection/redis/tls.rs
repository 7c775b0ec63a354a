//! Connections over TLS.
//!
//! The driver takes whichever cryptography the process has set up, and panics where there are two and none
//! is set up. So the stream is made here and handed to it.

use std::io;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError};
use rustls::pki_types::ServerName;
use tenantry_core::{Error, ErrorKind, Result};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{CONNECT, invalid};
use crate::connection::{UNREACHABLE, tls};

pub(super) use crate::connection::tls::Trust;

/// A server that is reached over TLS.
pub(super) struct Tls {
    host: String,
    port: u16,
    name: ServerName<'static>,
    trust: Trust,
}

impl Tls {
    pub(super) fn new(host: &str, port: u16, trust: &Trust) -> Result<Self> {
        trust.check(CONNECT)?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| invalid("the host is no name that a certificate could be for"))?;
        Ok(Self {
            host: host.to_owned(),
            port,
            name,
            trust: trust.clone(),
        })
    }

    /// Connects; within, what the server says of the login.
    pub(super) async fn open(
        &self,
        login: &RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> Result<std::result::Result<MultiplexedConnection, RedisError>> {
        let opened = self.open_once(login, config).await;
        self.trust.heard(opened.as_ref().err()).await;
        opened
    }

    async fn open_once(
        &self,
        login: &RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> Result<std::result::Result<MultiplexedConnection, RedisError>> {
        let connector = TlsConnector::from(Arc::new(self.trust.config(CONNECT).await?));
        let stream = self.stream(&connector).await?;
        match MultiplexedConnection::new_with_config(login, stream, config).await {
            Ok((connection, driver)) => {
                // It ends when the connection is let go of.
                tokio::spawn(driver);
                Ok(Ok(connection))
            }
            // It may be refused after it seemed to stand.
            Err(error) => match tls::cause(&error) {
                Some(cause) => Err(tls::refused(cause, CONNECT)),
                None => Ok(Err(error)),
            },
        }
    }

    async fn stream(&self, connector: &TlsConnector) -> Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect((&*self.host, self.port)).await;
        let stream = stream.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let stream = connector.connect(self.name.clone(), stream).await;
        stream.map_err(|error| match tls::cause(&error) {
            Some(cause) => tls::refused(cause, CONNECT),
            None => unreachable(error),
        })
    }
}

fn unreachable(cause: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, CONNECT)
        .with_detail(UNREACHABLE)
        .with_source(cause)
}
