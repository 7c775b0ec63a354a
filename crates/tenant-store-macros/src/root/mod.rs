//! Where the generated code finds the tenant store.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::{Ident, Path, Type};

/// The path of the names that generated code uses.
pub(crate) struct Root(TokenStream);

impl Root {
    /// Takes the given path, else the tenant store if it is a dependency, else the store of the
    /// facade.
    pub(crate) fn of(given: Option<Path>) -> Self {
        let store = given.map_or_else(find, Path::into_token_stream);
        Self(quote!(#store::__private))
    }

    /// Returns the path such that errors in it are shown at `span`.
    pub(crate) fn at(&self, span: Span) -> Self {
        let spanned = self.0.clone().into_iter().map(|mut token| {
            token.set_span(span);
            token
        });
        Self(spanned.collect())
    }
}

impl ToTokens for Root {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.0.to_tokens(tokens);
    }
}

fn find() -> TokenStream {
    if let Some(store) = dependency("tenantry-store", "tenantry_store") {
        quote!(::#store)
    } else if let Some(facade) = dependency("tenantry", "tenantry") {
        quote!(::#facade::store)
    } else {
        // The compiler then says which crate is missing.
        quote!(::tenantry_store)
    }
}

/// Returns the name that `package` goes by in the crate which is being compiled.
fn dependency(package: &str, own_name: &str) -> Option<Ident> {
    let name = match crate_name(package).ok()? {
        // The package's tests and documentation know it by its own name, and so does the store
        // itself: `extern crate self as tenantry_store`.
        FoundCrate::Itself => own_name.to_owned(),
        FoundCrate::Name(name) => name,
    };
    Some(Ident::new(&name, Span::call_site()))
}

/// Returns where to show errors about a type: at the type, while names resolve as in all generated
/// code, even if a macro of the user's wrote the struct around the type.
pub(crate) fn shown_at(ty: &Type) -> Span {
    Span::call_site().located_at(ty.span())
}
