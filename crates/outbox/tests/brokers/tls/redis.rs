//! A stream of a Redis.

use std::sync::Arc;
use std::time::Duration;

use tenantry_core::{ErrorKind, Result, Secret};
use tenantry_outbox::{
    Message, Publisher, RedisConnection, RedisDurability, RedisStreamsPublisher,
    RedisStreamsSettings,
};
use tenantry_store::async_trait;
use tenantry_testkit::{RedisOptions, RedisServer, ServerCertificate, TestAuthority};

use super::{ADDRESS, Encrypted, Shown, assert_silent, failure};
use crate::redis_streams::{STREAM, make, read};

struct OnRedis(RedisServer);

fn connection(url: &str, authorities: &[&str]) -> RedisConnection {
    let connection = RedisConnection::new(url).with_timeout(Duration::from_secs(1));
    authorities.iter().fold(connection, |connection, pem| {
        connection.with_ca_certificate(*pem)
    })
}

fn showing(connection: RedisConnection, shown: Shown) -> RedisConnection {
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

fn settings(connection: RedisConnection) -> RedisStreamsSettings {
    let settings = RedisStreamsSettings::new(connection, STREAM, "/services/suite");
    assert!(!format!("{settings:?}").contains("://"), "{settings:?}");
    settings.with_durability(RedisDurability::Memory)
}

#[async_trait]
impl Encrypted for OnRedis {
    const SCHEMES: [&'static str; 2] = ["redis://", "rediss://"];

    type Server = RedisServer;

    async fn start_bare(certificate: ServerCertificate) -> (RedisServer, String) {
        let options = RedisOptions::default().with_tls(certificate);
        let server = RedisServer::start_with(options).await.unwrap();
        let url = server.tls_url().unwrap();
        (server, url)
    }

    async fn start(authority: &TestAuthority, name: &str) -> Self {
        let (server, _) = Self::start_bare(authority.sign(name).unwrap()).await;
        make(&server).await;
        Self(server)
    }

    async fn start_asking(authority: &TestAuthority) -> Self {
        let certificate = authority.sign(ADDRESS).unwrap().asking_clients();
        let (server, _) = Self::start_bare(certificate).await;
        make(&server).await;
        Self(server)
    }

    fn encrypted(&self) -> String {
        self.0.tls_url().unwrap()
    }

    fn unencrypted(&self) -> String {
        self.0.url().replacen("redis://", "rediss://", 1)
    }

    fn publisher(url: &str, authorities: &[&str]) -> Result<Arc<dyn Publisher>> {
        let settings = settings(connection(url, authorities));
        Ok(Arc::new(RedisStreamsPublisher::new(settings)?))
    }

    async fn connect(url: &str, authorities: &[&str]) -> Result<Arc<dyn Publisher>> {
        let settings = settings(connection(url, authorities));
        Ok(Arc::new(RedisStreamsPublisher::connect(settings).await?))
    }

    async fn connect_as(
        url: &str,
        authorities: &[&str],
        shown: Shown,
    ) -> Result<Arc<dyn Publisher>> {
        let settings = settings(showing(connection(url, authorities), shown));
        Ok(Arc::new(RedisStreamsPublisher::connect(settings).await?))
    }

    async fn got(&self) -> Vec<Message> {
        read(self.0.url()).await
    }

    async fn halt(&self) {
        self.0.pause().await.unwrap();
    }

    async fn restart(&self) {
        self.0.restart().await.unwrap();
        make(&self.0).await;
    }
}

super::stories!(OnRedis);

#[tokio::test]
async fn a_login_that_is_refused_over_tls_is_no_failure_of_tls() {
    let authority = TestAuthority::generate().unwrap();
    let broker = OnRedis::start(&authority, ADDRESS).await;
    let url = broker.encrypted();
    let (_, address) = url.split_once('@').unwrap();
    let url = format!("rediss://:hunter2@{address}");
    let error = failure::<OnRedis>(&url, &[authority.pem()]).await;
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{error:?}");
}

#[test]
fn a_server_whose_certificate_is_not_looked_at_is_refused() {
    let url = "rediss://:hunter2@localhost/#insecure";
    let error = OnRedis::publisher(url, &[]).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error:?}");
    assert_silent(&error, "hunter2");
}
