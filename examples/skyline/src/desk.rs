//! Who runs the product: knows where it is and has its keys, wherever it runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::Value;
use tenantry::prelude::Actor;

use crate::caller::new_trace;
use crate::edge::{Addresses, Peer, Peers, Refused, Vouched};
use crate::keys::Keys;
use crate::signature::SigningKey;
use crate::status::Status;
use crate::tenants::{NewTenant, TenantStatus, TenantView};
use crate::{Result, Slug};

/// How long a new tenant may take until its flights are there.
const SET_UP: Duration = Duration::from_secs(120);

/// An airline that is a tenant from the start.
#[derive(Debug, Clone, Copy)]
pub struct Airline {
    /// The first label of its host.
    pub slug: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its code in the file of flights.
    pub carrier: &'static str,
}

impl Airline {
    /// Those that are there from the start.
    pub const ALL: [Self; 3] = [
        Self {
            slug: "united",
            name: "United Air Lines",
            carrier: "UA",
        },
        Self {
            slug: "jetblue",
            name: "JetBlue Airways",
            carrier: "B6",
        },
        Self {
            slug: "hawaiian",
            name: "Hawaiian Airlines",
            carrier: "HA",
        },
    ];
}

/// The desk of the operator.
#[derive(Debug, Clone)]
pub struct Desk {
    keys: Keys,
    peers: Peers,
    edge: SocketAddr,
}

impl Desk {
    /// Sits down before a product that runs, with its keys.
    ///
    /// # Errors
    ///
    /// The key of the edge is not among them.
    pub fn new(keys: &Keys, edge: SocketAddr, services: Addresses) -> Result<Self> {
        let key = SigningKey::new(Arc::new(keys.read(Keys::EDGE)?));
        Ok(Self {
            keys: keys.clone(),
            peers: Peers::new(key, services),
            edge,
        })
    }

    /// Returns where browsers reach the product.
    #[must_use]
    pub const fn edge(&self) -> SocketAddr {
        self.edge
    }

    /// Returns the code by which the people of a tenant sign in.
    ///
    /// # Errors
    ///
    /// The tenant has none.
    pub fn code(&self, slug: &str) -> Result<String> {
        Ok(self
            .keys
            .read(Slug::new(slug)?.as_str())?
            .expose()
            .to_owned())
    }

    /// Registers an airline, unless it is there already, and returns how many flights it has once they are there.
    ///
    /// # Errors
    ///
    /// A service does not answer, or the flights are not there in time.
    pub async fn admit(&self, airline: Airline) -> Result<u64> {
        self.keys.make(airline.slug)?;
        let new = NewTenant {
            slug: airline.slug.to_owned(),
            name: airline.name.to_owned(),
            carrier: airline.carrier.to_owned(),
            access_code: self.keys.reference(airline.slug)?,
        };
        let operator = caller(&Slug::operator())?;
        let made = self
            .peers
            .post::<Value>(Peer::Tenants, "/tenants", &operator, &new);
        match made.await {
            Ok(_) => {}
            Err(refused) if refused.status == StatusCode::CONFLICT => {}
            Err(Refused { status, .. }) => {
                return Err(format!("register {}: {status}", new.slug).into());
            }
        }
        tokio::time::timeout(SET_UP, self.set_up(airline))
            .await
            .map_err(|_| format!("{} is not set up in time", airline.slug))?
    }

    /// Returns how many messages wait in the outboxes of the services.
    ///
    /// # Errors
    ///
    /// A service does not answer.
    pub async fn unsent(&self) -> Result<u64> {
        let operator = caller(&Slug::operator())?;
        let mut unsent = 0;
        // Notifications hears alone.
        for peer in [Peer::Tenants, Peer::Operations, Peer::Reporting] {
            let status = self.peers.get::<Status>(peer, "/status", &operator);
            let status = status
                .await
                .map_err(|refused| format!("ask {peer:?}: {}", refused.status))?;
            unsent += status.outbox.backlog + status.outbox.waiting + status.outbox.given_up;
        }
        Ok(unsent)
    }

    async fn set_up(&self, airline: Airline) -> Result<u64> {
        let asked = caller(&Slug::new(airline.slug)?)?;
        loop {
            let view = self
                .peers
                .get::<TenantView>(Peer::Tenants, "/tenant", &asked);
            match view.await {
                Ok(view) if view.status != TenantStatus::Provisioning => {
                    return Ok(view.flights.unsigned_abs());
                }
                Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(Refused { status, .. }) => {
                    return Err(format!("ask for {}: {status}", airline.slug).into());
                }
            }
        }
    }
}

/// Vouches for the product itself, within a trace of its own.
fn caller(slug: &Slug) -> Result<Vouched> {
    Ok(Vouched {
        tenant: slug.tenant()?,
        actor: Actor::new("service:skyline")?,
        trace: new_trace()?,
    })
}
