//! How quickly a blob can be read, and what that costs.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// How quickly a blob can be read: the slower, the cheaper it is to keep.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Tier {
    /// Read often.
    #[default]
    Hot,
    /// Read seldom; kept for a month at least.
    Cool,
    /// Read rarely; kept for three months at least.
    Cold,
    /// Not read until it has been brought back, which takes hours; kept for half a year at least.
    Archive,
}

impl Tier {
    /// Returns the stable name in `snake_case`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Cool => "cool",
            Self::Cold => "cold",
            Self::Archive => "archive",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How much it matters that an archived blob comes back soon.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RehydratePriority {
    /// Within 15 hours.
    #[default]
    Standard,
    /// Within an hour for less than 10 GiB, at a higher price.
    High,
}

/// An archived blob on its way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehydration {
    /// The tier that it comes back to.
    pub to: Tier,
    /// How much it matters; it can be raised, and not lowered.
    pub priority: RehydratePriority,
    /// When it can be read, where the backend knows.
    pub ready_at: Option<DateTime<Utc>>,
}
