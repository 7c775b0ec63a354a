//! The tables, as migrations of the service.

use tenantry_store::TableRights;

/// The tables of the outbox on PostgreSQL, for the migrations of the service.
///
/// **Copy the text into a file of these migrations** (`tenantry outbox schema` writes it), where the database outlives the
/// process: a release may change the constant, and a migration whose text has changed since it ran is refused
/// (`SchemaMismatch`). The same text in a file is the same migration. What a release changes in the tables is in the
/// changelog, with the text for a further migration.
///
/// Embedded as it is, it is for tests and databases that are made anew:
///
/// # Examples
///
/// ```
/// use tenantry_outbox::OUTBOX_POSTGRES;
/// use tenantry_store::Migrations;
///
/// let migrations = Migrations::embedded(&[(1, "outbox", OUTBOX_POSTGRES)]);
/// # drop(migrations);
/// ```
pub const OUTBOX_POSTGRES: &str = concat!(
    include_str!("postgres.sql"),
    include_str!("postgres_rights.sql")
);

/// What [`OUTBOX_POSTGRES`] ends with: what services and workers may do with its tables, to be run again, as the owner
/// role, where somebody has granted more, or has taken the walls down and built them again. As with
/// [`OUTBOX_POSTGRES`], copy the text into a file (`tenantry outbox schema --rights`).
///
/// # Examples
///
/// ```
/// use tenantry_outbox::{OUTBOX_RIGHTS_POSTGRES, OUTBOX_POSTGRES};
/// use tenantry_store::Migrations;
///
/// let migrations = Migrations::embedded(&[
///     (1, "outbox", OUTBOX_POSTGRES),
///     (7, "rights of the outbox", OUTBOX_RIGHTS_POSTGRES),
/// ]);
/// # drop(migrations);
/// ```
pub const OUTBOX_RIGHTS_POSTGRES: &str = include_str!("postgres_rights.sql");

/// The tables on SQLite: copy them into a file as [`OUTBOX_POSTGRES`] (`tenantry outbox schema --sqlite`).
pub const OUTBOX_SQLITE: &str = include_str!("sqlite.sql");

/// What the role of a service may do with these tables on PostgreSQL, as [`OUTBOX_RIGHTS_POSTGRES`] gives it, for
/// `Grants` of the store.
///
/// # Examples
///
/// ```
/// use tenantry_core::{Service, Store};
/// use tenantry_outbox::OUTBOX_GRANTS;
/// use tenantry_store::Grants;
///
/// let grants = Grants::for_service(Service::Notification, "notification_app")
///     .table("notifications", Store::Notifications)?
///     .tables_with_rights(Store::Outbox, OUTBOX_GRANTS)?;
/// # drop(grants);
/// # Ok::<(), tenantry_core::Error>(())
/// ```
pub const OUTBOX_GRANTS: &[(&str, TableRights)] = &[
    (
        "outbox_messages",
        TableRights::NONE.with_insert_of(&[
            "occurred_at",
            "tenant_id",
            "id",
            "causation_id",
            "partition_id",
            "event_type",
            "ordering_key",
            "project",
            "module",
            "correlation_id",
            "trace",
            "trace_state",
            "content_type",
            "payload",
        ]),
    ),
    ("outbox_inbox", TableRights::APPEND),
    ("outbox_parked", TableRights::NONE),
    ("outbox_claims", TableRights::NONE),
    ("outbox_partitions", TableRights::NONE),
    ("outbox_cluster", TableRights::NONE),
];
