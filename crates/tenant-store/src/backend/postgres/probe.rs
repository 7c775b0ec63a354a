//! What a connection is like: encrypted or not, to which server, whose clock says what.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection as _, PgConnection, Row as _};
use tenantry_core::{Result, SharedClock};

use super::bootstrap::database_error;
use super::connect::{CHECK_LIMIT, address, answered, connect_with};
use super::settings::PostgresSettings;

const OPERATION: &str = "probe database";

/// What is known of a server once it was connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerProbe {
    /// Where it is: `db.internal:5432/billing`.
    pub address: String,
    /// Whether that leads to this machine, by a socket or its loopback.
    pub is_local: bool,
    /// The role whose rights statements run with.
    pub user: String,
    /// `150018` for PostgreSQL 15.18.
    pub server_version_num: i32,
    /// Whether the server is a replica, which takes no writes.
    pub in_recovery: bool,
    /// What the URL demands of the connection.
    pub tls_demand: TlsDemand,
    /// Which TLS the server speaks with whom it was connected by, such as `TLSv1.3`: behind a pooler, with that.
    pub tls: Option<String>,
    /// How far the clock of the server is before that of this machine; behind it, below zero.
    pub clock_ahead: TimeDelta,
    /// How long the answer took: no more is known of the difference of the clocks than that.
    pub round_trip: Duration,
    /// The tables of the schema, by name, without partitions.
    pub tables: Vec<String>,
    /// Whether migrations were ever run.
    pub has_history: bool,
}

/// What a URL demands of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsDemand {
    /// None, by `sslmode=disable`.
    Plain,
    /// As the server likes: `prefer`, which holds where nothing is said, and `allow`.
    Either,
    /// That it is encrypted, to whomever: `require`.
    Encrypted,
    /// That somebody trusted answers: `verify-ca`.
    Trusted,
    /// That the server of this name answers: `verify-full`.
    Verified,
}

/// Connects once, as the settings say, and tells what the connection is like.
///
/// It needs no right but that to connect, neither bootstrap nor migrations, and changes nothing:
/// [`audit`](super::audit()) tells whether the walls stand.
///
/// # Errors
///
/// The kinds of a connection that fails.
///
/// # Cancel safety
///
/// Dropped, it closes its connection.
///
/// # Examples
///
/// ```no_run
/// # async fn example(url: &str) -> tenantry_store::Result<()> {
/// let probe = tenantry_store::postgres::probe(url).await?;
/// assert!(probe.is_local || probe.tls.is_some(), "{} is not encrypted", probe.address);
/// # Ok(())
/// # }
/// ```
pub async fn probe(settings: impl Into<PostgresSettings> + Send) -> Result<ServerProbe> {
    let settings = settings.into();
    let options = settings.connect_options().await?;
    let mut connection = connect_with(OPERATION, &options, settings.acquire_timeout).await?;
    let read = read(&mut connection, &options, &settings);
    let outcome = answered(OPERATION, &options, CHECK_LIMIT, read).await;
    // What was found out stays so, however the server takes the farewell.
    let _ = connection.close().await;
    outcome
}

async fn read(
    connection: &mut PgConnection,
    options: &PgConnectOptions,
    settings: &PostgresSettings,
) -> Result<ServerProbe> {
    let clock = clock(connection, &settings.clock).await;
    let (clock_ahead, round_trip) = clock.map_err(|error| database_error(OPERATION, error))?;
    let row = sqlx::query(
        "select current_user::text as user, \
             current_setting('server_version_num')::int4 as version, \
             pg_catalog.pg_is_in_recovery() as in_recovery, \
             (select version from pg_catalog.pg_stat_ssl \
              where pid = pg_catalog.pg_backend_pid() and ssl) as tls, \
             coalesce((select array_agg(c.relname::text order by c.relname) \
              from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
              where n.nspname = $1 and c.relkind in ('r', 'p') and not c.relispartition \
                and c.relname <> '_sqlx_migrations'), '{}') as tables, \
             exists (select from pg_catalog.pg_class \
              where relname = '_sqlx_migrations' and relkind = 'r') as has_history",
    )
    .bind(&settings.schema)
    .persistent(false)
    .fetch_one(connection)
    .await
    .map_err(|error| database_error(OPERATION, error))?;
    let read = || -> Result<ServerProbe, sqlx::Error> {
        Ok(ServerProbe {
            address: address(options),
            is_local: is_local(options),
            user: row.try_get("user")?,
            server_version_num: row.try_get("version")?,
            in_recovery: row.try_get("in_recovery")?,
            tls_demand: demand(options),
            tls: row.try_get("tls")?,
            clock_ahead,
            round_trip,
            tables: row.try_get("tables")?,
            has_history: row.try_get("has_history")?,
        })
    };
    read().map_err(|error| database_error(OPERATION, error))
}

/// Reads the clock of the server: the difference is known to half of the time that the answer took.
async fn clock(
    connection: &mut PgConnection,
    clock: &SharedClock,
) -> Result<(TimeDelta, Duration), sqlx::Error> {
    let mut best: Option<(TimeDelta, Duration)> = None;
    // The first statement waits for what a new connection has to load.
    for _ in 0..3 {
        let (started, before) = (Instant::now(), clock.now());
        let there: DateTime<Utc> = sqlx::query_scalar("select pg_catalog.clock_timestamp()")
            .persistent(false)
            .fetch_one(&mut *connection)
            .await?;
        let round_trip = started.elapsed();
        let half = TimeDelta::from_std(round_trip / 2).unwrap_or_default();
        let ahead = there - before - half;
        if best.is_none_or(|(_, known)| round_trip < known) {
            best = Some((ahead, round_trip));
        }
    }
    Ok(best.unwrap_or_default())
}

fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let is_loopback = host.parse().is_ok_and(|host: IpAddr| host.is_loopback());
    options.get_socket().is_some() || host == "localhost" || host.starts_with('/') || is_loopback
}

fn demand(options: &PgConnectOptions) -> TlsDemand {
    match options.get_ssl_mode() {
        PgSslMode::Disable => TlsDemand::Plain,
        PgSslMode::Allow | PgSslMode::Prefer => TlsDemand::Either,
        PgSslMode::Require => TlsDemand::Encrypted,
        PgSslMode::VerifyCa => TlsDemand::Trusted,
        PgSslMode::VerifyFull => TlsDemand::Verified,
    }
}
