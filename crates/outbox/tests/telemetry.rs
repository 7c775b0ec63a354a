//! What an operator sees of an outbox.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod told;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use tenantry_core::TenantId;
use tenantry_outbox::conformance::{Answer, Broker, quick, until};
use tenantry_outbox::{
    FailurePolicy, NewMessage, OUTBOX_SQLITE, Outbox, OutboxStatus, OutboxWorker, PublishErrorKind,
};
use tenantry_store::{Migrations, PlatformStore, SqliteSettings, TenantStore, sqlite};

use told::told;

/// Makes a database in which two tenants have appended a message under each key.
async fn written(path: &Path, keys: &[&str]) -> PlatformStore {
    let settings = SqliteSettings::file(path);
    let migrations = Migrations::embedded(&[(1, "outbox", OUTBOX_SQLITE)]);
    sqlite::migrate(&settings, &migrations).await.unwrap();
    let store = TenantStore::sqlite(settings.clone()).await.unwrap();
    let outbox = Outbox::new(&store);
    for tenant in [TenantId::generate(), TenantId::generate()] {
        let work = store.tenant(tenant).begin().await.unwrap();
        for key in keys {
            outbox
                .append_message(&work, NewMessage::new("a", *key))
                .unwrap();
        }
        work.commit().await.unwrap();
    }
    PlatformStore::sqlite(settings).await.unwrap()
}

/// What is told of a database.
fn figures(database: &str, parked: u64) -> Vec<(String, u64)> {
    let figures = [
        ("backlog", 0),
        ("blocked", 2),
        ("dead", 0),
        ("dead_tuples", 0),
        ("oldest_kept.age", 1),
        ("oldest_unsent.age", 1),
        ("parked", parked),
        ("workers", 1),
    ];
    let named = figures.map(|(name, value)| {
        let name = format!("tenantry.outbox.{name} db.namespace={database}");
        (name, value)
    });
    named.into()
}

// One test alone: the provider is that of the whole process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_tell_what_leaves_and_what_stands_still_of_each_database() {
    let exporter = InMemoryMetricExporter::default();
    let reader =
        PeriodicReader::builder(exporter.clone()).with_interval(Duration::from_secs(3_600));
    let provider = SdkMeterProvider::builder()
        .with_reader(reader.build())
        .build();
    opentelemetry::global::set_meter_provider(provider.clone());

    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let [first, second] = ["first", "second"].map(|name| folder.join(name));
    let platform = written(&first, &["taken", "poison", "poison"]).await;
    let other = written(&second, &["taken", "poison"]).await;
    let before = OutboxStatus::read(&platform).await.unwrap();
    assert_eq!((before.backlog, before.workers), (6, 0));
    assert!(before.oldest_unsent.is_some());
    assert_eq!(before.database, first.display().to_string());

    let broker = Broker::default();
    broker.answer(|message| {
        (message.key() == "poison").then_some(Answer::No(PublishErrorKind::Poison))
    });
    let settings = quick().with_failure_policy(FailurePolicy::default());
    let worker = OutboxWorker::start(&platform, Arc::new(broker.clone()), settings).unwrap();
    worker.drain_also(&other, None).await.unwrap();
    until("what can leave has left", || broker.count() == 4).await;
    let tell = || {
        exporter.reset();
        provider.force_flush().unwrap();
        let place = format!("{}/", folder.display());
        let told = told(&exporter).into_iter();
        told.map(|(name, value)| (name.replace(&place, ""), value))
            .collect::<BTreeMap<_, _>>()
    };
    let mut expected: BTreeMap<_, _> = [
        (
            "messaging.client.operation.duration error.type=poison messaging.operation.name=send messaging.system=conformance",
            4,
        ),
        (
            "messaging.client.operation.duration messaging.operation.name=send messaging.system=conformance",
            4,
        ),
        (
            "messaging.client.sent.messages messaging.operation.name=send messaging.system=conformance",
            4,
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let of_calls = expected.clone();
    expected.extend(figures("first", 2));
    expected.extend(figures("second", 0));
    let mut told_last = tell();
    for _ in 0..300 {
        // The gauges are looked at every ten seconds.
        if told_last == expected {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        told_last = tell();
    }
    assert_eq!(told_last, expected);

    // What has ended tells nothing of how it stands.
    worker.stop().await.unwrap();
    assert_eq!(tell(), of_calls);
}
