//! Throwaway servers for the tests of services built on Tenantry: a dev-dependency, never more.
//!
//! | type | is |
//! |---|---|
//! | [`PostgresServer`] | a PostgreSQL server: one that is there already, a container, or programs in a temporary folder |
//! | [`TestDatabase`] | a database of a test's own on such a server, dropped with the value |
//! | [`ServiceDatabase`] | a database as a service has it, with its tables and roles; [`test`](macro@test) runs a test on a new one |
//! | [`Login`] | a role without privileges that may log in to that database |
//! | [`DelayProxy`] | the network in between: delays, counts, pauses and cuts |
//! | [`StatementWitness`] | the network again, taking note of statements that do not bind their tenant |
//! | [`PgBouncer`] | a pooler in transaction mode in front of a server |
//! | [`RedisServer`] | a Redis server: one that is there already, a container, or a program in a temporary folder, with replicas |
//! | `AzuriteServer` | Azure Blob Storage without Azure: one that is there already, or a program in a temporary folder (feature `azurite`) |
//! | `WormFront` | what Azurite lacks, before it: locks and legal holds that are kept, and faults (feature `azurite`) |
//! | [`NatsServer`] | a NATS server with JetStream: one that is there already, or a program in a temporary folder |
//! | [`RabbitMqServer`] | a RabbitMQ: one that is there already, or a node of its own in a temporary folder |
//! | `TestAuthority`, [`ServerCertificate`], `ClientCertificate` | certificates for these, to be reached over TLS (feature `certificates`) |
//! | `key_vault::KeyVaultServer` | a Key Vault on the loopback that breaks on purpose (feature `key-vault`) |
//! | `arm::ArmServer` | what storage accounts are managed by, on the loopback, breaking on purpose (feature `arm`) |
//!
//! Whatever is started here dies with the process that started it, a `SIGKILL` included.
//! Nothing is ever skipped: where no server can be found, the [`Error`] tells what to install.
//!
//! This crate holds no fixtures, and fakes only what nobody can install: Key Vault, Azure Resource Manager,
//! and the locks of Blob Storage. The in-memory and embedded backends of Tenantry are full implementations, and
//! live with the trait they implement.
//!
//! # Examples
//!
//! ```no_run
//! use tenantry_testkit::{PostgresServer, TestDatabase};
//!
//! # async fn example() -> tenantry_testkit::Result<()> {
//! let server = PostgresServer::shared().await?;
//! let database = TestDatabase::create(server).await?;
//! database.execute("CREATE TABLE orders (id bigint PRIMARY KEY)").await?;
//!
//! let service = database.create_login("service").await?;
//! database.execute(&format!("GRANT SELECT ON orders TO {}", service.user())).await?;
//! let url = service.url();
//! # let _ = url;
//! # Ok(())
//! # }
//! ```

mod error;
mod settings;

#[cfg(feature = "arm")]
pub mod arm;
#[cfg(feature = "azurite")]
mod azurite;
mod certificates;
mod isolation;
#[cfg(feature = "key-vault")]
pub mod key_vault;
mod nats;
mod pgbouncer;
mod postgres;
mod proxy;
mod rabbitmq;
mod redis;
mod service;
mod witness;
#[cfg(feature = "azurite")]
mod worm;

mod container;
mod daemon;
mod keeper;
mod ports;
mod programs;
mod served;

#[cfg(feature = "azurite")]
pub use azurite::{AzuriteOptions, AzuriteServer};
pub use certificates::ServerCertificate;
#[cfg(feature = "certificates")]
pub use certificates::{ClientCertificate, TestAuthority};
pub use error::{Error, Result};
pub use isolation::{IsolationReport, IsolationSuite, assert_isolated};
pub use nats::{NatsOptions, NatsServer};
pub use pgbouncer::{PgBouncer, PgBouncerOptions};
pub use postgres::{Login, PostgresServer, Roles, ServerOptions, StopMode, TestDatabase};
pub use proxy::{DelayProxy, ProxyOptions};
pub use rabbitmq::{RabbitMqOptions, RabbitMqServer};
pub use redis::{RedisOptions, RedisServer};
pub use service::{FromServiceDatabase, ServiceDatabase};
pub use settings::{Settings, Way};
#[doc(inline)]
pub use tenantry_testkit_macros::test;
pub use witness::{StatementWitness, Violation, WitnessReport, wall_two_alone};
#[cfg(feature = "azurite")]
pub use worm::{BlobFault, WormFront};

/// What the attribute writes. Not part of the API.
#[doc(hidden)]
pub mod __private {
    pub use crate::service::{made, migrations_in, run, taken};
}
