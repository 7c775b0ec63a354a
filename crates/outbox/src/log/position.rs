//! How far a worker is, as it is stored.

use std::fmt;
use std::str::FromStr;

use tenantry_store::ValueError;

/// Up to where messages have left, and what is being read.
///
/// Stored as text, `after|upto|cursor|floor|horizon|top`: the snapshot that shows all that has left, the one up to
/// which is read if that is begun, the last position read of it, the highest position that the first shows, a
/// transaction that began after it, which whoever stores it writes for a `?`, and the highest position that the second shows.
///
/// The horizon bounds those that the first does not tell of: a snapshot ends at the last transaction that had ended, and
/// others behind it may have been under way. The top says where the reading ends: what came later is above it, and belongs
/// to the next time. It is missing where nobody knows it, and then the end is above all that there is by then.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Position {
    after: String,
    upto: Option<String>,
    cursor: i64,
    floor: i64,
    horizon: Option<String>,
    /// Of the second snapshot, or of the first while nothing is begun.
    top: Option<i64>,
}

/// The first transaction of a cluster.
const FIRST: &str = "1";

/// A transaction that none of a cluster reaches: from there on are those that were brought from elsewhere.
const NEVER: &str = "9223372036854775808";

/// A snapshot that shows nothing.
const NOTHING: &str = "1:1:";

impl Default for Position {
    fn default() -> Self {
        Self {
            after: NOTHING.to_owned(),
            upto: None,
            cursor: 0,
            floor: 0,
            horizon: None,
            top: None,
        }
    }
}

impl Position {
    pub(crate) fn after(&self) -> &str {
        &self.after
    }

    pub(crate) fn upto(&self) -> Option<&str> {
        self.upto.as_deref()
    }

    pub(crate) const fn cursor(&self) -> i64 {
        self.cursor
    }

    pub(crate) const fn floor(&self) -> i64 {
        self.floor
    }

    /// Returns the highest position up to which most has left.
    pub(crate) fn done(&self) -> i64 {
        self.cursor.max(self.floor)
    }

    /// Returns whether nothing has been begun that is not done.
    pub(crate) const fn is_closed(&self) -> bool {
        self.upto.is_none()
    }

    /// Returns whether both are done up to the same snapshot, so that what is new to one is to the other.
    pub(crate) fn is_aligned(&self, other: &Self) -> bool {
        self == other || (self.is_closed() && other.is_closed() && self.after == other.after)
    }

    /// Returns the highest position of the snapshot up to which is read, or was, if it is known.
    pub(crate) const fn top(&self) -> Option<i64> {
        self.top
    }

    /// Begins to read up to a snapshot, which shows no position above `top`.
    pub(crate) fn open(&mut self, upto: &str, top: Option<i64>) {
        if self.upto.is_none() {
            self.upto = Some(upto.to_owned());
            self.cursor = 0;
            self.top = top;
        }
    }

    /// Begins to read up to where another is, or is to be.
    pub(crate) fn follow(&mut self, other: &Self) {
        self.open(other.upto().unwrap_or(other.after()), other.top);
    }

    /// Takes note that all has left up to a position.
    pub(crate) const fn advance(&mut self, position: i64) {
        self.cursor = position;
    }

    /// Takes note that all has left up to the snapshot.
    pub(crate) fn close(&mut self) {
        if let Some(upto) = self.upto.take() {
            self.after = upto;
            self.horizon = None;
            self.floor = self.floor.max(self.cursor).max(self.top.unwrap_or(0));
            self.cursor = 0;
        }
    }

    /// Returns the first transaction of which the snapshot before does not tell whether it had begun.
    pub(crate) fn first_unknown(&self) -> &str {
        self.after.split(':').nth(1).unwrap_or(FIRST)
    }

    /// Returns a transaction that began after the snapshot before, or one that none of a cluster reaches.
    pub(crate) fn horizon(&self) -> &str {
        self.horizon.as_deref().unwrap_or(NEVER)
    }

    /// Returns the transactions that the snapshot before names as under way, as one argument.
    pub(crate) fn under_way(&self) -> String {
        format!("{{{}}}", under_way(&self.after))
    }
}

