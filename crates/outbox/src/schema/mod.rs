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
pub const SCHEMA_POSTGRES: &str = include_str!("postgres.sql");

/// The same on SQLite.
pub const SCHEMA_SQLITE: &str = include_str!("sqlite.sql");
