//! Erasing all that a tenant has.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tenantry_core::{Actor, Error, ErrorKind, Result, SecretReference, TenantId};

use super::TenantBlobs;
use super::list::{check_progress, not_asked_for};
use super::retain::is_reason;
use crate::backend::{BackendPage, Deletion, ListedBlob};
use crate::integrity::Sha256;
use crate::name::{BlobName, BlobPrefix};
use crate::record::{BlobRecord, KeyState};
use crate::retention::{RetentionAct, RetentionAction, WhyRetained};

const ERASE: &str = "erase blobs of tenant";
const BATCH: usize = 500;
/// How often what others put or changed meanwhile is gone through again.
const PASSES: usize = 3;

/// What became of the blobs of a tenant, as a proof: what was erased, and what had to stay and why.
///
/// As text, a report for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErasureReport {
    /// The tenant.
    pub tenant: TenantId,
    /// Who had it erased.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When all was read back.
    pub verified_at: DateTime<Utc>,
    /// Until when the service behind still keeps what was deleted, so that an operator could bring it
    /// back; `None` where it is gone.
    pub purged_at: Option<DateTime<Utc>>,
    /// What was erased, in the order of names within each pass.
    pub erased: Vec<ErasedBlob>,
    /// What had to stay: what is held, locked, or below the floor of its class.
    pub kept: Vec<WhyRetained>,
    /// What could not be erased for another reason, or of which nobody knows whether it was: have it
    /// erased again.
    ///
    /// A [`Conflict`](ErrorKind::Conflict) is one that was changed by others each time; one that is
    /// [`Locked`](ErrorKind::Locked) somebody has a lease on; of one that is
    /// [`Corrupt`](ErrorKind::Corrupt) the record was altered, so that nobody knows what keeps it.
    pub failed: Vec<(BlobName, ErrorKind)>,
    /// What broke it off after blobs were erased: what else there is was not seen, or what is still stored of
    /// them could not be removed. Have it erased again, and keep this report, for the next one tells of the rest
    /// alone.
    pub stopped_by: Option<ErrorKind>,
    /// What is still there, and nobody can read: it is encrypted, and its key is gone.
    ///
    /// It stands among what was kept or has failed as well.
    pub shredded: Vec<ShreddedBlob>,
}

/// A blob whose bytes are still there and can be read by nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShreddedBlob {
    /// Its name.
    pub name: BlobName,
    /// The secret that opened it.
    pub key: SecretReference,
    /// What the vault answers for that: `NotFound`, `SecretDeleted` or `SecretDisabled`. Until a vault
    /// has purged a deleted secret, and as long as one is only switched off, its operator can bring it
    /// back.
    pub cause: ErrorKind,
}

/// A blob that was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErasedBlob {
    /// Its name.
    pub name: BlobName,
    /// How many bytes it had.
    pub length: u64,
    /// Their digest; where they were encrypted and their key was lost already, as it was hidden.
    pub sha256: Sha256,
}

impl ErasureReport {
    /// Returns whether the tenant has no blob left.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.kept.is_empty() && self.failed.is_empty() && self.stopped_by.is_none()
    }

    /// Returns whether nobody can read a blob of the tenant: each is erased, or its key is gone.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        let left = self.kept.iter().map(|kept| &kept.name);
        let mut left = left.chain(self.failed.iter().map(|(name, _)| name));
        let is_shredded = |name: &BlobName| self.shredded.iter().any(|it| it.name == *name);
        self.stopped_by.is_none() && left.all(is_shredded)
    }

    /// Returns one digest of all that was erased: of a line `<sha256> <length> <name>` for each.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        let lines: String = self
            .erased
            .iter()
            .map(|it| format!("{} {} {}\n", it.sha256, it.length, it.name))
            .collect();
        Sha256::of(lines.as_bytes())
    }
}

