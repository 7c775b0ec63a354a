use std::cmp::Reverse;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tenantry_core::{Error, ErrorKind, Result, TenantId};

use super::{
    ListedSession, NewSession, Session, SessionChange, SessionHash, SessionId, SessionPolicy,
    SessionStore, SignIn, StoredSession,
};

const CREATE: &str = "create session";
const LOAD: &str = "load session";
const TOUCH: &str = "touch session";
const SAVE: &str = "save session";
const ROTATE: &str = "rotate session";
const SIGN_IN: &str = "sign in to session";
const LIST: &str = "list sessions";
const DELETE: &str = "delete session";
const DELETE_BY_USER: &str = "delete sessions of user";

/// The longest name of a user, in bytes.
const LONGEST_USER: usize = 200;

/// Remembers the visitors of one tenant.
///
/// # Isolation
///
/// The id of another tenant's session answers as one that nobody has.
///
/// # Cancel safety
///
/// Of each call that is dropped, as of each that ends in [`Unavailable`](ErrorKind::Unavailable), what it
/// does is done as a whole or not at all. A save that was done then makes another of the same session a
/// [`Conflict`](ErrorKind::Conflict). A session that was rotated then is lost to its visitor, who begins
/// another: nobody was told the new id, and [`delete`](Self::delete) by the old one ends it.
pub struct TenantSessions<T> {
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) policy: SessionPolicy,
    pub(super) tenant: TenantId,
    pub(super) data: PhantomData<fn() -> T>,
}

impl<T> TenantSessions<T> {
    /// Returns the tenant.
    #[must_use]
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Ends a session, and says whether there was one.
    ///
    /// Whatever requests are under way, it does not come back: they cannot save it. One that was rotated
    /// within the last five minutes ends as well by the id that it had, so that who logs out while another
    /// request rotates is logged out.
    ///
    /// # Errors
    ///
    /// - [`Unavailable`](ErrorKind::Unavailable): the store does not answer; the session may be there yet.
    pub async fn delete(&self, id: &SessionId) -> Result<bool> {
        self.store.delete(self.tenant, id.hash(), None).await
    }

    /// Returns the sessions of a user: a thousand at most, whichever was seen last first.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): no user is called so: see
    ///   [`create_for`](Self::create_for).
    /// - [`Unavailable`](ErrorKind::Unavailable): the store does not answer.
    pub async fn list(&self, user: &str) -> Result<Vec<ListedSession>> {
        check_user(LIST, user)?;
        let mut listed = self.store.list(self.tenant, user).await?;
        listed.sort_by_key(|listed| (Reverse(listed.metadata.last_seen_at), listed.hash));
        Ok(listed)
    }

    /// Ends one of the sessions of a user's list, and says whether it was there. What is another user's
    /// answers as what is not there.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list).
    pub async fn delete_listed(&self, user: &str, hash: SessionHash) -> Result<bool> {
        check_user(DELETE, user)?;
        self.store.delete(self.tenant, hash, Some(user)).await
    }

    /// Ends all sessions of a user in one step, and says how many there were.
    ///
    /// One that begins at the same moment ends with them, or begins after all of them have ended.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list).
    pub async fn delete_by_user(&self, user: &str) -> Result<u64> {
        check_user(DELETE_BY_USER, user)?;
        let store = &self.store;
        store.delete_by_user(self.tenant, user, None).await
    }

    /// Ends all other sessions of the same user in one step, and says how many there were: none where
    /// nobody has signed in, and of another tenant's session.
    ///
    /// # Errors
    ///
    /// - [`Unavailable`](ErrorKind::Unavailable): the store does not answer.
    pub async fn delete_others(&self, session: &Session<T>) -> Result<u64>
    where
        T: Sync,
    {
        // Another tenant's user may be called alike.
        if session.tenant != self.tenant {
            return Ok(0);
        }
        let Some(user) = session.user() else {
            return Ok(0);
        };
        let (store, hash) = (&self.store, session.hash());
        store.delete_by_user(self.tenant, user, Some(hash)).await
    }
}

impl<T: Serialize + DeserializeOwned> TenantSessions<T> {
    /// Begins a session that is nobody's yet.
    ///
    /// # Errors
    ///
    /// - [`InvalidValue`](ErrorKind::InvalidValue): the data takes more bytes than the policy allows, or
    ///   cannot be written as JSON.
    /// - [`StorageFull`](ErrorKind::StorageFull): the store has no room.
    /// - [`Unavailable`](ErrorKind::Unavailable): the store does not answer.
    pub async fn create(&self, data: T) -> Result<Session<T>> {
        self.begin(None, data).await
    }

    /// Begins the session of a user, who has just signed in.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the user has no name, or one of more than 200 bytes.
    /// - Otherwise as [`create`](Self::create).
    pub async fn create_for(&self, user: &str, data: T) -> Result<Session<T>> {
        check_user(CREATE, user)?;
        self.begin(Some(user), data).await
    }

