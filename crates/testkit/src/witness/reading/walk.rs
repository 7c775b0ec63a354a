//! The way through a statement, level by level.

use std::ops::{ControlFlow, Range};

use sqlparser::ast::{
    Assignment, AssignmentTarget, ConflictTarget, Delete, DoUpdate, Expr, FromTable, Insert,
    JoinConstraint, JoinOperator, Merge, MergeAction, MergeClauseKind, MergeInsertKind,
    MergeUpdateKind, ObjectName, OnConflictAction, OnInsert, Query, Select, SelectItem, SetExpr,
    Statement, TableFactor, TableObject, TableWithJoins, Update, UpdateTableFromKind, Values,
    Visit, Visitor, visit_relations,
};

use super::level::{Item, Level, Scope};
use super::{Name, Operand, TENANT, Write, fold, folded, name_of, operand};

const NO_COLUMN: &str = "it stores rows without naming the column `tenant_id`";
const NOT_BOUND: &str = "it stores rows under a tenant that is not bound as a parameter";
const CONFLICT: &str = "ON CONFLICT DO UPDATE neither looks for the conflict on `tenant_id` nor has \
     a condition `tenant_id = $n`";

/// Collects the levels of a statement and what it writes.
#[derive(Default)]
pub(super) struct Walk {
    pub(super) levels: Vec<Level>,
    pub(super) writes: Vec<Write>,
    /// Every name that stood where a relation was expected.
    placed: Vec<Name>,
}

impl Walk {
    /// Returns whether the statement is of a kind that is understood. `ctes` are the names of the
    /// common table expressions that it sees.
    pub(super) fn statement(&mut self, statement: &Statement, ctes: &[String]) -> bool {
        match statement {
            Statement::Query(query) => self.query(query, ctes),
            Statement::Insert(insert) => self.insert(insert, ctes),
            Statement::Update(update) => self.update(update, ctes),
            Statement::Delete(delete) => self.delete(delete, ctes),
            Statement::Merge(merge) => self.merge(merge, ctes),
            Statement::Explain { statement, .. } => return self.statement(statement, ctes),
            Statement::Declare { .. } => self.queries_in(statement, ctes),
            _ => return false,
        }
        true
    }

    /// Returns the relations that the parser found and this walk did not.
    pub(super) fn unplaced(&self, statement: &Statement) -> Vec<Name> {
        let mut placed = self.placed.clone();
        let mut unplaced = Vec::new();
        let _ = visit_relations(statement, |name| {
            if let Some(name) = name_of(name) {
                match placed.iter().position(|other| *other == name) {
                    Some(index) => {
                        placed.swap_remove(index);
                    }
                    None => unplaced.push(name),
                }
            }
            ControlFlow::<()>::Continue(())
        });
        unplaced
    }

    fn query(&mut self, query: &Query, ctes: &[String]) {
        let mut visible = ctes.to_vec();
        if let Some(with) = &query.with {
            let names = with.cte_tables.iter().map(|cte| fold(&cte.alias.name));
            if with.recursive {
                visible.extend(names);
                for cte in &with.cte_tables {
                    self.query(&cte.query, &visible);
                }
            } else {
                // A name is not known in its own query: there it is still the table.
                for (cte, name) in with.cte_tables.iter().zip(names) {
                    self.query(&cte.query, &visible);
                    visible.push(name);
                }
            }
        }
        self.body(&query.body, &visible);
        let rest = Query {
            with: None,
            body: Box::new(SetExpr::Values(Values {
                explicit_row: false,
                value_keyword: false,
                rows: Vec::new(),
            })),
            ..query.clone()
        };
        // The query itself is the outermost one that a visitor meets.
        self.queries_below(&rest, &visible);
    }

