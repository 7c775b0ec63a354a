use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use tenantry_core::TenantId;

use crate::session::store::LISTED;
use crate::{ListedSession, SessionHash, SessionMetadata, StoredSession};

/// How many of those that are over a call takes away: more than it can add.
const FEW: usize = 16;

/// How many rotations of a session an id is followed through.
const LEADS: usize = 8;

pub(super) type Key = (TenantId, SessionHash);

/// One moment, by both clocks.
#[derive(Clone, Copy)]
pub(super) struct Now {
    pub(super) passed: Duration,
    pub(super) time: DateTime<Utc>,
}

/// All sessions, and where they are found.
#[derive(Default)]
pub(super) struct State {
    entries: HashMap<Key, Entry>,
    /// Which is over first.
    order: BTreeSet<(Duration, Key)>,
    users: HashMap<(TenantId, Arc<str>), HashSet<SessionHash>>,
    tenants: HashMap<TenantId, usize>,
    sessions: usize,
}

enum Entry {
    Live(Live),
    /// Leads to what it has become; a few for each session at most.
    Moved {
        to: SessionHash,
        /// What leads to this one.
        before: Option<SessionHash>,
        until: Duration,
    },
}

pub(super) struct Live {
    pub(super) user: Option<Arc<str>>,
    pub(super) data: Vec<u8>,
    pub(super) version: u64,
    pub(super) created_at: DateTime<Utc>,
    pub(super) last_seen_at: DateTime<Utc>,
    /// What is shown; `expires` decides.
    pub(super) expires_at: DateTime<Utc>,
    /// When it ends however much it is used.
    pub(super) ends: Duration,
    pub(super) expires: Duration,
    /// What leads to it.
    pub(super) before: Option<SessionHash>,
}

impl State {
    pub(super) const fn sessions(&self) -> usize {
        self.sessions
    }

    pub(super) fn sessions_of(&self, tenant: TenantId) -> usize {
        self.tenants.get(&tenant).copied().unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let Self {
            entries,
            order,
            users,
            tenants,
            sessions,
        } = self;
        entries.is_empty()
            && order.is_empty()
            && users.is_empty()
            && tenants.is_empty()
            && *sessions == 0
    }

    /// Takes a few away that are over, so that no call waits for many.
    pub(super) fn forget_few(&mut self, now: Duration) {
        for _ in 0..FEW {
            if !self.forget_first(now) {
                return;
            }
        }
    }

    pub(super) fn forget_all(&mut self, now: Duration) {
        while self.forget_first(now) {}
    }

    fn forget_first(&mut self, now: Duration) -> bool {
        match self.order.first() {
            Some((over, key)) if *over <= now => {
                let key = *key;
                self.remove(key);
                true
            }
            _ => false,
        }
    }

    /// Says whether something is under a key, or was a moment ago.
    pub(super) fn is_taken(&self, key: Key, now: Duration) -> bool {
        let entry = self.entries.get(&key);
        entry.is_some_and(|entry| entry.over() > now)
    }

    pub(super) fn find(&self, key: Key, now: Duration) -> Option<&Live> {
        match self.entries.get(&key)? {
            Entry::Live(session) if session.expires > now => Some(session),
            _ => None,
        }
    }

    /// Changes a session that is there, and when it is over.
    pub(super) fn change<R>(
        &mut self,
        key: Key,
        now: Duration,
        change: impl FnOnce(&mut Live) -> R,
    ) -> Option<R> {
        match self.entries.get_mut(&key)? {
            Entry::Live(session) if session.expires > now => {
                let before = session.expires;
                let changed = change(session);
                let after = session.expires;
                self.order.remove(&(before, key));
                self.order.insert((after, key));
                Some(changed)
            }
            _ => None,
        }
    }

    pub(super) fn insert(&mut self, key: Key, session: Live) {
        // What has been there is over.
        self.remove(key);
        let (tenant, hash) = key;
        if let Some(user) = &session.user {
            let user = (tenant, Arc::clone(user));
            self.users.entry(user).or_default().insert(hash);
        }
        *self.tenants.entry(tenant).or_default() += 1;
        self.sessions += 1;
        self.order.insert((session.expires, key));
        self.entries.insert(key, Entry::Live(session));
    }

