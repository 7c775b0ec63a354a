//! What goes wrong on purpose, and when.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlobFault {
    /// It is answered so, and the account never sees it.
    Refused {
        /// The status, such as 503.
        status: u16,
        /// The code of the service, such as `ServerBusy`.
        code: &'static str,
        /// What stands in the header `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// The connection is cut when so many bytes of its body have come; the account never sees it.
    CutWithin(usize),
    /// The account carries it out, and the connection is cut in place of the answer.
    AnswerLost,
    /// A byte in the middle of its body is another when it comes to the account.
    BodyAltered,
    /// A byte in the middle of the answer's body is another.
    AnswerAltered,
    /// The answer breaks off after so many bytes.
    AnswerCutAfter(usize),
    /// The answer never comes.
    Silence,
    /// Each piece of the answer's body is so late.
    SlowAnswer(Duration),
}

#[derive(Debug)]
struct Armed {
    fault: BlobFault,
    method: &'static str,
    within: &'static str,
    skip: usize,
    times: usize,
}

/// The faults that are still to come.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Vec<Armed>>);

impl Faults {
    pub(super) fn arm(
        &self,
        fault: BlobFault,
        (method, within): (&'static str, &'static str),
        skip: usize,
        times: usize,
    ) {
        let armed = Armed {
            fault,
            method,
            within,
            skip,
            times,
        };
        self.lock().push(armed);
    }

    pub(super) fn are_armed(&self) -> bool {
        !self.lock().is_empty()
    }

    /// Returns what goes wrong with a request, if anything does.
    pub(super) fn take(&self, method: &str, target: &str) -> Option<BlobFault> {
        let mut all = self.lock();
        let fits = |it: &&mut Armed| it.method == method && target.contains(it.within);
        let armed = all.iter_mut().find(fits)?;
        if armed.skip > 0 {
            armed.skip -= 1;
            return None;
        }
        armed.times -= 1;
        let fault = armed.fault;
        all.retain(|it| it.times > 0);
        Some(fault)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Armed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
