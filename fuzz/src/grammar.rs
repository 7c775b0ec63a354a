//! Statements by chance, out of a grammar: deep ones, which bytes by chance hardly ever become.

/// A source of chance that can be repeated.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// Starts from a seed.
    #[must_use]
    pub fn new(seed: u32) -> Self {
        Self(u64::from(seed) ^ 0x9E37_79B9_7F4A_7C15)
    }

    /// Returns a number below `end`, or 0.
    pub fn below(&mut self, end: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(drawn).unwrap_or(0) % end.max(1)
    }

    /// Returns one of them.
    pub fn one_of<'i, T: ?Sized>(&mut self, items: &[&'i T]) -> &'i T {
        items[self.below(items.len())]
    }
}

/// Which statements are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Those of SQLite.
    Sqlite,
    /// Those of PostgreSQL.
    Postgres,
}

/// Returns a text of a rule.
#[must_use]
pub fn expand(dialect: Dialect, rule: &str, chance: &mut Chance) -> String {
    let mut text = String::new();
    let mut left = MOST_STEPS;
    step(dialect, rule, chance, DEEPEST, &mut left, &mut text);
    text
}

/// Returns the name of a rule by chance.
#[must_use]
pub fn any_rule(chance: &mut Chance) -> &'static str {
    RULES[chance.below(RULES.len())].0
}

const DEEPEST: u32 = 9;
const MOST_STEPS: u32 = 150;

fn step(
    dialect: Dialect,
    rule: &str,
    chance: &mut Chance,
    depth: u32,
    left: &mut u32,
    text: &mut String,
) {
    *left = left.saturating_sub(1);
    let mut choices: Vec<&str> = Vec::new();
    let own = match dialect {
        Dialect::Sqlite => SQLITE,
        Dialect::Postgres => POSTGRES,
    };
    for (name, more) in RULES.iter().chain(own) {
        if *name == rule {
            choices.extend(*more);
        }
    }
    let Some(first) = choices.first() else {
        text.push_str(rule);
        return;
    };
    // The first alternative of a rule is the one that ends soonest.
    let chosen = match depth == 0 || *left == 0 {
        true => first,
        false => chance.one_of(&choices),
    };
    let mut rest = chosen;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let Some((inner, behind)) = after.split_once('}') else {
            break;
        };
        step(dialect, inner, chance, depth.saturating_sub(1), left, text);
        rest = behind;
    }
    text.push_str(rest);
}

type Rules = &'static [(&'static str, &'static [&'static str])];

