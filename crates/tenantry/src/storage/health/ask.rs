//! Asks each part, all of them at once.

use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tenantry_store::{Error, ErrorKind, Result};

use super::{Health, PartHealth, StoragePart};
use crate::Storage;

/// How long one part may take, where nothing is said: less than a probe waits for.
const LIMIT: Duration = Duration::from_secs(2);

type Asked<'s> = Pin<Box<dyn Future<Output = Result<()>> + Send + 's>>;

struct Question<'s> {
    part: StoragePart,
    name: String,
    system: &'static str,
    asked: Asked<'s>,
}

impl Storage {
    /// Asks everything that is open whether it answers, all at once and each for two seconds at most.
    ///
    /// | part | is asked |
    /// |---|---|
    /// | `database`, `platform` | for a transaction, over a connection of the pool |
    /// | `cache` | for the time of the server; nothing of a cache in the process |
    /// | `blobs` | for a list of the blobs of a tenant that nobody is |
    /// | `vault` | for a secret that nobody has, by a call of its budget |
    /// | `broker` | for the stream, or the exchange and its queues |
    /// | `outbox_worker`, `consumer` | whether its tasks go on |
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has done nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # mod example {
    /// use tenantry::Storage;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let storage = Storage::embedded(folder.path()).await?;
    /// let health = storage.health().await;
    /// assert!(health.is_ready() && health.is_alive(), "{health}");
    /// let status = if health.is_ready() { 200 } else { 503 };     // with the body `health.to_json()`
    /// # assert_eq!(status, 200);
    ///
    /// storage.close().await;
    /// assert!(!storage.health().await.is_ready());
    /// # Ok(())
    /// # }
    /// # }
    /// # #[cfg(feature = "sqlite")]
    /// # example::main().unwrap();
    /// ```
    pub async fn health(&self) -> Health {
        self.health_within(LIMIT).await
    }

    /// Does the same, and gives each part so long.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has done nothing.
    pub async fn health_within(&self, limit: Duration) -> Health {
        let questions = self.questions();
        let answers = questions
            .into_iter()
            .map(|question| answer(question, limit));
        Health {
            parts: join_all(answers).await,
            is_closed: self.is_closed(),
        }
    }

    fn questions<'s>(&'s self) -> Vec<Question<'s>> {
        let inner = &*self.inner;
        let mut questions = Vec::new();
        let mut ask = |part: StoragePart, name: &str, system: &'static str, asked: Asked<'s>| {
            let name = name.to_owned();
            questions.push(Question {
                part,
                name,
                system,
                asked,
            });
        };
        ask(
            StoragePart::Database,
            "",
            inner.system,
            Box::pin(self.store.ping()),
        );
        if let Some(platform) = &inner.platform {
            ask(
                StoragePart::Platform,
                "",
                inner.system,
                Box::pin(platform.ping()),
            );
        }
        #[cfg(feature = "cache")]
        if let Some(cache) = &inner.caches.cache {
            let asked = Box::pin(cache.check());
            ask(StoragePart::Cache, "", inner.caches.system, asked);
        }
        #[cfg(feature = "blob")]
        if let Some(blobs) = &inner.blobs {
            let asked = blobs.backend.check();
            ask(StoragePart::Blobs, "", blobs.backend.system(), asked);
        }
        #[cfg(feature = "secrets")]
        if let Some(secrets) = &inner.secrets {
            for vault in secrets.vault_names() {
                let asked = Box::pin(secrets.check_vault(vault));
                ask(StoragePart::Vault, vault, "vault", asked);
            }
        }
        #[cfg(feature = "outbox")]
        if let Some(publisher) = &inner.messages.publisher {
            ask(
                StoragePart::Broker,
                "",
                publisher.system(),
                publisher.check(),
            );
        }
        #[cfg(feature = "outbox")]
        for worker in inner.messages.workers.lock().iter() {
            let outcome = goes_on(worker.is_running(), "check outbox worker", worker.name());
            let asked = Box::pin(std::future::ready(outcome));
            let part = StoragePart::OutboxWorker;
            ask(part, worker.name(), inner.system, asked);
        }
        #[cfg(feature = "outbox")]
        for consumer in inner.messages.consumers.lock().iter() {
            let outcome = goes_on(consumer.is_running(), "check consumer", consumer.name());
            let asked = Box::pin(std::future::ready(outcome));
            let part = StoragePart::Consumer;
            ask(part, consumer.name(), consumer.system(), asked);
        }
        questions
    }
}

#[cfg(feature = "outbox")]
fn goes_on(is_running: bool, operation: &'static str, name: &str) -> Result<()> {
    match is_running {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Unexpected, operation)
            .with_subject(name.to_owned())
            .with_detail("a task of it has ended: start the process again")),
    }
}

async fn answer(question: Question<'_>, limit: Duration) -> PartHealth {
    let started = Instant::now();
    let outcome = tokio::time::timeout(limit, question.asked).await;
    let outcome = outcome.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Unavailable, "check")
            .with_subject(question.part.as_str())
            .with_detail(format!("no answer within {limit:?}")))
    });
    PartHealth {
        part: question.part,
        name: question.name,
        system: question.system,
        took: started.elapsed(),
        error: outcome.err(),
    }
}
