//! Containers, their policies of immutability and their holds, of two tenants.

use tenantry_blob::{
    BlobServiceChange, ETag, HoldTag, LockMode, NewContainer, ProtectedAppends, ScopeKey, ScopeName,
};
use tenantry_core::ErrorKind;
use tenantry_testkit::arm::ArmFault;

use crate::support::{Fixture, Result, order};

#[tokio::test]
async fn a_container_is_created_once_and_read_back() -> Result {
    let fixture = Fixture::start().await?;
    let new = NewContainer::new().with_immutable_versions();
    let state = fixture
        .management
        .container_create(&fixture.one, &new)
        .await?;
    assert!(state.has_immutable_versions && !state.is_public);
    assert_eq!(state.immutability, None);
    assert_eq!(state, fixture.management.container(&fixture.one).await?);
    Ok(())
}

#[tokio::test]
async fn a_container_whose_blobs_cannot_be_locked_is_told() -> Result {
    let fixture = Fixture::bare().await?;
    let new = NewContainer::new().with_immutable_versions();
    let error = fixture
        .management
        .container_create(&fixture.one, &new)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "no versions");
    // Also where the service takes it and does nothing.
    fixture
        .management
        .container_create(&fixture.one, &NewContainer::new())
        .await?;
    fixture.server.inject(ArmFault::Ignored, 1);
    let error = fixture
        .management
        .container_create(&fixture.one, &new)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RetentionNotEnforced, "{error}");
    Ok(())
}

#[tokio::test]
async fn a_container_has_the_scope_of_its_tenant_for_good() -> Result {
    let fixture = Fixture::start().await?;
    let [one, other] = fixture.tenants.map(ScopeName::of_tenant);
    for scope in [&one, &other] {
        fixture
            .management
            .scope_create(scope, &ScopeKey::Microsoft)
            .await?;
    }
    let container = tenantry_blob::ContainerName::new("scoped")?;
    let new = NewContainer::new().with_scope(one.clone());
    let state = fixture
        .management
        .container_create(&container, &new)
        .await?;
    assert_eq!(state.scope.as_deref(), Some(one.as_str()));
    assert!(!state.may_override_scope);
    let error = fixture
        .management
        .container_create(&container, &NewContainer::new().with_scope(other))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    Ok(())
}

#[tokio::test]
async fn a_policy_goes_from_a_trial_to_a_lock_that_grows() -> Result {
    let fixture = Fixture::start().await?;
    let management = &fixture.management;
    assert_eq!(management.immutability(&fixture.one).await?, None);
    let appends = ProtectedAppends::AllBlobs;
    let trial = management
        .immutability_put(&fixture.one, 30, appends, None)
        .await?;
    assert_eq!(
        (trial.days, trial.mode, trial.appends),
        (30, LockMode::Unlocked, appends)
    );
    let shorter = management
        .immutability_put(
            &fixture.one,
            7,
            ProtectedAppends::Refused,
            Some(&trial.etag),
        )
        .await?;
    let stale = management
        .immutability_lock(&fixture.one, &trial.etag, &order())
        .await
        .unwrap_err();
    assert_eq!(stale.kind(), ErrorKind::Conflict, "{stale}");
    let locked = management
        .immutability_lock(&fixture.one, &shorter.etag, &order())
        .await?;
    assert_eq!((locked.days, locked.mode), (7, LockMode::Locked));
    let longer = management
        .immutability_extend(&fixture.one, 14, &locked.etag, &order())
        .await?;
    assert_eq!(
        management.immutability(&fixture.one).await?,
        Some(longer.clone())
    );
    let state = management.container(&fixture.one).await?;
    assert_eq!(state.immutability, Some(longer.clone()));

    for refused in [
        management
            .immutability_put(&fixture.one, 1, ProtectedAppends::Refused, None)
            .await
            .unwrap_err(),
        management
            .immutability_delete(&fixture.one, &longer.etag, &order())
            .await
            .unwrap_err(),
    ] {
        assert_eq!(refused.kind(), ErrorKind::Retained, "{refused}");
        let of_container = format!("artifacts1/{}", fixture.one);
        assert_eq!(refused.subject(), of_container);
    }
    let shorter = management
        .immutability_extend(&fixture.one, 13, &longer.etag, &order())
        .await
        .unwrap_err();
    assert_eq!(shorter.kind(), ErrorKind::Conflict);
    assert_eq!(
        management.immutability(&fixture.other).await?,
        None,
        "the other tenant has none"
    );
    Ok(())
}

