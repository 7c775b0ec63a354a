//! The side that writes.

use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use parking_lot::Mutex;
use tenantry_core::{Clock as _, Error, ErrorKind, Result, Secret};
use tenantry_secrets::{Credential, SecretAttributes, Vault as _};

use super::{Fixture, reference, settle};

/// Lets in whatever is in its list.
#[derive(Default)]
struct Door {
    keys: Mutex<Vec<String>>,
    is_stuck: bool,
}

#[async_trait]
impl Credential for Door {
    async fn prepare(&self, current: &Secret) -> Result<Secret> {
        let next = format!("{}+", current.expose());
        self.keys.lock().push(next.clone());
        Ok(Secret::new(next))
    }

    async fn verify(&self, candidate: &Secret) -> Result<()> {
        let lets_in = self.keys.lock().iter().any(|key| key == candidate.expose());
        match lets_in && !self.is_stuck {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::AuthenticationFailed, "try new key")),
        }
    }

    async fn retire(&self, previous: &Secret) -> Result<()> {
        self.keys.lock().retain(|key| key != previous.expose());
        Ok(())
    }
}

#[tokio::test]
async fn both_values_let_in_until_the_old_one_is_retired() {
    let fixture = Fixture::new();
    let first = fixture.vault.store("db", "key").await;
    let door = Door::default();
    door.keys.lock().push("key".to_owned());
    let db = reference("kv://vault/db");

    let rotated = fixture.secrets.rotate(&db, &door).await.unwrap();
    assert_eq!(rotated.previous, db.with_version(&first).unwrap());
    assert_eq!(
        rotated.retire_at,
        fixture.clock.now() + TimeDelta::minutes(15)
    );
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "key+");
    assert_eq!(
        fixture.text(&rotated.previous.to_string()).await.unwrap(),
        "key"
    );
    assert_eq!(*door.keys.lock(), ["key", "key+"]);

    let stored = serde_json::to_string(&rotated).unwrap();
    let rotated: tenantry_secrets::Rotated = serde_json::from_str(&stored).unwrap();
    let early = fixture.secrets.retire(&rotated, &door).await.unwrap_err();
    assert_eq!(early.kind(), ErrorKind::InvalidInput);
    assert_eq!(*door.keys.lock(), ["key", "key+"]);
    fixture.clock.advance(Duration::from_secs(900));
    fixture.secrets.retire(&rotated, &door).await.unwrap();
    assert_eq!(*door.keys.lock(), ["key+"]);
    let gone = fixture
        .text(&rotated.previous.to_string())
        .await
        .unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::SecretDisabled);
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "key+");
}

#[tokio::test]
async fn a_value_that_does_not_let_in_is_not_stored() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "key").await;
    let door = Door {
        is_stuck: true,
        ..Door::default()
    };
    let db = reference("kv://vault/db");
    let error = fixture.secrets.rotate(&db, &door).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed);
    assert_eq!(fixture.vault.versions("db").await.unwrap().len(), 1);
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "key");
}

#[tokio::test]
async fn writes_need_a_vault_and_no_version_or_just_one() {
    let fixture = Fixture::new();
    let version = fixture.vault.store("db", "key").await;
    let versioned = reference("kv://vault/db").with_version(&version).unwrap();
    let put = async |text: &str| {
        let stored = fixture
            .secrets
            .put_new_version(&reference(text), Secret::new("x"), Default::default())
            .await;
        stored.map(drop).map_err(|error| error.kind())
    };
    assert_eq!(
        put(&versioned.to_string()).await,
        Err(ErrorKind::InvalidInput)
    );
    assert_eq!(put("env:X").await, Err(ErrorKind::Unsupported));
    assert_eq!(put("kv://other/db").await, Err(ErrorKind::UnknownVault));
    let disable = async |text: &str| {
        let done = fixture.secrets.disable_version(&reference(text)).await;
        done.map_err(|error| error.kind())
    };
    assert_eq!(disable("kv://vault/db").await, Err(ErrorKind::InvalidInput));
    assert_eq!(disable("env:X").await, Err(ErrorKind::Unsupported));
    assert_eq!(disable(&versioned.to_string()).await, Ok(()));
    assert_eq!(
        fixture.text("kv://vault/db").await.unwrap_err().kind(),
        ErrorKind::SecretDisabled
    );
}

#[tokio::test]
async fn what_ends_soon_is_listed_the_soonest_first() {
    let fixture = Fixture::new();
    let now = fixture.clock.now();
    for (name, days) in [
        ("late", Some(40)),
        ("soon", Some(3)),
        ("past", Some(-1)),
        ("never", None),
    ] {
        let attributes = SecretAttributes {
            not_before: None,
            expires_at: days.map(|days| now + TimeDelta::days(days)),
        };
        let stored = fixture
            .vault
            .put(name, &Secret::new("x"), &attributes)
            .await
            .unwrap();
        if name == "late" {
            fixture
                .vault
                .set_enabled(name, &stored.version, true)
                .await
                .unwrap();
        }
    }
    let month = Duration::from_secs(30 * 24 * 60 * 60);
    let expiring = fixture.secrets.list_expiring("Vault", month).await.unwrap();
    let names: Vec<_> = expiring
        .iter()
        .map(|secret| secret.reference.to_string()[..15].to_owned())
        .collect();
    assert_eq!(names, ["kv://vault/past", "kv://vault/soon"]);
    let error = fixture
        .secrets
        .list_expiring("other", month)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownVault);
}

