//! What is judged: something that puts the tenant into a statement, or refuses it.

use std::collections::BTreeMap;

/// A statement with the tenant in it.
#[derive(Debug, Clone)]
pub(crate) struct Rewritten {
    pub(crate) text: String,
    /// The tenant follows the arguments of the statement.
    pub(crate) binds_tenant: bool,
    pub(crate) arguments: usize,
    pub(crate) writes: bool,
}

/// Why a statement was refused, with the names in it taken out, so that refusals can be counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(message: String) -> Self {
        Self {
            reason: without_names(&message),
            message,
        }
    }
}

pub(crate) trait Rewriter {
    fn rewrite(&self, statement: &str) -> Result<Rewritten, Refusal>;
}

/// Statements that were rewritten by hand, right or wrong; it shows that the judges find faults.
#[derive(Debug, Default)]
pub(crate) struct ByHand(BTreeMap<String, Rewritten>);

impl ByHand {
    /// `rewritten` names the tenant `$n`, where `n` is the number that follows `arguments`.
    pub(crate) fn with(mut self, statement: &str, rewritten: &str, arguments: usize) -> Self {
        let first = statement.split_whitespace().next().unwrap_or_default();
        let rewritten = Rewritten {
            text: rewritten.to_owned(),
            binds_tenant: rewritten.contains(&format!("${}", arguments + 1)),
            arguments,
            writes: !matches!(first, "select" | "values"),
        };
        self.0.insert(statement.to_owned(), rewritten);
        self
    }
}

impl Rewriter for ByHand {
    fn rewrite(&self, statement: &str) -> Result<Rewritten, Refusal> {
        let found = self.0.get(statement).cloned();
        found.ok_or_else(|| Refusal::new("not among those rewritten by hand".to_owned()))
    }
}

/// Replaces what stands between backticks, and numbers, by `_`.
fn without_names(message: &str) -> String {
    let mut plain = String::new();
    for (index, part) in message.split('`').enumerate() {
        if index % 2 == 1 {
            plain.push('_');
            continue;
        }
        let mut digits = false;
        for letter in part.chars() {
            if !letter.is_ascii_digit() {
                plain.push(letter);
            } else if !digits {
                plain.push('#');
            }
            digits = letter.is_ascii_digit();
        }
    }
    plain
}
