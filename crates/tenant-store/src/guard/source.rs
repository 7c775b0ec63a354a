//! The text of a statement as tokens, read so that the database must read it alike.
//!
//! A parser that takes for a comment what the server takes for code, or the other way round, can be
//! made to overlook a table. So comments are taken out, and what is left has to be lexically plain:
//! each token is one by the rules of the database too, and none touches the next in a way that the
//! two could read differently.

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};
use sqlparser::dialect::{Dialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Whitespace};

use super::refusal::Refusal;
use crate::backend::Dialect as Database;

/// The longest statement that is looked at, in bytes.
pub(super) const LONGEST: usize = 1 << 20;

/// How deep the tree of a statement may become; see [`depth_of_tree`].
const DEEPEST: usize = 12_000;

pub(super) fn dialect(database: Database) -> &'static dyn Dialect {
    match database {
        Database::Postgres => &PostgreSqlDialect {},
        Database::Sqlite => &SQLiteDialect {},
    }
}

/// A statement without its comments, and its tokens.
pub(super) struct Source {
    /// The text that splices go into.
    pub(super) text: String,
    /// What stands there, without whitespace.
    pub(super) tokens: Vec<Place>,
    /// The same for the parser.
    parsed: Vec<TokenWithSpan>,
    depth: usize,
    database: Database,
}

/// A token, and where it is.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) keyword: Keyword,
    pub(super) kind: Kind,
    /// Bytes in the text.
    pub(super) start: usize,
    pub(super) end: usize,
    /// How many brackets it stands in; a bracket itself counts with what is around it.
    pub(super) depth: u32,
    location: Location,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Open,
    Close,
    Comma,
    Semicolon,
    /// An argument with a number.
    Argument(usize),
    /// A `?`, and which of them it is.
    Unnumbered(usize),
    Other,
}

impl Source {
    pub(super) fn read(database: Database, sql: &str) -> Result<Self, Refusal> {
        if sql.len() > LONGEST {
            return Err(Refusal::new(
                "a statement of more than 1 MiB",
                "bind long values as arguments, and insert many rows by `insert_many`",
            ));
        }
        if sql.contains('\0') {
            return Err(Refusal::new("a NUL character", "take it out"));
        }
        let all = Tokenizer::new(dialect(database), sql)
            .tokenize_with_location()
            .map_err(|_| Refusal::unreadable("its tokens"))?;
        let mut source = Self {
            text: String::with_capacity(sql.len()),
            tokens: Vec::with_capacity(all.len() / 2 + 1),
            parsed: Vec::with_capacity(all.len()),
            depth: 0,
            database,
        };
        source.take(sql, all)?;
        source.check_brackets()?;
        source.depth = depth_of_tree(&source.tokens);
        if source.depth > DEEPEST {
            return Err(Refusal::new(
                "an expression of thousands of terms",
                "bind them as one array, or as rows of a VALUES list",
            ));
        }
        Ok(source)
    }

