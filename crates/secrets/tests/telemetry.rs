//! What an operator sees of vaults in metrics.

#![cfg(feature = "otel")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use tenantry_core::{Secret, SecretReference, SecretResolver as _, TenantId};
use tenantry_secrets::{MemoryVault, Secrets};

/// How often each set of attributes was counted, by the name of its metric.
type Counted = BTreeMap<(String, Vec<String>), u64>;

fn counted(exporter: &InMemoryMetricExporter) -> Counted {
    let attributes = |all: &mut dyn Iterator<Item = &opentelemetry::KeyValue>| {
        let mut shown: Vec<_> = all.map(|it| format!("{}={}", it.key, it.value)).collect();
        shown.sort();
        shown
    };
    let mut counted = Counted::new();
    for resource in exporter.get_finished_metrics().unwrap() {
        for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
            let name = metric.name().to_owned();
            match metric.data() {
                AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                    assert_eq!(metric.unit(), "s");
                    for point in histogram.data_points() {
                        let key = attributes(&mut point.attributes());
                        counted.insert((name.clone(), key), point.count());
                    }
                }
                AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                    for point in sum.data_points() {
                        let key = attributes(&mut point.attributes());
                        counted.insert((name.clone(), key), point.value());
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
    counted
}

// One test alone: the provider is that of the whole process.
#[tokio::test]
async fn calls_and_resolves_are_counted_without_names_and_tenants() {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder()
        .with_reader(PeriodicReader::builder(exporter.clone()).build())
        .build();
    opentelemetry::global::set_meter_provider(provider.clone());
    let secrets = Secrets::builder()
        .with_vault("mail", Arc::new(MemoryVault::new()))
        .unwrap()
        .build()
        .unwrap();
    let tenant = TenantId::generate();
    let smtp = SecretReference::of_tenant("mail", tenant, "smtp").unwrap();
    let stored = secrets
        .put_new_version(&smtp, Secret::new("hunter2"), Default::default())
        .await
        .unwrap();
    for _ in 0..3 {
        secrets.tenant(tenant).resolve(&smtp).await.unwrap();
    }
    let foreign = secrets.tenant(TenantId::generate()).resolve(&smtp).await;
    foreign.unwrap_err();
    secrets.disable_version(&stored).await.unwrap();
    secrets.resolve(&smtp).await.unwrap_err();
    let unknown = "kv://other/db".parse().unwrap();
    secrets.resolve(&unknown).await.unwrap_err();

    provider.force_flush().unwrap();
    let counted = counted(&exporter);
    let shown: Vec<_> = counted
        .iter()
        .map(|((name, attributes), count)| format!("{name} {} {count}", attributes.join(" ")))
        .collect();
    assert_eq!(
        shown,
        [
            "tenantry.secrets.resolved error.type=not_found tenantry.outcome=refused 1",
            "tenantry.secrets.resolved error.type=secret_disabled tenantry.outcome=refused 1",
            "tenantry.secrets.resolved error.type=unknown_vault tenantry.outcome=refused 1",
            "tenantry.secrets.resolved tenantry.outcome=known 2",
            "tenantry.secrets.resolved tenantry.outcome=read 1",
            "tenantry.vault.call.duration tenantry.vault.operation=put tenantry.vault=mail 1",
            "tenantry.vault.call.duration tenantry.vault.operation=read tenantry.vault=mail 2",
            "tenantry.vault.call.duration tenantry.vault.operation=set_enabled tenantry.vault=mail 1",
        ]
    );
    let all = shown.join(" ");
    assert!(!all.contains("smtp") && !all.contains(&tenant.to_string()));
}
