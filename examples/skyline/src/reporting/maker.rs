//! Makes reports, each under a lease, so that several processes may do so side by side.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::TryStreamExt as _;
use tenantry::blob::{BlobKind, PutOptions, Retention, RetentionClass, TenantArtifacts};
use tenantry::core::{Clock as _, Service, Store, SystemClock};
use tenantry::prelude::*;
use tokio::sync::{Notify, watch};

use super::file::ReportFile;
use super::{ReportRun, RunState};
use crate::events::ReportReady;

/// For how long a maker has a run for itself.
const LEASE: TimeDelta = TimeDelta::seconds(30);

/// How often a run is tried.
const ATTEMPTS: i32 = 3;

/// How often it looks for what others have left.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct Maker {
    storage: Storage,
    exports: BlobKind,
    class: RetentionClass,
}

impl Maker {
    pub(super) fn new(storage: Storage) -> Result<Self> {
        Ok(Self {
            storage,
            exports: BlobKind::new("report-exports")?,
            class: RetentionClass::new("report-exports", Retention::days(365))?
                .with_floor_days(30)
                .with_ceiling_days(3_650),
        })
    }

    /// Makes what is asked for, until it is told to stop.
    pub(super) async fn run(self, asked: Arc<Notify>, mut stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            if let Err(error) = self.all().await {
                tracing::warn!(%error, "reports were not looked for");
            }
            tokio::select! {
                () = asked.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
                _ = stopped.changed() => {}
            }
        }
    }

    /// Makes all that is to be done now, of all tenants.
    async fn all(&self) -> Result<()> {
        let platform = self.storage.platform()?;
        let scope = platform.scope("reports to be made", RequestContext::system())?;
        let to_do = ReportRun::to_do(SystemClock.now());
        let runs: Vec<_> = scope.stream(to_do).try_collect().await?;
        for (tenant, run) in runs {
            let id = run.id;
            if let Err(error) = self.take(tenant, run).await {
                tracing::warn!(%tenant, %id, %error, "a report was not made");
            }
        }
        Ok(())
    }

    /// Takes the lease of a run, makes it, and says what became of it.
    async fn take(&self, tenant: TenantId, mut run: ReportRun) -> Result<()> {
        let mut context = RequestContext::new(Actor::new("service:reporting")?);
        if let Some(trace) = run.trace.as_deref().and_then(|text| text.parse().ok()) {
            context = context.with_trace(trace);
        }
        // From here on it is this tenant's, and nothing reaches another.
        let scope = self.storage.tenant(tenant).with_context(context);
        let runs = scope.repository::<ReportRun>();
        run.state = RunState::Running;
        run.lease_until = Some(SystemClock.now() + LEASE);
        run.attempts += 1;
        match runs.update(&mut run).await {
            // Another maker was quicker.
            Err(error) if error.kind() == ErrorKind::Conflict => return Ok(()),
            taken => taken?,
        }
        let Err(error) = self.make(&scope, &run).await else {
            return Ok(());
        };
        let mut left = runs.get(run.id).await?;
        if left.version != run.version {
            return Err(error);
        }
        left.lease_until = None;
        left.state = match left.attempts >= ATTEMPTS {
            true => RunState::Failed,
            false => RunState::Queued,
        };
        runs.update(&mut left).await?;
        Err(error)
    }

    /// Writes the file, then, in one transaction: that it counts, that the run is done, and what others hear.
    async fn make(&self, scope: &TenantScope, run: &ReportRun) -> Result<()> {
        let days = u32::try_from(run.retention_days).unwrap_or(0);
        let retention = self.class.retention_of_days(days)?;
        let options = PutOptions::new(Service::Reporting, retention)
            .with_content_type(run.format.content_type())?;
        let artifacts = self.storage.blobs(Store::ReportArtifacts)?;
        let artifacts = TenantArtifacts::new(artifacts, scope);
        let file = ReportFile::new(scope, run.format, run.least_minutes)?;
        let mut artifact = artifacts.upload(&self.exports, options, file.body).await?;
        let lines = file.lines.load(Ordering::Relaxed);

        let work = scope.begin().await?;
        artifacts.commit(&work, &mut artifact).await?;
        let ready = ReportReady {
            run: run.id,
            name: run.name.clone(),
            lines,
        };
        self.storage.outbox().append(&work, &ready)?;
        let mut done = ReportRun {
            state: RunState::Done,
            lease_until: None,
            artifact: Some(artifact.id.0),
            lines,
            ..run.clone()
        };
        // Who has lost the lease meanwhile is told `Conflict`, and the file is swept.
        work.commit_with_update(&mut done).await
    }
}
