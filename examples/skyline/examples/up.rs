//! Starts PostgreSQL, Redis, NATS and Azurite, and the product over them, each part in a process of its own:
//! `scripts/skyline up`, and with `--story` goes through the story and ends.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people to read"
)]

#[path = "../tests/servers/world.rs"]
#[allow(dead_code, reason = "the tests have all parts in one process")]
mod world;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

use skyline::{Addresses, Airline, Desk, PartName, Result, Slug, tell};
use tokio::net::TcpStream;

use self::world::World;

/// The port of the edge; those of the services come behind it.
const PORT: u16 = 3000;

/// How long a process may take until it answers.
const START: Duration = Duration::from_secs(60);

/// A process that ends with this one.
struct Process {
    name: &'static str,
    child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        // Asked to end, it hands over what it has begun and closes its stores.
        let asked = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        if asked.is_ok_and(|status| status.success()) {
            for _ in 0..200 {
                if let Ok(Some(_)) = self.child.try_wait() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        eprintln!("up: {} did not end, and is killed", self.name);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let is_story = std::env::args().any(|argument| argument == "--story");
    match run(is_story).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("up: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(is_story: bool) -> Result<()> {
    println!("starting PostgreSQL, Redis, NATS and Azurite");
    let world = World::new().await?;
    let at = |place: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, PORT + place));
    let services = Addresses {
        tenants: at(1),
        operations: at(2),
        notifications: at(3),
        reporting: at(4),
    };
    let mut processes = Vec::new();
    for (part, place) in PartName::ALL.into_iter().zip([1, 2, 3, 4, 0]) {
        processes.push(start(&world, part, at(place), services)?);
    }
    for (process, place) in processes.iter_mut().zip([1, 2, 3, 4, 0]) {
        answers(process, at(place)).await?;
        println!(
            "{} is process {} at {}",
            process.name,
            process.child.id(),
            at(place)
        );
    }
    let desk = Desk::new(world.keys(), at(0), services)?;
    if is_story {
        return tell(&desk, |line| println!("{line}")).await;
    }
    for airline in Airline::ALL {
        desk.admit(airline).await?;
        let code = desk.code(airline.slug)?;
        println!(
            "http://{}.localhost:{PORT}/  any name, code {code}",
            airline.slug
        );
    }
    let code = desk.code(Slug::OPERATOR)?;
    println!(
        "http://{}.localhost:{PORT}/  any name, code {code}",
        Slug::OPERATOR
    );
    println!("Ctrl-C ends all of it.");
    tokio::signal::ctrl_c().await?;
    Ok(())
}

fn start(world: &World, part: PartName, at: SocketAddr, services: Addresses) -> Result<Process> {
    let (broker, user) = world.broker();
    let child = Command::new(program()?)
        .args(["serve", part.as_str()])
        .arg("--settings")
        .arg(world.file(part))
        .arg("--keys")
        .arg(world.keys().folder())
        .args(["--broker", &broker, "--broker-user", &user])
        .args(["--listen", &at.to_string()])
        .args(["--tenants", &services.tenants.to_string()])
        .args(["--operations", &services.operations.to_string()])
        .args(["--notifications", &services.notifications.to_string()])
        .args(["--reporting", &services.reporting.to_string()])
        .spawn()?;
    Ok(Process {
        name: part.as_str(),
        child,
    })
}

/// Returns the program, which cargo builds two folders above this one's.
fn program() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let folder = here.parent().and_then(|examples| examples.parent());
    let program = folder.ok_or("this program is nowhere")?.join("skyline");
    match program.is_file() {
        true => Ok(program),
        false => Err("build it first: cargo build -p skyline --features servers".into()),
    }
}

/// Waits until a process takes connections.
async fn answers(process: &mut Process, at: SocketAddr) -> Result<()> {
    let started = Instant::now();
    while TcpStream::connect(at).await.is_err() {
        if let Some(status) = process.child.try_wait()? {
            return Err(format!("{} has ended: {status}", process.name).into());
        }
        if started.elapsed() > START {
            return Err(format!("{} does not answer at {at}", process.name).into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
