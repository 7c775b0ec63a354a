//! What the server itself says about tables, functions and roles.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio::sync::Mutex;
use tokio::time::timeout;
use url::Url;

use super::reading::Name;
use super::verdict::Verdict;
use crate::{Error, Result};

/// How long a statement may be held up until the catalog is read.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many databases are remembered. What goes is read again when it is asked for.
const MOST_DATABASES: usize = 128;

/// How many statements are remembered with what was found of them, in each database.
const MOST_VERDICTS: usize = 4096;

/// Every relation of users, whether rows of a protected table can be reached by its name, and
/// whether it has their tenant.
const RELATIONS: &str = "
    with recursive walled (oid) as (
        select polrelid from pg_policy where polname = 'tenantry_wall'
        union
        select rule.ev_class
        from walled
        join pg_depend as depend
            on depend.refclassid = 'pg_class'::regclass and depend.refobjid = walled.oid
            and depend.classid = 'pg_rewrite'::regclass
        join pg_rewrite as rule on rule.oid = depend.objid
    )
    select space.nspname::text, class.relname::text,
        exists (select from walled where walled.oid = class.oid),
        exists (
            select from pg_attribute as attribute
            where attribute.attrelid = class.oid and attribute.attname = 'tenant_id'
                and attribute.attnum > 0 and not attribute.attisdropped)
    from pg_class as class
    join pg_namespace as space on space.oid = class.relnamespace
    where class.relkind in ('r', 'p', 'v', 'm', 'f')
        and space.nspname not in ('information_schema', 'tenantry')
        and space.nspname !~ '^pg_'";

/// The functions of users, with their source, and whether a row alone can be their argument, so
/// that they can be called as if they were a column of it.
const FUNCTIONS: &str = "
    select function.proname::text,
        coalesce(pg_get_function_sqlbody(function.oid), function.prosrc),
        function.pronargs > 0
            and function.pronargs - function.pronargdefaults <= 1
            and (
                function.provariadic <> 0
                or exists (
                    select from pg_type as type
                    where type.oid = function.proargtypes[0] and type.typtype in ('c', 'd', 'p')))
    from pg_proc as function
    join pg_namespace as space on space.oid = function.pronamespace
    join pg_language as language on language.oid = function.prolang
    where language.lanname not in ('internal', 'c')
        and space.nspname not in ('information_schema', 'tenantry')
        and space.nspname !~ '^pg_'
        and not exists (
            select from pg_depend as depend
            where depend.classid = 'pg_proc'::regclass and depend.objid = function.oid
                and depend.deptype = 'e')";

/// The roles that are not held to one tenant.
const ROLES: &str = "
    select role.rolname::text
    from pg_roles as role, tenantry.settings as settings
    where role.rolsuper
        or role.oid in (settings.owner_role, settings.platform_role)
        or (
            not pg_has_role(role.oid, settings.app_role, 'member')
            and (
                pg_has_role(role.oid, settings.owner_role, 'member')
                or pg_has_role(role.oid, settings.platform_role, 'member')))";

const SUPERUSERS: &str = "select rolname::text from pg_roles where rolsuper";

/// The databases of a server.
#[derive(Debug)]
pub(super) struct Catalogs {
    admin_url: Url,
    databases: Lock<HashMap<String, Arc<Database>>>,
}

/// One database, and what is known of it.
#[derive(Debug)]
pub(super) struct Database {
    name: String,
    admin_url: String,
    is_stale: AtomicBool,
    catalog: Mutex<Option<Arc<Catalog>>>,
}

/// A database at one moment.
#[derive(Debug)]
pub(super) struct Catalog {
    /// By name, those of each schema.
    relations: BTreeMap<String, BTreeMap<String, Standing>>,
    /// Functions whose source names a protected table.
    functions: BTreeMap<String, Behind>,
    /// Roles that may work across tenants.
    unbound_roles: BTreeSet<String>,
    pub(super) verdicts: Verdicts,
}

/// What a function names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Behind {
    table: String,
    /// It can be called as if it were a column.
    takes_row: bool,
}

