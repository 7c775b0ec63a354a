//! *Reporting*: reports of delays, as files that are kept for a time and downloaded by links.
//!
//! Its stores: definitions and runs, the files, its outbox and inbox, and, to read, secrets. The flights are out
//! of its reach: what it reports on, it has heard from Operations.

mod file;
mod hearing;
mod link;
mod maker;
mod report;
mod routes;

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use tenantry::blob::{Artifact, ArtifactSweeper};
use tenantry::core::{Service, Store};
use tenantry::prelude::*;
use tokio::sync::Notify;

use self::hearing::Hearing;
use self::maker::Maker;
use crate::caller::Behind;
use crate::keys::Keys;
use crate::part::{Loop, Part};
use crate::setup::{PartName, Setup};
use crate::signature::SigningKey;
use crate::subscriber::subscribe;

pub(crate) use self::report::{
    DefinitionView, DelayFact, ReportDefinition, ReportFormat, ReportRun, RunState, RunView,
};
pub(crate) use self::routes::{Download, Reports};

/// After which time an upload that was not committed is given up.
const GRACE: Duration = Duration::from_secs(60 * 60);

/// The service, as its handlers see it.
#[derive(Debug, Clone)]
pub(crate) struct Reporting {
    storage: Storage,
    key: SigningKey,
    /// By which links are signed; the edge does not have it.
    links: SigningKey,
    asked: Arc<Notify>,
}

/// Opens the stores of the service, and starts what it does by itself.
pub(crate) async fn open(setup: &Setup) -> Result<Part> {
    let storage = Storage::for_service(&setup.settings, Service::Reporting).await?;
    storage.verify::<ReportDefinition>().await?;
    storage.verify::<ReportRun>().await?;
    storage.verify::<DelayFact>().await?;
    storage.verify::<Artifact>().await?;

    let asked = Arc::new(Notify::new());
    let reporting = Reporting {
        links: SigningKey::of(&storage, &setup.keys.reference(Keys::LINKS)?).await?,
        storage: storage.clone(),
        key: SigningKey::of(&storage, &setup.keys.reference(Keys::EDGE)?).await?,
        asked: Arc::clone(&asked),
    };
    let sweeper = ArtifactSweeper::new(
        storage.blobs(Store::ReportArtifacts)?,
        storage.tenant_store(),
        GRACE,
    );
    let swept = storage.clone();
    let period = Duration::from_secs(15 * 60);
    let schedule = sweeper.start_every(period, move || tenants_with_reports(swept.clone()))?;
    let hearing = Hearing {
        asked: Arc::clone(&asked),
    };
    subscribe(PartName::Reporting, &setup.broker, &storage, hearing).await?;
    let maker = Maker::new(storage.clone())?;
    let making = Loop::start(move |stopped| maker.run(asked, stopped));
    let router = routes::router(reporting);
    Ok(Part::new(PartName::Reporting, router, storage)
        .with_schedule(schedule)
        .with_loop(making))
}

/// Returns the tenants that Reporting knows: the registry is another service's.
async fn tenants_with_reports(storage: Storage) -> Result<Vec<TenantId>> {
    let platform = storage.platform()?;
    let scope = platform.scope("tenants with reports", RequestContext::system())?;
    let rows = scope.stream(Filter::<ReportDefinition>::all());
    let mut tenants: Vec<TenantId> = rows.map_ok(|(tenant, _)| tenant).try_collect().await?;
    tenants.sort_unstable();
    tenants.dedup();
    Ok(tenants)
}

impl Behind for Reporting {
    fn storage(&self) -> &Storage {
        &self.storage
    }

    fn key(&self) -> &SigningKey {
        &self.key
    }
}
