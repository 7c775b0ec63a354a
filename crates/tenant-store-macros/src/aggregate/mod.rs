//! `#[derive(Aggregate)]`.

mod model;

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::DeriveInput;

use crate::root::{Root, shown_at};
use model::{Column, Json, Model};

const UNMARKED: &str = "a `Version` that is not marked guards nothing: write `#[aggregate(version)]` \
                        on the field; where it is another row's version, wrap it in a newtype with \
                        `#[derive(ColumnValue)]`";

/// Generates `Aggregate`, and a constant for each column.
pub(crate) fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let model = Model::of(input)?;
    let aggregate = model.aggregate();
    let constants = model.constants();
    let unmarked = model.refusal_of_unmarked_versions();
    Ok(quote! {
        #aggregate
        #constants
        #unmarked
    })
}

impl Model<'_> {
    fn aggregate(&self) -> TokenStream {
        let Self { name, root, .. } = self;
        let id = &self.columns[self.id];
        let (id_field, id_type) = (id.field, id.ty);
        let descriptor = self.descriptor();
        let version = self.version_methods();
        let writes = self.columns.iter().enumerate().map(|(index, column)| {
            let write = column.write(root);
            quote!(#index => #write,)
        });
        let reads = self.columns.iter().enumerate().map(|(index, column)| {
            let (field, read) = (column.field, column.read(index, root));
            quote!(#field: #read.map_err(|error| error.at(#index))?,)
        });
        quote! {
            #[automatically_derived]
            impl #root::Aggregate for #name {
                type Id = #id_type;

                const DESCRIPTOR: &'static #root::AggregateDescriptor = #descriptor;

                fn id(&self) -> &Self::Id {
                    &self.#id_field
                }

                #version

                fn write(
                    &self,
                    index: usize,
                    sink: &mut dyn #root::ValueSink,
                ) -> ::core::result::Result<(), #root::ValueError> {
                    let written = match index {
                        #(#writes)*
                        _ => ::core::result::Result::Err(#root::ValueError::new(
                            "is none of the aggregate's columns",
                        )),
                    };
                    written.map_err(|error| error.at(index))
                }

                fn read(
                    row: &dyn #root::Row,
                ) -> ::core::result::Result<Self, #root::ValueError> {
                    ::core::result::Result::Ok(Self { #(#reads)* })
                }
            }
        }
    }

    fn descriptor(&self) -> TokenStream {
        let Self {
            root, table, id, ..
        } = self;
        let columns = self.columns.iter().map(|column| {
            let (name, value) = (&column.name, column.value(root));
            quote!(#root::ColumnDescriptor::new(#name, #value::TYPE, #value::NULLABLE))
        });
        let version = match self.version {
            Some(version) => quote!(::core::option::Option::Some(#version)),
            None => quote!(::core::option::Option::None),
        };
        let soft_delete = self.soft_delete.then(|| quote!(.with_soft_delete()));
        let audit = self.audited.then(|| quote!(.with_audit()));
        quote! {
            &#root::AggregateDescriptor::new(#table, &[#(#columns),*], #id, #version)
                #soft_delete
                #audit
        }
    }

    fn version_methods(&self) -> TokenStream {
        let root = &self.root;
        let Some(version) = self.version.map(|index| &self.columns[index]) else {
            return quote! {
                fn version(&self) -> #root::Version {
                    #root::Version::NEW
                }

                fn set_version(&mut self, _: #root::Version) {}
            };
        };
        let (field, ty) = (version.field, version.ty);
        let trait_of_field = quote_spanned!(shown_at(ty)=> <#ty as #root::VersionField>);
        quote! {
            fn version(&self) -> #root::Version {
                #trait_of_field::version(&self.#field)
            }

            fn set_version(&mut self, version: #root::Version) {
                #trait_of_field::set_version(&mut self.#field, version);
            }
        }
    }

    /// Updates would be lost without a word. The type decides and not its spelling: an alias of
    /// `Version` is found, and another type of that name is none.
    fn refusal_of_unmarked_versions(&self) -> TokenStream {
        let marked = [Some(self.id), self.version];
        let plain = (0..self.columns.len()).filter(|index| !marked.contains(&Some(*index)));
        plain
            .map(|index| {
                let column = &self.columns[index];
                let value = column.value(&self.root);
                quote_spanned! {shown_at(column.ty)=>
                    const _: () = ::core::assert!(!#value::IS_VERSION, #UNMARKED);
                }
            })
            .collect()
    }

    fn constants(&self) -> TokenStream {
        let Self {
            name,
            root,
            columns,
            ..
        } = self;
        let constants = columns.iter().enumerate().map(|(index, column)| {
            let Column { vis, constant, .. } = column;
            let stored = column.stored_type(root);
            let doc = format!(
                "The column `{}`, to filter by, to sort by and to change.",
                column.name
            );
            quote! {
                #[doc = #doc]
                #vis const #constant: #root::Column<Self, #stored> = #root::Column::at(#index);
            }
        });
        quote! {
            #[automatically_derived]
            #[allow(dead_code, unreachable_pub)]
            impl #name {
                #(#constants)*
            }
        }
    }
}

impl Column<'_> {
    /// Returns the type that is stored: the field's, wrapped if it is JSON.
    fn stored_type(&self, root: &Root) -> TokenStream {
        let ty = self.ty;
        let root = root.at(shown_at(ty));
        match self.json {
            None => quote!(#ty),
            Some(Json::Required) => quote_spanned!(shown_at(ty)=> #root::Json<#ty>),
            Some(Json::Optional(inner)) => {
                quote_spanned!(shown_at(ty)=> ::core::option::Option<#root::Json<#inner>>)
            }
        }
    }

    /// Returns the stored type as what writes and reads it; an error in it is shown at the type.
    fn value(&self, root: &Root) -> TokenStream {
        let stored = self.stored_type(root);
        quote_spanned!(shown_at(self.ty)=> <#stored as #root::ColumnValue>)
    }

    fn write(&self, root: &Root) -> TokenStream {
        let (field, span) = (self.field, shown_at(self.ty));
        // `Json` owns what it wraps, and the field is only lent: hence a function for the write.
        let json_write = {
            let root = root.at(span);
            quote_spanned!(span=> #root::json_write)
        };
        match self.json {
            None => {
                let value = self.value(root);
                quote!(#value::write(&self.#field, sink))
            }
            Some(Json::Required) => quote_spanned!(span=> #json_write(&self.#field, sink)),
            Some(Json::Optional(_)) => quote_spanned! {span=>
                match &self.#field {
                    ::core::option::Option::Some(value) => #json_write(value, sink),
                    ::core::option::Option::None => sink.null(#root::ColumnType::Json),
                }
            },
        }
    }

    fn read(&self, index: usize, root: &Root) -> TokenStream {
        let value = self.value(root);
        let read = quote!(#value::read(row, #index));
        match self.json {
            None => read,
            Some(Json::Required) => quote!(#read.map(|json| json.0)),
            Some(Json::Optional(_)) => quote!(#read.map(|json| json.map(|json| json.0))),
        }
    }
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;
    use crate::errors::texts;

    /// Returns the one error of a struct, and fails if there are more.
    fn error(input: &DeriveInput) -> String {
        let mut found = texts(expand(input));
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn all_options_together_are_accepted() {
        let input = parse_quote! {
            #[aggregate(table = "invoices", crate = "tenantry::store")]
            #[aggregate(soft_delete, audited)]
            pub struct Invoice {
                #[aggregate(id, column = "number")]
                pub id: InvoiceId,
                pub r#type: String,
                #[aggregate(json)]
                lines: Option<Vec<Line>>,
                #[aggregate(version)]
                version: Version,
            }
        };
        let code = expand(&input).expect("valid").to_string();
        assert!(
            code.contains(r#"AggregateDescriptor :: new ("invoices""#),
            "{code}"
        );
        assert!(
            code.contains("pub const ID : tenantry :: store :: __private :: Column <"),
            "{code}"
        );
        assert!(
            code.contains("with_soft_delete () . with_audit ()"),
            "{code}"
        );
    }

    #[test]
    fn struct_with_named_fields_is_asked_for() {
        for (input, text) in [
            (
                parse_quote!(
                    struct Invoice(InvoiceId);
                ),
                "named fields",
            ),
            (
                parse_quote!(
                    struct Invoice;
                ),
                "named fields",
            ),
            (
                parse_quote!(
                    enum Status {
                        Open,
                    }
                ),
                "#[derive(ColumnValue)]",
            ),
            (parse_quote!(union Invoice { id: u32 }), "named fields"),
        ] {
            let found = error(&input);
            assert!(found.contains(text), "{found}");
        }
    }

    #[test]
    fn identifier_is_asked_for_and_there_is_one() {
        let none = error(&parse_quote! {
            #[aggregate(table = "invoices")]
            struct Invoice { id: InvoiceId }
        });
        assert!(
            none.contains("no field is marked `#[aggregate(id)]`"),
            "{none}"
        );
        let two = error(&parse_quote! {
            #[aggregate(table = "invoices")]
            struct Invoice { #[aggregate(id)] id: InvoiceId, #[aggregate(id)] number: i64 }
        });
        assert!(
            two.contains("has one `#[aggregate(id)]`, and the field `id` is marked already"),
            "{two}"
        );
    }

    #[test]
    fn roles_exclude_each_other() {
        let found = texts(expand(&parse_quote! {
            #[aggregate(table = "invoices")]
            struct Invoice {
                #[aggregate(id, version)] id: InvoiceId,
                #[aggregate(version, json)] version: Version,
            }
        }));
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn column_names_are_unique_and_so_are_constants() {
        let column = error(&parse_quote! {
            #[aggregate(table = "invoices")]
            struct Invoice { #[aggregate(id)] id: InvoiceId, #[aggregate(column = "id")] other: i64 }
        });
        assert!(
            column.contains("the column `id` is taken by the field `id`"),
            "{column}"
        );
        let constant = error(&parse_quote! {
            #[aggregate(table = "invoices")]
            struct Invoice { #[aggregate(id)] id: InvoiceId, a_b: i64, a__b: i64 }
        });
        assert!(
            constant.contains("the constant `A_B` is taken by the field `a_b`"),
            "{constant}"
        );
    }

    #[test]
    fn all_errors_come_together() {
        let found = texts(expand(&parse_quote! {
            #[aggregate(table = "Invoices", shard)]
            struct Invoice {
                #[aggregate(id, key = "x", column = "Id")]
                id: InvoiceId,
                tenant_id: Uuid,
                userId: Uuid,
                #[aggregate(column)]
                name: String,
            }
        }));
        assert_eq!(found.len(), 7, "{found:#?}");
    }
}
