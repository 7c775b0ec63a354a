//! `tenantry secrets expiring` over vaults in files, and what the doctor tells of them.

#![cfg(all(feature = "file-vault", feature = "sqlite"))]
#![allow(clippy::unwrap_used, reason = "a set-up that fails ends the test")]

mod support;

use chrono::{DateTime, TimeDelta, Utc};
use support::{Service, status, told};
use tenantry::secrets::{FileVault, FileVaultKey, SecretAttributes, Vault as _};
use tenantry_core::{Clock as _, Secret, SystemClock};

/// A service whose vault `local` is in a file.
async fn with_vault(service: &Service) -> FileVault {
    let (file, key) = (service.path("vault.age"), service.path("vault.key"));
    FileVault::create_key(&key).await.unwrap();
    support::file(&service.path("tenants.db")).await;
    service.settings(&format!(
        "[database]\nurl = \"sqlite:{}\"\n[[vaults]]\nname = \"local\"\nurl = \"file:{}\"\nkey_file = \"{}\"\n",
        service.path("tenants.db").display(),
        file.display(),
        key.display()
    ));
    FileVault::open(file, FileVaultKey::file(key))
        .await
        .unwrap()
}

async fn put(vault: &FileVault, name: &str, value: &str, end: Option<DateTime<Utc>>) -> String {
    let attributes = SecretAttributes {
        expires_at: end,
        ..SecretAttributes::default()
    };
    let stored = vault.put(name, &Secret::new(value), &attributes).await;
    stored.unwrap().version.to_string()
}

#[tokio::test]
async fn what_ends_soon_is_listed_with_name_version_and_days_and_no_value() {
    let mut service = Service::new();
    let vault = with_vault(&service).await;
    let in_days = |days| Some(SystemClock.now() + TimeDelta::days(days) + TimeDelta::hours(1));
    let expiring = ["secrets", "expiring"];
    assert_eq!(
        service.run(&expiring).await,
        (0, "0 secrets in 1 vault\n".to_owned())
    );
    for value in [
        "hunter2-a",
        "hunter2-b",
        "hunter2-c",
        "hunter2-d",
        "hunter2-e",
    ] {
        service.hides(value);
    }
    put(&vault, "rotated", "hunter2-a", in_days(1)).await;
    put(&vault, "rotated", "hunter2-b", in_days(300)).await;
    let soon = put(&vault, "smtp-password", "hunter2-c", in_days(20)).await;
    put(&vault, "api-key", "hunter2-d", in_days(40)).await;
    put(&vault, "endless", "hunter2-e", None).await;

    let (code, listed) = service.json(&expiring).await;
    assert_eq!(code, 1, "{listed:#}");
    let list = listed["expiring"].as_array().unwrap();
    assert_eq!(list.len(), 1, "{listed:#}");
    assert_eq!(
        (
            &list[0]["secret"],
            &list[0]["version"],
            &list[0]["days_left"],
            &list[0]["has_expired"]
        ),
        (
            &"kv://local/smtp-password".into(),
            &soon.into(),
            &20.into(),
            &false.into()
        )
    );
    let (code, lines) = service
        .run(&[&expiring[..], &["--within", "60d"]].concat())
        .await;
    let names: Vec<_> = lines
        .lines()
        .map(|line| line.split_whitespace().find(|it| it.starts_with("kv://")))
        .collect();
    assert_eq!(
        (code, &names[..]),
        (
            1,
            &[
                Some("kv://local/smtp-password"),
                Some("kv://local/api-key"),
                None
            ][..]
        ),
        "{lines}"
    );
    let (code, lines) = service
        .run(&[&expiring[..], &["--within", "7d"]].concat())
        .await;
    assert_eq!(code, 0, "{lines}");
    let (code, lines) = service
        .run(&[&expiring[..], &["--within", "soon"]].concat())
        .await;
    assert_eq!(code, 2, "{lines}");
}

#[tokio::test]
async fn what_has_expired_is_listed_whatever_is_asked_for() {
    let mut service = Service::new();
    let vault = with_vault(&service).await;
    service.hides("hunter2");
    put(
        &vault,
        "old",
        "hunter2",
        Some(SystemClock.now() - TimeDelta::hours(73)),
    )
    .await;
    let (code, listed) = service
        .json(&["secrets", "expiring", "--within", "1s"])
        .await;
    assert_eq!(code, 1, "{listed:#}");
    assert_eq!(listed["expiring"][0]["has_expired"], true);
    assert_eq!(listed["expiring"][0]["days_left"], -3);
    let (_, lines) = service.run(&["secrets", "expiring"]).await;
    assert!(lines.contains("expired"), "{lines}");
}

#[tokio::test]
async fn a_vault_that_does_not_open_is_told() {
    let mut service = Service::new();
    drop(with_vault(&service).await);
    service.hides("no key at all");
    std::fs::write(service.path("vault.key"), "no key at all").unwrap();
    let (code, written) = service.run(&["secrets", "expiring"]).await;
    assert_eq!(code, 2, "{written}");
    // What needs no secret of it is looked at all the same.
    let (code, report) = service.json(&["doctor"]).await;
    assert_eq!((code, &*status(&report, "vaults", "open")), (1, "failure"));
    assert_eq!(status(&report, "database", "isolation"), "ok");
}

#[tokio::test]
async fn settings_without_a_vault_have_nothing_that_ends() {
    let service = Service::new();
    service.settings("[database]\nurl = \"sqlite:/nowhere.db\"\n");
    let (code, written) = service.run(&["secrets", "expiring"]).await;
    assert!(code == 2 && written.contains("add [[vaults]]"), "{written}");
}

#[tokio::test]
async fn the_doctor_tells_of_references_that_lead_nowhere_and_of_those_that_end() {
    let mut service = Service::new();
    let vault = with_vault(&service).await;
    service.hides("hunter2");
    let text = std::fs::read_to_string(service.path("service.toml")).unwrap();
    let platform = "[platform]\nurl = \"postgres://platform@127.0.0.1:1/billing\"\n\
                    password = \"kv://local/db-password\"\n";
    service.settings(&format!("{platform}{text}"));
    let (code, report) = service.json(&["doctor"]).await;
    assert_eq!(code, 1);
    assert_eq!(status(&report, "vault local", "connection"), "ok");
    let secret = told(&report, "secret platform.password", "resolves");
    assert!(
        secret[0].0 == "failure" && secret[0].2.contains("platform.password"),
        "{secret:?}"
    );
    put(
        &vault,
        "db-password",
        "hunter2",
        Some(SystemClock.now() + TimeDelta::days(5)),
    )
    .await;
    let (_, report) = service.json(&["doctor"]).await;
    assert_eq!(
        status(&report, "secret platform.password", "resolves"),
        "ok"
    );
    let expiry = told(&report, "secret platform.password", "expiry");
    assert!(
        expiry[0].0 == "warning" && expiry[0].1.contains("db-password"),
        "{expiry:?}"
    );
    // The server is not there: that is another finding.
    assert_eq!(status(&report, "platform", "connection"), "failure");
}
