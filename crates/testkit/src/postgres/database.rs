//! A database for one test, and the roles that log in to it.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use url::Url;
use uuid::Uuid;

use super::{PostgresServer, admin, password, scram, url_for};
use crate::{Error, Result};

/// A database of a test's own.
///
/// Dropping it drops the database, whoever is still connected, and the roles that
/// [`create_login`](Self::create_login) made. The drop blocks until this is done, and does nothing
/// when the server is gone.
pub struct TestDatabase {
    server_url: Url,
    admin_url: Url,
    name: String,
    logins: Mutex<Vec<String>>,
}

impl TestDatabase {
    /// Creates an empty database under a name that nobody else has.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached, or its user may not create databases.
    pub async fn create(server: &PostgresServer) -> Result<Self> {
        // Nobody can be connected to `template0`, and a connection would block its copying.
        Self::copy(server, "template0").await
    }

    /// Creates a copy of another database, with its tables and rows.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create), and when somebody is connected to the template.
    pub async fn from_template(server: &PostgresServer, template: &Self) -> Result<Self> {
        Self::copy(server, &template.name).await
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the URL of the server's superuser on this database.
    #[must_use]
    pub fn admin_url(&self) -> &str {
        self.admin_url.as_str()
    }

    /// Returns the URL of any role on this database.
    #[must_use]
    pub fn url(&self, user: &str, password: &str) -> String {
        url_for(&self.server_url, &self.name, user, password).into()
    }

    /// Runs SQL as the superuser; several statements, separated by semicolons, are one transaction.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses a statement.
    pub async fn execute(&self, sql: &str) -> Result<()> {
        admin::execute(self.admin_url(), sql).await
    }

    /// Creates a role that may log in and nothing else: no superuser, no owner, no `BYPASSRLS`.
    ///
    /// Roles belong to the whole server, so the name gets an ending that nobody else has.
    ///
    /// # Errors
    ///
    /// When `name` has other characters than `a` to `z`, `0` to `9` and `_`, or the server refuses.
    pub async fn create_login(&self, name: &str) -> Result<Login> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if !name.bytes().all(plain) || name.len() > 24 {
            return Err(Error::new(format!(
                "`{name}` is no plain name of at most 24 letters"
            )));
        }
        let (user, password) = (format!("{name}_{}", Uuid::new_v4().simple()), password());
        self.execute(&format!(
            "CREATE ROLE {user} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS \
             PASSWORD '{}'",
            scram::verifier(&password)
        ))
        .await?;
        self.logins
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(user.clone());
        Ok(Login {
            url: self.url(&user, &password),
            user,
            password,
        })
    }

    async fn copy(server: &PostgresServer, template: &str) -> Result<Self> {
        let name = format!("test_{}", Uuid::new_v4().simple());
        admin::create_database(server.admin_url(), &name, template).await?;
        let server_url = server.parsed_admin_url().clone();
        let mut admin_url = server_url.clone();
        admin_url.set_path(&name);
        Ok(Self {
            server_url,
            admin_url,
            name,
            logins: Mutex::default(),
        })
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let url = self.server_url.to_string();
        let mut statements = vec![format!(
            "DROP DATABASE IF EXISTS {} WITH (FORCE)",
            self.name
        )];
        let logins = self
            .logins
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        statements.extend(
            logins
                .iter()
                .map(|user| format!("DROP ROLE IF EXISTS {user}")),
        );
        // The test's runtime may be shutting down around this value, so another one does it.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                for statement in &statements {
                    admin::execute(&url, statement)
                        .await
                        .map_err(std::io::Error::other)?;
                }
                Ok::<_, std::io::Error>(())
            })
        });
        // A server that is gone has taken the database along; the test itself has ended.
        let _ = dropping.join();
    }
}

impl fmt::Debug for TestDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestDatabase")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A role that may log in, made by [`TestDatabase::create_login`].
#[derive(Clone)]
pub struct Login {
    user: String,
    password: String,
    url: String,
}

impl Login {
    /// Returns the role's name, which needs no quotes in SQL.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Returns the password.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Returns the role's URL on the database it was made for.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
