//! Where the segments of an encrypted blob lie.

use std::ops::Range;

use super::cipher::TAG;
use crate::record::opened_length;

/// How long the encrypted segments are: so that sixteen are one MiB with their tags, as a block of most
/// backends is.
pub(super) const SEGMENT: u32 = 64 * 1024;

/// The lengths of a blob in segments of so many bytes, tag included; the last may be shorter, and an
/// empty blob has one that is a tag alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    segment: u64,
}

impl Layout {
    pub(super) const fn new(segment: u32) -> Self {
        Self {
            segment: segment as u64,
        }
    }

    /// How many bytes an encrypted segment has.
    pub(super) fn segment(self) -> usize {
        usize::try_from(self.segment).unwrap_or(usize::MAX)
    }

    /// How many bytes of the blob a segment holds.
    pub(super) fn content(self) -> usize {
        self.segment() - TAG
    }

    const fn content_length(self) -> u64 {
        self.segment - TAG as u64
    }

    /// Returns how long so many bytes are when they are encrypted.
    pub(super) fn sealed_length(self, length: u64) -> u64 {
        let segments = length.div_ceil(self.content_length()).max(1);
        length.saturating_add(segments.saturating_mul(TAG as u64))
    }

    /// Returns how many bytes so many encrypted ones are, if there can be so many.
    pub(super) fn length(self, sealed: u64) -> Option<u64> {
        opened_length(self.segment, sealed)
    }

    /// Returns how many segments so many encrypted bytes are.
    pub(super) fn segments(self, sealed: u64) -> u64 {
        sealed.div_ceil(self.segment).max(1)
    }

    /// Returns which segments hold a range that is not empty, and where they lie.
    pub(super) fn sealed_range(self, range: &Range<u64>, sealed: u64) -> (u64, Range<u64>) {
        let first = range.start / self.content_length();
        let end = range.end.div_ceil(self.content_length());
        // The last segment of a length that somebody has made up ends where no number does.
        let lies = first * self.segment..end.saturating_mul(self.segment).min(sealed);
        (first, lies)
    }

    /// Returns where the content of a segment begins in the blob.
    pub(super) const fn position(self, segment: u64) -> u64 {
        segment * self.content_length()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sixteen_segments_are_a_block_of_a_mebibyte() {
        let layout = Layout::new(SEGMENT);
        assert_eq!(layout.sealed_length(16 * 65_520), 1024 * 1024);
        assert_eq!(layout.sealed_length(0), 16);
    }

    #[test]
    fn lengths_that_nothing_has_are_none() {
        let layout = Layout::new(64);
        for sealed in [0, 15, 64 + 1, 64 + 16, 128 + 16] {
            assert_eq!(layout.length(sealed), None, "{sealed}");
        }
    }

    #[test]
    fn a_range_of_the_longest_length_lies_within_it() {
        let layout = Layout::new(SEGMENT);
        for sealed in [u64::MAX, u64::MAX - 15, u64::MAX / 2] {
            let length = layout.length(sealed).unwrap();
            let (first, lies) = layout.sealed_range(&(length - 1..length), sealed);
            assert_eq!((lies.start, lies.end), (first * layout.segment, sealed));
        }
    }

    proptest! {
        #[test]
        fn a_length_leads_there_and_back(segment in 64_u32..1_000_000, length in 0..1_u64 << 40) {
            let layout = Layout::new(segment);
            prop_assert_eq!(layout.length(layout.sealed_length(length)), Some(length));
        }
    }
}
