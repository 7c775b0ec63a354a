//! What this process holds of one limit: charged in the backend, and not used yet.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, Shared};
use tenantry_core::{Error, TenantId};

use crate::{Limit, Rule, Standing};

/// For how long a refusal of the backend is gone by at most: another process may have taken back what it
/// had charged.
const TRUSTED: Duration = Duration::from_secs(1);

/// A lease that is asked for, by all who wait for it.
pub(super) type Asked = Shared<BoxFuture<'static, Result<Answer, Arc<Error>>>>;

/// What the backend said when it was asked for a lease.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    /// For which cost it was asked.
    pub(super) cost: u64,
    /// How much it has charged: nothing where it has refused.
    pub(super) leased: u64,
    /// When it was asked.
    pub(super) since: Duration,
    /// When it answered.
    pub(super) at: Duration,
    pub(super) standing: Standing,
}

pub(super) struct Credit {
    pub(super) hash: u64,
    tenant: TenantId,
    rule: Arc<str>,
    subject: Box<str>,
    /// By which rule it was called last.
    most: u64,
    window: Duration,
    /// Never more than a lease, with what is asked for.
    pub(super) left: u64,
    /// How much of it is of the last lease at most, and when that was asked for.
    leased: u64,
    since: Duration,
    told: Option<Told>,
    refusal: Option<Refusal>,
    pub(super) asked: Option<Asked>,
    /// When it was asked for.
    asked_at: Duration,
}

/// What the backend said last.
#[derive(Clone, Copy)]
struct Told {
    remaining: u64,
    at: Duration,
    resets_at: Duration,
}

#[derive(Clone, Copy)]
struct Refusal {
    cost: u64,
    passes_at: Duration,
    until: Duration,
}

impl Credit {
    pub(super) fn new(hash: u64, tenant: TenantId, limit: &Limit<'_>, now: Duration) -> Self {
        let rule = limit.rule();
        Self {
            hash,
            tenant,
            rule: Arc::clone(rule.shared_name()),
            subject: limit.subject().into(),
            most: rule.most(),
            window: rule.window(),
            left: 0,
            leased: 0,
            since: now,
            told: None,
            refusal: None,
            asked: None,
            asked_at: now,
        }
    }

    /// Joins those who wait for a lease, or begins to ask for one.
    pub(super) fn ask(&mut self, now: Duration, begin: impl FnOnce() -> Asked) -> Asked {
        if self.asked.is_none() {
            self.asked_at = now;
        }
        self.asked.get_or_insert_with(begin).clone()
    }

    pub(super) fn is_of(&self, tenant: TenantId, limit: &Limit<'_>) -> bool {
        let name = limit.rule().shared_name();
        self.tenant == tenant
            && *self.subject == *limit.subject()
            && (Arc::ptr_eq(&self.rule, name) || *self.rule == **name)
    }

    /// Lets go of what is over, and of what is too much by the rule of this call.
    pub(super) fn refresh(&mut self, rule: &Rule, lease: u64, now: Duration) {
        if self.most != rule.most() || self.window != rule.window() {
            if let Some(told) = &mut self.told {
                let grown = told.remaining.saturating_add(rule.most());
                told.remaining = grown.saturating_sub(self.most);
            }
            (self.most, self.window) = (rule.most(), rule.window());
            self.refusal = None;
        }
        self.left = match self.is_charged(now) {
            // What was asked for by another rule may have come since.
            true => self.left.min(lease),
            false => 0,
        };
        self.told = self
            .told
            .filter(|told| told.at.saturating_add(self.window) > now);
    }

    /// Returns whether it may be forgotten.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        // All who have waited for it may be gone.
        let is_awaited = self.asked.is_some() && self.asked_at.saturating_add(self.window) > now;
        let is_refused = self.refusal.is_some_and(|refusal| now < refusal.until);
        !self.is_charged(now) && !is_awaited && !is_refused
    }

    /// Returns whether the backend counts the last lease still, for sure.
    fn is_charged(&self, now: Duration) -> bool {
        self.since.saturating_add(self.window) > now
    }

    pub(super) fn refuses(&self, cost: u64, now: Duration) -> bool {
        self.refusal
            .is_some_and(|refusal| refusal.cost <= cost && now < refusal.until)
    }

    pub(super) const fn is_known(&self) -> bool {
        self.told.is_some()
    }

    /// Says what is left, as far as it can be known here, and when a cost passes.
    pub(super) fn standing(&self, cost: u64, now: Duration) -> Standing {
        let (remaining, resets_at) = match self.told {
            Some(told) => (told.remaining, told.resets_at),
            None => (0, self.since.saturating_add(self.window)),
        };
        let refusal = self.refusal.filter(|_| self.refuses(cost, now));
        let passes_at = refusal.map_or(now, |refusal| refusal.passes_at);
        Standing {
            most: self.most,
            remaining: remaining.saturating_add(self.left).min(self.most),
            retry_after: passes_at.saturating_sub(now),
            reset_after: resets_at.saturating_sub(now),
        }
    }

    /// Takes what the backend answered.
    pub(super) fn settle(&mut self, answer: &Answer) {
        let Answer {
            cost,
            leased,
            since,
            at,
            standing,
        } = *answer;
        self.told = Some(Told {
            remaining: standing.remaining,
            at,
            resets_at: at.saturating_add(standing.reset_after),
        });
        if leased > 0 {
            self.left = self.left.saturating_add(leased);
            (self.leased, self.since, self.refusal) = (leased, since, None);
        } else {
            self.refusal = Some(Refusal {
                cost,
                passes_at: at.saturating_add(standing.retry_after),
                until: at.saturating_add(standing.retry_after.min(TRUSTED)),
            });
        }
    }

    pub(super) const fn forget_refusal(&mut self) {
        self.refusal = None;
    }

    /// Returns how much the backend may take back: what it counts for sure until it has done so.
    pub(super) fn returnable(&self, now: Duration) -> u64 {
        match self.since.saturating_add(self.window / 2) > now {
            true => self.left.min(self.leased),
            false => 0,
        }
    }

    pub(super) const fn give_back(&mut self, amount: u64) {
        self.left = self.left.saturating_sub(amount);
        self.leased = self.leased.saturating_sub(amount);
    }
}
