//! What an operator sees of an outbox.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod told;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use tenantry_core::TenantId;
use tenantry_outbox::conformance::{Answer, Broker, quick, until};
use tenantry_outbox::{
    FailurePolicy, NewMessage, Outbox, OutboxStatus, OutboxWorker, PublishErrorKind, SCHEMA_SQLITE,
};
use tenantry_store::{Migrations, PlatformStore, SqliteSettings, TenantStore, sqlite};

use told::told;

// One test alone: the provider is that of the whole process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_tell_what_leaves_and_what_stands_still() {
    let exporter = InMemoryMetricExporter::default();
    let reader =
        PeriodicReader::builder(exporter.clone()).with_interval(Duration::from_secs(3_600));
    let provider = SdkMeterProvider::builder()
        .with_reader(reader.build())
        .build();
    opentelemetry::global::set_meter_provider(provider.clone());

    let settings = SqliteSettings::temporary();
    let migrations = Migrations::embedded(&[(1, "outbox", SCHEMA_SQLITE)]);
    sqlite::migrate(&settings, &migrations).await.unwrap();
    let store = TenantStore::sqlite(settings.clone()).await.unwrap();
    let platform = PlatformStore::sqlite(settings).await.unwrap();
    let outbox = Outbox::new(&store);
    for tenant in [TenantId::generate(), TenantId::generate()] {
        let work = store.tenant(tenant).begin().await.unwrap();
        for key in ["taken", "poison", "poison"] {
            outbox
                .append_message(&work, NewMessage::new("a", key))
                .unwrap();
        }
        work.commit().await.unwrap();
    }
    let before = OutboxStatus::read(&platform).await.unwrap();
    assert_eq!((before.backlog, before.workers), (6, 0));
    assert!(before.oldest_unsent.is_some());

    let broker = Broker::default();
    broker.answer(|message| {
        (message.key() == "poison").then_some(Answer::No(PublishErrorKind::Poison))
    });
    let settings = quick().with_failure_policy(FailurePolicy::default());
    let worker = OutboxWorker::start(&platform, Arc::new(broker.clone()), settings).unwrap();
    until("what can leave has left", || broker.count() == 2).await;
    let mut told_last = BTreeMap::new();
    for _ in 0..300 {
        // The gauges are looked at every ten seconds.
        exporter.reset();
        provider.force_flush().unwrap();
        told_last = told(&exporter);
        if told_last.get("tenantry.outbox.blocked") == Some(&2) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    worker.stop().await.unwrap();
    let expected = [
        (
            "messaging.client.operation.duration error.type=poison messaging.operation.name=send messaging.system=conformance",
            2,
        ),
        (
            "messaging.client.operation.duration messaging.operation.name=send messaging.system=conformance",
            2,
        ),
        (
            "messaging.client.sent.messages messaging.operation.name=send messaging.system=conformance",
            2,
        ),
        ("tenantry.outbox.backlog", 0),
        ("tenantry.outbox.blocked", 2),
        ("tenantry.outbox.dead", 0),
        ("tenantry.outbox.dead_tuples", 0),
        ("tenantry.outbox.oldest_unsent.age", 1),
        ("tenantry.outbox.parked", 2),
        ("tenantry.outbox.workers", 1),
    ];
    let expected: BTreeMap<_, _> = expected
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    assert_eq!(told_last, expected);
}
