//! What is kept, for how long, and how often the vault is asked.

use std::time::Duration;

use tenantry_core::{Error, ErrorKind, SecretResolver as _};
use tenantry_secrets::{CachePolicy, SecretAttributes, Vault as _};

use super::vault::Trouble;
use super::{Fixture, reference, runtime, settle};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn kind<T: std::fmt::Debug>(outcome: tenantry_core::Result<T>) -> ErrorKind {
    outcome.unwrap_err().kind()
}

#[tokio::test]
async fn ten_thousand_who_ask_at_once_make_one_call() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "hunter2").await;
    let gate = fixture.vault.close();
    let ask = |number: usize| {
        let secrets = fixture.secrets.clone();
        // In any case of the letters it is one secret.
        let name = if number.is_multiple_of(2) {
            "kv://vault/db"
        } else {
            "kv://vault/DB"
        };
        tokio::spawn(async move { secrets.resolve(&reference(name)).await })
    };
    let tasks: Vec<_> = (0..10_000).map(ask).collect();
    while fixture.vault.reads() == 0 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(1);
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().expose(), "hunter2");
    }
    assert_eq!(fixture.vault.reads(), 1);
}

#[tokio::test]
async fn who_goes_away_harms_nobody() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "hunter2").await;
    let gate = fixture.vault.close();
    let (secrets, db) = (fixture.secrets.clone(), reference("kv://vault/db"));
    let first = tokio::spawn({
        let (secrets, db) = (secrets.clone(), db.clone());
        async move { secrets.resolve(&db).await }
    });
    settle().await;
    let second = tokio::spawn(async move { secrets.resolve(&db).await });
    settle().await;
    first.abort();
    settle().await;
    gate.add_permits(1);
    assert_eq!(second.await.unwrap().unwrap().expose(), "hunter2");
    assert_eq!(fixture.vault.reads(), 1);
}

#[tokio::test]
async fn a_value_is_read_again_before_its_time_and_nobody_waits() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "one").await;
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "one");
    fixture.vault.store("db", "two").await;

    fixture.clock.advance(4 * MINUTE - SECOND);
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "one");
    settle().await;
    assert_eq!(fixture.vault.reads(), 1);

    fixture.clock.advance(2 * SECOND);
    assert_eq!(
        fixture.text("kv://vault/db").await.unwrap(),
        "one",
        "nobody waits"
    );
    settle().await;
    assert_eq!(fixture.vault.reads(), 2);
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "two");

    fixture.vault.store("db", "three").await;
    fixture.clock.advance(6 * MINUTE);
    assert_eq!(
        fixture.text("kv://vault/db").await.unwrap(),
        "three",
        "past its time"
    );
}

#[tokio::test]
async fn what_is_missing_is_asked_for_once_in_a_while() {
    let fixture = Fixture::new();
    for _ in 0..100 {
        assert_eq!(
            kind(fixture.text("kv://vault/db").await),
            ErrorKind::NotFound
        );
    }
    assert_eq!(fixture.vault.reads(), 1);
    fixture.vault.store("db", "hunter2").await;
    fixture.clock.advance(11 * SECOND);
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "hunter2");
}

#[tokio::test]
async fn a_vault_that_is_down_later_is_missed_only_after_the_longest_staleness() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "hunter2").await;
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "hunter2");
    fixture.vault.fail([ErrorKind::Unavailable; 1_000]);
    let mut minutes = 0;
    while fixture.text("kv://vault/db").await.is_ok() {
        fixture.clock.advance(MINUTE);
        minutes += 1;
        assert!(minutes < 100);
    }
    assert_eq!(minutes, 60);
    assert_eq!(
        kind(fixture.text("kv://vault/db").await),
        ErrorKind::Unavailable
    );
    fixture.vault.go_well();
    fixture.clock.advance(2 * MINUTE);
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "hunter2");
}

