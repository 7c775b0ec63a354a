//! The `traceparent` header of W3C Trace Context.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

const EXPECTED: &str = "expected a traceparent of W3C Trace Context, such as \
                        00-<32 lower hex>-<16 lower hex>-01, with neither id all zero";
/// The bytes of version, trace-id, parent-id and flags with the hyphens between them.
const LENGTH: usize = 55;
const SAMPLED: u8 = 0x01;

/// A `traceparent` of [W3C Trace Context](https://www.w3.org/TR/trace-context/), level 1.
///
/// Parsing follows the specification to the letter. A header of a later version is read as far
/// as this version knows it, and is written as version `00` with the sampled flag alone; a header
/// of version `00` is written as it was read, flags included.
///
/// # Examples
///
/// ```
/// use tenantry_core::TraceParent;
///
/// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
/// let trace: TraceParent = header.parse()?;
/// assert_eq!(trace.trace_id_hex(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// assert!(!trace.is_sampled());
/// assert_eq!(trace.to_string(), header);
/// # Ok::<(), tenantry_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: [u8; 16],
    parent_id: [u8; 8],
    flags: u8,
}

impl TraceParent {
    /// Returns the header of these parts.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): one of the ids is all zero.
    pub fn new(trace_id: [u8; 16], parent_id: [u8; 8], flags: u8) -> Result<Self> {
        if trace_id == [0; 16] || parent_id == [0; 8] {
            return Err(Error::refused("make traceparent", EXPECTED));
        }
        Ok(Self {
            trace_id,
            parent_id,
            flags,
        })
    }

    /// Returns the identifier of the whole trace.
    #[must_use]
    pub const fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// Returns the identifier of the whole trace in 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id_hex(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.trace_id))
    }

    /// Returns the identifier of the calling span.
    #[must_use]
    pub const fn parent_id(&self) -> [u8; 8] {
        self.parent_id
    }

    /// Returns the flags, of which bit 0 is "sampled".
    #[must_use]
    pub const fn flags(&self) -> u8 {
        self.flags
    }

    /// Returns whether the caller may have recorded the trace.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trace_id = u128::from_be_bytes(self.trace_id);
        let parent_id = u64::from_be_bytes(self.parent_id);
        write!(f, "00-{trace_id:032x}-{parent_id:016x}-{:02x}", self.flags)
    }
}

impl FromStr for TraceParent {
    type Err = Error;

    /// Parses the value of a `traceparent` header.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): it is not one. The specification asks
    ///   to start a new trace then, not to refuse the request.
    fn from_str(header: &str) -> Result<Self> {
        parse(header.as_bytes()).ok_or_else(|| Error::refused("parse traceparent", EXPECTED))
    }
}

fn parse(header: &[u8]) -> Option<TraceParent> {
    let (known, rest) = header.split_at_checked(LENGTH)?;
    if [known[2], known[35], known[52]] != [b'-'; 3] {
        return None;
    }
    let [version] = hex(&known[..2])?;
    let trace_id = hex(&known[3..35])?;
    let parent_id = hex(&known[36..52])?;
    let [mut flags] = hex(&known[53..])?;
    match version {
        0x00 if rest.is_empty() => {}
        0x00 | 0xff => return None,
        _ if rest.is_empty() || rest[0] == b'-' => flags &= SAMPLED,
        _ => return None,
    }
    TraceParent::new(trace_id, parent_id, flags).ok()
}

/// Reads exactly `N` bytes from lower-case hexadecimal digits.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ErrorKind;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const IDS: &str = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";

    #[test]
    fn valid_header_gives_its_parts() {
        let trace: TraceParent = VALID.parse().unwrap();
        assert_eq!(trace.trace_id()[..2], [0x4b, 0xf9]);
        assert_eq!(
            trace.parent_id(),
            [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]
        );
        assert!(trace.is_sampled());
    }

    #[test]
    fn later_versions_are_read_as_far_as_they_are_known() {
        for header in [
            format!("01-{IDS}-03"),
            format!("cc-{IDS}-01-what-comes-later"),
        ] {
            assert_eq!(
                header.parse::<TraceParent>().unwrap().to_string(),
                VALID,
                "{header}"
            );
        }
    }

    #[test]
    fn malformed_headers_are_refused() {
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let zero_parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        for header in [
            "",
            "00",
            &VALID[..54],
            &VALID.to_uppercase(),
            &VALID.replace('-', "_"),
            &format!("{VALID}-"),
            &format!("{VALID}-extra"),
            &format!("{VALID}\n"),
            &format!(" {VALID}"),
            &format!("ff-{IDS}-01"),
            &format!("ff-{IDS}-01-x"),
            &format!("01-{IDS}-01x"),
            &format!("01-{IDS}-01."),
            &format!("0g-{IDS}-01"),
            &format!("+0-{IDS}-01"),
            &format!("00-{IDS}-0x"),
            &zero_trace,
            &zero_parent,
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-0",
        ] {
            let error = header.parse::<TraceParent>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{header:?}");
        }
    }

    proptest! {
        #[test]
        fn every_header_of_version_00_is_written_as_it_was_read(
            trace_id in any::<[u8; 16]>(),
            parent_id in any::<[u8; 8]>(),
            flags: u8,
        ) {
            prop_assume!(trace_id != [0; 16] && parent_id != [0; 8]);
            let trace = TraceParent::new(trace_id, parent_id, flags)?;
            prop_assert_eq!(trace.to_string().parse::<TraceParent>()?, trace);
        }

        #[test]
        fn parsing_never_panics(header in "\\PC{50,60}") {
            let _ = header.parse::<TraceParent>();
        }
    }
}
