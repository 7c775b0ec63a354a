//! A stream of a Redis.

use std::sync::Arc;
use std::time::Duration;

use tenantry_core::{ErrorKind, Result};
use tenantry_outbox::{
    Message, Publisher, RedisConnection, RedisDurability, RedisStreamsPublisher,
    RedisStreamsSettings,
};
use tenantry_store::async_trait;
use tenantry_testkit::{RedisOptions, RedisServer, TestAuthority};

use super::{ADDRESS, Encrypted, assert_silent, failure};
use crate::redis_streams::{STREAM, make, read};

struct OnRedis(RedisServer);

impl OnRedis {
    async fn start_with(authority: &TestAuthority, name: &str, options: RedisOptions) -> Self {
        let options = options.with_tls(authority.sign(name).unwrap());
        let server = RedisServer::start_with(options).await.unwrap();
        make(&server).await;
        Self(server)
    }
}

fn settings(url: &str, authorities: &[&str]) -> RedisStreamsSettings {
    let connection = RedisConnection::new(url).with_timeout(Duration::from_secs(1));
    let connection = authorities.iter().fold(connection, |connection, pem| {
        connection.with_ca_certificate(*pem)
    });
    let settings = RedisStreamsSettings::new(connection, STREAM, "/services/suite");
    assert!(!format!("{settings:?}").contains("://"), "{settings:?}");
    settings.with_durability(RedisDurability::Memory)
}

#[async_trait]
impl Encrypted for OnRedis {
    const SCHEMES: [&'static str; 2] = ["redis://", "rediss://"];

    async fn start(authority: &TestAuthority, name: &str) -> Self {
        Self::start_with(authority, name, RedisOptions::default()).await
    }

    fn encrypted(&self) -> String {
        self.0.tls_url().unwrap()
    }

    fn unencrypted(&self) -> String {
        self.0.url().replacen("redis://", "rediss://", 1)
    }

    fn publisher(url: &str, authorities: &[&str]) -> Result<Arc<dyn Publisher>> {
        let settings = settings(url, authorities);
        Ok(Arc::new(RedisStreamsPublisher::new(settings)?))
    }

    async fn connect(url: &str, authorities: &[&str]) -> Result<Arc<dyn Publisher>> {
        let connected = RedisStreamsPublisher::connect(settings(url, authorities)).await;
        Ok(Arc::new(connected?))
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

/// TLS seems to stand before the server says no.
#[tokio::test]
async fn a_server_that_asks_for_certificates_of_its_clients_is_told_of() {
    let authority = TestAuthority::generate().unwrap();
    let options = RedisOptions::default().with_setting("tls-auth-clients", "yes");
    let broker = OnRedis::start_with(&authority, ADDRESS, options).await;
    let error = failure::<OnRedis>(&broker.encrypted(), &[authority.pem()]).await;
    assert_eq!(error.kind(), ErrorKind::TlsFailed, "{error:?}");
    assert!(
        error.detail().contains("certificate of its clients"),
        "{error:?}"
    );
}

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
