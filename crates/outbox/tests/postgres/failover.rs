//! A standby that was behind takes the place of the server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tenantry_core::TenantId;
use tenantry_outbox::conformance::{Broker, until};
use tenantry_outbox::{Message, NewMessage, Outbox, OutboxWorker, WorkerSettings};
use tenantry_testkit::{PostgresServer, StopMode};

use crate::OnPostgres;

async fn copy(from: &Path, to: &Path) {
    let mut copying = tokio::process::Command::new("cp");
    let copied = copying.arg("-a").arg(from).arg(to).status().await.unwrap();
    assert!(copied.success());
}

/// Appends messages one by one, each until the server has taken it.
async fn append(subject: &OnPostgres, outbox: &Outbox, event_type: &'static str, count: usize) {
    let scope = subject.store.tenant(TenantId::generate());
    for number in 0..count {
        loop {
            let appended = async {
                let work = scope.begin().await?;
                let message = NewMessage::new(event_type, number.to_string());
                outbox.append_message(&work, message)?;
                work.commit().await
            };
            match appended.await {
                Ok(()) => break,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

/// What is committed there has numbers that the server before gave to others, and leaves all the same, with the worker that
/// was at work and within its lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_behind_a_failover_leaves() {
    let server = PostgresServer::start().await.unwrap();
    let subject = OnPostgres::open_on(&server).await;
    let outbox = Outbox::new(&subject.store);
    let broker = Broker::default();
    let folder: String = sqlx::query_scalar("show data_directory")
        .fetch_one(&mut subject.admin().await)
        .await
        .unwrap();
    let publisher = Arc::new(broker.clone());
    let settings = WorkerSettings::default();
    let worker = OutboxWorker::start(&subject.platform, publisher, settings).unwrap();
    let of = |event_type: &str| {
        let is_of = |it: &&Message| it.event_type() == event_type;
        broker.got().iter().filter(is_of).count()
    };
    append(&subject, &outbox, "suite.before", 20).await;
    until("those that both have", || of("suite.before") >= 20).await;

    server.stop(StopMode::Fast).await.unwrap();
    let standby = format!("{folder}.standby");
    copy(Path::new(&folder), Path::new(&standby)).await;
    server.restart().await.unwrap();
    append(&subject, &outbox, "suite.lost", 200).await;
    until("those that one has", || of("suite.lost") >= 200).await;

    server.stop(StopMode::Immediate).await.unwrap();
    tokio::fs::rename(&folder, format!("{folder}.lost"))
        .await
        .unwrap();
    tokio::fs::rename(&standby, &folder).await.unwrap();
    server.restart().await.unwrap();
    append(&subject, &outbox, "suite.after", 50).await;
    until("those of the other", || of("suite.after") >= 50).await;
    worker.stop().await.unwrap();
}
