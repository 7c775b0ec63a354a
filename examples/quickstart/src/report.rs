//! The end: every row of every airline, read back and compared with the file.

use std::collections::HashMap;
use std::fmt;

use futures_util::TryStreamExt as _;
use indicatif::HumanCount;
use tenantry::prelude::*;

use crate::Result;
use crate::flight::Flight;
use crate::input::Timetable;
use crate::ledger::Ledger;

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
    storage: &Storage,
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
        let found = read_back(storage, ledger, timetable).await?;
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
async fn read_back(storage: &Storage, ledger: &Ledger, timetable: &Timetable) -> Result<Found> {
    let tenant = storage.tenant(timetable.airline.tenant());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{database, import, input};

    /// Imports two flights, lets `tamper` at the database, and returns what the report says.
    async fn report_after(tamper: impl AsyncFnOnce(&Storage, &Ledger, &[Timetable])) -> Result<()> {
        let mut timetables = input::tests::timetables(&["UA,IAH", "AA,MIA"]);
        let storage = database::open_embedded(None).await?;
        let ledger = Ledger::new(&timetables);
        import::run(&storage, &ledger, &mut timetables).await?;
        tamper(&storage, &ledger, &timetables).await;
        compare(&storage, &ledger, &timetables).await
    }

    fn of<'t>(code: &str, timetables: &'t [Timetable]) -> &'t Timetable {
        timetables
            .iter()
            .find(|timetable| timetable.airline.code == code)
            .unwrap()
    }

    #[tokio::test]
    async fn an_untouched_database_is_as_the_file() {
        report_after(async |_, _, _| {}).await.unwrap();
    }

    #[tokio::test]
    async fn a_changed_a_missing_and_a_further_flight_are_found() {
        let error = report_after(async |storage, _, timetables| {
            let [united, american] = [of("UA", timetables), of("AA", timetables)];
            let repository = |owner: &Timetable| {
                storage
                    .tenant(owner.airline.tenant())
                    .repository::<Flight>()
            };
            let mut changed = united.flights[0].clone();
            changed.distance += 1;
            repository(united).update(&mut changed).await.unwrap();
            repository(american)
                .delete(&american.flights[0])
                .await
                .unwrap();
            let mut further = united.flights[0].clone();
            repository(of("DL", timetables))
                .insert(&mut further)
                .await
                .unwrap();
        });
        assert_eq!(
            error.await.unwrap_err().to_string(),
            "AA: 1 flights of the file are missing; DL: 1 flights are not as in the file; \
             UA: 1 flights are not as in the file; an airline has seen or changed rows of another"
        );
    }

    #[tokio::test]
    async fn a_row_handed_to_another_airline_is_counted() {
        let error = report_after(async |storage, ledger, timetables| {
            let [united, american] = [of("UA", timetables), of("AA", timetables)];
            // A leak, made by hand: American is given United's repository.
            let leak = storage
                .tenant(united.airline.tenant())
                .repository::<Flight>();
            ledger
                .watch(american.airline, leak)
                .get(united.flights[0].id)
                .await
                .unwrap();
            assert_eq!(ledger.foreign_rows(), 1);
        });
        let error = error.await.unwrap_err().to_string();
        assert_eq!(error, "an airline has seen or changed rows of another");
    }
}
