//! A known value is looked for in everything that is written.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tenantry_core::{
    Actor, RequestContext, Secret, SecretResolver as _, SecretSource as _, TenantId,
};
use tenantry_secrets::Vault as _;
use tracing_subscriber::fmt::MakeWriter;

use super::vault::Trouble;
use super::{Fixture, reference, settle};

const CANARY: &str = "canary-5b1e7c";

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Written {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn events_tell_who_and_what_and_never_the_value() {
    let written = Written::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(written.clone())
        .with_max_level(tracing::Level::TRACE)
        .finish();
    // For the process: which events are wanted is remembered for all threads together.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let fixture = Fixture::new();
    let db = reference("kv://vault/db");
    let context = RequestContext::new(Actor::new("user:17").unwrap());
    let secrets = fixture.secrets.with_context(context);
    let stored = secrets
        .put_new_version(&db, Secret::new(CANARY), Default::default())
        .await
        .unwrap();
    let watch = secrets.watch(&db).await.unwrap();
    secrets.resolve(&db).await.unwrap();
    secrets.resolve(&db).await.unwrap();
    watch.report_failure(0).await.unwrap();
    let mut shown = format!(
        "{secrets:?} {watch:?} {:?} {:?}",
        fixture.vault,
        watch.generations()
    );
    fixture.vault.trouble(Trouble::Panic);
    fixture.clock.advance(std::time::Duration::from_secs(360));
    for _ in 0..2 {
        if let Err(error) = secrets.resolve(&db).await {
            shown.push_str(&format!("{error} {error:?}"));
        }
    }
    secrets.disable_version(&stored).await.unwrap();
    let unversioned = secrets.disable_version(&db).await.unwrap_err();
    let versioned = secrets
        .put_new_version(&stored, Secret::new(CANARY), Default::default())
        .await
        .unwrap_err();
    shown.push_str(&format!("{unversioned:?} {versioned:?}"));
    fixture.clock.advance(std::time::Duration::from_secs(360));
    let error = secrets.resolve(&db).await.unwrap_err();
    shown.push_str(&format!("{error} {error:?}"));
    settle().await;

    let written = String::from_utf8(written.0.lock().clone()).unwrap();
    assert!(
        !written.contains(CANARY) && !shown.contains(CANARY),
        "{written}{shown}"
    );
    let line = |parts: &[&str]| {
        let found = written
            .lines()
            .any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "{parts:?} in {written}");
    };
    line(&[
        "INFO",
        "secret changed",
        "user:17",
        "kv://vault/db",
        "put new version",
    ]);
    line(&[
        "INFO",
        "secret resolved",
        "user:17",
        "generation=0",
        "outcome=\"read\"",
    ]);
    line(&["DEBUG", "secret resolved", "user:17", "outcome=\"known\""]);
    line(&["WARN", "secret was refused where it was used"]);
    line(&["INFO", "secret changed", "disable version"]);
    line(&["WARN", "secret refused", "error=\"secret_disabled\""]);
    for operation in ["disable version", "put new version"] {
        line(&[
            "WARN",
            "secret refused",
            "user:17",
            operation,
            "invalid_input",
        ]);
    }
}

/// What a value is kept in or handed out by says nothing of it, also where a panic shows it.
#[tokio::test]
async fn no_debug_and_no_panic_shows_the_value() {
    let fixture = Fixture::new();
    let version = fixture.vault.store("db", CANARY).await;
    let db = reference("kv://vault/db");
    let watch = fixture.watch("kv://vault/db").await;
    let record = fixture
        .vault
        .memory
        .read("db", Some(&version))
        .await
        .unwrap();
    let secret = fixture.secrets.resolve(&db).await.unwrap();
    let generations = watch.generations();
    let shown = [
        format!("{secret:?} {record:?} {generations:?} {watch:?}"),
        format!("{:?} {:?}", fixture.secrets, fixture.vault.memory),
        format!("{:?}", fixture.secrets.tenant(TenantId::generate())),
    ];
    let panics: [Box<dyn Fn()>; 3] = [
        Box::new(|| expect_failure(Ok(&secret))),
        Box::new(|| expect_failure(Ok(&record))),
        Box::new(|| expect_failure(Ok(&generations))),
    ];
    for panic in panics {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(panic)).unwrap_err();
        let told = caught.downcast_ref::<String>().unwrap();
        assert!(
            told.contains("unwrap_err") && !told.contains(CANARY),
            "{told}"
        );
    }
    for shown in shown {
        assert!(!shown.contains(CANARY), "{shown}");
    }
}

/// Panics as a service does that is wrong about an outcome.
fn expect_failure<T: std::fmt::Debug>(outcome: Result<T, ()>) {
    outcome.unwrap_err();
}
