//! FROM: where the condition of each table goes, so that joins keep their meaning.
//!
//! A condition on a table is worth the same wherever its rows can only be lost, not filled with
//! NULL: it climbs through inner joins up to WHERE. On the side of an outer join that is filled it
//! stays in ON. Where there is no ON, or both sides are filled, the table itself is replaced by
//! a sub-query over its rows.

use sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, Ident, JoinConstraint, JoinOperator, ObjectName,
    ObjectNamePart, Query, SetExpr, TableAlias, TableFactor, TableWithJoins,
};
use sqlparser::keywords::Keyword;

use super::{Rewriter, ends_from, tenant_column};
use crate::backend::Dialect;
use crate::guard::catalog::{Closed, Ownership, Relation};
use crate::guard::refusal::Refusal;
use crate::guard::source::{Kind, Stop};

/// `alias.tenant_id = $n`, as text and as a tree.
pub(super) struct Condition {
    text: String,
    tree: Expr,
}

/// How a table is called that a sub-query takes the place of.
struct Named {
    /// What has to be added to the text.
    text: String,
    tree: Option<TableAlias>,
}

/// What is known of a FROM clause while it is walked.
pub(super) struct Clause {
    /// The token that is looked at next.
    pub(super) at: usize,
    /// Whether the rows are locked, which a sub-query in the place of a table would do too early.
    pub(super) locks: bool,
    /// Whether every table is replaced, for conditions would go astray.
    replaces: bool,
    /// Whether a sub-query has taken the place of a table.
    pub(super) has_replaced: bool,
    /// The names by which columns are called, for no two may be alike.
    names: Vec<String>,
}

impl Clause {
    pub(super) const fn new(at: usize, locks: bool) -> Self {
        Self {
            at,
            locks,
            replaces: false,
            has_replaced: false,
            names: Vec::new(),
        }
    }
}

