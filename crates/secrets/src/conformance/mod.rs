//! What every vault must do, as a function to call: the contract in a form that runs.
//!
//! The names in here may change in any release.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tenantry_core::{Error, ErrorKind, Secret};
use uuid::Uuid;

use crate::vault::{SecretAttributes, SecretVersion, Validity, Vault};

/// Holds a vault to the contract of [`Vault`].
///
/// It takes names that nobody has used yet, and leaves them behind: any vault will do.
///
/// # Panics
///
/// If the vault breaks its contract; the message says in what.
pub async fn vault_conformance(vault: &dyn Vault) {
    vault.check().await.expect("a vault that is there answers");
    what_was_never_stored_is_not_found(vault).await;
    names_and_versions_have_no_case(vault).await;
    the_newest_is_the_last_stored_enabled_or_not(vault).await;
    versions_come_oldest_first_each_with_its_value(vault).await;
    versions_are_switched_off_and_on(vault).await;
    attributes_come_back(vault).await;
    values_come_back_as_they_were(vault).await;
    concurrent_puts_are_all_stored(vault).await;
    a_dropped_put_is_whole_or_nothing(vault).await;
    errors_show_no_value(vault).await;
}

const UNKNOWN: &str = "00000000000000000000000000000000";

async fn what_was_never_stored_is_not_found(vault: &dyn Vault) {
    let name = &new_name();
    assert_not_found(vault.read(name, None).await.map(drop));
    assert_not_found(vault.read(name, Some(UNKNOWN)).await.map(drop));
    assert_not_found(vault.versions(name).await.map(drop));
    assert_not_found(vault.set_enabled(name, UNKNOWN, false).await);

    put(vault, name, "value").await;
    assert_not_found(vault.read(name, Some(UNKNOWN)).await.map(drop));
    assert_not_found(vault.set_enabled(name, UNKNOWN, false).await);
}

async fn names_and_versions_have_no_case(vault: &dyn Vault) {
    let name = &new_name();
    let upper = &name.to_ascii_uppercase();
    let first = put(vault, name, "one").await;
    let second = put_ending(vault, upper, "two").await;
    assert_eq!(value(vault, name, None).await, "two");
    assert_eq!(value(vault, upper, None).await, "two");
    let first_in_upper = first.version.to_ascii_uppercase();
    assert_eq!(value(vault, upper, Some(&first_in_upper)).await, "one");
    assert_eq!(ids(vault, upper).await, [first.version, second.version]);
    let newest = vault.newest().await.expect("newest");
    let same = |(other, _): &&(String, SecretVersion)| other.eq_ignore_ascii_case(name);
    assert_eq!(
        newest.iter().filter(same).count(),
        1,
        "one secret, one line"
    );
}

async fn the_newest_is_the_last_stored_enabled_or_not(vault: &dyn Vault) {
    let name = &new_name();
    put(vault, name, "old").await;
    let last = put(vault, name, "new").await;
    assert_eq!(value(vault, name, None).await, "new");
    set_enabled(vault, name, &last, false).await;
    match vault.read(name, None).await {
        Ok(record) => {
            assert_eq!(record.version.as_ref(), Some(&last.version));
            assert!(!record.validity.enabled, "it is switched off, and says so");
        }
        Err(error) => assert_eq!(error.kind(), ErrorKind::SecretDisabled, "{error}"),
    }
    // A list of the newest may leave it out.
    if let Some(newest) = newest_of(vault, name).await {
        assert_eq!(newest.version, last.version);
        assert!(!newest.validity.enabled);
    }
}

async fn versions_come_oldest_first_each_with_its_value(vault: &dyn Vault) {
    let name = &new_name();
    let mut stored = Vec::new();
    for number in 0..5 {
        stored.push(put_ending(vault, name, &format!("value {number}")).await);
    }
    assert_eq!(vault.versions(name).await.expect("versions"), stored);
    let newest = newest_of(vault, name).await;
    assert_eq!(newest.as_ref(), stored.last(), "what ends is listed");
    for (number, version) in stored.iter().enumerate() {
        let is_hex = version.version.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_hex && version.version.len() == 32, "32 digits");
        let kept = value(vault, name, Some(&version.version)).await;
        assert_eq!(kept, format!("value {number}"));
    }
    let are_in_order = stored.is_sorted_by_key(|version| version.created_at);
    assert!(are_in_order, "time does not go back");
}

async fn versions_are_switched_off_and_on(vault: &dyn Vault) {
    let name = &new_name();
    let first = put(vault, name, "one").await;
    let second = put(vault, name, "two").await;
    assert!(first.validity.enabled, "a new version is enabled");
    set_enabled(vault, name, &first, false).await;
    set_enabled(vault, name, &first, false).await;
    let versions = vault.versions(name).await.expect("versions");
    let enabled: Vec<_> = versions.iter().map(|one| one.validity.enabled).collect();
    assert_eq!(enabled, [false, true], "one version, and no other");
    match vault.read(name, Some(&first.version)).await {
        Ok(record) => assert!(!record.validity.enabled),
        Err(error) => assert_eq!(error.kind(), ErrorKind::SecretDisabled, "{error}"),
    }
    set_enabled(vault, name, &first, true).await;
    assert_eq!(value(vault, name, Some(&first.version)).await, "one");
    assert_eq!(value(vault, name, None).await, "two");
    assert_eq!(ids(vault, name).await, [first.version, second.version]);
}

