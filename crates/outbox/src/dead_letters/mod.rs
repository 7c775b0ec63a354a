//! What could not be handed over, for those who look after it.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tenantry_core::{Error, ErrorKind, RequestContext, Result, TenantId};
use tenantry_store::own::{Engine, OwnStatement};
use tenantry_store::{ColumnType, PlatformScope, PlatformStore, ValueError, ValueSink};

use crate::log::{COLUMNS, PARKED, Row};
use crate::{Message, MessageId};

/// The messages of a database that were given up, and what becomes of them.
///
/// # Isolation
///
/// It lists those of all tenants, by a [`PlatformScope`] whose reason stands in a trace event; what changes
/// something names the tenant.
///
/// # Examples
///
/// ```no_run
/// use tenantry_core::RequestContext;
/// use tenantry_outbox::{DeadLetterFilter, DeadLetters};
/// use tenantry_store::PlatformStore;
///
/// # async fn example(platform: &PlatformStore) -> tenantry_core::Result<()> {
/// let letters = DeadLetters::open(platform, "ticket 4711", RequestContext::system())?;
/// for letter in letters.list(&DeadLetterFilter::default(), 100).await? {
///     if letter.reason == "refused" {
///         let one = DeadLetterFilter::default().with_id(letter.message.id());
///         letters.replay(letter.message.tenant(), &one).await?;
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct DeadLetters {
    scope: PlatformScope,
    list: Arc<str>,
    groups: Arc<str>,
    replay: Arc<str>,
    discard: Arc<str>,
}

