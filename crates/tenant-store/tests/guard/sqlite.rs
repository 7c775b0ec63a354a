use crate::suite::{Fixture, OpensPlatform};
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

impl OpensPlatform for SqliteSettings {
    async fn platform_store(&self) -> PlatformStore {
        PlatformStore::sqlite(self.clone()).await.unwrap()
    }
}

pub(crate) async fn open() -> Fixture<SqliteSettings> {
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

/// Opens the store of a schema with two tenants, who each run `seed`.
async fn seeded(schema: &'static str, seed: &[&'static str]) -> Fixture<SqliteSettings> {
    let settings = SqliteSettings::temporary();
    let migrations = Migrations::embedded(&[(1, "schema", schema)]);
    tenantry_store::sqlite::migrate(&settings, &migrations)
        .await
        .unwrap();
    let store = TenantStore::sqlite(settings.clone()).await.unwrap();
    let (theirs, ours) = (TenantId::generate(), TenantId::generate());
    for tenant in [theirs, ours] {
        let work = store.tenant(tenant).begin().await.unwrap();
        for sql in seed {
            let done = sqlx::query(*sql).execute(work.sqlx_sqlite().unwrap()).await;
            done.unwrap();
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

/// To SQLite `$1` is a name, which takes the next free number: that of the tenant, behind a `?1`.
#[tokio::test]
async fn an_argument_never_takes_the_place_of_the_tenant() {
    let fixture = open().await;
    let theirs = fixture.theirs.tenant().as_uuid();
    let tenants = sqlx::query_scalar::<_, Vec<u8>>(
        "select tenant_id from (select ?1, $1, tenant_id from invoices)",
    )
    .bind(theirs)
    .fetch_all(fixture.ours.sqlx_sqlite().unwrap())
    .await;
    for tenant in tenants.unwrap_or_default() {
        assert_eq!(tenant, fixture.ours.tenant().as_uuid().as_bytes());
    }
}

#[tokio::test]
async fn an_argument_never_takes_the_place_of_the_tenant_in_a_write() {
    let fixture = open().await;
    let theirs = fixture.theirs.tenant().as_uuid();
    let work = fixture.ours.begin().await.unwrap();
    let _ = sqlx::query("update invoices set cents = case when ?1 = $1 then -1 end")
        .bind(theirs)
        .execute(work.sqlx_sqlite().unwrap())
        .await;
    let _ = sqlx::query("insert into invoices (id, cents) select 9, 900 where ?1 = $1")
        .bind(theirs)
        .execute(work.sqlx_sqlite().unwrap())
        .await;
    work.commit().await.unwrap();
    let cents: Vec<i64> = sqlx::query_scalar("select cents from invoices order by id")
        .fetch_all(fixture.theirs.sqlx_sqlite().unwrap())
        .await
        .unwrap();
    assert_eq!(cents, [100, 200, 300]);
}

/// A virtual table may be called like a function, with what its module makes of the arguments; an
/// insert into the column with its name is a command to FTS5, for the rows of all tenants.
#[tokio::test]
async fn a_virtual_table_is_out_of_reach() {
    const LOG: &str = "create virtual table log using fts5(tenant_id unindexed, line)";
    let fixture = seeded(LOG, &[]).await;
    let work = fixture.ours.begin().await.unwrap();
    for sql in [
        "select line from log where line = 'secret'",
        "select line from log('secret')",
        "insert into log (log) values ('delete-all')",
    ] {
        let done = sqlx::query(sql).execute(work.sqlx_sqlite().unwrap()).await;
        let error = done.or_store_error().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RefusedStatement, "{sql}");
    }
}

/// The number of a row is a key that all tenants share, though no index says so.
#[tokio::test]
async fn the_number_of_a_row_tells_nothing_of_other_tenants() {
    let fixture = open().await;
    let work = fixture.ours.begin().await.unwrap();
    // Ours are 1 to 3, theirs 4 to 6, and 7 is free.
    let mut outcomes = Vec::new();
    for sql in [
        "insert into invoices (rowid, id) values (4, 40) on conflict do nothing",
        "insert into invoices (rowid, id) values (7, 70) on conflict do nothing",
    ] {
        let done = sqlx::query(sql).execute(work.sqlx_sqlite().unwrap()).await;
        outcomes.push(done.ok().map(|done| done.rows_affected()));
    }
    assert_eq!(outcomes[0], outcomes[1]);
}

/// A view is rewritten inside the statement, whose own tree may be small.
#[test]
fn a_deep_view_is_no_end_of_the_process() {
    let terms = vec!["id = 1"; 900].join(" or ");
    let schema = format!("{SCHEMA}; create view deep as select id from invoices where {terms};");
    let schema: &'static str = schema.leak();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let work = runtime.spawn(async move {
        let fixture = seeded(schema, &["insert into invoices (id) values (1)"]).await;
        sqlx::query_scalar::<_, i64>("select count(*) from deep")
            .fetch_one(fixture.ours.sqlx_sqlite().unwrap())
            .await
    });
    assert_eq!(runtime.block_on(work).unwrap().unwrap(), 1);
}

