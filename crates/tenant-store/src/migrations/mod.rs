//! The migrations of a service: numbered files of plain SQL, each run once.
//!
//! Files, lock and the table `_sqlx_migrations` are those of sqlx, so `sqlx-cli` can be used beside
//! it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationSource as _, MigrationType};
use tenantry_core::{Error, ErrorKind, Result};

const OPERATION: &str = "migrate";
const TABLE: &str = "_sqlx_migrations";

/// A set of migrations for one kind of database.
///
/// A service that runs on both kinds keeps two folders with the same numbers,
/// `migrations/postgres` and `migrations/sqlite`.
///
/// # Examples
///
/// ```
/// use tenantry_store::Migrations;
///
/// let migrations = Migrations::embedded(&[
///     (1, "customers", "create table customers (tenant_id uuid not null, …);"),
///     (2, "invoices", "create table invoices (tenant_id uuid not null, …);"),
/// ]);
/// assert_eq!(migrations.versions().collect::<Vec<_>>(), [1, 2]);
/// ```
///
/// In a service the third field is `include_str!("../migrations/postgres/0001_customers.sql")`.
pub struct Migrations {
    /// In the order of their numbers.
    migrations: Vec<Migration>,
}

impl Migrations {
    /// Returns migrations that are part of the program: number, name and SQL of each, in any order.
    ///
    /// A text that begins with `-- no-transaction` runs outside a transaction, as `create index
    /// concurrently` wants it.
    #[must_use]
    pub fn embedded(migrations: &[(i64, &'static str, &'static str)]) -> Self {
        let migration = |&(version, name, sql): &(i64, &'static str, &'static str)| {
            let no_tx = sql.starts_with("-- no-transaction");
            Migration::new(
                version,
                name.into(),
                MigrationType::Simple,
                sql.into_sql_str(),
                no_tx,
            )
        };
        Self::in_order(migrations.iter().map(migration).collect())
    }

