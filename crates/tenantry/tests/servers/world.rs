//! The servers of a test, and the settings that lead there.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use async_nats::jetstream::{self, stream};
use tempfile::TempDir;
use tenantry::core::Secret;
use tenantry::outbox::{NatsConnection, OUTBOX_POSTGRES};
use tenantry::prelude::*;
use tenantry::store::postgres::migrate;
use tenantry::{Migrations, Settings};
use tenantry_testkit::{
    AzuriteServer, Login, NatsServer, PostgresServer, RedisServer, Roles, TestDatabase,
};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "invoices")]
pub(crate) struct Invoice {
    #[aggregate(id)]
    pub(crate) id: Uuid,
    pub(crate) customer: String,
    #[aggregate(version)]
    pub(crate) version: Version,
}

impl Invoice {
    pub(crate) fn of(customer: &str) -> Self {
        Self {
            id: Uuid::now_v7(),
            customer: customer.to_owned(),
            version: Version::NEW,
        }
    }
}

const INVOICES: &str = "create table invoices (
    tenant_id uuid not null, id uuid not null, customer text not null, version bigint not null,
    primary key (tenant_id, id)
); select tenantry.protect('invoices')";

pub(crate) const STREAM: &str = "EVENTS";

/// A database of the test's own, and where the servers are.
pub(crate) struct World {
    pub(crate) database: TestDatabase,
    pub(crate) app: Login,
    platform: Login,
    postgres: String,
    folder: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let server = PostgresServer::shared().await.unwrap();
        let database = TestDatabase::create(server).await.unwrap();
        let Roles {
            owner,
            app,
            platform,
        } = database.bootstrap().await.unwrap();
        let migrations =
            Migrations::embedded(&[(1, "outbox", OUTBOX_POSTGRES), (2, "invoices", INVOICES)]);
        migrate(owner.url(), &migrations).await.unwrap();
        let world = Self {
            postgres: server.address(),
            database,
            app,
            platform,
            folder: TempDir::new().unwrap(),
        };
        world.keep("app", world.app.password());
        world.keep("platform", world.platform.password());
        world
    }

    /// Keeps a secret as a file, as an orchestrator mounts it.
    pub(crate) fn keep(&self, name: &str, secret: &str) {
        fs::write(self.folder.path().join(name), secret).unwrap();
    }

    fn reference(&self, name: &str) -> String {
        format!("file:{}", self.folder.path().join(name).display())
    }

    /// Leads to the database by another way.
    pub(crate) fn through(&mut self, postgres: SocketAddr) {
        self.postgres = postgres.to_string();
    }

    /// Returns the database and the role across tenants.
    pub(crate) fn databases(&self) -> String {
        let section = |name: &str, login: &Login, reference: &str| {
            let url = format!(
                "postgres://{}@{}/{}",
                login.user(),
                self.postgres,
                self.database.name()
            );
            format!(
                "[{name}]\nurl = \"{url}\"\npassword = \"{}\"\nmax_connections = 4\n",
                self.reference(reference)
            )
        };
        section("database", &self.app, "app") + &section("platform", &self.platform, "platform")
    }

    /// Returns a cache under a prefix of the test's own, by this way to the server.
    pub(crate) fn cache(&self, server: &RedisServer, address: &str) -> String {
        let (user, password) = login_of(server.url());
        self.keep("redis", &password);
        format!(
            "[cache]\nurl = \"redis://{address}\"\nuser = \"{user}\"\npassword = \"{}\"\n\
             prefix = \"{}\"\n",
            self.reference("redis"),
            self.database.name()
        )
    }

    /// Returns a broker, whose stream is made.
    pub(crate) async fn broker(&self, server: &NatsServer) -> String {
        let config = stream::Config {
            name: STREAM.to_owned(),
            subjects: vec!["events.>".to_owned()],
            ..stream::Config::default()
        };
        let context = jetstream_of(server).await;
        context.create_stream(config).await.unwrap();
        let stream = format!("stream = \"{STREAM}\"");
        self.broker_at("nats", server.url(), &server.address(), &stream)
    }

    /// Returns a broker, whose login is that of a URL.
    pub(crate) fn broker_at(
        &self,
        scheme: &str,
        url: &str,
        address: &str,
        destination: &str,
    ) -> String {
        let (user, password) = login_of(url);
        self.keep("broker", &password);
        format!(
            "[broker]\nurl = \"{scheme}://{address}\"\n{destination}\nsource = \"/services/billing\"\n\
             user = \"{user}\"\npassword = \"{}\"\n",
            self.reference("broker")
        )
    }

    /// Returns blobs in a container of the test's own.
    pub(crate) fn blobs(&self, server: &AzuriteServer) -> String {
        self.keep("azure", server.key());
        let name = Uuid::new_v4().simple();
        format!(
            "[blobs]\nurl = \"{}\"\nlayout = \"prefix-per-tenant\"\nname = \"all-{name}\"\n\
             credential = \"shared-key\"\nkey = \"{}\"\nrange_checksums = false\n",
            server.url(),
            self.reference("azure")
        )
    }

    /// Reads the settings from a file, as a service does.
    pub(crate) fn settings(&self, sections: &str) -> Settings {
        let path: &Path = &self.folder.path().join("settings.toml");
        fs::write(path, sections).unwrap();
        Settings::from_file(path).unwrap()
    }
}

pub(crate) async fn redis() -> &'static RedisServer {
    RedisServer::shared().await.unwrap()
}

/// Returns a connection with the login of a server.
pub(crate) fn connection_of(server: &NatsServer) -> NatsConnection {
    let (user, password) = login_of(server.url());
    NatsConnection::new(format!("nats://{}", server.address()))
        .with_user(user)
        .with_password(Secret::new(password))
}

pub(crate) async fn jetstream_of(server: &NatsServer) -> jetstream::Context {
    let (user, password) = login_of(server.url());
    let options = async_nats::ConnectOptions::new().user_and_password(user, password);
    jetstream::new(options.connect(server.url()).await.unwrap())
}

/// Returns the subjects of what a stream holds, in order.
pub(crate) async fn subjects(server: &NatsServer) -> Vec<String> {
    let stream = jetstream_of(server).await.get_stream(STREAM).await.unwrap();
    let state = stream.cached_info().state.clone();
    let mut subjects = Vec::new();
    for sequence in state.first_sequence.max(1)..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await.unwrap();
        subjects.push(message.subject.to_string());
    }
    subjects
}

fn login_of(url: &str) -> (String, String) {
    let (_, rest) = url.split_once("://").unwrap();
    let (login, _) = rest.split_once('@').unwrap();
    let (user, password) = login.split_once(':').unwrap();
    // A Redis of a test has a password and no user.
    let user = if user.is_empty() { "default" } else { user };
    (user.to_owned(), password.to_owned())
}
