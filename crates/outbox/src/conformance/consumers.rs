//! Consumers of the broker in this process: what they hear of stays in the outbox until it was handled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tenantry_core::{Error, ErrorKind, RequestContext, TenantId};
use tenantry_store::{Filter, Repository as _, TenantScope, UnitOfWork, Version};
use uuid::Uuid;

use super::{Account, Subject, quick, two_tenants, until};
use crate::{
    Consumer, ConsumerSettings, DeadLetterFilter, DeadLetters, FailurePolicy, HandlerError,
    MemoryPublisher, Message, MessageHandler, NewMessage, Outbox, OutboxStatus, OutboxWorker,
    Publisher as _,
};

const KEYS: [&str; 3] = ["a", "b", "c"];

/// Writes a row for each message, whose second effect would be refused.
#[derive(Default)]
struct Effects {
    /// Tells the rows of one consumer from those of another.
    salt: u128,
    /// What was told to be stored, without what came again.
    stored: Mutex<Vec<Message>>,
    calls: AtomicUsize,
    /// How often those that fail do so.
    failures: AtomicU64,
    blocks: AtomicBool,
}

impl Effects {
    fn of(salt: u128) -> Arc<Self> {
        Arc::new(Self {
            salt,
            ..Self::default()
        })
    }

    fn count(&self) -> usize {
        self.stored.lock().len()
    }

    /// Returns what the messages of a key say, in the order of their effects.
    fn said(&self, tenant: TenantId, key: &str) -> Vec<String> {
        let stored = self.stored.lock();
        let of = stored
            .iter()
            .filter(|message| message.tenant() == tenant && message.key() == key);
        of.map(|message| String::from_utf8_lossy(message.payload()).into_owned())
            .collect()
    }
}

