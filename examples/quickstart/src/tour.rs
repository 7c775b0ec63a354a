//! What a service does with a repository, and what it cannot do to another tenant.

use std::cmp::Reverse;
use std::mem;

use tenantry::prelude::*;

use crate::Result;
use crate::flight::{Airline, Flight, FlightId, FlightStatus};
use crate::input::Timetable;
use crate::ledger::Ledger;

/// Reads a list page by page, forwards and back.
///
/// A page goes on where the last one ended, by a cursor and not by a row number: what is inserted
/// or removed in between neither repeats a row nor drops one.
pub(crate) async fn page(storage: &Storage, ledger: &Ledger, busiest: &Timetable) -> Result<()> {
    let airline = busiest.airline;
    let tenant = storage.tenant(airline.tenant());
    let flights = ledger.watch(airline, tenant.repository::<Flight>());

    let latest = Query::new()
        .filter(Flight::STATUS.eq(FlightStatus::Departed))
        .sort(Flight::DEPARTURE_DELAY.desc())
        .sort(Flight::ID.asc())
        .limit(5);
    let first = flights.list(latest.clone()).await?;
    let mut seen = first.items.clone();
    if let Some(next) = first.next {
        let second = flights.list(latest.clone().cursor(next)).await?;
        seen.extend(second.items);
        let previous = second
            .previous
            .ok_or("the second page knows of none before it")?;
        let again = flights.list(latest.cursor(previous)).await?;
        ensure(
            again.items == first.items,
            "the way back did not lead to the first page",
        )?;
    }

    // The same from the file; its lines are in the order of their identifiers, and the sort is
    // stable.
    let departed = busiest
        .flights
        .iter()
        .filter(|flight| flight.departure_delay.is_some());
    let mut expected: Vec<_> = departed.collect();
    expected.sort_by_key(|flight| Reverse(flight.departure_delay));
    expected.truncate(10);
    ensure(
        seen.iter().eq(expected),
        "the first two pages are not what the file says",
    )?;

    let (one, two) = seen.split_at(first.items.len());
    println!(
        "page       {}'s longest delays: {} · next page: {} · and back again",
        airline.code,
        delays(one),
        delays(two)
    );
    Ok(())
}

