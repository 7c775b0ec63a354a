use tenantry_core::{ErrorKind, RequestContext};

use super::{Answer, Broker, Subject, quick, start, two_tenants, until};
use crate::{
    DeadLetterFilter, DeadLetters, FailurePolicy, MessageId, NewMessage, OnDeadLetter, Outbox,
    PublishErrorKind,
};

/// Whole, with their reason and in groups; each tenant's apart from the other's.
pub async fn dead_letters_are_listed_replayed_and_discarded(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let broker = Broker::default();
    broker.answer(|message| {
        (message.payload() == b"poison").then_some(Answer::No(PublishErrorKind::Poison))
    });
    let policy = FailurePolicy::default().with_dead_letter("skip", OnDeadLetter::SkipToDeadLetter);
    let worker = start(subject, &broker, quick().with_failure_policy(policy));
    let tenants = two_tenants(subject);
    let mut poisoned = Vec::new();
    for tenant in &tenants {
        for kind in ["block", "skip"] {
            let work = tenant.begin().await.unwrap();
            for payload in ["poison", "behind"] {
                let message = NewMessage::new(kind, "key of ".to_owned() + kind)
                    .with_payload("text/plain", payload.into());
                if payload == "poison" {
                    poisoned.push((tenant.tenant(), message.clone()));
                }
                outbox.append_message(&work, message).unwrap();
            }
            work.commit().await.unwrap();
        }
    }
    until("all that can have left", || broker.count() == 2).await;
    let all = DeadLetterFilter::default();
    let letters =
        DeadLetters::open(subject.platform(), "a test", RequestContext::system()).unwrap();
    let mut listed = letters.list(&all, 100).await.unwrap();
    while listed.len() < 4 {
        tokio::task::yield_now().await;
        listed = letters.list(&all, 100).await.unwrap();
    }
    assert_eq!(letters.list(&all, 3).await.unwrap().len(), 3);
    for (tenant, message) in &poisoned {
        let of = DeadLetterFilter::default()
            .with_tenant(*tenant)
            .with_id(message.id());
        let found = letters.list(&of, 100).await.unwrap();
        let [letter] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(
            (letter.tenant, letter.id, &*letter.event_type, &*letter.key),
            (*tenant, message.id(), message.event_type(), message.key())
        );
        assert_eq!(letter.payload_bytes, 6);
        assert_eq!(letter.is_blocking, message.event_type() == "block");
        let whole = letters.get(*tenant, message.id()).await.unwrap();
        assert_eq!(
            (whole.tenant(), whole.id(), whole.key(), whole.payload()),
            (*tenant, message.id(), message.key(), &b"poison"[..])
        );
        assert_eq!(whole.occurred_at(), letter.occurred_at);
        // Another's is as one that is not there.
        let foreign = tenants.iter().find(|it| it.tenant() != *tenant).unwrap();
        for id in [message.id(), MessageId::generate()] {
            let error = letters.get(foreign.tenant(), id).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert!(error.detail().is_empty(), "{error:?}");
        }
        assert_eq!(
            (letter.attempts, &*letter.reason, &*letter.detail),
            (1, "poison", "as the test asks")
        );
    }
    let groups = letters.groups(&all).await.unwrap();
    let seen: Vec<_> = groups
        .iter()
        .map(|group| {
            (
                &*group.event_type,
                &*group.reason,
                group.is_blocking,
                group.count,
                group.tenants,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("block", "poison", true, 2, 2),
            ("skip", "poison", false, 2, 2)
        ]
    );

    // The one tenant's are discarded, the other's replayed, once the broker takes them.
    let [one, two] = &tenants;
    let foreign = letters
        .discard(one.tenant(), &all.clone().with_tenant(two.tenant()))
        .await;
    assert_eq!(foreign.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(letters.discard(one.tenant(), &all).await.unwrap(), 2);
    until("what stood behind has left", || broker.count() == 3).await;
    broker.take_all();
    let blocked = DeadLetterFilter::default().with_event_type("block");
    assert_eq!(letters.replay(two.tenant(), &blocked).await.unwrap(), 1);
    until("what was blocked has left", || broker.count() == 5).await;
    assert_eq!(letters.replay(two.tenant(), &all).await.unwrap(), 1);
    until("what was passed by has left", || broker.count() == 6).await;
    worker.stop().await.unwrap();
    assert_eq!(letters.list(&all, 100).await.unwrap(), []);
    let of = |tenant, key: &str| -> Vec<_> {
        let got = broker.got().into_iter();
        got.filter(|message| message.tenant() == tenant && message.key() == key)
            .map(|message| String::from_utf8(message.payload().to_vec()).unwrap())
            .collect()
    };
    assert_eq!(of(one.tenant(), "key of block"), ["behind"]);
    assert_eq!(of(two.tenant(), "key of block"), ["poison", "behind"]);
    assert_eq!(of(two.tenant(), "key of skip"), ["behind", "poison"]);
}