/// What was found of statements, by the number of the reading and the place in the text.
#[derive(Debug, Default)]
pub(super) struct Verdicts(Lock<HashMap<(u64, usize), Arc<Verdict>>>);

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Protected,
    /// Protected, and a view that leaves the tenant out.
    WithoutTenant,
    Open,
    /// Nothing that was there when the catalog was read.
    Unknown,
}

impl Catalogs {
    pub(super) fn new(admin_url: Url) -> Self {
        Self {
            admin_url,
            databases: Lock::default(),
        }
    }

    /// Returns the superuser that the catalogs are read as.
    pub(super) fn superuser(&self) -> &str {
        self.admin_url.username()
    }

    pub(super) fn database(&self, name: &str) -> Arc<Database> {
        let mut databases = self.databases();
        if databases.len() >= MOST_DATABASES && !databases.contains_key(name) {
            databases.retain(|_, database| Arc::strong_count(database) > 1);
        }
        let database = databases.entry(name.to_owned()).or_insert_with(|| {
            let mut admin_url = self.admin_url.clone();
            admin_url.set_path(name);
            Arc::new(Database {
                name: name.to_owned(),
                admin_url: admin_url.into(),
                is_stale: AtomicBool::new(false),
                catalog: Mutex::default(),
            })
        });
        Arc::clone(database)
    }

    /// Says that databases may have come, gone or changed their names.
    pub(super) fn changed(&self) {
        for database in self.databases().values() {
            database.changed();
        }
    }

