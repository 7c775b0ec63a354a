use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tenantry_core::{RequestContext, TenantId};
use tenantry_store::TenantScope;
use uuid::Uuid;

use super::{Answer, Broker, Ledger, Subject, quick, start, two_tenants, until};
use crate::{
    DeadLetterFilter, DeadLetters, FailurePolicy, Message, MessageId, NewMessage, OnDeadLetter,
    Outbox, OutboxStatus, OutboxWorker, PublishErrorKind, Publisher, Stopped,
};

/// Its key waits, in order and behind it, and all others go on: those of the other tenant under the same key as well.
pub async fn a_refused_message_holds_up_its_key_alone(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let ledger = Ledger::default();
    let broker = Broker::default();
    let tenants = two_tenants(subject);
    let accounts: Vec<_> = (0..4).map(|_| Uuid::now_v7()).collect();
    let (held, held_of) = (accounts[0].to_string(), tenants[0].tenant());
    let refusals = Arc::new(Mutex::new(0_u32));
    let counted = Arc::clone(&refusals);
    let is_held = {
        let held = held.clone();
        move |message: &Message| message.key() == held && message.tenant() == held_of
    };
    let refused = is_held.clone();
    broker.answer(move |message| {
        refused(message).then(|| {
            *counted.lock() += 1;
            Answer::No(PublishErrorKind::Refused)
        })
    });
    // A budget that does not end here.
    let waits = (Duration::from_millis(5), Duration::from_millis(20));
    let policy = FailurePolicy::default()
        .with_attempts(1_000_000)
        .with_waits(waits.0, waits.1);
    let worker = start(subject, &broker, quick().with_failure_policy(policy));
    for _ in 0..3 {
        for tenant in &tenants {
            ledger
                .write(&outbox, tenant, &accounts, true)
                .await
                .unwrap();
        }
    }
    until("all others have left", || {
        broker.count() == 3 * (2 * accounts.len() - 1)
    })
    .await;
    until("it was tried again", || *refusals.lock() > 3).await;
    assert!(!broker.got().iter().any(is_held));
    broker.take_all();
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    // And those that come afterwards, in their order.
    for tenant in &tenants {
        ledger
            .write(&outbox, tenant, &accounts, true)
            .await
            .unwrap();
    }
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    worker.stop().await.unwrap();
    assert_eq!(ledger.assert_whole(&broker.got()).duplicates, 0);
}

/// As the policy says of its type; the rest of the tenants goes on.
pub async fn poison_blocks_its_key_or_is_passed_by(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let broker = Broker::default();
    broker.answer(|message| {
        (message.payload() == b"poison").then_some(Answer::No(PublishErrorKind::Poison))
    });
    let policy = FailurePolicy::default()
        .with_default(OnDeadLetter::BlockKey)
        .with_dead_letter("skip", OnDeadLetter::SkipToDeadLetter);
    let worker = start(subject, &broker, quick().with_failure_policy(policy));
    let tenants = two_tenants(subject);
    for tenant in &tenants {
        for kind in ["skip", "block"] {
            let work = tenant.begin().await.unwrap();
            for payload in ["before", "poison", "behind"] {
                let message =
                    NewMessage::new(kind, kind).with_payload("text/plain", payload.into());
                outbox.append_message(&work, message).unwrap();
            }
            work.commit().await.unwrap();
        }
    }
    until("all that can have left", || broker.count() == 6).await;
    // What comes later finds its key as it is.
    for tenant in &tenants {
        let work = tenant.begin().await.unwrap();
        for kind in ["skip", "block"] {
            let message = NewMessage::new(kind, kind).with_payload("text/plain", "later".into());
            outbox.append_message(&work, message).unwrap();
        }
        work.commit().await.unwrap();
    }
    until("all that can have left", || broker.count() == 8).await;
    worker.stop().await.unwrap();
    let mut got: HashMap<(TenantId, String), Vec<String>> = HashMap::new();
    for message in broker.got() {
        let payload = String::from_utf8(message.payload().to_vec()).unwrap();
        got.entry((message.tenant(), message.key().to_owned()))
            .or_default()
            .push(payload);
    }
    for tenant in &tenants {
        let of = |key: &str| got[&(tenant.tenant(), key.to_owned())].clone();
        assert_eq!(of("skip"), ["before", "behind", "later"]);
        assert_eq!(of("block"), ["before"]);
    }
}

