//! Whom a client may believe.

use serde_json::Value;
use tenantry_testkit::key_vault::KeyVaultServer;

use crate::support::{Fixture, Result, http};

#[tokio::test]
async fn a_server_is_believed_for_vaults_by_those_who_trust_its_authority() -> Result {
    let (one, other) = (
        KeyVaultServer::start().await?,
        KeyVaultServer::start().await?,
    );
    let url = "https://orders.vault.azure.net/secrets?api-version=7.4";
    let client = http(one.ca_certificate_pem(), one.address(), &["orders"])?;
    assert_eq!(client.get(url).send().await?.status(), 401);
    let stranger = http(other.ca_certificate_pem(), one.address(), &["orders"])?;
    assert!(stranger.get(url).send().await.is_err());
    assert_eq!(one.calls().total, 1);
    Ok(())
}

#[tokio::test]
async fn no_other_name_is_vouched_for() -> Result {
    let server = KeyVaultServer::start().await?;
    let url = format!("https://127.0.0.1:{}/secrets", server.address().port());
    assert!(
        http(server.ca_certificate_pem(), server.address(), &[])?
            .get(url)
            .send()
            .await
            .is_err()
    );
    Ok(())
}

#[tokio::test]
async fn a_host_that_is_no_vault_is_told_so() -> Result {
    let server = KeyVaultServer::start().await?;
    // Within the certificate, but too short for a vault.
    let client = http(server.ca_certificate_pem(), server.address(), &["ab"])?;
    let url = "https://ab.vault.azure.net/secrets?api-version=7.4";
    assert_eq!(client.get(url).send().await?.status(), 404);
    assert_eq!(server.requests()[0].vault, "ab.vault.azure.net");
    Ok(())
}

#[tokio::test]
async fn identifiers_lead_back_to_the_port_that_was_asked() -> Result {
    let fixture = Fixture::start().await?;
    fixture.vault.set_secret("db", "one")?;
    let base = format!(
        "https://orders.vault.azure.net:{}",
        fixture.server.address().port()
    );
    let url = format!("{base}/secrets?api-version=7.4");
    let list = fixture
        .send("GET", &url, Some(fixture.token.secret()), Value::Null)
        .await?
        .ok();
    assert_eq!(list["value"][0]["id"], format!("{base}/secrets/db"));
    Ok(())
}

#[tokio::test]
async fn a_dropped_server_is_gone() -> Result {
    let fixture = Fixture::start().await?;
    fixture.vault.set_secret("db", "one")?;
    fixture.call("GET", "/secrets/db", Value::Null).await?.ok();
    let Fixture { server, vault, .. } = fixture;
    let client = http(server.ca_certificate_pem(), server.address(), &["orders"])?;
    drop(server);
    let url = format!("{}secrets?api-version=7.4", vault.url());
    // The task that listens ends at its next turn.
    while client.get(&url).send().await.is_ok() {
        tokio::task::yield_now().await;
    }
    Ok(())
}
