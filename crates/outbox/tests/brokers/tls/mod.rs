//! Brokers that are reached over TLS: the same stories for each.

mod nats;
mod rabbitmq;
#[cfg(feature = "redis-streams-tls")]
mod redis;

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use tenantry_core::{Error, ErrorKind, Result, TenantId};
use tenantry_outbox::conformance::{publish_patiently, until};
use tenantry_outbox::{Consumer, Message, MessageHandler, NewMessage, Publisher};
use tenantry_store::async_trait;
use tenantry_testkit::TestAuthority;

use crate::consumer::Effects;
use crate::subject::OnPostgres;

/// What certificates are for, if nothing else is said: what the URLs of the test kit name.
const ADDRESS: &str = "127.0.0.1";

/// Long enough for whatever ends, and short enough for what does not.
const PATIENCE: Duration = Duration::from_secs(20);

/// A broker with a certificate, and a port without.
#[async_trait]
pub(crate) trait Encrypted: Sized + Send + Sync {
    /// What a URL begins with, without TLS and with it.
    const SCHEMES: [&'static str; 2];

    /// Starts it with a certificate for a name, and somewhere to send messages to.
    async fn start(authority: &TestAuthority, name: &str) -> Self;

    /// Returns the URL of the port for TLS, by its address.
    fn encrypted(&self) -> String;

    /// Returns that of a port without, with the same scheme.
    fn unencrypted(&self) -> String;

    /// Returns a publisher that has not connected yet.
    fn publisher(url: &str, authorities: &[&str]) -> Result<Arc<dyn Publisher>>;

    /// Connects a publisher.
    async fn connect(url: &str, authorities: &[&str]) -> Result<Arc<dyn Publisher>>;

    /// Returns all that the broker has got.
    async fn got(&self) -> Vec<Message>;

    /// Halts it: it accepts what comes and answers nothing.
    async fn halt(&self);

    /// Starts it again, with somewhere to send messages to.
    async fn restart(&self);
}

/// One with somebody who consumes from it.
#[async_trait]
pub(crate) trait Consumed: Encrypted {
    async fn consumer(
        &self,
        authorities: &[&str],
        subject: &OnPostgres,
        handler: Arc<dyn MessageHandler>,
    ) -> Result<Consumer>;
}

fn messages() -> Vec<Message> {
    let message = |tenant| {
        let at = chrono::DateTime::from_timestamp(5, 0).unwrap();
        let content = NewMessage::new("suite.number", "key")
            .with_payload("text/plain", "x".into())
            .with_occurred_at(at);
        Message::new(tenant, content)
    };
    [TenantId::generate(), TenantId::generate()]
        .map(message)
        .into()
}

fn password(url: &str) -> &str {
    let (login, _) = url.split_once('@').unwrap();
    login.rsplit_once(':').unwrap().1
}

/// Returns why no publisher can be had, and sees that nothing tells the password.
async fn failure<B: Encrypted>(url: &str, authorities: &[&str]) -> Error {
    let connecting = tokio::time::timeout(PATIENCE, B::connect(url, authorities));
    let Err(error) = connecting.await.expect("it hangs") else {
        panic!("connected to {url}");
    };
    assert_silent(&error, password(url));
    error
}

fn assert_silent(error: &Error, secret: &str) {
    let mut told = format!("{error} {error:?}");
    let mut next = error.source();
    while let Some(cause) = next {
        told = format!("{told} {cause} {cause:?}");
        next = cause.source();
    }
    assert!(!told.contains(secret), "{told}");
}

pub(crate) async fn a_message_goes_over_tls<B: Encrypted>() {
    for host in [ADDRESS, "localhost"] {
        let authority = TestAuthority::generate().unwrap();
        let broker = B::start(&authority, host).await;
        let url = broker.encrypted().replace(ADDRESS, host);
        let publisher = B::connect(&url, &[authority.pem()]).await.unwrap();
        let sent = messages();
        for message in &sent {
            let one = std::slice::from_ref(message);
            publisher.publish(one).await.unwrap();
        }
        assert_eq!(broker.got().await, sent);
    }
    let provider = rustls::crypto::CryptoProvider::get_default();
    assert!(
        provider.is_none(),
        "nothing is set up for the whole process"
    );
}

pub(crate) async fn who_is_not_trusted_is_told_so<B: Encrypted>() {
    let authority = TestAuthority::generate().unwrap();
    let stranger = TestAuthority::generate().unwrap();
    let broker = B::start(&authority, ADDRESS).await;
    let url = broker.encrypted();
    for authorities in [&[][..], &[stranger.pem()]] {
        let error = failure::<B>(&url, authorities).await;
        assert_eq!(error.kind(), ErrorKind::TlsFailed, "{error:?}");
        assert!(!error.is_retryable());
        assert!(error.detail().contains("with_ca_certificate"), "{error:?}");

        // A worker hears of it as well.
        let publisher = B::publisher(&url, authorities).unwrap();
        let sent = messages();
        let publishing = publisher.publish(&sent);
        let publishing = tokio::time::timeout(PATIENCE, publishing).await;
        let stopped = publishing.expect("it hangs").unwrap_err();
        let told = stopped.error.detail();
        assert!(told.contains("with_ca_certificate"), "{stopped:?}");
    }
    assert!(broker.got().await.is_empty());
}

pub(crate) async fn a_certificate_for_another_name_is_told_of<B: Encrypted>() {
    let authority = TestAuthority::generate().unwrap();
    let broker = B::start(&authority, "localhost").await;
    let error = failure::<B>(&broker.encrypted(), &[authority.pem()]).await;
    assert_eq!(error.kind(), ErrorKind::TlsFailed, "{error:?}");
    assert!(error.detail().contains("another name"), "{error:?}");
    assert!(broker.got().await.is_empty());
}

/// Where one side speaks TLS and the other does not, neither waits for the other for long.
pub(crate) async fn who_alone_speaks_tls_is_told_so<B: Encrypted>() {
    let authority = TestAuthority::generate().unwrap();
    let broker = B::start(&authority, ADDRESS).await;
    let error = failure::<B>(&broker.unencrypted(), &[authority.pem()]).await;
    let kinds = [ErrorKind::TlsFailed, ErrorKind::Unavailable];
    assert!(kinds.contains(&error.kind()), "{error:?}");
    assert!(error.detail().contains("TLS"), "{error:?}");

    let [plain, tls] = B::SCHEMES;
    let error = failure::<B>(&broker.encrypted().replacen(tls, plain, 1), &[]).await;
    assert!(kinds.contains(&error.kind()), "{error:?}");
    assert!(error.detail().contains("TLS"), "{error:?}");
    assert!(broker.got().await.is_empty());
}

/// Its connections stand, and nobody begins TLS.
pub(crate) async fn a_server_that_does_not_answer_is_not_waited_for<B: Encrypted>() {
    let authority = TestAuthority::generate().unwrap();
    let broker = B::start(&authority, ADDRESS).await;
    broker.halt().await;
    let error = failure::<B>(&broker.encrypted(), &[authority.pem()]).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}

pub(crate) async fn what_broke_comes_back_over_tls<B: Encrypted>() {
    let authority = TestAuthority::generate().unwrap();
    let broker = B::start(&authority, ADDRESS).await;
    let publisher = B::connect(&broker.encrypted(), &[authority.pem()]).await;
    let publisher = publisher.unwrap();
    publisher.publish(&messages()).await.unwrap();
    broker.restart().await;
    let sent = messages();
    publish_patiently(&*publisher, &sent).await;
    assert!(broker.got().await.ends_with(&sent));
}

pub(crate) fn settings_that_would_not_protect_are_refused<B: Encrypted>() {
    let authority = TestAuthority::generate().unwrap();
    let [plain, tls] = B::SCHEMES.map(|scheme| format!("{scheme}tests:hunter2@localhost:1"));
    for (url, authorities) in [
        (&tls, ["hunter2"]),
        (&tls, ["-----BEGIN CERTIFICATE-----\nhunter2"]),
        (
            &tls,
            ["-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"],
        ),
        (&plain, [authority.pem()]),
    ] {
        let Err(error) = B::publisher(url, &authorities) else {
            panic!("a publisher that trusts {authorities:?}");
        };
        assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error:?}");
        assert_silent(&error, "hunter2");
    }
}

