//! Memory for blocks that is used again.

use std::fmt;
use std::mem;
use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

/// How much is asked of the allocator at a time where buffers go back together: more than what that of glibc
/// ever serves from its heaps, so that it is the system that gives and takes it, and no byte of it is there
/// before it is written.
const SLAB: usize = 36 * 1024 * 1024;

/// Buffers of one length, each of which comes back when nobody has its bytes any more.
///
/// An allocator gives each thread memory of its own, and keeps what comes back from another in pieces that the
/// next block may not fit into: megabytes that are taken and given back all the time add up to several times
/// what is in use.
#[derive(Clone)]
pub(crate) struct Buffers {
    free: Arc<Mutex<Free>>,
    length: usize,
    asked: usize,
}

#[derive(Default)]
struct Free {
    /// What has come back.
    used: Vec<BytesMut>,
    /// What was never used.
    rest: BytesMut,
}

/// Bytes as they come, up to the length for which there is room.
pub(crate) struct Buffer {
    bytes: BytesMut,
    room: usize,
    home: Weak<Mutex<Free>>,
}

impl Buffers {
    /// Returns buffers of which each is given back to the allocator by itself: a byte that somebody keeps keeps
    /// no more than its buffer.
    #[cfg(feature = "azure")]
    pub(crate) fn of(length: usize) -> Self {
        Self::asked_for(length, length)
    }

    /// Returns buffers which are given back to the allocator together, when nobody has any bytes of theirs.
    pub(crate) fn in_slabs_of(length: usize) -> Self {
        Self::asked_for(length, SLAB)
    }

    fn asked_for(length: usize, asked: usize) -> Self {
        Self {
            free: Arc::default(),
            length,
            asked,
        }
    }

    /// Returns a buffer for so many bytes, which are no more than the length of all.
    ///
    /// One that is longer than what is asked of the allocator at a time grows as bytes come: how long it is to
    /// be, somebody has only said.
    pub(crate) fn take(&self, room: usize) -> Buffer {
        let room = room.min(self.length);
        // What is much shorter is none of the many that follow each other.
        if room <= self.length / 2 {
            return Buffer {
                bytes: BytesMut::with_capacity(room),
                room,
                home: Weak::new(),
            };
        }
        let free = &mut *self.free.lock();
        let bytes = free.used.pop().unwrap_or_else(|| {
            if self.length > self.asked {
                return BytesMut::with_capacity(self.asked);
            }
            if free.rest.capacity() < self.length {
                free.rest = BytesMut::with_capacity(self.asked);
            }
            let later = free.rest.split_off(self.length);
            mem::replace(&mut free.rest, later)
        });
        Buffer {
            bytes,
            room,
            home: Arc::downgrade(&self.free),
        }
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffers")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl Buffer {
    pub(crate) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Adds as many of these bytes as have room, and returns how many.
    pub(crate) fn fill(&mut self, bytes: &[u8]) -> usize {
        let length = bytes.len().min(self.room - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..length]);
        length
    }

    /// Returns its bytes without copying them.
    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            let mut bytes = mem::take(&mut self.bytes);
            bytes.clear();
            home.lock().used.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_when_nobody_has_its_bytes() {
        let buffers = Buffers::in_slabs_of(1_000);
        let mut buffer = buffers.take(1_000);
        assert_eq!(buffer.fill(&[1; 600]), 600);
        let bytes = buffer.into_bytes();
        let (place, part) = (bytes.as_ptr(), bytes.slice(10..20));
        drop(bytes);

        let mut other = buffers.take(1_000);
        assert_eq!(other.fill(&[2; 1_000]), 1_000);
        assert_ne!(other.as_ref().as_ptr(), place, "a part of it is in use");
        assert_eq!(part, [1; 10][..]);
        drop(part);

        let mut again = buffers.take(800);
        assert_eq!(again.length(), 0);
        assert_eq!((again.fill(&[3; 801]), again.fill(&[3])), (800, 0));
        assert_eq!(again.as_ref(), [3; 800]);
        assert_eq!(again.as_ref().as_ptr(), place);
    }

    #[test]
    fn no_more_are_made_than_are_in_use_at_a_time() {
        let length = SLAB / 4;
        let buffers = Buffers::in_slabs_of(length);
        drop(buffers.take(10));
        assert!(buffers.free.lock().used.is_empty(), "it was short");
        for _ in 0..3 {
            let all = [(); 6].map(|()| buffers.take(length));
            for buffer in &all {
                assert_eq!(buffer.bytes.capacity(), length);
            }
            drop(all.map(Buffer::into_bytes));
            assert_eq!(buffers.free.lock().used.len(), 6);
        }
    }

    #[test]
    fn no_more_is_asked_for_than_a_slab_before_it_has_come() {
        for length in [SLAB + 1, 4_000 * 1024 * 1024, usize::MAX] {
            let buffers = Buffers::in_slabs_of(length);
            let mut buffer = buffers.take(length);
            assert_eq!(buffer.bytes.capacity(), SLAB);
            assert_eq!(buffer.fill(&[7; 1_000]), 1_000);
            assert_eq!(buffer.bytes.capacity(), SLAB);
        }
        let buffers = Buffers::in_slabs_of(SLAB + 1_000);
        for _ in 0..2 {
            let mut buffer = buffers.take(SLAB + 1_000);
            let piece = vec![7; SLAB];
            assert_eq!((buffer.fill(&piece), buffer.fill(&piece)), (SLAB, 1_000));
            assert_eq!(buffer.into_bytes().len(), SLAB + 1_000);
            assert_eq!(buffers.free.lock().used.len(), 1);
        }
    }

    #[test]
    fn bytes_outlive_their_buffers() {
        let buffers = Buffers::in_slabs_of(4);
        let mut last = buffers.take(4);
        assert_eq!(last.fill(b"left"), 4);
        let last = last.into_bytes();
        drop(buffers);
        assert_eq!(last, "left");
    }
}
