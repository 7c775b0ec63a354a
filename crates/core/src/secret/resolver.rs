//! From a reference to the secret.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{Result, Secret, SecretReference};

/// Turns a [`SecretReference`] into the [`Secret`] it names.
///
/// # Contract
///
/// An implementer
///
/// - gives the latest value for a reference without a version, and exactly that version for a
///   reference with one;
/// - serves no path outside the folders, and no vault or variable beyond the names, it was set up
///   for: a reference may come from a tenant's own settings;
/// - neither logs nor stores the value elsewhere, and keeps it out of every error and its source;
/// - answers in bounded time, with its own timeout, and leaves trying again to the caller;
/// - loses nothing when the future is dropped: resolving has no effect but a filled cache.
///
/// A caller resolves anew when it opens a connection and does not keep the secret: so a rotated
/// secret is picked up. Caching is a wrapper's work, see `tenantry-secrets`.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use async_trait::async_trait;
/// use tenantry_core::{Error, ErrorKind, Result, Secret, SecretReference, SecretResolver};
///
/// /// Knows one secret.
/// #[derive(Debug)]
/// struct Single {
///     reference: SecretReference,
///     secret: Arc<Secret>,
/// }
///
/// #[async_trait]
/// impl SecretResolver for Single {
///     async fn resolve(&self, reference: &SecretReference) -> Result<Arc<Secret>> {
///         if *reference == self.reference {
///             return Ok(Arc::clone(&self.secret));
///         }
///         Err(Error::new(ErrorKind::NotFound, "resolve secret").with_subject(reference.to_string()))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let reference: SecretReference = "env:DB_PASSWORD".parse()?;
/// let secret = Arc::new(Secret::new("hunter2"));
/// let resolver: Arc<dyn SecretResolver> = Arc::new(Single { reference, secret });
///
/// assert_eq!(resolver.resolve(&"env:DB_PASSWORD".parse()?).await?.expose(), "hunter2");
/// let error = resolver.resolve(&"env:OTHER".parse()?).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait SecretResolver: Send + Sync + Debug {
    /// Returns the secret that `reference` names.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](crate::ErrorKind::NotFound): nothing is kept there, or it belongs to another
    ///   tenant.
    /// - [`SecretDisabled`](crate::ErrorKind::SecretDisabled),
    ///   [`SecretExpired`](crate::ErrorKind::SecretExpired),
    ///   [`SecretNotYetValid`](crate::ErrorKind::SecretNotYetValid),
    ///   [`SecretDeleted`](crate::ErrorKind::SecretDeleted): it is there, and not to be used.
    /// - [`PermissionDenied`](crate::ErrorKind::PermissionDenied): this process may not read it.
    /// - [`Throttled`](crate::ErrorKind::Throttled),
    ///   [`Unavailable`](crate::ErrorKind::Unavailable): the place took no call or did not answer;
    ///   trying again can succeed.
    /// - [`UnknownVault`](crate::ErrorKind::UnknownVault): this resolver was not set up for the
    ///   vault.
    /// - [`Unsupported`](crate::ErrorKind::Unsupported): this resolver does not serve the
    ///   [scheme](SecretReference::scheme).
    async fn resolve(&self, reference: &SecretReference) -> Result<Arc<Secret>>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, ErrorKind};

    #[derive(Debug)]
    struct Nothing;

    #[async_trait]
    impl SecretResolver for Nothing {
        async fn resolve(&self, reference: &SecretReference) -> Result<Arc<Secret>> {
            let error = Error::new(ErrorKind::Unavailable, "resolve secret");
            Err(error.with_subject(reference.to_string()))
        }
    }

    #[tokio::test]
    async fn resolver_is_object_safe_and_its_future_crosses_threads() {
        let resolver: Arc<dyn SecretResolver> = Arc::new(Nothing);
        let reference: SecretReference = "env:X".parse().unwrap();
        let error = tokio::spawn(async move { resolver.resolve(&reference).await })
            .await
            .unwrap()
            .unwrap_err();
        assert!(error.is_retryable());
        assert_eq!(error.to_string(), "resolve secret env:X: unavailable");
    }
}
