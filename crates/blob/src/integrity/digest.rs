//! The SHA-256 of a stream, reckoned beside what is done with it.

use bytes::Bytes;
use sha2::Digest as _;
use tenantry_core::Result;

use super::Sha256;
use super::lane::{Lane, Work};

/// From this length on bytes are hashed by a thread that may be busy: it is 30 µs and more.
const LONG: usize = 64 * 1024;

/// A digest that is under way: while pieces are hashed, the caller writes them or reads the next.
#[derive(Debug)]
pub(crate) struct Hashing {
    lane: Lane<Hasher>,
    length: u64,
}

/// A digest that is under way in this thread.
#[derive(Default)]
pub(crate) struct Hasher(sha2::Sha256);

#[cfg(feature = "fs")]
impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Sha256 {
        Sha256(self.0.finalize().into())
    }
}

impl Work for Hasher {
    type Piece = Vec<Bytes>;

    fn work(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        self.add(&chunks);
        Ok(())
    }
}

impl Hasher {
    fn add(&mut self, chunks: &[Bytes]) {
        for chunk in chunks {
            self.0.update(chunk);
        }
    }
}

impl Hashing {
    pub(crate) fn new() -> Self {
        Self {
            lane: Lane::new(Hasher::default()),
            length: 0,
        }
    }

    /// Returns how many bytes it was given.
    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    /// Adds bytes, and waits while too many of those before are not hashed yet.
    ///
    /// Dropped, the digest may be without them.
    pub(crate) async fn add(&mut self, chunks: &[Bytes]) -> Result<()> {
        let length: usize = chunks.iter().map(Bytes::len).sum();
        self.length += u64::try_from(length).unwrap_or(u64::MAX);
        if length < LONG && self.lane.here(|hasher| hasher.add(chunks)).is_some() {
            return Ok(());
        }
        self.lane.send(chunks.to_vec(), length).await
    }

    /// Returns the digest of all that was added.
    pub(crate) async fn finish(mut self) -> Result<Sha256> {
        Ok(Sha256(self.lane.finish().await?.0.finalize().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_digest_of_short_and_long_pieces_is_that_of_the_whole() {
        let mut hashing = Hashing::new();
        let mut whole = Vec::new();
        for length in [0, 1, LONG - 1, LONG, 3, 5 * LONG, LONG + 1] {
            let piece = vec![length.to_le_bytes()[0]; length];
            whole.extend_from_slice(&piece);
            let (one, two) = piece.split_at(length / 3);
            let pieces = [Bytes::copy_from_slice(one), Bytes::copy_from_slice(two)];
            hashing.add(&pieces).await.unwrap();
        }
        assert_eq!(hashing.length(), whole.len() as u64);
        assert_eq!(hashing.finish().await.unwrap(), Sha256::of(&whole));
    }
}
