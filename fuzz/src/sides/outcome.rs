//! What a statement did, in a form that two databases can be compared by.

use std::fmt;

use super::{MARKERS, THEIRS};

/// What a statement did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The rows that it returned, sorted.
    pub(crate) rows: Vec<String>,
    /// How many rows it wrote, if it writes.
    pub(crate) affected: Option<u64>,
    /// All rows after a write, sorted: ours, and those of nobody.
    pub(crate) ours: Vec<String>,
    pub(crate) theirs: Vec<String>,
}

/// What the database answered in place of rows.
#[derive(Debug)]
pub struct Failure(sqlx::Error);

impl Outcome {
    /// Returns a row of ours, or one that was returned, with a value of the other tenant;
    /// `is_given` says that its identifier was an argument, and may be there.
    pub(crate) fn shows_theirs(&self, is_given: bool) -> Option<&String> {
        let tenant = hexadecimal(THEIRS.as_bytes());
        let shown = |row: &&String| {
            let row = row.to_ascii_lowercase();
            !is_given && row.contains(&tenant) || MARKERS.iter().any(|marker| row.contains(marker))
        };
        self.rows.iter().chain(&self.ours).find(shown)
    }

    /// Says in what it differs from another, but for the rows of others.
    pub(crate) fn differs_from(&self, expected: &Self) -> Option<String> {
        if self.rows != expected.rows {
            let details = difference(&expected.rows, &self.rows);
            return Some(format!("rows: {details}"));
        }
        if self.affected != expected.affected {
            return Some(format!(
                "rows written: {:?}, alone: {:?}",
                self.affected, expected.affected
            ));
        }
        if self.ours != expected.ours {
            let details = difference(&expected.ours, &self.ours);
            return Some(format!("state: {details}"));
        }
        None
    }
}

impl Failure {
    /// Whether the text is none that the database takes, by its grammar or by the number of its
    /// columns.
    pub(crate) fn is_of_text(&self) -> bool {
        let message = self.0.to_string();
        [
            "syntax error",
            "out of range - should be",
            "is not in select list",
            // White space that only the parser knows.
            "unrecognized token",
            // What is put in can make an alias a column, and a statement one of aggregates.
            "misuse of aggregate",
        ]
        .iter()
        .any(|part| message.contains(part))
    }

    /// Whether a condition is no truth value.
    pub(crate) fn is_of_no_truth(&self) -> bool {
        self.0.to_string().contains("must be type boolean")
    }

    /// Whether a value did not fit, which another row might not have had.
    pub(crate) fn is_of_a_value(&self) -> bool {
        let message = self.0.to_string();
        [
            "cannot store",
            "constraint failed",
            "datatype mismatch",
            "malformed JSON",
            "integer overflow",
            "division by zero",
            "violates",
            "invalid input syntax",
            "out of range",
            "more than one row returned",
        ]
        .iter()
        .any(|part| message.contains(part))
    }

    /// Whether the limits of the fuzzer or of the database are the reason, and not the tenant: what
    /// was broken off, or the tree of the longer text, which may just be too deep.
    pub(crate) fn is_of_limits(&self) -> bool {
        let message = self.0.to_string();
        [
            "interrupted",
            "statement timeout",
            "too big",
            "too large",
            "too many",
            "out of memory",
            "stack overflow",
        ]
        .iter()
        .any(|part| message.contains(part))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Failure {}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self(error)
    }
}

/// Shows what one has and the other has not.
pub(crate) fn difference(expected: &[String], found: &[String]) -> String {
    let only = |these: &[String], those: &[String]| {
        let mut rest = those.to_vec();
        these
            .iter()
            .filter(|one| match rest.iter().position(|other| other == *one) {
                Some(at) => {
                    rest.swap_remove(at);
                    false
                }
                None => true,
            })
            .cloned()
            .collect::<Vec<_>>()
    };
    format!(
        "missing: {:?}\ntoo many: {:?}",
        only(expected, found),
        only(found, expected)
    )
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
