//! The network between a client and a server, as slow and as broken as a test wants it.

mod link;
mod switches;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::{Error, Result, ports};
use switches::{CutPoint, Switches};

/// How a [`DelayProxy`] treats what passes.
#[derive(Debug, Clone, Default)]
pub struct ProxyOptions {
    delay: Duration,
}

impl ProxyOptions {
    /// Holds every answer back for this long, as a longer cable would: a large answer is late,
    /// but no slower. The clock of the runtime ticks once a millisecond.
    #[must_use]
    pub const fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// A TCP proxy on the loopback that delays, counts, pauses and cuts.
///
/// It understands no protocol, so it stands in front of PostgreSQL as well as of any other server,
/// as long as the connection is not encrypted where bytes are to be matched.
/// It belongs to the runtime it was started in; dropping it cuts all connections.
///
/// # Examples
///
/// ```
/// use tenantry_testkit::{DelayProxy, ProxyOptions};
/// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let echo = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let server_address = echo.local_addr()?.to_string();
/// # tokio::spawn(async move {
/// #     let (mut stream, _) = echo.accept().await.unwrap();
/// #     let (mut reader, mut writer) = stream.split();
/// #     tokio::io::copy(&mut reader, &mut writer).await
/// # });
/// let proxy = DelayProxy::start(&server_address, ProxyOptions::default()).await?;
/// let mut client = tokio::net::TcpStream::connect(proxy.address()).await?;
/// for _ in 0..2 {
///     client.write_all(b"ping").await?;
///     client.read_exact(&mut [0; 4]).await?;
/// }
/// assert_eq!(proxy.round_trips(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DelayProxy {
    address: SocketAddr,
    switches: Arc<Switches>,
    accepting: JoinHandle<()>,
}

impl DelayProxy {
    /// Starts a proxy in front of `server`, given as host and port.
    ///
    /// # Errors
    ///
    /// When the loopback has no free port.
    pub async fn start(server: &str, options: ProxyOptions) -> Result<Self> {
        let failed = |error| Error::because("cannot listen on the loopback", error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let switches = Arc::new(Switches::default());
        let accepting = tokio::spawn(accept(
            listener,
            server.to_owned(),
            options.delay,
            Arc::clone(&switches),
        ));
        Ok(Self {
            address,
            switches,
            accepting,
        })
    }

    /// Returns where clients connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns a server's URL with the proxy in the server's place.
    ///
    /// # Errors
    ///
    /// When `url` is no URL with a host.
    pub fn url(&self, url: &str) -> Result<String> {
        ports::lead_through(url, self.address)
    }

    /// Returns how many round trips were completed on all connections.
    ///
    /// A round trip is an answer that reaches the client after the client has sent something.
    /// What is sent before that answer, however many pieces it comes in, is part of the same; what
    /// is never answered, such as a farewell, counts for nothing. With a delay the count is exact;
    /// without one, an answer may overtake the second half of a request.
    #[must_use]
    pub fn round_trips(&self) -> u64 {
        self.switches.round_trips()
    }

    /// Returns how many connections were accepted.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.switches.connections()
    }

    /// Cuts all connections; new ones are welcome.
    pub fn cut(&self) {
        self.switches.cut();
    }

    /// Closes every new connection at once, until [`accept`](Self::accept).
    pub fn refuse(&self) {
        self.switches.refuse(true);
    }

    /// Takes new connections again.
    pub fn accept(&self) {
        self.switches.refuse(false);
    }

    /// Holds everything back in both directions, as a network that has stopped delivering, until
    /// [`resume`](Self::resume).
    pub fn pause(&self) {
        self.switches.pause(true);
    }

    /// Delivers what was held back, and everything after it.
    pub fn resume(&self) {
        self.switches.pause(false);
    }

    /// Loses the answer to the next message that contains `needle`: the server gets it and
    /// answers, and at that answer the client's connection is cut.
    ///
    /// So whatever the message asked for is done by the time the client sees the cut.
    pub fn cut_after(&self, needle: impl Into<Vec<u8>>) {
        self.switches.arm(CutPoint::AfterServer, needle.into());
    }

    /// Cuts the connection which sends the next message that contains `needle`, before the server
    /// gets the end of it.
    pub fn cut_before(&self, needle: impl Into<Vec<u8>>) {
        self.switches.arm(CutPoint::BeforeServer, needle.into());
    }

    /// Returns whether the cut that was asked for last is still to come.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.switches.is_armed()
    }
}

impl Drop for DelayProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.switches.cut();
    }
}

async fn accept(listener: TcpListener, server: String, delay: Duration, switches: Arc<Switches>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        if switches.refuses() {
            continue;
        }
        switches.count_connection();
        let cut = switches.next_cut();
        let (server, switches) = (server.clone(), Arc::clone(&switches));
        tokio::spawn(async move {
            tokio::select! {
                () = cut => {}
                // A link that ends by itself has closed both sides; there is nobody to tell.
                _ = link::run(client, &server, delay, &switches) => {}
            }
        });
    }
}
