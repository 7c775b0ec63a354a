//! What the role of the services may do, and what an audit says of the tables.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use tenantry_core::{Service, Store, TenantId};
use tenantry_outbox::{NewMessage, OUTBOX_GRANTS, OUTBOX_RIGHTS_POSTGRES, Outbox};
use tenantry_store::Grants;
use tenantry_store::postgres::{Role, audit, audit_grants};
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
async fn the_rights_to_compare_with_are_those_that_the_schema_gives() {
    let subject = OnPostgres::open().await;
    let grants = || {
        Grants::for_service(Service::Notification, subject.app.user())
            .tables_with_rights(Store::Outbox, OUTBOX_GRANTS)
            .unwrap()
    };
    let differences = || async {
        let report = audit_grants(subject.app.url(), &grants()).await.unwrap();
        let of_outbox = report.differences().iter();
        let of_outbox =
            of_outbox.filter(|it| it.table.contains("outbox_") && !it.table.contains("suite"));
        of_outbox.map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(differences().await, [] as [String; 0]);
    // Written out, they are the same.
    subject.database.execute(&grants().sql()).await.unwrap();
    assert_eq!(differences().await, [] as [String; 0]);
    let app = subject.app.user();
    let more = format!("grant select on outbox_messages to {app}");
    subject.database.execute(&more).await.unwrap();
    assert_eq!(differences().await.len(), 1);
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

/// Returns who may do what with every table, column and sequence of the outbox.
async fn rights(admin: &mut PgConnection) -> Vec<String> {
    let rows = sqlx::query_scalar(
        "select concat_ws(' ', c.relname, coalesce(r.rolname, 'public'), acl.privilege_type, acl.is_grantable) \
         from pg_class c, aclexplode(c.relacl) acl left join pg_roles r on r.oid = acl.grantee \
         where c.relname like 'outbox\\_%' and c.relkind in ('r', 'p', 'S') \
         union all \
         select concat_ws(' ', c.relname, a.attname, coalesce(r.rolname, 'public'), acl.privilege_type, acl.is_grantable) \
         from pg_class c join pg_attribute a on a.attrelid = c.oid, aclexplode(a.attacl) acl \
         left join pg_roles r on r.oid = acl.grantee \
         where c.relname like 'outbox\\_%' order by 1",
    );
    rows.fetch_all(admin).await.unwrap()
}

#[tokio::test]
async fn tables_that_are_protected_again_are_open_to_nobody_new() {
    let subject = OnPostgres::open().await;
    let mut admin = subject.admin().await;
    let (app, platform) = (subject.app.user(), subject.platform_login.user());
    let before = rights(&mut admin).await;
    for expected in [
        format!("outbox_messages payload {app} INSERT f"),
        format!("outbox_messages {platform} SELECT f"),
        format!("outbox_messages_2 {platform} TRUNCATE f"),
    ] {
        assert!(before.contains(&expected), "{expected}: {before:#?}");
    }

    let mut owner = PgConnection::connect(subject.owner.url()).await.unwrap();
    let again = "select tenantry.protect(own) \
        from unnest(array['outbox_messages', 'outbox_parked', 'outbox_inbox']::regclass[]) own";
    owner.execute(again).await.unwrap();
    assert_eq!(rights(&mut admin).await, before);
    // Also where somebody has broken the wall.
    let broken = "drop policy tenantry_wall on outbox_messages; \
        alter table outbox_parked no force row level security; \
        alter table outbox_parked drop constraint tenantry_not_nil";
    owner.execute(sqlx::raw_sql(broken)).await.unwrap();
    owner.execute(again).await.unwrap();
    assert_eq!(rights(&mut admin).await, before);
    // And what is too much is taken away.
    let too_much = format!(
        "grant truncate, references on outbox_messages to {app}, {platform}; \
         grant insert (id) on outbox_messages to {app} with grant option; \
         grant insert on outbox_inbox to {app} with grant option; \
         grant select, truncate on outbox_messages_0 to {app}; grant select on outbox_messages_1 to {platform}; \
         grant references (id) on outbox_messages to {app}; \
         grant select on outbox_inbox to public; \
         grant select on sequence outbox_messages_position_seq to {app}"
    );
    owner
        .execute(sqlx::raw_sql(AssertSqlSafe(too_much)))
        .await
        .unwrap();
    assert_ne!(rights(&mut admin).await, before);
    owner.execute(again).await.unwrap();
    assert_eq!(rights(&mut admin).await, before);
    for (login, role) in [
        (&subject.app, Role::App),
        (&subject.platform_login, Role::Platform),
    ] {
        let report = audit(login.url(), role).await.unwrap();
        assert!(report.findings().is_empty(), "{:?}", report.findings());
    }
}

#[tokio::test]
async fn rights_that_an_older_protect_has_widened_are_mended() {
    let subject = OnPostgres::open().await;
    let mut admin = subject.admin().await;
    let before = rights(&mut admin).await;
    let mut owner = PgConnection::connect(subject.owner.url()).await.unwrap();
    // What a second `protect` did, and what taking the walls down and building them again does.
    let rebuilt = "select tenantry.unprotect(own), tenantry.protect(own) \
        from unnest(array['outbox_messages', 'outbox_parked', 'outbox_inbox']::regclass[]) own";
    owner.execute(rebuilt).await.unwrap();
    let widened = rights(&mut admin).await;
    let reads = format!("outbox_messages {} SELECT f", subject.app.user());
    assert!(widened.contains(&reads) && !before.contains(&reads));
    owner
        .execute(sqlx::raw_sql(OUTBOX_RIGHTS_POSTGRES))
        .await
        .unwrap();
    assert_eq!(rights(&mut admin).await, before);
}

#[tokio::test]
async fn a_service_cannot_say_which_transaction_a_message_is_of() {
    let subject = OnPostgres::open().await;
    // By hand, as none of ours does it.
    let url = wall_two_alone(subject.app.url()).unwrap();
    let mut app = PgConnection::connect(&url).await.unwrap();
    let tenant = uuid::Uuid::now_v7();
    sqlx::query("select set_config('tenantry.tenant_id', $1, false)")
        .bind(tenant.to_string())
        .execute(&mut app)
        .await
        .unwrap();
    let denied = Some("42501");
    for (column, value, expected) in [
        ("", "", None),
        ("xid, ", "'3', ", denied),
        ("generation, ", "0, ", denied),
        // generated_always
        ("position, ", "7, ", Some("428C9")),
    ] {
        let text = format!(
            "insert into outbox_messages ({column}tenant_id, id, partition_id, event_type, ordering_key, occurred_at, \
                 content_type, payload) \
             values ({value}$1, gen_random_uuid(), 0, 'suite.a', 'k', now(), 'text/plain', '')"
        );
        let written = sqlx::query(AssertSqlSafe(text))
            .bind(tenant)
            .execute(&mut app)
            .await;
        let code = written
            .err()
            .and_then(|error| Some(error.as_database_error()?.code()?.into_owned()));
        assert_eq!(code.as_deref(), expected, "{column}");
    }
}
