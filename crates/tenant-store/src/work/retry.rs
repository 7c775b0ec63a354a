use std::error::Error as StdError;
use std::time::Duration;

use tenantry_core::Error;

/// How often [`TenantScope::run`](crate::TenantScope::run) tries a unit of work again.
///
/// Waits grow by doubling, with full jitter
/// (<https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>).
///
/// # Examples
///
/// ```
#[doc = include_str!("../examples/open.md")]
/// use std::time::Duration;
/// use tenantry_store::{RetryPolicy, WorkOptions};
///
/// let mut ada = invoice("Ada", 12_000);
/// tenant.repository().insert(&mut ada).await?;
///
/// let policy = RetryPolicy::new()
///     .with_attempts(3)
///     .with_waits(Duration::from_millis(10), Duration::from_millis(200));
/// let total = tenant
///     .run(policy, WorkOptions::default(), |work| async move {
///         let invoices = work.repository::<Invoice>();
///         let mut invoice = invoices.get(ada.id).await?;      // read anew in each attempt
///         invoice.total_cents += 500;
///         invoices.update(&mut invoice).await?;
///         Result::Ok(invoice.total_cents)
///     })
///     .await?;
/// assert_eq!(total, 12_500);
#[doc = include_str!("../examples/close.md")]
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    pub(crate) attempts: u32,
    pub(crate) first_wait: Duration,
    pub(crate) longest_wait: Duration,
}

impl RetryPolicy {
    /// Returns a policy of five attempts, with waits from 5 ms up to 500 ms.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            attempts: 5,
            first_wait: Duration::from_millis(5),
            longest_wait: Duration::from_millis(500),
        }
    }

    /// Sets how often the work is tried in all, at least once.
    #[must_use]
    pub const fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets the upper bound of the first wait and of all waits.
    #[must_use]
    pub const fn with_waits(mut self, first: Duration, longest: Duration) -> Self {
        self.first_wait = first;
        self.longest_wait = longest;
        self
    }

    /// Returns how long to wait after the given failed attempt, counted from 1.
    pub(crate) fn wait(&self, attempt: u32) -> Duration {
        let doubled = self
            .first_wait
            .saturating_mul(1 << attempt.saturating_sub(1).min(20));
        doubled
            .min(self.longest_wait)
            .mul_f64(rand::random::<f64>())
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new()
    }
}

/// An error of a service that can tell whether trying again helps.
///
/// # Examples
///
/// ```
/// use tenantry_store::{Error, ErrorKind, Retryable};
///
/// #[derive(Debug)]
/// enum BillingError {
///     LimitReached,
///     Store(Error),
/// }
///
/// impl From<Error> for BillingError {
///     fn from(error: Error) -> Self {
///         Self::Store(error)
///     }
/// }
///
/// impl Retryable for BillingError {
///     fn is_retryable(&self) -> bool {
///         match self {
///             Self::LimitReached => false,
///             Self::Store(error) => error.is_retryable(),
///         }
///     }
/// }
///
/// let deadlock = Error::new(ErrorKind::Deadlock, "update");
/// assert!(BillingError::from(deadlock).is_retryable());       // `run` tries again
/// assert!(!BillingError::LimitReached.is_retryable());        // and here it does not
/// ```
pub trait Retryable {
    /// Returns whether the same work can succeed when it is run again from its start.
    fn is_retryable(&self) -> bool;
}

impl Retryable for Error {
    fn is_retryable(&self) -> bool {
        Self::is_retryable(self)
    }
}

impl Retryable for Box<dyn StdError + Send + Sync> {
    fn is_retryable(&self) -> bool {
        self.downcast_ref::<Error>()
            .is_some_and(Error::is_retryable)
    }
}
