//! Statements within a statement, which the parser does not see.

use std::collections::BTreeSet;

use sqlparser::tokenizer::{Token, Word};

use super::leading_words;

/// Functions of the server, and of `tablefunc` and `xml2`, that run a text or read a table whose
/// name is one.
const RUN_TEXT: [&str; 23] = [
    "connectby",
    "crosstab",
    "crosstab2",
    "crosstab3",
    "crosstab4",
    "crosstab_hash",
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "database_to_xml",
    "database_to_xml_and_xmlschema",
    "database_to_xmlschema",
    "query_to_xml",
    "query_to_xml_and_xmlschema",
    "query_to_xmlschema",
    "schema_to_xml",
    "schema_to_xml_and_xmlschema",
    "schema_to_xmlschema",
    "table_to_xml",
    "table_to_xml_and_xmlschema",
    "table_to_xmlschema",
    "ts_rewrite",
    "ts_stat",
    "xpath_table",
];

/// Returns whether a function runs a text.
pub(super) fn runs_text(function: &str) -> bool {
    function.starts_with("dblink") || RUN_TEXT.contains(&function)
}

/// Returns whether a statement that is not understood, with these words in it, may run a text that
/// does not stand in it.
pub(super) fn is_text_run(words: &BTreeSet<String>, tokens: &[Token]) -> bool {
    words.iter().any(|word| runs_text(word))
        || leading_words(tokens)[0] == "do" && is_code_hidden(words, tokens)
}

/// Returns whether a DO puts names together, or its own code.
fn is_code_hidden(words: &BTreeSet<String>, tokens: &[Token]) -> bool {
    // `'a'` and `'b'` on two lines are one literal. Names of the form `U&"…"` are not read.
    let is_literal = |token: &&Token| !matches!(token, Token::Word(_) | Token::Whitespace(_));
    let is_foreign = |token: &Token| match token {
        Token::Word(Word { value, .. }) => {
            let known = ["do", "language", "plpgsql"];
            !known.contains(&&*value.to_lowercase())
        }
        _ => false,
    };
    words.contains("execute")
        || tokens
            .iter()
            .any(|token| token.to_string().to_lowercase().contains("u&\""))
        || tokens.iter().filter(is_literal).count() > 1
        || tokens.iter().any(is_foreign)
}
