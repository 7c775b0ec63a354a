//! Everything at once: tenants, tasks, futures dropped at any poll, and a network that breaks.
//!
//! A unit of work stores a pair of rows. Whatever happens to it, both halves are stored or none
//! is, and what its caller was told is true; nobody ever sees a row of another tenant; and when the
//! storm is over no connection is in a transaction. A short one runs with all tests, a long one by
//! `scripts/prove`.

#![cfg(all(
    feature = "postgres",
    feature = "sqlite",
    feature = "guard",
    feature = "conformance"
))]
#![allow(clippy::unwrap_used, reason = "a set-up that fails ends the test")]
#![allow(clippy::print_stdout, reason = "scripts/prove keeps what is printed")]

mod support;
mod trouble;

#[path = "trouble/postgres.rs"]
mod postgres;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use parking_lot::Mutex;
use postgres::Fixture;
use tenantry_core::TenantId;
use tenantry_store::guard::OrStoreError as _;
use tenantry_store::{
    Error, ErrorKind, Filter, Isolation, Migrations, Query, Repository, SqliteSettings,
    TenantScope, TenantStore, UnitOfWork, WorkOptions, sqlite,
};
use tenantry_testkit::{PostgresServer, ProxyOptions};
use trouble::{Customer, SQLITE_TABLES, poll_times};

const TENANTS: usize = 4;
const TASKS: u64 = 16;

