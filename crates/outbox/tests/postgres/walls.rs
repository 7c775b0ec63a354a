//! What the role of the services may do, and what an audit says of the tables.

use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};
use tenantry_core::TenantId;
use tenantry_outbox::{NewMessage, Outbox};
use tenantry_store::postgres::{Role, audit};
use tenantry_testkit::wall_two_alone;

use crate::OnPostgres;

#[tokio::test]
async fn an_audit_finds_nothing() {
    let subject = OnPostgres::open().await;
    for (login, role) in [
        (&subject.app, Role::App),
        (&subject.platform_login, Role::Platform),
    ] {
        let report = audit(login.url(), role).await.unwrap();
        assert!(report.findings().is_empty(), "{:?}", report.findings());
    }
}

#[tokio::test]
async fn a_service_inserts_for_its_tenant_and_reads_nothing() {
    let subject = OnPostgres::open().await;
    let outbox = Outbox::new(&subject.store);
    let tenants = [TenantId::generate(), TenantId::generate()];
    for tenant in tenants {
        let work = subject.store.tenant(tenant).begin().await.unwrap();
        outbox
            .append_message(&work, NewMessage::new("a", "k"))
            .unwrap();
        work.commit().await.unwrap();
    }
    let url = wall_two_alone(subject.app.url()).unwrap();
    let mut service = PgConnection::connect(&url).await.unwrap();
    for statement in [
        "select * from outbox_messages",
        "select payload from outbox_messages_0",
        "update outbox_messages set payload = ''",
        "delete from outbox_messages",
        "truncate outbox_messages",
        "select last_value from outbox_messages_position_seq",
        "select nextval('outbox_messages_position_seq')",
        "select * from outbox_parked",
        "insert into outbox_parked select * from outbox_parked",
        "select * from outbox_claims",
        "update outbox_partitions set token = null",
        "select * from outbox_cluster",
        "delete from outbox_inbox",
    ] {
        let refused = service.execute(sqlx::query(statement)).await.unwrap_err();
        let code = refused
            .as_database_error()
            .and_then(|error| error.code())
            .unwrap()
            .into_owned();
        assert_eq!(code, "42501", "{statement}");
    }
    // Not for another tenant either.
    let mut tx = service
        .begin_with(sqlx::AssertSqlSafe(format!(
            "begin; set local tenantry.tenant_id = '{}'",
            tenants[0]
        )))
        .await
        .unwrap();
    let foreign = "insert into outbox_messages (tenant_id, id, partition_id, event_type, ordering_key, \
        occurred_at, content_type, payload) values ($1, $1, 0, 'a', 'k', now(), 'a/b', '')";
    let refused = sqlx::query(foreign)
        .bind(tenants[1].as_uuid())
        .execute(&mut *tx)
        .await
        .unwrap_err();
    assert_eq!(
        refused.as_database_error().unwrap().code().unwrap(),
        "42501"
    );
    drop(tx);

    let mut admin = subject.admin().await;
    let rows = admin
        .fetch_all("select tenant_id from outbox_messages order by position")
        .await
        .unwrap();
    let found: Vec<uuid::Uuid> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(found, tenants.map(|tenant| tenant.as_uuid()));
}
