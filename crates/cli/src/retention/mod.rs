//! `tenantry retention`: what is due, what is done about it, and why a blob is still there.

use std::io::{self, IsTerminal as _, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tenantry_blob::{
    BlobBackend as _, BlobName, BlobStore, DueAction, ListedDue, SweepPolicy, SweepReport, Sweeper,
};
use tenantry_core::Result;

use crate::Verdict;
use crate::blobs::{Place, unwritten, written_end, written_json};
use crate::output::one_line;

/// Shows and does what is due in a store of blobs in a folder, and explains why a blob is still there.
///
/// Services may use the store meanwhile.
///
/// Exits with 0 if all is well, with 1 if something is due, is left or has failed, and with 2 if it could
/// not look.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tells what a sweep would do, and does nothing
    Plan {
        #[command(flatten)]
        place: Place,
    },
    /// Deletes what is over and archives what is due, of all tenants
    Sweep {
        #[command(flatten)]
        place: Place,
        /// Does nothing: the same as `plan`
        #[arg(long)]
        dry_run: bool,
        /// Ends after so many blobs
        #[arg(long, value_name = "BLOBS")]
        most: Option<u64>,
        /// Begins no further batch after so many seconds
        #[arg(long, value_name = "SECONDS")]
        longest: Option<u64>,
    },
    /// Explains what keeps a blob, and from when on it may be deleted
    Why {
        #[command(flatten)]
        place: Place,
        /// Its name, which begins with its tenant
        name: BlobName,
    },
    /// Lists what is due, the longest first, and what cannot be read
    List {
        #[command(flatten)]
        place: Place,
        /// Ends after so many
        #[arg(long, default_value = "1000")]
        limit: NonZeroUsize,
    },
}

pub(crate) async fn run(options: &Options, out: &mut impl Write) -> Result<Verdict> {
    let unbounded = || {
        SweepPolicy::default()
            .with_most(u64::MAX)
            .with_longest(Duration::MAX)
    };
    match &options.command {
        Command::Plan { place } => plan(place, unbounded(), out).await,
        Command::Sweep {
            place,
            dry_run,
            most,
            longest,
        } => {
            let mut policy = unbounded();
            if let Some(most) = most {
                policy = policy.with_most(*most);
            }
            if let Some(seconds) = longest {
                policy = policy.with_longest(Duration::from_secs(*seconds));
            }
            match dry_run {
                true => plan(place, policy, out).await,
                false => sweep(place, policy, out).await,
            }
        }
        Command::Why { place, name } => why(place, name, out).await,
        Command::List { place, limit } => list(place, limit.get(), out).await,
    }
}

async fn plan(place: &Place, policy: SweepPolicy, out: &mut impl Write) -> Result<Verdict> {
    let store = BlobStore::new(Arc::new(place.open().await?));
    let report = Sweeper::new(&store, policy)?.plan().await?;
    told(place, &report, "would be", out)?;
    Ok(Verdict::of(report.examined + report.backlog > 0))
}

async fn sweep(place: &Place, policy: SweepPolicy, out: &mut impl Write) -> Result<Verdict> {
    let store = BlobStore::new(Arc::new(place.open().await?));
    let mut sweeper = Sweeper::new(&store, policy.clone())?;
    let bar = (!place.json && io::stderr().is_terminal()).then(ProgressBar::no_length);
    if let Some(bar) = &bar {
        // What is there now; what becomes due meanwhile comes on top.
        bar.set_length(sweeper.plan().await?.examined);
        bar.set_style(style());
        let bar = bar.clone();
        sweeper = sweeper.with_progress(move |report| {
            bar.set_position(report.examined);
            bar.set_message(counted(report, ""));
        });
    }
    let swept = sweeper.run().await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let report = swept?;
    told(place, &report, "", out)?;
    Ok(Verdict::of(report.failed + report.backlog > 0))
}

/// The template is a constant; without it the bar is plain.
fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:30} {pos}/{len}  {per_sec}  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

