//! What was seen, kept within bounds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::report::{Violation, WitnessReport};

/// How many distinct statements are kept, and how many violations; what is beyond is counted.
const MOST: usize = 10_000;

/// How many bytes of a text are kept.
const LONGEST: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<WitnessReport>);

/// One run of a statement.
pub(super) struct Run<'a> {
    pub(super) shape: &'a Arc<str>,
    pub(super) database: &'a str,
    pub(super) role: &'a str,
    pub(super) is_alone: bool,
}

impl Ledger {
    pub(super) fn report(&self) -> WitnessReport {
        self.lock().clone()
    }

    pub(super) fn connection(&self) {
        self.lock().connections += 1;
    }

    pub(super) fn seen(&self, run: &Run<'_>) {
        let mut report = self.lock();
        report.seen += 1;
        if let Some(count) = report.statements.get_mut(excerpt(run.shape)) {
            *count += 1;
        } else if report.statements.len() < MOST {
            report.statements.insert(excerpt(run.shape).to_owned(), 1);
        } else {
            report.not_kept += 1;
        }
    }

    pub(super) fn on_tenants(&self, run: &Run<'_>, is_bound: bool) {
        let mut report = self.lock();
        if run.is_alone {
            report.alone += 1;
            report.alone_unbound += u64::from(!is_bound);
        } else {
            report.on_tenants += 1;
        }
    }

    pub(super) fn violation(&self, run: &Run<'_>, table: &str, reason: &str) {
        let mut report = self.lock();
        let key = (
            excerpt(run.shape).to_owned(),
            table.to_owned(),
            reason.to_owned(),
        );
        if let Some(violation) = report.violations.get_mut(&key) {
            violation.times += 1;
        } else if report.violations.len() < MOST {
            let violation = Violation {
                statement: key.0.clone(),
                table: key.1.clone(),
                reason: key.2.clone(),
                database: run.database.to_owned(),
                role: run.role.to_owned(),
                times: 1,
            };
            report.violations.insert(key, violation);
        } else {
            report.violations_not_kept += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, WitnessReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By text, table and reason.
pub(super) type Violations = BTreeMap<(String, String, String), Violation>;

fn excerpt(text: &str) -> &str {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
