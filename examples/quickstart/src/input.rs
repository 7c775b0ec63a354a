//! The file of flights, read from its first to its last line before anything is stored.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;

use chrono::{DateTime, Datelike as _, TimeDelta, Utc};
use flate2::read::MultiGzDecoder;
use tenantry::prelude::*;

use crate::Result;
use crate::flight::{Airline, Flight, FlightId, FlightStatus};
use crate::report::Delays;

/// The flights of January 2013; see `data/README.md`.
const BUILT_IN: &[u8] = include_bytes!("../data/flights-2013-01.csv.gz");

/// What a file must have; further columns and another order do no harm.
const COLUMNS: [&str; 10] = [
    "carrier",
    "flight",
    "tailnum",
    "origin",
    "dest",
    "distance",
    "time_hour",
    "minute",
    "dep_delay",
    "arr_delay",
];

/// What a file tells of one airline.
#[derive(Debug)]
pub(crate) struct Timetable {
    pub(crate) airline: Airline,
    pub(crate) flights: Vec<Flight>,
    /// Added up while reading, to compare the database with.
    pub(crate) delays: Delays,
}

/// Reads a file, compressed by gzip or not, or else the one that is built in.
pub(crate) fn read(path: Option<&Path>) -> Result<Vec<Timetable>> {
    let Some(path) = path else {
        return parse("flights-2013-01.csv.gz", MultiGzDecoder::new(BUILT_IN));
    };
    let name = path.display().to_string();
    let unreadable = |error: io::Error| format!("{name}: {error}");
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    if file
        .fill_buf()
        .map_err(unreadable)?
        .starts_with(&[0x1f, 0x8b])
    {
        parse(&name, MultiGzDecoder::new(file))
    } else {
        parse(&name, file)
    }
}

fn parse(name: &str, file: impl Read) -> Result<Vec<Timetable>> {
    let mut file = BufReader::new(file);
    let mut timetables = Airline::ALL.map(|airline| Timetable {
        airline,
        flights: Vec::new(),
        delays: Delays::default(),
    });
    let mut columns = None;
    let mut bytes = Vec::new();
    for number in 1.. {
        let malformed = |problem| format!("{name}, line {number}: {problem}; nothing was imported");
        bytes.clear();
        if file
            .read_until(b'\n', &mut bytes)
            .map_err(|error| malformed(error.to_string()))?
            == 0
        {
            break;
        }
        let line = text_of(&bytes).map_err(malformed)?;
        let Some(columns) = &columns else {
            columns = Some(Columns::of_header(line).map_err(malformed)?);
            continue;
        };
        let fields = columns.fields(line).map_err(malformed)?;
        let (airline, flight) = parse_line(number, fields).map_err(malformed)?;
        let owner = timetables
            .iter_mut()
            .find(|timetable| timetable.airline == airline);
        if let Some(timetable) = owner {
            timetable.delays.add(flight.departure_delay);
            timetable.flights.push(flight);
        }
    }
    if timetables
        .iter()
        .all(|timetable| timetable.flights.is_empty())
    {
        return Err(format!("{name}: there is no flight in the file; nothing was imported").into());
    }
    Ok(timetables.into())
}

/// Returns a line without its end.
fn text_of(bytes: &[u8]) -> Result<&str, String> {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    std::str::from_utf8(line)
        .map_err(|error| format!("byte {} is not UTF-8 text", error.valid_up_to() + 1))
}

/// Where the columns stand in a line.
struct Columns {
    places: [usize; COLUMNS.len()],
    count: usize,
}

impl Columns {
    fn of_header(line: &str) -> Result<Self, String> {
        // The mark that some programs put before the first letter of a file.
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        let mut places = [0; COLUMNS.len()];
        for (place, column) in places.iter_mut().zip(COLUMNS) {
            *place = line
                .split(',')
                .position(|name| name == column)
                .ok_or_else(|| {
                    format!(
                        "the header has no column {column}; it needs {}",
                        COLUMNS.join(",")
                    )
                })?;
        }
        Ok(Self {
            places,
            count: line.split(',').count(),
        })
    }

    /// Returns the fields of a line in the order of [`COLUMNS`].
    ///
    /// A comma separates, whatever stands around it: no field of such a file needs quotes.
    fn fields<'l>(&self, line: &'l str) -> Result<[&'l str; COLUMNS.len()], String> {
        if line.is_empty() {
            return Err("the line is empty".to_owned());
        }
        let fields: Vec<&str> = line.split(',').collect();
        if fields.len() != self.count {
            return Err(format!(
                "it has {} fields, and the header has {}",
                fields.len(),
                self.count
            ));
        }
        Ok(self.places.map(|place| fields[place]))
    }
}

