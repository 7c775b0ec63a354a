//! `tenantry outbox`: how an outbox is doing, what becomes of what was given up, and its tables.

mod written;

use std::io::{self, Write};

use clap::{Args, Subcommand};
use tenantry_core::{Actor, Error, ErrorKind, RequestContext, Result, TenantId};
use tenantry_outbox::{
    DeadLetterFilter, DeadLetters, MessageId, OUTBOX_POSTGRES, OUTBOX_RIGHTS_POSTGRES,
    OUTBOX_SQLITE, OutboxStatus,
};

use crate::Verdict;
use crate::database::Database;

/// Tells how an outbox is doing, lists, replays and discards what could not be handed over, and writes its tables.
///
/// Connect as the role for work across tenants. The URL is taken from TENANTRY_DATABASE_URL where there
/// is no --url, and the password from TENANTRY_DATABASE_PASSWORD.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tells how the outbox is doing; exits with 1 if messages were given up, or wait and no worker is alive
    Status {
        #[command(flatten)]
        database: Database,
        /// Writes one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Lists what was given up, with its reason; exits with 1 if there is anything
    Dead {
        #[command(flatten)]
        database: Database,
        #[command(flatten)]
        which: Which,
        /// The tenant, if not all
        #[arg(long)]
        tenant: Option<TenantId>,
        /// Counts those that were given up alike
        #[arg(long)]
        grouped: bool,
        /// How many are listed at most, from 1
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Writes one JSON object: `dead`, as many as --limit says, and `is_complete`; with --grouped `groups`
        #[arg(long)]
        json: bool,
    },
    /// Has messages of a tenant handed over again, with all their attempts; exits with 1 if none is such
    Replay(Change),
    /// Removes messages of a tenant for good; what stands behind them leaves; exits with 1 if none is such
    Discard {
        #[command(flatten)]
        change: Change,
        /// What is discarded does not come back: say that it is meant
        #[arg(long)]
        yes: bool,
    },
    /// Writes the tables as SQL, for a file of the service's migrations; looks at no database
    Schema {
        /// Those of SQLite, in place of PostgreSQL
        #[arg(long, conflicts_with = "rights")]
        sqlite: bool,
        /// Of PostgreSQL, only who may do what with them
        #[arg(long)]
        rights: bool,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// Those of this type alone
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// The one message
    #[arg(long)]
    id: Option<MessageId>,
}

#[derive(Debug, Args)]
struct Change {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    which: Which,
    /// The tenant
    #[arg(long)]
    tenant: TenantId,
    /// All of the tenant's, where neither --type nor --id is said
    #[arg(long, conflicts_with_all = ["event_type", "id"])]
    all: bool,
    /// Why, for the trace of the database's operators
    #[arg(long)]
    reason: String,
    /// Who does it, as user:ada, for the same
    #[arg(long)]
    actor: Actor,
    /// Writes one JSON object
    #[arg(long)]
    json: bool,
}

impl Which {
    fn filter(&self) -> DeadLetterFilter {
        let mut filter = DeadLetterFilter::default();
        if let Some(event_type) = &self.event_type {
            filter = filter.with_event_type(event_type);
        }
        if let Some(id) = self.id {
            filter = filter.with_id(id);
        }
        filter
    }
}

/// Does what the options say, and writes what it found.
///
/// # Errors
///
/// Those of the outbox; `InvalidSettings` if there is no URL, or none that is known; `Unavailable` if nobody
/// takes what is written.
pub(crate) async fn run(options: &Options, out: &mut impl Write) -> Result<Verdict> {
    match &options.command {
        Command::Status { database, json } => {
            let platform = database.platform("read status of outbox").await?;
            let status = OutboxStatus::read(&platform).await?;
            told(written::status(&status, *json, out))?;
            let is_stuck = status.workers == 0 && status.backlog + status.waiting > 0;
            Ok(Verdict::of(status.blocked + status.dead > 0 || is_stuck))
        }
        Command::Dead {
            database,
            which,
            tenant,
            grouped,
            limit,
            json,
        } => {
            let platform = database.platform("list dead letters").await?;
            let context = RequestContext::system();
            let letters = DeadLetters::open(&platform, "list of dead letters", context)?;
            let mut filter = which.filter();
            if let Some(tenant) = tenant {
                filter = filter.with_tenant(*tenant);
            }
            if *grouped {
                let groups = letters.groups(&filter).await?;
                told(written::groups(&groups, *json, out))?;
                return Ok(Verdict::of(!groups.is_empty()));
            }
            // One more tells whether there are more.
            let mut listed = letters.list(&filter, limit.saturating_add(1)).await?;
            let most = usize::try_from(*limit).unwrap_or(usize::MAX);
            let is_cut = listed.len() > most;
            listed.truncate(most);
            told(written::letters(&listed, is_cut, *json, out))?;
            Ok(Verdict::of(!listed.is_empty()))
        }
        Command::Replay(change) => {
            let letters = change.letters("replay dead letters").await?;
            let changed = letters
                .replay(change.tenant, &change.which.filter())
                .await?;
            told(written::changed("replayed", changed, change.json, out))?;
            Ok(Verdict::of(changed == 0))
        }
        Command::Discard { yes: false, .. } => Err(Error::new(
            ErrorKind::InvalidSettings,
            "discard dead letters",
        )
        .with_detail("what is discarded does not come back: say --yes if it is meant")),
        Command::Discard { change, yes: true } => {
            let letters = change.letters("discard dead letters").await?;
            let changed = letters
                .discard(change.tenant, &change.which.filter())
                .await?;
            told(written::changed("discarded", changed, change.json, out))?;
            Ok(Verdict::of(changed == 0))
        }
        Command::Schema { sqlite, rights } => {
            let text = match (sqlite, rights) {
                (true, _) => OUTBOX_SQLITE,
                (false, true) => OUTBOX_RIGHTS_POSTGRES,
                (false, false) => OUTBOX_POSTGRES,
            };
            told(out.write_all(text.as_bytes()))?;
            Ok(Verdict::Clean)
        }
    }
}

impl Change {
    async fn letters(&self, operation: &'static str) -> Result<DeadLetters> {
        if self.reason.trim().is_empty() {
            return Err(
                Error::new(ErrorKind::InvalidInput, operation).with_detail("say why: --reason")
            );
        }
        let is_said = self.all || self.which.event_type.is_some() || self.which.id.is_some();
        if !is_said {
            return Err(Error::new(ErrorKind::InvalidInput, operation)
                .with_detail("say which: --type, --id, or --all of the tenant"));
        }
        let context = RequestContext::new(self.actor.clone());
        let platform = self.database.platform(operation).await?;
        DeadLetters::open(&platform, self.reason.clone(), context)
    }
}

fn told(written: io::Result<()>) -> Result<()> {
    written.map_err(|cause| Error::new(ErrorKind::Unavailable, "write answer").with_source(cause))
}
