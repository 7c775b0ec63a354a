//! The SHA-256 of a stream, reckoned beside what is done with it.

use bytes::Bytes;
use sha2::Digest as _;
use tenantry_core::{Error, ErrorKind, Result};
use tokio::task::{JoinHandle, spawn_blocking};

use super::Sha256;

/// From this length on bytes are hashed by a thread that may be busy: it is 30 µs and more.
const LONG: usize = 64 * 1024;

/// A digest that is under way: while one piece is hashed, the caller writes it or reads the next.
#[derive(Debug)]
pub(crate) struct Hashing {
    state: State,
    length: u64,
}

#[derive(Debug)]
enum State {
    Here(sha2::Sha256),
    InThread(JoinHandle<sha2::Sha256>),
}

impl Hashing {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Here(sha2::Sha256::new()),
            length: 0,
        }
    }

    /// Returns how many bytes it was given.
    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    /// Adds bytes; of what was added before, all is hashed when it returns.
    ///
    /// Dropped, the digest is of no more use.
    pub(crate) async fn add(&mut self, chunks: &[Bytes]) -> Result<()> {
        let length: usize = chunks.iter().map(Bytes::len).sum();
        self.length += u64::try_from(length).unwrap_or(u64::MAX);
        let mut hasher = self.idle().await?;
        let hash = move |mut hasher: sha2::Sha256, chunks: &[Bytes]| {
            for chunk in chunks {
                hasher.update(chunk);
            }
            hasher
        };
        if length < LONG {
            hasher = hash(hasher, chunks);
            self.state = State::Here(hasher);
        } else {
            let chunks = chunks.to_vec();
            self.state = State::InThread(spawn_blocking(move || hash(hasher, &chunks)));
        }
        Ok(())
    }

    /// Returns the digest of all that was added.
    pub(crate) async fn finish(mut self) -> Result<Sha256> {
        Ok(Sha256(self.idle().await?.finalize().into()))
    }

    async fn idle(&mut self) -> Result<sha2::Sha256> {
        match &mut self.state {
            State::Here(hasher) => Ok(std::mem::take(hasher)),
            State::InThread(thread) => thread.await.map_err(|cause| {
                Error::new(ErrorKind::Unavailable, "hash blob")
                    .with_detail("the runtime shuts down")
                    .with_source(cause)
            }),
        }
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
