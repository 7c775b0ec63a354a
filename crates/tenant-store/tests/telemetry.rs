//! What an operator sees of the store, and what nobody may see there.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "a set-up that fails ends the test")]

mod trouble;

#[path = "trouble/capture.rs"]
mod capture;

use std::time::Duration;

use capture::{Capture, Seen};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tenantry_core::RequestContext;
use tenantry_store::{
    Changes, ErrorKind, Filter, Migrations, PlatformStore, Query, Repository, SqliteSettings,
    TenantScope, TenantStore, UnitOfWork, Version, WorkOptions, sqlite,
};
use trouble::{Customer, Invoice, SQLITE_TABLES, Tenants, customer, eventually, poll_times};
use uuid::Uuid;

async fn open() -> (TenantStore, PlatformStore) {
    let settings = SqliteSettings::temporary()
        .with_max_readers(1)
        .with_acquire_timeout(Duration::from_millis(200));
    let migrations = Migrations::embedded(&[(1, "tables", SQLITE_TABLES)]);
    sqlite::migrate(&settings, &migrations).await.unwrap();
    let store = TenantStore::sqlite(settings.clone()).await.unwrap();
    (store, PlatformStore::sqlite(settings).await.unwrap())
}

/// Tells a span as its operation, table and outcome.
fn told(span: &Seen) -> [&str; 3] {
    [
        "db.operation.name",
        "db.collection.name",
        "tenantry.outcome",
    ]
    .map(|field| span.get(field))
}

fn spans(capture: &Capture) -> Vec<Seen> {
    capture.of("tenantry::store")
}

/// Keeps the one connection that reads, so that every read has to wait.
async fn hold_the_reader(scope: &TenantScope) -> UnitOfWork {
    let read_only = WorkOptions::default().read_only();
    scope.begin_with(read_only).await.unwrap()
}

/// Does everything once that a repository can.
async fn every_operation(scope: &TenantScope) {
    let customers = scope.repository::<Customer>();
    let mut row = Customer::named(trouble::VALUE);
    customers.insert(&mut row).await.unwrap();
    customers
        .insert_many(&mut [Customer::named("second")])
        .await
        .unwrap();
    customers.find(&row.id).await.unwrap();
    customers.get_many(&[row.id]).await.unwrap();
    customers.exists(&row.id).await.unwrap();
    let filter = || Customer::NAME.eq(trouble::VALUE.to_owned());
    customers.count(filter()).await.unwrap();
    customers.list(Query::new().filter(filter())).await.unwrap();
    let rows: Vec<_> = customers.stream(Query::new()).try_collect().await.unwrap();
    assert_eq!(rows.len(), 2);
    customers.update(&mut row).await.unwrap();
    customers.upsert(&mut row).await.unwrap();
    let changes = Changes::new().set(Customer::NAME, trouble::VALUE.to_owned());
    customers.update_where(filter(), changes, 1).await.unwrap();
    customers.delete_where(filter(), 1).await.unwrap();
    customers.restore(&row.id).await.unwrap_err();
    let id = rows.iter().find(|it| it.id != row.id).unwrap().id;
    customers.delete_by_id(&id, None).await.unwrap();
}

#[tokio::test]
async fn every_operation_has_its_span() {
    let (store, _) = open().await;
    let scope = Tenants::of(&store).one;
    let capture = Capture::start();
    every_operation(&scope).await;
    // The driver's thread may hold the last one a moment longer.
    eventually("all spans are closed", async || {
        spans(&capture).iter().all(|span| span.closed)
    })
    .await;
    let spans = spans(&capture);
    let tenant = scope.tenant().to_string();
    for span in &spans {
        assert_eq!(span.get("db.system.name"), "sqlite");
        assert_eq!(span.get("tenant.id"), tenant);
        assert_eq!(span.get("db.collection.name"), "customers");
    }
    let told: Vec<_> = spans
        .iter()
        .map(told)
        .map(|[name, _, outcome]| (name, outcome))
        .collect();
    let mut expected: Vec<_> = [
        "insert",
        "insert_many",
        "find",
        "get_many",
        "exists",
        "count",
        "list",
        "stream",
        "update",
        "upsert",
        "update_where",
        "delete_where",
        "restore",
        "delete",
    ]
    .into_iter()
    .map(|name| (name, "ok"))
    .collect();
    expected[12].1 = "unsupported";
    assert_eq!(told, expected);
}

