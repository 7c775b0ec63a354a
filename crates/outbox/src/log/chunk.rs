//! Messages as they are read.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use tenantry_core::{CorrelationId, Result, TenantId};
use tenantry_store::ValueError;
use tenantry_store::own::{Arguments, Engine, OwnStatement};
use uuid::Uuid;

use super::{Group, Log, MESSAGES, Position, Share, Token, lost};
use crate::partition::PARTITIONS;
use crate::{Message, MessageId, NewMessage};

/// How many bytes of payloads are read at a time at most, but for one message.
pub(crate) const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Messages in the order of their positions.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) rows: Vec<Row>,
    /// Those among them that are there and cannot be read.
    pub(crate) unreadable: Vec<Unreadable>,
    /// Whether there was no room for more of them.
    pub(crate) is_cut: bool,
    /// The snapshot up to which they are, where nothing was begun before.
    pub(crate) snapshot: Option<String>,
    /// The highest position that it shows.
    pub(crate) highest: i64,
}

impl Chunk {
    /// Returns how many messages it has.
    pub(crate) const fn len(&self) -> usize {
        self.rows.len() + self.unreadable.len()
    }

    /// Returns the positions of all.
    pub(crate) fn positions(&self) -> Vec<i64> {
        let read = self.rows.iter().map(|row| row.position);
        read.chain(self.unreadable.iter().map(|row| row.position))
            .collect()
    }

    /// Returns the position of the last one.
    pub(crate) fn last(&self) -> Option<i64> {
        let read = self.rows.last().map(|row| row.position);
        read.max(self.unreadable.last().map(|row| row.position))
    }
}

/// A message with its number.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) position: i64,
    pub(crate) message: Message,
}

/// A row that somebody wrote by hand, of which no message can be made.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) position: i64,
    /// The key that it is of, where that can be read.
    pub(crate) key: Option<(TenantId, String)>,
    pub(crate) error: ValueError,
}

impl Log {
    /// Reads what comes next in parts for a share of the tenants, of the positions up to `end`; fewer than `limit`
    /// rows are all there is of those up to the snapshot, unless there was no room for more.
    ///
    /// # Errors
    ///
    /// `Conflict` where another server answers than the one of the claim: the position says nothing of what that has.
    pub(crate) async fn read(
        &self,
        token: Token,
        partitions: &[i16],
        (share, position): (&Share, &Position),
        end: i64,
        limit: usize,
    ) -> Result<Chunk> {
        let bind = self.bind_new(partitions, share, position, end, limit);
        let statement = OwnStatement {
            operation: "read messages",
            table: &MESSAGES,
            sql: &self.texts.read,
            bind: &bind,
        };
        let mut chunk = Chunk::default();
        let mut server = None;
        let mut room = Room::default();
        let mut work = self.scope.read_own_indexed("read messages").await?;
        work.fetch(&statement, &mut |row| {
            match row.text(0)? {
                Some(snapshot) => {
                    chunk.snapshot = Some(snapshot.to_owned());
                    chunk.highest = row.integer(1)?.unwrap_or_default();
                    server = row.text(4)?.map(str::to_owned);
                }
                None => match room.read(row, 1)? {
                    Some(Ok(row)) => chunk.rows.push(row),
                    Some(Err(row)) => chunk.unreadable.push(row),
                    None => {}
                },
            }
            Ok(())
        })
        .await?;
        chunk.is_cut = room.is_cut;
        match server {
            Some(server) if server != token.server.to_string() => Err(lost("read messages")),
            _ => Ok(chunk),
        }
    }

    /// Returns the first position of each of some tenants behind `from`, up to `end`, where they have one there.
    pub(crate) async fn firsts(
        &self,
        tenants: Vec<TenantId>,
        from: i64,
        end: i64,
    ) -> Result<HashMap<TenantId, i64>> {
        let share = Share {
            tenants,
            is_theirs: true,
        };
        let tenants = self.tenants(&share);
        let statement = OwnStatement {
            operation: "look for messages",
            table: &MESSAGES,
            sql: &self.texts.firsts,
            bind: &|arguments| {
                arguments.value().int64(from)?;
                arguments.value().int64(end)?;
                arguments.value().text(&tenants)?;
                arguments.value().bool(share.is_theirs)
            },
        };
        let mut firsts = HashMap::new();
        let mut work = self.scope.read_own_indexed("look for messages").await?;
        work.fetch(&statement, &mut |row| {
            let tenant = row.uuid(0)?.ok_or(IS_NULL)?;
            let tenant = TenantId::new(tenant).map_err(|_| NO_TENANT)?;
            firsts.insert(tenant, row.integer(1)?.ok_or(IS_NULL)?);
            Ok(())
        })
        .await?;
        Ok(firsts)
    }

