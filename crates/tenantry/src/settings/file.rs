//! A settings file as tables of keys: each is taken once, and what is left over is not known.
//!
//! `toml` reads the text; its values are walked here rather than by derived code, for an error of that
//! quotes the value, which may be a password that somebody has put into the wrong place.

use std::ffi::OsString;
use std::str::FromStr;

use tenantry_core::SecretReference;
use tenantry_store::{Error, ErrorKind, Result};
use toml::{Table, Value};

use super::READ;

/// What the variables begin with that are settings.
const PREFIX: &str = "TENANTRY__";
/// What stands between the parts of a key in the name of a variable.
const SEPARATOR: &str = "__";

/// One table of a file, or the whole of it.
pub(super) struct Section {
    /// Where it stands: `database`, or nothing for the whole.
    path: String,
    table: Table,
    /// The keys that were asked for.
    known: Vec<&'static str>,
}

impl Section {
    /// Reads a text, and lays variables over it.
    pub(super) fn read(
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        let table = text.parse::<Table>();
        // The message alone: what else is told repeats the line.
        let mut table = table.map_err(|error| {
            let line = error.span().map(|span| line_of(text, span.start));
            let place = line.map_or_else(String::new, |line| format!("line {line}: "));
            invalid("", format!("{place}{}", error.message()))
        })?;
        for (name, value) in variables {
            if let Some(key) = name.strip_prefix(PREFIX) {
                lay_over(&mut table, &name, key, value)?;
            }
        }
        Ok(Self::new(String::new(), table))
    }

    fn new(path: String, table: Table) -> Self {
        Self {
            path,
            table,
            known: Vec::new(),
        }
    }

    /// Refuses keys that nobody has asked for.
    pub(super) fn end(mut self) -> Result<()> {
        let Some(unknown) = self.table.keys().next().cloned() else {
            return Ok(());
        };
        self.known.sort_unstable();
        let known = self.known.join(", ");
        Err(self.refuse(&unknown, format!("it is not known here; known are {known}")))
    }

    /// Returns an error about a key, whose value is not repeated.
    pub(super) fn refuse(&self, key: &str, detail: impl Into<String>) -> Error {
        invalid(&self.path_of(key), detail)
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// Takes a text.
    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<String>> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(_) => Err(self.refuse(key, "expected a text in quotation marks, not empty")),
        }
    }

    /// Takes a text that has to be there.
    pub(super) fn needed(&mut self, key: &'static str) -> Result<String> {
        let text = self.text(key)?;
        text.ok_or_else(|| self.refuse(key, "it is missing"))
    }

    /// Takes a whole number, which a variable has as text.
    pub(super) fn number<T: TryFrom<i64>>(&mut self, key: &'static str) -> Result<Option<T>> {
        let number = match self.take(key) {
            None => return Ok(None),
            Some(Value::Integer(number)) => Some(number),
            Some(Value::String(text)) => text.parse().ok(),
            Some(_) => None,
        };
        let number = number.and_then(|number| T::try_from(number).ok());
        let number = number.ok_or_else(|| self.refuse(key, "expected a whole number"));
        number.map(Some)
    }

    /// Takes `true` or `false`, which a variable has as text.
    pub(super) fn flag(&mut self, key: &'static str) -> Result<Option<bool>> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Boolean(flag)) => Ok(Some(flag)),
            Some(Value::String(text)) if text == "true" => Ok(Some(true)),
            Some(Value::String(text)) if text == "false" => Ok(Some(false)),
            Some(_) => Err(self.refuse(key, "expected true or false")),
        }
    }

    /// Takes one of some words.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Result<Option<T>> {
        let Some(word) = self.text(key)? else {
            return Ok(None);
        };
        let found = words.iter().find(|(known, _)| *known == word);
        found.map(|(_, meaning)| Some(*meaning)).ok_or_else(|| {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.refuse(key, format!("expected one of {}", words.join(", ")))
        })
    }

    /// Takes what is written as text, and told wrong without repeating it.
    pub(super) fn parsed<T>(&mut self, key: &'static str) -> Result<Option<T>>
    where
        T: FromStr<Err = Error>,
    {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        let parsed = text.parse();
        parsed
            .map(Some)
            .map_err(|error: Error| self.refuse(key, error.detail()))
    }

    /// Takes where a secret is, which is no secret itself.
    pub(super) fn reference(&mut self, key: &'static str) -> Result<Option<SecretReference>> {
        self.parsed(key)
    }

    /// Takes a list of texts.
    pub(super) fn texts(&mut self, key: &'static str) -> Result<Vec<String>> {
        let Some(value) = self.take(key) else {
            return Ok(Vec::new());
        };
        let texts = match value {
            Value::Array(items) => {
                let texts = items.into_iter().map(|item| match item {
                    Value::String(text) => Some(text),
                    _ => None,
                });
                texts.collect::<Option<Vec<_>>>()
            }
            _ => None,
        };
        texts.ok_or_else(|| self.refuse(key, "expected a list of texts"))
    }

    /// Takes a table.
    pub(super) fn section(&mut self, key: &'static str) -> Result<Option<Self>> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Table(table)) => Ok(Some(Self::new(self.path_of(key), table))),
            Some(_) => Err(self.refuse(key, format!("expected a section [{key}]"))),
        }
    }

    /// Takes a list of tables.
    pub(super) fn sections(&mut self, key: &'static str) -> Result<Vec<Self>> {
        let wrong = || format!("expected sections [[{key}]], in the file alone");
        let items = match self.take(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(self.refuse(key, wrong())),
        };
        let sections = items
            .into_iter()
            .enumerate()
            .map(|(number, item)| match item {
                Value::Table(table) => {
                    let path = format!("{}[{number}]", self.path_of(key));
                    Ok(Self::new(path, table))
                }
                _ => Err(self.refuse(key, wrong())),
            });
        sections.collect()
    }
}

