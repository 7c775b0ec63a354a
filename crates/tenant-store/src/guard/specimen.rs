//! A guard without a database, for tests: its catalog is written here.

use super::{Catalog, Closed, Keys, Ownership, SqlGuard};
use crate::backend::Dialect;

impl SqlGuard {
    /// Makes a guard over the tables of the specimen, as PostgreSQL would have them.
    #[doc(hidden)]
    #[must_use]
    pub fn specimen_postgres() -> Self {
        Self::new(catalog(Dialect::Postgres, "public"), None)
    }

    /// Makes a guard over the tables of the specimen, as SQLite would have them.
    #[doc(hidden)]
    #[must_use]
    pub fn specimen_sqlite() -> Self {
        Self::new(catalog(Dialect::Sqlite, "main"), None)
    }
}

fn catalog(database: Dialect, schema: &str) -> Catalog {
    let mut catalog = Catalog::new(database);
    for name in ["a", "b", "c", "invoices", "customers", "Odd \"Name"] {
        let keys = Keys {
            with_tenant: [format!("{name}_pkey").into()].into(),
            any_without: name == "c",
            index_astray: (name == "c" && database == Dialect::Sqlite).then(|| "c_n".into()),
        };
        catalog.add(schema, name, true, Ownership::Tenant(keys));
    }
    catalog.add(schema, "editions", true, Ownership::Shared);
    catalog.add("billing", "a", false, Ownership::Tenant(Keys::default()));
    let view = "select i.id, c.name from invoices i left join customers c on c.id = i.customer";
    catalog.add(schema, "named", true, Ownership::View(view.into()));
    catalog.add(schema, "loose", true, Ownership::Closed(Closed::Undeclared));
    for name in [
        "count",
        "sum",
        "lower",
        "coalesce",
        "now",
        "generate_series",
        "unnest",
        "row_number",
    ] {
        catalog.add_function(None, name);
    }
    if database == Dialect::Sqlite {
        catalog.set_total_functions(&["count", "sum", "lower", "coalesce", "row_number"]);
    }
    catalog
}
