//! Puts the tenant into a statement.
//!
//! The tree is walked and changed; beside it the same changes are made to the text, at the places
//! of the tokens, so that the database gets the statement as its author wrote it. In the end the
//! new text is parsed again and has to be the changed tree: where the two differ, the statement is
//! refused.

mod clauses;
mod expression;
mod fallible;
mod from;
mod query;
mod write;

use std::ops::ControlFlow;
use std::sync::Arc;

use sqlparser::ast::{
    Expr, Ident, ObjectName, Query, Select, Statement, TableFactor, Value, Visit, Visitor,
};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token};

use self::clauses::Clauses;
use self::fallible::Fallible;
use super::catalog::Catalog;
use super::refusal::Refusal;
use super::source::{Kind, Place, Source, dialect};
use crate::backend::Dialect;
use crate::statement::TENANT;

/// How many brackets may stand in each other.
const DEEPEST_NESTING: usize = 100;

/// How many views may stand in each other.
const DEEPEST_VIEW: usize = 6;

/// How deep the tree of one may be.
const DEPTH_OF_VIEW: usize = 9_000;

/// A statement with its tenant.
#[derive(Debug)]
pub(super) struct Rewritten {
    pub(super) text: String,
    /// The arguments that the caller gives; the tenant comes after them.
    pub(super) arguments: usize,
    pub(super) binds_tenant: bool,
    /// The tables that it writes to; empty for one that reads.
    pub(super) written: Vec<Arc<str>>,
}

/// Rewrites a statement, or says why not.
pub(super) fn rewrite(catalog: &Catalog, sql: &str) -> Result<Rewritten, Refusal> {
    let source = Source::read(catalog.database, sql)?;
    // Trees are walked and dropped by recursion, and a worker's stack is small. How deep the query of
    // a view is shows only later.
    let (needed, stack) = match source.words().any(|word| catalog.has_view(word)) {
        true => (HUGE_STACK, HUGE_STACK),
        false => {
            // Deeper the parser does not go.
            let nesting = source.nesting().min(2 * DEEPEST_NESTING);
            let needed = STACK + source.depth() * FRAME + nesting * BRACKET;
            (needed, LARGE_STACK)
        }
    };
    stacker::maybe_grow(needed, stack, || {
        let Arguments { count, sign } = Arguments::of(&source, catalog.database)?;
        let mut rewriter = Rewriter::new(catalog, source, format!("{sign}{}", count + 1));
        let (text, _) = rewriter.run()?;
        Ok(Rewritten {
            text,
            arguments: count,
            binds_tenant: rewriter.binds_tenant,
            written: rewriter.written,
        })
    })
}

/// What a statement takes of the stack, in bytes: in any case, for each step into its tree, and for
/// each bracket, which may hold a query, through which the way leads over many functions.
const STACK: usize = 512 << 10;
const BRACKET: usize = if cfg!(debug_assertions) {
    128 << 10
} else {
    32 << 10
};
const FRAME: usize = if cfg!(debug_assertions) {
    8 << 10
} else {
    4 << 10
};

/// The stack for statements that need more than is left, of which only what is used takes memory.
const LARGE_STACK: usize = 160 << 20;

/// The same for statements with views, which may stand in each other.
const HUGE_STACK: usize = LARGE_STACK + DEEPEST_VIEW * DEPTH_OF_VIEW * FRAME;

/// The arguments of a statement.
struct Arguments {
    count: usize,
    /// How the numbered ones are written.
    sign: char,
}

impl Arguments {
    /// Counts the arguments of a statement, which have to be written in one way.
    ///
    /// SQLite gives `$2` the next free place and `?2` the second, so that beside each other one can
    /// stand in the place of the other, and of the tenant.
    fn of(source: &Source, database: Dialect) -> Result<Self, Refusal> {
        let (mut most, mut unnumbered) = (0, 0);
        let (mut dollars, mut question_marks) = (0, 0);
        for place in &source.tokens {
            match place.kind {
                Kind::Unnumbered(number) => unnumbered = number,
                Kind::Argument(number) => {
                    most = most.max(number);
                    match source.text.as_bytes().get(place.start) {
                        Some(b'$') => dollars += 1,
                        _ => question_marks += 1,
                    }
                }
                _ => {}
            }
        }
        let ways = [unnumbered, dollars, question_marks];
        if ways.into_iter().filter(|count| *count > 0).count() > 1 {
            return Err(Refusal::new(
                "arguments written in several ways",
                "number all of them: $1, $2",
            ));
        }
        Ok(Self {
            count: most.max(unnumbered),
            sign: match database {
                Dialect::Postgres => '$',
                Dialect::Sqlite if dollars > 0 => '$',
                Dialect::Sqlite => '?',
            },
        })
    }
}

