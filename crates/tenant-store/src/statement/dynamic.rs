use std::sync::Arc;

use tenantry_core::TenantId;

use super::{
    CREATED_AT, CREATED_BY, DELETED_AT, DELETED_BY, MODIFIED_AT, MODIFIED_BY, Plan, TENANT,
    TRACE_ID, ordered, quote,
};
use crate::aggregate::{Aggregate, ColumnDescriptor};
use crate::backend::{ArgumentSink, Dialect};
use crate::query::{Assignment, Bookmark, Comparison, Deleted, Direction, Expression};
use crate::value::{ColumnType, Value, ValueError};

/// A statement whose text depends on the call, with its arguments.
#[derive(Debug)]
pub(crate) struct DynamicStatement {
    pub(crate) sql: Arc<str>,
    pub(crate) arguments: Vec<Argument>,
}

#[derive(Debug)]
pub(crate) enum Argument {
    Value(Value),
    Array(ColumnType, Vec<Value>),
}

impl DynamicStatement {
    pub(crate) fn bind(&self, sink: &mut dyn ArgumentSink) -> Result<(), ValueError> {
        for argument in &self.arguments {
            match argument {
                Argument::Value(value) => value.write(sink)?,
                Argument::Array(column_type, values) => {
                    sink.array(*column_type, values.len(), &|index, sink| {
                        values[index].write(sink)
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// The rows that a list reads.
pub(crate) struct ListRequest<'a> {
    /// `None` is the platform: every tenant, and the tenant as last column of the result.
    pub(crate) tenant: Option<TenantId>,
    pub(crate) filter: &'a Expression,
    pub(crate) deleted: Deleted,
    /// Ends with the identifier.
    pub(crate) sort: &'a [(usize, Direction)],
    pub(crate) bookmark: Option<&'a Bookmark>,
    pub(crate) limit: Option<u64>,
}

/// What a bulk update stores in every row it finds.
pub(crate) struct BulkUpdate<'a> {
    pub(crate) assignments: &'a [(usize, Assignment)],
    /// Marks the rows as deleted.
    pub(crate) delete: bool,
    pub(crate) at: Value,
    pub(crate) by: Value,
    pub(crate) trace: Value,
}

/// The rows that a bulk statement picks.
enum Pick<'a> {
    /// Those that meet a filter, smallest identifiers first.
    Meeting(&'a Expression),
    /// Those that were marked as deleted before a moment, first marked first.
    MarkedBefore(Value),
}

impl Plan {
    pub(crate) fn list(&self, request: &ListRequest<'_>) -> DynamicStatement {
        let mut writer = self.writer();
        writer.text.push_str("SELECT ");
        writer.text.push_str(&self.columns);
        if request.tenant.is_none() {
            writer.text.push_str(", ");
            writer.text.push_str(&quote(self.dialect, TENANT));
        }
        writer.write_source(request.tenant, request.filter, request.deleted);
        if let Some(bookmark) = request.bookmark {
            writer.text.push_str(" AND ");
            writer.behind(request.sort, bookmark);
        }
        let backward = request.bookmark.is_some_and(|bookmark| bookmark.backward);
        writer.text.push_str(" ORDER BY ");
        for (place, (column, direction)) in request.sort.iter().enumerate() {
            let direction = if backward {
                direction.reversed()
            } else {
                *direction
            };
            writer.separate(place, ", ");
            writer.order_by(*column, direction);
        }
        if request.tenant.is_none() {
            writer.text.push_str(", ");
            writer.text.push_str(&quote(self.dialect, TENANT));
        }
        if let Some(limit) = request.limit {
            writer.text.push_str(&format!(" LIMIT {limit}"));
        }
        writer.finish()
    }

    pub(crate) fn count(
        &self,
        tenant: Option<TenantId>,
        filter: &Expression,
        deleted: Deleted,
    ) -> DynamicStatement {
        let mut writer = self.writer();
        writer.text.push_str("SELECT count(*)");
        writer.write_source(tenant, filter, deleted);
        writer.finish()
    }

    /// Reads the rows of `ids`, as many as there are, in the order of their identifiers.
    pub(crate) fn get_many(&self, tenant: TenantId, ids: Vec<Value>) -> DynamicStatement {
        let id = self.descriptor.id();
        self.list(&ListRequest {
            tenant: Some(tenant),
            filter: &Expression::OneOf {
                column: id,
                values: ids,
            },
            deleted: Deleted::Exclude,
            sort: &[(id, Direction::Ascending)],
            bookmark: None,
            limit: None,
        })
    }

    /// Changes at most `limit` rows, smallest identifiers first; answers their identifiers.
    pub(crate) fn update_where(
        &self,
        tenant: TenantId,
        filter: &Expression,
        limit: u64,
        update: &BulkUpdate<'_>,
    ) -> DynamicStatement {
        let mut writer = self.writer();
        let tenant = writer.tenant(tenant);
        let pick = Pick::Meeting(filter);
        self.pick_first(&mut writer, &tenant, &pick, limit);
        writer
            .text
            .push_str(&format!("UPDATE {} AS target SET ", self.table));
        let mut place = 0;
        for (column, assignment) in update.assignments {
            writer.separate(place, ", ");
            writer.assign(*column, assignment);
            place += 1;
        }
        if let Some(version) = self.descriptor.version() {
            let version = quote(self.dialect, self.descriptor.column_name(version));
            writer.separate(place, ", ");
            writer
                .text
                .push_str(&format!("{version} = target.{version} + 1"));
            place += 1;
        }
        let mut stamps = Vec::new();
        if update.delete {
            stamps.push((DELETED_AT, &update.at));
            stamps.push((DELETED_BY, &update.by));
        }
        if self.descriptor.is_audited() {
            stamps.push((MODIFIED_AT, &update.at));
            stamps.push((MODIFIED_BY, &update.by));
            stamps.push((TRACE_ID, &update.trace));
        }
        for (name, value) in stamps {
            writer.separate(place, ", ");
            let number = writer.value(value.clone());
            writer
                .text
                .push_str(&format!("{} = {number}", quote(self.dialect, name)));
            place += 1;
        }
        if self.dialect == Dialect::Postgres {
            writer.text.push_str(" FROM picked");
        }
        self.pick_rest(&mut writer, &tenant, &pick, limit);
        writer.finish()
    }

    /// Removes at most `limit` rows, smallest identifiers first; answers their identifiers.
    pub(crate) fn delete_where(
        &self,
        tenant: TenantId,
        filter: &Expression,
        limit: u64,
    ) -> DynamicStatement {
        self.remove(tenant, &Pick::Meeting(filter), limit)
    }

    /// Removes at most `limit` rows that were marked as deleted before a moment; answers their
    /// identifiers.
    pub(crate) fn purge(
        &self,
        tenant: TenantId,
        deleted_before: Value,
        limit: u64,
    ) -> DynamicStatement {
        self.remove(tenant, &Pick::MarkedBefore(deleted_before), limit)
    }

    fn remove(&self, tenant: TenantId, pick: &Pick<'_>, limit: u64) -> DynamicStatement {
        let mut writer = self.writer();
        let tenant = writer.tenant(tenant);
        self.pick_first(&mut writer, &tenant, pick, limit);
        writer
            .text
            .push_str(&format!("DELETE FROM {} AS target", self.table));
        if self.dialect == Dialect::Postgres {
            writer.text.push_str(" USING picked");
        }
        self.pick_rest(&mut writer, &tenant, pick, limit);
        writer.finish()
    }

    /// Inserts `rows` rows in one statement.
    ///
    /// PostgreSQL takes an array a column: one text whatever the number of rows, and no limit of
    /// 65,535 arguments. SQLite takes the arguments row by row, by place: it looks names up one by
    /// one, so that thousands of numbered arguments would cost the square of their number.
    pub(crate) fn insert_many(&self, rows: usize) -> Arc<str> {
        let columns = self.descriptor.columns();
        let version = self.descriptor.version();
        let of_rows = columns.len() - usize::from(version.is_some());
        let shared_from = match self.dialect {
            Dialect::Postgres => 1,
            Dialect::Sqlite => rows * of_rows + 1,
        };
        let shared = |place: usize| format!("${}", shared_from + place);
        let tenant = shared(0);
        let mut names = vec![quote(self.dialect, TENANT)];
        names.extend(
            columns
                .iter()
                .map(|column| quote(self.dialect, column.name())),
        );
        let mut stamps = Vec::new();
        if self.descriptor.is_audited() {
            let (at, by, trace) = (shared(1), shared(2), shared(3));
            for (name, value) in [
                (CREATED_AT, &at),
                (CREATED_BY, &by),
                (MODIFIED_AT, &at),
                (MODIFIED_BY, &by),
                (TRACE_ID, &trace),
            ] {
                names.push(quote(self.dialect, name));
                stamps.push(value.clone());
            }
        }
        let mut text = format!("INSERT INTO {} ({}) ", self.table, names.join(", "));
        match self.dialect {
            Dialect::Postgres => {
                let first_array = if stamps.is_empty() { 2 } else { 5 };
                let mut fields = vec![tenant];
                let mut arrays = Vec::new();
                let mut aliases = Vec::new();
                for (index, column) in columns.iter().enumerate() {
                    if Some(index) == version {
                        fields.push("1".to_owned());
                        continue;
                    }
                    fields.push(format!("c{index}"));
                    aliases.push(format!("c{index}"));
                    arrays.push(format!(
                        "${}::{}[]",
                        first_array + arrays.len(),
                        postgres_type(column.column_type())
                    ));
                }
                fields.append(&mut stamps);
                text.push_str(&format!(
                    "SELECT {} FROM unnest({}) AS input({})",
                    fields.join(", "),
                    arrays.join(", "),
                    aliases.join(", ")
                ));
            }
            Dialect::Sqlite => {
                let mut fields = vec![tenant];
                fields.extend(
                    (0..columns.len())
                        .map(|index| if Some(index) == version { "1" } else { "?" }.to_owned()),
                );
                fields.append(&mut stamps);
                let row = format!("({})", fields.join(", "));
                text.push_str("VALUES ");
                text.push_str(&vec![row; rows].join(", "));
            }
        }
        text.into()
    }

    /// Returns how many rows one statement of [`insert_many`](Self::insert_many) takes.
    ///
    /// SQLite allows 32,766 arguments (<https://www.sqlite.org/limits.html>); beyond some hundred
    /// rows a longer statement is no faster there, and its text is kept prepared.
    pub(crate) fn rows_per_insert(&self) -> usize {
        match self.dialect {
            Dialect::Postgres => 20_000,
            Dialect::Sqlite => (30_000 / self.descriptor.columns().len().max(1)).clamp(1, 256),
        }
    }

    /// Writes the arguments of [`insert_many`](Self::insert_many); `shared` writes the tenant and
    /// the stamp.
    pub(crate) fn bind_many<A: Aggregate>(
        &self,
        sink: &mut dyn ArgumentSink,
        rows: &[A],
        shared: &dyn Fn(&mut dyn ArgumentSink) -> Result<(), ValueError>,
    ) -> Result<(), ValueError> {
        let columns = self.descriptor.columns().iter().enumerate();
        let columns = columns.filter(|(index, _)| Some(*index) != self.descriptor.version());
        match self.dialect {
            Dialect::Postgres => {
                shared(sink)?;
                for (index, column) in columns {
                    sink.array(column.column_type(), rows.len(), &|row, sink| {
                        rows[row].write(index, sink)
                    })?;
                }
                Ok(())
            }
            Dialect::Sqlite => {
                for row in rows {
                    for (index, _) in columns.clone() {
                        row.write(index, sink)?;
                    }
                }
                shared(sink)
            }
        }
    }

    fn writer(&self) -> Writer<'_> {
        Writer {
            plan: self,
            text: String::with_capacity(256),
            arguments: Vec::new(),
        }
    }

    /// On PostgreSQL the rows are picked and locked first: a sub-query with LIMIT inside the
    /// condition may be run again for every row, and exceed the limit.
    fn pick_first(&self, writer: &mut Writer<'_>, tenant: &Slot, pick: &Pick<'_>, limit: u64) {
        if self.dialect == Dialect::Postgres {
            writer.text.push_str("WITH picked AS MATERIALIZED (");
            self.pick(writer, tenant, pick, limit);
            writer.text.push_str(" FOR UPDATE) ");
        }
    }

    fn pick_rest(&self, writer: &mut Writer<'_>, tenant: &Slot, pick: &Pick<'_>, limit: u64) {
        let id = quote(
            self.dialect,
            self.descriptor.column_name(self.descriptor.id()),
        );
        let number = writer.place(tenant);
        writer.text.push_str(&format!(
            " WHERE target.{} = {number}",
            quote(self.dialect, TENANT)
        ));
        match self.dialect {
            Dialect::Postgres => {
                writer.text.push_str(&format!(
                    " AND target.{id} = picked.{id} RETURNING target.{id}"
                ));
            }
            Dialect::Sqlite => {
                writer.text.push_str(&format!(" AND target.{id} IN ("));
                self.pick(writer, tenant, pick, limit);
                writer.text.push_str(&format!(") RETURNING {id}"));
            }
        }
    }

    fn pick(&self, writer: &mut Writer<'_>, tenant: &Slot, pick: &Pick<'_>, limit: u64) {
        let id = quote(
            self.dialect,
            self.descriptor.column_name(self.descriptor.id()),
        );
        writer.text.push_str(&format!("SELECT {id}"));
        match pick {
            Pick::Meeting(filter) => {
                writer.write_source_of(Some(tenant), filter, Deleted::Exclude);
                writer.text.push_str(" ORDER BY ");
            }
            Pick::MarkedBefore(moment) => {
                let marked_at = quote(self.dialect, DELETED_AT);
                writer.write_source_of(Some(tenant), &Expression::All, Deleted::Only);
                let moment = writer.value(moment.clone());
                writer.text.push_str(&format!(
                    " AND {marked_at} < {moment} ORDER BY {marked_at} ASC, "
                ));
            }
        }
        writer.order_by(self.descriptor.id(), Direction::Ascending);
        writer.text.push_str(&format!(" LIMIT {limit}"));
    }
}

fn postgres_type(column_type: ColumnType) -> &'static str {
    match column_type {
        ColumnType::Bool => "bool",
        ColumnType::Int16 => "int2",
        ColumnType::Int32 => "int4",
        ColumnType::Int64 => "int8",
        ColumnType::Float64 => "float8",
        ColumnType::Text => "text",
        ColumnType::Bytes => "bytea",
        ColumnType::Uuid => "uuid",
        ColumnType::Timestamp => "timestamptz",
        ColumnType::Date => "date",
        ColumnType::Decimal => "numeric",
        ColumnType::Json => "jsonb",
    }
}

/// A value of a statement: PostgreSQL names it by its number wherever it stands, SQLite takes it
/// once for each place.
enum Slot {
    Number(usize),
    Value(Value),
}

/// Writes one statement, and keeps its arguments in the order of their places.
struct Writer<'a> {
    plan: &'a Plan,
    text: String,
    arguments: Vec<Argument>,
}

impl Writer<'_> {
    fn finish(self) -> DynamicStatement {
        DynamicStatement {
            sql: self.text.into(),
            arguments: self.arguments,
        }
    }

    /// Takes a value that the text may name in several places.
    fn slot(&mut self, value: Value) -> Slot {
        match self.plan.dialect {
            Dialect::Postgres => {
                self.arguments.push(Argument::Value(value));
                Slot::Number(self.arguments.len())
            }
            Dialect::Sqlite => Slot::Value(value),
        }
    }

    fn tenant(&mut self, tenant: TenantId) -> Slot {
        self.slot(Value::Uuid(tenant.as_uuid()))
    }

    /// Returns what stands in the text for a value, at the very place where the text goes on.
    fn place(&mut self, slot: &Slot) -> String {
        match slot {
            Slot::Number(number) => format!("${number}"),
            Slot::Value(value) => {
                self.arguments.push(Argument::Value(value.clone()));
                "?".to_owned()
            }
        }
    }

    fn value(&mut self, value: Value) -> String {
        let slot = self.slot(value);
        self.place(&slot)
    }

    fn separate(&mut self, place: usize, separator: &str) {
        if place > 0 {
            self.text.push_str(separator);
        }
    }

    fn column(&self, index: usize) -> &'static ColumnDescriptor {
        &self.plan.descriptor.columns()[index]
    }

