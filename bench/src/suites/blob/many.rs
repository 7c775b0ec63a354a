//! Many blobs: how quickly they are put, listed, found again and swept, and what they take in memory.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tenantry_blob::{
    BlobKind, BlobStore, FsBlobs, FsSettings, ListOptions, PutOptions, Retention, SweepPolicy,
    Sweeper, TenantBlobs,
};
use tenantry_core::{ManualClock, Service, TenantId};

use super::peers::Objects;
use crate::error::{Error, Result};
use crate::process;
use crate::report::{Ratio, Report, Target};
use crate::runner::median;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How many puts are under way at a time.
const AT_ONCE: usize = 64;

pub(super) async fn run(folder: &Path, quick: bool, report: &mut Report) -> Result<()> {
    let many: u32 = if quick { 2_000 } else { 100_000 };
    let clock = ManualClock::new("2026-01-01T00:00:00Z".parse()?);
    let settings = FsSettings::new(folder.join("many")).with_clock(Arc::new(clock.clone()));
    let (tenant, other) = (TenantId::generate(), TenantId::generate());

    let heap = process::heap();
    let store = BlobStore::new(Arc::new(FsBlobs::open(settings.clone()).await?));
    let started = Instant::now();
    fill(&store.tenant(tenant), many / 10 * 9).await?;
    fill(&store.tenant(other), many - many / 10 * 9).await?;
    let put = started.elapsed();
    let alone = |name: &str, figure: f64, target| {
        Ratio::of(
            format!("blob/fs/{many}-blobs/{name}"),
            figure,
            f64::NAN,
            target,
        )
    };
    let per_second = |time: Duration| f64::from(many) / time.as_secs_f64();
    report.add(alone(
        "puts-of-4-kib-per-second",
        per_second(put),
        Target::None,
    ));
    drop(store);

    let started = Instant::now();
    let store = BlobStore::new(Arc::new(FsBlobs::open(settings).await?));
    let opened = started.elapsed();
    report.add(alone("open-ms", opened.as_secs_f64() * 1e3, Target::None));
    let taken = process::heap().saturating_sub(heap);
    let each = taken as f64 / f64::from(many);
    report.add(alone("heap-bytes-of-each", each, Target::None));

    let objects = folder.join("many-objects");
    let name = |number| format!("{tenant}/measured/2026/01/{number}");
    Objects::fill(&objects, (0..many).map(name))?;
    let peer = Objects::open(&objects)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let started = Instant::now();
        let count = listed(&store.tenant(tenant)).await? + listed(&store.tenant(other)).await?;
        ours.push(started.elapsed().as_secs_f64() * 1e3);
        let started = Instant::now();
        let of_peer = peer.list().await?;
        theirs.push(started.elapsed().as_secs_f64() * 1e3);
        if count != many as usize || of_peer != count {
            return Err(Error::from(format!(
                "{count} and {of_peer} are listed, not {many}"
            )));
        }
    }
    report.add(Ratio::of(
        format!("blob/fs/{many}-blobs/list/object_store/ms"),
        median(ours),
        median(theirs),
        Target::Times(1.0 / 0.9),
    ));

    clock.advance(DAY);
    let policy = SweepPolicy::default().with_longest(Duration::from_secs(600));
    let started = Instant::now();
    let swept = Sweeper::new(&store, policy)?.run().await?;
    let rate = per_second(started.elapsed());
    if swept.deleted != u64::from(many) {
        return Err(Error::from(format!(
            "{} are deleted, not {many}",
            swept.deleted
        )));
    }
    report.add(alone(
        "deletions-per-second",
        rate,
        Target::FigureAtLeast(5_000.0),
    ));
    Ok(())
}

async fn fill(blobs: &TenantBlobs, many: u32) -> Result<()> {
    let kind = BlobKind::new("measured")?;
    let bytes = Bytes::from(vec![7; 4_096]);
    let puts = stream::iter(0..many).map(|_| {
        let (kind, bytes) = (&kind, bytes.clone());
        async move {
            let name = blobs.name(kind)?;
            let options = PutOptions::new(Service::Reporting, Retention::days(1));
            blobs.put_bytes(&name, options, bytes).await.map(drop)
        }
    });
    Ok(puts.buffer_unordered(AT_ONCE).try_collect().await?)
}

/// Lists by pages, and counts.
async fn listed(blobs: &TenantBlobs) -> Result<usize> {
    let (mut count, mut options) = (0, ListOptions::new().with_limit(5_000));
    loop {
        let page = blobs.list(options).await?;
        count += page.records.len();
        let Some(next) = page.next else {
            return Ok(count);
        };
        options = ListOptions::new().with_limit(5_000).with_after(next);
    }
}