impl fmt::Display for ErasureReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A length is what a record says, and may be any that somebody wrote there.
        let lengths = self.erased.iter().map(|it| it.length);
        let bytes = lengths.fold(0_u64, u64::saturating_add);
        writeln!(
            f,
            "blobs of tenant {}, erased by {} from {} on, read back at {}: {}",
            self.tenant,
            self.actor.as_str(),
            self.started_at.format("%FT%TZ"),
            self.verified_at.format("%FT%TZ"),
            self.reason
        )?;
        write!(
            f,
            "{} erased, {bytes} bytes, digest {}; {} kept; {} failed",
            self.erased.len(),
            self.digest(),
            self.kept.len(),
            self.failed.len()
        )?;
        if let Some(purged_at) = self.purged_at {
            let until = purged_at.format("%FT%TZ");
            write!(f, "\nthe service keeps what was deleted until {until}")?;
        }
        if let Some(kind) = self.stopped_by {
            write!(
                f,
                "\nbroken off by {kind}: what else there is was not seen, or stays for a while"
            )?;
        }
        for kept in &self.kept {
            write!(f, "\nkept {kept}")?;
        }
        for (name, kind) in &self.failed {
            write!(f, "\nfailed {name}: {kind}")?;
        }
        for it in &self.shredded {
            write!(f, "\nunreadable {}: key {}: {}", it.name, it.key, it.cause)?;
        }
        Ok(())
    }
}

impl TenantBlobs {
    /// Erases all blobs of the tenant, whatever their classes say, and reads back what is left.
    ///
    /// What a legal hold, a locked lock or the floor of a class keeps stays, and stands in the report
    /// with its reasons. Each blob is an act of its own in the audit. What others change again and again,
    /// and what a service refuses to delete for another reason, has failed. Stop the tenant's writers
    /// first: what they put meanwhile may be left, and is in no report.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): no reason is given, or it is none of up to 500 characters in one
    ///   line.
    /// - Those of the [audit](crate::RetentionAudit), and of [`list`](Self::list), as long as nothing is
    ///   erased; from then on they stand in the report, as what it was [broken
    ///   off](ErasureReport::stopped_by) by.
    ///
    /// # Cancel safety
    ///
    /// Dropped, some are erased, of which the audit tells; have it erased again for a report of the rest.
    pub async fn erase(&self, reason: &str) -> Result<ErasureReport> {
        self.observe("erase", async {
            // Also where there is nothing to erase: it stands in the report.
            if reason.is_empty() || !is_reason(reason) {
                return Err(Error::new(ErrorKind::InvalidInput, ERASE)
                    .with_subject(self.tenant.to_string())
                    .with_detail(
                        "say why it is to be erased, in up to 500 characters and one line",
                    ));
            }
            let now = self.backend().now();
            let mut report = ErasureReport {
                tenant: self.tenant,
                actor: self.context.actor().clone(),
                reason: reason.to_owned(),
                started_at: now,
                verified_at: now,
                purged_at: None,
                erased: Vec::new(),
                kept: Vec::new(),
                failed: Vec::new(),
                stopped_by: None,
                shredded: Vec::new(),
            };
            // Before anything is gone, for a report that cannot tell is none.
            let kept = self.backend().keeps_deleted_for().await?;
            let mut left = Left::default();
            if let Err(error) = self.erase_all(&mut report, &mut left).await {
                if report.erased.is_empty() && left.failed.is_empty() {
                    return Err(error);
                }
                // What is gone has no other proof than this report.
                tracing::warn!(
                    target: "tenantry::blob",
                    %error,
                    tenant = %self.tenant,
                    "an erasure is broken off"
                );
                report.stopped_by = Some(error.kind());
            }
            report.verified_at = self.backend().now();
            report.kept = left.kept;
            report.failed = left.failed.into_iter().collect();
            report.shredded = left.shredded;
            // Also where nothing was erased: a put that has died may have left bytes that no record tells of.
            if let Err(error) = self.backend().forget_deleted(self.tenant).await {
                tracing::warn!(
                    target: "tenantry::blob",
                    %error,
                    tenant = %self.tenant,
                    "what is stored of erased blobs stays for a while"
                );
                report.stopped_by = report.stopped_by.or(Some(error.kind()));
            }
            if !report.erased.is_empty() {
                report.purged_at = kept.map(|kept| after(report.verified_at, kept));
            }
            Ok(report)
        })
        .await
    }

