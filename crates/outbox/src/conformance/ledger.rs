use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tenantry_core::{ErrorKind, Result, TenantId};
use tenantry_store::{Aggregate, Repository as _, TenantScope, UnitOfWork, Version};
use uuid::Uuid;

use crate::{Message, MessageId, NewMessage, Outbox};

/// What stands behind a key of the suite: each message of the key bears the version of its row.
#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "outbox_suite_accounts")]
pub struct Account {
    /// The key.
    #[aggregate(id)]
    pub id: Uuid,
    /// The number of the messages that were committed.
    #[aggregate(version)]
    pub version: Version,
}

/// Every message that was committed, and those that must never leave.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    inner: Arc<Mutex<Entries>>,
}

#[derive(Debug, Default)]
struct Entries {
    committed: HashMap<MessageId, (TenantId, String, i64)>,
    given_up: HashSet<MessageId>,
    /// Those of commits whose answer was lost: they leave in their order, or never.
    unknown: HashMap<MessageId, (TenantId, String, i64)>,
}

/// What became of the messages of a ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many were committed.
    pub committed: usize,
    /// How many of these never left.
    pub lost: usize,
    /// How often one left before an earlier one of its key had.
    pub reordered: usize,
    /// How many left that were not committed.
    pub uncommitted: usize,
    /// How often one left again.
    pub duplicates: usize,
}

/// Appends what says that an account has a version.
fn said(
    outbox: &Outbox,
    work: &UnitOfWork,
    account: Uuid,
    number: i64,
) -> Result<(MessageId, String, i64)> {
    let key = account.to_string();
    let message = NewMessage::new("suite.account.changed", key.clone())
        .with_payload("text/plain", number.to_string().into_bytes());
    Ok((outbox.append_message(work, message)?, key, number))
}

