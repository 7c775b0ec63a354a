//! A level that several processes share: what one must do, whichever server keeps it.

#[cfg(test)]
pub(crate) mod memory;
pub(crate) mod wire;

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tenantry_core::{Result, TenantId};

/// What a value is kept under.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) tenant: TenantId,
    pub(crate) kind: Arc<str>,
    /// Values of another schema are other values of the same key, and end with it.
    pub(crate) schema: u32,
    pub(crate) key: Arc<str>,
    pub(crate) tags: Box<[Box<str>]>,
}

impl Slot {
    pub(crate) fn new<'t>(
        tenant: TenantId,
        kind: &Arc<str>,
        schema: u32,
        key: Arc<str>,
        tags: impl Iterator<Item = &'t str>,
    ) -> Self {
        let mut tags: Vec<Box<str>> = tags.map(Box::from).collect();
        // Whoever names the same is under the same fence.
        tags.sort_unstable();
        tags.dedup();
        Self {
            tenant,
            kind: Arc::clone(kind),
            schema,
            key,
            tags: tags.into(),
        }
    }
}

/// A value, and for how long it is what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) bytes: Vec<u8>,
    /// For how long it is fresh.
    pub(crate) fresh: Duration,
    /// Until when that is, by the clock of the level, in milliseconds.
    pub(crate) until: u64,
}

/// What a reader who found nothing is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Load it, and store what that gives by the fence.
    Load(SharedFence),
    /// Look again: another is loading it, or just has.
    Wait,
}

/// The generations that a load began under, as the level tells them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SharedFence(pub(crate) Vec<u8>);

/// What is over.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Invalidation {
    Key {
        kind: Arc<str>,
        key: Arc<str>,
    },
    Tag(Arc<str>),
    /// All of the tenant.
    Tenant,
}

/// A level that several processes share.
///
/// # Contract
///
/// An implementer
///
/// - gives out no value that was stored by a fence from before an invalidation that has been
///   acknowledged, whatever it has lost since: keys, its last writes, or everything;
/// - lets one of those who begin at the same time load, and the others wait for no longer than the
///   lease, nor for one who began before an invalidation;
/// - has every invalidation heard by all who [listen](Self::listen), or tells them that they may have
///   missed one;
/// - keeps nothing without an end.
#[async_trait]
pub(crate) trait SharedLevel: Send + Sync + fmt::Debug {
    async fn read(&self, slot: &Slot) -> Result<Option<Kept>>;

    /// Asks for the turn to load what is not there, or is fresh until a time which is known.
    async fn begin(&self, slot: &Slot, lease: Duration, known: u64) -> Result<Turn>;

    /// Stores a value for as long as it is fresh; says whether the fence held.
    async fn store(
        &self,
        slot: &Slot,
        fence: &SharedFence,
        bytes: Vec<u8>,
        fresh: Duration,
    ) -> Result<bool>;

    /// Lets another load: the one who had the turn has nothing to store.
    async fn give_up(&self, slot: &Slot, fence: &SharedFence) -> Result<()>;

    async fn invalidate(&self, tenant: TenantId, what: &[Invalidation]) -> Result<()>;

    /// Asks for an answer, of no tenant.
    async fn check(&self) -> Result<()>;

    /// Tells somebody of all invalidations from now on.
    fn listen(&self, listener: Weak<dyn Listener>);
}

/// Who keeps values in its own process beside a shared level.
pub(crate) trait Listener: Send + Sync {
    fn heard(&self, tenant: TenantId, what: &[Invalidation]);

    /// Returns the time by its clock, which never goes back.
    fn now(&self) -> Duration;

    /// Invalidations of a tenant may have been missed.
    fn missed(&self, tenant: TenantId);

    /// Invalidations may have been missed, of whatever tenant.
    fn missed_some(&self);

    /// Everything up to now has been heard, and whatever comes will have been until this time, by the
    /// clock of the listener.
    fn is_sure_until(&self, time: Duration);
}

impl fmt::Debug for Slot {
    /// Without the key, which may be of a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:…", self.tenant, self.kind)
    }
}