/// Makes a flight of the fields of a line, in the order of [`COLUMNS`].
fn parse_line(line: u64, fields: [&str; 10]) -> Result<(Airline, Flight), String> {
    let [
        carrier,
        number,
        tail,
        origin,
        dest,
        distance,
        hour,
        minute,
        departure,
        arrival,
    ] = fields;

    let wrong = |column: &str, text: &str, expected: &str| {
        let text: String = text.chars().take(40).collect();
        format!("{column} is {text:?}, which is not {expected}")
    };
    let delay = |column, text| match text {
        "NA" => Ok(None),
        text => match text.parse::<i32>() {
            Ok(minutes) => Ok(Some(minutes)),
            Err(_) => Err(wrong(column, text, "a whole number of minutes, or NA")),
        },
    };
    let positive = |column, text: &str| {
        let number = text.parse::<i32>().ok().filter(|number| *number > 0);
        number.ok_or_else(|| wrong(column, text, "a whole number above zero"))
    };
    let airport = |column, text: &str| {
        if text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase()) {
            Ok(text.to_owned())
        } else {
            Err(wrong(
                column,
                text,
                "the three capital letters of an airport",
            ))
        }
    };

    let airline = Airline::of_code(carrier).ok_or_else(|| {
        wrong(
            "carrier",
            carrier,
            "the code of one of the sixteen airlines",
        )
    })?;
    let tail_number = match tail {
        "NA" => None,
        text if (1..=8).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric()) =>
        {
            Some(text.to_owned())
        }
        text => {
            return Err(wrong(
                "tailnum",
                text,
                "up to eight letters and digits, or NA",
            ));
        }
    };
    let hour = whole_hour(hour).ok_or_else(|| {
        wrong(
            "time_hour",
            hour,
            "a full hour in UTC, as 2013-01-31T05:00:00Z",
        )
    })?;
    let minute = minute
        .parse()
        .ok()
        .filter(|minute| (0..60).contains(minute));
    let minute = minute.ok_or_else(|| wrong("minute", fields[7], "a minute from 0 to 59"))?;
    let departure_delay = delay("dep_delay", departure)?;
    let arrival_delay = delay("arr_delay", arrival)?;
    let status = match (departure_delay, arrival_delay) {
        (Some(_), _) => FlightStatus::Departed,
        (None, None) => FlightStatus::Cancelled,
        (None, Some(_)) => return Err("the flight has an arr_delay but no dep_delay".to_owned()),
    };

    let flight = Flight {
        id: FlightId::of_line(line),
        number: positive("flight", number)?,
        tail_number,
        origin: airport("origin", origin)?,
        destination: airport("dest", dest)?,
        scheduled_departure: hour + TimeDelta::minutes(minute),
        departure_delay,
        arrival_delay,
        distance: positive("distance", distance)?,
        status,
        version: Version::NEW,
    };
    Ok((airline, flight))
}

fn whole_hour(text: &str) -> Option<DateTime<Utc>> {
    let hour = DateTime::parse_from_rfc3339(text)
        .ok()
        .filter(|_| text.ends_with('Z'))?
        .to_utc();
    let is_whole = hour.timestamp() % 3600 == 0 && hour.timestamp_subsec_nanos() == 0;
    (is_whole && hour.year() > 0).then_some(hour)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns what a file says that has one flight for each `carrier,dest`.
    pub(crate) fn timetables(flights: &[&str]) -> Vec<Timetable> {
        let mut file = COLUMNS.join(",");
        for flight in flights {
            let (carrier, dest) = flight.split_once(',').unwrap();
            file += &format!("\n{carrier},1,N1,EWR,{dest},100,2013-01-31T23:00:00Z,59,-3,NA");
        }
        parse("test", file.as_bytes()).unwrap()
    }

    #[test]
    fn a_flight_is_read_column_by_column() {
        let timetables = timetables(&["UA,IAH"]);
        let united = timetables
            .iter()
            .find(|timetable| timetable.airline.code == "UA")
            .unwrap();
        let expected = Flight {
            id: FlightId::of_line(2),
            number: 1,
            tail_number: Some("N1".to_owned()),
            origin: "EWR".to_owned(),
            destination: "IAH".to_owned(),
            scheduled_departure: "2013-01-31T23:59:00Z".parse().unwrap(),
            departure_delay: Some(-3),
            arrival_delay: None,
            distance: 100,
            status: FlightStatus::Departed,
            version: Version::NEW,
        };
        assert_eq!(united.flights, [expected]);
    }

    #[test]
    fn the_built_in_file_has_the_flights_of_january_2013() {
        let timetables = read(None).unwrap();
        let flights: Vec<_> = timetables
            .iter()
            .flat_map(|timetable| &timetable.flights)
            .collect();
        assert_eq!(flights.len(), 27_004);
        assert!(
            timetables
                .iter()
                .all(|timetable| !timetable.flights.is_empty())
        );
        let cancelled = flights
            .iter()
            .filter(|flight| flight.status == FlightStatus::Cancelled);
        assert_eq!(cancelled.count(), 521);
    }
}
