//! A password that changes while connections are in use.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgPool, Postgres};
use tenantry_core::{Error, ErrorKind, SecretGeneration, SecretGenerations, SecretWatch};
use tokio::task::AbortHandle;

use super::error::{is_full, is_full_after_login, kind_of};
use super::is_of_password;
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
    /// The generation that connections are opened with, which has let in.
    used: Mutex<u64>,
    /// Held by the one who looks for another; the generation in whose place none was found last, and
    /// when that look began.
    looking: tokio::sync::Mutex<Option<(u64, Instant)>>,
}

/// What the server says to a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It takes it, though it may have no connection to spare for the role.
    LetsIn,
    /// It has no connection to spare, and did not look at the password.
    IsFull,
    Refuses,
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
            looking: tokio::sync::Mutex::default(),
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
    /// another, if there is any that lets in, all within the time of the pool.
    ///
    /// What is known is tried first: while a new one is stored already and not yet set in the
    /// database, the one before still lets in. Then the vault is read again.
    pub(super) async fn acquire(
        &self,
        pool: &PgPool,
    ) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let until = tokio::time::Instant::now() + pool.options().get_acquire_timeout();
        // Which password was refused is known from before: another caller may change it at any time,
        // and must not be taken for having failed.
        let mut used = self.shared.used();
        let mut acquired = pool.acquire().await;
        for _ in 0..2 {
            match &acquired {
                Err(cause) if kind_of(cause) == ErrorKind::AuthenticationFailed => {}
                _ => break,
            }
            let renewed = tokio::time::timeout_at(until, self.shared.renew(used, until));
            match renewed.await {
                Ok(Answer::LetsIn) => {}
                Ok(Answer::IsFull) => {
                    acquired = Err(sqlx::Error::PoolTimedOut);
                    break;
                }
                Ok(Answer::Refuses) | Err(_) => break,
            }
            used = self.shared.used();
            acquired = tokio::time::timeout_at(until, pool.acquire())
                .await
                .unwrap_or(Err(sqlx::Error::PoolTimedOut));
        }
        acquired
    }

    /// Says which secret is to blame for a login that the server refuses.
    pub(super) fn blame(&self, error: Error) -> Error {
        blame(&*self.shared.watch, error)
    }
}

/// Says which secret is to blame for a login that the server refuses.
pub(super) fn blame(watch: &dyn SecretWatch, error: Error) -> Error {
    if !is_of_password(&error) {
        return error;
    }
    error.with_detail(format!(
        "the server takes no password that {} has or had: correct the secret, or the role and \
         pg_hba.conf on the server",
        watch.reference()
    ))
}

/// Returns the generations to try after one was refused, the newest first.
pub(super) fn others(
    generations: &SecretGenerations,
    refused: u64,
) -> impl Iterator<Item = &SecretGeneration> {
    let SecretGenerations { current, previous } = generations;
    let previous = previous.as_ref().map(|previous| &previous.generation);
    [Some(current), previous]
        .into_iter()
        .flatten()
        .filter(move |generation| generation.number() != refused)
}

impl Shared {
    fn used(&self) -> u64 {
        *self.used.lock()
    }

    /// Finds another password that lets in, after the server has refused one; says what the server
    /// answers to the best of them.
    async fn renew(&self, refused: u64, until: tokio::time::Instant) -> Answer {
        let asked = Instant::now();
        let mut in_vain = self.looking.lock().await;
        if self.used() != refused {
            // Another has found it meanwhile.
            return Answer::LetsIn;
        }
        if in_vain.is_some_and(|(last, begun)| last == refused && begun >= asked) {
            // Another has looked meanwhile.
            return Answer::Refuses;
        }
        let begun = Instant::now();
        let answer = self.look_for_another(refused, until).await;
        *in_vain = (answer == Answer::Refuses).then_some((refused, begun));
        answer
    }

