//! The tables as a worker sees them: claims, positions, messages.
//!
//! # How messages are read
//!
//! Rows are appended and never changed. What is new since a snapshot S is what S does not show: rows of
//! transactions that had no id yet, whose positions are above every position that S shows (`floor`), and rows
//! of transactions that were under way: those that S names, and those behind the last one that had ended, which it does not. So
//! scans of two indices find them, and none widens while a transaction elsewhere stays open. What is new is read up to a second snapshot, in the order of positions,
//! in as many chunks as it takes; then that snapshot takes the place of the first. A rollback leaves
//! nothing to wait for.
//!
//! SQLite has one writer at a time: there positions alone tell what is new, and what has left is deleted.
//!
//! # Who reads
//!
//! Keys fall into 64 parts. A worker has one row in `outbox_claims`, renewed by a heartbeat, and its number is
//! the fencing token: each part that it has claimed bears it, and every write of the worker names it. Where the row has
//! expired, another takes it away in one transaction, together with all its parts; what the one before
//! writes then, finds no row. Only the clock of the database counts.
//!
//! # For whom
//!
//! What is read in the order of positions makes all wait for whoever has much. So a tenant that has a good part of
//! a full chunk gets a lane: a position of its own, which is where that of the others was. The others are read past its
//! rows, through a bounded window at a time, and are asked for between two parts of the lane. A lane ends when it
//! is abreast of the others. All positions of a worker stand in one text, so that they are saved, taken over and given back
//! together.

mod chunk;
mod cluster;
mod parked;
mod position;
mod progress;
mod prune;
mod status;
mod text;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, Result};
use tenantry_store::own::{Arguments, BindOwn, Engine, OwnStatement, OwnTable, OwnWork};
use tenantry_store::{PlatformScope, ValueError};

#[cfg(feature = "conformance")]
pub(crate) use self::chunk::MOST_BYTES;
pub(crate) use self::chunk::{Chunk, Row, Unreadable};
pub(crate) use self::parked::{Failed, Parked, Passed, Verdict};
pub(crate) use self::position::Position;
pub(crate) use self::progress::{Lane, Progress, Share};
pub use self::status::OutboxStatus;
pub(crate) use self::text::{COLUMNS, Texts};

pub(crate) static MESSAGES: OwnTable = OwnTable::new("outbox_messages");
pub(crate) static CLAIMS: OwnTable = OwnTable::new("outbox_claims");
pub(crate) static PARTITIONS: OwnTable = OwnTable::new("outbox_partitions");
pub(crate) static PARKED: OwnTable = OwnTable::new("outbox_parked");
static CLUSTER: OwnTable = OwnTable::new("outbox_cluster");

/// The tables of one database.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    scope: PlatformScope,
    engine: Engine,
    texts: Arc<Texts>,
    /// Claims that end later than they can, and since when they were seen so.
    ahead: Arc<Mutex<HashMap<(Token, i64), Instant>>>,
}

/// The number of a claim: what its owner writes is refused once it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Token(i64);

/// Parts that are equally far.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) partitions: Vec<i16>,
    pub(crate) progress: Progress,
    /// Whether that stands in the claim itself, and not with each part.
    pub(crate) is_main: bool,
}

impl Log {
    pub(crate) fn new(scope: PlatformScope) -> Self {
        let engine = scope.engine();
        let texts = Arc::new(Texts::new(engine, |text| scope.own_sql(text)));
        Self {
            scope,
            engine,
            texts,
            ahead: Arc::default(),
        }
    }

    pub(crate) async fn begin(&self, operation: &'static str) -> Result<OwnWork> {
        self.scope.begin_own(operation).await
    }

    async fn read_one(&self, operation: &'static str) -> Result<OwnWork> {
        self.scope.read_own(operation).await
    }

