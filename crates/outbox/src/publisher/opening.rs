//! Connections that are being made.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::{PublishError, PublishErrorKind, PublishReason};

/// For how long no connection is tried after one could not be made.
const PAUSE: Duration = Duration::from_millis(200);

/// A connection that is being made, whoever waits for it: a worker breaks a call off that takes long, and would never have
/// one if each call began anew.
pub(super) struct Opening<L> {
    under_way: JoinSet<Result<L, PublishError>>,
    /// When it was tried in vain last, and why.
    in_vain: Option<(Instant, PublishReason, String)>,
}

impl<L> Default for Opening<L> {
    fn default() -> Self {
        Self {
            under_way: JoinSet::new(),
            in_vain: None,
        }
    }
}

impl<L: Send + 'static> Opening<L> {
    /// Makes a connection by `open`, or waits for the one that is under way.
    ///
    /// # Errors
    ///
    /// Those of `open`, for a moment without another try.
    ///
    /// # Cancel safety
    ///
    /// It goes on, and the next one has what comes of it.
    pub(super) async fn finish(
        &mut self,
        open: impl Future<Output = Result<L, PublishError>> + Send + 'static,
    ) -> Result<L, PublishError> {
        if let Some((tried, reason, detail)) = &self.in_vain
            && tried.elapsed() < PAUSE
        {
            return Err(unavailable(*reason, detail.clone()));
        }
        if self.under_way.is_empty() {
            self.under_way.spawn(open.in_current_span());
        }
        let outcome = match self.under_way.join_next().await {
            Some(Ok(outcome)) => outcome,
            // With the runtime in which it was begun.
            _ => Err(unavailable(
                PublishReason::Disconnected,
                "nobody goes on with the connection that was begun".to_owned(),
            )),
        };
        self.in_vain = outcome.as_ref().err().map(|error| {
            let reason = error.reason().unwrap_or(PublishReason::Disconnected);
            (Instant::now(), reason, error.detail().to_owned())
        });
        outcome
    }
}

fn unavailable(reason: PublishReason, detail: String) -> PublishError {
    PublishError::new(PublishErrorKind::Unavailable, detail).with_reason(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_breaks_off_again_and_again_has_it_in_the_end() {
        let mut opening = Opening::default();
        let mut tries = 0;
        let second = Duration::from_secs(1);
        let got = loop {
            tries += 1;
            let open = async move {
                tokio::time::sleep(7 * second / 2).await;
                Ok(tries)
            };
            if let Ok(got) = tokio::time::timeout(second, opening.finish(open)).await {
                break got.unwrap();
            }
        };
        assert_eq!((got, tries), (1, 4));
    }

    #[tokio::test]
    async fn what_was_tried_in_vain_is_not_tried_at_once() {
        let mut opening: Opening<()> = Opening::default();
        let refused = |detail: &'static str| async move {
            Err(unavailable(PublishReason::LoginRefused, detail.to_owned()))
        };
        for detail in ["first", "second"] {
            let error = opening.finish(refused(detail)).await.unwrap_err();
            assert_eq!(error.detail(), "first");
            assert_eq!(error.reason(), Some(PublishReason::LoginRefused));
        }
    }
}
