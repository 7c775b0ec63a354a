//! Sessions of this process.

mod state;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use tenantry_core::{Error, ErrorKind, Result, SharedClock, SystemClock, TenantId};

use self::state::{Live, Now, State};
use crate::session::store::{MOVED, missing, stale, taken};
use crate::{
    ListedSession, NewSession, SessionChange, SessionHash, SessionMetadata, SessionStore, SignIn,
    StoredSession,
};

const CREATE: &str = "create session";
const SAVE: &str = "save session";
const ROTATE: &str = "rotate session";

/// Sessions of one process.
///
/// All are behind one lock, which no call holds for long. One that has expired takes no room; no more than
/// a million are kept at a time, and a hundred thousand of one tenant. Further ones are refused, for to
/// make room by ending others would log their users out.
///
/// # Examples
///
/// See [`Sessions`](crate::Sessions).
pub struct MemorySessions {
    clock: SharedClock,
    state: Mutex<State>,
    most: usize,
    most_of_a_tenant: usize,
}

impl MemorySessions {
    /// Ends sessions by the clock of the machine.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// Ends sessions by this clock.
    #[must_use]
    pub fn with_clock(clock: SharedClock) -> Self {
        Self {
            clock,
            state: Mutex::default(),
            most: 1_000_000,
            most_of_a_tenant: 100_000,
        }
    }

    /// Sets how many sessions are kept at a time: a million by default.
    #[must_use]
    pub const fn with_most_sessions(mut self, sessions: usize) -> Self {
        self.most = sessions;
        self
    }

    /// Sets how many sessions of one tenant are kept at a time: a hundred thousand by default.
    #[must_use]
    pub const fn with_most_sessions_of_a_tenant(mut self, sessions: usize) -> Self {
        self.most_of_a_tenant = sessions;
        self
    }

    /// Returns what there is, and the time: inside of the lock, so that what is done later has a later one.
    fn lock(&self) -> (MutexGuard<'_, State>, Now) {
        let mut state = self.state.lock();
        let now = Now {
            passed: self.clock.monotonic(),
            time: self.clock.now(),
        };
        state.forget_few(now.passed);
        (state, now)
    }

    fn check_room(&self, state: &mut State, tenant: TenantId, now: Now) -> Result<()> {
        let is_full = |state: &State| {
            state.sessions() >= self.most || state.sessions_of(tenant) >= self.most_of_a_tenant
        };
        if is_full(state) {
            state.forget_all(now.passed);
        }
        if is_full(state) {
            return Err(Error::new(ErrorKind::StorageFull, CREATE).with_detail(
                "too many sessions are kept at a time: let them expire earlier, or allow more by \
                 with_most_sessions and with_most_sessions_of_a_tenant",
            ));
        }
        Ok(())
    }
}

impl Default for MemorySessions {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl SessionStore for MemorySessions {
    async fn create(
        &self,
        tenant: TenantId,
        hash: SessionHash,
        new: NewSession<'_>,
    ) -> Result<SessionMetadata> {
        let (mut state, now) = self.lock();
        if state.is_taken((tenant, hash), now.passed) {
            return Err(taken(CREATE));
        }
        self.check_room(&mut state, tenant, now)?;
        let mut session = Live {
            user: new.user.map(Into::into),
            data: new.data,
            version: 1,
            created_at: now.time,
            last_seen_at: now.time,
            expires_at: now.time,
            ends: now.passed.saturating_add(new.lifetime),
            expires: Duration::ZERO,
            before: None,
        };
        session.see(new.idle, now);
        let metadata = session.metadata();
        state.insert((tenant, hash), session);
        Ok(metadata)
    }

    async fn load(&self, tenant: TenantId, hash: SessionHash) -> Result<Option<StoredSession>> {
        let (state, now) = self.lock();
        let session = state.find((tenant, hash), now.passed);
        Ok(session.map(|session| session.stored()))
    }

    async fn touch(
        &self,
        tenant: TenantId,
        hash: SessionHash,
        idle: Duration,
    ) -> Result<Option<StoredSession>> {
        let (mut state, now) = self.lock();
        let touched = state.change((tenant, hash), now.passed, |session| {
            session.see(idle, now);
            session.stored()
        });
        Ok(touched)
    }

    async fn save(
        &self,
        tenant: TenantId,
        hash: SessionHash,
        change: SessionChange,
    ) -> Result<SessionMetadata> {
        let (mut state, now) = self.lock();
        let saved = state.change((tenant, hash), now.passed, |session| {
            session.save(SAVE, change, now)?;
            Ok(session.metadata())
        });
        saved.unwrap_or_else(|| Err(missing(SAVE)))
    }

