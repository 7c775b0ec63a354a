//! What graphile-worker, the queue that Node services keep beside their rows, makes of a backlog.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::Bench;
use crate::error::Result;

/// The next one needs a newer Node than Debian has.
const PACKAGE: &str = "graphile-worker@0.17.3";
const DRAIN: &str = include_str!("drain.mjs");
/// How many queues, each of which keeps its order.
const QUEUES: usize = 1_000;
/// For how long it works at most: in order it slows down with what waits, and would take a quarter of an hour.
const SECONDS: usize = 10;

/// How many jobs a second it hands over.
pub(super) struct Rates {
    /// In the order of a thousand named queues.
    pub(super) ordered: f64,
    /// In no order, many at a time.
    pub(super) unordered: f64,
}

/// Measures one round of each.
pub(super) async fn run(bench: &Bench, jobs: usize) -> Result<Rates> {
    let folder = installed().await?;
    bench.database.let_peer_create_schemas().await?;
    Ok(Rates {
        ordered: drain(bench, &folder, jobs, QUEUES).await?,
        unordered: drain(bench, &folder, jobs, 0).await?,
    })
}

async fn drain(bench: &Bench, folder: &Path, jobs: usize, queues: usize) -> Result<f64> {
    let url = bench.database.peer_url();
    let output = Command::new("node")
        .current_dir(folder)
        .arg("drain.mjs")
        .arg(url)
        .args([jobs, queues, SECONDS].map(|it| it.to_string()))
        .kill_on_drop(true)
        .output()
        .await?;
    let told = String::from_utf8_lossy(&output.stdout);
    told.trim().parse::<f64>().map_err(|_| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("graphile-worker did not end: {errors}").into()
    })
}

/// Returns a folder of the user's own with the package, which npm fetches once.
async fn installed() -> Result<PathBuf> {
    let home = std::env::var_os("HOME").ok_or("HOME is not set")?;
    let folder = PathBuf::from(home).join(".local/share/tenantry-bench/graphile-worker");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("drain.mjs"), DRAIN)?;
    if !folder.join("node_modules/graphile-worker").is_dir() {
        let output = Command::new("npm")
            .current_dir(&folder)
            .args(["install", "--no-audit", "--no-fund", "--no-package-lock"])
            .arg(PACKAGE)
            .output()
            .await?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(format!("npm failed to install {PACKAGE}: {errors}").into());
        }
    }
    Ok(folder)
}
