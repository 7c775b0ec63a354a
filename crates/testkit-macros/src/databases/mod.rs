//! On which databases a test runs.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::parse::{Parse, ParseStream};
use syn::{Expr, ExprLit, Lit, Token};

/// A kind of database, in the order in which the tests stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    Sqlite,
}

impl Kind {
    /// What the argument is called, and what makes such a database.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Sqlite => "sqlite",
        }
    }
}

/// The arguments of the attribute.
pub(crate) struct Databases(Vec<(Kind, Expr)>);

impl Databases {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Kind, Expr)> {
        self.0.iter()
    }
}

impl Parse for Databases {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut databases: Vec<(Kind, Expr)> = Vec::new();
        while !input.is_empty() {
            let name: Ident = input.parse()?;
            let kind = [Kind::Postgres, Kind::Sqlite]
                .into_iter()
                .find(|kind| name == kind.name());
            let Some(kind) = kind else {
                return Err(syn::Error::new_spanned(
                    &name,
                    format!("there is no database `{name}`: write `postgres` or `sqlite`"),
                ));
            };
            if databases.iter().any(|(other, _)| *other == kind) {
                return Err(syn::Error::new_spanned(
                    &name,
                    format!("`{name}` stands here twice"),
                ));
            }
            input.parse::<Token![=]>()?;
            databases.push((kind, input.parse()?));
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        if databases.is_empty() {
            return Err(input.error(
                "say where the test runs and on which tables: \
                 `#[tenantry_testkit::test(postgres = \"migrations/postgres\")]`",
            ));
        }
        Ok(Self(databases))
    }
}

/// Returns what reads the migrations that stand in an argument, given where the test kit is.
pub(crate) fn migrations(argument: &Expr, testkit: &TokenStream) -> TokenStream {
    match argument {
        Expr::Lit(ExprLit {
            lit: Lit::Str(folder),
            ..
        }) => quote! {
            #testkit::__private::migrations_in(
                ::core::concat!(::core::env!("CARGO_MANIFEST_DIR"), "/", #folder),
            ).await
        },
        other => quote!(#other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_arguments_are_refused_with_what_to_do() {
        for (arguments, text) in [
            ("", "say where the test runs"),
            ("mysql = \"migrations\"", "no database `mysql`"),
            ("sqlite = a(), sqlite = b()", "twice"),
            ("sqlite", "expected `=`"),
        ] {
            let Err(refusal) = syn::parse_str::<Databases>(arguments) else {
                panic!("`{arguments}` is taken");
            };
            assert!(refusal.to_string().contains(text), "{refusal}");
        }
    }
}
