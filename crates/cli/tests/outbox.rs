//! `tenantry outbox`, run as operators run it.

#![allow(clippy::unwrap_used, reason = "a set-up that fails ends the test")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use support::{Server, Service};
use tenantry_core::TenantId;
use tenantry_outbox::{
    Message, NewMessage, OUTBOX_POSTGRES, OUTBOX_RIGHTS_POSTGRES, OUTBOX_SQLITE, Outbox,
    OutboxWorker, PublishError, PublishErrorKind, Publisher, Stopped, WorkerSettings,
};
use tenantry_store::postgres::migrate;
use tenantry_store::{
    Migrations, PlatformStore, PostgresSettings, SqliteSettings, TenantStore, async_trait, sqlite,
};

/// Takes nothing, for ever, and says so with what a terminal must not obey.
#[derive(Debug)]
struct Refuses;

#[async_trait]
impl Publisher for Refuses {
    async fn publish(&self, _messages: &[Message]) -> Result<(), Stopped> {
        let error = PublishError::new(PublishErrorKind::Poison, "too\u{1b}[2J large");
        Err(Stopped::new(0, error))
    }

    async fn check(&self) -> tenantry_core::Result<()> {
        Ok(())
    }

    fn system(&self) -> &'static str {
        "refuses"
    }
}

/// Where the command is to look.
struct Place(Service);

impl Place {
    /// Runs `tenantry outbox` and returns its exit code and what it wrote.
    async fn run(&self, arguments: &[&str]) -> (i32, String) {
        self.0.run_plain(&[&["outbox"], arguments].concat()).await
    }

    async fn json(&self, arguments: &[&str]) -> (i32, Value) {
        support::read(self.run(&[arguments, &["--json"]].concat()).await)
    }
}

#[tokio::test]
async fn what_was_given_up_on_postgres_is_listed_replayed_and_discarded() {
    let server = Server::empty().await;
    let migrations = Migrations::embedded(&[(1, "outbox", OUTBOX_POSTGRES)]);
    migrate(server.owner.url(), &migrations).await.unwrap();
    let store = TenantStore::postgres(PostgresSettings::new(server.app.url()))
        .await
        .unwrap();
    let url = server.platform.url();
    let workers = PlatformStore::postgres(PostgresSettings::new(url))
        .await
        .unwrap();
    let password = server.platform.password();
    let mut service = Service::new();
    let url_alone = url.replace(&format!(":{password}@"), "@");
    service.set("TENANTRY_DATABASE_URL", &url_alone);
    service.set("TENANTRY_DATABASE_PASSWORD", password);
    service.hides(password);
    story(&store, &workers, &Place(service)).await;
}

#[tokio::test]
async fn what_was_given_up_on_sqlite_is_listed_replayed_and_discarded() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("billing.db");
    let settings = SqliteSettings::file(&file);
    let migrations = Migrations::embedded(&[(1, "outbox", OUTBOX_SQLITE)]);
    sqlite::migrate(&settings, &migrations).await.unwrap();
    let store = TenantStore::sqlite(settings.clone()).await.unwrap();
    let platform = PlatformStore::sqlite(settings).await.unwrap();
    let mut service = Service::new();
    service.set(
        "TENANTRY_DATABASE_URL",
        &format!("sqlite:{}", file.display()),
    );
    story(&store, &platform, &Place(service)).await;

    let mut service = Service::new();
    service.set("TENANTRY_DATABASE_URL", "sqlite:/nowhere.db");
    let nowhere = Place(service);
    let (code, written) = nowhere.run(&["status"]).await;
    assert_eq!(code, 2, "{written}");
    assert!(written.contains("there is no such file"), "{written}");
}

