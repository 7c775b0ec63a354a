//! The server against the examples that are published with version 2025-06-01 of the protocol: of each,
//! the request, the status, and every property of the answer that does not name an account or a time.
//!
//! <https://github.com/Azure/azure-rest-api-specs/tree/main/specification/storage/resource-manager/Microsoft.Storage/stable/2025-06-01/examples>

use serde_json::{Value, json};

use crate::support::{Fixture, Reply, Result};

const CONTAINER: &str = "/blobServices/default/containers/container6185";
const POLICY: &str = "/blobServices/default/containers/container6185/immutabilityPolicies/default";

async fn with_container(body: Value) -> Result<Fixture> {
    let fixture = Fixture::bare().await?;
    let versions = json!({"properties": {"isVersioningEnabled": true}});
    fixture
        .call("PUT", "/blobServices/default", versions)
        .await?
        .ok();
    fixture.call("PUT", CONTAINER, body).await?.ok();
    Ok(fixture)
}

fn days(days: u32) -> Value {
    json!({"properties": {"immutabilityPeriodSinceCreationInDays": days}})
}

/// Asserts that all of what is expected is in what came.
#[track_caller]
fn assert_has(reply: &Reply, expected: &Value) {
    fn has(found: &Value, expected: &Value) -> bool {
        match expected {
            Value::Object(properties) => properties.iter().all(|(name, it)| has(&found[name], it)),
            // The service writes days with a point.
            Value::Number(number) => found.as_f64() == number.as_f64(),
            Value::Array(items) => {
                let found = found.as_array().map(Vec::as_slice).unwrap_or_default();
                found.len() == items.len() && found.iter().zip(items).all(|(a, b)| has(a, b))
            }
            _ => found == expected,
        }
    }
    assert!(has(&reply.body, expected), "{reply:?}\n{expected}");
}

#[tokio::test]
async fn blob_containers_put_and_get() -> Result {
    let fixture = Fixture::bare().await?;
    let reply = fixture.call("PUT", CONTAINER, json!({})).await?;
    assert_eq!(reply.status, 201);
    let resource = json!({
        "id": format!("{}{CONTAINER}", fixture.path()),
        "name": "container6185",
        "type": "Microsoft.Storage/storageAccounts/blobServices/containers",
    });
    assert_has(&reply, &resource);
    assert_eq!(fixture.call("PUT", CONTAINER, json!({})).await?.status, 200);
    let reply = fixture.call("GET", CONTAINER, Value::Null).await?;
    assert_has(&reply, &resource);
    assert_has(
        &reply,
        &json!({"properties": {
            "publicAccess": "None", "leaseStatus": "Unlocked", "leaseState": "Available",
            "hasImmutabilityPolicy": false, "hasLegalHold": false,
        }}),
    );
    assert_eq!(
        reply.etag.as_deref(),
        reply.body["etag"].as_str(),
        "with its quotes"
    );
    Ok(())
}

#[tokio::test]
async fn blob_containers_put_object_level_worm() -> Result {
    let body = json!({"properties": {"immutableStorageWithVersioning": {"enabled": true}}});
    let fixture = with_container(body.clone()).await?;
    let reply = fixture.call("GET", CONTAINER, Value::Null).await?;
    assert_has(&reply, &body);
    // It is said when a container is created, or never.
    let late = "/blobServices/default/containers/another";
    fixture.call("PUT", late, json!({})).await?.ok();
    assert_eq!(fixture.call("PUT", late, body.clone()).await?.status, 409);
    // And it takes versions, of an account without folders.
    let bare = Fixture::bare().await?;
    assert_eq!(bare.call("PUT", CONTAINER, body).await?.status, 409);
    Ok(())
}

