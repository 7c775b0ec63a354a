//! What a consumer does, against each broker: the same stories.

use std::borrow::Cow;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tenantry_core::{CorrelationId, Error, ErrorKind, RequestContext, TenantId};
use tenantry_outbox::conformance::{Account, RealBroker, Subject, quick, until};
use tenantry_outbox::{
    Consumer, ConsumerSettings, HandlerError, Message, MessageHandler, NewMessage, Outbox,
    OutboxWorker,
};
use tenantry_store::{Repository as _, UnitOfWork, Version, async_trait};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::subject::OnPostgres;

/// A broker with somebody who consumes from it.
#[async_trait]
pub(crate) trait Consumed: RealBroker {
    async fn consumer(
        &self,
        subject: &OnPostgres,
        handler: Arc<dyn MessageHandler>,
        settings: ConsumerSettings,
    ) -> Consumer;

    /// Returns how many messages nobody holds.
    async fn waiting(&self) -> u64;

    /// Returns the dead letters with their reasons; those that are no message without one.
    async fn dead(&self) -> Vec<(Option<Message>, String)>;

    /// Sends what somebody else would.
    async fn forge(&self, route: &str, attributes: &[(&str, Cow<'_, str>)], payload: &[u8]);
}

/// Writes a row with the identifier of each message: a second effect would be refused.
#[derive(Default)]
pub(crate) struct Effects {
    handled: Mutex<Vec<Message>>,
    calls: AtomicUsize,
    /// How often the first message of each key fails.
    fails: AtomicUsize,
    failed: Mutex<HashMap<Uuid, usize>>,
    blocks: AtomicBool,
}

#[async_trait]
impl MessageHandler for Effects {
    async fn handle(&self, work: &UnitOfWork, message: &Message) -> Result<(), HandlerError> {
        assert_eq!(work.tenant(), message.tenant());
        self.calls.fetch_add(1, Ordering::Relaxed);
        let refusal = || Error::new(ErrorKind::Conflict, "as the test asks");
        let mut row = Account {
            id: message.id().as_uuid(),
            version: Version::NEW,
        };
        work.repository::<Account>().insert(&mut row).await?;
        // However much stands behind the word.
        match message.payload().trim_ascii_end() {
            b"poison" => return Err(HandlerError::Poison(refusal())),
            b"fails" => return Err(HandlerError::Retry(refusal())),
            b"panics" => panic!("as the test asks"),
            b"0" => {
                let mut failed = self.failed.lock();
                let times = failed.entry(message.id().as_uuid()).or_default();
                *times += 1;
                if *times <= self.fails.load(Ordering::Relaxed) {
                    return Err(refusal().into());
                }
            }
            _ => {}
        }
        while self.blocks.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.handled.lock().push(message.clone());
        Ok(())
    }
}

impl Effects {
    pub(crate) fn count(&self) -> usize {
        self.handled.lock().len()
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

pub(crate) fn settings() -> ConsumerSettings {
    let waits = (Duration::from_millis(10), Duration::from_millis(40));
    ConsumerSettings::new("suite")
        .with_attempts(3)
        .with_waits(waits.0, waits.1)
}

fn tenants() -> [TenantId; 2] {
    [TenantId::generate(), TenantId::generate()]
}

fn message(tenant: TenantId, key: &str, payload: &str) -> Message {
    let at = chrono::DateTime::from_timestamp(5, 0).unwrap();
    let content = NewMessage::new("suite.number", key)
        .with_payload("text/plain", payload.into())
        .with_occurred_at(at);
    Message::new(tenant, content)
}

async fn rows(subject: &OnPostgres, tenant: TenantId) -> usize {
    let tenant = subject.store().tenant(tenant);
    let accounts = tenant.repository::<Account>();
    let count = accounts.count(tenantry_store::Filter::all());
    usize::try_from(count.await.unwrap()).unwrap()
}

/// From a unit of work through a worker, the broker and a consumer into another unit of work, each delivered twice.
pub(crate) async fn each_message_has_one_effect(broker: &dyn Consumed) {
    const KEYS: usize = 10;
    const EACH: usize = 10;
    let subject = OnPostgres::open().await;
    let outbox = Outbox::new(subject.store());
    let effects = Arc::new(Effects::default());
    let handler: Arc<dyn MessageHandler> = Arc::<Effects>::clone(&effects);
    let consumer = broker.consumer(&subject, handler, settings()).await;
    let worker = OutboxWorker::start(subject.platform(), broker.publisher(), quick()).unwrap();
    let tenants = tenants();
    let mut sent = Vec::new();
    for number in 0..EACH {
        for tenant in tenants {
            let context = RequestContext::system()
                .with_trace(
                    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
                        .parse()
                        .unwrap(),
                )
                .with_correlation_id(CorrelationId::new("order-1").unwrap());
            let scope = subject.store().tenant(tenant).with_context(context);
            let work = scope.begin().await.unwrap();
            for key in 0..KEYS {
                let content = NewMessage::new("suite.number", key.to_string())
                    .with_payload("text/plain", number.to_string().into_bytes());
                outbox.append_message(&work, content.clone()).unwrap();
                sent.push((tenant, content));
            }
            work.commit().await.unwrap();
        }
    }
    until("all are handled", || effects.count() == sent.len()).await;
    worker.stop().await.unwrap();
    // Once more, as a worker that died would.
    for (tenant, content) in sent.clone() {
        broker
            .publisher()
            .publish(&[Message::new(tenant, content)])
            .await
            .unwrap();
    }
    let last = message(tenants[0], "last", "last");
    broker
        .publisher()
        .publish(std::slice::from_ref(&last))
        .await
        .unwrap();
    until("the last one is handled", || {
        effects.count() == sent.len() + 1
    })
    .await;
    consumer.stop().await.unwrap();
    consumer.stop().await.unwrap();
    assert_eq!(rows(&subject, tenants[0]).await, KEYS * EACH + 1);
    assert_eq!(rows(&subject, tenants[1]).await, KEYS * EACH);
    let mut next: HashMap<(TenantId, String), usize> = HashMap::new();
    for message in effects
        .handled
        .lock()
        .iter()
        .filter(|it| it.key() != "last")
    {
        let next = next
            .entry((message.tenant(), message.key().to_owned()))
            .or_default();
        assert_eq!(message.payload(), next.to_string().as_bytes());
        *next += 1;
        assert!(
            message
                .trace()
                .is_some_and(|trace| trace.to_string().ends_with("-00"))
        );
        assert_eq!(message.correlation_id().unwrap().as_str(), "order-1");
    }
    assert!(broker.dead().await.is_empty());
}

/// Those behind it wait, and other keys do not.
pub(crate) async fn what_fails_is_tried_again_in_its_place(broker: &dyn Consumed) {
    let subject = OnPostgres::open().await;
    let effects = Arc::new(Effects::default());
    effects.fails.store(2, Ordering::Relaxed);
    let handler: Arc<dyn MessageHandler> = Arc::<Effects>::clone(&effects);
    let consumer = broker.consumer(&subject, handler, settings()).await;
    for tenant in tenants() {
        for key in ["a", "b"] {
            let messages: Vec<_> = (0..5)
                .map(|number| message(tenant, key, &number.to_string()))
                .collect();
            broker.publisher().publish(&messages).await.unwrap();
        }
    }
    until("all are handled", || effects.count() == 20).await;
    consumer.stop().await.unwrap();
    let mut next: HashMap<(TenantId, String), usize> = HashMap::new();
    for message in effects.handled.lock().iter() {
        let next = next
            .entry((message.tenant(), message.key().to_owned()))
            .or_default();
        assert_eq!(message.payload(), next.to_string().as_bytes());
        *next += 1;
    }
    assert_eq!(effects.calls.load(Ordering::Relaxed), 20 + 4 * 2);
    assert!(broker.dead().await.is_empty());
}

/// More keys than messages that are handled at a time, and more messages than those: the other tenant does not wait until
/// they are given up.
pub(crate) async fn keys_that_fail_hold_up_no_other_tenant(broker: &dyn Consumed) {
    let subject = OnPostgres::open().await;
    let effects = Arc::new(Effects::default());
    let handler: Arc<dyn MessageHandler> = Arc::<Effects>::clone(&effects);
    let wait = Duration::from_secs(3_600);
    let settings = ConsumerSettings::new("suite")
        .with_in_flight(2)
        .with_attempts(10)
        .with_waits(wait, wait);
    let consumer = broker.consumer(&subject, handler, settings).await;
    let [bad, good] = tenants();
    for key in ["a", "b", "c", "d"] {
        let failing: Vec<_> = (0..5).map(|_| message(bad, key, "fails")).collect();
        broker.publisher().publish(&failing).await.unwrap();
    }
    until("each key has failed", || {
        effects.calls.load(Ordering::Relaxed) == 4
    })
    .await;
    broker
        .publisher()
        .publish(&[message(good, "a", "0")])
        .await
        .unwrap();
    until("the other's is handled", || effects.count() == 1).await;
    consumer.stop().await.unwrap();
    assert_eq!(effects.calls.load(Ordering::Relaxed), 5);
    assert!(broker.dead().await.is_empty());
}

/// Handles messages of one tenant when the test lets it, and those of others at once.
struct Slow {
    tenant: TenantId,
    lets: Semaphore,
    /// How many of its messages were begun.
    begun: AtomicUsize,
    handled: Mutex<Vec<Message>>,
}

#[async_trait]
impl MessageHandler for Slow {
    async fn handle(&self, _: &UnitOfWork, message: &Message) -> Result<(), HandlerError> {
        if message.tenant() == self.tenant {
            self.begun.fetch_add(1, Ordering::SeqCst);
            self.lets.acquire().await.unwrap().forget();
        }
        self.handled.lock().push(message.clone());
        Ok(())
    }
}

/// All of a slow tenant are there, and both hands are with it: the other one waits for one of its messages.
pub(crate) async fn a_tenant_with_much_to_handle_holds_up_no_other(broker: &dyn Consumed) {
    const MUCH: usize = 20;
    let subject = OnPostgres::open().await;
    let [much, little] = tenants();
    for key in 0..MUCH {
        let sent = message(much, &key.to_string(), "0");
        broker.publisher().publish(&[sent]).await.unwrap();
    }
    let slow = Arc::new(Slow {
        tenant: much,
        lets: Semaphore::new(0),
        begun: AtomicUsize::new(0),
        handled: Mutex::default(),
    });
    let handler: Arc<dyn MessageHandler> = Arc::<Slow>::clone(&slow);
    let settings = settings().with_in_flight(2);
    let consumer = broker.consumer(&subject, handler, settings).await;
    let begun = || slow.begun.load(Ordering::SeqCst);
    until("both hands are with the one", || begun() == 2).await;
    for key in ["a", "b"] {
        let sent = ["0", "1", "2"].map(|payload| message(little, key, payload));
        broker.publisher().publish(&sent).await.unwrap();
    }
    let mut tries = 0;
    while broker.waiting().await > 0 {
        tries += 1;
        assert!(tries < 1_000, "they are not taken");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let of = |tenant| -> Vec<Message> {
        let handled = slow.handled.lock().clone().into_iter();
        handled.filter(|it| it.tenant() == tenant).collect()
    };
    assert!(of(little).is_empty());
    slow.lets.add_permits(1);
    until("the other's are handled", || of(little).len() == 6).await;
    assert_eq!(of(much).len(), 1);
    for key in ["a", "b"] {
        let of_key = of(little).into_iter().filter(|it| it.key() == key);
        let payloads: Vec<_> = of_key.map(|it| it.payload().to_vec()).collect();
        assert_eq!(payloads, [b"0", b"1", b"2"]);
    }
    slow.lets.add_permits(MUCH);
    until("all are handled", || of(much).len() == MUCH).await;
    consumer.stop().await.unwrap();
    assert!(broker.dead().await.is_empty());
}

/// Whole, with the reason; nothing of it is left in the database, and its key goes on.
pub(crate) async fn what_is_given_up_is_a_dead_letter(broker: &dyn Consumed) {
    let subject = OnPostgres::open().await;
    let effects = Arc::new(Effects::default());
    let handler: Arc<dyn MessageHandler> = Arc::<Effects>::clone(&effects);
    let consumer = broker.consumer(&subject, handler, settings()).await;
    let mut given_up = Vec::new();
    let tenants = tenants();
    for tenant in tenants {
        for (payload, reason) in [
            ("poison", "poison"),
            ("fails", "failed"),
            ("panics", "failed"),
        ] {
            let bad = message(tenant, payload, payload);
            let behind = message(tenant, payload, "behind");
            broker
                .publisher()
                .publish(&[bad.clone(), behind])
                .await
                .unwrap();
            given_up.push((bad, reason));
        }
        // What no inbox can tell from another.
        let old = NewMessage::new("suite.number", "old")
            .with_id(tenantry_outbox::MessageId::new(Uuid::new_v4()))
            .with_payload("text/plain", "old".into())
            .with_occurred_at(chrono::DateTime::from_timestamp(5, 0).unwrap());
        let old = Message::new(tenant, old);
        broker
            .publisher()
            .publish(std::slice::from_ref(&old))
            .await
            .unwrap();
        given_up.push((old, "not_told_apart"));
    }
    until("those behind are handled", || effects.count() == 6).await;
    let mut dead = broker.dead().await;
    for _ in 0..500 {
        if dead.len() == given_up.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        dead = broker.dead().await;
    }
    consumer.stop().await.unwrap();
    assert_eq!(dead.len(), given_up.len());
    for (bad, reason) in given_up {
        let found = dead
            .iter()
            .find(|(it, _)| it.as_ref() == Some(&bad))
            .unwrap();
        assert_eq!(found.1, reason);
    }
    for tenant in tenants {
        assert_eq!(rows(&subject, tenant).await, 3);
    }
}

/// Neither for the tenant that it names, nor for any other.
pub(crate) async fn what_bears_no_tenant_or_a_forged_one_is_handled_by_nobody(
    broker: &dyn Consumed,
) {
    let subject = OnPostgres::open().await;
    let effects = Arc::new(Effects::default());
    let handler: Arc<dyn MessageHandler> = Arc::<Effects>::clone(&effects);
    let consumer = broker.consumer(&subject, handler, settings()).await;
    let [own, other] = tenants();
    let good = message(own, "key", "x");
    let event = good.cloud_event("/s");
    let without = |name: &str| -> Vec<(&'static str, Cow<'_, str>)> {
        event
            .attributes()
            .filter(|(other, _)| *other != name)
            .collect()
    };
    let with = |name: &'static str, value: String| {
        let mut attributes = without(name);
        attributes.push((name, Cow::Owned(value)));
        attributes
    };
    let route = format!("events.{own}.suite.number");
    let nil = Uuid::nil().to_string();
    let cases = [
        (&*route, without("tenantid"), "no_tenant"),
        (&*route, with("tenantid", nil.clone()), "no_tenant"),
        (&*route, with("tenantid", "junk".to_owned()), "no_tenant"),
        (
            &*route,
            with("tenantid", other.to_string()),
            "forged_tenant",
        ),
        (&*route, with("id", "7".to_owned()), "unreadable"),
        (&*route, without("specversion"), "unreadable"),
        (&*route, Vec::new(), "unreadable"),
    ];
    let nil_route = format!("events.{nil}.suite.number");
    for (route, attributes, _) in &cases {
        broker.forge(route, attributes, b"x").await;
    }
    broker
        .forge(&nil_route, &with("tenantid", own.to_string()), b"x")
        .await;
    // And one that is right.
    broker
        .publisher()
        .publish(std::slice::from_ref(&good))
        .await
        .unwrap();
    until("it is handled", || effects.count() == 1).await;
    let mut dead = broker.dead().await;
    for _ in 0..500 {
        if dead.len() == cases.len() + 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        dead = broker.dead().await;
    }
    consumer.stop().await.unwrap();
    let mut reasons: Vec<_> = dead.iter().map(|(_, reason)| &**reason).collect();
    reasons.sort_unstable();
    let mut expected: Vec<_> = cases.iter().map(|(.., reason)| *reason).collect();
    expected.push("forged_tenant");
    expected.sort_unstable();
    assert_eq!(reasons, expected);
    assert_eq!(effects.calls.load(Ordering::Relaxed), 1);
    assert_eq!(rows(&subject, own).await, 1);
    assert_eq!(rows(&subject, other).await, 0);
}

/// What is being handled is ended, and the rest is there for the next one, in order.
pub(crate) async fn a_consumer_that_is_stopped_gives_back_what_waits(broker: &dyn Consumed) {
    let subject = OnPostgres::open().await;
    let effects = Arc::new(Effects::default());
    effects.blocks.store(true, Ordering::Relaxed);
    let handler: Arc<dyn MessageHandler> = Arc::<Effects>::clone(&effects);
    let consumer = broker
        .consumer(&subject, Arc::clone(&handler), settings())
        .await;
    let tenants = tenants();
    for tenant in tenants {
        let messages: Vec<_> = (0..10)
            .map(|number| message(tenant, "key", &number.to_string()))
            .collect();
        broker.publisher().publish(&messages).await.unwrap();
    }
    until("the first of each tenant is being handled", || {
        effects.calls.load(Ordering::Relaxed) == 2
    })
    .await;
    let (stopped, ()) = tokio::join!(consumer.stop(), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        effects.blocks.store(false, Ordering::Relaxed);
    });
    stopped.unwrap();
    assert_eq!(effects.count(), 2);
    let consumer = broker.consumer(&subject, handler, settings()).await;
    until("all are handled", || effects.count() == 20).await;
    consumer.stop().await.unwrap();
    for tenant in tenants {
        let handled = effects.handled.lock().clone();
        let numbers: Vec<_> = handled
            .iter()
            .filter(|message| message.tenant() == tenant)
            .map(|message| String::from_utf8_lossy(message.payload()).into_owned())
            .collect();
        let expected: Vec<_> = (0..10).map(|number| number.to_string()).collect();
        assert_eq!(numbers, expected);
        assert_eq!(rows(&subject, tenant).await, 10);
    }
}

/// Stopped and started again while one message waits for another attempt: the broker counts that for those behind it.
pub(crate) async fn what_was_never_tried_is_not_given_up(broker: &dyn Consumed) {
    let subject = OnPostgres::open().await;
    let effects = Arc::new(Effects::default());
    effects.fails.store(usize::MAX, Ordering::Relaxed);
    let wait = Duration::from_secs(3_600);
    let settings = || {
        ConsumerSettings::new("suite")
            .with_attempts(2)
            .with_waits(wait, wait)
    };
    for tenant in tenants() {
        let messages = ["0", "1"].map(|payload| message(tenant, "key", payload));
        broker.publisher().publish(&messages).await.unwrap();
    }
    for time in 1..=5 {
        let handler: Arc<dyn MessageHandler> = Arc::<Effects>::clone(&effects);
        let consumer = broker.consumer(&subject, handler, settings()).await;
        until("the first of each tenant has failed", || {
            effects.calls.load(Ordering::Relaxed) == 2 * time
        })
        .await;
        consumer.stop().await.unwrap();
    }
    effects.fails.store(0, Ordering::Relaxed);
    let handler: Arc<dyn MessageHandler> = Arc::<Effects>::clone(&effects);
    let consumer = broker.consumer(&subject, handler, settings()).await;
    until("all are handled", || effects.count() == 4).await;
    consumer.stop().await.unwrap();
    assert!(broker.dead().await.is_empty());
}

/// More waits behind one that fails than a client takes that has no connection, and the service is to end.
pub(crate) async fn a_stop_ends_while_the_broker_is_down(broker: &dyn Consumed) {
    let subject = OnPostgres::open().await;
    let effects = Arc::new(Effects::default());
    let handler: Arc<dyn MessageHandler> = Arc::<Effects>::clone(&effects);
    let wait = Duration::from_secs(3_600);
    let settings = ConsumerSettings::new("suite")
        .with_attempts(2)
        .with_waits(wait, wait);
    let tenant = TenantId::generate();
    let mut messages = vec![message(tenant, "key", "fails")];
    messages.extend((0..600).map(|number| message(tenant, "key", &number.to_string())));
    broker.publisher().publish(&messages).await.unwrap();
    let consumer = broker.consumer(&subject, handler, settings).await;
    until("the first has failed", || {
        effects.calls.load(Ordering::Relaxed) == 1
    })
    .await;
    // Those behind it are taken meanwhile.
    tokio::time::sleep(Duration::from_millis(500)).await;
    broker.kill().await;
    let stopped = tokio::time::timeout(Duration::from_secs(60), consumer.stop()).await;
    stopped.expect("it has not stopped").unwrap();
    assert_eq!(effects.calls.load(Ordering::Relaxed), 1);
}

/// Writes when the test has ended its connection.
#[derive(Default)]
struct Late {
    begun: AtomicUsize,
    handled: AtomicUsize,
    goes_on: AtomicBool,
}

#[async_trait]
impl MessageHandler for Late {
    async fn handle(&self, work: &UnitOfWork, message: &Message) -> Result<(), HandlerError> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        while !self.goes_on.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut row = Account {
            id: message.id().as_uuid(),
            version: Version::NEW,
        };
        let rows = work.repository::<Account>();
        // Some services make an error of their own of it.
        let own = |_| Error::new(ErrorKind::Unexpected, "as a service says");
        match message.payload() {
            b"own" => rows.insert(&mut row).await.map_err(own)?,
            _ => rows.insert(&mut row).await?,
        }
        self.handled.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Its connections end while messages are handled that may be tried once.
pub(crate) async fn a_database_that_goes_during_a_handler_uses_no_attempt_up(
    broker: &dyn Consumed,
) {
    use sqlx::Executor as _;

    let subject = OnPostgres::open().await;
    let late = Arc::new(Late::default());
    let handler: Arc<dyn MessageHandler> = Arc::<Late>::clone(&late);
    let wait = Duration::from_millis(100);
    let settings = ConsumerSettings::new("suite")
        .with_attempts(1)
        .with_waits(wait, wait);
    let consumer = broker.consumer(&subject, handler, settings).await;
    for tenant in tenants() {
        for payload in ["own", "as it is"] {
            let sent = message(tenant, payload, payload);
            broker.publisher().publish(&[sent]).await.unwrap();
        }
    }
    until("all are begun", || late.begun.load(Ordering::Relaxed) == 4).await;
    let user = subject.app.user();
    let ending =
        format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{user}'");
    let mut administrator = subject.admin().await;
    administrator
        .execute(sqlx::AssertSqlSafe(ending))
        .await
        .unwrap();
    late.goes_on.store(true, Ordering::Relaxed);
    until("all are handled", || {
        late.handled.load(Ordering::Relaxed) == 4
    })
    .await;
    consumer.stop().await.unwrap();
    assert!(broker.dead().await.is_empty());
    assert_eq!(late.begun.load(Ordering::Relaxed), 8);
}

/// Many large ones, of which none is handled yet.
pub(crate) async fn what_waits_is_bounded_in_bytes(broker: &dyn Consumed) {
    const ALL: usize = 200;
    const BYTES: usize = 50_000;
    let subject = OnPostgres::open().await;
    let effects = Arc::new(Effects::default());
    effects.blocks.store(true, Ordering::Relaxed);
    let tenants = tenants();
    let payload = "x".repeat(BYTES);
    for number in 0..ALL {
        let sent = message(tenants[number % 2], &number.to_string(), &payload);
        broker.publisher().publish(&[sent]).await.unwrap();
    }
    let handler: Arc<dyn MessageHandler> = Arc::<Effects>::clone(&effects);
    let settings = settings()
        .with_in_flight(4)
        .with_prefetch(ALL)
        .with_prefetch_bytes(20 * BYTES);
    let consumer = broker.consumer(&subject, handler, settings).await;
    until("four are being handled", || {
        effects.calls.load(Ordering::Relaxed) == 4
    })
    .await;
    // Long enough to have all of them.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let waiting = broker.waiting().await;
    assert!(waiting > 150, "{waiting} of {ALL} are not held");
    effects.blocks.store(false, Ordering::Relaxed);
    until("all are handled", || effects.count() == ALL).await;
    consumer.stop().await.unwrap();
    assert!(broker.dead().await.is_empty());
}

/// Written without a macro, it panics before there is a future.
#[derive(Default)]
struct Eager {
    handled: AtomicUsize,
}

impl MessageHandler for Eager {
    fn handle<'a, 'b, 'c, 'd>(
        &'a self,
        _: &'b UnitOfWork,
        message: &'c Message,
    ) -> Pin<Box<dyn Future<Output = Result<(), HandlerError>> + Send + 'd>>
    where
        'a: 'd,
        'b: 'd,
        'c: 'd,
        Self: 'd,
    {
        assert!(message.payload() != b"panics", "as the test asks");
        self.handled.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(())))
    }
}

pub(crate) async fn a_handler_that_panics_at_once_fails_as_others_do(broker: &dyn Consumed) {
    let subject = OnPostgres::open().await;
    let eager = Arc::new(Eager::default());
    let handler: Arc<dyn MessageHandler> = Arc::<Eager>::clone(&eager);
    let consumer = broker.consumer(&subject, handler, settings()).await;
    for tenant in tenants() {
        let messages = ["panics", "behind"].map(|payload| message(tenant, "key", payload));
        broker.publisher().publish(&messages).await.unwrap();
    }
    until("those behind are handled", || {
        eager.handled.load(Ordering::Relaxed) == 2
    })
    .await;
    consumer.stop().await.unwrap();
    let dead = broker.dead().await;
    let reasons: Vec<_> = dead.iter().map(|(_, reason)| &**reason).collect();
    assert_eq!(reasons, ["failed"; 2]);
}

/// Takes note of the order in which messages are handled, and of those of a key that are handled at once.
#[derive(Default)]
pub(crate) struct Order {
    handled: Mutex<HashMap<(TenantId, String), Vec<usize>>>,
    under_way: Mutex<HashMap<(TenantId, String), usize>>,
    at_once: AtomicUsize,
}

#[async_trait]
impl MessageHandler for Order {
    async fn handle(&self, _: &UnitOfWork, message: &Message) -> Result<(), HandlerError> {
        let key = (message.tenant(), message.key().to_owned());
        let number = String::from_utf8_lossy(message.payload()).parse().unwrap();
        let others = {
            let mut under_way = self.under_way.lock();
            let count = under_way.entry(key.clone()).or_default();
            *count += 1;
            *count - 1
        };
        self.at_once.fetch_add(others, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..8))).await;
        *self.under_way.lock().get_mut(&key).unwrap() -= 1;
        self.handled.lock().entry(key).or_default().push(number);
        Ok(())
    }
}

impl Order {
    fn count(&self) -> usize {
        self.handled.lock().values().map(Vec::len).sum()
    }
}

/// Of one name, side by side, one of which is stopped in the middle: it is as if there were one.
pub(crate) async fn several_keep_the_order(
    broker: &dyn Consumed,
    order: &Order,
    consumers: Vec<Consumer>,
) {
    const EACH: usize = 25;
    let tenants = tenants();
    for tenant in tenants {
        for key in ["a", "b"] {
            let messages: Vec<_> = (0..EACH)
                .map(|number| message(tenant, key, &number.to_string()))
                .collect();
            broker.publisher().publish(&messages).await.unwrap();
        }
    }
    let mut consumers = consumers.into_iter();
    let mut left = 4 * EACH;
    // Whichever is at work, its turn to stop comes.
    while let Some(consumer) = consumers.next() {
        let share = left / (consumers.len() + 1);
        let until_then = 4 * EACH - left + share;
        until("a share of them is handled", || order.count() >= until_then).await;
        left = 4 * EACH - order.count();
        consumer.stop().await.unwrap();
    }
    let handled = order.handled.lock();
    for tenant in tenants {
        for key in ["a", "b"] {
            let all: Vec<_> = (0..EACH).collect();
            assert_eq!(handled[&(tenant, key.to_owned())], all);
        }
    }
    assert_eq!(order.at_once.load(Ordering::Relaxed), 0);
}

/// Killed and halted under a worker and a consumer: one effect of each message in the end.
pub(crate) async fn one_effect_each_while_the_broker_fails(broker: &dyn Consumed) {
    let subject = OnPostgres::open().await;
    let outbox = Outbox::new(subject.store());
    let effects = Arc::new(Effects::default());
    let handler: Arc<dyn MessageHandler> = Arc::<Effects>::clone(&effects);
    let consumer = broker.consumer(&subject, handler, settings()).await;
    let worker = OutboxWorker::start(
        subject.platform(),
        broker.publisher(),
        quick().with_outbox(&outbox),
    )
    .unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let tenants = tenants();
    let mut writers = tokio::task::JoinSet::new();
    for tenant in tenants {
        let scope = subject.store().tenant(tenant);
        let (outbox, is_over) = (outbox.clone(), Arc::clone(&is_over));
        writers.spawn(async move {
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                let work = scope.begin().await.unwrap();
                for key in 0..5 {
                    let content = NewMessage::new("suite.number", key.to_string());
                    outbox.append_message(&work, content).unwrap();
                    count += 1;
                }
                work.commit().await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            count
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    broker.kill().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    broker.start().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    broker.halt().await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    broker.go_on().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    is_over.store(true, Ordering::Relaxed);
    let counts: Vec<usize> = writers.join_all().await;
    let all = counts.iter().sum::<usize>();
    assert!(all > 100, "hardly anything happened: {all}");
    let mut found = 0;
    for _ in 0..600 {
        found = rows(&subject, tenants[0]).await + rows(&subject, tenants[1]).await;
        if found == all {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(found, all);
    worker.stop().await.unwrap();
    consumer.stop().await.unwrap();
    assert!(broker.dead().await.is_empty());
}

/// Makes a test of each story.
macro_rules! stories {
    ($open:path) => {
        crate::consumer::stories! {
            @tests $open;
            each_message_has_one_effect,
            what_fails_is_tried_again_in_its_place,
            keys_that_fail_hold_up_no_other_tenant,
            a_tenant_with_much_to_handle_holds_up_no_other,
            what_is_given_up_is_a_dead_letter,
            what_bears_no_tenant_or_a_forged_one_is_handled_by_nobody,
            a_consumer_that_is_stopped_gives_back_what_waits,
            what_was_never_tried_is_not_given_up,
            what_waits_is_bounded_in_bytes,
            a_stop_ends_while_the_broker_is_down,
            a_database_that_goes_during_a_handler_uses_no_attempt_up,
            a_handler_that_panics_at_once_fails_as_others_do,
            one_effect_each_while_the_broker_fails,
        }
    };
    (@tests $open:path; $($case:ident,)*) => {
        mod consumed {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let broker = $open().await;
                    crate::consumer::$case(&broker).await;
                }
            )*
        }
    };
}
pub(crate) use stories;
