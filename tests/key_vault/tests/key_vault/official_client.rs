//! The official client, with its checks on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use azure_core::credentials::TokenCredential;
use azure_core::error::ErrorKind;
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_security_keyvault_secrets::models::{
    SecretAttributes, SecretClientGetSecretOptions,
    SecretClientListSecretPropertiesVersionsOptions, SecretClientUpdateSecretPropertiesOptions,
    SetSecretParameters, UpdateSecretPropertiesParameters,
};
use azure_security_keyvault_secrets::{ResourceExt as _, SecretClient, SecretClientOptions};
use futures_util::TryStreamExt as _;
use tenantry_testkit::key_vault::{Denial, Fault, Moment};

use crate::support::{Fixture, Result, ServerCredential};

struct Subject {
    fixture: Fixture,
    credential: Arc<ServerCredential>,
    client: SecretClient,
}

impl Subject {
    async fn start() -> Result<Self> {
        Self::start_with(RetryOptions::default()).await
    }

    async fn without_retries() -> Result<Self> {
        Self::start_with(RetryOptions::none()).await
    }

    async fn start_with(retry: RetryOptions) -> Result<Self> {
        let fixture = Fixture::start().await?;
        let credential = Arc::new(ServerCredential::new(&fixture.server));
        let options = SecretClientOptions {
            client_options: ClientOptions {
                transport: Some(Transport::new(Arc::new(fixture.new_http()?))),
                retry,
                ..ClientOptions::default()
            },
            ..SecretClientOptions::default()
        };
        assert_eq!(options.verify_challenge_resource, Some(true));
        let client = SecretClient::new(
            &fixture.vault.url(),
            Arc::clone(&credential) as Arc<dyn TokenCredential>,
            Some(options),
        )?;
        Ok(Self {
            fixture,
            credential,
            client,
        })
    }

    async fn set(&self, name: &str, value: &str) -> azure_core::Result<String> {
        let parameters = SetSecretParameters {
            value: Some(value.to_owned()),
            ..SetSecretParameters::default()
        };
        let secret = self
            .client
            .set_secret(name, parameters.try_into()?, None)
            .await?
            .into_model()?;
        Ok(secret.resource_id()?.version.unwrap_or_default())
    }

    async fn get(&self, name: &str) -> azure_core::Result<Option<String>> {
        let secret = self.client.get_secret(name, None).await?.into_model()?;
        Ok(secret.value)
    }

    async fn update(&self, name: &str, version: Option<String>, enabled: bool) -> Result {
        let parameters = UpdateSecretPropertiesParameters {
            secret_attributes: Some(SecretAttributes {
                enabled: Some(enabled),
                ..SecretAttributes::default()
            }),
            ..UpdateSecretPropertiesParameters::default()
        };
        let options = SecretClientUpdateSecretPropertiesOptions {
            secret_version: version,
            ..SecretClientUpdateSecretPropertiesOptions::default()
        };
        self.client
            .update_secret_properties(name, parameters.try_into()?, Some(options))
            .await?;
        Ok(())
    }

    fn tokens(&self) -> usize {
        self.credential.given()
    }
}

