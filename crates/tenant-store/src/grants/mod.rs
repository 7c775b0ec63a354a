//! What the role of a service may do with its tables, by the storage map: as SQL, and to compare with.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tenantry_core::{BackendKind, Error, ErrorKind, Result, Service, Store};

const GRANT: &str = "grant table";

/// Which columns of a table a right is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Columns {
    /// None: the right is not given.
    None,
    /// All of them, also those that are added later.
    All,
    /// These.
    Of(&'static [&'static str]),
}

/// What may be done with a table.
///
/// # Examples
///
/// ```
/// use tenantry_store::TableRights;
///
/// const MESSAGES: TableRights = TableRights::NONE.with_insert_of(&["tenant_id", "id", "payload"]);
/// assert_ne!(MESSAGES, TableRights::APPEND);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableRights {
    /// What may be read.
    pub select: Columns,
    /// What new rows may have.
    pub insert: Columns,
    /// What may be changed.
    pub update: Columns,
    /// Whether rows may be removed.
    pub delete: bool,
}

impl TableRights {
    /// Nothing.
    pub const NONE: Self = Self {
        select: Columns::None,
        insert: Columns::None,
        update: Columns::None,
        delete: false,
    };

    /// To add rows and to read them.
    pub const APPEND: Self = Self {
        select: Columns::All,
        insert: Columns::All,
        ..Self::NONE
    };

    /// To read, add, change and remove rows.
    pub const FULL: Self = Self {
        update: Columns::All,
        delete: true,
        ..Self::APPEND
    };

    /// Lets rows be added that have these columns, and the defaults of all others.
    #[must_use]
    pub const fn with_insert_of(mut self, columns: &'static [&'static str]) -> Self {
        self.insert = Columns::Of(columns);
        self
    }

    /// Returns the rights of a store, `None` where it has no tables.
    const fn of(backend: BackendKind) -> Option<Self> {
        match backend {
            BackendKind::Sql | BackendKind::SqlPerService | BackendKind::SqlAndBlob => {
                Some(Self::FULL)
            }
            BackendKind::AppendOnlySql => Some(Self::APPEND),
            // Artifacts have rows that say which blobs count.
            BackendKind::Blob | BackendKind::ImmutableBlob => Some(Self::FULL),
            _ => None,
        }
    }

    /// Returns each right with its columns, as SQL names it.
    pub(crate) const fn each(&self) -> [(&'static str, Columns); 4] {
        let delete = match self.delete {
            true => Columns::All,
            false => Columns::None,
        };
        [
            ("SELECT", self.select),
            ("INSERT", self.insert),
            ("UPDATE", self.update),
            ("DELETE", delete),
        ]
    }
}

/// What the role of a service may do: with the tables of its stores, and with no others.
///
/// Which table belongs to which store, the service says; whose a store is, and whether it takes new rows
/// only, is said by the [storage map](tenantry_core::STORAGE_MAP). [`sql`](Self::sql) writes the statements
/// for a migration, and [`postgres::audit_grants`](crate::postgres::audit_grants) compares a database with it.
///
/// # Examples
///
/// ```
/// use tenantry_core::{ErrorKind, Service, Store};
/// use tenantry_store::Grants;
///
/// let grants = Grants::for_service(Service::AuditTrail, "audit_app")
///     .table("audit_entries", Store::AuditEntries)?;
/// assert_eq!(
///     grants.sql(),
///     "revoke all on table \"public\".\"audit_entries\" from \"audit_app\";\n\
///      grant select, insert on table \"public\".\"audit_entries\" to \"audit_app\";\n"
/// );
///
/// let foreign = grants.table("invoices", Store::DomainData).unwrap_err();
/// assert_eq!(foreign.kind(), ErrorKind::PermissionDenied);
/// # Ok::<(), tenantry_store::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    service: Service,
    role: String,
    schema: String,
    tables: BTreeMap<String, TableRights>,
}

impl Grants {
    /// Begins to say what the role of a service may do: nothing, so far.
    #[must_use]
    pub fn for_service(service: Service, role: impl Into<String>) -> Self {
        Self {
            service,
            role: role.into(),
            schema: "public".to_owned(),
            tables: BTreeMap::new(),
        }
    }

    /// Sets the schema of the tables, `public` without it.
    #[must_use]
    pub fn with_schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// Says to which store a table belongs, with the rights that follow from it: one that takes new rows only
    /// is read and added to, all others are changed as well.
    ///
    /// The tables of the outbox have rights of their own: give them by
    /// [`tables_with_rights`](Self::tables_with_rights).
    ///
    /// # Errors
    ///
    /// - `PermissionDenied`: the store is another service's; the error names store, service and owners.
    /// - `InvalidInput`: the store has no tables, or none can be called so.
    pub fn table(mut self, name: impl Into<String>, store: Store) -> Result<Self> {
        let name = name.into();
        let descriptor = store.descriptor();
        let Some(rights) = TableRights::of(descriptor.backend) else {
            return Err(Error::new(ErrorKind::InvalidInput, GRANT)
                .with_subject(name)
                .with_detail(format!(
                    "the store {store} is kept in {}",
                    descriptor.backend
                )));
        };
        self.add(name, store, rights)?;
        Ok(self)
    }

