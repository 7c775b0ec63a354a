//! What is told of values that are not shared.

use std::time::Duration;

use parking_lot::Mutex;

use crate::shared::Slot;
use crate::shared::wire::{Damage, Unwritten};

/// How often it is told of values that are for others.
const EACH: Duration = Duration::from_secs(1);

/// Tells of values that were read and are of no use.
#[derive(Default)]
pub(super) struct Alarm {
    /// How many there were that are for others, and until when no more is told of them.
    foreign: Mutex<(u64, Duration)>,
}

impl Alarm {
    pub(super) fn useless(&self, slot: &Slot, damage: Damage, now: Duration) {
        if damage != Damage::Foreign {
            let told = match damage {
                Damage::Oversized => {
                    "a value in the shared cache is larger than is taken here, and not used: is \
                     with_max_value_bytes less than where it was stored?"
                }
                _ => "a value in the shared cache is not what was stored there, and not used",
            };
            tracing::error!(
                target: "tenantry::cache",
                tenant = %slot.tenant,
                kind = &*slot.kind,
                ?damage,
                "{told}"
            );
            return;
        }
        // While a release is rolled out there may be very many.
        let mut foreign = self.foreign.lock();
        let (count, until) = &mut *foreign;
        *count += 1;
        if now >= *until {
            *until = now.saturating_add(EACH);
            tracing::warn!(
                target: "tenantry::cache",
                tenant = %slot.tenant,
                kind = &*slot.kind,
                schema = slot.schema,
                count = *count,
                "values in the shared cache are of a format or a type that this process does not read, \
                 and are loaded anew: do processes differ in their features, or is the schema the same \
                 for two types?"
            );
        }
    }
}

/// Tells of a value that was not stored.
pub(super) fn unwritten(slot: &Slot, why: Unwritten) {
    match why {
        Unwritten::Oversized(bytes) => tracing::warn!(
            target: "tenantry::cache",
            tenant = %slot.tenant,
            kind = &*slot.kind,
            bytes,
            "a value is too large for the shared cache, and kept in this process alone: see \
             with_max_value_bytes"
        ),
        Unwritten::Unwritable => tracing::warn!(
            target: "tenantry::cache",
            tenant = %slot.tenant,
            kind = &*slot.kind,
            "a value cannot be written in the format of its kind, and is kept in this process alone"
        ),
    }
}
