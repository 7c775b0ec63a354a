//! The two files, and the table for the reader at the terminal.

use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::path::Path;

use crate::error::Result;
use crate::network::Link;
use crate::runner::{Measurement, RoundTrips, median};

/// Ratios and details, in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    ratios: Vec<Ratio>,
    details: Vec<Detail>,
}

/// What is to be reached.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    None,
    /// This often the peer's figure.
    Times(f64),
    /// This figure, whatever the peer's.
    Figure(f64),
    /// No less than so much of the peer's.
    TimesAtLeast(f64),
    /// No less than this figure.
    FigureAtLeast(f64),
    /// Neither more nor less than the peer's.
    Same,
}

/// What latencies are told in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    Micros,
    Nanos,
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Micros => "us",
            Self::Nanos => "ns",
        }
    }

    fn of_micros(self, micros: f64) -> f64 {
        match self {
            Self::Micros => micros,
            Self::Nanos => micros * 1e3,
        }
    }
}

/// One figure of ours beside the peer's.
#[derive(Debug)]
pub(crate) struct Ratio {
    /// `suite/peer/link/what-unit`.
    pub(crate) name: String,
    pub(crate) ours: f64,
    pub(crate) peer: f64,
    pub(crate) ratio: f64,
    pub(crate) target: Target,
}

#[derive(Debug)]
struct Detail {
    name: String,
    side: &'static str,
    link: Link,
    operations: usize,
    p50: f64,
    p95: f64,
    round_trips: Option<RoundTrips>,
    allocations: f64,
}

impl Ratio {
    /// Puts two figures side by side.
    pub(crate) fn of(name: impl Into<String>, ours: f64, peer: f64, target: Target) -> Self {
        Self {
            name: name.into(),
            ours,
            peer,
            ratio: ours / peer,
            target,
        }
    }

    fn ok(&self) -> &'static str {
        let reached = match self.target {
            Target::None => return "",
            Target::Times(most) => self.ratio <= most,
            Target::Figure(most) => self.ours <= most,
            Target::TimesAtLeast(least) => self.ratio >= least,
            Target::FigureAtLeast(least) => self.ours >= least,
            Target::Same => self.ours.total_cmp(&self.peer).is_eq(),
        };
        if reached { "yes" } else { "no" }
    }

    fn cells(&self) -> [String; 6] {
        [
            self.name.clone(),
            format!("{:.2}", self.ours),
            format!("{:.2}", self.peer),
            if self.ratio.is_finite() {
                format!("{:.3}", self.ratio)
            } else {
                String::new()
            },
            self.target.to_string(),
            self.ok().to_owned(),
        ]
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Times(most) => write!(f, "ratio<={most:.2}"),
            Self::Figure(most) => write!(f, "ours<={most}"),
            Self::TimesAtLeast(least) => write!(f, "ratio>={least:.2}"),
            Self::FigureAtLeast(least) => write!(f, "ours>={least}"),
            Self::Same => f.write_str("ours=peer"),
        }
    }
}

impl Report {
    pub(crate) fn add(&mut self, ratio: Ratio) {
        self.ratios.push(ratio);
    }

    /// Takes down latencies: the ratio of the first side to each other one, with its target.
    pub(crate) fn add_latencies(
        &mut self,
        suite: &str,
        link: Link,
        measurements: &[Measurement],
        targets: &[Target],
    ) {
        self.add_latencies_in(Unit::Micros, suite, link, measurements, targets);
    }

    /// Takes down latencies in another unit.
    pub(crate) fn add_latencies_in(
        &mut self,
        unit: Unit,
        suite: &str,
        link: Link,
        measurements: &[Measurement],
        targets: &[Target],
    ) {
        let Some((ours, peers)) = measurements.split_first() else {
            return;
        };
        for (peer, target) in peers.iter().zip(targets) {
            self.add(Ratio {
                name: format!("{suite}/{}/{link}/p50-{}", peer.side, unit.name()),
                ours: unit.of_micros(ours.micros(50)),
                peer: unit.of_micros(peer.micros(50)),
                ratio: ours.ratio_to(peer),
                target: *target,
            });
        }
        for measurement in measurements {
            self.details.push(Detail {
                name: suite.to_owned(),
                side: measurement.side,
                link,
                operations: measurement.operations(),
                p50: measurement.micros(50),
                p95: measurement.micros(95),
                round_trips: None,
                allocations: measurement.allocations(),
            });
        }
    }

