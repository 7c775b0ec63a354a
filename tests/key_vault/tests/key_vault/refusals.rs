//! What the backend says of a vault that does not do what it is asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantry_core::{Error, ErrorKind, Secret};
use tenantry_secrets::{
    KeyVault, KeyVaultConnection, KeyVaultCredential, SecretAttributes, Vault as _,
};
use tenantry_testkit::key_vault::{Denial, Fault, KeyVaultServer, Moment};

use crate::support::{Fixture, Result, ServerCredential};

struct Subject {
    fixture: Fixture,
    credential: Arc<ServerCredential>,
    vault: KeyVault,
}

impl Subject {
    /// With a secret `db`, and past the challenge.
    async fn start() -> Result<Self> {
        let subject = Self::unchallenged().await?;
        subject.vault.read("db", None).await?;
        subject.fixture.server.forget_requests();
        Ok(subject)
    }

    async fn unchallenged() -> Result<Self> {
        let fixture = Fixture::start().await?;
        fixture.vault.set_secret("db", "one")?;
        let credential = Arc::new(ServerCredential::new(&fixture.server));
        let vault = fixture.backend_of("orders", &credential)?;
        Ok(Self {
            fixture,
            credential,
            vault,
        })
    }

    async fn read(&self) -> Result<String, Error> {
        let record = self.vault.read("db", None).await?;
        Ok(record.secret.expose().to_owned())
    }

    async fn put(&self, value: &str) -> Result<(), Error> {
        let attributes = SecretAttributes::default();
        let stored = self.vault.put("db", &Secret::new(value), &attributes).await;
        stored.map(drop)
    }

    fn inject(&self, fault: Fault, times: usize) {
        self.fixture.server.inject(fault.times(times));
    }

    fn calls(&self) -> usize {
        self.fixture.vault.calls().without_challenges()
    }
}

fn kind<T>(outcome: Result<T, Error>) -> ErrorKind {
    outcome.err().map(|error| error.kind()).expect("a refusal")
}

#[tokio::test]
async fn what_is_not_there_is_missing() -> Result {
    let Subject { vault, fixture, .. } = Subject::start().await?;
    let none = "0".repeat(32);
    assert_eq!(kind(vault.read("other", None).await), ErrorKind::NotFound);
    assert_eq!(
        kind(vault.read("db", Some(&none)).await),
        ErrorKind::NotFound
    );
    let switched = vault.set_enabled("db", &none, false).await;
    assert_eq!(kind(switched), ErrorKind::NotFound);
    // One call each: a miss costs no second look.
    assert_eq!(fixture.vault.calls().total, 3);
    Ok(())
}

#[tokio::test]
async fn a_deleted_secret_is_missing_for_who_reads_and_in_the_way_of_who_writes() -> Result {
    let subject = Subject::start().await?;
    subject.fixture.vault.delete("db")?;
    assert_eq!(kind(subject.read().await), ErrorKind::NotFound);
    let error = subject.put("two").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SecretDeleted);
    assert!(error.detail().contains("recover it"), "{error}");
    subject.fixture.vault.recover("db")?;
    assert_eq!(subject.read().await?, "one");
    Ok(())
}

#[tokio::test]
async fn a_disabled_secret_is_told_from_one_that_may_not_be_read() -> Result {
    let subject = Subject::start().await?;
    subject.fixture.vault.disable("db")?;
    assert_eq!(kind(subject.read().await), ErrorKind::SecretDisabled);
    subject.fixture.vault.enable("db")?;
    for (denial, advice) in [
        (Denial::Role, "Key Vault Secrets User"),
        (Denial::AccessPolicy, "access policies"),
        (Denial::Firewall, "network rules"),
    ] {
        subject.inject(Fault::Forbidden(denial), 1);
        let error = subject.read().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.detail().contains(advice), "{error}");
    }
    subject.inject(Fault::Forbidden(Denial::Role), 1);
    let error = subject.put("two").await.unwrap_err();
    assert!(
        error.detail().contains("Key Vault Secrets Officer"),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn a_throttled_vault_is_called_once_and_says_for_how_long() -> Result {
    let subject = Subject::start().await?;
    for retry_after in [Some(Duration::from_secs(7)), None] {
        subject.fixture.server.forget_requests();
        subject.inject(Fault::Throttle { retry_after }, 1);
        let start = Instant::now();
        let error = subject.read().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Throttled);
        assert_eq!(error.retry_after(), retry_after);
        assert!(start.elapsed() < Duration::from_secs(5));
        assert_eq!(subject.calls(), 1);
    }
    Ok(())
}