#[tokio::test]
async fn what_was_written_is_used_though_reading_it_failed_at_first() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "one").await;
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "one");
    fixture.vault.fail([ErrorKind::Unavailable]);
    let (db, value) = (reference("kv://vault/db"), Secret::new("two"));
    let stored = fixture
        .secrets
        .put_new_version(&db, value, Default::default());
    stored.await.unwrap();
    fixture.clock.advance(Duration::from_secs(2));
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "two");
}

#[tokio::test]
async fn a_version_that_was_switched_off_here_is_refused_though_the_vault_is_down() {
    let fixture = Fixture::new();
    let version = fixture.vault.store("db", "one").await;
    let versioned = reference("kv://vault/db").with_version(&version).unwrap();
    let names = ["kv://vault/db".to_owned(), versioned.to_string()];
    for name in &names {
        fixture.text(name).await.unwrap();
    }
    fixture.vault.fail([ErrorKind::Unavailable; 4]);
    fixture.secrets.disable_version(&versioned).await.unwrap();
    for _ in 0..3 {
        for name in &names {
            fixture.text(name).await.unwrap_err();
        }
        fixture.clock.advance(Duration::from_secs(20));
    }
    let disabled = fixture.text(&names[0]).await.unwrap_err();
    assert_eq!(disabled.kind(), ErrorKind::SecretDisabled);
}

#[tokio::test]
async fn a_value_that_was_switched_off_is_not_offered_as_the_one_before() {
    for is_disabled_first in [true, false] {
        let fixture = Fixture::new();
        let version = fixture.vault.store("db", "one").await;
        let db = reference("kv://vault/db");
        let versioned = db.with_version(&version).unwrap();
        let watch = fixture.watch("kv://vault/db").await;
        let disable = async || fixture.secrets.disable_version(&versioned).await.unwrap();
        if is_disabled_first {
            disable().await;
        }
        let stored = fixture
            .secrets
            .put_new_version(&db, Secret::new("two"), Default::default());
        stored.await.unwrap();
        if !is_disabled_first {
            assert!(watch.generations().previous.is_some());
            disable().await;
        }
        let known = watch.generations();
        assert_eq!(known.current.secret().expose(), "two");
        assert!(known.previous.is_none());
    }
}

/// What was read before it was switched off is no word of the vault's against that.
#[tokio::test]
async fn a_read_from_before_does_not_bring_back_what_was_switched_off_meanwhile() {
    let fixture = Fixture::new();
    let version = fixture.vault.store("db", "one").await;
    let versioned = reference("kv://vault/db").with_version(&version).unwrap();
    let names = ["kv://vault/db".to_owned(), versioned.to_string()];
    for name in &names {
        fixture.text(name).await.unwrap();
    }
    let gate = fixture.vault.close();
    fixture.clock.advance(Duration::from_secs(241));
    for name in &names {
        fixture.text(name).await.unwrap();
    }
    settle().await;
    assert_eq!(fixture.vault.reads(), 4, "two are under way");
    fixture.vault.fail([ErrorKind::Unavailable; 10]);
    let disabling = tokio::spawn({
        let secrets = fixture.secrets.clone();
        async move { secrets.disable_version(&versioned).await }
    });
    settle().await;
    gate.add_permits(100);
    disabling.await.unwrap().unwrap();
    for _ in 0..3 {
        for name in &names {
            fixture.text(name).await.unwrap_err();
        }
        fixture.clock.advance(Duration::from_secs(2));
        settle().await;
    }
}

#[tokio::test]
async fn a_read_from_before_does_not_hide_what_was_written_meanwhile() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "one").await;
    fixture.text("kv://vault/db").await.unwrap();
    let gate = fixture.vault.close();
    fixture.clock.advance(Duration::from_secs(241));
    fixture.text("kv://vault/db").await.unwrap();
    settle().await;
    fixture.vault.fail([ErrorKind::Unavailable]);
    let storing = tokio::spawn({
        let secrets = fixture.secrets.clone();
        async move {
            let (db, value) = (reference("kv://vault/db"), Secret::new("two"));
            secrets
                .put_new_version(&db, value, Default::default())
                .await
        }
    });
    settle().await;
    gate.add_permits(100);
    storing.await.unwrap().unwrap();
    fixture.clock.advance(Duration::from_secs(2));
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "two");
}

/// Nobody asks for it meanwhile: those who follow a secret wait to be told.
#[tokio::test(start_paused = true)]
async fn followers_see_what_was_written_though_reading_it_failed_at_first() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "one").await;
    let watch = fixture.watch("kv://vault/db").await;
    fixture.vault.fail([ErrorKind::Unavailable; 2]);
    let (db, value) = (reference("kv://vault/db"), Secret::new("two"));
    let stored = fixture
        .secrets
        .put_new_version(&db, value, Default::default());
    stored.await.unwrap();
    let seen = tokio::time::timeout(Duration::from_secs(10), watch.changed_from(0));
    assert_eq!(
        seen.await.unwrap().current.secret().expose(),
        "two",
        "within seconds"
    );
}