async fn attributes_come_back(vault: &dyn Vault) {
    for attributes in [
        SecretAttributes::default(),
        SecretAttributes {
            not_before: Some(at("2020-02-29T00:00:00Z")),
            expires_at: Some(at("2020-03-01T12:30:45Z")),
        },
        SecretAttributes {
            not_before: Some(at("2099-12-31T23:59:59Z")),
            expires_at: None,
        },
        SecretAttributes {
            not_before: None,
            expires_at: Some(at("2099-12-31T23:59:59Z")),
        },
    ] {
        let name = &new_name();
        let stored = vault.put(name, &Secret::new("value"), &attributes).await;
        let stored = stored.expect("put");
        let expected = Validity {
            enabled: true,
            not_before: attributes.not_before,
            expires_at: attributes.expires_at,
        };
        assert_eq!(stored.validity, expected);
        assert_eq!(vault.versions(name).await.expect("versions"), [stored]);
        match vault.read(name, None).await {
            Ok(record) => assert_eq!(record.validity, expected),
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    ErrorKind::SecretExpired | ErrorKind::SecretNotYetValid
                ),
                "{error}"
            ),
        }
    }
}

async fn values_come_back_as_they_were(vault: &dyn Vault) {
    let name = &new_name();
    let largest = "k".repeat(25 * 1024);
    for wanted in [
        "\"quoted\" \\ and\nbroken\r\n\ttext ",
        "Grüße, 鍵, 🔑",
        "Server=db;Password=p%40ss'w\"rd;",
        &largest,
    ] {
        put(vault, name, wanted).await;
        let found = value(vault, name, None).await;
        assert!(found == wanted, "{} bytes changed", wanted.len());
    }
}

async fn concurrent_puts_are_all_stored(vault: &dyn Vault) {
    let name = &new_name();
    let values: Vec<_> = (0..16).map(|number| format!("value {number}")).collect();
    let stored = join_all(values.iter().map(|value| put(vault, name, value))).await;
    for (version, wanted) in stored.iter().zip(&values) {
        assert_eq!(&value(vault, name, Some(&version.version)).await, wanted);
    }
    let stored: BTreeSet<_> = stored.into_iter().map(|one| one.version).collect();
    assert_eq!(stored.len(), values.len(), "each has a version of its own");
    let listed = ids(vault, name).await;
    assert_eq!(listed.len(), values.len(), "none is stored twice");
    assert_eq!(stored, listed.into_iter().collect());
}

async fn a_dropped_put_is_whole_or_nothing(vault: &dyn Vault) {
    let name = &new_name();
    let secret = Secret::new("dropped");
    let mut whole = 0;
    for _ in 0..4 {
        let attributes = SecretAttributes::default();
        let put = vault.put(name, &secret, &attributes);
        if put.now_or_never().is_some() {
            whole += 1;
        }
    }
    // What goes on in the background has its turn before this.
    let last = put(vault, name, "last").await;
    let versions = vault.versions(name).await.expect("versions");
    assert!((whole + 1..=5).contains(&versions.len()));
    for version in versions {
        let wanted = if version == last { "last" } else { "dropped" };
        assert_eq!(value(vault, name, Some(&version.version)).await, wanted);
    }
}

async fn errors_show_no_value(vault: &dyn Vault) {
    let canary = &format!("canary-{}", Uuid::new_v4().simple());
    let name = &new_name();
    let version = put(vault, name, canary).await;
    let unseen = |text: String| assert!(!text.contains(canary), "a value is shown");
    unseen(format!("{vault:?} {version:?}"));
    unseen(format!("{:?}", vault.read(name, None).await));
    unseen(format!("{:?}", vault.versions(name).await));
    unseen(format!("{:?}", vault.newest().await));
    unseen(format!("{:?}", vault.read(name, Some(UNKNOWN)).await));
    // A value in the place of a name, as a person pastes it.
    let error = vault.read(canary, None).await.expect_err("no such secret");
    unseen(format!("{error:?} {error}"));
    let error = vault.set_enabled(canary, UNKNOWN, true).await;
    let error = error.expect_err("no such secret");
    unseen(format!("{error:?} {error}"));
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

fn new_name() -> String {
    format!("conformance-{}", Uuid::new_v4().simple())
}

async fn put(vault: &dyn Vault, name: &str, value: &str) -> SecretVersion {
    let attributes = SecretAttributes::default();
    let stored = vault.put(name, &Secret::new(value), &attributes).await;
    stored.expect("put")
}

/// Stores a version with an end, which is among the newest then.
async fn put_ending(vault: &dyn Vault, name: &str, value: &str) -> SecretVersion {
    let attributes = SecretAttributes {
        not_before: None,
        expires_at: Some(at("2099-12-31T23:59:59Z")),
    };
    let stored = vault.put(name, &Secret::new(value), &attributes).await;
    stored.expect("put")
}

async fn value(vault: &dyn Vault, name: &str, version: Option<&str>) -> String {
    let record = vault.read(name, version).await.expect("read");
    assert!(record.version.is_some(), "a vault keeps versions");
    record.secret.expose().to_owned()
}

async fn set_enabled(vault: &dyn Vault, name: &str, version: &SecretVersion, enabled: bool) {
    let set = vault.set_enabled(name, &version.version, enabled).await;
    set.expect("set_enabled");
}

async fn ids(vault: &dyn Vault, name: &str) -> Vec<Arc<str>> {
    let versions = vault.versions(name).await.expect("versions");
    versions.into_iter().map(|one| one.version).collect()
}

async fn newest_of(vault: &dyn Vault, name: &str) -> Option<SecretVersion> {
    let newest = vault.newest().await.expect("newest");
    let found = newest
        .into_iter()
        .find(|(other, _)| other.eq_ignore_ascii_case(name));
    found.map(|(_, version)| version)
}

fn assert_not_found(outcome: Result<(), Error>) {
    let error = outcome.expect_err("nothing is stored there");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}
