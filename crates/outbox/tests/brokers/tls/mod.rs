//! Brokers that are reached over TLS: the same stories for each.

mod nats;
mod rabbitmq;
#[cfg(feature = "redis-streams-tls")]
mod redis;

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tenantry_core::{
    Error, ErrorKind, Result, Secret, SecretGeneration, SecretGenerations, SecretReference,
    SecretResolver, SecretSource, SecretWatch, TenantId,
};
use tenantry_outbox::conformance::{publish_patiently, until};
use tenantry_outbox::{Consumer, Message, MessageHandler, NewMessage, Publisher};
use tenantry_store::async_trait;
use tenantry_testkit::{ClientCertificate, ServerCertificate, TestAuthority};

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

    type Server: Send;

    /// Starts one with nowhere to send messages to, and returns its URL.
    async fn start_bare(certificate: ServerCertificate) -> (Self::Server, String);

    /// Starts it with somewhere to send messages to; it asks its clients for certificates of the authority.
    async fn start_asking(authority: &TestAuthority) -> Self;

    /// Connects a publisher that shows something of itself.
    async fn connect_as(
        url: &str,
        authorities: &[&str],
        shown: Shown,
    ) -> Result<Arc<dyn Publisher>>;

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

/// What a client shows of itself.
#[derive(Clone)]
pub(crate) enum Shown {
    Given(String, String),
    From(Arc<Vault>),
}

impl Shown {
    fn given(client: &ClientCertificate) -> Self {
        Self::Given(client.certificate().to_owned(), client.key().to_owned())
    }
}

/// Has a certificate and its key, which are changed by hand.
#[derive(Debug)]
pub(crate) struct Vault {
    certificate: Arc<Kept>,
    key: Arc<Kept>,
}

#[derive(Debug)]
struct Kept {
    reference: SecretReference,
    current: Mutex<SecretGeneration>,
}

impl Kept {
    fn new(reference: &str, text: &str) -> Arc<Self> {
        Arc::new(Self {
            reference: reference.parse().unwrap(),
            current: Mutex::new(SecretGeneration::new(0, None, Arc::new(Secret::new(text)))),
        })
    }

    fn put(&self, text: &str) {
        let mut current = self.current.lock();
        let number = current.number() + 1;
        *current = SecretGeneration::new(number, None, Arc::new(Secret::new(text)));
    }
}

impl Vault {
    fn of(client: &ClientCertificate) -> Arc<Self> {
        Arc::new(Self {
            certificate: Kept::new("env:CERTIFICATE", client.certificate()),
            key: Kept::new("env:KEY", client.key()),
        })
    }

    pub(crate) fn references(&self) -> [SecretReference; 2] {
        [&self.certificate, &self.key].map(|kept| kept.reference.clone())
    }

    fn put(&self, client: &ClientCertificate) {
        self.certificate.put(client.certificate());
        self.key.put(client.key());
    }

    fn kept(&self, reference: &SecretReference) -> &Arc<Kept> {
        let kept = [&self.certificate, &self.key];
        kept.into_iter()
            .find(|it| it.reference == *reference)
            .unwrap()
    }
}

#[async_trait]
impl SecretWatch for Kept {
    fn reference(&self) -> &SecretReference {
        &self.reference
    }

    fn generations(&self) -> SecretGenerations {
        SecretGenerations {
            current: self.current.lock().clone(),
            previous: None,
        }
    }