/// What a statement costs at first sight grows with its length, and not with its square: this would
/// take a minute.
#[tokio::test]
async fn a_long_statement_is_read_in_time() {
    let fixture = open().await;
    let guard = fixture.store.sql_guard().await.unwrap();
    let sql = format!("select 1 where 1 in ({})", vec!["?"; 60_000].join(","));
    assert_eq!(guard.rewrite(&sql).unwrap().arguments(), 60_000);
}

/// A migration gives a table its tenants while the service runs.
#[tokio::test]
async fn a_table_that_is_shared_no_longer_is_walled_at_once() {
    let settings = SqliteSettings::temporary().with_shared_table("editions");
    let steps = [
        (1, "before", "create table editions (id integer not null, name text)"),
        (
            2,
            "after",
            "drop table editions; create table editions (
                tenant_id blob not null, id integer not null, name text, primary key (tenant_id, id))",
        ),
    ];
    let migrate = async |steps: &[(i64, &'static str, &'static str)]| {
        let migrations = Migrations::embedded(steps);
        tenantry_store::sqlite::migrate(&settings, &migrations)
            .await
            .unwrap();
    };
    migrate(&steps[..1]).await;
    let store = TenantStore::sqlite(settings.clone()).await.unwrap();
    let (ours, theirs) = (TenantId::generate(), TenantId::generate());
    let count = async || -> i64 {
        sqlx::query_scalar("select count(*) from editions")
            .fetch_one(store.tenant(ours).sqlx_sqlite().unwrap())
            .await
            .unwrap()
    };
    assert_eq!(count().await, 0);
    migrate(&steps).await;
    // Another instance, which has been started after the migration.
    let other = TenantStore::sqlite(settings.clone()).await.unwrap();
    let work = other.tenant(theirs).begin().await.unwrap();
    sqlx::query("insert into editions (id, name) values (1, 'theirs')")
        .execute(work.sqlx_sqlite().unwrap())
        .await
        .unwrap();
    work.commit().await.unwrap();
    assert_eq!(count().await, 0);
}

#[tokio::test]
async fn a_value_of_another_type_is_told_of_and_not_shown() {
    let fixture = open().await;
    let work = fixture.ours.begin().await.unwrap();
    let error = sqlx::query("update invoices set cents = $1 where id = 1")
        .bind("much")
        .execute(work.sqlx_sqlite().unwrap())
        .await
        .or_store_error()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidValue, "{error}");
    assert!(error.to_string().contains("of another type"), "{error}");
    assert!(!format!("{error:?}").contains("much"), "{error:?}");
}

