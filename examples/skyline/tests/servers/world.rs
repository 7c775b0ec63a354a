//! Servers that are the product's own, and the settings files that lead there.

use std::fs;
use std::net::TcpListener;
use std::ops::Deref;
use std::path::PathBuf;

use async_nats::jetstream::{self, stream};
use skyline::{Broker, Engine, Keys, PartName, Result, Setup};
use tempfile::TempDir;
use tenantry::outbox::NatsConnection;
use tenantry::{PostgresSettings, Settings};
use tenantry_testkit::{
    AzuriteServer, Login, NatsOptions, NatsServer, PostgresServer, RedisServer, Roles, TestDatabase,
};

/// The servers, for as long as they are needed.
pub(crate) struct World {
    folder: TempDir,
    keys: Keys,
    /// In the order of [`PartName::ALL`]; they go before their server.
    databases: Vec<TestDatabase>,
    pub(crate) postgres: Server<PostgresServer>,
    pub(crate) redis: RedisServer,
    pub(crate) nats: NatsServer,
    pub(crate) azurite: Server<AzuriteServer>,
    /// Where NATS tells how it is.
    monitor: String,
}

/// A server that other tests may be at as well, or one that may be stopped.
pub(crate) enum Server<T: 'static> {
    Shared(&'static T),
    Own(T),
}

impl<T> Deref for Server<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Shared(server) => server,
            Self::Own(server) => server,
        }
    }
}

impl World {
    /// Starts the servers, and makes what an administrator and a deployment make: databases with three roles each,
    /// tables, streams, and a file of settings for each part.
    pub(crate) async fn new() -> Result<Self> {
        let postgres = Server::Shared(PostgresServer::shared().await?);
        let azurite = Server::Shared(AzuriteServer::shared().await?);
        Self::over(postgres, azurite).await
    }

    /// Does the same with servers that are all its own, to be stopped and started again.
    pub(crate) async fn own() -> Result<Self> {
        let postgres = Server::Own(PostgresServer::start().await?);
        let azurite = Server::Own(AzuriteServer::start().await?);
        Self::over(postgres, azurite).await
    }

    async fn over(
        postgres: Server<PostgresServer>,
        azurite: Server<AzuriteServer>,
    ) -> Result<Self> {
        let folder = TempDir::new()?;
        let keys = Keys::in_folder(&folder.path().join("keys"))?;
        keys.make_own()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let monitor = format!("127.0.0.1:{port}");
        let nats = NatsOptions::default().with_setting("http", &format!("\"{monitor}\""));
        let nats = NatsServer::start_with(nats).await?;
        let redis = RedisServer::start().await?;
        make_streams(&nats).await?;
        let (redis_user, redis_password) = login_of(redis.url());
        let (nats_user, nats_password) = login_of(nats.url());
        for (name, secret) in [
            ("redis", &*redis_password),
            ("broker", &nats_password),
            ("azure", azurite.key()),
        ] {
            fs::write(keys.folder().join(name), secret)?;
        }

        let mut databases = Vec::new();
        for part in PartName::ALL {
            let database = TestDatabase::create(&postgres).await?;
            let logins = prepare(part, &database).await?;
            let name = part.as_str();
            let mut text = String::new();
            for (section, login) in ["database", "platform"].iter().zip(&logins) {
                let key = format!("{name}-{section}");
                fs::write(keys.folder().join(&key), login.password())?;
                text += &format!(
                    "[{section}]\nurl = 'postgres://{}@{}/{}'\npassword = '{}'\nmax_connections = 5\n",
                    login.user(),
                    postgres.address(),
                    database.name(),
                    reference(&keys, &key),
                );
            }
            text += &match part {
                PartName::Edge => format!(
                    "[cache]\nurl = 'redis://{}'\nuser = '{redis_user}'\npassword = '{}'\nprefix = 'skyline'\n",
                    redis.address(),
                    reference(&keys, "redis"),
                ),
                PartName::Notifications | PartName::Reporting => format!(
                    "[blobs]\nurl = '{}'\nlayout = 'prefix-per-tenant'\nname = '{}'\n\
                     credential = 'shared-key'\nkey = '{}'\nrange_checksums = false\n",
                    azurite.url(),
                    // In one account, as everything of one run.
                    database.name().replace('_', "-"),
                    reference(&keys, "azure"),
                ),
                _ => String::new(),
            };
            text += &format!(
                "[broker]\nurl = 'nats://{}'\nstream = '{}'\nsource = '/skyline/{name}'\n\
                 user = '{nats_user}'\npassword = '{}'\n[[vaults]]\nurl = 'folder:{}'\n",
                nats.address(),
                Broker::STREAM,
                reference(&keys, "broker"),
                keys.folder().display(),
            );
            fs::write(folder.path().join(format!("{name}.toml")), text)?;
            databases.push(database);
        }
        Ok(Self {
            folder,
            keys,
            databases,
            postgres,
            redis,
            nats,
            azurite,
            monitor,
        })
    }