    /// Goes through the tokens, whose slices are the text without a gap.
    fn take(&mut self, sql: &str, all: Vec<TokenWithSpan>) -> Result<(), Refusal> {
        let mut cursor = Cursor::new(sql);
        let mut starts = Vec::with_capacity(all.len() + 1);
        for token in &all {
            starts.push(cursor.seek(token.span.start)?);
        }
        starts.push(sql.len());
        let mut depth = 0_u32;
        let mut unnumbered = 0;
        // What the last token is, if nothing stands between it and the next.
        let mut touching = Edge::Plain;
        for (index, token) in all.into_iter().enumerate() {
            let slice = sql
                .get(starts[index]..starts[index + 1])
                .ok_or_else(|| Refusal::unreadable("its tokens"))?;
            match &token.token {
                Token::Whitespace(Whitespace::Space | Whitespace::Newline | Whitespace::Tab) => {
                    if slice.contains(|one| !matches!(one, ' ' | '\t' | '\n' | '\r' | '\x0c')) {
                        return Err(odd_space());
                    }
                    self.text.push_str(slice);
                    touching = Edge::Plain;
                    continue;
                }
                Token::Whitespace(_) => {
                    self.text.push(' ');
                    touching = Edge::Plain;
                    continue;
                }
                Token::EOF => continue,
                // To one reader it is part of a name, to the other it stands between two.
                Token::Word(word)
                    if word.quote_style.is_none() && slice.contains(char::is_whitespace) =>
                {
                    return Err(odd_space());
                }
                _ => {}
            }
            let (mut kind, edge) = classify(self.database, &token.token, slice)?;
            if let Kind::Unnumbered(number) = &mut kind {
                unnumbered += 1;
                *number = unnumbered;
            }
            let start = self.text.len();
            self.text.push_str(slice);
            match (touching, edge) {
                (Edge::Word, Edge::Word) => {
                    return Err(Refusal::new(
                        "two words without a space between",
                        "write a space after a number, an argument, a name or a text",
                    ));
                }
                // The tokenizer takes `#--` for an operator and a minus, PostgreSQL for an operator
                // and a comment.
                (Edge::Operator, Edge::Operator) => check_operator(&self.text[start - 1..])?,
                (_, Edge::Operator) => check_operator(slice)?,
                _ => {}
            }
            // `U&"…"` is a name with escapes to PostgreSQL, and an operator between two to the parser.
            if touching == Edge::Word
                && slice.starts_with('&')
                && self.text[..start].ends_with(['u', 'U'])
            {
                return Err(Refusal::new(
                    "a name or a text with escapes",
                    "write it without, or a space before &",
                ));
            }
            touching = edge;
            if kind == Kind::Close {
                depth = depth
                    .checked_sub(1)
                    .ok_or_else(|| Refusal::unreadable("its brackets"))?;
            }
            self.tokens.push(Place {
                keyword: match &token.token {
                    Token::Word(word) if word.quote_style.is_none() => word.keyword,
                    _ => Keyword::NoKeyword,
                },
                kind,
                start,
                end: self.text.len(),
                depth,
                location: token.span.start,
            });
            if kind == Kind::Open {
                depth += 1;
            }
            self.parsed.push(token);
        }
        Ok(())
    }

    fn check_brackets(&self) -> Result<(), Refusal> {
        let mut open = Vec::new();
        for place in &self.tokens {
            match (&self.text[place.start..place.end], place.kind) {
                (bracket, Kind::Open) => open.push(bracket),
                (close, Kind::Close) => {
                    let expected = match open.pop() {
                        Some("(") => ")",
                        Some("[") => "]",
                        _ => "",
                    };
                    if close != expected {
                        return Err(Refusal::unreadable("its brackets"));
                    }
                }
                _ => {}
            }
        }
        match open.is_empty() {
            true => Ok(()),
            false => Err(Refusal::unreadable("its brackets")),
        }
    }

