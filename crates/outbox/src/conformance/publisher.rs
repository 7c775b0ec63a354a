//! What a publisher must do, against the broker that it is for.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::DateTime;
use tenantry_core::{CorrelationId, ErrorKind, TenantId};
use uuid::Uuid;

use crate::{Message, MessageId, NewMessage, PublishErrorKind, PublishReason, Publisher, Stopped};

/// A broker of a test's own, with a publisher for it that waits a second for an answer at most.
#[async_trait]
pub trait RealBroker: Send + Sync {
    /// Returns the publisher.
    fn publisher(&self) -> Arc<dyn Publisher>;

    /// Returns all that the broker has got, in its order.
    async fn got(&self) -> Vec<Message>;

    /// Returns a size of payload that is too large, where the publisher or the broker has a limit.
    fn too_large(&self) -> usize;

    /// Returns whether the broker drops what it gets again.
    fn tells_duplicates(&self) -> bool;

    /// Halts the broker: it accepts what comes and answers nothing.
    async fn halt(&self);

    /// Lets it go on.
    async fn go_on(&self);

    /// Kills the broker.
    async fn kill(&self);

    /// Starts it again; returns when it answers.
    async fn start(&self);
}

fn tenants() -> [TenantId; 2] {
    [TenantId::generate(), TenantId::generate()]
}

fn numbered(tenant: TenantId, key: &str, number: usize) -> Message {
    let content = NewMessage::new("suite.account.changed", key)
        .with_payload("text/plain", number.to_string().into_bytes());
    Message::new(tenant, content)
}

