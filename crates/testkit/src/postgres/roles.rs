//! The three roles of a database that a service has.

use tenantry_store::postgres::{Bootstrap, migrate};
use tenantry_store::{Migrations, PostgresSettings};

use super::{Login, TestDatabase};
use crate::{Error, Result};

/// The roles of [`TestDatabase::bootstrap`]: who owns the tables, who serves tenants, who serves the platform.
#[derive(Debug, Clone)]
pub struct Roles {
    /// Runs migrations and owns what they create.
    pub owner: Login,
    /// The role of a service, under row-level security.
    pub app: Login,
    /// Sees the rows of all tenants.
    pub platform: Login,
}

impl Roles {
    /// Runs migrations as the owner.
    ///
    /// # Errors
    ///
    /// When one of them fails; the source says which, and why.
    pub async fn migrate(&self, migrations: &Migrations) -> Result<()> {
        let settings = PostgresSettings::new(self.owner.url());
        let done = migrate(settings, migrations).await;
        done.map_err(|error| Error::because("the migrations of a test fail", error))?;
        Ok(())
    }
}

impl TestDatabase {
    /// Makes the database one of Tenantry's, with roles of its own: roles belong to the whole server, and are dropped with
    /// this value.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses a statement.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use tenantry_store::{Migrations, PostgresSettings, TenantStore};
    /// use tenantry_testkit::{PostgresServer, TestDatabase};
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let database = TestDatabase::create(PostgresServer::shared().await?).await?;
    /// let roles = database.bootstrap().await?;
    /// roles.migrate(&Migrations::from_dir("migrations/postgres").await?).await?;
    /// let store = TenantStore::postgres(PostgresSettings::new(roles.app.url())).await?;
    /// # let _ = store;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn bootstrap(&self) -> Result<Roles> {
        let roles = Roles {
            owner: self.create_login("owner").await?,
            app: self.create_login("app").await?,
            platform: self.create_login("platform").await?,
        };
        let done = Bootstrap::new(self.admin_url())
            .with_owner_role(roles.owner.user(), None)
            .with_app_role(roles.app.user(), None)
            .with_platform_role(roles.platform.user(), None)
            .run()
            .await;
        done.map_err(|error| Error::because("the bootstrap of a test database fails", error))?;
        Ok(roles)
    }
}
