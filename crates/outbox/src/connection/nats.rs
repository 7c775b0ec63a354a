//! Connections to NATS.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_nats::{Auth, Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError};
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use tenantry_core::{Error, ErrorKind, Result, Secret};
use tokio::sync::watch;

use super::access::{Access, connection_settings};
use super::tls::{self, Trust};
use super::{SILENT, UNREACHABLE};

const CONNECT: &str = "connect to nats";

/// How often a connection over which nothing comes is tried; after three times in vain there is another one.
const BETWEEN_PINGS: Duration = Duration::from_secs(10);

/// How many refusals are kept until somebody asks for them.
const MOST_REFUSALS: usize = 64;

/// Where a NATS server is, and who asks.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tenantry_core::Secret;
/// use tenantry_outbox::NatsConnection;
///
/// let connection = NatsConnection::new("tls://nats.internal:4222")
///     .with_user("billing")
///     .with_password(Secret::new("from a vault"))
///     .with_timeout(Duration::from_secs(5));
/// # drop(connection);
/// ```
#[derive(Clone)]
pub struct NatsConnection {
    access: Access<Trust>,
}

impl NatsConnection {
    /// Returns the connection to a URL: `nats://` or `tls://`, perhaps with user and password or with a token, host
    /// and port; of a cluster, several with commas between them. A password without a user is a token.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            access: Access::new(url.into()),
        }
    }

    /// Refuses what can never work.
    pub(crate) fn check(&self) -> Result<()> {
        self.access.check(CONNECT)?;
        if !self.is_tls() && !self.begins("nats://") {
            // Without the text, in which a password may stand.
            return Err(invalid(
                "expected nats://[user:password@]host:port or tls://, several with commas",
            ));
        }
        if !self.is_tls() && !self.access.trust.is_of_the_system() {
            return Err(invalid(
                "an authority is trusted, or a certificate shown, and no TLS is spoken: begin with tls://",
            ));
        }
        self.access.trust.check(CONNECT)
    }

    fn is_tls(&self) -> bool {
        self.begins("tls://")
    }

    fn begins(&self, scheme: &str) -> bool {
        let mut urls = self.access.url.split(',').map(str::trim);
        urls.all(|url| url.starts_with(scheme))
    }

    /// Connects; the connection comes back by itself from then on.
    pub(crate) async fn open(&self, name: &str) -> Result<NatsLink> {
        self.check()?;
        let current = self.access.password.follow().await?;
        let outcome = self.open_with(name, &current).await;
        self.access.trust.heard(outcome.as_ref().err()).await;
        if matches!(&outcome, Err(error) if error.kind() == ErrorKind::AuthenticationFailed)
            && current.is_another_after_refusal().await?
        {
            return self.open_with(name, &current).await;
        }
        outcome
    }

    async fn open_with(&self, name: &str, current: &super::login::Current) -> Result<NatsLink> {
        let state = Arc::new(State::new());
        let seen = Arc::clone(&state);
        let urls = self.addresses()?;
        // Where none is handed over the client takes whichever cryptography the process has set up, and panics where
        // there are two and none is set up; and it begins TLS with a server that asks for it, whatever the URL says.
        let tls = match self.is_tls() {
            true => self.access.trust.config(CONNECT).await?,
            false => tls::config_for_nobody(CONNECT)?,
        };
        let (of_url, password) = (Login::of(&urls), current.clone());
        let user = self.access.user.clone().or(of_url.user);
        let options = ConnectOptions::with_auth_callback(move |_nonce| {
            let secret = password.secret();
            let secret = secret.as_deref().map(Secret::expose);
            let secret = secret.or(of_url.password.as_deref()).map(str::to_owned);
            let mut auth = Auth::new();
            auth.username.clone_from(&user);
            match user {
                Some(_) => auth.password = secret,
                None => auth.token = secret,
            }
            std::future::ready(Ok(auth))
        })
        .name(name)
        .connection_timeout(self.access.timeout)
        .request_timeout(Some(self.access.timeout))
        .ping_interval(BETWEEN_PINGS)
        // What is sent while there is no connection would leave much later, when it was given up for long.
        .client_capacity(256)
        .reconnect_delay_callback(|attempts| {
            let doublings = u32::try_from(attempts).unwrap_or(u32::MAX).min(7);
            Duration::from_millis(20) * (1 << doublings)
        })
        .event_callback(move |event| {
            seen.notice(&event);
            std::future::ready(())
        })
        .tls_client_config(tls)
        // Those of the cluster that the server tells of are named without a scheme.
        .require_tls(self.is_tls());
        let connecting = options.connect(self.bare_urls());
        let client = tokio::time::timeout(self.access.timeout.saturating_mul(2), connecting).await;
        let client =
            client.map_err(|_| Error::new(ErrorKind::Unavailable, CONNECT).with_detail(SILENT))?;
        let client = client.map_err(|error| {
            if let Some(cause) = tls::cause(&error) {
                return match self.is_tls() {
                    true => tls::refused(cause, CONNECT),
                    false => Error::new(ErrorKind::TlsFailed, CONNECT)
                        .with_detail("the server asks for TLS: begin with tls://")
                        .with_source(cause.clone()),
                };
            }
            let (kind, detail) = match error.kind() {
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => (
                    ErrorKind::AuthenticationFailed,
                    "the server takes neither user nor password: correct the settings",
                ),
                ConnectErrorKind::Tls => (
                    ErrorKind::TlsFailed,
                    "no encrypted connection: see that the server speaks TLS and its authority is trusted",
                ),
                ConnectErrorKind::ServerParse => {
                    (ErrorKind::InvalidSettings, "the URL is none of a server")
                }
                _ => (ErrorKind::Unavailable, UNREACHABLE),
            };
            Error::new(kind, CONNECT).with_detail(detail).with_source(error)
        })?;
        Ok(NatsLink { client, state })
    }

    /// Returns the URLs without a login, which the client has apart and would write to its log with them.
    fn bare_urls(&self) -> Vec<String> {
        let bare = |url: &str| match url.trim().split_once("://") {
            Some((scheme, rest)) => {
                let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
                format!("{scheme}://{host}")
            }
            None => url.trim().to_owned(),
        };
        self.access.url.split(',').map(bare).collect()
    }

    fn addresses(&self) -> Result<Vec<ServerAddr>> {
        let parsed = self.access.url.split(',').map(|url| url.trim().parse());
        parsed
            .collect::<std::result::Result<_, _>>()
            // Its error may repeat the URL, and with it a password.
            .map_err(|_| invalid("the URL is none of a server"))
    }
}