#[tokio::test]
async fn a_token_refused_in_mid_life_is_replaced_by_one() -> Result {
    let subject = Subject::start().await?;
    subject.inject(Fault::Unauthorized, 1);
    assert_eq!(subject.read().await?, "one");
    assert_eq!(subject.credential.given(), 2);
    assert_eq!(subject.fixture.vault.calls().total, 2);

    subject.fixture.server.revoke_all_tokens();
    subject.put("two").await?;
    assert_eq!(subject.read().await?, "two");
    assert_eq!(subject.credential.given(), 3);
    Ok(())
}

#[tokio::test]
async fn a_vault_that_takes_no_token_is_not_asked_for_ever() -> Result {
    let subject = Subject::start().await?;
    subject.fixture.server.inject(Fault::Unauthorized);
    let error = subject.read().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed);
    assert!(error.detail().contains("directory"), "{error}");
    assert_eq!(subject.fixture.vault.calls().total, 2);
    Ok(())
}

#[tokio::test]
async fn a_wrong_challenge_is_refused_and_gets_neither_token_nor_value() -> Result {
    let subject = Subject::unchallenged().await?;
    for resource in [
        "https://vault.example.com",
        "https://evilvault.azure.net",
        "https://vault.azure.net.example.com",
        "vault.azure.net",
    ] {
        let resource = resource.to_owned();
        subject
            .fixture
            .server
            .inject(Fault::WrongChallenge { resource });
        // At the second call as well: the official client 1.0.0 sent a token then.
        for _ in 0..2 {
            let error = subject.read().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{error:?}");
            assert!(error.detail().contains("was given none"), "{error}");
            let stored = subject.put("canary").await;
            assert_eq!(kind(stored), ErrorKind::AuthenticationFailed);
        }
        subject.fixture.server.lift_faults();
    }
    assert_eq!(subject.credential.given(), 0);
    let requests = subject.fixture.server.requests();
    assert_eq!(requests.len(), 4 * 4);
    assert!(
        requests
            .iter()
            .all(|request| !request.has_token && request.body_length == 0)
    );
    // And the client is no worse for it.
    assert_eq!(subject.read().await?, "one");
    Ok(())
}

/// The official client takes it, for the vault's host ends like that.
#[tokio::test]
async fn a_challenge_has_no_say_in_what_a_token_is_for() -> Result {
    let subject = Subject::unchallenged().await?;
    let resource = "https://net".to_owned();
    subject.inject(Fault::WrongChallenge { resource }, 1);
    // The credential of the server looks at it.
    assert_eq!(subject.read().await?, "one");
    assert_eq!(subject.credential.given(), 1);
    Ok(())
}

#[tokio::test]
async fn a_vault_that_fails_is_tried_three_times() -> Result {
    let subject = Subject::start().await?;
    for status in [408, 500, 502, 503, 504] {
        subject.inject(Fault::Status(status), 2);
        assert_eq!(subject.read().await?, "one", "{status}");
        subject.inject(Fault::Status(status), 3);
        subject.fixture.server.forget_requests();
        let error = subject.read().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(!subject.fixture.server.is_armed());
        assert_eq!(subject.calls(), 3);
    }
    subject.inject(Fault::Status(418), 1);
    let error = subject.read().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected);
    assert!(error.detail().contains("418"), "{error}");
    Ok(())
}

#[tokio::test]
async fn an_answer_that_is_cut_is_asked_for_again() -> Result {
    let subject = Subject::start().await?;
    for moment in [Moment::BeforeAnswer, Moment::InBody] {
        subject.inject(Fault::Cut(moment), 2);
        assert_eq!(subject.read().await?, "one");
        subject.inject(Fault::Cut(moment), 3);
        assert_eq!(kind(subject.read().await), ErrorKind::Unavailable);
        assert!(!subject.fixture.server.is_armed());
    }
    Ok(())
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_not_made_twice() -> Result {
    let subject = Subject::start().await?;
    for fault in [
        Fault::Cut(Moment::InBody),
        Fault::Cut(Moment::BeforeAnswer),
        Fault::Status(503),
        // Its body is none of a secret.
        Fault::Status(200),
    ] {
        subject.fixture.server.forget_requests();
        subject.inject(fault, 1);
        let error = subject.put("two").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CommitUnknown);
        assert!(error.detail().contains("look before"), "{error}");
        assert_eq!(subject.calls(), 1);
    }
    // The first was stored, and not the others.
    assert_eq!(subject.vault.versions("db").await?.len(), 2);
    Ok(())
}

