use std::borrow::Cow;

use crate::{Limit, Rule, TenantLimiter};

/// What a request is charged with: to which limits of which tenant, and how much.
///
/// # Examples
///
/// ```
/// # use std::sync::Arc;
/// # use std::time::Duration;
/// # use tenantry_cache::{Charge, MemoryLimits, RateLimiter, Rule};
/// # use tenantry_core::TenantId;
/// # fn main() -> tenantry_core::Result<()> {
/// # let limiter = RateLimiter::new(Arc::new(MemoryLimits::new()));
/// # let tenant = TenantId::generate();
/// let of_tenant = Rule::new("tenant", 10_000, Duration::from_secs(60))?;
/// let of_route = Rule::new("route", 100, Duration::from_secs(1))?;
/// let charge = Charge::new(limiter.tenant(tenant))
///     .with_limit(&of_tenant, "")
///     .with_limit(&of_route, "POST /invoices")
///     .with_cost(5);
/// # let _ = charge;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Charge {
    pub(super) tenant: TenantLimiter,
    limits: Vec<(Rule, Cow<'static, str>)>,
    pub(super) cost: u64,
}

impl Charge {
    /// Charges one to this tenant.
    #[must_use]
    pub const fn new(tenant: TenantLimiter) -> Self {
        Self {
            tenant,
            limits: Vec::new(),
            cost: 1,
        }
    }

    /// Adds a limit, of up to four; `""` stands for the tenant as a whole.
    ///
    /// Name a route by its pattern: a path with an id in it is a subject of its own for each.
    #[must_use]
    pub fn with_limit(mut self, rule: &Rule, subject: impl Into<Cow<'static, str>>) -> Self {
        self.limits.push((rule.clone(), subject.into()));
        self
    }

    /// Sets how much is charged: one by default.
    #[must_use]
    pub const fn with_cost(mut self, cost: u64) -> Self {
        self.cost = cost;
        self
    }

    pub(super) fn limits(&self) -> Vec<Limit<'_>> {
        let limits = self.limits.iter();
        limits.map(|(rule, subject)| rule.limit(subject)).collect()
    }
}
