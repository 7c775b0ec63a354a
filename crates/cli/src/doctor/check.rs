//! What was looked at, and what came of it.

use std::time::Duration;

use serde::Serialize;
use tenantry_core::{Error, ErrorKind, Result};

use super::mend;
use crate::progress::Progress;

/// How one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
    /// It works, and will not for ever, or not for everybody.
    Warning,
    Failure,
}

impl Status {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Check {
    /// The section of the settings.
    pub(super) part: String,
    /// What of it.
    pub(super) check: &'static str,
    pub(super) status: Status,
    /// What was found.
    pub(super) found: String,
    /// What mends it.
    pub(super) fix: Option<String>,
}

/// What was found of one part, and how long each question to it may take.
#[derive(Debug, Clone)]
pub(super) struct Sheet {
    part: String,
    limit: Duration,
    progress: Progress,
    pub(super) checks: Vec<Check>,
}

impl Sheet {
    pub(super) fn of(part: impl Into<String>, limit: Duration, progress: &Progress) -> Self {
        Self {
            part: part.into(),
            limit,
            progress: progress.clone(),
            checks: Vec::new(),
        }
    }

    /// Returns an empty sheet of the same part, for what is asked beside it.
    pub(super) fn beside(&self) -> Self {
        Self::of(self.part.clone(), self.limit, &self.progress)
    }

    pub(super) fn ok(&mut self, check: &'static str, found: impl Into<String>) {
        self.add(check, Status::Ok, found.into(), None);
    }

    pub(super) fn warning(
        &mut self,
        check: &'static str,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(check, Status::Warning, found.into(), Some(fix.into()));
    }

    pub(super) fn failure(
        &mut self,
        check: &'static str,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(check, Status::Failure, found.into(), Some(fix.into()));
    }

    /// Notes an error, with what mends it.
    pub(super) fn failed(&mut self, check: &'static str, error: &Error) {
        let (found, fix) = mend::of(&self.part, error);
        self.failure(check, found, fix);
    }

    /// Waits for an answer as long as the limit says; what is no answer is noted.
    pub(super) async fn ask<T>(
        &mut self,
        check: &'static str,
        question: impl Future<Output = Result<T>>,
    ) -> Option<T> {
        match self.answer(question).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.failed(check, &error);
                None
            }
        }
    }

    /// Waits for an answer as long as the limit says.
    pub(super) async fn answer<T>(&self, question: impl Future<Output = Result<T>>) -> Result<T> {
        let answer = tokio::time::timeout(self.limit, question).await;
        answer.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Unavailable, "check")
                .with_subject(self.part.clone())
                .with_detail(format!("no answer within {:?}", self.limit)))
        })
    }

    fn add(&mut self, check: &'static str, status: Status, found: String, fix: Option<String>) {
        self.checks.push(Check {
            part: self.part.clone(),
            check,
            status,
            found,
            fix,
        });
    }

    /// Says that the part was looked at.
    pub(super) fn end(self) -> Vec<Check> {
        self.progress.step();
        self.checks
    }
}