/// What both databases have; the first alternative is the shortest.
const RULES: Rules = &[
    (
        "statement",
        &[
            "select * from a",
            "{query}",
            "{query}",
            "{query}",
            "{insert}",
            "{update}",
            "{delete}",
            "with {ctes} {query}",
            "with recursive {ctes} {query}",
            "{query};",
            "{query} -- {space}",
            "/* ' */ {query}",
        ],
    ),
    (
        "query",
        &[
            "select 1",
            "{select}",
            "{select}",
            "{select}",
            "{select} {order}",
            "{select} {order} {limit}",
            "{select} {set} {select}",
            "{select} {set} {select} {order}",
            "with {ctes} {select}",
            "values {rows}",
        ],
    ),
    (
        "select",
        &[
            "select id from a",
            "select {items} from {from}",
            "select {items} from {from} where {condition}",
            "select {items} from {from} where {condition}",
            "select distinct {items} from {from} where {condition}",
            "select count(*) from {from}",
            "select count(*), sum(n) from {from} where {condition}",
            "select {column}, count(*) from {from} group by {column}",
            "select {column}, {aggregate} from {from} where {condition} group by {column} having {condition}",
            "select {expression}",
            "select {column}, {window} from {from}",
        ],
    ),
    ("set", &["union all", "union", "except", "intersect"]),
    (
        "items",
        &[
            "*",
            "id",
            "{expression}",
            "{expression}, {expression}",
            "{alias}.*",
            "{alias}.id, {items}",
            "{expression} as {name}",
            "tenant_id",
            "{alias}.tenant_id",
        ],
    ),
    (
        "from",
        &[
            "a",
            "{table}",
            "{factor}",
            "{factor}",
            "{factor} {joins}",
            "{factor} {joins}",
            "{factor}, {factor}",
            "{factor}, {factor} {joins}",
            "{factor} {joins}, {factor}",
            "({factor} {joins})",
            "({factor} {joins}) {joins}",
        ],
    ),
    (
        "joins",
        &[
            "join b on true",
            "{join}",
            "{join}",
            "{join} {join}",
            "{join} {joins}",
        ],
    ),
    (
        "join",
        &[
            "join b y on y.id = 1",
            "{side} {factor} on {condition}",
            "{side} {factor} on {link}",
            "{side} {factor} on {link}",
            "{side} {factor} on {link} and {condition}",
            "{side} {factor} using (id)",
            "{side} {factor} using (id, n)",
            "{side} {factor} using (tenant_id, id)",
            "natural {side} {factor}",
            "cross join {factor}",
            "{side} ({factor} {joins}) on {link}",
            "{side} ({factor} {joins}) as {alias} on true",
        ],
    ),
    (
        "side",
        &[
            "join",
            "left join",
            "left join",
            "right join",
            "right outer join",
            "full join",
            "full outer join",
            "inner join",
        ],
    ),
    (
        "link",
        &[
            "x.id = y.id",
            "{alias}.{field} = {alias}.{field}",
            "a.id = b.id",
            "{alias}.id = {table}.id",
            "true",
        ],
    ),
    (
        "factor",
        &[
            "a",
            "{table}",
            "{table} {alias}",
            "{table} {alias}",
            "{table} as {alias}",
            "{table} as {alias}",
            "({query}) as {alias}",
            "({query}) {alias}",
            "{name}",
            "{name} as {alias}",
        ],
    ),
    (
        "table",
        &[
            "a",
            "b",
            "c",
            "a",
            "b",
            "invoices",
            "customers",
            "editions",
            "named",
            "A",
            "\"a\"",
            "\"Odd \"\"Name\"",
        ],
    ),
    (
        "alias",
        &[
            "x", "y", "z", "a", "b", "c", "\"x\"", "\"Y\"", "X", "{name}", "{table}",
        ],
    ),
    ("name", &["t", "u", "a", "b", "invoices", "named", "\"t\""]),
    (
        "field",
        &[
            "id",
            "n",
            "t",
            "parent",
            "name",
            "customer",
            "cents",
            "tenant_id",
            "code",
            "edition",
        ],
    ),
    (
        "column",
        &[
            "id",
            "{field}",
            "{alias}.{field}",
            "{alias}.{field}",
            "{table}.{field}",
            "1",
        ],
    ),
    (
        "expression",
        &[
            "id",
            "{column}",
            "{column}",
            "{literal}",
            "{column} {operator} {literal}",
            "{column} {operator} {expression}",
            "({expression})",
            "-{expression}",
            "({query})",
            "(select {aggregate} from {from} where {condition})",
            "case when {condition} then {expression} else {expression} end",
            "case {column} when {literal} then {expression} end",
            "coalesce({expression}, {expression})",
            "lower({expression})",
            "{aggregate}",
            "{window}",
            "cast({expression} as text)",
            "exists ({query})",
            "{argument}",
        ],
    ),
    (
        "condition",
        &[
            "true",
            "{column} = {literal}",
            "{column} = {column}",
            "{column} = {column}",
            "{column} {compare} {expression}",
            "{condition} or {condition}",
            "{condition} or true",
            "{condition} and {condition}",
            "not {condition}",
            "not ({condition})",
            "({condition})",
            "{column} is null",
            "{column} is not null",
            "{column} is distinct from {expression}",
            "{column} is not distinct from {expression}",
            "{column} in ({literal}, {literal})",
            "{column} in ({query})",
            "{column} not in (select id from {from})",
            "exists (select 1 from {from} where {condition})",
            "not exists ({query})",
            "({column}, {column}) = ({literal}, {literal})",
            "({column}, {column}) in (select id, n from {from})",
            "{column} between {literal} and {literal} or {condition}",
            "{column} like {text}",
            "{column} like {text} escape '!'",
            "case when {condition} then true else {condition} end",
            "{column} = {argument}",
            "tenant_id = {alias}.tenant_id",
            "{alias}.tenant_id <> {alias}.tenant_id",
        ],
    ),
    ("compare", &["=", "<>", "<", ">=", "is", "is not", "!="]),
    (
        "operator",
        &["+", "-", "*", "||", "%", "=", "<", "and", "or", "/"],
    ),
    (
        "literal",
        &[
            "1",
            "2",
            "3",
            "10",
            "20",
            "null",
            "0",
            "true",
            "false",
            "0.5",
            "1e1",
            "-1",
            "{text}",
            "{argument}",
        ],
    ),
    (
        "text",
        &[
            "'alpha'", "'beta'", "'it''s'", "'--'", "'/*'", "''", "'%'", "'a\n'", "'where'",
        ],
    ),
    ("argument", &["$1", "$2", "$3", "$1"]),
    (
        "aggregate",
        &[
            "count(*)",
            "sum({column})",
            "count({column})",
            "count(distinct {column})",
            "sum({expression})",
            "count(*) filter (where {condition})",
            "sum({column}) filter (where exists ({query}))",
        ],
    ),
    (
        "window",
        &[
            "count(*) over ()",
            "sum({column}) over (partition by {column})",
            "row_number() over (order by {column})",
            "count(*) over (partition by {column} order by {column} rows between 1 preceding and current row)",
        ],
    ),
    (
        "order",
        &[
            "order by 1",
            "order by {expression}",
            "order by {column} desc",
            "order by 1, {column}",
            "order by {column} nulls last",
        ],
    ),
    (
        "limit",
        &[
            "limit 1",
            "limit 2",
            "limit 3 offset 1",
            "limit {argument}",
            "limit (select count(*) from {from})",
        ],
    ),
    (
        "ctes",
        &[
            "t as (select id from a)",
            "{cte}",
            "{cte}",
            "{cte}, {cte}",
            "t(id, n) as (select 1, 2 union all select id + 1, n from t where id < 4)",
            "t as (select id, n from a where parent is null union all select a.id, a.n from a join t on t.id = a.parent)",
        ],
    ),
    (
        "cte",
        &[
            "t as (select * from a)",
            "{name} as ({query})",
            "{name} as (select * from {from})",
            "{name} (id, n) as (select id, n from {from})",
            "{name} as (with {ctes} {query})",
            "{name} as materialized ({query})",
            "{name} as not materialized (select {items} from {from} where {condition})",
        ],
    ),
    (
        "insert",
        &[
            "insert into a (id) values (9)",
            "insert into {table} ({fields}) values {rows}",
            "insert into {table} (id, n) values {rows} {conflict}",
            "insert into {table} as {alias} (id, n) values {rows} {conflict}",
            "insert into {table} (id, n) select id + 10, n from {from} where {condition} {conflict}",
            "insert into {table} (id, n) {query} {conflict}",
            "insert into {table} (id, n) select {expression}, {expression} from {from}",
            "insert into {table} ({fields}) {query}",
            "insert into {table} default values",
            "insert into {table} (id, n) values {rows} {returning}",
            "with {ctes} insert into {table} (id, n) select id, n from {name} {conflict} {returning}",
            "insert into {table} (id, n) with {ctes} {query}",
        ],
    ),
    (
        "fields",
        &[
            "id",
            "id, n",
            "n, id",
            "id, {field}",
            "{field}",
            "\"id\", n",
        ],
    ),
    (
        "rows",
        &[
            "(9, 1)",
            "(1, 2)",
            "({expression}, {expression})",
            "(9, {expression}), {rows}",
            "(2, 5), (8, 6)",
            "({expression})",
        ],
    ),
    (
        "conflict",
        &[
            "",
            "on conflict do nothing",
            "on conflict (tenant_id, id) do nothing",
            "on conflict (tenant_id, id) do update set {assignments}",
            "on conflict (tenant_id, id) do update set n = excluded.n",
            "on conflict (tenant_id, id) do update set {assignments} where {condition}",
            "on conflict (tenant_id, id) do update set n = ({query}) {returning}",
            "on conflict (id) do nothing",
            "on conflict do update set n = excluded.n",
        ],
    ),
    (
        "assignments",
        &[
            "n = 1",
            "n = {expression}",
            "{field} = {expression}",
            "n = {expression}, {assignments}",
            "(n, t) = (1, {text})",
            "(n, t) = (select n, t from {from})",
            "n = ({query})",
            "n = excluded.n + 1",
        ],
    ),
    (
        "update",
        &[
            "update a set n = 1",
            "update {table} set {assignments}",
            "update {table} set {assignments} where {condition}",
            "update {table} {alias} set {assignments} where {condition}",
            "update {table} as {alias} set {assignments} from {from} where {condition}",
            "update {table} as {alias} set {assignments} from {from}",
            "update {table} set {assignments} where {condition} {returning}",
            "with {ctes} update {table} set {assignments} where id in (select id from {name})",
        ],
    ),
    (
        "delete",
        &[
            "delete from b",
            "delete from {table} where {condition}",
            "delete from {table} as {alias} where {condition}",
            "delete from {table} where {condition} {returning}",
            "with {ctes} delete from {table} where id in (select id from {name}) {returning}",
        ],
    ),
    (
        "returning",
        &[
            "returning *",
            "returning {items}",
            "returning {expression}",
            "returning tenant_id",
        ],
    ),
    (
        "space",
        &[
            " ",
            "\n",
            "\t",
            "/* */",
            "/* from b */",
            "--\n",
            "-- '\n",
            "/**/",
        ],
    ),
];

