//! One of the processes: it reads, writes and invalidates until it is killed, or all is over.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tenantry_cache::{
    Cache, CacheKind, CachePolicy, CheckPolicy, ConsistencyChecker, Lookup, RedisSettings,
    TenantCache,
};
use tenantry_core::{Result, TenantId};

use super::ledger::{COUNTS, Count, KEYS, KINDS, Ledger, NODES, ROWS, Slot, TENANTS};

/// Each version that can be divided by this is that there is no such row.
const ABSENT: u64 = 7;

/// What a parent orders its child to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) ledger: PathBuf,
    pub(super) url: String,
    pub(super) node: usize,
    /// Whether it forgets to tell of what it changes, as none of ours does.
    pub(super) forgets: bool,
}

/// A row, which says whose it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Row {
    tenant: TenantId,
    kind: usize,
    key: usize,
    version: u64,
}

pub(super) struct Node {
    number: usize,
    forgets: bool,
    ledger: Arc<Ledger>,
    tenants: Vec<TenantCache>,
    kinds: Vec<CacheKind<Row>>,
    checker: ConsistencyChecker,
    /// What this process itself has ended of each row.
    ended: Vec<AtomicU64>,
    counts: Arc<Counts>,
}

/// What a process counts by itself, and writes down now and then.
#[derive(Default)]
struct Counts([AtomicU64; COUNTS.len()]);

impl Counts {
    /// Returns how many there were before.
    fn add(&self, count: Count) -> u64 {
        let place = COUNTS.iter().position(|it| *it == count).unwrap();
        self.0[place].fetch_add(1, Ordering::Relaxed)
    }
}

fn tenant(number: usize) -> TenantId {
    TenantId::from_u128(u128::try_from(number).unwrap() + 1).unwrap()
}

fn group(key: usize) -> String {
    format!("group {}", key % 2)
}

/// Returns the tenant, kind and key of a row.
const fn parts(row: usize) -> (usize, usize, usize) {
    (row / (KINDS * KEYS), row / KEYS % KINDS, row % KEYS)
}

impl Node {
    pub(super) fn new(order: &Order) -> Arc<Self> {
        let settings = RedisSettings::new(&order.url).with_prefix("storm");
        let builder = Cache::builder().with_redis(&settings).unwrap();
        let cache = builder.build().unwrap();
        let policy = CachePolicy::default().with_early_refresh(5.0);
        let kind = |number| cache.kind(&format!("kind-{number}"), policy.clone());
        let checks = CheckPolicy::default().with_fraction(0.01);
        Arc::new(Self {
            number: order.node,
            forgets: order.forgets,
            ledger: Arc::new(Ledger::open(&order.ledger)),
            tenants: (0..TENANTS).map(|it| cache.tenant(tenant(it))).collect(),
            kinds: (0..KINDS).map(|it| kind(it).unwrap()).collect(),
            checker: cache.checker(checks).unwrap(),
            ended: (0..ROWS).map(|_| AtomicU64::new(0)).collect(),
            counts: Arc::default(),
        })
    }

    pub(super) async fn live(self: &Arc<Self>) {
        let mut tasks = tokio::task::JoinSet::new();
        for part in 0..2 {
            let node = Arc::clone(self);
            tasks.spawn(async move { node.write_on(part).await });
        }
        for _ in 0..4 {
            let node = Arc::clone(self);
            tasks.spawn(async move { node.read_on().await });
        }
        let node = Arc::clone(self);
        tasks.spawn(async move { node.count_on().await });
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    }

    fn is_over(&self) -> bool {
        self.ledger.get(Slot::Over) == 1
    }