#[tokio::test]
async fn a_vault_that_is_down_at_start_is_told_of_and_left_alone_for_a_moment() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "hunter2").await;
    fixture.vault.fail([ErrorKind::Unavailable]);
    for _ in 0..100 {
        assert_eq!(
            kind(fixture.text("kv://vault/db").await),
            ErrorKind::Unavailable
        );
    }
    assert_eq!(fixture.vault.reads(), 1);
    fixture.clock.advance(2 * SECOND);
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "hunter2");
}

#[tokio::test]
async fn what_the_vault_forbids_is_refused_from_then_on() {
    for forbidden in [
        ErrorKind::SecretDisabled,
        ErrorKind::SecretDeleted,
        ErrorKind::NotFound,
    ] {
        let fixture = Fixture::new();
        fixture.vault.store("db", "hunter2").await;
        assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "hunter2");
        fixture.vault.fail([forbidden]);
        fixture.clock.advance(6 * MINUTE);
        for _ in 0..10 {
            assert_eq!(kind(fixture.text("kv://vault/db").await), forbidden);
        }
        assert_eq!(fixture.vault.reads(), 2);
        fixture.clock.advance(11 * SECOND);
        assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "hunter2");
    }
}

#[tokio::test]
async fn a_value_ends_by_the_clock_whatever_the_vault_gives_out() {
    let fixture = Fixture::new();
    let now = tenantry_core::Clock::now(&fixture.clock);
    let attributes = SecretAttributes {
        not_before: Some(now + MINUTE),
        expires_at: Some(now + 3 * MINUTE),
    };
    let secret = tenantry_core::Secret::new("hunter2");
    fixture
        .vault
        .memory
        .put("db", &secret, &attributes)
        .await
        .unwrap();
    assert_eq!(
        kind(fixture.text("kv://vault/db").await),
        ErrorKind::SecretNotYetValid
    );
    fixture.clock.advance(MINUTE);
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "hunter2");
    fixture.clock.advance(2 * MINUTE);
    for _ in 0..10 {
        assert_eq!(
            kind(fixture.text("kv://vault/db").await),
            ErrorKind::SecretExpired
        );
    }
    assert_eq!(
        fixture.vault.reads(),
        3,
        "once more, for there could be a newer one"
    );
    fixture.vault.store("db", "hunter3").await;
    fixture.clock.advance(11 * SECOND);
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "hunter3");
}

#[tokio::test]
async fn a_throttled_vault_is_left_alone_for_as_long_as_it_says() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "hunter2").await;
    let throttled = Error::new(ErrorKind::Throttled, "read").with_retry_after(7 * SECOND);
    fixture.vault.trouble(Trouble::Error(throttled));
    let error = fixture.text("kv://vault/db").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert!(error.is_retryable());
    fixture.clock.advance(6 * SECOND);
    for name in ["kv://vault/db", "kv://vault/other", "kv://vault/third"] {
        let error = fixture.text(name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Throttled, "{name}");
        assert_eq!(error.retry_after(), Some(SECOND), "{name}");
    }
    assert_eq!(fixture.vault.reads(), 1);
    fixture.clock.advance(3 * SECOND);
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "hunter2");
}

#[tokio::test]
async fn a_vault_is_not_called_beyond_its_budget() {
    let policy = CachePolicy::default().with_call_budget(3, 10 * SECOND);
    let fixture = Fixture::with(policy);
    for number in 0..10 {
        let expected = if number < 3 {
            ErrorKind::NotFound
        } else {
            ErrorKind::Throttled
        };
        let outcome = fixture.text(&format!("kv://vault/n{number}")).await;
        assert_eq!(kind(outcome), expected, "{number}");
    }
    assert_eq!(fixture.vault.reads(), 3);
    fixture.clock.advance(10 * SECOND);
    assert_eq!(
        kind(fixture.text("kv://vault/n9").await),
        ErrorKind::NotFound
    );
}

