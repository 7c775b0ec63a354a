use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tenantry_core::ErrorKind;
use uuid::Uuid;

use super::{Broker, Ledger, Slow, Subject, quick, start, two_tenants, until};
use crate::log::MOST_BYTES;
use crate::{Message, NewMessage, Outbox, OutboxWorker, Publisher, Stopped};

/// Writers race for accounts, some give up, and workers read meanwhile.
pub async fn each_key_leaves_in_the_order_of_its_commits(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let ledger = Ledger::default();
    let broker = Broker::default();
    let workers = [(); 2].map(|()| start(subject, &broker, quick().with_outbox(&outbox)));
    let accounts: Vec<_> = (0..10).map(|_| Uuid::now_v7()).collect();
    let mut writers = tokio::task::JoinSet::new();
    for tenant in two_tenants(subject) {
        for writer in 0..2_usize {
            let (outbox, ledger, tenant) = (outbox.clone(), ledger.clone(), tenant.clone());
            let accounts = accounts.clone();
            writers.spawn(async move {
                for round in 0..60 {
                    let first = (round * 3 + writer) % accounts.len();
                    let commits = round % 10 != 9;
                    let accounts = &accounts[first..(first + 2).min(accounts.len())];
                    // Who loses the race for a row, or for its insert, tries the next one.
                    let _ = match round % 3 {
                        0 => ledger.write_riding(&outbox, &tenant, accounts).await,
                        _ => ledger.write(&outbox, &tenant, accounts, commits).await,
                    };
                }
            });
        }
    }
    writers.join_all().await;
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    for worker in &workers {
        worker.stop().await.unwrap();
    }
    let outcome = ledger.assert_whole(&broker.got());
    assert!(outcome.committed > 100);
    assert_eq!(outcome.duplicates, 0);
}

