//! What could not be handed over, for those who look after it.

mod letter;

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tenantry_core::{Error, ErrorKind, RequestContext, Result, TenantId};
use tenantry_store::own::{Engine, OwnStatement};
use tenantry_store::{PlatformScope, PlatformStore, ValueError};

pub use self::letter::{DeadLetter, DeadLetterFilter, DeadLetterGroup};

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
///     let message = letters.get(letter.tenant, letter.id).await?;
///     if letter.reason == "refused" && !message.payload().is_empty() {
///         let one = DeadLetterFilter::default().with_id(letter.id);
///         letters.replay(letter.tenant, &one).await?;
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct DeadLetters {
    scope: PlatformScope,
    list: Arc<str>,
    get: Arc<str>,
    groups: Arc<str>,
    replay: Arc<str>,
    discard: Arc<str>,
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
                "select tenant_id, id, event_type, ordering_key, occurred_at, length(payload), state, attempts, \
                     failed_at, reason, detail \
                 from {schema}outbox_parked where {those} order by failed_at, position limit $4",
            ),
            get: text(
                "select {columns} from {schema}outbox_parked where {those} \
                 order by failed_at, position limit 1",
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

    /// Lists messages, those that were given up first at the top, without their payloads.
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
                filter.bind_tenant(arguments.value())?;
                filter.bind_rest(|write| write(arguments.value()))?;
                arguments.value().int64(limit.into())
            },
        };
        let mut work = self.scope.read_own("list dead letters").await?;
        work.fetch(&statement, &mut |row| {
            match listed(row) {
                Ok(letter) => letters.push(letter),
                // The others are listed.
                Err(error) => tracing::warn!(
                    target: "tenantry::outbox",
                    %error,
                    "a dead letter that somebody wrote by hand cannot be listed"
                ),
            }
            Ok(())
        })
        .await?;
        Ok(letters)
    }

    /// Returns a message that was given up, whole; where its time is none that can be read, it is the start of Unix
    /// time. Of several with one identifier it is the one that was given up first.
    ///
    /// # Errors
    ///
    /// `NotFound` if the tenant has no such dead letter, also where another tenant has; those of a repository that reads.
    pub async fn get(&self, tenant: TenantId, id: MessageId) -> Result<Message> {
        const OPERATION: &str = "read dead letter";
        let filter = DeadLetterFilter::default().with_tenant(tenant).with_id(id);
        let mut found = None;
        let statement = OwnStatement {
            operation: OPERATION,
            table: &PARKED,
            sql: &self.get,
            bind: &|arguments| {
                filter.bind_tenant(arguments.value())?;
                filter.bind_rest(|write| write(arguments.value()))
            },
        };
        let mut work = self.scope.read_own(OPERATION).await?;
        work.fetch(&statement, &mut |row| {
            found = Some(Row::read_given_up(row, 0)?.message);
            Ok(())
        })
        .await?;
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, OPERATION).with_subject(id.to_string()))
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
                filter.bind_tenant(arguments.value())?;
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

/// Reads what is listed of a message.
fn listed(row: &dyn tenantry_store::Row) -> Result<DeadLetter, ValueError> {
    const IS_NULL: ValueError = ValueError::new("is NULL");
    const NO_TENANT: ValueError = ValueError::new("holds no tenant");
    let uuid = |column| row.uuid(column)?.ok_or(IS_NULL);
    let text = |column| Ok::<_, ValueError>(row.text(column)?.ok_or(IS_NULL)?.to_owned());
    let count = |column| row.integer(column).map(|it| it.unwrap_or_default());
    Ok(DeadLetter {
        tenant: TenantId::new(uuid(0)?).map_err(|_| NO_TENANT)?,
        id: MessageId::new(uuid(1)?),
        event_type: text(2)?,
        key: text(3)?,
        occurred_at: row.timestamp(4).ok().flatten().unwrap_or_default(),
        payload_bytes: u64::try_from(count(5)?).unwrap_or_default(),
        is_blocking: row.text(6)? == Some("blocked"),
        attempts: u32::try_from(count(7)?).unwrap_or_default(),
        failed_at: time(row.integer(8)?),
        reason: row.text(9)?.unwrap_or_default().to_owned(),
        detail: row.text(10)?.unwrap_or_default().to_owned(),
    })
}
