//! Workers in processes of their own, which are killed and stopped while services write.

#![allow(clippy::disallowed_methods, reason = "what a parent orders its child")]
#![allow(clippy::print_stdout, reason = "what a proof has found")]

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tenantry_core::TenantId;
use tenantry_outbox::conformance::{Ledger, Subject, quick};
use tenantry_outbox::{
    Message, NewMessage, Outbox, OutboxWorker, Publisher, Stopped, WorkerSettings,
};
use tenantry_store::{PlatformStore, PostgresSettings, async_trait};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use uuid::Uuid;

use crate::OnPostgres;

const ORDER: &str = "TENANTRY_TEST_OUTBOX";

const WORKERS: usize = 3;

const BATCH: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_are_killed_and_stopped_lose_nothing_and_reorder_nothing() {
    let committed = storm(Duration::from_secs(8)).await;
    assert!(committed > 100, "hardly anything happened: {committed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/prove"]
async fn prove_outbox_in_processes() {
    let seconds = std::env::var("TENANTRY_PROVE_SECONDS").unwrap();
    let committed = storm(Duration::from_secs(seconds.parse().unwrap())).await;
    println!("{committed} messages, none lost, none out of order, none that was not committed");
}

/// A worker until its parent ends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by its parent, in a process of its own"]
async fn work_and_die() {
    let order = std::env::var(ORDER).unwrap();
    let [url, file, batch] = order.split('\n').collect::<Vec<_>>()[..] else {
        panic!("no order: {order}");
    };
    let batch = batch.parse().unwrap();
    let settings = PostgresSettings::new(url).with_max_connections(4);
    let platform = PlatformStore::postgres(settings).await.unwrap();
    let publisher = Arc::new(ToFile::open(Path::new(file)));
    let worker = OutboxWorker::start(&platform, publisher, settings_of_workers(batch)).unwrap();
    // Closed when the parent is gone, or wants an orderly end.
    let mut nothing = Vec::new();
    tokio::io::stdin().read_to_end(&mut nothing).await.unwrap();
    worker.stop().await.unwrap();
}

fn settings_of_workers(batch: usize) -> WorkerSettings {
    quick()
        .with_lease(Duration::from_millis(700))
        .with_batch(batch)
}

/// A broker that is a file: what is written has been taken, in the order of the lines.
#[derive(Debug)]
struct ToFile(Mutex<std::fs::File>);

impl ToFile {
    fn open(path: &Path) -> Self {
        let file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        Self(Mutex::new(file))
    }
}

#[async_trait]
impl Publisher for ToFile {
    async fn publish(&self, messages: &[Message]) -> Result<(), Stopped> {
        for message in messages {
            let line = format!("{} {} {}\n", message.tenant(), message.id(), message.key());
            // One call of the system: a line is there whole, or it is not.
            self.0.lock().write_all(line.as_bytes()).unwrap();
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn check(&self) -> tenantry_core::Result<()> {
        Ok(())
    }

    fn system(&self) -> &'static str {
        "file"
    }
}

pub(crate) fn got(path: &Path) -> Vec<Message> {
    let text = std::fs::read_to_string(path).unwrap();
    let line = |line: &str| {
        let parts: Vec<_> = line.split(' ').collect();
        let tenant = TenantId::new(parts[0].parse::<Uuid>().unwrap()).unwrap();
        let content = NewMessage::new("line", parts[2]).with_id(parts[1].parse().unwrap());
        Message::new(tenant, content)
    };
    text.lines().map(line).collect()
}

/// Returns how many messages were committed.
async fn storm(time: Duration) -> usize {
    let subject = OnPostgres::open().await;
    let outbox = Outbox::new(&subject.store);
    let ledger = Ledger::default();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broker");
    std::fs::File::create(&file).unwrap();
    let spawn = || spawn(subject.platform_login.url(), &file, BATCH);
    let mut workers: Vec<Child> = (0..WORKERS).map(|_| spawn()).collect();

    let is_over = Arc::new(AtomicBool::new(false));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4_usize {
        let tenant = subject.store().tenant(TENANTS[writer % 2]);
        let (outbox, ledger, is_over) = (outbox.clone(), ledger.clone(), Arc::clone(&is_over));
        writers.spawn(async move {
            let accounts: Vec<_> = (0..25).map(Uuid::from_u128).collect();
            while !is_over.load(Ordering::Relaxed) {
                let first = rand::random_range(0..accounts.len());
                let last = (first + rand::random_range(1..4)).min(accounts.len());
                let commits = rand::random_range(0..10) > 0;
                // Who loses a race for a row tries others.
                let _ = ledger
                    .write(&outbox, &tenant, &accounts[first..last], commits)
                    .await;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
    }

    let mut faults = 0;
    let ends = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < ends {
        tokio::time::sleep(Duration::from_millis(rand::random_range(50..500))).await;
        let victim = rand::random_range(0..workers.len());
        faults += 1;
        match rand::random_range(0..3) {
            // Longer than its claim, so that it wakes up when another has taken over.
            0 => {
                signal(&workers[victim], "STOP").await;
                tokio::time::sleep(Duration::from_millis(1_200)).await;
                signal(&workers[victim], "CONT").await;
            }
            1 => {
                workers[victim].kill().await.unwrap();
                workers[victim] = spawn();
            }
            _ => {
                drop(workers[victim].stdin.take());
                workers[victim].wait().await.unwrap();
                workers[victim] = spawn();
            }
        }
    }
    is_over.store(true, Ordering::Relaxed);
    writers.join_all().await;
    for _ in 0..6_000 {
        if ledger.is_empty_after(&got(&file)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for worker in &mut workers {
        drop(worker.stdin.take());
        worker.wait().await.unwrap();
    }
    let got = got(&file);
    let outcome = ledger.assert_whole(&got);
    assert!(
        outcome.committed > 100,
        "hardly anything happened: {outcome:?}"
    );
    // What was in flight, once by the one that woke up and once by the one that took over.
    assert!(
        outcome.duplicates <= 2 * BATCH * faults,
        "{faults} faults: {outcome:?}"
    );
    let mut by_tenant: HashMap<_, usize> = HashMap::new();
    for message in &got {
        *by_tenant.entry(message.tenant()).or_default() += 1;
    }
    assert_eq!(by_tenant.len(), 2);
    outcome.committed
}

pub(crate) const TENANTS: [TenantId; 2] = [tenant(1), tenant(2)];

const fn tenant(number: u128) -> TenantId {
    match TenantId::from_u128(number) {
        Some(tenant) => tenant,
        None => panic!("nil"),
    }
}

pub(crate) fn spawn(url: &str, file: &Path, batch: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::work_and_die", "--ignored"])
        .env(ORDER, format!("{url}\n{}\n{batch}", file.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

pub(crate) async fn signal(child: &Child, name: &str) {
    if let Some(pid) = child.id() {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid.to_string()])
            .status();
        assert!(sent.await.unwrap().success());
    }
}
