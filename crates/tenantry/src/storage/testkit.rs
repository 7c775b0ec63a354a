//! The storage of a test.

use tenantry_testkit::{FromServiceDatabase, Result, ServiceDatabase};

use super::Storage;

/// A storage with the database alone, as a service has it: the parameter of a `#[tenantry_testkit::test(…)]`.
impl FromServiceDatabase for Storage {
    async fn from_service_database(database: &ServiceDatabase) -> Result<Self> {
        if let Some(settings) = database.postgres_settings() {
            return Ok(Self::postgres(settings).await?);
        }
        #[cfg(feature = "sqlite")]
        if let Some(settings) = database.sqlite_settings() {
            return Ok(Self::sqlite(settings).await?);
        }
        Err(tenantry_core::Error::new(
            tenantry_core::ErrorKind::Unsupported,
            "open storage of a test",
        )
        .with_detail("the test runs on SQLite, and the feature `sqlite` of `tenantry` is off")
        .into())
    }
}