fn delays(flights: &[Flight]) -> String {
    let minutes = flights.iter().filter_map(|flight| flight.departure_delay);
    minutes
        .map(|minutes| minutes.to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Two desks change one flight; the second is told, and overwrites nothing.
pub(crate) async fn conflict(
    storage: &Storage,
    ledger: &Ledger,
    busiest: &Timetable,
) -> Result<()> {
    let airline = busiest.airline;
    let tenant = storage.tenant(airline.tenant());
    let flights = ledger.watch(airline, tenant.repository::<Flight>());
    let id = busiest.flights[0].id;

    let mut first_desk = flights.get(id).await?;
    let mut second_desk = flights.get(id).await?;
    let as_before = first_desk.tail_number.replace("FIRST".to_owned());
    flights.update(&mut first_desk).await?;

    second_desk.tail_number = Some("SECOND".to_owned());
    let refused = flights
        .update(&mut second_desk)
        .await
        .err()
        .map(|error| error.kind());
    ensure(
        refused == Some(ErrorKind::Conflict),
        "the second desk was not told of the first",
    )?;

    // The way on: read again, decide again, write.
    let mut second_desk = flights.get(id).await?;
    ensure(
        second_desk == first_desk,
        "the second desk has overwritten the first",
    )?;
    second_desk.tail_number = as_before;
    flights.update(&mut second_desk).await?;
    println!(
        "conflict   two desks change {} {}: the second is told, reads again and writes version {}",
        airline.code, second_desk.number, second_desk.version
    );
    Ok(())
}

/// Two flights swap planes: both are written, or none is.
pub(crate) async fn unit_of_work(
    storage: &Storage,
    ledger: &Ledger,
    busiest: &Timetable,
) -> Result<()> {
    let airline = busiest.airline;
    let tenant = storage.tenant(airline.tenant());
    let flights = ledger.watch(airline, tenant.repository::<Flight>());

    let one = &busiest.flights[0];
    let differs = |other: &&Flight| other.tail_number != one.tail_number;
    let Some(other) = busiest.flights.iter().find(differs) else {
        println!(
            "work       left out: all flights of {} have the same plane",
            airline.code
        );
        return Ok(());
    };
    let pair = [one.id, other.id];
    let before = flights.get_many(&pair).await?;

    // Dropped, as by an early return or a panic, it leaves nothing behind.
    let work = tenant.begin().await?;
    swap_planes(&ledger.watch(airline, work.repository()), pair).await?;
    drop(work);
    ensure(
        flights.get_many(&pair).await? == before,
        "a dropped unit of work left something",
    )?;

    // Committed, both writes are there.
    let work = tenant.begin().await?;
    swap_planes(&ledger.watch(airline, work.repository()), pair).await?;
    work.commit().await?;
    let after = flights.get_many(&pair).await?;
    let is_swapped = after[0].tail_number == before[1].tail_number
        && after[1].tail_number == before[0].tail_number;
    ensure(is_swapped, "a committed unit of work is not there")?;

    // `run` does the same, and tries again where that can help, as after a deadlock.
    tenant
        .run(RetryPolicy::new(), WorkOptions::default(), async |work| {
            swap_planes(&ledger.watch(airline, work.repository()), pair).await
        })
        .await?;
    println!(
        "work       {0} {1} and {0} {2} swap planes: dropped, both keep theirs; committed, both \
         have the other's",
        airline.code, one.number, other.number
    );
    Ok(())
}

/// Takes any repository: the code inside a unit of work is that outside.
async fn swap_planes(
    flights: &dyn Repository<Flight>,
    [one, other]: [FlightId; 2],
) -> tenantry::Result<()> {
    let (mut one, mut other) = (flights.get(one).await?, flights.get(other).await?);
    mem::swap(&mut one.tail_number, &mut other.tail_number);
    flights.update(&mut one).await?;
    flights.update(&mut other).await
}

/// Another airline asks for the identifier of a flight: there is no such flight.
pub(crate) async fn same_id(storage: &Storage, ledger: &Ledger, busiest: &Timetable) -> Result<()> {
    let owner = busiest.airline;
    let stranger = Airline::ALL.into_iter().find(|airline| *airline != owner);
    let stranger = stranger.ok_or("there is one airline only")?;
    let tenant = storage.tenant(stranger.tenant());
    let flights = ledger.watch(stranger, tenant.repository::<Flight>());

    let (theirs, nobodys) = (busiest.flights[0].id, FlightId::of_line(0));
    let foreign = refusal(flights.get(theirs).await)?;
    let missing = refusal(flights.get(nobodys).await)?;
    let same =
        foreign.replace(&theirs.to_string(), "") == missing.replace(&nobodys.to_string(), "");
    ensure(
        same,
        "the answers for a foreign and a missing flight differ",
    )?;
    println!(
        "same id    {} asks for a flight of {}: {foreign}",
        stranger.code, owner.code
    );
    println!("           and for one that nobody has:  {missing}");
    Ok(())
}

/// Every airline reaches for flights of all others: reads and writes, single and in bulk.
pub(crate) async fn strangers(
    storage: &Storage,
    ledger: &Ledger,
    timetables: &[Timetable],
) -> Result<()> {
    // Up to a hundred flights of each, so that the big ones do not drown the small.
    let sample = |timetable: &Timetable| timetable.flights.len().min(100);
    let mixed = timetables
        .iter()
        .flat_map(|timetable| &timetable.flights[..sample(timetable)]);
    let mixed: Vec<FlightId> = mixed.map(|flight| flight.id).collect();
    for own in timetables {
        let tenant = storage.tenant(own.airline.tenant());
        let flights = ledger.watch(own.airline, tenant.repository::<Flight>());

        // Asked for flights of all airlines, it answers with its own.
        let found = flights.get_many(&mixed).await?;
        ensure(
            found.len() == sample(own),
            "a list of identifiers found the wrong flights",
        )?;

        let others = timetables
            .iter()
            .filter(|other| other.airline != own.airline);
        let foreign: Vec<&Flight> = others.filter_map(|other| other.flights.first()).collect();
        for flight in &foreign {
            let mut flight = (*flight).clone();
            refusal(flights.get(flight.id).await)?;
            refusal(flights.update(&mut flight).await)?;
            refusal(flights.delete(&flight).await)?;
        }

        // In bulk there is nothing to refuse: the filter finds no row.
        let filter = Flight::ID.one_of(foreign.iter().map(|flight| flight.id));
        let changes = Changes::new().set(Flight::TAIL_NUMBER, "STOLEN".to_owned());
        ensure(
            flights.count(filter.clone()).await? == 0,
            "foreign flights were counted",
        )?;
        let updated = flights.update_where(filter.clone(), changes, 100).await?;
        let deleted = flights.delete_where(filter, 100).await?;
        ensure(
            updated + deleted == 0,
            "foreign flights were written in bulk",
        )?;
    }
    println!(
        "strangers  each airline reaches for flights of all others, and finds nothing but its own"
    );
    Ok(())
}

/// Returns the text of the `NotFound` that must be the answer.
fn refusal<T>(answer: tenantry::Result<T>) -> Result<String> {
    match answer {
        Ok(_) => Err("an airline has reached a flight that is not its own".into()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(error.to_string()),
        Err(error) => Err(error.into()),
    }
}

fn ensure(holds: bool, otherwise: &'static str) -> Result<()> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}
