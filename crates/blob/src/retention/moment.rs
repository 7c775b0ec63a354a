//! Moments as a database keeps them.

use chrono::{DateTime, Utc};

/// The first and the last moment of a database; chrono's own would do if these were none.
const FIRST: DateTime<Utc> = match DateTime::from_timestamp(-62_135_596_800, 0) {
    Some(first) => first,
    None => DateTime::<Utc>::MIN_UTC,
};
const LAST: DateTime<Utc> = match DateTime::from_timestamp(253_402_300_799, 999_999_000) {
    Some(last) => last,
    None => DateTime::<Utc>::MAX_UTC,
};

/// Returns the moment cut to the microsecond, and the nearest one in the years 1 to 9999.
#[cfg(any(test, feature = "artifacts"))]
pub(crate) fn nearest_stored(time: DateTime<Utc>) -> DateTime<Utc> {
    let within = time.clamp(FIRST, LAST);
    DateTime::from_timestamp_micros(within.timestamp_micros()).unwrap_or(within)
}

/// Returns the moment cut to the microsecond; `None` outside the years 1 to 9999.
pub(crate) fn stored(time: DateTime<Utc>) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(time.timestamp_micros())
        .filter(|cut| (FIRST..=LAST).contains(cut))
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};

    use super::{FIRST, LAST, nearest_stored, stored};

    #[test]
    fn a_moment_is_cut_to_what_a_database_keeps() {
        assert_eq!(FIRST.to_rfc3339(), "0001-01-01T00:00:00+00:00");
        assert_eq!(LAST.to_rfc3339(), "9999-12-31T23:59:59.999999+00:00");
        let nano = TimeDelta::nanoseconds(1);
        for (time, nearest, kept) in [
            (FIRST, FIRST, Some(FIRST)),
            (FIRST - nano, FIRST, None),
            (LAST + nano, LAST, Some(LAST)),
            (LAST + nano * 1_000, LAST, None),
            (DateTime::<Utc>::MIN_UTC, FIRST, None),
            (DateTime::<Utc>::MAX_UTC, LAST, None),
            (
                DateTime::UNIX_EPOCH - nano,
                DateTime::UNIX_EPOCH - nano * 1_000,
                Some(DateTime::UNIX_EPOCH - nano * 1_000),
            ),
        ] {
            assert_eq!((nearest_stored(time), stored(time)), (nearest, kept));
        }
    }
}
