//! What goes wrong on the way, as kinds, and how often something is tried.

use std::time::Duration;

use tenantry_blob::{
    ManagementConnection, ManagementCredential, ScopeKey, ScopeName, StorageManagement,
};
use tenantry_core::{ErrorKind, Secret};
use tenantry_testkit::arm::ArmFault;

use crate::support::{Fixture, Result, order};

const THROTTLE: ArmFault = ArmFault::Throttle { retry_after: None };

#[tokio::test]
async fn a_throttled_call_is_tried_again_as_it_is_told() -> Result {
    let fixture = Fixture::start().await?;
    fixture.server.inject(
        ArmFault::Throttle {
            retry_after: Some(1),
        },
        1,
    );
    fixture.management.container(&fixture.one).await?;
    assert_eq!(fixture.server.requests().len(), 2);
    // A write as well: it was not done.
    let scope = ScopeName::of_tenant(fixture.tenants[0]);
    fixture
        .management
        .scope_create(&scope, &ScopeKey::Microsoft)
        .await?;
    fixture.server.inject(THROTTLE, 2);
    fixture.management.scope_shred(&scope, &order()).await?;
    fixture.server.inject(THROTTLE, 3);
    let error = fixture
        .management
        .container(&fixture.one)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert!(!fixture.server.is_armed());
    Ok(())
}

#[tokio::test]
async fn a_wait_without_end_is_told_and_not_kept() -> Result {
    let fixture = Fixture::start().await?;
    let day = 24 * 60 * 60;
    fixture.server.inject(
        ArmFault::Throttle {
            retry_after: Some(day),
        },
        9,
    );
    let error = fixture
        .management
        .container(&fixture.one)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(60 * 60)));
    assert_eq!(fixture.server.requests().len(), 1, "it is left alone");
    Ok(())
}

#[tokio::test]
async fn a_read_is_tried_three_times_and_a_write_once() -> Result {
    let fixture = Fixture::start().await?;
    let scope = ScopeName::of_tenant(fixture.tenants[0]);
    fixture
        .management
        .scope_create(&scope, &ScopeKey::Microsoft)
        .await?;
    for fault in [
        ArmFault::Status(503),
        ArmFault::Status(500),
        ArmFault::CutBefore,
        ArmFault::CutAfter,
    ] {
        fixture.server.inject(fault.clone(), 2);
        fixture.management.container(&fixture.one).await?;
        fixture.server.inject(fault.clone(), 3);
        let error = fixture
            .management
            .container(&fixture.one)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{fault:?}: {error}");

        fixture.server.forget_requests();
        fixture.server.inject(fault.clone(), 1);
        let error = fixture
            .management
            .scope_enable(&scope, &order())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CommitUnknown, "{fault:?}: {error}");
        assert_eq!(fixture.server.requests().len(), 1, "{fault:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_that_is_lost_was_done_all_the_same() -> Result {
    let fixture = Fixture::start().await?;
    let scope = ScopeName::of_tenant(fixture.tenants[0]);
    fixture
        .management
        .scope_create(&scope, &ScopeKey::Microsoft)
        .await?;
    for fault in [ArmFault::CutAfter, ArmFault::Garbage] {
        fixture.server.inject(fault, 1);
        let error = fixture
            .management
            .scope_shred(&scope, &order())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CommitUnknown);
        assert!(!fixture.management.scope(&scope).await?.is_enabled);
        fixture.management.scope_enable(&scope, &order()).await?;
    }
    fixture.server.inject(ArmFault::Garbage, 1);
    let error = fixture
        .management
        .container(&fixture.one)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected);
    Ok(())
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() -> Result {
    let fixture = Fixture::start().await?;
    let hasty = fixture
        .with_token(fixture.token())?
        .with_deadline(Duration::from_millis(200));
    let scope = ScopeName::of_tenant(fixture.tenants[0]);
    fixture
        .management
        .scope_create(&scope, &ScopeKey::Microsoft)
        .await?;
    fixture
        .server
        .inject(ArmFault::Slow(Duration::from_secs(600)), 2);
    let error = hasty.container(&fixture.one).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let error = hasty.scope_shred(&scope, &order()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CommitUnknown);
    // Pauses count as well.
    fixture.server.inject(
        ArmFault::Throttle {
            retry_after: Some(5),
        },
        1,
    );
    let error = hasty.container(&fixture.one).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    Ok(())
}

#[tokio::test]
async fn a_token_that_is_refused_and_a_role_that_is_missing_are_told_apart() -> Result {
    let fixture = Fixture::start().await?;
    fixture.server.deny(true);
    let error = fixture
        .management
        .container(&fixture.one)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(
        error.to_string().contains("Storage Account Contributor"),
        "{error}"
    );
    fixture.server.deny(false);
    let wrong = fixture.with_token("something-else")?;
    let error = wrong.container(&fixture.one).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed);
    fixture.server.revoke_all_tokens();
    let error = fixture
        .management
        .container(&fixture.one)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed);
    Ok(())
}

#[tokio::test]
async fn whoever_is_not_to_be_trusted_gets_no_token() -> Result {
    let fixture = Fixture::start().await?;
    let connection = ManagementConnection::default().with_address(fixture.server.address());
    let credential = ManagementCredential::access_token(Secret::new(fixture.token().to_owned()));
    let management = StorageManagement::new_with(fixture.account.clone(), credential, &connection)?;
    let error = management.container(&fixture.one).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TlsFailed, "{error:?}");
    assert_eq!(fixture.server.requests(), []);
    Ok(())
}
