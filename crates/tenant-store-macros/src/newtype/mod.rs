//! A struct with one field, which stands for its field.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{GenericArgument, Ident, Member, PathArguments, Type};

use crate::root::{Root, shown_at};

/// A newtype, and where the tenant store is.
pub(crate) struct Newtype<'a> {
    pub(crate) name: &'a Ident,
    pub(crate) member: Member,
    pub(crate) inner: &'a Type,
    pub(crate) root: &'a Root,
}

impl<'a> Newtype<'a> {
    /// Takes the one field of a struct; `None` if there is another number of them.
    pub(crate) fn of(name: &'a Ident, fields: &'a syn::Fields, root: &'a Root) -> Option<Self> {
        let mut members = fields.members().zip(fields);
        match (members.next(), members.next()) {
            (Some((member, field)), None) => Some(Self {
                name,
                member,
                inner: &field.ty,
                root,
            }),
            _ => None,
        }
    }

    /// Writes and reads the newtype as its field.
    pub(crate) fn column_value(&self) -> TokenStream {
        let Self {
            name,
            member,
            inner,
            root,
        } = self;
        let value = quote_spanned!(shown_at(inner)=> <#inner as #root::ColumnValue>);
        // An alias of an `Option` looks like any other type to a macro.
        let no_option = quote_spanned! {shown_at(inner)=>
            ::core::assert!(
                !#value::NULLABLE,
                "a value is never NULL: put the Option around the newtype",
            )
        };
        quote! {
            const _: () = #no_option;

            #[automatically_derived]
            impl #root::ColumnValue for #name {
                type Operand = Self;
                const TYPE: #root::ColumnType = #value::TYPE;

                fn write(
                    &self,
                    sink: &mut dyn #root::ValueSink,
                ) -> ::core::result::Result<(), #root::ValueError> {
                    #value::write(&self.#member, sink)
                }

                fn read_nullable(
                    row: &dyn #root::Row,
                    index: usize,
                ) -> ::core::result::Result<::core::option::Option<Self>, #root::ValueError> {
                    let inner = #value::read_nullable(row, index)?;
                    ::core::result::Result::Ok(inner.map(|inner| Self { #member: inner }))
                }
            }
        }
    }
}

/// Returns `T` of a type that is written `Option<T>`.
pub(crate) fn inside_option(ty: &Type) -> Option<&Type> {
    let path = match ty {
        Type::Group(group) => return inside_option(&group.elem),
        Type::Paren(paren) => return inside_option(&paren.elem),
        Type::Path(path) if path.qself.is_none() => &path.path,
        _ => return None,
    };
    let last = path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first()? {
        GenericArgument::Type(inner) if last.ident == "Option" => Some(inner),
        _ => None,
    }
}
