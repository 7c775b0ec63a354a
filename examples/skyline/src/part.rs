//! A service that is open: what it answers, what it does by itself, and its end.

use std::fmt;
use std::time::Duration;

use axum::Router;
use tenantry::blob::Schedule;
use tenantry::outbox::WorkerSettings;
use tenantry::{Result, Storage};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::setup::PartName;

/// How long the stores of a service may take to close.
const CLOSING: Duration = Duration::from_secs(20);

/// One of the services, or the edge.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) router: Router,
    storage: Storage,
    schedules: Vec<Schedule>,
    loops: Vec<Loop>,
}

/// What goes on until it is told to stop.
pub(crate) struct Loop {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Loop {
    /// Starts what `run` makes of the word to stop.
    pub(crate) fn start<F>(run: impl FnOnce(watch::Receiver<bool>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(stopped));
        Self { stop, task }
    }

    async fn stop(self) {
        // It is an error where the loop has ended already.
        let _ = self.stop.send(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "a loop has ended by a panic");
        }
    }
}

impl Part {
    pub(crate) fn new(part: PartName, router: Router, storage: Storage) -> Self {
        Self {
            name: part.as_str(),
            router,
            storage,
            schedules: Vec::new(),
            loops: Vec::new(),
        }
    }

    pub(crate) fn with_schedule(mut self, schedule: Schedule) -> Self {
        self.schedules.push(schedule);
        self
    }

    pub(crate) fn with_loop(mut self, it: Loop) -> Self {
        self.loops.push(it);
        self
    }

    /// Hands over what its outbox holds from now on.
    pub(crate) fn start_worker(&self) -> Result<()> {
        self.storage.start_worker(WorkerSettings::default())
    }

    /// Ends what it does by itself, then closes its stores; what has not ended is in the log.
    pub(crate) async fn close(self) -> bool {
        for it in self.loops {
            it.stop().await;
        }
        for schedule in self.schedules {
            if let Err(error) = schedule.stop().await {
                tracing::error!(%error, service = self.name, "a schedule has not ended as it should");
            }
        }
        let report = self.storage.shutdown(CLOSING).await;
        if !report.is_clean() {
            tracing::error!(service = self.name, "{report}");
        }
        report.is_clean()
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