    /// Makes a claim that has no parts yet.
    ///
    /// # Errors
    ///
    /// `AlreadyExists` if a worker of the name is alive.
    pub(crate) async fn claim(&self, worker: &str, lease: Duration) -> Result<Token> {
        let mut work = self.begin("claim outbox").await?;
        let mut token = None;
        let statement = OwnStatement {
            operation: "claim outbox",
            table: &CLAIMS,
            sql: &self.texts.claim,
            bind: &|arguments| {
                arguments.value().text(worker)?;
                arguments.value().int64(milliseconds(lease))
            },
        };
        let claimed = work
            .fetch(&statement, &mut |row| {
                token = row.integer(0)?.map(Token);
                Ok(())
            })
            .await;
        claimed.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => Error::new(ErrorKind::AlreadyExists, "claim outbox")
                .with_subject(format!("worker {worker}"))
                .with_detail("a worker of this name is running: names are told apart by process"),
            _ => error,
        })?;
        work.commit().await?;
        token.ok_or_else(|| Error::new(ErrorKind::Unexpected, "claim outbox"))
    }

    /// Puts the end of a claim off; false if it is gone.
    pub(crate) async fn renew(&self, token: Token, lease: Duration) -> Result<bool> {
        let mut work = self.begin("renew claim").await?;
        let statement = OwnStatement {
            operation: "renew claim",
            table: &CLAIMS,
            sql: &self.texts.renew,
            bind: &|arguments| {
                arguments.value().int64(token.0)?;
                arguments.value().int64(milliseconds(lease))
            },
        };
        let renewed = work.execute(&statement).await?;
        work.commit().await?;
        Ok(renewed == 1)
    }

    /// Takes away the claims that have expired, and returns how many others there are.
    ///
    /// One that ends later than any that is made now is of a time when the clock of the server was ahead. Its worker, if it
    /// lives, renews it: it is dead where nobody has for as long as it is claimed at a time, by the clock of this process.
    pub(crate) async fn reap(&self) -> Result<usize> {
        let mut live = 0;
        let mut dead = Vec::new();
        let mut ahead = HashMap::new();
        let seen = self.ahead.lock().clone();
        let mut work = self.begin("reap claims").await?;
        let none = |_: &mut Arguments<'_>| Ok(());
        work.fetch(&reaping(&self.texts.claims, &none), &mut |row| {
            let (Some(token), Some(expires_at)) = (row.integer(0)?, row.integer(3)?) else {
                return Ok(());
            };
            let claim = (Token(token), expires_at);
            let mut is_dead = row.bool(1)?.unwrap_or_default();
            if row.bool(2)?.unwrap_or_default() {
                let since = seen.get(&claim).copied().unwrap_or_else(Instant::now);
                let lease = u64::try_from(row.integer(4)?.unwrap_or_default());
                is_dead = since.elapsed() > Duration::from_millis(lease.unwrap_or_default());
                ahead.insert(claim, since);
            }
            match is_dead {
                true => dead.push(claim),
                false => live += 1,
            }
            Ok(())
        })
        .await?;
        *self.ahead.lock() = ahead;
        if dead.is_empty() {
            return Ok(live);
        }
        for (token, expires_at) in dead {
            let bind = |arguments: &mut Arguments<'_>| arguments.value().int64(token.0);
            let bind_seen = |arguments: &mut Arguments<'_>| {
                arguments.value().int64(token.0)?;
                arguments.value().int64(expires_at)
            };
            let mut is_dead = false;
            // Unless it was renewed since.
            let lock = reaping(&self.texts.lock_dead, &bind_seen);
            work.fetch(&lock, &mut |_| {
                is_dead = true;
                Ok(())
            })
            .await?;
            if is_dead {
                work.execute(&reaping(&self.texts.free, &bind)).await?;
                work.execute(&reaping(&self.texts.unclaim, &bind)).await?;
            }
        }
        work.commit().await?;
        Ok(live)
    }

    /// Takes parts that nobody has, `most` of them at most.
    pub(crate) async fn take(&self, token: Token, most: usize) -> Result<Vec<(i16, Progress)>> {
        let mut taken = Vec::new();
        let mut work = self.begin("take partitions").await?;
        if !self.holds(&mut work, token).await? {
            return Err(lost("take partitions"));
        }
        let statement = OwnStatement {
            operation: "take partitions",
            table: &PARTITIONS,
            sql: &self.texts.take,
            bind: &|arguments| {
                arguments.value().int64(token.0)?;
                arguments
                    .value()
                    .int64(i64::try_from(most).unwrap_or(i64::MAX))
            },
        };
        work.fetch(&statement, &mut |row| {
            let partition = row.integer(0)?.and_then(|it| i16::try_from(it).ok());
            let position = row.text(1)?.unwrap_or_default().parse()?;
            taken.push((partition.ok_or(NO_PARTITION)?, position));
            Ok(())
        })
        .await?;
        work.commit().await?;
        Ok(taken)
    }

    /// Writes down how far a group is, and what came of the messages on the way, in one transaction; returns the position
    /// as it was written.
    ///
    /// # Errors
    ///
    /// `Conflict` if the claim is gone; nothing is written then.
    pub(crate) async fn save(
        &self,
        token: Token,
        group: &Group,
        passed: &Passed,
    ) -> Result<Progress> {
        let mut work = self.begin("save position").await?;
        let position = self.save_in_tx(&mut work, token, group).await?;
        self.park_in_tx(&mut work, &passed.failed).await?;
        if self.engine == Engine::Sqlite {
            self.delete_in_tx(&mut work, &passed.positions).await?;
        }
        work.commit().await?;
        Ok(position)
    }

    async fn save_in_tx(
        &self,
        work: &mut OwnWork,
        token: Token,
        group: &Group,
    ) -> Result<Progress> {
        let position = group.progress.to_string();
        let partitions = self.list(&group.partitions);
        let (sql, table, expected) = match group.is_main {
            true => (&self.texts.save_main, &CLAIMS, 1),
            false => (&self.texts.save_side, &PARTITIONS, group.partitions.len()),
        };
        let mut written = Vec::new();
        let statement = OwnStatement {
            operation: "save position",
            table,
            sql,
            bind: &|arguments| {
                arguments.value().int64(token.0)?;
                arguments.value().text(&position)?;
                match group.is_main {
                    true => Ok(()),
                    false => arguments.value().text(&partitions),
                }
            },
        };
        work.fetch(&statement, &mut |row| {
            written.push(row.text(0)?.unwrap_or_default().parse()?);
            Ok(())
        })
        .await?;
        match written.pop() {
            Some(position) if written.len() + 1 == expected => Ok(position),
            _ => Err(lost("save position")),
        }
    }

    /// Makes a group the main one: its position is the claim's from now on, and is returned as it was written.
    pub(crate) async fn merge(&self, token: Token, group: &Group) -> Result<Progress> {
        let mut work = self.begin("merge positions").await?;
        let main = Group {
            is_main: true,
            ..group.clone()
        };
        let position = self.save_in_tx(&mut work, token, &main).await?;
        let merged = self.of_partitions(&mut work, &self.texts.merge, token, "", group);
        if merged.await? != group.partitions.len() as u64 {
            return Err(lost("merge positions"));
        }
        work.commit().await?;
        Ok(position)
    }

    /// Gives parts back, with their position.
    pub(crate) async fn release(&self, token: Token, group: &Group) -> Result<()> {
        let mut work = self.begin("release partitions").await?;
        let position = group.progress.to_string();
        self.of_partitions(&mut work, &self.texts.release, token, &position, group)
            .await?;
        work.commit().await
    }

    /// Gives a claim up whose parts were given back.
    pub(crate) async fn unclaim(&self, token: Token) -> Result<()> {
        let mut work = self.begin("give claim up").await?;
        let bind = |arguments: &mut Arguments<'_>| arguments.value().int64(token.0);
        let statement = |sql| OwnStatement {
            operation: "give claim up",
            table: &CLAIMS,
            sql,
            bind: &bind,
        };
        work.execute(&statement(&self.texts.free)).await?;
        work.execute(&statement(&self.texts.unclaim)).await?;
        work.commit().await
    }

    /// Returns whether a claim is there, and keeps it there for the transaction.
    async fn holds(&self, work: &mut OwnWork, token: Token) -> Result<bool> {
        let mut holds = false;
        let statement = OwnStatement {
            operation: "hold claim",
            table: &CLAIMS,
            sql: &self.texts.hold,
            bind: &|arguments| arguments.value().int64(token.0),
        };
        work.fetch(&statement, &mut |_| {
            holds = true;
            Ok(())
        })
        .await?;
        Ok(holds)
    }

    async fn of_partitions(
        &self,
        work: &mut OwnWork,
        sql: &Arc<str>,
        token: Token,
        position: &str,
        group: &Group,
    ) -> Result<u64> {
        let partitions = self.list(&group.partitions);
        let statement = OwnStatement {
            operation: "save position",
            table: &PARTITIONS,
            sql,
            bind: &|arguments| {
                arguments.value().int64(token.0)?;
                arguments.value().text(position)?;
                arguments.value().text(&partitions)
            },
        };
        work.execute(&statement).await
    }

    /// Writes the tenants of a share as one argument.
    fn tenants(&self, share: &Share) -> String {
        let tenants = share.tenants.iter().map(|tenant| tenant.as_uuid());
        match self.engine {
            Engine::Postgres => {
                let tenants: Vec<_> = tenants.map(|it| it.to_string()).collect();
                format!("{{{}}}", tenants.join(","))
            }
            // As `hex` writes the bytes that are stored.
            _ => {
                let tenants: Vec<_> = tenants.map(|it| format!("\"{:X}\"", it.simple())).collect();
                format!("[{}]", tenants.join(","))
            }
        }
    }

    /// Writes numbers as one argument.
    fn list<T: ToString>(&self, numbers: &[T]) -> String {
        let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
        match self.engine {
            Engine::Postgres => format!("{{{}}}", numbers.join(",")),
            _ => format!("[{}]", numbers.join(",")),
        }
    }
}

fn reaping<'a>(sql: &'a Arc<str>, bind: &'a BindOwn<'a>) -> OwnStatement<'a> {
    OwnStatement {
        operation: "reap claims",
        table: &CLAIMS,
        sql,
        bind,
    }
}

const NO_PARTITION: ValueError = ValueError::new("is no part of the keys");

/// Says that what a worker has claimed is another's.
pub(crate) fn lost(operation: &'static str) -> Error {
    Error::new(ErrorKind::Conflict, operation)
        .with_subject("claim")
        .with_detail("the claim has expired and was taken away")
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