    /// Writes a column as it is compared: see [`ordered`]; equality of texts needs no collation.
    fn compared(&self, index: usize, is_equality: bool) -> String {
        let column = self.column(index);
        if is_equality && column.column_type() == ColumnType::Text {
            quote(self.plan.dialect, column.name())
        } else {
            ordered(self.plan.dialect, column)
        }
    }

    fn write_source(&mut self, tenant: Option<TenantId>, filter: &Expression, deleted: Deleted) {
        let slot = tenant.map(|tenant| self.tenant(tenant));
        self.write_source_of(slot.as_ref(), filter, deleted);
    }

    fn write_source_of(&mut self, tenant: Option<&Slot>, filter: &Expression, deleted: Deleted) {
        self.text
            .push_str(&format!(" FROM {} WHERE ", self.plan.table));
        match tenant {
            Some(slot) => {
                let tenant = self.place(slot);
                self.text
                    .push_str(&format!("{} = {tenant}", quote(self.plan.dialect, TENANT)));
            }
            None => self.text.push_str("TRUE"),
        }
        if self.plan.descriptor.is_soft_deleted() {
            match deleted {
                Deleted::Exclude => {
                    self.text.push_str(&format!(
                        " AND {} IS NULL",
                        quote(self.plan.dialect, DELETED_AT)
                    ));
                }
                Deleted::Include => {}
                Deleted::Only => {
                    self.text.push_str(&format!(
                        " AND {} IS NOT NULL",
                        quote(self.plan.dialect, DELETED_AT)
                    ));
                }
            }
        } else if deleted == Deleted::Only {
            self.text.push_str(" AND FALSE");
        }
        if *filter != Expression::All {
            self.text.push_str(" AND ");
            self.condition(filter);
        }
    }

