use tenantry::core::{Service, Store};
use tenantry::{ErrorKind, Storage, StoragePart};
use tenantry_testkit::{DelayProxy, ProxyOptions};

use super::world::{World, redis};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_opened_of_a_section_that_is_of_other_services() {
    let world = World::new().await;
    let address = redis().await.address();
    let before_redis = DelayProxy::start(&address, ProxyOptions::default())
        .await
        .unwrap();
    let sections = format!(
        "{}{}[blobs]\nurl = \"memory:\"\n",
        world.databases(),
        world.cache(redis().await, &before_redis.address().to_string()),
    );
    let settings = world.settings(&sections);

    let notification = Storage::for_service(&settings, Service::Notification)
        .await
        .unwrap();
    notification.blobs(Store::NotificationAttachments).unwrap();
    notification.blobs(Store::Notifications).unwrap();
    for error in [
        notification.blobs(Store::ReportArtifacts).unwrap_err(),
        notification.cache().unwrap_err(),
        notification.rate_limiter().unwrap_err(),
        notification.session_store().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.detail().contains("notification"), "{error}");
    }
    let health = notification.health().await;
    assert!(
        health
            .parts()
            .iter()
            .all(|it| it.part != StoragePart::Cache),
        "{health}"
    );
    assert_eq!(before_redis.connections(), 0);
    notification.close().await;

    let gateway = world.settings(&format!("service = \"gateway\"\n{sections}"));
    let gateway = Storage::open(&gateway).await.unwrap();
    gateway.cache().unwrap();
    gateway.rate_limiter().unwrap();
    assert_eq!(
        gateway.blobs(Store::ReportArtifacts).unwrap_err().kind(),
        ErrorKind::PermissionDenied
    );
    let health = gateway.health().await;
    assert!(health.is_healthy(), "{health}");
    assert!(
        health
            .parts()
            .iter()
            .all(|it| it.part != StoragePart::Blobs),
        "{health}"
    );
    assert!(before_redis.connections() > 0);
    gateway.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_one_service_are_not_opened_for_another() {
    let world = World::new().await;
    let settings = world.settings(&format!("service = \"gateway\"\n{}", world.databases()));
    let error = Storage::for_service(&settings, Service::Reporting)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSettings);
    assert!(error.detail().contains("gateway") && error.detail().contains("reporting"));
}