    async fn changed_from(&self, number: u64) -> SecretGenerations {
        while self.current.lock().number() == number {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.generations()
    }

    async fn report_failure(&self, _: u64) -> Result<SecretGenerations> {
        Ok(self.generations())
    }
}

#[async_trait]
impl SecretResolver for Vault {
    async fn resolve(&self, reference: &SecretReference) -> Result<Arc<Secret>> {
        Ok(Arc::clone(self.kept(reference).current.lock().secret()))
    }
}

#[async_trait]
impl SecretSource for Vault {
    async fn watch(&self, reference: &SecretReference) -> Result<Arc<dyn SecretWatch>> {
        Ok(Arc::<Kept>::clone(self.kept(reference)))
    }
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

/// The same as any other trouble with it.
pub(crate) async fn a_certificate_that_has_run_out_is_told_of<B: Encrypted>() {
    let authority = TestAuthority::generate().unwrap();
    let certificate = authority.sign_expired(ADDRESS).unwrap();
    let (_server, url) = B::start_bare(certificate).await;
    let error = failure::<B>(&url, &[authority.pem()]).await;
    assert_eq!(error.kind(), ErrorKind::TlsFailed, "{error:?}");
    assert!(error.detail().contains("has run out"), "{error:?}");
}

/// Of its own authority, and with each connection the newest.
pub(crate) async fn a_server_that_asks_its_clients_for_certificates_is_shown_one<B: Encrypted>() {
    let authority = TestAuthority::generate().unwrap();
    let stranger = TestAuthority::generate().unwrap();
    let own = || authority.sign_client("suite").unwrap();
    let foreign = stranger.sign_client("suite").unwrap();
    let broker = B::start_asking(&authority).await;
    let url = broker.encrypted();
    let connect = async |shown: Shown| {
        let authorities = [authority.pem()];
        let connecting = B::connect_as(&url, &authorities, shown);
        let connecting = tokio::time::timeout(PATIENCE, connecting).await;
        connecting.expect("it hangs")
    };
    let assert_refused = |error: &Error| {
        // A server that ends the connection at once is not always heard.
        let kinds = [ErrorKind::TlsFailed, ErrorKind::Unavailable];
        assert!(kinds.contains(&error.kind()), "{error:?}");
        let told = error.detail();
        assert!(told.contains("certificate of its clients"), "{error:?}");
        assert_silent(error, password(&url));
    };
    assert_refused(&failure::<B>(&url, &[authority.pem()]).await);
    assert_refused(&connect(Shown::given(&foreign)).await.err().unwrap());
    let publisher = connect(Shown::given(&own())).await.unwrap();
    publisher.publish(&messages()).await.unwrap();

    let vault = Vault::of(&foreign);
    let of_vault = connect(Shown::From(Arc::clone(&vault))).await;
    assert_refused(&of_vault.err().unwrap());
    vault.put(&own());
    let publisher = connect(Shown::From(Arc::clone(&vault))).await.unwrap();
    publisher.publish(&messages()).await.unwrap();
    // A key without its certificate is not shown yet.
    vault.key.put(own().key());
    broker.restart().await;
    publish_patiently(&*publisher, &messages()).await;
    vault.put(&foreign);
    broker.restart().await;
    // Long enough to connect with what was shown before.
    for _ in 0..20 {
        publisher.publish(&messages()).await.unwrap_err();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    vault.put(&own());
    let sent = messages();
    publish_patiently(&*publisher, &sent).await;
    assert!(broker.got().await.ends_with(&sent));
}

pub(crate) async fn certificates_that_cannot_be_shown_are_refused<B: Encrypted>() {
    let authority = TestAuthority::generate().unwrap();
    let [one, two] = ["one", "two"].map(|name| authority.sign_client(name).unwrap());
    let [plain, tls] = B::SCHEMES.map(|scheme| format!("{scheme}tests:hunter2@localhost:1"));
    for (url, certificate, key) in [
        (&tls, one.certificate(), two.key()),
        (&tls, one.certificate(), "hunter2"),
        (&tls, "hunter2", one.key()),
        (&tls, one.key(), one.certificate()),
        (&plain, one.certificate(), one.key()),
    ] {
        let shown = Shown::Given(certificate.to_owned(), key.to_owned());
        let Err(error) = B::connect_as(url, &[], shown).await else {
            panic!("connected to {url}");
        };
        assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error:?}");
        assert_silent(&error, "hunter2");
    }
    let vault = Vault::of(&one);
    vault.key.put(two.key());
    let Err(error) = B::connect_as(&tls, &[], Shown::From(vault)).await else {
        panic!("connected to {tls}");
    };
    assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error:?}");
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
            a_certificate_that_has_run_out_is_told_of,
            a_server_that_asks_its_clients_for_certificates_is_shown_one,
            certificates_that_cannot_be_shown_are_refused,
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