impl Rewriter<'_> {
    /// Walks what stands behind FROM or USING, from `clause.at` on; returns what belongs into
    /// WHERE.
    pub(super) fn from(
        &mut self,
        clause: &mut Clause,
        items: &mut [TableWithJoins],
    ) -> Result<Vec<Condition>, Refusal> {
        // On SQLite a comma joins what stands left of it with all that follows
        // (https://www.sqlite.org/lang_select.html#strange_join_names).
        let fills_left = |item: &TableWithJoins| {
            item.joins
                .iter()
                .any(|join| side_filled(&join.join_operator).0)
        };
        clause.replaces = self.catalog.database == Dialect::Sqlite
            && items.len() > 1
            && items.iter().any(fills_left);
        let mut pending = Vec::new();
        for item in items {
            pending.extend(self.joined(clause, item, clause.replaces)?);
        }
        Ok(pending)
    }

    /// Walks a chain of joins; `replaces` says that no condition may come out of it.
    fn joined(
        &mut self,
        clause: &mut Clause,
        item: &mut TableWithJoins,
        replaces: bool,
    ) -> Result<Vec<Condition>, Refusal> {
        if self.catalog.database == Dialect::Sqlite {
            check_brackets(item)?;
        }
        let TableWithJoins { relation, joins } = item;
        // What stands on the left of a join without ON, or of a full one, that fills it with NULL.
        let mut left_replaced = replaces;
        for join in joins.iter() {
            let (fills_left, _) = side_filled(&join.join_operator);
            let has_on = matches!(constraint(&join.join_operator)?, JoinConstraint::On(_));
            left_replaced |= is_full(&join.join_operator) || fills_left && !has_on;
        }
        let mut pending = self.factor(clause, relation, left_replaced)?;
        for index in 0..joins.len() {
            // What stands behind this join, and fills it with NULL.
            let mut right_replaced = replaces;
            for later in &joins[index + 1..] {
                let (fills_left, _) = side_filled(&later.join_operator);
                let has_on = matches!(constraint(&later.join_operator)?, JoinConstraint::On(_));
                right_replaced |= is_full(&later.join_operator) || fills_left && !has_on;
            }
            let join = &mut joins[index];
            if join.global {
                return Err(other_table("a join of another dialect"));
            }
            let (fills_left, fills_right) = side_filled(&join.join_operator);
            let has_on = matches!(constraint(&join.join_operator)?, JoinConstraint::On(_));
            right_replaced |= is_full(&join.join_operator) || fills_right && !has_on;
            let right = self.factor(clause, &mut join.relation, right_replaced)?;
            let (into_on, climbing) = match (fills_left, fills_right) {
                (false, false) => (Vec::new(), pending.into_iter().chain(right).collect()),
                (false, true) => (right, pending),
                (true, false) => (pending, right),
                // Both sides were replaced.
                (true, true) => (Vec::new(), Vec::new()),
            };
            pending = climbing;
            if let JoinConstraint::On(on) = constraint_mut(&mut join.join_operator)? {
                let keyword = self.on(clause)?;
                self.expression(on)?;
                self.add_conditions(keyword, into_on, on, ends_on)?;
                clause.at = keyword + 1;
            } else if !into_on.is_empty() {
                return Err(Refusal::unplaced());
            }
        }
        Ok(pending)
    }

    /// Returns the next ON of this level.
    fn on(&self, clause: &Clause) -> Result<usize, Refusal> {
        let found = self
            .source
            .find(clause.at, |_, place| place.keyword == Keyword::ON);
        match found {
            Stop::Found(index) => Ok(index),
            Stop::End(_) => Err(Refusal::unplaced()),
        }
    }

    pub(super) fn factor(
        &mut self,
        clause: &mut Clause,
        factor: &mut TableFactor,
        replaced: bool,
    ) -> Result<Vec<Condition>, Refusal> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                with_hints,
                version: None,
                with_ordinality: false,
                partitions,
                json_path: None,
                sample,
                index_hints,
            } if with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty() => {
                self.saw_relation();
                if sample.is_some() {
                    return Err(Refusal::new(
                        "TABLESAMPLE",
                        "it takes its sample from the rows of all tenants: write ORDER BY and LIMIT",
                    ));
                }
                let (schema, plain) = self.catalog.relation_path(name)?;
                if schema.is_none() && self.outer_ctes.iter().any(|cte| **cte == *plain) {
                    return Err(Refusal::new(
                        format!(
                            "a common table expression by the name {plain}, which the view reads"
                        ),
                        "give it another name",
                    ));
                }
                let (first, last) = self.source.of_name(name)?;
                clause.at = last + 1;
                self.alias(clause, alias.as_ref())?;
                self.note_name(clause, name, alias.as_ref())?;
                if self.is_cte(name)? {
                    return Ok(Vec::new());
                }
                let relation = std::sync::Arc::clone(self.catalog.relation(name)?);
                let renames = alias
                    .as_ref()
                    .is_some_and(|alias| !alias.columns.is_empty());
                match &relation.ownership {
                    Ownership::Shared => Ok(Vec::new()),
                    Ownership::Closed(closed) => Err(closed_table(&relation, *closed)),
                    Ownership::View(definition) => {
                        if clause.locks {
                            return Err(self.locked(&relation.name));
                        }
                        let view = self.view(&relation.name, definition)?;
                        self.binds_tenant |= view.binds_tenant;
                        self.replaced_any = true;
                        if renames {
                            // A view's row keeps the names of the view, a sub-query's has those here.
                            self.replaced_names.extend(clause.names.last().cloned());
                        }
                        let named = self.derived_alias(name, alias.as_ref())?;
                        self.replace(first, last, format!("({}){}", view.text, named.text))?;
                        *factor = derived(view.query, named.tree);
                        Ok(Vec::new())
                    }
                    Ownership::Tenant(keys) => {
                        self.fallible.saw_table(&relation.name, keys);
                        if !replaced && !renames {
                            return Ok(vec![self.condition(name, alias.as_ref())?]);
                        }
                        if clause.locks {
                            return Err(self.locked(&relation.name));
                        }
                        self.replaced = true;
                        self.replaced_any = true;
                        clause.has_replaced = true;
                        // It was noted just now.
                        self.replaced_names.extend(clause.names.last().cloned());
                        let table = self.source.slice(first, last)?.to_owned();
                        let condition = self.condition(name, None)?;
                        let named = self.derived_alias(name, alias.as_ref())?;
                        self.before(first, "(select * from ")?;
                        self.after(
                            last,
                            format!(" where {table}.tenant_id = {}){}", self.tenant, named.text),
                        )?;
                        let query = self.template(&format!("select * from {table}"), condition)?;
                        *factor = derived(query, named.tree);
                        Ok(Vec::new())
                    }
                }
            }
            TableFactor::Table {
                name,
                alias,
                args: Some(arguments),
                with_hints,
                version: None,
                partitions,
                json_path: None,
                sample: None,
                index_hints,
                ..
            } if with_hints.is_empty()
                && partitions.is_empty()
                && index_hints.is_empty()
                && arguments.settings.is_none() =>
            {
                self.saw_relation();
                self.table_function(clause, name, &mut arguments.args, alias.as_ref())?;
                Ok(Vec::new())
            }
            TableFactor::Function {
                name,
                args,
                alias,
                lateral: _,
                with_ordinality: _,
            } => {
                self.table_function(clause, name, args, alias.as_ref())?;
                Ok(Vec::new())
            }
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_offset: false,
                with_offset_alias: None,
                with_ordinality: _,
            } => {
                for array in array_exprs {
                    self.expression(array)?;
                }
                self.skip_next_brackets(clause)?;
                self.alias(clause, alias.as_ref())?;
                let name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new("unnest"))]);
                self.note_name(clause, &name, alias.as_ref())?;
                Ok(Vec::new())
            }
            TableFactor::Derived {
                subquery,
                alias,
                lateral: _,
                sample: None,
            } => {
                self.query(subquery)?;
                self.skip_next_brackets(clause)?;
                self.alias(clause, alias.as_ref())?;
                if let Some(alias) = alias {
                    self.note(clause, &alias.name)?;
                }
                Ok(Vec::new())
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias,
            } => {
                let open = self.next_bracket(clause)?;
                let close = self.source.closing(open)?;
                // An alias hides the names inside.
                let replaced = replaced || alias.is_some();
                clause.at = open + 1;
                let pending = if alias.is_some() {
                    let mut inner = Clause::new(open + 1, clause.locks);
                    let pending = self.joined(&mut inner, table_with_joins, true)?;
                    clause.has_replaced |= inner.has_replaced;
                    if self.catalog.database == Dialect::Sqlite {
                        // There the names inside can be seen all the same.
                        for name in inner.names {
                            Self::note_once(clause, name)?;
                        }
                    }
                    pending
                } else {
                    self.joined(clause, table_with_joins, replaced)?
                };
                clause.at = close + 1;
                self.alias(clause, alias.as_ref())?;
                if let Some(alias) = alias {
                    self.note(clause, &alias.name)?;
                }
                Ok(pending)
            }
            _ => Err(other_table("a table of another kind in FROM")),
        }
    }

    /// Walks a function in the place of a table.
    fn table_function(
        &mut self,
        clause: &mut Clause,
        name: &ObjectName,
        arguments: &mut [FunctionArg],
        alias: Option<&TableAlias>,
    ) -> Result<(), Refusal> {
        self.check_table_function(name)?;
        for argument in arguments {
            self.function_argument(argument)?;
        }
        let (_, last) = self.source.of_name(name)?;
        self.skip_brackets(clause, last + 1)?;
        self.alias(clause, alias)?;
        self.note_name(clause, name, alias)
    }

    /// Steps over an alias.
    pub(super) fn alias(
        &self,
        clause: &mut Clause,
        alias: Option<&TableAlias>,
    ) -> Result<(), Refusal> {
        let Some(alias) = alias else {
            return Ok(());
        };
        if alias.at.is_some() {
            return Err(other_table("an alias of another dialect"));
        }
        clause.at = self.source.of_ident(&alias.name)? + 1;
        if !alias.columns.is_empty() {
            self.skip_brackets(clause, clause.at)?;
        }
        Ok(())
    }

    fn skip_brackets(&self, clause: &mut Clause, open: usize) -> Result<(), Refusal> {
        if self.source.place(open)?.kind != Kind::Open {
            return Err(Refusal::unplaced());
        }
        clause.at = self.source.closing(open)? + 1;
        Ok(())
    }

    fn next_bracket(&self, clause: &Clause) -> Result<usize, Refusal> {
        match self
            .source
            .find(clause.at, |_, place| place.kind == Kind::Open)
        {
            Stop::Found(open) => Ok(open),
            Stop::End(_) => Err(Refusal::unplaced()),
        }
    }

    fn skip_next_brackets(&self, clause: &mut Clause) -> Result<(), Refusal> {
        let open = self.next_bracket(clause)?;
        self.skip_brackets(clause, open)
    }

    pub(super) fn note_name(
        &self,
        clause: &mut Clause,
        name: &ObjectName,
        alias: Option<&TableAlias>,
    ) -> Result<(), Refusal> {
        match (alias, name.0.last()) {
            (Some(alias), _) => self.note(clause, &alias.name),
            (None, Some(ObjectNamePart::Identifier(name))) => self.note(clause, name),
            (None, _) => Err(Refusal::unplaced()),
        }
    }

    /// Refuses a name that is there twice: the condition of one table would be that of the other.
    fn note(&self, clause: &mut Clause, name: &Ident) -> Result<(), Refusal> {
        let name = self.catalog.relation_name(name)?.into_owned();
        Self::note_once(clause, name)
    }

    fn note_once(clause: &mut Clause, name: String) -> Result<(), Refusal> {
        if clause.names.contains(&name) {
            return Err(Refusal::new(
                format!("two tables of the name {name} in one FROM"),
                "give each an alias of its own",
            ));
        }
        clause.names.push(name);
        Ok(())
    }

    /// Says how a table goes on to be called when a sub-query takes its place.
    fn derived_alias(
        &self,
        name: &ObjectName,
        alias: Option<&TableAlias>,
    ) -> Result<Named, Refusal> {
        if let Some(alias) = alias {
            return Ok(Named {
                text: String::new(),
                tree: Some(alias.clone()),
            });
        }
        let Some(ObjectNamePart::Identifier(ident)) = name.0.last() else {
            return Err(Refusal::unplaced());
        };
        let token = self.source.of_ident(ident)?;
        Ok(Named {
            text: format!(" as {}", self.source.slice(token, token)?),
            tree: Some(TableAlias {
                explicit: true,
                name: ident.clone(),
                columns: Vec::new(),
                at: None,
            }),
        })
    }

    /// Makes the tree of a query that is written here, over one table.
    fn template(&self, sql: &str, condition: Condition) -> Result<Box<Query>, Refusal> {
        let mut query = self.parse_query(sql)?;
        match &mut *query.body {
            SetExpr::Select(select) => select.selection = Some(condition.tree),
            _ => return Err(Refusal::unplaced()),
        }
        Ok(query)
    }

    fn is_cte(&self, name: &ObjectName) -> Result<bool, Refusal> {
        let (schema, name) = self.catalog.parts(name)?;
        Ok(schema.is_none() && self.ctes.iter().any(|cte| **cte == *name))
    }

    /// Makes the condition of a table that is called by its alias, or else by its name.
    pub(super) fn condition(
        &mut self,
        name: &ObjectName,
        alias: Option<&TableAlias>,
    ) -> Result<Condition, Refusal> {
        let mut path = Vec::with_capacity(3);
        let called = match alias {
            Some(alias) => {
                path.push(alias.name.clone());
                let token = self.source.of_ident(&alias.name)?;
                self.source.slice(token, token)?
            }
            None => {
                for part in &name.0 {
                    match part {
                        ObjectNamePart::Identifier(ident) => path.push(ident.clone()),
                        ObjectNamePart::Function(_) => return Err(Refusal::unplaced()),
                    }
                }
                let (first, last) = self.source.of_name(name)?;
                self.source.slice(first, last)?
            }
        };
        let text = format!("{called}.tenant_id = {}", self.tenant);
        path.push(tenant_column());
        Ok(Condition {
            text,
            tree: equals(Expr::CompoundIdentifier(path), self.tenant()),
        })
    }

    /// Puts conditions in front of the one behind a keyword.
    pub(super) fn add_conditions(
        &mut self,
        keyword: usize,
        conditions: Vec<Condition>,
        written: &mut Expr,
        ends: fn(&[Keyword; 2]) -> bool,
    ) -> Result<(), Refusal> {
        if conditions.is_empty() {
            return Ok(());
        }
        let end = self
            .source
            .find(keyword + 1, |index, place| {
                place.kind == Kind::Comma || ends(&[place.keyword, self.source.keyword(index + 1)])
            })
            .index();
        let (text, tree) = all(conditions)?;
        self.after(keyword, format!(" {text} and"))?;
        self.before(keyword + 1, "(")?;
        self.after(end - 1, ")")?;
        let own = std::mem::replace(written, tree_of_nothing());
        *written = and(tree, Expr::Nested(Box::new(own)));
        Ok(())
    }

    /// Puts conditions into WHERE, which `from` or something behind it begins; there may be none.
    pub(super) fn add_where(
        &mut self,
        from: usize,
        conditions: Vec<Condition>,
        selection: &mut Option<Expr>,
    ) -> Result<(), Refusal> {
        if conditions.is_empty() {
            return Ok(());
        }
        let stop = self.source.find(from, |index, place| {
            ends_where(&[place.keyword, self.source.keyword(index + 1)])
        });
        match selection {
            Some(written) => {
                let Stop::Found(keyword) = stop else {
                    return Err(Refusal::unplaced());
                };
                if self.source.keyword(keyword) != Keyword::WHERE {
                    return Err(Refusal::unplaced());
                }
                self.add_conditions(keyword, conditions, written, ends_where)
            }
            None => {
                let (text, tree) = all(conditions)?;
                self.after(stop.index() - 1, format!(" where {text}"))?;
                *selection = Some(tree);
                Ok(())
            }
        }
    }

    fn locked(&self, table: &str) -> Refusal {
        Refusal::new(
            format!("a locking clause over {table} as it is joined here"),
            "name the table with an alias and no columns, and join it by ON; lock no view",
        )
    }
}

