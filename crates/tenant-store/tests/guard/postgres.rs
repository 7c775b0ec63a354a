use crate::suite::{Fixture, OpensPlatform};
use crate::support::Postgres;
use sqlx::Connection as _;
use tenantry_core::{RequestContext, TenantId};
use tenantry_store::postgres::migrate;
use tenantry_store::{Migrations, PlatformStore};

guard_suite!(open, sqlx_postgres, sqlx::Postgres);

const SCHEMA: &str = "
    create table customers (
        tenant_id uuid not null, id bigint not null, name text, primary key (tenant_id, id));
    create table invoices (
        tenant_id uuid not null, id bigint not null, customer bigint, cents bigint,
        primary key (tenant_id, id));
    create table editions (id bigint primary key, name text);
    create view named with (security_invoker = true) as
        select i.id, c.name from invoices i left join customers c on c.id = i.customer;
    select tenantry.protect('customers'), tenantry.protect('invoices'), tenantry.share('editions');
";

impl OpensPlatform for Postgres {
    async fn platform_store(&self) -> PlatformStore {
        self.walled.platform_store().await
    }
}

pub(crate) async fn open() -> Fixture<Postgres> {
    filled(Postgres::open().await).await
}

/// Behind a pooler in transaction mode everything is the same.
pub(crate) mod pooled {
    guard_suite!(open, sqlx_postgres, sqlx::Postgres);

    pub(crate) async fn open() -> crate::suite::Fixture<crate::support::Postgres> {
        super::filled(crate::support::Postgres::open_pooled().await).await
    }
}

async fn filled(postgres: Postgres) -> Fixture<Postgres> {
    let migrations = Migrations::embedded(&[
        (
            1,
            "conformance",
            tenantry_store::conformance::POSTGRES_SCHEMA,
        ),
        (2, "guard", SCHEMA),
    ]);
    migrate(postgres.walled.owner.url(), &migrations)
        .await
        .unwrap();
    let grant = format!("grant select on named to {}", postgres.walled.app.user());
    postgres.walled.database.execute(&grant).await.unwrap();
    let (ours, theirs) = (TenantId::generate(), TenantId::generate());
    for (tenant, name) in [(ours, "ours"), (theirs, "theirs")] {
        for id in 1..=3 {
            let rows = format!(
                "insert into invoices values ('{tenant}', {id}, {id}, {id} * 100);
                 insert into customers select '{tenant}', {id}, '{name} {id}' where {id} < 3 or '{name}' = 'theirs'"
            );
            postgres.walled.database.execute(&rows).await.unwrap();
        }
    }
    let store = postgres.store.clone();
    Fixture {
        ours: store.tenant(ours),
        theirs: store.tenant(theirs),
        store,
        keeper: postgres,
    }
}

#[tokio::test]
async fn the_executor_of_another_database_is_not_there() {
    let fixture = open().await;
    let error = fixture.ours.sqlx_sqlite().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_table_of_a_later_migration_is_found() {
    let fixture = open().await;
    let count = || {
        sqlx::query_scalar::<_, i64>("select count(*) from late")
            .fetch_one(fixture.ours.sqlx_postgres().unwrap())
    };
    let error = count().await.or_store_error();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::RefusedStatement);
    let fixture = open().await;
    sqlx::query("select 1")
        .execute(fixture.ours.sqlx_postgres().unwrap())
        .await
        .unwrap();
    let late = "create table late (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
         alter table late owner to ";
    let walled = &fixture.keeper.walled;
    walled
        .database
        .execute(&format!("{late}{}", walled.owner.user()))
        .await
        .unwrap();
    let protect = format!(
        "set role {}; select tenantry.protect('late')",
        walled.owner.user()
    );
    walled.database.execute(&protect).await.unwrap();
    let count: i64 = sqlx::query_scalar("select count(*) from late")
        .fetch_one(fixture.ours.sqlx_postgres().unwrap())
        .await
        .unwrap();
    assert_eq!(count, 0);
}