    /// Takes down how many operations a second each side did in each round; the targets are those
    /// of the first peers.
    pub(crate) fn add_throughput(
        &mut self,
        suite: &str,
        link: Link,
        sides: &[&'static str],
        rates: &[Vec<f64>],
        tasks: usize,
        targets: &[Target],
    ) {
        let mut targets = targets.iter();
        let (Some(ours), Some(peers)) = (rates.first(), rates.get(1..)) else {
            return;
        };
        for (peer, name) in peers.iter().zip(&sides[1..]) {
            self.add(Ratio {
                name: format!("{suite}/{name}/{link}/per-second-{tasks}-tasks"),
                ours: median(ours.iter().copied()),
                peer: median(peer.iter().copied()),
                ratio: median(ours.iter().zip(peer).map(|(ours, peer)| ours / peer)),
                target: targets.next().copied().unwrap_or(Target::None),
            });
        }
    }

    /// Takes down the round trips of one operation of each side, with one target for all.
    pub(crate) fn add_round_trips(
        &mut self,
        suite: &str,
        counts: &[(&'static str, RoundTrips)],
        target: Target,
    ) {
        let Some(((_, ours), peers)) = counts.split_first() else {
            return;
        };
        for (peer, count) in peers {
            let name = format!("{suite}/{peer}/round-trips");
            self.add(Ratio::of(name, ours.waited, count.waited, target));
        }
        for (side, count) in counts {
            let of_side = |detail: &&mut Detail| detail.name == suite && detail.side == *side;
            for detail in self.details.iter_mut().filter(of_side) {
                detail.round_trips = Some(*count);
            }
        }
    }

    /// Writes `path`, and `details.csv` beside it.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        if !folder.as_os_str().is_empty() {
            fs::create_dir_all(folder)?;
        }
        let mut ratios = "name,ours,peer,ratio,target,ok\n".to_owned();
        for ratio in &self.ratios {
            writeln!(ratios, "{}", ratio.cells().join(","))?;
        }
        fs::write(path, ratios)?;
        let mut details = "name,side,link,operations,p50_us,p95_us,round_trips,\
                           round_trips_behind_the_caller,allocations\n"
            .to_owned();
        for detail in &self.details {
            let trips = detail.round_trips;
            let trip = |count: Option<f64>| count.map(|count| format!("{count:.2}"));
            writeln!(
                details,
                "{},{},{},{},{:.3},{:.3},{},{},{:.2}",
                detail.name,
                detail.side,
                detail.link,
                detail.operations,
                detail.p50,
                detail.p95,
                trip(trips.map(|trips| trips.waited)).unwrap_or_default(),
                trip(trips.map(|trips| trips.behind)).unwrap_or_default(),
                detail.allocations,
            )?;
        }
        Ok(fs::write(folder.join("details.csv"), details)?)
    }

    /// Prints the ratios as a table.
    pub(crate) fn print(&self, out: &mut impl io::Write) -> io::Result<()> {
        let head = ["name", "ours", "peer", "ratio", "target", "ok"].map(str::to_owned);
        let rows: Vec<_> = [head]
            .into_iter()
            .chain(self.ratios.iter().map(Ratio::cells))
            .collect();
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let [w0, w1, w2, w3, w4] = [0, 1, 2, 3, 4].map(width);
        for [name, ours, peer, ratio, target, ok] in &rows {
            writeln!(
                out,
                "{name:w0$}  {ours:>w1$}  {peer:>w2$}  {ratio:>w3$}  {target:w4$}  {ok}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_met_by_the_ratio_or_by_our_figure() {
        let ok = |target| Ratio::of("x", 30.0, 20.0, target).ok();
        assert_eq!(ok(Target::None), "");
        assert_eq!(ok(Target::Times(1.5)), "yes");
        assert_eq!(ok(Target::Times(1.4)), "no");
        assert_eq!(ok(Target::Figure(30.0)), "yes");
        assert_eq!(ok(Target::Figure(16.0)), "no");
        assert_eq!(ok(Target::TimesAtLeast(1.5)), "yes");
        assert_eq!(ok(Target::TimesAtLeast(1.6)), "no");
        assert_eq!(ok(Target::FigureAtLeast(30.0)), "yes");
        assert_eq!(ok(Target::FigureAtLeast(31.0)), "no");
        assert_eq!(ok(Target::Same), "no");
        assert_eq!(Ratio::of("x", 7.0, 7.0, Target::Same).ok(), "yes");
    }
}