    fn databases(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Database>>> {
        self.databases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Database {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Says that the catalog may have changed.
    pub(super) fn changed(&self) {
        self.is_stale.store(true, Ordering::SeqCst);
    }

    /// Returns the catalog, read anew if it may have changed.
    pub(super) async fn catalog(&self) -> Result<Arc<Catalog>> {
        let mut known = self.catalog.lock().await;
        // A change while it is being read makes it stale again.
        let is_stale = self.is_stale.swap(false, Ordering::SeqCst);
        if let Some(catalog) = known.as_ref().filter(|_| !is_stale) {
            return Ok(Arc::clone(catalog));
        }
        match self.read().await {
            Ok(read) => {
                let catalog = match known.take() {
                    // What was found by it holds on.
                    Some(old) if old.says_the_same(&read) => old,
                    _ => Arc::new(read),
                };
                *known = Some(Arc::clone(&catalog));
                Ok(catalog)
            }
            Err(error) => {
                self.changed();
                Err(error)
            }
        }
    }

    async fn read(&self) -> Result<Catalog> {
        let read = async {
            // No longer than for the question: a template cannot be copied, and a database not be
            // dropped, while somebody is connected.
            let mut connection = PgConnection::connect(&self.admin_url).await?;
            let catalog = Catalog::read(&mut connection).await?;
            let _ = connection.close().await;
            Ok::<_, sqlx::Error>(catalog)
        };
        let failed = "the witness cannot read the catalog of a database";
        timeout(PATIENCE, read)
            .await
            .map_err(|error| Error::because(failed, error))?
            .map_err(|error| Error::because(failed, error))
    }
}

impl Catalog {
    async fn read(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let mut relations = BTreeMap::<String, BTreeMap<String, Standing>>::new();
        let rows: Vec<(String, String, bool, bool)> = sqlx::query_as(RELATIONS)
            .persistent(false)
            .fetch_all(&mut *connection)
            .await?;
        for (schema, table, is_protected, has_tenant) in rows {
            let standing = match (is_protected, has_tenant) {
                (false, _) => Standing::Open,
                (true, true) => Standing::Protected,
                (true, false) => Standing::WithoutTenant,
            };
            relations.entry(table).or_default().insert(schema, standing);
        }
        let rows: Vec<(String, String, bool)> = sqlx::query_as(FUNCTIONS)
            .persistent(false)
            .fetch_all(&mut *connection)
            .await?;
        let has_settings: bool =
            sqlx::query_scalar("select to_regclass('tenantry.settings') is not null")
                .persistent(false)
                .fetch_one(&mut *connection)
                .await?;
        let roles = if has_settings { ROLES } else { SUPERUSERS };
        let unbound_roles: Vec<String> = sqlx::query_scalar(roles)
            .persistent(false)
            .fetch_all(&mut *connection)
            .await?;
        let mut catalog = Self {
            relations,
            functions: BTreeMap::new(),
            unbound_roles: unbound_roles.into_iter().collect(),
            verdicts: Verdicts::default(),
        };
        for (name, source, takes_row) in rows {
            let words = super::reading::words(&source);
            if let Some(table) = catalog.protected_among(&words) {
                let table = table.to_owned();
                let behind = Behind { table, takes_row };
                // There may be others of the name, with other arguments.
                let known = catalog.functions.entry(name).or_insert(behind);
                known.takes_row |= takes_row;
            }
        }
        Ok(catalog)
    }

    /// A catalog without a server, of the schema `public`: protected tables, views of them that
    /// leave the tenant out, open tables, and functions with the tables that they name.
    #[cfg(test)]
    pub(super) fn of(
        protected: &[&str],
        without_tenant: &[&str],
        open: &[&str],
        functions: &[(&str, &str)],
    ) -> Self {
        let mut relations = BTreeMap::new();
        for (tables, standing) in [
            (protected, Standing::Protected),
            (without_tenant, Standing::WithoutTenant),
            (open, Standing::Open),
        ] {
            for table in tables {
                let schema = BTreeMap::from([("public".to_owned(), standing)]);
                relations.insert((*table).to_owned(), schema);
            }
        }
        let functions = functions.iter();
        Self {
            relations,
            functions: functions
                .map(|(name, table)| {
                    let table = (*table).to_owned();
                    let takes_row = true;
                    ((*name).to_owned(), Behind { table, takes_row })
                })
                .collect(),
            unbound_roles: BTreeSet::new(),
            verdicts: Verdicts::default(),
        }
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.relations == other.relations
            && self.functions == other.functions
            && self.unbound_roles == other.unbound_roles
    }

    /// Returns whether a role may work across tenants.
    pub(super) fn is_unbound(&self, role: &str) -> bool {
        self.unbound_roles.contains(role)
    }

    /// Returns what a name stands for. Without a schema it is that of a protected table if there
    /// is one in any schema, for nothing is known here of the search path.
    pub(super) fn standing(&self, name: &Name) -> Standing {
        let is_of_system = |schema: &str| {
            schema.starts_with("pg_") || schema == "information_schema" || schema == "tenantry"
        };
        let schemas = self.relations.get(&name.table);
        match &name.schema {
            Some(schema) if is_of_system(schema) => Standing::Open,
            Some(schema) => schemas
                .and_then(|schemas| schemas.get(schema))
                .copied()
                .unwrap_or(Standing::Unknown),
            None => match schemas {
                Some(schemas) => schemas
                    .values()
                    .copied()
                    .find(|standing| *standing != Standing::Open)
                    .unwrap_or(Standing::Open),
                None if name.table.starts_with("pg_") => Standing::Open,
                None => Standing::Unknown,
            },
        }
    }

    /// Returns a word that is the name of a protected table.
    pub(super) fn protected_among<'a>(&self, words: &'a BTreeSet<String>) -> Option<&'a str> {
        words.iter().map(String::as_str).find(|word| {
            let schemas = self.relations.get(*word);
            schemas.is_some_and(|schemas| {
                let mut standings = schemas.values();
                standings.any(|standing| *standing != Standing::Open)
            })
        })
    }

    /// Returns the protected table that the source of a function names.
    pub(super) fn table_behind(&self, function: &str) -> Option<&str> {
        self.functions
            .get(function)
            .map(|behind| behind.table.as_str())
    }

    /// Returns the protected table that the source of a function names, if that can be called as
    /// if it were a column.
    pub(super) fn table_behind_column(&self, column: &str) -> Option<&str> {
        self.functions
            .get(column)
            .filter(|behind| behind.takes_row)
            .map(|behind| behind.table.as_str())
    }
}

impl Verdicts {
    pub(super) fn get_or_find(
        &self,
        key: (u64, usize),
        find: impl FnOnce() -> Verdict,
    ) -> Arc<Verdict> {
        let mut verdicts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if verdicts.len() >= MOST_VERDICTS && !verdicts.contains_key(&key) {
            verdicts.clear();
        }
        let verdict = verdicts.entry(key).or_insert_with(|| Arc::new(find()));
        Arc::clone(verdict)
    }
}
