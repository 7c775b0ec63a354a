//! Who has a lane, and how much of a round.

use std::collections::{BTreeMap, HashMap};

use tenantry_core::TenantId;

use super::Drain;
use crate::log::{Lane, Progress, Row};

/// A tenant gets a lane where it has this part of a full chunk, one sixteenth, and two messages at least; smaller batches
/// have no lanes.
pub(super) const HEAVY: usize = 16;

/// How many tenants have lanes at most.
const IN_LANES: usize = 256;

impl Drain {
    /// Gives tenants lanes, those of one weight together; returns whether all have one.
    pub(super) fn give_lanes(&self, progress: &mut Progress, tenants: Vec<TenantId>) -> bool {
        let have: usize = progress.lanes.iter().map(|lane| lane.tenants.len()).sum();
        if have + tenants.len() > IN_LANES {
            return false;
        }
        let mut by_weight: BTreeMap<u32, Vec<TenantId>> = BTreeMap::new();
        for tenant in tenants {
            let weight = self.settings.weight(tenant);
            by_weight.entry(weight).or_default().push(tenant);
        }
        let position = &progress.rest;
        progress
            .lanes
            .extend(by_weight.into_values().map(|tenants| Lane {
                tenants,
                position: position.clone(),
            }));
        true
    }

    pub(super) fn weight_of(&self, lane: &Lane) -> u64 {
        let weights = lane
            .tenants
            .iter()
            .map(|tenant| self.settings.weight(*tenant));
        weights.map(u64::from).sum()
    }
}

/// Returns the tenants that have at least so many of the rows.
pub(super) fn heavy_of(rows: &[Row], least: usize) -> Vec<TenantId> {
    let mut counts: HashMap<TenantId, usize> = HashMap::new();
    for row in rows {
        *counts.entry(row.message.tenant()).or_default() += 1;
    }
    let heavy = counts
        .into_iter()
        .filter(|(_, count)| *count >= least.max(1));
    let mut tenants: Vec<_> = heavy.map(|(tenant, _)| tenant).collect();
    tenants.sort_unstable();
    tenants
}

/// Gives a tenant of a lane one of its own.
pub(super) fn split_off(lanes: &mut Vec<Lane>, tenant: TenantId) {
    let of_tenant = |lane: &&mut Lane| lane.tenants.len() > 1 && lane.tenants.contains(&tenant);
    let Some(lane) = lanes.iter_mut().find(of_tenant) else {
        return;
    };
    lane.tenants.retain(|it| *it != tenant);
    let own = Lane {
        tenants: vec![tenant],
        position: lane.position.clone(),
    };
    lanes.push(own);
}

/// Divides rows by weight, one at least for each.
pub(super) fn parts_of(rows: usize, weights: impl Iterator<Item = u64> + Clone) -> Vec<usize> {
    let total: u64 = weights.clone().sum::<u64>().max(1);
    let rows = u64::try_from(rows).unwrap_or(u64::MAX);
    let part = |weight: u64| usize::try_from(rows.saturating_mul(weight) / total).unwrap_or(1);
    weights.map(|weight| part(weight).max(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_divided_by_weight_and_nobody_gets_none() {
        let parts = |rows, weights: &[u64]| parts_of(rows, weights.iter().copied());
        assert_eq!(parts(100, &[4, 1]), [80, 20]);
        assert_eq!(parts(100, &[1_000, 1, 1]), [99, 1, 1]);
        assert_eq!(parts(0, &[1, 1]), [1, 1]);
    }

    #[test]
    fn a_tenant_is_split_off_a_lane_that_it_is_not_alone_in() {
        let tenant = |id| TenantId::from_u128(id).unwrap();
        let mut lanes = vec![Lane {
            tenants: vec![tenant(1), tenant(2), tenant(3)],
            position: "740:748:||0|20|751".parse().unwrap(),
        }];
        split_off(&mut lanes, tenant(2));
        split_off(&mut lanes, tenant(2));
        let tenants: Vec<_> = lanes.iter().map(|lane| &lane.tenants[..]).collect();
        assert_eq!(tenants, [&[tenant(1), tenant(3)][..], &[tenant(2)]]);
        assert_eq!(lanes[0].position, lanes[1].position);
    }
}