    /// Returns whether something is to be done for parts: new messages, or parked ones whose turn it is or will be.
    pub(crate) async fn is_awaited(&self, group: &Group) -> Result<bool> {
        let share = group.progress.share_of_rest();
        let bind = self.bind_new(&group.partitions, &share, &group.progress.rest, i64::MAX, 1);
        let statement = OwnStatement {
            operation: "look for messages",
            table: &MESSAGES,
            sql: &self.texts.awaited,
            bind: &bind,
        };
        let mut is_awaited = !group.progress.lanes.is_empty();
        let mut work = self.scope.read_own_indexed("look for messages").await?;
        work.fetch(&statement, &mut |row| {
            is_awaited |= row.bool(0)?.unwrap_or(true);
            Ok(())
        })
        .await?;
        Ok(is_awaited)
    }

    fn bind_new<'a>(
        &'a self,
        partitions: &[i16],
        share: &'a Share,
        position: &'a Position,
        end: i64,
        limit: usize,
    ) -> impl Fn(&mut Arguments<'_>) -> Result<(), ValueError> + Send + Sync + 'a {
        let is_all = self.engine == Engine::Postgres && partitions.len() == usize::from(PARTITIONS);
        let partitions = (!is_all).then(|| self.list(partitions));
        let tenants = self.tenants(share);
        let under_way = position.under_way();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        move |arguments| {
            arguments.value().text(position.after())?;
            match position.upto() {
                Some(upto) => arguments.value().text(upto)?,
                None => arguments.value().null(tenantry_store::ColumnType::Text)?,
            }
            arguments.value().int64(position.cursor())?;
            arguments.value().int64(position.floor())?;
            match &partitions {
                Some(partitions) => arguments.value().text(partitions)?,
                None => arguments.value().null(tenantry_store::ColumnType::Text)?,
            }
            arguments.value().int64(limit)?;
            if self.engine != Engine::Postgres {
                arguments.value().text(&tenants)?;
                arguments.value().bool(share.is_theirs)?;
                return arguments.value().int64(end);
            }
            arguments.value().text(&under_way)?;
            arguments.value().text(position.first_unknown())?;
            arguments.value().text(position.horizon())?;
            arguments.value().text(&tenants)?;
            arguments.value().bool(share.is_theirs)?;
            arguments.value().int64(end)
        }
    }

    /// Deletes what has left, where it is not emptied by generations.
    pub(super) async fn delete_in_tx(
        &self,
        work: &mut tenantry_store::own::OwnWork,
        positions: &[i64],
    ) -> Result<()> {
        if positions.is_empty() {
            return Ok(());
        }
        let positions = self.list(positions);
        let statement = OwnStatement {
            operation: "delete messages",
            table: &MESSAGES,
            sql: &self.texts.delete,
            bind: &|arguments| arguments.value().text(&positions),
        };
        work.execute(&statement).await.map(drop)
    }
}

const NO_TENANT: ValueError = ValueError::new("holds no tenant");
const IS_NULL: ValueError = ValueError::new("is NULL");

/// What rows are read into: those that come when it is full are left where they are.
#[derive(Debug, Default)]
pub(super) struct Room {
    bytes: usize,
    pub(super) is_cut: bool,
}

impl Room {
    /// Returns whether nothing more has room.
    pub(super) const fn is_full(&self) -> bool {
        self.bytes >= MOST_BYTES
    }

    /// Reads a row whose columns begin at one, if there is room for it; only what has no number is an error.
    pub(super) fn read(
        &mut self,
        row: &dyn tenantry_store::Row,
        first: usize,
    ) -> Result<Option<Result<Row, Unreadable>>, ValueError> {
        if self.is_cut {
            return Ok(None);
        }
        let row = match Row::read(row, first) {
            Ok(row) => row,
            Err(error) => {
                // It came with all of it.
                let payload = row.bytes(first + 7).ok().flatten();
                self.bytes = self.bytes.saturating_add(payload.map_or(0, <[u8]>::len));
                return Ok(Some(Err(Unreadable {
                    position: row.integer(first)?.ok_or(IS_NULL)?,
                    key: key_of(row, first),
                    error,
                })));
            }
        };
        let bytes = self.bytes.saturating_add(row.message.payload().len());
        self.is_cut = self.bytes > 0 && bytes > MOST_BYTES;
        self.bytes = bytes;
        Ok((!self.is_cut).then_some(Ok(row)))
    }
}

