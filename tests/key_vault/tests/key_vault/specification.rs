//! The published specification, as far as it can be asked a question.
//!
//! The facts are those of version 2025-07-01:
//! <https://github.com/Azure/azure-rest-api-specs/blob/main/specification/keyvault/data-plane/Secrets/stable/2025-07-01/secrets.json>,
//! and, where a version of a secret may be left out of a path, of what that file is made from:
//! <https://github.com/Azure/azure-rest-api-specs/blob/main/specification/keyvault/data-plane/Secrets/routes.tsp>.

use serde_json::{Value, json};

use crate::support::{Fixture, Result};

const SECRET_BUNDLE: &[&str] = &[
    "value",
    "id",
    "contentType",
    "attributes",
    "tags",
    "kid",
    "managed",
    "previousVersion",
];
const SECRET_ITEM: &[&str] = &["id", "attributes", "tags", "contentType", "managed"];
const DELETED: &[&str] = &["recoveryId", "scheduledPurgeDate", "deletedDate"];
const LIST: &[&str] = &["value", "nextLink"];
const BACKUP: &[&str] = &["value"];
const RECOVERY_LEVELS: &[&str] = &[
    "Purgeable",
    "Recoverable+Purgeable",
    "Recoverable",
    "Recoverable+ProtectedSubscription",
    "CustomizedRecoverable+Purgeable",
    "CustomizedRecoverable",
    "CustomizedRecoverable+ProtectedSubscription",
];

/// Every operation, in an order in which each finds what it needs; with the one status that is not
/// an error, and the definition that its answer keeps to.
const OPERATIONS: &[(&str, &str, &str, u16, &str)] = &[
    ("SetSecret", "PUT", "/secrets/db", 200, "SecretBundle"),
    (
        "GetSecret",
        "GET",
        "/secrets/db/{version}",
        200,
        "SecretBundle",
    ),
    ("GetSecret", "GET", "/secrets/db", 200, "SecretBundle"),
    (
        "UpdateSecret",
        "PATCH",
        "/secrets/db/{version}",
        200,
        "SecretBundle",
    ),
    ("UpdateSecret", "PATCH", "/secrets/db", 200, "SecretBundle"),
    ("GetSecrets", "GET", "/secrets", 200, "SecretListResult"),
    (
        "GetSecretVersions",
        "GET",
        "/secrets/db/versions",
        200,
        "SecretListResult",
    ),
    (
        "BackupSecret",
        "POST",
        "/secrets/db/backup",
        200,
        "BackupSecretResult",
    ),
    (
        "DeleteSecret",
        "DELETE",
        "/secrets/db",
        200,
        "DeletedSecretBundle",
    ),
    (
        "GetDeletedSecrets",
        "GET",
        "/deletedsecrets",
        200,
        "DeletedSecretListResult",
    ),
    (
        "GetDeletedSecret",
        "GET",
        "/deletedsecrets/db",
        200,
        "DeletedSecretBundle",
    ),
    (
        "RecoverDeletedSecret",
        "POST",
        "/deletedsecrets/db/recover",
        200,
        "SecretBundle",
    ),
    (
        "DeleteSecret",
        "DELETE",
        "/secrets/db",
        200,
        "DeletedSecretBundle",
    ),
    (
        "PurgeDeletedSecret",
        "DELETE",
        "/deletedsecrets/db",
        204,
        "",
    ),
    (
        "RestoreSecret",
        "POST",
        "/secrets/restore",
        200,
        "SecretBundle",
    ),
];

