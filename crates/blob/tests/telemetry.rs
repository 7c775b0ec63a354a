//! What an operator sees of blobs in metrics.

#![cfg(all(feature = "otel", feature = "artifacts"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use tenantry_blob::{
    ARTIFACTS_SQLITE, ArtifactSweeper, BlobKind, BlobStore, MemoryBlobs, PutOptions, Retention,
    SweepPolicy, Sweeper, TenantArtifacts,
};
use tenantry_core::{ManualClock, Service, TenantId};
use tenantry_store::{Migrations, SqliteSettings, TenantStore, sqlite};

/// What was counted or shown of each set of attributes, by the name of its metric.
type Seen = BTreeMap<(String, String), f64>;

fn seen(exporter: &InMemoryMetricExporter) -> Seen {
    fn shown<'a>(all: impl Iterator<Item = &'a opentelemetry::KeyValue>) -> String {
        let mut shown: Vec<_> = all.map(|it| format!("{}={}", it.key, it.value)).collect();
        shown.sort();
        shown.join(" ")
    }
    let mut seen = Seen::new();
    for resource in exporter.get_finished_metrics().unwrap() {
        for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
            let mut add = |attributes: String, value: f64| {
                seen.insert((metric.name().to_owned(), attributes), value);
            };
            let number = |count: u64| f64::from(u32::try_from(count).unwrap());
            match metric.data() {
                AggregatedMetrics::F64(MetricData::Histogram(histogram)) => histogram
                    .data_points()
                    .for_each(|it| add(shown(it.attributes()), number(it.count()))),
                AggregatedMetrics::U64(MetricData::Sum(sum)) => sum
                    .data_points()
                    .for_each(|it| add(shown(it.attributes()), number(it.value()))),
                AggregatedMetrics::U64(MetricData::Gauge(gauge)) => gauge
                    .data_points()
                    .for_each(|it| add(shown(it.attributes()), number(it.value()))),
                AggregatedMetrics::F64(MetricData::Gauge(gauge)) => gauge
                    .data_points()
                    .for_each(|it| add(shown(it.attributes()), it.value())),
                other => panic!("{other:?}"),
            }
        }
    }
    seen
}

/// Sweeps what an upload has left that was never committed, and a tenant whose database is closed.
async fn sweep_artifacts(blobs: &BlobStore, clock: &ManualClock) {
    let settings = SqliteSettings::temporary();
    let migrations = Migrations::embedded(&[(1, "artifacts", ARTIFACTS_SQLITE)]);
    sqlite::migrate(&settings, &migrations).await.unwrap();
    let store = TenantStore::sqlite(settings).await.unwrap();
    let tenant = TenantId::from_u128(1).unwrap();
    let artifacts = TenantArtifacts::new(blobs, &store.tenant(tenant));
    let options = PutOptions::new(Service::Reporting, Retention::days(1));
    let body = stream::iter([Ok::<_, std::io::Error>(Bytes::from("bytes"))]);
    let kind = BlobKind::new("exports").unwrap();
    artifacts.upload(&kind, options, body).await.unwrap();
    let sweeper = ArtifactSweeper::new(blobs, &store, Duration::ZERO);
    clock.advance(Duration::from_secs(1));
    let report = sweeper.run([tenant]).await;
    assert_eq!(report.swept.orphans, 1);
    store.close().await;
    assert_eq!(sweeper.run([tenant]).await.failed, 1);
}

// One test alone: the provider is that of the whole process.
#[tokio::test]
async fn operations_and_sweeps_are_counted_without_names_and_tenants() {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder()
        .with_reader(PeriodicReader::builder(exporter.clone()).build())
        .build();
    opentelemetry::global::set_meter_provider(provider.clone());
    let clock = ManualClock::new("2026-03-01T12:00:00Z".parse().unwrap());
    let store = BlobStore::new(Arc::new(MemoryBlobs::with_clock(Arc::new(clock.clone()))));
    let sweeper = Sweeper::new(&store, SweepPolicy::default().with_most(3)).unwrap();
    for tenant in [1, 2] {
        let blobs = store.tenant(TenantId::from_u128(tenant).unwrap());
        for days in [1, 1, 90] {
            let name = blobs.name(&BlobKind::new("exports").unwrap()).unwrap();
            let options = PutOptions::new(Service::Reporting, Retention::days(days));
            blobs.put_bytes(&name, options, "bytes").await.unwrap();
            blobs.get(&name).await.unwrap();
            blobs.delete(&name).await.unwrap_err();
        }
    }
    clock.advance(Duration::from_secs(24 * 60 * 60));
    sweeper.run().await.unwrap();
    sweep_artifacts(&store, &clock).await;
    provider.force_flush().unwrap();

    let seen = seen(&exporter);
    let at = |name: &str, attributes: &str| seen.get(&(name.to_owned(), attributes.to_owned()));
    let operation = "tenantry.blob.operation.duration";
    let system = "tenantry.blob.system=memory";
    let of = |text: &str| at(operation, &format!("{text} {system}")).copied();
    assert_eq!(of("tenantry.blob.operation=put"), Some(7.0), "{seen:?}");
    assert_eq!(of("tenantry.blob.operation=get"), Some(6.0));
    assert_eq!(
        of("error.type=retained tenantry.blob.operation=delete"),
        Some(7.0)
    );
    let swept = |outcome: &str| {
        let attributes = format!("{system} tenantry.outcome={outcome}");
        at("tenantry.blob.swept", &attributes).copied()
    };
    assert_eq!(swept("deleted"), Some(3.0));
    assert_eq!(swept("failed"), Some(0.0));
    assert_eq!(at("tenantry.blob.sweep.backlog", system), Some(&1.0));
    assert_eq!(at("tenantry.blob.sweeps", system), Some(&1.0));
    let last = at("tenantry.blob.sweep.last_success", system)
        .copied()
        .unwrap();
    assert_eq!(last, 1_772_452_800.0, "the next day at noon");
    assert_eq!(at("tenantry.artifact.sweeps", ""), Some(&1.0));
    let closed = seen.keys().any(|(name, attributes)| {
        name == "tenantry.artifact.sweeps" && attributes.starts_with("error.type=")
    });
    assert!(closed, "{seen:?}");
    let orphaned = at("tenantry.artifact.swept", "tenantry.outcome=orphaned");
    assert_eq!(orphaned, Some(&1.0));
    let last = at("tenantry.artifact.sweep.last_success", "").copied();
    assert_eq!(last, Some(1_772_452_801.0));
    for (_, attributes) in seen.keys() {
        assert!(
            !attributes.contains("0000-"),
            "no tenant and no name: {attributes}"
        );
    }
}