/// Nothing leaves while it lasts, no attempt is used up, and then everything does, once.
pub async fn an_outage_is_no_failure_of_a_message(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let ledger = Ledger::default();
    let broker = Broker::default();
    let asked = Arc::new(Mutex::new(0_u32));
    let counted = Arc::clone(&asked);
    broker.answer(move |_| {
        *counted.lock() += 1;
        Some(Answer::No(PublishErrorKind::Unavailable))
    });
    // Two attempts: a message that was blamed each time would block its key. Once it may be, where the broker takes
    // others again in the middle of a call.
    let waits = (Duration::from_millis(5), Duration::from_millis(20));
    let policy = FailurePolicy::default()
        .with_attempts(2)
        .with_waits(waits.0, waits.1);
    let worker = start(subject, &broker, quick().with_failure_policy(policy));
    let tenants = two_tenants(subject);
    let accounts: Vec<_> = (0..20).map(|_| Uuid::now_v7()).collect();
    for tenant in &tenants {
        ledger
            .write(&outbox, tenant, &accounts, true)
            .await
            .unwrap();
    }
    until("it was asked again", || *asked.lock() > 100).await;
    // A broker that refuses all is no better than one that is not there.
    broker.answer(|_| Some(Answer::No(PublishErrorKind::Refused)));
    tokio::time::sleep(Duration::from_millis(60)).await;
    broker.take_all();
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    worker.stop().await.unwrap();
    assert_eq!(ledger.assert_whole(&broker.got()).duplicates, 0);
}

/// A call that takes too long counts as no answer; what the broker had got, it gets again.
pub async fn a_broker_that_does_not_answer_is_asked_again(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let ledger = Ledger::default();
    let broker = Broker::default();
    broker.answer(|_| Some(Answer::Silence));
    let settings = quick().with_publish_timeout(Duration::from_millis(100));
    let worker = start(subject, &broker, settings);
    let tenants = two_tenants(subject);
    let account = [Uuid::now_v7()];
    for tenant in &tenants {
        ledger.write(&outbox, tenant, &account, true).await.unwrap();
    }
    until("it was asked again", || broker.count() >= 3).await;
    broker.take_all();
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    let count = broker.count();
    for tenant in &tenants {
        ledger.write(&outbox, tenant, &account, true).await.unwrap();
    }
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    worker.stop().await.unwrap();
    ledger.assert_whole(&broker.got());
    assert!(broker.count() >= count + 2);
}

/// Nobody else was there to be answered when it was asked for; who comes then is.
pub async fn a_key_that_is_alone_and_not_answered_lets_others_pass(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let ledger = Ledger::default();
    let broker = Broker::default();
    let [slow, quick_one] = two_tenants(subject);
    let silent = slow.tenant();
    broker.answer(move |it| (it.tenant() == silent).then_some(Answer::Silence));
    let policy = FailurePolicy::default().with_attempts(1);
    let settings = quick()
        .with_failure_policy(policy)
        .with_publish_timeout(Duration::from_millis(200));
    let worker = start(subject, &broker, settings);
    let keys = [Uuid::now_v7()];
    ledger.write(&outbox, &slow, &keys, true).await.unwrap();
    until("it was asked for", || broker.count() > 0).await;
    for _ in 0..3 {
        ledger
            .write(&outbox, &quick_one, &keys, true)
            .await
            .unwrap();
    }
    let others = || {
        broker
            .got()
            .iter()
            .filter(|it| it.tenant() != silent)
            .count()
    };
    until("the others have left", || others() == 3).await;
    broker.take_all();
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    worker.stop().await.unwrap();
    ledger.assert_whole(&broker.got());
}