    async fn read_on(&self) {
        while !self.is_over() {
            for _ in 0..32 {
                match rand::random_range(0..64) {
                    0 => self.read_many().await,
                    1 => self.look(rand::random_range(0..ROWS)).await,
                    _ => self.read(rand::random_range(0..ROWS)).await,
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn read(&self, row: usize) {
        let floor = self.floor(row);
        let (tenant, kind, key) = self.of(row);
        let (text, tag) = (key.to_string(), group(key));
        let tags = [&*tag];
        let lookup = Lookup::new(&text).with_tags(&tags);
        let load = self.load(row);
        let again = load.clone();
        let read = tenant.get_or_load(kind, lookup, load).await;
        let tenant = tenant.tenant();
        self.checker.sample(tenant, kind, lookup, again);
        self.judge("read", row, floor, read.unwrap().as_deref());
    }

    /// Reads what is known, and loads nothing.
    async fn look(&self, row: usize) {
        let floor = self.floor(row);
        let (tenant, kind, key) = self.of(row);
        let (text, tag) = (key.to_string(), group(key));
        let tags = [&*tag];
        let lookup = Lookup::new(&text).with_tags(&tags);
        if let Some(known) = tenant.get(kind, lookup).await {
            self.judge("look", row, floor, known.as_deref());
        }
    }

    async fn read_many(&self) {
        let first = rand::random_range(0..TENANTS * KINDS) * KEYS;
        let rows: Vec<usize> = (first..first + KEYS).collect();
        let floors: Vec<u64> = rows.iter().map(|row| self.floor(*row)).collect();
        let (tenant, kind, _) = self.of(first);
        let texts: Vec<_> = (0..KEYS).map(|key| (key.to_string(), group(key))).collect();
        let tags: Vec<_> = texts.iter().map(|(_, tag)| [&**tag]).collect();
        let lookups: Vec<_> = texts
            .iter()
            .zip(&tags)
            .map(|((text, _), tags)| Lookup::new(text).with_tags(tags))
            .collect();
        let loads: Vec<_> = rows.iter().map(|row| self.load(*row)).collect();
        let load = move |places: Vec<usize>| {
            let loads: Vec<_> = places.into_iter().map(|place| loads[place]()).collect();
            futures_util::future::try_join_all(loads)
        };
        let read = tenant.get_or_load_many(kind, &lookups, load).await;
        for ((row, floor), value) in rows.iter().zip(floors).zip(read.unwrap()) {
            self.judge("read of many", *row, floor, value.as_deref());
        }
    }

    async fn write_on(&self, part: usize) {
        // One process writes a row, and one task in it.
        let mine = |row: &usize| row % NODES == self.number && row / NODES % 2 == part;
        let rows: Vec<usize> = (0..ROWS).filter(mine).collect();
        for row in &rows {
            // What the one before has stored and could not tell of.
            let version = self.ledger.get(Slot::Committed(*row));
            if version > self.ledger.get(Slot::Acknowledged(*row)) {
                self.end(*row, version, 3).await;
            }
        }
        while !self.is_over() {
            let row = rows[rand::random_range(0..rows.len())];
            let version = self.ledger.get(Slot::Committed(row)) + 1;
            self.ledger.set(Slot::Committed(row), version);
            if rand::random_range(0..4) == 0 {
                tokio::time::sleep(Duration::from_millis(rand::random_range(0..4))).await;
            }
            self.end(row, version, rand::random_range(0..40)).await;
            self.counts.add(Count::Writes);
            self.counts.add(Count::Operations);
            tokio::time::sleep(Duration::from_millis(rand::random_range(5..30))).await;
        }
    }

    /// Ends what is kept of a row, and notes whether that was acknowledged.
    async fn end(&self, row: usize, version: u64, way: u32) {
        let (tenant, kind, key) = self.of(row);
        if self.forgets {
            self.ledger.set(Slot::Acknowledged(row), version);
            return;
        }
        let (text, tag) = (key.to_string(), group(key));
        let told = match way {
            0 => tenant.flush().await,
            1 | 2 => tenant.invalidate_tag(&tag).await,
            // Who tells goes away half way.
            39 => {
                let telling = tenant.invalidate(kind, &text);
                let patience = Duration::from_micros(rand::random_range(0..800));
                match tokio::time::timeout(patience, telling).await {
                    Ok(told) => told,
                    Err(_) => {
                        self.note(row, version, false);
                        return;
                    }
                }
            }
            _ => tenant.invalidate(kind, &text).await,
        };
        self.note(row, version, told.is_ok());
    }

    fn note(&self, row: usize, version: u64, is_acknowledged: bool) {
        // Here it is over in any case.
        self.ended[row].fetch_max(version, Ordering::SeqCst);
        if is_acknowledged {
            self.ledger.set(Slot::Acknowledged(row), version);
        } else {
            self.counts.add(Count::Refused);
        }
    }

    /// Returns how a row is loaded, sometimes slowly.
    fn load(&self, row: usize) -> impl Fn() -> BoxLoad + Clone + Send + Sync + 'static + use<> {
        let (ledger, counts) = (Arc::clone(&self.ledger), Arc::clone(&self.counts));
        move || {
            let (ledger, counts) = (Arc::clone(&ledger), Arc::clone(&counts));
            Box::pin(async move {
                let version = ledger.get(Slot::Committed(row));
                counts.add(Count::Loads);
                match rand::random_range(0..2_000) {
                    0 => tokio::time::sleep(Duration::from_millis(1_300)).await,
                    1..200 => {
                        let millis = rand::random_range(1..9);
                        tokio::time::sleep(Duration::from_millis(millis)).await;
                    }
                    _ => {}
                }
                let (of, kind, key) = parts(row);
                Ok((!version.is_multiple_of(ABSENT)).then(|| Row {
                    tenant: tenant(of),
                    kind,
                    key,
                    version,
                }))
            })
        }
    }

    fn of(&self, row: usize) -> (&TenantCache, &CacheKind<Row>, usize) {
        let (tenant, kind, key) = parts(row);
        (&self.tenants[tenant], &self.kinds[kind], key)
    }

    /// Returns the oldest version that a read which begins now may give.
    fn floor(&self, row: usize) -> u64 {
        let heard = self.ledger.get(Slot::Heard(row));
        self.ended[row].load(Ordering::SeqCst).max(heard)
    }

    /// Looks whether what was read is of its row, and no older than it may be.
    fn judge(&self, how: &str, row: usize, floor: u64, read: Option<&Row>) {
        self.counts.add(Count::Operations);
        let latest = self.ledger.get(Slot::Committed(row));
        let version = match read {
            // The first at which there was none.
            None => floor.next_multiple_of(ABSENT),
            Some(read) => read.version,
        };
        if !(floor..=latest).contains(&version) && self.counts.add(Count::Stale) < 100 {
            let ended = self.ended[row].load(Ordering::SeqCst);
            println!(
                "stale {how} of row {row}: {read:?}, where {floor} to {latest} could be; this process \
                 has ended {ended}"
            );
        }
        let whose = parts(row);
        if read
            .is_some_and(|it| (it.tenant, it.kind, it.key) != (tenant(whose.0), whose.1, whose.2))
        {
            self.counts.add(Count::Foreign);
            println!("foreign {how} of row {row}: {read:?}");
        }
    }

    /// Writes down what was counted, on top of what those before have.
    async fn count_on(&self) {
        let slot = |count| Slot::Count(self.number, count);
        let before = COUNTS.map(|count| self.ledger.get(slot(count)));
        loop {
            let is_over = self.is_over();
            for (place, count) in COUNTS.into_iter().enumerate() {
                let report = self.checker.report();
                let found = match count {
                    Count::Looks => report.iter().map(|it| it.looks).sum(),
                    Count::OlderThan1s => report.iter().map(|it| it.older_than_1s).sum(),
                    Count::OlderThan5s => report.iter().map(|it| it.older_than_5s).sum(),
                    _ => self.counts.0[place].load(Ordering::Relaxed),
                };
                self.ledger.set(slot(count), before[place] + found);
            }
            if is_over {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

type BoxLoad = std::pin::Pin<Box<dyn Future<Output = Result<Option<Row>>> + Send>>;

/// Ends this process with its parent, which holds the other end of its input.
pub(super) fn die_with_the_parent() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(1);
    });
}

pub(super) fn log_of(ledger: &Path, node: usize) -> PathBuf {
    ledger.with_extension(format!("{node}.log"))
}