/// The parser takes some of them for names, as in `FROM ONLY invoices`.
#[tokio::test]
async fn a_word_of_the_grammar_is_no_name_of_a_table() {
    /// The functions in the place of a name, which stand in no catalog.
    const VALUES: &str = "'current_catalog', 'current_date', 'current_role', 'current_schema', \
         'current_time', 'current_timestamp', 'current_user', 'localtime', 'localtimestamp', \
         'session_user', 'user'";
    let fixture = open().await;
    let words = format!(
        "select word from pg_get_keywords() where catcode in ('R', 'T') and word not in ({VALUES})"
    );
    let mut admin = sqlx::PgConnection::connect(fixture.keeper.walled.database.admin_url())
        .await
        .unwrap();
    let words: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(words))
        .fetch_all(&mut admin)
        .await
        .unwrap();
    assert!(words.len() > 85, "{words:?}");
    let guard = fixture.store.sql_guard().await.unwrap();
    for word in &words {
        // What the parser refuses by itself is no name to it.
        for sql in [
            format!("select * from {word}"),
            format!("select * from {word} invoices"),
            format!("select * from invoices {word}"),
            format!("select * from invoices as {word}"),
            format!("delete from {word} where id = 1"),
            format!("update {word} set cents = 1"),
        ] {
            let refused = guard.rewrite(&sql).unwrap_err().to_string();
            assert!(!refused.contains("unknown table"), "{sql}: {refused}");
        }
    }
}

#[tokio::test]
async fn a_view_that_a_migration_replaced_is_read_anew_after_an_error() {
    let fixture = open().await;
    let names = || {
        sqlx::query_scalar::<_, Option<String>>("select name from named order by id")
            .fetch_all(fixture.ours.sqlx_postgres().unwrap())
    };
    assert_eq!(names().await.unwrap()[0].as_deref(), Some("ours 1"));
    let walled = &fixture.keeper.walled;
    let change = "alter table customers rename column name to title;
         create or replace view named with (security_invoker = true) as
         select i.id, upper(c.title) as name from invoices i left join customers c on c.id = i.customer";
    walled.database.execute(change).await.unwrap();
    // The old text names a column that is no more.
    let error = names().await.or_store_error().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaMismatch);
    assert_eq!(names().await.unwrap()[0].as_deref(), Some("OURS 1"));
}

/// `i.f` is `f(i)` to PostgreSQL where the row has no column of that name, and what the grammar takes
/// for its own is a function like others where it is called by a list of arguments.
#[tokio::test]
async fn a_function_in_another_form_is_refused_as_well() {
    let fixture = open().await;
    let walled = &fixture.keeper.walled;
    for name in ["everything", "ceil", "floor", "substring"] {
        let function = format!(
            "create function \"{name}\"(invoices) returns text language sql stable
                 as 'select string_agg(name, '','') from customers'"
        );
        walled.database.execute(&function).await.unwrap();
    }
    let guard = fixture.store.sql_guard().await.unwrap();
    let let_through: Vec<_> = [
        "select everything(i) from invoices i",
        "select i.everything from invoices i",
        "select (i).everything from invoices i",
        "select id from invoices where invoices.everything like '%theirs%'",
        "select ceil(i) from invoices i",
        "select floor(i) from invoices i",
        "select substring(i) from invoices i",
    ]
    .into_iter()
    .filter(|sql| guard.rewrite(sql).is_ok())
    .collect();
    assert_eq!(let_through, <[&str; 0]>::default());
}

