//! The regression scripts of PostgreSQL, read from a folder: they are not part of this repository.
//!
//! Each script has databases of its own, with the tables that its set-up makes (filled by formula,
//! since the files with the data do not come with the scripts). Tables that a script creates get the
//! column of the tenant, and are protected where all tenants share them. What it reads and writes is
//! judged, and what it writes is kept if the guard takes it.

use std::path::PathBuf;
use std::time::Duration;

use sqlx::PgConnection;
use tenantry_store::{PostgresSettings, TenantStore};

use super::guard::Guard;
use super::judge::{Statement, Verdict, judge};
use super::report::Report;
use super::rewriter::Rewriter as _;
use super::schema::{Dice, Rows, Schema, TENANTS};
use super::split::statements;
use super::world::{World, must, run};

#[tokio::test]
#[ignore = "long, and needs the scripts: run by scripts/prove"]
async fn prove_regression_scripts_of_postgres() {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {}", folder().display());
    let mut report = Report::of("PostgreSQL's regression scripts");
    let patience = std::time::Instant::now() + super::long();
    let mut read = 0;
    for path in &paths {
        if std::time::Instant::now() > patience {
            break;
        }
        read += 1;
        let script = std::fs::read(path).unwrap();
        run_script(&String::from_utf8_lossy(&script), &mut report).await;
    }
    println!("{read} of {} scripts", paths.len());
    report.assert_no_mismatch();
}

/// The folder `src/test/regress/sql` of a copy of PostgreSQL's sources.
#[allow(
    clippy::disallowed_methods,
    reason = "says where the scripts are, for this proof alone"
)]
fn folder() -> PathBuf {
    let folder = std::env::var("TENANTRY_REGRESS_SCRIPTS");
    PathBuf::from(
        folder.expect("TENANTRY_REGRESS_SCRIPTS names the folder with PostgreSQL's scripts"),
    )
}

/// What makes a statement answer something else at each run, or in each database.
const FICKLE: [&str; 19] = [
    "random",
    "now()",
    "current_timestamp",
    "current_date",
    "clock_timestamp",
    "localtime",
    "txid",
    "xid",
    "pg_backend",
    "ctid",
    "tableoid",
    "xmin",
    "oid",
    "regclass",
    "'now'",
    "'today'",
    "pg_sleep",
    // A frame of rows in no order.
    "over (rows",
    // Of rows that are alike in their order.
    "nth_value",
];

/// The guard refuses SELECT INTO, and what came after would find the table on one side alone.
fn makes_a_table(first: Option<&str>, lower: &str) -> bool {
    first == Some("select") && lower.split_whitespace().any(|word| word == "into")
}

async fn run_script(script: &str, report: &mut Report) {
    let mut world = World::open(&SETUP).await;
    let mut guard = Guard::of(&world.store).await;
    let mut changed = false;
    for text in statements(script) {
        // A parameter of psql, or a placeholder, has no value here.
        if text.contains(" :") || text.contains("$1") || text.len() > 20_000 {
            continue;
        }
        let lower = text.to_lowercase();
        let first = lower
            .split(|letter: char| !letter.is_alphanumeric())
            .find(|word| !word.is_empty());
        match first.unwrap_or_default() {
            // Its rows would be nobody's where all tenants are.
            "create"
                if lower.contains(" as") && lower.contains("select") && lower.contains("table") => {
            }
            "create" | "drop" => changed |= world.define(&text).await,
            "select" | "insert" | "update" | "delete" | "merge" | "with" | "values" | "table" => {
                if FICKLE.iter().any(|word| lower.contains(word)) || makes_a_table(first, &lower) {
                    continue;
                }
                if changed {
                    let settings = PostgresSettings::new(world.app_url.clone());
                    let Ok(store) = TenantStore::postgres(settings).await else {
                        return;
                    };
                    guard = Guard::of(&store).await;
                    world.look().await;
                    changed = false;
                }
                let text = world.with_columns(&text).await;
                let statement = Statement::new(text);
                let judged = judge(&mut world, &guard, &statement);
                let verdict = tokio::time::timeout(Duration::from_secs(60), judged)
                    .await
                    .unwrap_or(Verdict::Undecided);
                report.add(&statement, &verdict);
                if matches!(verdict, Verdict::Equal { .. })
                    && let Ok(rewritten) = guard.rewrite(&statement.text)
                    && rewritten.writes
                {
                    world.keep(&statement.text, &rewritten.text).await;
                }
            }
            _ => {}
        }
    }
}

