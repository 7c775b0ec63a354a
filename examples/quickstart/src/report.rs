//! The end: every row of every airline, read back and compared with the file.

use std::collections::HashMap;
use std::fmt;

use futures_util::TryStreamExt as _;
use indicatif::HumanCount;

use crate::Result;
use crate::flight::Flight;
use crate::input::Timetable;
use crate::ledger::Ledger;
use crate::tenantry::TenantStore;
use crate::tenantry::prelude::{Filter, Query, Repository};

/// The flights of an airline, and how late they left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Delays {
    flights: u64,
    departed: u32,
    minutes: i64,
}

impl Delays {
    /// Adds a flight; one that never left has no delay.
    pub(crate) fn add(&mut self, delay: Option<i32>) {
        self.flights += 1;
        if let Some(minutes) = delay {
            self.departed += 1;
            self.minutes += i64::from(minutes);
        }
    }
}

/// Prints the columns of the table: the number of flights and the mean delay.
impl fmt::Display for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mean = match self.departed {
            0 => "-".to_owned(),
            departed => format!("{:.2} min", self.minutes as f64 / f64::from(departed)),
        };
        write!(f, "{:>8} {mean:>10}", HumanCount(self.flights).to_string())
    }
}

/// Prints the table of airlines and the line on isolation; an error if anything differs.
pub(crate) async fn compare(
    store: &TenantStore,
    ledger: &Ledger,
    timetables: &[Timetable],
) -> Result<()> {
    println!(
        "\n{:<22}{:>19}  {:>19}",
        "", "in the database", "in the file"
    );
    println!(
        "{:<22}{1:>8} {2:>10}  {1:>8} {2:>10}",
        "airline", "flights", "mean delay"
    );
    let mut differing = Vec::new();
    for timetable in timetables {
        let airline = timetable.airline;
        let found = read_back(store, ledger, timetable).await?;
        let is_same = found.problem.is_none();
        println!(
            "{} {:<19}{}  {}  {}",
            airline.code,
            airline.name,
            found.delays,
            timetable.delays,
            if is_same { "ok" } else { "DIFFERS" }
        );
        differing.extend(
            found
                .problem
                .map(|problem| format!("{}: {problem}", airline.code)),
        );
    }
    println!(
        "isolation: {} foreign rows in {} reads and {} writes",
        ledger.foreign_rows(),
        ledger.reads(),
        ledger.writes()
    );

    if ledger.foreign_rows() > 0 {
        differing.push("an airline has seen or changed rows of another".to_owned());
    }
    if differing.is_empty() {
        Ok(())
    } else {
        Err(differing.join("; ").into())
    }
}

struct Found {
    delays: Delays,
    problem: Option<String>,
}

/// Reads all flights of an airline, one by one.
async fn read_back(store: &TenantStore, ledger: &Ledger, timetable: &Timetable) -> Result<Found> {
    let tenant = store.tenant(timetable.airline.tenant());
    let flights = ledger.watch(timetable.airline, tenant.repository::<Flight>());

    let mut expected: HashMap<_, _> = timetable
        .flights
        .iter()
        .map(|flight| (flight.id, flight))
        .collect();
    let mut delays = Delays::default();
    let mut strange = 0_u64;
    let mut rows = flights.stream(Query::new());
    while let Some(row) = rows.try_next().await? {
        delays.add(row.departure_delay);
        // The tour has written some flights, and put each value back.
        let is_as_in_file = expected.remove(&row.id).is_some_and(|flight| {
            *flight
                == Flight {
                    version: flight.version,
                    ..row
                }
        });
        if !is_as_in_file {
            strange += 1;
        }
    }
    drop(rows);

    let counted = flights.count(Filter::all()).await?;
    let problem = if strange > 0 {
        Some(format!("{strange} flights are not as in the file"))
    } else if !expected.is_empty() {
        Some(format!(
            "{} flights of the file are missing",
            expected.len()
        ))
    } else if counted != delays.flights {
        Some(format!(
            "count says {counted}, and {} were read",
            delays.flights
        ))
    } else if delays != timetable.delays {
        Some("the delays are not those of the file".to_owned())
    } else {
        None
    };
    Ok(Found { delays, problem })
}
