//! The judge of PostgreSQL's text: each table of tenants has its condition where it is asked, in the
//! statement that the guard makes.
//!
//! It looks at nothing but that statement, and knows nothing of how it came about.

use std::collections::HashMap;
use std::ops::ControlFlow;

use sqlparser::ast::{
    AssignmentTarget, BinaryOperator, Expr, FromTable, FunctionArguments, Ident, Insert, Join,
    JoinConstraint, JoinOperator, Merge, MergeAction, MergeInsertKind, ObjectName, ObjectNamePart,
    OnConflictAction, OnInsert, Query, Select, SelectItem, SetExpr, Statement, TableAlias,
    TableFactor, TableObject, TableWithJoins, UpdateTableFromKind, Value, Visit, Visitor,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;
use tenantry_store::guard::SqlGuard;

use crate::finding::{Finding, Kind, Verdict};

/// Judges statements over the tables of [`SqlGuard::specimen_postgres`].
#[derive(Debug)]
pub struct Placement {
    guard: SqlGuard,
}

impl Placement {
    /// Makes the guard.
    #[must_use]
    pub fn new() -> Self {
        Self {
            guard: SqlGuard::specimen_postgres(),
        }
    }

    /// Rewrites a statement, and looks for the tenant in what comes out.
    ///
    /// # Errors
    ///
    /// A table without its tenant.
    pub fn judge(&self, sql: &str) -> Result<Verdict, Box<Finding>> {
        let Ok(statement) = self.guard.rewrite(sql) else {
            return Ok(Verdict::Refused);
        };
        // The guard reads a few clauses that its parser does not know; these are for a server.
        if parse(sql).is_err() {
            return Ok(Verdict::Skipped);
        }
        let tenant = format!("${}", statement.arguments() + 1);
        check(statement.sql(), &tenant)
            .map(|()| Verdict::Agreed)
            .map_err(|details| {
                Box::new(Finding {
                    kind: Kind::Leak,
                    sql: sql.to_owned(),
                    rewritten: statement.sql().to_owned(),
                    details,
                })
            })
    }
}

impl Default for Placement {
    fn default() -> Self {
        Self::new()
    }
}

const TABLES: &[&str] = &["a", "b", "c", "invoices", "customers", "Odd \"Name"];
const FUNCTIONS: &[&str] = &[
    "count",
    "sum",
    "lower",
    "coalesce",
    "now",
    "generate_series",
    "unnest",
    "row_number",
    "array",
];

/// Says what is wrong with a statement in which `tenant` is the argument of the tenant.
fn check(sql: &str, tenant: &str) -> Result<(), String> {
    let statements = parse(sql).map_err(|error| format!("it does not parse: {error}"))?;
    let [statement] = &statements[..] else {
        return Err("it is not one statement".to_owned());
    };
    let mut walk = Walk {
        tenant,
        seen: Vec::new(),
        inside: HashMap::new(),
        relations: 0,
        checked: 0,
    };
    if let ControlFlow::Break(wrong) = statement.visit(&mut walk) {
        return Err(wrong);
    }
    match walk.relations == walk.checked {
        true => Ok(()),
        false => Err("a table stands where it is not looked for".to_owned()),
    }
}

fn parse(sql: &str) -> Result<Vec<Statement>, ParserError> {
    let mut parser = Parser::new(&PostgreSqlDialect {})
        .with_recursion_limit(1_000)
        .try_with_sql(sql)?;
    // Of several it would take the word END for their end.
    let statement = parser.parse_statement()?;
    parser.expect_token(&Token::EOF)?;
    Ok(vec![statement])
}

struct Walk<'s> {
    tenant: &'s str,
    /// The common table expressions that can be seen, of each query that is open.
    seen: Vec<Vec<String>>,
    /// Those that can be seen inside one of them, by its query's address.
    inside: HashMap<*const Query, Vec<String>>,
    relations: usize,
    checked: usize,
}

/// A table of tenants whose condition was not met yet, by the name it is called.
type Open = Vec<Vec<String>>;

