use chrono::DateTime;
use tenantry_core::{CorrelationId, ErrorKind, RequestContext, TraceParent};
use uuid::Uuid;

use super::{Broker, Subject, quick, start, two_tenants, until};
use crate::{JSON, Message, MessageId, NewMessage, Outbox};

/// All fields come out as they went in, for two tenants with the same key.
pub async fn what_was_committed_leaves_as_it_was_written(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let trace: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
        .parse()
        .unwrap();
    let context = RequestContext::system()
        .with_trace(trace)
        .with_correlation_id(CorrelationId::new("order-1").unwrap());
    let at = DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap();
    let mut expected = Vec::new();
    for tenant in two_tenants(subject) {
        let full = NewMessage::new("a.full", "käy'\"{},\\")
            .with_payload("application/octet-stream", vec![0, 255, 7])
            .with_project("p")
            .with_module("m")
            .with_causation_id(MessageId::generate())
            .with_trace(trace, Some("v=1".to_owned()))
            .with_occurred_at(at);
        let bare = NewMessage::new("b.bare", "käy'\"{},\\");
        let work = tenant
            .clone()
            .with_context(context.clone())
            .begin()
            .await
            .unwrap();
        outbox.append_message(&work, full.clone()).unwrap();
        outbox.append_message(&work, bare.clone()).unwrap();
        work.commit().await.unwrap();
        expected.push((tenant.tenant(), full, bare));
    }
    let broker = Broker::default();
    let worker = start(subject, &broker, quick().with_outbox(&outbox));
    until("all have left", || broker.count() == 4).await;
    worker.stop().await.unwrap();
    let got = broker.got();
    for (tenant, full, bare) in expected {
        let of_tenant: Vec<_> = got
            .iter()
            .filter(|message| message.tenant() == tenant)
            .collect();
        let full = full.with_correlation_id(CorrelationId::new("order-1").unwrap());
        assert_eq!(*of_tenant[0], Message::new(tenant, full));
        // What the unit of work said.
        assert_eq!(of_tenant[1].id(), bare.id());
        assert_eq!(of_tenant[1].trace(), Some(trace));
        assert_eq!(of_tenant[1].trace_state(), None);
        assert_eq!(of_tenant[1].correlation_id().unwrap().as_str(), "order-1");
        assert_eq!(
            (of_tenant[1].payload(), of_tenant[1].content_type()),
            (&[][..], JSON)
        );
    }
}

/// Neither after a rollback, one to a savepoint, an error, nor a unit of work that was dropped.
pub async fn what_was_not_committed_never_leaves(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let message = |kind: &'static str| NewMessage::new(kind, "key");
    let mut kept = Vec::new();
    for tenant in two_tenants(subject) {
        let work = tenant.begin().await.unwrap();
        outbox
            .append_message(&work, message("rolled back"))
            .unwrap();
        work.rollback().await.unwrap();

        let work = tenant.begin().await.unwrap();
        outbox.append_message(&work, message("dropped")).unwrap();
        drop(work);

        let work = tenant.begin().await.unwrap();
        kept.push(outbox.append_message(&work, message("kept")).unwrap());
        let savepoint = work.savepoint().await.unwrap();
        outbox
            .append_message(&work, message("rolled back to a savepoint"))
            .unwrap();
        work.rollback_to(&savepoint).await.unwrap();
        kept.push(outbox.append_message(&work, message("kept")).unwrap());
        work.commit().await.unwrap();

        // A commit that is dropped before it is polled, and one of a read-only unit of work.
        let work = tenant.begin().await.unwrap();
        outbox.append_message(&work, message("dropped")).unwrap();
        drop(work.commit());
        let options = tenantry_store::WorkOptions::default().read_only();
        let work = tenant.begin_with(options).await.unwrap();
        outbox.append_message(&work, message("read only")).unwrap();
        assert!(work.commit().await.is_err());
    }
    let broker = Broker::default();
    let worker = start(subject, &broker, quick());
    until("all have left", || broker.count() >= kept.len()).await;
    worker.stop().await.unwrap();
    let got: Vec<_> = broker.got().iter().map(Message::id).collect();
    assert_eq!(got.len(), kept.len());
    assert!(kept.iter().all(|id| got.contains(id)));
}

