//! A stream of bytes, cut into blocks.

use std::collections::VecDeque;
use std::fmt;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tenantry_core::Result;

use super::Crc64;

/// What a blob is put from.
pub(crate) type Body = BoxStream<'static, Result<Bytes>>;

/// What is shorter is copied together: a list of single bytes would take many times their room.
const SMALL: usize = 8 * 1024;

/// A part of a blob, of the length that its backend asked for, or shorter at the end.
#[derive(Clone)]
pub struct Block {
    chunks: Vec<Bytes>,
    length: usize,
    crc64: Crc64,
}

impl Block {
    /// Returns how many bytes it has.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }

    /// Returns the checksum of its bytes, taken when they came.
    #[must_use]
    pub const fn crc64(&self) -> Crc64 {
        self.crc64
    }

    /// Returns its bytes in the pieces they came in.
    #[must_use]
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// Returns its bytes in one piece, copied if they came in several.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match <[Bytes; 1]>::try_from(self.chunks) {
            Ok([whole]) => whole,
            Err(chunks) => {
                let mut whole = BytesMut::with_capacity(self.length);
                for chunk in chunks {
                    whole.extend_from_slice(&chunk);
                }
                whole.freeze()
            }
        }
    }

    /// Returns a block of these bytes.
    #[cfg(feature = "encryption")]
    pub(crate) fn of(bytes: Bytes) -> Self {
        Self {
            length: bytes.len(),
            crc64: Crc64::of(&bytes),
            chunks: vec![bytes],
        }
    }

    /// Returns a block that was altered on its way.
    #[cfg(feature = "conformance")]
    pub(crate) fn altered(bytes: &'static [u8]) -> Self {
        Self {
            chunks: vec![Bytes::from_static(bytes)],
            length: bytes.len(),
            crc64: Crc64(!Crc64::of(bytes).0),
        }
    }

    /// Returns whether its bytes still have its checksum.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        Crc64::of_all(self.chunks.iter().map(|chunk| &**chunk)) == self.crc64
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("length", &self.length)
            .field("crc64", &self.crc64)
            .finish_non_exhaustive()
    }
}

/// Cuts a body into blocks, without copying what comes in pieces of some size.
pub(crate) struct Blocks {
    body: Body,
    size: usize,
    /// What has come and is not cut yet.
    pending: VecDeque<Bytes>,
    pending_length: usize,
    small: BytesMut,
    has_ended: bool,
}

impl Blocks {
    pub(crate) fn new(body: Body, size: usize) -> Self {
        Self {
            body,
            size: size.max(1),
            pending: VecDeque::new(),
            pending_length: 0,
            small: BytesMut::new(),
            has_ended: false,
        }
    }

    /// Returns the next block: nothing behind the last byte, and no block without a byte.
    pub(crate) async fn next(&mut self) -> Result<Option<Block>> {
        while !self.has_ended && self.pending_length < self.size {
            match self.body.next().await {
                Some(chunk) => self.take(chunk?),
                None => self.has_ended = true,
            }
        }
        self.flush_small();
        Ok((self.pending_length > 0).then(|| self.cut()))
    }

    fn take(&mut self, chunk: Bytes) {
        self.pending_length += chunk.len();
        if chunk.len() < SMALL {
            self.small.extend_from_slice(&chunk);
        } else {
            self.flush_small();
            self.pending.push_back(chunk);
        }
    }

    fn flush_small(&mut self) {
        if !self.small.is_empty() {
            self.pending.push_back(self.small.split().freeze());
        }
    }

    fn cut(&mut self) -> Block {
        let (mut chunks, mut length) = (Vec::new(), 0);
        while length < self.size {
            let Some(mut chunk) = self.pending.pop_front() else {
                break;
            };
            if chunk.len() > self.size - length {
                let rest = chunk.split_off(self.size - length);
                self.pending.push_front(rest);
            }
            length += chunk.len();
            chunks.push(chunk);
        }
        self.pending_length -= length;
        let crc64 = Crc64::of_all(chunks.iter().map(|chunk| &**chunk));
        Block {
            chunks,
            length,
            crc64,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, stream};
    use proptest::prelude::*;

    use super::*;

    fn cut(pieces: &[Vec<u8>], size: usize) -> Vec<Block> {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok(Bytes::from(piece.clone())))
            .collect();
        let mut blocks = Blocks::new(stream::iter(pieces).boxed(), size);
        let mut all = Vec::new();
        while let Some(block) = blocks.next().now_or_never().unwrap().unwrap() {
            all.push(block);
        }
        all
    }

    #[test]
    fn tiny_pieces_are_copied_together() {
        let pieces: Vec<_> = (0..10_000_u32)
            .map(|number| vec![number.to_le_bytes()[0]])
            .collect();
        let blocks = cut(&pieces, 4_096);
        assert_eq!(blocks.len(), 3);
        for block in blocks {
            assert_eq!(block.chunks().len(), 1);
        }
    }

    #[test]
    fn large_pieces_are_not_copied() {
        let piece = Bytes::from(vec![7; 100_000]);
        let body = stream::iter([Ok(piece.clone())]).boxed();
        let mut blocks = Blocks::new(body, 65_536);
        let first = blocks.next().now_or_never().unwrap().unwrap().unwrap();
        assert_eq!(first.into_bytes().as_ptr(), piece.as_ptr());
    }

    #[test]
    fn nothing_has_no_block() {
        assert!(cut(&[], 10).is_empty());
        assert!(cut(&[Vec::new(), Vec::new()], 10).is_empty());
    }

    proptest! {
        #[test]
        fn blocks_are_full_but_for_the_last_and_hold_all_that_came(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20_000), 0..12),
            size in 1_usize..30_000,
        ) {
            let blocks = cut(&pieces, size);
            for block in blocks.iter().rev().skip(1) {
                prop_assert_eq!(block.length(), size);
            }
            let mut whole = Vec::new();
            for block in blocks {
                prop_assert!(block.is_intact() && block.length() > 0);
                let crc64 = block.crc64();
                let bytes = block.into_bytes();
                prop_assert_eq!(Crc64::of(&bytes), crc64);
                whole.extend_from_slice(&bytes);
            }
            prop_assert_eq!(whole, pieces.concat());
        }
    }
}
