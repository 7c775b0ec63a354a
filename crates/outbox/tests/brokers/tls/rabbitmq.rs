//! RabbitMQ.

use std::sync::Arc;
use std::time::Duration;

use tenantry_core::{Result, Secret};
use tenantry_outbox::{
    Consumer, Message, MessageHandler, Publisher, RabbitMqConnection, RabbitMqPublisher,
    RabbitMqSettings, RabbitMqSource,
};
use tenantry_store::async_trait;
use tenantry_testkit::{RabbitMqOptions, RabbitMqServer, ServerCertificate, TestAuthority};

use super::{ADDRESS, Consumed, Encrypted, Shown};
use crate::rabbitmq::{EXCHANGE, GRAVES, QUEUE, channel, make, make_graves, read};
use crate::subject::OnPostgres;

struct OnRabbitMq(RabbitMqServer);

fn connection(url: &str, authorities: &[&str]) -> RabbitMqConnection {
    let connection = RabbitMqConnection::new(url).with_timeout(Duration::from_secs(1));
    authorities.iter().fold(connection, |connection, pem| {
        connection.with_ca_certificate(*pem)
    })
}

fn showing(connection: RabbitMqConnection, shown: Shown) -> RabbitMqConnection {
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

fn settings(connection: RabbitMqConnection) -> RabbitMqSettings {
    let settings = RabbitMqSettings::new(connection, EXCHANGE, "/services/suite");
    assert!(!format!("{settings:?}").contains("://"), "{settings:?}");
    settings.with_queue(QUEUE)
}

#[async_trait]
impl Encrypted for OnRabbitMq {
    const SCHEMES: [&'static str; 2] = ["amqp://", "amqps://"];

    type Server = RabbitMqServer;

    async fn start_bare(certificate: ServerCertificate) -> (RabbitMqServer, String) {
        let options = RabbitMqOptions::default().with_tls(certificate);
        let server = RabbitMqServer::start_with(options).await.unwrap();
        let url = server.tls_url().unwrap();
        (server, url)
    }

    async fn start(authority: &TestAuthority, name: &str) -> Self {
        let (server, _) = Self::start_bare(authority.sign(name).unwrap()).await;
        make(&channel(server.url()).await, QUEUE, true).await;
        Self(server)
    }

    async fn start_asking(authority: &TestAuthority) -> Self {
        let certificate = authority.sign(ADDRESS).unwrap().asking_clients();
        let (server, _) = Self::start_bare(certificate).await;
        make(&channel(server.url()).await, QUEUE, true).await;
        Self(server)
    }

    fn encrypted(&self) -> String {
        self.0.tls_url().unwrap()
    }

    fn unencrypted(&self) -> String {
        self.0.url().replacen("amqp://", "amqps://", 1)
    }

    fn publisher(url: &str, authorities: &[&str]) -> Result<Arc<dyn Publisher>> {
        let settings = settings(connection(url, authorities));
        Ok(Arc::new(RabbitMqPublisher::new(settings)?))
    }

    async fn connect(url: &str, authorities: &[&str]) -> Result<Arc<dyn Publisher>> {
        let settings = settings(connection(url, authorities));
        Ok(Arc::new(RabbitMqPublisher::connect(settings).await?))
    }

    async fn connect_as(
        url: &str,
        authorities: &[&str],
        shown: Shown,
    ) -> Result<Arc<dyn Publisher>> {
        let settings = settings(showing(connection(url, authorities), shown));
        Ok(Arc::new(RabbitMqPublisher::connect(settings).await?))
    }

    async fn got(&self) -> Vec<Message> {
        read(self.0.url(), QUEUE).await
    }

    async fn halt(&self) {
        self.0.pause().await.unwrap();
    }

    async fn restart(&self) {
        self.0.restart().await.unwrap();
    }
}

#[async_trait]
impl Consumed for OnRabbitMq {
    async fn consumer(
        &self,
        authorities: &[&str],
        subject: &OnPostgres,
        handler: Arc<dyn MessageHandler>,
    ) -> Result<Consumer> {
        make_graves(&channel(self.0.url()).await).await;
        let source = RabbitMqSource::new(connection(&self.encrypted(), authorities), QUEUE, GRAVES);
        let settings = crate::consumer::settings();
        Consumer::start_rabbitmq(&subject.store, source, handler, settings).await
    }
}

super::stories!(OnRabbitMq, consumed);