#[async_trait]
impl MessageHandler for Effects {
    async fn handle(&self, work: &UnitOfWork, message: &Message) -> Result<(), HandlerError> {
        assert_eq!(work.tenant(), message.tenant());
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut row = Account {
            id: Uuid::from_u128(message.id().as_uuid().as_u128() ^ self.salt),
            version: Version::NEW,
        };
        work.repository::<Account>().insert(&mut row).await?;
        while self.blocks.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let refusal = || Error::new(ErrorKind::Conflict, "as the test asks");
        match message.payload() {
            b"hangs" => std::future::pending().await,
            b"poison" => return Err(HandlerError::Poison(refusal())),
            b"fails" => {
                let one_less = |left: u64| left.checked_sub(1);
                let relaxed = Ordering::Relaxed;
                if self
                    .failures
                    .fetch_update(relaxed, relaxed, one_less)
                    .is_ok()
                {
                    return Err(refusal().into());
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn handled(&self, message: &Message) {
        let mut stored = self.stored.lock();
        let key = |it: &Message| (it.tenant(), it.id());
        if !stored.iter().any(|it| key(it) == key(message)) {
            stored.push(message.clone());
        }
    }
}

fn broker() -> MemoryPublisher {
    MemoryPublisher::new().with_consumer("suite", ["suite."])
}

fn worker(subject: &dyn Subject, broker: &MemoryPublisher) -> OutboxWorker {
    OutboxWorker::start(subject.platform(), Arc::new(broker.clone()), quick()).unwrap()
}

fn consumer(subject: &dyn Subject, broker: &MemoryPublisher, effects: &Arc<Effects>) -> Consumer {
    let handler = Arc::clone(effects);
    Consumer::start_memory(
        subject.store(),
        broker,
        handler,
        ConsumerSettings::new("suite"),
    )
    .unwrap()
}

async fn commit(outbox: &Outbox, tenant: &TenantScope, key: &str, payloads: &[&str]) {
    let work = tenant.begin().await.unwrap();
    for payload in payloads {
        let message = NewMessage::new("suite.number", key);
        let message = message.with_payload("text/plain", payload.as_bytes().to_vec());
        outbox.append_message(&work, message).unwrap();
    }
    work.commit().await.unwrap();
}

async fn rows(tenant: &TenantScope) -> u64 {
    let accounts = tenant.repository::<Account>();
    accounts.count(Filter::all()).await.unwrap()
}

async fn waiting(subject: &dyn Subject) -> u64 {
    OutboxStatus::read(subject.platform())
        .await
        .unwrap()
        .backlog
}

/// Once, in a unit of work of its tenant, in the order of its key; then the outbox has it no more. What nobody named hears
/// of leaves as well.
pub async fn a_message_has_its_effect_before_it_leaves(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let (broker, effects) = (broker(), Effects::of(0));
    broker.check().await.unwrap_err();
    let consumer = consumer(subject, &broker, &effects);
    broker.check().await.unwrap();
    let worker = worker(subject, &broker);
    let tenants = two_tenants(subject);
    for tenant in &tenants {
        for key in KEYS {
            commit(&outbox, tenant, key, &["1", "2", "3"]).await;
        }
        let work = tenant.begin().await.unwrap();
        let unheard = NewMessage::new("other.type", "a");
        outbox.append_message(&work, unheard).unwrap();
        work.commit().await.unwrap();
    }
    until("all have their effect", || effects.count() == 18).await;
    for tenant in &tenants {
        for key in KEYS {
            assert_eq!(effects.said(tenant.tenant(), key), ["1", "2", "3"]);
        }
        assert_eq!(rows(tenant).await, 9);
    }
    while waiting(subject).await > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(effects.calls.load(Ordering::Relaxed), 18);
    consumer.stop().await.unwrap();
    worker.stop().await.unwrap();
    assert!(!consumer.is_running());
    consumer.stop().await.unwrap();
}

/// After its policy, with those of its key behind it; all others go on, and those of the other tenant under the same key.
pub async fn what_a_consumer_fails_at_the_outbox_tries_again(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let (broker, effects) = (broker(), Effects::of(0));
    effects.failures.store(3, Ordering::Relaxed);
    let consumer = consumer(subject, &broker, &effects);
    let worker = worker(subject, &broker);
    let [held, free] = two_tenants(subject);
    commit(&outbox, &held, "a", &["fails", "2", "3"]).await;
    commit(&outbox, &held, "b", &["1"]).await;
    commit(&outbox, &free, "a", &["1", "2"]).await;
    until("all have their effect", || effects.count() == 6).await;
    assert_eq!(effects.said(held.tenant(), "a"), ["fails", "2", "3"]);
    assert_eq!(effects.said(free.tenant(), "a"), ["1", "2"]);
    assert_eq!((rows(&held).await, rows(&free).await), (4, 2));
    assert_eq!(effects.calls.load(Ordering::Relaxed), 6 + 3);
    consumer.stop().await.unwrap();
    worker.stop().await.unwrap();
}

/// Of the outbox that it came from, with what the consumer says of it; a replay brings it again.
pub async fn poison_to_a_consumer_is_a_dead_letter_of_the_outbox(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let (broker, effects) = (broker(), Effects::of(0));
    let consumer = consumer(subject, &broker, &effects);
    let worker = worker(subject, &broker);
    let [poisoned, well] = two_tenants(subject);
    commit(&outbox, &poisoned, "a", &["poison", "behind"]).await;
    commit(&outbox, &well, "a", &["1"]).await;
    until("the others have left", || effects.count() == 1).await;
    let letters =
        DeadLetters::open(subject.platform(), "a test", RequestContext::system()).unwrap();
    let all = DeadLetterFilter::default();
    let mut listed = letters.list(&all, 10).await.unwrap();
    while listed.is_empty() {
        tokio::task::yield_now().await;
        listed = letters.list(&all, 10).await.unwrap();
    }
    assert_eq!(
        (listed[0].tenant, &*listed[0].reason),
        (poisoned.tenant(), "poison")
    );
    let detail = &listed[0].detail;
    assert!(
        detail.contains("the consumer suite cannot handle it"),
        "{detail}"
    );
    assert_eq!(rows(&poisoned).await, 0);
    let calls = effects.calls.load(Ordering::Relaxed);
    assert_eq!(letters.replay(poisoned.tenant(), &all).await.unwrap(), 1);
    until("it came again", || {
        effects.calls.load(Ordering::Relaxed) > calls
    })
    .await;
    while letters.discard(poisoned.tenant(), &all).await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
    until("what stood behind goes on", || effects.count() == 2).await;
    assert_eq!((rows(&poisoned).await, rows(&well).await), (1, 1));
    consumer.stop().await.unwrap();
    worker.stop().await.unwrap();
}

/// Where others are answered a worker waits for no long time: still each attempt of the outbox is one of the handler, and
/// they come to an end.
pub async fn a_handler_that_hangs_uses_attempts_up(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let (broker, effects) = (broker(), Effects::of(0));
    let settings = ConsumerSettings::new("suite").with_handle_timeout(Duration::from_millis(300));
    let handler = Arc::clone(&effects);
    let consumer = Consumer::start_memory(subject.store(), &broker, handler, settings).unwrap();
    let waits = (Duration::from_millis(10), Duration::from_millis(50));
    let policy = FailurePolicy::default().with_attempts(2);
    let settings = quick()
        .with_patience(Duration::from_millis(20))
        .with_failure_policy(policy.with_waits(waits.0, waits.1));
    let publisher = Arc::new(broker.clone());
    let worker = OutboxWorker::start(subject.platform(), publisher, settings).unwrap();
    let [hung, well] = two_tenants(subject);
    commit(&outbox, &hung, "a", &["hangs", "behind"]).await;
    let letters =
        DeadLetters::open(subject.platform(), "a test", RequestContext::system()).unwrap();
    let all = DeadLetterFilter::default();
    let mut sent = 0;
    let listed = loop {
        commit(&outbox, &well, "a", &["1"]).await;
        sent += 1;
        until("the other tenant goes on", || effects.count() == sent).await;
        let listed = letters.list(&all, 10).await.unwrap();
        if !listed.is_empty() {
            break listed;
        }
    };
    assert_eq!((listed[0].tenant, listed[0].attempts), (hung.tenant(), 2));
    let detail = &listed[0].detail;
    assert!(detail.contains("takes too long"), "{detail}");
    assert_eq!(effects.calls.load(Ordering::Relaxed), sent + 2);
    consumer.stop().await.unwrap();
    worker.stop().await.unwrap();
}

/// Whether it was stopped, or dropped with what it had under way: what was committed meanwhile has its effect once, in its
/// order.
pub async fn a_consumer_that_is_not_there_is_waited_for(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let (broker, effects) = (broker(), Effects::of(0));
    let worker = worker(subject, &broker);
    let tenants = two_tenants(subject);
    let payloads: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    for (round, some) in payloads.chunks(10).enumerate() {
        let some: Vec<&str> = some.iter().map(String::as_str).collect();
        for tenant in &tenants {
            for key in KEYS {
                commit(&outbox, tenant, key, &some).await;
            }
        }
        if round == 0 {
            assert_eq!(waiting(subject).await, 60);
        }
        let calls = effects.calls.load(Ordering::Relaxed);
        let consumer = consumer(subject, &broker, &effects);
        effects.blocks.store(round % 2 == 1, Ordering::Relaxed);
        until("it is at work", || {
            effects.calls.load(Ordering::Relaxed) > calls
        })
        .await;
        match round % 2 {
            0 => consumer.stop().await.unwrap(),
            _ => drop(consumer),
        }
        effects.blocks.store(false, Ordering::Relaxed);
        // The one that was dropped is about to go.
        while broker.check().await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
    let consumer = consumer(subject, &broker, &effects);
    until("all have their effect", || effects.count() == 240).await;
    for tenant in &tenants {
        for key in KEYS {
            assert_eq!(effects.said(tenant.tenant(), key), payloads);
        }
        assert_eq!(rows(tenant).await, 120);
    }
    consumer.stop().await.unwrap();
    worker.stop().await.unwrap();
}

/// One that fails is tried again with it, and the other knows what it has handled.
pub async fn one_consumer_keeps_a_message_from_no_other(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let broker = broker().with_consumer("another", ["suite.number"]);
    let (well, ill) = (Effects::of(0), Effects::of(1));
    let first = consumer(subject, &broker, &well);
    let handler = Arc::clone(&ill);
    let settings = ConsumerSettings::new("another");
    let other = Consumer::start_memory(subject.store(), &broker, handler, settings).unwrap();
    ill.failures.store(u64::MAX, Ordering::Relaxed);
    let worker = worker(subject, &broker);
    let tenants = two_tenants(subject);
    for tenant in &tenants {
        commit(&outbox, tenant, "a", &["fails"]).await;
        commit(&outbox, tenant, "b", &["1"]).await;
    }
    until("both go on with other keys", || {
        well.count() == 4 && ill.count() == 2
    })
    .await;
    ill.failures.store(0, Ordering::Relaxed);
    until("it was tried again", || ill.count() == 4).await;
    assert_eq!(well.count(), 4);
    for tenant in &tenants {
        assert_eq!(rows(tenant).await, 4);
    }
    for consumer in [first, other] {
        consumer.stop().await.unwrap();
    }
    worker.stop().await.unwrap();
}

/// A place is kept for a name, and for one at a time.
pub async fn a_consumer_takes_the_place_that_is_kept_for_it(subject: &dyn Subject) {
    let broker = broker();
    let start = |name: &str| {
        let settings = ConsumerSettings::new(name);
        Consumer::start_memory(subject.store(), &broker, Effects::of(0), settings)
    };
    let stranger = start("stranger").unwrap_err();
    assert_eq!(stranger.kind(), ErrorKind::InvalidSettings);
    assert!(stranger.detail().contains("with_consumer"), "{stranger}");
    let first = start("suite").unwrap();
    let second = start("suite").unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Conflict);
    assert_eq!((first.name(), first.system()), ("suite", "memory"));
    first.stop().await.unwrap();
    start("suite").unwrap().stop().await.unwrap();
    let unnamed = start("no name").unwrap_err();
    assert_eq!(unnamed.kind(), ErrorKind::InvalidSettings);
}
