//! What the attribute turns a function into.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{FnArg, Ident, ItemFn, PatType};

use crate::databases::{Databases, Kind, migrations};

pub(crate) fn tests(databases: &Databases, mut function: ItemFn) -> syn::Result<TokenStream> {
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        return Err(syn::Error::new_spanned(
            signature.fn_token,
            "a test on a database is an `async fn`",
        ));
    }
    if !signature.generics.params.is_empty() {
        return Err(syn::Error::new_spanned(
            &signature.generics,
            "a test has no parameters of types: nobody could say which",
        ));
    }
    let mut parameters = Vec::new();
    for input in &signature.inputs {
        match input {
            FnArg::Typed(PatType { ty, .. }) => parameters.push(ty.clone()),
            FnArg::Receiver(receiver) => {
                return Err(syn::Error::new_spanned(
                    receiver,
                    "a test belongs to no value: take a `TenantStore` or a `ServiceDatabase`",
                ));
            }
        }
    }
    if parameters.is_empty() {
        return Err(syn::Error::new_spanned(
            &signature.ident,
            "the test takes nothing of its database: take a `TenantStore` or a `ServiceDatabase`",
        ));
    }
    let (name, output) = (signature.ident.clone(), signature.output.clone());
    let attributes = std::mem::take(&mut function.attrs);
    let testkit = testkit();
    let each = databases.iter().map(|(kind, argument)| {
        let (test, make) = (on(&name, *kind), Ident::new(kind.name(), Span::call_site()));
        let migrations = migrations(argument, &testkit);
        quote! {
            #[::core::prelude::v1::test]
            #(#attributes)*
            fn #test() #output {
                #testkit::__private::run(async {
                    let migrations = #migrations;
                    let database = #testkit::__private::made(
                        #testkit::ServiceDatabase::#make(&migrations).await,
                    );
                    #name(#(
                        #testkit::__private::taken::<#parameters>(&database).await
                    ),*).await
                })
            }
        }
    });
    Ok(quote! {
        #function
        #(#each)*
    })
}

/// Returns the name of a test on a kind of database.
fn on(name: &Ident, kind: Kind) -> Ident {
    format_ident!("{}_on_{}", name, kind.name(), span = name.span())
}

/// Returns where the generated code finds the test kit.
fn testkit() -> TokenStream {
    let name = match crate_name("tenantry-testkit") {
        Ok(FoundCrate::Name(name)) => Ident::new(&name, Span::call_site()),
        // Its own tests know it by its name; where it is missing, the compiler says so.
        Ok(FoundCrate::Itself) | Err(_) => Ident::new("tenantry_testkit", Span::call_site()),
    };
    quote!(::#name)
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    fn refused(function: ItemFn) -> String {
        let databases = parse_quote!(postgres = "migrations/postgres");
        tests(&databases, function).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_a_test_is_refused_with_what_to_do() {
        for (function, text) in [
            (
                parse_quote!(
                    fn it(store: TenantStore) {}
                ),
                "`async fn`",
            ),
            (
                parse_quote!(
                    async fn it<T>(store: T) {}
                ),
                "parameters of types",
            ),
            (
                parse_quote!(
                    async fn it(&self) {}
                ),
                "take a `TenantStore`",
            ),
            (
                parse_quote!(
                    async fn it() {}
                ),
                "takes nothing of its database",
            ),
        ] {
            let refusal = refused(function);
            assert!(refusal.contains(text), "{refusal}");
        }
    }

    #[test]
    fn each_database_has_a_test_with_all_attributes() {
        let databases = parse_quote!(sqlite = tables(), postgres = "migrations/postgres",);
        let function = parse_quote! {
            #[ignore]
            async fn it(store: TenantStore) -> Result<()> { Ok(()) }
        };
        let written = tests(&databases, function).unwrap().to_string();
        for name in ["it_on_sqlite", "it_on_postgres"] {
            assert_eq!(written.matches(name).count(), 1, "{written}");
        }
        assert_eq!(written.matches("# [ignore]").count(), 2, "{written}");
    }
}
