//! What the server refuses, as the service does.

use serde_json::{Value, json};

use crate::support::{Fixture, Result};

fn days(days: u32) -> Value {
    json!({"properties": {"immutabilityPeriodSinceCreationInDays": days}})
}

fn policy(fixture: &Fixture) -> String {
    format!(
        "/blobServices/default/containers/{}/immutabilityPolicies/default",
        fixture.one
    )
}

#[tokio::test]
async fn a_request_has_a_version_and_a_token() -> Result {
    let fixture = Fixture::bare().await?;
    let path = fixture.path().to_owned();
    let token = Some(fixture.token());
    let get = async |query: &str, token| {
        let path = format!("{path}{query}");
        fixture.send("GET", &path, token, None, Value::Null).await
    };
    assert_eq!(
        get("", token).await?.error(),
        (400, "MissingApiVersionParameter")
    );
    for version in ["1", "2099-01-01", "2025-06-01-preview"] {
        let reply = get(&format!("?api-version={version}"), token).await?;
        assert_eq!(reply.error(), (400, "InvalidApiVersionParameter"));
    }
    let query = "?api-version=2025-06-01";
    assert_eq!(
        get(query, None).await?.error(),
        (401, "AuthenticationFailed")
    );
    assert_eq!(
        get(query, Some("x")).await?.error(),
        (401, "InvalidAuthenticationToken")
    );
    assert_eq!(get(query, token).await?.status, 200);
    fixture.server.revoke_all_tokens();
    assert_eq!(get(query, token).await?.status, 401);
    Ok(())
}

#[tokio::test]
async fn what_is_not_there_is_said_from_the_outside_in() -> Result {
    let fixture = Fixture::bare().await?;
    let whole = fixture.path().to_owned();
    let subscription = whole.split('/').nth(2).unwrap_or_default();
    for (from, to, code) in [
        (
            subscription,
            "00000000-0000-0000-0000-000000000000",
            "SubscriptionNotFound",
        ),
        ("/prod/", "/test/", "ResourceGroupNotFound"),
        ("artifacts1", "artifacts2", "ResourceNotFound"),
        (
            "Microsoft.Storage",
            "Microsoft.Compute",
            "InvalidResourceType",
        ),
    ] {
        let path = format!("{}?api-version=2025-06-01", whole.replace(from, to));
        let token = Some(fixture.token());
        let reply = fixture.send("GET", &path, token, None, Value::Null).await?;
        assert_eq!(reply.error(), (404, code));
    }
    // Names of types and of groups are the same in all letters.
    let path = whole.replace("resourceGroups/prod", "RESOURCEGROUPS/PROD");
    let path = format!("{path}?api-version=2025-06-01");
    let reply = fixture
        .send("GET", &path, Some(fixture.token()), None, Value::Null)
        .await?;
    assert_eq!(reply.status, 200);
    let container = "/blobServices/default/containers/missing";
    let reply = fixture.call("GET", container, Value::Null).await?;
    assert_eq!(reply.error(), (404, "ContainerNotFound"));
    Ok(())
}

#[tokio::test]
async fn a_policy_has_1_to_146_000_days() -> Result {
    let fixture = Fixture::start().await?;
    let path = policy(&fixture);
    for wrong in [0, 146_001] {
        assert_eq!(
            fixture.call("PUT", &path, days(wrong)).await?.status,
            400,
            "{wrong}"
        );
    }
    for right in [1, 146_000] {
        assert_eq!(
            fixture.call("PUT", &path, days(right)).await?.status,
            200,
            "{right}"
        );
    }
    let both = json!({"properties": {
        "immutabilityPeriodSinceCreationInDays": 1,
        "allowProtectedAppendWrites": true, "allowProtectedAppendWritesAll": true,
    }});
    assert_eq!(fixture.call("PUT", &path, both).await?.status, 400);
    Ok(())
}