#[tokio::test]
async fn unit_of_work_has_spans_of_its_own() {
    let (store, _) = open().await;
    let scope = Tenants::of(&store).one;
    let capture = Capture::start();
    let work = scope.begin().await.unwrap();
    work.repository()
        .insert(&mut Customer::named("first"))
        .await
        .unwrap();
    work.commit().await.unwrap();
    let work = scope.begin().await.unwrap();
    work.rollback().await.unwrap();

    let spans = spans(&capture);
    assert_eq!(
        spans.iter().map(told).collect::<Vec<_>>(),
        [
            ["begin", "", "ok"],
            ["insert", "customers", "ok"],
            ["commit", "", "ok"],
            ["begin", "", "ok"],
            ["rollback", "", "ok"],
        ]
    );
    assert!(
        !spans[0].fields.contains_key("db.collection.name"),
        "there is no table"
    );
    assert!(
        spans
            .iter()
            .all(|span| span.get("tenant.id") == scope.tenant().to_string())
    );
}

#[tokio::test]
async fn failure_is_told_by_its_kind() {
    let (store, _) = open().await;
    let scope = Tenants::of(&store).one;
    let row = customer(&scope).await;
    let capture = Capture::start();
    let customers = scope.repository::<Customer>();
    customers
        .insert(&mut Customer {
            version: Version::NEW,
            ..row.clone()
        })
        .await
        .unwrap_err();
    let stale = Customer {
        version: Version::new(7),
        ..row.clone()
    };
    customers.update(&mut stale.clone()).await.unwrap_err();
    customers
        .delete_by_id(&Uuid::now_v7(), None)
        .await
        .unwrap_err();
    let holder = scope.begin().await.unwrap();
    scope.begin().await.unwrap_err();
    holder.commit().await.unwrap();
    let other = hold_the_reader(&scope).await;
    other
        .repository()
        .insert(&mut Customer::named("no"))
        .await
        .unwrap_err();
    other.commit().await.unwrap_err();

    let spans = spans(&capture);
    assert_eq!(
        spans.iter().map(told).collect::<Vec<_>>(),
        [
            ["insert", "customers", "already_exists"],
            ["update", "customers", "conflict"],
            ["delete", "customers", "not_found"],
            ["begin", "", "ok"],
            ["begin", "", "pool_exhausted"],
            ["commit", "", "ok"],
            ["begin", "", "ok"],
            ["insert", "customers", "read_only"],
            ["commit", "", "work_aborted"],
        ]
    );
}

#[tokio::test]
async fn stream_is_told_by_how_it_ended() {
    let (store, _) = open().await;
    let scope = Tenants::of(&store).one;
    let mut rows: Vec<_> = (0..3).map(Invoice::over).collect();
    scope.repository().insert_many(&mut rows).await.unwrap();
    let invoices = scope.repository::<Invoice>();
    let capture = Capture::start();
    // Nobody has asked for a row, so there was no operation.
    drop(invoices.stream(Query::new()));
    assert_eq!(spans(&capture), []);

    // Whoever has seen a row and wants no more has seen it succeed.
    drop(invoices.stream(Query::new()).next().await);
    let none = Invoice::CENTS.eq(-1);
    assert!(
        invoices
            .stream(Query::new().filter(none))
            .next()
            .await
            .is_none()
    );
    let holder = hold_the_reader(&scope).await;
    poll_times(invoices.stream(Query::new()).next(), 1).await;
    holder.rollback().await.unwrap();
    let cursor = invoices
        .list(Query::new().limit(1))
        .await
        .unwrap()
        .next
        .unwrap();
    let mut refused = invoices.stream(Query::new().cursor(cursor));
    assert!(refused.next().await.unwrap().is_err());
    drop(refused);
    let outcomes: Vec<_> = spans(&capture)
        .iter()
        .filter(|span| span.get("db.operation.name") == "stream")
        .map(|span| span.get("tenantry.outcome").to_owned())
        .collect();
    assert_eq!(outcomes, ["ok", "ok", "dropped", "invalid_input"]);
}

