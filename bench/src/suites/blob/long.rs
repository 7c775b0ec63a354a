//! A blob of a GiB on its way in and out, and how much memory that takes.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use futures_util::TryStreamExt as _;
use tenantry_blob::{
    BlobKind, BlobName, BlobStore, FsBlobs, FsSettings, PutOptions, Retention, TenantBlobs,
};
use tenantry_core::{Service, TenantId};
use tokio::fs;

use super::peers::{Objects, PIECE, copied, drained, hashed, pieces_of, read_and_written, written};
use crate::error::{Error, Result};
use crate::process;
use crate::report::{Ratio, Report, Target};
use crate::runner::median;

const MIB: u64 = 1024 * 1024;
const NEAR: Target = Target::TimesAtLeast(0.95);

struct Scene {
    folder: PathBuf,
    blobs: TenantBlobs,
    objects: Objects,
    /// How long a blob is, in MiB.
    mib: u64,
}

/// What has its turn in each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Put,
    Copy,
    ReadAndWrite,
    PutObject,
    Hash,
    Get,
    GetToFile,
    Read,
    GetObject,
}

const TURNS: [Turn; 9] = [
    Turn::Copy,
    Turn::Put,
    Turn::ReadAndWrite,
    Turn::PutObject,
    Turn::Hash,
    Turn::Get,
    Turn::GetToFile,
    Turn::Read,
    Turn::GetObject,
];

pub(super) async fn run(folder: &Path, quick: bool, report: &mut Report) -> Result<()> {
    let (mib, rounds) = if quick { (64, 3) } else { (1_024, 5) };
    let backend = FsBlobs::open(FsSettings::new(folder.join("store"))).await?;
    let scene = Scene {
        blobs: BlobStore::new(Arc::new(backend)).tenant(TenantId::generate()),
        objects: Objects::open(&folder.join("objects"))?,
        folder: folder.to_owned(),
        mib,
    };
    scene.make_source(mib)?;
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); TURNS.len()];
    // The first round finds the memory that files have in the cache of the kernel.
    for round in 0..=rounds {
        let kept = scene.put().await?;
        scene.put_object("kept").await?;
        // What is read is in the cache of the kernel on all sides, as the file is that is copied.
        scene.take(Turn::Get, &kept).await?;
        scene.take(Turn::GetObject, &kept).await?;
        let order: Vec<_> = match round % 2 {
            0 => (0..TURNS.len()).collect(),
            _ => (0..TURNS.len()).rev().collect(),
        };
        for place in order {
            let seconds = scene.take(TURNS[place], &kept).await?;
            if round > 0 {
                rates[place].push(mib as f64 / seconds);
            }
        }
        scene.delete(&kept).await?;
        scene.objects.remove("kept").await?;
    }
    let of = |turn: Turn| {
        let place = TURNS.iter().position(|it| *it == turn).unwrap_or_default();
        rates[place].as_slice()
    };
    for (what, ours, peer, name, target) in [
        ("put", Turn::Put, Turn::Copy, "fs-copy", NEAR),
        ("put", Turn::Put, Turn::ReadAndWrite, "read-and-write", NEAR),
        (
            "put",
            Turn::Put,
            Turn::PutObject,
            "object_store",
            Target::None,
        ),
        ("put", Turn::Put, Turn::Hash, "sha256-alone", Target::None),
        ("get-to-file", Turn::GetToFile, Turn::Copy, "fs-copy", NEAR),
        ("get", Turn::Get, Turn::Read, "read", Target::None),
        (
            "get",
            Turn::Get,
            Turn::GetObject,
            "object_store",
            Target::None,
        ),
        ("get", Turn::Get, Turn::Hash, "sha256-alone", NEAR),
    ] {
        let (ours, peer) = (of(ours), of(peer));
        report.add(Ratio {
            name: format!("blob/fs/{what}/{name}/{mib}-mib/mib-per-second"),
            ours: median(ours.iter().copied()),
            peer: median(peer.iter().copied()),
            ratio: median(ours.iter().zip(peer).map(|(ours, peer)| ours / peer)),
            target,
        });
    }
    // Flat in size: the same of a short one.
    for mib in [16, mib] {
        scene.make_source(mib)?;
        scene.memory(mib, report).await?;
    }
    Ok(std::fs::remove_file(scene.source())?)
}

