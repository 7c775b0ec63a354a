//! What the user wrote, read and checked.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::{Data, DeriveInput, Field, Fields, Ident, LitStr, Token, Type, Visibility};

use crate::attribute::{self, Keys};
use crate::errors::Errors;
use crate::names;
use crate::newtype::inside_option;
use crate::root::Root;

const STRUCT_KEYS: Keys = Keys {
    attribute: "aggregate",
    place: "a struct",
    known: &["table = \"…\"", "soft_delete", "audited", "crate = \"…\""],
};
const FIELD_KEYS: Keys = Keys {
    attribute: "aggregate",
    place: "a field",
    known: &["id", "version", "column = \"…\"", "json"],
};

const NO_STRUCT: &str = "an aggregate is a struct with named fields: each field is a column";
const NEWTYPE: &str = "an aggregate is a struct with named fields: each field is a column; for a \
                       newtype use `#[derive(AggregateId)]` or `#[derive(ColumnValue)]`";
const ENUM: &str = "an aggregate is a struct with named fields: each field is a column; for an \
                    enum in a column use `#[derive(ColumnValue)]`";
const GENERIC: &str = "an aggregate has no generic parameters: one struct is one table";
const NO_TABLE: &str = "the table is missing: write `#[aggregate(table = \"…\")]` on the struct";
const NO_ID: &str = "no field is marked `#[aggregate(id)]`: mark the one that identifies the row \
                     within its tenant";

/// An aggregate without a mistake that a macro can see.
pub(super) struct Model<'a> {
    pub(super) name: &'a Ident,
    pub(super) root: Root,
    pub(super) table: String,
    pub(super) soft_delete: bool,
    pub(super) audited: bool,
    pub(super) columns: Vec<Column<'a>>,
    /// The position of the identifier.
    pub(super) id: usize,
    /// The position of the version.
    pub(super) version: Option<usize>,
}

/// A field and how it is stored.
pub(super) struct Column<'a> {
    pub(super) field: &'a Ident,
    pub(super) vis: &'a Visibility,
    pub(super) ty: &'a Type,
    pub(super) name: String,
    pub(super) constant: Ident,
    pub(super) json: Option<Json<'a>>,
}

/// How a field is stored as JSON.
#[derive(Clone, Copy)]
pub(super) enum Json<'a> {
    /// Always a document.
    Required,
    /// A document of the type inside the `Option`, or NULL.
    Optional(&'a Type),
}

impl<'a> Model<'a> {
    pub(super) fn of(input: &'a DeriveInput) -> syn::Result<Self> {
        let fields =
            named_fields(input).map_err(|wrong| syn::Error::new_spanned(&input.ident, wrong))?;
        let mut errors = Errors::default();
        if !input.generics.params.is_empty() {
            errors.at(&input.generics, GENERIC);
        }
        let options = Options::of(input, &mut errors);
        let mut id = None;
        let mut version = None;
        let mut columns: Vec<Column<'a>> = Vec::new();
        for (index, field) in fields.iter().enumerate() {
            let Some(name) = &field.ident else { continue };
            let marks = Marks::of(field, &mut errors);
            marks.check(&mut errors);
            for (mark, taken, key) in [
                (marks.id, &mut id, "id"),
                (marks.version, &mut version, "version"),
            ] {
                let Some(span) = mark else { continue };
                if let Some(first) = *taken {
                    let first: &Column<'_> = &columns[first];
                    let message = format!(
                        "an aggregate has one `#[aggregate({key})]`, and the field `{}` is marked already",
                        first.field
                    );
                    errors.push(syn::Error::new(span, message));
                } else {
                    *taken = Some(index);
                }
            }
            let column = Column {
                field: name,
                vis: &field.vis,
                ty: &field.ty,
                name: marks
                    .column
                    .as_ref()
                    .map_or_else(|| name.unraw().to_string(), LitStr::value),
                constant: names::constant(name),
                json: marks.json.map(|_| Json::of(&field.ty)),
            };
            if let Some(wrong) = column.wrong(marks.column.is_some(), &columns, &options) {
                let span = marks
                    .column
                    .as_ref()
                    .map_or_else(|| name.span(), LitStr::span);
                errors.push(syn::Error::new(span, wrong));
            }
            columns.push(column);
        }
        if id.is_none() {
            errors.at(&input.ident, NO_ID);
        }
        errors.or(())?;
        Ok(Self {
            name: &input.ident,
            root: Root::of(options.path),
            table: options.table,
            soft_delete: options.soft_delete,
            audited: options.audited,
            columns,
            id: id.unwrap_or_default(),
            version,
        })
    }
}

