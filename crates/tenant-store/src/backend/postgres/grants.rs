//! Compares what a role may do in a database with what it is meant to.

use std::collections::BTreeMap;
use std::fmt;

use sqlx::{Connection as _, PgConnection};
use tenantry_core::{Error, ErrorKind, Result};

use super::bootstrap::database_error;
use super::connect::{CHECK_LIMIT, answered, connect_with};
use super::settings::PostgresSettings;
use crate::grants::{Columns, Grants, TableRights, quoted};

const OPERATION: &str = "audit grants";

/// What the audit of a role's rights has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantsReport {
    differences: Vec<GrantDifference>,
}

/// A right that a role has and should not have, or should have and has not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct GrantDifference {
    /// Which of them.
    pub kind: GrantDifferenceKind,
    /// The table, with its schema, quoted where that is needed.
    pub table: String,
    /// `SELECT`, `INSERT`, `UPDATE`, `DELETE`, `TRUNCATE`, `REFERENCES` or `TRIGGER`; empty where the table is
    /// not there.
    pub right: &'static str,
    /// The columns that it is about; empty where it is about the table.
    pub columns: Vec<String>,
    /// The statement that mends it, for the owner of the table.
    pub fix: String,
}

/// How a role differs from what is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum GrantDifferenceKind {
    /// The role may do what it is not meant to.
    TooMuch,
    /// The role may not do what it is meant to.
    Missing,
    /// There is no such table.
    NoTable,
}

impl GrantsReport {
    /// Returns whether the role may do what is meant, and no more.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.differences.is_empty()
    }

    /// Returns what differs, what is too much first, and then by table.
    #[must_use]
    pub fn differences(&self) -> &[GrantDifference] {
        &self.differences
    }
}

impl fmt::Display for GrantsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, difference) in self.differences.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(f, "{separator}{difference}")?;
        }
        match self.is_clean() {
            true => f.write_str("the role may do what is meant, and no more"),
            false => Ok(()),
        }
    }
}

impl fmt::Display for GrantDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            table, right, fix, ..
        } = self;
        let columns = match &self.columns[..] {
            [] => String::new(),
            columns => format!(" ({})", columns.join(", ")),
        };
        match self.kind {
            GrantDifferenceKind::TooMuch => {
                write!(f, "too much: {right}{columns} on {table} (fix: {fix})")
            }
            GrantDifferenceKind::Missing => {
                write!(f, "missing: {right}{columns} on {table} (fix: {fix})")
            }
            GrantDifferenceKind::NoTable => write!(f, "there is no table {table} (fix: {fix})"),
        }
    }
}

/// Compares what the role of a service may do with what it is meant to, with all tables of all schemas but
/// `tenantry`: by grants to the role, to `PUBLIC` and to roles whose rights it inherits.
///
/// Whoever may connect may look: the owner role, an administrator, or the service itself when it starts. It
/// changes nothing. Sequences and functions are not looked at; what of them leads round the wall is told by
/// [`audit`](super::audit()).
///
/// # Errors
///
/// `InvalidSettings` if there is no such role, `SchemaMismatch` if the database was not bootstrapped; the kinds of
/// a connection that fails.
///
/// # Cancel safety
///
/// Dropped, it closes its connection.
///
/// # Examples
///
/// ```no_run
/// use tenantry_core::{Service, Store};
/// use tenantry_store::{Grants, postgres};
///
/// # async fn example(url: &str) -> tenantry_store::Result<()> {
/// let grants = Grants::for_service(Service::Notification, "notification_app")
///     .table("notifications", Store::Notifications)?;
/// let report = postgres::audit_grants(url, &grants).await?;
/// assert!(report.is_clean(), "{report}");
/// # Ok(())
/// # }
/// ```
pub async fn audit_grants(
    settings: impl Into<PostgresSettings> + Send,
    grants: &Grants,
) -> Result<GrantsReport> {
    let settings = settings.into();
    let options = settings.connect_options().await?;
    let limit = settings.acquire_timeout;
    let mut connection = connect_with(OPERATION, &options, limit).await?;
    let held = held(&mut connection, grants.role());
    let held = answered(OPERATION, &options, CHECK_LIMIT, held).await;
    // What was found out stays so, however the server takes the farewell.
    let _ = connection.close().await;
    Ok(compare(grants, &held?))
}

/// One right on one table.
#[derive(Debug, Clone)]
struct Held {
    schema: String,
    name: String,
    right: String,
    /// Whether it is held on the table as a whole.
    is_whole: bool,
    /// The columns on which it is held.
    columns: Vec<String>,
    /// Who has it, of those whose rights the role has.
    holders: Option<String>,
}

const HELD: &str = "
    select
        n.nspname::text as schema,
        c.relname::text as name,
        r.privilege,
        has_table_privilege(who.oid, c.oid, r.privilege) as is_whole,
        array(
            select a.attname::text
            from pg_attribute a
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                -- A right that columns have not is an error to ask for.
                and case when r.is_of_columns then has_column_privilege(who.oid, c.oid, a.attnum, r.privilege) end
            order by a.attnum
        ) as columns,
        tenantry.grantees(c.oid, who.reach, array[r.privilege]) as holders
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    cross join (
        select oid, array(select oid from pg_roles other where pg_has_role(role.oid, other.oid, 'USAGE')) || 0::oid as reach
        from pg_roles role
        where rolname = $1
    ) who
    cross join (values
        ('SELECT', true), ('INSERT', true), ('UPDATE', true), ('DELETE', false), ('TRUNCATE', false),
        ('REFERENCES', true), ('TRIGGER', false)
    ) r (privilege, is_of_columns)
    where c.relkind in ('r', 'p', 'v', 'm', 'f')
        and c.relpersistence <> 't'
        -- What comes with the server is known by its number.
        and c.oid >= 16384
        and n.nspname <> 'tenantry'
    order by n.nspname, c.relname";

