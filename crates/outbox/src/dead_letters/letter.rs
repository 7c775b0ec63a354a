use chrono::{DateTime, Utc};
use tenantry_core::TenantId;
use tenantry_store::{ColumnType, ValueError, ValueSink};

use crate::MessageId;

/// A message that was given up, without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The identifier of the message.
    pub id: MessageId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The type of the event.
    pub event_type: String,
    /// Its key.
    pub key: String,
    /// When it happened; where that is no time that can be read, it is the start of Unix time.
    pub occurred_at: DateTime<Utc>,
    /// How many bytes its payload has, which [`DeadLetters::get`](crate::DeadLetters::get) reads.
    pub payload_bytes: u64,
    /// Whether its key stands still behind it.
    pub is_blocking: bool,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was given up.
    pub failed_at: DateTime<Utc>,
    /// What went wrong, as [`PublishError::code`](crate::PublishError::code) names it.
    pub reason: String,
    /// What the broker has said.
    pub detail: String,
}

/// Messages that were given up alike.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetterGroup {
    /// The type of the events.
    pub event_type: String,
    /// The kind of the failures.
    pub reason: String,
    /// Whether their keys stand still behind them.
    pub is_blocking: bool,
    /// How many there are.
    pub count: u64,
    /// Of how many tenants.
    pub tenants: u64,
    /// When the first of them was given up.
    pub oldest: DateTime<Utc>,
}

/// Which dead letters are meant: all, unless something is said.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DeadLetterFilter {
    pub(super) tenant: Option<TenantId>,
    event_type: Option<String>,
    id: Option<MessageId>,
}

impl DeadLetterFilter {
    /// Means those of a tenant alone.
    #[must_use]
    pub const fn with_tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Means those of a type alone.
    #[must_use]
    pub fn with_event_type(mut self, event_type: impl Into<String>) -> Self {
        self.event_type = Some(event_type.into());
        self
    }

    /// Means the one message.
    #[must_use]
    pub const fn with_id(mut self, id: MessageId) -> Self {
        self.id = Some(id);
        self
    }

    pub(super) fn bind_tenant(&self, sink: &mut dyn ValueSink) -> Result<(), ValueError> {
        match self.tenant {
            Some(tenant) => sink.uuid(tenant.as_uuid()),
            None => sink.null(ColumnType::Uuid),
        }
    }

    pub(super) fn bind_rest(
        &self,
        mut next: impl FnMut(
            &dyn Fn(&mut dyn ValueSink) -> Result<(), ValueError>,
        ) -> Result<(), ValueError>,
    ) -> Result<(), ValueError> {
        next(&|sink| match &self.event_type {
            Some(event_type) => sink.text(event_type),
            None => sink.null(ColumnType::Text),
        })?;
        next(&|sink| match self.id {
            Some(id) => sink.uuid(id.as_uuid()),
            None => sink.null(ColumnType::Uuid),
        })
    }
}