impl Visitor for Walk<'_> {
    type Break = String;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        let address: *const Query = query;
        let mut names = match self.inside.remove(&address) {
            Some(names) => names,
            None => self.seen.last().cloned().unwrap_or_default(),
        };
        if let Some(with) = &query.with {
            let own: Vec<String> = with
                .cte_tables
                .iter()
                .map(|cte| folded(&cte.alias.name))
                .collect();
            for (index, cte) in with.cte_tables.iter().enumerate() {
                let visible = match with.recursive {
                    true => &own[..],
                    false => &own[..index],
                };
                let names = [&names[..], visible].concat();
                self.inside.insert(&raw const *cte.query, names);
            }
            names.extend(own);
        }
        self.seen.push(names);
        flow(self.body(&query.body))
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<String> {
        self.seen.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, _: &ObjectName) -> ControlFlow<String> {
        self.relations += 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<String> {
        flow(match statement {
            Statement::Query(_) => Ok(()),
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => (|| {
                let mut open = self.target(&update.table.relation)?;
                if !update.table.joins.is_empty() {
                    return Err("a join in the target".to_owned());
                }
                match &update.from {
                    None => {}
                    Some(
                        UpdateTableFromKind::AfterSet(items)
                        | UpdateTableFromKind::BeforeSet(items),
                    ) => {
                        open.extend(self.from(items)?);
                    }
                }
                for assignment in &update.assignments {
                    check_assigned(&assignment.target)?;
                }
                self.closed(open, update.selection.as_ref())
            })(),
            Statement::Delete(delete) => (|| {
                let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) =
                    &delete.from;
                let [table] = &from[..] else {
                    return Err("several targets".to_owned());
                };
                let mut open = self.target(&table.relation)?;
                if let Some(items) = &delete.using {
                    open.extend(self.from(items)?);
                }
                self.closed(open, delete.selection.as_ref())
            })(),
            Statement::Merge(merge) => self.merge(merge),
            _ => Err("a statement of another kind".to_owned()),
        })
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<String> {
        if let Expr::Function(function) = expression {
            if !is_function(&function.name) {
                return ControlFlow::Break(format!("the function {}", function.name));
            }
            if function.parameters != FunctionArguments::None {
                return ControlFlow::Break("parameters of a function".to_owned());
            }
        }
        ControlFlow::Continue(())
    }
}

fn flow(result: Result<(), String>) -> ControlFlow<String> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(wrong) => ControlFlow::Break(wrong),
    }
}

