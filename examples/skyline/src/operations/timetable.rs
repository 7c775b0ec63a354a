//! The flights of January 2013, as the file of the quickstart has them.

use std::io::{BufRead as _, BufReader};

use chrono::{DateTime, TimeDelta, Utc};
use flate2::read::GzDecoder;
use tenantry::prelude::*;
use uuid::Uuid;

use super::flight::{Flight, FlightId};

/// 27,004 flights; `examples/quickstart/data/README.md` tells where they come from.
const FILE: &[u8] = include_bytes!("../../../quickstart/data/flights-2013-01.csv.gz");

/// In this order in the file.
const HEADER: &str =
    "dep_delay,arr_delay,carrier,flight,tailnum,origin,dest,distance,minute,time_hour";

/// Reads the flights of an airline; it takes a moment of processor time.
///
/// # Errors
///
/// `InvalidInput` if the file has no flight of it.
pub(super) fn flights_of(carrier: &str) -> Result<Vec<Flight>> {
    let mut flights = Vec::new();
    for (number, line) in BufReader::new(GzDecoder::new(FILE)).lines().enumerate() {
        let line = line.map_err(|cause| malformed(number).with_source(cause))?;
        if number == 0 {
            if line != HEADER {
                return Err(malformed(number).with_detail("the columns are others"));
            }
            continue;
        }
        let fields: Vec<&str> = line.split(',').collect();
        if fields.get(2) == Some(&carrier) {
            flights.push(flight(number, &fields).ok_or_else(|| malformed(number))?);
        }
    }
    if flights.is_empty() {
        return Err(Error::new(ErrorKind::InvalidInput, "read timetable")
            .with_subject(carrier.to_owned())
            .with_detail("the file has no flight of this airline"));
    }
    Ok(flights)
}

fn flight(line: usize, fields: &[&str]) -> Option<Flight> {
    let &[
        delay,
        _,
        _,
        number,
        tail,
        origin,
        destination,
        _,
        minute,
        hour,
    ] = fields
    else {
        return None;
    };
    let hour: DateTime<Utc> = DateTime::parse_from_rfc3339(hour).ok()?.to_utc();
    // A flight without a delay has never left.
    let departure_delay = match delay {
        "NA" => None,
        minutes => Some(minutes.parse().ok()?),
    };
    Some(Flight {
        // The same in each run, so that a test may ask for another airline's.
        id: FlightId(Uuid::from_u128(
            0x5c11_0000_2013_8001_8000_0000_0000_0000 | line as u128,
        )),
        number: number.parse().ok()?,
        tail_number: (tail != "NA").then(|| tail.to_owned()),
        origin: origin.to_owned(),
        destination: destination.to_owned(),
        scheduled_departure: hour + TimeDelta::minutes(minute.parse().ok()?),
        departure_delay,
        is_cancelled: departure_delay.is_none(),
        version: Version::NEW,
    })
}

fn malformed(line: usize) -> Error {
    Error::new(ErrorKind::InvalidValue, "read timetable").with_subject(format!("line {}", line + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_airline_has_its_own_flights() {
        let counts = ["UA", "B6", "HA"].map(|carrier| flights_of(carrier).unwrap().len());
        assert_eq!(counts, [4_637, 4_427, 31]);
        assert_eq!(
            flights_of("XX").unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
}