#[tokio::test]
async fn a_trial_is_taken_off() -> Result {
    let fixture = Fixture::start().await?;
    let management = &fixture.management;
    let appends = ProtectedAppends::AppendBlobs;
    let trial = management
        .immutability_put(&fixture.one, 30, appends, None)
        .await?;
    management
        .immutability_delete(&fixture.one, &trial.etag, &order())
        .await?;
    assert_eq!(management.immutability(&fixture.one).await?, None);
    let again = management
        .immutability_delete(&fixture.one, &trial.etag, &order())
        .await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Conflict);
    Ok(())
}

#[tokio::test]
async fn days_are_checked_before_anything_is_sent() -> Result {
    let fixture = Fixture::start().await?;
    let (etag, order) = (ETag::new("\"x\""), order());
    for days in [0, 146_001] {
        let appends = ProtectedAppends::Refused;
        let put = fixture
            .management
            .immutability_put(&fixture.one, days, appends, None)
            .await;
        assert_eq!(put.unwrap_err().kind(), ErrorKind::InvalidInput);
        let extend = fixture
            .management
            .immutability_extend(&fixture.one, days, &etag, &order);
        assert_eq!(extend.await.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    for days in [0, 366] {
        let change = BlobServiceChange::new().with_deleted_blobs_days(days);
        let set = fixture.management.service_change(&change).await;
        assert_eq!(set.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(fixture.server.requests(), []);
    Ok(())
}

#[tokio::test]
async fn a_lock_that_the_service_does_not_show_is_told() -> Result {
    let fixture = Fixture::start().await?;
    let appends = ProtectedAppends::Refused;
    let trial = fixture
        .management
        .immutability_put(&fixture.one, 30, appends, None)
        .await?;
    // A policy that is read is not locked, and so is what this answers.
    fixture.server.inject(ArmFault::Ignored, 1);
    let put = fixture
        .management
        .immutability_put(&fixture.one, 60, appends, None)
        .await;
    assert_eq!(put.unwrap_err().kind(), ErrorKind::RetentionNotEnforced);
    assert_eq!(
        fixture.management.immutability(&fixture.one).await?,
        Some(trial)
    );
    Ok(())
}

#[tokio::test]
async fn holds_are_placed_and_cleared_on_the_container_of_one_tenant() -> Result {
    let fixture = Fixture::start().await?;
    let management = &fixture.management;
    let (case17, audit) = (HoldTag::new("case17")?, HoldTag::new("audit2026")?);
    let tags = [case17.clone(), audit];
    let on = management.hold_place(&fixture.one, &tags, &order()).await?;
    assert_eq!(on, ["audit2026", "case17"]);
    assert_eq!(management.container(&fixture.one).await?.holds, on);
    assert!(management.container(&fixture.other).await?.holds.is_empty());
    let left = management
        .hold_clear(&fixture.one, &[case17], &order())
        .await?;
    assert_eq!(left, ["audit2026"]);
    let none = management.hold_place(&fixture.one, &[], &order()).await;
    assert_eq!(none.unwrap_err().kind(), ErrorKind::InvalidInput);
    Ok(())
}

#[tokio::test]
async fn what_is_set_on_the_service_leaves_the_rest_as_it_is() -> Result {
    let fixture = Fixture::bare().await?;
    let cors =
        serde_json::json!({"properties": {"cors": {"corsRules": []}, "isVersioningEnabled": true}});
    fixture
        .call("PUT", "/blobServices/default", cors)
        .await?
        .ok();
    let change = BlobServiceChange::new()
        .with_deleted_blobs_days(14)
        .with_deleted_containers_days(7)
        .with_access_tracking(true);
    let state = fixture.management.service_change(&change).await?;
    assert!(state.has_versions && state.tracks_access);
    assert_eq!(state.deleted_blobs_days, Some(14));
    assert_eq!(state.deleted_containers_days, Some(7));
    assert_eq!(state, fixture.management.service_state().await?);
    let raw = fixture
        .call("GET", "/blobServices/default", serde_json::Value::Null)
        .await?;
    assert!(raw.body["properties"]["cors"].is_object());
    Ok(())
}

#[tokio::test]
async fn what_is_not_there_is_not_found() -> Result {
    let fixture = Fixture::start().await?;
    let missing = tenantry_blob::ContainerName::new("missing")?;
    let error = fixture.management.container(&missing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.subject(), "artifacts1/missing");
    let hold = fixture
        .management
        .hold_place(&missing, &[HoldTag::new("case17")?], &order())
        .await;
    assert_eq!(hold.unwrap_err().kind(), ErrorKind::NotFound);
    Ok(())
}