    fn body(&mut self, body: &SetExpr, ctes: &[String]) {
        match body {
            SetExpr::Select(select) => self.select(select, ctes),
            SetExpr::Query(query) => self.query(query, ctes),
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left, ctes);
                self.body(right, ctes);
            }
            SetExpr::Values(values) => self.queries_in(values, ctes),
            SetExpr::Insert(statement)
            | SetExpr::Update(statement)
            | SetExpr::Delete(statement)
            | SetExpr::Merge(statement) => {
                self.statement(statement, ctes);
            }
            SetExpr::Table(table) => {
                let Some(name) = &table.table_name else {
                    return;
                };
                // The parser keeps no quotes: it may be the name as it stands, or in small letters.
                let mut level = Level::default();
                for is_quoted in [true, false] {
                    let plain = |name: &String| folded(name, is_quoted);
                    let name = Name {
                        schema: table.schema_name.as_ref().map(plain),
                        table: plain(name),
                    };
                    let is_cte = name.schema.is_none() && ctes.contains(&name.table);
                    if !is_cte && !level.tables().any(|other| *other == name) {
                        level.items.push(Item {
                            alias: None,
                            table: Some(name),
                            is_renamed: false,
                        });
                    }
                }
                self.levels.push(level);
            }
        }
    }

    fn select(&mut self, select: &Select, ctes: &[String]) {
        let mut level = Level::default();
        for joined in &select.from {
            self.joined(joined, &mut level, ctes);
        }
        let all = 0..level.items.len();
        if let Some(condition) = &select.selection {
            level.require(condition, &all);
        }
        self.levels.push(level);
        let mut rest = select.clone();
        rest.from.clear();
        self.queries_in(&rest, ctes);
    }

    /// Takes note of a table with all that is joined to it.
    fn joined(&mut self, joined: &TableWithJoins, level: &mut Level, ctes: &[String]) {
        let start = level.items.len();
        self.factor(&joined.relation, level, ctes);
        let mut merges = level.items.len() == start + 1;
        for join in &joined.joins {
            let middle = level.items.len();
            self.factor(&join.relation, level, ctes);
            let end = level.items.len();
            let nothing: Range<usize> = 0..0;
            // The condition of an outer join holds only for the side that it may leave out.
            let (constraint, covers, is_inner, is_left) = match &join.join_operator {
                JoinOperator::Join(constraint)
                | JoinOperator::Inner(constraint)
                | JoinOperator::CrossJoin(constraint) => (constraint, start..end, true, false),
                JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => {
                    (constraint, middle..end, false, true)
                }
                JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
                    (constraint, start..middle, false, false)
                }
                JoinOperator::FullOuter(constraint) => (constraint, nothing, false, false),
                _ => (&JoinConstraint::None, nothing, false, false),
            };
            merges = merges && (is_inner || is_left);
            match constraint {
                JoinConstraint::On(condition) => level.require(condition, &covers),
                JoinConstraint::Using(columns)
                    if merges && end == middle + 1 && columns.iter().any(is_tenant) =>
                {
                    level.merge(start, middle, is_inner);
                }
                _ => {}
            }
            self.queries_in(&join.join_operator, ctes);
        }
    }

    fn factor(&mut self, factor: &TableFactor, level: &mut Level, ctes: &[String]) {
        let item = match factor {
            TableFactor::Table {
                name, alias, args, ..
            } => {
                let name = name_of(name);
                self.placed.extend(name.clone());
                let is_table = |name: &Name| {
                    let is_cte = name.schema.is_none() && ctes.contains(&name.table);
                    args.is_none() && !is_cte
                };
                self.queries_in(factor, ctes);
                Item {
                    alias: match alias {
                        Some(alias) => Some(fold(&alias.name)),
                        None => name.as_ref().map(|name| name.table.clone()),
                    },
                    table: name.filter(is_table),
                    is_renamed: alias
                        .as_ref()
                        .is_some_and(|alias| !alias.columns.is_empty()),
                }
            }
            TableFactor::Derived {
                subquery, alias, ..
            } => {
                self.query(subquery, ctes);
                Item {
                    alias: alias.as_ref().map(|alias| fold(&alias.name)),
                    table: None,
                    is_renamed: false,
                }
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias,
            } => {
                let start = level.items.len();
                self.joined(table_with_joins, level, ctes);
                if alias
                    .as_ref()
                    .is_some_and(|alias| !alias.columns.is_empty())
                {
                    for item in &mut level.items[start..] {
                        item.is_renamed = true;
                    }
                }
                return;
            }
            // Relations within it stay unplaced.
            factor => {
                self.queries_in(factor, ctes);
                Item {
                    alias: None,
                    table: None,
                    is_renamed: false,
                }
            }
        };
        level.items.push(item);
    }

    fn insert(&mut self, insert: &Insert, ctes: &[String]) {
        if let Some(source) = &insert.source {
            self.query(source, ctes);
        }
        self.queries_in(&insert.on, ctes);
        self.queries_in(&insert.returning, ctes);
        let TableObject::TableName(name) = &insert.table else {
            return;
        };
        let Some(table) = name_of(name) else {
            return;
        };
        self.placed.push(table.clone());
        let alias = match &insert.table_alias {
            Some(alias) => fold(&alias.alias),
            None => table.table.clone(),
        };
        let stored = insert
            .columns
            .iter()
            .position(is_tenant)
            .ok_or(NO_COLUMN)
            .and_then(|index| {
                let source = insert.source.as_deref().ok_or(NO_COLUMN)?;
                let mut tenants = Vec::new();
                let place = Column {
                    index,
                    from_end: insert.columns.len() - 1 - index,
                };
                projected(&source.body, place, &mut tenants);
                bound(tenants)
            });
        self.write(&table, stored);
        if let Some(OnInsert::OnConflict(conflict)) = &insert.on
            && let OnConflictAction::DoUpdate(update) = &conflict.action
        {
            let target = conflict.conflict_target.as_ref();
            self.conflict(&table, alias, target, update);
        }
    }

    /// The row that is in the way is the tenant's if the tenant is part of what they have in
    /// common; else the statement must say so.
    fn conflict(
        &mut self,
        table: &Name,
        alias: String,
        target: Option<&ConflictTarget>,
        update: &DoUpdate,
    ) {
        let mut level = Level::default();
        level.items.push(Item {
            alias: Some(alias),
            table: Some(table.clone()),
            is_renamed: false,
        });
        if let Some(condition) = &update.selection {
            level.require(condition, &(0..1));
        }
        let is_on_tenant = matches!(
            target,
            Some(ConflictTarget::Columns(columns))
                if columns.iter().any(|column| fold(column) == TENANT)
        );
        let is_bound = level
            .scopes(|_| true)
            .into_iter()
            .all(|(_, scope)| matches!(scope, Scope::Parameters(_)));
        if is_bound {
            self.levels.push(level);
        } else if !is_on_tenant {
            self.write(table, Err(CONFLICT));
        }
        self.assignments(table, &update.assignments);
    }

    fn update(&mut self, update: &Update, ctes: &[String]) {
        let mut level = Level::default();
        // What is written to is a table, whatever a CTE is called.
        self.joined(&update.table, &mut level, &[]);
        let target = level.tables().next().cloned();
        if let Some(UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) =
            &update.from
        {
            for joined in from {
                self.joined(joined, &mut level, ctes);
            }
        }
        let all = 0..level.items.len();
        if let Some(condition) = &update.selection {
            level.require(condition, &all);
        }
        self.levels.push(level);
        if let Some(target) = target {
            self.assignments(&target, &update.assignments);
        }
        self.queries_in(&update.assignments, ctes);
        self.queries_in(&update.selection, ctes);
        self.queries_in(&update.returning, ctes);
    }

    fn delete(&mut self, delete: &Delete, ctes: &[String]) {
        let mut level = Level::default();
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        for joined in from {
            self.joined(joined, &mut level, &[]);
        }
        for joined in delete.using.iter().flatten() {
            self.joined(joined, &mut level, ctes);
        }
        let all = 0..level.items.len();
        if let Some(condition) = &delete.selection {
            level.require(condition, &all);
        }
        self.levels.push(level);
        self.queries_in(&delete.selection, ctes);
        self.queries_in(&delete.returning, ctes);
    }

    fn merge(&mut self, merge: &Merge, ctes: &[String]) {
        let mut level = Level::default();
        self.factor(&merge.table, &mut level, &[]);
        let target = level.tables().next().cloned();
        let targets = level.items.len();
        self.factor(&merge.source, &mut level, ctes);
        // Rows of the source that do not match are worked on too, and so may be those of the target.
        let covers = if merge
            .clauses
            .iter()
            .any(|clause| clause.clause_kind == MergeClauseKind::NotMatchedBySource)
        {
            0..0
        } else {
            0..targets
        };
        level.require(&merge.on, &covers);
        self.levels.push(level);
        self.queries_in(&merge.on, ctes);
        self.queries_in(&merge.clauses, ctes);
        let Some(target) = target else {
            return;
        };
        for clause in &merge.clauses {
            match &clause.action {
                MergeAction::Insert(insert) => {
                    let index = insert.columns.iter().position(is_tenant).ok_or(NO_COLUMN);
                    let stored = index.and_then(|index| match &insert.kind {
                        MergeInsertKind::Values(values) => {
                            let mut tenants = Vec::new();
                            projected_values(values, index, &mut tenants);
                            bound(tenants)
                        }
                        _ => Err(NO_COLUMN),
                    });
                    self.write(&target, stored);
                }
                MergeAction::Update(update) => match &update.kind {
                    MergeUpdateKind::Set(assignments) => self.assignments(&target, assignments),
                    MergeUpdateKind::Wildcard => self.write(&target, Err(NOT_BOUND)),
                },
                MergeAction::Delete { .. } | MergeAction::DoNothing { .. } => {}
            }
        }
    }

    /// Takes note of the tenant that an assignment gives a row.
    fn assignments(&mut self, table: &Name, assignments: &[Assignment]) {
        for assignment in assignments {
            let stored = match &assignment.target {
                AssignmentTarget::ColumnName(name) if is_tenant(name) => {
                    bound(vec![operand(&assignment.value)])
                }
                AssignmentTarget::Tuple(names) if names.iter().any(is_tenant) => Err(NOT_BOUND),
                _ => continue,
            };
            self.write(table, stored);
        }
    }

    fn write(&mut self, table: &Name, tenants: Result<Vec<Operand>, &'static str>) {
        self.writes.push(Write {
            table: table.clone(),
            tenants,
        });
    }

    /// Walks through the outermost queries in a part of a statement.
    fn queries_in<V: Visit>(&mut self, part: &V, ctes: &[String]) {
        self.queries(part, 0, ctes);
    }

    /// Walks through the queries directly in a query.
    fn queries_below(&mut self, query: &Query, ctes: &[String]) {
        self.queries(query, 1, ctes);
    }

    fn queries<V: Visit>(&mut self, part: &V, depth: usize, ctes: &[String]) {
        let mut found = Outermost {
            wanted: depth,
            depth: 0,
            queries: Vec::new(),
        };
        let _ = part.visit(&mut found);
        for query in found.queries {
            self.query(&query, ctes);
        }
    }
}

