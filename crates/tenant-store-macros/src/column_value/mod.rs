//! `#[derive(ColumnValue)]`.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Data, DataEnum, DeriveInput, Fields, Ident, LitStr, Variant};

use crate::attribute::{self, Keys};
use crate::errors::Errors;
use crate::names::Spelling;
use crate::newtype::{Newtype, inside_option};
use crate::root::Root;

const NEWTYPE_KEYS: Keys = Keys {
    attribute: "column_value",
    place: "a newtype",
    known: &["crate = \"…\""],
};
const ENUM_KEYS: Keys = Keys {
    attribute: "column_value",
    place: "an enum",
    known: &["rename_all = \"…\"", "crate = \"…\""],
};
const VARIANT_KEYS: Keys = Keys {
    attribute: "column_value",
    place: "a variant",
    known: &["rename = \"…\""],
};

const SHAPE: &str = "a value is a struct with one field, or an enum of bare variants: store other \
                     types as JSON, with `#[aggregate(json)]` on the aggregate's field";
const GENERIC: &str = "a value has no generic parameters: one type is one kind of column";
const AROUND_OPTION: &str = "a value is never NULL, the aggregate's field may be: put the `Option` \
                             around the newtype";
const EMPTY: &str = "an enum without variants has no text to store";
const DATA: &str = "a variant with fields has no text to store: remove them, or store the enum as \
                    JSON, with `#[aggregate(json)]` on the aggregate's field";

/// Generates `ColumnValue` for a newtype or an enum.
pub(crate) fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let mut errors = Errors::default();
    if !input.generics.params.is_empty() {
        errors.at(&input.generics, GENERIC);
    }
    match &input.data {
        Data::Struct(data) => expand_newtype(input, &data.fields, errors),
        Data::Enum(data) => expand_enum(input, data, errors),
        Data::Union(_) => {
            errors.at(&input.ident, SHAPE);
            errors.or(TokenStream::new())
        }
    }
}

fn expand_newtype(
    input: &DeriveInput,
    fields: &Fields,
    mut errors: Errors,
) -> syn::Result<TokenStream> {
    let mut path = None;
    NEWTYPE_KEYS.visit(&input.attrs, &mut errors, |_, meta| {
        path = Some(attribute::crate_path(meta)?);
        Ok(())
    });
    let root = Root::of(path);
    let newtype = Newtype::of(&input.ident, fields, &root);
    match &newtype {
        None => errors.at(&input.ident, SHAPE),
        Some(newtype) if inside_option(newtype.inner).is_some() => {
            errors.at(newtype.inner, AROUND_OPTION);
        }
        Some(_) => {}
    }
    let newtype = errors.or(newtype)?;
    Ok(newtype
        .as_ref()
        .map(Newtype::column_value)
        .unwrap_or_default())
}

fn expand_enum(
    input: &DeriveInput,
    data: &DataEnum,
    mut errors: Errors,
) -> syn::Result<TokenStream> {
    let mut path = None;
    let mut spelling = Spelling::Snake;
    ENUM_KEYS.visit(&input.attrs, &mut errors, |key, meta| {
        if key == "crate" {
            path = Some(attribute::crate_path(meta)?);
        } else {
            let name: LitStr = meta.value()?.parse()?;
            spelling = Spelling::named(&name.value())
                .map_err(|message| syn::Error::new(name.span(), message))?;
        }
        Ok(())
    });
    if data.variants.is_empty() {
        errors.at(&input.ident, EMPTY);
    }
    let mut texts: Vec<Text<'_>> = Vec::new();
    for variant in &data.variants {
        let text = Text::of(variant, spelling, &mut errors);
        if let Some(wrong) = text.wrong(&texts) {
            errors.push(syn::Error::new(text.span, wrong));
        }
        texts.push(text);
    }
    let root = Root::of(path);
    errors.or(())?;
    Ok(generate_enum(input, &texts, &root))
}

/// A variant and what is stored for it.
struct Text<'a> {
    variant: &'a Ident,
    text: String,
    /// Where the text comes from.
    span: Span,
}

impl<'a> Text<'a> {
    fn of(variant: &'a Variant, spelling: Spelling, errors: &mut Errors) -> Self {
        if !matches!(variant.fields, Fields::Unit) {
            errors.at(&variant.fields, DATA);
        }
        let mut given: Option<LitStr> = None;
        VARIANT_KEYS.visit(&variant.attrs, errors, |_, meta| {
            given = Some(meta.value()?.parse()?);
            Ok(())
        });
        let name = &variant.ident;
        match given {
            Some(text) => Self {
                variant: name,
                text: text.value(),
                span: text.span(),
            },
            None => Self {
                variant: name,
                text: spelling.spell(name),
                span: name.span(),
            },
        }
    }

