//! Expressions: nothing is changed in them but the sub-queries they hold.

use sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArguments, Ident, JsonReturningClause, ObjectName,
    ObjectNamePart, Subscript, Value, WindowFrameBound, WindowSpec, WindowType,
};

use super::Rewriter;
use crate::backend::Dialect;
use crate::guard::refusal::Refusal;
use crate::guard::source::Kind;

impl Rewriter<'_> {
    pub(super) fn expressions(&mut self, expressions: &mut [Expr]) -> Result<(), Refusal> {
        expressions
            .iter_mut()
            .try_for_each(|expression| self.expression(expression))
    }

    pub(super) fn expression(&mut self, expression: &mut Expr) -> Result<(), Refusal> {
        self.seen.expressions += 1;
        match expression {
            Expr::CompoundIdentifier(path) => {
                self.longest_path = self.longest_path.max(path.len());
                path[1..].iter().try_for_each(|part| self.check_field(part))
            }
            Expr::Identifier(_)
            | Expr::TypedString(_)
            | Expr::Wildcard(_)
            | Expr::QualifiedWildcard(..) => Ok(()),
            Expr::Value(value) => {
                if let Value::Placeholder(written) = &mut value.value {
                    let token = self.source.at(value.span.start)?;
                    self.number_argument(token, written)?;
                }
                Ok(())
            }
            Expr::IsFalse(inner)
            | Expr::IsNotFalse(inner)
            | Expr::IsTrue(inner)
            | Expr::IsNotTrue(inner)
            | Expr::IsNull(inner)
            | Expr::IsNotNull(inner)
            | Expr::IsUnknown(inner)
            | Expr::IsNotUnknown(inner)
            | Expr::Nested(inner)
            | Expr::IsNormalized { expr: inner, .. }
            | Expr::IsJson { expr: inner, .. }
            | Expr::Cast {
                expr: inner,
                format: None,
                ..
            }
            | Expr::Extract { expr: inner, .. }
            | Expr::Collate { expr: inner, .. }
            | Expr::UnaryOp { expr: inner, .. } => self.expression(inner),
            Expr::Ceil { expr: inner, .. } => {
                // `ceiling` is the same to the parser.
                self.check_named("ceil")?;
                self.check_named("ceiling")?;
                self.expression(inner)
            }
            Expr::Floor { expr: inner, .. } => {
                self.check_named("floor")?;
                self.expression(inner)
            }
            Expr::IsDistinctFrom(left, right)
            | Expr::IsNotDistinctFrom(left, right)
            | Expr::AtTimeZone {
                timestamp: left,
                time_zone: right,
            }
            | Expr::Position {
                expr: left,
                r#in: right,
            } => {
                self.expression(left)?;
                self.expression(right)
            }
            Expr::AnyOp {
                left,
                compare_op: op,
                right,
                ..
            }
            | Expr::AllOp {
                left,
                compare_op: op,
                right,
            }
            | Expr::BinaryOp { left, op, right } => {
                check_operator(op)?;
                // Those of JSON.
                if matches!(op, BinaryOperator::Arrow | BinaryOperator::LongArrow)
                    && self.catalog.operators_may_fail()
                {
                    self.fallible.saw(|| format!("the operator {op}"));
                }
                self.expression(left)?;
                self.expression(right)
            }
            Expr::InList { expr, list, .. } => {
                self.expression(expr)?;
                self.expressions(list)
            }
            Expr::InSubquery { expr, subquery, .. } => {
                self.expression(expr)?;
                self.query(subquery)
            }
            Expr::Exists { subquery, .. } | Expr::Subquery(subquery) => self.query(subquery),
            Expr::Between {
                expr, low, high, ..
            } => {
                self.expression(expr)?;
                self.expression(low)?;
                self.expression(high)
            }
            // To SQLite the word would be a function.
            Expr::Like { any: true, .. } | Expr::ILike { any: true, .. }
                if self.catalog.database == Dialect::Sqlite =>
            {
                Err(other_dialect())
            }
            Expr::Like {
                expr,
                pattern,
                escape_char,
                ..
            }
            | Expr::ILike {
                expr,
                pattern,
                escape_char,
                ..
            }
            | Expr::SimilarTo {
                expr,
                pattern,
                escape_char,
                ..
            } => {
                // Too long a pattern is refused, and more than one letter to escape by.
                let is_fixed = |expression: &Expr| matches!(expression, Expr::Value(_));
                if self.catalog.operators_may_fail()
                    && !(is_fixed(pattern) && escape_char.as_deref().is_none_or(is_fixed))
                {
                    self.fallible.saw(|| "LIKE by a column".to_owned());
                }
                self.expression(expr)?;
                self.expression(pattern)?;
                self.maybe(escape_char.as_deref_mut())
            }
            Expr::Substring {
                expr,
                substring_from,
                substring_for,
                ..
            } => {
                self.check_named("substring")?;
                if self.catalog.database == Dialect::Sqlite {
                    self.check_named("substr")?;
                }
                self.expression(expr)?;
                self.maybe(substring_from.as_deref_mut())?;
                self.maybe(substring_for.as_deref_mut())
            }
            Expr::Trim {
                trim_what,
                expr,
                trim_characters,
                ..
            } => {
                self.maybe(trim_what.as_deref_mut())?;
                self.expression(expr)?;
                match trim_characters {
                    Some(characters) => self.expressions(characters),
                    None => Ok(()),
                }
            }
            Expr::Overlay {
                expr,
                overlay_what,
                overlay_from,
                overlay_for,
            } => {
                self.expression(expr)?;
                self.expression(overlay_what)?;
                self.expression(overlay_from)?;
                self.maybe(overlay_for.as_deref_mut())
            }
            Expr::Case {
                operand,
                conditions,
                else_result,
                ..
            } => {
                self.maybe(operand.as_deref_mut())?;
                for when in conditions {
                    self.expression(&mut when.condition)?;
                    self.expression(&mut when.result)?;
                }
                self.maybe(else_result.as_deref_mut())
            }
            Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) => {
                sets.iter_mut().try_for_each(|set| self.expressions(set))
            }
            Expr::Tuple(expressions) => self.expressions(expressions),
            Expr::Array(array) => self.expressions(&mut array.elem),
            Expr::Interval(interval) => self.expression(&mut interval.value),
            Expr::CompoundFieldAccess { root, access_chain } => {
                self.expression(root)?;
                access_chain
                    .iter_mut()
                    .try_for_each(|access| self.access(access))
            }
            Expr::Function(function) => self.function(function),
            _ => Err(other_dialect()),
        }
    }

    fn maybe(&mut self, expression: Option<&mut Expr>) -> Result<(), Refusal> {
        expression.map_or(Ok(()), |expression| self.expression(expression))
    }

    /// Gives a `?` the number that it has by its place: the tenant's argument may come before it.
    fn number_argument(&mut self, token: usize, written: &mut String) -> Result<(), Refusal> {
        match self.source.place(token)?.kind {
            Kind::Unnumbered(number) => {
                *written = format!("?{number}");
                self.replace(token, token, written.clone())
            }
            Kind::Argument(_) => Ok(()),
            _ => Err(Refusal::unplaced()),
        }
    }

    fn access(&mut self, access: &mut AccessExpr) -> Result<(), Refusal> {
        match access {
            AccessExpr::Dot(field) => {
                if let Expr::Identifier(field) = field {
                    self.check_field(field)?;
                }
                self.expression(field)
            }
            AccessExpr::Subscript(Subscript::Index { index }) => self.expression(index),
            AccessExpr::Subscript(Subscript::Slice {
                lower_bound,
                upper_bound,
                stride,
            }) => {
                self.maybe(lower_bound.as_mut())?;
                self.maybe(upper_bound.as_mut())?;
                self.maybe(stride.as_mut())
            }
        }
    }

    fn function(&mut self, function: &mut Function) -> Result<(), Refusal> {
        let Function {
            name,
            uses_odbc_syntax,
            parameters,
            args,
            within_group,
            filter,
            null_treatment: _,
            over,
        } = function;
        if *uses_odbc_syntax || !matches!(parameters, FunctionArguments::None) {
            return Err(other_function());
        }
        if self.catalog.may_fail(name) {
            self.fallible.saw(|| format!("the function {name}"));
        }
        match args {
            // A keyword of SQL, such as CURRENT_DATE.
            FunctionArguments::None => self.check_function(name)?,
            FunctionArguments::Subquery(query) => {
                if !name.to_string().eq_ignore_ascii_case("array") {
                    self.check_function(name)?;
                }
                self.query(query)?;
            }
            FunctionArguments::List(list) => {
                self.check_function(name)?;
                for argument in &mut list.args {
                    self.function_argument(argument)?;
                }
                for clause in &mut list.clauses {
                    match clause {
                        FunctionArgumentClause::OrderBy(sorts) => self.sorts(sorts)?,
                        FunctionArgumentClause::IgnoreOrRespectNulls(_)
                        | FunctionArgumentClause::JsonNullClause(_)
                        | FunctionArgumentClause::JsonReturningClause(JsonReturningClause {
                            ..
                        }) => {}
                        _ => return Err(other_function()),
                    }
                }
            }
        }
        self.sorts(within_group)?;
        self.maybe(filter.as_deref_mut())?;
        match over {
            Some(WindowType::WindowSpec(window)) => self.window(window),
            Some(WindowType::NamedWindow(_)) | None => Ok(()),
        }
    }

    pub(super) fn function_argument(&mut self, argument: &mut FunctionArg) -> Result<(), Refusal> {
        let argument = match argument {
            FunctionArg::Unnamed(argument) | FunctionArg::Named { arg: argument, .. } => argument,
            // `name => value`
            FunctionArg::ExprNamed {
                name: name @ Expr::Identifier(_),
                arg: argument,
                ..
            } => {
                self.expression(name)?;
                argument
            }
            FunctionArg::ExprNamed { .. } => return Err(other_function()),
        };
        match argument {
            FunctionArgExpr::Expr(expression) => self.expression(expression),
            FunctionArgExpr::Wildcard | FunctionArgExpr::QualifiedWildcard(_) => Ok(()),
            FunctionArgExpr::WildcardWithOptions(_) => Err(other_function()),
        }
    }

    pub(super) fn window(&mut self, window: &mut WindowSpec) -> Result<(), Refusal> {
        self.expressions(&mut window.partition_by)?;
        self.sorts(&mut window.order_by)?;
        if let Some(frame) = &mut window.window_frame {
            self.bound(&mut frame.start_bound)?;
            if let Some(end) = &mut frame.end_bound {
                self.bound(end)?;
            }
        }
        Ok(())
    }

    fn bound(&mut self, bound: &mut WindowFrameBound) -> Result<(), Refusal> {
        match bound {
            WindowFrameBound::CurrentRow => Ok(()),
            WindowFrameBound::Preceding(distance) | WindowFrameBound::Following(distance) => {
                self.maybe(distance.as_deref_mut())
            }
        }
    }

    fn check_named(&self, name: &str) -> Result<(), Refusal> {
        let name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]);
        self.check_function(&name)
    }

    /// Refuses what looks like a column and may be a function.
    fn check_field(&self, field: &Ident) -> Result<(), Refusal> {
        match self.catalog.is_row_function(field)? {
            false => Ok(()),
            true => Err(Refusal::new(
                format!(
                    "the name {} behind a row, which is a function's too",
                    field.value
                ),
                "give the column another name, or call the function by its name if the guard lets \
                 it pass",
            )),
        }
    }

    /// Refuses a function in the place of a table that is not known to make its rows by itself.
    pub(super) fn check_table_function(&self, name: &ObjectName) -> Result<(), Refusal> {
        match self.catalog.allows_table_function(name)? {
            true => Ok(()),
            false => Err(Refusal::unknown(
                format!("the function {name} in FROM"),
                "it is not known to leave tables and files alone",
            )),
        }
    }

    /// Refuses a function that is not known to look at its arguments alone.
    pub(super) fn check_function(&self, name: &ObjectName) -> Result<(), Refusal> {
        if self.catalog.allows_function(name)? {
            return Ok(());
        }
        let shown = name.to_string();
        Err(Refusal::unknown(
            format!("the function {shown}"),
            match self.catalog.database {
                Dialect::Postgres => {
                    "there is none, or it is not known to leave tables, files and sessions alone: if \
                     it does, name it as schema.name by with_trusted_function"
                }
                Dialect::Sqlite => {
                    "SQLite has none, or it is not known to leave tables and files alone: write one of \
                     SQLite's own"
                }
            },
        ))
    }
}

fn other_dialect() -> Refusal {
    Refusal::new(
        "an expression of another dialect",
        "write it as this database does",
    )
}

/// An operator with a schema may be anybody's function.
fn check_operator(operator: &BinaryOperator) -> Result<(), Refusal> {
    match operator {
        BinaryOperator::PGCustomBinaryOperator(path)
            if path.first().map(String::as_str) != Some("pg_catalog") =>
        {
            Err(Refusal::new(
                "an operator of a schema of its own",
                "write OPERATOR(pg_catalog.…), or the operator alone",
            ))
        }
        _ => Ok(()),
    }
}

fn other_function() -> Refusal {
    Refusal::new(
        "a function call of another dialect",
        "write it as this database does",
    )
}
