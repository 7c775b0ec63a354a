//! Lists of many blobs, by pages.

use std::time::Instant;

use azure_storage_blob::models::{BlobContainerClientListBlobsOptions, ListBlobsIncludeItem};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::ObjectStore as _;
use object_store::path::Path as ObjectPath;
use tenantry_blob::{BlobKind, ListOptions, PutOptions, Retention, TenantBlobs};
use tenantry_core::Service;

use super::peers::{Account, CONTAINER, SIDES, Side};
use crate::error::{Error, Result};
use crate::report::{Ratio, Report, Target};
use crate::runner::median;

/// How many puts are under way at a time.
const AT_ONCE: usize = 32;
/// How many blobs the service lists at most in an answer.
const PAGE: usize = 5_000;

pub(super) async fn run(quick: bool, report: &mut Report) -> Result<()> {
    let (many, rounds) = if quick { (20_000, 3) } else { (100_000, 5) };
    let account = Account::start().await?;
    fill(&account.blobs, many).await?;
    let mut times: [Vec<f64>; SIDES.len()] = Default::default();
    // The first round is not counted: the server compiles.
    for round in 0..=rounds {
        let mut order = SIDES.into_iter().enumerate().collect::<Vec<_>>();
        if round % 2 == 1 {
            order.reverse();
        }
        for (place, side) in order {
            let started = Instant::now();
            let count = listed(&account, side).await?;
            let millis = started.elapsed().as_secs_f64() * 1e3;
            if count != many {
                return Err(Error::from(format!("{side:?}: {count} are listed")));
            }
            if round > 0 {
                times[place].push(millis);
            }
        }
    }
    let [ours, peers @ ..] = &times;
    for (peer, side) in peers.iter().zip(&SIDES[1..]) {
        let target = match side {
            Side::Client => Target::Times(1.0 / 0.9),
            Side::Ours | Side::Objects => Target::None,
        };
        let ratios = ours.iter().zip(peer).map(|(ours, peer)| ours / peer);
        report.add(Ratio {
            name: format!("azure/list/{}/{many}-blobs/ms", side.name()),
            ours: median(ours.iter().copied()),
            peer: median(peer.iter().copied()),
            ratio: median(ratios),
            target,
        });
    }
    Ok(())
}

async fn fill(blobs: &TenantBlobs, many: usize) -> Result<()> {
    let kind = BlobKind::new("measured")?;
    let puts = stream::iter(0..many).map(|_| async {
        let name = blobs.name(&kind)?;
        let options = PutOptions::new(Service::Reporting, Retention::days(1));
        blobs.put_bytes(&name, options, "measured").await.map(drop)
    });
    Ok(puts.buffer_unordered(AT_ONCE).try_collect().await?)
}

/// Lists all of the tenant, and counts. `object_store` asks for no metadata, which ours are made of.
async fn listed(account: &Account, side: Side) -> Result<usize> {
    let mut count = 0;
    match side {
        Side::Ours => {
            let mut options = ListOptions::new().with_limit(PAGE);
            loop {
                let page = account.blobs.list(options).await?;
                count += page.records.len();
                let Some(next) = page.next else {
                    return Ok(count);
                };
                options = ListOptions::new().with_limit(PAGE).with_after(next);
            }
        }
        Side::Client => {
            let options = BlobContainerClientListBlobsOptions {
                include: Some(vec![ListBlobsIncludeItem::Metadata]),
                prefix: Some(format!("{}/", account.blobs.tenant())),
                ..BlobContainerClientListBlobsOptions::default()
            };
            let container = account.client.blob_container_client(CONTAINER);
            let mut all = container.list_blobs(Some(options))?;
            while all.try_next().await?.is_some() {
                count += 1;
            }
        }
        Side::Objects => {
            let prefix = ObjectPath::from(account.blobs.tenant().to_string());
            let mut all = account.objects.list(Some(&prefix));
            while all.try_next().await?.is_some() {
                count += 1;
            }
        }
    }
    Ok(count)
}