/// The official client takes the body of a request that is to be challenged, and loses it when it
/// tries again by itself.
#[tokio::test]
async fn a_first_request_that_fails_loses_nothing() -> Result {
    let subject = Subject::unchallenged().await?;
    let version = subject.fixture.vault.set_secret("db", "two")?;
    subject.inject(Fault::Status(503), 2);
    subject.vault.set_enabled("db", &version, false).await?;
    assert_eq!(kind(subject.read().await), ErrorKind::SecretDisabled);
    Ok(())
}

#[tokio::test]
async fn a_vault_that_hangs_is_given_up() -> Result {
    let subject = Subject::start().await?;
    let fault = Fault::Slow {
        delay: Duration::from_secs(3_600),
        moment: Moment::BeforeAnswer,
    };
    subject.inject(fault, 1);
    let start = Instant::now();
    assert_eq!(subject.read().await?, "one");
    assert!(start.elapsed() >= Duration::from_secs(4));
    assert_eq!(subject.calls(), 2);
    Ok(())
}

#[tokio::test]
async fn a_vault_that_is_not_there_is_unavailable() -> Result {
    let subject = Subject::unchallenged().await?;
    let Subject {
        fixture,
        credential,
        ..
    } = subject;
    // Nobody listens at the port of a server that was dropped.
    let other = KeyVaultServer::start().await?;
    let address = other.address();
    drop(other);
    let connection = KeyVaultConnection::default()
        .with_address(address)
        .with_ca_certificate(fixture.server.ca_certificate_pem());
    let credential = KeyVaultCredential::custom(credential);
    let vault = KeyVault::new_with("orders", credential, &connection)?;
    while vault.read("db", None).await.is_ok() {}
    let error = vault.read("db", None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.detail().contains("cannot be reached"), "{error}");
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    let mut texts = Vec::new();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    assert!(
        texts.last().is_some_and(|text| text.contains("refused")),
        "{texts:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_token_that_was_made_elsewhere_opens_until_it_ends() -> Result {
    let server = KeyVaultServer::start().await?;
    server.vault("orders")?.set_secret("db", "one")?;
    let token = server.issue_token();
    let credential = KeyVaultCredential::access_token(Secret::new(token.secret()));
    assert_eq!(format!("{credential:?}"), "KeyVaultCredential(AccessToken)");
    let connection = KeyVaultConnection::default()
        .with_address(server.address())
        .with_ca_certificate(server.ca_certificate_pem());
    let vault = KeyVault::new_with("orders", credential, &connection)?;
    assert_eq!(vault.read("db", None).await?.secret.expose(), "one");
    server.revoke_token(&token);
    let error = vault.read("db", None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed);
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_an_error_of_tls() -> Result {
    let subject = Subject::unchallenged().await?;
    let other = KeyVaultServer::start().await?;
    for connection in [
        KeyVaultConnection::default(),
        KeyVaultConnection::default().with_ca_certificate(other.ca_certificate_pem()),
    ] {
        let connection = connection.with_address(subject.fixture.server.address());
        let credential = KeyVaultCredential::custom(Arc::clone(&subject.credential) as _);
        let vault = KeyVault::new_with("orders", credential, &connection)?;
        let error = vault.read("db", None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TlsFailed, "{error:?}");
    }
    assert_eq!(subject.fixture.server.calls().total, 0);
    Ok(())
}

#[tokio::test]
async fn what_is_no_certificate_is_refused_when_it_is_set_up() -> Result {
    let subject = Subject::unchallenged().await?;
    let key = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for pem in ["", "no certificate", key] {
        let connection = KeyVaultConnection::default().with_ca_certificate(pem);
        let credential = KeyVaultCredential::custom(Arc::clone(&subject.credential) as _);
        let error = KeyVault::new_with("orders", credential, &connection).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{pem:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_value_that_is_too_large_is_invalid() -> Result {
    let subject = Subject::start().await?;
    subject.put(&"x".repeat(25 * 1024)).await?;
    let error = subject.put(&"x".repeat(25 * 1024 + 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.detail().contains("25 KB"), "{error}");
    Ok(())
}

#[tokio::test]
async fn lists_are_refused_by_kind_as_well() -> Result {
    let subject = Subject::start().await?;
    subject.inject(Fault::Forbidden(Denial::Role), 1);
    let error = subject.vault.newest().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.detail().contains("Key Vault Reader"), "{error}");
    let retry_after = Some(Duration::from_secs(3));
    subject.inject(Fault::Throttle { retry_after }, 1);
    let error = subject.vault.versions("db").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert_eq!(error.retry_after(), retry_after);
    // A page that fails in the middle of a list is asked for again.
    for index in 0..60 {
        subject.fixture.vault.set_secret("db", index.to_string())?;
    }
    subject.inject(Fault::Status(503), 1);
    assert_eq!(subject.vault.versions("db").await?.len(), 61);
    Ok(())
}
