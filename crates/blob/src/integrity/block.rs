//! A stream of bytes, cut into blocks.

use std::collections::VecDeque;
use std::fmt;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tenantry_core::Result;

use super::buffers::{Buffer, Buffers};
use super::{Crc64, Summing};

/// What a blob is put from.
pub(crate) type Body = BoxStream<'static, Result<Bytes>>;

/// What is shorter is copied together: a list of single bytes would take many times their room.
const SMALL: usize = 8 * 1024;
/// From this length on a block that is to be one piece has a buffer of its length.
const LONG: usize = 64 * 1024;

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

/// Cuts a body into blocks, without copying what comes in pieces of some size, unless each block is to be one
/// piece.
pub(crate) struct Blocks {
    body: Body,
    size: usize,
    /// What has come and is not cut yet.
    pending: VecDeque<Bytes>,
    pending_length: usize,
    small: BytesMut,
    /// Where the next block is put together, if each is to be one piece.
    buffers: Option<Buffers>,
    /// What of it was put together, of that which is pending.
    begun: Option<(Buffer, Summing)>,
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
            buffers: None,
            begun: None,
            has_ended: false,
        }
    }

    /// Puts each block together in one piece as it comes, so that no piece outlives the next.
    pub(crate) fn in_one_piece(mut self) -> Self {
        self.buffers = Some(Buffers::in_slabs_of(self.size));
        self
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
        if self.small.is_empty() || self.small.len() >= LONG {
            self.flush_small();
            self.join();
        }
    }

    fn flush_small(&mut self) {
        if !self.small.is_empty() {
            self.pending.push_back(self.small.split().freeze());
        }
    }

    /// Moves what is pending into the block that is put together, if it is long and comes in several pieces.
    fn join(&mut self) {
        let Some(buffers) = &self.buffers else {
            return;
        };
        if self.begun.is_none() {
            // One piece may be a block as it is.
            if self.pending.len() < 2 || self.pending_length < LONG {
                return;
            }
            self.begun = Some((buffers.take(self.size), Summing::default()));
        }
        let Some((buffer, crc64)) = &mut self.begun else {
            return;
        };
        while let Some(mut chunk) = self.pending.pop_front() {
            let length = buffer.fill(&chunk);
            crc64.add(&chunk[..length]);
            if length < chunk.len() {
                self.pending.push_front(chunk.split_off(length));
                break;
            }
        }
    }

    fn cut(&mut self) -> Block {
        self.join();
        let block = match self.begun.take() {
            Some((buffer, crc64)) => Block {
                length: buffer.length(),
                crc64: crc64.finish(),
                chunks: vec![buffer.into_bytes()],
            },
            None => self.cut_chunks(),
        };
        self.pending_length -= block.length;
        block
    }

    fn cut_chunks(&mut self) -> Block {
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
        cut_as(pieces, size, false)
    }

    fn cut_as(pieces: &[Vec<u8>], size: usize, in_one_piece: bool) -> Vec<Block> {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok(Bytes::from(piece.clone())))
            .collect();
        let mut blocks = Blocks::new(stream::iter(pieces).boxed(), size);
        if in_one_piece {
            blocks = blocks.in_one_piece();
        }
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
    fn a_block_of_several_pieces_is_one_and_holds_none_of_them() {
        let (gone, left) = std::sync::mpsc::channel();
        struct Piece(Vec<u8>, std::sync::mpsc::Sender<usize>);
        impl AsRef<[u8]> for Piece {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        impl Drop for Piece {
            fn drop(&mut self) {
                self.1.send(self.0.len()).unwrap();
            }
        }
        let pieces: Vec<_> = [50_000, 60_000, 90_000, 300_000]
            .map(|length| Ok(Bytes::from_owner(Piece(vec![7; length], gone.clone()))))
            .into();
        let mut blocks = Blocks::new(stream::iter(pieces).boxed(), 200_000).in_one_piece();
        let mut next = || blocks.next().now_or_never().unwrap().unwrap();
        let first = next().unwrap();
        assert_eq!((first.length(), first.chunks().len()), (200_000, 1));
        assert_eq!(
            left.try_iter().collect::<Vec<_>>(),
            [50_000, 60_000, 90_000]
        );
        let place = first.chunks()[0].as_ptr();
        drop(first);
        // One piece that is long enough is not copied.
        let second = next().unwrap();
        assert_eq!((second.length(), second.chunks().len()), (200_000, 1));
        assert_ne!(second.chunks()[0].as_ptr(), place);
        let last = next().unwrap();
        assert_eq!((last.length(), last.chunks().len()), (100_000, 1));
        assert!(next().is_none());
    }

    #[test]
    fn nothing_has_no_block() {
        assert!(cut(&[], 10).is_empty());
        assert!(cut(&[Vec::new(), Vec::new()], 10).is_empty());
    }

    proptest! {
        #[test]
        fn blocks_are_full_but_for_the_last_and_hold_all_that_came(
            lengths in prop::collection::vec(prop_oneof![0..SMALL, 0..3 * LONG], 0..12),
            size in prop_oneof![1..SMALL, 1..5 * LONG],
            in_one_piece in any::<bool>(),
        ) {
            let mut byte = 0_u8;
            let piece = |length| {
                std::iter::repeat_with(|| {
                    byte = byte.wrapping_mul(5).wrapping_add(1);
                    byte
                })
                .take(length)
                .collect::<Vec<_>>()
            };
            let pieces: Vec<_> = lengths.into_iter().map(piece).collect();
            let blocks = cut_as(&pieces, size, in_one_piece);
            for block in blocks.iter().rev().skip(1) {
                prop_assert_eq!(block.length(), size);
            }
            let mut whole = Vec::new();
            for block in blocks {
                prop_assert!(block.is_intact() && block.length() > 0);
                prop_assert!(!in_one_piece || block.length() < LONG || block.chunks().len() == 1);
                let crc64 = block.crc64();
                let bytes = block.into_bytes();
                prop_assert_eq!(Crc64::of(&bytes), crc64);
                whole.extend_from_slice(&bytes);
            }
            prop_assert_eq!(whole, pieces.concat());
        }
    }
}
