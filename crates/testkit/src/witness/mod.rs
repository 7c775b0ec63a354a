//! A witness of every statement on its way to a server.

mod catalog;
mod conversation;
mod frontend;
mod ledger;
mod library;
mod link;
mod reading;
mod report;
mod verdict;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

pub use report::{Violation, WitnessReport};

use crate::{Error, Result, ports};
use catalog::Catalogs;
use ledger::Ledger;
use library::Library;

/// The `application_name` of a connection whose statements may leave the tenant out.
const WALL_TWO_ALONE: &str = "wall-two-alone";

/// Watches every statement on its way to a PostgreSQL server, and takes note of those that touch a
/// protected table without binding the tenant of their transaction.
///
/// Row-level security hides a forgotten `tenant_id = $n` from every other test: the rows are right,
/// and only the second of two walls stands. The witness is a proxy in front of the server; what
/// passes it is judged by its text, its arguments and the server's own catalog.
///
/// A statement is held to a tenant when its role is none that works across tenants (a superuser,
/// the owner role, the platform role) and it names a table that is protected, or a view or a
/// function that does. Then, in each sub-query, every such table needs a condition
/// `tenant_id = $n` that must be true for its rows, or an equality with the `tenant_id` of a table
/// beside it that has one; a row that is stored needs `$n` for its `tenant_id`; and the argument
/// must be the tenant of the transaction, or the one that the statement itself enters. A tenant
/// written into the text is not bound. What cannot be shown to be bound is a violation.
///
/// It belongs to the runtime it was started in; dropping it cuts all connections. It offers no
/// TLS, and tells so to clients that ask.
///
/// # Examples
///
/// ```
/// use tenantry_testkit::{PostgresServer, StatementWitness, TestDatabase};
/// # use sqlx::{Connection as _, Executor as _};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = PostgresServer::shared().await?;
/// let witness = StatementWitness::start(server.admin_url()).await?;
/// let database = TestDatabase::create(server).await?;
/// # let tenantry_testkit::Roles { owner, app, .. } = database.bootstrap().await?;
/// # let mut admin = sqlx::PgConnection::connect(owner.url()).await?;
/// # admin.execute("create table invoices (tenant_id uuid, id uuid, primary key (tenant_id, id))").await?;
/// # admin.execute("select tenantry.protect('invoices')").await?;
/// // … the roles and the tables of the service …
///
/// let mut service = sqlx::PgConnection::connect(&witness.url(app.url())?).await?;
/// let mut tx = service
///     .begin_with("BEGIN; SET LOCAL tenantry.tenant_id = '6f1c8a52-7a0c-4f2e-9d3b-0c1d2e3f4a5b'")
///     .await?;
/// sqlx::query("select id from invoices").fetch_all(&mut *tx).await?;
/// tx.rollback().await?;
///
/// let report = witness.report();
/// let violation = report.violations().next().ok_or("none was seen")?;
/// assert_eq!(violation.statement, "select id from invoices");
/// assert_eq!(violation.table, "invoices");
/// // In a test: report.assert_clean();
/// # Ok(())
/// # }
/// ```
pub struct StatementWitness {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// What all connections share.
struct Shared {
    /// Host and port.
    server: String,
    catalogs: Catalogs,
    library: Library,
    ledger: Ledger,
}

impl StatementWitness {
    /// Starts a witness in front of the server under the URL of a superuser, which it reads the
    /// catalogs of databases with.
    ///
    /// # Errors
    ///
    /// When the URL is none of a server on a host, or the loopback has no free port.
    pub async fn start(server_url: &str) -> Result<Self> {
        let invalid = "no URL of a superuser on a PostgreSQL server to put the witness before";
        let url = Url::parse(server_url).map_err(|error| Error::because(invalid, error))?;
        let host = url.host_str().ok_or_else(|| Error::new(invalid))?;
        if !url.scheme().starts_with("postgres") {
            return Err(Error::new(invalid));
        }
        let server = format!("{host}:{}", url.port().unwrap_or(5432));
        let failed = |error| Error::because("cannot listen on the loopback", error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            server,
            catalogs: Catalogs::new(url),
            library: Library::default(),
            ledger: Ledger::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            accepting,
        })
    }

    /// Returns a URL of the server with the witness in the server's place.
    ///
    /// # Errors
    ///
    /// When `url` is no URL with a host.
    pub fn url(&self, url: &str) -> Result<String> {
        ports::lead_through(url, self.address)
    }

    /// Returns where clients connect.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what was seen so far: every statement whose answer has reached its client, and
    /// perhaps some whose answer is still to come.
    #[must_use]
    pub fn report(&self) -> WitnessReport {
        self.shared.ledger.report()
    }
}

impl Drop for StatementWitness {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl fmt::Debug for StatementWitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatementWitness")
            .field("address", &self.address)
            .field("server", &self.shared.server)
            .finish_non_exhaustive()
    }
}

/// Marks the URL of a test's connection whose statements leave the tenant out on purpose, to try
/// what row-level security does by itself.
///
/// The mark is the `application_name`, `wall-two-alone`. A [`StatementWitness`] counts what comes
/// over such a connection apart; who reads the test sees that it was meant. Stores name their
/// connections themselves, and do not carry it. Behind a pooler every client needs a name, or it
/// goes under that of the client before it.
///
/// # Errors
///
/// When `url` is no URL.
pub fn wall_two_alone(url: &str) -> Result<String> {
    let mut url =
        Url::parse(url).map_err(|error| Error::because("no URL of a connection to mark", error))?;
    url.query_pairs_mut()
        .append_pair("application_name", WALL_TWO_ALONE);
    Ok(url.into())
}

/// Takes connections until it is aborted; they end with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut links = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                // A link that ends by itself has closed both sides; there is nobody to tell.
                links.spawn(link::run(client, Arc::clone(&shared)));
            },
            Some(_) = links.join_next() => {}
        }
    }
}
