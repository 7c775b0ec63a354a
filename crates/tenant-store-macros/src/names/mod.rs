//! Names of tables, columns and constants, and how the variants of an enum are spelled.

use heck::{ToKebabCase, ToLowerCamelCase, ToShoutySnakeCase, ToSnakeCase};
use proc_macro2::Span;
use syn::Ident;
use syn::ext::IdentExt;

/// PostgreSQL cuts longer names, silently.
const LONGEST: usize = 63;

const TENANT: &str = "rows have the tenant, structs do not; remove the field: the repository puts \
                      it there";
const STAMPED: &str = "the store stamps it from the request context; remove the field";

/// Returns what is wrong with the name of a table.
pub(crate) fn wrong_table(name: &str) -> Option<String> {
    if !is_identifier(name) {
        return Some(format!("`{name}` cannot name a table: {RULE}"));
    }
    name.starts_with("sqlite_")
        .then(|| format!("`{name}` cannot name a table: SQLite keeps `sqlite_` for its own"))
}

/// Returns what is wrong with the name of a column.
pub(crate) fn wrong_column(name: &str, soft_delete: bool, audited: bool) -> Option<String> {
    let why = match name {
        "tenant_id" => TENANT,
        "deleted_at" | "deleted_by" if soft_delete => STAMPED,
        "created_at" | "created_by" | "modified_at" | "modified_by" | "trace_id" if audited => {
            STAMPED
        }
        "ctid" | "tableoid" | "xmin" | "xmax" | "cmin" | "cmax" => {
            "every table of PostgreSQL has a system column of this name"
        }
        _ if is_identifier(name) => return None,
        _ => return Some(format!("`{name}` cannot name a column: {RULE}")),
    };
    Some(format!("`{name}` is reserved: {why}"))
}

const RULE: &str = "use a lower-case letter or `_`, then lower-case letters, digits and `_`, 63 \
                    bytes at most";

fn is_identifier(name: &str) -> bool {
    name.len() <= LONGEST
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Returns the name of the constant for a field.
pub(crate) fn constant(field: &Ident) -> Ident {
    let name = field.unraw().to_string();
    let constant = name.to_shouty_snake_case();
    // Words alone make no identifier of `_1` or `__`.
    let constant = match syn::parse_str::<Ident>(&constant) {
        Ok(_) => constant,
        Err(_) => name.to_uppercase(),
    };
    Ident::new(&constant, Span::call_site())
}

/// How the name of a variant becomes its text.
#[derive(Clone, Copy)]
pub(crate) enum Spelling {
    Snake,
    Kebab,
    ScreamingSnake,
    Lower,
    Upper,
    Pascal,
    Camel,
}

impl Spelling {
    const ALL: [(&'static str, Self); 7] = [
        ("snake_case", Self::Snake),
        ("kebab-case", Self::Kebab),
        ("SCREAMING_SNAKE_CASE", Self::ScreamingSnake),
        ("lowercase", Self::Lower),
        ("UPPERCASE", Self::Upper),
        ("PascalCase", Self::Pascal),
        ("camelCase", Self::Camel),
    ];

    /// Returns the spelling that a user calls `name`, or what they may call one.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find_map(|(known, spelling)| (known == name).then_some(spelling))
            .ok_or_else(|| {
                let known = Self::ALL.map(|(known, _)| format!("`{known}`")).join(", ");
                format!("unknown spelling: `rename_all` knows {known}")
            })
    }

    /// Spells the name of a variant.
    pub(crate) fn spell(self, variant: &Ident) -> String {
        let name = variant.unraw().to_string();
        match self {
            Self::Snake => name.to_snake_case(),
            Self::Kebab => name.to_kebab_case(),
            Self::ScreamingSnake => name.to_shouty_snake_case(),
            Self::Lower => name.to_lowercase(),
            Self::Upper => name.to_uppercase(),
            Self::Pascal => name,
            Self::Camel => name.to_lower_camel_case(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ident(name: &str) -> Ident {
        syn::parse_str(name).expect("an identifier")
    }

    #[test]
    fn table_is_a_plain_lower_case_name() {
        for name in ["invoices", "_x", "t2", &"x".repeat(63)] {
            assert_eq!(wrong_table(name), None, "{name}");
        }
        for name in [
            "",
            "Invoices",
            "2x",
            "public.x",
            "x y",
            "größe",
            "x\"",
            "sqlite_x",
            &"x".repeat(64),
        ] {
            assert!(wrong_table(name).is_some(), "{name}");
        }
    }

    #[test]
    fn columns_of_the_store_are_reserved_where_the_store_has_them() {
        assert!(wrong_column("tenant_id", false, false).is_some());
        assert!(wrong_column("xmin", false, false).is_some());
        for name in [
            "created_at",
            "created_by",
            "modified_at",
            "modified_by",
            "trace_id",
        ] {
            assert!(wrong_column(name, false, true).is_some(), "{name}");
            assert_eq!(wrong_column(name, true, false), None, "{name}");
        }
        for name in ["deleted_at", "deleted_by"] {
            assert!(wrong_column(name, true, false).is_some(), "{name}");
            assert_eq!(wrong_column(name, false, true), None, "{name}");
        }
    }

    #[test]
    fn constant_is_the_field_in_upper_case() {
        for (field, expected) in [
            ("total_cents", "TOTAL_CENTS"),
            ("r#type", "TYPE"),
            ("type_", "TYPE"),
            ("userId", "USER_ID"),
            ("line2", "LINE2"),
            ("_1", "_1"),
            ("__", "__"),
        ] {
            assert_eq!(constant(&ident(field)), expected, "{field}");
        }
    }

    #[test]
    fn variant_is_spelled_as_asked() {
        for (spelling, expected) in [
            ("snake_case", "past_due"),
            ("kebab-case", "past-due"),
            ("SCREAMING_SNAKE_CASE", "PAST_DUE"),
            ("lowercase", "pastdue"),
            ("UPPERCASE", "PASTDUE"),
            ("PascalCase", "PastDue"),
            ("camelCase", "pastDue"),
        ] {
            let spelling = Spelling::named(spelling).expect("known");
            assert_eq!(spelling.spell(&ident("PastDue")), expected);
        }
        assert!(Spelling::named("Snake").is_err());
    }
}
