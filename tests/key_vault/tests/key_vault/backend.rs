//! What the backend does with a vault that works.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tenantry_core::{ErrorKind, Secret};
use tenantry_secrets::{KeyVault, KeyVaultCredential, SecretAttributes, Validity, Vault};
use tenantry_testkit::key_vault::{Fault, Moment};

use crate::support::{Fixture, Result, ServerCredential, noon};

const MINUTE: Duration = Duration::from_secs(60);

fn plain() -> SecretAttributes {
    SecretAttributes::default()
}

#[tokio::test]
async fn a_secret_is_stored_read_and_read_by_version() -> Result {
    let fixture = Fixture::start().await?;
    let vault: Arc<dyn Vault> = Arc::new(fixture.backend()?);
    let first = vault.put("db", &Secret::new("one"), &plain()).await?;
    let second = vault.put("DB", &Secret::new("two"), &plain()).await?;
    assert_eq!(first.created_at, noon());
    assert_eq!(first.validity, Validity::ALWAYS);

    let newest = vault.read("db", None).await?;
    assert_eq!(newest.secret.expose(), "two");
    assert_eq!(newest.version.as_deref(), Some(&*second.version));
    assert_eq!(newest.validity, Validity::ALWAYS);
    let version = first.version.to_ascii_uppercase();
    let older = vault.read("Db", Some(&version)).await?;
    assert_eq!(older.secret.expose(), "one");

    let calls = fixture.vault.calls();
    assert_eq!((calls.challenges, calls.without_challenges()), (1, 4));
    // The value went to nobody who had not shown the right challenge.
    assert_eq!(fixture.server.requests()[0].body_length, 0);
    Ok(())
}

#[tokio::test]
async fn any_text_comes_back_as_it_was_stored() -> Result {
    let fixture = Fixture::start().await?;
    let vault = fixture.backend()?;
    let long = "é".repeat(12_800);
    for text in [
        " a \"b\" \\ \n\t\u{0} ",
        "größe 日本 \u{1F600}",
        long.as_str(),
    ] {
        vault.put("text", &Secret::new(text), &plain()).await?;
        assert_eq!(vault.read("text", None).await?.secret.expose(), text);
    }
    Ok(())
}

#[tokio::test]
async fn what_is_past_its_date_is_given_out_and_says_so() -> Result {
    let fixture = Fixture::start().await?;
    let vault = fixture.backend()?;
    let attributes = SecretAttributes {
        not_before: Some(noon() + TimeDelta::milliseconds(1_500)),
        expires_at: Some(noon() + TimeDelta::milliseconds(9_500)),
    };
    vault.put("db", &Secret::new("one"), &attributes).await?;
    fixture.clock.advance(MINUTE);
    let record = vault.read("db", None).await?;
    // In whole seconds, inside of what was asked for.
    let validity = Validity {
        enabled: true,
        not_before: Some(noon() + TimeDelta::seconds(2)),
        expires_at: Some(noon() + TimeDelta::seconds(9)),
    };
    assert_eq!(record.validity, validity);
    let refused = |time| record.validity.check(time).map_err(|error| error.kind());
    assert_eq!(refused(noon()), Err(ErrorKind::SecretNotYetValid));
    assert_eq!(refused(noon() + MINUTE), Err(ErrorKind::SecretExpired));
    Ok(())
}

#[tokio::test]
async fn a_version_is_switched_off_and_on() -> Result {
    let fixture = Fixture::start().await?;
    let vault = fixture.backend()?;
    let first = vault.put("db", &Secret::new("one"), &plain()).await?;
    vault.put("db", &Secret::new("two"), &plain()).await?;
    vault.set_enabled("db", &first.version, false).await?;
    let off = vault.read("db", Some(&first.version)).await.unwrap_err();
    assert_eq!(off.kind(), ErrorKind::SecretDisabled);
    assert_eq!(vault.read("db", None).await?.secret.expose(), "two");
    vault.set_enabled("db", &first.version, true).await?;
    let on = vault.read("db", Some(&first.version)).await?;
    assert_eq!(on.secret.expose(), "one");
    Ok(())
}

