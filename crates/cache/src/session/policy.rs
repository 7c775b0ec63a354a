use std::time::Duration;

use tenantry_core::{Error, ErrorKind, Result};

/// Of what is longer, a clock cannot tell the end.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// How long sessions last, and how much they hold.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use tenantry_cache::SessionPolicy;
///
/// const MINUTE: Duration = Duration::from_secs(60);
///
/// let policy = SessionPolicy::default()
///     .with_absolute(8 * 60 * MINUTE)
///     .with_idle(15 * MINUTE);
/// # let _ = policy;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionPolicy {
    pub(crate) absolute: Duration,
    pub(crate) idle: Duration,
    pub(crate) most_bytes: usize,
}

impl SessionPolicy {
    /// Sets how long a session lasts at most, however much it is used: 12 hours by default.
    ///
    /// It is that of the time when the session began, or a user signed in to it.
    #[must_use]
    pub const fn with_absolute(mut self, time: Duration) -> Self {
        self.absolute = time;
        self
    }

    /// Sets how long a session lasts without use: 30 minutes by default.
    ///
    /// A session that is used is given the time of the policy of then.
    #[must_use]
    pub const fn with_idle(mut self, time: Duration) -> Self {
        self.idle = time;
        self
    }

    /// Sets how many bytes the data of a session may take, encoded: 64 KiB by default.
    #[must_use]
    pub const fn with_most_bytes(mut self, bytes: usize) -> Self {
        self.most_bytes = bytes;
        self
    }

    /// Refuses what contradicts itself.
    pub(crate) fn check(self) -> Result<Self> {
        let detail = match self {
            Self { idle, .. } if idle < Duration::from_millis(1) => "no time to be idle is allowed",
            Self { absolute, idle, .. } if idle > absolute => {
                "the idle time is longer than the absolute one, which ends the session before"
            }
            Self { absolute, .. } if absolute > LONGEST => "expected ten years at most",
            Self { most_bytes: 0, .. } => "no bytes are allowed",
            _ => return Ok(self),
        };
        Err(Error::new(ErrorKind::InvalidSettings, "set session policy").with_detail(detail))
    }

    /// Refuses more data than is allowed.
    pub(crate) fn check_size(&self, operation: &'static str, bytes: usize) -> Result<()> {
        let most = self.most_bytes;
        if bytes <= most {
            return Ok(());
        }
        Err(
            Error::new(ErrorKind::InvalidValue, operation).with_detail(format!(
                "the data takes {bytes} bytes, and {most} are allowed: keep less in it, or allow more by \
             with_most_bytes"
            )),
        )
    }
}

impl Default for SessionPolicy {
    fn default() -> Self {
        Self {
            absolute: Duration::from_secs(12 * 60 * 60),
            idle: Duration::from_secs(30 * 60),
            most_bytes: 64 * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_contradicts_itself_is_refused() {
        let policy = SessionPolicy::default();
        assert!(policy.check().is_ok());
        for wrong in [
            policy.with_idle(Duration::ZERO),
            policy.with_absolute(Duration::ZERO),
            policy.with_idle(policy.absolute + Duration::from_nanos(1)),
            policy.with_absolute(Duration::MAX),
            policy.with_most_bytes(0),
        ] {
            let refused = wrong.check().unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidSettings, "{wrong:?}");
        }
    }
}
