//! The bounded metric label for tenants.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Error, Result, TenantId};

/// Decides under which label the metrics of a tenant are counted.
///
/// Every value of a label is a time series in every metric, and a product has more tenants than
/// a metrics back end takes series. By default there is no such label; an operator who watches
/// some tenants names them, and all others are counted together as [`OTHER`](Self::OTHER).
///
/// # Examples
///
/// ```
/// use tenantry_core::{TenantId, TenantLabel};
///
/// let (big, small) = (TenantId::generate(), TenantId::generate());
/// assert_eq!(TenantLabel::none().of(big), None);
///
/// let label = TenantLabel::allow([big])?;
/// assert_eq!(label.of(big), Some(big.to_string().as_str()));
/// assert_eq!(label.of(small), Some("other"));
/// # Ok::<(), tenantry_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantLabel {
    // The texts are made once: recording a metric allocates nothing.
    allowed: Option<Arc<BTreeMap<TenantId, Box<str>>>>,
}

impl TenantLabel {
    /// The most tenants that can have a label of their own.
    pub const MAX_TENANTS: usize = 100;
    /// The label of every tenant that has none of its own.
    pub const OTHER: &str = "other";

    /// Returns the label that is never set; this is the default.
    #[must_use]
    pub const fn none() -> Self {
        Self { allowed: None }
    }

    /// Returns a label that shows `tenants` by name and all others as [`OTHER`](Self::OTHER).
    ///
    /// A tenant that is named twice counts once.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](crate::ErrorKind::InvalidInput): there are more than
    ///   [`MAX_TENANTS`](Self::MAX_TENANTS).
    pub fn allow(tenants: impl IntoIterator<Item = TenantId>) -> Result<Self> {
        let mut allowed = BTreeMap::new();
        for tenant in tenants {
            allowed.insert(tenant, tenant.to_string().into_boxed_str());
            if allowed.len() > Self::MAX_TENANTS {
                return Err(Error::refused(
                    "allow tenants as metric labels",
                    "expected 100 tenants at most; watch the others in traces",
                ));
            }
        }
        Ok(Self {
            allowed: Some(Arc::new(allowed)),
        })
    }

    /// Returns the label for `tenant`, or `None` where metrics carry no tenant at all.
    #[must_use]
    pub fn of(&self, tenant: TenantId) -> Option<&str> {
        let allowed = self.allowed.as_deref()?;
        Some(allowed.get(&tenant).map_or(Self::OTHER, |label| label))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenants(count: u128) -> impl Iterator<Item = TenantId> {
        (1..=count).filter_map(TenantId::from_u128)
    }

    #[test]
    fn label_is_off_by_default() {
        assert_eq!(TenantLabel::default(), TenantLabel::none());
        assert_eq!(TenantLabel::default().of(TenantId::generate()), None);
    }

    #[test]
    fn one_hundred_tenants_are_the_limit() {
        assert!(TenantLabel::allow(tenants(100).chain(tenants(100))).is_ok());
        let error = TenantLabel::allow(tenants(101)).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::InvalidInput);
    }

    #[test]
    fn empty_list_counts_all_as_other() {
        let label = TenantLabel::allow([]).unwrap();
        assert_eq!(label.of(TenantId::generate()), Some("other"));
    }
}
