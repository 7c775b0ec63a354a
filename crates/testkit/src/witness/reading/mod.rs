//! What a text says, before it is known which tables are protected.

mod grammar;
mod hidden;
mod level;
mod walk;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use sqlparser::ast::{
    AccessExpr, ContextModifier, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    Ident, ObjectName, ObjectNamePart, Set, Statement, TableFactor, Value, Visit as _, Visitor,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer, Word};

pub(super) use level::{Level, Scope};
use walk::Walk;

use super::frontend::Text;

/// The column that holds a row's tenant.
const TENANT: &str = "tenant_id";

/// The parameter of the server that holds a transaction's tenant.
const SETTING: &str = "tenantry.tenant_id";

/// How deep a statement may be nested. The parser makes room for itself as it goes down.
const DEEPEST: usize = 200;

/// What statements begin with that may change tables, their protection or roles.
const CHANGES: [&str; 7] = ["create", "alter", "drop", "do", "call", "execute", "import"];

/// Functions that change the protection of tables.
const PROTECTIONS: [&str; 4] = ["protect", "unprotect", "share", "unshare"];

/// One text, read once for all its runs.
#[derive(Debug)]
pub(super) struct Reading {
    /// The text without its literals, so that texts which differ in nothing else count as one.
    pub(super) shape: Arc<str>,
    pub(super) sentences: Vec<Sentence>,
    /// It may change tables, their protection or roles.
    pub(super) changes: bool,
    /// It may change which databases there are.
    pub(super) changes_databases: bool,
}

/// One statement of a text.
#[derive(Debug, Default)]
pub(super) struct Sentence {
    pub(super) control: Option<Control>,
    /// What it sets the tenant to.
    pub(super) settings: Vec<TenantSetting>,
    /// What it calls the connection from now on.
    pub(super) application_name: Option<String>,
    pub(super) levels: Vec<Level>,
    pub(super) writes: Vec<Write>,
    /// The functions that it calls.
    pub(super) calls: BTreeSet<String>,
    /// What it names as columns of a table, which may be functions of the row.
    pub(super) columns: BTreeSet<String>,
    /// Tables that it names where a table was not expected.
    pub(super) unplaced: Vec<Name>,
    /// Why nothing of it can be shown.
    pub(super) obscure: Option<Obscure>,
}

/// A statement that the witness does not understand.
#[derive(Debug)]
pub(super) struct Obscure {
    pub(super) reason: String,
    /// Every word in it, to tell whether one is the name of a protected table.
    pub(super) words: BTreeSet<String>,
    /// Names may hide in it.
    pub(super) hides_names: bool,
}

/// What a statement does to the transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Control {
    Begin,
    End { chain: bool },
    Savepoint(String),
    RollbackTo(String),
}

/// A statement's setting of the tenant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TenantSetting {
    pub(super) value: Operand,
    /// For the transaction, and gone with it.
    pub(super) is_local: bool,
}

/// What a tenant is compared with or set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operand {
    /// `$n`
    Parameter(usize),
    /// Written in the text.
    Literal(String),
    Other,
}

/// The tenant of the rows that a statement stores.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) table: Name,
    /// One for each row of the text.
    pub(super) tenants: Result<Vec<Operand>, &'static str>,
}

/// The name of a table as it stands in a statement, folded as the server folds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) schema: Option<String>,
    pub(super) table: String,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        f.write_str(&self.table)
    }
}

impl Sentence {
    /// Returns whether it could name a table or call a function that does.
    pub(super) fn may_touch_tables(&self) -> bool {
        self.obscure.is_some()
            || !self.calls.is_empty()
            || !self.columns.is_empty()
            || self.tables().next().is_some()
    }

    /// Returns all tables that it names, if it is understood.
    pub(super) fn tables(&self) -> impl Iterator<Item = &Name> {
        let read = self.levels.iter().flat_map(Level::tables);
        let written = self.writes.iter().map(|write| &write.table);
        read.chain(written).chain(&self.unplaced)
    }
}

