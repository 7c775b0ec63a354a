//! Queries: SELECT and all that stands around and inside it.

use super::{Column, Grammar, Kind, Relation, Scope, TABLES};

impl Grammar<'_> {
    /// A whole query. At the top of a statement it may be anything that answers rows.
    pub(super) fn query(&mut self, kinds: Option<&[Kind]>, top: bool) -> (String, Vec<Column>) {
        let seen = self.ctes.len();
        let with = if self.choices.chance(25) {
            self.with(top)
        } else {
            String::new()
        };
        let depth = 2;
        let (mut text, columns) = match self.choices.below(12) {
            0..8 => self.select(kinds, depth),
            8 | 9 => self.set_operation(kinds, depth),
            10 if kinds.is_none() && self.is_postgres() => self.table_command(),
            11 => self.values(kinds),
            _ => self.select(kinds, depth),
        };
        // SQLite has no order after VALUES.
        let closed = self.closed || (!self.is_postgres() && text.starts_with("values"));
        if !closed && self.choices.chance(25) {
            text += &self.total_order(columns.len());
        }
        self.ctes.truncate(seen);
        (format!("{with}{text}"), columns)
    }

    /// By all columns, so that a limit always takes the same rows.
    fn total_order(&mut self, columns: usize) -> String {
        let mut keys = Vec::new();
        for column in 1..=columns {
            let how = *self
                .choices
                .of(&["", " desc", " nulls first", " desc nulls last"]);
            keys.push(format!("{column}{how}"));
        }
        let order = format!(" order by {}", keys.join(", "));
        let limit = match self.choices.below(if self.is_postgres() { 6 } else { 3 }) {
            0 => String::new(),
            1 => " limit 3".to_owned(),
            2 => " limit 2 offset 1".to_owned(),
            3 => " fetch first 2 rows only".to_owned(),
            4 => " offset 1 rows fetch first 2 rows with ties".to_owned(),
            _ => " limit all".to_owned(),
        };
        order + &limit
    }

    fn table_command(&mut self) -> (String, Vec<Column>) {
        let table = *self.choices.of(&["bare", "notes", "orders"]);
        match self.ctes.iter().rev().find(|cte| cte.alias == table) {
            Some(cte) => (format!("table {table}"), cte.columns.clone()),
            None => (format!("table {table}"), self.columns_of(table)),
        }
    }

    fn values(&mut self, kinds: Option<&[Kind]>) -> (String, Vec<Column>) {
        let kinds = kinds.map_or_else(|| vec![Kind::Int, Kind::Text], <[Kind]>::to_vec);
        let mut rows = Vec::new();
        for _ in 0..=self.choices.below(3) {
            let cells: Vec<_> = kinds.iter().map(|&kind| self.expression(kind, 1)).collect();
            rows.push(format!("({})", cells.join(", ")));
        }
        let columns = kinds.iter().enumerate().map(|(index, &kind)| Column {
            name: format!("column{}", index + 1),
            kind,
        });
        (format!("values {}", rows.join(", ")), columns.collect())
    }

    fn set_operation(&mut self, kinds: Option<&[Kind]>, depth: usize) -> (String, Vec<Column>) {
        let kinds = kinds.map_or_else(|| vec![Kind::Int, Kind::Text], <[Kind]>::to_vec);
        self.inner += 1;
        let (mut text, columns) = self.select(Some(&kinds), depth);
        for _ in 0..=self.choices.below(2) {
            let operation = match (self.choices.below(6), self.is_postgres()) {
                (0, _) => "union all",
                (1, _) => "union",
                (2, _) => "except",
                (3, _) => "intersect",
                (4, true) => "except all",
                (5, true) => "intersect all",
                _ => "union",
            };
            let right = if self.is_postgres() && self.choices.chance(30) {
                let (inner, columns) = self.query(Some(&kinds), false);
                let order = if inner.contains(" order by ") {
                    String::new()
                } else {
                    self.total_order(columns.len())
                };
                format!("({inner}{order})")
            } else {
                self.select(Some(&kinds), depth - 1).0
            };
            text = if self.is_postgres() && self.choices.chance(30) {
                format!("({text}) {operation} {right}")
            } else {
                format!("{text} {operation} {right}")
            };
        }
        self.inner -= 1;
        self.closed = false;
        (text, columns)
    }

    fn with(&mut self, top: bool) -> String {
        let recursive = self.choices.chance(30);
        let mut parts = Vec::new();
        for _ in 0..=self.choices.below(3) {
            let (name, table_like) = match self.choices.below(5) {
                0..3 => (format!("c{}", self.ctes.len()), false),
                3 => ("orders".to_owned(), true),
                _ => ("bare".to_owned(), true),
            };
            if parts
                .iter()
                .any(|part: &String| part.starts_with(&format!("{name} ")))
            {
                continue;
            }
            let outer = std::mem::take(&mut self.scopes);
            let (part, columns) = match self.choices.below(5) {
                3 if recursive => self.recursive(&name),
                4 if top && self.is_postgres() => self.writing_cte(&name),
                _ => {
                    // With RECURSIVE the expression sees itself under its own name.
                    let (query, columns) = if recursive && table_like {
                        self.select_from_none()
                    } else {
                        self.query(None, false)
                    };
                    self.named(&name, &query, &columns)
                }
            };
            self.scopes = outer;
            // Which of two that write the same rows comes first is left to the plan.
            let written = part
                .strip_prefix(&*name)
                .filter(|it| it.contains(" returning "));
            if written.is_some_and(|it| parts.iter().any(|other: &String| other.ends_with(it))) {
                continue;
            }
            parts.push(part);
            self.ctes.push(Relation {
                alias: name,
                columns,
                is_table: false,
            });
        }
        let recursive = if recursive { "recursive " } else { "" };
        format!("with {recursive}{} ", parts.join(", "))
    }

    fn named(&mut self, name: &str, query: &str, columns: &[Column]) -> (String, Vec<Column>) {
        let mut names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
        names.sort_unstable();
        let twice = names.windows(2).any(|pair| pair[0] == pair[1]);
        let materialized = match self.choices.below(8) {
            6 => " materialized",
            7 => " not materialized",
            _ => "",
        };
        if twice || self.choices.chance(40) {
            let renamed: Vec<_> = columns
                .iter()
                .map(|column| Column {
                    name: self.fresh(column.kind),
                    kind: column.kind,
                })
                .collect();
            let list: Vec<_> = renamed.iter().map(|column| column.name.as_str()).collect();
            (
                format!("{name} ({}) as{materialized} ({query})", list.join(", ")),
                renamed,
            )
        } else {
            (
                format!("{name} as{materialized} ({query})"),
                columns.to_vec(),
            )
        }
    }

    fn select_from_none(&mut self) -> (String, Vec<Column>) {
        let columns = vec![Column {
            name: "id".to_owned(),
            kind: Kind::Int,
        }];
        ("select 1 as id".to_owned(), columns)
    }

    /// Follows the bosses of the people, or the numbers of the orders.
    fn recursive(&mut self, name: &str) -> (String, Vec<Column>) {
        let union = *self.choices.of(&["union all", "union"]);
        let (i, t) = (self.fresh(Kind::Int), self.fresh(Kind::Text));
        let columns = vec![
            Column {
                name: i.clone(),
                kind: Kind::Int,
            },
            Column {
                name: t.clone(),
                kind: Kind::Text,
            },
        ];
        let people = self.base("people");
        let step = match self.choices.below(3) {
            0 => format!("select p.id, p.name from {people} p join {name} r on p.boss = r.{i}"),
            1 => format!(
                "select p.id, r.{t} from {name} r, {people} p where p.boss = r.{i} and p.id < 9"
            ),
            _ => format!(
                "select p.id, p.name from {name} r inner join {people} p on p.boss = r.{i} and p.boss <> p.id"
            ),
        };
        let text = format!(
            "{name} ({i}, {t}) as (select id, name from {people} where boss is null {union} {step})"
        );
        (text, columns)
    }

    /// The name of a table where a common table expression may stand before it.
    pub(super) fn base(&mut self, table: &str) -> String {
        let shadowed = self.ctes.iter().any(|cte| cte.alias == table);
        let schema = if self.is_postgres() { "public" } else { "main" };
        if shadowed || self.choices.chance(8) {
            format!("{schema}.{table}")
        } else if self.choices.chance(8) && !table.starts_with('"') {
            table.to_uppercase()
        } else {
            table.to_owned()
        }
    }

    /// A single SELECT.
    pub(super) fn select(&mut self, kinds: Option<&[Kind]>, depth: usize) -> (String, Vec<Column>) {
        self.scopes.push(Scope::default());
        let from = self.from(depth);
        let condition = if self.choices.chance(55) {
            format!(" where {}", self.condition(depth))
        } else {
            String::new()
        };
        let shape = self.choices.below(10);
        let result = match shape {
            7 => self.grouped(kinds, depth, &from, &condition),
            8 => self.windowed(kinds, depth, &from, &condition),
            9 => self
                .whole(kinds, &from, &condition)
                .unwrap_or_else(|| self.plain(kinds, depth, &from, &condition)),
            _ => self.plain(kinds, depth, &from, &condition),
        };
        self.scopes.pop();
        if matches!(shape, 7..=9) {
            self.closed = false;
        }
        result
    }

    fn plain(
        &mut self,
        kinds: Option<&[Kind]>,
        depth: usize,
        from: &str,
        condition: &str,
    ) -> (String, Vec<Column>) {
        let kinds = self.wanted(kinds);
        let mut items = Vec::new();
        let mut columns = Vec::new();
        let mut expressions = Vec::new();
        for kind in kinds {
            let expression = self.expression(kind, depth);
            let name = self.fresh(kind);
            let as_word = if self.choices.chance(20) && self.is_postgres() {
                " "
            } else {
                " as "
            };
            items.push(format!("{expression}{as_word}{name}"));
            expressions.push(expression);
            columns.push(Column { name, kind });
        }
        let list = items.join(", ");
        let nested = self.scopes.len() > 1 || self.inner > 0;
        let choice = self.choices.below(8);
        self.closed =
            !nested && (matches!(choice, 4) || self.is_postgres() && matches!(choice, 6 | 7));
        let text = match choice {
            5 => format!("select distinct {list}{from}{condition}"),
            6 if self.is_postgres() && !nested => {
                let order: Vec<_> = (1..=columns.len()).map(|index| index.to_string()).collect();
                format!(
                    "select distinct on ({}) {list}{from}{condition} order by {}",
                    columns[0].name,
                    order.join(", ")
                )
            }
            7 if self.is_postgres() && !nested && !from.is_empty() => {
                let lock = *self.choices.of(&[
                    "for update",
                    "for share",
                    "for no key update",
                    "for key share",
                ]);
                let scope = self.scopes.last().cloned().unwrap_or_default();
                let table = scope.relations.iter().find(|relation| relation.is_table);
                let of = match table {
                    Some(relation) if self.choices.chance(60) => format!(" of {}", relation.alias),
                    _ => String::new(),
                };
                let wait = *self.choices.of(&["", " skip locked", " nowait"]);
                format!("select {list}{from}{condition} {lock}{of}{wait}")
            }
            4 if !nested => {
                let key = self.expression(Kind::Int, depth);
                // A bare number would be the number of a column.
                format!("select {list}{from}{condition} order by coalesce({key}, 0)")
            }
            _ => format!("select {list}{from}{condition}"),
        };
        (text, columns)
    }

    fn wanted(&mut self, kinds: Option<&[Kind]>) -> Vec<Kind> {
        match kinds {
            Some(kinds) => kinds.to_vec(),
            None => (0..=self.choices.below(3))
                .map(|_| self.any_kind())
                .collect(),
        }
    }

    /// All columns of a relation, or a relation as a value.
    fn whole(
        &mut self,
        kinds: Option<&[Kind]>,
        from: &str,
        condition: &str,
    ) -> Option<(String, Vec<Column>)> {
        if kinds.is_some() {
            return None;
        }
        let relations = self.scopes.last()?.relations.clone();
        if relations.is_empty() {
            return None;
        }
        let relation = self.choices.of(&relations).clone();
        let alias = &relation.alias;
        if self.is_postgres() && self.choices.chance(30) {
            let (item, kind) = match self.choices.below(5) {
                0 => (format!("{alias}::text"), Kind::Text),
                1 => (format!("to_jsonb({alias})"), Kind::Json),
                2 => (format!("({alias} is null)"), Kind::Bool),
                3 if relation.is_table => (format!("({alias}.ctid is not null)"), Kind::Bool),
                _ => (format!("({alias} = {alias})"), Kind::Bool),
            };
            let name = self.fresh(kind);
            let text = format!("select {item} as {name}{from}{condition}");
            return Some((text, vec![Column { name, kind }]));
        }
        if relations.len() == 1 && self.choices.chance(50) {
            return Some((format!("select *{from}{condition}"), relation.columns));
        }
        Some((
            format!("select {alias}.*{from}{condition}"),
            relation.columns,
        ))
    }

    fn grouped(
        &mut self,
        kinds: Option<&[Kind]>,
        depth: usize,
        from: &str,
        condition: &str,
    ) -> (String, Vec<Column>) {
        let mut keys = Vec::new();
        for kind in [Kind::Text, Kind::Int] {
            if let Some(column) = self.column(kind)
                && self.choices.chance(60)
            {
                keys.push((column, kind));
            }
        }
        let kinds = self.wanted(kinds);
        let mut items = Vec::new();
        let mut columns = Vec::new();
        for kind in kinds {
            let key = keys
                .iter()
                .find(|(_, of)| *of == kind)
                .map(|(key, _)| key.clone());
            let expression = match key {
                Some(key) if self.choices.chance(50) => key,
                _ => self.aggregate(kind, depth),
            };
            let name = self.fresh(kind);
            items.push(format!("{expression} as {name}"));
            columns.push(Column { name, kind });
        }
        let names: Vec<_> = keys.iter().map(|(key, _)| key.as_str()).collect();
        let names = names.join(", ");
        let group = match self.choices.below(if self.is_postgres() { 8 } else { 1 }) {
            _ if keys.is_empty() => String::new(),
            4 => format!(" group by rollup ({names})"),
            5 => format!(" group by cube ({names})"),
            6 => format!(" group by grouping sets (({names}), ())"),
            7 => format!(" group by distinct {names}"),
            _ => format!(" group by {names}"),
        };
        let having = if self.choices.chance(35) {
            let inner = self.aggregate(Kind::Int, 0);
            match self.choices.below(3) {
                0 => format!(" having {inner} > 0"),
                1 => " having count(*) > 1".to_owned(),
                _ => {
                    let scope = self
                        .scopes
                        .last_mut()
                        .map(|scope| std::mem::replace(&mut scope.closed, true));
                    let (query, _) = self.sub_query(&[Kind::Int], 0);
                    if let (Some(closed), Some(last)) = (scope, self.scopes.last_mut()) {
                        last.closed = closed;
                    }
                    format!(" having count(*) in ({query}) or count(*) > 0")
                }
            }
        } else {
            String::new()
        };
        // HAVING needs a group on SQLite.
        let having = if group.is_empty() && !self.is_postgres() {
            String::new()
        } else {
            having
        };
        (
            format!(
                "select {}{from}{condition}{group}{having}",
                items.join(", ")
            ),
            columns,
        )
    }

    fn aggregate(&mut self, kind: Kind, depth: usize) -> String {
        let depth = depth.min(1);
        let filter = if self.choices.chance(20) {
            format!(" filter (where {})", self.condition(0))
        } else {
            String::new()
        };
        let postgres = self.is_postgres();
        let call = match kind {
            Kind::Int => match self.choices.below(5) {
                0 => "count(*)".to_owned(),
                1 => format!("count({})", self.expression(Kind::Text, depth)),
                2 => format!("count(distinct {})", self.expression(Kind::Int, depth)),
                3 if postgres => format!("sum({})::int", self.expression(Kind::Int, depth)),
                _ => format!("max({})", self.expression(Kind::Int, depth)),
            },
            Kind::Text if postgres && self.choices.below(2) == 1 => {
                let text = self.expression(Kind::Text, depth);
                format!("string_agg({text}, ',' order by {text})")
            }
            Kind::Text | Kind::Date | Kind::Numeric => {
                let function = *self.choices.of(&["min", "max"]);
                format!("{function}({})", self.expression(kind, depth))
            }
            Kind::Bool if postgres => format!("bool_or({})", self.expression(Kind::Bool, depth)),
            Kind::Bool => format!("max({})", self.expression(Kind::Bool, depth)),
            Kind::Uuid => {
                let nothing = if postgres {
                    "min(null::text)::uuid"
                } else {
                    "null"
                };
                return nothing.to_owned();
            }
            Kind::Json => {
                let number = self.expression(Kind::Int, depth);
                format!("jsonb_agg({number} order by {number})")
            }
            Kind::Ints => {
                let number = self.expression(Kind::Int, depth);
                format!("array_agg({number} order by {number})")
            }
        };
        // A cast would take the filter for its own.
        match call.strip_suffix("::int") {
            Some(sum) => format!("cast({sum}{filter} as int)"),
            None => format!("{call}{filter}"),
        }
    }

    fn windowed(
        &mut self,
        kinds: Option<&[Kind]>,
        depth: usize,
        from: &str,
        condition: &str,
    ) -> (String, Vec<Column>) {
        let kinds = self.wanted(kinds);
        let mut items = Vec::new();
        let mut columns = Vec::new();
        let mut window = String::new();
        for kind in kinds {
            let expression = if kind == Kind::Int {
                let partition = self.expression(Kind::Text, 1);
                let order = self.expression(Kind::Int, 1);
                let function = *self
                    .choices
                    .of(&["rank()", "dense_rank()", "count(*)", "max(1)"]);
                match self.choices.below(3) {
                    0 => format!(
                        "{function} over (partition by {partition} order by coalesce({order}, 0))"
                    ),
                    1 if window.is_empty() => {
                        window = format!(" window w as (partition by {partition})");
                        "count(*) over w".to_owned()
                    }
                    _ => format!("{function} over (order by coalesce({order}, 0) desc)"),
                }
            } else {
                self.expression(kind, depth)
            };
            let name = self.fresh(kind);
            items.push(format!("{expression} as {name}"));
            columns.push(Column { name, kind });
        }
        (
            format!("select {}{from}{condition}{window}", items.join(", ")),
            columns,
        )
    }

    // FROM

    fn from(&mut self, depth: usize) -> String {
        let mut items = Vec::new();
        for index in 0..=self.choices.below(3) {
            if index > 0 && (self.tables_left == 0 || !self.choices.chance(40)) {
                break;
            }
            items.push(self.joined(depth, 2));
        }
        format!(" from {}", items.join(", "))
    }

    fn relations(&mut self) -> &mut Vec<Relation> {
        if self.scopes.is_empty() {
            self.scopes.push(Scope::default());
        }
        let last = self.scopes.len() - 1;
        &mut self.scopes[last].relations
    }

    /// A relation, and what is joined to it.
    fn joined(&mut self, depth: usize, joins: usize) -> String {
        let start = self.relations().len();
        let mut text = self.factor(depth, true);
        for _ in 0..joins {
            if self.tables_left == 0 || !self.choices.chance(45) {
                break;
            }
            text = self.join(&text, start, depth);
        }
        text
    }

    fn join(&mut self, left: &str, start: usize, depth: usize) -> String {
        let kind = match self.choices.below(8) {
            0 => "join",
            1 => "inner join",
            2 | 3 => "left join",
            4 => "right join",
            5 => "full join",
            6 => "cross join",
            _ => "natural",
        };
        let lateral = matches!(kind, "join" | "inner join" | "left join" | "cross join");
        let middle = self.relations().len();
        let right = if self.choices.chance(20) {
            // What is joined first sees nothing of the left.
            let hidden = self.hide(middle);
            let inner = self.factor(depth, false);
            let inner = self.join(&inner, middle, depth);
            self.unhide(hidden);
            self.in_parentheses(&inner, middle)
        } else {
            self.factor(depth, lateral)
        };
        match kind {
            "cross join" => return format!("{left} cross join {right}"),
            "natural" => {
                let kind = *self.choices.of(&[
                    "natural join",
                    "natural left join",
                    "natural inner join",
                    "natural full join",
                ]);
                return format!("{left} {kind} {right}");
            }
            _ => {}
        }
        let (lefts, rights) = {
            let relations = self.relations();
            (
                relations[start..middle].to_vec(),
                relations[middle..].to_vec(),
            )
        };
        let has = |relations: &[Relation], name: &str| {
            relations
                .iter()
                .flat_map(|relation| &relation.columns)
                .filter(|column| column.name == name)
                .count()
                == 1
        };
        let common: Vec<_> = ["id", "name", "tenant_id", "age"]
            .into_iter()
            .filter(|name| has(&lefts, name) && has(&rights, name))
            .collect();
        if !common.is_empty() && self.choices.chance(30) {
            let mut names = vec![*self.choices.of(&common)];
            if names[0] != "tenant_id" && common.contains(&"tenant_id") && self.choices.chance(40) {
                names.push("tenant_id");
            }
            return format!("{left} {kind} {right} using ({})", names.join(", "));
        }
        let equality = self.equality(&lefts, &rights);
        let hidden = self.hide(start);
        let condition = match (equality, kind) {
            (Some(equality), "full join") => equality,
            (None, "full join") => "true".to_owned(),
            (Some(equality), _) if !self.choices.chance(40) => equality,
            (Some(equality), _) => format!("{equality} and {}", self.condition(depth)),
            (None, _) => self.condition(depth),
        };
        self.unhide(hidden);
        format!("{left} {kind} {right} on {condition}")
    }

    fn equality(&mut self, lefts: &[Relation], rights: &[Relation]) -> Option<String> {
        let left = self.choices.of(lefts).clone();
        let right = self.choices.of(rights).clone();
        let mut pairs = Vec::new();
        for l in &left.columns {
            for r in &right.columns {
                if l.kind == r.kind && matches!(l.kind, Kind::Int | Kind::Text) {
                    pairs.push(format!(
                        "{}.{} = {}.{}",
                        left.alias, l.name, right.alias, r.name
                    ));
                }
            }
        }
        if pairs.is_empty() {
            return None;
        }
        let pair = self.choices.of(&pairs).clone();
        let owned = |relation: &Relation| {
            relation
                .columns
                .iter()
                .any(|column| column.name == "tenant_id")
        };
        if owned(&left) && owned(&right) && self.choices.chance(15) {
            return Some(format!(
                "{pair} and {}.tenant_id = {}.tenant_id",
                left.alias, right.alias
            ));
        }
        Some(pair)
    }

    fn hide(&mut self, count: usize) -> usize {
        let last = self.scopes.len() - 1;
        std::mem::replace(&mut self.scopes[last].hidden, count)
    }

    fn unhide(&mut self, hidden: usize) {
        let last = self.scopes.len() - 1;
        self.scopes[last].hidden = hidden;
    }

    /// A join in parentheses, at times under a name of its own.
    fn in_parentheses(&mut self, inner: &str, start: usize) -> String {
        if !self.is_postgres() || !self.choices.chance(40) {
            return format!("({inner})");
        }
        let columns: Vec<_> = self.relations()[start..]
            .iter()
            .flat_map(|relation| relation.columns.clone())
            .collect();
        let merges = inner.contains("natural") || inner.contains("using");
        let names: Vec<_> = columns.iter().map(|column| column.name.clone()).collect();
        let alias = self.alias();
        let columns = columns.into_iter().filter(|column| {
            !merges && names.iter().filter(|name| **name == column.name).count() == 1
        });
        let relation = Relation {
            alias: alias.clone(),
            columns: columns.collect(),
            is_table: false,
        };
        let relations = self.relations();
        relations.truncate(start);
        relations.push(relation);
        format!("({inner}) as {alias}")
    }

    /// A name that no other relation of the query has; at times it is that of another table.
    fn alias(&mut self) -> String {
        let wanted = match self.choices.below(8) {
            5 => (*self.choices.of(&TABLES)).to_owned(),
            6 => "\"A b\"".to_owned(),
            7 => "\"select\"".to_owned(),
            _ => {
                self.names += 1;
                format!("x{}", self.names)
            }
        };
        self.unused(wanted)
    }

    fn unused(&mut self, wanted: String) -> String {
        if self
            .relations()
            .iter()
            .all(|relation| relation.alias != wanted)
            && !wanted.starts_with("adults")
        {
            return wanted;
        }
        self.names += 1;
        format!("x{}", self.names)
    }

    /// One relation: a table, a common table expression, a sub-query, a function.
    fn factor(&mut self, depth: usize, lateral: bool) -> String {
        let choice = self.choices.below(12);
        match choice {
            8 | 9 if depth > 0 && self.tables_left > 1 => self.derived(depth - 1, lateral),
            10 if self.is_postgres() => self.function(lateral),
            11 if self.is_postgres() => {
                let (text, columns) =
                    self.without_scope(|grammar| grammar.values(Some(&[Kind::Int, Kind::Text])));
                self.aliased(&format!("({text})"), &columns, true)
            }
            _ => self.table(),
        }
    }

    fn table(&mut self) -> String {
        self.tables_left = self.tables_left.saturating_sub(1);
        let ctes = self.ctes.clone();
        if !ctes.is_empty() && self.choices.chance(50) {
            let cte = self.choices.of(&ctes).clone();
            // The last one under the name is the one that is seen.
            let cte = ctes
                .iter()
                .rev()
                .find(|other| other.alias == cte.alias)
                .cloned()
                .unwrap_or(cte);
            let plain = self
                .relations()
                .iter()
                .all(|relation| relation.alias != cte.alias);
            if plain && self.choices.chance(50) {
                self.relations().push(cte.clone());
                return cte.alias;
            }
            let alias = self.alias();
            self.relations().push(Relation {
                alias: alias.clone(),
                ..cte.clone()
            });
            return format!("{} as {alias}", cte.alias);
        }
        let table = *self.choices.of(&TABLES);
        let columns = self.columns_of(table);
        let mut name = self.base(table);
        let is_view = table == "adults";
        if self.is_postgres() && !is_view {
            match self.choices.below(20) {
                18 => name = format!("only {name}"),
                19 => name = format!("{name} *"),
                _ => {}
            }
        }
        let sample = if self.is_postgres() && !is_view && self.choices.chance(4) {
            " tablesample bernoulli (100)"
        } else {
            ""
        };
        let plain = self
            .relations()
            .iter()
            .all(|relation| relation.alias != table);
        if plain && !self.choices.chance(60) {
            self.relations().push(Relation {
                alias: table.to_owned(),
                columns,
                is_table: !is_view,
            });
            return format!("{name}{sample}");
        }
        let text = self.aliased(&name, &columns, false);
        if !is_view && let Some(last) = self.relations().last_mut() {
            last.is_table = true;
        }
        format!("{text}{sample}")
    }

    /// Gives a name, at times with names for the columns as well, and puts it in sight.
    fn aliased(&mut self, text: &str, columns: &[Column], rename: bool) -> String {
        let alias = self.alias();
        let as_word = if self.choices.chance(50) { "as " } else { "" };
        let mut columns = columns.to_vec();
        let mut list = String::new();
        if self.is_postgres() && !columns.is_empty() && (rename || self.choices.chance(15)) {
            let count = if rename {
                columns.len()
            } else {
                1 + self.choices.below(columns.len())
            };
            for column in &mut columns[..count] {
                column.name = self.fresh(column.kind);
            }
            let names: Vec<_> = columns[..count]
                .iter()
                .map(|column| column.name.as_str())
                .collect();
            list = format!(" ({})", names.join(", "));
        }
        // What has a name twice cannot be named.
        let names: Vec<_> = columns.iter().map(|column| column.name.clone()).collect();
        columns.retain(|column| names.iter().filter(|name| **name == column.name).count() == 1);
        self.relations().push(Relation {
            alias: alias.clone(),
            columns,
            is_table: false,
        });
        format!("{text} {as_word}{alias}{list}")
    }

    fn derived(&mut self, depth: usize, lateral: bool) -> String {
        let lateral = lateral && self.is_postgres() && self.choices.chance(35);
        let (text, columns) = if lateral {
            self.select(None, depth)
        } else {
            self.without_scope(|grammar| {
                if grammar.choices.chance(40) {
                    grammar.query(None, false)
                } else {
                    grammar.select(None, depth)
                }
            })
        };
        let lateral = if lateral { "lateral " } else { "" };
        self.aliased(&format!("{lateral}({text})"), &columns, false)
    }

    /// Without a look at the relations beside it.
    fn without_scope<T>(&mut self, what: impl FnOnce(&mut Self) -> T) -> T {
        if self.scopes.is_empty() {
            self.scopes.push(Scope::default());
        }
        let last = self.scopes.len() - 1;
        let closed = std::mem::replace(&mut self.scopes[last].closed, true);
        let result = what(self);
        self.scopes[last].closed = closed;
        result
    }

    fn function(&mut self, lateral: bool) -> String {
        let argument = if lateral {
            self.column(Kind::Ints)
        } else {
            None
        };
        let (text, kinds): (String, &[Kind]) = match (self.choices.below(4), argument) {
            (0 | 1, Some(column)) => (format!("unnest({column})"), &[Kind::Int]),
            (2, _) => (
                "unnest(array[1, 2]) with ordinality".to_owned(),
                &[Kind::Int],
            ),
            _ => ("generate_series(1, 3)".to_owned(), &[Kind::Int]),
        };
        let columns: Vec<_> = kinds
            .iter()
            .map(|&kind| Column {
                name: String::new(),
                kind,
            })
            .collect();
        self.aliased(&text, &columns, true)
    }
}