impl Walk<'_> {
    fn body(&mut self, body: &SetExpr) -> Result<(), String> {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left)?;
                self.body(right)
            }
            // Met by themselves.
            SetExpr::Query(_)
            | SetExpr::Values(_)
            | SetExpr::Insert(_)
            | SetExpr::Update(_)
            | SetExpr::Delete(_)
            | SetExpr::Merge(_) => Ok(()),
            SetExpr::Table(_) => Err("TABLE".to_owned()),
        }
    }

    fn select(&mut self, select: &Select) -> Result<(), String> {
        if select.into.is_some() {
            return Err("SELECT INTO".to_owned());
        }
        let open = self.from(&select.from)?;
        self.closed(open, select.selection.as_ref())
    }

    /// Returns the tables whose condition has to be in WHERE.
    fn from(&mut self, items: &[TableWithJoins]) -> Result<Open, String> {
        let mut open = Open::new();
        for item in items {
            open.extend(self.joined(item)?);
        }
        Ok(open)
    }

    fn joined(&mut self, item: &TableWithJoins) -> Result<Open, String> {
        let mut left = self.factor(&item.relation)?;
        for Join {
            relation,
            join_operator,
            ..
        } in &item.joins
        {
            let right = self.factor(relation)?;
            let (constraint, filled_left, filled_right) = match join_operator {
                JoinOperator::Join(on) | JoinOperator::Inner(on) | JoinOperator::CrossJoin(on) => {
                    (on, false, false)
                }
                JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (on, false, true),
                JoinOperator::Right(on) | JoinOperator::RightOuter(on) => (on, true, false),
                JoinOperator::FullOuter(on) => (on, true, true),
                _ => return Err("a join of another kind".to_owned()),
            };
            let on = match constraint {
                JoinConstraint::On(on) => Some(on),
                _ => None,
            };
            // A condition in ON holds rows back on the side that it may leave without a partner.
            let (kept, filled) = match (filled_left, filled_right) {
                (false, false) => {
                    left.extend(right);
                    left = self.unmet(left, on);
                    continue;
                }
                (false, true) => (left, self.unmet(right, on)),
                (true, false) => (right, self.unmet(left, on)),
                (true, true) => (Open::new(), [left, right].concat()),
            };
            // Behind an outer join it would also take away the rows that were filled.
            if let Some(table) = filled.first() {
                return Err(format!("{table:?} has no condition in its outer join"));
            }
            left = kept;
        }
        Ok(left)
    }

    fn factor(&mut self, factor: &TableFactor) -> Result<Open, String> {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args,
                sample,
                ..
            } => {
                self.checked += 1;
                if args.is_some() {
                    return match is_function(name) {
                        true => Ok(Open::new()),
                        false => Err(format!("the function {name}")),
                    };
                }
                if sample.is_some() {
                    return Err("TABLESAMPLE".to_owned());
                }
                if !self.is_of_tenants(name)? {
                    return Ok(Open::new());
                }
                if alias
                    .as_ref()
                    .is_some_and(|alias| !alias.columns.is_empty())
                {
                    return Err("a table of tenants with other columns".to_owned());
                }
                Ok(vec![called(name, alias.as_ref())?])
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias,
            } => {
                let open = self.joined(table_with_joins)?;
                match alias.is_some() && !open.is_empty() {
                    true => Err(format!("{open:?} behind an alias")),
                    false => Ok(open),
                }
            }
            TableFactor::Function { name, .. } => match is_function(name) {
                true => Ok(Open::new()),
                false => Err(format!("the function {name}")),
            },
            TableFactor::Derived { .. } | TableFactor::UNNEST { .. } => Ok(Open::new()),
            _ => Err("a table of another kind".to_owned()),
        }
    }

    fn target(&mut self, factor: &TableFactor) -> Result<Open, String> {
        let TableFactor::Table { name, alias, .. } = factor else {
            return Err("a target of another kind".to_owned());
        };
        self.checked += 1;
        self.is_table(name)?;
        Ok(vec![called(name, alias.as_ref())?])
    }

    fn insert(&mut self, insert: &Insert) -> Result<(), String> {
        let TableObject::TableName(name) = &insert.table else {
            return Err("a target of another kind".to_owned());
        };
        self.checked += 1;
        self.is_table(name)?;
        let tenants = insert
            .columns
            .iter()
            .filter(|column| is_tenant(column))
            .count();
        if tenants != 1 || !insert.columns.last().is_some_and(is_tenant) {
            return Err("the tenant is not the last column".to_owned());
        }
        let source = insert.source.as_ref().ok_or("no rows")?;
        self.stamped(&source.body)?;
        match &insert.on {
            None => Ok(()),
            Some(OnInsert::OnConflict(conflict)) => match &conflict.action {
                OnConflictAction::DoNothing => Ok(()),
                OnConflictAction::DoUpdate(update) => {
                    for assignment in &update.assignments {
                        check_assigned(&assignment.target)?;
                    }
                    let name = match &insert.table_alias {
                        Some(alias) => folded(&alias.alias),
                        None => parts(name)?.pop().ok_or("no name")?,
                    };
                    self.closed(vec![vec![name]], update.selection.as_ref())
                }
            },
            Some(_) => Err("another clause of conflict".to_owned()),
        }
    }

    /// Checks that the last of each row is the tenant.
    fn stamped(&self, body: &SetExpr) -> Result<(), String> {
        match body {
            SetExpr::Select(select) => match select.projection.last() {
                Some(SelectItem::UnnamedExpr(last)) if self.is_argument(last) => Ok(()),
                _ => Err("rows without the tenant".to_owned()),
            },
            SetExpr::Query(query) => self.stamped(&query.body),
            SetExpr::SetOperation { left, right, .. } => {
                self.stamped(left)?;
                self.stamped(right)
            }
            SetExpr::Values(values) => {
                let is_stamped =
                    |row: &Vec<Expr>| row.last().is_some_and(|last| self.is_argument(last));
                match values.rows.iter().all(|row| is_stamped(&row.content)) {
                    true => Ok(()),
                    false => Err("values without the tenant".to_owned()),
                }
            }
            _ => Err("rows of another kind".to_owned()),
        }
    }

    fn merge(&mut self, merge: &Merge) -> Result<(), String> {
        let target = self.target(&merge.table)?;
        // A row that matches nothing is inserted: ON does not hold the source back.
        if let Some(source) = self.factor(&merge.source)?.first() {
            return Err(format!("the source {source:?} has all tenants"));
        }
        self.closed(target, Some(&merge.on))?;
        for clause in &merge.clauses {
            match &clause.action {
                MergeAction::Update(update) => {
                    let sqlparser::ast::MergeUpdateKind::Set(assignments) = &update.kind else {
                        return Err("an update of another kind".to_owned());
                    };
                    for assignment in assignments {
                        check_assigned(&assignment.target)?;
                    }
                }
                MergeAction::Insert(insert) => {
                    let MergeInsertKind::Values(values) = &insert.kind else {
                        return Err("an insert of another kind".to_owned());
                    };
                    let last = insert.columns.last().map(parts).transpose()?;
                    let has_tenant = last
                        .is_some_and(|path| path.last().is_some_and(|name| name == "tenant_id"));
                    let is_stamped =
                        |row: &Vec<Expr>| row.last().is_some_and(|last| self.is_argument(last));
                    // PostgreSQL refuses a row of more values or fewer than there are columns.
                    if !has_tenant || !values.rows.iter().all(|row| is_stamped(&row.content)) {
                        return Err("a merged row without the tenant".to_owned());
                    }
                }
                MergeAction::Delete { .. } | MergeAction::DoNothing { .. } => {}
            }
        }
        Ok(())
    }

    fn closed(&self, open: Open, condition: Option<&Expr>) -> Result<(), String> {
        match self.unmet(open, condition).first() {
            None => Ok(()),
            Some(table) => Err(format!("{table:?} has no condition")),
        }
    }

    /// Returns the tables whose condition is not among those that all have to hold.
    fn unmet(&self, open: Open, condition: Option<&Expr>) -> Open {
        let mut met = Vec::new();
        if let Some(condition) = condition {
            self.conditions(condition, &mut met);
        }
        open.into_iter()
            .filter(|table| !met.contains(table))
            .collect()
    }

    fn conditions(&self, condition: &Expr, met: &mut Open) {
        match condition {
            Expr::BinaryOp {
                left,
                op: BinaryOperator::And,
                right,
            } => {
                self.conditions(left, met);
                self.conditions(right, met);
            }
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Eq,
                right,
            } if self.is_argument(right) => {
                if let Expr::CompoundIdentifier(path) = &**left {
                    let mut path: Vec<String> = path.iter().map(folded).collect();
                    if path.pop().is_some_and(|column| column == "tenant_id") {
                        met.push(path);
                    }
                }
            }
            _ => {}
        }
    }

    fn is_argument(&self, expression: &Expr) -> bool {
        matches!(expression, Expr::Value(value) if matches!(&value.value, Value::Placeholder(name) if name == self.tenant))
    }

    /// Says whether a name is that of a table of tenants, and not of a common table expression or a
    /// table of the platform.
    fn is_of_tenants(&self, name: &ObjectName) -> Result<bool, String> {
        let path = parts(name)?;
        if let [name] = &path[..]
            && self.seen.last().is_some_and(|seen| seen.contains(name))
        {
            return Ok(false);
        }
        match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["editions"] | ["public", "editions"] => Ok(false),
            ["billing", "a"] => Ok(true),
            [name] | ["public", name] if TABLES.contains(&name) => Ok(true),
            _ => Err(format!("the relation {name} is within reach")),
        }
    }

    fn is_table(&self, name: &ObjectName) -> Result<(), String> {
        let path = parts(name)?;
        match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["billing", "a"] => Ok(()),
            [name] | ["public", name] if TABLES.contains(&name) => Ok(()),
            _ => Err(format!("a write to {name}")),
        }
    }
}

