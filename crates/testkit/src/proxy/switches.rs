//! What a test turns while connections pass.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// On which side of the server's work a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CutPoint {
    BeforeServer,
    AfterServer,
}

/// The state that all connections of a proxy share.
#[derive(Debug, Default)]
pub(super) struct Switches {
    round_trips: AtomicU64,
    connections: AtomicU64,
    refusing: AtomicBool,
    paused: watch::Sender<bool>,
    /// Counts the cuts, so that a connection sees the next one.
    cuts: watch::Sender<u64>,
    armed: Mutex<Option<(CutPoint, Vec<u8>)>>,
}

impl Switches {
    pub(super) fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::SeqCst)
    }

    pub(super) fn count_round_trip(&self) {
        self.round_trips.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn count_connection(&self) {
        self.connections.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn refuse(&self, refusing: bool) {
        self.refusing.store(refusing, Ordering::SeqCst);
    }

    pub(super) fn refuses(&self) -> bool {
        self.refusing.load(Ordering::SeqCst)
    }

    pub(super) fn pause(&self, paused: bool) {
        self.paused.send_replace(paused);
    }

    /// Returns when nothing holds the traffic back.
    pub(super) async fn running(&self) {
        // The sender is in `self`, so the wait ends by the condition alone.
        let _ = self.paused.subscribe().wait_for(|paused| !paused).await;
    }

    pub(super) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Returns a future that ends at the first cut after this call.
    pub(super) fn next_cut(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut cuts = self.cuts.subscribe();
        async move {
            // An error says that the proxy is gone, and its connections go with it.
            let _ = cuts.changed().await;
        }
    }

    pub(super) fn arm(&self, point: CutPoint, needle: Vec<u8>) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = Some((point, needle));
    }

    pub(super) fn is_armed(&self) -> bool {
        self.armed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Looks for the armed needle in what a client has sent, `seen` being its bytes up to now.
    /// Cuts back `seen` to what a later look may need. A needle found is armed no more.
    pub(super) fn find(&self, seen: &mut Vec<u8>) -> Option<CutPoint> {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((point, needle)) = armed.as_ref() else {
            seen.clear();
            return None;
        };
        if needle.is_empty() || seen.windows(needle.len()).any(|window| window == needle) {
            let point = *point;
            *armed = None;
            return Some(point);
        }
        seen.drain(..seen.len().saturating_sub(needle.len() - 1));
        None
    }
}