#[tokio::test]
async fn a_vault_that_panics_is_left_alone_as_one_that_is_down() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "hunter2").await;
    fixture.vault.trouble(Trouble::Panic);
    for _ in 0..2 {
        assert_eq!(
            kind(fixture.text("kv://vault/db").await),
            ErrorKind::Unexpected
        );
    }
    assert_eq!(fixture.vault.reads(), 1);
    fixture.clock.advance(2 * SECOND);
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "hunter2");
    fixture.clock.advance(310 * SECOND);
    fixture.vault.trouble(Trouble::Panic);
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "hunter2");
    assert_eq!(fixture.vault.reads(), 3, "it is used while it is stale");
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_stays_silent_is_given_up() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "hunter2").await;
    fixture.vault.trouble(Trouble::Silence);
    let error = fixture.text("kv://vault/db").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.to_string().contains("no answer within 10s"),
        "{error}"
    );
    fixture.clock.advance(2 * SECOND);
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "hunter2");
}

#[tokio::test]
async fn no_more_references_are_remembered_than_allowed() {
    let fixture = Fixture::with(CachePolicy::default().with_entries(10));
    fixture.vault.store("db", "hunter2").await;
    let watch = fixture.watch("kv://vault/db").await;
    for number in 0..1_000 {
        fixture.clock.advance(Duration::from_millis(1));
        let _ = fixture.text(&format!("kv://vault/n{number}")).await;
    }
    let shown = format!("{:?}", fixture.secrets);
    assert!(shown.contains("known: 10"), "{shown}");
    let reads = fixture.vault.reads();
    fixture.text("kv://vault/db").await.unwrap();
    assert_eq!(fixture.vault.reads(), reads, "what is followed stays");
    drop(watch);
}

/// A tenant that asks for whatever names it thinks of takes no room from others.
#[tokio::test]
async fn secrets_that_are_not_there_are_forgotten_first() {
    let fixture = Fixture::with(CachePolicy::default().with_entries(10));
    for number in 0..5 {
        fixture.vault.store(&format!("s{number}"), "hunter2").await;
        fixture
            .text(&format!("kv://vault/s{number}"))
            .await
            .unwrap();
    }
    for number in 0..100 {
        fixture.clock.advance(Duration::from_millis(1));
        let _ = fixture.text(&format!("kv://vault/n{number}")).await;
    }
    let reads = fixture.vault.reads();
    for number in 0..5 {
        fixture
            .text(&format!("kv://vault/s{number}"))
            .await
            .unwrap();
    }
    assert_eq!(fixture.vault.reads(), reads);
}

#[tokio::test]
async fn every_refusal_has_its_kind_and_says_what_to_do() {
    let fixture = Fixture::new();
    let error = fixture.text("kv://other/db").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "resolve secret kv://other/db: unknown vault: add the vault by with_vault, or correct the \
         reference"
    );
    let error = fixture.text("kv://vault/db").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "resolve secret kv://vault/db: not found: create it, or correct the reference"
    );
    for settings in [
        CachePolicy::default().with_jitter(0.9),
        CachePolicy::default().with_time_to_live(Duration::ZERO),
        CachePolicy::default().with_max_stale(SECOND),
        CachePolicy::default().with_call_budget(0, SECOND),
        CachePolicy::default().with_entries(0),
    ] {
        let built = tenantry_secrets::Secrets::builder()
            .with_policy(settings)
            .build();
        assert_eq!(kind(built), ErrorKind::InvalidSettings);
    }
}

