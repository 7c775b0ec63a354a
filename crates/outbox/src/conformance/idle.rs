use std::time::Duration;

use tenantry_core::RequestContext;
use uuid::Uuid;

use super::{Broker, Ledger, Subject, quick, start, two_tenants, until};
use crate::{DeadLetterFilter, DeadLetters, Outbox, OutboxStatus};

const SOON: Duration = Duration::from_millis(50);
const NEVER: Duration = Duration::from_secs(3_600);

/// Waits until no worker holds a claim.
async fn until_idle(subject: &dyn Subject) {
    for _ in 0..12_000 {
        if OutboxStatus::read(subject.platform())
            .await
            .unwrap()
            .workers
            == 0
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the worker never became idle");
}

/// Where nothing comes, parts are given back; a commit of the same process is heard of, and one of another found.
pub async fn an_idle_worker_holds_nothing_and_wakes(subject: &dyn Subject) {
    let (ledger, broker) = (Ledger::default(), Broker::default());
    let (near, far) = (Outbox::new(subject.store()), Outbox::new(subject.store()));
    let tenants = two_tenants(subject);
    let account = Uuid::now_v7();

    // It never looks by itself.
    let worker = start(
        subject,
        &broker,
        quick().with_outbox(&near).with_idle(SOON, NEVER),
    );
    for tenant in &tenants {
        until_idle(subject).await;
        ledger.write(&near, tenant, &[account], true).await.unwrap();
        until("it was heard of", || ledger.is_empty_after(&broker.got())).await;
    }
    until_idle(subject).await;
    ledger
        .write(&far, &tenants[0], &[account], true)
        .await
        .unwrap();
    worker.stop().await.unwrap();

    // It does not hear of what others commit, and looks.
    let worker = start(subject, &broker, quick().with_idle(SOON, SOON));
    for tenant in &tenants {
        until("it was found", || ledger.is_empty_after(&broker.got())).await;
        until_idle(subject).await;
        ledger.write(&far, tenant, &[account], true).await.unwrap();
    }
    until("it was found", || ledger.is_empty_after(&broker.got())).await;
    worker.stop().await.unwrap();
    assert_eq!(ledger.assert_whole(&broker.got()).duplicates, 0);
}

/// A key that stands still keeps nobody awake, and a dead letter that is put back wakes.
pub async fn an_idle_worker_sees_what_is_replayed(subject: &dyn Subject) {
    use crate::PublishErrorKind::Poison;
    let (ledger, broker) = (Ledger::default(), Broker::default());
    let outbox = Outbox::new(subject.store());
    let [one, other] = two_tenants(subject);
    let account = Uuid::now_v7();
    let blocked = one.tenant();
    broker.answer(move |it| (it.tenant() == blocked).then_some(super::Answer::No(Poison)));
    let worker = start(subject, &broker, quick().with_idle(SOON, SOON));
    for tenant in [&one, &other, &one] {
        ledger
            .write(&outbox, tenant, &[account], true)
            .await
            .unwrap();
    }
    until("the other has left", || broker.count() == 1).await;
    until_idle(subject).await;
    broker.take_all();
    let context = RequestContext::system();
    let letters = DeadLetters::open(subject.platform(), "put back", context).unwrap();
    assert_eq!(
        letters
            .replay(blocked, &DeadLetterFilter::default())
            .await
            .unwrap(),
        1
    );
    until("all have left", || ledger.is_empty_after(&broker.got())).await;
    worker.stop().await.unwrap();
    assert_eq!(ledger.assert_whole(&broker.got()).duplicates, 0);
}