/// A second message under an id is refused by name, and takes the unit of work with it; another tenant may have the id.
pub async fn an_id_is_taken_once_in_its_tenant(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let [one, two] = two_tenants(subject);
    let message = || NewMessage::new("a", "k").with_id(MessageId::new(Uuid::from_u128(7)));
    for (tenant, taken) in [(&one, false), (&two, false), (&one, true)] {
        let work = tenant.begin().await.unwrap();
        outbox.append_message(&work, message()).unwrap();
        let outcome = work.commit().await;
        match taken {
            false => outcome.unwrap(),
            true => {
                let error = outcome.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::AlreadyExists);
                assert!(
                    error.subject().contains(&Uuid::from_u128(7).to_string()),
                    "{error}"
                );
            }
        }
    }
}

/// More than one statement takes, in their order.
pub async fn many_messages_are_written_by_one_commit(subject: &dyn Subject) {
    const COUNT: usize = 12_345;
    let outbox = Outbox::new(subject.store());
    for tenant in two_tenants(subject) {
        let work = tenant.begin().await.unwrap();
        for number in 0..COUNT {
            let message =
                NewMessage::new("a", "key").with_payload("text/plain", number.to_string().into());
            outbox.append_message(&work, message).unwrap();
        }
        work.commit().await.unwrap();
    }
    let broker = Broker::default();
    let worker = start(subject, &broker, quick());
    until("all have left", || broker.count() == 2 * COUNT).await;
    worker.stop().await.unwrap();
    let mut next = std::collections::HashMap::new();
    for message in broker.got() {
        let next = next.entry(message.tenant()).or_insert(0_usize);
        assert_eq!(message.payload(), next.to_string().as_bytes());
        *next += 1;
    }
    assert_eq!(next.len(), 2);
}

/// They are there with the write, and where that finds another version, or is refused, neither is.
pub async fn messages_go_along_with_the_last_write_or_not_at_all(subject: &dyn Subject) {
    use tenantry_store::{RepositoryExt as _, Version};

    use super::Account;

    let outbox = Outbox::new(subject.store());
    let broker = Broker::default();
    let tenants = two_tenants(subject);
    let id = Uuid::now_v7();
    let account = || Account {
        id,
        version: Version::NEW,
    };
    let said = |text: &str| NewMessage::new("suite.account.changed", text);
    for tenant in &tenants {
        let rows = tenant.repository::<Account>();
        // One message with an insert, several with an update; both tenants have the same key.
        let work = tenant.begin().await.unwrap();
        let first = outbox.append_message(&work, said("inserted")).unwrap();
        let mut row = account();
        work.commit_with_insert(&mut row).await.unwrap();
        let mut stale = row.clone();
        let work = tenant.begin().await.unwrap();
        for text in ["updated", "updated as well"] {
            outbox.append_message(&work, said(text)).unwrap();
        }
        work.commit_with_update(&mut row).await.unwrap();
        assert_eq!(rows.get(id).await.unwrap(), row);

        // Another version, a row that is there, and a message that is there.
        let work = tenant.begin().await.unwrap();
        outbox.append_message(&work, said("never")).unwrap();
        let refused = work.commit_with_update(&mut stale).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        let work = tenant.begin().await.unwrap();
        outbox.append_message(&work, said("never")).unwrap();
        let refused = work.commit_with_insert(&mut account()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        assert_eq!(refused.operation(), "insert");
        let work = tenant.begin().await.unwrap();
        let again = said("never").with_id(first);
        outbox.append_message(&work, again).unwrap();
        let refused = work.commit_with_update(&mut row.clone()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        assert_eq!(refused.operation(), "append messages");
        assert_eq!(rows.get(id).await.unwrap(), row);

        // Without messages it is a write and a commit.
        let work = tenant.begin().await.unwrap();
        work.commit_with_update(&mut row).await.unwrap();
        assert_eq!(rows.get(id).await.unwrap(), row);
    }
    let worker = start(subject, &broker, quick().with_outbox(&outbox));
    until("all have left", || broker.count() == 6).await;
    worker.stop().await.unwrap();
    let mut keys: Vec<_> = broker.got().iter().map(|it| it.key().to_owned()).collect();
    keys.sort_unstable();
    let [i, u, v] = ["inserted", "updated", "updated as well"];
    assert_eq!(keys, [i, i, u, u, v, v]);
}
