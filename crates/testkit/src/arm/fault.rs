//! What goes wrong on purpose.

use std::time::Duration;

/// Something that goes wrong with the requests that follow, for [`ArmServer::inject`](super::ArmServer::inject).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArmFault {
    /// The caller asks too often: 429, with or without `Retry-After` in seconds. Nothing is done.
    Throttle {
        /// What stands in the header.
        retry_after: Option<u64>,
    },
    /// The answer has this status, which should be one of an error, and nothing is done.
    Status(u16),
    /// It is done, and the answer is late.
    Slow(Duration),
    /// The connection is closed before it is done.
    CutBefore,
    /// It is done, and the connection is closed in the middle of the answer.
    CutAfter,
    /// It is done, and the answer is no JSON.
    Garbage,
    /// It is not done, and answered as if it was: the answer shows what there was before.
    Ignored,
}

/// The faults, in the order in which they were injected, and how many requests each still meets.
#[derive(Default)]
pub(super) struct FaultScript(Vec<(ArmFault, usize)>);

impl FaultScript {
    pub(super) fn inject(&mut self, fault: ArmFault, times: usize) {
        self.0.push((fault, times));
    }

    /// Returns what goes wrong with a request, which uses it up by one.
    pub(super) fn meet(&mut self) -> Option<ArmFault> {
        self.0.retain(|(_, left)| *left > 0);
        let (fault, left) = self.0.first_mut()?;
        *left -= 1;
        Some(fault.clone())
    }

    pub(super) fn is_armed(&self) -> bool {
        self.0.iter().any(|(_, left)| *left > 0)
    }
}
