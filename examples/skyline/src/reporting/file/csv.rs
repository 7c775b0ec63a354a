//! Lines of text, with commas between.

use std::fmt::Write as _;
use std::mem;

use bytes::Bytes;

use crate::reporting::DelayFact;

pub(super) struct Csv(String);

impl Csv {
    pub(super) fn new() -> Self {
        Self("flight,origin,destination,planned,minutes\n".to_owned())
    }

    /// Airports are three letters, and the rest are numbers: there is nothing to quote.
    pub(super) fn write(&mut self, facts: &[DelayFact]) {
        for fact in facts {
            let planned = fact.scheduled_departure.format("%Y-%m-%dT%H:%MZ");
            let (number, origin, destination) = (fact.number, &fact.origin, &fact.destination);
            // A text takes all that is written to it.
            let _ = writeln!(
                self.0,
                "{number},{origin},{destination},{planned},{}",
                fact.minutes
            );
        }
    }

    pub(super) fn take(&mut self) -> Bytes {
        mem::take(&mut self.0).into()
    }
}