    async fn erase_all(&self, report: &mut ErasureReport, left: &mut Left) -> Result<()> {
        for _ in 0..PASSES {
            if !self.erase_once(report, left).await? {
                return Ok(());
            }
        }
        // What has got away each time is not gone for that.
        self.look_once(&report.reason, left).await
    }

    /// Returns a page of all blobs, and those of nobody else.
    async fn page(&self, after: Option<&str>) -> Result<BackendPage<ListedBlob>> {
        let prefix = BlobPrefix::of(self.tenant);
        let page = self.backend().list_each(&prefix, after, BATCH).await?;
        let is_foreign = |it: &ListedBlob| {
            let names = [Some(&it.name), it.record.as_ref().ok().map(|it| &it.name)];
            names.into_iter().flatten().any(|it| !prefix.includes(it))
        };
        if page.items.iter().any(is_foreign) {
            return Err(not_asked_for(ERASE));
        }
        check_progress(ERASE, after, page.next.as_deref())?;
        Ok(page)
    }

    /// Goes through all blobs, and returns whether any is gone or was changed by it or by others: if not,
    /// what it has seen is what is left.
    async fn erase_once(&self, report: &mut ErasureReport, left: &mut Left) -> Result<bool> {
        let (mut after, mut is_changed) = (None, false);
        left.begin();
        loop {
            let page = self.page(after.as_deref()).await?;
            let (mut erasable, mut deletions) = (Vec::new(), Vec::new());
            for ListedBlob { name, record } in page.items {
                let Some(record) = left.read(name, record) else {
                    continue;
                };
                left.failed.remove(&record.name);
                match self.erasure_of(&record, &report.reason, left)? {
                    Some(act) => {
                        self.store.audit.record(&act).await?;
                        deletions.push(Deletion {
                            name: record.name.clone(),
                            etag: record.etag.clone(),
                            act: Some(act),
                        });
                        erasable.push(record);
                    }
                    None => continue,
                }
            }
            let outcomes = self.backend().delete(&deletions).await;
            for (record, outcome) in erasable.into_iter().zip(outcomes) {
                match outcome.map_err(|error| error.kind()) {
                    Ok(()) => {
                        is_changed = true;
                        report.erased.push(ErasedBlob {
                            name: record.name,
                            length: record.length,
                            sha256: record.sha256,
                        });
                    }
                    // Others were quicker: it is seen as it is in the next pass.
                    Err(ErrorKind::NotFound | ErrorKind::Conflict) => is_changed = true,
                    Err(kind) => left.fail(record, kind),
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(is_changed);
            }
        }
    }

    /// Takes note of all that is there still, and erases nothing.
    async fn look_once(&self, reason: &str, left: &mut Left) -> Result<()> {
        let mut after = None;
        left.begin();
        loop {
            let page = self.page(after.as_deref()).await?;
            for ListedBlob { name, record } in page.items {
                let Some(record) = left.read(name, record) else {
                    continue;
                };
                if self.erasure_of(&record, reason, left)?.is_some() {
                    let met = left.failed.get(&record.name).copied();
                    left.fail(record, met.unwrap_or(ErrorKind::Conflict));
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Returns the act that erases a blob, unless something keeps it.
    fn erasure_of(
        &self,
        record: &BlobRecord,
        reason: &str,
        left: &mut Left,
    ) -> Result<Option<RetentionAct>> {
        let now = self.backend().now();
        let act = self.act(record, RetentionAction::Erased, reason, Some(now))?;
        if record.retention.check_deletion(now, Some(&act)).is_err() {
            left.failed.remove(&record.name);
            let name = record.name.clone();
            left.shredded.extend(shredded(record));
            left.kept
                .push(WhyRetained::new(name, &record.retention, now));
            return Ok(None);
        }
        Ok(Some(act))
    }
}

/// What an erasure has not erased.
#[derive(Default)]
struct Left {
    kept: Vec<WhyRetained>,
    /// What an earlier pass has failed at stays here until it is seen again: what cannot be seen may have
    /// been deleted, and nobody knows.
    failed: BTreeMap<BlobName, ErrorKind>,
    shredded: Vec<ShreddedBlob>,
}

impl Left {
    /// Begins a pass: it sees for itself what is kept, and what nobody can read.
    fn begin(&mut self) {
        self.kept.clear();
        self.shredded.clear();
    }

    /// Returns a record; one that cannot be read keeps its blob, and nobody knows what else does.
    fn read(&mut self, name: BlobName, record: Result<BlobRecord>) -> Option<BlobRecord> {
        record
            .map_err(|error| {
                tracing::warn!(target: "tenantry::blob", %error, blob = %name, "a blob is not erased");
                self.failed.insert(name, error.kind());
            })
            .ok()
    }

    fn fail(&mut self, record: BlobRecord, kind: ErrorKind) {
        self.shredded.extend(shredded(&record));
        self.failed.insert(record.name, kind);
    }
}

/// Returns a time that is so much later, or the last that there is.
fn after(time: DateTime<Utc>, passes: Duration) -> DateTime<Utc> {
    let later = TimeDelta::from_std(passes)
        .ok()
        .and_then(|passes| time.checked_add_signed(passes));
    later.unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Returns a blob that stays, if its key is gone.
fn shredded(record: &BlobRecord) -> Option<ShreddedBlob> {
    let encryption = record.encryption.as_ref()?;
    match encryption.state() {
        state @ KeyState::Lost(cause) if state.is_gone() => Some(ShreddedBlob {
            name: record.name.clone(),
            key: encryption.key().clone(),
            cause,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::BlobStore;
    use crate::{MemoryBlobs, PutOptions, Retention};

    #[test]
    fn what_is_kept_for_ever_is_told_so() {
        let time: DateTime<Utc> = "2026-03-01T12:00:00Z".parse().unwrap();
        let week = Duration::from_secs(7 * 24 * 60 * 60);
        assert_eq!(after(time, week).to_rfc3339(), "2026-03-08T12:00:00+00:00");
        assert_eq!(after(time, Duration::MAX), DateTime::<Utc>::MAX_UTC);
    }

    #[tokio::test]
    async fn a_reason_that_is_none_is_refused_also_where_there_is_nothing() {
        let store = BlobStore::new(Arc::new(MemoryBlobs::new()));
        let blobs = store.tenant(TenantId::generate());
        for reason in ["", "they\nleft", &"x".repeat(501)] {
            let error = blobs.erase(reason).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
        }
        assert!(blobs.erase("they left").await.unwrap().is_complete());
    }

    #[tokio::test]
    async fn until_when_a_service_keeps_what_was_deleted_is_told() {
        let tenant = TenantId::generate();
        let blobs = BlobStore::new(Arc::new(MemoryBlobs::new())).tenant(tenant);
        let name = blobs
            .name(&crate::BlobKind::new("exports").unwrap())
            .unwrap();
        let options = PutOptions::new(tenantry_core::Service::Reporting, Retention::days(1));
        blobs.put_bytes(&name, options, "x").await.unwrap();
        let mut report = blobs.erase("they left").await.unwrap();
        // In memory it is gone at once.
        assert!(report.is_complete() && report.purged_at.is_none());
        assert!(!report.to_string().contains("keeps"));
        report.purged_at = Some("2026-03-08T12:00:00Z".parse().unwrap());
        let told = "the service keeps what was deleted until 2026-03-08T12:00:00Z";
        assert!(report.to_string().contains(told), "{report}");
    }
}