    fn wrong(&self, before: &[Self]) -> Option<String> {
        let Self { text, .. } = self;
        if text.is_empty() {
            return Some("the text of a variant is not empty: give one with `rename`".to_owned());
        }
        if text.contains('\0') {
            return Some("a text with NUL cannot be stored by PostgreSQL: remove it".to_owned());
        }
        before
            .iter()
            .find(|other| other.text == *text)
            .map(|other| {
                format!(
                    "the text `{text}` is taken by the variant `{}`: give another with `rename`",
                    other.variant
                )
            })
    }
}

fn generate_enum(input: &DeriveInput, texts: &[Text<'_>], root: &Root) -> TokenStream {
    let DeriveInput {
        ident: name, vis, ..
    } = input;
    let variants: Vec<_> = texts.iter().map(|text| text.variant).collect();
    let texts: Vec<_> = texts.iter().map(|text| &text.text).collect();
    quote! {
        #[automatically_derived]
        impl #name {
            /// Returns the text that the column holds for this variant.
            #[must_use]
            #[allow(unreachable_pub)]
            #vis const fn as_column_text(&self) -> &'static str {
                match self {
                    #(Self::#variants => #texts,)*
                }
            }
        }

        #[automatically_derived]
        impl #root::ColumnValue for #name {
            type Operand = Self;
            const TYPE: #root::ColumnType = #root::ColumnType::Text;

            fn write(
                &self,
                sink: &mut dyn #root::ValueSink,
            ) -> ::core::result::Result<(), #root::ValueError> {
                sink.text(self.as_column_text())
            }

            fn read_nullable(
                row: &dyn #root::Row,
                index: usize,
            ) -> ::core::result::Result<::core::option::Option<Self>, #root::ValueError> {
                ::core::result::Result::Ok(match row.text(index)? {
                    ::core::option::Option::None => ::core::option::Option::None,
                    #(::core::option::Option::Some(#texts) => {
                        ::core::option::Option::Some(Self::#variants)
                    })*
                    ::core::option::Option::Some(_) => {
                        return ::core::result::Result::Err(#root::ValueError::new(
                            "holds a text that is no variant of the field's enum",
                        ));
                    }
                })
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
    fn newtypes_and_enums_are_values() {
        for input in [
            parse_quote!(
                struct Cents(i64);
            ),
            parse_quote!(
                struct Cents {
                    value: i64,
                }
            ),
            parse_quote!(
                enum Status {
                    Open,
                }
            ),
            parse_quote!(
                enum Status {
                    Open = 7,
                    r#Paid,
                }
            ),
        ] {
            assert!(expand(&input).is_ok());
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        for input in [
            parse_quote!(
                struct Cents;
            ),
            parse_quote!(
                struct Money(i64, Currency);
            ),
            parse_quote!(union Money { cents: i64 }),
        ] {
            assert_eq!(texts(expand(&input)), [SHAPE]);
        }
        assert_eq!(
            texts(expand(&parse_quote!(
                struct Tagged<T>(T);
            ))),
            [GENERIC]
        );
        assert_eq!(
            texts(expand(&parse_quote!(
                struct Note(Option<String>);
            ))),
            [AROUND_OPTION]
        );
        assert_eq!(
            texts(expand(&parse_quote!(
                enum Never {}
            ))),
            [EMPTY]
        );
        assert_eq!(
            texts(expand(&parse_quote!(
                enum Status {
                    Paid(i64),
                    Due { at: i64 },
                }
            ))),
            [DATA; 2]
        );
    }

    #[test]
    fn each_variant_has_a_text_of_its_own() {
        let found = texts(expand(&parse_quote! {
            enum Status {
                PastDue,
                #[column_value(rename = "past_due")]
                Late,
                #[column_value(rename = "")]
                Open,
                #[column_value(rename = "a\0b")]
                Paid,
            }
        }));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("taken by the variant `PastDue`"));
        assert!(found[1].contains("not empty"));
        assert!(found[2].contains("NUL"));
    }

    #[test]
    fn keys_belong_to_their_place() {
        let found = texts(expand(&parse_quote! {
            #[column_value(rename = "x", rename_all = "Snake", rename_all = "snake_case")]
            enum Status {
                #[column_value(rename_all = "snake_case", rename = 7)]
                Open,
            }
        }));
        assert_eq!(found.len(), 5, "{found:?}");
        assert!(found[0].contains("on an enum"));
    }
}
