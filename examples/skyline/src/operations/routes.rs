//! What the service answers.

use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tenantry::prelude::{Error, ErrorKind, Filter, Repository as _, RepositoryExt as _};
use uuid::Uuid;

use super::flight::{Flight, FlightId, FlightRepository as _, FlightView};
use super::{Operations, delayed};
use crate::caller::{Caller, Operator};
use crate::failure::Answer;
use crate::status::Status;

/// Which page is asked for.
#[derive(Debug, Default, Deserialize)]
struct Wanted {
    #[serde(default)]
    late_first: bool,
    cursor: Option<String>,
}

/// A page of flights.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FlightPage {
    pub(crate) flights: Vec<FlightView>,
    pub(crate) next: Option<String>,
    /// Of all flights of the tenant.
    pub(crate) total: u64,
}

/// How late a flight leaves.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Delay {
    /// From a minute to two days.
    pub(crate) minutes: i32,
}

pub(super) fn router(operations: Operations) -> Router {
    Router::new()
        .route("/flights", get(list))
        .route("/flights/{id}", get(show))
        .route("/flights/{id}/delay", post(delay))
        .route("/status", get(status))
        .with_state(operations)
}

async fn list(
    State(operations): State<Operations>,
    Caller(tenant): Caller,
    Query(wanted): Query<Wanted>,
) -> Answer<Json<FlightPage>> {
    let flights = operations.flights.repository(&tenant)?;
    let page = flights.page(wanted.late_first, wanted.cursor).await?;
    Ok(Json(FlightPage {
        flights: page.items.into_iter().map(FlightView::from).collect(),
        next: page.next.map(|next| next.to_string()),
        total: flights.count(Filter::all()).await?,
    }))
}

async fn show(
    State(operations): State<Operations>,
    Caller(tenant): Caller,
    Path(id): Path<Uuid>,
) -> Answer<Json<FlightView>> {
    let flights = operations.flights.repository(&tenant)?;
    Ok(Json(flights.get(FlightId(id)).await?.into()))
}

/// Says how late a flight leaves: the row, the event and the end of what is cached stand or fall together.
async fn delay(
    State(operations): State<Operations>,
    Caller(tenant): Caller,
    Path(id): Path<Uuid>,
    Json(new): Json<Delay>,
) -> Answer<Json<FlightView>> {
    if !(1..=2_880).contains(&new.minutes) {
        let refused = Error::new(ErrorKind::InvalidInput, "delay flight");
        return Err(refused.with_detail("expected 1 to 2,880 minutes").into());
    }
    let work = tenant.begin().await?;
    let mut flight = work.repository::<Flight>().get(FlightId(id)).await?;
    flight.departure_delay = Some(new.minutes);
    flight.is_cancelled = false;
    let event = delayed(&flight, new.minutes, false);
    operations.storage.outbox().append(&work, &event)?;
    work.commit_with_update(&mut flight).await?;
    Ok(Json(flight.into()))
}

async fn status(State(operations): State<Operations>, _: Operator) -> Answer<Json<Status>> {
    let mut status = Status::of("operations", &operations.storage).await?;
    status.cache = Some(operations.flights.counts().into());
    Ok(Json(status))
}
