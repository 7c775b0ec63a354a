//! What is said alike of every broker: where it is, who asks, whom one trusts, and how long an answer may take.

use std::time::Duration;

use tenantry_core::{Error, ErrorKind, Result};

use super::login::Password;

/// Where a server is, and who asks; `T` says whom one trusts over TLS.
#[derive(Clone)]
pub(super) struct Access<T> {
    pub(super) url: String,
    pub(super) user: Option<String>,
    pub(super) password: Password,
    pub(super) trust: T,
    pub(super) timeout: Duration,
}

impl<T: Default> Access<T> {
    pub(super) fn new(url: String) -> Self {
        Self {
            url,
            user: None,
            password: Password::OfUrl,
            trust: T::default(),
            timeout: Duration::from_secs(5),
        }
    }
}

impl<T> Access<T> {
    /// Refuses what leaves no time for an answer.
    pub(super) fn check(&self, operation: &'static str) -> Result<()> {
        match self.timeout.is_zero() {
            true => Err(Error::new(ErrorKind::InvalidSettings, operation)
                .with_detail("no time is given for an answer")),
            false => Ok(()),
        }
    }
}

/// Gives a connection with a field `access` the settings that all of them have; those of TLS where a feature is on.
macro_rules! connection_settings {
    ($connection:ident $(, $tls:meta)?) => {
        impl $connection {
            /// Sets the user, in place of the URL's.
            #[must_use]
            pub fn with_user(mut self, user: impl Into<String>) -> Self {
                self.access.user = Some(user.into());
                self
            }

            /// Sets the password, in place of the URL's.
            #[must_use]
            pub fn with_password(mut self, password: ::tenantry_core::Secret) -> Self {
                let password = ::std::sync::Arc::new(password);
                self.access.password = $crate::connection::Password::Given(password);
                self
            }

            /// Takes the password from a secret, in place of the URL's: the newest one is shown with each connection.
            #[must_use]
            pub fn with_password_from(
                mut self,
                source: ::std::sync::Arc<dyn ::tenantry_core::SecretSource>,
                reference: ::tenantry_core::SecretReference,
            ) -> Self {
                self.access.password = $crate::connection::Password::From(source, reference);
                self
            }

            /// Trusts another authority beside those of the system, in PEM, for a server that is reached over TLS.
            $(#[cfg($tls)])?
            #[must_use]
            pub fn with_ca_certificate(mut self, pem: impl Into<String>) -> Self {
                self.access.trust.add(pem.into());
                self
            }

            /// Shows a certificate, with its chain, to a server that asks its clients for one, and its key, both in PEM.
            $(#[cfg($tls)])?
            #[must_use]
            pub fn with_client_certificate(
                mut self,
                certificate: impl Into<String>,
                key: ::tenantry_core::Secret,
            ) -> Self {
                let identity = $crate::connection::identity::Identity::given(certificate.into(), key);
                self.access.trust.show(identity);
                self
            }

            /// Says where the certificate is that is shown to a server which asks for one, and where its key is: the
            /// newest of them with each connection. Both may be in one secret, and change at once then; while only one
            /// of two has changed, what was shown before goes on.
            $(#[cfg($tls)])?
            #[must_use]
            pub fn with_client_certificate_from(
                mut self,
                source: ::std::sync::Arc<dyn ::tenantry_core::SecretSource>,
                certificate: ::tenantry_core::SecretReference,
                key: ::tenantry_core::SecretReference,
            ) -> Self {
                let identity = $crate::connection::identity::Identity::from(source, certificate, key);
                self.access.trust.show(identity);
                self
            }

            /// Sets how long a connection, and each answer, may take; 5 s without it.
            #[must_use]
            pub const fn with_timeout(mut self, timeout: ::std::time::Duration) -> Self {
                self.access.timeout = timeout;
                self
            }

            pub(crate) const fn timeout(&self) -> ::std::time::Duration {
                self.access.timeout
            }
        }

        impl ::std::fmt::Debug for $connection {
            /// Without URL and password.
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(stringify!($connection))
                    .field("user", &self.access.user)
                    .field("timeout", &self.access.timeout)
                    .finish_non_exhaustive()
            }
        }
    };
}

pub(super) use connection_settings;
