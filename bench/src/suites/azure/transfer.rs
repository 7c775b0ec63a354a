//! A blob of a GiB on its way in and out: how quickly, and what it takes of this process.

use std::time::{Duration, Instant};

use super::peers::{Account, MIB, SIDES, Side, Source};
use crate::error::{Error, Result};
use crate::process;
use crate::report::{Ratio, Report, Target};
use crate::runner::median;

const WAYS: [&str; 2] = ["put", "stream"];
/// Ours is to be that near to the official client.
const NEAR: f64 = 0.95;

pub(super) async fn run(quick: bool, report: &mut Report) -> Result<()> {
    let (lengths, rounds) = if quick {
        ([64, 256], 2)
    } else {
        ([256, 1_024], 5)
    };
    // Memory goes first, and ours before all: a process that has done much else has a heap to reuse unseen.
    memory(lengths, report).await?;
    speed(lengths[1], rounds, report).await
}

/// What one transfer took.
#[derive(Debug, Clone, Copy)]
struct Taken {
    time: Duration,
    /// Of this process, whose part it is that Azurite has no share in.
    processor: Duration,
}

async fn put(account: &Account, side: Side, source: &Source) -> Result<(String, Taken)> {
    let (started, before) = (Instant::now(), process::processor_time()?);
    let name = account.put(side, source).await?;
    Ok((name, taken(started, before)?))
}

async fn stream(account: &Account, side: Side, name: &str, mib: usize) -> Result<Taken> {
    let (started, before) = (Instant::now(), process::processor_time()?);
    let length = account.stream(side, name).await?;
    let taken = taken(started, before)?;
    match length == mib * MIB {
        true => Ok(taken),
        false => Err(Error::from(format!("{side:?}: {length} bytes came"))),
    }
}

fn taken(started: Instant, before: Duration) -> Result<Taken> {
    Ok(Taken {
        time: started.elapsed(),
        processor: process::processor_time()?.saturating_sub(before),
    })
}

/// Takes down how much memory a put and a stream take at most, more than the process has before.
async fn memory(lengths: [usize; 2], report: &mut Report) -> Result<()> {
    let account = Account::start().await?;
    // What is made once is there.
    let small = Source::new(1);
    for side in SIDES {
        let name = account.put(side, &small).await?;
        account.stream(side, &name).await?;
    }
    let mut peaks = [[[0.0; 2]; SIDES.len()]; 2];
    for (place, side) in SIDES.into_iter().enumerate() {
        let idle = process::resident()?;
        for (of_length, mib) in peaks.iter_mut().zip(lengths) {
            let source = Source::new(mib);
            process::forget_peak()?;
            let (name, _) = put(&account, side, &source).await?;
            of_length[place][0] = above(idle)?;
            process::forget_peak()?;
            stream(&account, side, &name, mib).await?;
            of_length[place][1] = above(idle)?;
        }
    }
    for ([ours, peers @ ..], mib) in peaks.into_iter().zip(lengths) {
        for (way, what) in WAYS.into_iter().enumerate() {
            for (peer, side) in peers.iter().zip(&SIDES[1..]) {
                let peer_name = side.name();
                report.add(Ratio::of(
                    format!("azure/{what}/{peer_name}/{mib}-mib/resident-peak-above-idle-mib"),
                    ours[way],
                    peer[way],
                    Target::Figure(32.0),
                ));
            }
        }
    }
    Ok(())
}

fn above(idle: u64) -> Result<f64> {
    Ok(process::peak_resident()?.saturating_sub(idle) as f64 / MIB as f64)
}

async fn speed(mib: usize, rounds: usize, report: &mut Report) -> Result<()> {
    let mut all: [[Vec<Taken>; SIDES.len()]; 2] = Default::default();
    let (source, short) = (Source::new(mib), Source::new(mib.min(64)));
    for round in 0..rounds {
        // A new one, for it keeps what was put and deleted for a while, and disks have an end.
        let account = Account::start().await?;
        let mut order = SIDES.into_iter().enumerate().collect::<Vec<_>>();
        if round % 2 == 1 {
            order.reverse();
        }
        // The first bytes find a server that has compiled nothing yet.
        for (_, side) in &order {
            let name = account.put(*side, &short).await?;
            account.stream(*side, &name).await?;
        }
        let mut names = Vec::new();
        for (place, side) in order {
            let (name, taken) = put(&account, side, &source).await?;
            all[0][place].push(taken);
            names.push((place, side, name));
        }
        for (place, side, name) in names {
            let taken = stream(&account, side, &name, mib).await?;
            all[1][place].push(taken);
        }
    }
    for ([ours, peers @ ..], what) in all.iter().zip(WAYS) {
        for (peer, side) in peers.iter().zip(&SIDES[1..]) {
            let target = match side {
                Side::Client => Target::TimesAtLeast(NEAR),
                Side::Ours | Side::Objects => Target::None,
            };
            let name = |unit| format!("azure/{what}/{}/{mib}-mib/{unit}", side.name());
            let rate = |taken: &Taken| mib as f64 / taken.time.as_secs_f64();
            report.add(ratio(name("mib-per-second"), ours, peer, rate, target));
            let millis = |taken: &Taken| taken.processor.as_secs_f64() * 1e3;
            let name = name("processor-ms");
            report.add(ratio(name, ours, peer, millis, Target::None));
        }
    }
    Ok(())
}

fn ratio(
    name: String,
    ours: &[Taken],
    peer: &[Taken],
    figure: impl Fn(&Taken) -> f64,
    target: Target,
) -> Ratio {
    let rounds = ours.iter().zip(peer);
    Ratio {
        name,
        ours: median(ours.iter().map(&figure)),
        peer: median(peer.iter().map(&figure)),
        ratio: median(rounds.map(|(ours, peer)| figure(ours) / figure(peer))),
        target,
    }
}
