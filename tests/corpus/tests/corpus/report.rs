//! What came of a corpus: statements tried, rewritten, refused and why, mismatches.

use std::collections::BTreeMap;
use std::fmt;

use super::judge::{Kind, Statement, Verdict};

/// How many statements of each kind of fault are kept as text.
const SHOWN: usize = 5;

#[derive(Debug, Default)]
pub(crate) struct Report {
    corpus: String,
    tried: usize,
    equal: usize,
    without_rows: usize,
    fail_both: usize,
    undecided: usize,
    refused_by_both: usize,
    refused: BTreeMap<String, (usize, String)>,
    faults: BTreeMap<Kind, (usize, Vec<String>)>,
}

impl Report {
    pub(crate) fn of(corpus: &str) -> Self {
        Self {
            corpus: corpus.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, statement: &Statement, verdict: &Verdict) {
        self.tried += 1;
        match verdict {
            Verdict::Equal { rows } => {
                self.equal += 1;
                self.without_rows += usize::from(*rows == 0);
            }
            Verdict::Refused(refusal) => {
                let refused = self.refused.entry(refusal.reason.clone());
                let (count, shortest) = refused.or_insert_with(|| (0, statement.text.clone()));
                *count += 1;
                if statement.text.len() < shortest.len() {
                    shortest.clone_from(&statement.text);
                }
            }
            Verdict::RefusedByBoth => self.refused_by_both += 1,
            Verdict::FailsBoth(_) => self.fail_both += 1,
            Verdict::Undecided => self.undecided += 1,
            Verdict::Mismatch(mismatch) => {
                let (count, shown) = self.faults.entry(mismatch.kind).or_default();
                *count += 1;
                shown.push(format!(
                    "{}\n    arguments {:?}\n    became {}\n    {}",
                    statement.text, statement.arguments, mismatch.rewritten, mismatch.what
                ));
                // The shortest say most.
                shown.sort_by_key(String::len);
                shown.truncate(SHOWN);
            }
        }
    }

    pub(crate) fn equal(&self) -> usize {
        self.equal
    }

    pub(crate) fn refused(&self) -> usize {
        self.refused.values().map(|(count, _)| count).sum()
    }

    pub(crate) fn mismatches(&self) -> usize {
        self.faults.values().map(|(count, _)| count).sum()
    }

    /// Prints the report, and panics if there are mismatches.
    pub(crate) fn assert_no_mismatch(&self) {
        println!("{self}");
        let faults: Vec<_> = self
            .faults
            .iter()
            .map(|(kind, (count, shown))| {
                format!("{count} of kind {kind:?}:\n  {}", shown.join("\n  "))
            })
            .collect();
        assert!(faults.is_empty(), "{}: {}", self.corpus, faults.join("\n"));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut refused: Vec<_> = self.refused.iter().collect();
        refused.sort_by_key(|(_, (count, _))| *count);
        for (reason, (count, shortest)) in refused {
            let mut shortest = shortest.split_whitespace().collect::<Vec<_>>().join(" ");
            if let Some((end, _)) = shortest.char_indices().nth(160) {
                shortest.truncate(end);
                shortest.push('…');
            }
            writeln!(f, "{count:>7} refused: {reason}\n          as {shortest}")?;
        }
        // At the end, where a page of evidence is sure to have it.
        write!(
            f,
            "{}: {} tried, {} rewritten and equal for all tenants ({} without any row), {} fail with and \
             without the tenant, {} undecided, {} refused by the guard and the database, \
             {} refused by the guard alone, {} mismatches",
            self.corpus,
            self.tried,
            self.equal,
            self.without_rows,
            self.fail_both,
            self.undecided,
            self.refused_by_both,
            self.refused(),
            self.mismatches()
        )
    }
}