/// Refuses a join in brackets beside one of another kind than ON: which of two columns of a name SQLite
/// then takes depends on how it plans the join, and a condition more is another plan.
fn check_brackets(item: &TableWithJoins) -> Result<(), Refusal> {
    let is_nested = |factor: &TableFactor| matches!(factor, TableFactor::NestedJoin { .. });
    let mut nested = is_nested(&item.relation);
    let mut is_unclear = false;
    for join in &item.joins {
        nested |= is_nested(&join.relation);
        let (fills_left, _) = side_filled(&join.join_operator);
        let constraint = constraint(&join.join_operator)?;
        is_unclear |= fills_left
            || matches!(
                constraint,
                JoinConstraint::Using(_) | JoinConstraint::Natural
            );
    }
    match nested && is_unclear {
        true => Err(Refusal::new(
            "a join in brackets beside NATURAL, USING, RIGHT or FULL",
            "join by ON, or write a sub-query in its place",
        )),
        false => Ok(()),
    }
}

fn ends_on(keywords: &[Keyword; 2]) -> bool {
    ends_from(keywords[0])
        || matches!(
            keywords[0],
            Keyword::ON
                | Keyword::JOIN
                | Keyword::INNER
                | Keyword::CROSS
                | Keyword::NATURAL
                | Keyword::WHEN
        )
        // `left(…)` is a function.
        || matches!(
            keywords,
            [
                Keyword::LEFT | Keyword::RIGHT | Keyword::FULL,
                Keyword::JOIN | Keyword::OUTER
            ]
        )
}

