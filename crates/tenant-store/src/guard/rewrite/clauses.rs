//! The words that bring a table into a statement: as many in its text as in its tree.
//!
//! PostgreSQL takes nearly every word for the name of a column behind an expression, so that
//! `select 1 or from invoices` reads a table under the column `or`, where the parser finds the
//! condition `1 or "from"` by the name `invoices`, and no table at all.

use std::ops::Add;

use sqlparser::ast::{
    Delete, Expr, ExtractSyntax, FromTable, Join, JoinConstraint, JoinOperator, Merge, Select,
    Statement, TableFactor, TableWithJoins, Update,
};
use sqlparser::keywords::Keyword;

use crate::guard::source::Source;

/// How many of them there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Clauses {
    from: usize,
    join: usize,
    using: usize,
}

impl Clauses {
    /// Counts those of a text. Behind AS and behind a point, a word of the grammar is a name.
    pub(super) fn written(source: &Source) -> Self {
        let mut found = Self::default();
        for (index, place) in source.tokens.iter().enumerate() {
            let counted = match place.keyword {
                Keyword::FROM => &mut found.from,
                Keyword::JOIN => &mut found.join,
                Keyword::USING => &mut found.using,
                _ => continue,
            };
            let before = index.checked_sub(1).and_then(|it| source.tokens.get(it));
            let is_name = before.is_some_and(|before| {
                before.keyword == Keyword::AS || &source.text[before.start..before.end] == "."
            });
            *counted += usize::from(!is_name);
        }
        found
    }

    fn joins(&mut self, joins: &[Join]) {
        for join in joins {
            // Those left out are of other databases, and refused.
            let (JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint)
            | JoinOperator::CrossJoin(constraint)) = &join.join_operator
            else {
                continue;
            };
            self.join += 1;
            self.using += usize::from(matches!(constraint, JoinConstraint::Using(_)));
        }
    }

    fn tables(&mut self, items: &[TableWithJoins]) {
        for item in items {
            self.joins(&item.joins);
        }
    }
}

/// Those of a tree, in which each is met once.
impl Clauses {
    pub(super) fn select(&mut self, select: &Select) {
        self.from += usize::from(!select.from.is_empty());
        self.tables(&select.from);
    }

    pub(super) fn table_factor(&mut self, factor: &TableFactor) {
        if let TableFactor::NestedJoin {
            table_with_joins, ..
        } = factor
        {
            self.joins(&table_with_joins.joins);
        }
    }

    pub(super) fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Delete(Delete { from, using, .. }) => {
                match from {
                    FromTable::WithFromKeyword(items) => {
                        self.from += 1;
                        self.tables(items);
                    }
                    FromTable::WithoutKeyword(items) => self.tables(items),
                }
                if let Some(items) = using {
                    self.using += 1;
                    self.tables(items);
                }
            }
            Statement::Update(Update { table, from, .. }) => {
                self.joins(&table.joins);
                if let Some(from) = from {
                    use sqlparser::ast::UpdateTableFromKind::{AfterSet, BeforeSet};
                    let (AfterSet(items) | BeforeSet(items)) = from;
                    self.from += 1;
                    self.tables(items);
                }
            }
            Statement::Merge(Merge { .. }) => self.using += 1,
            _ => {}
        }
    }

    pub(super) fn expression(&mut self, expression: &Expr) {
        let takes_from = match expression {
            Expr::Extract { syntax, .. } => *syntax == ExtractSyntax::From,
            Expr::Substring {
                substring_from,
                special,
                ..
            } => substring_from.is_some() && !special,
            Expr::Trim { trim_what, .. } => trim_what.is_some(),
            Expr::Overlay { .. } | Expr::IsDistinctFrom(..) | Expr::IsNotDistinctFrom(..) => true,
            _ => false,
        };
        self.from += usize::from(takes_from);
    }
}

impl Add for Clauses {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            from: self.from + other.from,
            join: self.join + other.join,
            using: self.using + other.using,
        }
    }
}
