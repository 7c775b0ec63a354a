//! A service with settings of its own, over real servers, and the command run against it.

#![allow(dead_code, reason = "not every test file uses all of it")]
#![allow(clippy::unwrap_used, reason = "a set-up that fails ends the test")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tenantry_outbox::{OUTBOX_POSTGRES, OUTBOX_SQLITE};
use tenantry_store::postgres::migrate;
use tenantry_store::{Migrations, SqliteSettings, sqlite};
use tenantry_testkit::{Login, PostgresServer, Roles, TestDatabase};
use tokio::process::Command;

const INVOICES_POSTGRES: &str = "create table invoices (
    tenant_id uuid not null, id uuid not null, created_at timestamptz not null,
    primary key (tenant_id, id)
); select tenantry.protect('invoices')";

pub(crate) const INVOICES_SQLITE: &str = "create table invoices (
    tenant_id blob not null, id blob not null, created_at text not null,
    primary key (tenant_id, id)
) strict";

/// A folder with the settings of a service, and what must not be shown of them.
pub(crate) struct Service {
    folder: TempDir,
    environment: Vec<(String, String)>,
    secrets: Vec<String>,
}

impl Service {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            environment: Vec::new(),
            secrets: Vec::new(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Keeps a secret as a file, and returns the reference to it.
    pub(crate) fn keep(&mut self, name: &str, secret: &str) -> String {
        fs::write(self.path(name), secret).unwrap();
        self.secrets.push(secret.to_owned());
        format!("file:{}", self.path(name).display())
    }

    /// Sets a variable of the command's environment.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Says what must not be shown.
    pub(crate) fn hides(&mut self, secret: &str) {
        self.secrets.push(secret.to_owned());
    }

    pub(crate) fn settings(&self, text: &str) {
        fs::write(self.path("service.toml"), text).unwrap();
    }

    /// Runs a command of `tenantry` with the settings, and returns its exit code and what it wrote.
    pub(crate) async fn run(&self, arguments: &[&str]) -> (i32, String) {
        let settings = self.path("service.toml").display().to_string();
        self.run_plain(&[arguments, &["--settings", &settings]].concat())
            .await
    }

    pub(crate) async fn run_plain(&self, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_tenantry"))
            .args(arguments)
            .env_remove("TENANTRY_DATABASE_URL")
            .env_remove("TENANTRY_DATABASE_PASSWORD")
            .envs(self.environment.iter().cloned())
            .output()
            .await
            .unwrap();
        let written = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        for secret in &self.secrets {
            assert!(!written.contains(secret), "{written}");
        }
        assert!(!written.contains('\u{1b}'), "{written}");
        (output.status.code().unwrap(), written)
    }

    pub(crate) async fn json(&self, arguments: &[&str]) -> (i32, Value) {
        read(self.run(&[arguments, &["--json"]].concat()).await)
    }
}

/// Reads what a command wrote as JSON.
pub(crate) fn read((code, written): (i32, String)) -> (i32, Value) {
    let value = serde_json::from_str(&written);
    (code, value.unwrap_or_else(|_| panic!("{written}")))
}

/// A database on PostgreSQL with an outbox and a table of invoices.
pub(crate) struct Server {
    pub(crate) database: TestDatabase,
    pub(crate) owner: Login,
    pub(crate) app: Login,
    pub(crate) platform: Login,
}

impl Server {
    /// Returns one that was bootstrapped, and has no tables.
    pub(crate) async fn empty() -> Self {
        let database = TestDatabase::create(PostgresServer::shared().await.unwrap())
            .await
            .unwrap();
        let Roles {
            owner,
            app,
            platform,
        } = database.bootstrap().await.unwrap();
        Self {
            database,
            owner,
            app,
            platform,
        }
    }

    pub(crate) async fn new() -> Self {
        let server = Self::empty().await;
        let migrations = Migrations::embedded(&[
            (1, "outbox", OUTBOX_POSTGRES),
            (2, "invoices", INVOICES_POSTGRES),
        ]);
        migrate(server.owner.url(), &migrations).await.unwrap();
        server
    }

    /// Writes the same migrations into a folder.
    pub(crate) fn write_migrations(folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("0001_outbox.sql"), OUTBOX_POSTGRES).unwrap();
        fs::write(folder.join("0002_invoices.sql"), INVOICES_POSTGRES).unwrap();
    }

    /// Returns the sections of both roles, whose passwords are kept by the service, at an address.
    pub(crate) fn sections_at(&self, service: &mut Service, address: &str) -> String {
        let mut section = |name: &str, login: &Login| {
            let reference = service.keep(name, login.password());
            format!(
                "[{name}]\nurl = \"postgres://{}@{address}/{}\"\npassword = \"{reference}\"\n",
                login.user(),
                self.database.name()
            )
        };
        section("database", &self.app) + &section("platform", &self.platform)
    }

    pub(crate) async fn sections(&self, service: &mut Service) -> String {
        let address = PostgresServer::shared().await.unwrap().address();
        self.sections_at(service, &address)
    }
}

/// Makes a database in a file with an outbox and a table of invoices.
pub(crate) async fn file(path: &Path) -> SqliteSettings {
    let settings = SqliteSettings::file(path);
    let migrations = Migrations::embedded(&[
        (1, "outbox", OUTBOX_SQLITE),
        (2, "invoices", INVOICES_SQLITE),
    ]);
    sqlite::migrate(&settings, &migrations).await.unwrap();
    settings
}

/// Returns what was told of a part: status, what was found, and the fix.
pub(crate) fn told(report: &Value, part: &str, check: &str) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let checks = report["checks"].as_array().unwrap().iter();
    checks
        .filter(|it| it["part"] == part && it["check"] == check)
        .map(|it| (text(&it["status"]), text(&it["found"]), text(&it["fix"])))
        .collect()
}

/// Returns the one status of a check.
pub(crate) fn status(report: &Value, part: &str, check: &str) -> String {
    match &told(report, part, check)[..] {
        [(status, ..)] => status.clone(),
        other => panic!("{part} {check}: {other:?} in {report:#}"),
    }
}