/// Reads a text.
pub(super) fn read(text: &Text) -> Reading {
    let text = match text {
        Text::Whole(text) => text,
        Text::TooLong => return unreadable("<a text too long to be read>", "it is too long"),
        Text::NotUtf8 => return unreadable("<a text that is not UTF-8>", "it is not UTF-8"),
    };
    let words = words(text);
    let mut reading = Reading {
        shape: text.as_str().into(),
        sentences: Vec::new(),
        changes: false,
        changes_databases: words.contains("database"),
    };
    match Tokenizer::new(&PostgreSqlDialect {}, text).tokenize() {
        Ok(tokens) => {
            reading.shape = shape(&tokens).into();
            let statements = tokens.split(|token| *token == Token::SemiColon);
            for tokens in statements.filter(|tokens| !tokens.iter().all(is_blank)) {
                let sentence = sentence(tokens);
                reading.changes |= CHANGES.contains(&leading_words(tokens)[0].as_str())
                    || PROTECTIONS
                        .iter()
                        .any(|name| sentence.calls.contains(*name));
                reading.sentences.push(sentence);
            }
        }
        Err(error) => {
            reading.changes = true;
            reading.sentences.push(Sentence {
                obscure: Some(Obscure {
                    reason: format!("it cannot be read: {error}"),
                    words,
                    hides_names: false,
                }),
                ..Sentence::default()
            });
        }
    }
    reading
}

/// Returns what is to be said of a text that nobody has read.
pub(super) fn unreadable(shape: &str, reason: &str) -> Reading {
    Reading {
        shape: shape.into(),
        sentences: vec![Sentence {
            obscure: Some(Obscure {
                reason: reason.to_owned(),
                words: BTreeSet::new(),
                hides_names: true,
            }),
            ..Sentence::default()
        }],
        changes: true,
        changes_databases: true,
    }
}

fn sentence(tokens: &[Token]) -> Sentence {
    let mut parser = Parser::new(&PostgreSqlDialect {})
        .with_recursion_limit(DEEPEST)
        .with_tokens(grammar::without_only(tokens));
    let parsed = parser.parse_statement().map_err(|error| error.to_string());
    let parsed = match parsed {
        Ok(statement) if parser.peek_token().token == Token::EOF => Ok(statement),
        Ok(_) => Err(format!("unexpected `{}`", parser.peek_token().token)),
        Err(error) => Err(error),
    };
    let mut sentence = match parsed {
        Ok(statement) => understood(&statement, tokens),
        Err(error) => Sentence {
            obscure: Some(obscure(format!("it cannot be read: {error}"), tokens)),
            ..Sentence::default()
        },
    };
    if hides_names(tokens) {
        let reason = "it holds names in Unicode escapes".to_owned();
        sentence.obscure = Some(obscure(reason, tokens));
    }
    let leading = leading_words(tokens);
    match [leading[0].as_str(), leading[1].as_str()] {
        ["abort", _] | ["prepare", "transaction"] => {
            sentence.control = Some(Control::End { chain: false });
        }
        ["reset" | "discard", _] => sentence.settings.push(TenantSetting {
            value: Operand::Other,
            is_local: true,
        }),
        _ => {}
    }
    sentence
}

fn understood(statement: &Statement, tokens: &[Token]) -> Sentence {
    let mut sentence = Sentence {
        control: control(statement),
        ..Sentence::default()
    };
    match statement {
        Statement::Set(set) => set_parameter(set, &mut sentence),
        Statement::StartTransaction { .. }
        | Statement::Commit { .. }
        | Statement::Rollback { .. }
        | Statement::Savepoint { .. }
        | Statement::ReleaseSavepoint { .. } => {}
        statement => {
            let mut walk = Walk::default();
            if walk.statement(statement, &[]) {
                sentence.unplaced = walk.unplaced(statement);
            } else {
                let reason = "a statement of this kind cannot be shown to keep to a tenant";
                sentence.obscure = Some(obscure(reason.to_owned(), tokens));
            }
            let mut calls = Calls::default();
            let _ = statement.visit(&mut calls);
            if let Some(reason) = calls.misread {
                sentence.obscure = Some(obscure(reason, tokens));
            }
            if let Some(name) = calls.runs_text {
                let reason = format!("`{name}` runs a text that is not seen");
                sentence.obscure = Some(Obscure {
                    hides_names: true,
                    ..obscure(reason, tokens)
                });
            }
            sentence.settings = calls.settings;
            sentence.calls = calls.names;
            sentence.columns = calls.columns;
            (sentence.levels, sentence.writes) = (walk.levels, walk.writes);
        }
    }
    sentence
}

