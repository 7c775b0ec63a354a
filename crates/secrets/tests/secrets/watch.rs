//! Following a secret: by poll, by push, and by what failed.

use std::time::Duration;

use chrono::TimeDelta;
use tenantry_core::{Clock as _, ErrorKind, SecretSource as _};
use tenantry_secrets::CachePolicy;
use tokio::time::timeout;

use super::{Fixture, reference, runtime, settle};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn generations_go_on_and_the_one_before_retires() {
    let fixture = Fixture::new();
    let version = fixture.vault.store("db", "one").await;
    let watch = fixture.watch("kv://vault/db").await;
    let first = watch.generations();
    assert_eq!(
        (first.current.number(), first.current.version()),
        (0, Some(&*version))
    );
    assert!(first.previous.is_none());
    assert!(
        timeout(Duration::from_millis(1), watch.changed_from(0))
            .await
            .is_err()
    );

    let db = reference("kv://vault/db");
    let waiting = watch.changed_from(0);
    let stored = fixture
        .secrets
        .put_new_version(&db, tenantry_core::Secret::new("two"), Default::default())
        .await
        .unwrap();
    let second = waiting.await;
    assert_eq!(second.current.number(), 1);
    assert_eq!(second.current.secret().expose(), "two");
    assert_eq!(
        db.with_version(second.current.version().unwrap()).unwrap(),
        stored
    );
    let retiring = second.previous.unwrap();
    assert_eq!(retiring.generation.secret().expose(), "one");
    assert_eq!(
        retiring.retire_at,
        fixture.clock.now() + TimeDelta::minutes(10)
    );
    fixture.clock.advance(10 * 60 * SECOND);
    assert!(watch.generations().previous.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_read_on_for_as_long_as_it_is_followed() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "one").await;
    let watch = fixture.watch("kv://vault/db").await;
    let other = fixture.watch("kv://vault/DB").await;
    fixture.vault.store("db", "two").await;
    let pass = async |time: Duration| {
        settle().await;
        fixture.clock.advance(time);
        tokio::time::sleep(time).await;
        settle().await;
    };
    pass(241 * SECOND).await;
    assert_eq!(watch.generations().current.secret().expose(), "two");
    assert_eq!(other.generations().current.number(), 1);
    assert_eq!(fixture.vault.reads(), 2, "one reads for both");
    drop(watch);
    pass(241 * SECOND).await;
    assert_eq!(fixture.vault.reads(), 3);
    drop(other);
    for _ in 0..10 {
        pass(300 * SECOND).await;
    }
    assert_eq!(fixture.vault.reads(), 3);
}

#[tokio::test]
async fn what_failed_is_read_again_once_for_all_who_say_so() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "one").await;
    let watch = fixture.watch("kv://vault/db").await;
    fixture.vault.store("db", "two").await;
    let reports = (0..100).map(|_| watch.report_failure(0));
    for outcome in futures_util::future::join_all(reports).await {
        assert_eq!(outcome.unwrap().current.secret().expose(), "two");
    }
    assert_eq!(fixture.vault.reads(), 2);
    // Of a value that is over, nothing has to be said.
    assert_eq!(watch.report_failure(0).await.unwrap().current.number(), 1);
    // And not too often of one that is not.
    for _ in 0..100 {
        assert_eq!(watch.report_failure(1).await.unwrap().current.number(), 1);
    }
    assert_eq!(fixture.vault.reads(), 2);
    fixture.clock.advance(6 * SECOND);
    watch.report_failure(1).await.unwrap();
    assert_eq!(fixture.vault.reads(), 3);
    fixture.clock.advance(6 * SECOND);
    fixture.vault.fail([ErrorKind::Unavailable]);
    let error = watch.report_failure(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(watch.generations().current.secret().expose(), "two");
}

/// A read that began before the report may still give the old value.
#[tokio::test]
async fn a_report_beside_a_read_is_followed_by_one_of_its_own() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "one").await;
    let watch = fixture.watch("kv://vault/db").await;
    let gate = fixture.vault.close();
    fixture.clock.advance(241 * SECOND);
    fixture.text("kv://vault/db").await.unwrap();
    settle().await;
    assert_eq!(fixture.vault.reads(), 2, "one is under way");
    fixture.vault.store("db", "two").await;
    let report = watch.report_failure(0);
    gate.add_permits(2);
    assert_eq!(report.await.unwrap().current.secret().expose(), "two");
}

fn event(schema: &str, name: &str) -> String {
    format!(
        r#"{{"id": "1", "{schema}": "Microsoft.KeyVault.SecretNewVersionCreated", "subject": "{name}",
            "data": {{"Id": "https://vault.vault.azure.net/secrets/{name}/0123456789abcdef0123456789abcdef",
                "VaultName": "Vault", "ObjectType": "Secret", "ObjectName": "{name}",
                "Version": "0123456789abcdef0123456789abcdef", "NBF": null, "EXP": null}}}}"#
    )
}

