//! Whatever the order in which readers, writers, loads and losses take their steps, nobody reads what
//! is older than the last invalidation that was acknowledged.
//!
//! Each run is one order of steps, chosen by a seed: between any two steps of one task, any of the
//! others may take theirs. What stands between two awaits of the cache itself is one step, for it is
//! under its locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::DateTime;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tenantry_core::{ManualClock, TenantId};
use tokio::sync::oneshot;

use super::{Cache, CacheKind, CachePolicy, Lookup, TenantCache};
use crate::shared::memory::{MemoryLevel, Trouble};
use crate::shared::{Listener as _, SharedLevel};

const NODES: usize = 2;
const TAGS: &[&str] = &["tag"];
const SECOND: Duration = Duration::from_secs(1);

/// Who waits to take a step.
#[derive(Default, Clone)]
struct Schedule {
    waiting: Arc<Mutex<Vec<oneshot::Sender<()>>>>,
}

impl Schedule {
    /// Waits for the next step to be this one's.
    fn point(&self) -> futures_util::future::BoxFuture<'static, ()> {
        let waiting = Arc::clone(&self.waiting);
        async move {
            let (go, going) = oneshot::channel();
            waiting.lock().push(go);
            let _ = going.await;
        }
        .boxed()
    }
}

/// The rows, and what each node has been told of them.
#[derive(Default)]
struct World {
    committed: AtomicU64,
    /// What a reader on each node may expect at least.
    floors: [AtomicU64; NODES],
    loads: AtomicU64,
    /// Reads that gave another value than was committed then, which others may be allowed to see.
    older: AtomicU64,
}

impl World {
    fn reset(&self) {
        let all = [&self.committed, &self.loads, &self.older];
        for count in all.into_iter().chain(&self.floors) {
            count.store(0, Ordering::SeqCst);
        }
    }
}

#[derive(Clone)]
struct Node {
    index: usize,
    tenant: TenantCache,
    kind: CacheKind<u64>,
    world: Arc<World>,
    schedule: Schedule,
}

impl Node {
    /// Reads the row by itself, or with another.
    async fn read(&self, has_company: bool) {
        self.schedule.point().await;
        let floor = self.world.floors[self.index].load(Ordering::SeqCst);
        let (world, schedule) = (Arc::clone(&self.world), self.schedule.clone());
        let load = move || {
            let (world, schedule) = (Arc::clone(&world), schedule.clone());
            async move {
                schedule.point().await;
                let value = world.committed.load(Ordering::SeqCst);
                world.loads.fetch_add(1, Ordering::SeqCst);
                schedule.point().await;
                Ok(Some(value))
            }
        };
        let lookup = |key| Lookup::new(key).with_tags(TAGS);
        let value = if has_company {
            let lookups = [lookup("8"), lookup("7")];
            let load = move |places: Vec<usize>| {
                let loading = load();
                async move { Ok(vec![loading.await?; places.len()]) }
            };
            let values = self.tenant.get_or_load_many(&self.kind, &lookups, load);
            values.await.map(|values| values[1].clone())
        } else {
            let value = self.tenant.get_or_load(&self.kind, lookup("7"), load);
            value.await
        };
        let value = *value.unwrap().unwrap();
        assert!(value >= floor, "read {value} and {floor} was acknowledged");
        let is_older = value < self.world.committed.load(Ordering::SeqCst);
        self.world
            .older
            .fetch_add(u64::from(is_older), Ordering::SeqCst);
    }

    /// Commits another value, and tells the cache.
    async fn write(&self, way: u8, are_sure: bool) {
        self.schedule.point().await;
        let version = self.world.committed.fetch_add(1, Ordering::SeqCst) + 1;
        self.schedule.point().await;
        let telling = async {
            match way % 3 {
                0 => self.tenant.invalidate(&self.kind, "7").await,
                1 => self.tenant.invalidate_tag("tag").await,
                _ => self.tenant.flush().await,
            }
        };
        let told = tokio::select! {
            told = telling => told,
            // Who tells goes away half way.
            () = self.schedule.point(), if way >= 3 => return,
        };
        // Acknowledged. Who keeps values of its own sees it when it has heard of it.
        let floors = &self.world.floors;
        floors[self.index].fetch_max(version, Ordering::SeqCst);
        if told.is_ok() && !are_sure {
            for floor in floors {
                floor.fetch_max(version, Ordering::SeqCst);
            }
        }
    }
}

