//! A password that changes while connections are in use.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgPool, Postgres};
use tenantry_core::{ErrorKind, SecretGeneration, SecretGenerations, SecretWatch};
use tokio::task::AbortHandle;

use super::error::kind_of;
use super::session::close_idle;

/// Follows the password of a pool.
///
/// A new one is used for every connection that is opened from then on. Those that are open stay in
/// use until their work is done, and are closed as they come back: the server asks for a password only
/// at the start.
pub(super) struct Rotation {
    shared: Arc<Shared>,
    /// Follows until the store is dropped.
    task: AbortHandle,
}

struct Shared {
    watch: Arc<dyn SecretWatch>,
    /// All but the password.
    options: PgConnectOptions,
    pool: PgPool,
    changes: Arc<Changes>,
    /// The generation that connections are opened with.
    used: Mutex<u64>,
}

/// When the password changed last, for the connections that are older.
#[derive(Debug, Default)]
pub(super) struct Changes(Mutex<Option<Instant>>);

impl Changes {
    /// Returns whether a connection of this age was opened with a password that is over.
    pub(super) fn is_older(&self, age: Duration) -> bool {
        let changed = *self.0.lock();
        changed.is_some_and(|changed| changed.elapsed() < age)
    }
}

impl Rotation {
    pub(super) fn follow(
        watch: Arc<dyn SecretWatch>,
        used: u64,
        options: PgConnectOptions,
        pool: &PgPool,
        changes: Arc<Changes>,
    ) -> Self {
        let shared = Arc::new(Shared {
            watch,
            options,
            pool: pool.clone(),
            changes,
            used: Mutex::new(used),
        });
        let following = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut known = used;
            loop {
                let generations = following.watch.changed_from(known).await;
                known = generations.current.number();
                following.change_to(&generations.current).await;
            }
        });
        Self {
            shared,
            task: task.abort_handle(),
        }
    }

    /// Opens a connection or takes an idle one; one that is refused for its password is tried again with
    /// another, if there is any.
    ///
    /// The vault is read again, for a new one may have been stored. While one is stored already and
    /// not yet set in the database, the one before still lets in.
    pub(super) async fn acquire(
        &self,
        pool: &PgPool,
    ) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        // Which password was refused is known from before: another caller may change it at any time,
        // and must not be taken for having failed.
        let mut used = self.shared.used();
        let mut acquired = pool.acquire().await;
        for _ in 0..2 {
            match &acquired {
                Err(cause) if kind_of(cause) == ErrorKind::AuthenticationFailed => {}
                _ => break,
            }
            if self.shared.used() == used && !self.renew(used).await {
                break;
            }
            used = self.shared.used();
            acquired = pool.acquire().await;
        }
        acquired
    }

    /// Finds another password after the server has refused one; says whether there is one.
    async fn renew(&self, refused: u64) -> bool {
        let watch = &self.shared.watch;
        let generations = match watch.report_failure(refused).await {
            Ok(generations) => generations,
            Err(error) => {
                tracing::warn!(
                    target: "tenantry::store",
                    reference = %watch.reference(),
                    %error,
                    "the server refuses the password, and no other can be read"
                );
                watch.generations()
            }
        };
        if self.shared.used() != refused {
            // Another has found it meanwhile.
            return true;
        }
        let Some(generation) = another(&generations, refused) else {
            return false;
        };
        self.shared.take(refused, generation);
        true
    }
}

/// Returns the generation to try after one was refused.
pub(super) fn another(generations: &SecretGenerations, refused: u64) -> Option<&SecretGeneration> {
    let SecretGenerations { current, previous } = generations;
    let previous = previous.as_ref().map(|previous| &previous.generation);
    [Some(current), previous]
        .into_iter()
        .flatten()
        .find(|generation| generation.number() != refused)
}

impl Shared {
    fn used(&self) -> u64 {
        *self.used.lock()
    }

    /// Opens connections with a password from now on, unless another has replaced the one before.
    fn take(&self, before: u64, generation: &SecretGeneration) {
        let number = generation.number();
        let mut used = self.used.lock();
        if number != before && *used == before {
            self.pool.set_connect_options(self.options_with(generation));
            *used = number;
        }
    }

    fn options_with(&self, generation: &SecretGeneration) -> PgConnectOptions {
        let options = self.options.clone();
        options.password(generation.secret().expose())
    }

    /// Goes over to a new password once the server takes it, or until there is a newer one.
    ///
    /// What was opened with the one before is closed then, and no earlier: if the new one does not let
    /// in, there is nothing to put in its place.
    async fn change_to(&self, generation: &SecretGeneration) {
        let mut pause = FIRST_PAUSE;
        while !self.lets_in(generation).await {
            let changed = self.watch.changed_from(generation.number());
            if tokio::time::timeout(pause, changed).await.is_ok() {
                return;
            }
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
        self.take(self.used(), generation);
        *self.changes.0.lock() = Some(Instant::now());
        close_idle(&self.pool);
        tracing::info!(
            target: "tenantry::store",
            reference = %self.watch.reference(),
            generation = generation.number(),
            "connections are opened with another password"
        );
    }

    async fn lets_in(&self, generation: &SecretGeneration) -> bool {
        let options = self.options_with(generation);
        match tokio::time::timeout(LONGEST_PAUSE, options.connect()).await {
            Ok(Ok(connection)) => {
                // What was found out stays so, however the server takes the farewell.
                let _ = connection.close().await;
                true
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

/// How long a password that does not let in yet is left alone.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Drop for Rotation {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotation")
            .field("watch", &self.shared.watch)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use tenantry_core::{RetiringGeneration, Secret};

    use super::*;

    #[test]
    fn after_the_new_one_the_one_before_is_tried_and_the_other_way_round() {
        let generation =
            |number| SecretGeneration::new(number, None, Arc::new(Secret::new("hunter2")));
        let mut generations = SecretGenerations {
            current: generation(3),
            previous: Some(RetiringGeneration {
                generation: generation(2),
                retire_at: DateTime::<Utc>::MAX_UTC,
            }),
        };
        let tried = |generations: &SecretGenerations, refused| {
            another(generations, refused).map(SecretGeneration::number)
        };
        assert_eq!(tried(&generations, 2), Some(3));
        assert_eq!(tried(&generations, 3), Some(2));
        assert_eq!(tried(&generations, 1), Some(3));
        generations.previous = None;
        assert_eq!(tried(&generations, 3), None);
    }
}