struct Rewriter<'c> {
    catalog: &'c Catalog,
    source: Source,
    /// The argument that will be the tenant, as it is written.
    tenant: String,
    splices: Vec<Splice>,
    /// The names of common table expressions that can be seen, innermost last.
    ctes: Vec<String>,
    /// Those around a view, which must not be taken for the tables of its query.
    outer_ctes: Vec<String>,
    /// Whether a sub-query has taken the place of a table, and of a table or a view.
    replaced: bool,
    replaced_any: bool,
    /// How those tables are called.
    replaced_names: Vec<String>,
    /// The most parts in the name of a column.
    longest_path: usize,
    /// What of the tree was looked at.
    seen: Account,
    binds_tenant: bool,
    written: Vec<Arc<str>>,
    fallible: Fallible,
    /// The views around this text, outermost first.
    views: Vec<Arc<str>>,
}

/// The query of a view, with the tenant in it.
struct View {
    text: String,
    query: Box<Query>,
    binds_tenant: bool,
}

/// Text that takes the place of other text, or goes in between.
struct Splice {
    from: usize,
    until: usize,
    text: String,
}

impl<'c> Rewriter<'c> {
    fn new(catalog: &'c Catalog, source: Source, tenant: String) -> Self {
        Self {
            catalog,
            source,
            tenant,
            splices: Vec::new(),
            ctes: Vec::new(),
            outer_ctes: Vec::new(),
            replaced: false,
            replaced_any: false,
            replaced_names: Vec::new(),
            longest_path: 0,
            seen: Account::default(),
            binds_tenant: false,
            written: Vec::new(),
            fallible: Fallible::default(),
            views: Vec::new(),
        }
    }

    fn run(&mut self) -> Result<(String, Statement), Refusal> {
        self.check_first_word()?;
        let (tokens, conditions) = self.source.for_parser();
        let parser =
            || Parser::new(dialect(self.catalog.database)).with_recursion_limit(DEEPEST_NESTING);
        let mut statement = parse_whole(parser().with_tokens_with_locations(tokens))
            .map_err(|error| self.unreadable(&error))?
            .ok_or_else(|| {
                Refusal::new(
                    "several statements in one string",
                    "run each by itself, in one unit of work",
                )
            })?;
        let Contents {
            account,
            mut clauses,
        } = Contents::of(&statement);
        for condition in conditions {
            let mut parser = parser().with_tokens_with_locations(condition);
            let condition = parser
                .expect_keyword(Keyword::WHERE)
                .and_then(|_| parser.parse_expr())
                .and_then(|condition| parser.expect_token(&Token::EOF).map(|_| condition))
                .map_err(|error| self.unreadable(&error))?;
            let in_condition = Contents::of(&condition);
            clauses = clauses + in_condition.clauses;
            self.index_condition(condition, &in_condition.account)?;
        }
        self.seen = Account::default();
        self.statement(&mut statement)?;
        if self.seen != account {
            return Err(Refusal::unplaced());
        }
        if clauses != Clauses::written(&self.source) {
            return Err(Refusal::new(
                "FROM, JOIN or USING where the parser reads a name",
                "write a name that is a word of SQL in double quotes, and AS before the name of a column",
            ));
        }
        self.check_replaced(&statement)?;
        if self.views.is_empty() {
            self.fallible.check()?;
        }
        let text = self.splice();
        self.check(&text, &statement)?;
        Ok((text, statement))
    }

