//! A statement that goes along with the last write of a unit of work.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, Result};

use super::{Arguments, BindOwn, OwnTable};
use crate::backend::{ArgumentSink, Session, Statement};

/// A statement of another crate that writes in the message of the last write, and so costs no round trip of
/// its own.
///
/// Its text is an `INSERT … SELECT` whose first argument is the tenant. It reads from `written`, which has
/// a row for each that the write has changed: so the database runs it after that write, with the locks that
/// it has taken.
pub struct Rider {
    sql: Arc<str>,
    table: &'static OwnTable,
    rows: u64,
    bind: Box<BindOwn<'static>>,
    refused: fn(Error) -> Error,
}

impl Rider {
    /// Returns a statement that inserts so many rows into a table; `bind` writes the arguments behind the tenant.
    #[must_use]
    pub fn new(
        table: &'static OwnTable,
        sql: &Arc<str>,
        rows: u64,
        bind: Box<BindOwn<'static>>,
    ) -> Self {
        Self {
            sql: Arc::clone(sql),
            table,
            rows,
            bind,
            refused: |error| error,
        }
    }

    /// Lets errors be explained that may be those of this statement: constraints tell.
    #[must_use]
    pub fn with_refusal(mut self, refused: fn(Error) -> Error) -> Self {
        self.refused = refused;
        self
    }

    pub(crate) fn table(&self) -> Arc<str> {
        self.table.name().into()
    }

    /// Runs a write and this statement with it; returns how many rows the write has changed.
    pub(crate) async fn execute(
        &self,
        texts: &JoinedTexts,
        session: &mut dyn Session,
        statement: &Statement<'_>,
    ) -> Result<u64> {
        let sql = texts.of(statement.sql, &self.sql);
        let bind = |sink: &mut dyn ArgumentSink| {
            (statement.bind)(sink)?;
            (self.bind)(&mut Arguments { sink })
        };
        let joined = Statement {
            sql: &sql,
            entering: None,
            bind: &bind,
            ..*statement
        };
        let mut counts = (0, 0);
        let mut each = |row: &dyn crate::value::Row| {
            let count = |column| -> Result<u64, crate::value::ValueError> {
                let count = row.integer(column)?.unwrap_or_default();
                Ok(u64::try_from(count).unwrap_or_default())
            };
            counts = (count(0)?, count(1)?);
            Ok(())
        };
        let written = session.fetch(&joined, &mut each).await;
        written.map_err(self.refused)?;
        match counts {
            (0, 0) => Ok(0),
            (written, rows) if rows == self.rows => Ok(written),
            _ => Err(Error::new(ErrorKind::Unexpected, statement.operation)
                .with_subject(self.table.name())
                .with_detail("a trigger or rule of the table has kept a row out")),
        }
    }
}

impl fmt::Debug for Rider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rider")
            .field("table", &self.table.name())
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

/// The texts of two statements in one, each made once, so that connections find them prepared.
#[derive(Debug, Default)]
pub(crate) struct JoinedTexts(Mutex<HashMap<(usize, usize), Joined>>);

#[derive(Debug)]
struct Joined {
    sql: Arc<str>,
    /// Kept, so that no other text comes to be where one of them was.
    _parts: [Arc<str>; 2],
}

impl JoinedTexts {
    fn of(&self, write: &Arc<str>, rider: &Arc<str>) -> Arc<str> {
        let place = |text: &Arc<str>| text.as_ptr().addr();
        let mut known = self.0.lock();
        let joined = known
            .entry((place(write), place(rider)))
            .or_insert_with(|| Joined {
                sql: joined(write, rider).into(),
                _parts: [Arc::clone(write), Arc::clone(rider)],
            });
        Arc::clone(&joined.sql)
    }
}

fn joined(write: &str, rider: &str) -> String {
    let rider = moved(rider, highest(write) - 1);
    format!(
        "with written as ({write} returning 1), riding as ({rider} returning 1) \
         select (select count(*) from written), (select count(*) from riding)"
    )
}

/// Returns the highest number of an argument: those of a write begin with the tenant, the first.
fn highest(sql: &str) -> usize {
    let numbers = sql.split('$').skip(1).filter_map(|part| number(part).0);
    numbers.max().unwrap_or(1)
}

/// Moves the numbers of all arguments but the first.
fn moved(sql: &str, by: usize) -> String {
    let mut parts = sql.split('$');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (found, rest) = number(part);
        match found {
            Some(1) => text.push_str("$1"),
            Some(found) => text.push_str(&format!("${}", found + by)),
            None => text.push('$'),
        }
        text.push_str(rest);
    }
    text
}

fn number(part: &str) -> (Option<usize>, &str) {
    let end = part
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(part.len());
    (part[..end].parse().ok(), &part[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_statements_are_one_with_the_tenant_as_the_first_argument_of_both() {
        let write =
            "update invoices set total = $4 where tenant_id = $1 and id = $2 and version = $3";
        let rider = "insert into messages select $1::uuid, $2::text, $12::text from written";
        assert_eq!(
            joined(write, rider),
            "with written as (update invoices set total = $4 where tenant_id = $1 and id = $2 and \
             version = $3 returning 1), riding as (insert into messages select $1::uuid, $5::text, \
             $15::text from written returning 1) \
             select (select count(*) from written), (select count(*) from riding)"
        );
    }

    #[test]
    fn a_text_is_made_once() {
        let texts = JoinedTexts::default();
        let (write, rider): (Arc<str>, Arc<str>) = ("a $1".into(), "b $1".into());
        assert!(Arc::ptr_eq(
            &texts.of(&write, &rider),
            &texts.of(&write, &rider)
        ));
        let other = "a $1".into();
        assert!(!Arc::ptr_eq(
            &texts.of(&other, &rider),
            &texts.of(&write, &rider)
        ));
    }
}
