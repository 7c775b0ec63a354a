//! What nobody undoes easily is told before it is done.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tenantry_blob::{
    HoldTag, ManagementAct, ManagementAction, ManagementAudit, ManagementOrder, ProtectedAppends,
    ScopeKey, ScopeName,
};
use tenantry_core::{Actor, Error, ErrorKind};

use crate::support::{Fixture, Result};

#[derive(Debug, Default)]
struct Book {
    acts: Mutex<Vec<ManagementAct>>,
    is_full: Mutex<bool>,
}

#[async_trait]
impl ManagementAudit for Book {
    async fn record(&self, act: &ManagementAct) -> tenantry_core::Result<()> {
        if *self.is_full.lock() {
            return Err(Error::new(ErrorKind::StorageFull, "write book"));
        }
        self.acts.lock().push(act.clone());
        Ok(())
    }
}

#[tokio::test]
async fn every_act_is_written_down_with_who_and_why_or_not_done() -> Result {
    let fixture = Fixture::start().await?;
    let book = Arc::new(Book::default());
    let management = fixture
        .with_token(fixture.token())?
        .with_audit(Arc::clone(&book) as Arc<dyn ManagementAudit>);
    let order = ManagementOrder::new(Actor::new("user:lawyer")?, "they sue")?;
    let appends = ProtectedAppends::Refused;
    let (one, tags) = (&fixture.one, [HoldTag::new("case17")?]);
    let scope = ScopeName::of_tenant(fixture.tenants[0]);
    management
        .scope_create(&scope, &ScopeKey::Microsoft)
        .await?;
    let trial = management.immutability_put(one, 3, appends, None).await?;
    assert!(book.acts.lock().is_empty());

    management
        .immutability_delete(one, &trial.etag, &order)
        .await?;
    let trial = management.immutability_put(one, 3, appends, None).await?;
    let locked = management
        .immutability_lock(one, &trial.etag, &order)
        .await?;
    management
        .immutability_extend(one, 4, &locked.etag, &order)
        .await?;
    management.hold_place(one, &tags, &order).await?;
    management.hold_clear(one, &tags, &order).await?;
    management.scope_shred(&scope, &order).await?;
    management.scope_enable(&scope, &order).await?;
    management.lifecycle_delete(&order).await?;

    let acts = book.acts.lock().clone();
    let told: Vec<_> = acts
        .iter()
        .map(|act| (act.action, act.subject.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (ManagementAction::ImmutabilityDeleted, one.as_str()),
            (ManagementAction::ImmutabilityLocked, one.as_str()),
            (ManagementAction::ImmutabilityExtended, one.as_str()),
            (ManagementAction::HoldPlaced, one.as_str()),
            (ManagementAction::HoldCleared, one.as_str()),
            (ManagementAction::ScopeShredded, scope.as_str()),
            (ManagementAction::ScopeEnabled, scope.as_str()),
            (ManagementAction::LifecycleDeleted, ""),
        ]
    );
    assert!(
        acts.iter()
            .all(|act| act.reason == "they sue" && act.actor.as_str() == "user:lawyer")
    );

    *book.is_full.lock() = true;
    fixture.server.forget_requests();
    let error = management.scope_shred(&scope, &order).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(fixture.server.requests(), []);
    Ok(())
}

#[test]
fn an_order_has_a_reason() {
    for reason in ["", " \n", &"x".repeat(501)] {
        assert!(ManagementOrder::new(Actor::system(), reason).is_err());
    }
}
