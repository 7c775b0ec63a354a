//! Every kind of fault is found in a file that has it, and nothing in a file that is sound.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "a set-up that fails ends the test")]

use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection};
use tenantry_store::sqlite::audit;
use tenantry_store::{ErrorKind, SqliteSettings};

const SOUND: &str = "create table customers (
        tenant_id blob not null, id blob not null, primary key (tenant_id, id)
    ) strict;
    create table invoices (
        tenant_id blob not null, id blob not null, customer blob, primary key (tenant_id, id),
        foreign key (tenant_id, customer) references customers (tenant_id, id) on delete cascade
    ) strict, without rowid;
    create table names (name text primary key) strict;";

const FAULTS: &[(&str, &str, &str)] = &[
    (
        "create table t (tenant_id text not null, id blob not null, primary key (tenant_id, id)) strict",
        "TN004",
        "t",
    ),
    (
        "create table t (tenant_id blob, id blob, unique (tenant_id, id)) strict",
        "TN005",
        "t",
    ),
    (
        "create table t (tenant_id blob not null, id integer primary key); create index u on t (tenant_id)",
        "TN006",
        "t",
    ),
    (
        "create table t (tenant_id blob not null, id blob not null, mail text unique, primary key (tenant_id, id))",
        "TN006",
        "t",
    ),
    (
        "create unique index one_id on customers (lower(id)) where id > 0",
        "TN006",
        "customers",
    ),
    (
        "create table t (tenant_id blob not null, id blob not null, customer blob references customers (id),
             primary key (tenant_id, id))",
        "TN007",
        "t",
    ),
    (
        "create table t (tenant_id blob not null, id blob not null, primary key (tenant_id, id),
             foreign key (tenant_id, id) references customers (tenant_id, id) on delete set null)",
        "TN008",
        "t",
    ),
    (
        "create table \"a \"\"t\"\"\" (tenant_id blob not null, id blob not null, primary key (id, tenant_id))",
        "TN009",
        "a \"t\"",
    ),
    (
        "create table t (tenant_id blob not null, id blob not null on conflict ignore, primary key (tenant_id, id))",
        "TN014",
        "t",
    ),
    (
        "create virtual table words using fts5(tenant_id, word)",
        "TN057",
        "words",
    ),
];

struct File {
    _folder: tempfile::TempDir,
    settings: SqliteSettings,
    connection: SqliteConnection,
}

async fn file(sql: &str) -> File {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tenants.db");
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    run(&mut connection, SOUND).await;
    run(&mut connection, sql).await;
    File {
        _folder: folder,
        settings: SqliteSettings::file(path),
        connection,
    }
}

async fn run(connection: &mut SqliteConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .unwrap();
}

#[tokio::test]
async fn each_fault_is_found() {
    for (sql, code, object) in FAULTS {
        let mut file = file(sql).await;
        let report = audit(&file.settings).await.unwrap();
        let [finding] = report.findings() else {
            panic!("{sql}: {:?}", report.findings())
        };
        assert_eq!(
            (&*finding.code, &*finding.object),
            (*code, *object),
            "{sql}"
        );
        if let Some(fix) = finding.fix.sql() {
            run(&mut file.connection, fix).await;
            assert!(audit(&file.settings).await.unwrap().is_clean(), "{fix}");
        }
    }
}

#[tokio::test]
async fn a_sound_file_is_clean_and_left_as_it_is() {
    let mut file = file("").await;
    let report = audit(&file.settings).await.unwrap();
    assert!(report.is_clean(), "{:?}", report.findings());
    assert_eq!(report.facts().tenant_tables, 2);
    let mode: String = sqlx::query_scalar("pragma journal_mode")
        .fetch_one(&mut file.connection)
        .await
        .unwrap();
    assert_eq!(mode, "delete");
    file.connection.close().await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tenants.db");
    let error = audit(&SqliteSettings::file(&path)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_database_in_memory_is_looked_at_as_it_is() {
    let settings = SqliteSettings::in_memory();
    let migration = (
        1,
        "t",
        "create table t (tenant_id blob not null, id integer primary key)",
    );
    tenantry_store::sqlite::migrate(
        &settings,
        &tenantry_store::Migrations::embedded(&[migration]),
    )
    .await
    .unwrap();
    assert_eq!(audit(&settings).await.unwrap().findings().len(), 2);
}
