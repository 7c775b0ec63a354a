//! Whether a rewritten statement does for each tenant what the statement does where the tenant is
//! alone.

use super::plan::unscoped;
use super::rewriter::{Refusal, Rewriter, Rewritten};
use super::schema::TENANTS;
use super::world::{Answer, Failure};

/// A statement of a corpus.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) arguments: Vec<Option<String>>,
    /// The rows come in an order that the statement fixes.
    pub(crate) ordered: bool,
}

impl Statement {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            arguments: Vec::new(),
            ordered: false,
        }
    }
}

/// What came of one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Rewritten, with the same results for all tenants, and each scan of the plan has the tenant.
    Equal {
        /// How many rows were read or written, over all tenants.
        rows: usize,
    },
    /// Refused by the guard, while the database takes it.
    Refused(Refusal),
    /// Refused by the guard, and by the database as well.
    RefusedByBoth,
    /// Rewritten, and it fails with or without the tenant.
    FailsBoth(String),
    /// Out of time, or failed with what depends on the plan.
    Undecided,
    Mismatch(Mismatch),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(crate) kind: Kind,
    pub(crate) rewritten: String,
    pub(crate) what: String,
}

/// What kind of fault a mismatch shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The rows of another tenant were changed.
    ForeignWrite,
    /// A scan of the plan has no tenant.
    Plan,
    /// Other rows than those of the tenant alone.
    Result,
    /// Other contents of the tables.
    Contents,
    /// It fails where the statement itself does not.
    Fails,
    /// It succeeds where the statement itself fails.
    Succeeds,
}

/// Databases that hold the same rows: one with all tenants, and one for each alone.
pub(crate) trait Databases {
    /// Runs a statement as it is where a tenant is alone, and takes back what it did.
    async fn alone(
        &mut self,
        tenant: usize,
        statement: &Statement,
        writes: bool,
    ) -> Result<Outcome, Failure>;

    /// Runs what became of a statement where all tenants are, and takes back what it did.
    async fn together(
        &mut self,
        tenant: usize,
        statement: &Statement,
        rewritten: &Rewritten,
    ) -> Result<Outcome, Failure>;

    /// The contents of the tables of all tenants, before anything was written.
    fn before(&self) -> &[Vec<Option<String>>];

    /// The tables with a tenant.
    fn owned(&self) -> &[String];
}

pub(crate) async fn judge(
    world: &mut impl Databases,
    rewriter: &dyn Rewriter,
    statement: &Statement,
) -> Verdict {
    let rewritten = match rewriter.rewrite(&statement.text) {
        Ok(rewritten) => rewritten,
        Err(refusal) => {
            let alone = world.alone(0, statement, false).await;
            return match alone {
                Ok(_) => Verdict::Refused(refusal),
                Err(_) => Verdict::RefusedByBoth,
            };
        }
    };
    let mismatch = |kind, what: String| {
        Verdict::Mismatch(Mismatch {
            kind,
            rewritten: rewritten.text.clone(),
            what,
        })
    };
    if rewritten.arguments != statement.arguments.len() {
        return mismatch(
            Kind::Fails,
            format!("counts {} arguments", rewritten.arguments),
        );
    }
    let mut rows = 0;
    let mut fails = None;
    for (tenant, name) in TENANTS.into_iter().enumerate() {
        let expected = world.alone(tenant, statement, rewritten.writes).await;
        let found = world.together(tenant, statement, &rewritten).await;
        match (expected, found) {
            (Err(failure), _) | (_, Err(failure)) if failure.code == "57014" => {
                return Verdict::Undecided;
            }
            (Err(expected), Err(found)) => {
                if expected.code != found.code && found.code.starts_with("42") {
                    let what = format!(
                        "fails with {} {}, and not with {}",
                        found.code, found.message, expected.code
                    );
                    return mismatch(Kind::Fails, what);
                }
                fails = Some(found.code);
            }
            (Ok(_), Err(found)) => {
                return mismatch(
                    Kind::Fails,
                    format!("fails for {name} with {} {}", found.code, found.message),
                );
            }
            (Err(expected), Ok(_)) => {
                let what = format!(
                    "alone {name} fails with {} {}",
                    expected.code, expected.message
                );
                return mismatch(Kind::Succeeds, what);
            }
            (Ok(expected), Ok(found)) => {
                let open = unscoped(&found.plan, world.owned(), name);
                if !open.is_empty() {
                    return mismatch(Kind::Plan, open.join("; "));
                }
                if let Some((kind, what)) =
                    compare(world.before(), tenant, statement, &expected, &found)
                {
                    return mismatch(kind, format!("for {name}: {what}"));
                }
                rows += found.answer.rows.len() + usize::try_from(found.answer.affected).unwrap();
            }
        }
    }
    match fails {
        Some(code) => Verdict::FailsBoth(code),
        None => Verdict::Equal { rows },
    }
}

