use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ColumnType, ColumnValue, Row, ValueError, ValueSink};

const NO_JSON: ValueError = ValueError::new("cannot be written as JSON");
const NUL: ValueError = ValueError::new(
    "is JSON with NUL (U+0000) in a text, which PostgreSQL cannot store: remove it",
);
const ONE_WAY: ValueError = ValueError::new(
    "is JSON that could not be read again: it holds NaN or an infinity, or is nested too deep",
);
const OTHER_SHAPE: ValueError = ValueError::new("holds JSON that does not fit the field's type");

/// A column that holds any serde type as JSON.
///
/// # Examples
///
/// ```
/// use tenantry_store::Json;
///
/// let tags = Json(vec!["urgent".to_owned()]);
/// assert_eq!(tags.0.len(), 1);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Json<T>(pub T);

impl<T> ColumnValue for Json<T>
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    type Operand = Self;
    const TYPE: ColumnType = ColumnType::Json;

    fn write(&self, sink: &mut dyn ValueSink) -> Result<(), ValueError> {
        json_write(&self.0, sink)
    }

    fn read_nullable(row: &dyn Row, index: usize) -> Result<Option<Self>, ValueError> {
        row.json(index)?
            .map(|text| {
                serde_json::from_str(text)
                    .map(Self)
                    .map_err(|_| OTHER_SHAPE)
            })
            .transpose()
    }
}

/// Writes a borrowed value as JSON; called by the derive for fields with `#[aggregate(json)]`.
///
/// # Errors
///
/// The type refuses to be JSON, a text in it holds NUL, or what was written could not be read
/// again: serde_json writes NaN as `null`, and reads no more than 127 levels.
pub fn json_write<T: Serialize + DeserializeOwned>(
    value: &T,
    sink: &mut dyn ValueSink,
) -> Result<(), ValueError> {
    let text = serde_json::to_string(value).map_err(|_| NO_JSON)?;
    if holds_nul(&text) {
        return Err(NUL);
    }
    serde_json::from_str::<T>(&text).map_err(|_| ONE_WAY)?;
    sink.json(&text)
}

/// Returns whether the JSON text holds `\u0000`, the escape itself and not an escaped backslash
/// in front of `u0000`.
fn holds_nul(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(found) = text[at..].find('\\') {
        let escape = at + found;
        if bytes[escape + 1..].starts_with(b"u0000") {
            return true;
        }
        // An escape is two bytes at least, and both are ASCII in what serde_json writes.
        at = escape + 2;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{Json, holds_nul};
    use crate::value::Value;

    #[test]
    fn what_could_not_be_read_again_is_refused() {
        let deep =
            |levels| (0..levels).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
        assert!(Value::of(&Json(vec![f64::NAN])).is_err());
        assert!(Value::of(&Json(deep(200))).is_err());
        assert!(Value::of(&Json(deep(100))).is_ok());
        assert!(Value::of(&Json(vec![0.5])).is_ok());
    }

    #[test]
    fn only_the_escape_of_nul_counts() {
        assert!(holds_nul(r#""a\u0000b""#));
        assert!(holds_nul(r#""\\\u0000""#));
        assert!(!holds_nul(r#""\\u0000""#));
        assert!(!holds_nul(r#""é\n""#));
        assert!(!holds_nul(r#""""#));
    }
}
