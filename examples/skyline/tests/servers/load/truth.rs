//! What is stored, past all walls, and whether it is what was answered.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use skyline::{Airline, Broker, Browser, Desk, PartName, Result, Slug};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use super::record::{Record, Write};
use super::side::Sides;
use crate::world::World;

/// How long nothing may move before everything is told of.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many notifications of a tenant are opened.
const OPENED: usize = 150;

/// From how many minutes on a delay has a report made.
const REPORTED: i32 = 60;

/// The databases of the services, as their administrator sees them, and how they were before.
pub(crate) struct Truth {
    operations: PgPool,
    notifications: PgPool,
    reporting: PgPool,
    tenants: [Uuid; 3],
    flights: Vec<Flight>,
    told: HashSet<Uuid>,
}

struct Flight {
    tenant_id: Uuid,
    id: Uuid,
    version: i64,
    departure_delay: Option<i32>,
}

struct Told {
    tenant_id: Uuid,
    id: Uuid,
    title: String,
    trace: Option<String>,
}

struct Run {
    tenant_id: Uuid,
    id: Uuid,
    definition: Uuid,
    trace: Option<String>,
    state: String,
}

/// What was compared.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    /// Answered, and stored once.
    pub(crate) accepted: u64,
    /// Refused, and not stored.
    pub(crate) refused: u64,
    /// Of those whose answer is unknown, the ones that are stored.
    pub(crate) doubtful_stored: u64,
    pub(crate) doubtful_gone: u64,
    pub(crate) reports: u64,
}

impl Truth {
    /// Waits until everything is told of, and notes what there is.
    pub(super) async fn before(desk: &Desk, world: &World) -> Result<Self> {
        let tenant =
            |airline: Airline| -> Result<Uuid> { Ok(Slug::new(airline.slug)?.tenant()?.as_uuid()) };
        let [one, two, three] = Airline::ALL;
        let mut truth = Self {
            operations: pool(world, PartName::Operations).await?,
            notifications: pool(world, PartName::Notifications).await?,
            reporting: pool(world, PartName::Reporting).await?,
            tenants: [tenant(one)?, tenant(two)?, tenant(three)?],
            flights: Vec::new(),
            told: HashSet::new(),
        };
        until_idle(desk, world).await?;
        truth.flights = truth.flights_now().await?;
        truth.told = truth.told_now().await?.iter().map(|it| it.id).collect();
        Ok(truth)
    }

    /// Returns flights of an airline, so many at most.
    pub(super) fn flights_of(&self, airline: Airline, most: usize) -> Result<Vec<Uuid>> {
        let tenant = Slug::new(airline.slug)?.tenant()?.as_uuid();
        let flights = self.flights.iter().filter(|it| it.tenant_id == tenant);
        Ok(flights.take(most).map(|it| it.id).collect())
    }

    /// Waits until everything is told of, and compares it with what was answered.
    ///
    /// # Errors
    ///
    /// Something was lost, done twice or shown to another, or it does not come to rest.
    pub(crate) async fn compare(
        &self,
        desk: &Desk,
        world: &World,
        record: &Record,
    ) -> Result<Totals> {
        until_idle(desk, world).await?;
        let (flights, told, runs) = (
            self.flights_now().await?,
            self.told_now().await?,
            self.runs_now().await?,
        );
        let writes = record.writes();
        let mut found = Vec::new();
        let totals = self.notified(&writes, &told, &runs, &mut found);
        self.stored(&writes, &told, &flights, &mut found).await?;
        self.shown(record, (&flights, &told, &runs), &mut found);
        self.opened(desk, &told, &mut found).await?;
        match found.is_empty() {
            true => Ok(totals),
            false => {
                let count = found.len();
                found.truncate(20);
                Err(format!("{count} differences, such as {found:#?}").into())
            }
        }
    }