/// What an index holds is looked at before what it does not: the condition of the service before that
/// of the tenant, on the rows of all.
#[tokio::test]
async fn a_condition_does_not_see_what_others_have() {
    const DOCS: &str = "create table docs (
            tenant_id blob not null, id integer not null, folder integer, body text,
            primary key (tenant_id, id)) strict;
        create view folders as select id, json_extract(body, '$.a') as a from docs;";
    const ASTRAY: &str = "create index by_folder on docs (folder, body);";
    const RIGHT: &str = "create index by_folder on docs (tenant_id, folder, body);
        create index by_body on docs (tenant_id, body);";
    for (index, is_refused) in [(ASTRAY, true), (RIGHT, false)] {
        let settings = SqliteSettings::temporary();
        let schema = format!("{DOCS}{index}").leak();
        let migrations = Migrations::embedded(&[(1, "docs", schema)]);
        tenantry_store::sqlite::migrate(&settings, &migrations)
            .await
            .unwrap();
        let report = tenantry_store::sqlite::audit(&settings).await.unwrap();
        let codes: Vec<_> = report.findings().iter().map(|it| &*it.code).collect();
        assert_eq!(codes, if is_refused { vec!["TN015"] } else { vec![] });
        let store = TenantStore::sqlite(settings).await.unwrap();
        let theirs = store.tenant(TenantId::generate()).begin().await.unwrap();
        sqlx::query("insert into docs (id, folder, body) values (1, 1, 'their secret')")
            .execute(theirs.sqlx_sqlite().unwrap())
            .await
            .unwrap();
        theirs.commit().await.unwrap();
        let ours = store.tenant(TenantId::generate());
        let conditions = [
            "select id from docs where folder = 1 and json_extract(body, '$.a') = 1",
            "select id from docs where folder = 1 and json_extract('{}', body) = 1",
            "select id from docs where folder > 0 and (folder = 1 and body ->> 'a' = 1 or id = 3)",
            "select x.id from (select id, folder, json_extract(body, '$.a') as a from docs) x \
             where x.folder = 1 and x.a = 1",
            "select f.id from folders f where f.a = 1",
            "select d.id from docs d join docs e on e.folder = 1 and abs(e.body) = 1",
            "select folder from docs group by folder having json_extract(min(body), '$') = 1",
            "select id from docs where folder = 1 and 'x' like body",
            "update docs set folder = 2 where folder = 1 and json_extract('{}', body) = 1",
            "delete from docs where folder = 1 and json_extract('{}', body) = 1",
        ];
        let results = [
            "select id, json_extract(body, '$.a') from docs where folder = 1 order by body ->> 'a'",
            "select id from docs where folder = 1 and lower(body) like 'x%'",
            "update docs set body = json_extract(body, '$.a') where folder = 1",
            "insert into docs (id, body) values (1, json('{}'))",
        ];
        for (sql, is_condition) in conditions
            .map(|sql| (sql, true))
            .into_iter()
            .chain(results.map(|sql| (sql, false)))
        {
            let work = ours.begin().await.unwrap();
            let done = sqlx::query(sql).execute(work.sqlx_sqlite().unwrap()).await;
            match done.or_store_error() {
                Ok(_) => assert!(!is_condition || !is_refused, "{sql}"),
                Err(error) => {
                    assert!(is_condition && is_refused, "{sql}: {error:?}");
                    assert_eq!(error.kind(), ErrorKind::RefusedStatement, "{error}");
                    assert!(error.to_string().contains("by_folder"), "{error}");
                }
            }
        }
    }
}

/// Counts for minutes.
const LONG: &str =
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < 2000000000)
    select count(*) from n";

/// A statement whose caller is gone is still bound to its time-out.
#[tokio::test]
async fn a_dropped_statement_blocks_nobody_beyond_its_time_out() {
    use std::time::Duration;
    use tokio::time::timeout;

    let settings = SqliteSettings::temporary()
        .with_max_readers(1)
        .with_acquire_timeout(Duration::from_secs(3))
        .with_statement_timeout(Some(Duration::from_millis(300)));
    let store = TenantStore::sqlite(settings).await.unwrap();
    let (ours, theirs) = (TenantId::generate(), TenantId::generate());

    let work = store.tenant(ours).begin().await.unwrap();
    let long = sqlx::query(LONG).execute(work.sqlx_sqlite().unwrap());
    assert!(timeout(Duration::from_millis(100), long).await.is_err());
    drop(work);
    let writer = store.tenant(theirs).begin().await;

    let scope = store.tenant(ours);
    let long = sqlx::query(LONG).execute(scope.sqlx_sqlite().unwrap());
    assert!(timeout(Duration::from_millis(100), long).await.is_err());
    let reader = sqlx::query("select 1")
        .execute(store.tenant(theirs).sqlx_sqlite().unwrap())
        .await
        .or_store_error();

    let kinds = [writer.map(drop), reader.map(drop)].map(|done| done.map_err(|error| error.kind()));
    assert_eq!(kinds, [Ok(()), Ok(())]);
}

/// The platform, with one connection that all its statements share.
async fn platform_of(settings: &SqliteSettings) -> tenantry_store::PlatformScope {
    let settings = settings.clone().with_max_readers(1);
    let platform = PlatformStore::sqlite(settings).await.unwrap();
    platform
        .scope("statistics", RequestContext::system())
        .unwrap()
}