#[tokio::test]
async fn blob_containers_immutability_policy_from_put_to_extend() -> Result {
    let fixture = with_container(json!({})).await?;
    let body = json!({"properties": {
        "immutabilityPeriodSinceCreationInDays": 3, "allowProtectedAppendWrites": true,
    }});
    let put = fixture.call("PUT", POLICY, body).await?;
    assert_eq!(put.status, 200);
    assert_has(
        &put,
        &json!({
            "id": format!("{}{POLICY}", fixture.path()),
            "name": "default",
            "type": "Microsoft.Storage/storageAccounts/blobServices/containers/immutabilityPolicies",
            "properties": {
                "immutabilityPeriodSinceCreationInDays": 3,
                "allowProtectedAppendWrites": true,
                "state": "Unlocked",
            },
        }),
    );
    let etag = put.etag.clone();
    assert_eq!(put.body["etag"].as_str(), etag.as_deref());
    let get = fixture.call("GET", POLICY, Value::Null).await?;
    assert_eq!((get.status, &get.etag), (200, &etag));

    let lock = format!("{POLICY}/lock");
    // The examples leave the quotes of the etag out.
    let bare = etag.as_deref().map(|it| it.trim_matches('"').to_owned());
    let locked = fixture
        .call_if("POST", &lock, bare.as_deref(), Value::Null)
        .await?;
    assert_eq!(locked.status, 200);
    assert_has(
        &locked,
        &json!({"properties": {"immutabilityPeriodSinceCreationInDays": 3, "state": "Locked"}}),
    );
    assert_ne!(locked.etag, etag);

    let extend = format!("{POLICY}/extend");
    let extended = fixture
        .call_if("POST", &extend, locked.etag.as_deref(), days(100))
        .await?;
    assert_has(
        &extended,
        &json!({"properties": {"immutabilityPeriodSinceCreationInDays": 100, "state": "Locked"}}),
    );
    let container = fixture.call("GET", CONTAINER, Value::Null).await?;
    assert_has(
        &container,
        &json!({"properties": {
            "hasImmutabilityPolicy": true,
            "immutabilityPolicy": {
                "etag": extended.etag,
                "properties": {"immutabilityPeriodSinceCreationInDays": 100, "state": "Locked"},
            },
        }}),
    );
    Ok(())
}

#[tokio::test]
async fn blob_containers_delete_immutability_policy() -> Result {
    let fixture = with_container(json!({})).await?;
    let put = fixture.call("PUT", POLICY, days(3)).await?;
    let deleted = fixture
        .call_if("DELETE", POLICY, put.etag.as_deref(), Value::Null)
        .await?;
    assert_eq!(deleted.status, 200);
    assert_has(
        &deleted,
        &json!({"properties": {"immutabilityPeriodSinceCreationInDays": 0, "state": "Unlocked"}}),
    );
    let gone = fixture.call("GET", POLICY, Value::Null).await?;
    assert_eq!(gone.status, 404);
    Ok(())
}

#[tokio::test]
async fn blob_containers_set_and_clear_legal_hold() -> Result {
    let fixture = with_container(json!({})).await?;
    let tags = json!({"tags": ["tag1", "tag2", "tag3"]});
    let set = fixture
        .call("POST", &format!("{CONTAINER}/setLegalHold"), tags.clone())
        .await?;
    assert_eq!(set.status, 200);
    assert_has(
        &set,
        &json!({"hasLegalHold": true, "tags": ["tag1", "tag2", "tag3"]}),
    );
    let container = fixture.call("GET", CONTAINER, Value::Null).await?;
    assert_has(
        &container,
        &json!({"properties": {"hasLegalHold": true, "legalHold": {
            "hasLegalHold": true, "tags": [{"tag": "tag1"}, {"tag": "tag2"}, {"tag": "tag3"}],
        }}}),
    );
    let cleared = fixture
        .call("POST", &format!("{CONTAINER}/clearLegalHold"), tags)
        .await?;
    assert_has(&cleared, &json!({"hasLegalHold": false, "tags": []}));
    Ok(())
}

