use std::fmt::Write as _;
use std::sync::Arc;

use super::{
    CREATED_AT, CREATED_BY, DELETED_AT, DELETED_BY, MODIFIED_AT, MODIFIED_BY, TENANT, TRACE_ID,
    entering, quote,
};
use crate::aggregate::AggregateDescriptor;
use crate::backend::Dialect;

/// The statements of an aggregate whose text never changes, written once per process.
///
/// Every one of them begins its arguments with the tenant. The numbers of the others stand beside
/// each field.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) descriptor: &'static AggregateDescriptor,
    pub(crate) dialect: Dialect,
    /// The table, quoted and with its schema.
    pub(crate) table: String,
    /// The columns of the struct, in order.
    pub(crate) columns: String,
    /// `$2` id.
    pub(crate) find: Reading,
    /// `$2` id.
    pub(crate) exists: Reading,
    /// `$2…` the columns, then the stamp.
    pub(crate) insert: Arc<str>,
    /// As `insert`; answers the version.
    pub(crate) upsert: Arc<str>,
    /// `$2` id, `$3` version if there is one, then the other columns, then the stamp.
    pub(crate) update: Arc<str>,
    /// `$2` id, then the stamp if rows are marked.
    pub(crate) delete: Arc<str>,
    /// `$2` id, `$3` version, then the stamp if rows are marked.
    pub(crate) delete_version: Arc<str>,
    /// `$2` id, then the stamp if audited; only with soft delete.
    pub(crate) restore: Arc<str>,
    /// `$2` id; answers version, and whether the row is marked as deleted.
    pub(crate) probe: Arc<str>,
}

/// The text of a statement that reads, and what [`entering`] makes of it.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) sql: Arc<str>,
    /// `None` where the database knows no tenant.
    pub(crate) entering: Option<Arc<str>>,
}

impl Plan {
    pub(crate) fn new(
        dialect: Dialect,
        schema: Option<&str>,
        descriptor: &'static AggregateDescriptor,
    ) -> Self {
        let table = match schema {
            Some(schema) => format!(
                "{}.{}",
                quote(dialect, schema),
                quote(dialect, descriptor.table())
            ),
            None => quote(dialect, descriptor.table()),
        };
        let columns = descriptor
            .columns()
            .iter()
            .map(|column| quote(dialect, column.name()))
            .collect::<Vec<_>>()
            .join(", ");
        let writer = Writer {
            dialect,
            descriptor,
            table: &table,
        };
        Self {
            descriptor,
            dialect,
            find: writer.find(&columns),
            exists: writer.find("1"),
            insert: writer.insert().into(),
            upsert: writer.upsert(),
            update: writer.update(),
            delete: writer.delete(false),
            delete_version: writer.delete(true),
            restore: writer.restore(),
            probe: writer.probe(),
            columns,
            table,
        }
    }
}

/// Numbers arguments from `$1`, the tenant, upwards.
struct Numbers(usize);

impl Numbers {
    fn next(&mut self) -> String {
        self.0 += 1;
        format!("${}", self.0)
    }
}

struct Writer<'a> {
    dialect: Dialect,
    descriptor: &'static AggregateDescriptor,
    table: &'a str,
}

