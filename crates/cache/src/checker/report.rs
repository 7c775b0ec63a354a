use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Where a value is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CacheLevel {
    /// In this process.
    Process,
    /// Where several processes share it.
    Shared,
}

impl CacheLevel {
    /// Returns its name, for labels of metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Shared => "shared",
        }
    }
}

/// What was found of the values of one kind in one level, since the checker was made.
///
/// All numbers only go up. That a value differs for some milliseconds is as it should be: a change is
/// committed before others hear of it. One that does for a second and more is of a change that nobody
/// has told the cache of, or not yet, for Redis could not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Consistency {
    /// The name of the kind.
    pub kind: Arc<str>,
    /// Where the values are kept.
    pub level: CacheLevel,
    /// The label of the tenant, where [one is asked for](super::CheckPolicy::with_tenant_label).
    pub tenant: Option<Box<str>>,
    /// How often a value was compared with the store.
    pub looks: u64,
    /// How often nothing could be told: the store has changed meanwhile, or the shared level did not
    /// answer.
    pub undecided: u64,
    /// How many values were found to differ, each counted once, however long it stayed.
    pub differed: u64,
    /// How many of those were still given out a second later.
    pub older_than_1s: u64,
    /// How many of those were 5 seconds later.
    pub older_than_5s: u64,
    /// How many of those were 10 seconds later.
    pub older_than_10s: u64,
    /// How many of those were a minute later.
    pub older_than_60s: u64,
    /// For how long any of them was seen to differ.
    pub longest: Duration,
}

impl Consistency {
    /// Counts marks that a value has passed.
    pub(super) fn pass(&mut self, passed: Range<usize>) {
        let counts = [
            &mut self.older_than_1s,
            &mut self.older_than_5s,
            &mut self.older_than_10s,
            &mut self.older_than_60s,
        ];
        for (mark, count) in counts.into_iter().enumerate() {
            *count += u64::from(passed.contains(&mark));
        }
    }
}

/// The numbers, by kind, level and label: as many as a service has kinds, and labels of tenants.
#[derive(Debug, Default)]
pub(super) struct Counts(BTreeMap<Of, Consistency>);

type Of = (Arc<str>, CacheLevel, Option<Box<str>>);

impl Counts {
    pub(super) fn of(
        &mut self,
        kind: &Arc<str>,
        level: CacheLevel,
        tenant: Option<&str>,
    ) -> &mut Consistency {
        let tenant = tenant.map(Box::from);
        let key = (Arc::clone(kind), level, tenant.clone());
        self.0.entry(key).or_insert_with(|| Consistency {
            kind: Arc::clone(kind),
            level,
            tenant,
            looks: 0,
            undecided: 0,
            differed: 0,
            older_than_1s: 0,
            older_than_5s: 0,
            older_than_10s: 0,
            older_than_60s: 0,
            longest: Duration::ZERO,
        })
    }

    pub(super) fn report(&self) -> Vec<Consistency> {
        self.0.values().cloned().collect()
    }
}
