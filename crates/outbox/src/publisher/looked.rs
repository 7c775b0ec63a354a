//! When that to which messages go was looked at last.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::{PublishError, PublishReason};

/// How long something is taken for what it was.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

pub(crate) struct Looked(Mutex<Instant>);

impl Looked {
    pub(crate) fn now() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// Returns whether it is time to look again, to one caller alone.
    pub(crate) fn is_due(&self) -> bool {
        let mut last = self.0.lock();
        let is_due = last.elapsed() >= LOOK_AGAIN;
        if is_due {
            *last = Instant::now();
        }
        is_due
    }
}

/// Returns whether what was seen forbids to publish: without an answer it is as it was.
pub(super) fn is_refused(error: &PublishError) -> bool {
    matches!(
        error.reason(),
        Some(PublishReason::DestinationMissing | PublishReason::DestinationUnsafe)
    )
}