    /// Leads from a key to what it has become.
    pub(super) fn lead(
        &mut self,
        key: Key,
        to: SessionHash,
        before: Option<SessionHash>,
        until: Duration,
    ) {
        self.order.insert((until, key));
        self.entries.insert(key, Entry::Moved { to, before, until });
        self.forget_leads(key.0, to, Some(key.1), LEADS);
    }

    /// Takes away what leads to a hash, but the nearest few.
    fn forget_leads(
        &mut self,
        tenant: TenantId,
        mut to: SessionHash,
        mut lead: Option<SessionHash>,
        keep: usize,
    ) {
        let mut kept = 0;
        while let Some(hash) = lead
            && let Some(Entry::Moved {
                to: it,
                before,
                until,
            }) = self.entries.get(&(tenant, hash))
            && *it == to
        {
            let (next, until) = (*before, *until);
            if kept == keep {
                self.entries.remove(&(tenant, hash));
                self.order.remove(&(until, (tenant, hash)));
            } else {
                kept += 1;
            }
            (to, lead) = (hash, next);
        }
    }

    /// Returns what a hash has become.
    pub(super) fn follow(&self, key: Key, now: Duration) -> SessionHash {
        let (tenant, mut hash) = key;
        for _ in 0..LEADS {
            match self.entries.get(&(tenant, hash)) {
                Some(Entry::Moved { to, until, .. }) if *until > now => hash = *to,
                _ => break,
            }
        }
        hash
    }

    /// Takes away what is under a key, and what leads to it.
    pub(super) fn remove(&mut self, key: Key) -> Option<Live> {
        let session = self.take(key)?;
        self.forget_leads(key.0, key.1, session.before, 0);
        Some(session)
    }

    /// Takes away what is under a key alone.
    pub(super) fn take(&mut self, key: Key) -> Option<Live> {
        let entry = self.entries.remove(&key)?;
        self.order.remove(&(entry.over(), key));
        let Entry::Live(session) = entry else {
            return None;
        };
        let (tenant, hash) = key;
        if let Some(user) = &session.user {
            let user = (tenant, Arc::clone(user));
            if let Some(hashes) = self.users.get_mut(&user) {
                hashes.remove(&hash);
                if hashes.is_empty() {
                    self.users.remove(&user);
                }
            }
        }
        if let Some(sessions) = self.tenants.get_mut(&tenant) {
            *sessions -= 1;
            if *sessions == 0 {
                self.tenants.remove(&tenant);
            }
        }
        self.sessions -= 1;
        Some(session)
    }

    pub(super) fn hashes_of(&self, tenant: TenantId, user: &str) -> Vec<SessionHash> {
        let hashes = self.users.get(&(tenant, user.into()));
        hashes.into_iter().flatten().copied().collect()
    }

    pub(super) fn list(&self, tenant: TenantId, user: &str, now: Duration) -> Vec<ListedSession> {
        let mut listed: Vec<_> = self
            .hashes_of(tenant, user)
            .into_iter()
            .filter_map(|hash| Some((hash, self.find((tenant, hash), now)?)))
            .collect();
        listed.sort_by_key(|(_, session)| std::cmp::Reverse(session.expires));
        listed.truncate(LISTED);
        listed
            .into_iter()
            .map(|(hash, session)| ListedSession {
                hash,
                metadata: session.metadata(),
            })
            .collect()
    }
}

impl Entry {
    const fn over(&self) -> Duration {
        match self {
            Self::Live(session) => session.expires,
            Self::Moved { until, .. } => *until,
        }
    }
}

impl Live {
    /// Lets it be idle for so long from now.
    pub(super) fn see(&mut self, idle: Duration, now: Now) {
        self.last_seen_at = now.time;
        self.expires = now.passed.saturating_add(idle).min(self.ends);
        let left = self.expires.saturating_sub(now.passed);
        self.expires_at = TimeDelta::from_std(left)
            .ok()
            .and_then(|left| now.time.checked_add_signed(left))
            .map_or(DateTime::<Utc>::MAX_UTC, |at| at.trunc_subsecs(6));
    }

    pub(super) const fn metadata(&self) -> SessionMetadata {
        SessionMetadata {
            version: self.version,
            created_at: self.created_at,
            last_seen_at: self.last_seen_at,
            expires_at: self.expires_at,
        }
    }

    pub(super) fn stored(&self) -> StoredSession {
        StoredSession {
            user: self.user.as_deref().map(str::to_owned),
            data: self.data.clone(),
            metadata: self.metadata(),
        }
    }
}
