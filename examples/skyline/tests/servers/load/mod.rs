//! Requests of two tenants, as many a second as are asked for whether they are answered or not, and of a third that
//! reaches for what is theirs.

mod record;
mod request;
mod side;
mod truth;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use skyline::{Airline, Desk, Result};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

pub(crate) use self::record::{Record, Served};
pub(crate) use self::truth::Truth;

use self::request::Request;
use self::side::Sides;
use super::world::World;

/// How many requests of a tenant the edge has to let through in a minute: more than any load has.
pub(crate) const REQUESTS: u64 = 1_000_000;

/// How many requests may be without an answer; more are not sent.
pub(crate) const IN_FLIGHT: u32 = 200;

/// How often requests are sent.
const TICK: Duration = Duration::from_millis(10);

/// Requests that are being sent.
pub(crate) struct Load {
    record: Arc<Record>,
    stop: Arc<AtomicBool>,
    sending: JoinHandle<()>,
    in_flight: Arc<Semaphore>,
}

impl Load {
    /// Signs the three in, and begins with so many requests a second.
    pub(crate) async fn start(desk: &Desk, truth: &Truth, rate: u64) -> Result<Self> {
        let record = Arc::new(Record::new());
        let sides = Arc::new(Sides::sign_in(desk, truth).await?);
        let stop = Arc::new(AtomicBool::new(false));
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT as usize));
        let sending = send(
            sides,
            Arc::clone(&record),
            Arc::clone(&stop),
            Arc::clone(&in_flight),
            rate,
        );
        Ok(Self {
            record: Arc::clone(&record),
            sending: tokio::spawn(sending),
            stop,
            in_flight,
        })
    }

    /// Returns what was answered until now.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// Sends no more, and waits for the last answer.
    pub(crate) async fn stop(self) -> Result<Arc<Record>> {
        self.stop.store(true, Ordering::Relaxed);
        self.sending.await?;
        drop(self.in_flight.acquire_many(IN_FLIGHT).await?);
        Ok(self.record)
    }
}

async fn send(
    sides: Arc<Sides>,
    record: Arc<Record>,
    stop: Arc<AtomicBool>,
    in_flight: Arc<Semaphore>,
    rate: u64,
) {
    let started = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let due = started.elapsed().as_millis() * u128::from(rate) / 1_000;
        while u128::from(number) < due {
            number += 1;
            let Ok(permit) = Arc::clone(&in_flight).try_acquire_owned() else {
                record.not_sent();
                continue;
            };
            let (sides, record) = (Arc::clone(&sides), Arc::clone(&record));
            tokio::spawn(async move {
                Request::number(number).send(&sides, &record).await;
                drop(permit);
            });
        }
    }
}

/// Starts what a load needs: the tenants, with everything told of that their flights have brought, and their rows as they
/// are before it.
pub(crate) async fn settled(desk: &Desk, world: &World) -> Result<Truth> {
    for airline in Airline::ALL {
        desk.admit(airline).await?;
    }
    Truth::before(desk, world).await
}

/// Returns how many requests are sent a second: as many as two cores carry.
pub(crate) fn rate() -> u64 {
    let otherwise = match cfg!(debug_assertions) {
        true => 300,
        false => 1_000,
    };
    number("SKYLINE_LOAD_RATE", otherwise)
}

/// Returns a number of the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "tests are told by it how much they may do"
)]
pub(crate) fn number(name: &str, otherwise: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(otherwise, |text| text.parse().unwrap())
}
