//! Splits a script for psql into statements.

/// Returns the statements of a script without what psql itself would run.
///
/// A semicolon ends a statement outside of strings, quoted names, dollar quotes, comments and
/// parentheses, and outside of the body of a function in standard SQL. A backslash outside of these
/// begins a command of psql, which goes to the end of its line; `\gset` and its like end a statement
/// as well. Data that follows a COPY from standard input is left out.
pub(crate) fn statements(script: &str) -> Vec<String> {
    let mut splitter = Splitter {
        rest: script,
        text: String::new(),
        statements: Vec::new(),
        depth: 0,
    };
    while !splitter.rest.is_empty() {
        splitter.step();
    }
    splitter.end();
    splitter.statements
}

struct Splitter<'a> {
    rest: &'a str,
    text: String,
    statements: Vec<String>,
    depth: usize,
}

impl Splitter<'_> {
    fn step(&mut self) {
        let rest = self.rest;
        let quoted_before = self.text.chars().next_back();
        let length = if rest.starts_with("--") {
            // A comment says nothing to a statement, and may hold what a log should not.
            let length = rest.find('\n').unwrap_or(rest.len());
            self.rest = &rest[length..];
            return;
        } else if rest.starts_with("/*") {
            comment(rest)
        } else if rest.starts_with('\'') {
            quoted(rest, '\'', matches!(quoted_before, Some('e' | 'E')))
        } else if rest.starts_with('"') {
            quoted(rest, '"', false)
        } else if let Some(length) = dollar_quoted(rest, quoted_before) {
            length
        } else if rest.starts_with('\\') {
            self.command();
            return;
        } else if rest.starts_with(';') && self.depth == 0 && !self.in_body() {
            self.rest = &rest[1..];
            self.end();
            return;
        } else {
            match rest.as_bytes()[0] {
                b'(' => self.depth += 1,
                b')' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            rest.chars().next().map_or(1, char::len_utf8)
        };
        self.text.push_str(&rest[..length]);
        self.rest = &rest[length..];
    }

    /// A command of psql: `\gset`, `\g`, `\gexec` and `\crosstabview` send what stands before them.
    fn command(&mut self) {
        if let Some(rest) = self.rest.strip_prefix("\\;") {
            self.rest = rest;
            return self.end();
        }
        let length = self.rest.find('\n').unwrap_or(self.rest.len());
        let command = &self.rest[..length];
        self.rest = &self.rest[length..];
        if command.starts_with("\\g") || command.starts_with("\\c") {
            self.end();
        }
    }

    /// Whether the text is a function whose body is being written in standard SQL.
    fn in_body(&self) -> bool {
        let text = self.text.to_lowercase();
        text.contains("begin atomic") && !text.trim_end().ends_with("end")
    }

    fn end(&mut self) {
        self.depth = 0;
        let text = std::mem::take(&mut self.text).trim().to_owned();
        let lower = text.to_lowercase();
        if lower.starts_with("copy ") && lower.contains("from stdin") {
            let end = self
                .rest
                .find("\n\\.")
                .map_or(self.rest.len(), |end| end + 3);
            self.rest = &self.rest[end..];
        }
        if !text.is_empty() {
            self.statements.push(text);
        }
    }
}

/// Returns the length of a comment, which may hold others.
fn comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut index = 0;
    while index < text.len() {
        if text[index..].starts_with("/*") {
            depth += 1;
            index += 2;
        } else if text[index..].starts_with("*/") {
            depth -= 1;
            index += 2;
            if depth == 0 {
                return index;
            }
        } else {
            index += text[index..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Returns the length of what stands in quotes; a doubled quote comes out as two that touch.
fn quoted(text: &str, quote: char, backslashes: bool) -> usize {
    let mut escaped = false;
    for (index, letter) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if backslashes && letter == '\\' {
            escaped = true;
        } else if letter == quote {
            return index + 1;
        }
    }
    text.len()
}

fn dollar_quoted(text: &str, before: Option<char>) -> Option<usize> {
    if !text.starts_with('$')
        || before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    {
        return None;
    }
    let tag = text[1..].find('$')?;
    let tag = &text[..tag + 2];
    let name = &tag[1..tag.len() - 1];
    let plain = name
        .chars()
        .all(|letter| letter.is_alphanumeric() || letter == '_');
    if !plain || name.starts_with(|letter: char| letter.is_ascii_digit()) {
        return None;
    }
    let end = text[tag.len()..].find(tag)?;
    Some(tag.len() + end + tag.len())
}

#[test]
fn a_script_is_split_where_psql_splits_it() {
    let script = "select ';' -- a; b\n, \"x;y\";\nselect $a$ ; $$ ; $a$, E'it\\'s;';\n\\set x 1\n\
        select 1 \\gset\n/* ; /* ; */ ; */ select (1;2);\ncopy t from stdin;\n1;2\n\\.\nselect 'it''s;'";
    let found = statements(script);
    assert_eq!(found.len(), 6, "{found:#?}");
    assert_eq!(found[0], "select ';' \n, \"x;y\"");
    assert_eq!(found[1], "select $a$ ; $$ ; $a$, E'it\\'s;'");
    assert_eq!(found[2], "select 1");
    assert_eq!(found[5], "select 'it''s;'");
}
