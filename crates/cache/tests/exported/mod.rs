//! Metrics, as a collector would be given them.

use std::collections::BTreeMap;

use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

/// Has the metrics of this process exported; of the whole of it, so that a file has one test.
pub(crate) fn begin() -> (SdkMeterProvider, InMemoryMetricExporter) {
    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder()
        .with_reader(PeriodicReader::builder(exporter.clone()).build())
        .build();
    opentelemetry::global::set_meter_provider(provider.clone());
    (provider, exporter)
}

/// What was told for each set of attributes, by the name of its metric.
pub(crate) fn told(exporter: &InMemoryMetricExporter) -> BTreeMap<String, u64> {
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