impl World {
    /// Makes or drops something everywhere; returns whether there is something new.
    async fn define(&mut self, text: &str) -> bool {
        let words: Vec<_> = text.split_whitespace().map(str::to_lowercase).collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let plain = text
            .replace("TEMP ", "")
            .replace("temp ", "")
            .replace("TEMPORARY ", "")
            .replace("temporary ", "");
        let plain = plain.replace("UNLOGGED ", "").replace("unlogged ", "");
        let is_table = words[0] == "create" && words.iter().take(3).any(|word| *word == "table");
        let is_view = words[0] == "create" && words.iter().take(4).any(|word| *word == "view");
        let is_type = words[0] == "create" && matches!(words[1], "type" | "domain");
        let is_drop = words[0] == "drop" && matches!(words[1], "table" | "view");
        let lower = plain.to_lowercase();
        let known = [
            "partition",
            "serial",
            "identity",
            "nextval",
            "inherits",
            "like ",
            " as ",
            " of ",
            "using ",
            "on commit",
        ];
        if !(is_table && !known.iter().any(|word| lower.contains(word))
            || is_view
            || is_type
            || is_drop)
        {
            return false;
        }
        let mut all = Vec::new();
        for connection in self.alone.iter_mut() {
            all.push(run(connection, plain.clone()).await.is_ok());
        }
        let owner = self.owner.clone();
        let as_owner = format!("set role {owner}; {plain}");
        let shared = run(&mut self.shared, as_owner).await.is_ok();
        let _ = run(&mut self.shared, "rollback; reset role".to_owned()).await;
        if !shared || !all.iter().all(|made| *made) {
            return shared;
        }
        let name = plain
            .split(|letter: char| letter.is_whitespace() || letter == '(')
            .skip_while(|word| !matches!(word.to_lowercase().as_str(), "table" | "view"))
            .skip(1)
            .find(|word| !matches!(word.to_lowercase().as_str(), "" | "if" | "not" | "exists"));
        let Some(name) = name.map(str::to_owned) else {
            return true;
        };
        if is_table {
            for (connection, tenant) in self.alone.iter_mut().zip(TENANTS) {
                let column = format!(
                    "alter table {name} add column tenant_id uuid not null default '{tenant}'"
                );
                let _ = run(connection, column).await;
            }
            if !self.protect(&name).await {
                let drop = format!("drop table {name} cascade");
                let _ = run(&mut self.shared, drop.clone()).await;
                for connection in &mut self.alone {
                    let _ = run(connection, drop.clone()).await;
                }
            }
        } else if is_view {
            let grant = format!(
                "alter view {name} set (security_invoker); grant select on {name} to {}",
                self.app
            );
            let _ = run(&mut self.shared, grant).await;
        }
        true
    }

    /// Puts the tenant into a table and into each of its keys, and protects it.
    async fn protect(&mut self, name: &str) -> bool {
        let keys = format!(
            "select conname, case contype when 'p' then 'primary key' else 'unique' end, \
                    (select string_agg(quote_ident(attname), ', ' order by ord) \
                     from unnest(conkey) with ordinality k (num, ord) \
                     join pg_attribute a on a.attrelid = conrelid and a.attnum = k.num) \
             from pg_constraint where conrelid = '{name}'::regclass and contype in ('p', 'u')"
        );
        let Ok(answers) = run(&mut self.shared, keys).await else {
            return false;
        };
        let mut script = format!(
            "alter table {name} add column tenant_id uuid not null; create index on {name} (tenant_id)"
        );
        for key in &answers[0].rows {
            let [Some(constraint), Some(kind), Some(columns)] = key.as_slice() else {
                return false;
            };
            script += &format!(
                "; alter table {name} drop constraint \"{constraint}\" cascade; \
                 alter table {name} add constraint \"{constraint}\" {kind} (tenant_id, {columns})"
            );
        }
        script += &format!("; select tenantry.protect('{name}')");
        let done = run(&mut self.shared, script).await.is_ok();
        let _ = run(&mut self.shared, "rollback".to_owned()).await;
        done
    }

    /// Looks which tables there are, and what is in them.
    async fn look(&mut self) {
        let tables = must(
            &mut self.shared,
            "select quote_ident(relname) from pg_class c where relkind = 'r' and relnamespace = 'public'::regnamespace \
             and exists (select from pg_attribute where attrelid = c.oid and attname = 'tenant_id') order by 1",
        ).await;
        let tables: Vec<_> = tables
            .into_iter()
            .filter_map(|row| row[0].clone())
            .collect();
        self.owned = tables
            .iter()
            .map(|name| name.trim_matches('"').to_owned())
            .collect();
        let queries: Vec<_> = tables.iter().map(|table| format!(
            "select '{table}', tenant_id::text, count(*), md5(string_agg((to_jsonb(the_row) - 'tenant_id')::text, chr(10) \
             order by (to_jsonb(the_row) - 'tenant_id')::text collate \"C\")) from {table} the_row group by tenant_id"
        )).collect();
        self.contents = format!("{} order by 1, 2", queries.join(" union all "));
        self.before = must(&mut self.shared, &self.contents.clone()).await;
    }

