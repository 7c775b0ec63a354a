//! The end: consumers and workers first, then caches, then connections.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[cfg(feature = "outbox")]
use futures_util::future::join_all;
#[cfg(feature = "outbox")]
use tenantry_store::Result;
use tenantry_store::{Error, ErrorKind};

use super::{Storage, StoragePart};

/// What [`Storage::shutdown`] has not brought to its end.
#[derive(Debug, Default)]
pub struct ShutdownReport {
    unfinished: Vec<Unfinished>,
}

/// A part that had not ended when its time was over, or has ended by an error.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unfinished {
    /// The part.
    pub part: StoragePart,
    /// What becomes of what was under way.
    pub error: Error,
}

impl ShutdownReport {
    /// Returns whether everything has ended.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.unfinished.is_empty()
    }

    /// Returns what has not, in the order in which it was tried.
    #[must_use]
    pub fn unfinished(&self) -> &[Unfinished] {
        &self.unfinished
    }

    /// Takes note of how several of a part have ended.
    #[cfg(feature = "outbox")]
    fn note(&mut self, part: StoragePart, outcomes: Vec<Result<()>>) {
        let errors = outcomes.into_iter().filter_map(Result::err);
        let unfinished = errors.map(|error| Unfinished { part, error });
        self.unfinished.extend(unfinished);
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.is_clean() {
            true => "everything has ended",
            false => "not everything has ended",
        })?;
        for Unfinished { part, error } in &self.unfinished {
            write!(f, "\n{part}: {error}")?;
        }
        Ok(())
    }
}

impl Storage {
    /// Closes everything, and waits without limit for what is in use: the consumers first, which end what they handle, then
    /// the workers, which hand over what they have begun, then what is cached, then the connections.
    ///
    /// New work is refused, as `Unavailable`; units of work and streams that are open go on to
    /// their end. With a limit there is [`shutdown`](Self::shutdown). It may be called again.
    ///
    /// # Cancel safety
    ///
    /// Dropped, workers end all the same, and what had its turn stays closed;
    /// [`TenantStore::close`](tenantry_store::TenantStore::close) tells what becomes of connections.
    pub async fn close(&self) {
        let report = self.end(None).await;
        for Unfinished { part, error } in report.unfinished() {
            tracing::warn!(
                target: "tenantry::storage",
                %part,
                %error,
                "a part of the storage has not ended as it should"
            );
        }
    }

    /// Closes everything as [`close`](Self::close) does, within a limit, and tells what was dropped half way.
    ///
    /// Nothing that is dropped is half stored: what a worker has handed over and not noted is handed over
    /// again, under the same identifier; a unit of work that is cut is rolled back, or its commit is whole.
    ///
    /// # Cancel safety
    ///
    /// As [`close`](Self::close).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # mod example {
    /// use std::time::Duration;
    ///
    /// use tenantry::core::TenantId;
    /// use tenantry::{Storage, StoragePart};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let storage = Storage::embedded(folder.path()).await?;
    /// let work = storage.tenant(TenantId::generate()).begin().await?;    // somebody still works
    ///
    /// let report = storage.shutdown(Duration::from_millis(50)).await;
    /// assert_eq!(report.unfinished()[0].part, StoragePart::Database);
    ///
    /// work.rollback().await?;
    /// assert!(storage.shutdown(Duration::from_secs(5)).await.is_clean());
    /// # Ok(())
    /// # }
    /// # }
    /// # #[cfg(feature = "sqlite")]
    /// # example::main().unwrap();
    /// ```
    pub async fn shutdown(&self, limit: Duration) -> ShutdownReport {
        self.end(Some(limit)).await
    }

    async fn end(&self, limit: Option<Duration>) -> ShutdownReport {
        let time = Time {
            started: Instant::now(),
            limit,
        };
        let mut report = ShutdownReport::default();
        self.inner.is_closed.store(true, Ordering::Release);
        #[cfg(feature = "outbox")]
        self.stop_consumers(&time, &mut report).await;
        #[cfg(feature = "outbox")]
        self.stop_workers(&time, &mut report).await;
        #[cfg(feature = "cache")]
        if let Some(cache) = &self.inner.caches.cache {
            cache.clear();
        }
        let platform = async {
            match &self.inner.platform {
                Some(platform) => time.left_for(platform.close()).await,
                None => Some(()),
            }
        };
        let (database, platform) = tokio::join!(time.left_for(self.store.close()), platform);
        for (part, ended) in [
            (StoragePart::Database, database),
            (StoragePart::Platform, platform),
        ] {
            if ended.is_none() {
                let error = Error::new(ErrorKind::Unavailable, "close connections").with_detail(
                    "some are in use: their units of work and streams go on, and are rolled back where \
                     the process ends before them",
                );
                report.unfinished.push(Unfinished { part, error });
            }
        }
        report
    }

    #[cfg(feature = "outbox")]
    async fn stop_consumers(&self, time: &Time, report: &mut ShutdownReport) {
        let consumers = self.inner.messages.consumers.lock().clone();
        let stops = consumers.iter().map(|consumer| {
            time.ended(consumer.stop(), || {
                Error::new(ErrorKind::Unavailable, "stop consumer")
                    .with_subject(consumer.name().to_owned())
                    .with_detail(
                        "it has not ended: what it handles comes again, unless its unit of work is committed \
                         before the process ends",
                    )
            })
        });
        report.note(StoragePart::Consumer, join_all(stops).await);
    }

    #[cfg(feature = "outbox")]
    async fn stop_workers(&self, time: &Time, report: &mut ShutdownReport) {
        // They stay in the list: a close that was dropped is called again.
        let workers = self.inner.messages.workers.lock().clone();
        let stops = workers.iter().map(|worker| {
            time.ended(worker.stop(), || {
                Error::new(ErrorKind::Unavailable, "stop outbox worker")
                    .with_subject(worker.name().to_owned())
                    .with_detail(
                        "it has not ended: what it has handed over and not noted is handed over again, \
                         when its claim has expired",
                    )
            })
        });
        report.note(StoragePart::OutboxWorker, join_all(stops).await);
    }
}

/// How long all of it may take.
struct Time {
    started: Instant,
    limit: Option<Duration>,
}

impl Time {
    /// Waits for an end as long as there is time, and says by `late` that it has not come.
    #[cfg(feature = "outbox")]
    async fn ended(
        &self,
        end: impl Future<Output = Result<()>>,
        late: impl FnOnce() -> Error,
    ) -> Result<()> {
        self.left_for(end).await.unwrap_or_else(|| Err(late()))
    }

    /// Waits as long as there is time; each part has its turn, also when there is none left.
    async fn left_for<T>(&self, end: impl Future<Output = T>) -> Option<T> {
        match self.limit {
            None => Some(end.await),
            Some(limit) => {
                let left = limit.saturating_sub(self.started.elapsed());
                tokio::time::timeout(left, end).await.ok()
            }
        }
    }
}
