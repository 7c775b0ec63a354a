//! Emptying generations of which all has left.

use std::time::Duration;

use tenantry_core::{Clock as _, ErrorKind, Result, SystemClock};
use tenantry_store::own::{Arguments, BindOwn, Engine, OwnStatement, OwnWork};

use super::position::under_way;
use super::stands::Stand;
use super::{Log, MESSAGES};
use crate::MessageId;
use crate::inbox::{INBOX, generation_to_empty, is_over};

/// How many milliseconds the clocks of the database and of a process may be apart.
const MOST_BETWEEN_CLOCKS: u64 = 24 * 60 * 60 * 1_000;

/// For how long others may write between two batches that are deleted.
const BETWEEN_BATCHES: Duration = Duration::from_millis(1);

impl Log {
    /// Empties the generations that nothing is written to and of which all has left; returns how many.
    ///
    /// What is in one is looked at first without a lock. Then the lock is taken, which waits for nobody for long,
    /// and once it is there nobody writes: what came meanwhile is found by its transaction.
    pub(crate) async fn prune(&self) -> Result<usize> {
        self.prune_inbox().await?;
        if self.engine != Engine::Postgres {
            // What has left is deleted with the position.
            return Ok(0);
        }
        let (stands, current) = self.standing().await?;
        let mut emptied = 0;
        for generation in (0..3).filter(|it| *it != current) {
            if let Some(seen) = self.all_has_left(generation, &stands).await? {
                match self.empty(generation, &seen).await {
                    Ok(is_empty) => emptied += usize::from(is_empty),
                    // Somebody reads or writes: another time.
                    Err(error) if error.kind() == ErrorKind::Locked => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(emptied)
    }

    /// Empties the generation of the inbox that is remembered no longer.
    pub(crate) async fn prune_inbox(&self) -> Result<()> {
        let mut now = 0;
        let mut work = self.read_one("empty inbox").await?;
        let nothing = |_: &mut Arguments<'_>| Ok(());
        work.fetch(&emptying(&self.texts.clock, &nothing), &mut |row| {
            now = row.integer(0)?.unwrap_or_default();
            Ok(())
        })
        .await?;
        drop(work);
        if SystemClock.now().timestamp_millis().abs_diff(now) > MOST_BETWEEN_CLOCKS {
            // Whose is right nobody knows, and what is emptied too early is handled twice.
            tracing::warn!(
                target: "tenantry::outbox",
                "the clocks of the database and of this process are more than a day apart: marks of the \
                 inbox are not removed"
            );
            return Ok(());
        }
        match self.engine {
            Engine::Postgres => self.empty_of_inbox(now).await.map(drop),
            _ => {
                // There is one writer at a time: others have their turn between two batches.
                while self.empty_of_inbox(now).await? {
                    tokio::time::sleep(BETWEEN_BATCHES).await;
                }
                Ok(())
            }
        }
    }

    /// Empties a generation of the inbox, or takes so many marks of it as a writer need not wait for; returns whether there may be more.
    async fn empty_of_inbox(&self, now: i64) -> Result<bool> {
        let generation = generation_to_empty(now);
        let mut any = None;
        let nothing = |_: &mut Arguments<'_>| Ok(());
        let bind = |arguments: &mut Arguments<'_>| arguments.value().int64(generation);
        let mut work = self.begin("empty inbox").await?;
        work.fetch(&emptying(&self.texts.inbox_to_empty, &bind), &mut |row| {
            any = row.uuid(0)?;
            Ok(())
        })
        .await?;
        // All of one are of the same day. Where that is remembered, the clock is wrong.
        if !any.is_some_and(|id| is_over(MessageId::new(id), now)) {
            return Ok(false);
        }
        if self.engine == Engine::Postgres {
            self.run(&mut work, &self.texts.wait_little).await?;
        }
        let emptied = match self.engine {
            // A number of ours, at the end of a text.
            Engine::Postgres => {
                let forget = format!("{}{generation}", self.texts.forget_inbox).into();
                work.execute(&emptying(&forget, &nothing)).await
            }
            _ => {
                work.execute(&emptying(&self.texts.forget_inbox, &bind))
                    .await
            }
        };
        match emptied {
            Ok(_) => work.commit().await.map(|()| true),
            // Somebody reads: another time.
            Err(error) if error.kind() == ErrorKind::Locked => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns how far all parts are, and the generation that is written to.
    async fn standing(&self) -> Result<(Vec<Stand>, i64)> {
        let mut current = 0;
        let mut work = self.begin("read positions").await?;
        let stands = self.stands_in_tx(&mut work).await?;
        let nothing = |_: &mut Arguments<'_>| Ok(());
        let generation = OwnStatement {
            operation: "read generation",
            table: &MESSAGES,
            sql: &self.texts.current_generation,
            bind: &nothing,
        };
        work.fetch(&generation, &mut |row| {
            current = row.integer(0)?.unwrap_or_default();
            Ok(())
        })
        .await?;
        Ok((stands, current))
    }

    /// Returns a snapshot in which a generation had rows, and all of them had left.
    ///
    /// What has left stays so, while positions go on.
    async fn all_has_left(&self, generation: i64, stands: &[Stand]) -> Result<Option<String>> {
        let (lanes, of_rest): (Vec<_>, Vec<_>) =
            stands.iter().partition(|stand| stand.share.is_theirs);
        let parts: usize = of_rest.iter().map(|stand| stand.partitions.len()).sum();
        if parts != usize::from(crate::partition::PARTITIONS) {
            // Of some nobody knows.
            return Ok(None);
        }
        let mut work = self.begin("look through generation").await?;
        let mut seen = None;
        let bind = |arguments: &mut Arguments<'_>| arguments.value().int64(generation);
        work.fetch(&looking(&self.texts.filled, &bind), &mut |row| {
            seen = row.text(0)?.map(str::to_owned);
            Ok(())
        })
        .await?;
        if seen.is_none() {
            return Ok(None);
        }
        // Of who is behind something is found soon; to find nothing of the others all of it is looked through.
        for stand in lanes.into_iter().chain(of_rest) {
            let (partitions, tenants) = self.written(stand);
            let mut is_any = true;
            let bind = |arguments: &mut Arguments<'_>| {
                arguments.value().int64(generation)?;
                arguments.value().text(&partitions)?;
                arguments.value().text(&tenants)?;
                stand.bind(arguments)?;
                arguments.value().bool(stand.share.is_theirs)
            };
            work.fetch(&looking(&self.texts.unsent_in, &bind), &mut |row| {
                is_any = row.bool(0)?.unwrap_or(true);
                Ok(())
            })
            .await?;
            if is_any {
                return Ok(None);
            }
        }
        // Who empties it waits for nobody.
        work.commit().await?;
        Ok(seen)
    }

    async fn empty(&self, generation: i64, seen: &str) -> Result<bool> {
        let Some(index) = usize::try_from(generation).ok().filter(|it| *it < 3) else {
            return Ok(false);
        };
        let mut work = self.begin("empty generation").await?;
        self.run(&mut work, &self.texts.wait_little).await?;
        self.run(&mut work, &self.texts.lock_generation[index])
            .await?;
        let under_way = format!("{{{}}}", under_way(seen));
        let mut has_newer = true;
        let statement = OwnStatement {
            operation: "empty generation",
            table: &MESSAGES,
            sql: &self.texts.newer,
            bind: &|arguments| {
                arguments.value().int64(generation)?;
                arguments.value().text(seen)?;
                arguments.value().text(&under_way)
            },
        };
        work.fetch(&statement, &mut |row| {
            has_newer = row.bool(0)?.unwrap_or(true);
            Ok(())
        })
        .await?;
        if has_newer {
            return Ok(false);
        }
        self.run(&mut work, &self.texts.truncate[index]).await?;
        work.commit().await?;
        Ok(true)
    }

    async fn run(&self, work: &mut OwnWork, sql: &std::sync::Arc<str>) -> Result<()> {
        let nothing = |_: &mut Arguments<'_>| Ok(());
        let statement = OwnStatement {
            operation: "empty generation",
            table: &MESSAGES,
            sql,
            bind: &nothing,
        };
        work.execute(&statement).await.map(drop)
    }
}

fn looking<'a>(sql: &'a std::sync::Arc<str>, bind: &'a BindOwn<'a>) -> OwnStatement<'a> {
    OwnStatement {
        operation: "look through generation",
        table: &MESSAGES,
        sql,
        bind,
    }
}

fn emptying<'a>(sql: &'a std::sync::Arc<str>, bind: &'a BindOwn<'a>) -> OwnStatement<'a> {
    OwnStatement {
        operation: "empty inbox",
        table: &INBOX,
        sql,
        bind,
    }
}
