use std::time::Duration;

use tenantry_core::{Error, ErrorKind, Result};

use crate::FailurePolicy;

/// How a consumer works.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tenantry_outbox::ConsumerSettings;
///
/// let settings = ConsumerSettings::new("receipts")
///     .with_in_flight(32)
///     .with_attempts(5)
///     .with_waits(Duration::from_secs(1), Duration::from_secs(10));
/// # drop(settings);
/// ```
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    pub(super) name: String,
    pub(super) in_flight: usize,
    prefetch: Option<usize>,
    pub(super) prefetch_bytes: usize,
    pub(super) attempts: u32,
    pub(super) policy: FailurePolicy,
    pub(super) handle_timeout: Duration,
}

impl ConsumerSettings {
    /// Returns settings of a consumer by its name, which the inbox and the broker know it by: letters, digits, `-` and
    /// `_`, up to 100.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            in_flight: 8,
            prefetch: None,
            prefetch_bytes: 64 * 1024 * 1024,
            attempts: 10,
            policy: FailurePolicy::default()
                .with_waits(Duration::from_millis(500), Duration::from_secs(30)),
            handle_timeout: Duration::from_secs(30),
        }
    }

    /// Sets how many messages are handled side by side at most, from 1 to 10,000, those of one key one after the other; 8
    /// without it. One that waits for another attempt is not among them.
    ///
    /// Each has a unit of work, and with it a connection of the store, for as long as its handler runs: keep the sum over
    /// all consumers of a store below the connections of its pool, 10 without `with_max_connections`, or requests wait for
    /// messages.
    ///
    /// As one is done with, the next is of the tenant that has the fewest under way: whoever has much to be handled holds
    /// up no other tenant by what waits here.
    #[must_use]
    pub const fn with_in_flight(mut self, messages: usize) -> Self {
        self.in_flight = messages;
        self
    }

    /// Sets how many messages are taken from the broker before they are acknowledged, from as many as are handled side by
    /// side to 65,535; without it 1,024, or sixteen times as many as are handled where that is more. They are held in
    /// memory.
    ///
    /// A message that fails, and those behind it in its key, are among them until its attempts are used up: where there are
    /// more than this, the other keys wait as well. Nor is anything handled before it is among them: it waits for those
    /// before it that the broker gives out first, of whatever tenant.
    #[must_use]
    pub const fn with_prefetch(mut self, messages: usize) -> Self {
        self.prefetch = Some(messages);
        self
    }

    /// Sets how many bytes of those messages are held at most; 64 MiB without it. One message is taken however large it
    /// is.
    ///
    /// RabbitMQ counts messages and no bytes: where as many as it may give out would be too large, the consumer begins
    /// anew with fewer, and has somewhat more bytes in memory for a while. When it holds none, it asks for all again.
    #[must_use]
    pub const fn with_prefetch_bytes(mut self, bytes: usize) -> Self {
        self.prefetch_bytes = bytes;
        self
    }

    /// Sets how often a message is tried in all, at least once; ten times without it. An outage of the database uses no
    /// attempt up.
    #[must_use]
    pub const fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = if attempts == 0 { 1 } else { attempts };
        self
    }

    /// Sets the first and the longest wait between two attempts; half a second and 30 s without it.
    ///
    /// A message waits in its place meanwhile: keep the sum of all waits below the time after which the broker takes it
    /// away, 30 minutes in RabbitMQ.
    #[must_use]
    pub fn with_waits(mut self, first: Duration, longest: Duration) -> Self {
        self.policy = self.policy.with_waits(first, longest);
        self
    }

    /// Sets for how long a message is handled at most, before it counts as failed; 30 s without it.
    #[must_use]
    pub const fn with_handle_timeout(mut self, timeout: Duration) -> Self {
        self.handle_timeout = timeout;
        self
    }

    pub(super) fn prefetch(&self) -> usize {
        let most = usize::from(u16::MAX);
        self.prefetch
            .unwrap_or_else(|| self.in_flight.saturating_mul(16).clamp(1_024, most))
    }

    pub(super) fn check(&self) -> Result<()> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let wrong = if !(1..=100).contains(&self.name.len()) || !self.name.bytes().all(is_plain) {
            "a consumer has a name of letters, digits, - and _, up to 100"
        } else if !(1..=10_000).contains(&self.in_flight) {
            "1 to 10,000 messages are in flight"
        } else if !(self.in_flight..=usize::from(u16::MAX)).contains(&self.prefetch()) {
            "as many messages are taken as are in flight, up to 65,535"
        } else if self.prefetch_bytes == 0 {
            "no bytes are held: nothing would be taken"
        } else if self.handle_timeout.is_zero() {
            "no time is given to handle a message"
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidSettings, "start consumer").with_detail(wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_held_as_keep_the_hands_busy() {
        for (in_flight, held) in [(1, 1_024), (64, 1_024), (128, 2_048), (10_000, 65_535)] {
            let settings = ConsumerSettings::new("suite").with_in_flight(in_flight);
            assert_eq!(settings.prefetch(), held);
            settings.check().unwrap();
        }
        let settings = ConsumerSettings::new("suite")
            .with_in_flight(2)
            .with_prefetch(2);
        assert_eq!(settings.prefetch(), 2);
        settings.check().unwrap();
        let fewer = settings.with_prefetch(1).check().unwrap_err();
        assert_eq!(fewer.kind(), ErrorKind::InvalidSettings);
    }
}