    /// Writes a condition that can stand beside others without parentheses of its own.
    fn condition(&mut self, expression: &Expression) {
        let dialect = self.plan.dialect;
        match expression {
            Expression::All => self.text.push_str("TRUE"),
            Expression::Compare {
                column,
                comparison,
                value,
            } => {
                let operator = match comparison {
                    Comparison::Equal => "=",
                    Comparison::NotEqual => "IS DISTINCT FROM",
                    Comparison::Less => "<",
                    Comparison::LessOrEqual => "<=",
                    Comparison::Greater => ">",
                    Comparison::GreaterOrEqual => ">=",
                };
                let is_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
                let left = self.compared(*column, is_equality);
                let right = self.value(value.clone());
                self.text.push_str(&format!("{left} {operator} {right}"));
            }
            Expression::OneOf { values, .. } if values.is_empty() => self.text.push_str("FALSE"),
            Expression::OneOf { column, values } => {
                let left = self.compared(*column, true);
                self.text.push_str(&left);
                match self.plan.dialect {
                    Dialect::Postgres => {
                        let column_type = self.column(*column).column_type();
                        self.arguments
                            .push(Argument::Array(column_type, values.clone()));
                        self.text
                            .push_str(&format!(" = ANY(${})", self.arguments.len()));
                    }
                    Dialect::Sqlite => {
                        self.text.push_str(" IN (");
                        for (place, value) in values.iter().enumerate() {
                            self.separate(place, ", ");
                            let number = self.value(value.clone());
                            self.text.push_str(&number);
                        }
                        self.text.push(')');
                    }
                }
            }
            Expression::IsNull { column } => {
                let name = quote(self.plan.dialect, self.column(*column).name());
                self.text.push_str(&format!("{name} IS NULL"));
            }
            Expression::StartsWith { column, prefix } => {
                let left = self.compared(*column, false);
                let prefix = self.slot(prefix.clone());
                let mut next = || self.place(&prefix);
                // `^@` is leakproof, so that row-level security lets it use an index.
                let text = match dialect {
                    Dialect::Postgres => format!("{left} ^@ {}", next()),
                    Dialect::Sqlite => format!(
                        "({left} >= {} AND substr({left}, 1, length({})) = {})",
                        next(),
                        next(),
                        next()
                    ),
                };
                self.text.push_str(&text);
            }
            Expression::And(all) => self.joined(all, " AND "),
            Expression::Or(any) => self.joined(any, " OR "),
            Expression::Not(inner) => {
                // NOT alone would leave NULL as it is; this turns it into true.
                self.text.push('(');
                self.condition(inner);
                self.text.push_str(") IS NOT TRUE");
            }
        }
    }