#[tokio::test]
async fn operation_that_its_caller_dropped_is_told_as_dropped() {
    let (store, _) = open().await;
    let scope = Tenants::of(&store).one;
    let holder = hold_the_reader(&scope).await;
    let capture = Capture::start();
    let customers = scope.repository::<Customer>();
    assert!(
        poll_times(customers.count(Filter::all()), 1)
            .await
            .is_none()
    );
    drop(holder);
    let spans = spans(&capture);
    assert_eq!(told(&spans[0]), ["count", "customers", "dropped"]);
}

#[tokio::test]
async fn platform_has_spans_without_a_tenant() {
    let (store, platform) = open().await;
    customer(&Tenants::of(&store).one).await;
    let capture = Capture::start();
    let scope = platform
        .scope("statistics", RequestContext::system())
        .unwrap();
    scope.count(Filter::<Customer>::all()).await.unwrap();
    let rows: Vec<_> = scope
        .stream(Filter::<Customer>::all())
        .try_collect()
        .await
        .unwrap();
    assert_eq!(rows.len(), 1);
    let spans = spans(&capture);
    let expected = [["count", "customers", "ok"], ["stream", "customers", "ok"]];
    assert_eq!(spans.iter().map(told).collect::<Vec<_>>(), expected);
    assert!(
        spans
            .iter()
            .all(|span| !span.fields.contains_key("tenant.id"))
    );
}

#[tokio::test]
async fn no_stored_value_is_in_any_span_or_event() {
    let (store, _) = open().await;
    let scope = Tenants::of(&store).one;
    let capture = Capture::start();
    every_operation(&scope).await;
    customer(&scope).await;
    let again = scope
        .repository()
        .insert(&mut Customer::named(trouble::VALUE))
        .await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
    let check = scope
        .repository()
        .insert(&mut Invoice::over(-47_110_815))
        .await;
    assert_eq!(check.unwrap_err().kind(), ErrorKind::ConstraintViolated);
    let text = capture.text();
    for value in [trouble::VALUE, "47110815"] {
        assert!(!text.contains(value), "`{value}` in {text}");
    }
}

#[cfg(feature = "otel")]
mod metrics {
    use std::collections::BTreeMap;

    use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
    use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

    use tenantry_store::RepositoryExt as _;

    use super::*;

    /// A histogram as it is exported: for each set of attributes, how often and how long.
    #[derive(Debug, Default)]
    struct Exported {
        name: String,
        unit: String,
        bounds: Vec<f64>,
        points: BTreeMap<Vec<(String, String)>, (u64, f64)>,
    }

