//! One level of a query: what stands in its FROM, and what its conditions say about tenants.

use std::ops::Range;

use sqlparser::ast::{BinaryOperator, Expr};

use super::{Name, Operand, TENANT, fold, operand};

/// The relations of one SELECT, UPDATE or DELETE, and the equalities of tenants that hold for
/// every row it works on.
#[derive(Debug, Default)]
pub(in super::super) struct Level {
    pub(super) items: Vec<Item>,
    facts: Vec<Fact>,
    merges: Vec<Merge>,
}

/// Something in a FROM.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) alias: Option<String>,
    /// `None` for a sub-query, a function or the name of a CTE.
    pub(super) table: Option<Name>,
    /// Its columns have other names here than in the table.
    pub(super) is_renamed: bool,
}

/// A condition of the form `tenant_id = …`, for the rows of some items.
#[derive(Debug)]
struct Fact {
    column: Column,
    equals: Side,
    covers: Range<usize>,
}

#[derive(Debug)]
enum Side {
    Operand(Operand),
    Column(Column),
}

/// A column `tenant_id`, with what stands before it.
#[derive(Debug, Clone)]
struct Column {
    qualifier: Option<String>,
}

/// `JOIN … USING (tenant_id, …)`
#[derive(Debug)]
struct Merge {
    /// The item whose column is the merged one.
    first: usize,
    right: usize,
    is_inner: bool,
}

/// What binds the rows of a table to a tenant.
#[derive(Debug)]
pub(in super::super) enum Scope {
    /// All of these are its tenant.
    Parameters(Vec<usize>),
    Unscoped(&'static str),
}

impl Level {
    pub(super) fn tables(&self) -> impl Iterator<Item = &Name> {
        self.items.iter().filter_map(|item| item.table.as_ref())
    }

    /// Takes note of the tenants in a condition that must be true for the rows of `covers`.
    pub(super) fn require(&mut self, condition: &Expr, covers: &Range<usize>) {
        let mut pending = vec![condition];
        while let Some(condition) = pending.pop() {
            match condition {
                Expr::Nested(inner) => pending.push(inner),
                Expr::BinaryOp {
                    left,
                    op: BinaryOperator::And,
                    right,
                } => pending.extend([&**left, &**right]),
                Expr::BinaryOp {
                    left,
                    op: BinaryOperator::Eq,
                    right,
                } => {
                    for (column, other) in [(left, right), (right, left)] {
                        let Some(column) = tenant_column(column) else {
                            continue;
                        };
                        let equals = match tenant_column(other) {
                            Some(other) => Side::Column(other),
                            None => Side::Operand(operand(other)),
                        };
                        self.facts.push(Fact {
                            column,
                            equals,
                            covers: covers.clone(),
                        });
                    }
                }
                _ => {}
            }
        }
    }

    /// Takes note of a join that makes the tenants of two items one column.
    pub(super) fn merge(&mut self, first: usize, right: usize, is_inner: bool) {
        self.merges.push(Merge {
            first,
            right,
            is_inner,
        });
    }

    /// Returns each protected table and what binds it.
    pub(in super::super) fn scopes(
        &self,
        is_protected: impl Fn(&Name) -> bool,
    ) -> Vec<(&Name, Scope)> {
        let protected: Vec<bool> = self
            .items
            .iter()
            .map(|item| item.table.as_ref().is_some_and(&is_protected))
            .collect();
        let mut bound: Vec<Vec<usize>> = vec![Vec::new(); self.items.len()];
        for fact in &self.facts {
            if let Some(item) = self.resolve(fact, &fact.column, &protected)
                && let Side::Operand(Operand::Parameter(number)) = fact.equals
            {
                bound[item].push(number);
            }
        }
        while self.spread(&protected, &mut bound) {}
        self.items
            .iter()
            .zip(&protected)
            .zip(bound)
            .filter(|((_, protected), _)| **protected)
            .filter_map(|((item, _), numbers)| {
                let scope = if numbers.is_empty() {
                    Scope::Unscoped(self.reason(item, &protected))
                } else {
                    Scope::Parameters(numbers)
                };
                Some((item.table.as_ref()?, scope))
            })
            .collect()
    }

    /// Hands what binds one item on to those that equal it; returns whether that was news.
    fn spread(&self, protected: &[bool], bound: &mut [Vec<usize>]) -> bool {
        let mut equalities = Vec::new();
        for fact in &self.facts {
            if let Side::Column(other) = &fact.equals
                && let Some(item) = self.resolve(fact, &fact.column, protected)
                && let Some(other) = self.named(other, protected)
            {
                equalities.push((item, other));
            }
        }
        for merge in &self.merges {
            // The merged column is that of the first item, if that is a table of tenants.
            if protected[merge.first] {
                equalities.push((merge.right, merge.first));
                if merge.is_inner {
                    equalities.push((merge.first, merge.right));
                }
            }
        }
        let mut is_news = false;
        for (item, other) in equalities {
            if protected[item] && bound[item].is_empty() && !bound[other].is_empty() {
                bound[item] = bound[other].clone();
                is_news = true;
            }
        }
        is_news
    }

    fn resolve(&self, fact: &Fact, column: &Column, protected: &[bool]) -> Option<usize> {
        self.named(column, protected)
            .filter(|item| fact.covers.contains(item))
    }

    /// Returns the item whose tenant a column is, where there can be no doubt.
    fn named(&self, column: &Column, protected: &[bool]) -> Option<usize> {
        let candidates: Vec<usize> = match &column.qualifier {
            Some(qualifier) => (0..self.items.len())
                .filter(|index| self.items[*index].alias.as_ref() == Some(qualifier))
                .collect(),
            // A protected table has the column, so that any other that had it as well would make
            // the name ambiguous, which the server refuses.
            None => {
                let mut tables = (0..self.items.len()).filter(|index| protected[*index]);
                let first = tables.next();
                let is_merged = |index: usize| {
                    let mut merges = self.merges.iter();
                    merges.any(|merge| Some(merge.first) == first && merge.right == index)
                };
                first
                    .filter(|_| tables.all(is_merged))
                    .into_iter()
                    .collect()
            }
        };
        match candidates.as_slice() {
            [one] if !self.items[*one].is_renamed => Some(*one),
            _ => None,
        }
    }

    fn reason(&self, item: &Item, protected: &[bool]) -> &'static str {
        if item.is_renamed {
            return "its columns are renamed by an alias";
        }
        let about_item = |fact: &&Fact| {
            self.named(&fact.column, protected)
                .is_some_and(|index| std::ptr::eq(&raw const self.items[index], item))
        };
        let mut facts = self.facts.iter().filter(about_item);
        match facts.next() {
            None => "no condition `tenant_id = $n` that must be true for its rows",
            Some(fact) => match &fact.equals {
                Side::Operand(Operand::Literal(_)) => {
                    "its tenant is written in the text, not bound"
                }
                Side::Operand(Operand::Other) => "its tenant is compared with no parameter",
                Side::Operand(Operand::Parameter(_)) => {
                    "its tenant is in the ON of an outer join that keeps its rows"
                }
                Side::Column(_) => "its tenant is compared with one that is not bound",
            },
        }
    }
}

/// Returns the column if the expression is one of the name `tenant_id`.
fn tenant_column(expr: &Expr) -> Option<Column> {
    let (name, qualifier) = match expr {
        Expr::Nested(inner) => return tenant_column(inner),
        Expr::Identifier(name) => (name, None),
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [.., qualifier, name] => (name, Some(fold(qualifier))),
            _ => return None,
        },
        _ => return None,
    };
    (fold(name) == TENANT).then_some(Column { qualifier })
}