    /// Returns a session, if there is one, and leaves its times as they are.
    ///
    /// # Errors
    ///
    /// - [`InvalidValue`](ErrorKind::InvalidValue): its data does not fit the type.
    /// - [`Unavailable`](ErrorKind::Unavailable): the store does not answer.
    pub async fn load(&self, id: &SessionId) -> Result<Option<Session<T>>> {
        let stored = self.store.load(self.tenant, id.hash()).await?;
        stored
            .map(|stored| read(LOAD, self.tenant, id, stored))
            .transpose()
    }

    /// Returns a session, if there is one, as that of a visitor who was seen now: its idle time begins
    /// anew. It is what a request begins with.
    ///
    /// Its version stays, so that nobody's save fails for it.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub async fn touch(&self, id: &SessionId) -> Result<Option<Session<T>>> {
        let (store, idle) = (&self.store, self.policy.idle);
        let stored = store.touch(self.tenant, id.hash(), idle).await?;
        stored
            .map(|stored| read(TOUCH, self.tenant, id, stored))
            .transpose()
    }

    /// Stores the data of a session, if nobody else has since it was loaded. It never begins one.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound): it has ended, or its id was rotated.
    /// - [`Conflict`](ErrorKind::Conflict): another request has saved it: load it again.
    /// - Otherwise as [`create`](Self::create).
    pub async fn save(&self, session: &mut Session<T>) -> Result<()> {
        let change = self.change(SAVE, session)?;
        let saved = self.store.save(self.tenant, session.hash(), change).await;
        session.metadata = saved?;
        Ok(())
    }

    /// Gives a session another id, and stores its data as [`save`](Self::save) does. The id that it had
    /// is nobody's at once, also for requests that are under way: they cannot save it.
    ///
    /// # Errors
    ///
    /// As [`save`](Self::save).
    pub async fn rotate(&self, session: &mut Session<T>) -> Result<()> {
        let change = self.change(ROTATE, session)?;
        self.replace(session, change, None).await
    }

    /// Makes a session that of a user, under another id: who knew the one before knows nothing. Its data
    /// is stored, and its absolute time begins anew.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the user has no name, or one of more than 200 bytes.
    /// - Otherwise as [`save`](Self::save).
    pub async fn sign_in(&self, session: &mut Session<T>, user: &str) -> Result<()> {
        check_user(SIGN_IN, user)?;
        let change = self.change(SIGN_IN, session)?;
        self.replace(session, change, Some(user)).await
    }

    async fn begin(&self, user: Option<&str>, data: T) -> Result<Session<T>> {
        let id = SessionId::generate()?;
        let encoded = self.encode(CREATE, &data)?;
        let new = NewSession {
            user,
            data: encoded,
            lifetime: self.policy.absolute,
            idle: self.policy.idle,
        };
        let metadata = self.store.create(self.tenant, id.hash(), new).await?;
        Ok(Session {
            data,
            tenant: self.tenant,
            id,
            user: user.map(str::to_owned),
            metadata,
        })
    }

    async fn replace(
        &self,
        session: &mut Session<T>,
        change: SessionChange,
        user: Option<&str>,
    ) -> Result<()> {
        let id = SessionId::generate()?;
        let sign_in = user.map(|user| SignIn {
            user,
            lifetime: self.policy.absolute,
        });
        let (from, to) = (session.hash(), id.hash());
        session.metadata = self
            .store
            .rotate(self.tenant, from, to, change, sign_in)
            .await?;
        session.id = id;
        if let Some(user) = user {
            session.user = Some(user.to_owned());
        }
        Ok(())
    }

    fn change(&self, operation: &'static str, session: &Session<T>) -> Result<SessionChange> {
        Ok(SessionChange {
            version: Some(session.metadata.version),
            data: self.encode(operation, &session.data)?,
            idle: self.policy.idle,
        })
    }

    fn encode(&self, operation: &'static str, data: &T) -> Result<Vec<u8>> {
        // What serde says of it may repeat a value.
        let encoded = serde_json::to_vec(data).map_err(|_| {
            invalid(
                operation,
                "the data cannot be written as JSON: keys have to be texts",
            )
        })?;
        self.policy.check_size(operation, encoded.len())?;
        Ok(encoded)
    }
}

fn read<T: DeserializeOwned>(
    operation: &'static str,
    tenant: TenantId,
    id: &SessionId,
    stored: StoredSession,
) -> Result<Session<T>> {
    // What serde says of it may repeat a value.
    let data = serde_json::from_slice(&stored.data).map_err(|_| {
        invalid(
            operation,
            "what was stored does not fit the type: give fields that came later a default, or delete the \
             session",
        )
    })?;
    Ok(Session::new(tenant, id.clone(), stored, data))
}

fn check_user(operation: &'static str, user: &str) -> Result<()> {
    match user.len() {
        1..=LONGEST_USER => Ok(()),
        _ => Err(Error::new(ErrorKind::InvalidInput, operation)
            .with_detail("expected a name of the user of 1 to 200 bytes")),
    }
}

fn invalid(operation: &'static str, detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidValue, operation).with_detail(detail)
}

impl<T> Clone for TenantSessions<T> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            policy: self.policy,
            tenant: self.tenant,
            data: PhantomData,
        }
    }
}

impl<T> fmt::Debug for TenantSessions<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantSessions")
            .field("store", &self.store)
            .field("policy", &self.policy)
            .field("tenant", &self.tenant)
            .finish()
    }
}