impl Column<'_> {
    /// Returns what is wrong with the names of the column.
    fn wrong(&self, renamed: bool, before: &[Self], options: &Options) -> Option<String> {
        let Self { name, constant, .. } = self;
        if let Some(wrong) = names::wrong_column(name, options.soft_delete, options.audited) {
            let can_rename = !renamed && wrong.contains("cannot name");
            let hint = if can_rename {
                "; give it one: `#[aggregate(column = \"…\")]`"
            } else {
                ""
            };
            return Some(wrong + hint);
        }
        if let Some(other) = before.iter().find(|other| other.name == *name) {
            return Some(format!(
                "the column `{name}` is taken by the field `{}`",
                other.field
            ));
        }
        before
            .iter()
            .find(|other| other.constant == *constant)
            .map(|other| {
                format!(
                    "the constant `{constant}` is taken by the field `{}`: rename one of both",
                    other.field
                )
            })
    }
}

impl<'a> Json<'a> {
    fn of(ty: &'a Type) -> Self {
        inside_option(ty).map_or(Self::Required, Self::Optional)
    }
}

/// The attributes on the struct.
#[derive(Default)]
struct Options {
    table: String,
    soft_delete: bool,
    audited: bool,
    path: Option<syn::Path>,
}

impl Options {
    fn of(input: &DeriveInput, errors: &mut Errors) -> Self {
        let mut options = Self::default();
        let mut table = None;
        STRUCT_KEYS.visit(&input.attrs, errors, |key, meta| {
            match key {
                "table" => {
                    // Named, whatever is wrong with the name.
                    let name: &LitStr = table.insert(meta.value()?.parse()?);
                    options.table = name.value();
                    if let Some(wrong) = names::wrong_table(&options.table) {
                        return Err(syn::Error::new(name.span(), wrong));
                    }
                }
                "soft_delete" => options.soft_delete = true,
                "audited" => options.audited = true,
                _ => options.path = Some(attribute::crate_path(meta)?),
            }
            Ok(())
        });
        if table.is_none() {
            errors.at(&input.ident, NO_TABLE);
        }
        options
    }
}

/// The attributes on a field.
#[derive(Default)]
struct Marks {
    id: Option<Span>,
    version: Option<Span>,
    column: Option<LitStr>,
    json: Option<Span>,
}

impl Marks {
    fn of(field: &Field, errors: &mut Errors) -> Self {
        let mut marks = Self::default();
        FIELD_KEYS.visit(&field.attrs, errors, |key, meta| {
            let span = meta.path.get_ident().map(Ident::span);
            match key {
                "id" => marks.id = span,
                "version" => marks.version = span,
                "json" => marks.json = span,
                _ => marks.column = Some(meta.value()?.parse()?),
            }
            Ok(())
        });
        marks
    }

    /// Refuses roles that exclude each other.
    fn check(&self, errors: &mut Errors) {
        if let (Some(_), Some(version)) = (self.id, self.version) {
            let message = "the identifier cannot be the version: it would change with each write";
            errors.push(syn::Error::new(version, message));
        }
        if let (Some(_), Some(json)) = (self.id.or(self.version), self.json) {
            let message = "the identifier and the version cannot be stored as JSON";
            errors.push(syn::Error::new(json, message));
        }
    }
}

fn named_fields(input: &DeriveInput) -> Result<&Punctuated<Field, Token![,]>, &'static str> {
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => Ok(&fields.named),
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => Err(NEWTYPE),
            Fields::Unnamed(_) | Fields::Unit => Err(NO_STRUCT),
        },
        Data::Enum(_) => Err(ENUM),
        Data::Union(_) => Err(NO_STRUCT),
    }
}