    fn joined(&mut self, parts: &[Expression], separator: &str) {
        self.text.push('(');
        for (place, part) in parts.iter().enumerate() {
            self.separate(place, separator);
            self.condition(part);
        }
        self.text.push(')');
    }

    fn order_by(&mut self, column: usize, direction: Direction) {
        let name = ordered(self.plan.dialect, self.column(column));
        let nullable = self.column(column).is_nullable();
        let rest = match (direction, nullable) {
            (Direction::Ascending, false) => " ASC",
            (Direction::Ascending, true) => " ASC NULLS LAST",
            (Direction::Descending, false) => " DESC",
            (Direction::Descending, true) => " DESC NULLS FIRST",
        };
        self.text.push_str(&name);
        self.text.push_str(rest);
    }

    /// Writes "stands behind the bookmark, in the order of `sort`"; in front, if it looks backward.
    fn behind(&mut self, sort: &[(usize, Direction)], bookmark: &Bookmark) {
        let keys: Vec<(usize, Direction, &Value)> = sort
            .iter()
            .zip(&bookmark.values)
            .map(|((column, direction), value)| {
                let direction = if bookmark.backward {
                    direction.reversed()
                } else {
                    *direction
                };
                (*column, direction, value)
            })
            .collect();
        let one_direction = keys.iter().all(|key| key.1 == keys[0].1);
        let no_null = keys.iter().all(|key| !self.column(key.0).is_nullable());
        if one_direction && no_null {
            self.behind_as_row(&keys, bookmark.inclusive);
        } else {
            self.behind_as_cases(&keys, bookmark.inclusive);
        }
    }