fn ends_where(keywords: &[Keyword; 2]) -> bool {
    ends_from(keywords[0]) || is_conflict(keywords)
}

fn is_conflict(keywords: &[Keyword; 2]) -> bool {
    *keywords == [Keyword::ON, Keyword::CONFLICT]
}

/// Which sides of a join are filled with NULL: the left, the right.
const fn side_filled(join: &JoinOperator) -> (bool, bool) {
    match join {
        JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => (false, true),
        JoinOperator::Right(_) | JoinOperator::RightOuter(_) => (true, false),
        JoinOperator::FullOuter(_) => (true, true),
        _ => (false, false),
    }
}

const fn is_full(join: &JoinOperator) -> bool {
    matches!(join, JoinOperator::FullOuter(_))
}

fn constraint(join: &JoinOperator) -> Result<&JoinConstraint, Refusal> {
    match join {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::CrossJoin(constraint) => Ok(constraint),
        _ => Err(other_table("a join of another kind")),
    }
}

fn constraint_mut(join: &mut JoinOperator) -> Result<&mut JoinConstraint, Refusal> {
    match join {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::CrossJoin(constraint) => Ok(constraint),
        _ => Err(other_table("a join of another kind")),
    }
}

fn equals(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::Eq,
        right: Box::new(right),
    }
}

