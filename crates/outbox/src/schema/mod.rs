//! The tables, as migrations of the service.

/// The tables of the outbox on PostgreSQL, for the migrations of the service.
///
/// # Examples
///
/// ```
/// use tenantry_outbox::SCHEMA_POSTGRES;
/// use tenantry_store::Migrations;
///
/// let migrations = Migrations::embedded(&[(1, "outbox", SCHEMA_POSTGRES)]);
/// # drop(migrations);
/// ```
pub const SCHEMA_POSTGRES: &str = concat!(
    include_str!("postgres.sql"),
    include_str!("postgres_rights.sql")
);

/// What [`SCHEMA_POSTGRES`] ends with: what services and workers may do with its tables, to be run again, as the owner
/// role, where somebody has granted more, or has taken the walls down and built them again.
///
/// # Examples
///
/// ```
/// use tenantry_outbox::{RIGHTS_POSTGRES, SCHEMA_POSTGRES};
/// use tenantry_store::Migrations;
///
/// let migrations = Migrations::embedded(&[
///     (1, "outbox", SCHEMA_POSTGRES),
///     (7, "rights of the outbox", RIGHTS_POSTGRES),
/// ]);
/// # drop(migrations);
/// ```
pub const RIGHTS_POSTGRES: &str = include_str!("postgres_rights.sql");

/// The same on SQLite.
pub const SCHEMA_SQLITE: &str = include_str!("sqlite.sql");
