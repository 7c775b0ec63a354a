//! `tenantry map` with figures and `tenantry tenants`, over tables with rows of tenants.

#![allow(clippy::unwrap_used, reason = "a set-up that fails ends the test")]

mod support;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use support::{Server, Service};
use tenantry_core::TenantId;
use tenantry_store::{Aggregate, PostgresSettings, Repository as _, TenantStore};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "invoices")]
pub(crate) struct Invoice {
    #[aggregate(id)]
    pub(crate) id: Uuid,
    pub(crate) created_at: DateTime<Utc>,
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

/// Returns tenants in the order of their identifiers.
fn two_tenants() -> [TenantId; 2] {
    let mut tenants = [TenantId::generate(), TenantId::generate()];
    tenants.sort();
    tenants
}

async fn fill(store: &TenantStore, tenants: [TenantId; 2]) {
    for (tenant, rows) in tenants.into_iter().zip([3, 5]) {
        let invoices = store.tenant(tenant).repository::<Invoice>();
        for row in 0..rows {
            let mut invoice = Invoice {
                id: Uuid::now_v7(),
                created_at: at(1_700_000_000 + row * 86_400),
            };
            invoices.insert(&mut invoice).await.unwrap();
        }
    }
}

fn store_of<'m>(map: &'m Value, store: &str) -> &'m Value {
    let mut stores = map["stores"].as_array().unwrap().iter();
    stores.find(|it| it["store"] == store).unwrap()
}

fn table_of<'m>(tables: &'m Value, name: &str) -> &'m Value {
    let mut tables = tables.as_array().unwrap().iter();
    tables.find(|it| it["name"] == name).unwrap()
}

async fn story(service: &Service, tenants: [TenantId; 2]) {
    let (code, map) = service.json(&["map", "--service", "domain"]).await;
    assert_eq!(code, 0, "{map:#}");
    let domain = store_of(&map, "domain_data");
    let invoices = table_of(&domain["tables"], "invoices");
    assert_eq!(invoices["rows"], 8, "{invoices}");
    assert!(invoices["bytes"].as_u64().unwrap() > 0, "{invoices}");
    assert_eq!(invoices["oldest"], "2023-11-14T22:13:20Z");
    assert_eq!(domain["oldest"], invoices["oldest"]);
    assert!(domain["bytes"].as_u64() >= invoices["bytes"].as_u64());
    let outbox = store_of(&map, "outbox");
    assert!(table_of(&outbox["tables"], "outbox_messages")["bytes"].is_u64());
    assert!(map["unassigned"].as_array().unwrap().is_empty(), "{map:#}");
    // Whose they are is not guessed.
    let (_, map) = service.json(&["map"]).await;
    table_of(&map["unassigned"], "invoices");
    let said = ["map", "--table", "invoices=reports"];
    let (_, map) = service.json(&said).await;
    table_of(&store_of(&map, "reports")["tables"], "invoices");
    let (code, lines) = service.run(&["map", "--service", "domain"]).await;
    assert_eq!(code, 0);
    let line = lines
        .lines()
        .find(|line| line.starts_with("  invoices"))
        .unwrap();
    assert!(line.ends_with("2023-11-14T22:13:20Z"), "{lines}");

    let (code, listed) = service.json(&["tenants"]).await;
    assert_eq!(code, 0, "{listed:#}");
    let list = listed["tenants"].as_array().unwrap();
    assert_eq!((list.len(), &listed["is_complete"]), (2, &true.into()));
    for (tenant, (shown, rows)) in tenants.iter().zip(list.iter().zip([3, 5])) {
        assert_eq!(shown["tenant"], tenant.to_string());
        assert_eq!(shown["tables"]["invoices"]["rows"], rows);
    }
    // A list that is cut says so, and goes on behind its last.
    let (_, listed) = service.json(&["tenants", "--limit", "1"]).await;
    assert_eq!(listed["is_complete"], false, "{listed:#}");
    assert_eq!(listed["tenants"].as_array().unwrap().len(), 1);
    let after = tenants[0].to_string();
    let (_, listed) = service
        .json(&["tenants", "--limit", "1", "--after", &after])
        .await;
    assert_eq!(listed["is_complete"], true, "{listed:#}");
    assert_eq!(listed["tenants"][0]["tenant"], tenants[1].to_string());
    let (_, lines) = service.run(&["tenants", "--count", "4"]).await;
    let line = lines
        .lines()
        .find(|line| line.starts_with(&tenants[1].to_string()));
    assert_eq!(
        line.unwrap().split_whitespace().nth(1),
        Some("4+"),
        "{lines}"
    );

    let tenant = tenants[1].to_string();
    let (code, shown) = service.json(&["tenants", "show", &tenant]).await;
    assert_eq!(code, 0, "{shown:#}");
    assert_eq!(shown["tables"]["invoices"]["rows"], 5);
    assert_eq!(shown["messages"], serde_json::json!({}));
    let nobody = TenantId::generate().to_string();
    let (code, shown) = service.json(&["tenants", "show", &nobody]).await;
    assert_eq!((code, &shown["tables"]["invoices"]["rows"]), (0, &0.into()));
}