#[tokio::test(start_paused = true)]
async fn an_event_has_a_secret_read_at_once() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "one").await;
    let watch = fixture.watch("kv://vault/db").await;
    fixture.vault.store("db", "two").await;
    let body = format!("[{}]", event("eventType", "DB"));
    assert_eq!(
        fixture
            .secrets
            .accept_event(body.as_bytes())
            .unwrap()
            .secrets,
        1
    );
    assert_eq!(watch.changed_from(0).await.current.secret().expose(), "two");

    fixture.vault.store("db", "three").await;
    let body = event("type", "db");
    for _ in 0..1_000 {
        assert_eq!(
            fixture
                .secrets
                .accept_event(body.as_bytes())
                .unwrap()
                .secrets,
            1
        );
    }
    assert_eq!(
        watch.changed_from(1).await.current.secret().expose(),
        "three"
    );
    settle().await;
    assert_eq!(fixture.vault.reads(), 3, "a thousand are as one");

    // One that comes while the vault is read is heard as well.
    let gate = fixture.vault.close();
    fixture.clock.advance(5 * SECOND);
    fixture.secrets.accept_event(body.as_bytes()).unwrap();
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(fixture.vault.reads(), 4);
    fixture.vault.store("db", "four").await;
    fixture.secrets.accept_event(body.as_bytes()).unwrap();
    gate.add_permits(2);
    assert_eq!(
        watch.changed_from(2).await.current.secret().expose(),
        "four"
    );
}

#[tokio::test]
async fn other_events_are_left_alone() {
    let fixture = Fixture::new();
    let accept = |body: &str| fixture.secrets.accept_event(body.as_bytes());
    let validation = r#"[{"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "data": {"validationCode": "512d38b6", "validationUrl": "https://x"}}]"#;
    let accepted = accept(validation).unwrap();
    assert_eq!(accepted.validation_code.as_deref(), Some("512d38b6"));
    for body in [
        event("type", "unknown"),
        event("type", "../../x"),
        r#"{"type": "Microsoft.Storage.BlobCreated", "data": {"VaultName": 7}}"#.to_owned(),
        r#"{"type": "Microsoft.KeyVault.SecretNewVersionCreated"}"#.to_owned(),
        "[]".to_owned(),
    ] {
        let accepted = accept(&body).unwrap();
        assert_eq!(
            (accepted.secrets, accepted.validation_code),
            (0, None),
            "{body}"
        );
    }
    for body in ["", "hunter2", "7", "{}", r#"{"type": 7}"#] {
        let error = accept(body).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!format!("{error:?}").contains("hunter2"));
    }
    assert_eq!(fixture.vault.reads(), 0);
}

#[tokio::test]
async fn a_variable_without_versions_changes_by_its_value() {
    let fixture = Fixture::with(CachePolicy::default().with_jitter(0.0));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "one\n").unwrap();
    let secrets = tenantry_secrets::Secrets::builder()
        .with_folder(folder.path())
        .with_clock(std::sync::Arc::new(fixture.clock.clone()))
        .build()
        .unwrap();
    let watch = secrets.watch(&reference("file:password")).await.unwrap();
    assert_eq!(watch.report_failure(0).await.unwrap().current.number(), 0);
    std::fs::write(&file, "two").unwrap();
    fixture.clock.advance(6 * SECOND);
    let after = watch.report_failure(0).await.unwrap();
    assert_eq!(
        (after.current.number(), after.current.secret().expose()),
        (1, "two")
    );
}

#[tokio::test]
async fn a_value_that_is_stored_twice_keeps_the_one_before_it() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "one").await;
    let db = reference("kv://vault/db");
    let watch = fixture.secrets.watch(&db).await.unwrap();
    for _ in 0..3 {
        let secret = tenantry_core::Secret::new("two");
        let stored = fixture
            .secrets
            .put_new_version(&db, secret, Default::default());
        stored.await.unwrap();
    }
    let known = watch.generations();
    assert_eq!(
        (known.current.number(), known.current.secret().expose()),
        (1, "two")
    );
    assert_eq!(known.previous.unwrap().generation.secret().expose(), "one");
}

#[tokio::test]
async fn a_value_that_is_stored_twice_goes_by_its_newest_version() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "one").await;
    let watch = fixture.watch("kv://vault/db").await;
    let again = fixture.vault.store("db", "one").await;
    let known = watch.report_failure(0).await.unwrap().current;
    assert_eq!((known.number(), known.version()), (0, Some(&*again)));
}

