//! What a witness tells.

use std::collections::BTreeMap;
use std::fmt;

use super::WALL_TWO_ALONE;
use super::ledger::Violations;

/// What a [`StatementWitness`](super::StatementWitness) has seen so far.
#[derive(Debug, Clone, Default)]
pub struct WitnessReport {
    pub(super) connections: u64,
    pub(super) seen: u64,
    pub(super) on_tenants: u64,
    pub(super) alone: u64,
    pub(super) alone_unbound: u64,
    pub(super) statements: BTreeMap<String, u64>,
    pub(super) not_kept: u64,
    pub(super) violations: Violations,
    pub(super) violations_not_kept: u64,
}

/// A statement on a table of tenants that did not bind its tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The text, literals left out; the beginning of it if it is long.
    pub statement: String,
    /// The table that is not bound, as the statement names it; `?` if none can be made out.
    pub table: String,
    /// What is missing.
    pub reason: String,
    /// The database where it was seen first.
    pub database: String,
    /// The role that ran it there.
    pub role: String,
    /// How often it was run.
    pub times: u64,
}

impl WitnessReport {
    /// Returns each distinct statement and how often it was run, whoever ran it.
    ///
    /// Texts that differ in nothing but literals are one. Of ten thousand distinct ones on, further
    /// ones are counted and not kept.
    pub fn statements(&self) -> impl Iterator<Item = (&str, u64)> {
        let statements = self.statements.iter();
        statements.map(|(statement, times)| (statement.as_str(), *times))
    }

    /// Returns how many statements were run.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// Returns how many of them were held to a tenant: run on a protected table, by a role that
    /// may not work across tenants.
    #[must_use]
    pub const fn on_tenants(&self) -> u64 {
        self.on_tenants
    }

    /// Returns how many statements on protected tables came over connections of
    /// [`wall_two_alone`](super::wall_two_alone), and were let pass.
    #[must_use]
    pub const fn wall_two_alone(&self) -> u64 {
        self.alone
    }

    /// Returns the violations, ordered by text.
    pub fn violations(&self) -> impl Iterator<Item = &Violation> {
        self.violations.values()
    }

    /// Returns whether every statement that was held to a tenant has bound it.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.violations_not_kept == 0
    }

    /// Asserts that there is no violation.
    ///
    /// # Panics
    ///
    /// When there is one, with a list of all; and when no statement was held to a tenant at all,
    /// for then the service was not connected through the witness.
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self}");
        assert!(
            self.on_tenants > 0,
            "the witness saw no statement on a protected table: connect through its URL\n{self}"
        );
    }
}

impl fmt::Display for WitnessReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let violations = self.violations.len() as u64 + self.violations_not_kept;
        writeln!(
            f,
            "statement witness: {} statements ({} distinct) over {} connections; {} on tenant \
             tables; {} over connections named {WALL_TWO_ALONE}, {} of these unbound; \
             {violations} violations",
            self.seen,
            self.statements.len() as u64 + self.not_kept,
            self.connections,
            self.on_tenants,
            self.alone,
            self.alone_unbound,
        )?;
        for violation in self.violations() {
            write!(f, "\n{violation}")?;
        }
        if self.violations_not_kept > 0 {
            writeln!(f, "\nand {} more", self.violations_not_kept)?;
        }
        Ok(())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            statement,
            table,
            reason,
            database,
            role,
            times,
        } = self;
        writeln!(f, "`{table}` is not bound: {reason}")?;
        writeln!(f, "  {times} times, first by {role} on {database}")?;
        for line in statement.lines() {
            writeln!(f, "  | {line}")?;
        }
        Ok(())
    }
}