/// What a statement answered and left behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) answer: Answer,
    pub(crate) contents: Vec<Vec<Option<String>>>,
    /// Null where a backend has none that could be read.
    pub(crate) plan: serde_json::Value,
}

fn compare(
    all_before: &[Vec<Option<String>>],
    tenant: usize,
    statement: &Statement,
    expected: &Outcome,
    found: &Outcome,
) -> Option<(Kind, String)> {
    let tenant = Some(TENANTS[tenant].to_owned());
    if !found.contents.is_empty() || !expected.contents.is_empty() {
        let foreign = |contents: &[Vec<Option<String>>]| -> Vec<_> {
            let rows = contents
                .iter()
                .filter(|row| row[1] != tenant && row[1].is_some());
            rows.cloned().collect()
        };
        let (before, after) = (foreign(all_before), foreign(&found.contents));
        if !found.contents.is_empty() && before != after {
            return Some((Kind::ForeignWrite, format!("{before:?} became {after:?}")));
        }
        let own = |contents: &[Vec<Option<String>>]| -> Vec<_> {
            let rows = contents
                .iter()
                .filter(|row| row[1] == tenant || row[1].is_none());
            rows.cloned().collect()
        };
        // What was not looked at has written nothing, or is said to.
        let after = |outcome: &Outcome| match outcome.contents.as_slice() {
            [] => own(all_before),
            contents => own(contents),
        };
        let (expected, found) = (after(expected), after(found));
        if expected != found {
            return Some((
                Kind::Contents,
                format!("left {found:?} and not {expected:?}"),
            ));
        }
    }
    if expected.answer.affected != found.answer.affected {
        let what = format!(
            "{} rows and not {}",
            found.answer.affected, expected.answer.affected
        );
        return Some((Kind::Result, what));
    }
    let in_order = |rows: &[Vec<Option<String>>]| {
        let mut rows = rows.to_vec();
        if !statement.ordered {
            rows.sort();
        }
        rows
    };
    let (expected, found) = (
        in_order(&expected.answer.rows),
        in_order(&found.answer.rows),
    );
    (!same(&expected, &found)).then(|| {
        let only = |these: &[Vec<Option<String>>], those: &[Vec<Option<String>>]| -> Vec<_> {
            these
                .iter()
                .filter(|row| !those.contains(row))
                .take(3)
                .cloned()
                .collect()
        };
        let (more, fewer) = (only(&found, &expected), only(&expected, &found));
        let what = format!(
            "{} rows and not {}; too much {more:?}, missing {fewer:?}",
            found.len(),
            expected.len()
        );
        (Kind::Result, what)
    })
}

/// Sums of doubles depend on the order in which they are added.
fn same(left: &[Vec<Option<String>>], right: &[Vec<Option<String>>]) -> bool {
    let cells = |rows: &[Vec<Option<String>>]| rows.iter().map(Vec::len).collect::<Vec<_>>();
    cells(left) == cells(right)
        && left
            .iter()
            .flatten()
            .zip(right.iter().flatten())
            .all(|pair| match pair {
                (Some(left), Some(right)) => left == right || almost(left, right),
                (left, right) => left == right,
            })
}

fn almost(left: &str, right: &str) -> bool {
    let long = |text: &str| text.len() > 12 && text.contains('.');
    match (left.parse::<f64>(), right.parse::<f64>()) {
        (Ok(left), Ok(right)) if long(&left.to_string()) || long(&right.to_string()) => {
            (left - right).abs() <= 1e-12 * left.abs().max(right.abs())
        }
        _ => false,
    }
}
