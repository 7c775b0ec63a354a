//! Several processes, each with values of its own, before one Redis; they are killed, stopped and cut
//! off, and the server is emptied, fills up and starts anew.
//!
//! Whatever happens: what a process has invalidated itself it never reads again; what another has, and
//! was acknowledged, no process reads more than a second later; and nobody reads what is of another
//! tenant, kind or key. No clock is compared across processes: the parent moves what all must have heard
//! of, a second after it has seen it acknowledged.

mod ledger;
mod node;

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tenantry_testkit::{RedisOptions, RedisServer, StopMode};
use tokio::process::{Child, Command};

use self::ledger::{Count, Ledger, NODES, ROWS, Slot};
use self::node::{Node, Order, die_with_the_parent, log_of};
use super::proxy::Proxy;

/// For how long at most a process may not have heard of what another has invalidated.
const LAG: Duration = Duration::from_secs(1);

const ORDER: &str = "TENANTRY_TEST_STORM";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_are_killed_read_nothing_old_and_nothing_foreign() {
    let storm = Storm::rage(Duration::from_secs(4), false).await;
    let stale = storm.settle(Count::Stale);
    assert_eq!((stale, storm.settle(Count::Foreign)), (0, 0));
    assert!(storm.settle(Count::Writes) > 0, "hardly anything happened");
}

/// The proof notices what it is to notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_forget_to_tell_are_noticed() {
    let storm = Storm::rage(Duration::from_secs(4), true).await;
    assert!(storm.settle(Count::Stale) > 0);
    assert!(storm.settle(Count::OlderThan1s) > 0, "also by the checker");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/prove"]
async fn prove_storm_of_processes() {
    let seconds = std::env::var("TENANTRY_PROVE_SECONDS").unwrap();
    let storm = Storm::rage(Duration::from_secs(seconds.parse().unwrap()), false).await;
    let count = |count| storm.settle(count);
    println!(
        "{NODES} processes: {} operations, {} writes, {} loads, {} invalidations that were not acknowledged",
        count(Count::Operations),
        count(Count::Writes),
        count(Count::Loads),
        count(Count::Refused),
    );
    println!("meanwhile: {:?}", storm.trouble);
    println!(
        "samples that the checker compared: {}, older than 1 s (committed by who was killed or cut off \
         before it could tell): {}, than 5 s: {}",
        count(Count::Looks),
        count(Count::OlderThan1s),
        count(Count::OlderThan5s),
    );
    let (stale, foreign) = (count(Count::Stale), count(Count::Foreign));
    println!("stale reads: {stale}, foreign reads: {foreign}");
    assert_eq!((stale, foreign), (0, 0));
}

/// Reads and writes as its parent has ordered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by its parent, in a process of its own"]
async fn take_part() {
    die_with_the_parent();
    let order = std::env::var(ORDER).unwrap();
    let order: Order = serde_json::from_str(&order).unwrap();
    Node::new(&order).live().await;
}

/// What has happened to processes, links and the server.
#[derive(Debug, Default)]
struct Trouble {
    kills: AtomicU64,
    stops: AtomicU64,
    cuts: AtomicU64,
    flushes: AtomicU64,
    evictions: AtomicU64,
    keys_lost: AtomicU64,
    server_pauses: AtomicU64,
    server_restarts: AtomicU64,
}

struct Storm {
    folder: PathBuf,
    ledger: Ledger,
    server: RedisServer,
    forgets: bool,
    trouble: Trouble,
    is_over: AtomicBool,
}

impl Storm {
    async fn rage(length: Duration, forgets: bool) -> Arc<Self> {
        let name = format!("tenantry-storm-{:032x}", rand::random::<u128>());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        let options = RedisOptions::default()
            .with_setting("maxmemory", "6mb")
            .with_setting("maxmemory-policy", "allkeys-lru");
        let storm = Arc::new(Self {
            ledger: Ledger::create(&folder.join("ledger")),
            folder,
            server: RedisServer::start_with(options).await.unwrap(),
            forgets,
            trouble: Trouble::default(),
            is_over: AtomicBool::new(false),
        });
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..NODES {
            let storm = Arc::clone(&storm);
            tasks.spawn(async move { storm.trouble_node(number).await });
        }
        let it = Arc::clone(&storm);
        tasks.spawn(async move { it.trouble_server().await });
        let it = Arc::clone(&storm);
        tasks.spawn(async move { it.hear().await });
        tokio::select! {
            () = tokio::time::sleep(length) => {}
            // None ends before all is over, unless something is wrong.
            Some(ended) = tasks.join_next() => ended.unwrap(),
        }
        storm.is_over.store(true, Ordering::SeqCst);
        storm.ledger.set(Slot::Over, 1);
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
        storm
    }