/// How long a storm lasts among all other tests.
const SHORT: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storm_on_postgres_mixes_no_tenants_and_halves_no_work() {
    storm_on_postgres(SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storm_on_sqlite_mixes_no_tenants_and_halves_no_work() {
    storm_on_sqlite(SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/prove"]
async fn prove_storm_on_postgres() {
    storm_on_postgres(long()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/prove"]
async fn prove_storm_on_sqlite() {
    storm_on_sqlite(long()).await;
}

#[allow(
    clippy::disallowed_methods,
    reason = "set by scripts/prove, for proofs alone"
)]
fn long() -> Duration {
    let seconds = std::env::var("TENANTRY_PROVE_SECONDS").unwrap();
    Duration::from_secs(seconds.parse().unwrap())
}

async fn storm_on_postgres(length: Duration) {
    let server = PostgresServer::shared().await.unwrap();
    let slow = ProxyOptions::default().with_delay(Duration::from_micros(300));
    let fixture = Fixture::with(server, slow, |settings| {
        settings
            .with_max_connections(3)
            .with_acquire_timeout(Duration::from_secs(2))
            .with_statement_timeout(Some(Duration::from_secs(1)))
            .with_silence_limit(Some(Duration::from_secs(1)))
    })
    .await;
    let storm = Storm::new(&fixture.store).await;
    let network = async {
        let mut dice = Dice(77);
        let started = Instant::now();
        while started.elapsed() < length {
            tokio::time::sleep(Duration::from_millis(20 + dice.below(200))).await;
            match dice.below(8) {
                0 => {
                    fixture.proxy.pause();
                    tokio::time::sleep(Duration::from_millis(dice.below(100))).await;
                    fixture.proxy.resume();
                }
                1 => fixture.proxy.cut(),
                2 => fixture.proxy.cut_after("COMMIT"),
                3 => fixture.proxy.cut_before("COMMIT"),
                _ => {}
            }
        }
    };
    tokio::join!(storm.rage(length), network);
    while fixture.proxy.is_armed() {
        // The last gust has met nobody yet.
        let customers = fixture.tenants.one.repository();
        let _ = customers.insert(&mut Customer::named("straggler")).await;
    }
    fixture
        .until_connections(0, "state <> 'idle' or xact_start is not null")
        .await;
    fixture.tenants.go_on().await;
    storm.settle_accounts().await;
}

async fn storm_on_sqlite(length: Duration) {
    let settings = SqliteSettings::temporary();
    let migrations = Migrations::embedded(&[(1, "tables", SQLITE_TABLES)]);
    sqlite::migrate(&settings, &migrations).await.unwrap();
    let store = TenantStore::sqlite(settings).await.unwrap();
    let storm = Storm::new(&store).await;
    storm.rage(length).await;
    storm.settle_accounts().await;
}

/// What the caller of a unit of work was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Stored,
    Gone,
    Nothing,
}

struct Storm {
    scopes: Vec<TenantScope>,
    /// A row that is always there, for each tenant.
    landmarks: Vec<Customer>,
    /// By the name of the pair.
    told: Vec<Mutex<BTreeMap<String, Told>>>,
}

impl Storm {
    /// Stores a landmark for each tenant, while the weather is still fair.
    async fn new(store: &TenantStore) -> Arc<Self> {
        let mut storm = Self {
            scopes: Vec::new(),
            landmarks: Vec::new(),
            told: Vec::new(),
        };
        for number in 0..TENANTS {
            let scope = store.tenant(TenantId::generate());
            let mut landmark = Customer::named(&format!("{number} landmark"));
            scope.repository().insert(&mut landmark).await.unwrap();
            storm.scopes.push(scope);
            storm.landmarks.push(landmark);
            storm.told.push(Mutex::default());
        }
        Arc::new(storm)
    }

    async fn rage(self: &Arc<Self>, length: Duration) {
        let started = Instant::now();
        let tasks = (1..=TASKS).map(|task| {
            let storm = Arc::clone(self);
            tokio::spawn(async move {
                let mut dice = Dice(task * 7_919);
                let mut turn = 0_u64;
                while started.elapsed() < length {
                    turn += 1;
                    storm.act(&mut dice, &format!("{task} {turn}")).await;
                }
            })
        });
        for ended in join_all(tasks).await {
            ended.unwrap();
        }
    }

    async fn act(&self, dice: &mut Dice, name: &str) {
        let number = usize::try_from(dice.below(4)).unwrap();
        let polls = usize::try_from(dice.below(30)).unwrap();
        let customers = self.scopes[number].repository::<Customer>();
        let foreign = self.landmark((number + 1) % TENANTS);
        match dice.below(8) {
            0 => {
                let query = Query::new().sort(Customer::NAME.desc()).limit(50);
                if let Some(page) = answer(poll_times(customers.list(query), polls).await) {
                    page.items.iter().for_each(|row| belongs(row, number));
                }
            }
            1 => {
                let own = self.landmark(number);
                let ids = [own.id, foreign.id];
                if let Some(rows) = answer(poll_times(customers.get_many(&ids), polls).await) {
                    assert_eq!(rows, [own]);
                }
            }
            2 => {
                if let Some(found) = answer(poll_times(customers.find(&foreign.id), polls).await) {
                    assert_eq!(found, None);
                }
            }
            3 => {
                let mut stream = customers.stream(Query::new());
                for _ in 0..polls {
                    match stream.next().await {
                        Some(row) => {
                            if let Some(row) = answer(Some(row)) {
                                belongs(&row, number);
                            }
                        }
                        None => break,
                    }
                }
            }
            4 => {
                let scope = &self.scopes[number];
                if let Some(names) = answer(poll_times(names_by_hand(scope), polls).await) {
                    names.iter().for_each(|name| is_of(name, number));
                }
            }
            _ => {
                let told = self.pair(dice, number, name).await;
                self.told[number].lock().insert(name.to_owned(), told);
            }
        }
    }

    /// Stores two rows in one unit of work, and loses patience now and then.
    async fn pair(&self, dice: &mut Dice, number: usize, name: &str) -> Told {
        let scope = &self.scopes[number];
        let options = match dice.below(3) {
            0 => WorkOptions::default().with_isolation(Isolation::RepeatableRead),
            _ => WorkOptions::default(),
        };
        let Some(work) = answer(poll_times(scope.begin_with(options), 200).await) else {
            return Told::Gone;
        };
        let inside = work.repository::<Customer>();
        let foreign = self.landmark((number + 1) % TENANTS);
        for half in ["a", "b"] {
            // Patience enough, most of the time. An insert that was begun and dropped ends the work.
            let polls = usize::try_from(1 + dice.below(8) * 6).unwrap();
            let mut row = Customer::named(&format!("{number} pair {name} {half}"));
            let inserted = match dice.below(3) {
                0 => poll_times(insert_by_hand(&work, &row), polls).await,
                _ => poll_times(inside.insert(&mut row), polls).await,
            };
            if answer(inserted).is_none() {
                break;
            }
            match dice.below(4) {
                0 => drop(poll_times(inside.count(Filter::all()), 1).await),
                1 => {
                    if let Some(found) = answer(Some(inside.find(&foreign.id).await)) {
                        assert_eq!(found, None);
                    }
                }
                2 => {
                    let mut stream = inside.stream(Query::new());
                    if let Some(row) = stream.next().await.and_then(|row| answer(Some(row))) {
                        belongs(&row, number);
                    }
                }
                _ => {}
            }
        }
        if dice.below(5) == 0 {
            drop(work);
            return Told::Gone;
        }
        let polls = usize::try_from(dice.below(5) * 8).unwrap();
        match poll_times(work.commit(), polls).await {
            None => Told::Nothing,
            Some(Ok(())) => Told::Stored,
            Some(Err(error)) if error.kind() == ErrorKind::CommitUnknown => Told::Nothing,
            Some(Err(error)) => {
                is_weather(&error);
                Told::Gone
            }
        }
    }

    /// Compares what is stored with what was told.
    async fn settle_accounts(&self) {
        let mut tally = BTreeMap::new();
        for (number, scope) in self.scopes.iter().enumerate() {
            let mut halves: BTreeMap<String, usize> = BTreeMap::new();
            let customers = scope.repository::<Customer>();
            let mut rows = customers.stream(Query::new());
            while let Some(row) = rows.next().await {
                let row = row.unwrap();
                belongs(&row, number);
                let name = row.name.unwrap();
                if let Some(pair) = name.strip_prefix(&format!("{number} pair ")) {
                    *halves.entry(pair[..pair.len() - 2].to_owned()).or_default() += 1;
                }
            }
            for (pair, told) in &*self.told[number].lock() {
                let stored = halves.remove(pair).unwrap_or(0);
                let is_true = match told {
                    Told::Stored => stored == 2,
                    Told::Gone => stored == 0,
                    Told::Nothing => stored != 1,
                };
                assert!(
                    is_true,
                    "{pair} was told {told:?}, and {stored} halves are stored"
                );
                *tally.entry((*told, stored)).or_insert(0_u64) += 1;
            }
            assert!(halves.is_empty(), "stored by nobody: {halves:?}");
        }
        let told_stored = tally.get(&(Told::Stored, 2)).copied().unwrap_or(0);
        assert!(told_stored > 10, "hardly anything was stored: {tally:?}");
        println!("units of work as (told, rows stored): {tally:?}");
    }

    fn landmark(&self, number: usize) -> Customer {
        self.landmarks[number].clone()
    }
}

/// Inserts a row by SQL that says nothing of a tenant.
async fn insert_by_hand(work: &UnitOfWork, row: &Customer) -> Result<(), Error> {
    let sql = "insert into customers (id, name, version) values ($1, $2, 1)";
    if let Ok(executor) = work.sqlx_postgres() {
        let insert = sqlx::query(sql).bind(row.id).bind(&row.name);
        insert.execute(executor).await.or_store_error()?;
    } else {
        let insert = sqlx::query(sql).bind(row.id).bind(&row.name);
        insert.execute(work.sqlx_sqlite()?).await.or_store_error()?;
    }
    Ok(())
}

/// Reads names by SQL that says nothing of a tenant.
async fn names_by_hand(scope: &TenantScope) -> Result<Vec<String>, Error> {
    let sql =
        "select c.name from customers c left join customers d on d.id = c.id order by 1 limit 50";
    let names = match scope.sqlx_postgres() {
        Ok(executor) => sqlx::query_scalar(sql).fetch_all(executor).await,
        Err(_) => {
            sqlx::query_scalar(sql)
                .fetch_all(scope.sqlx_sqlite()?)
                .await
        }
    };
    names.or_store_error()
}

fn belongs(row: &Customer, number: usize) {
    is_of(row.name.as_deref().unwrap(), number);
}

fn is_of(name: &str, number: usize) {
    assert!(
        name.starts_with(&format!("{number} ")),
        "tenant {number} sees `{name}`"
    );
}

/// Returns what came, if something did; an error must be one that such a storm brings.
fn answer<T>(outcome: Option<Result<T, Error>>) -> Option<T> {
    match outcome? {
        Ok(value) => Some(value),
        Err(error) => {
            is_weather(&error);
            None
        }
    }
}

fn is_weather(error: &Error) {
    assert!(
        error.is_retryable() || error.kind() == ErrorKind::WorkAborted,
        "{error:?}"
    );
}

/// Numbers that look like chance (xorshift), the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
