use std::sync::Arc;

use tenantry_core::{Error, ErrorKind, Result};
use tenantry_store::own::{Arguments, Engine, OwnStatement, Rider};
use tenantry_store::{ColumnType, TenantStore, UnitOfWork, ValueError, ValueSink};

use crate::NewMessage;
use crate::log::MESSAGES;
use crate::partition::partition_of;

/// Writes one message; on SQLite, where a statement costs no round trip, one after the other.
const ONE: &str = "insert into {schema}outbox_messages (tenant_id, id, partition_id, event_type, \
    ordering_key, occurred_at, content_type, payload, project, module, correlation_id, causation_id, \
    trace, trace_state) \
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";

/// The same on PostgreSQL.
const ONE_POSTGRES: &str = "insert into {schema}outbox_messages (tenant_id, id, partition_id, \
    event_type, ordering_key, occurred_at, content_type, payload, project, module, correlation_id, \
    causation_id, trace, trace_state) \
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

/// Writes several at once, in their order.
const MANY: &str = "insert into {schema}outbox_messages (tenant_id, id, partition_id, event_type, \
    ordering_key, occurred_at, content_type, payload, project, module, correlation_id, causation_id, \
    trace, trace_state) \
    select $1, m.* from unnest($2::uuid[], $3::smallint[], $4::text[], $5::text[], \
    $6::timestamptz[], $7::text[], $8::bytea[], $9::text[], $10::text[], $11::text[], $12::uuid[], \
    $13::text[], $14::text[]) as m";

/// What joins a write of another table: see [`Rider`].
const WHERE_WRITTEN: &str = " where (select count(*) from written) > 0";

/// One message that goes along with a write.
const ONE_RIDING: &str = "insert into {schema}outbox_messages (tenant_id, id, partition_id, event_type, \
    ordering_key, occurred_at, content_type, payload, project, module, correlation_id, causation_id, \
    trace, trace_state) \
    select $1::uuid, $2::uuid, $3::smallint, $4::text, $5::text, $6::timestamptz, $7::text, $8::bytea, \
    $9::text, $10::text, $11::text, $12::uuid, $13::text, $14::text";

/// How many messages one statement takes.
const MOST_ROWS: usize = 10_000;

/// How many bytes of payloads a statement has at most: the protocol takes a gigabyte.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// The columns behind the tenant, in the order of the arguments.
const COLUMNS: [ColumnType; 13] = [
    ColumnType::Uuid,
    ColumnType::Int16,
    ColumnType::Text,
    ColumnType::Text,
    ColumnType::Timestamp,
    ColumnType::Text,
    ColumnType::Bytes,
    ColumnType::Text,
    ColumnType::Text,
    ColumnType::Text,
    ColumnType::Uuid,
    ColumnType::Text,
    ColumnType::Text,
];

/// The statements that write messages.
#[derive(Debug)]
pub(super) struct Insert {
    engine: Engine,
    one: Arc<str>,
    many: Arc<str>,
    one_riding: Arc<str>,
    many_riding: Arc<str>,
}

impl Insert {
    pub(super) fn new(store: &TenantStore) -> Self {
        let engine = store.engine();
        let one = match engine {
            Engine::Postgres => ONE_POSTGRES,
            _ => ONE,
        };
        Self {
            engine,
            one: store.own_sql(one),
            many: store.own_sql(MANY),
            one_riding: store.own_sql(&format!("{ONE_RIDING}{WHERE_WRITTEN}")),
            many_riding: store.own_sql(&format!("{MANY}{WHERE_WRITTEN}")),
        }
    }

    /// Writes messages into the transaction of a unit of work, in their order.
    pub(super) async fn run(&self, work: &UnitOfWork, messages: &[NewMessage]) -> Result<()> {
        let rows = match self.engine {
            Engine::Postgres => MOST_ROWS,
            _ => 1,
        };
        for rows in chunks(messages, rows) {
            let written = match rows {
                [message] => {
                    let partition = partition_of(work.tenant(), message.key());
                    let bind =
                        |arguments: &mut Arguments<'_>| bind_one(message, partition, arguments);
                    work.execute_own(&statement(&self.one, &bind)).await
                }
                rows => {
                    let partitions = partitions_of(work, rows);
                    let bind =
                        |arguments: &mut Arguments<'_>| bind_many(rows, &partitions, arguments);
                    work.execute_own(&statement(&self.many, &bind)).await
                }
            };
            let written = written.map_err(|error| refused(rows, error))?;
            if written != rows.len() as u64 {
                return Err(Error::new(ErrorKind::Unexpected, "append messages")
                    .with_subject(MESSAGES.name())
                    .with_detail("a trigger or rule of the table has kept a message out"));
            }
        }
        Ok(())
    }
}

/// Cuts messages into parts, each of which a statement can carry.
fn chunks(mut messages: &[NewMessage], rows: usize) -> impl Iterator<Item = &[NewMessage]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |message: &&NewMessage| {
            bytes += message.payload.len();
            bytes <= MOST_BYTES
        };
        let count = messages.iter().take(rows).take_while(fits).count();
        // One that is longer goes alone.
        let (chunk, rest) = messages.split_at(count.max(1).min(messages.len()));
        messages = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
}

