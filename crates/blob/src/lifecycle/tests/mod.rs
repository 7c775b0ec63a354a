//! Plans, policies and what they do.

mod changes;
mod classes;
mod diffs;
mod documents;
mod limits;
mod model;
mod simulation;

use chrono::{DateTime, Duration, Utc};
use tenantry_core::TenantId;

use super::*;
use crate::{
    BlobId, BlobKind, BlobName, BlobRecord, ContentType, ETag, Metadata, Retention, RetentionClass,
    Sha256, Tags, Tier,
};

fn layout() -> LifecycleLayout {
    LifecycleLayout::container_per_tenant("t")
}

fn plan() -> LifecyclePlan {
    LifecyclePlan::new(layout())
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The first of January 2026, and so many days later.
fn day(days: i64) -> DateTime<Utc> {
    time("2026-01-01T00:00:00Z") + Duration::days(days)
}

fn class(name: &str, retention: Retention) -> RetentionClass {
    RetentionClass::new(name, retention).unwrap()
}

fn delete_after(days: u32) -> LifecycleActions {
    LifecycleActions::none().with_delete(LifecycleAge::created(days))
}

/// A blob of a tenant that was put on a day.
fn record(tenant: TenantId, retention: &Retention, days: i64) -> BlobRecord {
    let kind = BlobKind::new("report-exports").unwrap();
    BlobRecord {
        name: BlobName::new(tenant, &kind, day(days), BlobId::generate()).unwrap(),
        length: 1_000,
        sha256: Sha256::of(b"x"),
        content_type: ContentType::default(),
        metadata: Metadata::new(),
        tags: Tags::new(),
        owner: tenantry_core::Service::Reporting,
        trace: None,
        created_at: day(days),
        tier: Tier::Hot,
        tier_changed_at: None,
        brought_back_at: None,
        rehydration: None,
        retention: retention.resolve(day(days)).unwrap(),
        encryption: None,
        etag: ETag::new("1"),
    }
}

fn blob(tenant: TenantId, retention: &Retention, days: i64) -> LifecycleBlob {
    LifecycleBlob::from_record(&record(tenant, retention, days), &layout())
}