/// What a runtime takes with it when it ends is begun anew by the next.
#[test]
fn a_read_is_not_lost_with_its_runtime() {
    let fixture = Fixture::new();
    let first = runtime();
    let gate = first.block_on(async {
        fixture.vault.store("db", "hunter2").await;
        let gate = fixture.vault.close();
        let ask = fixture.text("kv://vault/db");
        assert!(
            tokio::time::timeout(Duration::from_millis(5), ask)
                .await
                .is_err()
        );
        gate
    });
    drop(first);
    gate.add_permits(10);
    runtime().block_on(async {
        assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "hunter2");
    });
    let outside = fixture.secrets.accept_event(b"[]").unwrap_err();
    assert_eq!(outside.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn no_time_is_too_long_to_reckon_with() {
    let fixture = Fixture::with(
        CachePolicy::default()
            .with_time_to_live(Duration::MAX)
            .with_max_stale(Duration::MAX)
            .with_negative_time_to_live(Duration::MAX)
            .with_failure_interval(Duration::MAX)
            .with_overlap(Duration::MAX)
            .with_call_budget(10, Duration::MAX),
    );
    use tenantry_core::SecretSource as _;

    let db = reference("kv://vault/db");
    fixture.vault.store("db", "one").await;
    let watch = fixture.secrets.watch(&db).await.unwrap();
    fixture.vault.store("db", "two").await;
    for _ in 0..3 {
        let known = watch.report_failure(0).await.unwrap();
        assert_eq!(known.current.secret().expose(), "two");
        watch.report_failure(1).await.unwrap();
    }
    assert!(watch.generations().previous.is_some());
    for number in 0..20 {
        let _ = fixture.text(&format!("kv://vault/n{number}")).await;
    }
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "two");
}

#[tokio::test]
async fn a_value_that_begins_to_hold_later_takes_nothing_away_before() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "one").await;
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "one");
    let attributes = SecretAttributes {
        not_before: Some(tenantry_core::Clock::now(&fixture.clock) + 90 * MINUTE),
        expires_at: None,
    };
    let secret = tenantry_core::Secret::new("two");
    fixture
        .vault
        .memory
        .put("db", &secret, &attributes)
        .await
        .unwrap();
    // Longer than a value is used whose vault is down.
    for _ in 0..89 {
        fixture.clock.advance(MINUTE);
        assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "one");
        settle().await;
    }
    fixture.clock.advance(6 * MINUTE);
    let _ = fixture.text("kv://vault/db").await;
    settle().await;
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "two");
}

/// Stores a value that holds in a year.
async fn store_for_later(fixture: &Fixture, value: &str) {
    let attributes = SecretAttributes {
        not_before: Some(tenantry_core::Clock::now(&fixture.clock) + 365 * 24 * 60 * MINUTE),
        expires_at: None,
    };
    let secret = tenantry_core::Secret::new(value);
    let stored = fixture.vault.memory.put("db", &secret, &attributes);
    stored.await.unwrap();
}

#[tokio::test]
async fn a_value_that_is_switched_off_ends_though_the_next_begins_later() {
    let fixture = Fixture::new();
    let first = fixture.vault.store("db", "one").await;
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "one");
    store_for_later(&fixture, "two").await;
    fixture.clock.advance(6 * MINUTE);
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "one");
    let versioned = reference("kv://vault/db").with_version(&first).unwrap();
    fixture.secrets.disable_version(&versioned).await.unwrap();
    for _ in 0..3 {
        let early = kind(fixture.text("kv://vault/db").await);
        assert_eq!(early, ErrorKind::SecretNotYetValid);
        fixture.clock.advance(6 * MINUTE);
    }
}

#[tokio::test]
async fn what_was_refused_as_too_old_is_not_used_again_without_a_look() {
    let fixture = Fixture::new();
    let first = fixture.vault.store("db", "one").await;
    fixture.text("kv://vault/db").await.unwrap();
    fixture.vault.fail([ErrorKind::Unavailable]);
    fixture.clock.advance(120 * MINUTE);
    let old = kind(fixture.text("kv://vault/db").await);
    assert_eq!(old, ErrorKind::Unavailable);
    fixture
        .vault
        .set_enabled("db", &first, false)
        .await
        .unwrap();
    store_for_later(&fixture, "two").await;
    fixture.clock.advance(MINUTE);
    let early = kind(fixture.text("kv://vault/db").await);
    assert_eq!(early, ErrorKind::SecretNotYetValid);
}