/// What one order of steps came to.
#[derive(Default, Debug)]
struct Tally {
    runs: u64,
    reads: u64,
    loads: u64,
    older: u64,
    steps: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.reads += other.reads;
        self.loads += other.loads;
        self.older += other.older;
        self.steps += other.steps;
    }
}

/// Nodes before one level, or one alone, which are used for run after run: each has a tenant of its own.
struct Rig {
    clock: ManualClock,
    schedule: Schedule,
    world: Arc<World>,
    level: Arc<MemoryLevel>,
    caches: Vec<Cache>,
    /// One for each policy.
    kinds: Vec<Vec<CacheKind<u64>>>,
    is_shared: bool,
    are_sure: bool,
}

impl Rig {
    fn new(is_shared: bool, are_sure: bool) -> Self {
        let schedule = Schedule::default();
        let world = Arc::new(World::default());
        let clock = ManualClock::new(DateTime::from_timestamp(1_800_000_000, 0).unwrap());
        let point = {
            let schedule = schedule.clone();
            Arc::new(move || schedule.point())
        };
        let on_done = {
            let world = Arc::clone(&world);
            Arc::new(move || -> Box<dyn Fn(usize) + Send> {
                // What was committed before it was done is seen by whoever has heard of it.
                let version = world.committed.load(Ordering::SeqCst);
                let world = Arc::clone(&world);
                Box::new(move |index| {
                    world.floors[index].fetch_max(version, Ordering::SeqCst);
                })
            })
        };
        let level = Arc::new(MemoryLevel::new(clock.clone(), point, on_done));
        let caches: Vec<_> = (0..if is_shared { NODES } else { 1 })
            .map(|_| {
                let mut builder = Cache::builder().with_clock(Arc::new(clock.clone()));
                if is_shared {
                    builder = builder.with_level(Arc::clone(&level) as Arc<dyn SharedLevel>);
                }
                let cache = builder.build().unwrap();
                if are_sure && is_shared {
                    cache.inner.is_sure_until(Duration::MAX);
                }
                cache
            })
            .collect();
        let policies = [
            (Duration::ZERO, 0.0),
            (Duration::ZERO, 20.0),
            (60 * SECOND, 0.0),
            (60 * SECOND, 20.0),
        ];
        let kinds = policies.iter().enumerate().map(|(number, (stale, early))| {
            let policy = CachePolicy::default()
                .with_time_to_live(10 * SECOND)
                .with_max_stale(*stale)
                .with_early_refresh(*early);
            let kind = |cache: &Cache| cache.kind(&format!("k{number}"), policy.clone()).unwrap();
            caches.iter().map(kind).collect()
        });
        Self {
            kinds: kinds.collect(),
            clock,
            schedule,
            world,
            level,
            caches,
            is_shared,
            are_sure,
        }
    }

