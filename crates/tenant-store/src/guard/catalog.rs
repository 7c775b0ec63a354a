//! What the database says of its relations and functions.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};

use super::refusal::Refusal;
use crate::backend::Dialect;
use crate::statement::TENANT;

/// The relations and functions that statements may name.
#[derive(Debug)]
pub(crate) struct Catalog {
    pub(crate) database: Dialect,
    /// By the clock of the server, in microseconds, where a session may see an older state than another.
    pub(crate) as_of: Option<i64>,
    /// What a name without a schema means.
    visible: HashMap<Box<str>, Arc<Relation>>,
    qualified: HashMap<Box<str>, HashMap<Box<str>, Arc<Relation>>>,
    /// The names of views in lower case.
    views: HashSet<Box<str>>,
    /// The functions that look at nothing but their arguments, by name.
    functions: HashSet<Box<str>>,
    /// The same by schema and name.
    qualified_functions: HashMap<Box<str>, HashSet<Box<str>>>,
    /// The functions that fail for no value, where others could fail for a row of another tenant.
    total_functions: Option<&'static [&'static str]>,
    /// The functions that may stand where a table does, if not all may.
    table_functions: Option<&'static [&'static str]>,
    /// What would call a function of another kind if it stood behind a row, as a column does.
    row_functions: HashSet<Box<str>>,
}

/// What a table is to the guard.
#[derive(Debug)]
pub(crate) struct Relation {
    /// As the catalog spells it, with its schema where it is not the usual one.
    pub(crate) name: Arc<str>,
    pub(crate) ownership: Ownership,
}

#[derive(Debug)]
pub(crate) enum Ownership {
    /// Each row belongs to a tenant.
    Tenant(Keys),
    /// Rows of the platform, which tenants read.
    Shared,
    /// A view; its text is guarded like the statement around it.
    View(Arc<str>),
    /// Not within reach of a tenant's statement.
    Closed(Closed),
}

/// The unique keys of a table.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// The constraints whose columns include the tenant.
    pub(crate) with_tenant: HashSet<Box<str>>,
    /// Whether there is one without it: a conflict could be with another tenant's row.
    pub(crate) any_without: bool,
    /// An index that does not begin with the tenant, where the database would go by it before the
    /// tenant is looked at.
    pub(crate) index_astray: Option<Arc<str>>,
}

/// Why a relation is out of reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Neither protected nor shared.
    Undeclared,
    /// A partition, which is read past its table.
    Partition,
    /// It keeps rows of all tenants.
    MaterializedView,
    /// Its rows are elsewhere.
    Foreign,
    /// Its definition says what becomes of rows in the way of others.
    Replacing,
    /// A module answers for it, to commands as to queries.
    Virtual,
    /// The view runs with its owner's rights, or has columns named outside its query.
    View,
}

impl Catalog {
    pub(crate) fn new(database: Dialect) -> Self {
        Self {
            database,
            as_of: None,
            visible: HashMap::new(),
            qualified: HashMap::new(),
            views: HashSet::new(),
            functions: HashSet::new(),
            qualified_functions: HashMap::new(),
            total_functions: None,
            table_functions: None,
            row_functions: HashSet::new(),
        }
    }

    /// Adds a relation; `visible` says whether its name without the schema means it.
    pub(crate) fn add(&mut self, schema: &str, name: &str, visible: bool, ownership: Ownership) {
        let (schema, name) = (self.folded(schema), self.folded(name));
        if matches!(ownership, Ownership::View(_)) {
            self.views.insert(name.to_ascii_lowercase().into());
        }
        let shown: Arc<str> = match visible {
            true => Arc::from(&*name),
            false => format!("{schema}.{name}").into(),
        };
        let relation = Arc::new(Relation {
            name: shown,
            ownership,
        });
        if visible {
            self.visible
                .insert(name.clone().into(), Arc::clone(&relation));
        }
        self.qualified
            .entry(schema.into())
            .or_default()
            .insert(name.into(), relation);
    }

