//! What this process holds of limits, and what it decides by it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ahash::RandomState;
use hashbrown::HashTable;
use parking_lot::Mutex;
use tenantry_core::TenantId;

use super::LeasePolicy;
use super::credit::{Answer, Asked, Credit};
use crate::limit::STACKED;
use crate::{Decision, Limit, Standing};

/// How many parts the credits are in, each behind a lock of its own.
const SHARDS: usize = 64;

/// How long a part that is full is not looked through again.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// The credits of a tenant are behind one lock: what is charged to several limits is charged in one step.
pub(super) struct Credits {
    policy: LeasePolicy,
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    subjects: AtomicUsize,
    pub(super) most_subjects: usize,
}

/// A request, at a time.
#[derive(Clone, Copy)]
pub(super) struct Call<'c> {
    pub(super) tenant: TenantId,
    pub(super) limits: &'c [Limit<'c>],
    pub(super) cost: u64,
    pub(super) now: Duration,
}

/// How a request goes on.
pub(super) enum Step {
    Decided(Decision),
    /// With a lease.
    Lacks,
    /// By the backend.
    Unknown,
}

#[derive(Default)]
struct Shard {
    table: HashTable<Credit>,
    /// How many subjects came since those that are over were looked for, and when that may be done again
    /// though none came.
    added: usize,
    look_after: Duration,
}

impl Credits {
    pub(super) fn new(policy: LeasePolicy) -> Self {
        Self {
            policy,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            subjects: AtomicUsize::new(0),
            most_subjects: 100_000,
        }
    }

    pub(super) fn subjects(&self) -> usize {
        self.subjects.load(Ordering::Relaxed)
    }

    /// Decides a request whose limits are all leased.
    pub(super) fn decide(&self, call: &Call<'_>) -> Step {
        let mut places = [None; STACKED];
        let (mut is_refused, mut is_known, mut lacks) = (false, true, false);
        let hashes = self.hashes(call);
        let mut shard = self.shard(call.tenant).lock();
        for (index, limit) in call.limits.iter().enumerate() {
            places[index] = shard.place(hashes[index], call.tenant, limit);
            let Some(credit) = shard.at(places[index]) else {
                (is_known, lacks) = (false, true);
                continue;
            };
            credit.refresh(limit.rule(), self.policy.lease(limit.rule()), call.now);
            is_refused |= credit.refuses(call.cost, call.now);
            is_known &= credit.is_known();
            lacks |= credit.left < call.cost;
        }
        match (is_refused, is_known, lacks) {
            (true, true, _) => {}
            (true, false, _) => return Step::Unknown,
            (false, _, true) => return Step::Lacks,
            (false, _, false) => {}
        }
        let mut standings = Vec::with_capacity(call.limits.len());
        for place in &places[..call.limits.len()] {
            if let Some(credit) = shard.at(*place) {
                if !is_refused {
                    credit.left = credit.left.saturating_sub(call.cost);
                }
                standings.push(credit.standing(call.cost, call.now));
            }
        }
        drop(shard);
        Step::Decided(Decision::new(!is_refused, standings))
    }

