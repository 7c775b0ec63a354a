//! *Operations*: the flights of the airlines, and their delays.
//!
//! Its stores: the flights, its outbox and inbox, and, to read, secrets. It keeps flights that were read in a
//! cache of its own process.

mod flight;
mod import;
mod routes;
mod timetable;

use tenantry::cache::{Cache, CachePolicy, CachedAggregate};
use tenantry::core::Service;
use tenantry::prelude::*;

use self::import::Import;
use crate::caller::Behind;
use crate::events::FlightDelayed;
use crate::keys::Keys;
use crate::part::Part;
use crate::setup::{PartName, Setup};
use crate::signature::SigningKey;
use crate::subscriber::subscribe;

#[cfg(test)]
pub(crate) use self::flight::FlightId;
pub(crate) use self::flight::{Flight, FlightView};
pub(crate) use self::routes::{Delay, FlightPage};

/// The service, as its handlers see it.
#[derive(Debug, Clone)]
pub(crate) struct Operations {
    storage: Storage,
    flights: CachedAggregate<Flight>,
    key: SigningKey,
}

/// Opens the stores of the service, and starts what it does by itself.
pub(crate) async fn open(setup: &Setup) -> Result<Part> {
    let storage = Storage::for_service(&setup.settings, Service::Domain).await?;
    storage.verify::<Flight>().await?;

    // The map gives the shared cache to the edge alone, so this one is made here, and no setting names it.
    let cache = Cache::builder().build()?;
    let flights = storage
        .cached(&cache)?
        .aggregate::<Flight>(CachePolicy::default())?
        .with_lists(CachePolicy::default())?;
    let import = Import::new(storage.clone());
    subscribe(PartName::Operations, &setup.broker, &storage, import).await?;
    let operations = Operations {
        storage: storage.clone(),
        flights,
        key: SigningKey::of(&storage, &setup.keys.reference(Keys::EDGE)?).await?,
    };
    let router = routes::router(operations);
    Ok(Part::new(PartName::Operations, router, storage))
}

impl Behind for Operations {
    fn storage(&self) -> &Storage {
        &self.storage
    }

    fn key(&self) -> &SigningKey {
        &self.key
    }
}

/// Tells of a flight that leaves so late.
fn delayed(flight: &Flight, minutes: i32, is_imported: bool) -> FlightDelayed {
    FlightDelayed {
        flight: flight.id.0,
        number: flight.number,
        origin: flight.origin.clone(),
        destination: flight.destination.clone(),
        scheduled_departure: flight.scheduled_departure,
        minutes,
        is_imported,
    }
}
