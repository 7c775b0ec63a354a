//! One attempt to handle a message, and what its failure says.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tenantry_core::{Error, ErrorKind, RequestContext};
use tenantry_store::TenantScope;

use super::HandlerError;
use super::lanes::Shared;
use crate::Message;

/// Why a message was not handled this time.
pub(super) enum Trouble {
    /// Nobody could have: the database is not there.
    Outage(Error),
    /// The database went away while it was handled.
    Broken(Error),
    /// It, or its handler, has failed.
    Failed(Error),
    /// It never will be.
    Poison(&'static str, Error),
}

impl Shared {
    /// Returns the scope of the tenant of a message, with its trace and its correlation.
    pub(super) fn scope_of(&self, message: &Message) -> TenantScope {
        let mut context = RequestContext::system();
        if let Some(trace) = message.trace() {
            context = context.with_trace(trace);
        }
        if let Some(id) = message.correlation_id() {
            context = context.with_correlation_id(id.clone());
        }
        self.store.tenant(message.tenant()).with_context(context)
    }

    /// Handles a message if that was not done; returns whether it was.
    pub(super) async fn once(&self, message: &Message) -> Result<bool, Trouble> {
        let work = self.scope_of(message).begin().await.map_err(of_store)?;
        let is_first = self
            .inbox
            .once(&work, message.id(), &self.settings.name)
            .await
            .map_err(of_inbox)?;
        if !is_first {
            // There is nothing to roll back.
            let _ = work.rollback().await;
            self.handler.handled(message);
            return Ok(false);
        }
        // One that is written by hand may panic before there is a future.
        let handling = async { self.handler.handle(&work, message).await };
        let handling = AssertUnwindSafe(handling).catch_unwind();
        let handled = tokio::time::timeout(self.settings.handle_timeout, handling).await;
        let failed =
            |detail| Error::new(ErrorKind::Unexpected, "handle message").with_detail(detail);
        let trouble = match handled {
            Ok(Ok(Ok(()))) => {
                work.commit().await.map_err(of_store)?;
                self.handler.handled(message);
                return Ok(true);
            }
            Ok(Ok(Err(HandlerError::Retry(error)))) => Trouble::Failed(error),
            Ok(Ok(Err(HandlerError::Poison(error)))) => Trouble::Poison("poison", error),
            Ok(Err(_)) => Trouble::Failed(failed("its handler has panicked")),
            Err(_) => Trouble::Failed(failed("its handler takes too long")),
        };
        let is_broken = match work.rollback().await {
            Ok(()) => false,
            Err(error) => matches!(of_store(error), Trouble::Outage(_)),
        };
        match trouble {
            // Whatever the handler makes of it, it is over as well if the connection is.
            Trouble::Failed(error) if is_broken || self.is_outage(message, &error).await => {
                Err(Trouble::Broken(error))
            }
            trouble => Err(trouble),
        }
    }

    /// Returns whether it was the database that a handler has told of, which is still not there: another service may not
    /// be there as well.
    async fn is_outage(&self, message: &Message, error: &Error) -> bool {
        if !is_of_outage(error.kind()) {
            return false;
        }
        match self.scope_of(message).begin().await {
            Ok(work) => work.rollback().await.is_err(),
            Err(error) => is_of_outage(error.kind()),
        }
    }
}

/// Says whether the database is to blame, or what was done with it.
pub(super) fn of_store(error: Error) -> Trouble {
    match is_of_outage(error.kind()) {
        true => Trouble::Outage(error),
        false => Trouble::Failed(error),
    }
}

const fn is_of_outage(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unavailable
            | ErrorKind::PoolExhausted
            | ErrorKind::AuthenticationFailed
            | ErrorKind::TlsFailed
            | ErrorKind::ReadOnly
            | ErrorKind::StorageFull
            | ErrorKind::UnknownTable
            // The next attempt learns from the inbox which it was.
            | ErrorKind::CommitUnknown
    )
}

/// The same, where the inbox may not know the message any more.
pub(super) fn of_inbox(error: Error) -> Trouble {
    match error.kind() {
        ErrorKind::InvalidInput => Trouble::Poison("not_told_apart", error),
        _ => of_store(error),
    }
}