const SQLITE: Rules = &[
    (
        "table",
        &[
            "[a]",
            "`b`",
            "main.a",
            "main.b",
            "busy",
            "above",
            "MAIN.[Odd \"Name]",
        ],
    ),
    ("alias", &["[x]", "`y`", "main"]),
    ("argument", &["?", "?1", "?2", "?"]),
    ("compare", &["==", "glob", "like", "is not"]),
    ("operator", &["<<", "&", "|", "->>", "=="]),
    (
        "aggregate",
        &[
            "max({column})",
            "min({column})",
            "group_concat({column})",
            "total({column})",
            "group_concat({column}, ',' order by {column})",
        ],
    ),
    (
        "window",
        &[
            "first_value({column}) over (order by {column})",
            "lag({column}) over (order by id)",
        ],
    ),
    (
        "expression",
        &[
            "iif({condition}, {expression}, {expression})",
            "typeof({expression})",
            "{expression} collate nocase",
            "json_array({expression})",
            "abs({column})",
            "x'00'",
            "rowid",
        ],
    ),
    (
        "factor",
        &[
            "json_each('[1,2]') as {alias}",
            "(values (1, 2), (3, 4)) as {alias}",
            "json_each({alias}.t)",
        ],
    ),
    (
        "condition",
        &[
            "{column} isnull",
            "{column} notnull",
            "{column} is {column}",
            "{column} = {column} collate nocase",
            "{column} not like {text}",
        ],
    ),
    ("limit", &["limit 1, 2", "limit -1"]),
    (
        "statement",
        &[
            "select * from a where n = ? and t = ?",
            "replace into a (id) values (1)",
            "insert or ignore into a (id) values (1)",
            "update or replace a set n = 1",
        ],
    ),
];