impl Writer<'_> {
    fn id(&self) -> String {
        quote(
            self.dialect,
            self.descriptor.column_name(self.descriptor.id()),
        )
    }

    fn version(&self) -> Option<String> {
        self.descriptor
            .version()
            .map(|version| quote(self.dialect, self.descriptor.column_name(version)))
    }

    /// Names one row of the tenant.
    fn row(&self) -> String {
        format!(
            "{} = $1 AND {} = $2",
            quote(self.dialect, TENANT),
            self.id()
        )
    }

    fn not_deleted(&self) -> String {
        if self.descriptor.is_soft_deleted() {
            format!(" AND {} IS NULL", quote(self.dialect, DELETED_AT))
        } else {
            String::new()
        }
    }

    fn find(&self, columns: &str) -> Reading {
        let sql = format!(
            "SELECT {columns} FROM {} WHERE {}{}",
            self.table,
            self.row(),
            self.not_deleted()
        );
        Reading {
            entering: (self.dialect == Dialect::Postgres).then(|| entering(&sql)),
            sql: sql.into(),
        }
    }

    fn insert(&self) -> String {
        let mut numbers = Numbers(1);
        let mut names = vec![quote(self.dialect, TENANT)];
        let mut values = vec!["$1".to_owned()];
        for column in self.descriptor.columns() {
            names.push(quote(self.dialect, column.name()));
            values.push(numbers.next());
        }
        if self.descriptor.is_audited() {
            let (at, by, trace) = (numbers.next(), numbers.next(), numbers.next());
            for (name, value) in [
                (CREATED_AT, &at),
                (CREATED_BY, &by),
                (MODIFIED_AT, &at),
                (MODIFIED_BY, &by),
                (TRACE_ID, &trace),
            ] {
                names.push(quote(self.dialect, name));
                values.push(value.clone());
            }
        }
        format!(
            "INSERT INTO {} AS target ({}) VALUES ({})",
            self.table,
            names.join(", "),
            values.join(", ")
        )
    }

    fn upsert(&self) -> Arc<str> {
        let mut sets = Vec::new();
        for (index, column) in self.descriptor.columns().iter().enumerate() {
            let name = quote(self.dialect, column.name());
            if index == self.descriptor.id() {
                continue;
            }
            sets.push(if Some(index) == self.descriptor.version() {
                format!("{name} = target.{name} + 1")
            } else {
                format!("{name} = excluded.{name}")
            });
        }
        if self.descriptor.is_audited() {
            for name in [MODIFIED_AT, MODIFIED_BY, TRACE_ID].map(|name| quote(self.dialect, name)) {
                sets.push(format!("{name} = excluded.{name}"));
            }
        }
        if sets.is_empty() {
            // DO NOTHING would not tell an own row from a marked one.
            sets.push(format!("{0} = excluded.{0}", self.id()));
        }
        let marked = if self.descriptor.is_soft_deleted() {
            format!(" AND target.{} IS NULL", quote(self.dialect, DELETED_AT))
        } else {
            String::new()
        };
        format!(
            "{} ON CONFLICT ({tenant}, {}) DO UPDATE SET {} WHERE target.{tenant} = $1{marked} RETURNING {}",
            self.insert(),
            self.id(),
            sets.join(", "),
            self.version().unwrap_or_else(|| "0".to_owned()),
            tenant = quote(self.dialect, TENANT),
        )
        .into()
    }

    fn update(&self) -> Arc<str> {
        let mut numbers = Numbers(2);
        let expected = self.version().map(|version| (version, numbers.next()));
        let mut sets = Vec::new();
        for (index, column) in self.descriptor.columns().iter().enumerate() {
            if index != self.descriptor.id() && Some(index) != self.descriptor.version() {
                sets.push(format!(
                    "{} = {}",
                    quote(self.dialect, column.name()),
                    numbers.next()
                ));
            }
        }
        self.raise_version(&mut sets);
        self.stamp(&mut sets, &mut numbers);
        if sets.is_empty() {
            sets.push(format!("{0} = {0}", self.id()));
        }
        let mut text = format!(
            "UPDATE {} SET {} WHERE {}",
            self.table,
            sets.join(", "),
            self.row()
        );
        if let Some((version, number)) = expected {
            let _ = write!(text, " AND {version} = {number}");
        }
        text.push_str(&self.not_deleted());
        text.into()
    }

    fn delete(&self, with_version: bool) -> Arc<str> {
        let mut numbers = Numbers(2);
        let mut condition = self.row();
        if with_version && let Some(version) = self.version() {
            let _ = write!(condition, " AND {version} = {}", numbers.next());
        }
        condition.push_str(&self.not_deleted());
        if self.descriptor.is_soft_deleted() {
            let (at, by) = (numbers.next(), numbers.next());
            let mut sets = vec![
                format!("{} = {at}", quote(self.dialect, DELETED_AT)),
                format!("{} = {by}", quote(self.dialect, DELETED_BY)),
            ];
            self.raise_version(&mut sets);
            if self.descriptor.is_audited() {
                sets.push(format!("{} = {at}", quote(self.dialect, MODIFIED_AT)));
                sets.push(format!("{} = {by}", quote(self.dialect, MODIFIED_BY)));
                sets.push(format!(
                    "{} = {}",
                    quote(self.dialect, TRACE_ID),
                    numbers.next()
                ));
            }
            format!(
                "UPDATE {} SET {} WHERE {condition}",
                self.table,
                sets.join(", ")
            )
            .into()
        } else {
            format!("DELETE FROM {} WHERE {condition}", self.table).into()
        }
    }

    fn restore(&self) -> Arc<str> {
        let mut numbers = Numbers(2);
        let mut sets = vec![
            format!("{} = NULL", quote(self.dialect, DELETED_AT)),
            format!("{} = NULL", quote(self.dialect, DELETED_BY)),
        ];
        self.raise_version(&mut sets);
        self.stamp(&mut sets, &mut numbers);
        format!(
            "UPDATE {} SET {} WHERE {} AND {} IS NOT NULL",
            self.table,
            sets.join(", "),
            self.row(),
            quote(self.dialect, DELETED_AT)
        )
        .into()
    }

    fn probe(&self) -> Arc<str> {
        let version = self.version().unwrap_or_else(|| "0".to_owned());
        let marked = if self.descriptor.is_soft_deleted() {
            format!(
                "CASE WHEN {} IS NULL THEN 0 ELSE 1 END",
                quote(self.dialect, DELETED_AT)
            )
        } else {
            "0".to_owned()
        };
        format!(
            "SELECT {version}, {marked} FROM {} WHERE {}",
            self.table,
            self.row()
        )
        .into()
    }

    fn raise_version(&self, sets: &mut Vec<String>) {
        if let Some(version) = self.version() {
            sets.push(format!("{version} = {version} + 1"));
        }
    }

    fn stamp(&self, sets: &mut Vec<String>, numbers: &mut Numbers) {
        if self.descriptor.is_audited() {
            for name in [MODIFIED_AT, MODIFIED_BY, TRACE_ID] {
                sets.push(format!(
                    "{} = {}",
                    quote(self.dialect, name),
                    numbers.next()
                ));
            }
        }
    }
}