    async fn rotate(
        &self,
        tenant: TenantId,
        hash: SessionHash,
        to: SessionHash,
        change: SessionChange,
        sign_in: Option<SignIn<'_>>,
    ) -> Result<SessionMetadata> {
        let (mut state, now) = self.lock();
        let Some(session) = state.find((tenant, hash), now.passed) else {
            return Err(missing(ROTATE));
        };
        session.check_version(ROTATE, &change)?;
        if state.is_taken((tenant, to), now.passed) {
            return Err(taken(ROTATE));
        }
        let Some(mut session) = state.take((tenant, hash)) else {
            return Err(missing(ROTATE));
        };
        if let Some(SignIn { user, lifetime }) = sign_in {
            session.user = Some(user.into());
            session.created_at = now.time;
            session.ends = now.passed.saturating_add(lifetime);
        }
        session.save(ROTATE, change, now)?;
        let before = session.before.replace(hash);
        let metadata = session.metadata();
        state.insert((tenant, to), session);
        let until = now.passed.saturating_add(MOVED);
        state.lead((tenant, hash), to, before, until);
        Ok(metadata)
    }

    async fn delete(
        &self,
        tenant: TenantId,
        hash: SessionHash,
        user: Option<&str>,
    ) -> Result<bool> {
        let (mut state, now) = self.lock();
        let key = (tenant, state.follow((tenant, hash), now.passed));
        let session = state.find(key, now.passed);
        let is_there =
            session.is_some_and(|session| user.is_none() || session.user.as_deref() == user);
        if is_there {
            state.remove(key);
        }
        Ok(is_there)
    }

    async fn list(&self, tenant: TenantId, user: &str) -> Result<Vec<ListedSession>> {
        let (state, now) = self.lock();
        Ok(state.list(tenant, user, now.passed))
    }

    async fn delete_by_user(
        &self,
        tenant: TenantId,
        user: &str,
        except: Option<SessionHash>,
    ) -> Result<u64> {
        let (mut state, now) = self.lock();
        // Another request may have rotated it.
        let except = except.map(|hash| state.follow((tenant, hash), now.passed));
        let mut ended = 0;
        for hash in state.hashes_of(tenant, user) {
            if Some(hash) != except {
                ended += u64::from(state.find((tenant, hash), now.passed).is_some());
                state.remove((tenant, hash));
            }
        }
        Ok(ended)
    }
}

impl Live {
    fn check_version(&self, operation: &'static str, change: &SessionChange) -> Result<()> {
        match change.version {
            Some(version) if version != self.version => Err(stale(operation)),
            _ => Ok(()),
        }
    }

    fn save(&mut self, operation: &'static str, change: SessionChange, now: Now) -> Result<()> {
        self.check_version(operation, &change)?;
        self.data = change.data;
        self.version += 1;
        self.see(change.idle, now);
        Ok(())
    }
}

impl fmt::Debug for MemorySessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySessions")
            .field("sessions", &self.state.lock().sessions())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tenantry_core::ManualClock;

    use super::*;
    use crate::{SessionPolicy, Sessions};

    #[tokio::test]
    async fn nothing_is_left_of_what_is_over() {
        let clock = ManualClock::new("2026-01-31T12:00:00Z".parse().unwrap());
        let store = Arc::new(MemorySessions::with_clock(Arc::new(clock.clone())));
        let policy = SessionPolicy::default();
        let sessions = Sessions::<u32>::new(Arc::clone(&store) as Arc<_>, policy).unwrap();
        for number in 0..50 {
            let tenant = sessions.tenant(TenantId::generate());
            let mut session = tenant.create(number).await.unwrap();
            for user in ["one", "two", "one"] {
                tenant.sign_in(&mut session, user).await.unwrap();
                tenant.rotate(&mut session).await.unwrap();
                tenant.save(&mut session).await.unwrap();
                tenant.touch(session.id()).await.unwrap();
            }
            if number % 2 == 1 {
                tenant.delete(session.id()).await.unwrap();
            }
        }
        assert!(!store.state.lock().is_empty());
        clock.advance(policy.idle);
        for _ in 0..50 {
            let tenant = sessions.tenant(TenantId::generate());
            assert!(tenant.list("one").await.unwrap().is_empty());
        }
        assert!(store.state.lock().is_empty());
    }
}
