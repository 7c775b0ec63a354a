//! Bare columns of SQLite, whose value is that of any row of a group
//! (<https://www.sqlite.org/lang_select.html#bare_columns_in_an_aggregate_query>).

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, GroupByExpr, Query, Select, SelectItem, SetExpr, Visit, Visitor};
use sqlparser::dialect::SQLiteDialect;
use sqlparser::parser::Parser;

const AGGREGATES: [&str; 10] = [
    "avg",
    "count",
    "group_concat",
    "json_group_array",
    "json_group_object",
    "max",
    "min",
    "string_agg",
    "sum",
    "total",
];

/// Says whether a statement selects a column that is neither grouped by nor aggregated.
pub(super) fn has_bare_column(sql: &str) -> bool {
    let Ok(statements) = Parser::parse_sql(&SQLiteDialect {}, sql) else {
        return true;
    };
    statements.visit(&mut Groups).is_break()
}

struct Groups;

impl Visitor for Groups {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        match in_body(&query.body) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

fn in_body(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => in_select(select),
        SetExpr::SetOperation { left, right, .. } => in_body(left) || in_body(right),
        _ => false,
    }
}

fn in_select(select: &Select) -> bool {
    let grouped: &[Expr] = match &select.group_by {
        GroupByExpr::Expressions(expressions, _) => expressions,
        GroupByExpr::All(_) => return true,
    };
    let mut columns = Columns {
        grouped,
        inside: 0,
        aggregates: 0,
        bare: 0,
    };
    // Neither breaks off.
    let _ = select.projection.visit(&mut columns);
    let _ = select.having.visit(&mut columns);
    let wildcard = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
        )
    };
    let is_grouped = !grouped.is_empty() || columns.aggregates > 0;
    is_grouped && (columns.bare > 0 || select.projection.iter().any(wildcard))
}

struct Columns<'g> {
    grouped: &'g [Expr],
    /// How many aggregates stand around.
    inside: usize,
    aggregates: usize,
    bare: usize,
}

impl Columns<'_> {
    fn is_aggregate(expression: &Expr) -> bool {
        let Expr::Function(function) = expression else {
            return false;
        };
        let name = function.name.to_string().to_ascii_lowercase();
        function.over.is_none() && AGGREGATES.contains(&&*name)
    }
}

impl Visitor for Columns<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        if Self::is_aggregate(expression) {
            self.aggregates += 1;
            self.inside += 1;
        }
        let is_column = matches!(
            expression,
            Expr::Identifier(_) | Expr::CompoundIdentifier(_)
        );
        if is_column && self.inside == 0 && !self.grouped.contains(expression) {
            self.bare += 1;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        if Self::is_aggregate(expression) {
            self.inside -= 1;
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::has_bare_column;

    #[test]
    fn a_bare_column_is_neither_grouped_by_nor_aggregated() {
        for sql in [
            "select n, count(*) from a group by t",
            "select b.n, max(b.t) from b",
            "select * from a group by n",
            "select 1 from (select n, sum(id) from a) x",
            "select t from a group by t having n > 1",
        ] {
            assert!(has_bare_column(sql), "{sql}");
        }
        for sql in [
            "select t, count(n), max(n + 1) from a group by t",
            "select count(*) from a where n = 1",
            "select n, row_number() over (order by n) from a",
            "select n from a",
        ] {
            assert!(!has_bare_column(sql), "{sql}");
        }
    }
}
