//! Whether tenants can reach each other through the constraints of a table: the database follows
//! them past the tenant that every statement carries.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use sqlx::SqliteConnection;

use crate::statement::TENANT;

/// The columns of the primary key, which has no index of its own where it is the row's number.
const PRIMARY_KEY: &str = "SELECT name FROM pragma_table_xinfo($1) WHERE pk > 0 ORDER BY pk";

/// The other unique indexes, and their columns, which have no name where they are expressions.
const UNIQUE: &str = "SELECT i.name, i.origin = 'c', coalesce(k.name, 'an expression') \
     FROM pragma_index_list($1) AS i, pragma_index_info(i.name) AS k \
     WHERE i.\"unique\" AND i.origin <> 'pk' ORDER BY i.name, k.seqno";

/// The pairs of columns of all foreign keys; one that names no columns means the primary key.
const FOREIGN_KEYS: &str = "SELECT s.name, f.id, f.\"table\", f.\"from\", \
     coalesce(f.\"to\", (SELECT p.name FROM pragma_table_xinfo(f.\"table\") AS p \
          WHERE p.pk = f.seq + 1), ''), \
     f.on_update IN ('SET NULL', 'SET DEFAULT') OR f.on_delete IN ('SET NULL', 'SET DEFAULT'), \
     EXISTS (SELECT 1 FROM pragma_table_xinfo(f.\"table\") AS p \
          WHERE p.name = 'tenant_id' COLLATE NOCASE) \
     FROM sqlite_schema AS s, pragma_foreign_key_list(s.name) AS f \
     WHERE s.type = 'table' ORDER BY s.name, f.id, f.seq";

const DEFINITION: &str = "SELECT coalesce(sql, '') FROM sqlite_schema \
     WHERE type = 'table' AND name = $1 COLLATE NOCASE";

/// How tenants can reach each other through a table, and what to do about it.
pub(crate) struct Problem {
    /// The code of the audit.
    pub(crate) code: &'static str,
    pub(crate) table: String,
    pub(crate) text: String,
    pub(crate) fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.text, self.fix)
    }
}

/// Returns how tenants can reach each other through the table, and what to do about it.
pub(super) async fn problems(
    connection: &mut SqliteConnection,
    table: &str,
) -> Result<Vec<String>, sqlx::Error> {
    let mut problems = own_problems(connection, table).await?;
    let foreign_keys = foreign_keys(connection).await?;
    problems.extend(foreign_key_problems(&foreign_keys, table));
    Ok(problems.iter().map(Problem::to_string).collect())
}

/// Returns the problems of all foreign keys of the database.
pub(crate) async fn all_foreign_key_problems(
    connection: &mut SqliteConnection,
) -> Result<Vec<Problem>, sqlx::Error> {
    let keys = foreign_keys(connection).await?;
    Ok(keys.iter().flat_map(ForeignKey::problems).collect())
}

/// Returns the problems of a table, but for its foreign keys.
pub(crate) async fn own_problems(
    connection: &mut SqliteConnection,
    table: &str,
) -> Result<Vec<Problem>, sqlx::Error> {
    let mut problems = Vec::new();
    let problem = |code, text, fix| Problem {
        code,
        table: table.to_owned(),
        text,
        fix,
    };

    let key: Vec<String> = sqlx::query_scalar(PRIMARY_KEY)
        .bind(table)
        .fetch_all(&mut *connection)
        .await?;
    if !key.is_empty() && !has_tenant(&key) {
        let key = key.join(", ");
        problems.push(problem(
            "TN006",
            format!("the primary key ({key}) is without {TENANT}, so that tenants meet in it"),
            format!("make it ({TENANT}, {key})"),
        ));
    }

    let rows: Vec<(String, bool, String)> = sqlx::query_as(UNIQUE)
        .bind(table)
        .fetch_all(&mut *connection)
        .await?;
    let mut indexes: BTreeMap<(String, bool), Vec<String>> = BTreeMap::new();
    for (name, is_named, column) in rows {
        indexes.entry((name, is_named)).or_default().push(column);
    }
    for ((name, is_named), columns) in indexes {
        if has_tenant(&columns) {
            continue;
        }
        let what = if is_named {
            format!("unique index {name} on")
        } else {
            "unique key".to_owned()
        };
        let columns = columns.join(", ");
        problems.push(problem(
            "TN006",
            format!("the {what} ({columns}) is without {TENANT}, so that tenants meet in it"),
            format!("make it ({TENANT}, {columns})"),
        ));
    }

    let definitions: Vec<String> = sqlx::query_scalar(DEFINITION)
        .bind(table)
        .fetch_all(&mut *connection)
        .await?;
    if definitions.iter().any(|sql| says_on_conflict(sql)) {
        problems.push(problem(
            "TN014",
            "the table says ON CONFLICT, which replaces or drops rows unasked".to_owned(),
            "leave the clause out".to_owned(),
        ));
    }
    Ok(problems)
}

fn has_tenant(columns: &[String]) -> bool {
    columns.iter().any(|column| is_tenant(column))
}

/// SQLite compares names without their case.
fn is_tenant(column: &str) -> bool {
    column.eq_ignore_ascii_case(TENANT)
}