#[tokio::test]
async fn lock_extend_and_delete_take_the_state_that_they_are_for() -> Result {
    let fixture = Fixture::start().await?;
    let path = policy(&fixture);
    let etag = fixture.call("PUT", &path, days(3)).await?.etag;
    for (method, path) in [
        ("POST", format!("{path}/lock")),
        ("POST", format!("{path}/extend")),
        ("DELETE", path.clone()),
    ] {
        let reply = fixture.call(method, &path, days(9)).await?;
        assert_eq!(reply.status, 400, "{path} without If-Match");
        let reply = fixture
            .call_if(method, &path, Some("\"0x1\""), days(9))
            .await?;
        assert_eq!(reply.error(), (412, "PreconditionFailed"), "{path}");
    }
    let reply = fixture
        .call_if("PUT", &path, Some("\"0x1\""), days(9))
        .await?;
    assert_eq!(reply.status, 412, "a put may have one");
    assert_eq!(
        fixture
            .call_if("PUT", &path, etag.as_deref(), days(9))
            .await?
            .status,
        200
    );
    assert_eq!(
        fixture
            .call_if("PUT", &path, etag.as_deref(), days(9))
            .await?
            .status,
        412
    );
    Ok(())
}

#[tokio::test]
async fn a_locked_policy_is_extended_five_times_and_nothing_else() -> Result {
    let fixture = Fixture::start().await?;
    let path = policy(&fixture);
    let (lock, extend) = (format!("{path}/lock"), format!("{path}/extend"));
    let mut etag = fixture.call("PUT", &path, days(3)).await?.etag;
    let reply = fixture
        .call_if("POST", &extend, etag.as_deref(), days(9))
        .await?;
    assert_eq!(reply.status, 409, "it is not locked yet");
    etag = fixture
        .call_if("POST", &lock, etag.as_deref(), Value::Null)
        .await?
        .etag;
    for (method, path) in [("PUT", &path), ("DELETE", &path), ("POST", &lock)] {
        let reply = fixture
            .call_if(method, path, etag.as_deref(), days(1))
            .await?;
        assert_eq!(
            reply.error(),
            (409, "ContainerImmutabilityPolicyLocked"),
            "{method}"
        );
    }
    for same in [2, 3] {
        let reply = fixture
            .call_if("POST", &extend, etag.as_deref(), days(same))
            .await?;
        assert_eq!(reply.status, 409, "{same}");
    }
    for longer in 4..9 {
        let reply = fixture
            .call_if("POST", &extend, etag.as_deref(), days(longer))
            .await?;
        assert_eq!(reply.status, 200, "{longer}");
        etag = reply.etag;
    }
    let reply = fixture
        .call_if("POST", &extend, etag.as_deref(), days(9))
        .await?;
    assert_eq!(reply.status, 409, "the sixth");
    let other = policy(&fixture).replace(fixture.one.as_str(), fixture.other.as_str());
    assert_eq!(
        fixture.call("PUT", &other, days(1)).await?.status,
        200,
        "another tenant's"
    );
    Ok(())
}

#[tokio::test]
async fn holds_have_ten_tags_of_3_to_23_letters_and_digits() -> Result {
    let fixture = Fixture::start().await?;
    let path = format!("/blobServices/default/containers/{}", fixture.one);
    let set = format!("{path}/setLegalHold");
    for tags in [
        json!([]),
        json!(["ab"]),
        json!(["a-b-c"]),
        json!(["a".repeat(24)]),
        json!([3]),
        json!((0..11).map(|it| format!("tag{it}")).collect::<Vec<_>>()),
    ] {
        let reply = fixture.call("POST", &set, json!({"tags": tags})).await?;
        assert_eq!(reply.status, 400, "{tags}");
    }
    let reply = fixture
        .call("POST", &set, json!({"tags": ["CASE17", "a".repeat(23)]}))
        .await?;
    assert_eq!(
        reply.ok()["tags"],
        json!(["a".repeat(23), "case17"]),
        "in lower case"
    );
    let eight: Vec<_> = (0..8).map(|it| format!("tag{it}")).collect();
    fixture
        .call("POST", &set, json!({"tags": eight}))
        .await?
        .ok();
    assert_eq!(
        fixture
            .call("POST", &set, json!({"tags": ["one"]}))
            .await?
            .status,
        400
    );
    assert_eq!(
        fixture
            .call("POST", &set, json!({"tags": ["tag1"]}))
            .await?
            .status,
        200
    );
    Ok(())
}