/// What stands in PEM and is no certificate is found when it is first looked at.
pub(crate) async fn what_is_no_certificate_is_trusted_by_nobody<B: Encrypted>() {
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
    let url = format!("{}tests:hunter2@localhost:1", B::SCHEMES[1]);
    let error = failure::<B>(&url, &[pem]).await;
    assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error:?}");
}

pub(crate) async fn what_was_sent_over_tls_is_handled<B: Consumed>() {
    let subject = OnPostgres::open().await;
    let authority = TestAuthority::generate().unwrap();
    let broker = B::start(&authority, ADDRESS).await;
    let effects = Arc::new(Effects::default());
    let consume = async |authorities: &[&str]| {
        let handler: Arc<dyn MessageHandler> = Arc::<Effects>::clone(&effects);
        let consuming = broker.consumer(authorities, &subject, handler);
        let consuming = tokio::time::timeout(PATIENCE, consuming).await;
        consuming.expect("it hangs")
    };
    let error = consume(&[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TlsFailed, "{error:?}");
    assert_silent(&error, password(&broker.encrypted()));

    let consumer = consume(&[authority.pem()]).await.unwrap();
    let publisher = B::connect(&broker.encrypted(), &[authority.pem()]).await;
    publisher.unwrap().publish(&messages()).await.unwrap();
    until("all are handled", || effects.count() == 2).await;
    consumer.stop().await.unwrap();
}

/// Makes a test of each story.
macro_rules! stories {
    ($broker:ty) => {
        crate::tls::stories! {
            @tests $broker;
            a_message_goes_over_tls,
            who_is_not_trusted_is_told_so,
            a_certificate_for_another_name_is_told_of,
            who_alone_speaks_tls_is_told_so,
            a_server_that_does_not_answer_is_not_waited_for,
            what_broke_comes_back_over_tls,
            what_is_no_certificate_is_trusted_by_nobody,
        }

        #[test]
        fn settings_that_would_not_protect_are_refused() {
            crate::tls::settings_that_would_not_protect_are_refused::<$broker>();
        }
    };
    ($broker:ty, consumed) => {
        crate::tls::stories! { $broker }

        crate::tls::stories! { @tests $broker; what_was_sent_over_tls_is_handled, }
    };
    (@tests $broker:ty; $($case:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            crate::tls::$case::<$broker>().await;
        }
    )*};
}
pub(crate) use stories;