/// Returns the variables of this process that are settings; others may hold anything.
pub(super) fn variables() -> Result<Vec<(String, String)>> {
    // All of them, to find those that begin so.
    let variables = std::env::vars_os().filter_map(|(name, value): (OsString, OsString)| {
        let name = name.into_string().ok()?;
        name.starts_with(PREFIX).then_some((name, value))
    });
    let variables = variables.map(|(name, value)| match value.into_string() {
        Ok(value) => Ok((name, value)),
        Err(_) => Err(invalid(&name, "its value is no Unicode text")),
    });
    variables.collect()
}

/// Puts the value of a variable in the place that its name tells.
fn lay_over(table: &mut Table, name: &str, key: &str, value: String) -> Result<()> {
    let key = key.to_ascii_lowercase();
    let mut parts: Vec<_> = key.split(SEPARATOR).collect();
    let last = parts.pop().filter(|last| !last.is_empty());
    let (Some(last), true) = (last, parts.iter().all(|part| !part.is_empty())) else {
        return Err(invalid(
            name,
            "expected a name such as TENANTRY__DATABASE__URL",
        ));
    };
    let mut at = table;
    for part in parts {
        let next = at.entry(part).or_insert_with(|| Value::Table(Table::new()));
        at = next
            .as_table_mut()
            .ok_or_else(|| invalid(name, format!("{part} is no section that it could be in")))?;
    }
    at.insert(last.to_owned(), Value::String(value));
    Ok(())
}

/// Returns the number of the line in which a byte is.
fn line_of(text: &str, byte: usize) -> usize {
    let before = text.get(..byte).unwrap_or(text);
    before.matches('\n').count() + 1
}

pub(super) fn invalid(subject: &str, detail: impl Into<String>) -> Error {
    let error = Error::new(ErrorKind::InvalidSettings, READ).with_detail(detail.into());
    match subject {
        "" => error,
        subject => error.with_subject(subject.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> Section {
        Section::read(text, []).unwrap()
    }

    fn with(text: &str, name: &str, value: &str) -> Result<Section> {
        Section::read(text, [(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn a_text_that_is_none_is_told_by_its_line_and_not_repeated() {
        let wrong = "[database]\nurl = \"x\"\npassword = hunter2\n";
        let error = Section::read(wrong, []).map(drop).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains("line 3: "), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_variable_takes_the_place_of_what_the_file_says() {
        let mut file = with("[cache]\nbytes = 1", "TENANTRY__CACHE__BYTES", "17").unwrap();
        let mut cache = file.section("cache").unwrap().unwrap();
        assert_eq!(cache.number::<u64>("bytes").unwrap(), Some(17));
        cache.end().unwrap();
        file.end().unwrap();
    }

    #[test]
    fn other_variables_are_not_taken() {
        for name in [
            "TENANTRY_TEST_POSTGRES_URL",
            "TENANTRY",
            "XTENANTRY__A",
            "tenantry__a",
        ] {
            with("", name, "x").unwrap().end().unwrap();
        }
    }

    #[test]
    fn a_variable_without_a_place_is_told_by_its_name() {
        for (text, name) in [
            ("", "TENANTRY__"),
            ("", "TENANTRY____URL"),
            ("", "TENANTRY__DATABASE__"),
            ("service = \"x\"", "TENANTRY__SERVICE__URL"),
            ("[[vaults]]\n", "TENANTRY__VAULTS__0__URL"),
        ] {
            let error = with(text, name, "hunter2").map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidSettings);
            assert!(error.to_string().contains(name), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_is_of_another_type_is_told_by_its_key_and_not_repeated() {
        let mut file =
            section("text = 271828\nnumber = \"hunter2\"\nflag = 271828\nlist = [271828]");
        let errors = [
            file.text("text").unwrap_err(),
            file.number::<u32>("number").unwrap_err(),
            file.flag("flag").unwrap_err(),
            file.texts("list").unwrap_err(),
        ];
        for (error, key) in errors.iter().zip(["text", "number", "flag", "list"]) {
            let text = format!("{error} {error:?}");
            assert!(text.contains(key), "{text}");
            assert!(
                !text.contains("hunter2") && !text.contains("271828"),
                "{text}"
            );
        }
    }
}
