//! A server that falls over, connections that are cut, transactions that stay open, and workers that are killed.

#![allow(clippy::disallowed_methods, reason = "how long a proof is to run")]
#![allow(clippy::print_stdout, reason = "what a proof has found")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use sqlx::Connection as _;
use tenantry_core::{Clock as _, ManualClock, SystemClock};
use tenantry_outbox::Outbox;
use tenantry_outbox::conformance::{Ledger, Subject};
use tenantry_testkit::{PostgresServer, StopMode};
use tokio::process::Child;
use uuid::Uuid;

use crate::OnPostgres;
use crate::processes::{TENANTS, got, signal, spawn};

/// Larger than that of a test in which workers alone die: they have to keep up with the writers.
const BATCH: usize = 500;
const WORKERS: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outages_of_the_server_lose_nothing_and_reorder_nothing() {
    let committed = storm(Duration::from_secs(10), 3).await;
    assert!(committed > 100, "hardly anything happened: {committed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/prove"]
async fn prove_outbox_through_outages() {
    let seconds = std::env::var("TENANTRY_PROVE_SECONDS").unwrap();
    let committed = storm(Duration::from_secs(seconds.parse().unwrap()), 60).await;
    println!("{committed} messages, none lost, none out of order, none that was not committed");
}

/// Returns how many messages were committed; a unit of work has up to `most`.
async fn storm(time: Duration, most: usize) -> usize {
    let server = PostgresServer::start().await.unwrap();
    let subject = OnPostgres::open_on(&server).await;
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
        // Clocks of services differ, and tell nothing of the order.
        let skew = [0, -86_400, 3_600, 7][writer];
        let clock = ManualClock::new(SystemClock.now() + TimeDelta::seconds(skew));
        let outbox = Outbox::builder(subject.store())
            .with_clock(Arc::new(clock))
            .build();
        let (ledger, is_over) = (ledger.clone(), Arc::clone(&is_over));
        writers.spawn(async move {
            let accounts: Vec<_> = (0..50).map(Uuid::from_u128).collect();
            while !is_over.load(Ordering::Relaxed) {
                let first = rand::random_range(0..accounts.len());
                let last = (first + rand::random_range(1..=most)).min(accounts.len());
                let commits = rand::random_range(0..10) > 0;
                let accounts = &accounts[first..last];
                // Who loses a race for a row tries others, and while the server is away all fail.
                let written = match rand::random_range(0..200) {
                    0 => {
                        ledger
                            .write_slowly(&outbox, &tenant, accounts, straggles())
                            .await
                    }
                    1..60 => ledger.write_riding(&outbox, &tenant, accounts).await,
                    _ => ledger.write(&outbox, &tenant, accounts, commits).await,
                };
                if written.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        });
    }

    let mut faults = 0;
    let ends = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < ends {
        tokio::time::sleep(Duration::from_millis(rand::random_range(100..800))).await;
        let victim = rand::random_range(0..workers.len());
        faults += 1;
        match rand::random_range(0..8) {
            0 => {
                server.stop(StopMode::Immediate).await.unwrap();
                server.restart().await.unwrap();
            }
            1..4 => terminate_some(&server, &subject).await,
            4..6 => {
                signal(&workers[victim], "STOP").await;
                tokio::time::sleep(Duration::from_millis(1_200)).await;
                signal(&workers[victim], "CONT").await;
            }
            _ => {
                workers[victim].kill().await.unwrap();
                workers[victim] = spawn();
            }
        }
        for worker in &mut workers {
            // It cannot begin where the server is away.
            if worker.try_wait().unwrap().is_some() {
                *worker = spawn();
            }
        }
    }
    is_over.store(true, Ordering::Relaxed);
    writers.join_all().await;
    for _ in 0..600 {
        if ledger.is_empty_after(&got(&file)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for worker in &mut workers {
        drop(worker.stdin.take());
        worker.wait().await.unwrap();
    }
    let outcome = ledger.assert_whole(&got(&file));
    println!("{faults} faults: {outcome:?}");
    assert!(
        outcome.duplicates <= 2 * BATCH * faults,
        "{faults} faults: {outcome:?}"
    );
    outcome.committed
}

fn straggles() -> Duration {
    Duration::from_millis(rand::random_range(500..5_000))
}

/// Cuts some of the connections of services and workers, as an operator would.
async fn terminate_some(server: &PostgresServer, subject: &OnPostgres) {
    let mut admin = sqlx::PgConnection::connect(server.admin_url())
        .await
        .unwrap();
    let terminate = "select pg_terminate_backend(pid) from pg_stat_activity \
        where datname = $1 and random() < 0.3";
    sqlx::query(terminate)
        .bind(subject.database.name())
        .execute(&mut admin)
        .await
        .unwrap();
}
