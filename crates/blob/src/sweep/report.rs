//! What a run has done.

use chrono::{DateTime, Utc};
use tenantry_core::{ErrorKind, Result};

use crate::backend::{DueAction, DueBlob};
use crate::name::BlobName;

/// How many failures a report names; it counts all.
const NAMED: usize = 100;

/// What a run has done, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweepReport {
    /// The time by which it was judged what is over.
    pub at: DateTime<Utc>,
    /// How many blobs were looked at.
    pub examined: u64,
    /// How many were deleted.
    pub deleted: u64,
    /// How many bytes those had.
    pub deleted_bytes: u64,
    /// How many went to the archive.
    pub archived: u64,
    /// How many were left alone, for others have deleted them meanwhile, or changed them so that they are
    /// due no longer.
    pub skipped: u64,
    /// How many could not be deleted or archived, and are tried again by a later run; in a plan too those
    /// whose record cannot be read, so that nobody knows whether they are due.
    ///
    /// Those are among them that the backend keeps though they are due: where its clock was set back, it
    /// keeps them all. A [`Conflict`](ErrorKind::Conflict) is one that was changed twice, or that its
    /// service does not give up, as under a lease.
    pub failed: u64,
    /// The first hundred of those.
    pub failures: Vec<SweepFailure>,
    /// Since when the one that was due longest was.
    pub oldest_due: Option<DateTime<Utc>>,
    /// Whether the end of what was due was reached.
    pub is_complete: bool,
    /// How many are still due, counted up to 100,000.
    pub backlog: u64,
}

/// A blob that could not be deleted or archived, or not even be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweepFailure {
    /// The blob.
    pub name: BlobName,
    /// What was to be done; `None` where its record cannot be read.
    pub action: Option<DueAction>,
    /// What it failed with.
    pub kind: ErrorKind,
}

impl SweepReport {
    pub(super) const fn new(at: DateTime<Utc>) -> Self {
        Self {
            at,
            examined: 0,
            deleted: 0,
            deleted_bytes: 0,
            archived: 0,
            skipped: 0,
            failed: 0,
            failures: Vec::new(),
            oldest_due: None,
            is_complete: false,
            backlog: 0,
        }
    }

    pub(super) fn count(&mut self, due: &DueBlob, outcome: Result<()>) {
        match outcome {
            Ok(()) => match due.action {
                DueAction::Delete => {
                    self.deleted += 1;
                    self.deleted_bytes = self.deleted_bytes.saturating_add(due.length);
                }
                DueAction::Archive => self.archived += 1,
            },
            Err(error) if error.kind() == ErrorKind::NotFound => self.skipped += 1,
            Err(error) => self.fail(due.name.clone(), Some(due.action), error.kind()),
        }
    }

    pub(super) fn fail(&mut self, name: BlobName, action: Option<DueAction>, kind: ErrorKind) {
        self.failed += 1;
        if self.failures.len() < NAMED {
            self.failures.push(SweepFailure { name, action, kind });
        }
    }
}
