//! *Tenants*: who the tenants are, and which of them may be served.
//!
//! Its stores: the registry, its outbox and inbox, and, to read, secrets.

mod record;
mod routes;

use axum::Router;
use tenantry::core::{SecretReference, Service};
use tenantry::outbox::{Event as _, HandlerError, Message, MessageHandler};
use tenantry::prelude::*;

use crate::caller::Behind;
use crate::directory::Slug;
use crate::events::{FlightsImported, TenantChanged};
use crate::keys::Keys;
use crate::part::Part;
use crate::setup::{PartName, Setup};
use crate::signature::SigningKey;
use crate::subscriber::subscribe;

pub(crate) use self::record::{TenantRecord, TenantStatus, TenantView};
pub(crate) use self::routes::{NewStatus, NewTenant, SignIn};

/// The service, as its handlers see it.
#[derive(Debug, Clone)]
pub(crate) struct Tenants {
    storage: Storage,
    key: SigningKey,
}

/// Opens the stores of the service, and starts what it does by itself.
pub(crate) async fn open(setup: &Setup) -> Result<Part> {
    let storage = Storage::for_service(&setup.settings, Service::TenantManagement).await?;
    storage.verify::<TenantRecord>().await?;
    let code = setup.keys.reference(Slug::OPERATOR)?;
    admit_operator(&storage, &code).await?;

    let tenants = Tenants {
        storage: storage.clone(),
        key: SigningKey::of(&storage, &setup.keys.reference(Keys::EDGE)?).await?,
    };
    let set_up = SetUp {
        storage: storage.clone(),
    };
    subscribe(PartName::Tenants, &setup.broker, &storage, set_up).await?;
    let router: Router = routes::router(tenants);
    Ok(Part::new(PartName::Tenants, router, storage))
}

/// Writes the row of the operator, who registers all the others, unless it is there.
async fn admit_operator(storage: &Storage, code: &SecretReference) -> Result<()> {
    let slug = Slug::operator();
    let tenant = slug.tenant()?;
    let records = storage.tenant(tenant).repository::<TenantRecord>();
    if records.exists(&tenant.as_uuid()).await? {
        return Ok(());
    }
    let mut record = TenantRecord {
        id: tenant.as_uuid(),
        slug: slug.as_str().to_owned(),
        name: "Operator".to_owned(),
        carrier: None,
        status: TenantStatus::Active,
        flights: 0,
        access_code: code.clone(),
        version: Version::NEW,
    };
    records.insert(&mut record).await
}

impl Behind for Tenants {
    fn storage(&self) -> &Storage {
        &self.storage
    }

    fn key(&self) -> &SigningKey {
        &self.key
    }
}

/// Serves a tenant once its flights are there.
struct SetUp {
    storage: Storage,
}

#[async_trait]
impl MessageHandler for SetUp {
    async fn handle(&self, work: &UnitOfWork, message: &Message) -> Result<(), HandlerError> {
        if message.event_type() != FlightsImported::TYPE {
            return Ok(());
        }
        let event: FlightsImported = message.read_event()?;
        let records = work.repository::<TenantRecord>();
        let mut record = records.get(work.tenant().as_uuid()).await?;
        record.status = TenantStatus::Active;
        record.flights = i64::from(event.flights);
        records.update(&mut record).await?;
        let changed = TenantChanged { slug: record.slug };
        self.storage.outbox().append(work, &changed)?;
        Ok(())
    }
}