    /// Names the columns of an INSERT that names none, as the guard wants it.
    async fn with_columns(&mut self, text: &str) -> String {
        let lower = text.to_lowercase();
        let Some(rest) = lower.strip_prefix("insert into ") else {
            return text.to_owned();
        };
        let name = rest
            .split(|letter: char| letter.is_whitespace() || letter == '(')
            .next()
            .unwrap_or_default();
        let after = &text["insert into ".len() + name.len()..];
        let next = after
            .trim_start()
            .get(..6)
            .unwrap_or_default()
            .to_lowercase();
        if !matches!(next.as_str(), "values" | "select") {
            return text.to_owned();
        }
        let columns = format!(
            "select quote_ident(attname) from pg_attribute where attrelid = to_regclass('{name}') \
             and attnum > 0 and not attisdropped and attname <> 'tenant_id' order by attnum"
        );
        let Ok(answers) = run(&mut self.alone[0], columns).await else {
            return text.to_owned();
        };
        let columns: Vec<_> = answers[0]
            .rows
            .iter()
            .filter_map(|row| row[0].clone())
            .collect();
        for count in (1..=columns.len()).rev() {
            let named = format!(
                "insert into {name} ({}){after}",
                columns[..count].join(", ")
            );
            if run(&mut self.alone[0], format!("explain {named}"))
                .await
                .is_ok()
            {
                return named;
            }
        }
        text.to_owned()
    }

    /// Does for good what has been judged.
    async fn keep(&mut self, text: &str, rewritten: &str) {
        for connection in &mut self.alone {
            keep(connection, text, None).await;
        }
        for tenant in TENANTS {
            keep(&mut self.shared, rewritten, Some(tenant)).await;
        }
        self.before = must(&mut self.shared, &self.contents.clone()).await;
    }
}

async fn keep(connection: &mut PgConnection, text: &str, tenant: Option<&str>) {
    let tenant = tenant
        .filter(|_| text.contains("$1"))
        .map_or(String::new(), |tenant| format!(" ('{tenant}')"));
    let script =
        format!("begin; deallocate all; prepare kept as {text}\n; execute kept{tenant}; commit");
    if run(connection, script).await.is_err() {
        must(connection, "rollback").await;
    }
}

/// The tables of the set-up that plain statements use.
const SETUP: Schema = Schema {
    tables: "
        create table char_tbl (f1 char(4), {tenant}); create table varchar_tbl (f1 varchar(4), {tenant});
        create table text_tbl (f1 text, {tenant}); create table float8_tbl (f1 float8, {tenant});
        create table int2_tbl (f1 int2, {tenant}); create table int4_tbl (f1 int4, {tenant});
        create table int8_tbl (q1 int8, q2 int8, {tenant});
        create table onek (unique1 int4, unique2 int4, two int4, four int4, ten int4, twenty int4,
            hundred int4, thousand int4, twothousand int4, fivethous int4, tenthous int4, odd int4,
            even int4, stringu1 name, stringu2 name, string4 name, {tenant});
        create table onek2 (unique1 int4, unique2 int4, two int4, four int4, ten int4, twenty int4,
            hundred int4, thousand int4, twothousand int4, fivethous int4, tenthous int4, odd int4,
            even int4, stringu1 name, stringu2 name, string4 name, {tenant});
        create table tenk1 (unique1 int4, unique2 int4, two int4, four int4, ten int4, twenty int4,
            hundred int4, thousand int4, twothousand int4, fivethous int4, tenthous int4, odd int4,
            even int4, stringu1 name, stringu2 name, string4 name, {tenant});
        create table tenk2 (unique1 int4, unique2 int4, two int4, four int4, ten int4, twenty int4,
            hundred int4, thousand int4, twothousand int4, fivethous int4, tenthous int4, odd int4,
            even int4, stringu1 name, stringu2 name, string4 name, {tenant});
        create table person (name text, age int4, {tenant});
        create table emp (name text, age int4, salary int4, manager name, {tenant});
        create table road (name text, {tenant});
        create index on char_tbl (tenant_id); create index on varchar_tbl (tenant_id);
        create index on text_tbl (tenant_id); create index on float8_tbl (tenant_id);
        create index on int2_tbl (tenant_id); create index on int4_tbl (tenant_id);
        create index on int8_tbl (tenant_id); create index on onek (tenant_id, unique1);
        create index on onek2 (tenant_id, unique1); create index on tenk1 (tenant_id, unique1);
        create index on tenk2 (tenant_id, unique1); create index on person (tenant_id);
        create index on emp (tenant_id); create index on road (tenant_id);
    ",
    views: &[],
    owned: &[
        "char_tbl", "varchar_tbl", "text_tbl", "float8_tbl", "int2_tbl", "int4_tbl", "int8_tbl", "onek", "onek2",
        "tenk1", "tenk2", "person", "emp", "road",
    ],
    shared: &[],
    common: Vec::new,
    own: rows,
};

