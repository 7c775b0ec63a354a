//! A million rows, one by one, in little memory.

use std::hint::black_box;
use std::time::Instant;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use sqlx::AssertSqlSafe;
use tenantry_store::{Query, Repository as _};

use super::{Bench, Ping, settle};
use crate::database::{Fixture, Tenants};
use crate::error::{Error, Result};
use crate::model::{COLUMNS, Order, PlainOrder};
use crate::network::Link;
use crate::process;
use crate::report::{Ratio, Report, Target};
use crate::runner::median;

const MIB: f64 = 1024.0 * 1024.0;

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let (rows, rounds) = if bench.quick {
        (100_000, 2)
    } else {
        (1_000_000, 5)
    };
    let fixture = Fixture::new("stream", rows, Tenants::Even(1));
    bench.database.load(&fixture).await?;
    let key = bench.database.first_key(&fixture).await?;
    let store = bench.store(Link::Loopback, &fixture).await?;
    let orders = store.tenant(key.tenant).repository::<Order>();
    let pool = bench.twin_pool(Link::Loopback, Ping::Yes).await?;
    let sql = format!(
        "select {COLUMNS} from {}.orders order by id",
        fixture.twin_schema()
    );
    // Connects, prepares, and compares the table with the struct.
    orders.find(&key.id).await?;
    settle().await;

    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let stream = orders.stream(Query::new()).map_err(Error::from);
        ours.push(drain::<Order>(stream, rows).await?);
        settle().await;
        let stream = sqlx::query_as::<_, PlainOrder>(AssertSqlSafe(sql.clone()))
            .fetch(&pool)
            .map_err(Error::from);
        peer.push(drain::<PlainOrder>(stream, rows).await?);
        settle().await;
    }
    let most = |drained: &[Drained], what: fn(&Drained) -> f64| {
        drained.iter().map(what).fold(0.0, f64::max)
    };
    for (name, what, target) in [
        (
            "stream/fetch/resident-peak-above-idle-mib",
            resident as fn(&Drained) -> f64,
            Target::Figure(16.0),
        ),
        (
            "stream/fetch/heap-peak-above-idle-mib",
            heap,
            Target::Figure(16.0),
        ),
    ] {
        report.add(Ratio::of(
            name,
            most(&ours, what),
            most(&peer, what),
            target,
        ));
    }
    report.add(Ratio {
        name: "stream/fetch/loopback/ms".to_owned(),
        ours: median(ours.iter().map(millis)),
        peer: median(peer.iter().map(millis)),
        ratio: median(
            ours.iter()
                .zip(&peer)
                .map(|(ours, peer)| millis(ours) / millis(peer)),
        ),
        target: Target::None,
    });
    Ok(())
}

/// What a stream took, in bytes and seconds.
struct Drained {
    seconds: f64,
    resident: u64,
    heap: usize,
}

fn resident(drained: &Drained) -> f64 {
    drained.resident as f64 / MIB
}

fn heap(drained: &Drained) -> f64 {
    drained.heap as f64 / MIB
}

fn millis(drained: &Drained) -> f64 {
    drained.seconds * 1e3
}

async fn drain<A>(stream: impl Stream<Item = Result<A>> + Send, rows: u32) -> Result<Drained> {
    // How often the heap is looked at; the resident memory's peak is the kernel's to know.
    const EVERY: u32 = 64;
    process::forget_peak()?;
    let (idle, idle_heap) = (process::resident()?, process::heap());
    let mut peak_heap = idle_heap;
    let started = Instant::now();
    let mut stream = std::pin::pin!(stream);
    let mut count = 0;
    while let Some(row) = stream.next().await {
        black_box(row?);
        count += 1;
        if count % EVERY == 0 {
            peak_heap = peak_heap.max(process::heap());
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    if count != rows {
        return Err(format!("{count} rows in the stream, not {rows}").into());
    }
    Ok(Drained {
        seconds,
        resident: process::peak_resident()?.saturating_sub(idle),
        heap: peak_heap.saturating_sub(idle_heap),
    })
}