/// Two share them, and where one ends the other has all at once, without waiting for a claim to expire.
pub async fn workers_share_the_keys_and_give_them_back(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let ledger = Ledger::default();
    let (left, right) = (Broker::default(), Broker::default());
    let lease = Duration::from_millis(600);
    let first = start(subject, &left, quick().with_lease(lease));
    let second = start(subject, &right, quick().with_lease(lease));
    let tenants = two_tenants(subject);
    let accounts: Vec<_> = (0..40).map(|_| Uuid::now_v7()).collect();
    let mut rounds = 0;
    while left.count() == 0 || right.count() == 0 {
        for tenant in &tenants {
            ledger
                .write(&outbox, tenant, &accounts, true)
                .await
                .unwrap();
        }
        rounds += 1;
        assert!(
            rounds < 2_000,
            "one of them has nothing: {} and {}",
            left.count(),
            right.count()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    first.stop().await.unwrap();
    for tenant in &tenants {
        ledger
            .write(&outbox, tenant, &accounts, true)
            .await
            .unwrap();
    }
    let all = || [left.got(), right.got()].concat();
    until("the other has all", || ledger.is_empty_after(&all())).await;
    second.stop().await.unwrap();
    let outcome = ledger.compare(&all());
    assert_eq!(
        (outcome.lost, outcome.uncommitted, outcome.duplicates),
        (0, 0, 0)
    );
}

/// One that comes to help with a backlog has its part of it before all of that has left.
pub async fn a_worker_that_comes_has_its_part_of_what_is_being_read(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let ledger = Ledger::default();
    let (left, right) = (Broker::default(), Broker::default());
    let accounts: Vec<_> = (0..1_500).map(|_| Uuid::now_v7()).collect();
    for tenant in &two_tenants(subject) {
        let written = ledger.write(&outbox, tenant, &accounts, true);
        written.await.unwrap();
    }
    // Small batches have no lanes: one snapshot has all of them.
    let settings = || {
        let lease = Duration::from_millis(600);
        quick().with_lease(lease).with_batch(10)
    };
    let slow = Arc::new(Slow(left.clone(), Duration::from_millis(10)));
    let first =
        OutboxWorker::start(subject.platform(), slow, settings().with_keys_in_flight(1)).unwrap();
    until("it works", || left.count() > 0).await;
    let second = start(subject, &right, settings());
    until("the other works as well", || right.count() > 0).await;
    let before = left.count();
    assert!(before < 1_500, "the other has its part after {before}");
    first.stop().await.unwrap();
    let all = || [left.got(), right.got()].concat();
    until("all have left", || ledger.is_empty_after(&all())).await;
    second.stop().await.unwrap();
    assert_eq!(ledger.compare(&all()).duplicates, 0);
}

/// One dies in mid-batch: what had left may leave again, no more than that, and nothing else is different.
pub async fn a_worker_that_dies_is_taken_over(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let ledger = Ledger::default();
    let tenants = two_tenants(subject);
    let accounts: Vec<_> = (0..10).map(|_| Uuid::now_v7()).collect();
    for _ in 0..10 {
        for tenant in &tenants {
            ledger
                .write(&outbox, tenant, &accounts, true)
                .await
                .unwrap();
        }
    }
    let broker = Broker::default();
    let batch = 40;
    let settings = quick()
        .with_lease(Duration::from_millis(300))
        .with_batch(batch);
    // At the start of a batch, within it, and in a later one.
    for stops_after in [0, 7, 55] {
        let before = broker.count();
        broker.stop_after(stops_after);
        let worker = start(subject, &broker, settings.clone());
        // The one before may have handed over one more as it died.
        until("it stands still", || broker.count() >= before + stops_after).await;
        drop(worker);
        broker.go_on();
    }
    let worker = start(subject, &broker, settings);
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    worker.stop().await.unwrap();
    let outcome = ledger.assert_whole(&broker.got());
    // At most what was in flight when one of them died.
    assert!(outcome.duplicates <= 3 * batch, "{outcome:?}");
}

/// While one is alive, another of its name does not begin; afterwards it does.
pub async fn a_name_is_of_one_living_worker(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let ledger = Ledger::default();
    let (left, right) = (Broker::default(), Broker::default());
    let settings = || quick().with_name("the one");
    let first = start(subject, &left, settings());
    let [one, two] = two_tenants(subject);
    ledger
        .write(&outbox, &one, &[Uuid::now_v7()], true)
        .await
        .unwrap();
    until("it works", || left.count() == 1).await;

    let second = start(subject, &right, settings());
    assert_eq!(
        second.stop().await.unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    // Nor when it has tried for a time.
    let second = start(subject, &right, settings());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        second.stop().await.unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    first.stop().await.unwrap();
    // It may be called again.
    first.stop().await.unwrap();

    let third = start(subject, &right, settings());
    ledger
        .write(&outbox, &two, &[Uuid::now_v7()], true)
        .await
        .unwrap();
    until("it works", || right.count() == 1).await;
    third.stop().await.unwrap();
}

/// A worker that was stopped leaves nothing for the next one to repeat.
pub async fn what_was_saved_is_not_handed_over_again(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let ledger = Ledger::default();
    let broker = Broker::default();
    let tenants = two_tenants(subject);
    let accounts: Vec<_> = (0..5).map(|_| Uuid::now_v7()).collect();
    for _ in 0..6 {
        for tenant in &tenants {
            ledger
                .write(&outbox, tenant, &accounts, true)
                .await
                .unwrap();
        }
        let worker = start(subject, &broker, quick().with_batch(3));
        until("all have left", || ledger.is_empty_after(&broker.got())).await;
        worker.stop().await.unwrap();
    }
    assert_eq!(ledger.assert_whole(&broker.got()).duplicates, 0);
}

/// A broker that looks at how much it is given at a time.
#[derive(Debug, Default)]
struct Weighs {
    broker: Broker,
    most: AtomicUsize,
}

#[async_trait]
impl Publisher for Weighs {
    async fn publish(&self, messages: &[Message]) -> Result<(), Stopped> {
        let bytes = messages.iter().map(|message| message.payload().len()).sum();
        self.most.fetch_max(bytes, Ordering::Relaxed);
        self.broker.publish(messages).await
    }

    async fn check(&self) -> tenantry_core::Result<()> {
        Ok(())
    }

    fn system(&self) -> &'static str {
        "conformance"
    }
}

/// In their order, and never more than there is room for.
pub async fn large_messages_are_read_a_few_at_a_time(subject: &dyn Subject) {
    const BYTES: usize = 1_000_000;
    const UNITS: usize = 4;
    let each = MOST_BYTES / BYTES / UNITS + 2;
    let outbox = Outbox::new(subject.store());
    let [large, small] = two_tenants(subject);
    for unit in 0..UNITS {
        let work = large.begin().await.unwrap();
        for number in 0..each {
            let mut payload = vec![b'x'; BYTES];
            payload[..8].copy_from_slice(&(unit * each + number).to_be_bytes());
            let message = NewMessage::new("suite.large", "k").with_payload("text/plain", payload);
            outbox.append_message(&work, message).unwrap();
        }
        work.commit().await.unwrap();
    }
    let work = small.begin().await.unwrap();
    outbox
        .append_message(&work, NewMessage::new("suite.small", "k"))
        .unwrap();
    work.commit().await.unwrap();
    let weighs = Arc::new(Weighs::default());
    let publisher: Arc<dyn Publisher> = Arc::<Weighs>::clone(&weighs);
    let worker = OutboxWorker::start(subject.platform(), publisher, quick()).unwrap();
    let all = UNITS * each + 1;
    until("all have left", || weighs.broker.count() == all).await;
    worker.stop().await.unwrap();
    let numbers: Vec<_> = weighs
        .broker
        .got()
        .iter()
        .filter(|message| message.tenant() == large.tenant())
        .map(|message| message.payload()[..8].to_vec())
        .collect();
    assert!(numbers.is_sorted() && numbers.len() == all - 1);
    let most = weighs.most.load(Ordering::Relaxed);
    assert!((BYTES..=MOST_BYTES).contains(&most), "{most}");
}
