//! Measures blobs in a folder beside `tokio::fs::copy`, in turns of one run:
//! `cargo run --release -p tenantry-blob --features fs --example fs_speed -- [folder] [MiB] [rounds]`.
//!
//! The copy is measured as it is and with `sync_all` behind it, as a put is on the disk when it returns.

#![allow(clippy::print_stdout, reason = "it prints its table")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tenantry_blob::{
    BlobKind, BlobStore, FsBlobs, FsSettings, PutOptions, Retention, SweepPolicy, Sweeper,
};
use tenantry_core::{ManualClock, Service, TenantId};
use tokio::fs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const MIB: u64 = 1024 * 1024;
const DELETED: u32 = 20_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let mib: u64 = arguments.next().map_or(Ok(1_024), |it| it.parse())?;
    let rounds: u32 = arguments.next().map_or(Ok(5), |it| it.parse())?;
    let scene = tempfile::tempdir_in(folder)?;
    transfers(scene.path(), mib, rounds).await?;
    deletions(scene.path()).await
}

async fn transfers(folder: &Path, mib: u64, rounds: u32) -> Result<(), Box<dyn Error>> {
    let source = folder.join("source");
    let mut file = fs::File::create(&source).await?;
    for number in 0..mib {
        let mut piece = vec![0_u8; 1024 * 1024];
        let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for bytes in piece.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&piece).await?;
    }
    file.sync_all().await?;
    drop(file);

    let backend = FsBlobs::open(FsSettings::new(folder.join("store"))).await?;
    let blobs = BlobStore::new(Arc::new(backend)).tenant(TenantId::generate());
    let (mut copy, mut synced, mut put) = (Vec::new(), Vec::new(), Vec::new());
    let (mut read, mut get) = (Vec::new(), Vec::new());
    let idle = resident()?;
    for _ in 0..rounds {
        let target = folder.join("target");
        let started = Instant::now();
        fs::copy(&source, &target).await?;
        copy.push(started.elapsed());
        fs::File::open(&target).await?.sync_all().await?;
        synced.push(started.elapsed());
        fs::remove_file(&target).await?;

        let name = blobs.name(&BlobKind::new("measured")?)?;
        let options = PutOptions::new(Service::Reporting, Retention::days(1));
        let body = pieces_of(fs::File::open(&source).await?);
        let started = Instant::now();
        blobs.put(&name, options, body).await?;
        put.push(started.elapsed());

        let started = Instant::now();
        let mut plain = pieces_of(fs::File::open(&source).await?).boxed();
        let mut length = 0;
        while let Some(piece) = plain.try_next().await? {
            length += piece.len();
        }
        read.push(started.elapsed());
        let started = Instant::now();
        let mut reader = blobs.stream(&name).await?;
        while let Some(piece) = reader.try_next().await? {
            length -= piece.len();
        }
        get.push(started.elapsed());
        assert_eq!(length, 0, "all bytes came");
        blobs.delete_early(&name, "it was measured").await?;
    }
    let rate = |times: &mut Vec<Duration>| {
        times.sort();
        let median = times[times.len() / 2].as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "it is small")]
        let rate = mib as f64 / median;
        rate
    };
    let (copy, synced, put) = (rate(&mut copy), rate(&mut synced), rate(&mut put));
    let (read, get) = (rate(&mut read), rate(&mut get));
    println!("{mib} MiB, median of {rounds} rounds, MiB/s");
    println!("tokio::fs::copy            {copy:8.0}");
    println!("tokio::fs::copy, sync_all  {synced:8.0}");
    println!(
        "put                        {put:8.0}  {:.2}x of the synced copy",
        put / synced
    );
    println!("read of a file by pieces   {read:8.0}");
    println!("stream, checked            {get:8.0}  {:.2}x", get / read);
    println!("memory: {} MiB idle, {} MiB at most", idle.0, resident()?.1);
    fs::remove_file(&source).await?;
    Ok(())
}

async fn deletions(folder: &Path) -> Result<(), Box<dyn Error>> {
    let clock = ManualClock::new("2026-01-01T00:00:00Z".parse()?);
    let settings = FsSettings::new(folder.join("swept")).with_clock(Arc::new(clock.clone()));
    let store = BlobStore::new(Arc::new(FsBlobs::open(settings).await?));
    let tenants = [
        store.tenant(TenantId::generate()),
        store.tenant(TenantId::generate()),
    ];
    let kind = BlobKind::new("measured")?;
    let started = Instant::now();
    let puts = stream::iter(0..DELETED).map(|number| {
        let blobs = &tenants[usize::from(number % 2 == 0)];
        let kind = &kind;
        async move {
            let name = blobs.name(kind)?;
            let options = PutOptions::new(Service::Reporting, Retention::days(1));
            blobs
                .put_bytes(&name, options, Bytes::from(vec![7; 4_096]))
                .await
        }
    });
    let _: Vec<_> = puts.buffer_unordered(64).try_collect().await?;
    let put = started.elapsed();
    clock.advance(Duration::from_secs(24 * 60 * 60));
    let policy = SweepPolicy::default().with_longest(Duration::from_secs(600));
    let sweeper = Sweeper::new(&store, policy)?;
    let started = Instant::now();
    let report = sweeper.run().await?;
    let swept = started.elapsed();
    assert_eq!(report.deleted, u64::from(DELETED), "all are deleted");
    let rate = |time: Duration| f64::from(DELETED) / time.as_secs_f64();
    println!("puts of 4 KiB, 64 at once  {:8.0} a second", rate(put));
    println!("deletions of the sweeper   {:8.0} a second", rate(swept));
    Ok(())
}

fn pieces_of(
    file: fs::File,
) -> impl stream::Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    stream::try_unfold(file, |mut file| async move {
        let mut piece = Vec::with_capacity(1024 * 1024);
        let length = (&mut file).take(MIB).read_to_end(&mut piece).await?;
        Ok((length > 0).then(|| (Bytes::from(piece), file)))
    })
}

/// Returns how many MiB the process has now, and has had at most.
fn resident() -> Result<(u64, u64), Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        number
            .and_then(|number| number.parse::<u64>().ok())
            .unwrap_or_default()
            / 1_024
    };
    Ok((of("VmRSS:"), of("VmHWM:")))
}
