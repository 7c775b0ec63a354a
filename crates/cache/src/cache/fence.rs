//! What tells whether a value is older than an invalidation.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tenantry_core::TenantId;

use super::room::Room;

/// How many tags of a tenant are known before those that nothing depends on are looked for.
const FEW_TAGS: usize = 64;

/// What is known of one tenant in this process.
///
/// It is there for as long as a handle, a value or a load of the tenant is: who meets another one of
/// the same tenant meets a cache that has forgotten it.
pub(super) struct Tenant {
    pub(super) id: TenantId,
    /// Another one for each that there is in this process, also of the same tenant.
    number: u64,
    /// Goes up when all of it is flushed.
    generation: AtomicU64,
    tags: Mutex<Tags>,
    pub(super) room: Room,
}

#[derive(Default)]
struct Tags {
    known: HashMap<Arc<str>, Arc<Tag>>,
    /// How many there may be before they are looked through.
    bound: usize,
}

/// What several values depend on.
#[derive(Debug)]
struct Tag {
    name: Arc<str>,
    /// Goes up when what depends on it is invalidated.
    generation: AtomicU64,
}

/// A tag, and its generation.
type TagStamp = (Arc<Tag>, u64);

/// What a load began under.
#[derive(Clone)]
pub(super) struct Fence {
    tenant: Arc<Tenant>,
    pub(super) stamp: Stamp,
}

/// The generations that a load began under. What it gives is kept, and used, for as long as they are
/// the current ones.
#[derive(Clone)]
pub(super) struct Stamp {
    tenant: u64,
    generation: u64,
    epoch: u64,
    /// Nothing where there are none: then a clone counts no reference.
    tags: Option<Arc<[TagStamp]>>,
}

/// Goes up when everything is invalidated.
#[derive(Debug, Default)]
pub(super) struct Epoch(AtomicU64);

