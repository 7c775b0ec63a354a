//! Measures encrypted blobs beside plain ones, in memory and in a folder, in turns of one run:
//! `cargo run --release -p tenantry-blob --features fs,encryption --example encrypted_speed -- [folder] [MiB] [rounds]`.
//!
//! Of each operation the median of all rounds is told, and how much more memory the process had at its
//! highest than before the blobs in the folder.

#![allow(clippy::print_stdout, reason = "it prints its table")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::{TryStreamExt as _, stream};
use tenantry_blob::{
    BlobBackend, BlobKeys, BlobKind, BlobStore, EncryptedBlobs, FsBlobs, FsSettings, MemoryBlobs,
    PutOptions, Retention, TenantBlobs, VaultKeys,
};
use tenantry_core::{Secret, SecretReference, SecretSource, Service, TenantId};
use tenantry_secrets::{MemoryVault, Secrets};

const MIB: usize = 1024 * 1024;
const RANGES: u32 = 2_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let mib: usize = arguments.next().map_or(Ok(1_024), |it| it.parse())?;
    let rounds: usize = arguments.next().map_or(Ok(5), |it| it.parse())?;
    let folder = tempfile::tempdir_in(folder)?;
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
    let sides = |inner: Arc<dyn BlobBackend>| {
        let encrypted =
            EncryptedBlobs::new(Arc::clone(&inner), Arc::clone(&keys), Arc::clone(&secrets));
        [inner, Arc::new(encrypted)].map(|it| BlobStore::new(it).tenant(tenant))
    };
    let fs: Arc<dyn BlobBackend> = Arc::new(FsBlobs::open(FsSettings::new(folder.path())).await?);
    println!("{mib} MiB, {rounds} rounds, MiB/s: plain, encrypted, ratio");
    let before = peak();
    compare("folder", &sides(fs), mib, rounds).await?;
    println!(
        "memory above idle: {} MiB",
        peak().saturating_sub(before) / 1024
    );
    let memory = Arc::new(MemoryBlobs::new());
    compare("memory", &sides(memory), mib.min(256), rounds).await
}

/// Puts, reads, and reads ranges, in turns of both sides.
async fn compare(
    what: &str,
    sides: &[TenantBlobs; 2],
    mib: usize,
    rounds: usize,
) -> Result<(), Box<dyn Error>> {
    let mut times: [[Vec<f64>; 2]; 3] = Default::default();
    for _ in 0..rounds {
        for (side, blobs) in sides.iter().enumerate() {
            let name = blobs.name(&BlobKind::new("measured")?)?;
            let piece = Bytes::from(vec![7; MIB]);
            let body = stream::iter((0..mib).map(move |_| Ok::<_, std::io::Error>(piece.clone())));
            let options = PutOptions::new(Service::Reporting, Retention::days(0));
            let start = Instant::now();
            blobs.put(&name, options, body).await?;
            times[0][side].push(start.elapsed().as_secs_f64());

            let start = Instant::now();
            let mut reader = blobs.stream(&name).await?;
            while let Some(piece) = reader.try_next().await? {
                std::hint::black_box(piece);
            }
            times[1][side].push(start.elapsed().as_secs_f64());

            let start = Instant::now();
            for number in 0..RANGES {
                let at = u64::from(number) * 7_919 % u64::try_from(mib * MIB - 4_096)?;
                std::hint::black_box(blobs.range(&name, at..at + 4_096).await?);
            }
            times[2][side].push(start.elapsed().as_secs_f64());
            blobs.delete(&name).await?;
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let [put, get, ranges] = times.map(|mut sides| sides.each_mut().map(median));
    let whole = f64::from(u32::try_from(mib)?);
    for (operation, [plain, encrypted]) in [("put", put), ("get", get)] {
        let rates = [whole / plain, whole / encrypted];
        println!(
            "{what:6} {operation:5} {:8.0} {:8.0} {:6.2}",
            rates[0],
            rates[1],
            rates[1] / rates[0]
        );
    }
    let micros = |seconds: f64| seconds * 1e6 / f64::from(RANGES);
    println!(
        "{what:6} 4 KiB {:6.0} µs {:6.0} µs",
        micros(ranges[0]),
        micros(ranges[1])
    );
    Ok(())
}

/// Returns how many KiB the process had at its highest, where that is told.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok())
        .unwrap_or_default()
}
