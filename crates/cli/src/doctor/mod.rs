//! `tenantry doctor`: connects to everything that the settings of a service name, and says what is wrong.

mod check;
mod folder;
mod mend;
mod outbox;
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod stores;
mod tables;
mod vaults;

use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures_util::future::join_all;
use serde_json::json;
use tenantry::{DatabaseSettings, Parts};
use tenantry_core::{Result, Service, Store};
use tenantry_store::Migrations;
use tenantry_store::postgres::{PostgresSettings, Role};

use self::check::{Check, Sheet, Status};
use crate::Verdict;
use crate::blobs::{unwritten, written_json};
use crate::database::Limits;
use crate::environment::Environment;
use crate::output::{counted, one_line};
use crate::progress::Progress;
use crate::service::SettingsFile;
use crate::stores::table_of_store;

/// Connects to everything that the settings of a service name, and says what is wrong and how to mend it.
///
/// Run it where the service runs, as its user. Checks run side by side, each within a time limit, and change
/// nothing but for a file that is made in a folder and removed. No secret is shown. Without --settings the
/// variables of the environment say it all.
///
/// Exits with 0 if nothing has failed, with 1 if something has, and with 2 if the settings cannot be read.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    settings: SettingsFile,
    /// Compares the migrations of this folder with those that have run; on PostgreSQL by the owner role, which
    /// is named in TENANTRY_DATABASE_URL and TENANTRY_DATABASE_PASSWORD
    #[arg(long, value_name = "FOLDER")]
    migrations: Option<PathBuf>,
    /// Compares what the role of the service may do with this table with what the storage map gives it, and all
    /// others with nothing; may be given again
    #[arg(long = "table", value_name = "TABLE=STORE", value_parser = table_of_store)]
    tables: Vec<(String, Store)>,
    /// How long each check may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// Exits with 1 for warnings as well
    #[arg(long, value_enum)]
    deny: Option<Deny>,
    /// Writes one JSON object: `service`, `checks`, `failures` and `warnings`
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Deny {
    /// Whatever is found
    Warnings,
}

/// What is known before anything is looked at.
struct Plan {
    service: Option<Service>,
    has_broker: bool,
    migrations: Option<Migrations>,
    owner: Option<PostgresSettings>,
    tables: Vec<(String, Store)>,
}

type Looking<'l> = Pin<Box<dyn Future<Output = Vec<Check>> + Send + 'l>>;

/// Looks at everything, and writes what was found.
///
/// # Errors
///
/// Those of the settings; `Unavailable` if nobody takes what is written.
pub(crate) async fn run(options: &Options, out: &mut impl Write) -> Result<Verdict> {
    let settings = options.settings.read()?;
    let limit = Duration::from_secs(options.timeout);
    let parts = Parts::of(&settings, limit).await;
    let plan = Plan {
        service: parts.service(),
        has_broker: !matches!(parts.publisher(), Ok(None)),
        migrations: match &options.migrations {
            Some(folder) => Some(Migrations::from_dir(folder).await?),
            None => None,
        },
        owner: owner()?,
        tables: options.tables.clone(),
    };
    let checks = look(&parts, &plan, limit, options.json).await;
    let count = |status| checks.iter().filter(|it| it.status == status).count();
    let (failures, warnings) = (count(Status::Failure), count(Status::Warning));
    let written = match options.json {
        true => {
            let service = plan.service.map(Service::as_str);
            let checks = &checks;
            let report = json!({
                "service": service, "checks": checks, "failures": failures, "warnings": warnings,
            });
            written_json(out, &report)
        }
        false => lines(&checks, failures, warnings, out),
    };
    written.map_err(unwritten)?;
    let denies_warnings = options.deny == Some(Deny::Warnings);
    Ok(Verdict::of(failures > 0 || denies_warnings && warnings > 0))
}

/// Looks at all parts side by side: one that hangs holds up no other.
async fn look(parts: &Parts, plan: &Plan, limit: Duration, is_quiet: bool) -> Vec<Check> {
    let references = parts.references();
    let vaults = match parts.vaults() {
        Ok(Some(secrets)) => secrets.vault_names(),
        Ok(None) | Err(_) => Vec::new(),
    };
    let progress = Progress::start(6 + vaults.len() + references.len(), is_quiet);
    let sheet = |part: &str| Sheet::of(part, limit, &progress);
    let limits = Limits { statement: limit };
    let mut looking: Vec<Looking<'_>> = Vec::new();
    let mut database = sheet("database");
    looking.push(Box::pin(async move {
        match parts.database() {
            Ok(DatabaseSettings::Postgres(settings)) => {
                postgres::look(&mut database, settings, Role::App, plan).await;
            }
            #[cfg(feature = "sqlite")]
            Ok(DatabaseSettings::Sqlite(settings)) => {
                sqlite::look(&mut database, &settings, true, plan).await;
            }
            Ok(_) => {}
            Err(error) => database.failed("connection", &error),
        }
        database.end()
    }));
    let mut platform = sheet("platform");
    looking.push(Box::pin(async move {
        outbox::look(&mut platform, parts, limits, plan).await;
        platform.end()
    }));
    let mut cache = sheet("cache");
    looking.push(Box::pin(async move {
        stores::cache(&mut cache, parts).await;
        cache.end()
    }));
    let mut blobs = sheet("blobs");
    looking.push(Box::pin(async move {
        stores::blobs(&mut blobs, parts).await;
        blobs.end()
    }));
    let mut broker = sheet("broker");
    looking.push(Box::pin(async move {
        stores::broker(&mut broker, parts).await;
        broker.end()
    }));
    let mut all = sheet("vaults");
    match parts.vaults() {
        Ok(Some(secrets)) => {
            for name in &vaults {
                let mut vault = sheet(&format!("vault {name}"));
                looking.push(Box::pin(async move {
                    vaults::vault(&mut vault, secrets, name).await;
                    vault.end()
                }));
            }
        }
        Ok(None) => {}
        Err(error) => all.failed("open", error),
    }
    looking.push(Box::pin(std::future::ready(all.end())));
    for (key, reference) in references {
        let mut secret = sheet(&format!("secret {key}"));
        looking.push(Box::pin(async move {
            vaults::secret(&mut secret, parts, reference).await;
            secret.end()
        }));
    }
    let checks = join_all(looking).await.into_iter().flatten().collect();
    progress.end();
    checks
}

/// Returns the owner role, if the environment names it.
fn owner() -> Result<Option<PostgresSettings>> {
    let Environment { url, password } = Environment::from_env()?;
    let url = url.filter(|url| url.starts_with("postgres"));
    Ok(url.map(|url| {
        let settings = PostgresSettings::new(url);
        match password {
            Some(password) => settings.with_password(password),
            None => settings,
        }
    }))
}

fn lines(
    checks: &[Check],
    failures: usize,
    warnings: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let named = |it: &Check| format!("{} {}", one_line(&it.part), it.check);
    let width = checks.iter().map(|it| named(it).chars().count()).max();
    let width = width.unwrap_or(0);
    for check in checks {
        let status = check.status.as_str();
        let found = one_line(&check.found);
        writeln!(out, "{status:7}  {:width$}  {found}", named(check))?;
        if let Some(fix) = &check.fix {
            writeln!(out, "{:9}mend: {}", "", one_line(fix))?;
        }
    }
    let (failures, warnings) = (counted(failures, "failure"), counted(warnings, "warning"));
    writeln!(out, "{failures}, {warnings}")
}