    /// Asks for a lease of each limit that has too little left, or joins who has asked; by the index of
    /// the limit. Nothing where there is no room for a subject.
    ///
    /// The lease that is asked for has room for so much, and so much is needed.
    pub(super) fn ask(
        &self,
        call: &Call<'_>,
        begin: impl Fn(&Limit<'_>, u64, u64) -> Asked,
    ) -> Option<Vec<(usize, Asked)>> {
        let hashes = self.hashes(call);
        let mut shard = self.shard(call.tenant).lock();
        if !self.make_room(&mut shard, call, &hashes) {
            return None;
        }
        let mut asked = Vec::new();
        for (index, limit) in call.limits.iter().enumerate() {
            let place = shard.place(hashes[index], call.tenant, limit);
            let Some(credit) = shard.at(place) else {
                continue;
            };
            let lease = self.policy.lease(limit.rule());
            credit.refresh(limit.rule(), lease, call.now);
            if credit.left >= call.cost {
                continue;
            }
            let (room, needed) = (lease - credit.left.min(lease), call.cost - credit.left);
            let waits = credit.ask(call.now, || begin(limit, room, needed));
            asked.push((index, waits));
        }
        Some(asked)
    }

    /// Takes what the backend answered, once for all who have waited.
    pub(super) fn settle(
        &self,
        call: &Call<'_>,
        index: usize,
        asked: &Asked,
        answer: Option<&Answer>,
    ) {
        let limit = &call.limits[index];
        let hash = self.hash(call.tenant, limit);
        let mut shard = self.shard(call.tenant).lock();
        let place = shard.place(hash, call.tenant, limit);
        let Some(credit) = shard.at(place) else {
            return;
        };
        if credit.asked.as_ref().is_some_and(|it| it.ptr_eq(asked)) {
            credit.asked = None;
            if let Some(answer) = answer {
                credit.settle(answer);
            }
        }
    }

    /// Lets go of what the backend should take back, so that it can admit what it has refused: nothing
    /// where that is not enough.
    pub(super) fn give_back(&self, call: &Call<'_>, refused: &[Standing]) -> Vec<(usize, u64)> {
        let mut given = Vec::new();
        let mut shard = self.shard(call.tenant).lock();
        for (index, (limit, standing)) in call.limits.iter().zip(refused).enumerate() {
            if standing.remaining >= call.cost {
                continue;
            }
            let place = shard.place(self.hash(call.tenant, limit), call.tenant, limit);
            let credit = shard.at(place);
            let amount = credit.map_or(0, |credit| credit.returnable(call.now));
            if standing.remaining.saturating_add(amount) < call.cost {
                return Vec::new();
            }
            given.push((index, amount));
        }
        for (index, amount) in &given {
            let limit = &call.limits[*index];
            let place = shard.place(self.hash(call.tenant, limit), call.tenant, limit);
            if let Some(credit) = shard.at(place) {
                credit.give_back(*amount);
            }
        }
        given
    }

    /// Adds what is held here to what the backend has left.
    pub(super) fn add_left(&self, call: &Call<'_>, standings: &mut [Standing]) {
        let mut shard = self.shard(call.tenant).lock();
        for (limit, standing) in call.limits.iter().zip(standings) {
            let place = shard.place(self.hash(call.tenant, limit), call.tenant, limit);
            if let Some(credit) = shard.at(place) {
                let lease = self.policy.lease(limit.rule());
                credit.refresh(limit.rule(), lease, call.now);
                let remaining = standing.remaining.saturating_add(credit.left);
                standing.remaining = remaining.min(standing.most);
                if standing.remaining >= call.cost {
                    standing.retry_after = Duration::ZERO;
                }
            }
        }
    }

    /// Lets what was refused be asked for again.
    pub(super) fn forget_refusals(&self, tenant: TenantId, limits: &[Limit<'_>]) {
        let mut shard = self.shard(tenant).lock();
        for limit in limits {
            let place = shard.place(self.hash(tenant, limit), tenant, limit);
            if let Some(credit) = shard.at(place) {
                credit.forget_refusal();
            }
        }
    }

    fn hashes(&self, call: &Call<'_>) -> [u64; STACKED] {
        let mut hashes = [0; STACKED];
        for (hash, limit) in hashes.iter_mut().zip(call.limits) {
            *hash = self.hash(call.tenant, limit);
        }
        hashes
    }

    fn hash(&self, tenant: TenantId, limit: &Limit<'_>) -> u64 {
        self.hasher.hash_one((tenant, limit.key()))
    }

    fn shard(&self, tenant: TenantId) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(tenant);
        let index = usize::try_from(hash % SHARDS as u64).unwrap_or_default();
        &self.shards[index]
    }

    /// Makes room for the subjects of a request that are not known yet; says whether there is.
    fn make_room(&self, shard: &mut Shard, call: &Call<'_>, hashes: &[u64; STACKED]) -> bool {
        let mut new = shard.unknown(call, hashes);
        if new == 0 {
            return true;
        }
        let is_due = shard.added > shard.table.len() / 2;
        if is_due || (self.is_full(new) && call.now >= shard.look_after) {
            self.forget_past(shard, call.now);
            // Of those that were known, some may be over.
            new = shard.unknown(call, hashes);
        }
        if self.is_full(new) {
            self.forget_elsewhere(call.now);
        }
        if self.is_full(new) {
            return false;
        }
        for (limit, hash) in call.limits.iter().zip(hashes) {
            if shard.place(*hash, call.tenant, limit).is_none() {
                let credit = Credit::new(*hash, call.tenant, limit, call.now);
                shard.table.insert_unique(*hash, credit, |it| it.hash);
            }
        }
        shard.added += new;
        self.subjects.fetch_add(new, Ordering::Relaxed);
        true
    }

    /// Takes away what is over in other parts; one that is in use is left to whoever uses it.
    fn forget_elsewhere(&self, now: Duration) {
        for shard in &self.shards {
            if let Some(mut shard) = shard.try_lock()
                && now >= shard.look_after
            {
                self.forget_past(&mut shard, now);
            }
        }
    }

    fn is_full(&self, new: usize) -> bool {
        self.subjects().saturating_add(new) > self.most_subjects
    }

    fn forget_past(&self, shard: &mut Shard, now: Duration) {
        let before = shard.table.len();
        shard.table.retain(|credit| !credit.is_over(now));
        let gone = before - shard.table.len();
        self.subjects.fetch_sub(gone, Ordering::Relaxed);
        shard.added = 0;
        shard.look_after = now.saturating_add(LOOK_PAUSE);
    }
}

impl Shard {
    /// Returns of how many subjects nothing is known yet.
    fn unknown(&self, call: &Call<'_>, hashes: &[u64; STACKED]) -> usize {
        let is_new = |(limit, hash): &(&Limit<'_>, &u64)| {
            let place = self.place(**hash, call.tenant, limit);
            place.is_none()
        };
        call.limits.iter().zip(hashes).filter(is_new).count()
    }

    fn place(&self, hash: u64, tenant: TenantId, limit: &Limit<'_>) -> Option<usize> {
        self.table
            .find_bucket_index(hash, |credit| credit.is_of(tenant, limit))
    }

    fn at(&mut self, place: Option<usize>) -> Option<&mut Credit> {
        self.table.get_bucket_mut(place?)
    }
}