    /// One comparison of rows, which an index on the same columns answers by a seek.
    fn behind_as_row(&mut self, keys: &[(usize, Direction, &Value)], inclusive: bool) {
        self.text.push('(');
        for (place, (column, ..)) in keys.iter().enumerate() {
            self.separate(place, ", ");
            let column = self.compared(*column, false);
            self.text.push_str(&column);
        }
        self.text.push_str(match (keys[0].1, inclusive) {
            (Direction::Ascending, false) => ") > (",
            (Direction::Ascending, true) => ") >= (",
            (Direction::Descending, false) => ") < (",
            (Direction::Descending, true) => ") <= (",
        });
        for (place, (.., value)) in keys.iter().enumerate() {
            self.separate(place, ", ");
            let number = self.value((*value).clone());
            self.text.push_str(&number);
        }
        self.text.push(')');
    }

    /// "The first k keys are equal and the next stands behind", for each k.
    fn behind_as_cases(&mut self, keys: &[(usize, Direction, &Value)], inclusive: bool) {
        let slots: Vec<Option<Slot>> = keys
            .iter()
            .map(|(.., value)| (!value.is_null()).then(|| self.slot((*value).clone())))
            .collect();
        self.text.push('(');
        for case in 0..keys.len() {
            self.separate(case, " OR ");
            self.text.push('(');
            for (place, (column, direction, _)) in keys[..=case].iter().enumerate() {
                self.separate(place, " AND ");
                let slot = slots[place].as_ref();
                let text = if place < case {
                    self.equals(*column, slot)
                } else {
                    self.stands_behind(*column, *direction, slot)
                };
                self.text.push_str(&text);
            }
            self.text.push(')');
        }
        if inclusive {
            self.text.push_str(" OR (");
            for (place, (column, ..)) in keys.iter().enumerate() {
                self.separate(place, " AND ");
                let text = self.equals(*column, slots[place].as_ref());
                self.text.push_str(&text);
            }
            self.text.push(')');
        }
        self.text.push(')');
    }