#[tokio::test]
async fn the_next_value_is_not_asked_for_more_often_because_it_begins_later() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "one").await;
    let watch = fixture.watch("kv://vault/db").await;
    store_for_later(&fixture, "two").await;
    fixture.clock.advance(6 * MINUTE);
    fixture.text("kv://vault/db").await.unwrap();
    let reads = fixture.vault.reads();
    for _ in 0..20 {
        fixture.clock.advance(11 * SECOND);
        fixture.text("kv://vault/db").await.unwrap();
        settle().await;
    }
    assert_eq!(fixture.vault.reads(), reads);
    let reported = watch.report_failure(0).await.unwrap();
    assert_eq!(reported.current.secret().expose(), "one");
}

#[tokio::test]
async fn a_value_is_given_to_who_asked_however_short_it_is_kept() {
    let policy = CachePolicy::default().with_time_to_live(Duration::from_nanos(1));
    let vault = std::sync::Arc::new(tenantry_secrets::MemoryVault::new());
    let secrets = tenantry_secrets::Secrets::builder()
        .with_vault("vault", vault)
        .unwrap()
        .with_policy(policy)
        .build()
        .unwrap();
    let (db, value) = (
        reference("kv://vault/db"),
        tenantry_core::Secret::new("one"),
    );
    secrets
        .put_new_version(&db, value, Default::default())
        .await
        .unwrap();
    for _ in 0..100 {
        assert_eq!(secrets.resolve(&db).await.unwrap().expose(), "one");
    }
}

/// Whatever names tenants think of, the platform's secrets are still read.
#[tokio::test]
async fn tenants_leave_a_part_of_the_budget_to_others() {
    let policy = CachePolicy::default().with_call_budget(8, 10 * SECOND);
    let fixture = Fixture::with(policy);
    fixture.vault.store("db", "one").await;
    let tenant = tenantry_core::TenantId::generate();
    let secrets = fixture.secrets.tenant(tenant);
    let mut throttled = 0;
    for number in 0..20 {
        let name = format!("n{number}");
        let unknown = tenantry_core::SecretReference::of_tenant("vault", tenant, &name).unwrap();
        let refused = secrets.resolve(&unknown).await.unwrap_err();
        throttled += usize::from(refused.kind() == ErrorKind::Throttled);
    }
    assert_eq!(throttled, 14);
    assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "one");
}

#[test]
fn outside_of_a_runtime_nothing_is_done_and_nothing_panics() {
    use futures_util::FutureExt as _;

    let fixture = Fixture::new();
    let resolved = fixture.text("kv://vault/db").now_or_never().unwrap();
    assert_eq!(kind(resolved), ErrorKind::Unsupported);
    let (db, value) = (
        reference("kv://vault/db"),
        tenantry_core::Secret::new("one"),
    );
    let stored = fixture
        .secrets
        .put_new_version(&db, value, Default::default());
    assert_eq!(kind(stored.now_or_never().unwrap()), ErrorKind::Unsupported);
    let listed = fixture.secrets.list_expiring("vault", MINUTE);
    assert_eq!(kind(listed.now_or_never().unwrap()), ErrorKind::Unsupported);
    let watch = runtime().block_on(async {
        fixture.vault.store("db", "one").await;
        fixture.watch("kv://vault/db").await
    });
    let reported = watch.report_failure(0).now_or_never().unwrap();
    assert_eq!(kind(reported), ErrorKind::Unsupported);
}

/// However small it is.
#[tokio::test]
async fn a_small_budget_leaves_others_a_call_beside_tenants() {
    for calls in [2, 3, 4] {
        let policy = CachePolicy::default().with_call_budget(calls, 10 * SECOND);
        let fixture = Fixture::with(policy);
        fixture.vault.store("db", "one").await;
        let tenant = tenantry_core::TenantId::generate();
        let secrets = fixture.secrets.tenant(tenant);
        for number in 0..10 {
            let name = format!("n{number}");
            let unknown =
                tenantry_core::SecretReference::of_tenant("vault", tenant, &name).unwrap();
            secrets.resolve(&unknown).await.unwrap_err();
        }
        assert_eq!(fixture.text("kv://vault/db").await.unwrap(), "one");
    }
}

