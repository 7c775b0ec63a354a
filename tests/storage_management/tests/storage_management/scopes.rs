//! Scopes of encryption of two tenants.

use tenantry_blob::{ScopeKey, ScopeName};
use tenantry_core::ErrorKind;
use tenantry_testkit::arm::ArmFault;

use crate::support::{Fixture, Result, order};

#[tokio::test]
async fn a_tenant_s_scope_is_shredded_and_the_other_s_stays() -> Result {
    let fixture = Fixture::bare().await?;
    let management = &fixture.management;
    let [one, other] = fixture.tenants.map(ScopeName::of_tenant);
    for scope in [&one, &other] {
        let created = management.scope_create(scope, &ScopeKey::Microsoft).await?;
        assert!(created.is_enabled);
    }
    let shredded = management.scope_shred(&one, &order()).await?;
    assert!(!shredded.is_enabled);
    assert_eq!(shredded, management.scope(&one).await?);
    assert!(management.scope(&other).await?.is_enabled);
    // Nobody brings it back by creating it.
    let error = management
        .scope_create(&one, &ScopeKey::Microsoft)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(!management.scope(&one).await?.is_enabled);
    management.scope_shred(&one, &order()).await?;
    assert!(management.scope_enable(&one, &order()).await?.is_enabled);
    Ok(())
}

#[tokio::test]
async fn a_scope_has_a_key_of_the_vault() -> Result {
    let fixture = Fixture::bare().await?;
    let scope = ScopeName::of_tenant(fixture.tenants[0]);
    let key = ScopeKey::KeyVault {
        uri: "https://keys.vault.azure.net/keys/tenant-a".to_owned(),
    };
    let created = fixture.management.scope_create(&scope, &key).await?;
    assert_eq!(created.key, key);
    assert_eq!(
        fixture.management.scope_create(&scope, &key).await?,
        created
    );
    let other = fixture
        .management
        .scope_create(&scope, &ScopeKey::Microsoft)
        .await;
    assert_eq!(other.unwrap_err().kind(), ErrorKind::Conflict);
    let shredded = fixture.management.scope_shred(&scope, &order()).await?;
    assert_eq!(shredded.key, key, "which is what has to be purged");
    Ok(())
}

#[tokio::test]
async fn a_switch_that_does_nothing_and_a_scope_that_is_not_there_are_told() -> Result {
    let fixture = Fixture::bare().await?;
    let scope = ScopeName::of_tenant(fixture.tenants[0]);
    let missing = fixture.management.scope_shred(&scope, &order()).await;
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
    fixture
        .management
        .scope_create(&scope, &ScopeKey::Microsoft)
        .await?;
    fixture.server.inject(ArmFault::Ignored, 1);
    let ignored = fixture.management.scope_shred(&scope, &order()).await;
    assert_eq!(ignored.unwrap_err().kind(), ErrorKind::Unexpected);
    Ok(())
}