fn control(statement: &Statement) -> Option<Control> {
    Some(match statement {
        Statement::StartTransaction { .. } => Control::Begin,
        Statement::Commit { chain, .. } => Control::End { chain: *chain },
        Statement::Rollback {
            savepoint: Some(name),
            ..
        } => Control::RollbackTo(fold(name)),
        Statement::Rollback { chain, .. } => Control::End { chain: *chain },
        Statement::Savepoint { name } => Control::Savepoint(fold(name)),
        _ => return None,
    })
}

fn set_parameter(set: &Set, sentence: &mut Sentence) {
    let Set::SingleAssignment {
        scope,
        variable,
        values,
        ..
    } = set
    else {
        return;
    };
    let value = match values.as_slice() {
        [value] => operand(value),
        _ => Operand::Other,
    };
    let name = variable.to_string().to_lowercase();
    if name == SETTING {
        sentence.settings.push(TenantSetting {
            value,
            is_local: matches!(scope, Some(ContextModifier::Local)),
        });
    } else if name == "application_name"
        && let Operand::Literal(value) = value
    {
        sentence.application_name = Some(value);
    }
}

/// Finds the calls of functions, and among them those that set the tenant.
#[derive(Default)]
struct Calls {
    names: BTreeSet<String>,
    columns: BTreeSet<String>,
    settings: Vec<TenantSetting>,
    /// A function that runs a text.
    runs_text: Option<String>,
    /// What the parser and the server take for different things.
    misread: Option<String>,
}

impl Calls {
    fn call(&mut self, name: &ObjectName, arguments: &[FunctionArg]) {
        let Some(Name { table: name, .. }) = name_of(name) else {
            return;
        };
        if name == "set_config"
            && let [setting, value, is_local] = arguments
            && let Some(Operand::Literal(setting)) = argument(setting).map(operand)
            && setting.eq_ignore_ascii_case(SETTING)
        {
            let is_true = |expr: &Expr| matches!(expr, Expr::Value(value) if value.value == Value::Boolean(true));
            self.settings.push(TenantSetting {
                value: argument(value).map_or(Operand::Other, operand),
                is_local: argument(is_local).is_some_and(is_true),
            });
        }
        // With three arguments it takes no text.
        if hidden::runs_text(&name) && !(name == "ts_rewrite" && arguments.len() == 3) {
            self.runs_text = Some(name.clone());
        }
        self.names.insert(name);
    }

    /// Takes note of what stands behind a dot: the server looks for a function of that name where
    /// there is no such column.
    fn field(&mut self, access: &AccessExpr) {
        match access {
            AccessExpr::Dot(Expr::Identifier(name)) => {
                self.call(&ObjectName::from(vec![name.clone()]), &[]);
            }
            AccessExpr::Dot(Expr::CompoundIdentifier(names)) => {
                for name in names {
                    self.call(&ObjectName::from(vec![name.clone()]), &[]);
                }
            }
            AccessExpr::Dot(_) | AccessExpr::Subscript(_) => {}
        }
    }
}