impl Epoch {
    pub(super) fn end(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    fn current(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Tenant {
    pub(super) fn new(id: TenantId, quota: usize) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            generation: AtomicU64::new(0),
            tags: Mutex::default(),
            room: Room::new(quota),
        }
    }

    /// Ends whatever was loaded of the tenant, and what is being loaded.
    pub(super) fn flush(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Ends what depends on a tag.
    pub(super) fn flush_tag(&self, name: &str) {
        // Where it is not known, nothing depends on it.
        if let Some(tag) = self.tags.lock().known.get(name) {
            tag.generation.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn tag(&self, name: &str) -> Arc<Tag> {
        let mut tags = self.tags.lock();
        if let Some(tag) = tags.known.get(name) {
            return Arc::clone(tag);
        }
        if tags.known.len() >= tags.bound.max(FEW_TAGS) {
            // Whoever has one got it here, under the lock.
            tags.known.retain(|_, tag| Arc::strong_count(tag) > 1);
            tags.bound = 2 * tags.known.len();
        }
        let tag = Arc::new(Tag {
            name: name.into(),
            generation: AtomicU64::new(0),
        });
        tags.known.insert(Arc::clone(&tag.name), Arc::clone(&tag));
        tag
    }
}

impl Fence {
    /// Takes note of the generations. Whatever is read after this is no older than any invalidation
    /// that the fence does not tell of.
    pub(super) fn new(tenant: &Arc<Tenant>, epoch: &Epoch, tags: &[&str]) -> Self {
        let generation = |name: &&str| {
            let tag = tenant.tag(name);
            let generation = tag.generation.load(Ordering::Acquire);
            (tag, generation)
        };
        let stamp = Stamp {
            tenant: tenant.number,
            generation: tenant.generation.load(Ordering::Acquire),
            epoch: epoch.current(),
            tags: (!tags.is_empty()).then(|| tags.iter().map(generation).collect()),
        };
        Self {
            tenant: Arc::clone(tenant),
            stamp,
        }
    }

    pub(super) const fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    pub(super) fn tags(&self) -> impl Iterator<Item = &str> {
        self.stamp.tags().map(|(tag, _)| &*tag.name)
    }
}

impl Stamp {
    fn tags(&self) -> impl Iterator<Item = &TagStamp> {
        self.tags.iter().flat_map(|tags| tags.iter())
    }

    /// Says whether nothing of it was invalidated since, for who sees the tenant like this.
    pub(super) fn holds(&self, tenant: &Tenant, epoch: &Epoch) -> bool {
        self.tenant == tenant.number
            && self.generation == tenant.generation.load(Ordering::Acquire)
            && self.epoch == epoch.current()
            && self
                .tags()
                .all(|(tag, generation)| tag.generation.load(Ordering::Acquire) == *generation)
    }

    /// Says whether it tells of each of these tags.
    pub(super) fn tells_of(&self, tags: &[&str]) -> bool {
        tags.iter()
            .all(|name| self.tags().any(|(tag, _)| &*tag.name == *name))
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenant")
            .field("id", &self.id)
            .field("bytes", &self.room.bytes())
            .finish_non_exhaustive()
    }
}

/// The tenants that something is known of.
#[derive(Debug)]
pub(super) struct Tenants {
    known: parking_lot::RwLock<HashMap<TenantId, Arc<Tenant>>>,
    /// How many there may be before those of which nothing is left are looked for.
    bound: AtomicUsize,
    quota: usize,
}

impl Tenants {
    pub(super) fn new(quota: usize) -> Self {
        Self {
            known: Default::default(),
            bound: AtomicUsize::new(FEW_TENANTS),
            quota,
        }
    }

    pub(super) fn get(&self, id: TenantId) -> Arc<Tenant> {
        if let Some(tenant) = self.known.read().get(&id) {
            return Arc::clone(tenant);
        }
        let mut known = self.known.write();
        if known.len() >= self.bound.load(Ordering::Relaxed) {
            // Whoever has one got it here, under the lock.
            known.retain(|_, tenant| Arc::strong_count(tenant) > 1 || !tenant.room.is_empty());
            self.bound
                .store((2 * known.len()).max(FEW_TENANTS), Ordering::Relaxed);
        }
        let tenant = known
            .entry(id)
            .or_insert_with(|| Arc::new(Tenant::new(id, self.quota)));
        Arc::clone(tenant)
    }

    /// Returns a tenant if anything is known of it.
    pub(super) fn known(&self, id: TenantId) -> Option<Arc<Tenant>> {
        self.known.read().get(&id).map(Arc::clone)
    }
}

/// How many tenants are known before those of which nothing is left are looked for.
const FEW_TENANTS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> Arc<Tenant> {
        Arc::new(Tenant::new(TenantId::generate(), 0))
    }

    #[test]
    fn a_fence_holds_until_something_of_it_ends() {
        let (tenant, epoch) = (tenant(), Epoch::default());
        let fence = || Fence::new(&tenant, &epoch, &["one", "two"]);
        let ends: [&dyn Fn(); 4] = [
            &|| tenant.flush(),
            &|| tenant.flush_tag("one"),
            &|| tenant.flush_tag("two"),
            &|| epoch.end(),
        ];
        for end in ends {
            let before = fence();
            tenant.flush_tag("three");
            assert!(before.stamp.holds(&tenant, &epoch));
            end();
            assert!(!before.stamp.holds(&tenant, &epoch));
            assert!(fence().stamp.holds(&tenant, &epoch));
        }
        let of_another = Arc::new(Tenant::new(tenant.id, 0));
        assert!(!fence().stamp.holds(&of_another, &epoch));
    }

    #[test]
    fn tags_that_nothing_depends_on_are_forgotten() {
        let (tenant, epoch) = (tenant(), Epoch::default());
        let kept: Vec<_> = (0..10)
            .map(|number| Fence::new(&tenant, &epoch, &[&format!("kept {number}")]))
            .collect();
        for number in 0..10_000 {
            let _ = Fence::new(&tenant, &epoch, &[&format!("tag {number}")]);
        }
        assert!(tenant.tags.lock().known.len() <= 2 * FEW_TAGS);
        for (number, fence) in kept.iter().enumerate() {
            assert!(fence.stamp.holds(&tenant, &epoch));
            tenant.flush_tag(&format!("kept {number}"));
            assert!(!fence.stamp.holds(&tenant, &epoch));
        }
    }

    #[test]
    fn tenants_of_which_nothing_is_left_are_forgotten() {
        let tenants = Tenants::new(0);
        let kept = tenants.get(TenantId::generate());
        for _ in 0..10 * FEW_TENANTS {
            tenants.get(TenantId::generate());
        }
        assert!(tenants.known.read().len() <= 2 * FEW_TENANTS);
        assert!(Arc::ptr_eq(&kept, &tenants.get(kept.id)));
    }
}
