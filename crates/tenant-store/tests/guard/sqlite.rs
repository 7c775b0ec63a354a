use crate::suite::Fixture;
use tenantry_core::TenantId;
use tenantry_store::{Migrations, SqliteSettings, TenantStore};

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
