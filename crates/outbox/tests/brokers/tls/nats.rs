//! NATS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tenantry_core::{ErrorKind, Result, Secret};
use tenantry_outbox::{
    Consumer, Message, MessageHandler, NatsConnection, NatsPublisher, NatsSettings, NatsSource,
    PublishReason, Publisher,
};
use tenantry_store::async_trait;
use tenantry_testkit::{
    ClientCertificate, NatsOptions, NatsServer, ServerCertificate, StopMode, TestAuthority,
};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{ADDRESS, Consumed, Encrypted, Shown, assert_silent, failure, messages};
use crate::nats::{STREAM, good, jetstream_with, make_graves, read_by};
use crate::subject::OnPostgres;

struct OnNats {
    server: NatsServer,
    plain: NatsServer,
    context: jetstream::Context,
}

fn connection(url: &str, authorities: &[&str]) -> NatsConnection {
    let connection = NatsConnection::new(url).with_timeout(Duration::from_secs(1));
    authorities.iter().fold(connection, |connection, pem| {
        connection.with_ca_certificate(*pem)
    })
}

fn showing(connection: NatsConnection, shown: Shown) -> NatsConnection {
    match shown {
        Shown::Given(certificate, key) => {
            connection.with_client_certificate(certificate, Secret::new(key))
        }
        Shown::From(vault) => {
            let [certificate, key] = vault.references();
            connection.with_client_certificate_from(vault, certificate, key)
        }
    }
}

fn settings(connection: NatsConnection) -> NatsSettings {
    let settings = NatsSettings::new(connection, STREAM, "/services/suite");
    assert!(!format!("{settings:?}").contains("://"), "{settings:?}");
    settings
}

/// Whoever looks after the stream, in an own way.
async fn administrator(
    url: &str,
    authority: &TestAuthority,
    shows: Option<ClientCertificate>,
) -> jetstream::Context {
    let mut roots = rustls::RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
    roots.add(certificate).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match shows {
        None => config.with_no_client_auth(),
        Some(shown) => {
            let certificate = CertificateDer::from_pem_slice(shown.certificate().as_bytes());
            let key = PrivateKeyDer::from_pem_slice(shown.key().as_bytes());
            let chain = vec![certificate.unwrap()];
            config.with_client_auth_cert(chain, key.unwrap()).unwrap()
        }
    };
    let options = async_nats::ConnectOptions::new().tls_client_config(config);
    jetstream_with(url, options).await
}

impl OnNats {
    async fn with(server: NatsServer, context: jetstream::Context) -> Self {
        context.create_stream(good()).await.unwrap();
        Self {
            server,
            plain: NatsServer::start().await.unwrap(),
            context,
        }
    }
}

