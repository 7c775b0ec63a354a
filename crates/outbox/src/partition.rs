//! Into which part of the keys a key falls.

use tenantry_core::TenantId;

/// How many parts there are; as many rows stand in `outbox_partitions`.
pub(crate) const PARTITIONS: u16 = 64;

/// Returns the part of a key of a tenant. It is stored with each message: it must stay what it is.
pub(crate) fn partition_of(tenant: TenantId, key: &str) -> i16 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(tenant.as_uuid().as_bytes());
    hasher.update(key.as_bytes());
    let part = hasher.finalize() % u32::from(PARTITIONS);
    // It is less than 64.
    i16::try_from(part).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_of_a_key_is_what_it_was() {
        let tenant = |id| TenantId::from_u128(id).unwrap();
        let of = |id, key| partition_of(tenant(id), key);
        assert_eq!(
            [of(1, "a"), of(1, "b"), of(2, "a"), of(2, "invoice-7")],
            [50, 8, 49, 32]
        );
    }

    #[test]
    fn keys_are_spread_and_tenants_do_not_share_them() {
        let mut counts = [0_u32; PARTITIONS as usize];
        for tenant in 1..=2_u128 {
            for key in 0..6_400 {
                let part = partition_of(TenantId::from_u128(tenant).unwrap(), &key.to_string());
                counts[usize::try_from(part).unwrap()] += 1;
            }
        }
        assert!(
            counts.iter().all(|count| (100..300).contains(count)),
            "{counts:?}"
        );
    }
}
