//! What the service answers.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tenantry::blob::{ArtifactId, TenantArtifacts};
use tenantry::core::{Clock as _, Store, SystemClock};
use tenantry::prelude::*;
use uuid::Uuid;

use super::link::{self, Link};
use super::{DefinitionView, ReportDefinition, ReportFormat, ReportRun, Reporting, RunView};
use crate::caller::{Caller, Operator};
use crate::failure::Answer;
use crate::status::Status;

/// The reports of a tenant, and the latest runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reports {
    pub(crate) definitions: Vec<DefinitionView>,
    pub(crate) runs: Vec<RunView>,
}

/// Where a file is downloaded.
#[derive(Serialize, Deserialize)]
pub(crate) struct Download {
    /// A path of the product, or an address of the storage service.
    pub(crate) address: String,
}

pub(super) fn router(reporting: Reporting) -> Router {
    Router::new()
        .route("/reports", get(list))
        .route("/reports/{definition}/runs", post(ask))
        .route("/runs/{id}/download", get(sign))
        .route("/download/{link}", get(download))
        .route("/status", get(status))
        .with_state(reporting)
}

async fn list(Caller(tenant): Caller) -> Answer<Json<Reports>> {
    let definitions = tenant.repository::<ReportDefinition>();
    let definitions = definitions.list(Query::new().limit(20)).await?;
    let latest = Query::new().sort(ReportRun::REQUESTED_AT.desc()).limit(12);
    let runs = tenant.repository::<ReportRun>().list(latest).await?;
    Ok(Json(Reports {
        definitions: definitions.items.into_iter().map(Into::into).collect(),
        runs: runs.items.into_iter().map(Into::into).collect(),
    }))
}

/// Asks for a report, which is made beside the request.
async fn ask(
    State(reporting): State<Reporting>,
    Caller(tenant): Caller,
    Path(definition): Path<Uuid>,
) -> Answer<(StatusCode, Json<RunView>)> {
    let definition = tenant
        .repository::<ReportDefinition>()
        .get(definition)
        .await?;
    let mut run = ReportRun::of(&definition, tenant.context(), SystemClock.now());
    tenant.repository().insert(&mut run).await?;
    reporting.asked.notify_one();
    Ok((StatusCode::ACCEPTED, Json(run.into())))
}

/// Gives a link to the file of a run: of the storage service where that signs, or else of this one.
async fn sign(
    State(reporting): State<Reporting>,
    Caller(tenant): Caller,
    Path(run): Path<Uuid>,
) -> Answer<Json<Download>> {
    let run = tenant.repository::<ReportRun>().get(run).await?;
    let missing = || Error::new(ErrorKind::NotFound, "sign link of report");
    let artifact = ArtifactId(run.artifact.ok_or_else(missing)?);
    let artifacts = reporting.artifacts(&tenant)?;
    let name = artifacts.get(artifact).await?.blob_name()?;
    let valid = link::VALID.to_std().unwrap_or_default();
    let address = match artifacts.blobs().signed_url(&name, valid).await {
        Ok(signed) => signed.url.expose().to_owned(),
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            let link = Link {
                tenant: tenant.tenant(),
                artifact: artifact.0,
            };
            format!(
                "/download/{}",
                link.sign(&reporting.links, SystemClock.now())?
            )
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Json(Download { address }))
}

/// Streams the file of a link. There is no caller here: the signature says whose file it is.
async fn download(
    State(reporting): State<Reporting>,
    Path(link): Path<String>,
) -> Answer<Response> {
    let link = Link::read(&reporting.links, &link, SystemClock.now());
    let link = link.ok_or_else(|| Error::new(ErrorKind::NotFound, "open link of report"))?;
    let tenant = reporting.storage.tenant(link.tenant);
    let reader = reporting
        .artifacts(&tenant)?
        .open(ArtifactId(link.artifact))
        .await?;
    let content_type = reader.record().content_type.to_string();
    let name = ReportFormat::file_name(&content_type);
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
    ];
    Ok((headers, Body::from_stream(reader)).into_response())
}

impl Reporting {
    fn artifacts(&self, tenant: &TenantScope) -> Result<TenantArtifacts> {
        let blobs = self.storage.blobs(Store::ReportArtifacts)?;
        Ok(TenantArtifacts::new(blobs, tenant))
    }
}

async fn status(State(reporting): State<Reporting>, _: Operator) -> Answer<Json<Status>> {
    let status = Status::of("reporting", &reporting.storage).await?;
    let blobs = reporting.storage.blobs(Store::ReportArtifacts)?;
    Ok(Json(status.with_blobs(blobs).await?))
}