impl Insert {
    /// Returns messages as a statement that goes along with the last write, if they are few enough for one.
    pub(super) fn rider(&self, work: &UnitOfWork) -> Option<Rider> {
        if self.engine != Engine::Postgres {
            return None;
        }
        let messages = work.take_deferred::<NewMessage>();
        let partitions = partitions_of(work, &messages);
        let rows = messages.len() as u64;
        let are_one = chunks(&messages, MOST_ROWS).nth(1).is_none();
        let rider = match messages.len() {
            0 => return None,
            1 => Rider::new(
                &MESSAGES,
                &self.one_riding,
                rows,
                Box::new(move |arguments| bind_one(&messages[0], partitions[0], arguments)),
            ),
            _ if are_one => Rider::new(
                &MESSAGES,
                &self.many_riding,
                rows,
                Box::new(move |arguments| bind_many(&messages, &partitions, arguments)),
            ),
            _ => {
                for message in messages {
                    work.defer(message);
                }
                return None;
            }
        };
        Some(rider.with_refusal(refused_riding))
    }
}

fn partitions_of(work: &UnitOfWork, messages: &[NewMessage]) -> Vec<i16> {
    let partition = |message: &NewMessage| partition_of(work.tenant(), message.key());
    messages.iter().map(partition).collect()
}

fn bind_one(
    message: &NewMessage,
    partition: i16,
    arguments: &mut Arguments<'_>,
) -> Result<(), ValueError> {
    (0..COLUMNS.len()).try_for_each(|column| cell(message, partition, column, arguments.value()))
}

fn bind_many(
    messages: &[NewMessage],
    partitions: &[i16],
    arguments: &mut Arguments<'_>,
) -> Result<(), ValueError> {
    let mut columns = COLUMNS.iter().enumerate();
    columns.try_for_each(|(column, column_type)| {
        arguments.array(*column_type, messages.len(), &|row, sink| {
            cell(&messages[row], partitions[row], column, sink)
        })
    })
}

/// Explains an error of messages that went along with a write, if it is theirs.
fn refused_riding(error: Error) -> Error {
    let is_theirs = |constraint: &str| constraint.starts_with(MESSAGES.name());
    match error.constraint() {
        Some(constraint) if is_theirs(constraint) => {
            Error::new(ErrorKind::AlreadyExists, "append messages")
                .with_subject(MESSAGES.name())
                .with_detail(TAKEN)
        }
        _ => error,
    }
}

const TAKEN: &str = "a message of the tenant has this id, and may have left already";

fn statement<'a>(
    sql: &'a Arc<str>,
    bind: &'a tenantry_store::own::BindOwn<'a>,
) -> OwnStatement<'a> {
    OwnStatement {
        operation: "append messages",
        table: &MESSAGES,
        sql,
        bind,
    }
}

fn cell(
    message: &NewMessage,
    partition: i16,
    column: usize,
    sink: &mut dyn ValueSink,
) -> Result<(), ValueError> {
    let text = |sink: &mut dyn ValueSink, text: Option<&str>| match text {
        Some(text) => sink.text(text),
        None => sink.null(ColumnType::Text),
    };
    match column {
        0 => sink.uuid(message.id.as_uuid()),
        1 => sink.int16(partition),
        2 => sink.text(&message.event_type),
        3 => sink.text(&message.key),
        4 => sink.timestamp(message.occurred_at.unwrap_or_default()),
        5 => sink.text(&message.content_type),
        6 => sink.bytes(&message.payload),
        7 => text(sink, message.project.as_deref()),
        8 => text(sink, message.module.as_deref()),
        9 => text(sink, message.correlation_id.as_ref().map(|id| id.as_str())),
        10 => match message.causation_id {
            Some(id) => sink.uuid(id.as_uuid()),
            None => sink.null(ColumnType::Uuid),
        },
        11 => match message.trace {
            Some(trace) => sink.text(&trace.to_string()),
            None => sink.null(ColumnType::Text),
        },
        _ => text(sink, message.trace_state.as_deref()),
    }
}

/// Names what was to be appended, and says which mistake it is.
fn refused(rows: &[NewMessage], error: Error) -> Error {
    let subject = match rows {
        [message] => message.id.to_string(),
        rows => format!("{} messages", rows.len()),
    };
    match error.kind() {
        ErrorKind::AlreadyExists => Error::new(ErrorKind::AlreadyExists, "append messages")
            .with_subject(subject)
            .with_detail(TAKEN),
        ErrorKind::UnknownTable => Error::new(ErrorKind::UnknownTable, "append messages")
            .with_subject(MESSAGES.name())
            .with_detail(
                "run the migration of the outbox, `OUTBOX_POSTGRES` as the owner role or `OUTBOX_SQLITE`",
            )
            .with_source(error),
        _ => error,
    }
}