/// Collects the queries of one depth.
struct Outermost {
    wanted: usize,
    depth: usize,
    queries: Vec<Query>,
}

impl Visitor for Outermost {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if self.depth == self.wanted {
            self.queries.push(query.clone());
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

fn is_tenant(name: &ObjectName) -> bool {
    name_of(name).is_some_and(|name| name.table == TENANT)
}

/// A column of a row, counted from either side.
#[derive(Clone, Copy)]
struct Column {
    index: usize,
    from_end: usize,
}

/// Finds what each row of a body has in a column.
fn projected(body: &SetExpr, column: Column, tenants: &mut Vec<Operand>) {
    match body {
        SetExpr::Values(values) => projected_values(values, column.index, tenants),
        SetExpr::Query(query) => projected(&query.body, column, tenants),
        SetExpr::SetOperation { left, right, .. } => {
            projected(left, column, tenants);
            projected(right, column, tenants);
        }
        SetExpr::Select(select) => {
            let field = |item| match item {
                &SelectItem::UnnamedExpr(ref expr)
                | &SelectItem::ExprWithAlias { ref expr, .. } => Some(expr),
                _ => None,
            };
            // Behind a `*` nobody knows which column is which, but from the end: the server takes as
            // many as are listed, no more and no fewer.
            let items = &select.projection;
            let found = items.iter().map_while(field).nth(column.index);
            let found = found.or_else(|| items.iter().rev().map_while(field).nth(column.from_end));
            tenants.push(found.map_or(Operand::Other, operand));
        }
        _ => tenants.push(Operand::Other),
    }
}

fn projected_values(values: &Values, index: usize, tenants: &mut Vec<Operand>) {
    let rows = values.rows.iter();
    tenants.extend(rows.map(|row| nth(row.content.iter(), index)));
}

fn nth<'a>(mut fields: impl Iterator<Item = &'a Expr>, index: usize) -> Operand {
    fields.nth(index).map_or(Operand::Other, operand)
}

fn bound(tenants: Vec<Operand>) -> Result<Vec<Operand>, &'static str> {
    let is_bound = |tenant: &Operand| matches!(tenant, Operand::Parameter(_));
    if !tenants.is_empty() && tenants.iter().all(is_bound) {
        Ok(tenants)
    } else {
        Err(NOT_BOUND)
    }
}
