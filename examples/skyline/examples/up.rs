//! Starts PostgreSQL, Redis, NATS and Azurite, and the product over them, each part in a process of its own:
//! `scripts/skyline up`, and with `--story` goes through the story and ends.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people to read"
)]

#[path = "../tests/servers/fleet.rs"]
#[allow(dead_code, reason = "the tests kill processes")]
mod fleet;
#[path = "../tests/servers/world.rs"]
#[allow(dead_code, reason = "the tests have all parts in one process")]
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use skyline::{Airline, Desk, PartName, Result, Slug, tell};

use self::fleet::Fleet;
use self::world::World;

/// The ports of the services, and that of the edge.
const PORTS: [u16; 5] = [3001, 3002, 3003, 3004, 3000];

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
    let fleet = Fleet::start(&world, program()?, PORTS).await?;
    for part in PartName::ALL {
        println!("{} is a process at {}", part.as_str(), fleet.at(part));
    }
    let desk = fleet.desk()?;
    match is_story {
        true => tell(&desk, |line| println!("{line}")).await,
        false => serve(&desk).await,
    }
}

/// Prints where to look, and waits for Ctrl-C.
async fn serve(desk: &Desk) -> Result<()> {
    let port = desk.edge().port();
    for airline in Airline::ALL {
        desk.admit(airline).await?;
        let code = desk.code(airline.slug)?;
        println!(
            "http://{}.localhost:{port}/  any name, code {code}",
            airline.slug
        );
    }
    let operator = Slug::OPERATOR;
    let code = desk.code(operator)?;
    println!("http://{operator}.localhost:{port}/  any name, code {code}");
    println!("Ctrl-C ends all of it.");
    tokio::signal::ctrl_c().await?;
    Ok(())
}

/// Returns the program, which cargo builds a folder above this one's.
fn program() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let folder = here.parent().and_then(|examples| examples.parent());
    let program = folder.ok_or("this program is nowhere")?.join("skyline");
    match program.is_file() {
        true => Ok(program),
        false => Err("build it first: cargo build -p skyline --features servers".into()),
    }
}