const POSTGRES: Rules = &[
    (
        "table",
        &[
            "public.a",
            "billing.a",
            "public.\"a\"",
            "only a",
            "pg_class",
            "\"A\"",
        ],
    ),
    (
        "text",
        &[
            "E'a\\'b'",
            "$$where$$",
            "$x$ ' $x$",
            "U&'x'",
            "n'x'",
            "b'1'",
        ],
    ),
    (
        "compare",
        &["~", "ilike", "@>", "#>>", "operator(pg_catalog.=)", "= any"],
    ),
    ("operator", &["#", "^", "->", "::int +", "<->", "?"]),
    (
        "expression",
        &[
            "array[{expression}]",
            "array({query})",
            "({expression})::text",
            "row({expression}, {expression})",
            "now()",
            "extract(year from now())",
            "{column} at time zone 'utc'",
            "substring({column} from 1 for 2)",
            "({column}).x",
            "{column}[1]",
        ],
    ),
    (
        "factor",
        &[
            "lateral ({query}) {alias}",
            "generate_series(1, {expression}) {alias}",
            "unnest(array[1, 2]) with ordinality as {alias} (i, j)",
            "{table} as {alias} (i, j)",
            "(values (1, 2), (3, 4)) as {alias} (id, n)",
            "{table} tablesample system (1)",
        ],
    ),
    (
        "select",
        &[
            "select distinct on ({column}) {items} from {from} where {condition}",
            "select from {from}",
            "select {items} from {from} group by grouping sets (({column}), ())",
            "select {items} from {from} window w as (partition by {column})",
        ],
    ),
    (
        "query",
        &[
            "{select} for update",
            "{select} for update of {alias} skip locked",
            "{select} for share nowait",
            "{select} fetch first 2 rows only",
            "({query}) {set} ({query})",
            "table a",
        ],
    ),
    (
        "statement",
        &[
            "{merge}",
            "{merge}",
            "with t as ({insert} returning *) {query}",
            "with t as ({update} returning id), {ctes} {query}",
            "with t as ({delete} returning *) {insert}",
            "delete from {table} using {from} where {condition}",
            "delete from {table} {alias} using {from} where {condition} {returning}",
        ],
    ),
    (
        "merge",
        &[
            "merge into a using b on a.id = b.id when matched then delete",
            "merge into {table} using {factor} on {condition} {whens}",
            "merge into {table} {alias} using {factor} on {link} {whens}",
        ],
    ),
    (
        "whens",
        &[
            "when matched then delete",
            "when matched and {condition} then update set {assignments} {whens}",
            "when not matched then insert (id, n) values (1, {expression})",
            "when not matched and {condition} then insert (id, n) values ({expression}, {expression}) {whens}",
            "when matched then do nothing",
            "when not matched by source then delete",
        ],
    ),
    (
        "conflict",
        &[
            "on conflict on constraint a_pkey do nothing",
            "on conflict on constraint a_pkey do update set {assignments}",
        ],
    ),
];