    /// Returns what all processes have counted.
    fn settle(&self, count: Count) -> u64 {
        let sum = self.ledger.sum(count);
        let word = match count {
            Count::Stale => "stale ",
            Count::Foreign => "foreign ",
            _ => return sum,
        };
        // Who was killed has said so, and may not have counted it.
        let told = (0..NODES).map(|node| self.told(node)).collect::<String>();
        let lines = told.lines().filter(|line| line.starts_with(word));
        let lines: Vec<_> = lines.take(20).collect();
        if !self.forgets && !lines.is_empty() {
            println!("{}", lines.join("\n"));
        }
        sum.max(u64::try_from(lines.len()).unwrap())
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Moves what everybody has heard of.
    async fn hear(&self) {
        let begun = Instant::now();
        let mut past = VecDeque::new();
        while !self.is_over() {
            let at = begun.elapsed();
            let row = |row| self.ledger.get(Slot::Acknowledged(row));
            past.push_back((at, (0..ROWS).map(row).collect::<Vec<_>>()));
            let is_due = |(seen, _): &mut (Duration, Vec<u64>)| *seen + LAG <= at;
            while let Some((_, versions)) = past.pop_front_if(is_due) {
                for (row, version) in versions.into_iter().enumerate() {
                    self.ledger.set(Slot::Heard(row), version);
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn spawn(&self, number: usize, proxy: &Proxy) -> Child {
        let ledger = self.folder.join("ledger");
        let log = log_of(&ledger, number);
        let log = File::options().create(true).append(true).open(log).unwrap();
        let order = Order {
            ledger,
            url: self.server.url_through(proxy.address).unwrap(),
            node: number,
            forgets: self.forgets,
        };
        Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "processes::take_part",
                "--ignored",
                "--nocapture",
            ])
            .env(ORDER, serde_json::to_string(&order).unwrap())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    fn told(&self, number: usize) -> String {
        let log = log_of(&self.folder.join("ledger"), number);
        std::fs::read_to_string(log).unwrap_or_default()
    }

    /// Kills a process, stops it or cuts it off, and again.
    async fn trouble_node(&self, number: usize) {
        let proxy = Proxy::before(self.server.address()).await;
        let mut child = self.spawn(number, &proxy);
        for round in number.. {
            pause(100..800).await;
            if self.is_over() {
                break;
            }
            if let Some(status) = child.try_wait().unwrap() {
                panic!(
                    "process {number} has ended: {status}\n{}",
                    self.told(number)
                );
            }
            // Most of the time not for long.
            let long = match rand::random_range(0..4) {
                0 => 0..3_000,
                _ => 0..300,
            };
            match round % 5 {
                // In fair weather it is noticed for certain.
                _ if self.forgets => {}
                0 => {
                    child.kill().await.unwrap();
                    add(&self.trouble.kills);
                    pause(0..200).await;
                    child = self.spawn(number, &proxy);
                }
                1 => {
                    signal(&child, "STOP").await;
                    add(&self.trouble.stops);
                    pause(long).await;
                    signal(&child, "CONT").await;
                }
                2 => {
                    proxy.lead_to(None);
                    add(&self.trouble.cuts);
                    pause(long).await;
                    proxy.lead_to(Some(self.server.address()));
                }
                3 => {
                    // Stopped behind a link that is cut meanwhile.
                    signal(&child, "STOP").await;
                    proxy.lead_to(Some(self.server.address()));
                    add(&self.trouble.stops);
                    add(&self.trouble.cuts);
                    pause(long).await;
                    signal(&child, "CONT").await;
                }
                _ => {}
            }
        }
        // Waiting would close it, and with that end the process.
        let _input = child.stdin.take();
        let ended = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
        let status = ended.unwrap().unwrap();
        assert!(status.success(), "process {number}: {}", self.told(number));
    }

    /// Has the server lose something, and again.
    async fn trouble_server(&self) {
        let trouble = &self.trouble;
        for round in 0_u64.. {
            pause(50..300).await;
            if self.is_over() {
                return;
            }
            match round % 16 {
                _ if self.forgets => {}
                2 => {
                    self.server.execute(&["flushall"]).await.unwrap();
                    add(&trouble.flushes);
                }
                4 => {
                    let lua = "local x = string.rep('x', 20000) for i = 1, 400 do \
                               redis.call('SET', 'filler' .. i, x, 'PX', 1000) end";
                    self.server.execute(&["eval", lua, "0"]).await.unwrap();
                    add(&trouble.evictions);
                }
                7 if round % 64 == 7 => {
                    self.server.stop(StopMode::Immediate).await.unwrap();
                    self.server.restart().await.unwrap();
                    add(&trouble.server_restarts);
                }
                10 => {
                    self.server.pause().await.unwrap();
                    pause(0..1_500).await;
                    self.server.resume().await.unwrap();
                    add(&trouble.server_pauses);
                }
                _ => {
                    let lua = "local key = redis.call('RANDOMKEY') \
                               if key then redis.call('UNLINK', key) end";
                    self.server.execute(&["eval", lua, "0"]).await.unwrap();
                    add(&trouble.keys_lost);
                }
            }
        }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

async fn pause(millis: std::ops::Range<u64>) {
    let millis = rand::random_range(millis);
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// Sends a signal to a child, which is there until it is waited for.
async fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id().unwrap());
    let sent = Command::new("sh").args(["-c", &kill]).status().await;
    assert!(sent.unwrap().success(), "{kill}");
}
