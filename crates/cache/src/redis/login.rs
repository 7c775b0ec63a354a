//! Who a process says it is, with a password that may change.

use std::fmt;
use std::sync::Arc;

use redis::ConnectionInfo;
use tenantry_core::{
    Error, ErrorKind, Result, Secret, SecretGenerations, SecretReference, SecretSource, SecretWatch,
};
use tokio::sync::OnceCell;

use super::tls::Tls;
use super::tokens::{RedisTokens, TokenWatch};

/// Where the password comes from.
#[derive(Clone)]
pub(super) enum Password {
    /// The URL, if there is any.
    OfUrl,
    Given(Arc<Secret>),
    From(Arc<dyn SecretSource>, SecretReference),
    Tokens(Arc<dyn RedisTokens>),
}

/// What follows a password.
pub(super) enum Watch {
    Secret(Arc<dyn SecretWatch>),
    Token(TokenWatch),
}

impl Watch {
    pub(super) fn generations(&self) -> SecretGenerations {
        match self {
            Self::Secret(watch) => watch.generations(),
            Self::Token(watch) => watch.generations(),
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.generations().current.number()
    }

    /// Waits until the password is another than that of the number.
    pub(super) async fn changed_from(&self, number: u64) -> SecretGenerations {
        match self {
            Self::Secret(watch) => watch.changed_from(number).await,
            Self::Token(watch) => watch.changed_from(number).await,
        }
    }

    /// Says whether connections have to show the new one while they live.
    pub(super) const fn runs_out(&self) -> bool {
        matches!(self, Self::Token(_))
    }

    async fn report_failure(&self, number: u64) -> Result<SecretGenerations> {
        match self {
            Self::Secret(watch) => watch.report_failure(number).await,
            Self::Token(watch) => watch.report_failure(number).await,
        }
    }

    fn refusal(&self) -> String {
        match self {
            Self::Secret(watch) => format!(
                "the server takes no password that {} has or had: correct the secret, or the user's rules on \
                 the server",
                watch.reference()
            ),
            Self::Token(_) => {
                "the server takes none of the tokens: see that the user is that of the identity, \
                               and has access to the server"
                    .to_owned()
            }
        }
    }
}

/// All that a connection begins with.
pub(super) struct Login {
    /// Without a password that comes from elsewhere.
    info: ConnectionInfo,
    tls: Option<Tls>,
    password: Password,
    /// Since the password was asked for first.
    watch: OnceCell<Watch>,
}

impl Login {
    pub(super) fn new(info: ConnectionInfo, password: Password) -> Self {
        Self {
            info,
            tls: None,
            password,
            watch: OnceCell::new(),
        }
    }

    /// Says that it goes over TLS.
    pub(super) fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    pub(super) const fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    pub(super) const fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    fn with(&self, password: &Secret) -> ConnectionInfo {
        let login = self.info.redis_settings().clone();
        let login = login.set_password(password.expose());
        self.info.clone().set_redis_settings(login)
    }

    /// Returns what follows the password; nothing if it stays, or before it was asked for first.
    pub(super) fn watch(&self) -> Option<&Watch> {
        self.watch.get()
    }

    /// Opens something by it; refused, it is tried with the password before, and then with what the
    /// vault has now.
    pub(super) async fn open<T, F>(&self, open: impl Fn(ConnectionInfo) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let watch = match &self.password {
            Password::OfUrl => return open(self.info.clone()).await,
            Password::Given(password) => return open(self.with(password)).await,
            Password::From(source, reference) => {
                let watched = async || Ok(Watch::Secret(source.watch(reference).await?));
                self.watch.get_or_try_init(watched).await?
            }
            Password::Tokens(source) => {
                let watched =
                    async || Ok(Watch::Token(TokenWatch::open(Arc::clone(source)).await?));
                self.watch.get_or_try_init(watched).await?
            }
        };
        let SecretGenerations { current, previous } = watch.generations();
        let before = previous.map(|previous| previous.generation);
        let mut refused = None;
        for known in [Some(&current), before.as_ref()].into_iter().flatten() {
            match open(self.with(known.secret())).await {
                Err(error) if error.kind() == ErrorKind::AuthenticationFailed => {
                    refused.get_or_insert(error);
                }
                outcome => return outcome,
            }
        }
        let now = watch.report_failure(current.number()).await?.current;
        if now.number() != current.number() {
            return open(self.with(now.secret())).await;
        }
        Err(refused
            .unwrap_or_else(|| Error::new(ErrorKind::AuthenticationFailed, "connect to redis"))
            .with_detail(watch.refusal()))
    }
}

impl fmt::Debug for Login {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("address", &self.info.addr().to_string())
            .finish_non_exhaustive()
    }
}
