//! The side of the consumers: the effect of a message, once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tenantry_core::{Error, ErrorKind, RequestContext, Result, SharedClock, SystemClock};
use tenantry_store::own::{OwnStatement, OwnTable};
use tenantry_store::{PlatformStore, TenantStore, UnitOfWork};

use crate::MessageId;
use crate::log::Log;

pub(crate) static INBOX: OwnTable = OwnTable::new("outbox_inbox");

/// How long messages of one generation are apart at most.
const GENERATION: Duration = Duration::from_secs(24 * 60 * 60);

/// How many generations there are.
pub(crate) const GENERATIONS: i64 = 16;

/// How many generations back are remembered: between the oldest and the next one that comes, one is empty, and one more
/// is left, for the clock of a process may be behind that of the database by up to a day.
const REMEMBERED: i64 = 12;

const INSERT: &str = "insert into {schema}outbox_inbox (tenant_id, generation, message_id, consumer) \
    values (?1, ?2, ?3, ?4) on conflict do nothing";
const INSERT_POSTGRES: &str = "insert into {schema}outbox_inbox (tenant_id, generation, message_id, \
    consumer) values ($1, $2, $3, $4) on conflict do nothing";

/// Tells whether a message is handled for the first time; cheap to clone.
///
/// The mark is a row of the consumer's unit of work: it is there when the effect is, and not otherwise. The place of a mark
/// follows from the time that is in the identifier of the message itself, so that two deliveries meet in one key,
/// however far apart they are and whatever was removed between.
///
/// Deliveries up to [`REMEMBERS`](Self::REMEMBERS) after the message was appended are told apart; older ones are
/// refused, for nobody knows any more. Keep what brokers retain and dead letters that are replayed below that.
///
/// # Isolation
///
/// A mark belongs to the tenant of the unit of work; another tenant may have the same identifier.
///
/// # Examples
///
/// ```
/// use tenantry_core::TenantId;
/// use tenantry_outbox::{Inbox, MessageId, OUTBOX_SQLITE};
/// use tenantry_store::{Migrations, SqliteSettings, TenantStore, sqlite};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tenantry_core::Result<()> {
/// let settings = SqliteSettings::temporary();
/// sqlite::migrate(&settings, &Migrations::embedded(&[(1, "outbox", OUTBOX_SQLITE)])).await?;
/// let store = TenantStore::sqlite(settings).await?;
/// let inbox = Inbox::new(&store);
///
/// let (tenant, message) = (store.tenant(TenantId::generate()), MessageId::generate());
/// let mut effects = 0;
/// for _delivery in 0..3 {
///     let work = tenant.begin().await?;
///     if inbox.once(&work, message, "send-receipt").await? {
///         effects += 1;                                                       // writes by `work`
///     }
///     work.commit().await?;                                                   // and acknowledges then
/// }
/// assert_eq!(effects, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Inbox {
    store: TenantStore,
    clock: SharedClock,
    insert: Arc<str>,
}

impl Inbox {
    /// For how long after a message was appended its deliveries are told apart.
    pub const REMEMBERS: Duration = Duration::from_secs(12 * 24 * 60 * 60);

    /// Returns the inbox of a store.
    #[must_use]
    pub fn new(store: &TenantStore) -> Self {
        let insert = match store.engine() {
            tenantry_store::own::Engine::Postgres => INSERT_POSTGRES,
            _ => INSERT,
        };
        Self {
            store: store.clone(),
            clock: Arc::new(SystemClock),
            insert: store.own_sql(insert),
        }
    }

    /// Sets the clock that tells how old messages are.
    #[must_use]
    pub fn with_clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Returns whether `consumer` handles a message for the first time, and marks it as handled if the unit of work is
    /// committed.
    ///
    /// Of two units of work with one message the later one waits for the end of the earlier one: where that is
    /// rolled back, it is the first.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a consumer of no or more than 200 bytes, an identifier that is no UUID of version 7, a message that is older than
    /// is remembered or more than a day ahead, or a unit of work of another store; those of a repository that writes.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it ends the unit of work, as any write does.
    pub async fn once(
        &self,
        work: &UnitOfWork,
        message: MessageId,
        consumer: &str,
    ) -> Result<bool> {
        let refused = |detail| {
            Error::new(ErrorKind::InvalidInput, "handle once")
                .with_subject(message.to_string())
                .with_detail(detail)
        };
        if !self.store.is_store_of_work(work) {
            return Err(refused(
                "the unit of work is of another store than the inbox",
            ));
        }
        if !(1..=200).contains(&consumer.len()) || consumer.chars().any(char::is_control) {
            return Err(refused(
                "a consumer has a name of 1 to 200 bytes without control characters",
            ));
        }
        let period = period_of(message).ok_or_else(|| {
            refused("the identifier is no UUID of version 7, whose time is needed")
        })?;
        let now = period_at(self.clock.now());
        if !(now - REMEMBERED..=now + 1).contains(&period) {
            return Err(refused(
                "the message is older than is remembered, or from the future",
            ));
        }
        let generation = period.rem_euclid(GENERATIONS);
        let statement = OwnStatement {
            operation: "handle once",
            table: &INBOX,
            sql: &self.insert,
            bind: &|arguments| {
                arguments.value().int64(generation)?;
                arguments.value().uuid(message.as_uuid())?;
                arguments.value().text(consumer)
            },
        };
        work.execute_own(&statement).await.map(|marked| marked == 1)
    }

