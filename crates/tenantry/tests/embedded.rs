//! A service with everything in one folder, and nothing installed.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::time::Duration;

use tenantry::blob::{BlobKind, PutOptions, Retention};
use tenantry::cache::CachePolicy;
use tenantry::core::{Secret, SecretResolver as _, Service, Store, TenantId};
use tenantry::outbox::{MemoryPublisher, NewMessage, OUTBOX_SQLITE, WorkerSettings};
use tenantry::prelude::*;
use tenantry::{Migrations, Settings, SqliteSettings, Storage, StoragePart};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "invoices")]
struct Invoice {
    #[aggregate(id)]
    id: Uuid,
    customer: String,
    #[aggregate(version)]
    version: Version,
}

const INVOICES: &str = "create table invoices (
    tenant_id blob not null, id blob not null, customer text not null, version integer not null,
    primary key (tenant_id, id)
) strict";

async fn migrate(settings: &Settings) {
    let migrations =
        Migrations::embedded(&[(1, "outbox", OUTBOX_SQLITE), (2, "invoices", INVOICES)]);
    Storage::migrate(settings, &migrations).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_have_all_of_their_own_and_find_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let broker = MemoryPublisher::new();
    let mut paid = broker.subscribe("billing.", 100);
    let settings = Settings::embedded(folder.path())
        .unwrap()
        .with_broker(std::sync::Arc::new(broker));
    migrate(&settings).await;
    let kind = BlobKind::new("receipts").unwrap();
    let [ada, bob] = [TenantId::generate(), TenantId::generate()];

    let storage = Storage::open(&settings).await.unwrap();
    storage.start_worker(WorkerSettings::default()).unwrap();
    let names = storage
        .cache()
        .unwrap()
        .kind::<String>("name", CachePolicy::default());
    let names = names.unwrap();
    let mut kept = Vec::new();
    for (tenant, customer) in [(ada, "Ada"), (bob, "Bob")] {
        let mut invoice = Invoice {
            id: Uuid::now_v7(),
            customer: customer.to_owned(),
            version: Version::NEW,
        };
        let work = storage.tenant(tenant).begin().await.unwrap();
        work.repository::<Invoice>()
            .insert(&mut invoice)
            .await
            .unwrap();
        let message = NewMessage::new("billing.invoice.paid", customer);
        storage.outbox().append_message(&work, message).unwrap();
        work.commit().await.unwrap();

        let blobs = storage
            .blobs(Store::ReportArtifacts)
            .unwrap()
            .tenant(tenant);
        let name = blobs.name(&kind).unwrap();
        let options = PutOptions::new(Service::Reporting, Retention::days(1));
        blobs
            .put_bytes(&name, options, customer.to_owned())
            .await
            .unwrap();

        let load = move || async move { Ok(Some(customer.to_owned())) };
        let cached = storage.cache().unwrap().tenant(tenant);
        cached.get_or_load(&names, "name", load).await.unwrap();

        let message = paid.next().await.unwrap();
        assert_eq!((message.tenant(), message.key()), (tenant, customer));
        kept.push((tenant, invoice, name, customer));
    }
    let secret = "kv://local/smtp-password".parse().unwrap();
    let secrets = storage.secrets().unwrap();
    secrets
        .put_new_version(&secret, Secret::new("hunter2"), Default::default())
        .await
        .unwrap();

    let health = storage.health_within(Duration::from_secs(10)).await;
    assert!(
        health.is_healthy() && health.is_ready() && health.is_alive(),
        "{health}"
    );
    let parts: Vec<_> = health
        .parts()
        .iter()
        .map(|it| (it.part, it.system))
        .collect();
    assert_eq!(
        parts,
        [
            (StoragePart::Database, "sqlite"),
            (StoragePart::Platform, "sqlite"),
            (StoragePart::Cache, "memory"),
            (StoragePart::Blobs, "fs"),
            (StoragePart::Vault, "vault"),
            (StoragePart::Broker, "memory"),
            (StoragePart::OutboxWorker, "sqlite"),
        ]
    );
    let report = storage.shutdown(Duration::from_secs(30)).await;
    assert!(report.is_clean(), "{report}");

    let again = Storage::embedded(folder.path()).await.unwrap();
    for (tenant, invoice, name, customer) in &kept {
        let invoices = again.tenant(*tenant).repository::<Invoice>();
        assert_eq!(invoices.get(invoice.id).await.unwrap(), *invoice);
        let blobs = again.blobs(Store::ReportArtifacts).unwrap().tenant(*tenant);
        assert_eq!(blobs.get(name).await.unwrap().bytes, *customer);
    }
    let foreign = again.tenant(bob).repository::<Invoice>();
    let foreign = foreign.get(kept[0].1.id).await.unwrap_err();
    assert_eq!(foreign.kind(), ErrorKind::NotFound);
    let resolved = again.secrets().unwrap().resolve(&secret).await.unwrap();
    assert_eq!(resolved.expose(), "hunter2");
    again.close().await;
}

