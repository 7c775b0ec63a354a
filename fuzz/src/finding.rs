//! What a fuzzer stops for.

use std::fmt;

/// A statement that the guard lets pass and should not have, or not so.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What went wrong.
    pub kind: Kind,
    /// What was written.
    pub sql: String,
    /// What became of it.
    pub rewritten: String,
    /// What was seen.
    pub details: String,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Another tenant's value was read, or copied into a row.
    Leak,
    /// Another tenant's row was changed.
    Damage,
    /// The statement does something else than where the tenant is alone.
    Meaning,
    /// It works where the tenant is alone, and fails here; or the other way round.
    Failure,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            sql,
            rewritten,
            details,
        } = self;
        write!(
            f,
            "FINDING {kind:?}\nwritten: {sql}\nbecame:  {rewritten}\n{details}"
        )
    }
}

/// What became of a statement for which there is nothing to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The guard refuses it.
    Refused,
    /// Both sides answered alike.
    Agreed,
    /// Neither side takes it.
    Failed,
    /// Its answer changes where the tenant is alone, with the order of rows, with chance or with
    /// time; only other tenants' values were looked for.
    Undetermined,
    /// It was broken off, for it does not end, or it takes more arguments than the fuzzer has.
    Skipped,
}
