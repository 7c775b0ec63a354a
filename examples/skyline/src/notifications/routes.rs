//! What the service answers.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tenantry::blob::BlobName;
use tenantry::core::Store;
use tenantry::prelude::*;
use uuid::Uuid;

use super::{Notification, NotificationState, NotificationView, Notifications};
use crate::caller::{Caller, Operator};
use crate::failure::Answer;
use crate::status::Status;

/// The latest notifications.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NotificationList {
    pub(crate) notifications: Vec<NotificationView>,
    /// How many nobody has read.
    pub(crate) unread: u64,
}

/// A notification with its body.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NotificationText {
    pub(crate) notification: NotificationView,
    pub(crate) body: String,
}

pub(super) fn router(notifications: Notifications) -> Router {
    Router::new()
        .route("/notifications", get(list))
        .route("/notifications/{id}", get(open))
        .route("/notifications/{id}/attachment", get(attachment))
        .route("/status", get(status))
        .with_state(notifications)
}

async fn list(Caller(tenant): Caller) -> Answer<Json<NotificationList>> {
    let notifications = tenant.repository::<Notification>();
    let latest = Query::new().sort(Notification::ID.desc()).limit(12);
    let page = notifications.list(latest).await?;
    let unread = Notification::STATE.eq(NotificationState::New);
    Ok(Json(NotificationList {
        notifications: page.items.into_iter().map(Into::into).collect(),
        unread: notifications.count(unread).await?,
    }))
}

/// Shows a notification with its body, which has been read then.
async fn open(
    State(service): State<Notifications>,
    Caller(tenant): Caller,
    Path(id): Path<Uuid>,
) -> Answer<Json<NotificationText>> {
    let notifications = tenant.repository::<Notification>();
    let mut notification = notifications.get(id).await?;
    let blobs = service
        .storage
        .blobs(Store::Notifications)?
        .tenant(tenant.tenant());
    let name: BlobName = notification.body.parse()?;
    let body = blobs.get(&name).await?.bytes;
    if notification.state == NotificationState::New {
        notification.state = NotificationState::Read;
        match notifications.update(&mut notification).await {
            // Somebody else has opened it at the same time.
            Err(error) if error.kind() != ErrorKind::Conflict => return Err(error.into()),
            _ => {}
        }
    }
    Ok(Json(NotificationText {
        notification: notification.into(),
        body: String::from_utf8_lossy(&body).into_owned(),
    }))
}

/// Streams what is attached.
async fn attachment(
    State(service): State<Notifications>,
    Caller(tenant): Caller,
    Path(id): Path<Uuid>,
) -> Answer<Response> {
    let notification = tenant.repository::<Notification>().get(id).await?;
    let missing = || Error::new(ErrorKind::NotFound, "open attachment");
    let name: BlobName = notification.attachment.ok_or_else(missing)?.parse()?;
    let store = service.storage.blobs(Store::NotificationAttachments)?;
    let reader = store.tenant(tenant.tenant()).stream(&name).await?;
    let headers = [
        (
            header::CONTENT_TYPE,
            reader.record().content_type.to_string(),
        ),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"flight.csv\"".to_owned(),
        ),
    ];
    Ok((headers, Body::from_stream(reader)).into_response())
}

async fn status(State(service): State<Notifications>, _: Operator) -> Answer<Json<Status>> {
    let status = Status::of("notifications", &service.storage).await?;
    // One look for both stores: they are kept in one place.
    let blobs = service.storage.blobs(Store::Notifications)?;
    Ok(Json(status.with_blobs(blobs).await?))
}
