//! Measures blobs in Azurite beside the official client alone, in turns of one run:
//! `cargo run --release -p tenantry-blob --features azure --example azure_speed -- [MiB] [rounds] [blobs]`.
//!
//! The client alone sends no checksum of its own and takes any name; its transport is that of the
//! backend, with as many requests at a time.

#![allow(clippy::print_stdout, reason = "it prints its table")]

use std::error::Error;
use std::num::NonZero;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use azure_core::stream::SeekableStream;
use azure_storage_blob::BlobServiceClient;
use azure_storage_blob::models::{
    BlobClientDownloadOptions, BlobContainerClientListBlobsOptions, BlockBlobClientUploadOptions,
    ListBlobsIncludeItem,
};
use bytes::Bytes;
use futures_util::{AsyncRead, StreamExt as _, TryStreamExt as _, stream};
use tenantry_blob::{
    AzureBlobs, AzureCredential, AzureLayout, AzureSettings, BlobKind, BlobStore, ListOptions,
    PutOptions, Retention, TenantBlobs,
};
use tenantry_core::{Secret, Service, TenantId};
use tenantry_testkit::AzuriteServer;

const MIB: usize = 1024 * 1024;
const AT_ONCE: usize = 4;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual: usize| arguments.next().map_or(Ok(usual), |it| it.parse());
    let (mib, rounds, many) = (number(1_024)?, number(3)?, number(20_000)?);
    let server = AzuriteServer::start().await?;
    let layout = AzureLayout::prefix_per_tenant("measured")?;
    let key = AzureCredential::shared_key(Secret::new(server.key()));
    let settings = AzureSettings::new(server.url(), layout, key);
    let client = AzureBlobs::official_client(&settings)?;
    let blobs = BlobStore::new(Arc::new(AzureBlobs::new(settings)?)).tenant(TenantId::generate());
    client
        .blob_container_client("measured")
        .create(None)
        .await?;
    transfers(&client, &blobs, mib, rounds).await?;
    lists(&client, &blobs, many, rounds).await
}

async fn transfers(
    client: &BlobServiceClient,
    blobs: &TenantBlobs,
    mib: usize,
    rounds: usize,
) -> Outcome {
    let source = Source::new(mib);
    let at_once = NonZero::new(AT_ONCE);
    let mut measured: [Vec<(Duration, u64)>; 4] = Default::default();
    for round in 0..rounds {
        let plain = client.blob_client("measured", &format!("plain-{round}"));
        let phase = Phase::begin()?;
        let options = BlockBlobClientUploadOptions {
            parallel: at_once,
            ..BlockBlobClientUploadOptions::default()
        };
        let body: Box<dyn SeekableStream> = Box::new(source.clone());
        plain
            .upload(azure_core::http::Body::from(body).into(), Some(options))
            .await?;
        measured[0].push(phase.end()?);

        let name = blobs.name(&BlobKind::new("measured")?)?;
        let options = PutOptions::new(Service::Reporting, Retention::days(1));
        let phase = Phase::begin()?;
        blobs.put(&name, options, source.pieces()).await?;
        measured[1].push(phase.end()?);

        let phase = Phase::begin()?;
        let options = BlobClientDownloadOptions {
            parallel: at_once,
            ..BlobClientDownloadOptions::default()
        };
        let mut body = plain.download(Some(options)).await?.body;
        let mut length = 0;
        while let Some(piece) = body.try_next().await? {
            length += piece.len();
        }
        measured[2].push(phase.end()?);

        let phase = Phase::begin()?;
        let mut reader = blobs.stream(&name).await?;
        while let Some(piece) = reader.try_next().await? {
            length -= piece.len();
        }
        measured[3].push(phase.end()?);
        assert_eq!(length, 0, "all bytes came");
        plain.delete(None).await?;
        blobs.delete_early(&name, "it was measured").await?;
    }
    println!("{mib} MiB, median of {rounds} rounds; MiB/s, and MiB of memory above what there was");
    let names = [
        "upload, client alone",
        "put",
        "download, client alone",
        "stream, checked",
    ];
    let mut before = 0.0;
    for (at, (name, mut rounds)) in names.into_iter().zip(measured).enumerate() {
        let memory = rounds.iter().map(|it| it.1).max().unwrap_or_default();
        rounds.sort();
        #[expect(clippy::cast_precision_loss, reason = "it is small")]
        let rate = mib as f64 / rounds[rounds.len() / 2].0.as_secs_f64();
        match at % 2 {
            0 => println!("{name:24}{rate:8.0}          {memory:4} MiB"),
            _ => println!(
                "{name:24}{rate:8.0}  {:.2}x   {memory:4} MiB",
                rate / before
            ),
        }
        before = rate;
    }
    Ok(())
}

