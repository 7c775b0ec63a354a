//! A tenant as the load plays it: who has signed in, and what it has seen of its own.

use std::sync::Mutex;

use skyline::{Airline, Browser, Desk, Result};
use uuid::Uuid;

use super::truth::Truth;

/// How many flights are asked for; so many are told of delays in turn that two seldom meet.
const FLIGHTS: usize = 600;

/// The tenants of a load.
pub(super) struct Sides {
    pub(super) all: [Side; 3],
}

/// One of them.
pub(super) struct Side {
    pub(super) airline: Airline,
    pub(super) code: String,
    flights: Vec<Uuid>,
    session: Mutex<Session>,
    signing_in: tokio::sync::Mutex<()>,
    seen: Mutex<Seen>,
}

struct Session {
    browser: Browser,
    number: u32,
}

/// What stood on its pages.
#[derive(Default)]
struct Seen {
    notifications: Vec<Uuid>,
    attached: Vec<Uuid>,
    runs: Vec<Uuid>,
    definitions: Vec<Uuid>,
    cursor: Option<String>,
}

/// One of each that it has seen.
pub(super) struct Known {
    pub(super) notification: Option<Uuid>,
    pub(super) attached: Option<Uuid>,
    pub(super) run: Option<Uuid>,
    pub(super) definition: Option<Uuid>,
    pub(super) cursor: Option<String>,
}

impl Sides {
    /// The place of who reaches for what is not its own.
    pub(super) const HOSTILE: usize = 2;

    pub(super) async fn sign_in(desk: &Desk, truth: &Truth) -> Result<Self> {
        let [one, two, three] = Airline::ALL;
        Ok(Self {
            all: [
                Side::sign_in(desk, truth, one).await?,
                Side::sign_in(desk, truth, two).await?,
                Side::sign_in(desk, truth, three).await?,
            ],
        })
    }
}

impl Side {
    async fn sign_in(desk: &Desk, truth: &Truth, airline: Airline) -> Result<Self> {
        let side = Self {
            airline,
            code: desk.code(airline.slug)?,
            flights: truth.flights_of(airline, FLIGHTS)?,
            session: Mutex::new(Session {
                browser: Browser::at(desk.edge(), airline.slug),
                number: 0,
            }),
            signing_in: tokio::sync::Mutex::default(),
            seen: Mutex::default(),
        };
        side.sign_in_again(0).await;
        let (browser, number) = side.browser();
        if number == 0 {
            return Err(format!("{} cannot sign in", airline.slug).into());
        }
        let page = browser.get("/").await?;
        side.learn(&page.body);
        Ok(side)
    }

    /// Returns a browser of who has signed in, and the number of the session.
    pub(super) fn browser(&self) -> (Browser, u32) {
        let session = self.session.lock().unwrap();
        (session.browser.clone(), session.number)
    }

    /// Signs in, unless somebody has since the session of this number.
    pub(super) async fn sign_in_again(&self, number: u32) {
        let _one_at_a_time = self.signing_in.lock().await;
        let (mut browser, current) = self.browser();
        if current != number {
            return;
        }
        // Of one user a few are let in within a minute.
        let user = format!("user-{}", Uuid::new_v4().simple());
        let answer = browser.sign_in(&user, &self.code).await;
        if answer.is_ok_and(|page| page.status == 303) {
            *self.session.lock().unwrap() = Session {
                browser,
                number: number + 1,
            };
        }
    }

    /// Keeps what stands on a page of its own.
    pub(super) fn learn(&self, page: &str) {
        let ids = |before: &str, after: &str| -> Vec<Uuid> {
            let parts = page.split(before).skip(1);
            let parts = parts.filter_map(|part| part.split_once(after));
            parts.filter_map(|(id, _)| id.parse().ok()).collect()
        };
        let mut seen = self.seen.lock().unwrap();
        let attached = page.lines().filter(|line| line.contains("minutes late"));
        let attached = attached.filter_map(|line| {
            let (_, rest) = line.split_once("href=\"/notifications/")?;
            rest.split_once('"')?.0.parse().ok()
        });
        replace(&mut seen.attached, attached.collect());
        replace(&mut seen.notifications, ids("href=\"/notifications/", "\""));
        replace(&mut seen.runs, ids("href=\"/runs/", "/download"));
        replace(&mut seen.definitions, ids("action=\"/reports/", "/runs"));
        let cursor = page.split_once("cursor=").map(|(_, rest)| rest);
        let cursor = cursor.and_then(|rest| rest.split_once('"'));
        if let Some((cursor, _)) = cursor {
            seen.cursor = Some(cursor.to_owned());
        }
    }

    pub(super) fn flight(&self, chance: u64) -> Uuid {
        one_of(&self.flights, chance).unwrap_or_default()
    }

    pub(super) fn known(&self, chance: u64) -> Known {
        let seen = self.seen.lock().unwrap();
        Known {
            notification: one_of(&seen.notifications, chance),
            attached: one_of(&seen.attached, chance),
            run: one_of(&seen.runs, chance),
            definition: one_of(&seen.definitions, chance),
            cursor: seen.cursor.clone(),
        }
    }
}

fn replace(known: &mut Vec<Uuid>, new: Vec<Uuid>) {
    if !new.is_empty() {
        *known = new;
    }
}

fn one_of(all: &[Uuid], chance: u64) -> Option<Uuid> {
    let place = chance.checked_rem(u64::try_from(all.len()).ok()?)?;
    all.get(usize::try_from(place).ok()?).copied()
}