#[tokio::test]
async fn a_vault_hears_events_by_the_name_of_its_service_too() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "one").await;
    let watch = fixture.watch("kv://vault/db").await;
    fixture.vault.store("db", "two").await;
    let odd = [
        "null",
        "7",
        r#"{"type": "x", "data": null}"#,
        r#"{"type": "x", "data": "text"}"#,
        r#"{"type": "x", "eventType": "y"}"#,
        r#"{"data": {}}"#,
    ];
    let event = event("eventType", "db").replace(r#""Vault""#, r#""Vault-Prod-WEU""#);
    let body = format!("[{}, {event}]", odd.join(", "));
    let accepted = fixture.secrets.accept_event(body.as_bytes()).unwrap();
    assert_eq!(accepted.secrets, 1);
    assert_eq!(watch.changed_from(0).await.current.secret().expose(), "two");
}

/// Neither a poll nor a push ends with the runtime that has begun it.
#[test]
fn a_secret_is_followed_on_in_another_runtime() {
    let fixture = Fixture::new();
    let first = runtime();
    let watch = first.block_on(async {
        fixture.vault.store("db", "one").await;
        let watch = fixture.watch("kv://vault/db").await;
        // The second is due in a second, of which nothing comes.
        for _ in 0..2 {
            let pushed = event("type", "db");
            fixture.secrets.accept_event(pushed.as_bytes()).unwrap();
            settle().await;
        }
        watch
    });
    drop(first);
    runtime().block_on(async {
        let other = fixture.watch("kv://vault/db").await;
        fixture.vault.store("db", "two").await;
        fixture.clock.advance(241 * SECOND);
        tokio::time::sleep(241 * SECOND).await;
        settle().await;
        assert_eq!(other.generations().current.secret().expose(), "two");
        fixture.vault.store("db", "three").await;
        let pushed = event("type", "db");
        fixture.secrets.accept_event(pushed.as_bytes()).unwrap();
        let third = watch.changed_from(1).await;
        assert_eq!(third.current.secret().expose(), "three");
    });
}

#[tokio::test]
async fn what_is_followed_no_more_leaves_no_task() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "one").await;
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    for _ in 0..100 {
        drop(fixture.watch("kv://vault/db").await);
        let none = reference("kv://vault/none");
        fixture.secrets.watch(&none).await.unwrap_err();
    }
    settle().await;
    assert_eq!(tasks(), before);
}

#[tokio::test]
async fn the_value_before_leaves_the_memory_when_it_retires() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "one").await;
    let watch = fixture.watch("kv://vault/db").await;
    fixture.vault.store("db", "two").await;
    let second = watch.report_failure(0).await.unwrap();
    let before = std::sync::Arc::clone(second.previous.unwrap().generation.secret());
    let holders = || std::sync::Arc::strong_count(&before);
    assert_eq!(holders(), 3, "the vault, the cache, and this test");
    fixture.clock.advance(11 * 60 * SECOND);
    fixture.text("kv://vault/db").await.unwrap();
    assert_eq!(holders(), 2);
}

/// A vault that is down is left alone, however many tell of a new value.
#[tokio::test(start_paused = true)]
async fn events_do_not_hurry_a_vault_that_is_down() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "one").await;
    let watch = fixture.watch("kv://vault/db").await;
    fixture.vault.fail([ErrorKind::Unavailable; 1_000]);
    let pushed = event("type", "db");
    let step = Duration::from_millis(100);
    for _ in 0..600 {
        fixture.secrets.accept_event(pushed.as_bytes()).unwrap();
        tokio::time::sleep(step).await;
        fixture.clock.advance(step);
    }
    let reads = fixture.vault.reads();
    // By those who follow and those who push; a second of events alone would be ten.
    assert!(reads < 20, "{reads} in a minute");
    fixture.vault.store("db", "two").await;
    fixture.vault.go_well();
    let changed = timeout(60 * SECOND, watch.changed_from(0)).await.unwrap();
    assert_eq!(changed.current.secret().expose(), "two");
}

#[tokio::test]
async fn events_of_one_secret_are_one_secret() {
    let fixture = Fixture::new();
    for name in ["db", "smtp"] {
        fixture.vault.store(name, "one").await;
        fixture.text(&format!("kv://vault/{name}")).await.unwrap();
    }
    let body = format!(
        "[{}, {}, {}]",
        event("type", "db"),
        event("eventType", "DB"),
        event("type", "smtp")
    );
    let accepted = fixture.secrets.accept_event(body.as_bytes()).unwrap();
    assert_eq!(accepted.secrets, 2);
}

/// Who waits for a change has it read, whichever runtime did so before.
#[test]
fn who_waits_for_a_change_in_another_runtime_has_it_read() {
    let fixture = Fixture::new();
    let first = runtime();
    let watch = first.block_on(async {
        fixture.vault.store("db", "one").await;
        fixture.watch("kv://vault/db").await
    });
    drop(first);
    runtime().block_on(async {
        fixture.vault.store("db", "two").await;
        fixture.clock.advance(241 * SECOND);
        let changed = timeout(600 * SECOND, watch.changed_from(0)).await.unwrap();
        assert_eq!(changed.current.secret().expose(), "two");
    });
}
