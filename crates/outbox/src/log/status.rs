//! How an outbox is doing, for operators.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tenantry_core::{RequestContext, Result};
use tenantry_store::PlatformStore;
use tenantry_store::own::{Arguments, BindOwn, Engine, OwnStatement};

use super::{Log, MESSAGES, Position, Progress};

/// How an outbox is doing.
///
/// # Examples
///
/// ```no_run
/// use tenantry_outbox::OutboxStatus;
/// use tenantry_store::PlatformStore;
///
/// # async fn example(platform: &PlatformStore) -> tenantry_core::Result<()> {
/// let status = OutboxStatus::read(platform).await?;
/// println!("{} workers, {} unsent, {} keys stand still", status.workers, status.backlog, status.blocked);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxStatus {
    /// Which database it is of: on PostgreSQL with the schema, as `orders|public`; on SQLite its file.
    pub database: String,
    /// The cluster of that on PostgreSQL, by its number.
    pub cluster: Option<String>,
    /// How many workers are alive.
    pub workers: u64,
    /// How many messages have not left and are not parked: no more than this, for what was rolled back is counted.
    pub backlog: u64,
    /// When the first of them occurred.
    pub oldest_unsent: Option<DateTime<Utc>>,
    /// How many are parked and wait for their turn.
    pub waiting: u64,
    /// How many were given up and block their key.
    pub blocked: u64,
    /// How many were given up and passed by.
    pub dead: u64,
    /// How many rows of messages the database has to clean up behind workers: none, if all is right.
    pub dead_tuples: u64,
    /// When the first of those occurred whose rows stand in the log, though they may have left: minutes ago, or up to two hours
    /// where nothing comes. Longer, it is since a tenant has a backlog: until that has left, rows of all stand with it.
    pub oldest_kept: Option<DateTime<Utc>>,
    /// How many bytes the log takes with its indices, on PostgreSQL.
    pub bytes: Option<u64>,
}

impl OutboxStatus {
    /// Reads how the outbox of a database is doing, by the side of its workers.
    ///
    /// # Errors
    ///
    /// Those of a repository that reads.
    pub async fn read(platform: &PlatformStore) -> Result<Self> {
        let scope = platform.scope("status of the outbox", RequestContext::system())?;
        Log::new(scope.for_background()).status().await
    }
}

impl Log {
    pub(crate) async fn status(&self) -> Result<OutboxStatus> {
        let mut status = OutboxStatus::default();
        let mut work = self.begin("read status").await?;
        let nothing = |_: &mut Arguments<'_>| Ok(());
        let mut least: Option<Position> = None;
        work.fetch(&reading(&self.texts.positions, &nothing), &mut |row| {
            let progress: Progress = row.text(0)?.unwrap_or_default().parse()?;
            let positions = progress.parts().map(|(_, position)| position.clone());
            least = least
                .take()
                .into_iter()
                .chain(positions)
                .min_by_key(Position::done);
            Ok(())
        })
        .await?;
        let least = least.unwrap_or_default();
        let count = |number: Option<i64>| {
            number
                .and_then(|it| u64::try_from(it).ok())
                .unwrap_or_default()
        };
        let bind = |arguments: &mut Arguments<'_>| {
            if self.engine == Engine::Postgres {
                arguments.value().int64(least.done())?;
                arguments.value().text(least.after())?;
            }
            Ok(())
        };
        let mut is_any = false;
        work.fetch(&reading(&self.texts.unsent, &bind), &mut |row| {
            // A time that nobody can read is there as well.
            let oldest = row.timestamp(0);
            is_any = !matches!(oldest, Ok(None));
            status.oldest_unsent = oldest.unwrap_or_default();
            status.backlog = count(row.integer(1)?);
            status.dead_tuples = count(row.integer(2)?);
            status.workers = count(row.integer(3)?);
            status.database = row.text(4)?.unwrap_or_default().to_owned();
            status.cluster = row.text(5)?.map(str::to_owned);
            status.oldest_kept = row.timestamp(6).unwrap_or_default();
            status.bytes = row.integer(7)?.and_then(|it| u64::try_from(it).ok());
            Ok(())
        })
        .await?;
        if !is_any {
            // Numbers that were drawn and given up.
            status.backlog = 0;
        }
        work.fetch(&reading(&self.texts.parked_counts, &nothing), &mut |row| {
            let number = count(row.integer(1)?);
            match row.text(0)? {
                Some("waiting") => status.waiting = number,
                Some("blocked") => status.blocked = number,
                _ => status.dead = number,
            }
            Ok(())
        })
        .await?;
        Ok(status)
    }
}

fn reading<'a>(sql: &'a Arc<str>, bind: &'a BindOwn<'a>) -> OwnStatement<'a> {
    OwnStatement {
        operation: "read status",
        table: &MESSAGES,
        sql,
        bind,
    }
}