#[tokio::test]
async fn names_that_are_being_read_take_no_room_from_what_is_known() {
    let fixture = Fixture::with(CachePolicy::default().with_entries(10));
    for number in 0..5 {
        fixture.vault.store(&format!("s{number}"), "hunter2").await;
        fixture
            .text(&format!("kv://vault/s{number}"))
            .await
            .unwrap();
    }
    let gate = fixture.vault.close();
    let asked: Vec<_> = (0..100)
        .map(|number| {
            fixture.clock.advance(Duration::from_millis(1));
            let secrets = fixture.secrets.clone();
            let unknown = reference(&format!("kv://vault/n{number}"));
            tokio::spawn(async move { secrets.resolve(&unknown).await })
        })
        .collect();
    settle().await;
    gate.add_permits(1_000);
    for task in asked {
        assert_eq!(kind(task.await.unwrap()), ErrorKind::NotFound);
    }
    let reads = fixture.vault.reads();
    for number in 0..5 {
        fixture
            .text(&format!("kv://vault/s{number}"))
            .await
            .unwrap();
    }
    assert_eq!(fixture.vault.reads(), reads);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_takes_two_calls_has_one_deadline() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "one").await;
    fixture.text("kv://vault/db").await.unwrap();
    store_for_later(&fixture, "two").await;
    fixture.clock.advance(6 * MINUTE);
    fixture.vault.trouble(Trouble::Delay(9 * SECOND));
    fixture.vault.trouble(Trouble::Silence);
    let begun = tokio::time::Instant::now();
    let stale = fixture.text("kv://vault/db").await.unwrap();
    assert_eq!(stale, "one", "the vault is slow, and the value not too old");
    assert!(begun.elapsed() < 11 * SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_write_without_an_answer_may_be_stored() {
    let fixture = Fixture::new();
    fixture.vault.hold_writes();
    let value = tenantry_core::Secret::new("one");
    let stored = fixture
        .secrets
        .put_new_version(&reference("kv://vault/db"), value, Default::default())
        .await;
    let error = stored.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CommitUnknown);
    assert!(error.to_string().contains("look before storing it again"));
    assert_eq!(fixture.vault.versions("db").await.unwrap().len(), 1);
}

/// Who waits as told is let in then, and who asks on and on no later.
#[tokio::test]
async fn a_throttled_vault_is_asked_when_it_said_by_whoever_asks_on_and_on() {
    for told in [Some(2 * SECOND), Some(5 * SECOND), None] {
        let fixture = Fixture::new();
        fixture.vault.store("db", "hunter2").await;
        let mut throttled = Error::new(ErrorKind::Throttled, "read");
        if let Some(wait) = told {
            throttled = throttled.with_retry_after(wait);
        }
        fixture.vault.trouble(Trouble::Error(throttled));
        let step = Duration::from_millis(250);
        let mut waited = Duration::ZERO;
        while let Err(error) = fixture.text("kv://vault/db").await {
            let left = error.retry_after().unwrap();
            if let Some(wait) = told {
                assert_eq!(left, wait - waited);
            }
            fixture.clock.advance(step);
            waited += step;
        }
        // By chance up to half longer where nothing was told, and twice.
        let expected = told.unwrap_or(3 * SECOND) + step;
        assert!(waited <= expected, "{told:?}: {waited:?}");
        assert_eq!(fixture.vault.reads(), 2);
    }
}

#[tokio::test]
async fn a_vault_that_is_down_says_when_it_is_asked_again() {
    let fixture = Fixture::new();
    fixture.vault.fail([ErrorKind::Unavailable; 2]);
    let first = fixture.text("kv://vault/db").await.unwrap_err();
    let wait = first.retry_after().unwrap();
    fixture.clock.advance(wait / 2);
    let second = fixture.text("kv://vault/db").await.unwrap_err();
    assert_eq!(second.retry_after().unwrap(), wait - wait / 2);
    fixture.clock.advance(wait - wait / 2);
    fixture.text("kv://vault/db").await.unwrap_err();
    assert_eq!(fixture.vault.reads(), 2);
}
