//! What is written: columns for people, JSON for programs.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;
use tenantry_store::{Finding, Fix, Severity};

/// Writes one object with everything.
pub(crate) fn json<F: Serialize>(
    facts: &F,
    findings: &[&Finding],
    out: &mut impl Write,
) -> io::Result<()> {
    #[derive(Serialize)]
    struct Report<'a, F> {
        facts: &'a F,
        findings: &'a [&'a Finding],
    }
    serde_json::to_writer_pretty(&mut *out, &Report { facts, findings })?;
    writeln!(out)
}

/// Writes rows whose columns stand below each other.
pub(crate) fn columns<const N: usize>(
    rows: impl IntoIterator<Item = [String; N]>,
    out: &mut impl Write,
) -> io::Result<()> {
    let rows: Vec<_> = rows
        .into_iter()
        .map(|row| row.map(|cell| one_line(&cell)))
        .collect();
    let width = |column: usize| {
        let lengths = rows.iter().map(|row| row[column].chars().count());
        lengths.max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a String does not fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Whether a database has roles, so that a fix has to be run as one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Roles {
    OfTheServer,
    #[cfg_attr(
        not(feature = "sqlite"),
        allow(dead_code, reason = "files alone have none")
    )]
    None,
}

/// Writes two lines for each finding, and how many there are.
pub(crate) fn table(
    roles: Roles,
    findings: &[&Finding],
    allowed: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let objects: Vec<_> = findings
        .iter()
        .map(|finding| one_line(&finding.object))
        .collect();
    let width = objects
        .iter()
        .map(|object| object.chars().count())
        .max()
        .unwrap_or(0);
    for (finding, object) in findings.iter().zip(&objects) {
        let Finding {
            severity,
            code,
            problem,
            fix,
            ..
        } = finding;
        writeln!(
            out,
            "{severity:7}  {code}  {object:width$}  {}",
            one_line(problem)
        )?;
        let by = match fix {
            Fix::Owner(_) if roles == Roles::None => "fix",
            Fix::Owner(_) => "fix, as owner",
            Fix::Administrator(_) => "fix, as administrator",
            _ => "advice",
        };
        let together = match fix.sql() {
            Some(sql) if sql.contains("; ") => ", in one transaction",
            _ => "",
        };
        writeln!(out, "{:15}{by}{together}: {}", "", one_line(fix.text()))?;
    }
    let count = |severity| {
        findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    };
    write!(
        out,
        "{}, {}",
        counted(count(Severity::Error), "error"),
        counted(count(Severity::Warning), "warning")
    )?;
    if allowed > 0 {
        write!(out, ", {} allowed", counted(allowed, "warning"))?;
    }
    writeln!(out)
}

pub(crate) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// Names in a database may hold anything, and a terminal obeys control characters.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            // Writing to a String does not fail.
            let _ = write!(line, "{}", character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_letters_are_not() {
        assert_eq!(one_line("a\u{1b}[2J\nbü"), "a\\u{1b}[2J\\nbü");
    }

    #[test]
    fn a_clean_database_is_one_line() {
        let mut out = Vec::new();
        table(Roles::None, &[], 2, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "0 errors, 0 warnings, 2 warnings allowed\n"
        );
    }
}
