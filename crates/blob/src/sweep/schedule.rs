//! Work that is done again and again.

use std::fmt;
use std::panic::AssertUnwindSafe;
#[cfg(feature = "artifacts")]
use std::pin::pin;
use std::time::Duration;

use futures_util::FutureExt as _;
#[cfg(feature = "artifacts")]
use futures_util::future::{Either, select};
use tenantry_core::{Error, ErrorKind, Result};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

const SHORTEST: Duration = Duration::from_secs(1);

/// Sweeps that come again and again, until they are stopped.
///
/// Dropped, they end at once, in the midst of a run too: some of it is done then, and the rest is due as
/// before.
#[must_use = "dropped, they end at once"]
pub struct Schedule {
    operation: &'static str,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
    abort: AbortHandle,
}

impl Schedule {
    /// Returns whether they go on; false once they were stopped, or have ended with their runtime.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !*self.stop.borrow() && !self.abort.is_finished()
    }

    /// Lets a run that goes on end the batch that it is at, and waits for that. It may be called again.
    ///
    /// # Errors
    ///
    /// - [`Unexpected`](ErrorKind::Unexpected): the runs had ended before, with their runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropped, they end all the same.
    pub async fn stop(&self) -> Result<()> {
        // They have ended already, if nobody listens.
        let _ = self.stop.send(true);
        let mut task = self.task.lock().await;
        let Some(running) = &mut *task else {
            return Ok(());
        };
        let outcome = running.await;
        *task = None;
        outcome.map_err(|cause| {
            Error::new(ErrorKind::Unexpected, self.operation)
                .with_detail("its runs have ended before, with their runtime")
                .with_source(cause)
        })
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        if !*self.stop.borrow() {
            self.abort.abort();
        }
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule")
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

/// Tells a run whether it is to end.
#[derive(Debug, Clone)]
pub(crate) struct Stopped(watch::Receiver<bool>);

impl Stopped {
    pub(crate) fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is.
    async fn wait(&mut self) {
        let _ = self.0.wait_for(|is_stopped| *is_stopped).await;
    }

    /// Waits for something that is not waited for once it is.
    #[cfg(feature = "artifacts")]
    pub(crate) async fn unless<T>(&self, coming: impl Future<Output = T>) -> Option<T> {
        let mut stopped = self.clone();
        match select(pin!(stopped.wait()), pin!(coming)).await {
            Either::Left(_) => None,
            Either::Right((come, _)) => Some(come),
        }
    }
}

/// Starts what is done again and again, one run behind the other. Of a run that has panicked `panicked`
/// hears; of one that has failed it has to tell itself.
pub(crate) fn every<F>(
    operation: &'static str,
    period: Duration,
    run: impl Fn(Stopped) -> F + Send + 'static,
    panicked: impl Fn(&Error) + Send + 'static,
) -> Result<Schedule>
where
    F: Future<Output = Result<()>> + Send,
{
    if period < SHORTEST {
        return Err(Error::new(ErrorKind::InvalidSettings, operation)
            .with_detail("expected a time of one second at least between its runs"));
    }
    let runtime = Handle::try_current().map_err(|_| {
        Error::new(ErrorKind::Unsupported, operation)
            .with_detail("start it inside a runtime of Tokio, in which it goes on")
    })?;
    let (stop, stopped) = watch::channel(false);
    let task = runtime.spawn(async move {
        // Processes that start together do not come together, not even at first.
        let mut wait = a_part_of(period / 10);
        let mut stopped = Stopped(stopped);
        loop {
            // Also where nobody is left to stop it.
            if timeout(wait, stopped.wait()).await.is_ok() {
                return;
            }
            let started = Instant::now();
            // It holds nothing of ours that is half done: what it works on is behind locks, or is dropped.
            let ended = AssertUnwindSafe(run(stopped.clone())).catch_unwind().await;
            let ended = ended.unwrap_or_else(|_| {
                let error = Error::new(ErrorKind::Unexpected, operation)
                    .with_detail("a run has panicked");
                panicked(&error);
                Err(error)
            });
            if let Err(error) = ended {
                let cause = std::error::Error::source(&error);
                let cause = cause.map(tracing::field::display);
                tracing::warn!(target: "tenantry::blob", operation, %error, cause, "a run has failed; the next comes as ever");
            }
            wait = (period - a_part_of(period / 10)).saturating_sub(started.elapsed());
        }
    });
    Ok(Schedule {
        operation,
        stop,
        abort: task.abort_handle(),
        task: Mutex::new(Some(task)),
    })
}

/// Returns any part of a time.
fn a_part_of(whole: Duration) -> Duration {
    let [part, ..] = *Uuid::new_v4().as_bytes();
    // Divided first, for there is no longer time than the longest.
    whole / 256 * u32::from(part)
}
