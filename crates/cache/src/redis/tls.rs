//! Connections over TLS.
//!
//! The driver takes whichever cryptography the process has set up, and panics where there are two and none
//! is set up. So the stream is made here, by ring and what the system trusts, and handed to it.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError};
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;
use tenantry_core::{Error, ErrorKind, Result};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connection::CONNECT;
use super::error::error;

/// A server that is reached over TLS.
pub(super) struct Tls {
    host: Box<str>,
    port: u16,
    name: ServerName<'static>,
    connector: TlsConnector,
}

impl Tls {
    pub(super) fn new(host: &str, port: u16, authorities: &[String]) -> Result<Self> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| invalid("the host is no name that a certificate could be for"))?;
        Ok(Self {
            host: host.into(),
            port,
            name,
            connector: TlsConnector::from(Arc::new(config(authorities)?)),
        })
    }

    pub(super) async fn connection(
        &self,
        login: &RedisConnectionInfo,
        config: AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection> {
        let stream = self.stream().await?;
        let opened = MultiplexedConnection::new_with_config(login, stream, config).await;
        let (connection, driver) = opened.map_err(|cause| failed(&cause))?;
        // It ends when the connection is let go of.
        tokio::spawn(driver);
        Ok(connection)
    }

    pub(super) async fn messages(&self, login: &RedisConnectionInfo) -> Result<PubSub> {
        let stream = self.stream().await?;
        let opened = PubSub::new(login, stream).await;
        opened.map_err(|cause| failed(&cause))
    }

    async fn stream(&self) -> Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect((&*self.host, self.port)).await;
        let stream = stream.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let stream = self.connector.connect(self.name.clone(), stream).await;
        stream.map_err(|cause| match of_tls(&cause) {
            Some(cause) => refused(cause),
            None => unreachable(cause),
        })
    }
}

/// Returns TLS with ring, the same whichever providers are in the build.
fn config(authorities: &[String]) -> Result<ClientConfig> {
    let mut trusted = Vec::new();
    for pem in authorities {
        let before = trusted.len();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            trusted.push(certificate.map_err(|_| invalid("a certificate is no PEM"))?);
        }
        if trusted.len() == before {
            return Err(invalid("a text holds no certificate in PEM"));
        }
    }
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier::new_with_extra_roots(trusted, Arc::clone(&provider));
    let verifier = verifier.map_err(|cause| {
        invalid(
            "the certificates to trust cannot be read: install those of the system, or correct the one \
             given",
        )
        .with_source(cause)
    })?;
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| invalid("TLS cannot be set up").with_source(cause))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

fn invalid(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidSettings, CONNECT).with_detail(detail)
}

fn unreachable(cause: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, CONNECT)
        .with_detail("the server does not answer: see that it runs and can be reached")
        .with_source(cause)
}

fn refused(cause: &rustls::Error) -> Error {
    let detail = match cause {
        rustls::Error::InvalidCertificate(_) => {
            "the server's certificate is not trusted: name the host that it is for, and trust its authority by \
             with_ca_certificate"
        }
        rustls::Error::AlertReceived(_) => {
            "the server refuses the connection: does it ask for a certificate of its clients \
             (tls-auth-clients)?"
        }
        _ => "the server does not speak TLS as it should: is it the port for TLS?",
    };
    Error::new(ErrorKind::TlsFailed, CONNECT)
        .with_detail(detail)
        .with_source(cause.clone())
}

/// Turns what the first calls failed with into an error: TLS may be refused after it seemed to stand.
fn failed(cause: &RedisError) -> Error {
    let source = cause.source();
    let shared = source.and_then(|it| it.downcast_ref::<Arc<dyn StdError + Send + Sync>>());
    let of_io = shared.and_then(|it| it.downcast_ref::<io::Error>());
    match of_io.and_then(of_tls) {
        Some(cause) => refused(cause),
        None => error(CONNECT, cause),
    }
}

fn of_tls(cause: &io::Error) -> Option<&rustls::Error> {
    cause.get_ref()?.downcast_ref()
}