    pub(crate) const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Returns the file of settings of a part.
    pub(crate) fn file(&self, part: PartName) -> PathBuf {
        self.folder.path().join(format!("{}.toml", part.as_str()))
    }

    /// Returns the database of a part.
    pub(crate) fn database(&self, part: PartName) -> Option<&TestDatabase> {
        let mut parts = PartName::ALL.iter().zip(&self.databases);
        parts.find_map(|(name, database)| (*name == part).then_some(database))
    }

    /// Returns the address under which the broker tells how it is.
    pub(crate) fn monitor(&self) -> String {
        format!("http://{}/varz", self.monitor)
    }

    /// Returns a client of the broker's streams.
    pub(crate) async fn streams(&self) -> Result<jetstream::Context> {
        streams(&self.nats).await
    }

    /// Returns host and port of the broker, and the user there.
    pub(crate) fn broker(&self) -> (String, String) {
        let (user, _) = login_of(self.nats.url());
        (format!("nats://{}", self.nats.address()), user)
    }

    /// Returns all parts as one process sets them up.
    pub(crate) fn setups(&self) -> Result<[Setup; 5]> {
        let (url, user) = self.broker();
        let mut setups = Vec::new();
        for part in PartName::ALL {
            let password = self.keys.read("broker")?;
            setups.push(Setup {
                settings: Settings::from_file(self.file(part))?,
                keys: self.keys.clone(),
                broker: Broker::Nats(Box::new(
                    NatsConnection::new(&url)
                        .with_user(&user)
                        .with_password(password),
                )),
                requests_per_minute: Setup::REQUESTS,
            });
        }
        let setups: [Setup; 5] = setups.try_into().map_err(|_| "there are five parts")?;
        Ok(setups)
    }
}

/// Makes the roles and the tables of a part, and returns the logins for tenants and across them.
async fn prepare(part: PartName, database: &TestDatabase) -> Result<[Login; 2]> {
    let Roles {
        owner,
        app,
        platform,
    } = database.bootstrap().await?;
    let settings = Settings::from(PostgresSettings::new(owner.url()));
    part.migrate(&settings, Engine::Postgres).await?;
    Ok([app, platform])
}

async fn streams(server: &NatsServer) -> Result<jetstream::Context> {
    let (user, password) = login_of(server.url());
    let options = async_nats::ConnectOptions::new().user_and_password(user, password);
    Ok(jetstream::new(options.connect(server.address()).await?))
}

async fn make_streams(server: &NatsServer) -> Result<()> {
    let context = streams(server).await?;
    let dead = format!("{}_DEAD", Broker::STREAM);
    for (name, subjects) in [(Broker::STREAM, "events.>"), (&dead, "dead.>")] {
        let config = stream::Config {
            name: name.to_owned(),
            subjects: vec![subjects.to_owned()],
            ..stream::Config::default()
        };
        context.create_stream(config).await?;
    }
    Ok(())
}

fn reference(keys: &Keys, name: &str) -> String {
    format!("file:{}", keys.folder().join(name).display())
}

/// Returns user and password of a URL; a Redis of the test kit has a password and no user.
fn login_of(url: &str) -> (String, String) {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let login = rest.split_once('@').map_or("", |(login, _)| login);
    let (user, password) = login.split_once(':').unwrap_or_default();
    let user = if user.is_empty() { "default" } else { user };
    (user.to_owned(), password.to_owned())
}
