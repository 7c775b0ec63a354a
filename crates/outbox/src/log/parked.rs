//! Messages of keys that stand still.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use tenantry_core::{Result, TenantId};
use tenantry_store::ValueError;
use tenantry_store::own::{Arguments, Engine, OwnStatement, OwnWork};

use super::chunk::{MOST_BYTES, Room};
use super::{Log, MESSAGES, PARKED, Row, Token, Unreadable, lost, milliseconds};
use crate::partition::partition_of;

/// What becomes of a message that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) state: Parked,
    /// After what time it is tried again.
    pub(crate) wait: Duration,
    /// Whether an attempt is used up.
    pub(crate) counts: bool,
    /// The kind of the failure.
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
}

impl Verdict {
    /// Nobody can hand it over, and nobody knows what was to come after it.
    pub(crate) fn unreadable(row: &Unreadable) -> Self {
        Self {
            state: Parked::Blocked,
            wait: Duration::ZERO,
            counts: true,
            reason: "unreadable",
            detail: row.error.to_string(),
        }
    }
}

/// How a message is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parked {
    /// It is tried again, and its key waits.
    Waiting,
    /// Its key waits until somebody replays or discards it.
    Blocked,
    /// Its key has passed it by.
    Dead,
}

impl Parked {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Blocked => "blocked",
            Self::Dead => "dead",
        }
    }
}

/// Messages that a position has passed.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// All of them: where nothing is emptied by generations, they are deleted one by one.
    pub(crate) positions: Vec<i64>,
    pub(crate) failed: Vec<Failed>,
}

/// Messages that go from the log into the side table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    /// Their positions, in order.
    pub(crate) positions: Vec<i64>,
    /// What became of the first; none where it only stands behind another.
    pub(crate) first: Option<Verdict>,
}

/// Messages of the side table whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Due {
    pub(crate) rows: Vec<ParkedRow>,
    /// Whether there was no room for all of the last key.
    pub(crate) is_cut: bool,
}

/// A message of the side table.
#[derive(Debug)]
pub(crate) struct ParkedRow {
    pub(crate) row: Result<Row, Unreadable>,
    pub(crate) is_blocked: bool,
    pub(crate) attempts: u32,
}

/// Keys that stand still.
#[derive(Debug, Default)]
pub(crate) struct ParkedKeys {
    pub(crate) keys: HashSet<(TenantId, String)>,
    /// Whether there are no others, in no other part: rows that somebody wrote by hand.
    pub(crate) are_all: bool,
}

impl Log {
    /// Copies messages into the side table, and writes down what became of them.
    pub(super) async fn park_in_tx(&self, work: &mut OwnWork, failed: &[Failed]) -> Result<()> {
        let positions: Vec<_> = failed
            .iter()
            .flat_map(|it| it.positions.iter().copied())
            .collect();
        if positions.is_empty() {
            return Ok(());
        }
        let positions = self.list(&positions);
        let statement = OwnStatement {
            operation: "park messages",
            table: &MESSAGES,
            sql: &self.texts.park,
            bind: &|arguments| arguments.value().text(&positions),
        };
        work.execute(&statement).await?;
        let verdicts = failed.iter().filter_map(|failed| {
            let position = failed.positions.first()?;
            Some((*position, failed.first.as_ref()?))
        });
        self.fail_in_tx(work, verdicts).await
    }

    /// Writes down what became of messages, by one statement: a transaction that holds up the next chunk is short.
    async fn fail_in_tx(
        &self,
        work: &mut OwnWork,
        verdicts: impl Iterator<Item = (i64, &Verdict)>,
    ) -> Result<()> {
        let verdicts: Vec<_> = verdicts
            .map(|(position, verdict)| {
                json!({
                    "position": position,
                    "state": verdict.state.as_str(),
                    "counts": i32::from(verdict.counts),
                    "wait": milliseconds(verdict.wait),
                    "reason": verdict.reason,
                    "detail": verdict.detail,
                })
            })
            .collect();
        if verdicts.is_empty() {
            return Ok(());
        }
        let verdicts = Value::Array(verdicts).to_string();
        let statement = OwnStatement {
            operation: "judge messages",
            table: &PARKED,
            sql: &self.texts.fail,
            bind: &|arguments| arguments.value().text(&verdicts),
        };
        work.execute(&statement).await.map(drop)
    }

