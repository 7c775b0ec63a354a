//! One request: which it is, and what may be answered.

use std::time::Duration;

use skyline::{Browser, Page, Result};
use uuid::Uuid;

use super::record::{Record, Write};
use super::side::{Side, Sides};

/// After which time there is no more to come: who waits as long has hung.
const LIMIT: Duration = Duration::from_secs(30);

/// Every so many delays are long enough for a report.
const REPORTED: u64 = 40;

/// A request of the sequence that every load is.
pub(super) struct Request {
    number: u64,
    chance: u64,
}

/// What a tenant asks for, of its own or of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Flight,
    Notification,
    Attachment,
    Page,
    Delay,
    ForeignFlight,
    ForeignDelay,
    ForeignNotification,
    ForeignAttachment,
    ForeignReport,
    ForeignFile,
    ForeignStatus,
    ForeignSession,
    ForeignPage,
    ForeignCode,
    ForeignTenant,
}

impl Kind {
    const HOSTILE: [Self; 11] = [
        Self::ForeignFlight,
        Self::ForeignDelay,
        Self::ForeignNotification,
        Self::ForeignAttachment,
        Self::ForeignReport,
        Self::ForeignFile,
        Self::ForeignStatus,
        Self::ForeignSession,
        Self::ForeignPage,
        Self::ForeignCode,
        Self::ForeignTenant,
    ];

    /// Returns what is answered where nothing is wrong.
    const fn expected(self) -> u16 {
        match self {
            Self::Flight | Self::Notification | Self::Attachment | Self::Page => 200,
            Self::Delay => 303,
            // A cursor is good for whom it was made for.
            Self::ForeignPage => 400,
            Self::ForeignSession | Self::ForeignCode => 401,
            _ => 404,
        }
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// As it should be.
    Fine,
    /// Refused, in a way that its sender knows what to do.
    Refused,
    /// Refused by another request of the same tenant to the same flight: nothing has failed.
    Outrun,
    /// As it must never be.
    Wrong,
}

impl Request {
    pub(super) const fn number(number: u64) -> Self {
        // SplitMix64: the same sequence in each run, and of no order.
        let mut it = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self {
            number,
            chance: it ^ (it >> 31),
        }
    }

    /// Of ten requests one is of who reaches for what is not its own.
    const fn side(&self) -> usize {
        match self.number % 10 {
            0 => Sides::HOSTILE,
            number if number % 2 == 0 => 0,
            _ => 1,
        }
    }

    fn kind(&self) -> Kind {
        if self.side() == Sides::HOSTILE {
            let kinds = u64::try_from(Kind::HOSTILE.len()).unwrap();
            return Kind::HOSTILE[usize::try_from(self.chance % kinds).unwrap()];
        }
        match self.chance % 1_000 {
            0..920 => Kind::Flight,
            920..955 => Kind::Notification,
            955..965 => Kind::Attachment,
            965..975 => Kind::Page,
            _ => Kind::Delay,
        }
    }

    /// Sends it, and writes down what is answered.
    pub(super) async fn send(&self, sides: &Sides, record: &Record) {
        let (place, kind) = (self.side(), self.kind());
        let side = &sides.all[place];
        let begun = record.begin(place);
        let trace = Uuid::new_v4();
        let (browser, session) = side.browser();
        let browser = browser.with_header(
            "traceparent",
            &format!("00-{:032x}-00000000000000aa-01", trace.as_u128()),
        );
        // Whose things it is about.
        let owner = match kind {
            Kind::Flight | Kind::Notification | Kind::Attachment | Kind::Page | Kind::Delay => side,
            _ => &sides.all[usize::from(self.chance & (1 << 40) != 0)],
        };
        let flight = owner.flight(self.chance >> 8);
        let delay = i32::try_from(1 + self.chance % 50).unwrap_or(1);
        let minutes = match (self.chance >> 20) % REPORTED {
            0 => delay + 60,
            _ => delay,
        };
        let sent = self.ask(kind, &browser, (side, owner), (flight, minutes));
        let answered = tokio::time::timeout(LIMIT, sent).await;

        let (status, problem) = match &answered {
            Err(_) => (0, "hangs".to_owned()),
            Ok(Err(error)) => (0, format!("cut off: {error}")),
            Ok(Ok(page)) => {
                record.shown(place, &page.body);
                if page.status == 200 && matches!(kind, Kind::Page) {
                    side.learn(&page.body);
                }
                let problem = page.header("x-skyline-problem").unwrap_or_default();
                (page.status, problem.to_owned())
            }
        };
        let answer = record.end(place, &begun, kind, status, &problem);
        if kind == Kind::Delay {
            record.written(Write {
                side: place,
                trace,
                flight,
                minutes,
                status,
                is_doubtful: status == 0 || status == 504,
            });
        }
        // A Redis that came back empty has no sessions.
        if answer == Answer::Refused && status == 401 {
            side.sign_in_again(session).await;
        }
    }

