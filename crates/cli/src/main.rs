//! The command `tenantry`: looks after the databases and blobs of services built on Tenantry.
//!
//! It exits with 0 if all is well, with 1 if something was found, and with 2 if it could not look.

mod audit;
mod blobs;
mod completions;
mod database;
mod environment;
mod map;
mod migrate;
mod outbox;
mod output;
mod retention;

use std::error::Error as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

const COULD_NOT_LOOK: u8 = 2;

/// Looks after the databases and blobs of services built on Tenantry.
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
    Map(map::Options),
    Migrate(migrate::Options),
    Outbox(outbox::Options),
    Retention(retention::Options),
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

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let out = &mut io::stdout().lock();
    let verdict = match Cli::parse().command {
        Command::Audit(options) => audit::run(&options, out).await,
        Command::Blobs(options) => blobs::run(&options, out).await,
        Command::Completions(options) => Ok(completions::run(&options, out)),
        Command::Map(options) => map::run(&options, out),
        Command::Migrate(options) => migrate::run(&options, out).await,
        Command::Outbox(options) => outbox::run(&options, out).await,
        Command::Retention(options) => retention::run(&options, out).await,
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
