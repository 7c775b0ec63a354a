//! Makes notifications of events.

use tenantry::blob::{BlobId, BlobKind, BlobName, PutOptions, Retention};
use tenantry::core::{Service, Store};
use tenantry::outbox::{Event as _, HandlerError, Message, MessageHandler};
use tenantry::prelude::*;

use super::{Notification, NotificationState};
use crate::events::{FlightDelayed, ReportReady};

/// Tells people of delays and of reports.
pub(super) struct Notifier {
    storage: Storage,
    bodies: BlobKind,
    attachments: BlobKind,
}

/// What is told.
struct Told {
    title: String,
    body: String,
    attachment: Option<String>,
}

impl Notifier {
    pub(super) fn new(storage: Storage) -> Result<Self> {
        Ok(Self {
            storage,
            bodies: BlobKind::new("notification-bodies")?,
            attachments: BlobKind::new("notification-attachments")?,
        })
    }

    /// Puts a blob, and returns its name, which follows from the message: a message that comes again finds what
    /// an earlier attempt has put, and leaves nothing over.
    async fn put(
        &self,
        store: Store,
        kind: &BlobKind,
        content_type: &str,
        (work, message): (&UnitOfWork, &Message),
        text: String,
    ) -> Result<String> {
        let id = BlobId::new(message.id().as_uuid());
        let name = BlobName::new(work.tenant(), kind, message.occurred_at(), id)?;
        let blobs = self.storage.blobs(store)?.tenant(work.tenant());
        let blobs = blobs.with_context(work.context().clone());
        // What the storage map says of both stores: 90 days at hand, then in the archive.
        let retention = Retention::days(365).archived_after_days(90);
        let options = PutOptions::new(Service::Notification, retention);
        let options = options.with_content_type(content_type)?;
        match blobs.put_bytes(&name, options, text).await {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(name.to_string()),
        }
    }
}

#[async_trait]
impl MessageHandler for Notifier {
    async fn handle(&self, work: &UnitOfWork, message: &Message) -> Result<(), HandlerError> {
        let told = match message.event_type() {
            FlightDelayed::TYPE => of_delay(&message.read_event()?),
            ReportReady::TYPE => of_report(&message.read_event()?),
            _ => return Ok(()),
        };
        let of = (work, message);
        let text = "text/plain; charset=utf-8";
        let body = self.put(Store::Notifications, &self.bodies, text, of, told.body);
        let body = body.await?;
        let attachment = match told.attachment {
            None => None,
            Some(file) => {
                let store = Store::NotificationAttachments;
                let kind = &self.attachments;
                Some(self.put(store, kind, "text/csv", of, file).await?)
            }
        };
        let mut notification = Notification {
            id: message.id().as_uuid(),
            title: told.title,
            body,
            attachment,
            state: NotificationState::New,
            trace: message.trace().map(|trace| trace.trace_id_hex()),
            created_at: message.occurred_at(),
            version: Version::NEW,
        };
        work.repository().insert(&mut notification).await?;
        Ok(())
    }
}

fn of_delay(event: &FlightDelayed) -> Told {
    let FlightDelayed {
        number,
        origin,
        destination,
        minutes,
        ..
    } = event;
    let leaves = event.scheduled_departure + chrono::TimeDelta::minutes(i64::from(*minutes));
    let (planned, leaves) = (
        event.scheduled_departure.format("%Y-%m-%d %H:%M"),
        leaves.format("%Y-%m-%d %H:%M"),
    );
    Told {
        title: format!("Flight {number} {origin}\u{2013}{destination}: {minutes} minutes late"),
        body: format!(
            "Flight {number} from {origin} to {destination} was planned for {planned} UTC\n\
             and leaves at {leaves} UTC, {minutes} minutes late."
        ),
        attachment: Some(format!(
            "flight,origin,destination,planned,leaves,minutes\n\
             {number},{origin},{destination},{planned},{leaves},{minutes}\n"
        )),
    }
}

fn of_report(event: &ReportReady) -> Told {
    let ReportReady { name, lines, .. } = event;
    Told {
        title: format!("Report \u{201c}{name}\u{201d} is ready"),
        body: format!("The report \u{201c}{name}\u{201d} has {lines} lines and can be downloaded."),
        attachment: None,
    }
}