fn is_function(name: &ObjectName) -> bool {
    parts(name).is_ok_and(|path| matches!(&path[..], [name] if FUNCTIONS.contains(&&**name)))
}

fn is_tenant(column: &ObjectName) -> bool {
    parts(column).is_ok_and(|path| path.iter().any(|part| part == "tenant_id"))
}

fn check_assigned(target: &AssignmentTarget) -> Result<(), String> {
    let columns = match target {
        AssignmentTarget::ColumnName(column) => std::slice::from_ref(column),
        AssignmentTarget::Tuple(columns) => columns,
    };
    match columns.iter().any(is_tenant) {
        true => Err("the tenant is written".to_owned()),
        false => Ok(()),
    }
}

/// Returns the name by which a table is called in conditions.
fn called(name: &ObjectName, alias: Option<&TableAlias>) -> Result<Vec<String>, String> {
    match alias {
        Some(alias) => Ok(vec![folded(&alias.name)]),
        None => parts(name),
    }
}

fn parts(name: &ObjectName) -> Result<Vec<String>, String> {
    name.0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(ident) => Ok(folded(ident)),
            ObjectNamePart::Function(_) => Err(format!("the name {name}")),
        })
        .collect()
}

/// Returns what PostgreSQL reads for a name.
fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_without_its_tenant_is_noticed() {
        for (sql, because) in [
            ("select * from a", "no condition"),
            (
                "select * from a where a.tenant_id = $1 or true",
                "no condition",
            ),
            ("select * from a where a.tenant_id = $2", "no condition"),
            ("select * from a x where a.tenant_id = $1", "no condition"),
            ("select * from a where not a.tenant_id = $1", "no condition"),
            ("select * from a, b where a.tenant_id = $1", "no condition"),
            (
                "select * from a left join b on true where a.tenant_id = $1",
                "outer join",
            ),
            (
                "select * from a left join b on a.tenant_id = $1 and b.tenant_id = $1",
                "no condition",
            ),
            (
                "select * from a left join b on true where a.tenant_id = $1 and b.tenant_id = $1",
                "outer join",
            ),
            (
                "select * from a full join b on a.tenant_id = $1 and b.tenant_id = $1",
                "outer join",
            ),
            (
                "select (select count(*) from b) from a where a.tenant_id = $1",
                "no condition",
            ),
            (
                "with a as (select * from a) select * from a",
                "no condition",
            ),
            (
                "with t as (select * from u), u as (select 1) select * from t",
                "within reach",
            ),
            ("select * from loose", "within reach"),
            ("select pg_sleep(1)", "the function"),
            ("update a set n = 1", "no condition"),
            (
                "update a set tenant_id = $1 where a.tenant_id = $1",
                "is written",
            ),
            (
                "delete from a using b where a.tenant_id = $1",
                "no condition",
            ),
            ("insert into a (id) values (1)", "last column"),
            (
                "insert into a (id, tenant_id) values (1, $1), (2, $2)",
                "without the tenant",
            ),
            (
                "insert into a (id, tenant_id) select 1, $1 union select 2, 3",
                "without the tenant",
            ),
            (
                "insert into a (id, tenant_id) values (1, $1) on conflict (id) do update set n = 1",
                "no condition",
            ),
            (
                "merge into a using b on a.tenant_id = $1 and b.tenant_id = $1 when matched then delete",
                "all tenants",
            ),
        ] {
            let wrong = check(sql, "$1").expect_err(sql);
            assert!(wrong.contains(because), "{wrong}: {sql}");
        }
    }

    #[test]
    fn a_tenant_in_its_place_is_enough() {
        for sql in [
            "select 1",
            "select * from a where a.tenant_id = $1",
            "select * from a x left join b on b.tenant_id = $1 and (true) where x.tenant_id = $1",
            "with recursive a as (select 1 union select * from a) select * from a",
            "with t as (select * from a where a.tenant_id = $1), a as (select 1) select * from a, t",
        ] {
            assert_eq!(check(sql, "$1"), Ok(()), "{sql}");
        }
    }

    #[test]
    fn no_seed_is_a_finding() {
        let placement = Placement::new();
        let mut agreed = 0;
        for file in std::fs::read_dir("seeds/postgres").unwrap() {
            let path = file.unwrap().path();
            let sql = std::fs::read_to_string(&path).unwrap();
            match placement.judge(&sql) {
                Ok(Verdict::Agreed) => agreed += 1,
                Ok(_) => println!("refused: {sql}"),
                Err(finding) => panic!("{}: {finding}", path.display()),
            }
        }
        assert!(agreed > 50, "{agreed}");
    }
}
