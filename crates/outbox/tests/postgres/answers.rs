//! Answers of the database that do not arrive.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tenantry_core::TenantId;
use tenantry_outbox::conformance::{Broker, Ledger, quick, until};
use tenantry_outbox::{Outbox, OutboxWorker};
use tenantry_store::{PlatformStore, PostgresSettings};
use tenantry_testkit::PostgresServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use crate::OnPostgres;

/// A way to a server on which the answer to one commit is lost: the first behind a statement with these words.
#[derive(Debug, Clone)]
struct Lossy {
    words: &'static str,
    has_lost: Arc<AtomicBool>,
}

impl Lossy {
    async fn open(server: String, words: &'static str) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let this = Self {
            words,
            has_lost: Arc::default(),
        };
        let lossy = this.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(lossy.clone().pass(client, server));
            }
        });
        (this, address)
    }

    async fn pass(self, client: TcpStream, server: TcpStream) {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let answers =
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        let mut is_next = false;
        let mut buffer = vec![0; 65_536];
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            let text = String::from_utf8_lossy(&buffer[..read]);
            is_next |= text.contains(self.words);
            let is_lost =
                is_next && text.contains("COMMIT") && !self.has_lost.swap(true, Ordering::SeqCst);
            if is_lost {
                answers.abort();
            }
            if to_server.write_all(&buffer[..read]).await.is_err() {
                break;
            }
            if is_lost {
                // The server does it all the same.
                tokio::time::sleep(Duration::from_millis(200)).await;
                break;
            }
        }
        answers.abort();
    }
}

async fn goes_on_behind_a_lost_answer(words: &'static str) {
    let server = PostgresServer::shared().await.unwrap();
    let subject = OnPostgres::open().await;
    let outbox = Outbox::new(&subject.store);
    let (lossy, address) = Lossy::open(server.address(), words).await;
    let login = subject.platform_login.url();
    let url = login.replace(&server.address(), &address.to_string());
    assert_ne!(url, login);
    let settings = PostgresSettings::new(url).with_max_connections(4);
    let platform = PlatformStore::postgres(settings).await.unwrap();
    let broker = Broker::default();
    let worker = OutboxWorker::start(&platform, Arc::new(broker.clone()), quick()).unwrap();
    // Of every part there are some.
    let ledger = Ledger::default();
    let keys: Vec<_> = (0..200).map(|_| Uuid::now_v7()).collect();
    let scope = subject.store.tenant(TenantId::generate());
    ledger.write(&outbox, &scope, &keys, true).await.unwrap();
    until("all of them", || ledger.is_empty_after(&broker.got())).await;
    ledger.assert_whole(&broker.got());
    assert!(lossy.has_lost.load(Ordering::SeqCst), "no answer was lost");
    worker.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_that_were_taken_without_an_answer_are_handed_over() {
    goes_on_behind_a_lost_answer("with free as materialized").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_was_made_without_an_answer_holds_up_nothing_for_long() {
    goes_on_behind_a_lost_answer("outbox_claims (worker").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_that_were_merged_without_an_answer_stand() {
    goes_on_behind_a_lost_answer("nullif($2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_that_was_saved_without_an_answer_stands() {
    goes_on_behind_a_lost_answer("returning position").await;
}
