//! Processes that are killed while two tenants are at work.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use skyline::{Airline, Browser, Desk, PartName};

use super::delays::{Ledger, flights, settled};
use super::fleet::Fleet;
use super::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_told_once_whichever_process_is_killed() {
    let world = World::new().await.unwrap();
    let program = env!("CARGO_BIN_EXE_skyline").into();
    let mut fleet = Fleet::start(&world, program, free_ports()).await.unwrap();
    let desk = fleet.desk().unwrap();
    let [united, jetblue, _] = Airline::ALL;
    let mut browsers = Vec::new();
    for airline in [united, jetblue] {
        desk.admit(airline).await.unwrap();
        browsers.push(signed_in(&desk, airline).await);
    }
    let before = [settled(&browsers[0]).await, settled(&browsers[1]).await];

    let is_over = AtomicBool::new(false);
    let kills = async {
        for part in PartName::ALL {
            tokio::time::sleep(Duration::from_millis(500)).await;
            fleet.kill(part).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        is_over.store(true, Ordering::Relaxed);
    };
    let (of_united, of_jetblue, ()) = tokio::join!(
        delays(&browsers[0], &is_over),
        delays(&browsers[1], &is_over),
        kills
    );

    for ((browser, before), ledger) in browsers.iter().zip(before).zip([of_united, of_jetblue]) {
        ledger.assert_told(browser, before).await;
    }
}

/// Tells of one delay after the other, by which no report is made, until it is over.
async fn delays(browser: &Browser, is_over: &AtomicBool) -> Ledger {
    let flights = flights(browser).await;
    let mut ledger = Ledger::default();
    for flight in flights.iter().cycle() {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        ledger.tell(browser, flight).await;
        // Below the limit of a tenant.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    ledger
}

async fn signed_in(desk: &Desk, airline: Airline) -> Browser {
    let mut browser = Browser::at(desk.edge(), airline.slug);
    let code = desk.code(airline.slug).unwrap();
    assert_eq!(browser.sign_in("ada", &code).await.unwrap().status, 303);
    browser
}

/// Returns ports that nobody has, as long as nobody takes them.
pub(crate) fn free_ports() -> [u16; 5] {
    let listeners: [_; 5] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|it| it.local_addr().unwrap().port())
}
