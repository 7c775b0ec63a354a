//! Servers that are reached over TLS.

use tenantry_cache::{Cache, RateLimiter, RedisLimits, RedisSettings, Rule};
use tenantry_core::{ErrorKind, TenantId};
use tenantry_testkit::{RedisOptions, RedisServer, TestAuthority};

use super::{Nodes, SEVEN, until};

/// A server with a certificate, and who vouches for it.
struct Encrypted {
    server: RedisServer,
    authority: TestAuthority,
}

impl Encrypted {
    /// Starts one whose certificate is for a name, and which asks for those of its clients or not.
    async fn start(name: &str, asks_clients: &str) -> Self {
        let authority = TestAuthority::generate().unwrap();
        let options = RedisOptions::default()
            .with_tls(authority.sign(name).unwrap())
            .with_setting("tls-auth-clients", asks_clients);
        Self {
            server: RedisServer::start_with(options).await.unwrap(),
            authority,
        }
    }

    fn url(&self, host: &str) -> String {
        self.server.tls_url().unwrap().replace("127.0.0.1", host)
    }
}

/// Returns how a call that needs the server fails.
async fn failure(settings: &RedisSettings) -> tenantry_core::Error {
    let cache = Cache::builder().with_redis(settings).unwrap();
    let tenant = cache.build().unwrap().tenant(TenantId::generate());
    let error = tenant.flush().await.unwrap_err();
    let told = format!("{error:?} {settings:?}");
    assert!(!told.contains("rediss://:"), "{told}");
    error
}

/// Returns why a connection could not be made, as an invalidation tells it.
fn cause(error: &tenantry_core::Error) -> String {
    std::error::Error::source(error).unwrap().to_string()
}

#[tokio::test]
async fn all_that_there_is_goes_over_tls() {
    for (name, host) in [("localhost", "localhost"), ("127.0.0.1", "127.0.0.1")] {
        let encrypted = Encrypted::start(name, "no").await;
        let settings =
            RedisSettings::new(encrypted.url(host)).with_ca_certificate(encrypted.authority.pem());
        let plain = Nodes::at(encrypted.server.url(), 1).await;
        let one = plain.nodes[0].another(&settings.clone().with_prefix(&plain.prefix));
        let other = plain.nodes[0].another(&settings.clone().with_prefix(&plain.prefix));
        assert_eq!(one.text(SEVEN).await, "one");
        until(|| other.is_known(SEVEN)).await;
        // Kept in the process, and heard to be over by way of the server.
        other.until_sure().await;
        assert_eq!(other.text(SEVEN).await, "one");
        plain.source.set("two");
        one.tenant.invalidate(&one.kind, "7").await.unwrap();
        until(|| async { other.text(SEVEN).await == "two" }).await;

        let limits = std::sync::Arc::new(RedisLimits::new(&settings).unwrap());
        let limiter = RateLimiter::new(limits).tenant(TenantId::generate());
        let rule = Rule::new("rule", 1, std::time::Duration::from_secs(9)).unwrap();
        let taken = limiter.take(&[rule.limit("")], 1).await.unwrap();
        assert!(taken.failure().is_none(), "{:?}", taken.failure());
    }
    let default = rustls::crypto::CryptoProvider::get_default();
    assert!(default.is_none(), "nothing is set up for the whole process");
}

#[tokio::test]
async fn who_is_not_trusted_is_told_so() {
    let encrypted = Encrypted::start("localhost", "no").await;
    let stranger = TestAuthority::generate().unwrap();
    let url = encrypted.url("localhost");
    let of_another_name = RedisSettings::new(encrypted.url("127.0.0.1"))
        .with_ca_certificate(encrypted.authority.pem());
    for settings in [
        RedisSettings::new(&*url),
        RedisSettings::new(&*url).with_ca_certificate(stranger.pem()),
        of_another_name,
    ] {
        let error = failure(&settings).await;
        assert_eq!(error.kind(), ErrorKind::TlsFailed, "{error:?}");
        assert!(!error.is_retryable());
        assert!(cause(&error).contains("with_ca_certificate"), "{error:?}");
    }
    // And the cache is done without.
    let node = &Nodes::at(&url, 1).await.nodes[0];
    assert_eq!(node.text(SEVEN).await, "one");
}

#[tokio::test]
async fn what_is_no_tls_as_expected_is_told_by_its_kind() {
    let encrypted = Encrypted::start("localhost", "yes").await;
    let trusting =
        |url: String| RedisSettings::new(url).with_ca_certificate(encrypted.authority.pem());
    let error = failure(&trusting(encrypted.url("localhost"))).await;
    assert_eq!(error.kind(), ErrorKind::TlsFailed, "{error:?}");
    assert!(cause(&error).contains("tls-auth-clients"), "{error:?}");

    let plain = encrypted.server.url().replace("redis://", "rediss://");
    let error = failure(&trusting(plain)).await;
    let kinds = [ErrorKind::TlsFailed, ErrorKind::Unavailable];
    assert!(kinds.contains(&error.kind()), "{error:?}");

    let unspoken = encrypted.url("127.0.0.1").replace("rediss://", "redis://");
    let error = failure(&RedisSettings::new(unspoken)).await;
    assert_ne!(error.kind(), ErrorKind::TlsFailed, "{error:?}");

    let nobody = trusting("rediss://127.0.0.1:1".to_owned());
    assert_eq!(failure(&nobody).await.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn settings_that_would_not_protect_are_refused() {
    let authority = TestAuthority::generate().unwrap();
    let url = "rediss://localhost";
    for settings in [
        RedisSettings::new("rediss://localhost/#insecure"),
        RedisSettings::new(url).with_ca_certificate("hunter2"),
        RedisSettings::new(url).with_ca_certificate("-----BEGIN CERTIFICATE-----\nhunter2"),
        RedisSettings::new("redis://localhost").with_ca_certificate(authority.pem()),
    ] {
        let error = Cache::builder().with_redis(&settings).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error:?}");
        assert!(!format!("{error:?} {settings:?}").contains("hunter2"));
    }
}
