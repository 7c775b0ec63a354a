//! What can fail where rows of other tenants are still looked at.
//!
//! SQLite checks the parts of a condition that an index can answer before the others, and with them
//! before the tenant, unless the index begins with it. A function that fails for the value of a row
//! then fails for another tenant's, and its words may quote that value.

use std::sync::Arc;

use crate::guard::catalog::Keys;
use crate::guard::refusal::Refusal;

/// The first function of a statement that can fail too early, and the first table where it would.
#[derive(Debug, Default)]
pub(super) struct Fallible {
    what: Option<String>,
    table: Option<(Arc<str>, Arc<str>)>,
    /// How many queries stand around.
    pub(super) depth: usize,
    /// Whether what is walked is worked out for rows that have passed every condition.
    is_of_result: bool,
}

impl Fallible {
    /// Takes note of what can fail.
    pub(super) fn saw(&mut self, what: impl FnOnce() -> String) {
        // What a query inside gives out, the planner may move into the condition around it.
        let is_late = self.is_of_result && self.depth <= 1;
        if !is_late && self.what.is_none() {
            self.what = Some(what());
        }
    }

    pub(super) fn saw_table(&mut self, name: &Arc<str>, keys: &Keys) {
        if let (None, Some(index)) = (&self.table, &keys.index_astray) {
            self.table = Some((Arc::clone(name), Arc::clone(index)));
        }
    }

    /// Says whether what follows is worked out for the result alone; returns what was said before.
    pub(super) const fn begin_result(&mut self, is_of_result: bool) -> bool {
        std::mem::replace(&mut self.is_of_result, is_of_result)
    }

    /// Adds what was seen in a view.
    pub(super) fn take_over(&mut self, inner: Self) {
        self.what = self.what.take().or(inner.what);
        self.table = self.table.take().or(inner.table);
    }

    /// Refuses the statement if both are there.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        match (&self.what, &self.table) {
            (Some(what), Some((table, index))) => Err(Refusal::new(
                format!("{what} beside the index {index} of {table}"),
                "what can fail would fail for rows of others, and tell of them: begin the index \
                 with tenant_id, or select the value and check it in the service",
            )),
            _ => Ok(()),
        }
    }
}