    /// Returns the keys that stand still; those that are parked beyond the longest wait have their turn.
    pub(crate) async fn parked_keys(
        &self,
        partitions: &[i16],
        longest: Duration,
    ) -> Result<ParkedKeys> {
        let (mut keys, mut are_all) = (HashSet::new(), true);
        let mut is_any_ahead = false;
        let partitions = self.list(partitions);
        let bind = |arguments: &mut Arguments<'_>| {
            arguments.value().text(&partitions)?;
            arguments.value().int64(milliseconds(longest))
        };
        let reading = |sql| OwnStatement {
            operation: "read parked keys",
            table: &PARKED,
            sql,
            bind: &bind,
        };
        let mut work = self.read_one("read parked keys").await?;
        let statement = reading(&self.texts.parked_keys);
        work.fetch(&statement, &mut |row| {
            is_any_ahead |= row.bool(2)?.unwrap_or_default();
            // Behind what nobody can read is no message that anybody can.
            let tenant = row.uuid(0).ok().flatten();
            let tenant = tenant.and_then(|tenant| TenantId::new(tenant).ok());
            match (tenant, row.text(1)?) {
                (Some(tenant), Some(key)) => {
                    are_all &= row.integer(3)? == Some(partition_of(tenant, key).into());
                    keys.insert((tenant, key.to_owned()));
                }
                _ => are_all = false,
            }
            Ok(())
        })
        .await?;
        drop(work);
        if is_any_ahead {
            let mut work = self.begin("read parked keys").await?;
            work.execute(&reading(&self.texts.bring_forward)).await?;
            work.commit().await?;
        }
        Ok(ParkedKeys { keys, are_all })
    }

    /// Reads the messages of keys whose turn it is, by keys and in order: first those that have waited longest.
    ///
    /// They are looked for by their keys where these are given, and else by the parts: a key that has many takes long then.
    pub(crate) async fn parked_due(
        &self,
        partitions: &[i16],
        keys: Option<&HashSet<(TenantId, String)>>,
    ) -> Result<Due> {
        const STATE: usize = 14;
        const MOST: usize = 2_000;
        let mut due = Due::default();
        let mut room = Room::default();
        let (sql, sought) = match keys {
            Some(keys) => (&self.texts.due_of_keys, self.keys(partitions, keys)),
            None => (&self.texts.due_in_parts, self.list(partitions)),
        };
        let statement = OwnStatement {
            operation: "read parked messages",
            table: &PARKED,
            sql,
            bind: &|arguments| {
                arguments.value().text(&sought)?;
                let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
                arguments.value().int64(number(MOST))?;
                // No more than there is room for comes from the database at all.
                arguments.value().int64(number(MOST_BYTES))
            },
        };
        let mut work = self.read_one("read parked messages").await?;
        work.fetch(&statement, &mut |row| {
            let attempts = row
                .integer(STATE + 1)?
                .and_then(|it| u32::try_from(it).ok());
            let Some(read) = room.read(row, 0)? else {
                return Ok(());
            };
            due.rows.push(ParkedRow {
                row: read,
                is_blocked: row.text(STATE)? == Some(Parked::Blocked.as_str()),
                attempts: attempts.ok_or(NO_COUNT)?,
            });
            Ok(())
        })
        .await?;
        due.is_cut = room.is_cut || room.is_full() || due.rows.len() >= MOST;
        Ok(due)
    }

    /// Writes keys of some parts as one argument.
    fn keys(&self, partitions: &[i16], keys: &HashSet<(TenantId, String)>) -> String {
        let keys = keys.iter().filter_map(|(tenant, key)| {
            let partition = partition_of(*tenant, key);
            let tenant = tenant.as_uuid();
            let tenant = match self.engine {
                Engine::Postgres => tenant.to_string(),
                _ => tenant.simple().to_string(),
            };
            partitions.contains(&partition).then(
                || json!({ "partition_id": partition, "tenant_id": tenant, "ordering_key": key }),
            )
        });
        Value::Array(keys.collect()).to_string()
    }

    /// Removes messages of the side table that have left, and writes down what became of others.
    ///
    /// # Errors
    ///
    /// `Conflict` if the claim is gone; nothing is written then.
    pub(crate) async fn settle_parked(
        &self,
        token: Token,
        left: &[i64],
        failed: &[(i64, Verdict)],
    ) -> Result<()> {
        let mut work = self.begin_indexed("settle parked messages").await?;
        if !self.holds(&mut work, token).await? {
            return Err(lost("settle parked messages"));
        }
        if !left.is_empty() {
            let left = self.list(left);
            let statement = OwnStatement {
                operation: "unpark messages",
                table: &PARKED,
                sql: &self.texts.unpark,
                bind: &|arguments| arguments.value().text(&left),
            };
            work.execute(&statement).await?;
        }
        let verdicts = failed
            .iter()
            .map(|(position, verdict)| (*position, verdict));
        self.fail_in_tx(&mut work, verdicts).await?;
        work.commit().await
    }
}

const NO_COUNT: ValueError = ValueError::new("holds no count of attempts");
