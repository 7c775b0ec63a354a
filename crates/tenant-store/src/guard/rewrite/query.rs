//! Queries: common table expressions, set operations, SELECT.

use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, LimitClause, LockClause, NamedWindowExpr, ObjectName, OrderBy,
    OrderByExpr, OrderByKind, Query, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, Statement, Values, WildcardAdditionalOptions, With,
};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;

use super::from::Clause;
use super::{Rewriter, ends_from};
use crate::backend::Dialect;
use crate::guard::refusal::Refusal;
use crate::guard::source::dialect;

impl Rewriter<'_> {
    pub(super) fn query(&mut self, query: &mut Query) -> Result<(), Refusal> {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        if for_clause.is_some()
            || settings.is_some()
            || format_clause.is_some()
            || !pipe_operators.is_empty()
        {
            return Err(other_clause());
        }
        let seen = self.ctes.len();
        self.fallible.depth += 1;
        if let Some(with) = with {
            self.with(with)?;
        }
        self.set_expr(body, !locks.is_empty())?;
        if let Some(order_by) = order_by {
            let before = self.fallible.begin_result(true);
            self.order_by(order_by)?;
            self.fallible.begin_result(before);
        }
        match limit_clause {
            None => {}
            Some(LimitClause::LimitOffset {
                limit,
                offset,
                limit_by,
            }) if limit_by.is_empty() => {
                if let Some(limit) = limit {
                    self.expression(limit)?;
                }
                if let Some(offset) = offset {
                    self.expression(&mut offset.value)?;
                }
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
                self.expression(offset)?;
                self.expression(limit)?;
            }
            Some(LimitClause::LimitOffset { .. }) => return Err(other_clause()),
        }
        if let Some(quantity) = fetch.as_mut().and_then(|fetch| fetch.quantity.as_mut()) {
            self.expression(quantity)?;
        }
        for LockClause { of, .. } in locks {
            if of.as_ref().is_some_and(|of: &ObjectName| of.0.len() != 1) {
                return Err(Refusal::new(
                    "a locking clause that names a schema",
                    "name the alias of the table: FOR UPDATE OF i",
                ));
            }
        }
        self.ctes.truncate(seen);
        self.fallible.depth -= 1;
        Ok(())
    }

    /// Makes the names of common table expressions known, and no earlier than the database does:
    /// what it takes for a table must not be taken for one of them.
    fn with(&mut self, with: &mut With) -> Result<(), Refusal> {
        let mut names = Vec::with_capacity(with.cte_tables.len());
        for cte in &with.cte_tables {
            names.push(self.catalog.relation_name(&cte.alias.name)?.into_owned());
        }
        // SQLite shows each to all others, and knows recursion without the word.
        let all_at_once = with.recursive || self.catalog.database == Dialect::Sqlite;
        if all_at_once {
            self.ctes.extend(names.iter().cloned());
        }
        for (cte, name) in with.cte_tables.iter_mut().zip(names) {
            if cte.from.is_some() {
                return Err(other_clause());
            }
            self.query(&mut cte.query)?;
            if !all_at_once {
                self.ctes.push(name);
            }
        }
        Ok(())
    }

    pub(super) fn set_expr(&mut self, body: &mut SetExpr, locks: bool) -> Result<(), Refusal> {
        match body {
            SetExpr::Select(select) => self.select(select, locks),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { left, right, .. } => {
                self.set_expr(left, locks)?;
                self.set_expr(right, locks)
            }
            SetExpr::Values(values) => self.values(values),
            SetExpr::Insert(statement)
            | SetExpr::Update(statement)
            | SetExpr::Delete(statement)
            | SetExpr::Merge(statement) => match statement {
                Statement::Insert(_)
                | Statement::Update(_)
                | Statement::Delete(_)
                | Statement::Merge(_) => self.statement(statement),
                _ => Err(other_clause()),
            },
            SetExpr::Table(_) => Err(Refusal::new("TABLE", "write SELECT * FROM")),
        }
    }

    pub(super) fn values(&mut self, values: &mut Values) -> Result<(), Refusal> {
        if values.explicit_row || values.value_keyword {
            return Err(other_clause());
        }
        let before = self.fallible.begin_result(true);
        for row in &mut values.rows {
            for value in &mut row.content {
                self.expression(value)?;
            }
        }
        self.fallible.begin_result(before);
        Ok(())
    }

    fn select(&mut self, select: &mut Select, locks: bool) -> Result<(), Refusal> {
        let Select {
            select_token,
            optimizer_hints,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        if into.is_some() {
            return Err(Refusal::new(
                "SELECT INTO",
                "it makes a table: write INSERT INTO … SELECT",
            ));
        }
        let is_plain = optimizer_hints.is_empty()
            && select_modifiers.is_none()
            && top.is_none()
            && exclude.is_none()
            && lateral_views.is_empty()
            && prewhere.is_none()
            && connect_by.is_empty()
            && cluster_by.is_empty()
            && distribute_by.is_empty()
            && sort_by.is_empty()
            && qualify.is_none()
            && value_table_mode.is_none()
            && *flavor == SelectFlavor::Standard;
        if !is_plain {
            return Err(other_clause());
        }
        if let Some(Distinct::On(expressions)) = distinct {
            self.expressions(expressions)?;
        }
        self.projection(projection)?;
        let before = self.fallible.begin_result(false);
        let start = self.source.at(select_token.0.span.start)?;
        if !from.is_empty() {
            let keyword = self.find_from(start)?;
            let mut clause = Clause::new(keyword + 1, locks);
            let conditions = self.from(&mut clause, from)?;
            if clause.has_replaced {
                self.check_group_by(group_by)?;
            }
            if let Some(selection) = selection {
                self.expression(selection)?;
            }
            self.add_where(keyword + 1, conditions, selection)?;
        } else if let Some(selection) = selection {
            self.expression(selection)?;
        }
        match group_by {
            GroupByExpr::Expressions(expressions, modifiers) if modifiers.is_empty() => {
                self.fallible.begin_result(true);
                self.expressions(expressions)?;
                self.fallible.begin_result(false);
            }
            _ => return Err(other_clause()),
        }
        if let Some(having) = having {
            self.expression(having)?;
        }
        self.fallible.begin_result(before);
        for window in named_window {
            match &mut window.1 {
                NamedWindowExpr::NamedWindow(_) => {}
                NamedWindowExpr::WindowSpec(window) => self.window(window)?,
            }
        }
        Ok(())
    }

    /// Refuses to group by a key that a sub-query in the place of a table no longer has: PostgreSQL
    /// knows by it what the other columns are.
    fn check_group_by(&self, group_by: &GroupByExpr) -> Result<(), Refusal> {
        let GroupByExpr::Expressions(expressions, _) = group_by else {
            return Ok(());
        };
        for expression in expressions {
            let column = match expression {
                Expr::Identifier(column) => Some(column),
                Expr::CompoundIdentifier(path) => path.last(),
                _ => None,
            };
            if let Some(column) = column
                && self.catalog.is_tenant(column)?
            {
                return Err(Refusal::new(
                    "GROUP BY the key of a table in a full join or one by USING",
                    "group by each column that is selected, and leave tenant_id out",
                ));
            }
        }
        Ok(())
    }

    /// Returns the FROM of the SELECT at a token.
    fn find_from(&self, select: usize) -> Result<usize, Refusal> {
        let found = self.source.find(select, |index, place| {
            place.keyword == Keyword::FROM
                // `a IS [NOT] DISTINCT FROM b`
                && !(self.source.keyword(index - 1) == Keyword::DISTINCT
                    && index >= 2
                    && matches!(
                        self.source.keyword(index - 2),
                        Keyword::IS | Keyword::NOT
                    ))
        });
        Ok(found.index())
    }

    pub(super) fn projection(&mut self, items: &mut [SelectItem]) -> Result<(), Refusal> {
        let before = self.fallible.begin_result(true);
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expression)
                | SelectItem::ExprWithAlias {
                    expr: expression, ..
                } => self.expression(expression)?,
                SelectItem::Wildcard(options) => check_wildcard(options)?,
                SelectItem::QualifiedWildcard(kind, options) => {
                    check_wildcard(options)?;
                    match kind {
                        SelectItemQualifiedWildcardKind::ObjectName(name) => {
                            self.longest_path = self.longest_path.max(name.0.len() + 1);
                        }
                        SelectItemQualifiedWildcardKind::Expr(expression) => {
                            self.expression(expression)?;
                        }
                    }
                }
                SelectItem::ExprWithAliases { .. } => return Err(other_clause()),
            }
        }
        self.fallible.begin_result(before);
        Ok(())
    }

    pub(super) fn order_by(&mut self, order_by: &mut OrderBy) -> Result<(), Refusal> {
        match (&mut order_by.kind, &order_by.interpolate) {
            (OrderByKind::Expressions(expressions), None) => self.sorts(expressions),
            _ => Err(other_clause()),
        }
    }

    pub(super) fn sorts(&mut self, expressions: &mut [OrderByExpr]) -> Result<(), Refusal> {
        for expression in expressions {
            if expression.with_fill.is_some() {
                return Err(other_clause());
            }
            self.expression(&mut expression.expr)?;
        }
        Ok(())
    }

    /// Adds the tenant behind the columns of each row that a query makes.
    pub(super) fn stamp_rows(&mut self, query: &mut Query) -> Result<(), Refusal> {
        self.stamp_set_expr(&mut query.body)
    }

    fn stamp_set_expr(&mut self, body: &mut SetExpr) -> Result<(), Refusal> {
        match body {
            SetExpr::Select(select) => {
                let start = self.source.at(select.select_token.0.span.start)?;
                let end = match select.from.is_empty() {
                    false => self.find_from(start)?,
                    true => self
                        .source
                        .find(start, |index, place| {
                            ends_from(place.keyword)
                                || place.keyword == Keyword::ON
                                    && self.source.keyword(index + 1) == Keyword::CONFLICT
                        })
                        .index(),
                };
                if select.projection.is_empty() {
                    return Err(other_clause());
                }
                self.after(end - 1, format!(", {}", self.tenant))?;
                let tenant = self.tenant();
                select.projection.push(SelectItem::UnnamedExpr(tenant));
                Ok(())
            }
            SetExpr::Query(query) => self.stamp_set_expr(&mut query.body),
            SetExpr::SetOperation { left, right, .. } => {
                self.stamp_set_expr(left)?;
                self.stamp_set_expr(right)
            }
            SetExpr::Values(values) => self.stamp_values(values),
            SetExpr::Insert(_)
            | SetExpr::Update(_)
            | SetExpr::Delete(_)
            | SetExpr::Merge(_)
            | SetExpr::Table(_) => Err(other_clause()),
        }
    }

    pub(super) fn stamp_values(&mut self, values: &mut Values) -> Result<(), Refusal> {
        for row in &mut values.rows {
            let close = self.source.at(row.closing_token.0.span.start)?;
            self.before(close, format!(", {}", self.tenant))?;
            let tenant = self.tenant();
            row.content.push(tenant);
        }
        Ok(())
    }

    pub(super) fn parse_query(&self, sql: &str) -> Result<Box<Query>, Refusal> {
        Parser::new(dialect(self.catalog.database))
            .try_with_sql(sql)
            .and_then(|mut parser| parser.parse_query())
            .map_err(|_| Refusal::unplaced())
    }
}

fn check_wildcard(options: &WildcardAdditionalOptions) -> Result<(), Refusal> {
    match options {
        WildcardAdditionalOptions {
            wildcard_token: _,
            opt_ilike: None,
            opt_exclude: None,
            opt_except: None,
            opt_replace: None,
            opt_rename: None,
            opt_alias: None,
        } => Ok(()),
        _ => Err(other_clause()),
    }
}

pub(super) fn other_clause() -> Refusal {
    Refusal::new(
        "a clause of another dialect",
        "write it as this database does",
    )
}