connection_settings!(NatsConnection);

/// The login that stands in a URL, which the client does not look for.
struct Login {
    user: Option<String>,
    password: Option<String>,
}

impl Login {
    /// Returns that of the first one, where a user without a password is a token.
    fn of(urls: &[ServerAddr]) -> Self {
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let first = urls.first();
        let user = first.and_then(|url| url.username()).map(plain);
        let password = first.and_then(|url| url.password()).map(plain);
        match password {
            None => Self {
                user: None,
                password: user,
            },
            password => Self { user, password },
        }
    }
}

fn invalid(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidSettings, CONNECT).with_detail(detail)
}

/// A connection, and what is heard of it.
#[derive(Clone)]
pub(crate) struct NatsLink {
    pub(crate) client: Client,
    state: Arc<State>,
}

struct State {
    /// Counts how often the connection broke.
    breaks: watch::Sender<u64>,
    is_login_refused: AtomicBool,
    /// What the server has said, and when, of subjects that the user may not publish to.
    refusals: Mutex<Vec<(Instant, String)>>,
}

impl State {
    fn new() -> Self {
        Self {
            breaks: watch::Sender::new(0),
            is_login_refused: AtomicBool::new(false),
            refusals: Mutex::default(),
        }
    }

    fn notice(&self, event: &Event) {
        match event {
            Event::Connected => self.is_login_refused.store(false, Ordering::Relaxed),
            Event::Disconnected | Event::Closed => self.breaks.send_modify(|breaks| *breaks += 1),
            Event::ServerError(ServerError::AuthorizationViolation) => {
                self.is_login_refused.store(true, Ordering::Relaxed);
            }
            Event::ClientError(error) if error.to_string().contains("authorization violation") => {
                self.is_login_refused.store(true, Ordering::Relaxed);
            }
            Event::ServerError(ServerError::Other(text)) if is_refusal(text) => {
                let mut refusals = self.refusals.lock();
                if refusals.len() == MOST_REFUSALS {
                    refusals.remove(0);
                }
                refusals.push((Instant::now(), text.clone()));
            }
            _ => {}
        }
    }

    /// Returns whether a subject was refused since then, and forgets all that was said of it.
    fn take_refusal(&self, subject: &str, since: Instant) -> bool {
        let quoted = format!("\"{subject}\"");
        let mut is_refused = false;
        self.refusals.lock().retain(|(at, text)| {
            let is_of_subject = text.contains(&quoted);
            is_refused |= is_of_subject && *at >= since;
            !is_of_subject
        });
        is_refused
    }
}

fn is_refusal(text: &str) -> bool {
    text.to_ascii_lowercase().contains("permissions violation")
}

impl NatsLink {
    /// Returns whether there is a connection now.
    pub(crate) fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Returns how often the connection broke.
    pub(crate) fn breaks(&self) -> u64 {
        *self.state.breaks.borrow()
    }

    /// Waits until the connection has broken more often than that.
    pub(crate) async fn breaks_after(&self, breaks: u64) {
        let mut changed = self.state.breaks.subscribe();
        // It lives as long as the connection.
        let _ = changed.wait_for(|now| *now > breaks).await;
    }

    /// Returns whether the server refuses the login, since the connection broke.
    pub(crate) fn is_login_refused(&self) -> bool {
        self.state.is_login_refused.load(Ordering::Relaxed)
    }

    /// Returns whether the server has refused to publish to a subject since then, and forgets it.
    pub(crate) fn take_refusal(&self, subject: &str, since: Instant) -> bool {
        self.state.take_refusal(subject, since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_nothing_of_what_is_asked_after_it() {
        let state = State::new();
        let before = Instant::now();
        let text = "Permissions Violation for Publish to \"events.a\"".to_owned();
        state.notice(&Event::ServerError(ServerError::Other(text)));
        let after = Instant::now() + Duration::from_nanos(1);
        assert!(!state.take_refusal("events.b", before));
        assert!(!state.take_refusal("events.a", after));
        // It is forgotten then.
        assert!(!state.take_refusal("events.a", before));
        let text = "Permissions Violation for Publish to \"events.a\"".to_owned();
        state.notice(&Event::ServerError(ServerError::Other(text)));
        assert!(state.take_refusal("events.a", before));
        assert!(!state.take_refusal("events.a", before));
    }
}