async fn held(connection: &mut PgConnection, role: &str) -> Result<Vec<Held>> {
    let failed = |error| database_error(OPERATION, error);
    let mut tx = connection
        .begin_with("BEGIN READ ONLY; SET LOCAL search_path TO pg_catalog")
        .await
        .map_err(failed)?;
    let is_there: bool =
        sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)")
            .bind(role)
            .persistent(false)
            .fetch_one(&mut *tx)
            .await
            .map_err(failed)?;
    if !is_there {
        return Err(Error::new(ErrorKind::InvalidSettings, OPERATION)
            .with_subject(format!("role {role}"))
            .with_detail("there is none: name the role of the service"));
    }
    if super::bootstrap::schema_version(&mut tx)
        .await
        .map_err(failed)?
        .is_none()
    {
        return Err(Error::new(ErrorKind::SchemaMismatch, OPERATION)
            .with_detail("the schema tenantry is missing: run the bootstrap as administrator"));
    }
    type Row = (String, String, String, bool, Vec<String>, Option<String>);
    let rows = sqlx::query_as(HELD)
        .bind(role)
        .persistent(false)
        .fetch_all(&mut *tx)
        .await
        .map_err(failed);
    // Nothing was written; an error of the rollback would only hide what was found.
    let _ = tx.rollback().await;
    let held = |(schema, name, right, is_whole, columns, holders): Row| Held {
        schema,
        name,
        right,
        is_whole,
        columns,
        holders,
    };
    Ok(rows?.into_iter().map(held).collect())
}

fn compare(grants: &Grants, held: &[Held]) -> GrantsReport {
    let mut meant: BTreeMap<(&str, &str), TableRights> = grants
        .tables()
        .map(|(name, rights)| ((grants.schema(), name), rights))
        .collect();
    let role = quoted(grants.role());
    let mut differences = Vec::new();
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for one in held {
        let key = (one.schema.as_str(), one.name.as_str());
        let rights = meant.get(&key).copied().unwrap_or(TableRights::NONE);
        seen.push(key);
        differences.extend(one.compare(rights, &role));
    }
    for key in seen {
        meant.remove(&key);
    }
    differences.extend(meant.into_keys().map(|(schema, name)| GrantDifference {
        kind: GrantDifferenceKind::NoTable,
        table: format!("{}.{}", quoted(schema), quoted(name)),
        right: "",
        columns: Vec::new(),
        fix: "run the migration that makes it, or leave it out of the grants".to_owned(),
    }));
    differences.sort();
    GrantsReport { differences }
}

impl Held {
    /// Returns what differs from the rights that are meant.
    fn compare(&self, rights: TableRights, role: &str) -> Vec<GrantDifference> {
        let right = RIGHTS.iter().find(|right| ***right == *self.right);
        let Some(right) = right.copied() else {
            return Vec::new();
        };
        let meant = rights.each().into_iter().find(|(name, _)| *name == right);
        let meant = meant.map_or(Columns::None, |(_, columns)| columns);
        let mut differences = Vec::new();
        let (too_much, missing) = match meant {
            Columns::All => (None, (!self.is_whole).then(Vec::new)),
            Columns::None => {
                let is_held = self.is_whole || !self.columns.is_empty();
                let columns = match self.is_whole {
                    true => Vec::new(),
                    false => self.columns.clone(),
                };
                (is_held.then_some(columns), None)
            }
            Columns::Of(meant) => {
                let is_meant = |column: &&String| meant.contains(&column.as_str());
                let beyond = self.columns.iter().filter(|column| !is_meant(column));
                let beyond: Vec<_> = beyond.cloned().collect();
                let lacking = meant
                    .iter()
                    .filter(|column| !self.columns.iter().any(|it| it == **column));
                let lacking: Vec<_> = lacking.map(|column| (*column).to_owned()).collect();
                let too_much = match self.is_whole {
                    true => Some(Vec::new()),
                    false => (!beyond.is_empty()).then_some(beyond),
                };
                (too_much, (!lacking.is_empty()).then_some(lacking))
            }
        };
        let table = format!("{}.{}", quoted(&self.schema), quoted(&self.name));
        let mut add = |kind, columns: Vec<String>, fix| {
            differences.push(GrantDifference {
                kind,
                table: table.clone(),
                right,
                columns,
                fix,
            });
        };
        if let Some(columns) = too_much {
            // Where nobody was granted it, it is the owner's, or a superuser's.
            let fix = match &self.holders {
                Some(holders) => {
                    format!(
                        "revoke {right}{} on table {table} from {holders}",
                        of(&columns)
                    )
                }
                None => "let the role neither own the table nor be a superuser".to_owned(),
            };
            add(GrantDifferenceKind::TooMuch, columns, fix);
        }
        if let Some(columns) = missing {
            let fix = format!("grant {right}{} on table {table} to {role}", of(&columns));
            add(GrantDifferenceKind::Missing, columns, fix);
        }
        differences
    }
}

/// Writes columns behind a right.
fn of(columns: &[String]) -> String {
    match columns {
        [] => String::new(),
        columns => {
            let columns: Vec<_> = columns.iter().map(|column| quoted(column)).collect();
            format!(" ({})", columns.join(", "))
        }
    }
}

/// All rights that a table knows.
const RIGHTS: [&str; 7] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "TRUNCATE",
    "REFERENCES",
    "TRIGGER",
];
