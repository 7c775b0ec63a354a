//! Azurite, the emulator of Azure Blob Storage: found or started, stopped, and started again.

mod programs;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use tenantry_core::{Clock as _, SystemClock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use url::Url;
use uuid::Uuid;

use crate::daemon::Daemon;
use crate::postgres::blocking;
use crate::{Error, Result, Settings, StopMode, Way, ports};

const INSTALL: &str = "run `scripts/install-tools`, or install it (`npm install -g azurite`, which \
     needs Node), or set TENANTRY_TEST_AZURITE_URL to the URL of an account that tests may write to";

/// The account and the key that every Azurite has if nothing is said: they are published.
const DEFAULT_ACCOUNT: &str = "devstoreaccount1";
const DEFAULT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// How an Azurite is set up.
#[derive(Debug, Clone, Default)]
pub struct AzuriteOptions {
    tls: bool,
}

impl AzuriteOptions {
    /// Has it speak HTTPS, and take tokens of Entra ID beside its key.
    ///
    /// Neither the signature of a token nor what it permits is looked at; only who gave it, for whom
    /// it is and how long it is valid.
    #[must_use]
    pub const fn with_tls(mut self) -> Self {
        self.tls = true;
        self
    }
}

/// Azurite, for tests: an account of Blob Storage, on the disk and gone with the value.
///
/// It keeps no lock and no legal hold, and says nothing of it: it takes the headers and ignores them.
/// [`WormFront`](crate::WormFront) before it keeps them.
///
/// One that was started here listens on the loopback alone, has a key of its own, and dies with this
/// process.
///
/// # Examples
///
/// ```no_run
/// use tenantry_testkit::AzuriteServer;
///
/// # async fn example() -> tenantry_testkit::Result<()> {
/// let server = AzuriteServer::start().await?;
/// println!("{} by {}", server.url(), server.account());
/// # Ok(())
/// # }
/// ```
pub struct AzuriteServer {
    url: Url,
    account: String,
    key: String,
    certificate: Option<String>,
    daemon: Option<Arc<Daemon>>,
}

impl AzuriteServer {
    /// Returns the server that all tests of this process share, and finds it at the first call.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<AzuriteServer> = OnceCell::const_new();
        SHARED
            .get_or_try_init(async || Self::find(&Settings::from_env()?).await)
            .await
    }

    /// Finds a server: under the URL of the settings, else from its program on the `PATH` or where
    /// `scripts/install-tools` puts it. There is no way by a container.
    ///
    /// # Errors
    ///
    /// When there is no way to a server ([`Error::is_missing`]), or every way there is fails.
    pub async fn find(settings: &Settings) -> Result<Self> {
        let forced = settings.way();
        if matches!(forced, None | Some(Way::Url)) {
            if let Some(url) = settings.azurite_url() {
                return Self::borrowed(url).await;
            }
            if forced.is_some() {
                return Err(Error::missing("TENANTRY_TEST_AZURITE_URL is not set"));
            }
        }
        Self::from_programs(settings, &AzuriteOptions::default()).await
    }

    /// Starts a server that nobody shares, which a test may stop and break.
    ///
    /// # Errors
    ///
    /// When there is no program to start ([`Error::is_missing`]), or it does not come up.
    pub async fn start() -> Result<Self> {
        Self::start_with(AzuriteOptions::default()).await
    }

