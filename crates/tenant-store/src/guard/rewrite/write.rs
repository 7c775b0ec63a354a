//! INSERT, UPDATE, DELETE, MERGE: what is written belongs to the tenant, and stays with it.

use std::sync::Arc;

use sqlparser::ast::{
    Assignment, AssignmentTarget, ConflictTarget, Delete, DoUpdate, FromTable, Insert, Merge,
    MergeAction, MergeClauseKind, MergeInsertKind, MergeUpdateKind, ObjectName, ObjectNamePart,
    OnConflict, OnConflictAction, OnInsert, TableAlias, TableFactor, TableObject, Update,
    UpdateTableFromKind, Values,
};
use sqlparser::keywords::Keyword;

use super::from::{Clause, Condition, closed_table};
use super::query::other_clause;
use super::{Rewriter, tenant_column};
use crate::backend::Dialect;
use crate::guard::catalog::{Keys, Ownership, Relation};
use crate::guard::refusal::Refusal;
use crate::guard::source::{Kind, Stop};
use crate::statement::TENANT;

impl Rewriter<'_> {
    pub(super) fn insert(&mut self, insert: &mut Insert) -> Result<(), Refusal> {
        let Insert {
            insert_token,
            optimizer_hints,
            or,
            ignore,
            into,
            table,
            table_alias,
            columns,
            overwrite,
            source,
            assignments,
            partitioned,
            after_columns,
            has_table_keyword,
            on,
            returning,
            output,
            replace_into,
            priority,
            insert_alias,
            settings,
            format_clause,
            multi_table_insert_type,
            multi_table_into_clauses,
            ..
        } = insert;
        if or.is_some() || *replace_into {
            return Err(Refusal::new(
                "INSERT OR …",
                "write INSERT … ON CONFLICT (tenant_id, …) DO UPDATE or DO NOTHING",
            ));
        }
        let is_plain = optimizer_hints.is_empty()
            && !*ignore
            && *into
            && !*overwrite
            && assignments.is_empty()
            && partitioned.is_none()
            && after_columns.is_empty()
            && !*has_table_keyword
            && output.is_none()
            && priority.is_none()
            && insert_alias.is_none()
            && settings.is_none()
            && format_clause.is_none()
            && multi_table_insert_type.is_none()
            && multi_table_into_clauses.is_empty();
        let TableObject::TableName(name) = table else {
            return Err(other_clause());
        };
        if !is_plain {
            return Err(other_clause());
        }
        let relation = self.target(name)?;
        let start = self.source.at(insert_token.0.span.start)?;
        let (_, mut last) = self.source.of_name(name)?;
        if let Some(alias) = table_alias {
            last = self.source.of_ident(&alias.alias)?;
        }
        for column in &*columns {
            self.check_column(column)?;
        }
        if let Some(source) = source {
            if columns.is_empty() {
                return Err(Refusal::new(
                    "INSERT without a list of columns",
                    "name the columns, without tenant_id: it is stamped",
                ));
            }
            self.query(source)?;
            let open = last + 1;
            if self.source.place(open)?.kind != Kind::Open {
                return Err(Refusal::unplaced());
            }
            let close = self.source.closing(open)?;
            self.before(close, format!(", {TENANT}"))?;
            columns.push(tenant_name());
            self.stamp_rows(source)?;
        } else {
            // DEFAULT VALUES
            if !columns.is_empty()
                || self.source.keyword(last + 1) != Keyword::DEFAULT
                || self.source.keyword(last + 2) != Keyword::VALUES
            {
                return Err(other_clause());
            }
            let values = format!("values ({})", self.tenant);
            self.replace(last + 1, last + 2, format!("({TENANT}) {values}"))?;
            self.binds_tenant = true;
            columns.push(tenant_name());
            *source = Some(self.parse_query(&values)?);
        }
        match on {
            None => {}
            Some(OnInsert::OnConflict(conflict)) => {
                let alias = table_alias.as_ref().map(|alias| TableAlias {
                    explicit: alias.explicit,
                    name: alias.alias.clone(),
                    columns: Vec::new(),
                    at: None,
                });
                self.on_conflict(start, name, alias.as_ref(), &relation, conflict)?;
            }
            Some(_) => return Err(other_clause()),
        }
        match returning {
            Some(returning) => self.projection(returning),
            None => Ok(()),
        }
    }

    fn on_conflict(
        &mut self,
        start: usize,
        name: &ObjectName,
        alias: Option<&TableAlias>,
        relation: &Relation,
        conflict: &mut OnConflict,
    ) -> Result<(), Refusal> {
        self.check_conflict_target(relation, conflict.conflict_target.as_ref())?;
        let OnConflictAction::DoUpdate(DoUpdate {
            assignments,
            selection,
        }) = &mut conflict.action
        else {
            return Ok(());
        };
        self.assignments(assignments)?;
        if let Some(selection) = selection {
            // The row in the way is the tenant's own.
            let before = self.fallible.begin_result(true);
            self.expression(selection)?;
            self.fallible.begin_result(before);
        }
        let update = self.source.find(start, |index, place| {
            place.keyword == Keyword::UPDATE
                && index > 0
                && self.source.keyword(index - 1) == Keyword::DO
        });
        let Stop::Found(update) = update else {
            return Err(Refusal::unplaced());
        };
        // The row in the way has the key, and with it the tenant; it is said once more.
        let condition = match alias {
            Some(_) => self.condition(name, alias)?,
            // Here the table is called by its name, without the schema.
            None => {
                let last = name.0.last().cloned().ok_or_else(Refusal::unplaced)?;
                self.condition(&ObjectName(vec![last]), None)?
            }
        };
        self.add_where(update + 1, vec![condition], selection)
    }

    fn check_conflict_target(
        &self,
        relation: &Relation,
        target: Option<&ConflictTarget>,
    ) -> Result<(), Refusal> {
        let Ownership::Tenant(Keys {
            with_tenant,
            any_without,
            ..
        }) = &relation.ownership
        else {
            return Err(Refusal::unplaced());
        };
        let refuse = |what: &'static str| {
            Err(Refusal::new(
                what,
                "the row in the way could be another tenant's: write ON CONFLICT (tenant_id, …)",
            ))
        };
        match target {
            None if *any_without => refuse(
                "ON CONFLICT without a target, on a table with a unique key without the tenant",
            ),
            None => Ok(()),
            Some(ConflictTarget::Columns(columns)) => {
                for column in columns {
                    if self.catalog.is_tenant(column)? {
                        return Ok(());
                    }
                }
                refuse("an ON CONFLICT target without the tenant")
            }
            Some(ConflictTarget::OnConstraint(name)) => {
                let (schema, name) = self.catalog.parts(name)?;
                match schema.is_none() && with_tenant.contains(&*name) {
                    true => Ok(()),
                    false => {
                        refuse("an ON CONFLICT constraint that is not known to have the tenant")
                    }
                }
            }
        }
    }

    pub(super) fn update(&mut self, update: &mut Update) -> Result<(), Refusal> {
        let Update {
            update_token,
            optimizer_hints,
            table,
            assignments,
            from,
            selection,
            returning,
            output,
            or,
            order_by,
            limit,
        } = update;
        if or.is_some() {
            return Err(Refusal::new("UPDATE OR …", "write a plain UPDATE"));
        }
        let is_plain = optimizer_hints.is_empty()
            && table.joins.is_empty()
            && output.is_none()
            && order_by.is_empty()
            && limit.is_none();
        if !is_plain {
            return Err(other_clause());
        }
        let start = self.source.at(update_token.0.span.start)?;
        let mut clause = Clause::new(start + 1, false);
        let mut conditions = vec![self.target_condition(&mut clause, &table.relation)?];
        self.assignments(assignments)?;
        // Behind SET, for it holds what might look like another clause.
        let set = self
            .source
            .find(start, |_, place| place.keyword == Keyword::SET);
        let Stop::Found(set) = set else {
            return Err(Refusal::unplaced());
        };
        let mut from_where = set + 1;
        match from {
            None => {}
            Some(UpdateTableFromKind::AfterSet(items)) => {
                let Stop::Found(keyword) = self.find_from_of_update(set + 1) else {
                    return Err(Refusal::unplaced());
                };
                clause.at = keyword + 1;
                from_where = keyword + 1;
                conditions.extend(self.from(&mut clause, items)?);
            }
            Some(UpdateTableFromKind::BeforeSet(_)) => return Err(other_clause()),
        }
        if let Some(selection) = selection {
            self.expression(selection)?;
        }
        self.add_where(from_where, conditions, selection)?;
        match returning {
            Some(returning) => self.projection(returning),
            None => Ok(()),
        }
    }

    pub(super) fn delete(&mut self, delete: &mut Delete) -> Result<(), Refusal> {
        let Delete {
            delete_token,
            optimizer_hints,
            tables,
            from,
            using,
            selection,
            returning,
            output,
            order_by,
            limit,
        } = delete;
        let is_plain = optimizer_hints.is_empty()
            && tables.is_empty()
            && output.is_none()
            && order_by.is_empty()
            && limit.is_none();
        let FromTable::WithFromKeyword(from) = from else {
            return Err(other_clause());
        };
        let [table] = &mut from[..] else {
            return Err(other_clause());
        };
        if !is_plain || !table.joins.is_empty() {
            return Err(other_clause());
        }
        let start = self.source.at(delete_token.0.span.start)?;
        let mut clause = Clause::new(start + 1, false);
        let mut conditions = vec![self.target_condition(&mut clause, &table.relation)?];
        let mut from_where = clause.at;
        if let Some(items) = using {
            if self.source.keyword(clause.at) != Keyword::USING {
                return Err(Refusal::unplaced());
            }
            clause.at += 1;
            from_where = clause.at;
            conditions.extend(self.from(&mut clause, items)?);
        }
        if let Some(selection) = selection {
            self.expression(selection)?;
        }
        self.add_where(from_where, conditions, selection)?;
        match returning {
            Some(returning) => self.projection(returning),
            None => Ok(()),
        }
    }

    pub(super) fn merge(&mut self, merge: &mut Merge) -> Result<(), Refusal> {
        let Merge {
            merge_token,
            optimizer_hints,
            into: _,
            table,
            source,
            on,
            clauses,
            output,
        } = merge;
        if !optimizer_hints.is_empty() || output.is_some() {
            return Err(other_clause());
        }
        let start = self.source.at(merge_token.0.span.start)?;
        let mut clause = Clause::new(start + 1, false);
        let target = self.target_condition(&mut clause, table)?;
        if self.source.keyword(clause.at) != Keyword::USING {
            return Err(Refusal::unplaced());
        }
        clause.at += 1;
        // A row that matches nothing is inserted: what does not belong must not even be there.
        let left = self.merge_source(&mut clause, source)?;
        if !left.is_empty() {
            return Err(Refusal::unplaced());
        }
        let keyword = match self
            .source
            .find(clause.at, |_, place| place.keyword == Keyword::ON)
        {
            Stop::Found(keyword) => keyword,
            Stop::End(_) => return Err(Refusal::unplaced()),
        };
        self.expression(on)?;
        self.add_conditions(keyword, vec![target], on, |keywords| {
            keywords[0] == Keyword::WHEN
        })?;
        for when in clauses {
            if when.clause_kind == MergeClauseKind::NotMatchedBySource {
                return Err(Refusal::new(
                    "WHEN NOT MATCHED BY SOURCE",
                    "it takes the rows of all tenants for unmatched: write a DELETE or UPDATE with \
                     NOT EXISTS",
                ));
            }
            if let Some(predicate) = &mut when.predicate {
                self.expression(predicate)?;
            }
            match &mut when.action {
                MergeAction::Delete { .. } | MergeAction::DoNothing { .. } => {}
                MergeAction::Update(update) => {
                    if update.update_predicate.is_some() || update.delete_predicate.is_some() {
                        return Err(other_clause());
                    }
                    match &mut update.kind {
                        MergeUpdateKind::Set(assignments) => self.assignments(assignments)?,
                        MergeUpdateKind::Wildcard => return Err(other_clause()),
                    }
                }
                MergeAction::Insert(insert) => {
                    let MergeInsertKind::Values(values) = &mut insert.kind else {
                        return Err(other_clause());
                    };
                    if insert.insert_predicate.is_some() || values.rows.len() != 1 {
                        return Err(other_clause());
                    }
                    let token = self.source.at(insert.insert_token.0.span.start)?;
                    self.merge_insert(token, &mut insert.columns, values)?;
                }
            }
        }
        Ok(())
    }

    fn merge_source(
        &mut self,
        clause: &mut Clause,
        source: &mut TableFactor,
    ) -> Result<Vec<Condition>, Refusal> {
        self.factor(clause, source, true)
    }

    fn merge_insert(
        &mut self,
        token: usize,
        columns: &mut Vec<ObjectName>,
        values: &mut Values,
    ) -> Result<(), Refusal> {
        if columns.is_empty() {
            return Err(Refusal::new(
                "INSERT without a list of columns",
                "name the columns, without tenant_id: it is stamped",
            ));
        }
        for column in &*columns {
            self.check_column(column)?;
        }
        self.values(values)?;
        if self.source.place(token + 1)?.kind != Kind::Open {
            return Err(Refusal::unplaced());
        }
        let close = self.source.closing(token + 1)?;
        self.before(close, format!(", {TENANT}"))?;
        columns.push(tenant_name());
        self.stamp_values(values)
    }

    /// Returns the first FROM of a SET list's level.
    fn find_from_of_update(&self, at: usize) -> Stop {
        self.source.find(at, |index, place| {
            place.keyword == Keyword::FROM
                && !(index >= 1 && self.source.keyword(index - 1) == Keyword::DISTINCT)
        })
    }

    /// Looks up a table that is written to; only a tenant's own may be.
    fn target(&mut self, name: &ObjectName) -> Result<Arc<Relation>, Refusal> {
        self.saw_relation();
        let relation = Arc::clone(self.catalog.relation(name)?);
        match &relation.ownership {
            Ownership::Tenant(keys) => {
                self.fallible.saw_table(&relation.name, keys);
                if !self.written.contains(&relation.name) {
                    self.written.push(Arc::clone(&relation.name));
                }
                Ok(relation)
            }
            Ownership::Shared => Err(Refusal::new(
                format!("a write to the shared table {}", relation.name),
                "it belongs to the platform: write to it in a migration",
            )),
            Ownership::View(_) => Err(Refusal::new(
                format!("a write to the view {}", relation.name),
                "write to its table",
            )),
            Ownership::Closed(closed) => Err(closed_table(&relation, *closed)),
        }
    }

    /// Looks up the target of an UPDATE, DELETE or MERGE, and makes its condition.
    fn target_condition(
        &mut self,
        clause: &mut Clause,
        factor: &TableFactor,
    ) -> Result<Condition, Refusal> {
        let TableFactor::Table {
            name,
            alias,
            args: None,
            with_hints,
            version: None,
            with_ordinality: false,
            partitions,
            json_path: None,
            sample: None,
            index_hints,
        } = factor
        else {
            return Err(other_clause());
        };
        if !with_hints.is_empty() || !partitions.is_empty() || !index_hints.is_empty() {
            return Err(other_clause());
        }
        if alias
            .as_ref()
            .is_some_and(|alias| !alias.columns.is_empty())
        {
            return Err(other_clause());
        }
        self.target(name)?;
        let (_, last) = self.source.of_name(name)?;
        clause.at = last + 1;
        self.alias(clause, alias.as_ref())?;
        self.note_name(clause, name, alias.as_ref())?;
        self.condition(name, alias.as_ref())
    }

    fn assignments(&mut self, assignments: &mut [Assignment]) -> Result<(), Refusal> {
        let before = self.fallible.begin_result(true);
        for assignment in assignments {
            match &assignment.target {
                AssignmentTarget::ColumnName(column) => self.check_column(column)?,
                AssignmentTarget::Tuple(columns) => {
                    for column in columns {
                        self.check_column(column)?;
                    }
                }
            }
            self.expression(&mut assignment.value)?;
        }
        self.fallible.begin_result(before);
        Ok(())
    }

    /// Refuses to write the tenant: it is stamped, and never changes.
    fn check_column(&self, column: &ObjectName) -> Result<(), Refusal> {
        for part in &column.0 {
            let ObjectNamePart::Identifier(ident) = part else {
                return Err(other_clause());
            };
            let is_number = self.catalog.database == Dialect::Sqlite
                && ["rowid", "oid", "_rowid_"].contains(&&*self.catalog.identifier(ident)?);
            if is_number {
                return Err(Refusal::new(
                    "a write to the number of a row",
                    "all tenants share these numbers: leave them to the database",
                ));
            }
            if self.catalog.is_tenant(ident)? {
                return Err(Refusal::new(
                    "a write to tenant_id",
                    "leave the column out: the tenant of the scope is stamped, and rows stay with it",
                ));
            }
        }
        Ok(())
    }
}

fn tenant_name() -> ObjectName {
    ObjectName(vec![ObjectNamePart::Identifier(tenant_column())])
}