async fn story(store: &TenantStore, platform: &PlatformStore, place: &Place) {
    let [one, other] = [TenantId::generate(), TenantId::generate()];
    let (code, status) = place.json(&["status"]).await;
    assert_eq!((code, &status["backlog"]), (0, &0.into()));
    assert_eq!(place.run(&["dead"]).await, (0, "0 given up\n".to_owned()));

    let outbox = Outbox::new(store);
    for tenant in [one, other] {
        let work = store.tenant(tenant).begin().await.unwrap();
        let message = NewMessage::new("billing.invoice.paid", "invoice-7")
            .with_payload("text/plain", b"payload".to_vec());
        outbox.append_message(&work, message).unwrap();
        work.commit().await.unwrap();
    }
    let (code, status) = place.json(&["status"]).await;
    assert_eq!(
        (code, &status["backlog"], &status["workers"]),
        (1, &2.into(), &0.into()),
        "messages wait and no worker is there"
    );
    let worker =
        OutboxWorker::start(platform, Arc::new(Refuses), WorkerSettings::default()).unwrap();
    while place.json(&["status"]).await.1["blocked"] != 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    worker.stop().await.unwrap();

    let (code, dead) = place.json(&["dead"]).await;
    assert_eq!((code, dead["dead"].as_array().unwrap().len()), (1, 2));
    assert_eq!(dead["is_complete"], true);
    let of_one = ["dead", "--tenant", &one.to_string()];
    let (_, dead) = place.json(&of_one).await;
    let dead = dead["dead"].as_array().unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (&dead[0]["tenant"], &dead[0]["reason"], &dead[0]["key"]),
        (
            &one.to_string().into(),
            &"poison".into(),
            &"invoice-7".into()
        )
    );
    assert_eq!(dead[0]["bytes"], 7);
    let (_, lines) = place.run(&of_one).await;
    assert!(
        lines.contains("blocks its key after 1 attempts, poison: too\\u{1b}[2J large"),
        "{lines}"
    );
    // A list that is cut says so.
    let (code, lines) = place.run(&["dead", "--limit", "1"]).await;
    assert!(
        code == 1 && lines.ends_with("and more: --limit\n"),
        "{lines}"
    );
    let (code, dead) = place.json(&["dead", "--limit", "1"]).await;
    assert_eq!((code, dead["dead"].as_array().unwrap().len()), (1, 1));
    assert_eq!(dead["is_complete"], false);
    let (_, lines) = place.run(&["dead", "--limit", "2"]).await;
    assert!(lines.ends_with("2 given up\n"), "{lines}");
    assert_eq!(place.run(&["dead", "--limit", "0"]).await.0, 2);
    let (code, groups) = place.json(&["dead", "--grouped"]).await;
    assert_eq!(code, 1);
    assert_eq!(
        (
            &groups["groups"][0]["count"],
            &groups["groups"][0]["tenants"]
        ),
        (&2.into(), &2.into())
    );

    let tenant = one.to_string();
    let (code, written) = place.run(&["replay", "--tenant", &tenant]).await;
    assert_eq!(code, 2, "no reason is given: {written}");
    let because = ["--reason", "ticket 4711", "--actor", "user:ada"];
    let replay = ["replay", "--tenant", &tenant];
    let (code, written) = place.run(&[&replay[..], &because].concat()).await;
    assert_eq!(code, 2, "which of them is not said: {written}");
    let wrong = [&replay[..], &["--type", "billing.invoice.sent"], &because].concat();
    assert_eq!(
        place.json(&wrong).await,
        (1, serde_json::json!({"replayed": 0}))
    );
    let right = [&replay[..], &["--all"], &because].concat();
    assert_eq!(
        place.json(&right).await,
        (0, serde_json::json!({"replayed": 1}))
    );
    let tenant = other.to_string();
    let id = place.json(&["dead"]).await.1["dead"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let discard = [&["discard", "--tenant", &tenant, "--id", &id][..], &because].concat();
    let (code, written) = place.run(&discard).await;
    assert_eq!(code, 2, "it is not said that it is meant: {written}");
    let discard = [&discard[..], &["--yes"]].concat();
    assert_eq!(place.run(&discard).await, (0, "1 discarded\n".to_owned()));
    assert_eq!(place.run(&["dead"]).await.0, 0);
    assert_eq!(place.json(&["status"]).await.1["waiting"], 1, "that of one");
}

/// As it is embedded, to the byte: migrations are compared by it.
#[tokio::test]
async fn tables_are_written_for_a_file_of_migrations_without_a_database() {
    let place = Place(Service::new());
    for (arguments, expected) in [
        (&["schema"][..], OUTBOX_POSTGRES),
        (&["schema", "--rights"], OUTBOX_RIGHTS_POSTGRES),
        (&["schema", "--sqlite"], OUTBOX_SQLITE),
    ] {
        let (code, written) = place.run(arguments).await;
        assert_eq!(code, 0, "{written}");
        assert_eq!(written, expected);
    }
    // SQLite has no roles.
    let (code, written) = place.run(&["schema", "--sqlite", "--rights"]).await;
    assert_eq!(code, 2, "{written}");

    let folder = tempfile::tempdir().unwrap();
    let (_, written) = place.run(&["schema", "--sqlite"]).await;
    std::fs::write(folder.path().join("0001_outbox.sql"), written).unwrap();
    let migrations = Migrations::from_dir(folder.path()).await.unwrap();
    let settings = SqliteSettings::file(folder.path().join("billing.db"));
    assert_eq!(sqlite::migrate(&settings, &migrations).await.unwrap(), [1]);
    // The same migration, for who has embedded the text before.
    let embedded = Migrations::embedded(&[(1, "outbox", OUTBOX_SQLITE)]);
    assert!(
        sqlite::migrate(&settings, &embedded)
            .await
            .unwrap()
            .is_empty()
    );
}