async fn lists(
    client: &BlobServiceClient,
    blobs: &TenantBlobs,
    many: usize,
    rounds: usize,
) -> Outcome {
    let kind = BlobKind::new("measured")?;
    let puts = (0..many).map(|_| async {
        let name = blobs.name(&kind)?;
        let options = PutOptions::new(Service::Reporting, Retention::days(1));
        blobs.put_bytes(&name, options, "measured").await
    });
    let started = Instant::now();
    let _: Vec<_> = stream::iter(puts)
        .buffer_unordered(32)
        .try_collect()
        .await?;
    println!(
        "{many} puts of 8 bytes, 32 at once, in {:.1} s",
        started.elapsed().as_secs_f64()
    );
    let (mut plain, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let started = Instant::now();
        let options = BlobContainerClientListBlobsOptions {
            include: Some(vec![ListBlobsIncludeItem::Metadata]),
            ..BlobContainerClientListBlobsOptions::default()
        };
        let mut all = client
            .blob_container_client("measured")
            .list_blobs(Some(options))?;
        let mut count = 0;
        while all.try_next().await?.is_some() {
            count += 1;
        }
        plain.push(started.elapsed());
        let started = Instant::now();
        let options = ListOptions::new().with_limit(5_000);
        let mut page = blobs.list(options.clone()).await?;
        loop {
            count -= page.records.len();
            let Some(next) = page.next else { break };
            page = blobs.list(options.clone().after(next)).await?;
        }
        ours.push(started.elapsed());
        assert_eq!(count, 0, "each lists all");
    }
    plain.sort();
    ours.sort();
    let (plain, ours) = (
        plain[rounds / 2].as_secs_f64(),
        ours[rounds / 2].as_secs_f64(),
    );
    println!("list by the client alone, with metadata  {plain:6.2} s");
    println!(
        "list                                     {ours:6.2} s  {:.2}x",
        plain / ours
    );
    Ok(())
}

/// Bytes without end that are like no others, for as long as they are to be.
#[derive(Debug, Clone)]
struct Source {
    piece: Bytes,
    mib: usize,
    at: usize,
}

impl Source {
    fn new(mib: usize) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut piece = Vec::with_capacity(MIB);
        while piece.len() < MIB {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            piece.extend_from_slice(&state.to_le_bytes());
        }
        Self {
            piece: piece.into(),
            mib,
            at: 0,
        }
    }

    /// Returns the bytes as a service has them that reads them from somewhere: each piece its own.
    fn pieces(&self) -> impl stream::Stream<Item = std::io::Result<Bytes>> + Send + use<> {
        let piece = self.piece.clone();
        stream::iter(0..self.mib).map(move |_| Ok(Bytes::copy_from_slice(&piece)))
    }
}

impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.at == self.mib * MIB {
            return Poll::Ready(Ok(0));
        }
        let start = self.at % MIB;
        let length = buffer.len().min(MIB - start);
        buffer[..length].copy_from_slice(&self.piece[start..start + length]);
        self.at += length;
        Poll::Ready(Ok(length))
    }
}

#[async_trait::async_trait]
impl SeekableStream for Source {
    async fn reset(&mut self) -> azure_core::Result<()> {
        self.at = 0;
        Ok(())
    }

    fn len(&self) -> Option<u64> {
        u64::try_from(self.mib * MIB).ok()
    }

    fn buffer_size(&self) -> usize {
        MIB
    }
}

/// A time in which memory is looked at.
struct Phase {
    started: Instant,
    before: u64,
}

impl Phase {
    fn begin() -> Outcome<Self> {
        // What was the most until now is forgotten.
        std::fs::write("/proc/self/clear_refs", "5")?;
        Ok(Self {
            started: Instant::now(),
            before: resident("VmRSS:")?,
        })
    }

    fn end(self) -> Outcome<(Duration, u64)> {
        let took = self.started.elapsed();
        Ok((took, resident("VmHWM:")?.saturating_sub(self.before)))
    }
}

/// Returns how many MiB of memory the process has by this line.
fn resident(name: &str) -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number
        .and_then(|it| it.parse::<u64>().ok())
        .unwrap_or_default()
        / 1_024)
}