    fn equals(&mut self, column: usize, slot: Option<&Slot>) -> String {
        let name = self.compared(column, true);
        match slot {
            Some(slot) => format!("{name} = {}", self.place(slot)),
            None => format!("{name} IS NULL"),
        }
    }

    /// NULL is the largest: last when ascending, first when descending.
    fn stands_behind(
        &mut self,
        column: usize,
        direction: Direction,
        slot: Option<&Slot>,
    ) -> String {
        let name = self.compared(column, false);
        let bare = quote(self.plan.dialect, self.column(column).name());
        let is_nullable = self.column(column).is_nullable();
        match (direction, slot) {
            (Direction::Ascending, None) => "FALSE".to_owned(),
            (Direction::Descending, None) => format!("{bare} IS NOT NULL"),
            (Direction::Ascending, Some(slot)) if is_nullable => {
                format!("({name} > {} OR {bare} IS NULL)", self.place(slot))
            }
            (Direction::Ascending, Some(slot)) => format!("{name} > {}", self.place(slot)),
            (Direction::Descending, Some(slot)) => format!("{name} < {}", self.place(slot)),
        }
    }

    fn assign(&mut self, column: usize, assignment: &Assignment) {
        let name = quote(self.plan.dialect, self.column(column).name());
        let text = match assignment {
            Assignment::Set(value) => {
                let number = self.value(value.clone());
                format!("{name} = {number}")
            }
            Assignment::Add(value) => {
                let addend = self.slot(value.clone());
                match self.plan.dialect {
                    Dialect::Postgres => {
                        // The column may be wider than the field; the cast keeps to the field.
                        let narrow = postgres_type(self.column(column).column_type());
                        let addend = self.place(&addend);
                        format!("{name} = (target.{name} + {addend})::{narrow}")
                    }
                    Dialect::Sqlite => {
                        format!("{name} = {}", self.checked_sum(column, &name, &addend))
                    }
                }
            }
        };
        self.text.push_str(&text);
    }