/// Returns status and code of what the client failed with.
fn refusal<T>(result: azure_core::Result<T>) -> (u16, String) {
    match result.err().map(|error| error.kind().clone()) {
        Some(ErrorKind::HttpResponse {
            status, error_code, ..
        }) => (status.into(), error_code.unwrap_or_default()),
        other => panic!("{other:?}"),
    }
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn secrets_are_set_and_read_by_version() -> Result {
    let subject = Subject::start().await?;
    let first = subject.set("db", "one").await?;
    let second = subject.set("db", "two").await?;
    assert_eq!(subject.get("db").await?.as_deref(), Some("two"));
    for (version, value) in [(first, "one"), (second, "two")] {
        let options = SecretClientGetSecretOptions {
            secret_version: Some(version),
            ..SecretClientGetSecretOptions::default()
        };
        let secret = subject
            .client
            .get_secret("db", Some(options))
            .await?
            .into_model()?;
        assert_eq!(secret.value.as_deref(), Some(value));
    }
    // The first request had neither a token nor a body; its replay had both.
    let calls = subject.fixture.vault.calls();
    assert_eq!((calls.challenges, calls.without_challenges()), (1, 5));
    assert_eq!(subject.fixture.server.requests()[0].body_length, 0);
    assert_eq!(subject.tokens(), 1);
    Ok(())
}

#[tokio::test]
async fn versions_are_listed_over_several_pages() -> Result {
    let subject = Subject::start().await?;
    let mut versions = Vec::new();
    for index in 0..5 {
        versions.push(subject.fixture.vault.set_secret("db", index.to_string())?);
    }
    versions.sort();
    for (maxresults, pages) in [(Some(2), 3), (None, 1)] {
        subject.fixture.server.forget_requests();
        let options = SecretClientListSecretPropertiesVersionsOptions {
            maxresults,
            ..SecretClientListSecretPropertiesVersionsOptions::default()
        };
        let pager = subject
            .client
            .list_secret_properties_versions("db", Some(options))?;
        let listed: Vec<_> = pager.try_collect().await?;
        let listed: Vec<_> = listed
            .iter()
            .map(|secret| {
                secret
                    .resource_id()
                    .map(|id| id.version.unwrap_or_default())
            })
            .collect::<azure_core::Result<_>>()?;
        assert_eq!(listed, versions);
        assert_eq!(subject.fixture.vault.calls().without_challenges(), pages);
    }
    Ok(())
}

#[tokio::test]
async fn secrets_are_listed_over_several_pages() -> Result {
    let subject = Subject::start().await?;
    for index in 0..60 {
        subject
            .fixture
            .vault
            .set_secret(&format!("secret-{index}"), "one")?;
    }
    let secrets: Vec<_> = subject
        .client
        .list_secret_properties(None)?
        .try_collect()
        .await?;
    assert_eq!(secrets.len(), 60);
    assert_eq!(subject.fixture.vault.calls().without_challenges(), 3);
    Ok(())
}

#[tokio::test]
async fn a_disabled_secret_is_forbidden() -> Result {
    let subject = Subject::start().await?;
    let version = subject.set("db", "one").await?;
    subject.update("db", Some(version), false).await?;
    assert_eq!(refusal(subject.get("db").await), is(403, "Forbidden"));
    // Without a version it is the latest.
    subject.update("db", None, true).await?;
    assert_eq!(subject.get("db").await?.as_deref(), Some("one"));
    Ok(())
}

#[tokio::test]
async fn a_deleted_secret_is_missing_then_in_the_way_then_recovered() -> Result {
    let subject = Subject::start().await?;
    subject.set("db", "one").await?;
    let deleted = subject
        .client
        .delete_secret("db", None)
        .await?
        .into_model()?;
    assert!(deleted.recovery_id.is_some() && deleted.scheduled_purge_date.is_some());
    assert_eq!(refusal(subject.get("db").await), is(404, "SecretNotFound"));
    assert_eq!(refusal(subject.set("db", "two").await), is(409, "Conflict"));
    let pager = subject.client.list_deleted_secret_properties(None)?;
    assert_eq!(pager.try_collect::<Vec<_>>().await?.len(), 1);
    subject.client.recover_deleted_secret("db", None).await?;
    assert_eq!(subject.get("db").await?.as_deref(), Some("one"));

    subject.client.delete_secret("db", None).await?;
    subject.client.purge_deleted_secret("db", None).await?;
    let gone = subject.client.get_deleted_secret("db", None).await;
    assert_eq!(refusal(gone), is(404, "SecretNotFound"));
    Ok(())
}

#[tokio::test]
async fn a_backup_is_restored() -> Result {
    let subject = Subject::start().await?;
    subject.set("db", "one").await?;
    let backup = subject
        .client
        .backup_secret("db", None)
        .await?
        .into_model()?;
    subject.fixture.vault.delete("db")?;
    subject.fixture.vault.purge("db")?;
    let parameters = azure_security_keyvault_secrets::models::RestoreSecretParameters {
        secret_backup: backup.value,
    };
    subject
        .client
        .restore_secret(parameters.try_into()?, None)
        .await?;
    assert_eq!(subject.get("db").await?.as_deref(), Some("one"));
    Ok(())
}

#[tokio::test]
async fn a_throttled_client_waits_as_long_as_it_is_asked() -> Result {
    let subject = Subject::start().await?;
    subject.set("db", "one").await?;
    let retry_after = Some(Duration::from_secs(1));
    subject
        .fixture
        .server
        .inject(Fault::Throttle { retry_after }.times(1));
    let start = Instant::now();
    assert_eq!(subject.get("db").await?.as_deref(), Some("one"));
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert!(!subject.fixture.server.is_armed());
    Ok(())
}

#[tokio::test]
async fn a_throttled_client_that_does_not_retry_is_told() -> Result {
    let subject = Subject::without_retries().await?;
    subject
        .fixture
        .server
        .inject(Fault::Throttle { retry_after: None });
    assert_eq!(refusal(subject.get("db").await), is(429, "Throttled"));
    Ok(())
}

#[tokio::test]
async fn an_expired_token_is_replaced_and_the_request_sent_again() -> Result {
    let subject = Subject::start().await?;
    subject.set("db", "one").await?;
    subject.fixture.clock.advance(Duration::from_secs(3_600));
    assert_eq!(subject.get("db").await?.as_deref(), Some("one"));
    assert_eq!(subject.tokens(), 2);
    let calls = subject.fixture.vault.calls();
    assert_eq!((calls.total, calls.challenges), (4, 1));
    Ok(())
}

#[tokio::test]
async fn a_token_refused_in_mid_life_is_replaced() -> Result {
    let subject = Subject::start().await?;
    subject.set("db", "one").await?;
    subject.fixture.server.inject(Fault::Unauthorized.times(1));
    assert_eq!(subject.get("db").await?.as_deref(), Some("one"));
    assert_eq!(subject.tokens(), 2);
    Ok(())
}

#[tokio::test]
async fn a_caller_without_a_role_is_forbidden() -> Result {
    let subject = Subject::start().await?;
    subject
        .fixture
        .server
        .inject(Fault::Forbidden(Denial::Role));
    assert_eq!(refusal(subject.get("db").await), is(403, "Forbidden"));
    Ok(())
}

#[tokio::test]
async fn a_cut_connection_is_an_error_of_the_network() -> Result {
    let subject = Subject::without_retries().await?;
    subject.fixture.vault.set_secret("db", "one")?;
    for moment in [Moment::BeforeAnswer, Moment::InBody] {
        subject.fixture.server.inject(Fault::Cut(moment).times(1));
        let error = subject.get("db").await.expect_err("a cut");
        assert!(matches!(error.kind(), ErrorKind::Io), "{error:?}");
    }
    Ok(())
}

/// The official client 1.0.0 refused the challenge, and sent a token at the second call.
#[tokio::test]
async fn a_wrong_challenge_is_refused_and_gets_no_token() -> Result {
    let subject = Subject::start().await?;
    subject.fixture.vault.set_secret("db", "one")?;
    let resource = "https://vault.example.com".to_owned();
    subject
        .fixture
        .server
        .inject(Fault::WrongChallenge { resource });
    for _ in 0..2 {
        let error = subject.get("db").await.expect_err("a wrong challenge");
        let error = format!("{error:?}");
        assert!(
            error.contains("doesn't match the requested domain"),
            "{error}"
        );
        assert!(subject.set("db", "canary").await.is_err());
    }
    assert_eq!(subject.tokens(), 0);
    let requests = subject.fixture.server.requests();
    assert!(requests.len() >= 4);
    assert!(
        requests
            .iter()
            .all(|request| !request.has_token && request.body_length == 0)
    );
    Ok(())
}