    /// Reads the migrations of a folder: `0001_customers.sql`, `0002_invoices.sql`, …
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSettings`] if the folder cannot be read or holds no migration, or a name
    /// has no number.
    pub async fn from_dir(folder: impl AsRef<Path> + Send) -> Result<Self> {
        let folder = folder.as_ref().to_owned();
        let invalid = Error::new(ErrorKind::InvalidSettings, "read migrations")
            .with_subject(folder.display().to_string());
        match folder.clone().resolve().await {
            Ok(found) if found.is_empty() => {
                Err(invalid.with_detail("no file here is named like 0001_customers.sql"))
            }
            Ok(found) => Ok(Self::in_order(found)),
            Err(error) if !folder.is_dir() => {
                Err(invalid.with_detail(format!("there is no such folder: {error}")))
            }
            Err(error) => Err(invalid.with_detail(error.to_string())),
        }
    }

    /// Returns the numbers, in the order in which the migrations run.
    pub fn versions(&self) -> impl Iterator<Item = i64> + '_ {
        self.migrations.iter().map(|migration| migration.version)
    }

    fn in_order(mut migrations: Vec<Migration>) -> Self {
        // The way back is written by hand when it is needed; sqlx-cli knows how to run it.
        migrations.retain(|migration| !migration.migration_type.is_down_migration());
        migrations.sort_by_key(|migration| migration.version);
        Self { migrations }
    }

    /// Runs what has not been run yet, one after the other, and returns the numbers of those;
    /// `failed` turns the errors of the database into ours.
    ///
    /// Where the driver has a lock for it, one process runs and the others wait. After an error the
    /// connection may still hold that lock, and is to be closed.
    pub(crate) async fn run<C: Migrate + Send>(
        &self,
        connection: &mut C,
        failed: impl Fn(sqlx::Error) -> Error + Send + Sync,
    ) -> Result<Vec<i64>> {
        let pairs = self.migrations.windows(2);
        if let Some(pair) = pairs
            .into_iter()
            .find(|pair| pair[0].version == pair[1].version)
        {
            return Err(
                Error::new(ErrorKind::InvalidSettings, OPERATION).with_detail(format!(
                    "two migrations have the number {}",
                    pair[0].version
                )),
            );
        }
        self.run_pending(connection)
            .await
            .map_err(|error| self.explain(error, failed))
    }

    /// sqlx's `Migrator::run`, except that the whole history is compared before anything is run.
    async fn run_pending<C: Migrate + Send>(
        &self,
        connection: &mut C,
    ) -> Result<Vec<i64>, MigrateError> {
        connection.lock().await?;
        connection.ensure_migrations_table(TABLE).await?;
        let pending = self.compare(connection).await?;
        for migration in &pending {
            connection.apply(TABLE, migration).await?;
        }
        connection.unlock().await?;
        Ok(pending
            .into_iter()
            .map(|migration| migration.version)
            .collect())
    }

    /// Returns the numbers of what has not been run yet, and runs nothing; `has_history` tells whether anything
    /// ever was.
    pub(crate) async fn pending<C: Migrate + Send>(
        &self,
        connection: &mut C,
        has_history: bool,
        failed: impl Fn(sqlx::Error) -> Error + Send + Sync,
    ) -> Result<Vec<i64>> {
        if !has_history {
            return Ok(self.versions().collect());
        }
        match self.compare(connection).await {
            Ok(pending) => Ok(pending.iter().map(|migration| migration.version).collect()),
            Err(error) => Err(self.explain(error, failed)),
        }
    }

    /// Compares the whole history with these, and returns what has not been run.
    async fn compare<C: Migrate + Send>(
        &self,
        connection: &mut C,
    ) -> Result<Vec<&Migration>, MigrateError> {
        if let Some(version) = connection.dirty_version(TABLE).await? {
            return Err(MigrateError::Dirty(version));
        }
        let mut applied: BTreeMap<_, _> = connection
            .list_applied_migrations(TABLE)
            .await?
            .into_iter()
            .map(|applied| (applied.version, applied.checksum))
            .collect();
        let mut pending = Vec::new();
        for migration in &self.migrations {
            match applied.remove(&migration.version) {
                None => pending.push(migration),
                Some(checksum) if checksum == migration.checksum => {}
                Some(_) => return Err(MigrateError::VersionMismatch(migration.version)),
            }
        }
        match applied.pop_last() {
            Some((version, _)) => Err(MigrateError::VersionMissing(version)),
            None => Ok(pending),
        }
    }

    fn explain(&self, error: MigrateError, failed: impl FnOnce(sqlx::Error) -> Error) -> Error {
        let mismatch = |version, problem: &str| {
            Error::new(ErrorKind::SchemaMismatch, OPERATION)
                .with_subject(self.name(version))
                .with_detail(problem.to_owned())
        };
        match error {
            MigrateError::Execute(error) => failed(error),
            MigrateError::ExecuteMigration(error, version) => {
                failed(error).with_subject(self.name(version))
            }
            MigrateError::VersionMissing(version) => mismatch(
                version,
                "it has been run in this database, and this program does not have it: the program \
                 is older than the database",
            ),
            MigrateError::VersionMismatch(version) => mismatch(
                version,
                "its text was changed after it had been run in this database: put the text back, \
                 and write a further migration",
            ),
            MigrateError::Dirty(version) => mismatch(
                version,
                "it broke off halfway, having no transaction: finish by hand what it began, or undo \
                 it, then correct its row in _sqlx_migrations",
            ),
            other => Error::new(ErrorKind::Unexpected, OPERATION).with_source(other),
        }
    }

    fn name(&self, version: i64) -> String {
        match self
            .migrations
            .iter()
            .find(|migration| migration.version == version)
        {
            Some(migration) => format!("{version} ({})", migration.description),
            None => version.to_string(),
        }
    }
}

impl fmt::Debug for Migrations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.versions().map(|version| self.name(version)))
            .finish()
    }
}