#[tokio::test]
async fn a_deep_view_is_no_end_of_the_process() {
    let fixture = open().await;
    let walled = &fixture.keeper.walled;
    let terms = vec!["id = 1"; 1_000].join(" or ");
    let view = format!(
        "create view deep with (security_invoker = true) as select id from invoices where {terms};
         grant select on deep to {}",
        walled.app.user()
    );
    walled.database.execute(&view).await.unwrap();
    let ours = fixture.ours.clone();
    let count = tokio::spawn(async move {
        sqlx::query_scalar::<_, i64>("select count(*) from deep")
            .fetch_one(ours.sqlx_postgres().unwrap())
            .await
    });
    assert_eq!(count.await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn a_column_that_cannot_be_read_is_told() {
    let fixture = open().await;
    let null = sqlx::query_as::<_, (i64, String)>(
        "select i.id, c.name from invoices i left join customers c on c.id = i.customer",
    )
    .fetch_all(fixture.ours.sqlx_postgres().unwrap())
    .await
    .or_store_error()
    .unwrap_err();
    assert_eq!(null.kind(), ErrorKind::InvalidValue);
    assert!(
        null.to_string()
            .contains("column 1: invalid value: it is NULL"),
        "{null}"
    );
    let other = sqlx::query_as::<_, (bool,)>("select cents from invoices")
        .fetch_all(fixture.ours.sqlx_postgres().unwrap())
        .await
        .or_store_error()
        .unwrap_err();
    assert!(other.to_string().contains("bool"), "{other}");
}

/// Row-level security keeps a condition from the rows of others, even where an index holds what it
/// needs and lets it go first.
#[tokio::test]
async fn a_condition_does_not_see_what_others_have() {
    let fixture = open().await;
    let walled = &fixture.keeper.walled;
    let (ours, theirs) = (fixture.ours.tenant(), fixture.theirs.tenant());
    let docs = format!(
        "set role {};
         create table docs (
             tenant_id uuid not null, id bigint not null, body text, primary key (tenant_id, id));
         create index by_body on docs (body);
         select tenantry.protect('docs');
         reset role;
         insert into docs select '{ours}', i, to_json(i) from generate_series(1, 5000) i;
         insert into docs values ('{theirs}', 1, 'no json');
         analyze docs",
        walled.owner.user()
    );
    walled.database.execute(&docs).await.unwrap();
    for sql in [
        "select id from docs where body between 'n' and 'o' and body::jsonb is not null",
        "select min(body) from docs where body::jsonb is not null",
        "update docs set body = body where body >= 'n' and body::jsonb is not null",
    ] {
        // From the sixth time on the plan is a generic one.
        for _ in 0..8 {
            let work = fixture.ours.begin().await.unwrap();
            let done = sqlx::query(sql)
                .execute(work.sqlx_postgres().unwrap())
                .await;
            done.or_store_error().unwrap();
        }
    }
}

/// The platform, with one connection that all its statements share.
async fn platform_of(postgres: &Postgres) -> tenantry_store::PlatformScope {
    let url = postgres.walled.platform.url();
    let settings = tenantry_store::PostgresSettings::new(url).with_max_connections(1);
    let platform = PlatformStore::postgres(settings).await.unwrap();
    platform
        .scope("statistics", RequestContext::system())
        .unwrap()
}

#[tokio::test]
async fn no_form_of_a_statement_makes_the_platform_write() {
    let fixture = open().await;
    let scope = platform_of(&fixture.keeper).await;
    for sql in [
        "commit",
        "commit and chain",
        "begin read write",
        "set transaction read write",
        "set session characteristics as transaction read write",
        "set default_transaction_read_only = off",
        "prepare gone as delete from invoices",
        "execute gone",
        "do $$ begin delete from invoices; end $$",
        "explain analyze delete from invoices",
        "create temp table invoices (id int)",
        "set search_path = nowhere",
    ] {
        // What becomes of each is the server's affair.
        let _ = sqlx::query(sql)
            .execute(scope.sqlx_postgres().unwrap())
            .await;
        let deleted = sqlx::query("delete from invoices")
            .execute(scope.sqlx_postgres().unwrap())
            .await
            .or_store_error();
        assert_eq!(deleted.unwrap_err().kind(), ErrorKind::ReadOnly, "{sql}");
        let count: i64 = sqlx::query_scalar("select count(*) from invoices")
            .fetch_one(scope.sqlx_postgres().unwrap())
            .await
            .unwrap();
        assert_eq!(count, 6, "{sql}");
    }
}

/// A time-out is of one statement: what passes between two, or between two rows, does not count.
#[tokio::test]
async fn a_time_out_ends_a_statement_and_no_pause_does() {
    let fixture = open().await;
    let limit = std::time::Duration::from_millis(300);
    let settings = fixture
        .keeper
        .walled
        .settings()
        .with_trusted_function("pg_catalog.pg_sleep")
        .with_silence_limit(Some(limit))
        .with_statement_timeout(Some(limit));
    let store = tenantry_store::TenantStore::postgres(settings)
        .await
        .unwrap();
    let ours = store.tenant(fixture.ours.tenant());
    let sleep = || sqlx::query("select pg_sleep(2)");

    let work = ours.begin().await.unwrap();
    let error = sleep()
        .execute(work.sqlx_postgres().unwrap())
        .await
        .or_store_error()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StatementTimeout);
    assert_eq!(
        work.commit().await.unwrap_err().kind(),
        ErrorKind::WorkAborted
    );

    // Dropped, it is ended by the server, and the work with it.
    let work = ours.begin().await.unwrap();
    let dropped = tokio::time::timeout(limit / 6, sleep().execute(work.sqlx_postgres().unwrap()));
    assert!(dropped.await.is_err());
    let next = sqlx::query("select 1").execute(work.sqlx_postgres().unwrap());
    let next = next.await.or_store_error().unwrap_err();
    assert_eq!(next.kind(), ErrorKind::WorkAborted);
    drop(work);

    let work = ours.begin().await.unwrap();
    for _ in 0..2 {
        let mut rows = sqlx::query("select * from invoices").fetch(work.sqlx_postgres().unwrap());
        while rows.try_next().await.unwrap().is_some() {
            tokio::time::sleep(limit / 2).await;
        }
        drop(rows);
        tokio::time::sleep(2 * limit).await;
    }
    work.commit().await.unwrap();
}

#[tokio::test]
async fn the_platform_leaves_its_connection_as_it_was() {
    let fixture = open().await;
    let scope = platform_of(&fixture.keeper).await;
    let count = || {
        sqlx::query_scalar::<_, i64>("select count(*) from invoices")
            .fetch_one(scope.sqlx_postgres().unwrap())
    };
    for sql in [
        "deallocate all",
        "discard all",
        "set search_path = pg_catalog",
        "/* a look */ reset all",
        "/* /* */ select */ deallocate all",
        "/*/ select */ deallocate all",
        "-- \rdeallocate --\nselect",
        "listen x",
        "begin",
    ] {
        let refused = sqlx::query(sql)
            .execute(scope.sqlx_postgres().unwrap())
            .await
            .or_store_error()
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::RefusedStatement, "{sql}");
        assert_eq!(count().await.unwrap(), 6);
    }
    for sql in [
        "show search_path",
        " (select 1)",
        "-- why\nexplain select 1",
    ] {
        let read = sqlx::query(sql).fetch_all(scope.sqlx_postgres().unwrap());
        assert!(!read.await.unwrap().is_empty(), "{sql}");
    }
}

