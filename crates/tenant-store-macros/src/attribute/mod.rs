//! The keys inside `#[aggregate(…)]` and its siblings.

use proc_macro2::Group;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Expr, LitStr, Path, Token, token};

use crate::errors::Errors;

/// An attribute of ours, at one kind of place.
pub(crate) struct Keys {
    /// The name of the attribute.
    pub(crate) attribute: &'static str,
    /// What it stands on, for messages.
    pub(crate) place: &'static str,
    /// The keys it may hold, as a user writes them.
    pub(crate) known: &'static [&'static str],
}

impl Keys {
    /// Calls `take` with each known key of `attributes`; everything else is an error, after which
    /// the keys that follow are still read.
    pub(crate) fn visit(
        &self,
        attributes: &[Attribute],
        errors: &mut Errors,
        mut take: impl FnMut(&str, &ParseNestedMeta<'_>) -> syn::Result<()>,
    ) {
        let mut seen = Vec::new();
        for attribute in attributes
            .iter()
            .filter(|found| found.path().is_ident(self.attribute))
        {
            let read = attribute.parse_nested_meta(|meta| {
                let key = meta
                    .path
                    .get_ident()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                if !self.knows(&key) {
                    errors.push(meta.error(self.unknown()));
                    return skip_value(&meta);
                }
                if seen.contains(&key) {
                    errors.push(meta.error(format_args!("`{key}` is given twice")));
                    return skip_value(&meta);
                }
                let taken = take(&key, &meta);
                seen.push(key);
                match taken {
                    // Its value is read, so the next key can be, too.
                    Err(error) if at_next_key(&meta) => {
                        errors.push(error);
                        Ok(())
                    }
                    taken => taken,
                }
            });
            if let Err(error) = read {
                errors.push(error);
            }
        }
    }

    fn knows(&self, key: &str) -> bool {
        self.known
            .iter()
            .any(|known| known.split(' ').next() == Some(key))
    }

    fn unknown(&self) -> String {
        let Self {
            attribute,
            place,
            known,
        } = self;
        if known.is_empty() {
            return format!("`#[{attribute}(…)]` has no meaning on {place}");
        }
        let known: Vec<_> = known.iter().map(|known| format!("`{known}`")).collect();
        format!(
            "unknown key: on {place}, `#[{attribute}(…)]` knows {}",
            known.join(", ")
        )
    }
}

/// Reads the value of `crate = "path"`.
pub(crate) fn crate_path(meta: &ParseNestedMeta<'_>) -> syn::Result<Path> {
    let path: LitStr = meta.value()?.parse()?;
    path.parse_with(Path::parse_mod_style).map_err(|_| {
        syn::Error::new(
            path.span(),
            "this is no path: write one such as \"tenantry::store\"",
        )
    })
}

fn at_next_key(meta: &ParseNestedMeta<'_>) -> bool {
    meta.input.is_empty() || meta.input.peek(Token![,])
}

/// Reads over whatever follows a key.
fn skip_value(meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
    if meta.input.peek(Token![=]) {
        meta.value()?.parse::<Expr>()?;
    } else if meta.input.peek(token::Paren) {
        meta.input.parse::<Group>()?;
    }
    Ok(())
}