impl Visitor for Calls {
    type Break = ();

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        if let Some(ObjectNamePart::Identifier(first)) = name.0.first()
            && first.quote_style.is_none()
            && grammar::is_reserved(&first.value)
        {
            let word = first.value.to_uppercase();
            self.misread = Some(format!("the word {word} stands in the place of a table"));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(Function { name, args, .. }) => {
                let arguments = match args {
                    FunctionArguments::List(list) => list.args.as_slice(),
                    _ => &[],
                };
                self.call(name, arguments);
            }
            Expr::CompoundIdentifier(names) => self.columns.extend(names.iter().skip(1).map(fold)),
            Expr::CompoundFieldAccess { access_chain, .. } => {
                access_chain.iter().for_each(|access| self.field(access));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table {
                name,
                args: Some(arguments),
                ..
            } => self.call(name, &arguments.args),
            TableFactor::Function { name, args, .. } => self.call(name, args),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn argument(argument: &FunctionArg) -> Option<&Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

/// Returns what a value is, casts aside.
fn operand(expr: &Expr) -> Operand {
    match expr {
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => operand(inner),
        Expr::Value(value) => match &value.value {
            Value::Placeholder(name) => name
                .strip_prefix('$')
                .and_then(|number| number.parse().ok())
                .map_or(Operand::Other, Operand::Parameter),
            Value::SingleQuotedString(text) => Operand::Literal(text.clone()),
            _ => Operand::Other,
        },
        _ => Operand::Other,
    }
}

fn name_of(name: &ObjectName) -> Option<Name> {
    let mut parts = name.0.iter().rev().map(|part| match part {
        ObjectNamePart::Identifier(ident) => Some(fold(ident)),
        ObjectNamePart::Function(_) => None,
    });
    let table = parts.next()??;
    let schema = match parts.next() {
        Some(part) => Some(part?),
        None => None,
    };
    Some(Name { schema, table })
}

/// Writes a name as the server keeps it.
fn fold(ident: &Ident) -> String {
    folded(&ident.value, ident.quote_style.is_some())
}

fn folded(name: &str, is_quoted: bool) -> String {
    /// What the server cuts names to, in bytes.
    const LONGEST: usize = 63;
    let mut name = if is_quoted {
        name.to_owned()
    } else {
        name.to_lowercase()
    };
    let mut end = name.len().min(LONGEST);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    name
}

fn obscure(reason: String, tokens: &[Token]) -> Obscure {
    let text: String = tokens.iter().map(ToString::to_string).collect();
    let mut words = words(&text);
    words.extend(tokens.iter().filter_map(|token| match token {
        Token::Word(word) => Some(folded(&word.value, word.quote_style.is_some())),
        _ => None,
    }));
    Obscure {
        reason,
        hides_names: hides_names(tokens) || hidden::is_text_run(&words, tokens),
        words,
    }
}

/// Returns every run of letters, in literals and comments too, in small letters, and all that
/// stands between two quotes, as it stands.
pub(super) fn words(text: &str) -> BTreeSet<String> {
    let plain = text
        .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
        .map(|word| folded(word, false));
    let quoted = text.split('"').map(|word| folded(word, true));
    plain
        .chain(quoted)
        .filter(|word| !word.is_empty())
        .collect()
}

/// Returns whether a name is written as `U&"…"`, which the parser takes for something else.
fn hides_names(tokens: &[Token]) -> bool {
    tokens.windows(3).any(|window| {
        let is_prefix =
            |word: &Word| word.quote_style.is_none() && word.value.eq_ignore_ascii_case("u");
        matches!(
            window,
            [Token::Word(prefix), Token::Ampersand, Token::Word(name)]
                if is_prefix(prefix) && name.quote_style.is_some()
        )
    })
}

const fn is_blank(token: &Token) -> bool {
    matches!(token, Token::Whitespace(_) | Token::EOF)
}

fn leading_words(tokens: &[Token]) -> [String; 2] {
    let mut words = tokens
        .iter()
        .filter(|token| !is_blank(token))
        .map(|token| match token {
            Token::Word(word) => word.value.to_lowercase(),
            _ => String::new(),
        });
    [(); 2].map(|()| words.next().unwrap_or_default())
}

fn shape(tokens: &[Token]) -> String {
    let mut shape = String::new();
    for token in tokens {
        match token {
            Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_) => shape.push_str("'…'"),
            token => shape.push_str(&token.to_string()),
        }
    }
    shape
}
