//! *Notifications*: what the people of a tenant are told of its flights and reports.
//!
//! Its stores: notifications, their bodies and attachments in blobs, its inbox, and, to read, secrets.

mod notification;
mod notifier;
mod routes;

use std::time::Duration;

use tenantry::blob::{SweepPolicy, Sweeper};
use tenantry::core::{Service, Store};
use tenantry::prelude::*;

use self::notifier::Notifier;
use crate::caller::Behind;
use crate::keys::Keys;
use crate::part::Part;
use crate::setup::{PartName, Setup};
use crate::signature::SigningKey;
use crate::subscriber::subscribe;

pub(crate) use self::notification::{Notification, NotificationState, NotificationView};
pub(crate) use self::routes::{NotificationList, NotificationText};

/// The service, as its handlers see it.
#[derive(Debug, Clone)]
pub(crate) struct Notifications {
    storage: Storage,
    key: SigningKey,
}

/// Opens the stores of the service, and starts what it does by itself.
pub(crate) async fn open(setup: &Setup) -> Result<Part> {
    let storage = Storage::for_service(&setup.settings, Service::Notification).await?;
    storage.verify::<Notification>().await?;

    let sweeper = Sweeper::new(storage.blobs(Store::Notifications)?, SweepPolicy::default())?;
    let schedule = sweeper.start_every(Duration::from_secs(15 * 60))?;
    let notifier = Notifier::new(storage.clone())?;
    subscribe(PartName::Notifications, &setup.broker, &storage, notifier).await?;
    let notifications = Notifications {
        storage: storage.clone(),
        key: SigningKey::of(&storage, &setup.keys.reference(Keys::EDGE)?).await?,
    };
    let router = routes::router(notifications);
    Ok(Part::new(PartName::Notifications, router, storage).with_schedule(schedule))
}

impl Behind for Notifications {
    fn storage(&self) -> &Storage {
        &self.storage
    }

    fn key(&self) -> &SigningKey {
        &self.key
    }
}
