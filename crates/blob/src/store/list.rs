//! Listing blobs.

use tenantry_core::{Error, ErrorKind, Result};

use super::TenantBlobs;
use crate::name::{BlobKind, BlobPrefix};
use crate::record::BlobRecord;

/// How many blobs a page has if nothing is said, and at most.
const USUAL: usize = 100;
const MOST: usize = 5_000;

/// Which blobs of a tenant are listed: all of them if nothing is said.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    kind: Option<BlobKind>,
    month: Option<(u16, u8)>,
    limit: Option<usize>,
    after: Option<String>,
}

impl ListOptions {
    /// Lists all blobs of the tenant, 100 in a page.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lists those of a kind.
    #[must_use]
    pub fn with_kind(mut self, kind: &BlobKind) -> Self {
        self.kind = Some(kind.clone());
        self
    }

    /// Lists those of a month of their kind, as their names say it.
    #[must_use]
    pub const fn with_month(mut self, year: u16, month: u8) -> Self {
        self.month = Some((year, month));
        self
    }

    /// Lists so many in a page at most, from 1 to 5,000.
    #[must_use]
    pub const fn with_limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Goes on where a page ended: its [`next`](BlobPage::next).
    #[must_use]
    pub fn with_after(mut self, cursor: impl Into<String>) -> Self {
        self.after = Some(cursor.into());
        self
    }
}

/// A part of the blobs of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobPage {
    /// What is known of each, in the order of their names.
    ///
    /// A page may have fewer than asked for, also none, and not be the last.
    pub records: Vec<BlobRecord>,
    /// Where the next page begins; `None` where this is the last.
    pub next: Option<String>,
}

impl TenantBlobs {
    /// Returns a page of the tenant's blobs, in the order of their names.
    ///
    /// What is put or deleted between two pages may be seen or not; what was there all the time is seen
    /// once.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the limit is out of its range, or a month was named
    ///   without a kind.
    /// - [`InvalidCursor`](ErrorKind::InvalidCursor): the cursor is one of another tenant or list.
    ///
    /// # Cancel safety
    ///
    /// It changes nothing.
    pub async fn list(&self, options: ListOptions) -> Result<BlobPage> {
        self.observe("list", async {
            let mut prefix = BlobPrefix::of(self.tenant);
            if let Some(kind) = &options.kind {
                prefix = prefix.with_kind(kind);
            }
            if let Some((year, month)) = options.month {
                prefix = prefix.with_month(year, month)?;
            }
            let limit = options.limit.unwrap_or(USUAL);
            if !(1..=MOST).contains(&limit) {
                return Err(Error::new(ErrorKind::InvalidInput, "list blobs")
                    .with_detail("expected a limit from 1 to 5,000"));
            }
            let after = options
                .after
                .as_deref()
                .map(|cursor| read_cursor(&prefix, cursor))
                .transpose()?;
            let page = self.backend().list(&prefix, after, limit).await?;
            if page
                .items
                .iter()
                .any(|record| !prefix.includes(&record.name))
            {
                return Err(not_asked_for("list blobs"));
            }
            check_progress("list blobs", after, page.next.as_deref())?;
            Ok(BlobPage {
                records: page.items,
                next: page.next.map(|next| format!("{}>{next}", prefix.as_str())),
            })
        })
        .await
    }
}

pub(super) fn not_asked_for(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unexpected, operation)
        .with_detail("the backend listed what was not asked for")
}

/// Refuses a page that leads to itself: a list would never end.
pub(crate) fn check_progress(
    operation: &'static str,
    after: Option<&str>,
    next: Option<&str>,
) -> Result<()> {
    match next {
        Some(next) if after == Some(next) => Err(Error::new(ErrorKind::Unexpected, operation)
            .with_detail("the backend lists the same page again and again")),
        _ => Ok(()),
    }
}

fn read_cursor<'c>(prefix: &BlobPrefix, cursor: &'c str) -> Result<&'c str> {
    cursor
        .strip_prefix(prefix.as_str())
        .and_then(|rest| rest.strip_prefix('>'))
        .ok_or_else(|| invalid_cursor("list blobs"))
}

pub(crate) fn invalid_cursor(operation: &'static str) -> Error {
    Error::new(ErrorKind::InvalidCursor, operation)
        .with_detail("it is none that this list gave: begin with the first page")
}