    /// SQLite turns an integer overflow into an inexact REAL without a word; this makes it an
    /// error: `abs` of the smallest integer is the one overflow that SQLite does report
    /// (<https://www.sqlite.org/lang_corefunc.html#abs>).
    fn checked_sum(&mut self, column: usize, name: &str, addend: &Slot) -> String {
        let column_type = self.column(column).column_type();
        let mut sum = || format!("target.{name} + {}", self.place(addend));
        let (low, high) = match column_type {
            ColumnType::Int16 => (i16::MIN.to_string(), i16::MAX.to_string()),
            ColumnType::Int32 => (i32::MIN.to_string(), i32::MAX.to_string()),
            ColumnType::Int64 => (
                "(-9223372036854775807 - 1)".to_owned(),
                i64::MAX.to_string(),
            ),
            _ => (
                "-1.7976931348623157e308".to_owned(),
                "1.7976931348623157e308".to_owned(),
            ),
        };
        let in_range = format!("{} BETWEEN {low} AND {high}", sum());
        let is_integer = match column_type {
            ColumnType::Float64 => String::new(),
            _ => format!(" AND typeof({}) = 'integer'", sum()),
        };
        format!(
            "CASE WHEN target.{name} IS NULL THEN NULL WHEN {in_range}{is_integer} THEN {} \
             ELSE abs(-9223372036854775807 - 1) END",
            sum()
        )
    }
}