#[tokio::test]
async fn the_platform_leaves_its_connection_as_it_was() {
    let fixture = open().await;
    let scope = platform_of(&fixture.keeper).await;
    let count = || {
        sqlx::query_scalar::<_, i64>("select count(*) from invoices")
            .fetch_one(scope.sqlx_sqlite().unwrap())
    };
    for sql in [
        "pragma query_only = off",
        "begin",
        "attach ':memory:' as other",
        "/* a look */ -- at it\n pragma query_only = off",
        "select 1; pragma query_only = off",
        "/*/ select */ pragma query_only = off",
        "-- \rselect\npragma query_only = off",
        "select ';' ; /* ; */ pragma query_only = off -- ;",
        "explain select 1; begin",
        "delete from invoices",
        "with gone as (select 1) delete from invoices",
    ] {
        let error = sqlx::query(sql)
            .execute(scope.sqlx_sqlite().unwrap())
            .await
            .or_store_error()
            .unwrap_err();
        let kinds = [ErrorKind::RefusedStatement, ErrorKind::ReadOnly];
        assert!(kinds.contains(&error.kind()), "{sql}: {error}");
        assert_eq!(count().await.unwrap(), 6);
    }
    for sql in [
        "select ';' -- ;\n;;",
        "(values (1))",
        "-- why\nexplain query plan select 1",
    ] {
        let read = sqlx::query(sql).fetch_all(scope.sqlx_sqlite().unwrap());
        match read.await.or_store_error() {
            Ok(_) => {}
            // SQLite knows no brackets there; what counts is that it was asked.
            Err(error) => assert_ne!(error.kind(), ErrorKind::RefusedStatement, "{sql}"),
        }
    }
    // Nor does it keep the state that was read once.
    let work = fixture.ours.begin().await.unwrap();
    sqlx::query("delete from invoices")
        .execute(work.sqlx_sqlite().unwrap())
        .await
        .unwrap();
    work.commit().await.unwrap();
    assert_eq!(count().await.unwrap(), 3);
}

/// SQLite answers a statement that writes nothing with what the last one wrote, whoever sent it.
#[tokio::test]
async fn an_answer_tells_nothing_of_what_others_wrote() {
    let fixture = open().await;
    let work = fixture.theirs.begin().await.unwrap();
    sqlx::query("update invoices set cents = 1")
        .execute(work.sqlx_sqlite().unwrap())
        .await
        .unwrap();
    work.commit().await.unwrap();
    let work = fixture.ours.begin().await.unwrap();
    for sql in [
        "select 1",
        "insert into invoices (id) values (1) on conflict do nothing",
    ] {
        let done = sqlx::query(sql)
            .execute(work.sqlx_sqlite().unwrap())
            .await
            .unwrap();
        assert_eq!((done.rows_affected(), done.last_insert_rowid()), (0, 0));
    }
    let done = sqlx::query("update invoices set cents = 1")
        .execute(work.sqlx_sqlite().unwrap())
        .await
        .unwrap();
    assert_eq!((done.rows_affected(), done.last_insert_rowid()), (3, 0));
}

/// The time of the statement before is over, and says nothing of a look at the schema.
#[tokio::test]
async fn an_old_deadline_does_not_end_a_look_at_the_schema() {
    let mut schema = SCHEMA.to_owned();
    for number in 0..400 {
        let columns = "(tenant_id blob not null, id integer not null, primary key (tenant_id, id))";
        schema.push_str(&format!("create table t{number} {columns} strict;"));
    }
    let timeout = std::time::Duration::from_millis(400);
    let settings = SqliteSettings::temporary().with_statement_timeout(Some(timeout));
    let migrations = Migrations::embedded(&[(1, "many", schema.leak())]);
    tenantry_store::sqlite::migrate(&settings, &migrations)
        .await
        .unwrap();
    let store = TenantStore::sqlite(settings).await.unwrap();
    let work = store.tenant(TenantId::generate()).begin().await.unwrap();
    sqlx::query("select 1")
        .execute(work.sqlx_sqlite().unwrap())
        .await
        .unwrap();
    tokio::time::sleep(2 * timeout).await;
    let error = sqlx::query("select * from nowhere")
        .execute(work.sqlx_sqlite().unwrap())
        .await
        .or_store_error()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RefusedStatement);
    work.commit().await.unwrap();
}

/// Some values are a little language, and the database's words quote them.
#[tokio::test]
async fn an_error_in_a_value_does_not_show_it() {
    let fixture = open().await;
    let error = sqlx::query("select json_extract('{}', name) from customers")
        .fetch_all(fixture.ours.sqlx_sqlite().unwrap())
        .await
        .or_store_error()
        .unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("ours"), "{shown}");
}