    /// Names what is refused by its first word, which the parser need not know.
    fn check_first_word(&self) -> Result<(), Refusal> {
        let Some(first) = self.source.tokens.first() else {
            return Err(Refusal::new("an empty statement", "write one"));
        };
        if first.kind == Kind::Open {
            return Ok(());
        }
        let word = self.source.text[first.start..first.end].to_ascii_uppercase();
        let advice = match &*word {
            "SELECT" | "WITH" | "VALUES" | "INSERT" | "UPDATE" | "DELETE" | "MERGE" => {
                return Ok(());
            }
            "REPLACE" => "write INSERT … ON CONFLICT (tenant_id, …) DO UPDATE",
            "TABLE" => "write SELECT * FROM",
            "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" | "SAVEPOINT"
            | "RELEASE" | "PREPARE" => {
                "the unit of work owns the transaction: use its commit, rollback and savepoint"
            }
            "SET" | "RESET" | "DISCARD" | "PRAGMA" | "SHOW" => {
                "what a statement sets stays on a connection that others use: take WorkOptions or \
                 the settings of the store"
            }
            "COPY" => "it goes past row-level security: use insert_many, and stream for reading",
            "TRUNCATE" => "it empties the table of all tenants: write DELETE FROM",
            "CREATE" | "ALTER" | "DROP" | "COMMENT" | "GRANT" | "REVOKE" | "REINDEX" | "VACUUM"
            | "ANALYZE" | "CLUSTER" | "REFRESH" | "SECURITY" | "REASSIGN" | "IMPORT" => {
                "change the schema in a migration"
            }
            "DO" | "CALL" | "EXECUTE" | "DEALLOCATE" | "DECLARE" | "FETCH" | "MOVE" | "CLOSE" => {
                "what it runs cannot be seen: write the statements themselves"
            }
            "LISTEN" | "UNLISTEN" | "NOTIFY" => {
                "a channel is open to all tenants: tell others by a CommitListener"
            }
            "LOCK" => "lock rows by SELECT … FOR UPDATE",
            "ATTACH" | "DETACH" => "a store is one database",
            "EXPLAIN" => match self.catalog.database {
                Dialect::Postgres => {
                    "a plan tells of the rows of all tenants: ask for it over a connection of your own, \
                     as the app role, behind SET LOCAL tenantry.tenant_id"
                }
                Dialect::Sqlite => "ask for the plan over a connection of your own",
            },
            _ => "write a SELECT, INSERT, UPDATE, DELETE or MERGE, or use PlatformScope",
        };
        let is_word = first.kind == Kind::Word && word.len() <= 24;
        Err(Refusal::new(
            match is_word {
                true => format!("the statement {word}"),
                false => "a statement of another kind".to_owned(),
            },
            advice,
        ))
    }

    /// Says where the parser stopped; its own words may quote what was written.
    fn unreadable(&self, error: &ParserError) -> Refusal {
        let message = match error {
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
            ParserError::RecursionLimitExceeded => {
                return Refusal::new(
                    "a statement of more than a hundred brackets in each other",
                    "write it with common table expressions",
                );
            }
        };
        let source = &self.source;
        let text = |index: usize| {
            let place = source.tokens.get(index)?;
            Some(&source.text[place.start..place.end])
        };
        let all = 0..source.tokens.len();
        if all.clone().any(|index| {
            source.keyword(index) == Keyword::IN
                && text(index + 1) == Some("(")
                && text(index + 2) == Some(")")
        }) {
            return Refusal::new("IN with an empty list", "bind an array: = ANY($1)");
        }
        if self.catalog.database == Dialect::Postgres
            && all.clone().any(|index| text(index) == Some("?"))
        {
            return Refusal::new(
                "an argument without a number, or the operator ?",
                "number the arguments, $1, $2; for the operator write jsonb_exists",
            );
        }
        let place = message.rfind(" at Line: ").map(|at| &message[at + 4..]);
        let location = place.and_then(|place| {
            let mut numbers = place.split(|letter: char| !letter.is_ascii_digit());
            let mut next = || numbers.find(|number| !number.is_empty())?.parse().ok();
            Some(Location::new(next()?, next()?))
        });
        let Some(location) = location else {
            return Refusal::unreadable("its end");
        };
        // A name, a number or a text may be somebody's; what belongs to the grammar is nobody's.
        let found = source.at(location).ok().filter(|index| {
            let place = &source.tokens[*index];
            let sign = !source.text[place.start..place.end]
                .contains(|letter: char| letter.is_alphanumeric() || letter == '\'');
            place.keyword != Keyword::NoKeyword || sign
        });
        let Location { line, column } = location;
        Refusal::unreadable(&match found.and_then(text) {
            Some(found) => format!(
                "{} in line {line}, column {column}",
                found.to_ascii_uppercase()
            ),
            None => format!("line {line}, column {column}"),
        })
    }

    fn statement(&mut self, statement: &mut Statement) -> Result<(), Refusal> {
        match statement {
            Statement::Query(query) => self.query(query),
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            Statement::Merge(merge) => self.merge(merge),
            _ => Err(Refusal::new(
                "a statement of another kind",
                "write a SELECT, INSERT, UPDATE, DELETE or MERGE, or use PlatformScope",
            )),
        }
    }