    /// Waits until there is a notification of each write that a tenant was answered until now.
    ///
    /// # Errors
    ///
    /// One does not come.
    pub(crate) async fn told_of_all(&self, record: &Record, side: usize) -> Result<()> {
        let started = Instant::now();
        let writes = record.writes().into_iter();
        let writes = writes.filter(|write| write.side == side && write.status == 303);
        let writes: Vec<_> = writes
            .map(|write| format!("{:032x}", write.trace.as_u128()))
            .collect();
        loop {
            let told = self.told_now().await?;
            let told: HashSet<_> = told.into_iter().filter_map(|it| it.trace).collect();
            let missing = writes.iter().filter(|trace| !told.contains(*trace)).count();
            if missing == 0 && !writes.is_empty() {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("{missing} of {} are not told of", writes.len()).into());
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Each write that was accepted has one notification, and one report where it is long enough; one that was refused
    /// has none.
    fn notified(
        &self,
        writes: &[Write],
        told: &[Told],
        runs: &[Run],
        found: &mut Vec<String>,
    ) -> Totals {
        let mut totals = Totals::default();
        let (mut delays, mut ready): (HashMap<_, Vec<_>>, HashMap<_, Vec<_>>) = Default::default();
        for it in told.iter().filter(|it| !self.told.contains(&it.id)) {
            let trace = it.trace.clone().unwrap_or_default();
            let of_trace = match it.title.ends_with("minutes late") {
                true => delays.entry(trace),
                false => ready.entry(trace),
            };
            of_trace.or_default().push(it);
        }
        let mut made: HashMap<_, Vec<_>> = HashMap::new();
        for run in runs {
            let trace = run.trace.as_deref().unwrap_or_default();
            made.entry(trace_id(trace)).or_default().push(run);
        }
        for write in writes {
            let trace = format!("{:032x}", write.trace.as_u128());
            let notified = delays.remove(&trace).unwrap_or_default();
            let is_accepted = write.status == 303;
            match (is_accepted, write.is_doubtful, notified.len()) {
                (true, _, 1) => totals.accepted += 1,
                (_, true, 1) => totals.doubtful_stored += 1,
                (false, true, 0) => totals.doubtful_gone += 1,
                (false, false, 0) => totals.refused += 1,
                (_, _, count) => found.push(format!("{count} notifications of {write:?}")),
            }
            let tenant = self.tenants[write.side];
            if notified.iter().any(|it| it.tenant_id != tenant) {
                found.push(format!("another tenant is told of {write:?}"));
            }
            let is_reported = !notified.is_empty() && write.minutes >= REPORTED;
            let reports = made.remove(&trace).unwrap_or_default();
            let are_ready = ready.remove(&trace).unwrap_or_default();
            let expected = usize::from(is_reported);
            totals.reports += u64::from(is_reported);
            let is_theirs = reports
                .iter()
                .all(|it| it.tenant_id == tenant && it.state == "done")
                && are_ready.iter().all(|it| it.tenant_id == tenant);
            if reports.len() != expected || are_ready.len() != expected || !is_theirs {
                let states: Vec<_> = reports.iter().map(|it| &it.state).collect();
                let ready = are_ready.len();
                found.push(format!("reports {states:?}, {ready} told of, of {write:?}"));
            }
        }
        let nobodys = delays.values().chain(ready.values()).flatten();
        found.extend(nobodys.map(|it| format!("nobody has asked for {} {}", it.id, it.title)));
        totals
    }

    /// Each flight was changed as often as is told of, and Reporting knows the last of it.
    async fn stored(
        &self,
        writes: &[Write],
        told: &[Told],
        flights: &[Flight],
        found: &mut Vec<String>,
    ) -> Result<()> {
        let traces: HashSet<_> = told.iter().filter_map(|it| it.trace.clone()).collect();
        let mut changes: HashMap<Uuid, i64> = HashMap::new();
        for write in writes {
            if traces.contains(&format!("{:032x}", write.trace.as_u128())) {
                *changes.entry(write.flight).or_default() += 1;
            }
        }
        let before: HashMap<_, _> = self.flights.iter().map(|it| (it.id, it.version)).collect();
        let facts = "select id, minutes from delay_facts";
        let facts: Vec<(Uuid, i32)> = sqlx::query_as(facts).fetch_all(&self.reporting).await?;
        let facts: HashMap<_, _> = facts.into_iter().collect();
        for flight in flights {
            let changed = flight.version - before.get(&flight.id).copied().unwrap_or_default();
            let expected = changes.get(&flight.id).copied().unwrap_or_default();
            if changed != expected {
                let id = flight.id;
                found.push(format!(
                    "{id} was changed {changed} times, and told of {expected}"
                ));
            }
            if expected > 0 && facts.get(&flight.id).copied() != flight.departure_delay {
                let (id, delay) = (flight.id, flight.departure_delay);
                let known = facts.get(&flight.id);
                found.push(format!(
                    "{id} is {delay:?} late, and Reporting knows of {known:?}"
                ));
            }
        }
        Ok(())
    }

    /// No answer has held what is another tenant's.
    fn shown(
        &self,
        record: &Record,
        (flights, told, runs): (&[Flight], &[Told], &[Run]),
        found: &mut Vec<String>,
    ) {
        let mut owners: HashMap<u128, Uuid> = HashMap::new();
        owners.extend(flights.iter().map(|it| (it.id.as_u128(), it.tenant_id)));
        for it in told {
            owners.insert(it.id.as_u128(), it.tenant_id);
            let trace = it
                .trace
                .as_deref()
                .and_then(|trace| trace.parse::<Uuid>().ok());
            owners.extend(trace.map(|trace| (trace.as_u128(), it.tenant_id)));
        }
        for run in runs {
            owners.insert(run.id.as_u128(), run.tenant_id);
            owners.insert(run.definition.as_u128(), run.tenant_id);
        }
        owners.extend(self.tenants.map(|tenant| (tenant.as_u128(), tenant)));
        for (side, tenant) in self.tenants.iter().enumerate() {
            let shown = record.shown_to(side);
            let foreign = |id: &&u128| owners.get(*id).is_some_and(|owner| owner != tenant);
            let foreign = shown.iter().filter(foreign);
            found.extend(foreign.map(|id| format!("tenant {side} was shown {:032x}", id)));
            // Who is hostile asks for nothing of its own.
            let is_at_work = side != Sides::HOSTILE;
            if is_at_work && !shown.iter().any(|id| owners.get(id) == Some(tenant)) {
                found.push(format!("tenant {side} was shown nothing of its own"));
            }
        }
    }

    /// What was told can be read: its body is where its row says.
    async fn opened(&self, desk: &Desk, told: &[Told], found: &mut Vec<String>) -> Result<()> {
        for (airline, tenant) in Airline::ALL.into_iter().zip(self.tenants) {
            let mut browser = Browser::at(desk.edge(), airline.slug);
            let user = format!("reader-{}", Uuid::new_v4().simple());
            browser.sign_in(&user, &desk.code(airline.slug)?).await?;
            let of_it: Vec<_> = told.iter().filter(|it| it.tenant_id == tenant).collect();
            for it in of_it.iter().step_by(of_it.len() / OPENED + 1) {
                let page = browser.get(&format!("/notifications/{}", it.id)).await?;
                if page.status != 200 || !page.body.contains("<pre>") {
                    let (id, status) = (it.id, page.status);
                    found.push(format!("the notification {id} is answered by {status}"));
                }
            }
        }
        Ok(())
    }

    async fn flights_now(&self) -> Result<Vec<Flight>> {
        let all = "select tenant_id, id, version, departure_delay from flights order by id";
        let rows: Vec<(Uuid, Uuid, i64, Option<i32>)> =
            sqlx::query_as(all).fetch_all(&self.operations).await?;
        let flight = |(tenant_id, id, version, departure_delay)| Flight {
            tenant_id,
            id,
            version,
            departure_delay,
        };
        Ok(rows.into_iter().map(flight).collect())
    }

    async fn told_now(&self) -> Result<Vec<Told>> {
        let all = "select tenant_id, id, title, trace from notifications";
        let rows: Vec<(Uuid, Uuid, String, Option<String>)> =
            sqlx::query_as(all).fetch_all(&self.notifications).await?;
        let told = |(tenant_id, id, title, trace)| Told {
            tenant_id,
            id,
            title,
            trace,
        };
        Ok(rows.into_iter().map(told).collect())
    }

    async fn runs_now(&self) -> Result<Vec<Run>> {
        let all = "select tenant_id, id, definition, trace, state from report_runs";
        let rows: Vec<(Uuid, Uuid, Uuid, Option<String>, String)> =
            sqlx::query_as(all).fetch_all(&self.reporting).await?;
        let run = |(tenant_id, id, definition, trace, state)| Run {
            tenant_id,
            id,
            definition,
            trace,
            state,
        };
        Ok(rows.into_iter().map(run).collect())
    }

    /// Returns how many connections the roles of the product have.
    pub(crate) async fn connections(&self) -> Result<u64> {
        let others = "select count(*) from pg_stat_activity \
                      where backend_type = 'client backend' and usename <> current_user";
        let count: i64 = sqlx::query_scalar(others)
            .fetch_one(&self.operations)
            .await?;
        Ok(count.unsigned_abs())
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            accepted,
            refused,
            doubtful_stored,
            doubtful_gone,
            reports,
        } = self;
        write!(
            f,
            "{accepted} delays accepted, each stored and told of once, {reports} of them with a report; \
             {refused} refused, none stored; unknown to their sender: {doubtful_stored} stored, \
             {doubtful_gone} not"
        )
    }
}

/// Waits until no message is on its way, no report is to be made, and none was given up.
async fn until_idle(desk: &Desk, world: &World) -> Result<()> {
    let mut moved = Instant::now();
    let mut least = u64::MAX;
    let reporting = pool(world, PartName::Reporting).await?;
    let to_make = "select count(*) from report_runs where state in ('queued', 'running')";
    // Twice in a row, since a message may be between two of those that are asked.
    let (mut idle, mut last) = (0, String::new());
    while idle < 2 {
        if moved.elapsed() > PATIENCE {
            return Err(format!("it does not come to rest: {last}").into());
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let runs: i64 = sqlx::query_scalar(to_make).fetch_one(&reporting).await?;
        let (unsent, pending) = (desk.unsent().await?, pending(world).await?);
        last = format!("{unsent} messages unsent, {pending} not handled, {runs} reports to make");
        let left = unsent + pending + runs.unsigned_abs();
        // A machine with much else to do takes its time.
        if left < least {
            (moved, least) = (Instant::now(), left);
        }
        idle = if left == 0 { idle + 1 } else { 0 };
    }
    let mut dead = world.streams().await?.get_stream("SKYLINE_DEAD").await?;
    match dead.info().await?.state.messages {
        0 => Ok(()),
        count => Err(format!("{count} messages were given up").into()),
    }
}

/// Returns how many messages the consumers have not acknowledged.
async fn pending(world: &World) -> Result<u64> {
    let stream = world.streams().await?.get_stream(Broker::STREAM).await?;
    let mut consumers = stream.consumers();
    let mut pending = 0;
    while let Some(consumer) = consumers.try_next().await? {
        pending += consumer.num_pending + u64::try_from(consumer.num_ack_pending)?;
    }
    Ok(pending)
}

/// Returns the trace of a `traceparent`.
fn trace_id(parent: &str) -> String {
    parent.split('-').nth(1).unwrap_or_default().to_owned()
}

async fn pool(world: &World, part: PartName) -> Result<PgPool> {
    let database = world.database(part).ok_or("there is no such database")?;
    let options = PgPoolOptions::new().max_connections(1);
    Ok(options.connect(database.admin_url()).await?)
}
