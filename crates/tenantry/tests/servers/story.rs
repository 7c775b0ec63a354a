use std::time::Duration;

use tenantry::blob::{BlobKind, PutOptions, Retention};
use tenantry::cache::{CachePolicy, Limit, Rule, SessionPolicy};
use tenantry::core::{Service, Store, TenantId};
use tenantry::outbox::{NewMessage, WorkerSettings};
use tenantry::prelude::*;
use tenantry::{Storage, StoragePart};
use tenantry_testkit::{AzuriteServer, NatsServer};

use super::world::{Invoice, World, redis, subjects};

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_have_rows_events_blobs_and_cache_of_their_own() {
    let world = World::new().await;
    let (nats, azurite) = (
        NatsServer::start().await.unwrap(),
        AzuriteServer::shared().await.unwrap(),
    );
    let settings = world.settings(&format!(
        "{}{}{}{}",
        world.databases(),
        world.cache(redis().await, &redis().await.address()),
        world.broker(&nats).await,
        world.blobs(azurite),
    ));
    let storage = Storage::open(&settings).await.unwrap();
    storage.verify::<Invoice>().await.unwrap();
    storage.start_worker(WorkerSettings::default()).unwrap();

    let [ada, bob] = [TenantId::generate(), TenantId::generate()];
    let kind = BlobKind::new("receipts").unwrap();
    let names = storage
        .cache()
        .unwrap()
        .kind::<String>("name", CachePolicy::default())
        .unwrap();
    let mut invoices = Vec::new();
    let mut blobs = Vec::new();
    for (tenant, customer) in [(ada, "Ada"), (bob, "Bob")] {
        let scope = storage.tenant(tenant);
        let mut invoice = Invoice::of(customer);
        let work = scope.begin().await.unwrap();
        work.repository::<Invoice>()
            .insert(&mut invoice)
            .await
            .unwrap();
        let message = NewMessage::new("billing.invoice.paid", invoice.id.to_string());
        storage.outbox().append_message(&work, message).unwrap();
        work.commit().await.unwrap();

        let store = storage
            .blobs(Store::ReportArtifacts)
            .unwrap()
            .tenant(tenant);
        let name = store.name(&kind).unwrap();
        let options = PutOptions::new(Service::Reporting, Retention::days(1));
        store
            .put_bytes(&name, options, customer.to_owned())
            .await
            .unwrap();

        let cached = storage.cache().unwrap().tenant(tenant);
        let load = move || async move { Ok(Some(customer.to_owned())) };
        cached.get_or_load(&names, "name", load).await.unwrap();
        invoices.push(invoice);
        blobs.push(name);
    }

    // Each has its own, and of the other nothing is there.
    for (tenant, own, other, customer) in [(ada, 0, 1, "Ada"), (bob, 1, 0, "Bob")] {
        let repository = storage.tenant(tenant).repository::<Invoice>();
        assert_eq!(
            repository.get(invoices[own].id).await.unwrap(),
            invoices[own]
        );
        let foreign = repository.get(invoices[other].id).await.unwrap_err();
        assert_eq!(foreign.kind(), ErrorKind::NotFound);

        let store = storage
            .blobs(Store::ReportArtifacts)
            .unwrap()
            .tenant(tenant);
        assert_eq!(store.get(&blobs[own]).await.unwrap().bytes, customer);
        let foreign = store.get(&blobs[other]).await.unwrap_err();
        assert_eq!(foreign.kind(), ErrorKind::NotFound);

        let cached = storage.cache().unwrap().tenant(tenant);
        let name = cached.get(&names, "name").await.flatten();
        assert_eq!(name.as_deref().map(String::as_str), Some(customer));
    }

    // Limits and sessions are in the same server.
    let rule = Rule::new("login", 1, Duration::from_secs(60)).unwrap();
    let limits: [Limit<'_>; 1] = [rule.limit("ada")];
    for (tenant, first) in [(ada, true), (ada, false), (bob, true)] {
        let limiter = storage.rate_limiter().unwrap().tenant(tenant);
        assert_eq!(limiter.take(&limits, 1).await.unwrap().is_admitted(), first);
    }
    let sessions = storage.sessions::<u32>(SessionPolicy::default()).unwrap();
    let session = sessions.tenant(ada).create(7).await.unwrap();
    let id = session.id().expose().parse().unwrap();
    assert_eq!(
        sessions.tenant(ada).touch(&id).await.unwrap().unwrap().data,
        7
    );
    assert!(sessions.tenant(bob).touch(&id).await.unwrap().is_none());

    let health = storage.health_within(Duration::from_secs(10)).await;
    assert!(
        health.is_healthy() && health.is_ready() && health.is_alive(),
        "{health}"
    );
    let systems: Vec<_> = health
        .parts()
        .iter()
        .map(|it| (it.part, it.system))
        .collect();
    assert_eq!(
        systems,
        [
            (StoragePart::Database, "postgresql"),
            (StoragePart::Platform, "postgresql"),
            (StoragePart::Cache, "redis"),
            (StoragePart::Blobs, "azure"),
            (StoragePart::Broker, "nats"),
            (StoragePart::OutboxWorker, "postgresql"),
        ]
    );

    // What was committed has left, under the tenant that it is of.
    let mut expected = [ada, bob].map(|tenant| format!("events.{tenant}.billing.invoice.paid"));
    expected.sort();
    loop {
        let mut left = subjects(&nats).await;
        left.sort();
        if left == expected {
            break;
        }
        assert!(left.len() < 2, "{left:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let report = storage.shutdown(Duration::from_secs(10)).await;
    assert!(report.is_clean(), "{report}");
}