/// A session of repeatable reads sees the catalog as it was, and keeps that to itself.
#[tokio::test]
async fn an_older_snapshot_takes_no_table_from_others() {
    let fixture = open().await;
    let options = tenantry_store::WorkOptions::default()
        .with_isolation(tenantry_store::Isolation::RepeatableRead);
    let old = fixture.ours.begin_with(options).await.unwrap();
    sqlx::query("select * from invoices")
        .execute(old.sqlx_postgres().unwrap())
        .await
        .unwrap();
    let walled = &fixture.keeper.walled;
    let late = format!(
        "set role {};
         create table late (tenant_id uuid not null, id bigint not null, primary key (tenant_id, id));
         select tenantry.protect('late')",
        walled.owner.user()
    );
    walled.database.execute(&late).await.unwrap();
    let count = || {
        sqlx::query_scalar::<_, i64>("select count(*) from late")
            .fetch_one(fixture.theirs.sqlx_postgres().unwrap())
    };
    assert_eq!(count().await.unwrap(), 0);
    // Until the catalog may be read again.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let unknown = sqlx::query("select * from nowhere")
        .execute(old.sqlx_postgres().unwrap())
        .await;
    assert!(unknown.is_err());
    assert_eq!(count().await.or_store_error().unwrap(), 0);
}

/// Some values are a little language, and their errors have the state of a statement's.
#[tokio::test]
async fn an_error_in_a_value_does_not_show_it() {
    let fixture = open().await;
    for sql in [
        "select to_tsquery('simple', name) from customers",
        "select name::tsquery from customers",
    ] {
        let error = sqlx::query(sql)
            .fetch_all(fixture.ours.sqlx_postgres().unwrap())
            .await
            .or_store_error()
            .unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("ours"), "{shown}");
    }
}

/// As a repository's read does, which tries again.
#[tokio::test]
async fn a_read_of_a_scope_goes_on_after_a_new_column() {
    let fixture = open().await;
    let rows =
        || sqlx::query("select * from invoices").fetch_all(fixture.ours.sqlx_postgres().unwrap());
    for _ in 0..4 {
        rows().await.unwrap();
    }
    let change = "alter table invoices add column more text";
    fixture
        .keeper
        .walled
        .database
        .execute(change)
        .await
        .unwrap();
    for _ in 0..4 {
        assert_eq!(rows().await.or_store_error().unwrap().len(), 3);
    }
}