/// Reads the key that a row is of, if that much can be read.
fn key_of(row: &dyn tenantry_store::Row, first: usize) -> Option<(TenantId, String)> {
    let tenant = row.uuid(first + 1).ok().flatten()?;
    let key = row.text(first + 4).ok().flatten()?;
    Some((TenantId::new(tenant).ok()?, key.to_owned()))
}

impl Row {
    /// Reads a message whose columns begin at one.
    pub(crate) fn read(row: &dyn tenantry_store::Row, first: usize) -> Result<Self, ValueError> {
        let occurred_at = row.timestamp(first + 5)?.ok_or(IS_NULL)?;
        Self::read_at(row, first, occurred_at)
    }

    /// Reads one that was given up, whose time is the start of Unix time where nobody can read it.
    pub(crate) fn read_given_up(
        row: &dyn tenantry_store::Row,
        first: usize,
    ) -> Result<Self, ValueError> {
        let occurred_at = row.timestamp(first + 5).ok().flatten();
        Self::read_at(row, first, occurred_at.unwrap_or_default())
    }

    fn read_at(
        row: &dyn tenantry_store::Row,
        first: usize,
        occurred_at: DateTime<Utc>,
    ) -> Result<Self, ValueError> {
        let text = |column: usize| row.text(first + column);
        let owned = |column: usize| text(column).map(|text| text.map(str::to_owned));
        let always = |column: usize| owned(column)?.ok_or(IS_NULL);
        let uuid = |column: usize| -> Result<Uuid, ValueError> {
            row.uuid(first + column)?.ok_or(IS_NULL)
        };
        // What somebody wrote there by hand and nobody can read holds up no message.
        let correlation_id = owned(10)?.and_then(|it| CorrelationId::new(it).ok());
        let trace = text(12)?.and_then(|it| it.parse().ok());
        let causation_id = row.uuid(first + 11).ok().flatten();
        Ok(Self {
            position: row.integer(first)?.ok_or(IS_NULL)?,
            message: Message {
                tenant: TenantId::new(uuid(1)?).map_err(|_| NO_TENANT)?,
                occurred_at,
                content: NewMessage {
                    id: MessageId::new(uuid(2)?),
                    event_type: always(3)?.into(),
                    key: always(4)?,
                    project: owned(8)?,
                    module: owned(9)?,
                    correlation_id,
                    causation_id: causation_id.map(MessageId::new),
                    trace,
                    trace_state: owned(13)?,
                    occurred_at: Some(occurred_at),
                    content_type: always(6)?.into(),
                    payload: row.bytes(first + 7)?.ok_or(IS_NULL)?.to_owned(),
                },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use tenantry_core::RequestContext;
    use tenantry_store::{Migrations, PlatformStore, SqliteSettings, TenantStore, sqlite};

    use super::*;
    use crate::{OUTBOX_SQLITE, Outbox};

    const NO_CLAIM: Token = Token {
        number: 0,
        server: 0,
    };

    #[tokio::test]
    async fn sqlite_is_read_through_windows_as_well() {
        let settings = SqliteSettings::temporary();
        let migrations = Migrations::embedded(&[(1, "outbox", OUTBOX_SQLITE)]);
        sqlite::migrate(&settings, &migrations).await.unwrap();
        let store = TenantStore::sqlite(settings.clone()).await.unwrap();
        let platform = PlatformStore::sqlite(settings).await.unwrap();
        let outbox = Outbox::new(&store);
        for tenant in [TenantId::generate(), TenantId::generate()] {
            let work = store.tenant(tenant).begin().await.unwrap();
            for key in ["a", "b", "c"] {
                let message = NewMessage::new("suite.a", key);
                outbox.append_message(&work, message).unwrap();
            }
            work.commit().await.unwrap();
        }
        let scope = platform.scope("a test", RequestContext::system()).unwrap();
        let log = Log::new(scope.for_background());
        let partitions: Vec<_> = (0..PARTITIONS.cast_signed()).collect();
        let progress = crate::log::Progress::default();
        let (share, mut position) = (progress.share_of_rest(), progress.rest);
        let mut read = Vec::new();
        for end in [4, 8] {
            let of_share = (&share, &position);
            let chunk = log.read(NO_CLAIM, &partitions, of_share, end, 100);
            let chunk = chunk.await.unwrap();
            assert_eq!(
                (chunk.highest, chunk.snapshot.as_deref()),
                (6, Some("0:0:"))
            );
            let positions: Vec<_> = chunk.rows.iter().map(|row| row.position).collect();
            position.advance(end);
            read.push(positions);
        }
        assert_eq!(read, [vec![1, 2, 3, 4], vec![5, 6]]);
    }
}
