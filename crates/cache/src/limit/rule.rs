use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tenantry_core::{Error, ErrorKind, Result};

const NEW: &str = "make rate limit rule";

/// The longest window: a year and a day.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// So much within any span of time as long as the window.
///
/// A rule is a value: one with another limit under the same name goes on from the same count, at
/// once. One with another window has another name: what is older than the shorter window is forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    name: Arc<str>,
    most: u64,
    window: Duration,
    on_failure: OnFailure,
}

/// What becomes of a request when nothing can be counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFailure {
    /// It is admitted.
    #[default]
    Admit,
    /// It is refused.
    Refuse,
    /// It is counted in this process alone, which may admit its share of the limit: as if there were so
    /// many processes. All of them together admit no more than the limit, beside what was admitted before
    /// within the window.
    Share(NonZeroU32),
}

/// A rule for one subject of a tenant, such as a route or a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit<'l> {
    rule: &'l Rule,
    subject: &'l str,
}

impl Rule {
    /// Allows `most` within any `window`.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): nothing is allowed, the window is shorter than a
    ///   millisecond or longer than 366 days.
    pub fn new(name: impl Into<Arc<str>>, most: u64, window: Duration) -> Result<Self> {
        let name = name.into();
        let wrong = match (most, window) {
            (0, _) => "a limit of nothing admits nobody: expected one at least",
            (_, window) if window < Duration::from_millis(1) || window > LONGEST => {
                "expected a window of a millisecond to 366 days"
            }
            _ => {
                return Ok(Self {
                    name,
                    most,
                    window,
                    on_failure: OnFailure::default(),
                });
            }
        };
        Err(Error::new(ErrorKind::InvalidInput, NEW)
            .with_subject((*name).to_owned())
            .with_detail(wrong))
    }

    /// Sets what becomes of a request when nothing can be counted: it is admitted by default.
    #[must_use]
    pub const fn with_on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Returns the rule for a subject; `""` stands for the tenant as a whole.
    #[must_use]
    pub const fn limit<'l>(&'l self, subject: &'l str) -> Limit<'l> {
        Limit {
            rule: self,
            subject,
        }
    }

    /// Returns the rule for one of so many processes; nothing where its share is nothing.
    pub(super) fn share(&self, processes: NonZeroU32) -> Option<Self> {
        let most = self.most / u64::from(processes.get());
        (most > 0).then(|| Self {
            most,
            ..self.clone()
        })
    }

    pub(super) const fn shared_name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how much is allowed.
    #[must_use]
    pub const fn most(&self) -> u64 {
        self.most
    }

    /// Returns within which time.
    #[must_use]
    pub const fn window(&self) -> Duration {
        self.window
    }

    /// Returns what becomes of a request when nothing can be counted.
    #[must_use]
    pub const fn on_failure(&self) -> OnFailure {
        self.on_failure
    }
}

impl<'l> Limit<'l> {
    /// Returns the rule.
    #[must_use]
    pub const fn rule(&self) -> &'l Rule {
        self.rule
    }

    /// Returns the subject.
    #[must_use]
    pub const fn subject(&self) -> &'l str {
        self.subject
    }

    pub(super) fn key(&self) -> (&str, &str) {
        (&self.rule.name, self.subject)
    }
}
