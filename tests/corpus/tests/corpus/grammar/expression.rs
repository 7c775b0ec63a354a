//! Expressions of a wanted kind over the columns in sight.

use super::{Column, Grammar, Kind, MARK};

impl Grammar<'_> {
    /// Returns the columns in sight, innermost query first, as they are written.
    fn visible(&self) -> Vec<Column> {
        let mut columns = Vec::new();
        let mut aliases: Vec<&str> = Vec::new();
        for scope in self.scopes.iter().rev().filter(|scope| !scope.closed) {
            let mut here = Vec::new();
            for relation in &scope.relations[scope.hidden.min(scope.relations.len())..] {
                // An alias of an inner query hides the same of an outer one.
                if aliases.contains(&relation.alias.as_str()) {
                    continue;
                }
                here.push(relation.alias.as_str());
                columns.extend(relation.columns.iter().map(|column| Column {
                    name: format!("{}.{}", relation.alias, column.name),
                    kind: column.kind,
                }));
            }
            aliases.extend(
                scope
                    .relations
                    .iter()
                    .map(|relation| relation.alias.as_str()),
            );
        }
        columns
    }

    pub(super) fn column(&mut self, kind: Kind) -> Option<String> {
        let columns = self.visible();
        let fitting: Vec<_> = columns
            .iter()
            .filter(|column| column.kind == kind)
            .collect();
        if fitting.is_empty() {
            return None;
        }
        let name = self.choices.of(&fitting).name.clone();
        // Without its relation where it cannot be taken for another.
        let bare = name.rsplit('.').next().unwrap_or_default().to_owned();
        let same = columns
            .iter()
            .filter(|column| column.name.ends_with(&format!(".{bare}")));
        if same.count() == 1 && self.choices.chance(30) {
            return Some(bare);
        }
        Some(name)
    }

    pub(super) fn expression(&mut self, kind: Kind, depth: usize) -> String {
        if depth == 0 || !self.choices.chance(35) {
            return match self.column(kind) {
                Some(column) if !self.choices.chance(8) => column,
                _ => self.literal(kind),
            };
        }
        let depth = depth - 1;
        match self.choices.below(4) {
            0 => self.operation(kind, depth),
            1 => {
                let condition = self.condition(depth);
                let (yes, no) = (self.expression(kind, depth), self.expression(kind, depth));
                format!("case when {condition} then {yes} else {no} end")
            }
            2 => {
                let (first, second) = (self.expression(kind, depth), self.expression(kind, depth));
                format!("coalesce({first}, {second})")
            }
            _ => self.scalar_query(kind, depth),
        }
    }

    fn operation(&mut self, kind: Kind, depth: usize) -> String {
        match kind {
            Kind::Int => {
                let (left, right) = (self.expression(kind, depth), self.expression(kind, depth));
                match self.choices.below(4) {
                    0 => format!("({left} + {right})"),
                    1 => format!("({left} - {right})"),
                    2 => format!("length({})", self.expression(Kind::Text, depth)),
                    _ => format!("abs({left})"),
                }
            }
            Kind::Text => {
                let (left, right) = (self.expression(kind, depth), self.expression(kind, depth));
                match self.choices.below(4) {
                    0 => format!("({left} || {right})"),
                    1 => format!("upper({left})"),
                    2 => format!("nullif({left}, {right})"),
                    _ => format!("cast({} as text)", self.expression(Kind::Int, depth)),
                }
            }
            Kind::Numeric => {
                let (left, right) = (self.expression(kind, depth), self.expression(kind, depth));
                match self.choices.below(2) {
                    0 => format!("({left} * {right})"),
                    _ => format!("round({left}, 1)"),
                }
            }
            Kind::Bool => format!("({})", self.condition(depth)),
            Kind::Json => match self.choices.below(2) {
                0 => format!(
                    "jsonb_build_object('k', {})",
                    self.expression(Kind::Int, depth)
                ),
                _ => format!("to_jsonb({})", self.expression(Kind::Text, depth)),
            },
            Kind::Ints => match self.choices.below(2) {
                0 => format!("array[{}, 7]", self.expression(Kind::Int, depth)),
                _ => {
                    let (query, _) = self.sub_query(&[Kind::Int], depth);
                    format!("array(select x from ({query}) z (x) order by 1)")
                }
            },
            Kind::Date if self.is_postgres() => format!("({} + 1)", self.expression(kind, depth)),
            Kind::Uuid if !self.is_postgres() => "tenant_id".to_owned(),
            Kind::Date | Kind::Uuid => self.expression(kind, 0),
        }
    }

    /// A sub-query that answers one row.
    fn scalar_query(&mut self, kind: Kind, depth: usize) -> String {
        if matches!(kind, Kind::Int | Kind::Text | Kind::Date | Kind::Numeric)
            && self.choices.below(2) == 0
        {
            let function = *self.choices.of(&["max", "min"]);
            let (query, columns) = self.sub_query(&[kind], depth);
            let name = &columns[0].name;
            return format!("(select {function}({name}) from ({query}) s)");
        }
        let (query, _) = self.sub_query(&[kind], depth);
        if self.choices.chance(50) {
            return format!("(select x.* from ({query}) x order by 1 limit 1)");
        }
        format!("({query} order by 1 limit 1)")
    }

    /// A query that may refer to the ones around it, and has no order or limit of its own.
    pub(super) fn sub_query(&mut self, kinds: &[Kind], depth: usize) -> (String, Vec<Column>) {
        self.inner += 1;
        let query = self.select(Some(kinds), depth.min(1));
        self.inner -= 1;
        query
    }

    pub(super) fn literal(&mut self, kind: Kind) -> String {
        if self.choices.chance(6) {
            return match (kind, self.is_postgres()) {
                (_, false) => "null".to_owned(),
                (Kind::Int, true) => "null::int".to_owned(),
                (Kind::Text, true) => "null::text".to_owned(),
                (Kind::Numeric, true) => "null::numeric".to_owned(),
                (Kind::Date, true) => "null::date".to_owned(),
                (Kind::Bool, true) => "null::boolean".to_owned(),
                (Kind::Uuid, true) => "null::uuid".to_owned(),
                (Kind::Json, true) => "null::jsonb".to_owned(),
                (Kind::Ints, true) => "null::int[]".to_owned(),
            };
        }
        if matches!(kind, Kind::Int | Kind::Text) && self.choices.chance(15) {
            return self.argument(kind);
        }
        let postgres = self.is_postgres();
        match kind {
            Kind::Int => self
                .choices
                .of(&["1", "2", "0", "3", "5", "21", "-1"])
                .to_string(),
            Kind::Text => {
                let plain = [
                    "'ada'",
                    "'bob'",
                    "''",
                    "'red'",
                    "'it''s'",
                    "'where $1'",
                    "'open'",
                ];
                if postgres && self.choices.chance(10) {
                    return self
                        .choices
                        .of(&["$$a'b$$", "$q$tenant_id$q$", "E'a\\'b'", "U&'d'"])
                        .to_string();
                }
                self.choices.of(&plain).to_string()
            }
            Kind::Numeric => self.choices.of(&["1.5", "0.0", "2", "3.25"]).to_string(),
            Kind::Date if postgres => self
                .choices
                .of(&["date '2001-01-11'", "'2024-02-12'::date"])
                .to_string(),
            Kind::Date => self
                .choices
                .of(&["'2001-01-11'", "'2024-02-12'"])
                .to_string(),
            Kind::Bool if postgres => self.choices.of(&["true", "false"]).to_string(),
            Kind::Bool => self.choices.of(&["1", "0"]).to_string(),
            Kind::Uuid if postgres => self
                .choices
                .of(&[
                    "'aaaaaaaa-0000-4000-8000-000000000001'::uuid",
                    "uuid 'aaaaaaaa-0000-4000-8000-000000000002'",
                    "'cccccccc-0000-4000-8000-000000000001'::uuid",
                ])
                .to_string(),
            Kind::Uuid => self
                .choices
                .of(&[
                    "x'aaaaaaaa000040008000000000000001'",
                    "x'aaaaaaaa000040008000000000000002'",
                ])
                .to_string(),
            Kind::Json => self
                .choices
                .of(&["'{\"n\": 1}'::jsonb", "'[1]'::jsonb", "'null'::jsonb"])
                .to_string(),
            Kind::Ints => self
                .choices
                .of(&["'{1,2}'::int[]", "array[1]", "'{}'::int[]"])
                .to_string(),
        }
    }

    fn argument(&mut self, kind: Kind) -> String {
        if !self.arguments.is_empty() && self.choices.chance(20) && kind == Kind::Int {
            // The same argument once more, where it is of the kind.
            if let Some(index) = self.arguments.iter().position(|argument| {
                argument
                    .as_ref()
                    .is_some_and(|text| text.parse::<i32>().is_ok())
            }) {
                return self.placeholder(index, kind);
            }
        }
        let value = match kind {
            Kind::Int => *self.choices.of(&["1", "2", "3", "21"]),
            _ => *self.choices.of(&["ada", "open", "bob", "x"]),
        };
        self.arguments.push(Some(value.to_owned()));
        self.placeholder(self.arguments.len() - 1, kind)
    }

    fn placeholder(&self, number: usize, kind: Kind) -> String {
        match (self.is_postgres(), kind) {
            (true, Kind::Int) => format!("{MARK}{number}{MARK}::int"),
            (true, _) => format!("{MARK}{number}{MARK}::text"),
            (false, Kind::Int) => format!("cast({MARK}{number}{MARK} as integer)"),
            (false, _) => format!("{MARK}{number}{MARK}"),
        }
    }

    pub(super) fn condition(&mut self, depth: usize) -> String {
        if depth > 0 && self.choices.chance(30) {
            let depth = depth - 1;
            return match self.choices.below(3) {
                0 => format!("{} and {}", self.condition(depth), self.condition(depth)),
                1 => format!("({} or {})", self.condition(depth), self.condition(depth)),
                _ => format!("not ({})", self.condition(depth)),
            };
        }
        if depth > 0 && self.choices.chance(35) {
            return self.condition_on_query(depth - 1);
        }
        let kind = self.any_kind();
        let left = self.expression(kind, depth);
        match self.choices.below(7) {
            0 | 1 => {
                let right = self.expression(kind, depth);
                format!("{left} = {right}")
            }
            2 => {
                let right = self.expression(kind, depth);
                let operator = *self.choices.of(&["<", ">=", "<>", "is distinct from"]);
                format!("{left} {operator} {right}")
            }
            3 => format!("{left} is not null"),
            4 => format!("{left} is null"),
            5 => {
                let (first, second) = (self.literal(kind), self.expression(kind, 0));
                format!("{left} in ({first}, {second})")
            }
            _ => {
                let left = self.expression(Kind::Int, depth);
                let not = if self.choices.chance(30) { "not " } else { "" };
                format!("{left} {not}between 1 and 4")
            }
        }
    }

    fn condition_on_query(&mut self, depth: usize) -> String {
        let kind = *self.choices.of(&[Kind::Int, Kind::Text]);
        let choice = self.choices.below(if self.is_postgres() { 8 } else { 5 });
        match choice {
            0 | 1 => {
                let not = if self.choices.chance(40) { "not " } else { "" };
                let (query, _) = self.sub_query(&[kind], depth);
                format!("{not}exists ({query})")
            }
            2 | 3 => {
                let left = self.expression(kind, 0);
                let not = if self.choices.chance(40) { "not " } else { "" };
                let (query, _) = self.sub_query(&[kind], depth);
                format!("{left} {not}in ({query})")
            }
            4 => {
                let (first, second) = (self.expression(Kind::Int, 0), self.expression(kind, 0));
                let (query, _) = self.sub_query(&[Kind::Int, kind], depth);
                format!("({first}, {second}) in ({query})")
            }
            5 => {
                let left = self.expression(Kind::Int, 0);
                let (query, _) = self.sub_query(&[Kind::Int], depth);
                format!("{left} = any ({query})")
            }
            6 => {
                let left = self.expression(Kind::Int, 0);
                let (query, _) = self.sub_query(&[Kind::Int], depth);
                format!("{left} > all ({query})")
            }
            _ => {
                let left = self.expression(kind, 0);
                let (query, _) = self.sub_query(&[kind], depth);
                format!("{left} = any (array({query}))")
            }
        }
    }
}