    /// Removes the marks that are remembered no longer, of all tenants.
    ///
    /// An [`OutboxWorker`](crate::OutboxWorker) does so for its databases by itself. Where a database has none, since its
    /// service consumes and appends nothing, call this several times a day: marks of a day that is missed stay for
    /// sixteen more.
    ///
    /// # Errors
    ///
    /// Those of a database that cannot be reached or does not let the role of the platform empty a table. Where somebody
    /// reads or writes what is to be emptied, it is none: the next call does it.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the marks of a day are removed as a whole or not at all; on SQLite, where that is done in batches, some of them.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use tenantry_outbox::Inbox;
    /// use tenantry_store::PlatformStore;
    ///
    /// # async fn example(platform: &PlatformStore) {
    /// loop {
    ///     if let Err(error) = Inbox::prune(platform).await {
    ///         tracing::warn!(%error, "marks are removed later");
    ///     }
    ///     tokio::time::sleep(Duration::from_secs(6 * 60 * 60)).await;
    /// }
    /// # }
    /// ```
    pub async fn prune(platform: &PlatformStore) -> Result<()> {
        let scope = platform.scope("outbox inbox", RequestContext::system())?;
        Log::new(scope).prune_inbox().await
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// Returns the generation that is neither remembered nor written to, and is to be empty.
pub(crate) fn generation_to_empty(milliseconds: i64) -> i64 {
    let now = milliseconds.div_euclid(length());
    (now + 2).rem_euclid(GENERATIONS)
}

/// Returns whether the marks of a message are remembered no longer at a time in milliseconds.
pub(crate) fn is_over(message: MessageId, milliseconds: i64) -> bool {
    let now = milliseconds.div_euclid(length());
    period_of(message).is_none_or(|period| period < now - REMEMBERED)
}

fn period_of(message: MessageId) -> Option<i64> {
    let id = message.as_uuid();
    let (seconds, nanoseconds) = match id.get_version_num() {
        7 => id.get_timestamp()?.to_unix(),
        _ => return None,
    };
    let at = DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanoseconds)?;
    Some(period_at(at))
}

fn period_at(time: DateTime<Utc>) -> i64 {
    time.timestamp_millis().div_euclid(length())
}

fn length() -> i64 {
    i64::try_from(GENERATION.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_emptied_is_neither_remembered_nor_next() {
        for day in 20_000..20_100_i64 {
            let emptied = generation_to_empty(day * length() + 5);
            let in_use = (day - REMEMBERED..=day + 1).map(|day| day.rem_euclid(GENERATIONS));
            assert!(in_use.clone().all(|generation| generation != emptied));
            // And one more stands between, for clocks that differ.
            let before = (day - REMEMBERED - 2).rem_euclid(GENERATIONS);
            assert_eq!(before, emptied);
        }
    }

    fn appended_on(day: i64) -> MessageId {
        let milliseconds = u64::try_from(day * length()).unwrap();
        let id = uuid::Builder::from_unix_timestamp_millis(milliseconds, &[7; 10]);
        MessageId::new(id.into_uuid())
    }

    #[test]
    fn a_clock_that_is_behind_empties_nothing_that_is_remembered() {
        let today = 20_000;
        assert!(is_over(appended_on(today - 14), today * length()));
        for behind in 2..=30 {
            let now = (today - behind) * length();
            let generation = generation_to_empty(now);
            let is_there = |day: &i64| day.rem_euclid(GENERATIONS) == generation;
            for day in (today - REMEMBERED..=today + 1).filter(is_there) {
                assert!(!is_over(appended_on(day), now), "{behind} behind: {day}");
            }
        }
    }
}