    /// Returns the text with all splices, without what ends it.
    fn splice(&mut self) -> String {
        // In the order in which they were made where they meet.
        self.splices
            .sort_by_key(|splice| (splice.from, splice.from < splice.until));
        let end = self
            .source
            .tokens
            .iter()
            .rev()
            .find(|place| place.kind != Kind::Semicolon)
            .map_or(0, |place| place.end);
        let added: usize = self.splices.iter().map(|splice| splice.text.len()).sum();
        let mut text = String::with_capacity(end + added);
        let mut at = 0;
        for splice in &self.splices {
            text.push_str(&self.source.text[at..splice.from]);
            text.push_str(&splice.text);
            at = splice.until;
        }
        text.push_str(&self.source.text[at..end]);
        text
    }

    /// Refuses what only a table itself has, where a sub-query has taken its place.
    fn check_replaced(&self, statement: &Statement) -> Result<(), Refusal> {
        const ADVICE: &str = "join the table by LEFT JOIN … ON or JOIN, or give it an alias";
        if self.replaced_any && self.longest_path > 2 {
            return Err(Refusal::new(
                "a column named with its schema, of a view, or a table in a full join or one by USING",
                ADVICE,
            ));
        }
        if !self.replaced_names.is_empty() {
            let whole =
                sqlparser::ast::visit_expressions(statement, |expression| match expression {
                    Expr::Identifier(name) => match self.catalog.identifier(name) {
                        Ok(name) if self.replaced_names.iter().any(|table| **table == *name) => {
                            ControlFlow::Break(())
                        }
                        _ => ControlFlow::Continue(()),
                    },
                    _ => ControlFlow::Continue(()),
                });
            if whole.is_break() {
                return Err(Refusal::new(
                    "the whole row of a table in a full join, one by USING, or with named columns",
                    "name its columns",
                ));
            }
        }
        let hidden: &[&str] = match self.catalog.database {
            Dialect::Postgres => &["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"],
            Dialect::Sqlite => &["rowid", "oid", "_rowid_"],
        };
        let is_hidden = |place: &Place| {
            let word = &self.source.text[place.start..place.end];
            place.kind == Kind::Word
                && hidden
                    .iter()
                    .any(|hidden| word.trim_matches('"').eq_ignore_ascii_case(hidden))
        };
        if self.replaced && self.source.tokens.iter().any(is_hidden) {
            return Err(Refusal::new(
                "a system column beside a full join or one by USING",
                ADVICE,
            ));
        }
        Ok(())
    }

    /// Looks at the condition that names a partial index, which stays as it is.
    fn index_condition(&mut self, mut condition: Expr, account: &Account) -> Result<(), Refusal> {
        self.seen = Account::default();
        self.expression(&mut condition)?;
        if self.seen != *account {
            return Err(Refusal::unplaced());
        }
        if self.seen.relations > 0 || !self.splices.is_empty() {
            return Err(Refusal::new(
                "a sub-query or an argument in the condition of an ON CONFLICT target",
                "write it as the index has it",
            ));
        }
        Ok(())
    }

    /// Refuses a text that does not parse to the tree.
    fn check(&self, text: &str, statement: &Statement) -> Result<(), Refusal> {
        let (tokens, _) = Source::read(self.catalog.database, text)?.for_parser();
        let parser = Parser::new(dialect(self.catalog.database))
            .with_recursion_limit(2 * DEEPEST_NESTING)
            .with_tokens_with_locations(tokens);
        match parse_whole(parser) {
            Ok(Some(parsed)) if parsed == *statement => Ok(()),
            Ok(_) | Err(_) => Err(Refusal::unplaced()),
        }
    }

    /// Inserts text behind a token.
    fn after(&mut self, token: usize, text: impl Into<String>) -> Result<(), Refusal> {
        let at = self.source.place(token)?.end;
        self.splices.push(Splice {
            from: at,
            until: at,
            text: text.into(),
        });
        Ok(())
    }

    /// Inserts text in front of a token.
    fn before(&mut self, token: usize, text: impl Into<String>) -> Result<(), Refusal> {
        let at = self.source.place(token)?.start;
        self.splices.push(Splice {
            from: at,
            until: at,
            text: text.into(),
        });
        Ok(())
    }

