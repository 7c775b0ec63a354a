//! `tenantry migrate` on both databases.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::path::Path;
use std::process::{Command, Output};

use tenantry_testkit::{PostgresServer, Roles, TestDatabase};

fn migrate(url: &str, folder: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tenantry"))
        .args(["migrate", "--migrations", folder.to_str().unwrap()])
        .args(more)
        .env("TENANTRY_DATABASE_URL", url)
        .output()
        .unwrap()
}

fn told(output: &Output) -> (Option<i32>, String) {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (output.status.code(), text)
}

fn write(folder: &Path, file: &str, sql: &str) {
    std::fs::write(folder.join(file), sql).unwrap();
}

/// Runs two, then nothing, then one of two, of which the last fails.
fn story(url: &str, folder: &Path, protect: &str) {
    let table = |name: &str, uuid: &str| {
        let protect = protect.replace("{}", name);
        format!(
            "create table {name} (tenant_id {uuid} not null, id {uuid} not null, primary key (tenant_id, id)); {protect}"
        )
    };
    let uuid = if protect.is_empty() { "blob" } else { "uuid" };
    write(folder, "0001_customers.sql", &table("customers", uuid));
    write(folder, "0002_invoices.sql", &table("invoices", uuid));
    assert_eq!(
        told(&migrate(url, folder, &[])),
        (Some(0), "ran 0001\nran 0002\n".to_owned())
    );
    let nothing = told(&migrate(url, folder, &[]));
    assert_eq!(
        nothing,
        (
            Some(0),
            "nothing to run: the database has all 2\n".to_owned()
        )
    );
    write(folder, "0003_payments.sql", &table("payments", uuid));
    write(folder, "0004_wrong.sql", "create table customers (id int)");
    let failed = migrate(url, folder, &["--json"]);
    assert_eq!(failed.status.code(), Some(2));
    assert!(failed.stdout.is_empty() && !failed.stderr.is_empty());
    std::fs::remove_file(folder.join("0004_wrong.sql")).unwrap();
    let (code, json) = told(&migrate(url, folder, &["--json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (code, &json["run"]),
        (Some(0), &serde_json::json!([])),
        "the third has run before"
    );
}

#[tokio::test]
async fn migrations_of_a_folder_run_once_on_postgres() {
    let database = TestDatabase::create(PostgresServer::shared().await.unwrap())
        .await
        .unwrap();
    let Roles { owner, app, .. } = database.bootstrap().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    story(owner.url(), folder.path(), "select tenantry.protect('{}')");
    // Not as the role of the services.
    let refused = migrate(app.url(), folder.path(), &[]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}

#[cfg(feature = "sqlite")]
#[test]
fn migrations_of_a_folder_run_once_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let migrations = folder.path().join("migrations");
    std::fs::create_dir(&migrations).unwrap();
    let url = format!("sqlite:{}", folder.path().join("tenants.db").display());
    story(&url, &migrations, "");
}

#[test]
fn what_is_missing_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let empty = migrate("sqlite::memory:", folder.path(), &[]);
    assert_eq!(empty.status.code(), Some(2));
    let told = String::from_utf8(empty.stderr).unwrap();
    assert!(told.contains("migration"), "{told}");
}