#[tokio::test]
async fn blob_services_put_and_get() -> Result {
    let fixture = Fixture::bare().await?;
    let properties = json!({"properties": {
        "cors": {"corsRules": [{"allowedOrigins": ["*"], "maxAgeInSeconds": 2}]},
        "defaultServiceVersion": "2017-07-29",
        "deleteRetentionPolicy": {"enabled": true, "days": 300},
        "isVersioningEnabled": true,
        "changeFeed": {"enabled": true, "retentionInDays": 7},
    }});
    let path = "/blobServices/default";
    for reply in [
        fixture.call("PUT", path, properties.clone()).await?,
        fixture.call("GET", path, Value::Null).await?,
    ] {
        assert_eq!(reply.status, 200);
        assert_has(&reply, &properties);
        assert_has(
            &reply,
            &json!({"name": "default", "type": "Microsoft.Storage/storageAccounts/blobServices"}),
        );
    }
    Ok(())
}

#[tokio::test]
async fn management_policies_put_get_and_delete() -> Result {
    let fixture = Fixture::bare().await?;
    let rule = |name: &str, container: &str| {
        json!({
            "enabled": true, "name": name, "type": "Lifecycle",
            "definition": {
                "filters": {
                    "blobTypes": ["blockBlob"], "prefixMatch": [container],
                    "blobIndexMatch": [{"name": "tag1", "op": "==", "value": "val1"}],
                },
                "actions": {
                    "baseBlob": {
                        "tierToCool": {"daysAfterModificationGreaterThan": 30},
                        "tierToArchive": {"daysAfterModificationGreaterThan": 90},
                        "delete": {"daysAfterModificationGreaterThan": 1000},
                    },
                    "snapshot": {"delete": {"daysAfterCreationGreaterThan": 30}},
                },
            },
        })
    };
    let body = json!({"properties": {"policy": {"rules": [
        rule("olcmtest1", "olcmtestcontainer1"), rule("olcmtest2", "olcmtestcontainer2"),
    ]}}});
    let path = "/managementPolicies/default";
    let none = fixture.call("GET", path, Value::Null).await?;
    assert_eq!(none.error(), (404, "ManagementPolicyNotFound"));
    for reply in [
        fixture.call("PUT", path, body.clone()).await?,
        fixture.call("GET", path, Value::Null).await?,
    ] {
        assert_eq!(reply.status, 200);
        assert_has(&reply, &body);
        assert_has(
            &reply,
            &json!({
                "name": "DefaultManagementPolicy",
                "type": "Microsoft.Storage/storageAccounts/managementPolicies",
            }),
        );
        assert!(reply.body["properties"]["lastModifiedTime"].is_string());
    }
    assert_eq!(fixture.call("DELETE", path, Value::Null).await?.status, 200);
    assert_eq!(
        fixture.call("DELETE", path, Value::Null).await?.status,
        204,
        "twice"
    );
    Ok(())
}

#[tokio::test]
async fn encryption_scopes_put_patch_and_get() -> Result {
    let fixture = Fixture::bare().await?;
    let path = "/encryptionScopes/scope-a";
    let put = fixture.call("PUT", path, json!({})).await?;
    assert_eq!(put.status, 201);
    assert_has(
        &put,
        &json!({
            "name": "scope-a",
            "type": "Microsoft.Storage/storageAccounts/encryptionScopes",
            "properties": {"source": "Microsoft.Storage", "state": "Enabled"},
        }),
    );
    assert_eq!(fixture.call("PUT", path, json!({})).await?.status, 200);
    let key = json!({"properties": {
        "source": "Microsoft.KeyVault",
        "keyVaultProperties": {"keyUri": "https://testvault.vault.core.windows.net/keys/key1/863425f1358359c"},
    }});
    let patched = fixture.call("PATCH", path, key.clone()).await?;
    assert_has(&patched, &key);
    assert_has(&patched, &json!({"properties": {"state": "Enabled"}}));
    let get = fixture.call("GET", path, Value::Null).await?;
    assert_eq!(get.body, patched.body);
    let missing = fixture
        .call("GET", "/encryptionScopes/scope-b", Value::Null)
        .await?;
    assert_eq!(missing.status, 404);
    Ok(())
}