    /// Returns the words of the statement, in quotes or not.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        let words = self.tokens.iter().filter(|place| place.kind == Kind::Word);
        words.map(|place| self.text[place.start..place.end].trim_matches(['"', '`', '[', ']']))
    }

    /// Returns more than the depth of its tree.
    pub(super) const fn depth(&self) -> usize {
        self.depth
    }

    /// Returns how many brackets stand in each other at most.
    pub(super) fn nesting(&self) -> usize {
        let (mut here, mut most) = (0_usize, 0);
        for place in &self.tokens {
            match place.kind {
                Kind::Open => {
                    here += 1;
                    most = most.max(here);
                }
                Kind::Close => here = here.saturating_sub(1),
                _ => {}
            }
        }
        most
    }

    /// Returns the tokens for the parser, once, and those that it does not know where they stand:
    /// the conditions of partial indexes in `ON CONFLICT (…) WHERE … DO`.
    ///
    /// Left out besides is what changes nothing for a table: `NO KEY` and `KEY` in a locking clause,
    /// `OVERRIDING … VALUE`.
    pub(super) fn for_parser(&mut self) -> (Vec<TokenWithSpan>, Vec<Vec<TokenWithSpan>>) {
        let ranges = self.index_conditions();
        let mut conditions = vec![Vec::new(); ranges.len()];
        let mut tokens = Vec::with_capacity(self.parsed.len() + 1);
        // They stand in order, and none in another.
        let mut condition = 0;
        for (index, token) in std::mem::take(&mut self.parsed).into_iter().enumerate() {
            condition += usize::from(
                ranges
                    .get(condition)
                    .is_some_and(|range| range.end <= index),
            );
            match ranges.get(condition) {
                Some(range) if range.contains(&index) => conditions[condition].push(token),
                _ if self.is_left_out(index) => {}
                _ => tokens.push(token),
            }
        }
        for tokens in conditions.iter_mut().chain([&mut tokens]) {
            tokens.push(TokenWithSpan::wrap(Token::EOF));
        }
        (tokens, conditions)
    }

    fn is_left_out(&self, index: usize) -> bool {
        const CLAUSES: [(&[&str], std::ops::Range<usize>); 4] = [
            (&["for", "no", "key", "update"], 1..3),
            (&["for", "key", "share"], 1..2),
            (&["overriding", "system", "value"], 0..3),
            (&["overriding", "user", "value"], 0..3),
        ];
        self.database == Database::Postgres
            && CLAUSES.iter().any(|(words, left_out)| {
                left_out.clone().any(|place| {
                    index >= place
                        && words
                            .iter()
                            .enumerate()
                            .all(|(offset, word)| self.is_word(index - place + offset, word))
                })
            })
    }

    fn is_word(&self, index: usize, word: &str) -> bool {
        self.tokens.get(index).is_some_and(|place| {
            place.kind == Kind::Word && self.text[place.start..place.end].eq_ignore_ascii_case(word)
        })
    }

    /// Finds `WHERE …` between the target of a conflict and its DO.
    fn index_conditions(&self) -> Vec<std::ops::Range<usize>> {
        let mut found = Vec::new();
        for index in 0..self.tokens.len() {
            let target = index + 2;
            if self.keyword(index) != Keyword::ON || self.keyword(index + 1) != Keyword::CONFLICT {
                continue;
            }
            let Ok(close) = self.closing(target) else {
                continue;
            };
            let start = close + 1;
            let opens = self
                .tokens
                .get(target)
                .is_some_and(|place| place.kind == Kind::Open);
            if !opens || self.keyword(start) != Keyword::WHERE {
                continue;
            }
            let end = self.find(start, |_, place| place.keyword == Keyword::DO);
            if let Stop::Found(end) = end {
                found.push(start..end);
            }
        }
        found
    }

    /// Returns which token stands at a location that the tree names.
    pub(super) fn at(&self, location: Location) -> Result<usize, Refusal> {
        self.tokens
            .binary_search_by(|place| {
                (place.location.line, place.location.column).cmp(&(location.line, location.column))
            })
            .map_err(|_| Refusal::unplaced())
    }

    pub(super) fn of_ident(&self, ident: &Ident) -> Result<usize, Refusal> {
        self.at(ident.span.start)
    }

    /// Returns the first and the last token of a name.
    pub(super) fn of_name(&self, name: &ObjectName) -> Result<(usize, usize), Refusal> {
        let ident = |part: Option<&ObjectNamePart>| match part {
            Some(ObjectNamePart::Identifier(ident)) => self.of_ident(ident),
            _ => Err(Refusal::unplaced()),
        };
        Ok((ident(name.0.first())?, ident(name.0.last())?))
    }

    /// Returns the first token from `from` on that stands beside it and satisfies `found`, or else
    /// the one that ends their bracket, or the number of tokens.
    pub(super) fn find(&self, from: usize, mut found: impl FnMut(usize, &Place) -> bool) -> Stop {
        let Some(first) = self.tokens.get(from) else {
            return Stop::End(from);
        };
        if first.kind == Kind::Close {
            // What begins with its end is empty.
            return Stop::End(from);
        }
        let depth = first.depth;
        let mut cases = 0_u32;
        for (index, place) in self.tokens.iter().enumerate().skip(from) {
            if place.depth < depth || place.kind == Kind::Semicolon {
                return Stop::End(index);
            }
            if place.depth > depth {
                continue;
            }
            match place.keyword {
                Keyword::CASE => cases += 1,
                Keyword::END => cases = cases.saturating_sub(1),
                _ if cases == 0 && found(index, place) => return Stop::Found(index),
                _ => {}
            }
        }
        Stop::End(self.tokens.len())
    }

    /// Returns the bracket that closes the one at `open`.
    pub(super) fn closing(&self, open: usize) -> Result<usize, Refusal> {
        let depth = self.place(open)?.depth;
        self.tokens
            .iter()
            .enumerate()
            .skip(open + 1)
            .find(|(_, place)| place.depth == depth && place.kind == Kind::Close)
            .map(|(index, _)| index)
            .ok_or_else(Refusal::unplaced)
    }

    pub(super) fn place(&self, index: usize) -> Result<&Place, Refusal> {
        self.tokens.get(index).ok_or_else(Refusal::unplaced)
    }

    pub(super) fn keyword(&self, index: usize) -> Keyword {
        self.tokens
            .get(index)
            .map_or(Keyword::NoKeyword, |place| place.keyword)
    }

    pub(super) fn slice(&self, first: usize, last: usize) -> Result<&str, Refusal> {
        Ok(&self.text[self.place(first)?.start..self.place(last)?.end])
    }
}

