//! Words that the server takes for grammar and the parser for names.

use sqlparser::tokenizer::{Token, Word};

use super::is_blank;

/// What stands before a table that ONLY may stand before.
const BEFORE_TABLES: [&str; 6] = ["from", "into", "join", "table", "update", "using"];

/// Words that name no table unless quoted
/// (<https://www.postgresql.org/docs/current/sql-keywords-appendix.html>), without those that are
/// functions in its place, like `current_date`.
const RESERVED: [&str; 89] = [
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "binary",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "natural",
    "not",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "overlaps",
    "placing",
    "primary",
    "references",
    "returning",
    "right",
    "select",
    "similar",
    "some",
    "symmetric",
    "table",
    "tablesample",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "using",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
];

/// Returns whether a word without quotes is no name of a table.
pub(super) fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&&*word.to_lowercase())
}

/// Leaves out ONLY where it stands before a table, and the parentheses about that, for the parser
/// takes the word for the table and the table for its alias.
///
/// Children are no matter here: with the word a statement reads less of the same tenants.
pub(super) fn without_only(tokens: &[Token]) -> Vec<Token> {
    let mut kept: Vec<Token> = Vec::with_capacity(tokens.len());
    let mut before = None;
    let mut rest = tokens;
    while let [token, after @ ..] = rest {
        rest = after;
        if is_word(token, "only")
            && before.is_some_and(is_before_table)
            && let [Token::Word(_) | Token::LParen, ..] = skip_blanks(after)
        {
            if let Some((name, after)) = in_parentheses(skip_blanks(after)) {
                kept.extend_from_slice(name);
                rest = after;
                before = name.last();
            }
            continue;
        }
        if !is_blank(token) {
            before = Some(token);
        }
        kept.push(token.clone());
    }
    kept
}

/// Returns the name of a table that stands alone in parentheses, and what comes after these.
fn in_parentheses(tokens: &[Token]) -> Option<(&[Token], &[Token])> {
    let [Token::LParen, inner @ ..] = tokens else {
        return None;
    };
    let end = inner
        .iter()
        .position(|token| !is_blank(token) && !matches!(token, Token::Word(_) | Token::Period))?;
    let (name, after) = inner.split_at(end);
    match after {
        [Token::RParen, after @ ..] => Some((name, after)),
        _ => None,
    }
}

fn is_before_table(token: &Token) -> bool {
    match token {
        Token::Comma | Token::LParen => true,
        token => BEFORE_TABLES.iter().any(|word| is_word(token, word)),
    }
}

fn is_word(token: &Token, expected: &str) -> bool {
    matches!(
        token,
        Token::Word(Word { value, quote_style: None, .. }) if value.eq_ignore_ascii_case(expected)
    )
}

fn skip_blanks(mut tokens: &[Token]) -> &[Token] {
    while let [Token::Whitespace(_), rest @ ..] = tokens {
        tokens = rest;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection as _, PgConnection};

    use super::*;
    use crate::PostgresServer;

    /// The functions in the place of a name.
    const VALUES: [&str; 11] = [
        "current_catalog",
        "current_date",
        "current_role",
        "current_schema",
        "current_time",
        "current_timestamp",
        "current_user",
        "localtime",
        "localtimestamp",
        "session_user",
        "user",
    ];

    #[tokio::test]
    async fn the_reserved_words_are_those_of_the_server() {
        let server = PostgresServer::shared().await.unwrap();
        let mut connection = PgConnection::connect(server.admin_url()).await.unwrap();
        let words: Vec<String> =
            sqlx::query_scalar("select word from pg_get_keywords() where catcode in ('R', 'T')")
                .fetch_all(&mut connection)
                .await
                .unwrap();
        assert!(words.len() > 90, "{words:?}");
        for word in &words {
            let is_value = VALUES.contains(&&**word);
            assert_ne!(is_reserved(word), is_value, "{word}");
        }
    }
}
