//! What an operator sees of caches and limits in metrics.

#![cfg(feature = "otel")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use tenantry_cache::{Cache, CachePolicy, MemoryLimits, RateLimiter, Rule};
use tenantry_core::{Error, ErrorKind, TenantId};

/// What was told for each set of attributes, by the name of its metric.
fn told(exporter: &InMemoryMetricExporter) -> BTreeMap<String, u64> {
    let mut told = BTreeMap::new();
    let mut tell = |name: &str, all: &mut dyn Iterator<Item = &opentelemetry::KeyValue>, value| {
        let mut shown: Vec<_> = all.map(|it| format!("{}={}", it.key, it.value)).collect();
        shown.sort();
        told.insert(format!("{name} {}", shown.join(" ")), value);
    };
    for resource in exporter.get_finished_metrics().unwrap() {
        for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
            let name = metric.name();
            match metric.data() {
                AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                    assert_eq!(metric.unit(), "s");
                    for point in histogram.data_points() {
                        tell(name, &mut point.attributes(), point.count());
                    }
                }
                AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                    for point in sum.data_points() {
                        tell(name, &mut point.attributes(), point.value());
                    }
                }
                AggregatedMetrics::U64(MetricData::Gauge(gauge)) => {
                    for point in gauge.data_points() {
                        tell(name, &mut point.attributes(), point.value());
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
    told
}

// One test alone: the provider is that of the whole process.
#[tokio::test]
async fn lookups_loads_and_decisions_are_counted_without_keys_and_tenants() {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder()
        .with_reader(PeriodicReader::builder(exporter.clone()).build())
        .build();
    opentelemetry::global::set_meter_provider(provider.clone());
    let cache = Cache::builder().build().unwrap();
    let names = cache
        .kind::<String>("name", CachePolicy::default())
        .unwrap();
    let tenant = cache.tenant(TenantId::generate());
    for _ in 0..3 {
        let load = || async { Ok(Some("Ada".to_owned())) };
        tenant.get_or_load(&names, "7", load).await.unwrap();
    }
    let fails = || async { Err(Error::new(ErrorKind::Unavailable, "load")) };
    tenant.get_or_load(&names, "8", fails).await.unwrap_err();

    let limiter = RateLimiter::new(Arc::new(MemoryLimits::new()));
    let rule = Rule::new("tenant", 2, Duration::from_secs(60)).unwrap();
    for _ in 0..3 {
        let tenant = limiter.tenant(tenant.tenant());
        tenant.take(&[rule.limit("")], 1).await.unwrap();
    }

    provider.force_flush().unwrap();
    let told = told(&exporter);
    let expected = [
        (
            "tenantry.cache.load.duration error.type=unavailable tenantry.cache.kind=name",
            1,
        ),
        ("tenantry.cache.load.duration tenantry.cache.kind=name", 1),
        (
            "tenantry.cache.lookups tenantry.cache.kind=name tenantry.outcome=failed",
            1,
        ),
        (
            "tenantry.cache.lookups tenantry.cache.kind=name tenantry.outcome=hit",
            2,
        ),
        (
            "tenantry.cache.lookups tenantry.cache.kind=name tenantry.outcome=loaded",
            1,
        ),
        (
            "tenantry.cache.lookups tenantry.cache.kind=name tenantry.outcome=miss",
            2,
        ),
        (
            "tenantry.cache.lookups tenantry.cache.kind=name tenantry.outcome=shared_hit",
            0,
        ),
        (
            "tenantry.cache.lookups tenantry.cache.kind=name tenantry.outcome=stale",
            0,
        ),
        ("tenantry.cache.values ", 1),
        ("tenantry.rate_limit.decisions tenantry.outcome=admitted", 2),
        ("tenantry.rate_limit.decisions tenantry.outcome=refused", 1),
    ];
    let mut shown = told.clone();
    let bytes = shown.remove("tenantry.cache.size ").unwrap();
    assert_eq!(
        bytes,
        u64::try_from(cache.bytes_of(tenant.tenant())).unwrap()
    );
    let shown: Vec<_> = shown
        .iter()
        .map(|(name, count)| (&**name, *count))
        .collect();
    assert_eq!(shown, expected);
}
