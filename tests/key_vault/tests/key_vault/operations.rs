//! What the service does where its specification says little.

use std::time::Duration;

use serde_json::{Value, json};
use tenantry_testkit::key_vault::{KeyVaultOptions, NewSecret};

use crate::support::{Fixture, Result, noon};

const DAY: i64 = 24 * 60 * 60;

#[tokio::test]
async fn a_request_without_a_token_is_challenged() -> Result {
    let fixture = Fixture::start().await?;
    let url = "https://orders.vault.azure.net/secrets/db?api-version=7.4";
    for token in [None, Some("unknown")] {
        let reply = fixture.send("GET", url, token, Value::Null).await?;
        assert_eq!(reply.error(), (401, "Unauthorized", ""));
        let challenge = reply.headers["www-authenticate"].to_str()?;
        assert!(
            challenge.starts_with(r#"Bearer authorization="https://login.microsoftonline.com/"#)
        );
        assert!(challenge.contains(r#"resource="https://vault.azure.net""#));
    }
    let calls = fixture.vault.calls();
    assert_eq!((calls.total, calls.challenges), (2, 1));
    Ok(())
}

#[tokio::test]
async fn a_token_ends_by_the_clock_of_the_server_or_when_it_is_revoked() -> Result {
    let fixture = Fixture::start().await?;
    fixture.vault.set_secret("db", "one")?;
    let url = "https://orders.vault.azure.net/secrets/db?api-version=7.4";
    let short = fixture.server.issue_token_for(Duration::from_secs(60));
    let other = fixture.server.issue_token();
    let status = async |token: &str| {
        let reply = fixture.send("GET", url, Some(token), Value::Null).await;
        reply.map(|reply| reply.status)
    };
    assert_eq!(status(short.secret()).await?, 200);
    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(status(short.secret()).await?, 401);
    assert_eq!(status(other.secret()).await?, 200);
    fixture.server.revoke_token(&other);
    assert_eq!(status(other.secret()).await?, 401);
    assert_eq!(status(fixture.token.secret()).await?, 200);
    fixture.server.revoke_all_tokens();
    assert_eq!(status(fixture.token.secret()).await?, 401);
    Ok(())
}

#[tokio::test]
async fn vaults_know_nothing_of_each_other() -> Result {
    let fixture = Fixture::start().await?;
    fixture.vault.set_secret("db", "one")?;
    let reply = fixture
        .call_vault("billing", "GET", "/secrets/db", Value::Null)
        .await?;
    assert_eq!(reply.error(), (404, "SecretNotFound", ""));
    let reply = fixture
        .call_vault("billing", "GET", "/secrets", Value::Null)
        .await?;
    assert_eq!(reply.ok()["value"], json!([]));
    Ok(())
}

#[tokio::test]
async fn names_are_checked_and_differ_in_case_for_the_eye_alone() -> Result {
    let fixture = Fixture::start().await?;
    for name in ["a_b", "a.b", &"x".repeat(128)] {
        let path = format!("/secrets/{name}");
        for method in ["GET", "DELETE"] {
            let reply = fixture.call(method, &path, Value::Null).await?;
            assert_eq!(reply.error(), (400, "BadParameter", ""), "{name}");
        }
        let reply = fixture
            .call("PUT", &path, json!({ "value": "one" }))
            .await?;
        assert_eq!(reply.error(), (400, "BadParameter", ""), "{name}");
    }
    let set = fixture
        .call("PUT", "/secrets/Db", json!({ "value": "one" }))
        .await?
        .ok();
    let got = fixture.call("GET", "/secrets/dB", Value::Null).await?.ok();
    assert_eq!(set["id"], got["id"]);
    Ok(())
}

#[tokio::test]
async fn a_version_is_32_hexadecimal_digits_and_can_be_asked_for() -> Result {
    let fixture = Fixture::start().await?;
    let first = fixture.vault.set_secret("db", "one")?;
    let second = fixture.vault.set_secret("db", "two")?;
    for version in [&first, &second] {
        assert!(version.len() == 32 && version.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    let get = async |path: String| fixture.call("GET", &path, Value::Null).await;
    for (path, value) in [
        ("/secrets/db".to_owned(), "two"),
        ("/secrets/db/".to_owned(), "two"),
        (format!("/secrets/db/{first}"), "one"),
        (format!("/secrets/db/{}", second.to_uppercase()), "two"),
    ] {
        assert_eq!(get(path).await?.ok()["value"], value);
    }
    let reply = get(format!("/secrets/db/{}", "0".repeat(32))).await?;
    assert_eq!(reply.error(), (404, "SecretNotFound", ""));
    Ok(())
}

#[tokio::test]
async fn values_of_25_kilobytes_and_15_tags_are_the_most() -> Result {
    let fixture = Fixture::start().await?;
    let tags = |count: usize| -> Value {
        (0..count)
            .map(|tag| (format!("t{tag}"), json!("")))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    for (body, is_taken) in [
        (json!({ "value": "x".repeat(25 * 1024) }), true),
        (json!({ "value": "x".repeat(25 * 1024 + 1) }), false),
        (json!({ "value": "one", "tags": tags(15) }), true),
        (json!({ "value": "one", "tags": tags(16) }), false),
        (
            json!({ "value": "one", "contentType": "x".repeat(255) }),
            true,
        ),
        (
            json!({ "value": "one", "contentType": "x".repeat(256) }),
            false,
        ),
        (json!({ "value": "" }), true),
    ] {
        let reply = fixture.call("PUT", "/secrets/db", body).await?;
        if is_taken {
            reply.ok();
        } else {
            assert_eq!(reply.error(), (400, "BadParameter", ""));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_disabled_secret_is_listed_but_not_handed_out() -> Result {
    let fixture = Fixture::start().await?;
    let first = fixture.vault.set_secret("db", "one")?;
    let second = fixture.vault.set_secret("db", "two")?;
    fixture.vault.disable("db")?;
    for path in ["/secrets/db".to_owned(), format!("/secrets/db/{second}")] {
        let reply = fixture.call("GET", &path, Value::Null).await?;
        assert_eq!(reply.error(), (403, "Forbidden", "SecretDisabled"));
    }
    fixture
        .call("GET", &format!("/secrets/db/{first}"), Value::Null)
        .await?
        .ok();
    let list = fixture.call("GET", "/secrets", Value::Null).await?.ok();
    assert_eq!(list["value"][0]["attributes"]["enabled"], false);

    fixture.vault.enable("db")?;
    fixture.vault.disable_version("db", &first)?;
    fixture.call("GET", "/secrets/db", Value::Null).await?.ok();
    Ok(())
}

#[tokio::test]
async fn a_secret_outside_its_time_is_handed_out_all_the_same() -> Result {
    let fixture = Fixture::start().await?;
    let hour = chrono::TimeDelta::hours(1);
    fixture
        .vault
        .set_secret("late", NewSecret::new("one").with_expiry(noon() - hour))?;
    fixture.vault.set_secret(
        "early",
        NewSecret::new("two").with_not_before(noon() + hour),
    )?;
    let late = fixture
        .call("GET", "/secrets/late", Value::Null)
        .await?
        .ok();
    assert_eq!(late["attributes"]["exp"], (noon() - hour).timestamp());
    let early = fixture
        .call("GET", "/secrets/early", Value::Null)
        .await?
        .ok();
    assert_eq!(early["attributes"]["nbf"], (noon() + hour).timestamp());

    fixture.vault.set_expiry("late", None)?;
    fixture.vault.set_not_before("early", None)?;
    let late = fixture
        .call("GET", "/secrets/late", Value::Null)
        .await?
        .ok();
    assert!(late["attributes"]["exp"].is_null());
    let early = fixture
        .call("GET", "/secrets/early", Value::Null)
        .await?
        .ok();
    assert!(early["attributes"]["nbf"].is_null());
    Ok(())
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_never_a_value() -> Result {
    let fixture = Fixture::start().await?;
    let secret = NewSecret::new("one")
        .with_content_type("password")
        .with_tag("owner", "billing");
    let first = fixture.vault.set_secret("db", secret)?;
    fixture.clock.advance(Duration::from_secs(5));
    let body = json!({ "attributes": { "exp": 1_900_000_000 }, "tags": { "team": "a" } });
    let changed = fixture
        .call("PATCH", &format!("/secrets/db/{first}"), body)
        .await?
        .ok();
    assert_eq!(changed["contentType"], "password");
    assert_eq!(changed["tags"], json!({ "team": "a" }));
    let attributes = &changed["attributes"];
    assert_eq!(attributes["created"], noon().timestamp());
    assert_eq!(attributes["updated"], noon().timestamp() + 5);
    assert_eq!(attributes["enabled"], true);

    let reply = fixture
        .call("PATCH", "/secrets/db", json!({ "value": "two" }))
        .await?;
    assert_eq!(reply.error(), (400, "BadParameter", ""));
    let got = fixture.call("GET", "/secrets/db", Value::Null).await?.ok();
    assert_eq!(got["value"], "one");
    Ok(())
}

#[tokio::test]
async fn lists_come_in_pages_that_lead_to_each_other() -> Result {
    let fixture = Fixture::start().await?;
    for index in 0..60 {
        fixture
            .vault
            .set_secret(&format!("secret-{index:02}"), "one")?;
    }
    let mut url = "https://orders.vault.azure.net/secrets?api-version=7.4".to_owned();
    let (mut sizes, mut ids) = (Vec::new(), Vec::new());
    loop {
        let page = fixture
            .send("GET", &url, Some(fixture.token.secret()), Value::Null)
            .await?
            .ok();
        let items = page["value"].as_array().cloned().unwrap_or_default();
        sizes.push(items.len());
        ids.extend(items.iter().map(|item| item["id"].clone()));
        match page["nextLink"].as_str() {
            Some(next) => next.clone_into(&mut url),
            None => break,
        }
        assert!(url.contains("$skiptoken="), "{url}");
        // What was listed may go without moving the pages to come.
        if sizes.len() == 1 {
            fixture.vault.delete("secret-00")?;
        }
    }
    assert_eq!(sizes, [25, 25, 10]);
    assert_eq!(ids[59], "https://orders.vault.azure.net/secrets/secret-59");
    let strange = fixture
        .call("GET", "/secrets?$skiptoken=*", Value::Null)
        .await?;
    assert_eq!(strange.error(), (400, "BadParameter", ""));
    Ok(())
}

#[tokio::test]
async fn the_versions_of_a_secret_that_never_was_are_an_empty_list() -> Result {
    let fixture = Fixture::start().await?;
    let list = fixture
        .call("GET", "/secrets/db/versions", Value::Null)
        .await?
        .ok();
    assert_eq!(list["value"], json!([]));
    let reply = fixture
        .call("GET", "/secrets/a_b/versions", Value::Null)
        .await?;
    assert_eq!(reply.error(), (400, "BadParameter", ""));
    Ok(())
}

#[tokio::test]
async fn a_deleted_secret_keeps_its_name_until_it_is_recovered_or_purged() -> Result {
    let options = KeyVaultOptions::default().with_recoverable_days(7);
    let fixture = Fixture::start_with(options).await?;
    let version = fixture.vault.set_secret("db", "one")?;
    let deleted = fixture
        .call("DELETE", "/secrets/db", Value::Null)
        .await?
        .ok();
    assert_eq!(deleted["deletedDate"], noon().timestamp());
    assert_eq!(deleted["scheduledPurgeDate"], noon().timestamp() + 7 * DAY);
    assert_eq!(
        deleted["recoveryId"],
        "https://orders.vault.azure.net/deletedsecrets/db"
    );
    assert_eq!(
        deleted["attributes"]["recoveryLevel"],
        "CustomizedRecoverable+Purgeable"
    );

    for path in ["/secrets/db".to_owned(), format!("/secrets/db/{version}")] {
        let reply = fixture.call("GET", &path, Value::Null).await?;
        assert_eq!(reply.error(), (404, "SecretNotFound", ""));
    }
    let conflict = (409, "Conflict", "ObjectIsDeletedButRecoverable");
    let reply = fixture
        .call("PUT", "/secrets/db", json!({ "value": "two" }))
        .await?;
    assert_eq!(reply.error(), conflict);

    fixture
        .call("POST", "/deletedsecrets/db/recover", Value::Null)
        .await?
        .ok();
    let got = fixture
        .call("GET", &format!("/secrets/db/{version}"), Value::Null)
        .await?
        .ok();
    assert_eq!(got["value"], "one");
    let reply = fixture
        .call("GET", "/deletedsecrets/db", Value::Null)
        .await?;
    assert_eq!(reply.error(), (404, "SecretNotFound", ""));

    fixture.vault.delete("db")?;
    assert_eq!(
        fixture
            .call("DELETE", "/deletedsecrets/db", Value::Null)
            .await?
            .status,
        204
    );
    fixture
        .call("PUT", "/secrets/db", json!({ "value": "three" }))
        .await?
        .ok();
    Ok(())
}

#[tokio::test]
async fn what_is_deleted_is_purged_when_its_time_is_over() -> Result {
    let mut fixture = Fixture::start().await?;
    fixture.vault.set_secret("db", "one")?;
    fixture.vault.delete("db")?;
    fixture.token = fixture
        .server
        .issue_token_for(Duration::from_secs(365 * 24 * 60 * 60));
    fixture
        .clock
        .advance(Duration::from_secs(90 * 24 * 60 * 60 - 1));
    let listed = async || fixture.call("GET", "/deletedsecrets", Value::Null).await;
    assert_eq!(
        listed().await?.ok()["value"].as_array().map(Vec::len),
        Some(1)
    );
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(listed().await?.ok()["value"], json!([]));
    Ok(())
}

#[tokio::test]
async fn a_protected_vault_purges_nothing_early() -> Result {
    let options = KeyVaultOptions::default().with_purge_protection(true);
    let fixture = Fixture::start_with(options).await?;
    fixture.vault.set_secret("db", "one")?;
    fixture.vault.delete("db")?;
    let reply = fixture
        .call("DELETE", "/deletedsecrets/db", Value::Null)
        .await?;
    assert_eq!(reply.error(), (403, "Forbidden", ""));
    let deleted = fixture
        .call("GET", "/deletedsecrets/db", Value::Null)
        .await?
        .ok();
    assert_eq!(deleted["attributes"]["recoveryLevel"], "Recoverable");
    Ok(())
}

#[tokio::test]
async fn a_backup_is_restored_with_all_versions_where_the_name_is_free() -> Result {
    let fixture = Fixture::start().await?;
    let first = fixture.vault.set_secret("db", "one")?;
    fixture.vault.set_secret("db", "two")?;
    let backup = fixture
        .call("POST", "/secrets/db/backup", Value::Null)
        .await?
        .ok();
    let restore =
        |vault: &'static str| fixture.call_vault(vault, "POST", "/secrets/restore", backup.clone());
    assert_eq!(restore("orders").await?.error(), (409, "Conflict", ""));
    fixture.vault.delete("db")?;
    let conflict = (409, "Conflict", "ObjectIsDeletedButRecoverable");
    assert_eq!(restore("orders").await?.error(), conflict);
    restore("billing").await?.ok();
    let path = format!("/secrets/db/{first}");
    let got = fixture
        .call_vault("billing", "GET", &path, Value::Null)
        .await?
        .ok();
    assert_eq!(got["value"], "one");
    let reply = fixture
        .call("POST", "/secrets/restore", json!({ "value": "none" }))
        .await?;
    assert_eq!(reply.error(), (400, "BadParameter", ""));
    Ok(())
}

#[tokio::test]
async fn what_is_nowhere_and_what_is_not_allowed_are_told_apart() -> Result {
    let fixture = Fixture::start().await?;
    let version = fixture.vault.set_secret("db", "one")?;
    for (method, path, status) in [
        ("GET", "/keys/db".to_owned(), 404),
        ("DELETE", format!("/secrets/db/{version}"), 405),
        ("POST", "/secrets/db".to_owned(), 405),
        ("PUT", "/deletedsecrets/db".to_owned(), 405),
    ] {
        let reply = fixture.call(method, &path, Value::Null).await?;
        assert_eq!(reply.error().0, status, "{method} {path}");
    }
    Ok(())
}

#[tokio::test]
async fn the_record_tells_what_was_asked_and_not_what_was_said() -> Result {
    let fixture = Fixture::start().await?;
    fixture
        .call("PUT", "/secrets/db", json!({ "value": "canary" }))
        .await?
        .ok();
    let requests = fixture.server.requests();
    let [request] = requests.as_slice() else {
        panic!("{requests:?}");
    };
    assert_eq!(
        (
            &*request.method,
            &*request.vault,
            &*request.path,
            request.status
        ),
        ("PUT", "orders", "/secrets/db", Some(200))
    );
    assert!(request.has_token && request.body_length > 0);
    let shown = format!("{:?} {:?} {requests:?}", fixture.server, fixture.vault);
    assert!(!shown.contains("canary") && !shown.contains(fixture.token.secret()));

    fixture.call("GET", "/secrets/DB", Value::Null).await?.ok();
    fixture.call("GET", "/secrets", Value::Null).await?.ok();
    assert_eq!(fixture.vault.calls_about("db").total, 2);
    assert_eq!(fixture.vault.calls().without_challenges(), 3);
    assert_eq!(fixture.server.vault("billing")?.calls().total, 0);
    fixture.server.forget_requests();
    assert_eq!(fixture.server.calls().total, 0);
    fixture.call("GET", "/secrets", Value::Null).await?.ok();
    fixture.server.received(1).await;
    assert_eq!(fixture.server.calls().total, 1);
    Ok(())
}

#[tokio::test]
async fn a_test_is_told_why_it_may_not() -> Result {
    let fixture = Fixture::start().await?;
    let error = fixture
        .vault
        .disable("db")
        .err()
        .map(|error| format!("{error:?}"));
    let error = error.unwrap_or_default();
    assert!(
        error.contains("cannot disable the secret `db` of vault orders"),
        "{error}"
    );
    assert!(error.contains("404 SecretNotFound"), "{error}");
    assert!(fixture.server.vault("x").is_err());
    let options = KeyVaultOptions::default().with_recoverable_days(6);
    assert!(Fixture::start_with(options).await.is_err());
    Ok(())
}
