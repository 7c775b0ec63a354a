//! The same table with ten tenants in it, and with a hundred thousand.

use std::sync::Arc;

use super::{Bench, read, settle, work};
use crate::database::{Fixture, Tenants, Twin};
use crate::error::Result;
use crate::model::Key;
use crate::network::Link;
use crate::process;
use crate::report::{Ratio, Report, Target};
use crate::runner::{Operation as _, Side};

/// Tenants in each table, and the side that reads it. The fewest come last, as the peer.
const SIZES: [(u32, &str); 3] = [
    (100_000, "100000-tenants"),
    (1_000, "1000-tenants"),
    (10, "10-tenants"),
];

const MIB: f64 = 1024.0 * 1024.0;

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut fixtures = Vec::new();
    for (tenants, _) in SIZES {
        let fixture = Fixture::new(
            &format!("scale_{tenants}"),
            bench.rows,
            Tenants::Zipf(tenants),
        )
        .with_twin(Twin::None);
        bench.database.load(&fixture).await?;
        fixtures.push(fixture);
    }
    memory(bench, report, &fixtures).await?;
    let (mut reads, mut works) = (Vec::new(), Vec::new());
    for (fixture, (_, name)) in fixtures.iter().zip(SIZES) {
        let keys: Arc<[Key]> = bench.database.keys(fixture, 20_000).await?.into();
        let read = read::ours(bench, Link::Loopback, fixture, &keys).await?;
        // Once each, so that a row is in memory when it is measured.
        for turn in 0..keys.len() {
            read.run(read.prepare(turn)).await?;
        }
        reads.push(Side::new(name, read));
        works.push(Side::new(
            name,
            work::ours(bench, Link::Loopback, fixture, &keys).await?,
        ));
    }
    for (suite, sides) in [("scale-read", &reads), ("scale-work", &works)] {
        settle().await;
        let measurements = bench.runner.latencies(sides).await?;
        let [most, many, few] = measurements.as_slice() else {
            continue;
        };
        for (ours, name) in [(many, "1000"), (most, "100000")] {
            report.add(Ratio {
                name: format!("{suite}/{name}-vs-10-tenants/loopback/p50-us"),
                ours: ours.micros(50),
                peer: few.micros(50),
                ratio: ours.ratio_to(few),
                target: Target::Times(1.20),
            });
        }
        report.add_latencies(suite, Link::Loopback, &measurements, &[]);
    }
    Ok(())
}

/// Compares the resident memory after reading for ten tenants with that after as many reads for
/// all tenants of the biggest table.
async fn memory(bench: &Bench, report: &mut Report, fixtures: &[Fixture]) -> Result<()> {
    let [most, _, few] = fixtures else {
        return Ok(());
    };
    let count = if bench.quick { 10_000 } else { 100_000 };
    let many_keys: Arc<[Key]> = bench.database.key_per_tenant(most, count).await?.into();
    let few_keys: Arc<[Key]> = bench.database.keys(few, 1_000).await?.into();
    let reads = [
        read::ours(bench, Link::Loopback, few, &few_keys).await?,
        read::ours(bench, Link::Loopback, most, &many_keys).await?,
    ];
    let mut resident = Vec::new();
    for read in &reads {
        for turn in 0..many_keys.len() {
            read.run(read.prepare(turn)).await?;
        }
        resident.push(process::resident()? as f64 / MIB);
    }
    let name = format!("scale/{}-vs-10-tenants/resident-mib", many_keys.len());
    report.add(Ratio::of(
        name,
        resident[1],
        resident[0],
        Target::Times(1.10),
    ));
    Ok(())
}