struct ForeignKey {
    table: String,
    parent: String,
    /// The columns here and there.
    pairs: Vec<(String, String)>,
    /// Whether a change of the parent sets the columns here to something else.
    sets: bool,
    parent_has_tenant: bool,
}

impl ForeignKey {
    fn problems(&self) -> Vec<Problem> {
        let (own, others): (Vec<_>, Vec<_>) = self
            .pairs
            .iter()
            .map(|(from, to)| (from.as_str(), to.as_str()))
            .unzip();
        let name = format!(
            "the foreign key {} ({}) to {} ({})",
            self.table,
            own.join(", "),
            self.parent,
            others.join(", ")
        );
        let same_tenant = self
            .pairs
            .iter()
            .any(|(from, to)| is_tenant(from) && is_tenant(to));
        let problem = |code, text, fix| Problem {
            code,
            table: self.table.clone(),
            text,
            fix,
        };
        let mut problems = Vec::new();
        if self.parent_has_tenant && !same_tenant {
            problems.push(problem(
                "TN007",
                format!("{name} leads from one tenant to another"),
                format!("refer from ({TENANT}, …) to ({TENANT}, …)"),
            ));
        }
        if self.sets && own.iter().any(|column| is_tenant(column)) {
            problems.push(problem(
                "TN008",
                format!("{name} sets {TENANT} when the parent changes"),
                "take CASCADE or RESTRICT instead of SET NULL and SET DEFAULT".to_owned(),
            ));
        }
        problems
    }
}

async fn foreign_keys(connection: &mut SqliteConnection) -> Result<Vec<ForeignKey>, sqlx::Error> {
    type Pair = (String, i64, String, String, String, bool, bool);
    let rows: Vec<Pair> = sqlx::query_as(FOREIGN_KEYS).fetch_all(connection).await?;
    let mut keys: BTreeMap<(String, i64), ForeignKey> = BTreeMap::new();
    for (table, id, parent, from, to, sets, parent_has_tenant) in rows {
        let key = keys
            .entry((table.clone(), id))
            .or_insert_with(|| ForeignKey {
                table,
                parent,
                pairs: Vec::new(),
                sets,
                parent_has_tenant,
            });
        key.pairs.push((from, to));
    }
    Ok(keys.into_values().collect())
}

/// Looks at the foreign keys of the table, at those that refer to it, and at those that refer to
/// these in turn, for a delete may cascade all the way. What refers to a table without a tenant,
/// which all tenants share, is nobody's business.
fn foreign_key_problems(keys: &[ForeignKey], table: &str) -> Vec<Problem> {
    let table = table.to_ascii_lowercase();
    let mut reached = HashSet::from([table.clone()]);
    let mut queue = vec![table.clone()];
    while let Some(parent) = queue.pop() {
        for key in keys {
            let child = key.table.to_ascii_lowercase();
            if key.parent.eq_ignore_ascii_case(&parent) && reached.insert(child.clone()) {
                queue.push(child);
            }
        }
    }
    keys.iter()
        .filter(|key| {
            key.table.eq_ignore_ascii_case(&table)
                || reached.contains(&key.parent.to_ascii_lowercase())
        })
        .flat_map(ForeignKey::problems)
        .collect()
}

/// Finds an `ON CONFLICT` clause, in any case and with any space or comment between: outside of
/// texts, names in quotes and comments these two words mean nothing else, and whatever clause
/// follows is refused.
pub(crate) fn says_on_conflict(sql: &str) -> bool {
    let mut after_on = false;
    for token in tokens(sql) {
        if after_on && token.eq_ignore_ascii_case("conflict") {
            return true;
        }
        after_on = token.eq_ignore_ascii_case("on");
    }
    false
}

/// Returns the tokens of a text without space and comments
/// (<https://www.sqlite.org/src/file/src/tokenize.c>).
pub(crate) fn tokens(sql: &str) -> impl Iterator<Item = &str> {
    let mut rest = sql;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
        let length = match first {
            '\'' | '"' | '`' => quoted(rest, first),
            '[' => quoted(rest, ']'),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest[2..].find("*/").map_or(rest.len(), |end| end + 4),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, tail) = rest.split_at(length);
        rest = tail;
        Some(token)
    })
    .filter(|token| {
        !(token.trim().is_empty() || token.starts_with("--") || token.starts_with("/*"))
    })
}

/// Returns the length of what stands in quotes; a quote in it, written twice, begins the next.
fn quoted(text: &str, end: char) -> usize {
    text[1..]
        .find(end)
        .map_or(text.len(), |found| found + 1 + end.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::says_on_conflict;

    #[test]
    fn on_conflict_is_found_and_nothing_else() {
        for sql in [
            "create table a (b text unique on conflict replace)",
            "CREATE TABLE a (b TEXT NOT NULL ON/* \u{e9} ' */CONFLICT-- '\n IGNORE)",
            "create table a (b default 'it''s', c [\"] not null on\n\tconflict abort)",
        ] {
            assert!(says_on_conflict(sql), "{sql}");
        }
        for sql in [
            "create table a (b text default 'on conflict replace', \"on conflict\" text)",
            "create table a (b text /* on conflict */, -- on conflict\n [on conflict] text)",
            "create table conflict (conflict text references conflict on delete cascade)",
            "create table a (b text /* on conflict",
        ] {
            assert!(!says_on_conflict(sql), "{sql}");
        }
    }
}
