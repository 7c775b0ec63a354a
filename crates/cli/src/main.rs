//! The command `tenantry`: looks after the stores of services built on Tenantry.
//!
//! It exits with 0 if all is well, with 1 if something was found, and with 2 if it could not look.

mod audit;
mod blobs;
mod completions;
mod database;
mod doctor;
mod environment;
mod figures;
mod map;
mod migrate;
mod outbox;
mod output;
mod progress;
mod retention;
mod secrets;
mod service;
mod stores;
mod tenants;

use std::error::Error as _;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

const COULD_NOT_LOOK: u8 = 2;

/// So long a disk that hangs is waited for when all else has ended.
const FAREWELL: Duration = Duration::from_secs(1);

/// Looks after the stores of services built on Tenantry: databases, outboxes, blobs, secrets.
#[derive(Debug, Parser)]
#[command(name = "tenantry", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Audit(audit::Options),
    Blobs(blobs::Options),
    Completions(completions::Options),
    Doctor(doctor::Options),
    Map(map::Options),
    Migrate(migrate::Options),
    Outbox(outbox::Options),
    Retention(retention::Options),
    Secrets(secrets::Options),
    Tenants(tenants::Options),
}

/// Whether anything was found that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Clean,
    Found,
}

impl Verdict {
    const fn of(is_found: bool) -> Self {
        if is_found { Self::Found } else { Self::Clean }
    }
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(run(command, &mut io::stdout().lock()));
            runtime.shutdown_timeout(FAREWELL);
            code
        }
        Err(cause) => {
            let error = tenantry_core::Error::new(tenantry_core::ErrorKind::Unavailable, "start");
            tell(&error.with_source(cause));
            ExitCode::from(COULD_NOT_LOOK)
        }
    }
}

async fn run(command: Command, out: &mut impl io::Write) -> ExitCode {
    let verdict = match command {
        Command::Audit(options) => audit::run(&options, out).await,
        Command::Blobs(options) => blobs::run(&options, out).await,
        Command::Completions(options) => Ok(completions::run(&options, out)),
        Command::Doctor(options) => doctor::run(&options, out).await,
        Command::Map(options) => map::run(&options, out).await,
        Command::Migrate(options) => migrate::run(&options, out).await,
        Command::Outbox(options) => outbox::run(&options, out).await,
        Command::Retention(options) => retention::run(&options, out).await,
        Command::Secrets(options) => secrets::run(&options, out).await,
        Command::Tenants(options) => tenants::run(&options, out).await,
    };
    match verdict {
        Ok(Verdict::Clean) => ExitCode::SUCCESS,
        Ok(Verdict::Found) => ExitCode::FAILURE,
        Err(error) => {
            tell(&error);
            ExitCode::from(COULD_NOT_LOOK)
        }
    }
}

/// Writes an error and its causes to the standard error, where nobody may be left to read it.
fn tell(error: &tenantry_core::Error) {
    let mut stderr = io::stderr().lock();
    let _ = writeln!(stderr, "tenantry: {}", output::one_line(&error.to_string()));
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = writeln!(stderr, "  because {}", output::one_line(&error.to_string()));
        cause = error.source();
    }
}
