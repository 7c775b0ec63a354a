//! Lines of text, with commas between.

use std::fmt::Write as _;
use std::mem;

use bytes::Bytes;
use tenantry::Result;

use super::Format;
use crate::reporting::DelayFact;

/// What is to be written before the next page.
pub(super) struct Csv(String);

impl Csv {
    pub(super) fn new() -> Self {
        Self("flight,origin,destination,planned,minutes\n".to_owned())
    }
}

impl Format for Csv {
    /// Airports are three letters, and the rest are numbers: there is nothing to quote.
    fn page(&mut self, facts: &[DelayFact]) -> Result<Bytes> {
        let mut text = mem::take(&mut self.0);
        for fact in facts {
            let planned = fact.scheduled_departure.format("%Y-%m-%dT%H:%MZ");
            let (number, origin, destination) = (fact.number, &fact.origin, &fact.destination);
            // A text takes all that is written to it.
            let _ = writeln!(
                text,
                "{number},{origin},{destination},{planned},{}",
                fact.minutes
            );
        }
        Ok(text.into())
    }

    fn end(self) -> Result<Bytes> {
        Ok(Bytes::new())
    }
}