    /// Starts a server that nobody shares, set up in another way.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_with(options: AzuriteOptions) -> Result<Self> {
        Self::from_programs(&Settings::from_env()?, &options).await
    }

    /// Returns the URL of the account.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Returns the URL of the account with its key in it, as `TENANTRY_TEST_AZURITE_URL` takes it.
    #[must_use]
    pub fn url_with_key(&self) -> String {
        let key =
            percent_encoding::utf8_percent_encode(&self.key, percent_encoding::NON_ALPHANUMERIC);
        let login = format!("://{}:{key}@", self.account);
        self.url.as_str().replacen("://", &login, 1)
    }

    /// Returns host and port, as [`DelayProxy::start`](crate::DelayProxy::start) takes them.
    #[must_use]
    pub fn address(&self) -> String {
        let host = self.url.host_str().unwrap_or("localhost");
        format!("{host}:{}", self.url.port().unwrap_or(10_000))
    }

    /// Returns the URL of the account with another address in the server's place, such as that of a
    /// proxy.
    ///
    /// # Errors
    ///
    /// When the address is none.
    pub fn url_through(&self, address: std::net::SocketAddr) -> Result<String> {
        ports::lead_through(self.url(), address)
    }

    /// Returns the name of the account.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.account
    }

    /// Returns the key of the account, in Base64.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the certificate that a client has to trust, in PEM, where the server speaks HTTPS.
    #[must_use]
    pub fn certificate_pem(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// Returns a token as Entra ID gives one, which this server takes for an hour: it looks at nothing
    /// that would need a key.
    #[must_use]
    pub fn token(&self) -> String {
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let now = SystemClock.now().timestamp();
        let (from, until) = (now - 60, now + 3_600);
        let claims = format!(
            r#"{{"aud":"https://storage.azure.com","iss":"https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/","iat":{from},"nbf":{from},"exp":{until},"oid":"23657296-5cd5-45b0-a809-d972a7f4dfe1","tid":"ab1f708d-50f6-404c-a006-d71b2ac7a606"}}"#
        );
        format!(
            "{}.{}.c2ln",
            encode(r#"{"alg":"none","typ":"JWT"}"#),
            encode(&claims)
        )
    }

    /// Stops the server; returns when it has stopped. What it keeps is on the disk.
    ///
    /// # Errors
    ///
    /// When the server belongs to somebody else, or runs no more.
    pub async fn stop(&self, mode: StopMode) -> Result<()> {
        let daemon = Arc::clone(self.daemon.as_ref().ok_or_else(not_ours)?);
        blocking(move || daemon.stop(mode)).await
    }

    /// Starts the server again on the same port, after stopping it if it runs; returns when it
    /// answers.
    ///
    /// # Errors
    ///
    /// When the server belongs to somebody else, or does not come up.
    pub async fn restart(&self) -> Result<()> {
        let daemon = Arc::clone(self.daemon.as_ref().ok_or_else(not_ours)?);
        blocking(move || daemon.restart()).await?;
        self.until_ready().await
    }

    async fn borrowed(url: &str) -> Result<Self> {
        let invalid = "TENANTRY_TEST_AZURITE_URL is no URL of an account: write \
                       http://127.0.0.1:10000/devstoreaccount1, with account:key@ before the host if \
                       the key is not that of every Azurite";
        let mut url = Url::parse(url).map_err(|error| Error::because(invalid, error))?;
        let account = url.path().trim_matches('/').to_owned();
        if url.scheme() != "http" || url.host().is_none() || account.is_empty() {
            return Err(Error::new(invalid));
        }
        let key = match url.password() {
            None => DEFAULT_KEY.to_owned(),
            Some(key) => percent_encoding::percent_decode_str(key)
                .decode_utf8()
                .map_err(|error| Error::because(invalid, error))?
                .into_owned(),
        };
        let without_login = url.set_username("").and_then(|()| url.set_password(None));
        without_login.map_err(|()| Error::new(invalid))?;
        let server = Self {
            url,
            account,
            key,
            certificate: None,
            daemon: None,
        };
        server.until_ready().await?;
        Ok(server)
    }

    async fn from_programs(settings: &Settings, options: &AzuriteOptions) -> Result<Self> {
        let missing = || Error::missing(format!("no program `azurite-blob` found: {INSTALL}"));
        let folder = programs::find(settings).ok_or_else(missing)?;
        let certificate = options.tls.then(certificate).transpose()?;
        let mut attempts = 3;
        loop {
            // Another process may take the port between the look and the start.
            let port = ports::free()?;
            let key = BASE64_STANDARD.encode([*Uuid::new_v4().as_bytes(); 2].concat());
            let (scheme, tls) = match options.tls {
                true => ("https", "--oauth basic --cert cert.pem --key key.pem"),
                false => ("http", ""),
            };
            let url = format!("{scheme}://127.0.0.1:{port}/{DEFAULT_ACCOUNT}");
            let login = format!("{DEFAULT_ACCOUNT}:{key}");
            let (folder, settings, pair) = (folder.clone(), settings.clone(), certificate.clone());
            let started = blocking(move || {
                let files = pair
                    .map(|(certificate, key)| vec![("cert.pem", certificate), ("key.pem", key)]);
                let files = files.unwrap_or_default();
                programs::start(folder, &settings, port, &login, files, tls)
            });
            let server = Self {
                url: Url::parse(&url)
                    .map_err(|error| Error::because("cannot write the URL of a server", error))?,
                account: DEFAULT_ACCOUNT.to_owned(),
                key,
                certificate: certificate
                    .as_ref()
                    .map(|(certificate, _)| certificate.clone()),
                daemon: Some(Arc::new(started.await?)),
            };
            let Err(error) = server.until_ready().await else {
                return Ok(server);
            };
            attempts -= 1;
            if attempts == 0 {
                let log = server
                    .daemon
                    .as_ref()
                    .map(|it| it.log())
                    .unwrap_or_default();
                return Err(Error::because(
                    format!("the log of Azurite says\n{log}"),
                    error,
                ));
            }
        }
    }

    /// Waits until something answers; over HTTPS, until something takes a connection.
    async fn until_ready(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            let knocked = match self.url.scheme() {
                "http" => self.knock().await,
                _ => TcpStream::connect(self.address()).await.map(drop),
            };
            let Err(error) = knocked else {
                return Ok(());
            };
            if started.elapsed() > PATIENCE {
                return Err(Error::because("Azurite does not answer", error));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn knock(&self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(self.address()).await?;
        let request = "GET /?comp=list HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        let mut answer = [0; 9];
        stream.read_exact(&mut answer).await?;
        match &answer == b"HTTP/1.1 " {
            true => Ok(()),
            false => Err(std::io::ErrorKind::InvalidData.into()),
        }
    }
}

impl fmt::Debug for AzuriteServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzuriteServer")
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

fn not_ours() -> Error {
    Error::new("a server under a URL is not ours to stop")
}

/// Returns a certificate for the loopback that signs itself, and its key.
fn certificate() -> Result<(String, String)> {
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names)
        .map_err(|error| Error::because("cannot make a certificate", error))?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem()))
}
