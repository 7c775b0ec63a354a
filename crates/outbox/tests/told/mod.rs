//! What an exporter was told, as a map to compare.

use std::collections::BTreeMap;

use opentelemetry_sdk::metrics::InMemoryMetricExporter;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};

/// Returns each metric with its attributes, and its value; of histograms how often there was one.
pub(crate) fn told(exporter: &InMemoryMetricExporter) -> BTreeMap<String, u64> {
    let mut told = BTreeMap::new();
    for resource in exporter.get_finished_metrics().unwrap() {
        for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
            // Those of the store are there where another crate of the build asks for them.
            if metric.name().starts_with("db.client.") {
                continue;
            }
            let mut tell = |all: &mut dyn Iterator<Item = &opentelemetry::KeyValue>, value| {
                let mut shown: Vec<_> = all.map(|it| format!(" {}={}", it.key, it.value)).collect();
                shown.sort();
                told.insert(format!("{}{}", metric.name(), shown.concat()), value);
            };
            match metric.data() {
                AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                    for point in histogram.data_points() {
                        tell(&mut point.attributes(), point.count());
                    }
                }
                AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                    for point in sum.data_points() {
                        tell(&mut point.attributes(), point.value());
                    }
                }
                AggregatedMetrics::U64(MetricData::Gauge(gauge)) => {
                    for point in gauge.data_points() {
                        tell(&mut point.attributes(), point.value());
                    }
                }
                AggregatedMetrics::F64(MetricData::Gauge(gauge)) => {
                    for point in gauge.data_points() {
                        // That it is there, and not how long the test took.
                        tell(&mut point.attributes(), u64::from(point.value() < 600.0));
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
    told
}
