//! The names under which the stores are observed.
//!
//! Metric and attribute names follow the OpenTelemetry semantic conventions for database
//! clients, <https://opentelemetry.io/docs/specs/semconv/database/>; what those do not have
//! begins with `tenantry.`.

mod label;

pub use self::label::TenantLabel;

/// The histogram of the durations of store operations.
pub const DB_CLIENT_OPERATION_DURATION: &str = "db.client.operation.duration";
/// The unit of [`DB_CLIENT_OPERATION_DURATION`]: seconds.
pub const DB_CLIENT_OPERATION_DURATION_UNIT: &str = "s";
/// The bucket boundaries of [`DB_CLIENT_OPERATION_DURATION`], in seconds.
pub const DB_CLIENT_OPERATION_DURATION_BUCKETS: [f64; 9] =
    [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// The attribute for the product: [`POSTGRESQL`], [`SQLITE`] or [`REDIS`].
pub const DB_SYSTEM_NAME: &str = "db.system.name";
/// The value of [`DB_SYSTEM_NAME`] for PostgreSQL.
pub const POSTGRESQL: &str = "postgresql";
/// The value of [`DB_SYSTEM_NAME`] for SQLite.
pub const SQLITE: &str = "sqlite";
/// The value of [`DB_SYSTEM_NAME`] for Redis.
pub const REDIS: &str = "redis";
/// The attribute for the operation, such as `get` or `bulk_insert`.
pub const DB_OPERATION_NAME: &str = "db.operation.name";
/// The attribute for the database: on PostgreSQL with its schema, as `orders|public`; on SQLite its file.
pub const DB_NAMESPACE: &str = "db.namespace";
/// The attribute for the table.
pub const DB_COLLECTION_NAME: &str = "db.collection.name";
/// The attribute for the kind of a failure: [`ErrorKind::as_str`](crate::ErrorKind::as_str).
///
/// Absent where the operation succeeded.
pub const ERROR_TYPE: &str = "error.type";

/// The histogram of the durations of calls of vaults.
pub const VAULT_CALL_DURATION: &str = "tenantry.vault.call.duration";
/// The unit of [`VAULT_CALL_DURATION`]: seconds.
pub const VAULT_CALL_DURATION_UNIT: &str = "s";
/// The attribute for a vault, by the name it was added by.
pub const VAULT: &str = "tenantry.vault";
/// The attribute for what a vault was called for: `read`, `put`, `set_enabled` or `list`.
pub const VAULT_OPERATION: &str = "tenantry.vault.operation";
/// The counter of secrets that were asked for, with [`OUTCOME`]: `known`, `read`, `stale` or
/// `refused`.
pub const SECRETS_RESOLVED: &str = "tenantry.secrets.resolved";

/// The counter of values that caches were asked for, with [`CACHE_KIND`] and [`OUTCOME`]: `hit`,
/// `stale` or `miss`; and of what came of misses: `shared_hit`, `loaded` or `failed`.
pub const CACHE_LOOKUPS: &str = "tenantry.cache.lookups";
/// The histogram of the durations of loads into caches, with [`CACHE_KIND`].
pub const CACHE_LOAD_DURATION: &str = "tenantry.cache.load.duration";
/// The unit of [`CACHE_LOAD_DURATION`]: seconds.
pub const CACHE_LOAD_DURATION_UNIT: &str = "s";
/// The gauge of values in the memory of a process.
pub const CACHE_VALUES: &str = "tenantry.cache.values";
/// The gauge of what they take.
pub const CACHE_BYTES: &str = "tenantry.cache.size";
/// The unit of [`CACHE_BYTES`]: bytes.
pub const CACHE_BYTES_UNIT: &str = "By";
/// The attribute for a kind of values, by its name.
pub const CACHE_KIND: &str = "tenantry.cache.kind";
/// The counter of requests under rate limits, with [`OUTCOME`]: `admitted` or `refused`, and where
/// nothing could be counted `admitted_uncounted` or `refused_uncounted`.
pub const RATE_LIMIT_DECISIONS: &str = "tenantry.rate_limit.decisions";
/// The counter of calls of stores of sessions, with [`SESSION_OPERATION`] and [`OUTCOME`]: `ok`,
/// `missing` (it has ended, or never was), `conflict` or `failed`.
pub const SESSION_CALLS: &str = "tenantry.session.calls";
/// The attribute for what a store of sessions was called for: `create`, `load`, `touch`, `save`,
/// `rotate`, `sign_in`, `delete`, `list` or `delete_by_user`.
pub const SESSION_OPERATION: &str = "tenantry.session.operation";
/// The counter of sessions that were ended before their time.
pub const SESSIONS_ENDED: &str = "tenantry.session.ended";

/// The histogram of the durations of operations on blobs, with [`BLOB_SYSTEM`] and
/// [`BLOB_OPERATION`]; a stream that is read is one until its first byte.
pub const BLOB_OPERATION_DURATION: &str = "tenantry.blob.operation.duration";
/// The unit of [`BLOB_OPERATION_DURATION`]: seconds.
pub const BLOB_OPERATION_DURATION_UNIT: &str = "s";
/// The attribute for what keeps blobs: `memory`, `fs` or `azure`.
pub const BLOB_SYSTEM: &str = "tenantry.blob.system";
/// The attribute for the operation, such as `put` or `list`.
pub const BLOB_OPERATION: &str = "tenantry.blob.operation";
/// The counter of blobs that were due when a sweep came, with [`BLOB_SYSTEM`] and [`OUTCOME`]:
/// `deleted`, `archived`, `skipped` or `failed`.
pub const BLOB_SWEPT: &str = "tenantry.blob.swept";
/// The gauge of blobs that are still due after a sweep, with [`BLOB_SYSTEM`].
pub const BLOB_SWEEP_BACKLOG: &str = "tenantry.blob.sweep.backlog";
/// The gauge of when a sweep last ended without a failure, with [`BLOB_SYSTEM`].
pub const BLOB_SWEEP_LAST_SUCCESS: &str = "tenantry.blob.sweep.last_success";
/// The unit of [`BLOB_SWEEP_LAST_SUCCESS`]: seconds since 1970.
pub const BLOB_SWEEP_LAST_SUCCESS_UNIT: &str = "s";
/// The counter of sweeps, with [`BLOB_SYSTEM`], and [`ERROR_TYPE`] where it could not be told what is due.
pub const BLOB_SWEEPS: &str = "tenantry.blob.sweeps";
/// The counter of artifacts that a sweep came to, with [`OUTCOME`]: `orphaned`, `expired`, `deleted`,
/// `corrected`, `kept` or `skipped`.
pub const ARTIFACT_SWEPT: &str = "tenantry.artifact.swept";
/// The counter of tenants whose artifacts were swept, with [`ERROR_TYPE`] where that failed.
pub const ARTIFACT_SWEEPS: &str = "tenantry.artifact.sweeps";
/// The gauge of when the artifacts of all tenants were last swept without a failure.
pub const ARTIFACT_SWEEP_LAST_SUCCESS: &str = "tenantry.artifact.sweep.last_success";
/// The unit of [`ARTIFACT_SWEEP_LAST_SUCCESS`]: seconds since 1970.
pub const ARTIFACT_SWEEP_LAST_SUCCESS_UNIT: &str = "s";

/// The histogram of the durations of calls of publishers.
pub const MESSAGING_CLIENT_OPERATION_DURATION: &str = "messaging.client.operation.duration";
/// The unit of [`MESSAGING_CLIENT_OPERATION_DURATION`]: seconds.
pub const MESSAGING_CLIENT_OPERATION_DURATION_UNIT: &str = "s";
/// The counter of messages that brokers have acknowledged.
pub const MESSAGING_CLIENT_SENT_MESSAGES: &str = "messaging.client.sent.messages";
/// The histogram of the durations of attempts to handle a message.
pub const MESSAGING_PROCESS_DURATION: &str = "messaging.process.duration";
/// The unit of [`MESSAGING_PROCESS_DURATION`]: seconds.
pub const MESSAGING_PROCESS_DURATION_UNIT: &str = "s";
/// The boundaries of [`MESSAGING_PROCESS_DURATION`], as the semantic conventions advise.
pub const MESSAGING_PROCESS_DURATION_BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// The counter of messages that brokers have given out to consumers.
pub const MESSAGING_CLIENT_CONSUMED_MESSAGES: &str = "messaging.client.consumed.messages";
/// The attribute for the name of a consumer.
pub const MESSAGING_CONSUMER_GROUP_NAME: &str = "messaging.consumer.group.name";
/// The counter of what became of messages that were given out, with [`OUTCOME`], and [`ERROR_TYPE`] of dead letters.
pub const CONSUMER_SETTLED: &str = "tenantry.consumer.settled";
/// The histogram of how long ago messages occurred when they are first attempted to be handled.
pub const CONSUMER_MESSAGE_AGE: &str = "tenantry.consumer.message.age";
/// The unit of [`CONSUMER_MESSAGE_AGE`]: seconds.
pub const CONSUMER_MESSAGE_AGE_UNIT: &str = "s";
/// The boundaries of [`CONSUMER_MESSAGE_AGE`]: from 10 ms to a day.
pub const CONSUMER_MESSAGE_AGE_BUCKETS: [f64; 12] = [
    0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 1_800.0, 7_200.0, 86_400.0,
];
/// The attribute for the broker, such as `rabbitmq`.
pub const MESSAGING_SYSTEM: &str = "messaging.system";
/// The attribute for what is done to messages: `send`, `receive` or `process`.
pub const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
/// The attribute for one message: its identifier.
pub const MESSAGING_MESSAGE_ID: &str = "messaging.message.id";
/// The gauge of how long ago the first message of an outbox occurred that has not left.
pub const OUTBOX_OLDEST_UNSENT_AGE: &str = "tenantry.outbox.oldest_unsent.age";
/// The unit of [`OUTBOX_OLDEST_UNSENT_AGE`]: seconds.
pub const OUTBOX_OLDEST_UNSENT_AGE_UNIT: &str = "s";
/// The gauge of messages that have not left.
pub const OUTBOX_BACKLOG: &str = "tenantry.outbox.backlog";
/// The gauge of messages that wait behind a failure.
pub const OUTBOX_PARKED: &str = "tenantry.outbox.parked";
/// The gauge of messages that were given up and block their key.
pub const OUTBOX_BLOCKED: &str = "tenantry.outbox.blocked";
/// The gauge of messages that were given up and passed by.
pub const OUTBOX_DEAD: &str = "tenantry.outbox.dead";
/// The gauge of rows of messages that the database has to clean up.
pub const OUTBOX_DEAD_TUPLES: &str = "tenantry.outbox.dead_tuples";
/// The gauge of how long ago the first message occurred whose row stands in the log, though it may have left.
pub const OUTBOX_OLDEST_KEPT_AGE: &str = "tenantry.outbox.oldest_kept.age";
/// The unit of [`OUTBOX_OLDEST_KEPT_AGE`]: seconds.
pub const OUTBOX_OLDEST_KEPT_AGE_UNIT: &str = "s";
/// The gauge of how many bytes the log takes, with its indices.
pub const OUTBOX_SIZE: &str = "tenantry.outbox.size";
/// The unit of [`OUTBOX_SIZE`].
pub const OUTBOX_SIZE_UNIT: &str = "By";
/// The gauge of workers that are alive.
pub const OUTBOX_WORKERS: &str = "tenantry.outbox.workers";
/// The attribute for the cluster that the database of an outbox is of, so that databases of one name are told apart.
pub const OUTBOX_CLUSTER: &str = "tenantry.outbox.cluster";

/// The attribute for the store of the map: [`Store::as_str`](crate::Store::as_str).
pub const STORE: &str = "tenantry.store";
/// The attribute for how the operation ended, such as `ok`, `error`, `hit` or `miss`.
pub const OUTCOME: &str = "tenantry.outcome";
/// The attribute for the tenant, **on spans only**.
///
/// On a metric each tenant would be a time series; [`TENANT_LABEL`] is the bounded form.
pub const TENANT_ID: &str = "tenant.id";
/// The attribute for the tenant on metrics, where a [`TenantLabel`] is set.
pub const TENANT_LABEL: &str = "tenantry.tenant";