impl Ledger {
    /// Changes an account in a unit of work and appends what says so; the order of the messages is that of
    /// the versions.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn append(
        &self,
        outbox: &Outbox,
        work: &UnitOfWork,
        account: Uuid,
    ) -> Result<(MessageId, String, i64)> {
        let accounts = work.repository::<Account>();
        let mut row = match accounts.find(&account).await? {
            Some(row) => row,
            None => Account {
                id: account,
                version: Version::NEW,
            },
        };
        if row.version.is_new() {
            accounts.insert(&mut row).await?;
        } else {
            accounts.update(&mut row).await?;
        }
        said(outbox, work, account, row.version.get())
    }

    /// Commits one message of each account in a unit of work, or gives it up.
    ///
    /// # Errors
    ///
    /// Those of the store; nothing is committed then.
    pub async fn write(
        &self,
        outbox: &Outbox,
        tenant: &TenantScope,
        accounts: &[Uuid],
        commits: bool,
    ) -> Result<()> {
        let work = tenant.begin().await?;
        let written = self.append_each(outbox, &work, accounts).await?;
        if !commits {
            let ids = written.into_iter().map(|(id, ..)| id);
            self.inner.lock().given_up.extend(ids);
            return work.rollback().await;
        }
        self.end(tenant.tenant(), written, work.commit().await)
    }

    /// Commits one message of each account in a unit of work, all of them along with its last write.
    ///
    /// # Errors
    ///
    /// Those of the store; nothing is committed then.
    ///
    /// # Panics
    ///
    /// Where there is no account.
    pub async fn write_riding(
        &self,
        outbox: &Outbox,
        tenant: &TenantScope,
        accounts: &[Uuid],
    ) -> Result<()> {
        let (last, others) = accounts.split_last().expect("an account");
        let work = tenant.begin().await?;
        let mut written = self.append_each(outbox, &work, others).await?;
        let found = work.repository::<Account>().find(last).await?;
        let is_new = found.is_none();
        let mut row = found.unwrap_or(Account {
            id: *last,
            version: Version::NEW,
        });
        written.push(said(outbox, &work, *last, row.version.get() + 1)?);
        let outcome = match is_new {
            true => work.commit_with_insert(&mut row).await,
            false => work.commit_with_update(&mut row).await,
        };
        self.end(tenant.tenant(), written, outcome)
    }

    /// Commits one message of each account in a unit of work that stays open for a time.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn write_slowly(
        &self,
        outbox: &Outbox,
        tenant: &TenantScope,
        accounts: &[Uuid],
        time: Duration,
    ) -> Result<()> {
        let work = tenant.begin().await?;
        let written = self.append_each(outbox, &work, accounts).await?;
        tokio::time::sleep(time).await;
        self.end(tenant.tenant(), written, work.commit().await)
    }

    async fn append_each(
        &self,
        outbox: &Outbox,
        work: &UnitOfWork,
        accounts: &[Uuid],
    ) -> Result<Vec<(MessageId, String, i64)>> {
        let mut written = Vec::new();
        for account in accounts {
            written.push(self.append(outbox, work, *account).await?);
        }
        Ok(written)
    }

    /// Takes note of how a commit has ended.
    fn end(
        &self,
        tenant: TenantId,
        written: Vec<(MessageId, String, i64)>,
        outcome: Result<()>,
    ) -> Result<()> {
        let kind = outcome.as_ref().err().map(tenantry_core::Error::kind);
        let mut entries = self.inner.lock();
        let of_tenant = |(id, key, number)| (id, (tenant, key, number));
        match kind {
            None => entries.committed.extend(written.into_iter().map(of_tenant)),
            Some(ErrorKind::CommitUnknown) => {
                entries.unknown.extend(written.into_iter().map(of_tenant))
            }
            Some(_) => {}
        }
        outcome
    }

    /// Takes note of a message that was committed.
    pub fn commits(&self, tenant: TenantId, id: MessageId, key: String, number: i64) {
        self.inner
            .lock()
            .committed
            .insert(id, (tenant, key, number));
    }

    /// Returns how many messages were committed.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inner.lock().committed.len()
    }

    /// Compares what a broker got with what was committed.
    #[must_use]
    pub fn compare(&self, got: &[Message]) -> Outcome {
        let entries = self.inner.lock();
        let mut outcome = Outcome {
            committed: entries.committed.len(),
            ..Outcome::default()
        };
        let mut seen = HashSet::new();
        let mut unknown_seen = HashSet::new();
        let mut latest: BTreeMap<(TenantId, &str), i64> = BTreeMap::new();
        for message in got {
            let id = message.id();
            let committed = entries.committed.get(&id);
            let Some((tenant, key, number)) = committed.or_else(|| entries.unknown.get(&id)) else {
                outcome.uncommitted += 1;
                continue;
            };
            let seen = match committed {
                Some(_) => &mut seen,
                None => &mut unknown_seen,
            };
            if (*tenant, &**key) != (message.tenant(), message.key()) {
                outcome.uncommitted += 1;
                continue;
            }
            if !seen.insert(id) {
                outcome.duplicates += 1;
                continue;
            }
            let latest = latest.entry((*tenant, key)).or_default();
            // The numbers of a key have no gaps.
            if *number != *latest + 1 {
                outcome.reordered += 1;
            }
            *latest = (*latest).max(*number);
        }
        outcome.lost = entries.committed.len() - seen.len();
        outcome
    }

    /// Returns whether all that was committed has left.
    #[must_use]
    pub fn is_empty_after(&self, got: &[Message]) -> bool {
        let seen: HashSet<_> = got.iter().map(Message::id).collect();
        self.inner
            .lock()
            .committed
            .keys()
            .all(|id| seen.contains(id))
    }

    /// Asserts that nothing was lost, reordered, or sent without having been committed.
    ///
    /// # Panics
    ///
    /// If it was.
    #[allow(clippy::must_use_candidate, reason = "it asserts")]
    pub fn assert_whole(&self, got: &[Message]) -> Outcome {
        let outcome = self.compare(got);
        let whole = Outcome {
            committed: outcome.committed,
            duplicates: outcome.duplicates,
            ..Outcome::default()
        };
        assert_eq!(outcome, whole);
        outcome
    }
}