#[tokio::test]
async fn sixty_versions_come_the_oldest_first() -> Result {
    let fixture = Fixture::start().await?;
    let vault = fixture.backend()?;
    let mut stored = Vec::new();
    for index in 0..60 {
        stored.push(fixture.vault.set_secret("db", index.to_string())?);
        fixture.clock.advance(MINUTE);
    }
    fixture.vault.disable_version("db", &stored[7])?;
    let versions = vault.versions("db").await?;
    let listed: Vec<_> = versions.iter().map(|version| &*version.version).collect();
    assert_eq!(listed, stored);
    let off = versions
        .iter()
        .position(|version| !version.validity.enabled);
    assert_eq!(off, Some(7));
    assert_eq!(versions[1].created_at, noon() + MINUTE);
    assert_eq!(fixture.vault.calls().without_challenges(), 3);
    Ok(())
}

#[tokio::test]
async fn the_versions_of_nothing_are_missing() -> Result {
    let fixture = Fixture::start().await?;
    let vault = fixture.backend()?;
    let error = vault.versions("db").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(vault.newest().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn of_sixty_secrets_only_those_with_an_end_are_looked_at() -> Result {
    let fixture = Fixture::start().await?;
    let vault = fixture.backend()?;
    let end = noon() + TimeDelta::days(30);
    let mut ending = BTreeSet::new();
    for index in 0..60 {
        let name = format!("secret-{index}");
        fixture.vault.set_secret(&name, "old")?;
        fixture.clock.advance(MINUTE);
        let version = fixture.vault.set_secret(&name, "new")?;
        if index % 10 == 0 {
            fixture.vault.set_expiry(&name, Some(end))?;
            ending.insert((name, version));
        }
    }
    // One has an end and is switched off.
    fixture.vault.disable("secret-50")?;
    ending.retain(|(name, _)| name != "secret-50");

    let newest = vault.newest().await?;
    let found: Vec<_> = newest
        .iter()
        .map(|(name, version)| (name.clone(), version.version.to_string()))
        .collect();
    assert_eq!(found, ending.into_iter().collect::<Vec<_>>());
    let ends = newest
        .iter()
        .map(|(_, version)| version.validity.expires_at);
    assert!(ends.into_iter().all(|ends| ends == Some(end)));
    // Three pages, and five secrets; and no value was asked for.
    assert_eq!(fixture.vault.calls().without_challenges(), 8);
    let is_list = |path: &str| path.ends_with("/secrets") || path.ends_with("/versions");
    let requests = fixture.vault.requests();
    assert!(requests.iter().all(|request| is_list(&request.path)));
    Ok(())
}

#[tokio::test]
async fn a_write_that_was_dropped_is_stored_or_not() -> Result {
    let fixture = Fixture::start().await?;
    let vault = fixture.backend()?;
    let before = vault.put("db", &Secret::new("one"), &plain()).await?;
    let delay = Duration::from_secs(3_600);
    for (moment, is_stored) in [(Moment::BeforeAnswer, false), (Moment::InBody, true)] {
        fixture
            .server
            .inject(Fault::Slow { delay, moment }.times(1));
        fixture.server.forget_requests();
        let value = Secret::new("two");
        let attributes = plain();
        tokio::select! {
            stored = vault.put("db", &value, &attributes) => panic!("{stored:?}"),
            () = async {
                fixture.server.received(1).await;
                while is_stored && fixture.server.requests()[0].status.is_none() {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
        let newest = vault.read("db", None).await?;
        assert_eq!(newest.version.as_ref() != Some(&before.version), is_stored);
    }
    Ok(())
}

#[tokio::test]
async fn vaults_are_apart() -> Result {
    let fixture = Fixture::start().await?;
    let credential = Arc::new(ServerCredential::new(&fixture.server));
    let orders = fixture.backend_of("ORDERS", &credential)?;
    let billing = fixture.backend_of("billing", &credential)?;
    assert_eq!(orders.name(), "orders");
    fixture.vault.set_secret("db", "one")?;
    assert_eq!(orders.read("db", None).await?.secret.expose(), "one");
    let error = billing.read("db", None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    Ok(())
}

#[tokio::test]
async fn what_can_be_no_vault_is_refused_when_it_is_set_up() {
    for name in ["ab", "1ab", "a--b", "a.b", "vault.example.com", "a/b", ""] {
        let error = KeyVault::new(name, KeyVaultCredential::managed_identity()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{name}");
    }
}
