//! `tenantry tenants`: who has data in a database and in a folder of blobs, and where.

mod found;
mod written;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use tenantry::{DatabaseSettings, Parts};
use tenantry_blob::{BlobBackend, BlobStore, ListOptions};
use tenantry_core::{RequestContext, Result, TenantId};
use tenantry_store::{PlatformScope, PlatformStore};

use self::found::{Blobs, Listed, Shown, Tenant};
use crate::Verdict;
use crate::blobs::unwritten;
use crate::database::{Database, Limits};
use crate::figures::{self, Table};
use crate::progress::Progress;
use crate::service::{self, SettingsFile};

const LIST: &str = "list tenants";
/// A folder of blobs is read in pages of so many.
const PAGE: usize = 1_000;

/// Tells which tenants have data, and where one has it.
///
/// It knows no register of tenants: it looks at the rows of the tables, by the role for work across tenants, and
/// at the blobs of the settings. Exits with 0.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows where a tenant has data: rows of each table, blobs, artifacts, and messages that could not be handed over
    Show {
        #[command(flatten)]
        place: Place,
        /// Whose data
        #[arg(value_name = "UUID")]
        tenant: TenantId,
        /// Counts no further in a table, nor in the blobs
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
        count: u64,
    },
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    place: Place,
    /// Begins behind this tenant
    #[arg(long, value_name = "UUID")]
    after: Option<TenantId>,
    /// Ends after so many tenants
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Counts no further for a tenant in a table
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
}

/// Where to look, and how to answer.
#[derive(Debug, Args)]
struct Place {
    #[command(flatten)]
    settings: SettingsFile,
    #[command(flatten)]
    database: Database,
    /// How long each statement may take; what takes longer is not known
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Writes one JSON object
    #[arg(long)]
    json: bool,
}

/// What is looked at.
struct Opened {
    platform: PlatformStore,
    scope: PlatformScope,
    /// Those whose rows are of tenants.
    tables: Vec<Table>,
    /// The folder that blobs are in.
    folder: Option<PathBuf>,
    blobs: Option<Arc<dyn BlobBackend>>,
}

/// Lists or shows.
///
/// # Errors
///
/// Those of the settings, of the database and of the blobs; `Unavailable` if nobody takes what is written.
pub(crate) async fn run(options: &Options, out: &mut impl Write) -> Result<Verdict> {
    match &options.command {
        None => list(&options.list, out).await,
        Some(Command::Show {
            place,
            tenant,
            count,
        }) => show(place, *tenant, *count, out).await,
    }
}

impl Place {
    async fn open(&self) -> Result<Opened> {
        let limit = Duration::from_secs(self.timeout);
        let limits = Limits { statement: limit };
        let (platform, schema, folder, blobs) = match &self.settings.path {
            Some(_) => {
                self.database.check_unsaid(LIST)?;
                let settings = self.settings.read()?;
                let parts = Parts::of(&settings, limit).await;
                let schema = match parts.platform().transpose()? {
                    Some(DatabaseSettings::Postgres(settings)) => settings.schema().to_owned(),
                    _ => String::new(),
                };
                let platform = service::platform(LIST, &parts, limits).await?;
                let folder = parts.blob_folder().map(ToOwned::to_owned);
                // Opened, a folder becomes a store.
                let is_store = folder
                    .as_ref()
                    .is_none_or(|folder| folder.join("journal").is_file());
                let blobs = match is_store {
                    true => parts.blobs().await?,
                    false => None,
                };
                (platform, schema, folder.filter(|_| is_store), blobs)
            }
            None => {
                let platform = self.database.look(LIST, limits).await?;
                (platform, self.database.schema().to_owned(), None, None)
            }
        };
        let scope = platform
            .scope("tenants that have data", RequestContext::system())?
            .for_background();
        let mut tables = figures::tables(&scope, &schema).await?;
        tables.retain(|table| table.has_tenant);
        Ok(Opened {
            platform,
            scope,
            tables,
            folder,
            blobs,
        })
    }
}

async fn list(options: &List, out: &mut impl Write) -> Result<Verdict> {
    let opened = options.place.open().await?;
    let limit = usize::try_from(options.limit).unwrap_or(usize::MAX);
    let progress = Progress::start(opened.tables.len() + 1, options.place.json);
    let mut tenants: BTreeMap<TenantId, Tenant> = BTreeMap::new();
    let mut unknown = Vec::new();
    for Table { name, .. } in &opened.tables {
        progress.at(name);
        // One more tells whether there are more.
        let found = figures::tenants(
            &opened.scope,
            name,
            options.after,
            limit.saturating_add(1),
            options.count,
        );
        match found.await? {
            Some(found) => {
                for (tenant, count) in found {
                    let tables = &mut tenants.entry(tenant).or_default().tables;
                    tables.insert(name.clone(), count);
                }
            }
            None => unknown.push(name.clone()),
        }
        progress.step();
    }
    if let Some(folder) = &opened.folder {
        progress.at("blobs");
        for tenant in found::tenants_of_folder(folder.clone()).await? {
            if options.after.is_none_or(|after| tenant > after) {
                tenants.entry(tenant).or_default().has_blobs = true;
            }
        }
    }
    progress.end();
    opened.platform.close().await;
    let listed = Listed {
        is_complete: tenants.len() <= limit,
        tenants: tenants.into_iter().take(limit).collect(),
        unknown,
    };
    let written = match options.place.json {
        true => written::list_json(&listed, out),
        false => written::list(&listed, out),
    };
    written.map_err(unwritten)?;
    Ok(Verdict::Clean)
}

async fn show(place: &Place, tenant: TenantId, most: u64, out: &mut impl Write) -> Result<Verdict> {
    let opened = place.open().await?;
    let progress = Progress::start(opened.tables.len() + 1, place.json);
    let scope = &opened.scope;
    let mut shown = Shown::of(tenant);
    for Table { name, .. } in &opened.tables {
        progress.at(name);
        let count = figures::rows_of(scope, name, tenant, most).await?;
        shown.tables.push((name.clone(), count));
        match name.as_str() {
            "artifacts" => {
                shown.artifacts = figures::by_text(scope, name, "state", tenant).await?;
            }
            "outbox_parked" => {
                shown.parked = figures::by_text(scope, name, "state", tenant).await?;
            }
            _ => {}
        }
        progress.step();
    }
    if let Some(backend) = &opened.blobs {
        progress.at("blobs");
        shown.blobs = Some(blobs_of(backend, tenant, most).await?);
    }
    progress.end();
    opened.platform.close().await;
    let written = match place.json {
        true => written::shown_json(&shown, out),
        false => written::shown(&shown, out),
    };
    written.map_err(unwritten)?;
    Ok(Verdict::Clean)
}

async fn blobs_of(backend: &Arc<dyn BlobBackend>, tenant: TenantId, most: u64) -> Result<Blobs> {
    let blobs = BlobStore::new(Arc::clone(backend)).tenant(tenant);
    let (mut found, mut after) = (Blobs::default(), None);
    loop {
        let mut options = ListOptions::new().with_limit(PAGE);
        if let Some(after) = after {
            options = options.with_after(after);
        }
        let page = blobs.list(options).await?;
        for record in &page.records {
            if found.count == most {
                found.is_cut = true;
                return Ok(found);
            }
            found.count += 1;
            found.bytes += record.length;
        }
        after = page.next;
        if after.is_none() {
            return Ok(found);
        }
    }
}
