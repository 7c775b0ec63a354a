//! `tenantry blobs`: what a store of blobs in a folder holds, and the end of a tenant.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tenantry_blob::{
    BlobName, BlobRecord, BlobStore, FsBlobs, FsSettings, ListOptions, RetentionAct, RetentionAudit,
};
use tenantry_core::{Actor, Error, ErrorKind, RequestContext, Result, TenantId};

use crate::Verdict;
use crate::output::one_line;

const PAGE: usize = 1_000;

/// Shows what a store of blobs in a folder holds, and erases a tenant.
///
/// Exits with 0 if all is well, with 1 if something had to stay, and with 2 if it could not look.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the blobs of a tenant by name
    List {
        #[command(flatten)]
        place: Place,
        /// Whose blobs
        #[arg(long, value_name = "UUID")]
        tenant: TenantId,
        /// Ends after so many
        #[arg(long, default_value = "1000")]
        limit: NonZeroUsize,
    },
    /// Shows what is known of a blob
    Head {
        #[command(flatten)]
        place: Place,
        /// Its name, which begins with its tenant
        name: BlobName,
    },
    /// Erases all blobs of a tenant before their time, but for what is held, locked or below its floor
    Erase {
        #[command(flatten)]
        place: Place,
        /// Whose blobs
        #[arg(long, value_name = "UUID")]
        tenant: TenantId,
        /// Why: it stands in the report and in the audit
        #[arg(long)]
        reason: String,
        /// Who asks for it, as user:ada
        #[arg(long)]
        actor: Actor,
        /// The file that each act is written to, and synced, before it is done
        #[arg(long, value_name = "FILE")]
        audit: PathBuf,
        /// What is erased does not come back: say that it is meant
        #[arg(long)]
        yes: bool,
    },
}

/// Where the store is, and how to answer.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// The folder of the store
    #[arg(long, value_name = "FOLDER")]
    folder: PathBuf,
    /// Writes one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

impl Place {
    /// Opens the store, which must be there: a folder that is mistyped is none.
    pub(crate) async fn open(&self) -> Result<FsBlobs> {
        if !self.folder.join("journal").is_file() {
            return Err(Error::new(ErrorKind::InvalidSettings, "open blobs")
                .with_subject(self.folder.display().to_string())
                .with_detail("there is no store of blobs in this folder: correct --folder"));
        }
        FsBlobs::open(FsSettings::new(&self.folder)).await
    }
}

pub(crate) async fn run(options: &Options, out: &mut impl Write) -> Result<Verdict> {
    match &options.command {
        Command::List {
            place,
            tenant,
            limit,
        } => list(place, *tenant, limit.get(), out).await,
        Command::Head { place, name } => head(place, name, out).await,
        Command::Erase { yes: false, .. } => Err(Error::new(
            ErrorKind::InvalidSettings,
            "erase blobs of tenant",
        )
        .with_detail("what is erased does not come back: say --yes if it is meant")),
        Command::Erase {
            place,
            tenant,
            reason,
            actor,
            audit,
            ..
        } => {
            let store = BlobStore::new(Arc::new(place.open().await?));
            check_apart(audit, &place.folder)?;
            let store = store.with_audit(Arc::new(AuditFile::open(audit)?));
            let context = RequestContext::new(actor.clone());
            let blobs = store.tenant(*tenant).with_context(context);
            let report = blobs.erase(reason).await?;
            let written = match place.json {
                true => written_json(out, &erasure(&report)),
                false => report
                    .to_string()
                    .lines()
                    .try_for_each(|line| writeln!(out, "{}", one_line(line))),
            };
            written.map_err(unwritten)?;
            Ok(Verdict::of(!report.is_complete()))
        }
    }
}