    /// Takes steps in an order of the seed until all is done.
    async fn run(&self, seed: u64, tally: &mut Tally) {
        let mut chance = SmallRng::seed_from_u64(seed);
        self.world.reset();
        self.level.reset();
        // No level is left alone any more because of the run before.
        self.clock.advance(SECOND);
        let id = TenantId::from_u128(u128::from(seed) + 1).unwrap();
        let kinds = &self.kinds[chance.random_range(0..self.kinds.len())];
        let nodes = self.caches.iter().enumerate().map(|(index, cache)| Node {
            index,
            tenant: cache.tenant(id),
            kind: kinds[index].clone(),
            world: Arc::clone(&self.world),
            schedule: self.schedule.clone(),
        });
        let nodes: Vec<Node> = nodes.collect();
        let mut tasks = Vec::new();
        for node in &nodes {
            for _ in 0..chance.random_range(1..4) {
                let node = node.clone();
                let reads: Vec<bool> = (0..chance.random_range(1..4))
                    .map(|_| chance.random_bool(0.3))
                    .collect();
                tally.reads += reads.len() as u64;
                tasks.push(tokio::spawn(async move {
                    for has_company in reads {
                        node.read(has_company).await;
                    }
                }));
            }
        }
        for _ in 0..chance.random_range(1..3) {
            let node = nodes[chance.random_range(0..nodes.len())].clone();
            let ways: Vec<u8> = (0..chance.random_range(1..3))
                .map(|_| chance.random_range(0..5))
                .collect();
            let are_sure = self.are_sure;
            tasks.push(tokio::spawn(async move {
                for way in ways {
                    node.write(way, are_sure).await;
                }
            }));
        }
        let has_trouble = chance.random_bool(0.5);
        self.go(&mut chance, tally, has_trouble).await;
        // All that was written has been told of, by whoever wrote it or in the background.
        let committed = self.world.committed.load(Ordering::SeqCst);
        for (node, floor) in nodes.iter().zip(&self.world.floors) {
            floor.store(committed, Ordering::SeqCst);
            let node = node.clone();
            tasks.push(tokio::spawn(async move { node.read(false).await }));
        }
        self.go(&mut chance, tally, false).await;
        for task in tasks {
            task.await
                .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
        tally.runs += 1;
        tally.loads += self.world.loads.load(Ordering::SeqCst);
        tally.older += self.world.older.load(Ordering::SeqCst);
    }

    async fn go(&self, chance: &mut SmallRng, tally: &mut Tally, has_trouble: bool) {
        let mut replica = None;
        loop {
            // Whoever was let go comes to its next point.
            for _ in 0..5 {
                tokio::task::yield_now().await;
            }
            let next = {
                let mut waiting = self.schedule.waiting.lock();
                match waiting.len() {
                    0 => None,
                    count => Some(waiting.swap_remove(chance.random_range(0..count))),
                }
            };
            tally.steps += 1;
            match next {
                Some(next) => drop(next.send(())),
                None if alive_tasks() == 0 => return,
                // Somebody sleeps.
                None => {
                    self.clock.advance(Duration::from_millis(20));
                    tokio::time::advance(Duration::from_millis(20)).await;
                }
            }
            if !has_trouble {
                continue;
            }
            match chance.random_range(0..50) {
                0 => self.clock.advance(4 * SECOND),
                1 => self.clock.advance(11 * SECOND),
                2 | 3 => tokio::time::advance(Duration::from_millis(30)).await,
                4 => self.level.lose(|| chance.random_bool(0.5)),
                5 => self.level.lose(|| true),
                6 | 7 => replica = Some(self.level.replica()),
                8 => {
                    if let Some(replica) = replica.take() {
                        replica(&self.level);
                    }
                }
                10 | 11 => self.level.fail(Trouble::Unsent),
                12 => self.level.fail(Trouble::Unanswered),
                // A level that did not answer is tried again.
                13..16 => self.clock.advance(Duration::from_millis(600)),
                9 if !self.is_shared => self.caches[0].clear(),
                _ => {}
            }
        }
    }
}

fn alive_tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}

/// Runs each seed before one level, sure and unsure of what was heard, and alone.
fn run_all(seeds: std::ops::Range<u64>) -> Tally {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let mut tally = Tally::default();
    runtime.block_on(async {
        let rigs = [(true, true), (true, false), (false, true)]
            .map(|(is_shared, are_sure)| Rig::new(is_shared, are_sure));
        for seed in seeds {
            let rig = &rigs[usize::try_from(seed % 3).unwrap()];
            rig.run(seed, &mut tally).await;
        }
    });
    tally
}

#[test]
fn nobody_reads_what_is_older_than_the_last_invalidation() {
    let tally = run_all(0..8_000);
    assert!(tally.loads < tally.reads, "{tally:?}: something is kept");
    assert!(tally.older > 0, "{tally:?}: readers and writers do meet");
}

/// A million orders for each second that is asked for, or as many as there is time for.
#[test]
#[ignore = "long: run by scripts/prove"]
fn prove_orders_of_cache_steps() {
    #[allow(clippy::disallowed_methods, reason = "set by scripts/prove")]
    let seconds: u64 = std::env::var("TENANTRY_PROVE_SECONDS")
        .unwrap()
        .parse()
        .unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(seconds);
    let threads = std::thread::available_parallelism().unwrap().get();
    let workers: Vec<_> = (0..threads)
        .map(|thread| {
            std::thread::spawn(move || {
                let mut sum = Tally::default();
                let mut seed = 1_000_000_000_000 * (1 + u64::try_from(thread).unwrap());
                while std::time::Instant::now() < until {
                    sum.add(&run_all(seed..seed + 10_000));
                    seed += 10_000;
                }
                sum
            })
        })
        .collect();
    let mut sum = Tally::default();
    for worker in workers {
        sum.add(&worker.join().unwrap());
    }
    println!(
        "{} orders of steps, {} steps, {} reads, {} loads, {} reads of what changed meanwhile, 0 of \
         what was older than an acknowledged invalidation",
        sum.runs, sum.steps, sum.reads, sum.loads, sum.older
    );
}
