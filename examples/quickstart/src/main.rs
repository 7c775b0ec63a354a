//! Sixteen airlines share one database, and none of them sees a flight of another.
//!
//! Read on in `flight.rs` (what is stored), `database.rs` (where), `import.rs`, `tour.rs` (how a
//! service reads and writes) and `report.rs`; `ledger.rs` keeps count of every row.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people to read"
)]

mod flight;

mod database;

mod input;

mod import;

mod tour;

mod report;

mod ledger;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::ledger::Ledger;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// Sixteen airlines share one database, and none of them sees a flight of another.
#[derive(Debug, Parser)]
struct Arguments {
    /// A file of flights, CSV or gzipped CSV, in place of January 2013, which is built in
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// A PostgreSQL database, as its administrator: postgres://admin:password@host:port/database
    #[arg(long, value_name = "URL")]
    database: Option<String>,

    /// A folder for the SQLite database, which then stays there
    #[arg(long, value_name = "DIR", conflicts_with = "database")]
    keep: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    // The whole file first: a malformed line ends the run before the database is touched.
    let mut timetables = input::read(arguments.input.as_deref())?;

    let storage = match &arguments.database {
        Some(admin_url) => database::open_postgres(admin_url).await?,
        None => database::open_embedded(arguments.keep.as_deref()).await?,
    };
    let ledger = Ledger::new(&timetables);

    import::run(&storage, &ledger, &mut timetables).await?;

    // The airline with the most flights shows the rest; any other one plays the stranger.
    let Some(busiest) = timetables
        .iter()
        .max_by_key(|timetable| timetable.flights.len())
    else {
        return Err("there is no airline".into());
    };
    tour::page(&storage, &ledger, busiest).await?;
    tour::conflict(&storage, &ledger, busiest).await?;
    tour::unit_of_work(&storage, &ledger, busiest).await?;
    tour::same_id(&storage, &ledger, busiest).await?;
    tour::strangers(&storage, &ledger, &timetables).await?;

    let outcome = report::compare(&storage, &ledger, &timetables).await;
    storage.close().await;
    outcome
}

/// Returns the message of an error and of each cause behind it.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
