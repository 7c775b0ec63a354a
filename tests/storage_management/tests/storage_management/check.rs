//! What an account and a container lack for locked retention.

use serde_json::json;
use tenantry_blob::{
    BlobServiceChange, HoldTag, ManagementReport, ManagementSeverity, NewContainer,
    ProtectedAppends,
};

use crate::support::{Fixture, Result, order};

fn codes(report: &ManagementReport) -> Vec<&str> {
    report.findings.iter().map(|finding| finding.code).collect()
}

#[tokio::test]
async fn an_account_as_it_is_created_is_not_ready() -> Result {
    let fixture = Fixture::bare().await?;
    fixture
        .management
        .container_create(&fixture.one, &NewContainer::new())
        .await?;
    let report = fixture.management.check(&fixture.one).await?;
    assert!(!report.is_ready());
    assert_eq!(
        codes(&report),
        ["no_versions", "no_immutable_versions", "takes_shared_keys"]
    );
    let text = report.to_string();
    let first = format!(
        "artifacts1/{} is not ready for locked retention\nerror no_versions: ",
        fixture.one
    );
    assert!(text.starts_with(&first), "{text}");
    Ok(())
}

#[tokio::test]
async fn one_that_is_set_up_is_and_the_rest_is_advice() -> Result {
    let fixture = Fixture::start().await?;
    let server = &fixture.server;
    assert_eq!(
        codes(&fixture.management.check(&fixture.one).await?),
        ["takes_shared_keys"]
    );
    server.set_account_property("prod", "artifacts1", "allowSharedKeyAccess", json!(false))?;
    let report = fixture.management.check(&fixture.one).await?;
    assert!(report.is_ready() && report.findings.is_empty(), "{report}");

    let appends = ProtectedAppends::Refused;
    let trial = fixture
        .management
        .immutability_put(&fixture.one, 3, appends, None)
        .await?;
    let report = fixture.management.check(&fixture.one).await?;
    assert_eq!(codes(&report), ["unlocked_policy"]);
    assert_eq!(report.findings[0].severity, ManagementSeverity::Warning);
    fixture
        .management
        .immutability_lock(&fixture.one, &trial.etag, &order())
        .await?;
    fixture
        .management
        .hold_place(&fixture.one, &[HoldTag::new("case17")?], &order())
        .await?;
    let soft = BlobServiceChange::new().with_deleted_blobs_days(7);
    fixture.management.service_change(&soft).await?;
    let report = fixture.management.check(&fixture.one).await?;
    assert_eq!(
        codes(&report),
        ["locked_policy", "container_hold", "soft_delete"]
    );
    assert!(report.is_ready());
    assert_eq!(
        codes(&fixture.management.check(&fixture.other).await?),
        ["soft_delete"]
    );
    Ok(())
}

#[tokio::test]
async fn folders_public_access_and_http_are_found() -> Result {
    let fixture = Fixture::start().await?;
    for (property, value) in [
        ("isHnsEnabled", json!(true)),
        ("allowBlobPublicAccess", json!(true)),
        ("supportsHttpsTrafficOnly", json!(false)),
        ("allowSharedKeyAccess", json!(false)),
    ] {
        fixture
            .server
            .set_account_property("prod", "artifacts1", property, value)?;
    }
    let path = format!("/blobServices/default/containers/{}", fixture.one);
    let public = json!({"properties": {"publicAccess": "Blob"}});
    fixture.call("PUT", &path, public).await?.ok();
    let report = fixture.management.check(&fixture.one).await?;
    assert_eq!(
        codes(&report),
        [
            "hierarchical_account",
            "public_container",
            "takes_http",
            "may_be_public"
        ]
    );
    Ok(())
}
