//! What was asked of a server, without what was said.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// A request that a server received: never a value, a token, or anything else of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VaultRequest {
    /// The method, in capitals.
    pub method: String,
    /// The vault, or the whole host where that names none.
    pub vault: String,
    /// The path, without the query.
    pub path: String,
    /// Whether it carried a token, good or not.
    pub has_token: bool,
    /// How many bytes its body had.
    pub body_length: usize,
    /// The status of the answer; `None` while there is no answer, and after a cut before one.
    pub status: Option<u16>,
}

impl VaultRequest {
    /// Returns whether it came without a token and was asked for one, as a client's first is.
    #[must_use]
    pub const fn is_challenge(&self) -> bool {
        !self.has_token && matches!(self.status, Some(401))
    }
}

/// How many requests a server received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub struct VaultCalls {
    /// All of them.
    pub total: usize,
    /// Those without a token that were asked for one.
    pub challenges: usize,
}

impl VaultCalls {
    /// Returns how many there were apart from challenges.
    #[must_use]
    pub const fn without_challenges(self) -> usize {
        self.total - self.challenges
    }

    pub(super) fn count(requests: &[VaultRequest]) -> Self {
        Self {
            total: requests.len(),
            challenges: requests
                .iter()
                .filter(|request| request.is_challenge())
                .count(),
        }
    }
}

/// The record of requests.
#[derive(Default)]
pub(super) struct Ledger {
    entries: Mutex<Entries>,
    /// How many requests have ever come.
    received: watch::Sender<usize>,
}

#[derive(Default)]
struct Entries {
    requests: Vec<VaultRequest>,
    /// How many of those that came were forgotten since.
    forgotten: usize,
}

/// A request whose answer is still to come.
pub(super) struct Entry(usize);

impl Ledger {
    pub(super) fn begin(&self, request: VaultRequest) -> Entry {
        let entry = self.with(|entries| {
            entries.requests.push(request);
            Entry(entries.forgotten + entries.requests.len() - 1)
        });
        self.received.send_modify(|received| *received += 1);
        entry
    }

    pub(super) fn answer(&self, entry: &Entry, status: u16) {
        self.with(|entries| {
            let index = entry.0.checked_sub(entries.forgotten);
            if let Some(request) = index.and_then(|index| entries.requests.get_mut(index)) {
                request.status = Some(status);
            }
        });
    }

    pub(super) fn requests(&self) -> Vec<VaultRequest> {
        self.with(|entries| entries.requests.clone())
    }

    pub(super) fn forget(&self) {
        self.with(|entries| {
            entries.forgotten += entries.requests.len();
            entries.requests.clear();
        });
    }

    /// Returns when as many requests as that are in the record.
    pub(super) async fn received(&self, count: usize) {
        let mut received = self.received.subscribe();
        let wanted = self.with(|entries| entries.forgotten) + count;
        // The sender is in `self`, so the wait ends by the condition alone.
        let _ = received.wait_for(|received| *received >= wanted).await;
    }

    fn with<T>(&self, work: impl FnOnce(&mut Entries) -> T) -> T {
        work(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
