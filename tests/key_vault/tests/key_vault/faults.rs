//! What goes wrong, as a client sees it.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tenantry_testkit::key_vault::{Denial, Fault, FaultRule, Moment};

use crate::support::{Fixture, Reply, Result};

async fn get(fixture: &Fixture) -> Result<Reply> {
    fixture.call("GET", "/secrets/db", Value::Null).await
}

async fn with_secret() -> Result<Fixture> {
    let fixture = Fixture::start().await?;
    fixture.vault.set_secret("db", "one")?;
    Ok(fixture)
}

#[tokio::test]
async fn a_throttle_asks_to_wait_or_leaves_it_open() -> Result {
    let fixture = with_secret().await?;
    let retry_after = Some(Duration::from_millis(1_500));
    fixture
        .server
        .inject(Fault::Throttle { retry_after }.times(1));
    fixture
        .server
        .inject(Fault::Throttle { retry_after: None }.times(1));
    let asked = get(&fixture).await?;
    assert_eq!(asked.error(), (429, "Throttled", ""));
    assert_eq!(asked.headers["retry-after"], "2");
    let open = get(&fixture).await?;
    assert_eq!(open.error(), (429, "Throttled", ""));
    assert!(!open.headers.contains_key("retry-after"));
    get(&fixture).await?.ok();
    Ok(())
}

#[tokio::test]
async fn a_fault_lasts_until_it_is_lifted() -> Result {
    let fixture = with_secret().await?;
    fixture.server.inject(Fault::Status(503));
    for _ in 0..3 {
        assert_eq!(get(&fixture).await?.error().0, 503);
    }
    fixture.server.lift_faults();
    get(&fixture).await?.ok();
    Ok(())
}

#[tokio::test]
async fn a_token_refused_in_mid_life_is_asked_for_other_claims() -> Result {
    let fixture = with_secret().await?;
    fixture.server.inject(Fault::Unauthorized.times(1));
    let reply = get(&fixture).await?;
    assert_eq!(reply.error(), (401, "Unauthorized", ""));
    let challenge = reply.headers["www-authenticate"].to_str()?;
    assert!(challenge.contains(r#"error="insufficient_claims""#));
    let claims = challenge
        .split(r#"claims=""#)
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let claims: Value = serde_json::from_slice(&STANDARD.decode(claims.unwrap_or_default())?)?;
    assert!(claims["access_token"].is_object());
    // It had a token: it is no challenge to a client that has none.
    assert_eq!(fixture.vault.calls().challenges, 0);
    get(&fixture).await?.ok();
    Ok(())
}

#[tokio::test]
async fn a_caller_is_refused_for_three_reasons() -> Result {
    let fixture = with_secret().await?;
    for (denial, inner) in [
        (Denial::Role, "ForbiddenByRbac"),
        (Denial::AccessPolicy, "AccessDenied"),
        (Denial::Firewall, "ForbiddenByFirewall"),
    ] {
        fixture.server.inject(Fault::Forbidden(denial).times(1));
        assert_eq!(get(&fixture).await?.error(), (403, "Forbidden", inner));
    }
    Ok(())
}

#[tokio::test]
async fn a_slow_answer_is_late_and_whole() -> Result {
    let fixture = with_secret().await?;
    let delay = Duration::from_millis(50);
    for moment in [Moment::BeforeAnswer, Moment::InBody] {
        fixture
            .server
            .inject(Fault::Slow { delay, moment }.times(1));
        let start = Instant::now();
        assert_eq!(get(&fixture).await?.ok()["value"], "one");
        assert!(start.elapsed() >= delay);
    }
    Ok(())
}

#[tokio::test]
async fn a_request_is_in_the_record_before_its_answer_is() -> Result {
    let fixture = with_secret().await?;
    let delay = Duration::from_secs(3_600);
    let moment = Moment::BeforeAnswer;
    fixture
        .server
        .inject(Fault::Slow { delay, moment }.times(1));
    tokio::select! {
        reply = get(&fixture) => panic!("{reply:?}"),
        () = fixture.server.received(1) => {}
    }
    assert_eq!(fixture.server.requests()[0].status, None);
    Ok(())
}

#[tokio::test]
async fn a_cut_before_the_answer_does_nothing_and_one_in_it_has_done_all() -> Result {
    let fixture = with_secret().await?;
    let set = async |value: &str| {
        fixture
            .call("PUT", "/secrets/db", json!({ "value": value }))
            .await
    };
    fixture
        .server
        .inject(Fault::Cut(Moment::BeforeAnswer).times(1));
    assert!(set("two").await.is_err());
    assert_eq!(get(&fixture).await?.ok()["value"], "one");
    fixture.server.inject(Fault::Cut(Moment::InBody).times(1));
    assert!(set("three").await.is_err());
    assert_eq!(get(&fixture).await?.ok()["value"], "three");
    let status: Vec<_> = fixture
        .server
        .requests()
        .iter()
        .map(|request| request.status)
        .collect();
    assert_eq!(status, [None, Some(200), Some(200), Some(200)]);
    Ok(())
}

#[tokio::test]
async fn the_client_has_status_and_half_of_a_body_that_is_cut() -> Result {
    let fixture = with_secret().await?;
    fixture.server.inject(Fault::Cut(Moment::InBody).times(1));
    let http = fixture.new_http()?;
    let mut response = http
        .get("https://orders.vault.azure.net/secrets/db?api-version=7.4")
        .bearer_auth(fixture.token.secret())
        .send()
        .await?;
    assert_eq!(response.status(), 200);
    let length = response.content_length().unwrap_or_default();
    let half = response.chunk().await?.unwrap_or_default();
    assert!(!half.is_empty() && (half.len() as u64) < length);
    assert!(response.chunk().await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_wrong_challenge_meets_those_who_have_no_token() -> Result {
    let fixture = with_secret().await?;
    let resource = "https://vault.example.com".to_owned();
    fixture.server.inject(Fault::WrongChallenge { resource });
    get(&fixture).await?.ok();
    let url = "https://orders.vault.azure.net/secrets/db?api-version=7.4";
    let reply = fixture.send("GET", url, None, Value::Null).await?;
    assert_eq!(reply.status, 401);
    let challenge = reply.headers["www-authenticate"].to_str()?;
    assert!(challenge.contains(r#"resource="https://vault.example.com""#));
    Ok(())
}

#[tokio::test]
async fn a_rule_can_be_for_one_vault_and_one_secret() -> Result {
    let fixture = with_secret().await?;
    fixture.server.vault("billing")?.set_secret("db", "one")?;
    let rule = FaultRule::from(Fault::Status(500))
        .on_vault("orders")
        .on_secret("db");
    fixture.server.inject(rule);
    assert_eq!(get(&fixture).await?.error().0, 500);
    fixture.call("GET", "/secrets", Value::Null).await?.ok();
    fixture
        .call_vault("billing", "GET", "/secrets/db", Value::Null)
        .await?
        .ok();
    Ok(())
}