#[tokio::test]
async fn rules_have_their_limits() -> Result {
    let fixture = Fixture::bare().await?;
    let rule = |name: &str, filters: Value, actions: Value| {
        json!({
            "enabled": true, "name": name, "type": "Lifecycle",
            "definition": {"filters": filters, "actions": actions},
        })
    };
    let types = || json!({"blobTypes": ["blockBlob"]});
    let delete = || json!({"baseBlob": {"delete": {"daysAfterCreationGreaterThan": 3}}});
    let put = async |name: &str, rules: Vec<Value>| {
        let body = json!({"properties": {"policy": {"rules": rules}}});
        let path = format!("/managementPolicies/{name}");
        fixture.call("PUT", &path, body).await
    };
    let many = |count: usize| {
        (0..count)
            .map(|it| rule(&format!("r{it}"), types(), delete()))
            .collect::<Vec<_>>()
    };
    assert_eq!(put("default", many(100)).await?.status, 200);
    assert_eq!(put("default", many(101)).await?.status, 400);
    assert_eq!(put("other", many(1)).await?.status, 400);
    let prefixes = |count: usize| {
        let mut filters = types();
        filters["prefixMatch"] = (0..count).map(|it| json!(format!("con{it}/"))).collect();
        filters
    };
    let tags = |count: usize| {
        let mut filters = types();
        let tag = |it| json!({"name": format!("t{it}"), "op": "==", "value": "x"});
        filters["blobIndexMatch"] = (0..count).map(tag).collect();
        filters
    };
    for filters in [prefixes(10), tags(10)] {
        assert_eq!(
            put("default", vec![rule("a", filters, delete())])
                .await?
                .status,
            200
        );
    }
    let mut compared = tags(1);
    compared["blobIndexMatch"][0]["op"] = json!(">");
    let age = |name: &str, days: Value| json!({"baseBlob": {"delete": {name: days}}});
    for wrong in [
        vec![],
        vec![rule("a", prefixes(11), delete())],
        vec![rule("a", tags(11), delete())],
        vec![rule("a", compared, delete())],
        vec![rule("a", json!({}), delete())],
        vec![rule("a", json!({"blobTypes": ["pageBlob"]}), delete())],
        vec![rule("a_b", types(), delete())],
        vec![rule("", types(), delete())],
        vec![rule(&"a".repeat(257), types(), delete())],
        vec![rule("a", types(), delete()), rule("a", types(), delete())],
        vec![rule("a", types(), json!({}))],
        vec![rule("a", types(), json!({"page": {}}))],
        vec![rule(
            "a",
            types(),
            age("daysAfterCreationGreaterThan", json!(-1)),
        )],
        vec![rule(
            "a",
            types(),
            age("daysAfterCreationGreaterThan", json!(1.5)),
        )],
        vec![rule("a", types(), age("hoursAfterCreation", json!(1)))],
        vec![rule(
            "a",
            types(),
            age("daysAfterLastTierChangeGreaterThan", json!(1)),
        )],
    ] {
        assert_eq!(
            put("default", wrong.clone()).await?.status,
            400,
            "{wrong:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn deleted_data_is_kept_for_1_to_365_days_and_versions_stay_under_locks() -> Result {
    let fixture = Fixture::start().await?;
    let path = "/blobServices/default";
    for days in [0, 366] {
        let body = json!({"properties": {
            "isVersioningEnabled": true, "deleteRetentionPolicy": {"enabled": true, "days": days},
        }});
        assert_eq!(fixture.call("PUT", path, body).await?.status, 400, "{days}");
    }
    let off = json!({"properties": {"isVersioningEnabled": false}});
    assert_eq!(fixture.call("PUT", path, off).await?.status, 409);
    Ok(())
}
