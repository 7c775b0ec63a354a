//! Processes that are killed while two tenants are at work.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use skyline::{Airline, Browser, Desk, PartName};

use super::fleet::Fleet;
use super::world::World;

/// How long the broker may keep to itself what a process had taken.
const AGAIN: Duration = Duration::from_secs(120);

/// What became of the delays that a tenant has told.
#[derive(Debug, Default)]
struct Ledger {
    /// Answered: each is told to the people once.
    accepted: u64,
    /// Not answered: each is told once or never.
    doubtful: u64,
}

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
        assert!(ledger.accepted > 0, "{ledger:?}");
        // What a process had taken when it was killed, the broker gives out again after a while.
        let started = Instant::now();
        let told = loop {
            let told = settled(browser).await - before;
            if told >= ledger.accepted || started.elapsed() > AGAIN {
                break told;
            }
        };
        let expected = ledger.accepted..=ledger.accepted + ledger.doubtful;
        assert!(expected.contains(&told), "{told} were told of {ledger:?}");
    }
}

/// Tells of one delay after the other, by which no report is made, until it is over.
async fn delays(browser: &Browser, is_over: &AtomicBool) -> Ledger {
    let flights = loop {
        match browser.get("/").await {
            Ok(page) if page.status == 200 => break flights(&page.body),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    let mut ledger = Ledger::default();
    for flight in flights.iter().cycle() {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let path = format!("/flights/{flight}/delay");
        match browser.post(&path, "minutes=40").await {
            Ok(answer) if answer.status == 303 => ledger.accepted += 1,
            _ => ledger.doubtful += 1,
        }
        // Below the limit of a tenant.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    ledger
}

/// Returns how many notifications nobody has read, once no more come.
async fn settled(browser: &Browser) -> u64 {
    let (mut last, mut since) = (None, Instant::now());
    loop {
        if let Ok(page) = browser.get("/").await
            && page.status == 200
        {
            let unread = page
                .between("<p>", " unread")
                .and_then(|text| text.rsplit('>').next());
            let unread: Option<u64> = unread.and_then(|text| text.parse().ok());
            if unread != last {
                (last, since) = (unread, Instant::now());
            }
        }
        if let Some(unread) = last.filter(|_| since.elapsed() > Duration::from_secs(6)) {
            return unread;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn signed_in(desk: &Desk, airline: Airline) -> Browser {
    let mut browser = Browser::at(desk.edge(), airline.slug);
    let code = desk.code(airline.slug).unwrap();
    assert_eq!(browser.sign_in("ada", &code).await.unwrap().status, 303);
    browser
}

/// Returns the identifiers of the flights of a page.
fn flights(page: &str) -> Vec<String> {
    let parts = page.split("action=\"/flights/").skip(1);
    parts
        .map(|part| part.split('/').next().unwrap().to_owned())
        .collect()
}

/// Returns ports that nobody has, as long as nobody takes them.
pub(crate) fn free_ports() -> [u16; 5] {
    let listeners: [_; 5] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|it| it.local_addr().unwrap().port())
}