/// Returns the query of a view out of the statement that made it, as SQLite keeps it; `None` if it
/// names its columns outside the query.
#[cfg(feature = "sqlite")]
pub(crate) fn view_query(sql: &str) -> Option<String> {
    let source = Source::read(Database::Sqlite, sql).ok()?;
    let is_as = |index: &usize| source.keyword(*index) == Keyword::AS;
    // CREATE VIEW name AS, or CREATE VIEW schema.name AS
    let keyword = [3, 5].into_iter().find(is_as)?;
    let starts = source.keyword(0) == Keyword::CREATE && source.keyword(1) == Keyword::VIEW;
    let first = source.tokens.get(keyword + 1).filter(|_| starts)?;
    Some(source.text[first.start..].to_owned())
}

/// Where a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Found(usize),
    End(usize),
}

impl Stop {
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Found(index) | Self::End(index) => index,
        }
    }
}

/// Turns the tokenizer's lines and columns, which count characters, into bytes.
struct Cursor<'s> {
    sql: &'s str,
    byte: usize,
    line: u64,
    column: u64,
}

impl<'s> Cursor<'s> {
    const fn new(sql: &'s str) -> Self {
        Self {
            sql,
            byte: 0,
            line: 1,
            column: 1,
        }
    }

    fn seek(&mut self, location: Location) -> Result<usize, Refusal> {
        let bytes = self.sql.as_bytes();
        while (self.line, self.column) < (location.line, location.column) {
            let Some(&byte) = bytes.get(self.byte) else {
                return Err(Refusal::unreadable("its tokens"));
            };
            self.byte += 1;
            while bytes.get(self.byte).is_some_and(|byte| byte & 0xC0 == 0x80) {
                self.byte += 1;
            }
            if byte == b'\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        match (self.line, self.column) == (location.line, location.column) {
            true => Ok(self.byte),
            false => Err(Refusal::unreadable("its tokens")),
        }
    }
}

/// What the next token must not touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    Word,
    Operator,
    Plain,
}