    fn export(provider: &SdkMeterProvider, exporter: &InMemoryMetricExporter) -> Exported {
        provider.force_flush().unwrap();
        let mut exported = Exported::default();
        for resource in exporter.get_finished_metrics().unwrap() {
            for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
                assert!(exported.name.is_empty(), "one histogram, exported once");
                exported.name = metric.name().to_owned();
                exported.unit = metric.unit().to_owned();
                let AggregatedMetrics::F64(MetricData::Histogram(histogram)) = metric.data() else {
                    panic!("{metric:?} is no histogram of seconds")
                };
                for point in histogram.data_points() {
                    let mut attributes: Vec<_> = point
                        .attributes()
                        .map(|it| (it.key.to_string(), it.value.to_string()))
                        .collect();
                    attributes.sort();
                    exported.bounds = point.bounds().collect();
                    exported
                        .points
                        .insert(attributes, (point.count(), point.sum()));
                }
            }
        }
        exported
    }

    fn attributes(of: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut attributes: Vec<_> = of
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        attributes.push(("db.system.name".to_owned(), "sqlite".to_owned()));
        attributes.sort();
        attributes
    }

    // One test alone: the provider is that of the whole process.
    #[tokio::test]
    async fn durations_are_a_histogram_without_the_tenant() {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder()
            .with_reader(PeriodicReader::builder(exporter.clone()).build())
            .build();
        opentelemetry::global::set_meter_provider(provider.clone());
        let (store, _) = open().await;
        let tenants = Tenants::of(&store);
        for scope in [&tenants.one, &tenants.two] {
            let row = customer(scope).await;
            scope.repository::<Customer>().get(row.id).await.unwrap();
            let work = scope.begin().await.unwrap();
            let mut again = Customer {
                version: Version::NEW,
                ..row
            };
            work.repository().insert(&mut again).await.unwrap_err();
            drop(work);
        }

        let exported = export(&provider, &exporter);
        assert_eq!(exported.name, "db.client.operation.duration");
        assert_eq!(exported.unit, "s");
        assert_eq!(
            exported.bounds,
            [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0]
        );
        let table = ("db.collection.name", "customers");
        let expected = [
            attributes(&[("db.operation.name", "begin")]),
            attributes(&[("db.operation.name", "find"), table]),
            attributes(&[("db.operation.name", "insert"), table]),
            attributes(&[
                ("db.operation.name", "insert"),
                ("error.type", "already_exists"),
                table,
            ]),
        ];
        let points = &exported.points;
        for attributes in &expected {
            let (count, seconds) = points[attributes];
            assert_eq!(count, 2, "of either tenant one: {attributes:?}");
            assert!(seconds > 0.0 && seconds < 10.0, "{seconds} s");
        }
        assert_eq!(points.len(), expected.len(), "{points:#?}");
        let text = format!("{exported:?}");
        for tenant in [&tenants.one, &tenants.two] {
            assert!(!text.contains(&tenant.tenant().to_string()), "{text}");
        }
    }
}

#[cfg(feature = "guard")]
#[tokio::test]
async fn hand_written_statements_have_spans_and_no_text() {
    use tenantry_store::guard::OrStoreError as _;

    let (store, platform) = open().await;
    let scope = Tenants::of(&store).one;
    customer(&scope).await;
    let capture = Capture::start();
    let named = |text: &'static str| sqlx::query(text).bind(trouble::VALUE);
    named("select * from customers where name = ?")
        .fetch_all(scope.sqlx_sqlite().unwrap())
        .await
        .unwrap();
    let refused = named("drop table customers -- ?")
        .execute(scope.sqlx_sqlite().unwrap())
        .await
        .or_store_error();
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::RefusedStatement);
    let across = platform
        .scope("statistics", RequestContext::system())
        .unwrap();
    named("select count(*) from customers where name <> ?")
        .fetch_one(across.sqlx_sqlite().unwrap())
        .await
        .unwrap();
    eventually("all spans are closed", async || {
        spans(&capture).iter().all(|span| span.closed)
    })
    .await;
    let told: Vec<_> = spans(&capture)
        .iter()
        .map(|span| {
            let [name, _, outcome] = told(span);
            (
                name.to_owned(),
                outcome.to_owned(),
                span.get("tenant.id").to_owned(),
            )
        })
        .collect();
    let tenant = scope.tenant().to_string();
    let expected =
        |outcome: &str, tenant: &str| ("sqlx".to_owned(), outcome.to_owned(), tenant.to_owned());
    assert_eq!(
        told,
        [
            expected("ok", &tenant),
            expected("refused_statement", &tenant),
            expected("ok", ""),
        ]
    );
    assert!(!capture.text().contains(trouble::VALUE));
    let reasons = capture.of("tenantry::platform");
    assert_eq!(reasons.last().unwrap().get("reason"), "statistics");
    assert_eq!(reasons.last().unwrap().get("db.operation.name"), "sqlx");
}