#[tokio::test]
async fn what_is_not_there_says_what_to_add() {
    let storage = Storage::sqlite(SqliteSettings::temporary()).await.unwrap();
    for (error, add) in [
        (storage.cache().map(drop).unwrap_err(), "[cache]"),
        (storage.rate_limiter().map(drop).unwrap_err(), "[cache]"),
        (storage.session_store().map(drop).unwrap_err(), "[cache]"),
        (
            storage.blobs(Store::ReportArtifacts).map(drop).unwrap_err(),
            "[blobs]",
        ),
        (storage.publisher().map(drop).unwrap_err(), "[broker]"),
        (storage.platform().map(drop).unwrap_err(), "[platform]"),
        (storage.secrets().map(drop).unwrap_err(), "[[vaults]]"),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidSettings);
        assert!(error.detail().contains(add), "{error}");
    }
    let error = storage.start_worker(WorkerSettings::default()).unwrap_err();
    assert!(error.detail().contains("[broker]"), "{error}");
    let error = storage.blobs(Store::Identity).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    storage.close().await;
}

/// As many bytes as the settings say, or as a broker takes as it comes.
#[tokio::test]
async fn a_payload_that_is_too_large_is_refused_before_it_waits() {
    for (section, most) in [("", 1_000_000), ("[outbox]\nmost_bytes = 2000\n", 2_000)] {
        let text = format!("[database]\nurl = \"sqlite::memory:\"\n{section}");
        let storage = Storage::open(&Settings::from_toml(&text).unwrap())
            .await
            .unwrap();
        let work = storage.tenant(TenantId::generate()).begin().await.unwrap();
        let append = |bytes: usize| {
            let message = NewMessage::new("billing.invoice.paid", "7");
            let message = message.with_payload("text/plain", vec![b'x'; bytes]);
            storage.outbox().append_message(&work, message)
        };
        append(most).unwrap();
        let error = append(most + 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.detail().contains(&most.to_string()), "{error}");
        drop(work);
        storage.close().await;
    }
    let error = Settings::from_toml("[database]\nurl = \"sqlite::memory:\"\n[outbox]\nmost = 1");
    assert_eq!(error.unwrap_err().subject(), "outbox.most");
}

#[tokio::test]
async fn a_password_that_no_vault_has_is_told_by_its_reference() {
    let settings = Settings::from_toml(
        "[database]\nurl = \"sqlite::memory:\"\n[broker]\nurl = \"memory:\"\n\
         [[vaults]]\nurl = \"folder:/nowhere\"\n",
    )
    .unwrap();
    let storage = Storage::open(&settings).await.unwrap();
    let reference = "file:/nowhere/password".parse().unwrap();
    let error = storage
        .secrets()
        .unwrap()
        .resolve(&reference)
        .await
        .unwrap_err();
    assert_eq!(error.subject(), "file:/nowhere/password");
    storage.close().await;
}
