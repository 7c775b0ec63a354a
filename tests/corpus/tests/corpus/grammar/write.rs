//! Statements that write.

use super::{Column, Grammar, Kind, Relation, Scope};

type Columns = &'static [(&'static str, Kind)];

/// What can be inserted into, with a key that is free and the columns that are given.
const TARGETS: [(&str, &str, Columns); 4] = [
    (
        "notes",
        "id",
        &[
            ("id", Kind::Int),
            ("name", Kind::Text),
            ("body", Kind::Text),
        ],
    ),
    (
        "orders",
        "id",
        &[
            ("id", Kind::Int),
            ("state", Kind::Text),
            ("colour_id", Kind::Int),
        ],
    ),
    (
        "\"Mixed Case\"",
        "\"Id\"",
        &[("\"Id\"", Kind::Int), ("\"Some Text\"", Kind::Text)],
    ),
    ("bare", "id", &[("id", Kind::Int), ("name", Kind::Text)]),
];

/// What can be updated without a foreign key in the way, with the columns that may change.
const UPDATED: [(&str, Columns); 5] = [
    ("notes", &[("name", Kind::Text), ("body", Kind::Text)]),
    (
        "orders",
        &[
            ("placed", Kind::Date),
            ("total", Kind::Numeric),
            ("state", Kind::Text),
        ],
    ),
    ("items", &[("sku", Kind::Text), ("qty", Kind::Int)]),
    (
        "people",
        &[
            ("name", Kind::Text),
            ("age", Kind::Int),
            ("active", Kind::Bool),
        ],
    ),
    (
        "\"Mixed Case\"",
        &[("\"Some Text\"", Kind::Text), ("\"select\"", Kind::Int)],
    ),
];