/// Says what a token is, if it is one by the rules of the database too.
fn classify(database: Database, token: &Token, slice: &str) -> Result<(Kind, Edge), Refusal> {
    let postgres = database == Database::Postgres;
    let is_text = match token {
        Token::SingleQuotedString(_) => is_quoted(slice, '\''),
        Token::EscapedStringLiteral(_) => postgres && is_escaped(slice),
        Token::HexStringLiteral(_) => is_hexadecimal(slice),
        Token::DollarQuotedString(_) => postgres && is_dollar_quoted(slice),
        Token::Number(_, false) => is_number(slice),
        _ => false,
    };
    if is_text {
        return Ok((Kind::Other, Edge::Word));
    }
    match token {
        Token::Word(word) => {
            let is_name = match word.quote_style {
                None => is_name(database, slice),
                Some('"') => is_quoted(slice, '"'),
                Some('`') => !postgres && is_quoted(slice, '`'),
                Some('[') => !postgres && is_bracketed(slice),
                Some(_) => false,
            };
            match is_name {
                true => Ok((Kind::Word, Edge::Word)),
                false => Err(Refusal::unreadable("the name of something")),
            }
        }
        Token::Placeholder(_) | Token::Question if !(postgres && slice == "?") => {
            match argument(database, slice) {
                Some(0) => Ok((Kind::Unnumbered(0), Edge::Word)),
                Some(number) => Ok((Kind::Argument(number), Edge::Word)),
                None => Err(Refusal::new(
                    "an argument with a name",
                    "number the arguments, $1, $2; a cast is CAST(x AS type) on SQLite",
                )),
            }
        }
        Token::LParen | Token::LBracket => Ok((Kind::Open, Edge::Plain)),
        Token::RParen | Token::RBracket => Ok((Kind::Close, Edge::Plain)),
        Token::Comma => Ok((Kind::Comma, Edge::Plain)),
        Token::SemiColon => Ok((Kind::Semicolon, Edge::Plain)),
        Token::Period => Ok((Kind::Other, Edge::Plain)),
        // Neither another kind of text nor a bracket of other dialects.
        _ if !postgres && slice.starts_with([':', '@']) => Err(Refusal::new(
            "an argument with a name",
            "number the arguments: $1, $2",
        )),
        _ if slice.bytes().all(|byte| is_operator(database, byte)) => {
            Ok((Kind::Other, Edge::Operator))
        }
        _ => Err(Refusal::unreadable("a text or an operator of another kind")),
    }
}

/// On SQLite `@` and `:` begin an argument, and `#` is nothing.
const fn is_operator(database: Database, byte: u8) -> bool {
    match byte {
        b'+' | b'-' | b'*' | b'/' | b'<' | b'>' | b'=' | b'~' | b'!' | b'%' | b'&' | b'|' => true,
        b'@' | b'#' | b'^' | b'?' | b':' => matches!(database, Database::Postgres),
        _ => false,
    }
}

/// Refuses an operator in which a comment begins.
fn check_operator(slice: &str) -> Result<(), Refusal> {
    match slice.contains("--") || slice.contains("/*") {
        true => Err(Refusal::new(
            "an operator that begins a comment",
            "write a space between the two operators",
        )),
        false => Ok(()),
    }
}

/// An identifier: on PostgreSQL a `$` may stand in it, on SQLite it begins an argument.
fn is_name(database: Database, slice: &str) -> bool {
    let is_part = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || byte == b'_'
            || byte >= 0x80
            || byte == b'$' && database == Database::Postgres
    };
    let begins = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80;
    slice.bytes().next().is_some_and(begins) && slice.bytes().all(is_part)
}

fn is_number(slice: &str) -> bool {
    let mut rest = slice.as_bytes();
    let mut digits = 0;
    let mut take = |rest: &mut &[u8]| {
        while let [b'0'..=b'9', tail @ ..] = rest {
            *rest = tail;
            digits += 1;
        }
    };
    take(&mut rest);
    if let [b'.', tail @ ..] = rest {
        rest = tail;
        take(&mut rest);
    }
    if digits == 0 {
        return false;
    }
    if let [b'e' | b'E', tail @ ..] = rest {
        rest = match tail {
            [b'+' | b'-', tail @ ..] => tail,
            tail => tail,
        };
        return !rest.is_empty() && rest.iter().all(u8::is_ascii_digit);
    }
    rest.is_empty()
}

