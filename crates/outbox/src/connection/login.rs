use std::sync::Arc;

use tenantry_core::{Result, Secret, SecretReference, SecretSource, SecretWatch};

/// Where a password comes from.
#[derive(Clone, Default)]
pub(crate) enum Password {
    /// The URL, if there is any.
    #[default]
    OfUrl,
    Given(Arc<Secret>),
    From(Arc<dyn SecretSource>, SecretReference),
}

/// A password, the newest there is at any time.
#[derive(Clone)]
pub(crate) enum Current {
    OfUrl,
    Given(Arc<Secret>),
    Watched(Arc<dyn SecretWatch>),
}

impl Password {
    /// Begins to follow it.
    pub(crate) async fn follow(&self) -> Result<Current> {
        Ok(match self {
            Self::OfUrl => Current::OfUrl,
            Self::Given(secret) => Current::Given(Arc::clone(secret)),
            Self::From(source, reference) => Current::Watched(source.watch(reference).await?),
        })
    }
}

impl Current {
    /// Returns the password; nothing where the URL has it.
    pub(crate) fn secret(&self) -> Option<Arc<Secret>> {
        match self {
            Self::OfUrl => None,
            Self::Given(secret) => Some(Arc::clone(secret)),
            Self::Watched(watch) => Some(Arc::clone(watch.generations().current.secret())),
        }
    }

    /// Asks the vault anew, after the broker has refused what there was.
    pub(crate) async fn was_refused(&self) -> Result<()> {
        if let Self::Watched(watch) = self {
            let number = watch.generations().current.number();
            watch.report_failure(number).await?;
        }
        Ok(())
    }

    /// The same, and returns whether there is another password by then.
    #[cfg(any(feature = "nats", feature = "rabbitmq"))]
    pub(crate) async fn is_another_after_refusal(&self) -> Result<bool> {
        let before = self.secret();
        self.was_refused().await?;
        Ok(match (&before, &self.secret()) {
            (Some(before), Some(now)) => !Arc::ptr_eq(before, now),
            _ => false,
        })
    }
}