    async fn ask(
        &self,
        kind: Kind,
        browser: &Browser,
        (side, owner): (&Side, &Side),
        (flight, minutes): (Uuid, i32),
    ) -> Result<Page> {
        let known = owner.known(self.chance >> 8);
        let nothing = Uuid::nil();
        let id = |id: Option<Uuid>| id.unwrap_or(nothing);
        match kind {
            Kind::Flight | Kind::ForeignFlight => browser.get(&format!("/flights/{flight}")).await,
            Kind::Delay | Kind::ForeignDelay => {
                let path = format!("/flights/{flight}/delay");
                browser.post(&path, &format!("minutes={minutes}")).await
            }
            Kind::Notification | Kind::ForeignNotification => {
                let id = id(known.notification);
                browser.get(&format!("/notifications/{id}")).await
            }
            Kind::Attachment | Kind::ForeignAttachment => {
                let id = id(known.attached);
                browser
                    .get(&format!("/notifications/{id}/attachment"))
                    .await
            }
            Kind::Page => browser.get("/").await,
            Kind::ForeignPage => {
                let cursor = known.cursor.unwrap_or_default();
                browser.get(&format!("/?cursor={cursor}")).await
            }
            Kind::ForeignReport => {
                let id = id(known.definition);
                browser.post(&format!("/reports/{id}/runs"), "").await
            }
            Kind::ForeignFile => {
                let id = id(known.run);
                browser.get(&format!("/runs/{id}/download")).await
            }
            Kind::ForeignStatus => {
                let path = format!("/tenants/{}/status", owner.airline.slug);
                browser.post(&path, "is_suspended=true").await
            }
            Kind::ForeignCode => {
                let user = Uuid::new_v4().simple();
                let form = format!("user=eve-{user}&code={}", owner.code);
                browser.post("/sign-in", &form).await
            }
            // To be a tenant is what the operator alone makes of one.
            Kind::ForeignTenant => {
                let form = "slug=evil&name=Evil&carrier=UA&access_code=file:/etc/hostname";
                browser.post("/tenants", form).await
            }
            Kind::ForeignSession => {
                let (stolen, _) = owner.browser();
                stolen.gone_to(side.airline.slug).get("/").await
            }
        }
    }
}

/// Judges an answer.
pub(super) fn judge(kind: Kind, status: u16, problem: &str) -> Answer {
    if status == kind.expected() {
        return Answer::Fine;
    }
    // Who has asked knows by the code what to do.
    match (status, problem) {
        (409, "conflict") if kind == Kind::Delay => Answer::Outrun,
        (401, "signed_out") | (403, "suspended") | (429, "throttled") | (504, "commit_unknown") => {
            Answer::Refused
        }
        (
            503,
            "unavailable"
            | "pool_exhausted"
            | "statement_timeout"
            | "throttled"
            | "locked"
            | "deadlock"
            | "serialization_failure",
        ) => Answer::Refused,
        // A file whose storage goes away in its midst: the status was sent before.
        (0, problem) if kind == Kind::Attachment && problem.starts_with("cut off") => {
            Answer::Refused
        }
        _ => Answer::Wrong,
    }
}
