use std::time::Duration;

use tenantry_core::{Error, ErrorKind, Result};

use crate::RedisConnection;

/// For how long messages are told apart at most: the server refuses a time that it cannot count.
const LONGEST_WINDOW: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What of a Redis has to have an entry before it counts as handed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RedisDurability {
    /// Its disk: `appendonly yes` and `appendfsync always`.
    #[default]
    Disk,
    /// Its file, which goes to the disk each second: a machine that fails takes the last second with it.
    File,
    /// So many replicas, by `WAIT`; a fail-over to one of them keeps it.
    Replicas(u32),
    /// Its memory: a restart loses it.
    Memory,
}

/// To which stream of a Redis messages go, and what is asked of it.
///
/// # Examples
///
/// ```
/// use tenantry_outbox::{RedisConnection, RedisDurability, RedisStreamsSettings};
///
/// let connection = RedisConnection::new("redis://redis.internal");
/// let settings = RedisStreamsSettings::new(connection, "events", "/services/billing")
///     .with_durability(RedisDurability::Replicas(1))
///     .with_most_entries(1_000_000)
///     .with_trim_of_what_is_read();
/// # drop(settings);
/// ```
#[derive(Debug, Clone)]
pub struct RedisStreamsSettings {
    pub(super) connection: RedisConnection,
    pub(super) stream: String,
    pub(super) source: String,
    pub(super) durability: RedisDurability,
    pub(super) duplicate_window: Duration,
    pub(super) most_entries: u64,
    pub(super) trims: bool,
    pub(super) most_bytes: usize,
}

impl RedisStreamsSettings {
    /// Returns settings for a stream, with the URI reference of the service as the source of its events.
    #[must_use]
    pub fn new(
        connection: RedisConnection,
        stream: impl Into<String>,
        source: impl Into<String>,
    ) -> Self {
        Self {
            connection,
            stream: stream.into(),
            source: source.into(),
            durability: RedisDurability::Disk,
            duplicate_window: Duration::from_secs(120),
            most_entries: 0,
            trims: false,
            most_bytes: 16 * 1024 * 1024,
        }
    }

    /// Sets what has to have an entry; its disk without it.
    #[must_use]
    pub const fn with_durability(mut self, durability: RedisDurability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets for how long messages are told apart that are handed over again: 2 minutes without it, 0 for never, up to 30
    /// days. Each takes a key of some hundred bytes for so long.
    #[must_use]
    pub const fn with_duplicate_window(mut self, window: Duration) -> Self {
        self.duplicate_window = window;
        self
    }

    /// Sets how many entries the stream may hold. Where it is full, messages wait: nothing that is not read is
    /// removed.
    #[must_use]
    pub const fn with_most_entries(mut self, entries: u64) -> Self {
        self.most_entries = entries;
        self
    }

    /// Removes, every now and then, what every group of consumers has read and acknowledged.
    ///
    /// A consumer without a group, or whose group is made later, does not see it.
    #[must_use]
    pub const fn with_trim_of_what_is_read(mut self) -> Self {
        self.trims = true;
        self
    }

    /// Sets the most bytes of a payload; 16 MiB without it.
    #[must_use]
    pub const fn with_most_bytes(mut self, bytes: usize) -> Self {
        self.most_bytes = bytes;
        self
    }

    /// Refuses what can never work.
    pub(super) fn check(&self) -> Result<()> {
        self.connection.check()?;
        let is_plain = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
        let wrong = if !is_plain(&self.stream) || self.stream.contains(['{', '}']) {
            "a stream has a name without braces and control characters"
        } else if !is_plain(&self.source) {
            "a source is a URI reference, such as /services/billing"
        } else if self.durability == RedisDurability::Replicas(0) {
            "no replica is waited for: say Memory if that is meant"
        } else if self.duplicate_window > LONGEST_WINDOW {
            "messages are told apart for up to 30 days"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidSettings, "publish to redis").with_detail(wrong))
    }
}
