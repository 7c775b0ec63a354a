//! Encrypted blobs beside plain ones, in a folder: what encryption costs where the way there costs little.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::{TryStreamExt as _, stream};
use tenantry_blob::{
    BlobBackend, BlobKeys, BlobKind, BlobName, BlobStore, EncryptedBlobs, FsBlobs, FsSettings,
    PutOptions, Retention, TenantBlobs, VaultKeys,
};
use tenantry_core::{Secret, SecretReference, SecretSource, Service, TenantId};
use tenantry_secrets::{MemoryVault, Secrets};

use super::peers::MIB;
use crate::error::Result;
use crate::options::Options;
use crate::process;
use crate::report::{Ratio, Report, Target};
use crate::runner::median;
use crate::suites::blob::Folder;

const RANGES: usize = 2_000;
const RANGE: usize = 4 * 1024;

pub(super) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let (mib, rounds) = if options.quick { (256, 2) } else { (1_024, 5) };
    let folder = Folder::create(options)?;
    let backend = FsBlobs::open(FsSettings::new(folder.path())).await?;
    let sides = sides(Arc::new(backend)).await?;
    let idle = process::resident()?;
    process::forget_peak()?;
    let mut figures: [[Vec<f64>; 2]; 3] = Default::default();
    for round in 0..rounds {
        let mut order = [0, 1];
        if round % 2 == 1 {
            order.reverse();
        }
        for side in order {
            let blobs = &sides[side];
            let name = blobs.name(&BlobKind::new("measured")?)?;
            let rate = |started: Instant| mib as f64 / started.elapsed().as_secs_f64();

            let started = Instant::now();
            put(blobs, &name, mib).await?;
            figures[0][side].push(rate(started));

            let started = Instant::now();
            let mut reader = blobs.stream(&name).await?;
            while let Some(piece) = reader.try_next().await? {
                black_box(piece);
            }
            figures[1][side].push(rate(started));

            let started = Instant::now();
            for number in 0..RANGES {
                let at = u64::try_from(number * 7_919 % (mib * MIB - RANGE))?;
                black_box(blobs.range(&name, at..at + u64::try_from(RANGE)?).await?);
            }
            figures[2][side].push(started.elapsed().as_secs_f64() * 1e6 / RANGES as f64);
            blobs.delete_early(&name, "it was measured").await?;
        }
    }
    let peak = process::peak_resident()?.saturating_sub(idle);
    let units = [
        format!("put/{mib}-mib/mib-per-second"),
        format!("stream/{mib}-mib/mib-per-second"),
        "range-of-4-kib/us".to_owned(),
    ];
    for ([plain, encrypted], unit) in figures.iter().zip(units) {
        let ratios = encrypted.iter().zip(plain);
        report.add(Ratio {
            name: format!("azure/encrypted/plain/{unit}"),
            ours: median(encrypted.iter().copied()),
            peer: median(plain.iter().copied()),
            ratio: median(ratios.map(|(encrypted, plain)| encrypted / plain)),
            target: Target::None,
        });
    }
    report.add(Ratio::of(
        format!("azure/encrypted/{mib}-mib/resident-peak-above-idle-mib"),
        peak as f64 / MIB as f64,
        f64::NAN,
        Target::None,
    ));
    Ok(())
}

/// Returns plain blobs, and encrypted ones, in the same place.
async fn sides(inner: Arc<dyn BlobBackend>) -> Result<[TenantBlobs; 2]> {
    let tenant = TenantId::generate();
    let secrets = Secrets::builder().with_vault("blobs", Arc::new(MemoryVault::new()))?;
    let secrets = secrets.build()?;
    let key = SecretReference::of_tenant("blobs", tenant, "key")?;
    let random = Secret::new("q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=");
    secrets
        .put_new_version(&key, random, Default::default())
        .await?;
    let keys: Arc<dyn BlobKeys> = Arc::new(VaultKeys::new("blobs", "key")?);
    let secrets: Arc<dyn SecretSource> = Arc::new(secrets);
    let encrypted = EncryptedBlobs::new(Arc::clone(&inner), keys, secrets);
    let all: [Arc<dyn BlobBackend>; 2] = [inner, Arc::new(encrypted)];
    Ok(all.map(|it| BlobStore::new(it).tenant(tenant)))
}

async fn put(blobs: &TenantBlobs, name: &BlobName, mib: usize) -> Result<()> {
    let piece = Bytes::from(vec![7; MIB]);
    let body = stream::iter((0..mib).map(move |_| Ok::<_, std::io::Error>(piece.clone())));
    let options = PutOptions::new(Service::Reporting, Retention::days(1));
    blobs.put(name, options, body).await?;
    Ok(())
}