#[tokio::test]
async fn every_operation_answers_as_it_is_defined() -> Result {
    let fixture = Fixture::start().await?;
    let (mut version, mut backup) = (String::new(), Value::Null);
    for (operation, method, path, status, definition) in OPERATIONS {
        let body = match *operation {
            "SetSecret" => json!({
                "value": "one",
                "contentType": "password",
                "tags": { "owner": "billing" },
                "attributes": { "enabled": true, "nbf": 1_700_000_000, "exp": 1_900_000_000 },
            }),
            "UpdateSecret" => json!({ "attributes": { "enabled": true } }),
            "RestoreSecret" => json!({ "value": backup }),
            _ => Value::Null,
        };
        let path = path.replace("{version}", &version);
        let reply = fixture.call(method, &path, body).await?;
        assert_eq!(reply.status, *status, "{operation}: {reply:?}");
        conforms(&reply.body, definition);
        match *operation {
            "SetSecret" => {
                let id = reply.body["id"].as_str().unwrap_or_default();
                version = id.rsplit('/').next().unwrap_or_default().to_owned();
            }
            "BackupSecret" => backup = reply.body["value"].clone(),
            _ => {}
        }
    }
    Ok(())
}

#[tokio::test]
async fn values_are_answered_by_get_and_set_alone() -> Result {
    let fixture = Fixture::start().await?;
    fixture.vault.set_secret("db", "canary")?;
    let told = |reply: &Value| reply.to_string().contains("canary");
    let none = || Value::Null;
    assert!(told(
        &fixture.call("GET", "/secrets/db", none()).await?.ok()
    ));
    let body = json!({ "value": "canary" });
    assert!(told(&fixture.call("PUT", "/secrets/db", body).await?.ok()));
    for (method, path) in [
        ("GET", "/secrets"),
        ("GET", "/secrets/db/versions"),
        ("PATCH", "/secrets/db"),
        ("POST", "/secrets/db/backup"),
        ("DELETE", "/secrets/db"),
        ("GET", "/deletedsecrets"),
        ("GET", "/deletedsecrets/db"),
        ("POST", "/deletedsecrets/db/recover"),
    ] {
        let body = if method == "PATCH" { json!({}) } else { none() };
        let reply = fixture.call(method, path, body).await?.ok();
        assert!(!told(&reply), "{method} {path}");
    }
    Ok(())
}

#[tokio::test]
async fn the_version_of_the_protocol_is_required() -> Result {
    let fixture = Fixture::start().await?;
    fixture.vault.set_secret("db", "one")?;
    let url = "https://orders.vault.azure.net/secrets/db";
    let token = Some(fixture.token.secret());
    for good in [
        "7.4",
        "7.5",
        "7.6",
        "7.6-preview.2",
        "2025-07-01",
        "2026-04-01",
    ] {
        let url = format!("{url}?api-version={good}");
        fixture.send("GET", &url, token, Value::Null).await?.ok();
    }
    for bad in ["", "?api-version=", "?api-version=7", "?api-version=latest"] {
        let reply = fixture
            .send("GET", &format!("{url}{bad}"), token, Value::Null)
            .await?;
        conforms(&reply.body, "KeyVaultError");
        assert_eq!(reply.error(), (400, "BadParameter", ""), "{bad}");
    }
    Ok(())
}

#[tokio::test]
async fn the_previous_version_is_told_by_the_newer_protocol_alone() -> Result {
    let fixture = Fixture::start().await?;
    let first = fixture.vault.set_secret("db", "one")?;
    fixture.vault.set_secret("db", "two")?;
    let token = Some(fixture.token.secret());
    for (version, previous) in [("7.6", Value::Null), ("2025-07-01", json!(first))] {
        let url = format!("https://orders.vault.azure.net/secrets/db?api-version={version}");
        let secret = fixture.send("GET", &url, token, Value::Null).await?.ok();
        assert_eq!(secret["previousVersion"], previous);
    }
    Ok(())
}

