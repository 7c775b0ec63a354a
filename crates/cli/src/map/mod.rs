//! `tenantry map`: the stores that a product may have, who owns them, how long they keep what is in them, and with a
//! database what is in them.

mod written;

use std::io::Write;
use std::time::Duration;

use clap::Args;
use tenantry::{DatabaseSettings, Parts};
use tenantry_core::{RequestContext, Result, STORAGE_MAP, Service, Store, StoreDescriptor};
use tenantry_store::PlatformScope;

use crate::Verdict;
use crate::blobs::unwritten;
use crate::database::{Database, Limits};
use crate::figures::{self, Table};
use crate::progress::Progress;
use crate::service::{self, SettingsFile};
use crate::stores::{store_of, table_of_store};

const MAP: &str = "read map";

/// Lists the stores of the storage map with their owners, backends and retention; with a database also their
/// tables, sizes, rows and oldest rows.
///
/// Without --url and --settings it looks at no database: what stands there is what services are built on. With one
/// of them it connects by the role for work across tenants, that of [platform] in the settings; the password of
/// --url is taken from TENANTRY_DATABASE_PASSWORD. Exits with 0.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    settings: SettingsFile,
    #[command(flatten)]
    database: Database,
    /// Only the stores that this service owns or may read, such as `reporting`; with --url, whose database it is
    #[arg(long)]
    service: Option<Service>,
    /// To which store a table belongs, where its service has several; may be given again
    #[arg(long = "table", value_name = "TABLE=STORE", value_parser = table_of_store)]
    tables: Vec<(String, Store)>,
    /// How long each statement may take; what takes longer is not known
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Writes one JSON object
    #[arg(long)]
    json: bool,
}

/// A store of the map, and its tables where a database was looked at.
struct Mapped {
    descriptor: &'static StoreDescriptor,
    tables: Vec<Table>,
}

/// Writes the map.
///
/// # Errors
///
/// Those of the settings and of a database that is to be looked at; `Unavailable` if nobody takes what is written.
pub(crate) async fn run(options: &Options, out: &mut impl Write) -> Result<Verdict> {
    let looked = look(options).await?;
    let service = options.service;
    let is_asked_for =
        |it: &&StoreDescriptor| service.is_none_or(|service| it.owners.include(service));
    let descriptors = STORAGE_MAP.iter().filter(is_asked_for);
    let mut stores: Vec<_> = descriptors
        .map(|descriptor| Mapped {
            descriptor,
            tables: Vec::new(),
        })
        .collect();
    let written = match looked {
        None if options.json => written::json(&stores, None, out),
        None => written::plain(&stores, out),
        Some(looked) => {
            let mut unassigned = Vec::new();
            for table in looked.tables {
                let store = store_of(&table.name, &options.tables, looked.service);
                let store = store
                    .and_then(|store| stores.iter_mut().find(|it| it.descriptor.store == store));
                match store {
                    Some(store) => store.tables.push(table),
                    None => unassigned.push(table),
                }
            }
            match options.json {
                true => written::json(&stores, Some(&unassigned), out),
                false => written::with_figures(&stores, &unassigned, out),
            }
        }
    };
    written.map_err(unwritten)?;
    Ok(Verdict::Clean)
}

/// What was found in a database.
struct Looked {
    service: Option<Service>,
    tables: Vec<Table>,
}

async fn look(options: &Options) -> Result<Option<Looked>> {
    let limit = Duration::from_secs(options.timeout);
    let limits = Limits { statement: limit };
    let (platform, schema, service) = if options.settings.path.is_some() {
        options.database.check_unsaid(MAP)?;
        let settings = options.settings.read()?;
        let parts = Parts::of(&settings, limit).await;
        let schema = match parts.platform().transpose()? {
            Some(DatabaseSettings::Postgres(settings)) => settings.schema().to_owned(),
            _ => String::new(),
        };
        let platform = service::platform(MAP, &parts, limits).await?;
        (platform, schema, options.service.or(parts.service()))
    } else if options.database.is_said() {
        let platform = options.database.look(MAP, limits).await?;
        let schema = options.database.schema().to_owned();
        (platform, schema, options.service)
    } else {
        return Ok(None);
    };
    let scope = platform.scope("storage map with figures", RequestContext::system())?;
    let tables = figures_of(&scope.for_background(), &schema, options.json).await?;
    platform.close().await;
    Ok(Some(Looked { service, tables }))
}

async fn figures_of(scope: &PlatformScope, schema: &str, is_quiet: bool) -> Result<Vec<Table>> {
    let mut tables = figures::tables(scope, schema).await?;
    let progress = Progress::start(tables.len(), is_quiet);
    let measured = figures::measure(scope, schema, &mut tables, &progress).await;
    progress.end();
    measured.map(|()| tables)
}