#[tokio::test]
async fn tables_and_tenants_of_postgres_are_told() {
    let (server, mut service) = (Server::new().await, Service::new());
    let sections = server.sections(&mut service).await;
    service.settings(&sections);
    let tenants = two_tenants();
    let store = TenantStore::postgres(PostgresSettings::new(server.app.url()))
        .await
        .unwrap();
    fill(&store, tenants).await;
    store.close().await;
    server.database.execute("analyze invoices").await.unwrap();
    story(&service, tenants).await;
}

#[tokio::test]
async fn a_table_that_somebody_has_locked_is_unknown_and_holds_up_no_other() {
    let (server, mut service) = (Server::new().await, Service::new());
    let sections = server.sections(&mut service).await;
    service.settings(&sections);
    let mut connection = PgConnection::connect(server.database.admin_url())
        .await
        .unwrap();
    let mut tx = connection.begin().await.unwrap();
    sqlx::query("lock table invoices in access exclusive mode")
        .execute(&mut *tx)
        .await
        .unwrap();
    let (code, map) = service.json(&["map", "--timeout", "1"]).await;
    assert_eq!(code, 0, "{map:#}");
    let invoices = table_of(&map["unassigned"], "invoices");
    assert!(
        invoices["bytes"].is_null() && invoices["oldest"].is_null(),
        "{invoices}"
    );
    let outbox = store_of(&map, "outbox");
    assert!(table_of(&outbox["tables"], "outbox_messages")["bytes"].is_u64());
    let (code, listed) = service.json(&["tenants", "--timeout", "1"]).await;
    assert_eq!(
        (code, &listed["unknown"]),
        (0, &serde_json::json!(["invoices"]))
    );
    tx.rollback().await.unwrap();
}

#[tokio::test]
async fn the_role_of_the_services_sees_no_figures() {
    let (server, mut service) = (Server::new().await, Service::new());
    let sections = server.sections(&mut service).await;
    let (database, _) = sections.split_once("[platform]").unwrap();
    service.settings(database);
    for command in ["map", "tenants"] {
        let (code, written) = service.run(&[command]).await;
        assert!(code == 2 && written.contains("[platform]"), "{written}");
    }
    service.hides(server.app.password());
    service.set("TENANTRY_DATABASE_PASSWORD", server.app.password());
    let secret = format!(":{}@", server.app.password());
    let url = server.app.url().replace(&secret, "@");
    for command in ["map", "tenants"] {
        let (code, written) = service.run_plain(&[command, "--url", &url]).await;
        assert_eq!(code, 2, "{written}");
    }
}

#[tokio::test]
async fn a_url_in_place_of_settings_is_enough() {
    let (server, mut service) = (Server::new().await, Service::new());
    service.hides(server.platform.password());
    let (code, written) = service
        .run_plain(&["map", "--url", server.platform.url(), "--json"])
        .await;
    assert_eq!(code, 0, "{written}");
    let map: Value = serde_json::from_str(&written).unwrap();
    table_of(&map["unassigned"], "invoices");
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn tables_tenants_and_blobs_of_files_are_told() {
    use tenantry_blob::{BlobKind, BlobStore, FsBlobs, FsSettings, PutOptions, Retention};
    use tenantry_core::Service as Owner;

    let service = Service::new();
    let settings = support::file(&service.path("tenants.db")).await;
    let tenants = two_tenants();
    let store = TenantStore::sqlite(settings).await.unwrap();
    fill(&store, tenants).await;
    store.close().await;
    let database = service.path("tenants.db").display().to_string();
    let sections = format!(
        "[database]\nurl = \"sqlite:{database}\"\n[platform]\nurl = \"sqlite:{database}\"\n"
    );
    service.settings(&sections);
    story(&service, tenants).await;

    // Of blobs alone is a tenant as well.
    let folder = service.path("blobs");
    let lone = TenantId::generate();
    let blobs = FsBlobs::open(FsSettings::new(&folder)).await.unwrap();
    let blobs = BlobStore::new(Arc::new(blobs)).tenant(lone);
    let name = blobs
        .name(&BlobKind::new("report-exports").unwrap())
        .unwrap();
    let options = PutOptions::new(Owner::Reporting, Retention::days(30));
    blobs.put_bytes(&name, options, "id,total\n").await.unwrap();
    drop(blobs);
    service.settings(&format!(
        "{sections}[blobs]\nurl = \"file:{}\"\n",
        folder.display()
    ));
    let (_, listed) = service.json(&["tenants"]).await;
    let list = listed["tenants"].as_array().unwrap();
    let found = list
        .iter()
        .find(|it| it["tenant"] == lone.to_string())
        .unwrap();
    assert_eq!((list.len(), &found["has_blobs"]), (3, &true.into()));
    let (_, shown) = service.json(&["tenants", "show", &lone.to_string()]).await;
    assert_eq!(
        shown["blobs"],
        serde_json::json!({ "count": 1, "bytes": 9, "is_cut": false })
    );
}
