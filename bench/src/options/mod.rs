//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::runner::Pace;

/// Measures Tenantry against its peers.
#[derive(Debug, Parser)]
#[command(name = "tenantry-bench", about)]
pub(crate) struct Options {
    /// Where to write the ratios; details.csv is written beside it
    #[arg(long, value_name = "FILE", default_value = "target/bench/ratios.csv")]
    pub(crate) out: PathBuf,

    /// URL of a superuser on the PostgreSQL to use; without it, one that flushes to disk is started
    #[arg(
        long,
        value_name = "URL",
        env = "TENANTRY_TEST_POSTGRES_URL",
        hide_env_values = true
    )]
    pub(crate) database: Option<String>,

    /// Runs this suite alone; may be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<Suite>,

    /// Runs the suites `scale`, `backlog` and `held` as well: minutes, and gigabytes of disk
    #[arg(long)]
    scale: bool,

    /// Rows in each table of the suite `scale`
    #[arg(long, value_name = "ROWS", default_value_t = 1_000_000)]
    pub(crate) rows: u32,

    /// Takes fewer and shorter rounds: shows that it works, and little more
    #[arg(long)]
    pub(crate) quick: bool,
}

/// What can be chosen by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Memory goes first: a process that has done much else has a heap to reuse unseen.
    Stream,
    Blob,
    Azure,
    Read,
    Work,
    List,
    Bulk,
    Guard,
    Outbox,
    Scale,
    Backlog,
    Held,
    Hit,
    Shared,
    Flush,
    Limit,
    Lease,
    Repository,
}

impl Options {
    pub(crate) fn suites(&self) -> Vec<Suite> {
        let chosen = |suite: &Suite| match self.only.as_slice() {
            [] => !suite.is_long() || self.scale,
            only => only.contains(suite) || suite.is_long() && self.scale,
        };
        Suite::value_variants()
            .iter()
            .copied()
            .filter(chosen)
            .collect()
    }

    pub(crate) fn pace(&self) -> Pace {
        let millis = Duration::from_millis;
        if self.quick {
            Pace {
                rounds: 6,
                block: millis(40),
                warm_up: millis(100),
                window: millis(200),
            }
        } else {
            Pace {
                rounds: 40,
                block: millis(100),
                warm_up: millis(500),
                window: millis(500),
            }
        }
    }
}

impl Suite {
    const fn is_long(self) -> bool {
        matches!(self, Self::Scale | Self::Backlog | Self::Held)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Blob => "blob",
            Self::Azure => "azure",
            Self::Read => "read",
            Self::Work => "work",
            Self::List => "list",
            Self::Bulk => "bulk",
            Self::Guard => "guard",
            Self::Outbox => "outbox",
            Self::Scale => "scale",
            Self::Backlog => "backlog",
            Self::Held => "held",
            Self::Hit => "hit",
            Self::Shared => "shared",
            Self::Flush => "flush",
            Self::Limit => "limit",
            Self::Lease => "lease",
            Self::Repository => "repository",
        }
    }
}