/// Publishes until the broker takes it, as a worker does.
///
/// # Panics
///
/// If it does not within a minute.
pub async fn publish_patiently(publisher: &dyn Publisher, messages: &[Message]) {
    let mut done = 0;
    for _ in 0..600 {
        match publisher.publish(&messages[done..]).await {
            Ok(()) => return,
            Err(stopped) => {
                assert_eq!(
                    stopped.error.kind(),
                    PublishErrorKind::Unavailable,
                    "{:?}",
                    stopped.error
                );
                done += stopped.acknowledged;
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the broker does not come back");
}

/// All attributes, bytes that are no text, names that a broker could take for its own; of two tenants apart.
pub async fn what_is_published_is_there_as_it_was(broker: &dyn RealBroker) {
    let publisher = broker.publisher();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let at = DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap();
    let mut sent = Vec::new();
    for tenant in tenants() {
        let full = NewMessage::new("billing.invoice.paid", "käy'\"{},\\ %41*.>#")
            .with_payload("application/octet-stream", vec![0, 255, b'\r', b'\n', 7])
            .with_project("p ä")
            .with_module("m*")
            .with_correlation_id(CorrelationId::new("order-1").unwrap())
            .with_causation_id(MessageId::generate())
            .with_trace(trace.parse().unwrap(), Some("v=1, w=%20".to_owned()))
            .with_occurred_at(at);
        let mut contents = vec![full];
        for event_type in ["*", ">", "#", "a..b", ".a.", "a b", "ä/ö", "%2A"] {
            let content = NewMessage::new(event_type, "key").with_payload("text/plain", vec![b'x']);
            contents.push(content.with_occurred_at(at));
        }
        // Nothing in it at all.
        contents.push(NewMessage::new("empty", "key").with_occurred_at(at));
        for content in contents {
            let message = Message::new(tenant, content);
            publisher
                .publish(std::slice::from_ref(&message))
                .await
                .unwrap();
            sent.push(message);
        }
    }
    publisher.publish(&[]).await.unwrap();
    assert_eq!(broker.got().await, sent);
}

/// None overtakes another of its tenant and key.
pub async fn many_keys_are_published_at_a_time_each_in_order(broker: &dyn RealBroker) {
    const KEYS: usize = 40;
    const EACH: usize = 25;
    let publisher = broker.publisher();
    let mut running = tokio::task::JoinSet::new();
    for tenant in tenants() {
        for key in 0..KEYS {
            let publisher = Arc::clone(&publisher);
            running.spawn(async move {
                let key = key.to_string();
                let messages: Vec<_> = (0..EACH)
                    .map(|number| numbered(tenant, &key, number))
                    .collect();
                publisher.publish(&messages).await
            });
        }
    }
    for outcome in running.join_all().await {
        outcome.unwrap();
    }
    let mut next: HashMap<(TenantId, String), usize> = HashMap::new();
    for message in broker.got().await {
        let next = next
            .entry((message.tenant(), message.key().to_owned()))
            .or_default();
        assert_eq!(message.payload(), next.to_string().as_bytes());
        *next += 1;
    }
    assert_eq!(next.len(), 2 * KEYS);
    assert!(next.values().all(|count| *count == EACH));
}

/// Those before it have left, those behind it have not, and other keys do not notice.
pub async fn what_is_too_large_is_poison_and_nothing_else_is(broker: &dyn RealBroker) {
    let publisher = broker.publisher();
    let mut sent = 0;
    for tenant in tenants() {
        let large = NewMessage::new("suite.large", "key")
            .with_payload("text/plain", vec![b'x'; broker.too_large()]);
        let messages = [
            numbered(tenant, "key", 0),
            Message::new(tenant, large),
            numbered(tenant, "key", 1),
        ];
        let others: Vec<_> = (0..20)
            .map(|number| numbered(tenant, "other", number))
            .collect();
        let (stopped, beside) =
            tokio::join!(publisher.publish(&messages), publisher.publish(&others));
        let Stopped {
            acknowledged,
            error,
            ..
        } = stopped.unwrap_err();
        assert_eq!(
            (error.kind(), error.reason(), acknowledged),
            (PublishErrorKind::Poison, Some(PublishReason::TooLarge), 1),
            "{error}"
        );
        assert!(!format!("{error:?}").contains("xxx"));
        beside.unwrap();
        publisher.publish(&messages[2..]).await.unwrap();
        sent += 2 + others.len();
    }
    assert_eq!(broker.got().await.len(), sent);
}

/// By the identifier, which is of one tenant alone.
pub async fn what_is_published_again_is_told_apart_where_the_broker_can(broker: &dyn RealBroker) {
    let publisher = broker.publisher();
    let mut sent = 0;
    for tenant in tenants() {
        let messages: Vec<_> = (0..5)
            .map(|number| numbered(tenant, "key", number))
            .collect();
        publisher.publish(&messages).await.unwrap();
        publisher.publish(&messages).await.unwrap();
        sent += messages.len();
    }
    let times = if broker.tells_duplicates() { 1 } else { 2 };
    assert_eq!(broker.got().await.len(), sent * times);
}

/// Told after the time that an answer may take; what was under way is there, once or twice, and in order.
pub async fn a_broker_that_is_halted_is_unavailable_and_comes_back(broker: &dyn RealBroker) {
    let publisher = broker.publisher();
    let mut sent = Vec::new();
    for tenant in tenants() {
        let messages: Vec<_> = (0..4)
            .map(|number| numbered(tenant, "key", number))
            .collect();
        publisher.publish(&messages[..2]).await.unwrap();
        broker.halt().await;
        let Stopped {
            acknowledged,
            error,
            ..
        } = publisher.publish(&messages[2..]).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.reason(), acknowledged),
            (
                PublishErrorKind::Unavailable,
                Some(PublishReason::NoAnswer),
                0
            ),
            "{error}"
        );
        broker.go_on().await;
        publish_patiently(&*publisher, &messages[2..]).await;
        sent.extend(messages);
    }
    assert_in_order(&broker.got().await, &sent, broker.tells_duplicates());
}

/// While it is down and while it comes up; what it had acknowledged before is there afterwards.
pub async fn a_broker_that_is_down_is_unavailable_and_comes_back(broker: &dyn RealBroker) {
    let publisher = broker.publisher();
    let mut sent = Vec::new();
    for tenant in tenants() {
        let messages: Vec<_> = (0..4)
            .map(|number| numbered(tenant, "key", number))
            .collect();
        publish_patiently(&*publisher, &messages[..2]).await;
        broker.kill().await;
        for _ in 0..3 {
            let error = publisher.publish(&messages[2..]).await.unwrap_err().error;
            assert_eq!(error.kind(), PublishErrorKind::Unavailable, "{error}");
        }
        broker.start().await;
        publish_patiently(&*publisher, &messages[2..]).await;
        sent.extend(messages);
    }
    assert_in_order(&broker.got().await, &sent, broker.tells_duplicates());
}

/// It hands over nothing, is told of a broker that is down or halted, and of one that is back.
pub async fn a_check_tells_whether_the_broker_would_take_messages(broker: &dyn RealBroker) {
    let publisher = broker.publisher();
    publisher.check().await.unwrap();
    broker.halt().await;
    let error = publisher.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    broker.go_on().await;
    broker.kill().await;
    let error = publisher.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    broker.start().await;
    let mut tries = 0;
    while let Err(error) = publisher.check().await {
        assert!(tries < 600, "it does not come back: {error}");
        tries += 1;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(broker.got().await.is_empty());
}

/// Asserts that all are there, each first before the next of its key, and again only where the broker cannot tell.
fn assert_in_order(got: &[Message], sent: &[Message], tells_duplicates: bool) {
    let mut firsts: Vec<Uuid> = Vec::new();
    for message in got {
        if !firsts.contains(&message.id().as_uuid()) {
            firsts.push(message.id().as_uuid());
        }
    }
    let expected: Vec<_> = sent.iter().map(|message| message.id().as_uuid()).collect();
    assert_eq!(firsts, expected);
    if tells_duplicates {
        assert_eq!(got.len(), sent.len());
    }
}