#[async_trait]
impl Encrypted for OnNats {
    const SCHEMES: [&'static str; 2] = ["nats://", "tls://"];

    type Server = NatsServer;

    async fn start_bare(certificate: ServerCertificate) -> (NatsServer, String) {
        let options = NatsOptions::default().with_tls(certificate);
        let server = NatsServer::start_with(options).await.unwrap();
        let url = server.url().to_owned();
        (server, url)
    }

    async fn start(authority: &TestAuthority, name: &str) -> Self {
        let (server, url) = Self::start_bare(authority.sign(name).unwrap()).await;
        let context = administrator(&url.replace(ADDRESS, name), authority, None).await;
        Self::with(server, context).await
    }

    async fn start_asking(authority: &TestAuthority) -> Self {
        let certificate = authority.sign(ADDRESS).unwrap().asking_clients();
        let (server, url) = Self::start_bare(certificate).await;
        let shown = authority.sign_client("administrator").unwrap();
        let context = administrator(&url, authority, Some(shown)).await;
        Self::with(server, context).await
    }

    fn encrypted(&self) -> String {
        self.server.url().to_owned()
    }

    fn unencrypted(&self) -> String {
        self.plain.url().replacen("nats://", "tls://", 1)
    }

    fn publisher(url: &str, authorities: &[&str]) -> Result<Arc<dyn Publisher>> {
        let settings = settings(connection(url, authorities));
        Ok(Arc::new(NatsPublisher::new(settings)?))
    }

    async fn connect(url: &str, authorities: &[&str]) -> Result<Arc<dyn Publisher>> {
        let connected = NatsPublisher::connect(settings(connection(url, authorities))).await;
        Ok(Arc::new(connected?))
    }

    async fn connect_as(
        url: &str,
        authorities: &[&str],
        shown: Shown,
    ) -> Result<Arc<dyn Publisher>> {
        let connection = showing(connection(url, authorities), shown);
        let connected = NatsPublisher::connect(settings(connection)).await;
        Ok(Arc::new(connected?))
    }

    async fn got(&self) -> Vec<Message> {
        read_by(&self.context, STREAM).await
    }

    async fn halt(&self) {
        self.server.pause().await.unwrap();
    }

    async fn restart(&self) {
        self.server.restart().await.unwrap();
        // The administrator has to come back as well.
        while self.context.get_stream(STREAM).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[async_trait]
impl Consumed for OnNats {
    async fn consumer(
        &self,
        authorities: &[&str],
        subject: &OnPostgres,
        handler: Arc<dyn MessageHandler>,
    ) -> Result<Consumer> {
        make_graves(&self.context).await;
        let source = NatsSource::new(connection(self.server.url(), authorities), STREAM, "dead");
        let settings = crate::consumer::settings();
        Consumer::start_nats(&subject.store, source, handler, settings).await
    }
}

super::stories!(OnNats, consumed);

/// A token stands where a user would.
#[tokio::test]
async fn a_token_is_told_to_nobody() {
    let authority = TestAuthority::generate().unwrap();
    let broker = OnNats::start(&authority, ADDRESS).await;
    let address = broker.server.address();
    for (url, authorities, kind) in [
        (
            format!("tls://hunter2@{address}"),
            &[][..],
            ErrorKind::TlsFailed,
        ),
        (
            format!("nats://hunter2@{address}"),
            &[],
            ErrorKind::TlsFailed,
        ),
        // It asks for a user.
        (
            format!("tls://hunter2@{address}"),
            &[authority.pem()],
            ErrorKind::AuthenticationFailed,
        ),
    ] {
        let error = OnNats::connect(&url, authorities).await.err().unwrap();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert_silent(&error, "hunter2");
    }
}

/// It would be encrypted for a server whose certificate nobody asked for.
#[tokio::test]
async fn a_server_that_asks_for_tls_is_not_given_it_unasked() {
    let authority = TestAuthority::generate().unwrap();
    let broker = OnNats::start(&authority, ADDRESS).await;
    let url = broker.server.url().replacen("tls://", "nats://", 1);
    let error = failure::<OnNats>(&url, &[]).await;
    assert_eq!(error.kind(), ErrorKind::TlsFailed, "{error:?}");
    assert!(error.detail().contains("tls://"), "{error:?}");
}

/// The server tells of it without a scheme, and the client tries it when the first one is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_the_cluster_that_speaks_no_tls_hears_no_password() {
    let authority = TestAuthority::generate().unwrap();
    let certificate = authority.sign(ADDRESS).unwrap();
    // Given back at once.
    let [one, two] = [(); 2].map(|()| {
        let listener = std::net::TcpListener::bind((ADDRESS, 0)).unwrap();
        listener.local_addr().unwrap()
    });
    let network = TcpListener::bind((ADDRESS, 0)).await.unwrap();
    let advertised = network.local_addr().unwrap().to_string();
    let cluster = |own: SocketAddr, other: SocketAddr| {
        let cluster =
            format!("{{ name: suite, listen: \"{own}\", routes: [ \"nats://{other}\" ] }}");
        NatsOptions::default().with_setting("cluster", &cluster)
    };
    let server = cluster(one, two).with_tls(certificate);
    let server = NatsServer::start_with(server).await.unwrap();
    let plain = cluster(two, one).with_setting("client_advertise", &format!("\"{advertised}\""));
    let plain = NatsServer::start_with(plain).await.unwrap();
    while !greeting(&server.address()).await.contains(&advertised) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let publisher = OnNats::publisher(server.url(), &[authority.pem()]).unwrap();
    let error = publisher.publish(&messages()).await.unwrap_err().error;
    assert_ne!(
        error.reason(),
        Some(PublishReason::Disconnected),
        "{error:?}"
    );
    server.stop(StopMode::Immediate).await.unwrap();
    let (mut client, _) = network.accept().await.unwrap();
    let greeting = greeting(&plain.address()).await;
    client.write_all(greeting.as_bytes()).await.unwrap();
    let handshake_of_tls = 22;
    assert_eq!(client.read_u8().await.unwrap(), handshake_of_tls);
}

/// What a server says of itself before anything else.
async fn greeting(address: &str) -> String {
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    line
}
