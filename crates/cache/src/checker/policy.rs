use std::time::Duration;

use tenantry_core::TenantLabel;

/// How many reads are checked, and under which label of a tenant they are counted.
///
/// # Examples
///
/// ```
/// use tenantry_cache::CheckPolicy;
///
/// let policy = CheckPolicy::default()
///     .with_fraction(0.01)
///     .with_most_per_second(50);
/// # let _ = policy;
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CheckPolicy {
    pub(super) fraction: f64,
    most_per_second: u32,
    pub(super) label: TenantLabel,
}

impl Default for CheckPolicy {
    fn default() -> Self {
        Self {
            fraction: 0.001,
            most_per_second: 10,
            label: TenantLabel::none(),
        }
    }
}

impl CheckPolicy {
    /// Sets which part of the reads is checked, by chance: one in a thousand by default; from 0 to 1.
    #[must_use]
    pub const fn with_fraction(mut self, fraction: f64) -> Self {
        self.fraction = fraction;
        self
    }

    /// Sets how many reads are checked within a second at most, however many there are: 10 by default.
    /// Each is a read of the store, and a second one where something differs.
    #[must_use]
    pub const fn with_most_per_second(mut self, checks: u32) -> Self {
        self.most_per_second = checks;
        self
    }

    /// Sets which tenants are counted by name: none by default, and all together.
    #[must_use]
    pub fn with_tenant_label(mut self, label: TenantLabel) -> Self {
        self.label = label;
        self
    }

    /// Returns how long it is at least from one sample to the next; nothing if none is to be taken.
    pub(super) fn pause(&self) -> Option<Duration> {
        Duration::from_secs(1).checked_div(self.most_per_second)
    }
}
