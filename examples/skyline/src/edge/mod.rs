//! The edge: what browsers speak to. It knows whose host it is, who has signed in and how much is let through, and
//! asks the services for the rest.
//!
//! Its stores: sessions, limits and the cache of tenants, its inbox, and, to read, secrets.

mod html;
mod pages;
mod peers;
mod routes;
mod tenant;
mod visitor;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tenantry::cache::{
    Cache, CacheKind, CachePolicy, OnFailure, RateLimiter, Rule, SessionPolicy, Sessions,
};
use tenantry::core::Service;
use tenantry::outbox::{Event as _, HandlerError, Message, MessageHandler};
use tenantry::prelude::*;

use crate::events::TenantChanged;
use crate::keys::Keys;
use crate::part::Part;
use crate::setup::{PartName, Setup};
use crate::signature::SigningKey;
use crate::subscriber::subscribe;
use crate::tenants::TenantView;

pub use self::peers::Addresses;
pub(crate) use self::peers::{Peer, Peers, Refused, Vouched};

const MINUTE: Duration = Duration::from_secs(60);

/// How long a tenant is taken for what it was, where no event says otherwise.
const KNOWN: Duration = Duration::from_secs(30);

/// What all requests share.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    storage: Storage,
    sessions: Sessions<Visit>,
    limiter: RateLimiter,
    rules: Arc<Rules>,
    cache: Cache,
    tenants: CacheKind<TenantView>,
    peers: Peers,
}

/// What is remembered of a visitor, beside who it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Visit {}

/// How much is let through.
#[derive(Debug)]
struct Rules {
    /// Of all requests of a tenant.
    tenant: Rule,
    /// Of sign-ins of one user.
    sign_in: Rule,
}

/// Opens the stores of the edge, and starts what it does by itself.
pub(crate) async fn open(setup: &Setup, services: Addresses) -> Result<Part> {
    let key = setup.keys.reference(Keys::EDGE)?;
    let storage = Storage::for_service(&setup.settings, Service::Gateway).await?;
    let cache = storage.cache()?.clone();
    let tenants = cache.kind("tenant", CachePolicy::default().with_time_to_live(KNOWN))?;
    let forget = Forget {
        cache: cache.clone(),
        tenants: tenants.clone(),
    };
    subscribe(PartName::Edge, &setup.broker, &storage, forget).await?;
    let edge = Edge {
        sessions: storage.sessions(SessionPolicy::default())?,
        limiter: storage.rate_limiter()?.clone(),
        rules: Arc::new(Rules {
            tenant: Rule::new("tenant", setup.requests_per_minute, MINUTE)?,
            // Who guesses is not let in while nobody can count.
            sign_in: Rule::new("sign-in", 5, MINUTE)?.with_on_failure(OnFailure::Refuse),
        }),
        cache,
        tenants,
        peers: Peers::new(SigningKey::of(&storage, &key).await?, services),
        storage: storage.clone(),
    };
    Ok(Part::new(PartName::Edge, routes::router(edge), storage))
}

/// Forgets what the edge knows of a tenant that has changed.
struct Forget {
    cache: Cache,
    tenants: CacheKind<TenantView>,
}

#[async_trait]
impl MessageHandler for Forget {
    async fn handle(&self, work: &UnitOfWork, message: &Message) -> Result<(), HandlerError> {
        if message.event_type() != TenantChanged::TYPE {
            return Ok(());
        }
        let tenant = self.cache.tenant(work.tenant());
        tenant.invalidate(&self.tenants, tenant::RECORD).await?;
        Ok(())
    }
}