    async fn look_for_another(&self, refused: u64, until: tokio::time::Instant) -> Answer {
        let known = self.watch.generations();
        for generation in others(&known, refused) {
            let answer = self.change_at_once_to(generation, refused, until).await;
            if answer != Answer::Refuses {
                return answer;
            }
        }
        // None of them lets in: it is the newest that is of no use.
        match self.watch.report_failure(known.current.number()).await {
            Ok(read) if read.current.number() != known.current.number() => {
                self.change_at_once_to(&read.current, refused, until).await
            }
            Ok(_) => Answer::Refuses,
            Err(error) => {
                tracing::warn!(
                    target: "tenantry::store",
                    reference = %self.watch.reference(),
                    %error,
                    "the server refuses the password, and no other can be read"
                );
                Answer::Refuses
            }
        }
    }

    /// Opens connections with a password from now on if the server takes it; a server that is full is
    /// asked until a time.
    async fn change_at_once_to(
        &self,
        generation: &SecretGeneration,
        refused: u64,
        until: tokio::time::Instant,
    ) -> Answer {
        loop {
            let answer = self.answer_to(generation).await;
            if answer == Answer::LetsIn {
                self.take(refused, generation);
            }
            if answer != Answer::IsFull || tokio::time::Instant::now() + FIRST_PAUSE >= until {
                return answer;
            }
            tokio::time::sleep(FIRST_PAUSE).await;
        }
    }

    /// Opens connections with a password from now on, unless another has replaced the one before; what
    /// was opened with that is closed when its work is done.
    fn take(&self, before: u64, generation: &SecretGeneration) {
        let number = generation.number();
        let mut used = self.used.lock();
        if number != before && *used == before {
            self.pool.set_connect_options(self.options_with(generation));
            *used = number;
            *self.changes.0.lock() = Some(Instant::now());
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
        let mut may_make_room = true;
        let before = loop {
            // Another may go over to a newer one while this one is tried.
            let before = self.used();
            match self.answer_to(generation).await {
                Answer::LetsIn => break before,
                // The one that is asked for may be one that rests here; others may take the place of
                // each that is closed.
                Answer::IsFull if mem::take(&mut may_make_room) => {
                    if let Some(idle) = self.pool.try_acquire() {
                        let _ = idle.close().await;
                        if self.answer_to(generation).await == Answer::LetsIn {
                            break before;
                        }
                    }
                }
                Answer::IsFull => {}
                Answer::Refuses => {}
            }
            if pause == LONGEST_PAUSE {
                tracing::warn!(
                    target: "tenantry::store",
                    reference = %self.watch.reference(),
                    generation = generation.number(),
                    "a new password does not let in yet, and the one before is used"
                );
            }
            let changed = self.watch.changed_from(generation.number());
            if tokio::time::timeout(pause, changed).await.is_ok() {
                return;
            }
            pause = (2 * pause).min(LONGEST_PAUSE);
        };
        self.take(before, generation);
        close_idle(&self.pool);
        tracing::info!(
            target: "tenantry::store",
            reference = %self.watch.reference(),
            generation = generation.number(),
            "connections are opened with another password"
        );
    }

    async fn answer_to(&self, generation: &SecretGeneration) -> Answer {
        let options = self.options_with(generation);
        match tokio::time::timeout(LONGEST_PAUSE, options.connect()).await {
            Ok(Ok(connection)) => {
                // What was found out stays so, however the server takes the farewell.
                let _ = connection.close().await;
                Answer::LetsIn
            }
            Ok(Err(cause)) if is_full_after_login(&cause) => Answer::LetsIn,
            Ok(Err(cause)) if is_full(&cause) => Answer::IsFull,
            Ok(Err(_)) | Err(_) => Answer::Refuses,
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
        let tried = |generations: &SecretGenerations, refused| -> Vec<u64> {
            let others = others(generations, refused);
            others.map(SecretGeneration::number).collect()
        };
        assert_eq!(tried(&generations, 2), [3]);
        assert_eq!(tried(&generations, 3), [2]);
        assert_eq!(tried(&generations, 1), [3, 2]);
        generations.previous = None;
        assert!(tried(&generations, 3).is_empty());
    }
}
