use crate::suite::Fixture;
use tenantry_core::{RequestContext, TenantId};
use tenantry_store::{Migrations, PlatformStore, SqliteSettings, TenantStore};

guard_suite!(open, sqlx_sqlite, sqlx::Sqlite);

const SCHEMA: &str = "
    create table customers (
        tenant_id blob not null, id integer not null, name text, primary key (tenant_id, id)) strict;
    create table invoices (
        tenant_id blob not null, id integer not null, customer integer, cents integer,
        primary key (tenant_id, id)) strict;
    create table editions (id integer primary key, name text) strict;
    create view named as
        select i.id, c.name from invoices i left join customers c on c.id = i.customer;
";

async fn open() -> Fixture<SqliteSettings> {
    let settings = SqliteSettings::temporary().with_shared_table("editions");
    let migrations = Migrations::embedded(&[(1, "guard", SCHEMA)]);
    tenantry_store::sqlite::migrate(&settings, &migrations)
        .await
        .unwrap();
    let (ours, theirs) = (TenantId::generate(), TenantId::generate());
    let store = TenantStore::sqlite(settings.clone()).await.unwrap();
    for (tenant, name) in [(ours, "ours"), (theirs, "theirs")] {
        let work = store.tenant(tenant).begin().await.unwrap();
        for id in 1..=3_i64 {
            sqlx::query("insert into invoices (id, customer, cents) values (?, ?, ?)")
                .bind(id)
                .bind(id)
                .bind(id * 100)
                .execute(work.sqlx_sqlite().unwrap())
                .await
                .unwrap();
            if id < 3 || name == "theirs" {
                sqlx::query("insert into customers (id, name) values (?, ?)")
                    .bind(id)
                    .bind(format!("{name} {id}"))
                    .execute(work.sqlx_sqlite().unwrap())
                    .await
                    .unwrap();
            }
        }
        work.commit().await.unwrap();
    }
    Fixture {
        ours: store.tenant(ours),
        theirs: store.tenant(theirs),
        store,
        keeper: settings,
    }
}

#[tokio::test]
async fn the_executor_of_another_database_is_not_there() {
    let fixture = open().await;
    let error = fixture.ours.sqlx_postgres().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn the_platform_sees_all_tenants_and_writes_to_none() {
    let fixture = open().await;
    let platform = PlatformStore::sqlite(fixture.keeper.clone()).await.unwrap();
    let scope = platform
        .scope("statistics", RequestContext::system())
        .unwrap();
    let executor = scope.sqlx_sqlite().unwrap();
    let tenants: i64 = sqlx::query_scalar("select count(distinct tenant_id) from invoices")
        .fetch_one(executor)
        .await
        .unwrap();
    assert_eq!(tenants, 2);
    for sql in [
        "delete from invoices",
        "update invoices set cents = 0 where id = 1",
    ] {
        let error = sqlx::query(sql)
            .execute(executor)
            .await
            .or_store_error()
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error:?}");
    }
    // To write, a tenant is named, and the statement is guarded again.
    let work = scope.tenant(fixture.ours.tenant()).begin().await.unwrap();
    let done = sqlx::query("delete from invoices")
        .execute(work.sqlx_sqlite().unwrap())
        .await
        .unwrap();
    assert_eq!(done.rows_affected(), 3);
    work.commit().await.unwrap();
    assert_eq!(all(&fixture.theirs).await.len(), 3);
}