/// Rows by formula, in another order and with other values for each tenant.
fn rows(tenant: usize) -> Vec<Rows> {
    let wisconsin = |table: &'static str, count: usize| {
        let columns = "unique1, unique2, two, four, ten, twenty, hundred, thousand, twothousand, fivethous, \
                       tenthous, odd, even, stringu1, stringu2, string4";
        let rows = (0..count).map(|second| {
            // A step without a common factor with the count reaches each number once.
            let first = (second * [7, 11, 13][tenant] + tenant) % count;
            let hundred = first % 100;
            let letters = |number: usize| {
                let letters = [number / 676, number / 26, number].map(|part| char::from(b'A' + u8::try_from(part % 26).unwrap()));
                letters.iter().collect::<String>() + "AAA"
            };
            format!(
                "{first}, {second}, {}, {}, {}, {}, {hundred}, {first}, {first}, {first}, {first}, {}, {}, '{}', '{}', '{}'",
                first % 2, first % 4, first % 10, first % 20, hundred * 2 + 1, hundred * 2,
                letters(first), letters(second), ["AAAAxx", "HHHHxx", "OOOOxx", "VVVVxx"][second % 4]
            )
        });
        Rows::new(table, columns, rows.collect())
    };
    let own = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| (*text).to_owned())
            .collect::<Vec<_>>()
    };
    let mut dice = Dice::new(3000 + tenant as u64);
    let people = |dice: &mut Dice| {
        format!(
            "'{}', {}",
            dice.of(&["mike", "joe", "sally", "ann"]),
            18 + dice.roll(70)
        )
    };
    let person = (0..20).map(|_| people(&mut dice)).collect();
    let emp = (0..6)
        .map(|_| format!("{}, {}, 'bill'", people(&mut dice), dice.roll(900)))
        .collect();
    let more = tenant * 10;
    vec![
        Rows::new(
            "char_tbl",
            "f1",
            own(&["'a'", "'ab'", "'abcd'", ["'b'", "'c'", "'d'"][tenant]]),
        ),
        Rows::new(
            "varchar_tbl",
            "f1",
            own(&["'a'", "'ab'", "'abcd'", ["'b'", "'c'", "'d'"][tenant]]),
        ),
        Rows::new(
            "text_tbl",
            "f1",
            own(&["'doh!'", ["'hi de ho neighbor'", "'hi'", "'ho'"][tenant]]),
        ),
        Rows::new(
            "float8_tbl",
            "f1",
            own(&["0.0", "-34.84", "-1004.30", ["1.5", "2.5", "3.5"][tenant]]),
        ),
        Rows::new(
            "int2_tbl",
            "f1",
            own(&["0", "1234", "-1234", ["32767", "32766", "32765"][tenant]]),
        ),
        Rows::new(
            "int4_tbl",
            "f1",
            own(&["0", "123456", "-123456", ["2147483647", "7", "8"][tenant]]),
        ),
        Rows::new(
            "int8_tbl",
            "q1, q2",
            vec![
                format!("123, {}", 456 + more),
                "123, 4567890123456789".to_owned(),
                "4567890123456789, 123".to_owned(),
                "4567890123456789, 4567890123456789".to_owned(),
                "4567890123456789, -4567890123456789".to_owned(),
            ],
        ),
        wisconsin("onek", 200),
        wisconsin("onek2", 200),
        wisconsin("tenk1", 400),
        wisconsin("tenk2", 400),
        Rows::new("person", "name, age", person),
        Rows::new("emp", "name, age, salary, manager", emp),
        Rows::new(
            "road",
            "name",
            own(&[
                "'I- 580'",
                ["'I- 80'", "'Main St'", "'State Hwy 1'"][tenant],
            ]),
        ),
    ]
}
