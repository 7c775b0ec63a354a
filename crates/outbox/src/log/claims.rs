//! Who hands over which parts: claims, and what is done under them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantry_core::{Error, ErrorKind, Result};
use tenantry_store::ValueError;
use tenantry_store::own::{Arguments, BindOwn, Engine, OwnStatement, OwnWork};

use super::{CLAIMS, Group, Log, NO_PARTITION, PARTITIONS, Progress, lost, milliseconds};

/// The number of a claim, and the server on which it was made: what its owner writes is refused once the claim is gone, or
/// another server answers.
///
/// Another one may know less: where a standby that was behind takes over, numbers of transactions are given out again, and
/// what a worker has in mind of the first tells of those of the second that they have left. It begins anew then,
/// from what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(super) number: i64,
    /// When it was started, in microseconds of Unix time: each process of a server has its own.
    pub(super) server: i64,
}

impl Log {
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
                let server = row.integer(1)?.unwrap_or_default();
                token = row.integer(0)?.map(|number| Token { number, server });
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
                arguments.value().int64(token.number)?;
                arguments.value().int64(milliseconds(lease))?;
                self.bind_server(token, arguments)
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
            let claim = (token, expires_at);
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
            let bind = |arguments: &mut Arguments<'_>| arguments.value().int64(token);
            let bind_seen = |arguments: &mut Arguments<'_>| {
                arguments.value().int64(token)?;
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

    /// Takes parts that nobody has, `most` of them at most: those that the claim has and its worker knows nothing of, since
    /// the answer was lost when it took them, are taken again.
    pub(crate) async fn take(
        &self,
        token: Token,
        has: &[i16],
        most: usize,
    ) -> Result<Vec<(i16, Progress)>> {
        let has = self.list(has);
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
                arguments.value().int64(token.number)?;
                arguments
                    .value()
                    .int64(i64::try_from(most).unwrap_or(i64::MAX))?;
                arguments.value().text(&has)
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

    /// Binds the server of a claim, where there may be another.
    pub(super) fn bind_server(
        &self,
        token: Token,
        arguments: &mut Arguments<'_>,
    ) -> Result<(), ValueError> {
        match self.engine {
            Engine::Postgres => arguments.value().int64(token.server),
            _ => Ok(()),
        }
    }

    /// Gives parts back, with their position; on another server they are left as they stand there.
    pub(crate) async fn release(&self, token: Token, group: &Group) -> Result<()> {
        let mut work = self.begin("release partitions").await?;
        let position = group.progress.to_string();
        self.of_partitions(&mut work, &self.texts.release, token, &position, group)
            .await?;
        work.commit().await
    }

    /// Gives a claim up, and its parts that were not given back as they stand.
    pub(crate) async fn unclaim(&self, token: Token) -> Result<()> {
        let mut work = self.begin("give claim up").await?;
        let bind = |arguments: &mut Arguments<'_>| arguments.value().int64(token.number);
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
    pub(super) async fn holds(&self, work: &mut OwnWork, token: Token) -> Result<bool> {
        let mut holds = false;
        let statement = OwnStatement {
            operation: "hold claim",
            table: &CLAIMS,
            sql: &self.texts.hold,
            bind: &|arguments| {
                arguments.value().int64(token.number)?;
                self.bind_server(token, arguments)
            },
        };
        work.fetch(&statement, &mut |_| {
            holds = true;
            Ok(())
        })
        .await?;
        Ok(holds)
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