/// The others go on, and it is tried again without an attempt being used up.
pub async fn a_key_that_is_not_answered_holds_up_itself_alone(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let ledger = Ledger::default();
    let broker = Broker::default();
    let [slow, quick_one] = two_tenants(subject);
    let silent = slow.tenant();
    broker.answer(move |it| (it.tenant() == silent).then_some(Answer::Silence));
    // One attempt alone: a message that was blamed would block its key.
    let waits = (Duration::from_millis(5), Duration::from_millis(50));
    let policy = FailurePolicy::default()
        .with_attempts(1)
        .with_waits(waits.0, waits.1);
    let settings = quick()
        .with_failure_policy(policy)
        .with_publish_timeout(Duration::from_secs(3_600))
        .with_patience(Duration::from_millis(50));
    let account = [Uuid::now_v7()];
    for _ in 0..3 {
        for tenant in [&slow, &quick_one] {
            ledger.write(&outbox, tenant, &account, true).await.unwrap();
        }
    }
    let worker = start(subject, &broker, settings);
    let of = |tenant| move |it: &&Message| it.tenant() == tenant;
    let count = |tenant| broker.got().iter().filter(of(tenant)).count();
    until("the other has left", || count(quick_one.tenant()) == 3).await;
    until("it was tried again", || count(silent) >= 3).await;
    for tenant in [&slow, &quick_one] {
        ledger.write(&outbox, tenant, &account, true).await.unwrap();
    }
    until("the other goes on", || count(quick_one.tenant()) == 4).await;
    broker.take_all();
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    worker.stop().await.unwrap();
    ledger.assert_whole(&broker.got());
    assert_eq!(count(quick_one.tenant()), 4);
}

/// Takes each message after a time, one after the other.
#[derive(Debug, Clone)]
struct Slow {
    each: Duration,
    taken: Broker,
}

#[async_trait]
impl Publisher for Slow {
    async fn publish(&self, messages: &[Message]) -> Result<(), Stopped> {
        for (index, message) in messages.iter().enumerate() {
            tokio::time::sleep(self.each).await;
            let taken = self.taken.publish(std::slice::from_ref(message)).await;
            taken.map_err(|stopped| Stopped::new(index, stopped.error))?;
        }
        Ok(())
    }

    async fn check(&self) -> tenantry_core::Result<()> {
        Ok(())
    }

    fn system(&self) -> &'static str {
        "slow"
    }
}

