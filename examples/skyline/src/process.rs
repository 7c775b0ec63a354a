//! One part as a process of its own, over the servers that its settings name.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use skyline::{Addresses, Broker, Keys, PartName, Result, Running, Setup};
use tenantry::Settings;
use tenantry::outbox::NatsConnection;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves one part of the product, until it is asked to end
    Serve(Serve),
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// tenants, operations, notifications, reporting or edge
    part: PartName,

    /// The settings of its stores
    #[arg(long, value_name = "FILE")]
    settings: PathBuf,

    /// The folder of keys that its settings have a vault of
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,

    /// The broker to hear from, as [broker] of the settings: nats://host:port
    #[arg(long, value_name = "URL")]
    broker: String,

    /// The user there; the password is the key `broker`
    #[arg(long, value_name = "NAME")]
    broker_user: String,

    /// How many requests of a tenant the edge lets through in a minute
    #[arg(long, default_value_t = Setup::REQUESTS)]
    requests_per_minute: u64,

    /// Where it listens
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,

    /// Where Tenants is
    #[arg(long, value_name = "ADDRESS")]
    tenants: SocketAddr,

    /// Where Operations is
    #[arg(long, value_name = "ADDRESS")]
    operations: SocketAddr,

    /// Where Notifications is
    #[arg(long, value_name = "ADDRESS")]
    notifications: SocketAddr,

    /// Where Reporting is
    #[arg(long, value_name = "ADDRESS")]
    reporting: SocketAddr,
}

impl Command {
    pub(crate) async fn run(&self) -> Result<()> {
        let Self::Serve(serve) = self;
        serve.run().await
    }
}

impl Serve {
    async fn run(&self) -> Result<()> {
        let (mut interrupted, mut asked) = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        );
        let keys = Keys::in_folder(&self.keys)?;
        let connection = NatsConnection::new(&self.broker);
        let connection = connection
            .with_user(&self.broker_user)
            .with_password(keys.read("broker")?);
        let setup = Setup {
            settings: Settings::from_file(&self.settings)?,
            keys,
            broker: Broker::Nats(Box::new(connection)),
            requests_per_minute: self.requests_per_minute,
        };
        let services = Addresses {
            tenants: self.tenants,
            operations: self.operations,
            notifications: self.notifications,
            reporting: self.reporting,
        };
        let running = Running::serve(self.part, &setup, Some(services), self.listen).await?;
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = asked.recv() => {}
        }
        running.stop().await
    }
}