impl Scene {
    fn source(&self) -> PathBuf {
        self.folder.join("source")
    }

    fn make_source(&self, mib: u64) -> Result<()> {
        let mut file = std::fs::File::create(self.source())?;
        let (mut state, mut piece) = (0x9e37_79b9_7f4a_7c15_u64, vec![0; PIECE]);
        for _ in 0..mib {
            for bytes in piece.chunks_exact_mut(8) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                bytes.copy_from_slice(&state.to_le_bytes());
            }
            file.write_all(&piece)?;
        }
        Ok(file.sync_all()?)
    }

    async fn put(&self) -> Result<BlobName> {
        let name = self.blobs.name(&BlobKind::new("measured")?)?;
        let options = PutOptions::new(Service::Reporting, Retention::days(1));
        let body = pieces_of(fs::File::open(self.source()).await?);
        self.blobs.put(&name, options, body).await?;
        Ok(name)
    }

    async fn delete(&self, name: &BlobName) -> Result<()> {
        Ok(self.blobs.delete_early(name, "it was measured").await?)
    }

    async fn put_object(&self, name: &str) -> Result<()> {
        let folder = self.folder.join("objects");
        self.objects.put(&self.source(), name, &folder).await
    }

    /// Does what has its turn, and returns how many seconds it took.
    async fn take(&self, turn: Turn, kept: &BlobName) -> Result<f64> {
        let (source, target) = (self.source(), self.folder.join("target"));
        let whole = |length: u64| match length == self.mib * MIB {
            true => Ok(()),
            false => Err(Error::from(format!("{turn:?}: {length} bytes came"))),
        };
        let stream =
            async || -> Result<_> { Ok(self.blobs.stream(kept).await?.map_err(Error::from)) };
        let started = Instant::now();
        let mut put = None;
        match turn {
            Turn::Put => put = Some(self.put().await?),
            Turn::Copy => copied(&source, &target).await?,
            Turn::ReadAndWrite => read_and_written(&source, &target).await?,
            Turn::PutObject => self.put_object("measured").await?,
            Turn::Hash => hashed(&source).await?,
            Turn::Get => whole(drained(stream().await?).await?)?,
            Turn::GetToFile => written(stream().await?, &target).await?,
            Turn::Read => {
                let pieces = pieces_of(fs::File::open(&source).await?);
                whole(drained(pieces.map_err(Error::from)).await?)?;
            }
            Turn::GetObject => whole(self.objects.get("kept").await?)?,
        }
        let seconds = started.elapsed().as_secs_f64();
        if let Some(name) = put {
            self.delete(&name).await?;
        }
        if turn == Turn::PutObject {
            self.objects.remove("measured").await?;
        }
        match std::fs::remove_file(target) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(seconds),
        }
    }

    /// Takes down how much memory a put and a get take at most, more than the process has before.
    async fn memory(&self, mib: u64, report: &mut Report) -> Result<()> {
        let mut name = None;
        for what in ["put", "get"] {
            process::forget_peak()?;
            let idle = process::resident()?;
            match &name {
                None => name = Some(self.put().await?),
                Some(name) => {
                    let stream = self.blobs.stream(name).await?;
                    drained(stream.map_err(Error::from)).await?;
                }
            }
            let more = process::peak_resident()?.saturating_sub(idle);
            report.add(Ratio::of(
                format!("blob/fs/{what}/{mib}-mib/resident-peak-above-idle-mib"),
                more as f64 / MIB as f64,
                f64::NAN,
                Target::Figure(32.0),
            ));
        }
        match name {
            Some(name) => self.delete(&name).await,
            None => Ok(()),
        }
    }
}