fn and(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    }
}

/// Joins conditions by AND.
fn all(conditions: Vec<Condition>) -> Result<(String, Expr), Refusal> {
    conditions
        .into_iter()
        .map(|Condition { text, tree }| (text, tree))
        .reduce(|(text, tree), (more, other)| (format!("{text} and {more}"), and(tree, other)))
        .ok_or_else(Refusal::unplaced)
}

/// Stands for a moment where an expression is taken out.
fn tree_of_nothing() -> Expr {
    Expr::Tuple(Vec::new())
}

pub(super) fn closed_table(relation: &Relation, closed: Closed) -> Refusal {
    let name = &relation.name;
    match closed {
        Closed::Undeclared => Refusal::unknown(
            format!("the table {name}, which is neither protected nor shared"),
            "declare it in a migration: tenantry.protect or tenantry.share; on SQLite give it a \
             tenant_id, or name it by with_shared_table",
        ),
        Closed::Partition => Refusal::new(
            format!("the partition {name}"),
            "name the partitioned table",
        ),
        Closed::MaterializedView => Refusal::new(
            format!("the materialized view {name}"),
            "it keeps rows of all tenants: use PlatformScope",
        ),
        Closed::Foreign => Refusal::new(
            format!("the foreign table {name}"),
            "row-level security cannot hold there: use PlatformScope",
        ),
        Closed::Virtual => Refusal::new(
            format!("the virtual table {name}"),
            "its index and its ranks are those of all tenants: use PlatformScope",
        ),
        Closed::Replacing => Refusal::new(
            format!("the table {name}, whose definition says ON CONFLICT"),
            "it replaces or drops rows unasked, of other tenants among them: leave the clause out",
        ),
        Closed::View => Refusal::new(
            format!("the view {name}"),
            "set security_invoker on it, and name its columns by AS in its query",
        ),
    }
}

fn derived(subquery: Box<Query>, alias: Option<TableAlias>) -> TableFactor {
    TableFactor::Derived {
        lateral: false,
        subquery,
        alias,
        sample: None,
    }
}

fn other_table(what: &'static str) -> Refusal {
    Refusal::new(what, "write it with tables, joins and sub-queries")
}
