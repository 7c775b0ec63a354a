//! `cargo run -p skyline` serves the product, `--story` goes through it once and ends.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people to read"
)]

#[cfg(feature = "servers")]
mod process;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use skyline::{Airline, Desk, Result, Skyline, Slug};
use tracing_subscriber::EnvFilter;

/// A flight-operations product of four services, three airlines as tenants, all in this process.
#[derive(Debug, Parser)]
struct Arguments {
    #[cfg(feature = "servers")]
    #[command(subcommand)]
    command: Option<process::Command>,

    /// Goes through what the product does, prints what it has seen, and ends
    #[arg(long)]
    story: bool,

    /// A folder for all stores, which then stay there; without it they are removed at the end
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// The port of the pages
    #[arg(long, default_value_t = 3000)]
    port: u16,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skyline: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    #[cfg(feature = "servers")]
    if let Some(command) = &arguments.command {
        return command.run().await;
    }
    let temporary = tempfile::tempdir()?;
    let folder = arguments.keep.as_deref().unwrap_or(temporary.path());
    let port = if arguments.story { 0 } else { arguments.port };
    let skyline = Skyline::embedded(folder, port).await?;
    let outcome = match arguments.story {
        true => skyline::tell(skyline.desk(), |line| println!("{line}")).await,
        false => serve(skyline.desk()).await,
    };
    let stopped = skyline.stop().await;
    outcome.and(stopped)
}

/// Prints where to look, and waits for Ctrl-C.
async fn serve(desk: &Desk) -> Result<()> {
    let port = desk.edge().port();
    for airline in Airline::ALL {
        let flights = desk.admit(airline).await?;
        println!(
            "http://{}.localhost:{port}/  {flights} flights of {}; any name, code {}",
            airline.slug,
            airline.name,
            desk.code(airline.slug)?
        );
    }
    let operator = Slug::OPERATOR;
    println!(
        "http://{operator}.localhost:{port}/  the operator; any name, code {}",
        desk.code(operator)?
    );
    println!("\nA tour:");
    println!("  1. sign in at united and delay a flight by 90 minutes;");
    println!("  2. look again: a notification and a report have come, with one trace;");
    println!("  3. download the report, and open its link in another browser;");
    println!("  4. sign in as operator, and suspend hawaiian.");
    println!("\nCtrl-C ends it.");
    tokio::signal::ctrl_c().await?;
    Ok(())
}

/// Returns the message of an error and of each cause behind it.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
