//! No value and no token shows, whatever fails and whatever is logged.
//!
//! The one test of a process: it listens to all of that.

use std::error::Error as StdError;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::time::OffsetDateTime;
use tenantry_core::{Secret, SecretResolver as _};
use tenantry_secrets::{
    KeyVault, KeyVaultConnection, KeyVaultCredential, SecretAttributes, Secrets, Vault as _,
};
use tenantry_testkit::key_vault::{Denial, Fault, KeyVaultServer, Moment, VaultToken};

type Result<T = (), E = Box<dyn StdError>> = std::result::Result<T, E>;

const CANARY: &str = "canary-7f3a-yellow";

/// All that was said.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl io::Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("a log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Heard {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("a log")).into_owned()
    }

    fn say(&self, what: &dyn Debug) {
        let text = format!("{what:?}\n{what:#?}\n");
        self.0.lock().expect("a log").extend(text.into_bytes());
    }

    /// Writes down an error in each of its forms, with all that caused it.
    fn say_failure(&self, error: &(dyn StdError + 'static)) {
        let mut cause = Some(error);
        while let Some(error) = cause {
            self.say(&error);
            let text = format!("{error}\n");
            self.0.lock().expect("a log").extend(text.into_bytes());
            cause = error.source();
        }
    }
}

/// Gives the one token that it knows.
#[derive(Debug)]
struct OneToken(VaultToken);

#[async_trait]
impl TokenCredential for OneToken {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        Ok(AccessToken::new(
            self.0.secret().to_owned(),
            OffsetDateTime::now_utc() + std::time::Duration::from_secs(3_600),
        ))
    }
}

#[tokio::test]
async fn neither_value_nor_token_is_in_errors_debug_and_logs_at_any_level() -> Result {
    let heard = Heard::default();
    let log = heard.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || log.clone())
        .init();

    let server = KeyVaultServer::start().await?;
    let token = server.issue_token();
    let credential = Arc::new(OneToken(token.clone()));
    let credential = KeyVaultCredential::custom(credential);
    let connection = KeyVaultConnection::default()
        .with_address(server.address())
        .with_ca_certificate(server.ca_certificate_pem());
    let vault = KeyVault::new_with("orders", credential, &connection)?;
    let vault = Arc::new(vault);
    let secrets = Secrets::builder()
        .with_vault("orders", Arc::clone(&vault) as _)?
        .build()?;
    let client_secret = KeyVaultCredential::client_secret("contoso", "app", Secret::new(CANARY));
    heard.say(&client_secret);
    heard.say(&KeyVault::new("orders", client_secret)?);

    let attributes = SecretAttributes::default();
    let value = Secret::new(CANARY);
    let stored = vault.put("db", &value, &attributes).await?;
    heard.say(&stored);
    heard.say(&vault.read("db", None).await?);
    heard.say(&vault.versions("db").await?);
    heard.say(&vault.newest().await?);
    let reference = "kv://orders/db".parse()?;
    assert_eq!(secrets.resolve(&reference).await?.expose(), CANARY);
    heard.say(&secrets);
    heard.say(&vault);

    for fault in [
        Fault::Throttle { retry_after: None },
        Fault::Unauthorized,
        Fault::Forbidden(Denial::Role),
        Fault::Status(500),
        Fault::Status(400),
        Fault::Status(409),
        Fault::Status(302),
        Fault::Cut(Moment::BeforeAnswer),
        Fault::Cut(Moment::InBody),
    ] {
        server.inject(fault);
        heard.say_failure(&vault.read("db", None).await.unwrap_err());
        heard.say_failure(&vault.put("db", &value, &attributes).await.unwrap_err());
        heard.say_failure(&vault.newest().await.unwrap_err());
        let switched = vault.set_enabled("db", &stored.version, true).await;
        heard.say_failure(&switched.unwrap_err());
        server.lift_faults();
    }
    let large = Secret::new(CANARY.repeat(2_000));
    heard.say_failure(&vault.put("db", &large, &attributes).await.unwrap_err());

    let text = heard.text();
    for source in [
        "typespec_client_core",
        "azure_core",
        "tenantry::secrets",
        "hyper",
    ] {
        assert!(text.contains(source), "nothing was heard of {source}");
    }
    assert!(text.contains("TRACE") && text.contains("authorization: REDACTED"));
    let is_heard = |what: &str| {
        text.lines()
            .find(|line| line.contains(what))
            .map(str::to_owned)
    };
    for secret in [CANARY, token.secret()] {
        assert_eq!(is_heard(secret), None);
        // As a list of bytes.
        let bytes = format!("{:?}", secret.as_bytes());
        assert_eq!(is_heard(bytes.trim_matches(['[', ']'])), None);
    }
    Ok(())
}