async fn list(
    place: &Place,
    tenant: TenantId,
    limit: usize,
    out: &mut impl Write,
) -> Result<Verdict> {
    let blobs = BlobStore::new(Arc::new(place.open().await?)).tenant(tenant);
    let (mut records, mut after) = (Vec::new(), None);
    while records.len() < limit {
        let mut options = ListOptions::new().with_limit(PAGE.min(limit - records.len()));
        if let Some(after) = after {
            options = options.with_after(after);
        }
        let page = blobs.list(options).await?;
        records.extend(page.records);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let written = if place.json {
        let blobs: Vec<_> = records.iter().map(shown).collect();
        written_json(
            out,
            &json!({ "blobs": blobs, "is_complete": after.is_none() }),
        )
    } else {
        records
            .iter()
            .try_for_each(|record| {
                writeln!(
                    out,
                    "{}  {:>12}  {:7}  {}  {}",
                    record.name,
                    record.length,
                    record.tier.as_str(),
                    until(record),
                    record.retention.class
                )
            })
            .and_then(|()| written_end(out, after.is_some()))
    };
    written.map_err(unwritten)?;
    Ok(Verdict::Clean)
}

async fn head(place: &Place, name: &BlobName, out: &mut impl Write) -> Result<Verdict> {
    let blobs = BlobStore::new(Arc::new(place.open().await?)).tenant(name.tenant());
    let record = blobs.head(name).await?;
    let written = if place.json {
        written_json(out, &shown(&record))
    } else {
        let mut lines = vec![
            ("name", record.name.to_string()),
            ("length", record.length.to_string()),
            ("sha256", record.sha256.to_string()),
            ("content type", record.content_type.to_string()),
            ("created at", record.created_at.to_rfc3339()),
            ("tier", record.tier.to_string()),
            ("class", record.retention.class.clone()),
            ("kept until", until(&record)),
            ("holds", record.retention.holds.len().to_string()),
        ];
        if let Some(encryption) = &record.encryption {
            let by = format!(
                "by {}; length and digest are those of what is stored",
                encryption.key()
            );
            lines.push(("encrypted", by));
        }
        lines
            .iter()
            .try_for_each(|(what, value)| writeln!(out, "{what:12}  {}", one_line(value)))
    };
    written.map_err(unwritten)?;
    Ok(Verdict::Clean)
}

fn until(record: &BlobRecord) -> String {
    match record.retention.until {
        Some(until) => until.format("%FT%TZ").to_string(),
        None => "its event".to_owned(),
    }
}

fn shown(record: &BlobRecord) -> Value {
    // It is what the journal has, which has no secret and no bytes.
    serde_json::to_value(record).unwrap_or_default()
}

fn erasure(report: &tenantry_blob::ErasureReport) -> Value {
    let erased: Vec<_> = report
        .erased
        .iter()
        .map(|it| {
            json!({ "name": it.name.to_string(), "length": it.length, "sha256": it.sha256.to_string() })
        })
        .collect();
    let kept: Vec<_> = report
        .kept
        .iter()
        .map(|it| json!({ "name": it.name.to_string(), "why": it.to_string() }))
        .collect();
    let failed: Vec<_> = report
        .failed
        .iter()
        .map(|(name, kind)| json!({ "name": name.to_string(), "kind": kind.as_str() }))
        .collect();
    json!({
        "tenant": report.tenant.to_string(),
        "actor": report.actor.as_str(),
        "reason": report.reason,
        "started_at": report.started_at,
        "verified_at": report.verified_at,
        "digest": report.digest().to_string(),
        "erased": erased,
        "kept": kept,
        "failed": failed,
        "stopped_by": report.stopped_by.map(ErrorKind::as_str),
        "is_complete": report.is_complete(),
    })
}

pub(crate) fn written_json(out: &mut impl Write, value: &Value) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// Ends a list that people read.
pub(crate) fn written_end(out: &mut impl Write, is_cut: bool) -> io::Result<()> {
    match is_cut {
        true => writeln!(out, "and more: --limit"),
        false => Ok(()),
    }
}

pub(crate) fn unwritten(cause: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "write answer").with_source(cause)
}

const AUDIT: &str = "open audit of blobs";

/// Checks that an audit is no file of the store itself, which would take its acts for a damage, and cut them off.
fn check_apart(audit: &Path, folder: &Path) -> Result<()> {
    let refused =
        || Error::new(ErrorKind::InvalidSettings, AUDIT).with_subject(audit.display().to_string());
    let failed = |cause| refused().with_source(cause);
    let folder = folder.canonicalize().map_err(failed)?;
    // A file that is not there yet is in a folder that is.
    let path = audit.canonicalize().or_else(|_| {
        let above = match audit.parent() {
            Some(above) if !above.as_os_str().is_empty() => above,
            _ => Path::new("."),
        };
        let above = above.canonicalize()?;
        Ok(audit
            .file_name()
            .map_or(above.clone(), |file| above.join(file)))
    });
    let path = path.map_err(failed)?;
    let Ok(within) = path.strip_prefix(&folder) else {
        return Ok(());
    };
    let first = within.iter().next().and_then(OsStr::to_str);
    let is_own = first
        .is_some_and(|first| first.starts_with("journal") || matches!(first, "blobs" | "incoming"));
    match is_own {
        true => Err(refused().with_detail("it is a place of the store: name another file")),
        false => Ok(()),
    }
}

/// Acts, a line of JSON each, on the disk before they are done.
#[derive(Debug)]
struct AuditFile(File);

impl AuditFile {
    fn open(path: &Path) -> Result<Self> {
        let opened = File::options()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|file| end_line(&file, path).map(|()| file));
        opened.map(Self).map_err(|cause| {
            Error::new(ErrorKind::InvalidSettings, AUDIT)
                .with_subject(path.display().to_string())
                .with_source(cause)
        })
    }
}

/// Ends a line that was left half written, as on a full disk: the next act would be a part of it.
fn end_line(mut file: &File, path: &Path) -> io::Result<()> {
    let found = file.metadata()?;
    if !found.is_file() || found.len() == 0 {
        return Ok(());
    }
    // Who may write there may not be let to read.
    let Ok(mut read) = File::open(path) else {
        return Ok(());
    };
    read.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    read.read_exact(&mut last)?;
    match last {
        [b'\n'] => Ok(()),
        _ => file.write_all(b"\n"),
    }
}

#[async_trait]
impl RetentionAudit for AuditFile {
    async fn record(&self, act: &RetentionAct) -> Result<()> {
        let mut line = serde_json::to_vec(act).map_err(|cause| {
            Error::new(ErrorKind::Unexpected, "write audit of blobs").with_source(cause)
        })?;
        line.push(b'\n');
        (&self.0)
            .write_all(&line)
            .and_then(|()| self.0.sync_data())
            .map_err(|cause| {
                Error::new(ErrorKind::Unavailable, "write audit of blobs").with_source(cause)
            })
    }
}
