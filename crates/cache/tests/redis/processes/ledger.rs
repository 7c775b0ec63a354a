//! What processes know of each other: numbers in a file, each of which one process writes.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

pub(super) const TENANTS: usize = 3;
pub(super) const KINDS: usize = 2;
pub(super) const KEYS: usize = 8;
pub(super) const ROWS: usize = TENANTS * KINDS * KEYS;
/// How many processes there are.
pub(super) const NODES: usize = 4;

/// What one number is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Slot {
    /// The version of a row that is stored.
    Committed(usize),
    /// The last of which every level was told.
    Acknowledged(usize),
    /// The last of which every process has heard, or knows that it may not have.
    Heard(usize),
    /// What a process has counted.
    Count(usize, Count),
    /// One, when all may go home.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    Operations,
    Writes,
    Loads,
    /// Invalidations that were refused, or dropped half way.
    Refused,
    Stale,
    Foreign,
    /// Samples that were compared, and how many were old.
    Looks,
    OlderThan1s,
    OlderThan5s,
}

pub(super) const COUNTS: [Count; 9] = [
    Count::Operations,
    Count::Writes,
    Count::Loads,
    Count::Refused,
    Count::Stale,
    Count::Foreign,
    Count::Looks,
    Count::OlderThan1s,
    Count::OlderThan5s,
];

pub(super) struct Ledger(File);

impl Ledger {
    pub(super) fn create(path: &Path) -> Self {
        let all = 3 * ROWS + NODES * COUNTS.len() + 1;
        std::fs::write(path, vec![Self::written(0); all].concat()).unwrap();
        Self::open(path)
    }

    pub(super) fn open(path: &Path) -> Self {
        let file = File::options().read(true).write(true).open(path);
        Self(file.unwrap())
    }

    pub(super) fn get(&self, slot: Slot) -> u64 {
        loop {
            let mut bytes = [0; 16];
            self.0.read_exact_at(&mut bytes, Self::place(slot)).unwrap();
            let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            // Half of it may have been written.
            if bytes == Self::written(number) {
                return number;
            }
        }
    }

    pub(super) fn set(&self, slot: Slot, number: u64) {
        let bytes = Self::written(number);
        self.0.write_all_at(&bytes, Self::place(slot)).unwrap();
    }

    /// Returns the sum of what all processes have counted.
    pub(super) fn sum(&self, count: Count) -> u64 {
        let all = (0..NODES).map(|node| self.get(Slot::Count(node, count)));
        all.sum()
    }

    fn written(number: u64) -> [u8; 16] {
        let bytes = [number.to_le_bytes(), (!number).to_le_bytes()];
        bytes.concat().try_into().unwrap()
    }

    fn place(slot: Slot) -> u64 {
        let number = match slot {
            Slot::Committed(row) => row,
            Slot::Acknowledged(row) => ROWS + row,
            Slot::Heard(row) => 2 * ROWS + row,
            Slot::Count(node, count) => {
                let place = COUNTS.iter().position(|it| *it == count).unwrap();
                3 * ROWS + node * COUNTS.len() + place
            }
            Slot::Over => 3 * ROWS + NODES * COUNTS.len(),
        };
        16 * u64::try_from(number).unwrap()
    }
}
