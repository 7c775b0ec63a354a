use std::fmt;

use chrono::{DateTime, Utc};
use tenantry_core::TenantId;

use super::{SessionHash, SessionId, StoredSession};

/// The session of one visitor, as it was loaded.
///
/// `data` is the service's own; [`TenantSessions::save`](super::TenantSessions::save) stores what was
/// changed in it. Who the user is changes together with the id alone, by
/// [`sign_in`](super::TenantSessions::sign_in).
pub struct Session<T> {
    /// What the service remembers of the visitor.
    pub data: T,
    pub(super) tenant: TenantId,
    pub(super) id: SessionId,
    pub(super) user: Option<String>,
    pub(super) metadata: SessionMetadata,
}

/// How often a session was saved, and its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionMetadata {
    /// 1 at first, and one more with each save.
    pub version: u64,
    /// When it began, or its user signed in.
    pub created_at: DateTime<Utc>,
    /// When it was created, touched or saved last.
    pub last_seen_at: DateTime<Utc>,
    /// When it ends, if it is not used until then.
    pub expires_at: DateTime<Utc>,
}

/// A session in the list of a user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedSession {
    /// Which it is; it lets nobody in.
    pub hash: SessionHash,
    /// Its times.
    pub metadata: SessionMetadata,
}

impl<T> Session<T> {
    /// Returns the id, for the cookie.
    #[must_use]
    pub const fn id(&self) -> &SessionId {
        &self.id
    }

    /// Returns which one of a user's list it is.
    #[must_use]
    pub const fn hash(&self) -> SessionHash {
        self.id.hash()
    }

    /// Returns who has signed in, if anybody has.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Returns its version and times, as of when it was loaded or saved.
    #[must_use]
    pub const fn metadata(&self) -> SessionMetadata {
        self.metadata
    }

    pub(super) fn new(tenant: TenantId, id: SessionId, stored: StoredSession, data: T) -> Self {
        Self {
            data,
            tenant,
            id,
            user: stored.user,
            metadata: stored.metadata,
        }
    }
}

impl<T> fmt::Debug for Session<T> {
    /// Without the id, the user and the data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}
