//! The rules of an account, from plan to account and back.

use serde_json::json;
use tenantry_blob::{
    ClassLifecycle, LifecycleLayout, LifecyclePlan, LifecyclePolicy, Retention, RetentionClass,
    Tier,
};
use tenantry_core::ErrorKind;
use tenantry_testkit::arm::ArmFault;

use crate::support::{Fixture, Result, order};

fn plan() -> Result<LifecyclePlan> {
    let exports =
        RetentionClass::new("report-exports", Retention::days(365))?.with_ceiling_days(730);
    let attachments =
        RetentionClass::new("attachments", Retention::days(730).archived_after_days(90))?;
    Ok(
        LifecyclePlan::new(LifecycleLayout::container_per_tenant("t"))
            .with_class_rule(
                ClassLifecycle::new(&exports)
                    .with_tier_after_days(Tier::Cool, 30)
                    .deleted()
                    .with_versions(),
            )
            .with_class_rule(ClassLifecycle::new(&attachments)),
    )
}

#[tokio::test]
async fn a_plan_is_put_beside_the_rules_of_others_and_nothing_is_left_to_do() -> Result {
    let fixture = Fixture::bare().await?;
    let theirs = json!({
        "enabled": true, "name": "logs", "type": "Lifecycle", "definition": {
            "filters": {"blobTypes": ["appendBlob"], "prefixMatch": ["logs/"]},
            "actions": {"baseBlob": {"delete": {"daysAfterModificationGreaterThan": 30}}},
        },
    });
    let body = json!({"properties": {"policy": {"rules": [theirs]}}});
    fixture
        .call("PUT", "/managementPolicies/default", body)
        .await?
        .ok();

    let live = fixture.management.lifecycle().await?;
    let diff = plan()?.diff(&live)?;
    assert_eq!(
        (diff.added.len(), &diff.foreign),
        (2, &vec!["logs".to_owned()])
    );
    fixture
        .management
        .lifecycle_put(diff.merged()?, &order())
        .await?;

    let live = fixture.management.lifecycle().await?;
    let names: Vec<_> = live.rules().iter().map(|rule| rule.name()).collect();
    assert_eq!(
        names,
        ["logs", "tenantry-report-exports", "tenantry-attachments"]
    );
    assert!(plan()?.diff(&live)?.is_empty());
    Ok(())
}

#[tokio::test]
async fn without_rules_there_is_no_policy() -> Result {
    let fixture = Fixture::bare().await?;
    assert!(fixture.management.lifecycle().await?.is_empty());
    fixture
        .management
        .lifecycle_put(&plan()?.compile()?, &order())
        .await?;
    let live = fixture.management.lifecycle().await?;
    let none = LifecyclePlan::new(LifecycleLayout::container_per_tenant("t")).diff(&live)?;
    fixture
        .management
        .lifecycle_put(none.merged()?, &order())
        .await?;
    assert!(fixture.management.lifecycle().await?.is_empty());
    fixture.management.lifecycle_delete(&order()).await?;
    Ok(())
}

#[tokio::test]
async fn a_policy_that_the_service_does_not_take_or_show_is_told() -> Result {
    let fixture = Fixture::bare().await?;
    let too_many = (0..101).map(|it| {
        json!({
            "enabled": true, "name": format!("r{it}"), "type": "Lifecycle", "definition": {
                "filters": {"blobTypes": ["blockBlob"]},
                "actions": {"baseBlob": {"delete": {"daysAfterCreationGreaterThan": 30}}},
            },
        })
    });
    let too_many = json!({"rules": too_many.collect::<Vec<_>>()});
    let too_many = LifecyclePolicy::from_json(&too_many)?;
    let error = fixture
        .management
        .lifecycle_put(&too_many, &order())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(error.subject(), "artifacts1");

    let first = plan()?.compile()?;
    fixture.management.lifecycle_put(&first, &order()).await?;
    let exports =
        RetentionClass::new("report-exports", Retention::days(365))?.with_ceiling_days(900);
    let second = LifecyclePlan::new(LifecycleLayout::container_per_tenant("t"))
        .with_class_rule(ClassLifecycle::new(&exports).deleted())
        .compile()?;
    fixture.server.inject(ArmFault::Ignored, 1);
    let error = fixture
        .management
        .lifecycle_put(&second, &order())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    Ok(())
}

#[tokio::test]
async fn an_account_that_is_not_there_has_no_rules_to_tell_of() -> Result {
    let fixture = Fixture::bare().await?;
    let other = Fixture::bare().await?;
    let account = tenantry_blob::StorageAccount::new(
        other.path().split('/').nth(2).unwrap_or_default(),
        "prod",
        "artifacts1",
    )?;
    let connection = tenantry_blob::ManagementConnection::default()
        .with_address(fixture.server.address())
        .with_ca_certificate(fixture.server.ca_certificate_pem());
    let token = tenantry_core::Secret::new(fixture.token().to_owned());
    let credential = tenantry_blob::ManagementCredential::access_token(token);
    let management = tenantry_blob::StorageManagement::new_with(account, credential, &connection)?;
    assert_eq!(
        management.lifecycle().await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    Ok(())
}
