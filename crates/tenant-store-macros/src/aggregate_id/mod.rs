//! `#[derive(AggregateId)]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Data, DeriveInput};

use crate::attribute::{self, Keys};
use crate::errors::Errors;
use crate::newtype::Newtype;
use crate::root::{Root, shown_at};

const KEYS: Keys = Keys {
    attribute: "aggregate_id",
    place: "an identifier",
    known: &["crate = \"…\""],
};

const SHAPE: &str = "an identifier is a struct with one field: a newtype over `Uuid`, `i64` or \
                     `String`";
const GENERIC: &str = "an identifier has no generic parameters: write one newtype for each \
                       aggregate";

/// Generates the traits of an identifier.
pub(crate) fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let mut errors = Errors::default();
    let mut path = None;
    KEYS.visit(&input.attrs, &mut errors, |_, meta| {
        path = Some(attribute::crate_path(meta)?);
        Ok(())
    });
    let root = Root::of(path);
    if !input.generics.params.is_empty() {
        errors.at(&input.generics, GENERIC);
    }
    let newtype = match &input.data {
        Data::Struct(data) => Newtype::of(&input.ident, &data.fields, &root),
        Data::Enum(_) | Data::Union(_) => None,
    };
    if newtype.is_none() {
        errors.at(&input.ident, SHAPE);
    }
    let newtype = errors.or(newtype)?;
    Ok(newtype.as_ref().map(generate).unwrap_or_default())
}

fn generate(newtype: &Newtype<'_>) -> TokenStream {
    let column_value = newtype.column_value();
    let Newtype {
        name,
        member,
        inner,
        root,
    } = newtype;
    let inner_is_an_identifier = quote_spanned! {shown_at(inner)=>
        const _: fn() = || {
            fn assert<T: #root::AggregateId>() {}
            assert::<#inner>();
        };
    };
    quote! {
        #inner_is_an_identifier
        #column_value

        #[automatically_derived]
        impl #root::AggregateId for #name {}

        #[automatically_derived]
        impl ::core::fmt::Display for #name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Display::fmt(&self.#member, f)
            }
        }

        #[automatically_derived]
        impl ::core::convert::From<#inner> for #name {
            fn from(inner: #inner) -> Self {
                Self { #member: inner }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;
    use crate::errors::texts;

    #[test]
    fn newtype_is_an_identifier_with_a_named_field_or_without() {
        assert!(
            expand(&parse_quote!(
                struct InvoiceId(pub Uuid);
            ))
            .is_ok()
        );
        assert!(
            expand(&parse_quote!(
                struct InvoiceId {
                    value: Uuid,
                }
            ))
            .is_ok()
        );
    }

    #[test]
    fn other_shapes_are_refused() {
        for input in [
            parse_quote!(
                struct InvoiceId;
            ),
            parse_quote!(
                struct InvoiceId(Uuid, Uuid);
            ),
            parse_quote!(
                enum InvoiceId {
                    Number(i64),
                }
            ),
            parse_quote!(union InvoiceId { number: i64 }),
        ] {
            assert_eq!(texts(expand(&input)), [SHAPE]);
        }
    }

    #[test]
    fn all_errors_come_together() {
        let input = parse_quote! {
            #[aggregate_id(table = "invoices")]
            struct InvoiceId<T>(Uuid, PhantomData<T>);
        };
        let unknown = "unknown key: on an identifier, `#[aggregate_id(…)]` knows `crate = \"…\"`";
        assert_eq!(texts(expand(&input)), [unknown, GENERIC, SHAPE]);
    }
}
