//! What the people of a tenant are told.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tenantry::prelude::*;
use uuid::Uuid;

/// A notification: its row; its body and what is attached to it are blobs.
#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "notifications")]
pub(crate) struct Notification {
    /// That of the message it was made from: the later one is the larger one.
    #[aggregate(id)]
    pub(crate) id: Uuid,
    pub(crate) title: String,
    /// The name of the blob of its body.
    pub(crate) body: String,
    /// The name of the blob that is attached.
    pub(crate) attachment: Option<String>,
    pub(crate) state: NotificationState,
    /// The trace of the request that it comes from.
    pub(crate) trace: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
    #[aggregate(version)]
    pub(crate) version: Version,
}

/// Whether somebody has read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ColumnValue, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NotificationState {
    New,
    Read,
}

/// What others see of a notification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct NotificationView {
    pub(crate) id: Uuid,
    pub(crate) title: String,
    pub(crate) has_attachment: bool,
    pub(crate) state: NotificationState,
    pub(crate) trace: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
}

impl From<Notification> for NotificationView {
    fn from(notification: Notification) -> Self {
        Self {
            id: notification.id,
            title: notification.title,
            has_attachment: notification.attachment.is_some(),
            state: notification.state,
            trace: notification.trace,
            created_at: notification.created_at,
        }
    }
}
