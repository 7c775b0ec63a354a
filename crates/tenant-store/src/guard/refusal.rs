//! Why a statement is refused, and what to write instead.

use std::borrow::Cow;

use tenantry_core::{Error, ErrorKind};

/// A construct that is not proven to be safe.
#[derive(Debug)]
pub(super) struct Refusal {
    construct: Cow<'static, str>,
    advice: Cow<'static, str>,
    /// Whether a newer look at the catalog might tell otherwise.
    pub(super) unknown_name: bool,
}

impl Refusal {
    pub(super) fn new(
        construct: impl Into<Cow<'static, str>>,
        advice: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            construct: construct.into(),
            advice: advice.into(),
            unknown_name: false,
        }
    }

    /// Refuses what the catalog does not know.
    pub(super) fn unknown(
        construct: impl Into<Cow<'static, str>>,
        advice: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            unknown_name: true,
            ..Self::new(construct, advice)
        }
    }

    /// Refuses what the parser does not read.
    pub(super) fn unreadable(what: &str) -> Self {
        Self::new(
            format!("a statement that the guard cannot read: {what}"),
            "write it in plainer SQL",
        )
    }

    /// Refuses a statement whose tree and text the guard cannot bring together.
    pub(super) fn unplaced() -> Self {
        Self::new(
            "a statement that the guard cannot rewrite with certainty",
            "write it in plainer SQL, each table with an alias of its own",
        )
    }

    /// Says where the construct was met.
    pub(super) fn inside(self, place: &str) -> Self {
        Self {
            construct: format!("{place}, for {}", self.construct).into(),
            ..self
        }
    }

    pub(super) fn into_error(self) -> Error {
        Error::new(ErrorKind::RefusedStatement, "guard")
            .with_subject(self.construct)
            .with_detail(self.advice)
    }
}