/// Returns the transactions that a snapshot names as under way, with commas between them.
pub(super) fn under_way(snapshot: &str) -> &str {
    snapshot.splitn(3, ':').nth(2).unwrap_or_default()
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let upto = self.upto.as_deref().unwrap_or_default();
        let horizon = self.horizon.as_deref().unwrap_or(UNKNOWN);
        write!(
            f,
            "{}|{upto}|{}|{}|{horizon}|",
            self.after, self.cursor, self.floor
        )?;
        self.top.map_or(Ok(()), |top| top.fmt(f))
    }
}

/// In the place of a horizon that the database is to write.
const UNKNOWN: &str = "?";

const NO_POSITION: ValueError = ValueError::new("is no position of this release");

impl FromStr for Position {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let parts: Vec<_> = text.split('|').collect();
        let (after, upto, cursor, floor, horizon, top) = match parts[..] {
            [after, upto, cursor, floor, horizon, top] => {
                (after, upto, cursor, floor, horizon, top)
            }
            // As it was stored before there was a top.
            [after, upto, cursor, floor, horizon] => (after, upto, cursor, floor, horizon, ""),
            _ => return Err(NO_POSITION),
        };
        let is_snapshot = |text: &str| text.chars().all(|c| c.is_ascii_digit() || ":,".contains(c));
        let horizon = Some(horizon).filter(|it| *it != UNKNOWN);
        let is_number = |text: &str| text.parse::<u64>().is_ok();
        if !is_snapshot(after) || !is_snapshot(upto) || !horizon.is_none_or(is_number) {
            return Err(NO_POSITION);
        }
        let number = |text: &str| text.parse().map_err(|_| NO_POSITION);
        Ok(Self {
            after: after.to_owned(),
            upto: Some(upto)
                .filter(|upto| !upto.is_empty())
                .map(str::to_owned),
            cursor: number(cursor)?,
            floor: number(floor)?,
            horizon: horizon.map(str::to_owned),
            top: match top {
                "" => None,
                top => Some(number(top)?),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_written_as_it_was_and_read_again() {
        let mut position = Position::default();
        assert_eq!(position.to_string(), "1:1:||0|0|?|");
        position.open("740:748:741,745", Some(20));
        position.advance(17);
        assert_eq!(position.to_string(), "1:1:|740:748:741,745|17|0|?|20");
        // What is begun goes on up to where it was to go.
        position.open("900:900:", Some(30));
        assert_eq!(position.to_string().parse(), Ok(position.clone()));
        position.close();
        assert_eq!(position.to_string(), "740:748:741,745||0|20|?|20");
        let saved: Position = "740:748:741,745||0|20|751|20".parse().unwrap();
        assert_eq!((saved.first_unknown(), saved.horizon()), ("748", "751"));
        assert!(saved.is_aligned(&position));
        assert_eq!(saved.to_string(), "740:748:741,745||0|20|751|20");
        assert_eq!(position.under_way(), "{741,745}");
        assert!(position.is_closed());
        assert_eq!("".parse(), Ok(Position::default()));
        for wrong in [
            "x",
            "1:1:||0|0",
            "1:1:||a|0|?",
            "1;1||0|0|?",
            "1:1:||0|0|",
            "1:1:||0|0|x",
            "1:1:||0|0|?|x",
            "1:1:||0|0|?|0|0",
        ] {
            assert!(wrong.parse::<Position>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_position_without_a_top_is_read_and_ends_at_what_was_read() {
        let mut position: Position = "1:1:|740:748:|17|0|739".parse().unwrap();
        assert_eq!(position.top(), None);
        position.advance(18);
        position.close();
        assert_eq!((position.floor(), position.top()), (18, None));
    }

    #[test]
    fn who_follows_another_ends_where_that_does() {
        let mut first: Position = "1:1:|740:748:|17|0|739|20".parse().unwrap();
        let mut second = Position::default();
        second.follow(&first);
        second.advance(20);
        second.close();
        first.advance(19);
        first.close();
        assert_eq!((first.floor(), first.top()), (20, Some(20)));
        assert_eq!(second, first);
        let mut third = Position::default();
        third.follow(&first);
        assert_eq!(third.to_string(), "1:1:|740:748:|0|0|?|20");
    }
}