    /// Puts text in the place of some tokens.
    fn replace(
        &mut self,
        first: usize,
        last: usize,
        text: impl Into<String>,
    ) -> Result<(), Refusal> {
        let (from, until) = (
            self.source.place(first)?.start,
            self.source.place(last)?.end,
        );
        self.splices.push(Splice {
            from,
            until,
            text: text.into(),
        });
        Ok(())
    }

    /// Returns the argument that is the tenant, for the tree; the text has it in `self.tenant`.
    fn tenant(&mut self) -> Expr {
        self.binds_tenant = true;
        Expr::Value(Value::Placeholder(self.tenant.clone()).into())
    }

    /// Takes note that a relation of the tree was looked at.
    const fn saw_relation(&mut self) {
        self.seen.relations += 1;
    }

    /// Rewrites the query of a view, which then stands in the place of its name.
    fn view(&mut self, name: &Arc<str>, definition: &str) -> Result<View, Refusal> {
        if self.views.len() >= DEEPEST_VIEW || self.views.contains(name) {
            return Err(Refusal::new(
                format!("the view {name}"),
                "it stands on too many others: name the tables",
            ));
        }
        let unfit = |refusal: Refusal| refusal.inside(&format!("the view {name}"));
        let source = Source::read(self.catalog.database, definition).map_err(unfit)?;
        let mut inner = Rewriter::new(self.catalog, source, self.tenant.clone());
        inner.views.clone_from(&self.views);
        inner.views.push(Arc::clone(name));
        // What it gives out may be looked at before its rows are told apart.
        inner.fallible.depth = 1;
        inner.outer_ctes = self.outer_ctes.iter().chain(&self.ctes).cloned().collect();
        if inner.source.depth() > DEPTH_OF_VIEW {
            return Err(Refusal::new(
                format!("the view {name}"),
                "its query is an expression of thousands of terms: name the tables",
            ));
        }
        if Arguments::of(&inner.source, self.catalog.database)?.count > 0 {
            return Err(Refusal::unplaced());
        }
        let (text, statement) = inner.run().map_err(unfit)?;
        self.fallible.take_over(inner.fallible);
        match statement {
            Statement::Query(query) if inner.written.is_empty() => Ok(View {
                text,
                query,
                binds_tenant: inner.binds_tenant,
            }),
            _ => Err(Refusal::unplaced()),
        }
    }
}

/// Parses one statement, to the last token; `None` if another follows.
///
/// The parser's own way to several statements ends at the word END, which may be the name of a column,
/// and leaves what follows unread.
fn parse_whole(mut parser: Parser<'_>) -> Result<Option<Statement>, ParserError> {
    let statement = parser.parse_statement()?;
    let mut ended = false;
    while parser.consume_token(&Token::SemiColon) {
        ended = true;
    }
    match parser.expect_token(&Token::EOF) {
        Ok(_) => Ok(Some(statement)),
        Err(_) if ended => Ok(None),
        Err(error) => Err(error),
    }
}

/// How many relations and expressions of a tree there are.
///
/// The parser's own account of a tree is compared with what was looked at: a place that the walk
/// does not know of cannot hold a table or a function unseen.
#[derive(Debug, Default, PartialEq, Eq)]
struct Account {
    relations: usize,
    expressions: usize,
}

/// What a tree holds, by the parser's own account.
#[derive(Debug, Default)]
struct Contents {
    account: Account,
    clauses: Clauses,
}

impl Contents {
    /// Counts all of it in one walk.
    fn of(tree: &impl Visit) -> Self {
        let mut contents = Self::default();
        // It never breaks off.
        let _ = tree.visit(&mut contents);
        contents
    }
}

impl Visitor for Contents {
    type Break = ();

    fn pre_visit_relation(&mut self, _: &ObjectName) -> ControlFlow<()> {
        self.account.relations += 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        self.account.expressions += 1;
        self.clauses.expression(expression);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.clauses.select(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        self.clauses.table_factor(factor);
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        self.clauses.statement(statement);
        ControlFlow::Continue(())
    }
}

fn tenant_column() -> Ident {
    Ident::new(TENANT)
}

const fn ends_from(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::WHERE
            | Keyword::GROUP
            | Keyword::HAVING
            | Keyword::WINDOW
            | Keyword::UNION
            | Keyword::INTERSECT
            | Keyword::EXCEPT
            | Keyword::ORDER
            | Keyword::LIMIT
            | Keyword::OFFSET
            | Keyword::FETCH
            | Keyword::FOR
            | Keyword::RETURNING
    )
}
