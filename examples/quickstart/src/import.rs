//! The import: one unit of work per airline, and all airlines or none.

use std::time::Instant;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tenantry::prelude::*;

use crate::flight::{Airline, Flight};
use crate::input::Timetable;
use crate::ledger::Ledger;
use crate::{Result, with_causes};

/// How many rows go into one call: enough to be fast, few enough for the bar to move.
const CHUNK: usize = 1_000;

/// Stores all flights in place of those that an earlier run left.
pub(crate) async fn run(
    storage: &Storage,
    ledger: &Ledger,
    timetables: &mut [Timetable],
) -> Result<()> {
    let left_over = clear(storage, ledger).await?;
    if left_over > 0 {
        println!(
            "clean-up   {} flights of an earlier run removed",
            HumanCount(left_over)
        );
    }

    let rows = timetables
        .iter()
        .map(|timetable| timetable.flights.len() as u64)
        .sum();
    // The bar shows itself on a terminal alone.
    let bar = ProgressBar::new(rows).with_style(ProgressStyle::with_template(
        "import     {bar:40} {human_pos} of {human_len}",
    )?);
    let started = Instant::now();
    for timetable in timetables {
        if let Err(error) = insert(storage, ledger, timetable, &bar).await {
            bar.finish_and_clear();
            let code = timetable.airline.code;
            let error = with_causes(&error);
            return Err(match clear(storage, ledger).await {
                Ok(_) => format!("import of {code}: {error}; the whole import was undone"),
                Err(second) => format!(
                    "import of {code}: {error}; undoing it failed as well ({}): run again, which \
                     begins by removing what is there",
                    with_causes(&*second)
                ),
            }
            .into());
        }
    }
    bar.finish_and_clear();
    println!(
        "import     {} flights of {} airlines in {:.1} s",
        HumanCount(rows),
        Airline::ALL.len(),
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Stores the flights of one airline, all or none.
async fn insert(
    storage: &Storage,
    ledger: &Ledger,
    timetable: &mut Timetable,
    bar: &ProgressBar,
) -> tenantry::Result<()> {
    let work = storage.tenant(timetable.airline.tenant()).begin().await?;
    let flights = ledger.watch(timetable.airline, work.repository::<Flight>());
    for chunk in timetable.flights.chunks_mut(CHUNK) {
        flights.insert_many(chunk).await?;
        bar.inc(chunk.len() as u64);
    }
    drop(flights);
    work.commit().await
}

/// Removes the flights of all airlines in batches and returns how many there were.
///
/// A unit of work belongs to one tenant, so what spans all of them cannot be rolled back: it is
/// taken away again.
async fn clear(storage: &Storage, ledger: &Ledger) -> Result<u64> {
    let mut removed = 0;
    for airline in Airline::ALL {
        let tenant = storage.tenant(airline.tenant());
        let flights = ledger.watch(airline, tenant.repository::<Flight>());
        loop {
            let limit = Query::<Flight>::MAX_LIMIT;
            let batch = flights.delete_where(Filter::all(), limit).await?;
            removed += batch;
            if batch < u64::from(limit) {
                break;
            }
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use tenantry::{Migrations, SqliteSettings, store::sqlite};

    use super::*;
    use crate::input;

    /// A database that refuses the flights of one airport, as a full disk would all.
    async fn picky_storage() -> Storage {
        let settings = SqliteSettings::temporary();
        let migrations = Migrations::embedded(&[
            (
                1,
                "flights",
                include_str!("../migrations/sqlite/0001_flights.sql"),
            ),
            (
                2,
                "picky",
                "create trigger picky before insert on flights when new.destination = 'BUR' \
                 begin select raise(abort, 'no flights to BUR'); end;",
            ),
        ]);
        sqlite::migrate(&settings, &migrations).await.unwrap();
        Storage::sqlite(settings).await.unwrap()
    }

    #[tokio::test]
    async fn a_refused_flight_undoes_the_import_of_all_airlines() {
        let storage = picky_storage().await;
        // Airlines come in the order of their codes: two have been stored when B6 is refused.
        let mut timetables = input::tests::timetables(&["9E,IAH", "AA,MIA", "B6,BUR", "UA,IAH"]);
        let ledger = Ledger::new(&timetables);

        let error = run(&storage, &ledger, &mut timetables)
            .await
            .unwrap_err()
            .to_string();

        assert!(
            error.starts_with("import of B6: insert_many flights: "),
            "{error}"
        );
        assert!(error.ends_with("; the whole import was undone"), "{error}");
        for airline in Airline::ALL {
            let flights = storage.tenant(airline.tenant()).repository::<Flight>();
            assert_eq!(flights.count(Filter::all()).await.unwrap(), 0);
        }
    }
}
