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
//! writes then, finds no row. Only the clock of the database counts. Nor does it read or write anything where another
//! server has taken the place of the one on which it was made: see [`Token`].
//!
//! # For whom
//!
//! What is read in the order of positions makes all wait for whoever has much. So a tenant that has a good part of
//! a full chunk gets a lane: a position of its own, which is where that of the others was. The others are read past its
//! rows, through a bounded window at a time, and are asked for between two parts of the lane. A lane ends when it
//! is abreast of the others. All positions of a worker stand in one text, so that they are saved, taken over and given back
//! together.

mod chunk;
mod claims;
mod cluster;
mod parked;
mod position;
mod progress;
mod prune;
mod stands;
mod status;
mod text;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, Result};
use tenantry_store::own::{Engine, OwnStatement, OwnTable, OwnWork};
use tenantry_store::{PlatformScope, ValueError};

#[cfg(feature = "conformance")]
pub(crate) use self::chunk::MOST_BYTES;
pub(crate) use self::chunk::{Chunk, Row, Unreadable};
pub(crate) use self::claims::Token;
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
    ahead: Arc<Mutex<HashMap<(i64, i64), Instant>>>,
}

/// Parts that are equally far.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) partitions: Vec<i16>,
    pub(crate) progress: Progress,
    /// Whether that stands in the claim itself, and not with each part.
    pub(crate) is_main: bool,
    /// Which lane has its turn next; it is stored nowhere.
    pub(crate) turn: usize,
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

    /// The same for messages by their positions.
    async fn begin_indexed(&self, operation: &'static str) -> Result<OwnWork> {
        self.scope.begin_own_indexed(operation).await
    }

    async fn read_one(&self, operation: &'static str) -> Result<OwnWork> {
        self.scope.read_own(operation).await
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
        let mut work = match passed.failed.is_empty() {
            true => self.begin("save position").await?,
            false => self.begin_indexed("save position").await?,
        };
        // First, for whoever writes the claim locks it, and its heartbeat waits.
        self.park_in_tx(&mut work, &passed.failed).await?;
        let position = self.save_in_tx(&mut work, token, group).await?;
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
                arguments.value().int64(token.number)?;
                arguments.value().text(&position)?;
                if !group.is_main {
                    arguments.value().text(&partitions)?;
                }
                self.bind_server(token, arguments)
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
                arguments.value().int64(token.number)?;
                arguments.value().text(position)?;
                arguments.value().text(&partitions)?;
                self.bind_server(token, arguments)
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

const NO_PARTITION: ValueError = ValueError::new("is no part of the keys");

/// Says that what a worker has claimed is another's.
pub(crate) fn lost(operation: &'static str) -> Error {
    Error::new(ErrorKind::Conflict, operation)
        .with_subject("claim")
        .with_detail("the claim has expired and was taken away, or another server answers")
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
