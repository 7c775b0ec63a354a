//! What the service answers.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use tenantry::core::{SecretReference, SecretResolver as _};
use tenantry::prelude::*;

use super::{TenantRecord, TenantStatus, TenantView, Tenants};
use crate::caller::{Caller, Operator};
use crate::directory::Slug;
use crate::events::{TenantChanged, TenantRegistered};
use crate::failure::{Answer, Failure};
use crate::status::Status;

/// A tenant to be registered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NewTenant {
    pub(crate) slug: String,
    pub(crate) name: String,
    pub(crate) carrier: String,
    pub(crate) access_code: SecretReference,
}

/// What somebody signs in with.
#[derive(Serialize, Deserialize)]
pub(crate) struct SignIn {
    pub(crate) code: String,
}

/// Whether a tenant is to be served.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NewStatus {
    pub(crate) is_suspended: bool,
}

pub(super) fn router(tenants: Tenants) -> Router {
    Router::new()
        .route("/tenant", get(show))
        .route("/sign-in", post(sign_in))
        .route("/tenants", get(list).post(register))
        .route("/tenants/{slug}/status", post(set_status))
        .route("/status", get(status))
        .with_state(tenants)
}

/// Shows the tenant that asks.
async fn show(Caller(tenant): Caller) -> Answer<Json<TenantView>> {
    let record = tenant.repository::<TenantRecord>();
    let record = record.get(tenant.tenant().as_uuid()).await?;
    Ok(Json(record.into()))
}

/// Compares the code with that of the vault: where an identity provider would be asked.
async fn sign_in(
    State(tenants): State<Tenants>,
    Caller(tenant): Caller,
    Json(given): Json<SignIn>,
) -> Answer<StatusCode> {
    let record = tenant.repository::<TenantRecord>();
    let record = record.get(tenant.tenant().as_uuid()).await?;
    let secrets = tenants.storage.secrets()?;
    let code = secrets.resolve(&record.access_code).await?;
    Ok(match code.constant_time_eq(&given.code) {
        true => StatusCode::NO_CONTENT,
        false => StatusCode::UNAUTHORIZED,
    })
}

/// Lists the tenants, across them: the one look of this kind that the product has.
async fn list(
    State(tenants): State<Tenants>,
    Operator(context): Operator,
) -> Answer<Json<Vec<TenantView>>> {
    let platform = tenants.storage.platform()?;
    let scope = platform.scope("list of the operator", context)?;
    let mut found: Vec<TenantView> = scope
        .stream(Filter::<TenantRecord>::all())
        .map_ok(|(_, record)| record.into())
        .try_collect()
        .await?;
    found.sort_by(|one, other| one.slug.cmp(&other.slug));
    Ok(Json(found))
}

/// Registers a tenant; the services that keep something of it hear of that, and set it up.
async fn register(
    State(tenants): State<Tenants>,
    Operator(context): Operator,
    Json(new): Json<NewTenant>,
) -> Answer<(StatusCode, Json<TenantView>)> {
    let slug = Slug::new(&new.slug)?;
    let tenant = slug.tenant()?;
    let mut record = TenantRecord {
        id: tenant.as_uuid(),
        slug: new.slug.clone(),
        name: new.name,
        carrier: Some(new.carrier.clone()),
        status: TenantStatus::Provisioning,
        flights: 0,
        access_code: new.access_code,
        version: Version::NEW,
    };
    let registered = TenantRegistered {
        slug: new.slug,
        carrier: new.carrier,
    };
    let work = tenants.storage.tenant(tenant).with_context(context);
    let work = work.begin().await?;
    tenants.storage.outbox().append(&work, &registered)?;
    work.commit_with_insert(&mut record).await?;
    Ok((StatusCode::CREATED, Json(record.into())))
}

/// Suspends a tenant, or serves it again.
async fn set_status(
    State(tenants): State<Tenants>,
    Operator(context): Operator,
    Path(slug): Path<String>,
    Json(new): Json<NewStatus>,
) -> Answer<Json<TenantView>> {
    let tenant = Slug::new(&slug)?.tenant()?;
    let scope = tenants.storage.tenant(tenant).with_context(context);
    let work = scope.begin().await?;
    let mut record = work
        .repository::<TenantRecord>()
        .get(tenant.as_uuid())
        .await?;
    record.status = match (record.status, new.is_suspended) {
        (TenantStatus::Active, true) => TenantStatus::Suspended,
        (TenantStatus::Suspended, false) => TenantStatus::Active,
        // Who has got no answer asks again.
        (TenantStatus::Suspended, true) | (TenantStatus::Active, false) => {
            return Ok(Json(record.into()));
        }
        (TenantStatus::Provisioning, _) => {
            let refused = Error::new(ErrorKind::Conflict, "set status of tenant");
            return Err(Failure::from(refused.with_subject(slug)));
        }
    };
    tenants
        .storage
        .outbox()
        .append(&work, &TenantChanged { slug })?;
    work.commit_with_update(&mut record).await?;
    Ok(Json(record.into()))
}

async fn status(State(tenants): State<Tenants>, _: Operator) -> Answer<Json<Status>> {
    Ok(Json(Status::of("tenants", &tenants.storage).await?))
}
