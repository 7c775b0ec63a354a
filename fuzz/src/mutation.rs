//! Changes a statement by its tokens, so that what comes out parses more often than bytes by chance
//! do.

use crate::grammar::{Chance, Dialect, any_rule, expand};

/// Changes what a fuzzer has in `data`, of which `size` bytes are there and `most` may be; returns
/// how many are there then.
#[must_use]
pub fn in_place(dialect: Dialect, data: &mut [u8], size: usize, most: usize, seed: u32) -> usize {
    let text = mutate(dialect, &String::from_utf8_lossy(&data[..size]), seed);
    let mut end = text.len().min(most).min(data.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    data[..end].copy_from_slice(&text.as_bytes()[..end]);
    end
}

/// Returns a changed statement, or one that is new.
#[must_use]
pub fn mutate(dialect: Dialect, sql: &str, seed: u32) -> String {
    let mut chance = Chance::new(seed);
    if chance.below(6) == 0 {
        return expand(dialect, "statement", &mut chance);
    }
    let mut tokens: Vec<String> = tokens(sql).into_iter().map(str::to_owned).collect();
    for _ in 0..=chance.below(3) {
        change(dialect, &mut tokens, &mut chance);
    }
    tokens.concat()
}

fn change(dialect: Dialect, tokens: &mut Vec<String>, chance: &mut Chance) {
    let at = chance.below(tokens.len());
    let end = (at + 1 + chance.below(4)).min(tokens.len());
    match chance.below(8) {
        0 => {
            tokens.drain(at..end);
        }
        1 => {
            let copy = tokens[at..end].to_vec();
            let to = chance.below(tokens.len() + 1);
            tokens.splice(to..to, copy);
        }
        2 if !tokens.is_empty() => {
            let other = chance.below(tokens.len());
            tokens.swap(at, other);
        }
        3 => tokens.insert(
            at,
            format!(" {} ", expand(dialect, any_rule(chance), chance)),
        ),
        4 => tokens.insert(at, expand(dialect, "space", chance)),
        // What is in a pair of brackets, for something else.
        5 | 6
            if tokens
                .get(at..)
                .is_some_and(|rest| rest.iter().any(|token| token == "(")) =>
        {
            let open = at
                + tokens[at..]
                    .iter()
                    .position(|token| token == "(")
                    .unwrap_or(0);
            let close = closing(tokens, open);
            let rule = chance.one_of(&["query", "expression", "condition", "from", "items"]);
            let inner = expand(dialect, rule, chance);
            tokens.splice(open + 1..close, [inner]);
        }
        _ if !tokens.is_empty() => {
            let rule = if is_word(&tokens[at]) {
                chance.one_of(&[
                    "alias",
                    "table",
                    "field",
                    "name",
                    "column",
                    "expression",
                    "side",
                    "from",
                    "condition",
                ])
            } else {
                chance.one_of(&[
                    "operator", "literal", "compare", "argument", "space", "text",
                ])
            };
            tokens[at] = expand(dialect, rule, chance);
        }
        _ => {}
    }
}

fn closing(tokens: &[String], open: usize) -> usize {
    let mut depth = 0_u32;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match &**token {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index;
        }
    }
    tokens.len()
}

fn is_word(token: &str) -> bool {
    token.starts_with(|character: char| character.is_alphanumeric() || "_\"[`".contains(character))
}

/// Cuts a text into words, quoted pieces, white space and single characters.
fn tokens(sql: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '\'' | '"' | '`' => rest[1..].find(first).map_or(rest.len(), |at| at + 2),
            _ if first.is_alphanumeric() || "_$?".contains(first) => rest
                .find(|character: char| !(character.is_alphanumeric() || "_$?".contains(character)))
                .unwrap_or(rest.len()),
            _ if first.is_whitespace() => rest
                .find(|character: char| !character.is_whitespace())
                .unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, behind) = rest.split_at(end);
        tokens.push(token);
        rest = behind;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_text() {
        let sql = "select \"a\"\"b\", 'it''s' from a where x=$1 -- é";
        assert_eq!(tokens(sql).concat(), sql);
    }

    #[test]
    fn one_seed_makes_one_statement() {
        for seed in 0..500 {
            let (one, other) = (
                mutate(Dialect::Sqlite, "select (1) from a", seed),
                mutate(Dialect::Sqlite, "select (1) from a", seed),
            );
            assert_eq!(one, other);
        }
    }
}