    /// Says of several tables of a store what may be done with them, such as `OUTBOX_GRANTS` of
    /// `tenantry-outbox`.
    ///
    /// # Errors
    ///
    /// As [`table`](Self::table).
    pub fn tables_with_rights(
        mut self,
        store: Store,
        tables: &[(&str, TableRights)],
    ) -> Result<Self> {
        for (name, rights) in tables {
            self.add((*name).to_owned(), store, *rights)?;
        }
        Ok(self)
    }

    fn add(&mut self, name: String, store: Store, rights: TableRights) -> Result<()> {
        let owners = store.descriptor().owners;
        let refused = |kind, detail: String| {
            Err(Error::new(kind, GRANT)
                .with_subject(name.clone())
                .with_detail(detail))
        };
        if !owners.may_write(self.service) {
            return refused(
                ErrorKind::PermissionDenied,
                format!(
                    "the store {store} is not one of the service {}: its owners are {owners}",
                    self.service
                ),
            );
        }
        if name.is_empty() || name.len() > 63 || name.contains('\0') {
            return refused(
                ErrorKind::InvalidInput,
                "expected the name of a table, of 1 to 63 bytes".to_owned(),
            );
        }
        self.tables.insert(name, rights);
        Ok(())
    }

    /// Returns the statements that give these rights and take all others on these tables, for a migration, which
    /// the owner role runs.
    ///
    /// Rights on other tables are not touched: [`postgres::audit_grants`](crate::postgres::audit_grants) tells
    /// of them, each with what takes it. `tenantry.protect`, run again, takes none of it back.
    #[must_use]
    pub fn sql(&self) -> String {
        let role = quoted(&self.role);
        let mut sql = String::new();
        for (name, rights) in &self.tables {
            let table = format!("{}.{}", quoted(&self.schema), quoted(name));
            // Writing to a String does not fail.
            let _ = writeln!(sql, "revoke all on table {table} from {role};");
            let given = rights.each().into_iter();
            let given: Vec<_> = given
                .filter_map(|(right, columns)| written(right, columns))
                .collect();
            if !given.is_empty() {
                let given = given.join(", ");
                let _ = writeln!(sql, "grant {given} on table {table} to {role};");
            }
        }
        sql
    }

    /// Returns the role.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.role
    }

    /// Returns the schema of the tables.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Returns what may be done with each table.
    pub fn tables(&self) -> impl Iterator<Item = (&str, TableRights)> {
        self.tables
            .iter()
            .map(|(name, rights)| (name.as_str(), *rights))
    }
}

/// Writes a right as a grant does.
fn written(right: &str, columns: Columns) -> Option<String> {
    let right = right.to_ascii_lowercase();
    match columns {
        Columns::None => None,
        Columns::All => Some(right),
        Columns::Of(columns) => {
            let columns: Vec<_> = columns.iter().map(|column| quoted(column)).collect();
            Some(format!("{right} ({})", columns.join(", ")))
        }
    }
}

/// Writes a name as SQL does, whatever it holds.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_follow_from_the_store() {
        let grants = Grants::for_service(Service::Notification, "app")
            .table("notifications", Store::Notifications)
            .unwrap()
            .tables_with_rights(
                Store::Outbox,
                &[
                    (
                        "messages",
                        TableRights::NONE.with_insert_of(&["id", "payload"]),
                    ),
                    ("parked", TableRights::NONE),
                ],
            )
            .unwrap();
        assert_eq!(
            grants.sql(),
            "revoke all on table \"public\".\"messages\" from \"app\";\n\
             grant insert (\"id\", \"payload\") on table \"public\".\"messages\" to \"app\";\n\
             revoke all on table \"public\".\"notifications\" from \"app\";\n\
             grant select, insert, update, delete on table \"public\".\"notifications\" to \"app\";\n\
             revoke all on table \"public\".\"parked\" from \"app\";\n"
        );
    }

    #[test]
    fn what_is_not_of_the_service_is_refused_with_its_owners() {
        let grants = || Grants::for_service(Service::Notification, "app");
        let error = grants().table("reports", Store::Reports).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        for name in ["reports", "notification", "reporting"] {
            assert!(error.to_string().contains(name), "{error}");
        }
        let gateway = Grants::for_service(Service::Gateway, "app");
        let error = gateway.table("cache", Store::Cache).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        // Read by all, and written by operators alone.
        let error = grants().tables_with_rights(Store::Secrets, &[("s", TableRights::FULL)]);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn names_are_quoted() {
        let grants = Grants::for_service(Service::Domain, "a\"; drop role b; --")
            .with_schema("Ünïcode")
            .table("t\"; drop table u; --", Store::DomainData)
            .unwrap();
        assert_eq!(
            grants.sql().lines().next(),
            Some(
                "revoke all on table \"Ünïcode\".\"t\"\"; drop table u; --\" from \
                 \"a\"\"; drop role b; --\";"
            )
        );
        for name in ["", "a\0b", &"n".repeat(64)] {
            let grants = Grants::for_service(Service::Domain, "app");
            let error = grants.table(name, Store::DomainData).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }
}