async fn why(place: &Place, name: &BlobName, out: &mut impl Write) -> Result<Verdict> {
    let blobs = BlobStore::new(Arc::new(place.open().await?)).tenant(name.tenant());
    let why = blobs.why_retained(name).await?;
    let written = if place.json {
        let reasons: Vec<_> = why.reasons.iter().map(ToString::to_string).collect();
        let answer = json!({
            "name": why.name.to_string(),
            "at": why.at,
            "is_retained": why.is_retained(),
            "reasons": reasons,
            "deletable_from": why.deletable_from,
        });
        written_json(out, &answer)
    } else {
        why.to_string()
            .lines()
            .try_for_each(|line| writeln!(out, "{}", one_line(line)))
    };
    written.map_err(unwritten)?;
    Ok(Verdict::Clean)
}

async fn list(place: &Place, limit: usize, out: &mut impl Write) -> Result<Verdict> {
    let backend = place.open().await?;
    let at = backend.now();
    let (mut all, mut after) = (Vec::new(), None);
    while all.len() < limit {
        let page = backend
            .due(at, after.as_deref(), (limit - all.len()).min(5_000))
            .await?;
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let written = if place.json {
        let due: Vec<_> = all
            .iter()
            .map(|ListedDue { name, due }| match due {
                Ok(due) => json!({
                    "name": name.to_string(),
                    "action": action(due.action),
                    "since": due.since,
                    "length": due.length,
                }),
                Err(error) => json!({
                    "name": name.to_string(),
                    "kind": error.kind().as_str(),
                }),
            })
            .collect();
        written_json(
            out,
            &json!({ "at": at, "due": due, "is_complete": after.is_none() }),
        )
    } else {
        all.iter()
            .try_for_each(|ListedDue { name, due }| match due {
                Ok(due) => {
                    let since = due.since.format("%FT%TZ");
                    let action = action(due.action);
                    writeln!(out, "{action:7}  {since}  {:>12}  {name}", due.length)
                }
                Err(error) => writeln!(out, "not read: {name}: {}", error.kind()),
            })
            .and_then(|()| written_end(out, after.is_some()))
    };
    written.map_err(unwritten)?;
    Ok(Verdict::of(!all.is_empty()))
}

/// Writes what was done, or would be.
fn told(place: &Place, report: &SweepReport, would: &str, out: &mut impl Write) -> Result<()> {
    let written = if place.json {
        written_json(out, &shown(report))
    } else {
        failures(report, out).and_then(|()| writeln!(out, "{}", counted(report, would)))
    };
    written.map_err(unwritten)
}

fn failures(report: &SweepReport, out: &mut impl Write) -> io::Result<()> {
    report.failures.iter().try_for_each(|failure| {
        let done = match failure.action {
            Some(DueAction::Delete) => "deleted",
            Some(DueAction::Archive) => "archived",
            None => "read",
        };
        writeln!(out, "not {done}: {}: {}", failure.name, failure.kind)
    })
}

fn counted(report: &SweepReport, would: &str) -> String {
    let SweepReport {
        deleted,
        deleted_bytes,
        archived,
        skipped,
        failed,
        backlog,
        ..
    } = report;
    let space = if would.is_empty() { "" } else { " " };
    format!(
        "{deleted} {would}{space}deleted ({deleted_bytes} bytes), {archived} {would}{space}archived, \
         {skipped} skipped, {failed} failed, {backlog} left"
    )
}

fn shown(report: &SweepReport) -> Value {
    let failures: Vec<_> = report
        .failures
        .iter()
        .map(|failure| {
            json!({
                "name": failure.name.to_string(),
                "action": failure.action.map(action),
                "kind": failure.kind.as_str(),
            })
        })
        .collect();
    json!({
        "at": report.at,
        "examined": report.examined,
        "deleted": report.deleted,
        "deleted_bytes": report.deleted_bytes,
        "archived": report.archived,
        "skipped": report.skipped,
        "failed": report.failed,
        "failures": failures,
        "oldest_due": report.oldest_due,
        "is_complete": report.is_complete,
        "backlog": report.backlog,
    })
}

const fn action(action: DueAction) -> &'static str {
    match action {
        DueAction::Delete => "delete",
        DueAction::Archive => "archive",
    }
}