    /// Adds a function by its schema and name, or by its name alone.
    pub(crate) fn add_function(&mut self, schema: Option<&str>, name: &str) {
        let name = self.folded(name).into();
        match schema {
            None => self.functions.insert(name),
            Some(schema) => self
                .qualified_functions
                .entry(self.folded(schema).into())
                .or_default()
                .insert(name),
        };
    }

    /// Says which functions fail for no value; where it is said, all others may.
    pub(crate) const fn set_total_functions(&mut self, names: &'static [&'static str]) {
        self.total_functions = Some(names);
    }

    /// Returns whether a function may fail for a value in a row that the tenant has not been looked
    /// at for.
    pub(super) fn may_fail(&self, name: &ObjectName) -> bool {
        let Some(total) = self.total_functions else {
            return false;
        };
        match &*name.0 {
            [ObjectNamePart::Identifier(name)] => !total
                .iter()
                .any(|total| name.value.eq_ignore_ascii_case(total)),
            _ => true,
        }
    }

    /// Returns whether operators may fail for such a value.
    pub(super) const fn operators_may_fail(&self) -> bool {
        self.total_functions.is_some()
    }

    /// Takes a function away, for its name may mean another.
    pub(crate) fn remove_function(&mut self, name: &str) {
        self.functions.remove(name);
    }

    /// Adds a function that takes a row, and may do anything.
    pub(crate) fn add_row_function(&mut self, name: &str) {
        self.row_functions.insert(name.into());
    }

    /// Says which functions may stand where a table does.
    pub(crate) const fn set_table_functions(&mut self, names: &'static [&'static str]) {
        self.table_functions = Some(names);
    }

    /// Returns whether a word may be the name of a view, whatever its case and its schema.
    pub(super) fn has_view(&self, word: &str) -> bool {
        !self.views.is_empty() && self.views.contains(&*word.to_ascii_lowercase())
    }

    fn folded(&self, name: &str) -> String {
        match self.database {
            Dialect::Postgres => name.to_owned(),
            Dialect::Sqlite => name.to_ascii_lowercase(),
        }
    }

    /// Returns the name that an identifier means.
    pub(super) fn identifier<'i>(&self, ident: &'i Ident) -> Result<Cow<'i, str>, Refusal> {
        if ident.quote_style == Some('\'') {
            return Err(Refusal::new(
                "a name in single quotes",
                "write it in double quotes, or in none",
            ));
        }
        if self.database == Dialect::Postgres && ident.value.len() > LONGEST_NAME {
            return Err(Refusal::new(
                "a name of more than 63 bytes",
                "PostgreSQL would cut it: write the shorter name",
            ));
        }
        let keeps_case = self.database == Dialect::Postgres && ident.quote_style.is_some();
        let is_lower = !ident.value.bytes().any(|byte| byte.is_ascii_uppercase());
        Ok(match keeps_case || is_lower {
            true => Cow::Borrowed(&ident.value),
            false => Cow::Owned(ident.value.to_ascii_lowercase()),
        })
    }

    /// Returns the name that an identifier gives to a relation: no word of the grammar.
    pub(super) fn relation_name<'i>(&self, ident: &'i Ident) -> Result<Cow<'i, str>, Refusal> {
        if ident.quote_style.is_none() && is_reserved(&ident.value) {
            return Err(Refusal::new(
                format!("the word {} for a name", ident.value.to_ascii_uppercase()),
                "it is a word of the grammar: leave it out, or write the name in double quotes",
            ));
        }
        // In an UPDATE with joins behind FROM, SQLite takes it for a name and a column.
        if self.database == Dialect::Sqlite && ident.value.contains('.') {
            return Err(Refusal::new(
                "the name of a table with a point in it",
                "give it another alias",
            ));
        }
        self.identifier(ident)
    }

    /// Returns the schema and the name of a relation.
    pub(super) fn relation_path<'n>(
        &self,
        name: &'n ObjectName,
    ) -> Result<(Option<Cow<'n, str>>, Cow<'n, str>), Refusal> {
        for part in &name.0 {
            if let ObjectNamePart::Identifier(ident) = part {
                self.relation_name(ident)?;
            }
        }
        self.parts(name)
    }

    pub(super) fn is_tenant(&self, ident: &Ident) -> Result<bool, Refusal> {
        Ok(self.identifier(ident)? == TENANT)
    }

    /// Returns the schema and the name in a name of one or two parts.
    pub(super) fn parts<'n>(
        &self,
        name: &'n ObjectName,
    ) -> Result<(Option<Cow<'n, str>>, Cow<'n, str>), Refusal> {
        match &name.0[..] {
            [ObjectNamePart::Identifier(name)] => Ok((None, self.identifier(name)?)),
            [
                ObjectNamePart::Identifier(schema),
                ObjectNamePart::Identifier(name),
            ] => Ok((Some(self.identifier(schema)?), self.identifier(name)?)),
            _ => Err(Refusal::new(
                "a name of more than two parts",
                "name the schema and the relation, and no database",
            )),
        }
    }

    pub(super) fn relation(&self, name: &ObjectName) -> Result<&Arc<Relation>, Refusal> {
        let (schema, name) = self.relation_path(name)?;
        let found = match &schema {
            None => self.visible.get(&*name),
            Some(schema) => self
                .qualified
                .get(&**schema)
                .and_then(|relations| relations.get(&*name)),
        };
        found.ok_or_else(|| {
            let shown = match &schema {
                Some(schema) => format!("{schema}.{name}"),
                None => name.clone().into_owned(),
            };
            if is_of_the_system(schema.as_deref(), &name) {
                return Refusal::new(
                    format!("the system catalog {shown}"),
                    "it tells of all tenants: use PlatformScope",
                );
            }
            Refusal::unknown(
                format!("the unknown table {shown}"),
                "run the migrations, and name it as the catalog does",
            )
        })
    }

    /// Returns whether a name behind a row calls a function that may do anything
    /// (<https://www.postgresql.org/docs/current/rowtypes.html#ROWTYPES-USAGE>).
    pub(super) fn is_row_function(&self, ident: &Ident) -> Result<bool, Refusal> {
        Ok(
            !self.row_functions.is_empty()
                && self.row_functions.contains(&*self.identifier(ident)?),
        )
    }

    /// Returns whether a function may stand where a table does.
    pub(super) fn allows_table_function(&self, name: &ObjectName) -> Result<bool, Refusal> {
        let Some(names) = self.table_functions else {
            return self.allows_function(name);
        };
        let (schema, name) = self.parts(name)?;
        // SQLite takes a table of that name for the function.
        Ok(schema.is_none() && names.contains(&&*name) && !self.visible.contains_key(&*name))
    }

    pub(super) fn allows_function(&self, name: &ObjectName) -> Result<bool, Refusal> {
        let (schema, name) = self.parts(name)?;
        Ok(match schema {
            None => self.functions.contains(&*name),
            Some(schema) => self
                .qualified_functions
                .get(&*schema)
                .is_some_and(|functions| functions.contains(&*name)),
        })
    }
}

fn is_of_the_system(schema: Option<&str>, name: &str) -> bool {
    matches!(schema, Some("pg_catalog" | "information_schema"))
        || schema.is_none_or(|schema| schema.starts_with("pg_"))
            && (name.starts_with("pg_") || name.starts_with("sqlite_"))
}

/// Returns whether the grammar keeps a word for itself in one of the databases: the parser may take
/// it for the name of a table or an alias, as in `FROM ONLY invoices`.
fn is_reserved(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    RESERVED.binary_search(&&*word).is_ok()
}

/// <https://www.postgresql.org/docs/current/sql-keywords-appendix.html>, those that name neither a
/// table nor a column, and those of <https://www.sqlite.org/lang_keywords.html> that lead a clause
/// about a table.
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "binary",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "indexed",
    "initially",
    "inner",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "natural",
    "not",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "overlaps",
    "placing",
    "primary",
    "references",
    "returning",
    "right",
    "rows",
    "select",
    "set",
    "similar",
    "some",
    "symmetric",
    "table",
    "tablesample",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "using",
    "values",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
];

/// PostgreSQL cuts longer names
/// (<https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>).
const LONGEST_NAME: usize = 63;
