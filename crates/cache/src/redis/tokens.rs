//! Tokens in a password's place, which run out while connections live on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tenantry_core::{
    Clock as _, Result, RetiringGeneration, Secret, SecretGeneration, SecretGenerations,
    SystemClock,
};
use tokio::sync::{Mutex, watch};
use tokio::task::AbortHandle;

/// Of what is left of a token's time, how much passes before another is asked for.
const DUE: f64 = 0.75;
/// How long to wait at least before it is asked again, and at most where it could not be had.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// How long to sleep at a time: the clock may be set, and the machine suspended.
const NAP: Duration = Duration::from_secs(30);

/// Gives the tokens that a user of a Redis shows in a password's place, such as those of Microsoft Entra ID.
///
/// # Contract
///
/// An implementer gives a token that is valid now, which may be the same as before until a newer one can be
/// had, answers in bounded time, and keeps the token out of every error and log.
///
/// A caller asks when three quarters of a token's time have passed, and again if none could be had.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use async_trait::async_trait;
/// use tenantry_cache::{RedisSettings, RedisToken, RedisTokens};
/// use tenantry_core::{Clock, Result, Secret, SystemClock};
///
/// /// Asks whoever knows this service.
/// #[derive(Debug)]
/// struct Identity;
///
/// #[async_trait]
/// impl RedisTokens for Identity {
///     async fn token(&self) -> Result<RedisToken> {
///         let expires_at = SystemClock.now() + std::time::Duration::from_secs(3_600);
///         Ok(RedisToken::new(Secret::new("eyJ0…"), expires_at))
///     }
/// }
///
/// let settings = RedisSettings::new("rediss://cache.internal:6380")
///     .with_user("11111111-2222-3333-4444-555555555555")
///     .with_tokens_from(Arc::new(Identity));
/// # let _ = settings;
/// ```
#[async_trait]
pub trait RedisTokens: Send + Sync + fmt::Debug {
    /// Returns a token that is valid now, and until when it is.
    ///
    /// # Errors
    ///
    /// Those of whoever gives it.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has done nothing that matters.
    async fn token(&self) -> Result<RedisToken>;
}

/// A token, and when it runs out.
#[derive(Debug, Clone)]
pub struct RedisToken {
    secret: Arc<Secret>,
    expires_at: DateTime<Utc>,
}

impl RedisToken {
    /// Returns a token that is valid until a time.
    #[must_use]
    pub fn new(secret: Secret, expires_at: DateTime<Utc>) -> Self {
        Self {
            secret: Arc::new(secret),
            expires_at,
        }
    }
}

/// The token that is current, and the task that asks for the next.
pub(super) struct TokenWatch {
    supply: Arc<Supply>,
    /// It ends with its runtime.
    task: parking_lot::Mutex<AbortHandle>,
}

struct Supply {
    source: Arc<dyn RedisTokens>,
    current: watch::Sender<Known>,
    /// Held by the one who asks; when it was asked last.
    asking: Mutex<tokio::time::Instant>,
}

#[derive(Clone)]
struct Known {
    generations: SecretGenerations,
    expires_at: DateTime<Utc>,
}

impl TokenWatch {
    /// Asks for the first token, and then for the next ahead of its time.
    pub(super) async fn open(source: Arc<dyn RedisTokens>) -> Result<Self> {
        let token = source.token().await?;
        let supply = Arc::new(Supply {
            source,
            current: watch::Sender::new(Known {
                expires_at: token.expires_at,
                generations: SecretGenerations {
                    current: SecretGeneration::new(0, None, token.secret),
                    previous: None,
                },
            }),
            asking: Mutex::new(tokio::time::Instant::now()),
        });
        let task = tokio::spawn(Arc::clone(&supply).go_on());
        Ok(Self {
            supply,
            task: parking_lot::Mutex::new(task.abort_handle()),
        })
    }

    /// Has the next token asked for ahead of its time by another task, if the last has ended.
    fn go_on(&self) {
        let mut task = self.task.lock();
        if task.is_finished()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let supply = Arc::clone(&self.supply);
            *task = runtime.spawn(supply.go_on()).abort_handle();
        }
    }

    pub(super) fn generations(&self) -> SecretGenerations {
        self.go_on();
        self.supply.current.borrow().generations.clone()
    }

    /// Waits until the current token is another than that of the number.
    pub(super) async fn changed_from(&self, number: u64) -> SecretGenerations {
        let mut current = self.supply.current.subscribe();
        let changed = current.wait_for(|it| it.generations.current.number() != number);
        match changed.await {
            Ok(known) => known.generations.clone(),
            // Its sender is held here.
            Err(_) => self.generations(),
        }
    }

    /// Asks anew at once, for the server has refused the token of the number.
    pub(super) async fn report_failure(&self, number: u64) -> Result<SecretGenerations> {
        let asked = self.supply.asking.lock().await;
        if self.generations().current.number() == number && asked.elapsed() > SHORTEST {
            self.supply.ask(asked).await?;
        }
        Ok(self.generations())
    }
}

impl Drop for TokenWatch {
    fn drop(&mut self) {
        self.task.lock().abort();
    }
}

impl Supply {
    async fn go_on(self: Arc<Self>) {
        let mut retry = SHORTEST;
        loop {
            if !self.is_due().await {
                continue;
            }
            let asked = self.asking.lock().await;
            match self.ask(asked).await {
                Ok(()) => {
                    retry = SHORTEST;
                    // Of one that is the same still, there is less left each time.
                    tokio::time::sleep(SHORTEST).await;
                }
                Err(error) => {
                    tracing::warn!(
                        target: "tenantry::cache",
                        %error,
                        "no new token for redis could be had, and the one before runs out"
                    );
                    tokio::time::sleep(retry.mul_f64(0.5 + rand::random::<f64>())).await;
                    retry = (2 * retry).min(LONGEST_RETRY);
                }
            }
        }
    }

    /// Waits until it is time to ask for another token, or says that there is another already.
    async fn is_due(&self) -> bool {
        let known = self.current.borrow().clone();
        let number = known.generations.current.number();
        let left = |now: DateTime<Utc>| (known.expires_at - now).to_std().unwrap_or_default();
        // Not all processes at once.
        let part = DUE - 0.1 * rand::random::<f64>();
        let at_due = left(SystemClock.now()).mul_f64(1.0 - part);
        loop {
            let left = left(SystemClock.now());
            if self.current.borrow().generations.current.number() != number {
                return false;
            }
            if left <= at_due {
                return true;
            }
            tokio::time::sleep((left - at_due).min(NAP)).await;
        }
    }

    /// Asks for a token, and takes it if it is another.
    async fn ask(
        &self,
        mut asked: tokio::sync::MutexGuard<'_, tokio::time::Instant>,
    ) -> Result<()> {
        let token = self.source.token().await;
        *asked = tokio::time::Instant::now();
        let token = token?;
        self.current.send_if_modified(|known| {
            let current = &known.generations.current;
            let is_same = current.secret().expose() == token.secret.expose();
            if !is_same {
                let next = SecretGeneration::new(current.number() + 1, None, token.secret);
                let previous = RetiringGeneration {
                    generation: current.clone(),
                    retire_at: known.expires_at,
                };
                known.generations = SecretGenerations {
                    current: next,
                    previous: Some(previous),
                };
            }
            known.expires_at = token.expires_at;
            !is_same
        });
        Ok(())
    }
}