/// A message that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The message, whole; where its time is none that can be read, it is the start of Unix time.
    pub message: Message,
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
    tenant: Option<TenantId>,
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

    fn bind_rest(
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

/// Which rows are dead letters of a filter, whose arguments are the first three.
const THOSE: &str = "state in ('blocked', 'dead') and tenant_id = coalesce($1, tenant_id) \
    and event_type = coalesce($2, event_type) and id = coalesce($3, id)";

impl DeadLetters {
    /// Opens the dead letters of a database, for a reason.
    ///
    /// # Errors
    ///
    /// As [`PlatformStore::scope`].
    pub fn open(
        platform: &PlatformStore,
        reason: impl Into<std::borrow::Cow<'static, str>>,
        context: RequestContext,
    ) -> Result<Self> {
        let scope = platform.scope(reason, context)?;
        let text = |text: &str| {
            let text = text.replace("{columns}", COLUMNS).replace("{those}", THOSE);
            match scope.engine() {
                Engine::Postgres => scope.own_sql(&text),
                _ => scope.own_sql(&text.replace('$', "?")),
            }
        };
        Ok(Self {
            list: text(
                "select {columns}, state, attempts, failed_at, reason, detail \
                 from {schema}outbox_parked where {those} order by failed_at, position limit $4",
            ),
            groups: text(
                "select event_type, reason, state, count(*), count(distinct tenant_id), min(failed_at) \
                 from {schema}outbox_parked where {those} \
                 group by event_type, reason, state order by event_type, reason, state",
            ),
            replay: text(
                "update {schema}outbox_parked set state = 'waiting', attempts = 0, next_at = 0 \
                 where {those}",
            ),
            discard: text("delete from {schema}outbox_parked where {those}"),
            scope,
        })
    }

    /// Lists messages, those that were given up first at the top.
    ///
    /// # Errors
    ///
    /// Those of a repository that reads.
    pub async fn list(&self, filter: &DeadLetterFilter, limit: u32) -> Result<Vec<DeadLetter>> {
        let mut letters = Vec::new();
        let statement = OwnStatement {
            operation: "list dead letters",
            table: &PARKED,
            sql: &self.list,
            bind: &|arguments| {
                match filter.tenant {
                    Some(tenant) => arguments.value().uuid(tenant.as_uuid())?,
                    None => arguments.value().null(ColumnType::Uuid)?,
                }
                filter.bind_rest(|write| write(arguments.value()))?;
                arguments.value().int64(limit.into())
            },
        };
        let mut work = self.scope.read_own("list dead letters").await?;
        work.fetch(&statement, &mut |row| {
            const STATE: usize = 14;
            let attempts = row
                .integer(STATE + 1)?
                .and_then(|it| u32::try_from(it).ok());
            let message = match Row::read_given_up(row, 0) {
                Ok(row) => row.message,
                Err(error) => {
                    // The others are listed.
                    tracing::warn!(
                        target: "tenantry::outbox",
                        %error,
                        "a dead letter that somebody wrote by hand cannot be listed"
                    );
                    return Ok(());
                }
            };
            letters.push(DeadLetter {
                message,
                is_blocking: row.text(STATE)? == Some("blocked"),
                attempts: attempts.unwrap_or_default(),
                failed_at: time(row.integer(STATE + 2)?),
                reason: row.text(STATE + 3)?.unwrap_or_default().to_owned(),
                detail: row.text(STATE + 4)?.unwrap_or_default().to_owned(),
            });
            Ok(())
        })
        .await?;
        Ok(letters)
    }

    /// Counts messages that were given up alike.
    ///
    /// # Errors
    ///
    /// Those of a repository that reads.
    pub async fn groups(&self, filter: &DeadLetterFilter) -> Result<Vec<DeadLetterGroup>> {
        let mut groups = Vec::new();
        let statement = OwnStatement {
            operation: "count dead letters",
            table: &PARKED,
            sql: &self.groups,
            bind: &|arguments| {
                match filter.tenant {
                    Some(tenant) => arguments.value().uuid(tenant.as_uuid())?,
                    None => arguments.value().null(ColumnType::Uuid)?,
                }
                filter.bind_rest(|write| write(arguments.value()))
            },
        };
        let mut work = self.scope.read_own("count dead letters").await?;
        work.fetch(&statement, &mut |row| {
            let count = |column| -> Result<u64, ValueError> {
                Ok(row
                    .integer(column)?
                    .and_then(|it| u64::try_from(it).ok())
                    .unwrap_or_default())
            };
            groups.push(DeadLetterGroup {
                event_type: row.text(0)?.unwrap_or_default().to_owned(),
                reason: row.text(1)?.unwrap_or_default().to_owned(),
                is_blocking: row.text(2)? == Some("blocked"),
                count: count(3)?,
                tenants: count(4)?,
                oldest: time(row.integer(5)?),
            });
            Ok(())
        })
        .await?;
        Ok(groups)
    }

    /// Has messages of a tenant handed over again, with all their attempts, and returns how many.
    ///
    /// Those that block a key leave before what stands behind them; those that were passed by leave late, and out of
    /// their order.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the filter names another tenant; those of a repository that writes.
    pub async fn replay(&self, tenant: TenantId, filter: &DeadLetterFilter) -> Result<u64> {
        self.change("replay dead letters", &self.replay, tenant, filter)
            .await
    }

    /// Removes messages of a tenant for good, and returns how many; what stands behind those that block a key, leaves.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the filter names another tenant; those of a repository that writes.
    pub async fn discard(&self, tenant: TenantId, filter: &DeadLetterFilter) -> Result<u64> {
        self.change("discard dead letters", &self.discard, tenant, filter)
            .await
    }

    async fn change(
        &self,
        operation: &'static str,
        sql: &Arc<str>,
        tenant: TenantId,
        filter: &DeadLetterFilter,
    ) -> Result<u64> {
        if filter.tenant.is_some_and(|other| other != tenant) {
            return Err(Error::new(ErrorKind::InvalidInput, operation)
                .with_detail("the filter names another tenant"));
        }
        let work = self.scope.tenant(tenant).begin().await?;
        let changed = work
            .execute_own(&OwnStatement {
                operation,
                table: &PARKED,
                sql,
                bind: &|arguments| filter.bind_rest(|write| write(arguments.value())),
            })
            .await?;
        work.commit().await?;
        Ok(changed)
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

fn time(milliseconds: Option<i64>) -> DateTime<Utc> {
    milliseconds
        .and_then(DateTime::from_timestamp_millis)
        .unwrap_or_default()
}
