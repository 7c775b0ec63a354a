use tenantry::Storage;
use tenantry::core::TenantId;
use tenantry::prelude::*;

use super::world::{Invoice, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_rotated_is_followed_and_no_request_fails() {
    let world = World::new().await;
    let storage = Storage::open(&world.settings(&world.databases()))
        .await
        .unwrap();
    let invoices = storage.tenant(TenantId::generate()).repository::<Invoice>();
    let mut invoice = Invoice::of("Ada");
    invoices.insert(&mut invoice).await.unwrap();

    // First where it is kept, then in the database; connections that stand go on.
    let role = world.app.user();
    world.keep("app", "another-password");
    let alter = format!("alter role {role} password 'another-password'");
    world.database.execute(&alter).await.unwrap();
    let cut =
        format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'");
    world.database.execute(&cut).await.unwrap();
    assert_eq!(invoices.get(invoice.id).await.unwrap(), invoice);
    storage.close().await;
}
