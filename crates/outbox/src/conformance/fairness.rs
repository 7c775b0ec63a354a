use std::sync::Arc;
use std::time::Duration;

use tenantry_store::TenantScope;
use uuid::Uuid;

use super::{Broker, Ledger, Slow, Subject, quick, start, two_tenants, until};
use crate::{Message, NewMessage, Outbox, OutboxWorker};

/// Commits one message under each of so many new keys.
async fn flood(outbox: &Outbox, ledger: &Ledger, tenant: &TenantScope, messages: usize) {
    let work = tenant.begin().await.unwrap();
    let mut written = Vec::new();
    for _ in 0..messages {
        let key = Uuid::now_v7().to_string();
        let message = NewMessage::new("suite.account.imported", key.clone());
        written.push((outbox.append_message(&work, message).unwrap(), key));
    }
    work.commit().await.unwrap();
    for (id, key) in written {
        ledger.commits(tenant.tenant(), id, key, 1);
    }
}

fn count_of(got: &[Message], tenant: &TenantScope) -> usize {
    let is_theirs = |message: &&Message| message.tenant() == tenant.tenant();
    got.iter().filter(is_theirs).count()
}

/// Who has little does not wait behind who has much, and both keep their orders.
pub async fn a_backlog_of_one_tenant_holds_up_no_other(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let ledger = Ledger::default();
    let broker = Broker::default();
    let [much, little] = two_tenants(subject);
    let accounts: Vec<_> = (0..5).map(|_| Uuid::now_v7()).collect();
    for _ in 0..3 {
        flood(&outbox, &ledger, &much, 800).await;
        for tenant in [&much, &little] {
            ledger
                .write(&outbox, tenant, &accounts, true)
                .await
                .unwrap();
        }
    }
    let worker = start(subject, &broker, quick().with_batch(100));
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    worker.stop().await.unwrap();
    let got = broker.got();
    assert_eq!(ledger.assert_whole(&got).duplicates, 0);
    let last = got.iter().rposition(|it| it.tenant() == little.tenant());
    let before = count_of(&got[..last.unwrap()], &much);
    assert!(before < 800, "{before} of the others left before");

    // When the backlog has left, there are no lanes: a later one of either is seen at once.
    let worker = start(subject, &broker, quick());
    for tenant in [&much, &little] {
        ledger
            .write(&outbox, tenant, &accounts, true)
            .await
            .unwrap();
    }
    until("these as well", || ledger.is_empty_after(&broker.got())).await;
    worker.stop().await.unwrap();
    assert_eq!(ledger.assert_whole(&broker.got()).duplicates, 0);
}

/// Of those that have much, each gets on by its weight.
pub async fn backlogs_are_handed_over_by_weight(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let ledger = Ledger::default();
    let broker = Broker::default();
    let [heavy, light] = two_tenants(subject);
    // The one with more weight stands behind.
    flood(&outbox, &ledger, &light, 1_500).await;
    flood(&outbox, &ledger, &heavy, 1_500).await;
    let settings = quick().with_batch(100).with_weight(heavy.tenant(), 4);
    let worker = start(subject, &broker, settings);
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    worker.stop().await.unwrap();
    let got = broker.got();
    assert_eq!(ledger.assert_whole(&got).duplicates, 0);
    let last = got.iter().rposition(|it| it.tenant() == heavy.tenant());
    let before = count_of(&got[..last.unwrap()], &light);
    assert!(before < 1_000, "{before} of the lighter one left before");
    assert!(before > 100, "only {before} of the lighter one left before");
}

/// What stands behind a flood is looked for before the flood is handed over, however slow the broker is.
pub async fn one_behind_a_flood_waits_for_a_small_part_of_it(subject: &dyn Subject) {
    let outbox = Outbox::new(subject.store());
    let ledger = Ledger::default();
    let broker = Broker::default();
    let [much, little] = two_tenants(subject);
    for _ in 0..10 {
        flood(&outbox, &ledger, &much, 1_200).await;
    }
    flood(&outbox, &ledger, &little, 1).await;
    // Longer than the others need be quiet for a lane to have a whole batch.
    let slow = Arc::new(Slow(broker.clone(), Duration::from_millis(120)));
    let settings = quick().with_batch(100);
    let worker = OutboxWorker::start(subject.platform(), slow, settings).unwrap();
    let is_there = || count_of(&broker.got(), &little) == 1;
    until("that of the other has left", is_there).await;
    let got = broker.got();
    let place = got.iter().position(|it| it.tenant() == little.tenant());
    // The first batch, and an eighth of one for each window.
    assert!(place.unwrap() < 300, "{place:?}");
    worker.stop().await.unwrap();
}