/// Waits until so many messages wait aside.
async fn until_aside(subject: &dyn Subject, messages: u64) {
    for _ in 0..1_000 {
        let status = OutboxStatus::read(subject.platform()).await.unwrap();
        if status.waiting >= messages {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("they do not wait aside");
}

/// A broker that answers after a time, and takes nothing of who does not wait for so long: it has to connect, say.
#[derive(Debug)]
struct Distant {
    away: Mutex<Duration>,
    taken: Broker,
}

#[async_trait]
impl Publisher for Distant {
    async fn publish(&self, messages: &[Message]) -> Result<(), Stopped> {
        let away = *self.away.lock();
        tokio::time::sleep(away).await;
        self.taken.publish(messages).await
    }

    async fn check(&self) -> tenantry_core::Result<()> {
        Ok(())
    }

    fn system(&self) -> &'static str {
        "distant"
    }
}

/// Keys that wait aside, and nobody but them has anything: they leave, though the broker needs longer than is waited where
/// others are taken.
pub async fn keys_aside_leave_to_a_broker_that_needs_longer_than_patience(subject: &dyn Subject) {
    const KEYS: usize = 20;
    let patience = Duration::from_millis(50);
    let outbox = Outbox::new(subject.store());
    let ledger = Ledger::default();
    let distant = Arc::new(Distant {
        away: Mutex::new(Duration::ZERO),
        taken: Broker::default(),
    });
    let broker = &distant.taken;
    let [tenant, _] = two_tenants(subject);
    let accounts: Vec<_> = (0..KEYS).map(|_| Uuid::now_v7()).collect();
    let taken = accounts[0].to_string();
    broker.answer(move |it| (it.key() != taken).then_some(Answer::Silence));
    for _ in 0..3 {
        ledger
            .write(&outbox, &tenant, &accounts, true)
            .await
            .unwrap();
    }
    let publisher = Arc::<Distant>::clone(&distant);
    let settings = quick().with_patience(patience);
    let worker = OutboxWorker::start(subject.platform(), publisher, settings).unwrap();
    until_aside(subject, KEYS as u64 - 1).await;
    *distant.away.lock() = 3 * patience;
    broker.take_all();
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    worker.stop().await.unwrap();
    ledger.assert_whole(&broker.got());
}

/// A key whose messages take longer in all than is waited for an answer leaves nevertheless, and so do others.
pub async fn a_long_backlog_of_a_key_leaves_to_a_slow_broker(subject: &dyn Subject) {
    const BACKLOG: usize = 300;
    let outbox = Outbox::new(subject.store());
    let tenants = two_tenants(subject);
    let append = async |tenant: usize, count: usize| {
        let work = tenants[tenant].begin().await.unwrap();
        for number in 0..count {
            let message = NewMessage::new("suite.a", "hot")
                .with_payload("text/plain", number.to_string().into());
            outbox.append_message(&work, message).unwrap();
        }
        work.commit().await.unwrap();
    };
    append(0, BACKLOG).await;
    append(1, 1).await;
    let taken = Broker::default();
    let broker = Slow {
        each: Duration::from_millis(2),
        taken: taken.clone(),
    };
    let settings = quick()
        .with_patience(Duration::from_millis(100))
        .with_publish_timeout(Duration::from_millis(200));
    let worker = OutboxWorker::start(subject.platform(), Arc::new(broker), settings).unwrap();
    let distinct = || {
        let got = taken.got();
        got.iter().map(Message::id).collect::<HashSet<_>>().len()
    };
    until("all have left", || distinct() == BACKLOG + 1).await;
    worker.stop().await.unwrap();
    // The first ones of each in order: what was broken off may have been taken.
    let mut first = HashSet::new();
    let got = taken.got();
    let hot = got.iter().filter(|it| it.tenant() == tenants[0].tenant());
    let order: Vec<usize> = hot
        .filter(|message| first.insert(message.id()))
        .map(|message| {
            std::str::from_utf8(message.payload())
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect();
    assert!(order.is_sorted(), "{order:?}");
}

/// Many keys of a tenant that are refused, and nothing else that is taken: the other tenant's messages leave, and no
/// attempt is used up as long as nobody knows whether the broker is to blame.
pub async fn many_refused_keys_hold_up_no_other_tenant(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let broker = Broker::default();
    let [bad, good] = two_tenants(subject);
    let refused_of = bad.tenant();
    broker.answer(move |message| {
        (message.tenant() == refused_of).then_some(Answer::No(PublishErrorKind::Refused))
    });
    let wait = Duration::from_millis(20);
    let policy = FailurePolicy::default()
        .with_attempts(1)
        .with_waits(wait, wait);
    let worker = start(subject, &broker, quick().with_failure_policy(policy));
    let append = async |tenant: &TenantScope, keys: usize| {
        let work = tenant.begin().await.unwrap();
        for key in 0..keys {
            let message = NewMessage::new("suite.a", key.to_string());
            outbox.append_message(&work, message).unwrap();
        }
        work.commit().await.unwrap();
    };
    append(&bad, 20).await;
    until_aside(subject, 20).await;
    append(&good, 1).await;
    until("the other's has left", || broker.count() == 1).await;
    broker.take_all();
    // Those that were tried since the other's was taken have used their one attempt up.
    let letters = DeadLetters::open(subject.platform(), "suite", RequestContext::system()).unwrap();
    let all = DeadLetterFilter::default();
    let mut tries = 0;
    while broker.count() < 21 {
        letters.replay(refused_of, &all).await.unwrap();
        tries += 1;
        assert!(tries < 1_000, "{} have left", broker.count());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    worker.stop().await.unwrap();
}

/// A tenant that is refused, with new keys again and again, while nothing else is taken: the waits of each time do not add
/// up to one for whoever comes then.
pub async fn keys_that_are_refused_again_and_again_hold_up_no_other_tenant(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let broker = Broker::default();
    let [bad, good] = two_tenants(subject);
    let refused_of = bad.tenant();
    broker.answer(move |message| {
        (message.tenant() == refused_of).then_some(Answer::No(PublishErrorKind::Refused))
    });
    // Waits that would be told apart: the twentieth in a row is of more than an hour.
    let waits = (Duration::from_millis(10), Duration::from_secs(24 * 3_600));
    let policy = FailurePolicy::default().with_waits(waits.0, waits.1);
    let worker = start(subject, &broker, quick().with_failure_policy(policy));
    let append = async |tenant: &TenantScope, keys: usize| {
        let work = tenant.begin().await.unwrap();
        for _ in 0..keys {
            let message = NewMessage::new("suite.a", Uuid::now_v7().to_string());
            outbox.append_message(&work, message).unwrap();
        }
        work.commit().await.unwrap();
    };
    for times in 1..=10_u64 {
        append(&bad, 16).await;
        let mut tries = 0;
        loop {
            let status = OutboxStatus::read(subject.platform()).await.unwrap();
            if status.waiting == 16 * times {
                break;
            }
            tries += 1;
            assert!(tries < 3_000, "at {times} they do not wait aside");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    append(&bad, 16).await;
    append(&good, 1).await;
    until("the other's has left", || broker.count() == 1).await;
    drop(worker);
}

/// A broker of a service that panics at a message.
#[derive(Debug)]
struct Panics(Broker);

#[async_trait]
impl Publisher for Panics {
    async fn publish(&self, messages: &[Message]) -> Result<(), Stopped> {
        assert!(messages[0].key() != "bad", "as the test asks");
        self.0.publish(messages).await
    }

    async fn check(&self) -> tenantry_core::Result<()> {
        Ok(())
    }

    fn system(&self) -> &'static str {
        "panics"
    }
}

/// It has refused that message, and others go on.
pub async fn a_publisher_that_panics_has_refused(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let broker = Broker::default();
    let panics = Arc::new(Panics(broker.clone()));
    let worker = OutboxWorker::start(subject.platform(), panics, quick()).unwrap();
    for tenant in two_tenants(subject) {
        for key in ["bad", "good"] {
            let work = tenant.begin().await.unwrap();
            let message = NewMessage::new("suite.a", key);
            outbox.append_message(&work, message).unwrap();
            work.commit().await.unwrap();
        }
    }
    until("the others have left", || broker.count() == 2).await;
    worker.stop().await.unwrap();
}

/// It came while one of its identifier was parked: both leave, once that is replayed.
pub async fn a_message_with_the_id_of_a_parked_one_is_not_lost(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let broker = Broker::default();
    broker.answer(|message| {
        (message.payload() == b"poison").then_some(Answer::No(PublishErrorKind::Poison))
    });
    let worker = start(subject, &broker, quick());
    let [tenant, _] = two_tenants(subject);
    let id = MessageId::generate();
    let append = async |payload: &str| {
        let work = tenant.begin().await.unwrap();
        let message = NewMessage::new("suite.a", "k")
            .with_id(id)
            .with_payload("text/plain", payload.into());
        outbox.append_message(&work, message).unwrap();
        work.commit().await
    };
    append("poison").await.unwrap();
    let blocked = async || {
        OutboxStatus::read(subject.platform())
            .await
            .unwrap()
            .blocked
    };
    while blocked().await < 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Where the first one still stands in the table it is refused.
    let is_taken = append("second").await.is_ok();
    broker.take_all();
    let letters = DeadLetters::open(subject.platform(), "suite", RequestContext::system()).unwrap();
    let all = DeadLetterFilter::default();
    letters.replay(tenant.tenant(), &all).await.unwrap();
    until("all have left", || {
        broker.count() == 1 + usize::from(is_taken)
    })
    .await;
    worker.stop().await.unwrap();
}
