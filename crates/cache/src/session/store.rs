use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use tenantry_core::{Error, ErrorKind, Result, TenantId};

use super::{ListedSession, SessionHash, SessionMetadata};

/// For how long an id that was rotated can still end what it has become: longer than any request takes.
pub(crate) const MOVED: Duration = Duration::from_secs(300);

/// How many sessions of a user are listed.
pub(crate) const LISTED: usize = 1_000;

/// Keeps the sessions of tenants, by the hashes of their ids.
///
/// # Contract
///
/// An implementer
///
/// - does each call in one step that no other call sees half of;
/// - lets [`create`](Self::create) and [`rotate`](Self::rotate) alone make what was not there, each
///   under a hash that nothing is under: what was deleted, has expired or was rotated away stays gone,
///   whatever calls are under way;
/// - ends a session at its time by a clock of its own, and keeps nothing of it after;
/// - keeps tenants apart: under the hash of another tenant's session there is nothing;
/// - stores no id, since it is never told one.
///
/// A caller may drop each future: the step is done or it is not.
#[async_trait]
pub trait SessionStore: Send + Sync + fmt::Debug {
    /// Begins a session, of version 1.
    ///
    /// # Errors
    ///
    /// - [`AlreadyExists`](ErrorKind::AlreadyExists): there is one under the hash, or was a moment ago.
    /// - [`StorageFull`](ErrorKind::StorageFull): there is no room.
    /// - [`Unavailable`](ErrorKind::Unavailable) and the like, here and below, where the backend does not
    ///   answer.
    async fn create(
        &self,
        tenant: TenantId,
        hash: SessionHash,
        new: NewSession<'_>,
    ) -> Result<SessionMetadata>;

    /// Returns a session, if there is one, and leaves its times as they are.
    ///
    /// # Errors
    ///
    /// Those of the backend alone.
    async fn load(&self, tenant: TenantId, hash: SessionHash) -> Result<Option<StoredSession>>;

    /// Returns a session, if there is one, and lets it be idle for so long from now. Its version stays.
    ///
    /// # Errors
    ///
    /// Those of the backend alone.
    async fn touch(
        &self,
        tenant: TenantId,
        hash: SessionHash,
        idle: Duration,
    ) -> Result<Option<StoredSession>>;

    /// Puts data in the place of what a session has, counts its version up, and touches it.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound): there is none.
    /// - [`Conflict`](ErrorKind::Conflict): it has another version.
    async fn save(
        &self,
        tenant: TenantId,
        hash: SessionHash,
        change: SessionChange,
    ) -> Result<SessionMetadata>;

    /// Saves a session under another hash, and nothing under the one that it had. Where somebody signs in,
    /// it is theirs and its lifetime begins anew.
    ///
    /// For five minutes the hash that it had still leads a [`delete`](Self::delete) to it, and nothing
    /// else.
    ///
    /// # Errors
    ///
    /// As [`save`](Self::save), and [`AlreadyExists`](ErrorKind::AlreadyExists) as
    /// [`create`](Self::create).
    async fn rotate(
        &self,
        tenant: TenantId,
        hash: SessionHash,
        to: SessionHash,
        change: SessionChange,
        sign_in: Option<SignIn<'_>>,
    ) -> Result<SessionMetadata>;

    /// Ends a session, and says whether there was one; with a user, if it is theirs.
    ///
    /// # Errors
    ///
    /// Those of the backend alone.
    async fn delete(&self, tenant: TenantId, hash: SessionHash, user: Option<&str>)
    -> Result<bool>;

    /// Returns the sessions of a user: a thousand at most, those that expire last.
    ///
    /// # Errors
    ///
    /// Those of the backend alone.
    async fn list(&self, tenant: TenantId, user: &str) -> Result<Vec<ListedSession>>;

    /// Ends all sessions of a user, or all but one, and says how many there were.
    ///
    /// # Errors
    ///
    /// Those of the backend alone.
    async fn delete_by_user(
        &self,
        tenant: TenantId,
        user: &str,
        except: Option<SessionHash>,
    ) -> Result<u64>;
}

/// What a session begins with.
#[derive(Clone)]
pub struct NewSession<'u> {
    /// Whose it is, if it is anybody's: 200 bytes at most.
    pub user: Option<&'u str>,
    /// What it holds.
    pub data: Vec<u8>,
    /// How long it lasts at most.
    pub lifetime: Duration,
    /// How long it lasts without use.
    pub idle: Duration,
}

/// What is saved of a session.
#[derive(Clone)]
pub struct SessionChange {
    /// The version that it must have; any, if none is named.
    pub version: Option<u64>,
    /// What it holds from now on.
    pub data: Vec<u8>,
    /// How long it lasts without use from now on.
    pub idle: Duration,
}

/// Who signs in to a session.
#[derive(Clone, Copy)]
pub struct SignIn<'u> {
    /// Whose the session is from now on: 200 bytes at most.
    pub user: &'u str,
    /// How long it lasts at most from now on.
    pub lifetime: Duration,
}

/// What a store holds of a session.
#[derive(Clone)]
pub struct StoredSession {
    /// Whose it is, if it is anybody's.
    pub user: Option<String>,
    /// What it holds.
    pub data: Vec<u8>,
    /// Its version and times.
    pub metadata: SessionMetadata,
}

/// Says that a session is not there, whyever.
pub(crate) fn missing(operation: &'static str) -> Error {
    Error::new(ErrorKind::NotFound, operation)
        .with_detail("it has ended, or its id has changed: let the visitor begin another")
}

pub(crate) fn stale(operation: &'static str) -> Error {
    Error::new(ErrorKind::Conflict, operation)
        .with_detail("another request has saved it since it was loaded: load it again")
}

pub(crate) fn taken(operation: &'static str) -> Error {
    Error::new(ErrorKind::AlreadyExists, operation).with_detail("its id is taken: generate another")
}

impl fmt::Debug for NewSession<'_> {
    /// Without the user and the data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSession")
            .field("lifetime", &self.lifetime)
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SessionChange {
    /// Without the data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionChange")
            .field("version", &self.version)
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SignIn<'_> {
    /// Without the user.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignIn")
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StoredSession {
    /// Without the user and the data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredSession")
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}