#[tokio::test]
async fn a_value_is_required_and_properties_have_their_types() -> Result {
    let fixture = Fixture::start().await?;
    for body in [
        json!({}),
        json!({ "value": null }),
        json!({ "value": 1 }),
        json!({ "value": "one", "contentType": 1 }),
        json!({ "value": "one", "tags": { "owner": 1 } }),
        json!({ "value": "one", "attributes": { "enabled": "yes" } }),
        json!({ "value": "one", "attributes": { "exp": "2026-01-31" } }),
        json!(["one"]),
    ] {
        let reply = fixture.call("PUT", "/secrets/db", body.clone()).await?;
        conforms(&reply.body, "KeyVaultError");
        assert_eq!(reply.error(), (400, "BadParameter", ""), "{body}");
        assert!(!reply.body.to_string().contains("one"), "{reply:?}");
    }
    let restored = fixture.call("POST", "/secrets/restore", json!({})).await?;
    assert_eq!(restored.error(), (400, "BadParameter", ""));
    Ok(())
}

#[tokio::test]
async fn a_page_has_one_to_twenty_five_items() -> Result {
    let fixture = Fixture::start().await?;
    for size in ["0", "26", "-1", "many"] {
        let path = format!("/secrets?maxresults={size}");
        let reply = fixture.call("GET", &path, Value::Null).await?;
        assert_eq!(reply.error(), (400, "BadParameter", ""), "{size}");
    }
    for size in ["1", "25"] {
        let path = format!("/secrets?maxresults={size}");
        fixture.call("GET", &path, Value::Null).await?.ok();
    }
    Ok(())
}

/// Checks that a body has the properties of a definition and no others, each of its type.
fn conforms(body: &Value, definition: &str) {
    match definition {
        "SecretBundle" => object(body, SECRET_BUNDLE),
        "DeletedSecretBundle" => deleted(body, SECRET_BUNDLE),
        "SecretListResult" => list(body, |item| object(item, SECRET_ITEM)),
        "DeletedSecretListResult" => list(body, |item| deleted(item, SECRET_ITEM)),
        "BackupSecretResult" => {
            known(body, BACKUP);
            let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            let value = body["value"].as_str().unwrap_or_default();
            assert!(!value.is_empty() && value.bytes().all(is_base64url));
        }
        "KeyVaultError" => {
            known(body, &["error"]);
            known(&body["error"], &["code", "message", "innererror"]);
            text(&body["error"], &["code", "message"]);
        }
        "" => assert!(body.is_null()),
        other => panic!("{other} is no definition"),
    }
}

fn list(body: &Value, item: impl Fn(&Value)) {
    known(body, LIST);
    let items = body["value"].as_array().expect("a list");
    assert!(!items.is_empty());
    items.iter().for_each(item);
    assert!(body["nextLink"].is_null() || body["nextLink"].is_string());
}

fn deleted(body: &Value, properties: &[&str]) {
    object(body, &[properties, DELETED].concat());
    text(body, &["recoveryId"]);
    integers(body, &["scheduledPurgeDate", "deletedDate"]);
}

fn object(body: &Value, properties: &[&str]) {
    known(body, properties);
    text(body, &["id"]);
    assert_eq!(body["contentType"], "password");
    assert_eq!(body["tags"], json!({ "owner": "billing" }));
    let attributes = &body["attributes"];
    known(
        attributes,
        &[
            "enabled",
            "nbf",
            "exp",
            "created",
            "updated",
            "recoverableDays",
            "recoveryLevel",
        ],
    );
    assert_eq!(attributes["enabled"], true);
    assert_eq!(attributes["nbf"], 1_700_000_000);
    assert_eq!(attributes["exp"], 1_900_000_000);
    integers(attributes, &["created", "updated", "recoverableDays"]);
    let level = attributes["recoveryLevel"].as_str().unwrap_or_default();
    assert!(RECOVERY_LEVELS.contains(&level), "{level}");
}

fn known(body: &Value, properties: &[&str]) {
    for name in body.as_object().expect("an object").keys() {
        assert!(properties.contains(&name.as_str()), "{name} is not defined");
    }
}

fn text(body: &Value, properties: &[&str]) {
    for name in properties {
        assert!(body[name].is_string(), "{name} is no string");
    }
}

fn integers(body: &Value, properties: &[&str]) {
    for name in properties {
        assert!(body[name].is_i64(), "{name} is no integer");
    }
}
