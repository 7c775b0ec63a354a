//! The attribute of `tenantry-testkit`, which hands it out as `tenantry_testkit::test`.
//!
//! Wrong use is a compile error at the place that is wrong, with a text that says what to do.

mod databases;
mod expand;

use proc_macro::TokenStream;
use syn::{ItemFn, parse_macro_input};

use databases::Databases;

/// Runs an asynchronous test once on each kind of database that is named, each time on a new one with the tables of the
/// service.
///
/// | argument | the test runs on |
/// |---|---|
/// | `postgres = …` | a database of its own on `PostgresServer::shared()`, with the three roles of Tenantry, as the role of a service |
/// | `sqlite = …` | a new file in the folder for temporary files; with the feature `sqlite` of `tenantry-testkit` |
///
/// What stands there are the migrations: the folder of their files, from that of `Cargo.toml`, or an expression of the type
/// `tenantry_store::Migrations`.
///
/// The function becomes tests named after it, `…_on_postgres` and `…_on_sqlite`. It may take whatever comes from the database:
/// each parameter is a type that implements `FromServiceDatabase`, as `ServiceDatabase`, `TenantStore`, `PlatformStore` and, with
/// its feature `testkit`, `Storage` of the facade do. It may return what any test may. Other attributes, such as `#[ignore]` and
/// `#[should_panic]`, go to each of the tests.
///
/// The database is dropped when the test has ended, however that was. A database that cannot be had is a failure: nothing is
/// skipped.
///
/// # Examples
///
/// ```no_run
/// use tenantry_store::{Migrations, TenantStore};
///
/// fn tables() -> Migrations {
///     Migrations::embedded(&[(1, "invoices", "create table invoices (…)")])
/// }
///
/// #[tenantry_testkit::test(postgres = "migrations/postgres", sqlite = tables())]
/// async fn nobody_has_invoices_at_first(store: TenantStore) {
///     // …
/// }
/// # fn main() {}
/// ```
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let databases = parse_macro_input!(arguments as Databases);
    let function = parse_macro_input!(item as ItemFn);
    expand::tests(&databases, function)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