/// Something in quotes, in which the quote itself stands twice.
fn is_quoted(slice: &str, quote: char) -> bool {
    let inner = slice
        .strip_prefix(quote)
        .and_then(|rest| rest.strip_suffix(quote));
    let Some(mut rest) = inner else {
        return false;
    };
    if quote != '\'' && rest.is_empty() {
        return false;
    }
    while let Some(at) = rest.find(quote) {
        let Some(after) = rest[at + 1..].strip_prefix(quote) else {
            return false;
        };
        rest = after;
    }
    true
}

fn is_bracketed(slice: &str) -> bool {
    slice
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|inner| !inner.is_empty() && !inner.contains(['[', ']']))
}

/// `E'…'`, where a backslash takes the next character with it.
fn is_escaped(slice: &str) -> bool {
    let inner = slice
        .strip_prefix(['e', 'E'])
        .and_then(|rest| rest.strip_prefix('\''))
        .and_then(|rest| rest.strip_suffix('\''));
    let Some(inner) = inner else {
        return false;
    };
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.next().is_none() => return false,
            '\'' if characters.next() != Some('\'') => return false,
            _ => {}
        }
    }
    true
}

fn is_hexadecimal(slice: &str) -> bool {
    slice
        .strip_prefix(['x', 'X'])
        .and_then(|rest| rest.strip_prefix('\''))
        .and_then(|rest| rest.strip_suffix('\''))
        .is_some_and(|inner| inner.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// `$tag$…$tag$`.
fn is_dollar_quoted(slice: &str) -> bool {
    let Some(rest) = slice.strip_prefix('$') else {
        return false;
    };
    let Some((tag, rest)) = rest.split_once('$') else {
        return false;
    };
    let delimiter = format!("${tag}$");
    (tag.is_empty() || is_name(Database::Sqlite, tag))
        && rest
            .strip_suffix(&delimiter)
            .is_some_and(|inner| !inner.contains(&delimiter))
}

/// Returns the number of an argument.
fn argument(database: Database, slice: &str) -> Option<usize> {
    let digits = match database {
        Database::Postgres => slice.strip_prefix('$')?,
        Database::Sqlite => match slice.strip_prefix('?') {
            Some("") => return Some(0),
            Some(digits) => digits,
            None => slice.strip_prefix('$')?,
        },
    };
    // As many as a message of PostgreSQL can bind, less the tenant; 01 would be another name for 1.
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits
        .parse()
        .ok()
        .filter(|number| is_plain && (1..65_535).contains(number))
}

fn odd_space() -> Refusal {
    Refusal::new(
        "white space that not every reader takes for such",
        "write a plain space",
    )
}

/// Returns more than the depth that the tree of these tokens can have.
///
/// A chain of operators is as deep as it is long, wherever the brackets are; what stands between
/// commas is side by side.
fn depth_of_tree(tokens: &[Place]) -> usize {
    #[derive(Default, Clone, Copy)]
    struct Level {
        here: usize,
        most: usize,
    }
    let mut levels = vec![Level::default()];
    for place in tokens {
        let Some(level) = levels.last_mut() else {
            return 0;
        };
        match place.kind {
            Kind::Comma => {
                level.most = level.most.max(level.here);
                level.here = 0;
            }
            Kind::Open => {
                level.here += 1;
                levels.push(Level::default());
            }
            Kind::Close => {
                let inner = level.most.max(level.here);
                levels.pop();
                if let Some(outer) = levels.last_mut() {
                    outer.here += inner;
                }
            }
            _ => level.here += 1,
        }
    }
    levels.iter().map(|level| level.most.max(level.here)).sum()
}
