//! The parts of the product as processes of their own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use skyline::{Addresses, Desk, PartName, Result};
use tokio::net::TcpStream;

use super::world::World;

/// How long a process may take until it answers.
const START: Duration = Duration::from_secs(60);

/// All five, each at a port that it keeps.
pub(crate) struct Fleet<'w> {
    world: &'w World,
    program: PathBuf,
    /// In the order of [`PartName::ALL`].
    ports: [u16; 5],
    load: Option<u64>,
    processes: Vec<Process>,
}

/// A process that ends with this value.
struct Process {
    part: PartName,
    child: Child,
}

impl<'w> Fleet<'w> {
    /// Starts all of them, and waits until they answer.
    pub(crate) async fn start(world: &'w World, program: PathBuf, ports: [u16; 5]) -> Result<Self> {
        Self::start_for(world, program, ports, None).await
    }

    /// Starts them for so many requests of a tenant in a minute, and without a log unless `RUST_LOG` asks for one: each
    /// request that fails has a line in it.
    pub(crate) async fn start_for(
        world: &'w World,
        program: PathBuf,
        ports: [u16; 5],
        load: Option<u64>,
    ) -> Result<Self> {
        let mut fleet = Self {
            world,
            program,
            ports,
            load,
            processes: Vec::new(),
        };
        for part in PartName::ALL {
            let process = fleet.process(part)?;
            fleet.processes.push(process);
        }
        for part in PartName::ALL {
            fleet.answers(part).await?;
        }
        Ok(fleet)
    }

    /// Returns the desk of the operator.
    pub(crate) fn desk(&self) -> Result<Desk> {
        Desk::new(self.world.keys(), self.at(PartName::Edge), self.services())
    }

    /// Returns where a part is.
    pub(crate) fn at(&self, part: PartName) -> SocketAddr {
        let place = PartName::ALL.iter().position(|it| *it == part);
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[place.unwrap_or_default()]))
    }

    /// Returns the numbers of the processes, in the order of [`PartName::ALL`].
    ///
    /// # Errors
    ///
    /// One of them has ended.
    pub(crate) fn process_ids(&mut self) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for part in PartName::ALL {
            let process = self.processes.iter_mut().find(|it| it.part == part);
            let process = process.ok_or("it does not run")?;
            if let Some(status) = process.child.try_wait()? {
                return Err(format!("{} has ended: {status}", part.as_str()).into());
            }
            ids.push(process.child.id());
        }
        Ok(ids)
    }

    /// Kills a process, so that it can end nothing, and starts it anew.
    pub(crate) async fn kill(&mut self, part: PartName) -> Result<()> {
        let place = self.processes.iter().position(|it| it.part == part);
        let mut killed = self.processes.remove(place.ok_or("it does not run")?);
        killed.child.kill()?;
        killed.child.wait()?;
        let process = self.process(part)?;
        self.processes.push(process);
        self.answers(part).await
    }

    fn services(&self) -> Addresses {
        Addresses {
            tenants: self.at(PartName::Tenants),
            operations: self.at(PartName::Operations),
            notifications: self.at(PartName::Notifications),
            reporting: self.at(PartName::Reporting),
        }
    }

    fn process(&self, part: PartName) -> Result<Process> {
        let (broker, user) = self.world.broker();
        let services = self.services();
        let mut command = Command::new(&self.program);
        command
            .args(["serve", part.as_str()])
            .arg("--settings")
            .arg(self.world.file(part))
            .arg("--keys")
            .arg(self.world.keys().folder())
            .args(["--broker", &broker, "--broker-user", &user])
            .args(["--listen", &self.at(part).to_string()])
            .args(["--tenants", &services.tenants.to_string()])
            .args(["--operations", &services.operations.to_string()])
            .args(["--notifications", &services.notifications.to_string()])
            .args(["--reporting", &services.reporting.to_string()]);
        if let Some(requests) = self.load {
            command.args(["--requests-per-minute", &requests.to_string()]);
            if std::env::var_os("RUST_LOG").is_none() {
                command.env("RUST_LOG", "off");
            }
        }
        let child = command.spawn()?;
        Ok(Process { part, child })
    }

    /// Waits until a process takes connections.
    async fn answers(&mut self, part: PartName) -> Result<()> {
        let (at, started) = (self.at(part), Instant::now());
        while TcpStream::connect(at).await.is_err() {
            let mut processes = self.processes.iter_mut();
            let process = processes.find(|it| it.part == part);
            let process = process.ok_or("it does not run")?;
            if let Some(status) = process.child.try_wait()? {
                return Err(format!("{} has ended: {status}", part.as_str()).into());
            }
            if started.elapsed() > START {
                return Err(format!("{} does not answer at {at}", part.as_str()).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // Asked to end, it hands over what it has begun and closes its stores.
        let id = self.child.id().to_string();
        let asked = Command::new("kill").arg(id).status();
        if asked.is_ok_and(|status| status.success()) {
            for _ in 0..200 {
                if let Ok(Some(_)) = self.child.try_wait() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
