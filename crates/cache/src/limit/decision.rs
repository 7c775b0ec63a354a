use std::time::Duration;

use tenantry_core::Error;

/// What became of a request.
#[derive(Debug)]
#[must_use = "a request that is refused must not go on"]
pub struct Decision {
    is_admitted: bool,
    standings: Vec<Standing>,
    failure: Option<Error>,
}

/// What is left of one limit. A backend makes it: it is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// How much is allowed within the window.
    pub most: u64,
    /// How much of it is left now.
    pub remaining: u64,
    /// After which time the request would pass this limit; zero if it does.
    pub retry_after: Duration,
    /// After which time all of it is left again, if nothing else happens.
    pub reset_after: Duration,
}

impl Decision {
    /// Returns the decision of a backend; the standings are in the order of the limits.
    pub const fn new(is_admitted: bool, standings: Vec<Standing>) -> Self {
        Self {
            is_admitted,
            standings,
            failure: None,
        }
    }

    /// Decides without a count.
    pub(super) fn uncounted(is_admitted: bool, failure: Error) -> Self {
        Self {
            is_admitted,
            standings: Vec::new(),
            failure: Some(failure),
        }
    }

    /// Says whether the request may go on.
    #[must_use]
    pub const fn is_admitted(&self) -> bool {
        self.is_admitted
    }

    /// Returns what is left of each limit, in their order; nothing where nothing could be counted.
    #[must_use]
    pub fn standings(&self) -> &[Standing] {
        &self.standings
    }

    /// Returns the limit that has the least left.
    #[must_use]
    pub fn tightest(&self) -> Option<&Standing> {
        self.standings
            .iter()
            .min_by_key(|standing| standing.remaining)
    }

    /// Returns after which time a request that was refused would pass all limits.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.is_admitted {
            true => None,
            false => self.standings.iter().map(|it| it.retry_after).max(),
        }
    }

    /// Returns why nothing could be counted, if so.
    #[must_use]
    pub const fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }
}
