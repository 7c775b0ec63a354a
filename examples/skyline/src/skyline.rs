//! The product in one process: all its parts, each at a port of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use tenantry::Settings;
use tenantry::outbox::MemoryPublisher;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Result;
use crate::broker::Broker;
use crate::desk::Desk;
use crate::edge::Addresses;
use crate::keys::Keys;
use crate::part::Part;
use crate::setup::{Engine, PartName, Setup};

/// The product, while it runs.
#[derive(Debug)]
pub struct Skyline {
    desk: Desk,
    services: Addresses,
    parts: Vec<Running>,
}

/// A part that is served.
#[derive(Debug)]
pub struct Running {
    part: Part,
    address: SocketAddr,
    server: JoinHandle<std::io::Result<()>>,
    stop: watch::Sender<bool>,
}

impl Skyline {
    /// Starts it with everything inside a folder and nothing installed: SQLite, files, and a cache and a broker in the
    /// process. The edge is at this port, or with 0 at any that is free.
    ///
    /// # Errors
    ///
    /// The port is taken, the folder cannot be written, or a store does not open.
    pub async fn embedded(folder: &Path, port: u16) -> Result<Self> {
        let keys = Keys::in_folder(&folder.join("keys"))?;
        keys.make_own()?;
        let publisher = PartName::ALL
            .into_iter()
            .fold(MemoryPublisher::new(), |broker, part| {
                broker.with_consumer(part.as_str(), part.hears().iter().copied())
            });
        let mut setups = Vec::new();
        for part in PartName::ALL {
            // A folder for each part: elsewhere a database, a container and a login.
            let folder = folder.join(part.as_str());
            fs::create_dir_all(&folder)?;
            let settings = Settings::from_toml(&in_folder(&folder.canonicalize()?, &keys))?;
            let settings = settings.with_broker(Arc::new(publisher.clone()));
            part.migrate(&settings, Engine::Sqlite).await?;
            setups.push(Setup {
                settings,
                keys: keys.clone(),
                broker: Broker::Memory(publisher.clone()),
                requests_per_minute: Setup::REQUESTS,
            });
        }
        let setups: [Setup; 5] = setups.try_into().map_err(|_| "there are five parts")?;
        Self::start(&keys, setups, port).await
    }

    /// Starts all parts, in the order of [`PartName::ALL`], over whichever stores their settings lead to; the tables are
    /// there.
    ///
    /// # Errors
    ///
    /// The port is taken, or a store does not open.
    pub async fn start(keys: &Keys, setups: [Setup; 5], port: u16) -> Result<Self> {
        let [tenants, operations, notifications, reporting, edge] = setups;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut parts = Vec::new();
        for (part, setup) in [
            (PartName::Tenants, &tenants),
            (PartName::Operations, &operations),
            (PartName::Notifications, &notifications),
            (PartName::Reporting, &reporting),
        ] {
            parts.push(Running::serve(part, setup, None, any).await?);
        }
        let &[tenants, operations, notifications, reporting] =
            &*parts.iter().map(Running::address).collect::<Vec<_>>()
        else {
            return Err("there are four services".into());
        };
        let services = Addresses {
            tenants,
            operations,
            notifications,
            reporting,
        };
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let edge = Running::serve(PartName::Edge, &edge, Some(services), at).await?;
        let desk = Desk::new(keys, edge.address(), services)?;
        parts.push(edge);
        Ok(Self {
            desk,
            services,
            parts,
        })
    }

    /// Returns the desk of its operator.
    #[must_use]
    pub const fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Returns where the services are.
    #[must_use]
    pub const fn services(&self) -> Addresses {
        self.services
    }

    /// Takes no more requests, ends those that are under way, and closes all stores.
    ///
    /// # Errors
    ///
    /// Something has not ended as it should; the log says what.
    pub async fn stop(self) -> Result<()> {
        // The client of the desk keeps connections open.
        drop(self.desk);
        let mut outcome = Ok(());
        // The edge first: nobody asks the services then.
        for running in self.parts.into_iter().rev() {
            outcome = outcome.and(running.stop().await);
        }
        outcome
    }
}

impl Running {
    /// Opens a part, serves it, and hands over what its outbox holds.
    ///
    /// # Errors
    ///
    /// The port is taken, or a store does not open.
    pub async fn serve(
        part: PartName,
        setup: &Setup,
        services: Option<Addresses>,
        at: SocketAddr,
    ) -> Result<Self> {
        let part = part.open(setup, services).await?;
        let listener = TcpListener::bind(at).await;
        let listener = listener.map_err(|error| format!("{} at {at}: {error}", part.name))?;
        let address = listener.local_addr()?;
        part.start_worker()?;
        let (stop, mut stopped) = watch::channel(false);
        let ended = async move {
            // An error says that whoever could tell is gone.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        let server = axum::serve(listener, part.router.clone()).with_graceful_shutdown(ended);
        Ok(Self {
            part,
            address,
            server: tokio::spawn(server.into_future()),
            stop,
        })
    }

    /// Returns where it is.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, ends those that are under way, and closes its stores.
    ///
    /// # Errors
    ///
    /// Something has not ended as it should; the log says what.
    pub async fn stop(self) -> Result<()> {
        // It is an error where the server has ended already.
        let _ = self.stop.send(true);
        self.server.await??;
        let name = self.part.name;
        match self.part.close().await {
            true => Ok(()),
            false => Err(format!("{name} has not ended as it should: see the log").into()),
        }
    }
}

/// Returns the settings of a part that has everything in a folder: the same sections lead to servers elsewhere.
fn in_folder(folder: &Path, keys: &Keys) -> String {
    let (folder, keys) = (folder.display(), keys.folder().display());
    format!(
        "[database]\nurl = 'sqlite:{folder}/tenants.db'\n[platform]\nurl = 'sqlite:{folder}/tenants.db'\n\
         [cache]\nurl = 'memory:'\n[blobs]\nurl = 'file:{folder}/blobs'\n\
         [[vaults]]\nurl = 'folder:{keys}'\n"
    )
}