impl Grammar<'_> {
    pub(super) fn write(&mut self) -> String {
        let seen = self.ctes.len();
        let with = if self.choices.chance(15) {
            self.with_queries()
        } else {
            String::new()
        };
        let text = match self.choices.below(if self.is_postgres() { 8 } else { 7 }) {
            0 | 1 => self.insert(),
            2..5 => self.update(),
            5 | 6 => self.delete(),
            _ => self.merge(),
        };
        self.ctes.truncate(seen);
        format!("{with}{text}")
    }

    fn with_queries(&mut self) -> String {
        let (query, columns) = self.query(None, false);
        let columns: Vec<_> = columns
            .iter()
            .map(|column| Column {
                name: self.fresh(column.kind),
                kind: column.kind,
            })
            .collect();
        let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
        let text = format!("with given ({}) as ({query}) ", names.join(", "));
        self.ctes.push(Relation {
            alias: "given".to_owned(),
            columns,
            is_table: false,
        });
        text
    }

    /// A common table expression that writes, with the columns that it returns.
    pub(super) fn writing_cte(&mut self, name: &str) -> (String, Vec<Column>) {
        let (text, columns) = match self.choices.below(3) {
            0 => (
                "delete from notes where id = 1 returning id, name",
                [("id", Kind::Int), ("name", Kind::Text)],
            ),
            1 => (
                "update people set age = age + 1 where active returning age, name",
                [("age", Kind::Int), ("name", Kind::Text)],
            ),
            _ => (
                "insert into bare (id, name) select id, name from people where age > 21 returning id, name",
                [("id", Kind::Int), ("name", Kind::Text)],
            ),
        };
        // The tables themselves, whatever is called so around it.
        let text = text.replace("into bare", "into public.bare");
        let columns = columns.map(|(name, kind)| Column {
            name: name.to_owned(),
            kind,
        });
        (format!("{name} as ({text})"), columns.to_vec())
    }

    fn insert(&mut self) -> String {
        let (table, key, columns) = *self.choices.of(&TARGETS);
        let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
        let alias = if self.choices.chance(20) {
            " as target"
        } else {
            ""
        };
        let target = if alias.is_empty() { table } else { "target" };
        let source = if self.choices.chance(45) {
            let kinds: Vec<_> = columns.iter().map(|(_, kind)| *kind).collect();
            let (query, inner) = self.select(Some(&kinds), 1);
            // Each key once, and none that is there.
            let mut cells = vec![format!(
                "100 + row_number() over (order by {})",
                ordinals(&inner)
            )];
            if self.choices.chance(20) && table != "bare" {
                cells[0] = format!("row_number() over (order by {})", ordinals(&inner));
            }
            cells.extend(inner[1..].iter().zip(&columns[1..]).map(
                |(column, (name, _))| match *name {
                    "state" => format!("coalesce({}, 'none')", column.name),
                    "colour_id" => format!("case when {} in (1, 2) then 3 end", column.name),
                    _ => column.name.clone(),
                },
            ));
            format!("select {} from ({query}) s", cells.join(", "))
        } else {
            let mut rows = Vec::new();
            for row in 0..=self.choices.below(3) {
                let id = if self.choices.chance(25) {
                    row + 2
                } else {
                    row + 200
                };
                let mut cells = vec![id.to_string()];
                for (name, kind) in &columns[1..] {
                    let scopes = std::mem::take(&mut self.scopes);
                    cells.push(match *name {
                        "state" if self.choices.chance(30) => "default".to_owned(),
                        "state" => "'new'".to_owned(),
                        "colour_id" => "1".to_owned(),
                        _ => self.expression(*kind, 2),
                    });
                    self.scopes = scopes;
                }
                if !self.is_postgres() {
                    for cell in &mut cells {
                        if cell == "default" {
                            "'open'".clone_into(cell);
                        }
                    }
                }
                rows.push(format!("({})", cells.join(", ")));
            }
            format!("values {}", rows.join(", "))
        };
        let conflict = match self.choices.below(6) {
            _ if table == "bare" => String::new(),
            // SQLite takes the ON for that of a join without a WHERE before it.
            _ if !self.is_postgres() && source.starts_with("select") => String::new(),
            3 => format!(" on conflict (tenant_id, {key}) do nothing"),
            4 => format!(
                " on conflict (tenant_id, {key}) do update set {} = excluded.{}",
                names[1], names[1]
            ),
            5 => format!(
                " on conflict (tenant_id, {key}) do update set {} = {target}.{} || 'x' where {target}.{key} > 2",
                names[1], names[1]
            ),
            _ => String::new(),
        };
        let returning = match self.choices.below(6) {
            3 => " returning *".to_owned(),
            4 => format!(" returning {key}, {}", names[1]),
            5 => format!(" returning {key} + 1 as next, (select count(*) from people) as others"),
            _ => String::new(),
        };
        let name = self.base(table);
        format!(
            "insert into {name}{alias} ({}) {source}{conflict}{returning}",
            names.join(", ")
        )
    }

    fn target(&mut self, table: &str, columns: Vec<Column>) -> (String, String) {
        let name = self.base(table);
        // SQLite does not know the alias in RETURNING.
        let (text, alias) = match self.choices.below(if self.is_postgres() { 4 } else { 1 }) {
            0 | 1 => (name, table.to_owned()),
            2 => (format!("{name} as target"), "target".to_owned()),
            _ => (format!("{name} as x0"), "x0".to_owned()),
        };
        self.scopes.push(Scope::default());
        if let Some(scope) = self.scopes.last_mut() {
            scope.relations.push(Relation {
                alias: alias.clone(),
                columns,
                is_table: true,
            });
        }
        (text, alias)
    }

    fn update(&mut self) -> String {
        let (table, changed) = *self.choices.of(&UPDATED);
        let columns = self.columns_of(table);
        let (target, alias) = self.target(table, columns);
        // At most one row meets each, by the key of the other side.
        let from = if matches!(table, "orders" | "items") && self.choices.chance(45) {
            self.other_side(table, &alias)
        } else {
            None
        };
        let mut sets = Vec::new();
        for (name, kind) in changed {
            if !sets.is_empty() && !self.choices.chance(40) {
                continue;
            }
            let kind = if !self.is_postgres() && *kind == Kind::Numeric {
                Kind::Int
            } else {
                *kind
            };
            let value = self.expression(kind, 2);
            sets.push(if *name == "state" {
                format!("{name} = coalesce({value}, 'none')")
            } else {
                format!("{name} = {value}")
            });
        }
        if self.is_postgres() && table == "notes" && self.choices.chance(25) {
            let (query, _) = self.sub_query(&[Kind::Text, Kind::Text], 0);
            sets = vec![format!("(name, body) = ({query} order by 1, 2 limit 1)")];
        }
        let (from, condition) = self.restricted(from, "from");
        let returning = self.returning(&alias);
        self.scopes.pop();
        format!(
            "update {target} set {}{from}{condition}{returning}",
            sets.join(", ")
        )
    }

    fn delete(&mut self) -> String {
        let table = *self.choices.of(&[
            "notes",
            "items",
            "orders",
            "bare",
            "\"Mixed Case\"",
            "people",
        ]);
        let columns = self.columns_of(table);
        let (target, alias) = self.target(table, columns);
        let using =
            if self.is_postgres() && matches!(table, "orders" | "items") && self.choices.chance(45)
            {
                self.other_side(table, &alias)
            } else {
                None
            };
        let (using, condition) = self.restricted(using, "using");
        let returning = self.returning(&alias);
        self.scopes.pop();
        format!("delete from {target}{using}{condition}{returning}")
    }

    /// Something whose key the target refers to, and the condition that says so.
    fn other_side(&mut self, table: &str, alias: &str) -> Option<(String, String)> {
        let (other, foreign) = match table {
            "orders" => ("people", "person_id"),
            _ => ("orders", "order_id"),
        };
        let columns = self.columns_of(other);
        let base = self.base(other);
        let text = match self.choices.below(4) {
            0 | 1 => format!("{base} as other"),
            2 => format!("(select * from {base}) as other"),
            _ => format!("{base} as other left join colours as c on c.id = other.id"),
        };
        self.scopes.last_mut()?.relations.push(Relation {
            alias: "other".to_owned(),
            columns,
            is_table: false,
        });
        Some((text, format!("other.id = {alias}.{foreign}")))
    }

    fn restricted(&mut self, other: Option<(String, String)>, word: &str) -> (String, String) {
        let condition = self.choices.chance(75).then(|| self.condition(2));
        match (other, condition) {
            (Some((text, join)), None) => (format!(" {word} {text}"), format!(" where {join}")),
            (Some((text, join)), Some(condition)) => {
                let condition = if self.choices.chance(50) {
                    format!(" where {join} and {condition}")
                } else {
                    format!(" where ({condition}) and {join}")
                };
                (format!(" {word} {text}"), condition)
            }
            (None, None) => (String::new(), String::new()),
            (None, Some(condition)) => (String::new(), format!(" where {condition}")),
        }
    }

    fn returning(&mut self, alias: &str) -> String {
        match self.choices.below(6) {
            3 if self.is_postgres() => format!(" returning {alias}.*"),
            3 | 4 => {
                let (first, second) = (
                    self.expression(Kind::Int, 0),
                    self.expression(Kind::Text, 0),
                );
                format!(" returning {first} as r1, {second} as r2")
            }
            5 => " returning (select count(*) from people) as others".to_owned(),
            _ => String::new(),
        }
    }

    fn merge(&mut self) -> String {
        let target = *self.choices.of(&["target", "n", "notes"]);
        let alias = if target == "notes" {
            String::new()
        } else {
            format!(" as {target}")
        };
        let source = match self.choices.below(4) {
            0 => "people as source".to_owned(),
            1 => "(select id, name from people where active) as source".to_owned(),
            2 => "(values (1, 'a'), (60, 'b')) as source (id, name)".to_owned(),
            _ => "(select p.id, o.state as name from people p join orders o on o.id = p.id) as source".to_owned(),
        };
        let extra = match self.choices.below(4) {
            2 => format!(" and {target}.name is not null"),
            3 => format!(" and {target}.tenant_id = {target}.tenant_id"),
            _ => String::new(),
        };
        let matched = match self.choices.below(4) {
            0 => "update set name = source.name",
            1 => "update set body = (select max(name) from people)",
            2 => "delete",
            _ => "do nothing",
        };
        let also = match self.choices.below(3) {
            0 => "",
            1 => " and source.id > 2",
            _ => " and exists (select from orders o where o.id = source.id)",
        };
        let missing = match self.choices.below(3) {
            0 => "",
            1 => " when not matched then insert (id, name) values (source.id + 300, source.name)",
            _ => {
                " when not matched and source.id > 1 then insert (id, name, body) values (source.id + 300, 'x', default)"
            }
        };
        let name = self.base("notes");
        format!(
            "merge into {name}{alias} using {source} on {target}.id = source.id{extra} \
             when matched{also} then {matched}{missing}"
        )
    }
}

fn ordinals(columns: &[Column]) -> String {
    let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
    names.join(", ")
}
