use super::*;
use crate::backend::Dialect;

fn postgres() -> SqlGuard {
    SqlGuard::specimen_postgres()
}

fn sqlite() -> SqlGuard {
    SqlGuard::specimen_sqlite()
}

fn becomes(guard: &SqlGuard, sql: &str, expected: &str) {
    match guard.rewrite(sql) {
        Ok(statement) => assert_eq!(statement.sql(), expected, "from: {sql}"),
        Err(error) => panic!("{error}\nfrom: {sql}"),
    }
}

fn is_refused(guard: &SqlGuard, sql: &str, because: &str) {
    match guard.rewrite(sql) {
        Ok(statement) => panic!("{sql}\nbecame: {}", statement.sql()),
        Err(error) => assert!(error.to_string().contains(because), "{error}\nfrom: {sql}"),
    }
}

#[test]
fn a_session_that_sees_an_older_state_takes_nothing_back() {
    let read_at = |as_of, table: &str| {
        let mut catalog = Catalog::new(Dialect::Postgres);
        catalog.as_of = Some(as_of);
        catalog.add("public", table, true, Ownership::Shared);
        catalog
    };
    let guard = SqlGuard::new(read_at(5, "first"), None);
    guard.replace(read_at(7, "newer"), None);
    guard.doubt();
    let known = guard.replace(read_at(6, "older"), None);
    assert!(known.rewrite("select * from newer").is_ok());
    assert!(guard.is_due(&known), "the doubt is not settled");
    guard.replace(read_at(7, "same"), None);
    assert!(guard.rewrite("select * from same").is_ok());
    assert!(guard.rewrite("select * from newer").is_err());
}

#[test]
fn every_table_gets_its_condition() {
    let guard = postgres();
    for (sql, expected) in [
        ("select 1", "select 1"),
        ("select * from a", "select * from a where a.tenant_id = $1"),
        (
            "SELECT x.id\nFROM a AS x WHERE x.n = $1 OR x.n = $2 ORDER BY 1;",
            "SELECT x.id\nFROM a AS x WHERE x.tenant_id = $3 and (x.n = $1 OR x.n = $2) ORDER BY 1",
        ),
        (
            "select * from a, billing.a b2 limit 3",
            "select * from a, billing.a b2 where a.tenant_id = $1 and b2.tenant_id = $1 limit 3",
        ),
        (
            "select * from a where t like any ($1) or t not ilike any (array(select t from b))",
            "select * from a where a.tenant_id = $2 and (t like any ($1) or t not ilike any \
             (array(select t from b where b.tenant_id = $2)))",
        ),
        (
            "select * from a left join b on a.id = b.id or true where a.n is distinct from 3",
            "select * from a left join b on b.tenant_id = $1 and (a.id = b.id or true) where \
             a.tenant_id = $1 and (a.n is distinct from 3)",
        ),
        (
            "select * from a right join b on a.id = b.id",
            "select * from a right join b on a.tenant_id = $1 and (a.id = b.id) where b.tenant_id = $1",
        ),
        (
            "select * from a full join b on a.id = b.id",
            "select * from (select * from a where a.tenant_id = $1) as a full join \
             (select * from b where b.tenant_id = $1) as b on a.id = b.id",
        ),
        (
            "select * from a left join b using (id) join c using (id)",
            "select * from a left join (select * from b where b.tenant_id = $1) as b using (id) \
             join c using (id) where a.tenant_id = $1 and c.tenant_id = $1",
        ),
        (
            "select * from a left join (b join c on b.id = c.id) on a.id = b.id",
            "select * from a left join (b join c on b.id = c.id) on b.tenant_id = $1 and \
             c.tenant_id = $1 and (a.id = b.id) where a.tenant_id = $1",
        ),
        (
            "select * from (a join b on a.id = b.id) as j",
            "select * from ((select * from a where a.tenant_id = $1) as a join (select * from b \
             where b.tenant_id = $1) as b on a.id = b.id) as j",
        ),
        (
            "select * from a as x (i, j)",
            "select * from (select * from a where a.tenant_id = $1) as x (i, j)",
        ),
        (
            "select (select count(*) from b where b.id = a.id) from a where exists (select from c) \
             and a.id in (select id from b union select id from c) group by 1 having count(*) > (select 1)",
            "select (select count(*) from b where b.tenant_id = $1 and (b.id = a.id)) from a where \
             a.tenant_id = $1 and (exists (select from c where c.tenant_id = $1) and a.id in (select \
             id from b where b.tenant_id = $1 union select id from c where c.tenant_id = $1)) group by \
             1 having count(*) > (select 1)",
        ),
        (
            "with a as (select * from a) select * from a, public.b",
            "with a as (select * from a where a.tenant_id = $1) select * from a, public.b where \
             public.b.tenant_id = $1",
        ),
        (
            "with recursive t as (select id from a union all select a.id from a join t on t.id = a.parent) \
             select * from t",
            "with recursive t as (select id from a where a.tenant_id = $1 union all select a.id from a \
             join t on t.id = a.parent where a.tenant_id = $1) select * from t",
        ),
        (
            "select * from a for update skip locked",
            "select * from a where a.tenant_id = $1 for update skip locked",
        ),
        (
            "select * from a for no key update of a nowait",
            "select * from a where a.tenant_id = $1 for no key update of a nowait",
        ),
        (
            "select * from a where n = 1 FOR KEY SHARE",
            "select * from a where a.tenant_id = $1 and (n = 1) FOR KEY SHARE",
        ),
        (
            "select * from editions e join a on a.edition = e.id",
            "select * from editions e join a on a.edition = e.id where a.tenant_id = $1",
        ),
        (
            "select * from \"Odd \"\"Name\" where x = 'it''s -- no comment' /* from b */ -- or this\n",
            "select * from \"Odd \"\"Name\" where \"Odd \"\"Name\".tenant_id = $1 and (x = 'it''s -- no \
             comment')",
        ),
        (
            "select * from named n where n.id = $1",
            "select * from (select i.id, c.name from invoices i left join customers c on c.tenant_id = \
             $2 and (c.id = i.customer) where i.tenant_id = $2) n where n.id = $1",
        ),
        (
            "select * from a, lateral (select * from b where b.id = a.id) l, generate_series(1, 3) g",
            "select * from a, lateral (select * from b where b.tenant_id = $1 and (b.id = a.id)) l, \
             generate_series(1, 3) g where a.tenant_id = $1",
        ),
        (
            "select case when a.n > 1 then 2 end from a where case when a.n > 1 then true else false end",
            "select case when a.n > 1 then 2 end from a where a.tenant_id = $1 and (case when a.n > 1 \
             then true else false end)",
        ),
    ] {
        becomes(&guard, sql, expected);
    }
}

#[test]
fn every_write_is_held_to_the_tenant() {
    let guard = postgres();
    for (sql, expected) in [
        (
            "insert into a (id, n) values ($1, 1), (2, $2) returning *",
            "insert into a (id, n, tenant_id) values ($1, 1, $3), (2, $2, $3) returning *",
        ),
        (
            "insert into a (id) select distinct id from b where n > 1 union select 1",
            "insert into a (id, tenant_id) select distinct id, $1 from b where b.tenant_id = $1 and \
             (n > 1) union select 1, $1",
        ),
        (
            "insert into a default values",
            "insert into a (tenant_id) values ($1)",
        ),
        (
            "insert into a as x (id) values (1) on conflict (tenant_id, id) do update set n = x.n + 1",
            "insert into a as x (id, tenant_id) values (1, $1) on conflict (tenant_id, id) do update \
             set n = x.n + 1 where x.tenant_id = $1",
        ),
        (
            "insert into a (id) select id from b on conflict on constraint a_pkey do update set n = \
             excluded.n where a.n < 3 returning id",
            "insert into a (id, tenant_id) select id, $1 from b where b.tenant_id = $1 on conflict on \
             constraint a_pkey do update set n = excluded.n where a.tenant_id = $1 and (a.n < 3) \
             returning id",
        ),
        (
            "insert into a (id) values ($1) on conflict (tenant_id, id) where n > 0 and case when true \
             then true end do update set n = 1",
            "insert into a (id, tenant_id) values ($1, $2) on conflict (tenant_id, id) where n > 0 and \
             case when true then true end do update set n = 1 where a.tenant_id = $2",
        ),
        (
            "insert into a (id) values (1) on conflict (tenant_id, id) where n > 0 do nothing returning n",
            "insert into a (id, tenant_id) values (1, $1) on conflict (tenant_id, id) where n > 0 do \
             nothing returning n",
        ),
        (
            "update a set n = n + 1",
            "update a set n = n + 1 where a.tenant_id = $1",
        ),
        (
            "update a x set n = (select max(n) from b) from b left join c on b.id = c.id where x.id = b.id \
             returning x.*",
            "",
        ),
        (
            "update a x set n = (select count(*) from b) from b left join c on b.id = c.id where x.id = \
             b.id returning x.*",
            "update a x set n = (select count(*) from b where b.tenant_id = $1) from b left join c on \
             c.tenant_id = $1 and (b.id = c.id) where x.tenant_id = $1 and b.tenant_id = $1 and (x.id = \
             b.id) returning x.*",
        ),
        (
            "delete from a using b where a.id = b.id",
            "delete from a using b where a.tenant_id = $1 and b.tenant_id = $1 and (a.id = b.id)",
        ),
        ("delete from a", "delete from a where a.tenant_id = $1"),
        (
            "with gone as (delete from a returning *) insert into b (id) select id from gone",
            "with gone as (delete from a where a.tenant_id = $1 returning *) insert into b (id, \
             tenant_id) select id, $1 from gone",
        ),
        (
            "merge into a using b on a.id = b.id when matched and a.n > 1 then update set n = b.n \
             when matched then delete when not matched then insert (id, n) values (b.id, b.n)",
            "merge into a using (select * from b where b.tenant_id = $1) as b on a.tenant_id = $1 and \
             (a.id = b.id) when matched and a.n > 1 then update set n = b.n when matched then delete \
             when not matched then insert (id, n, tenant_id) values (b.id, b.n, $1)",
        ),
    ] {
        if expected.is_empty() {
            is_refused(&guard, sql, "the function max");
            continue;
        }
        becomes(&guard, sql, expected);
    }
}

#[test]
fn an_alias_with_a_point_is_refused_where_the_database_takes_it_for_two_names() {
    let sql = "update b set n = 1 from b x cross join a \"x.n\"";
    is_refused(&sqlite(), sql, "a point in it");
    assert!(postgres().rewrite(sql).is_ok());
}

#[test]
fn a_table_behind_a_column_that_is_called_like_an_operator_is_refused() {
    for guard in [postgres(), sqlite()] {
        for sql in [
            "select $1 or from a",
            "select 1 and from a",
            "select n like from a where n = 1",
            "select (select $1 or from a)",
            "select t collate from a",
            "select x.t from b x where exists (select 1 or from a)",
            "select $1 or from b join a on true",
            "with x as (select 1 or from a) select * from x",
            "select 1 union select $1 or from a",
            "insert into b (t) select $1 or from a",
        ] {
            let refused = guard.rewrite(sql).err();
            assert!(refused.is_some(), "{sql}");
        }
    }
    for sql in [
        "select extract(year from d), n is distinct from 1, overlay(t placing 'x' from 1) from a",
        "select substring(t from 1 for 2), substring(t, 1, 2), trim(both 'x' from t) from a",
        "select n as from, n as \"join\" from a x join b y using (n)",
        "update a set n = b.n from b where a.id = b.id and a.n is not distinct from b.n",
        "delete from a using b where a.id = b.id",
    ] {
        if let Err(error) = postgres().rewrite(sql) {
            assert!(
                !error.to_string().contains("reads a name"),
                "{sql}: {error}"
            );
        }
    }
}

#[test]
fn what_is_not_proven_is_refused() {
    let guard = postgres();
    for (sql, because) in [
        ("", "an empty statement"),
        ("select 1; select 2", "several statements"),
        ("select 1; select 2;", "several statements"),
        ("create table x (id int)", "the statement CREATE"),
        ("set tenantry.tenant_id = 'x'", "the statement SET"),
        ("copy a to stdout", "the statement COPY"),
        ("do $$ begin end $$", "the statement DO"),
        ("begin", "the statement BEGIN"),
        ("explain select * from a", "the statement EXPLAIN"),
        ("table a", "the statement TABLE"),
        (
            "select set_config('tenantry.tenant_id', 'x', true)",
            "the function set_config",
        ),
        (
            "select query_to_xml('select * from a', true, true, '')",
            "the function query_to_xml",
        ),
        ("select * from pg_class", "the system catalog pg_class"),
        (
            "select * from pg_catalog.pg_class",
            "the system catalog pg_catalog.pg_class",
        ),
        ("select * from nowhere", "the unknown table nowhere"),
        ("select * from loose", "neither protected nor shared"),
        ("select * into x from a", "SELECT INTO"),
        ("insert into a values (1)", "without a list of columns"),
        (
            "insert into a (tenant_id, id) values ($1, $2)",
            "a write to tenant_id",
        ),
        (
            "insert into a (id) values (1) on conflict (id) do nothing",
            "without the tenant",
        ),
        (
            "insert into c (id) values (1) on conflict do nothing",
            "without a target",
        ),
        (
            "insert into a (id) values (1) on conflict (tenant_id, id) where n > (select 1 from b) do nothing",
            "a sub-query or an argument",
        ),
        (
            "insert into a (id) values (1) on conflict (id) where n > 0 do nothing",
            "without the tenant",
        ),
        ("update a set tenant_id = $1", "a write to tenant_id"),
        (
            "update a set (n, \"tenant_id\") = (1, $1)",
            "a write to tenant_id",
        ),
        (
            "update editions set n = 1",
            "a write to the shared table editions",
        ),
        (
            "insert into named (id) values (1)",
            "a write to the view named",
        ),
        ("select * from a, a", "two tables of the name a"),
        ("select * from a x, b X", "two tables of the name x"),
        ("select * from only a", "the word ONLY"),
        (
            "with \"only\" as (select 1) select * from only a",
            "the word ONLY",
        ),
        ("update only a set n = 1", "the word ONLY"),
        ("delete from only a", "the word ONLY"),
        (
            "with invoices as (select 1 as id) select * from named",
            "the name invoices",
        ),
        (
            "select a.ctid from a full join b on true",
            "a system column",
        ),
        (
            "select public.a.id from public.a full join b on true",
            "with its schema",
        ),
        (
            "select * from a #--1\n or true",
            "an operator that begins a comment",
        ),
        ("select * from a where n = 1or 1=1", "a space"),
        ("select U&'x'", "cannot read"),
        (
            "select * from a full join b on true for update",
            "a locking clause",
        ),
        ("select * from a tablesample system (1)", "TABLESAMPLE"),
        ("select count(i) from a i(x, y)", "the whole row of a table"),
        (
            "select count(v) from named v(x, y)",
            "the whole row of a table",
        ),
        (
            "select a from a full join b on true",
            "the whole row of a table",
        ),
        ("listen x", "the statement LISTEN"),
        (
            "select 1 end union all select n from a",
            "read: END in line 1",
        ),
        ("select 1 end; select n from a", "read: END in line 1"),
        (
            "select * from a where n = ?",
            "an argument without a number",
        ),
        ("select * from a where n in ()", "IN with an empty list"),
        ("select * from a from b", "read: FROM in line 1, column 17"),
        (
            "merge into a using b on true when not matched by source then delete",
            "NOT MATCHED BY SOURCE",
        ),
    ] {
        is_refused(&guard, sql, because);
    }
}

#[test]
fn sqlite_has_its_own_grammar() {
    let guard = sqlite();
    for (sql, expected) in [
        (
            "select * from A where n = ? and m = ?",
            "select * from A where A.tenant_id = ?3 and (n = ?1 and m = ?2)",
        ),
        (
            "select * from a where n = $2 and m = $1",
            "select * from a where a.tenant_id = $3 and (n = $2 and m = $1)",
        ),
        (
            "select * from [a] where n = ?2 and m = ?1",
            "select * from [a] where [a].tenant_id = ?3 and (n = ?2 and m = ?1)",
        ),
        (
            "insert into a (id) values (?) on conflict (tenant_id, id) do update set n = excluded.n",
            "insert into a (id, tenant_id) values (?1, ?2) on conflict (tenant_id, id) do update set n \
             = excluded.n where a.tenant_id = ?2",
        ),
        (
            "with n(x) as (select 1 union all select x + 1 from n where x < 3) select * from n",
            "with n(x) as (select 1 union all select x + 1 from n where x < 3) select * from n",
        ),
        (
            "select * from a, b right join c on b.id = c.id",
            "select * from (select * from a where a.tenant_id = ?1) as a, (select * from b where \
             b.tenant_id = ?1) as b right join (select * from c where c.tenant_id = ?1) as c on b.id = \
             c.id",
        ),
    ] {
        becomes(&guard, sql, expected);
    }
    for (sql, because) in [
        ("select ?2, $2 from a", "arguments written in several ways"),
        ("select ?, ?1 from a", "arguments written in several ways"),
        (
            "select count(*) from a x join (b x join c on true) as j on true",
            "two tables of the name x",
        ),
        ("insert or replace into a (id) values (1)", "INSERT OR"),
        ("replace into a (id) values (1)", "the statement REPLACE"),
        ("update or ignore a set n = 1", "UPDATE OR"),
        ("select * from a where n = :n", "an argument with a name"),
        (
            "select * from sqlite_schema",
            "the system catalog sqlite_schema",
        ),
        ("pragma table_info(a)", "the statement PRAGMA"),
        ("attach 'x' as y", "the statement ATTACH"),
        (
            "select * from pragma_table_info('a')",
            "the function pragma_table_info",
        ),
        ("select * from a where n in b", "cannot read"),
        ("select * from a where t like any (t)", "another dialect"),
        ("select *\u{b}from a", "white space"),
        ("delete from b \u{2003} ", "white space"),
        ("select * from a \u{a0}", "white space"),
        (
            "select a.id from a natural join (b join c on b.n = c.n)",
            "a join in brackets beside NATURAL",
        ),
        (
            "select a.id from (a join b on a.n = b.n) full join c on c.n = a.n",
            "a join in brackets beside NATURAL",
        ),
        (
            "select main.a.n from b full join a on true",
            "a column named with its schema",
        ),
        (
            "select main.named.id from named",
            "a column named with its schema",
        ),
        (
            "select id from c where t ->> 'x' = lower('y')",
            "the operator ->> beside the index c_n of c",
        ),
        ("select * from 'a'", "a name in single quotes"),
    ] {
        is_refused(&guard, sql, because);
    }
}

#[test]
fn a_deep_statement_neither_overflows_nor_passes() {
    let guard = postgres();
    let long = format!("select {}", vec!["1"; 200_000].join("+"));
    is_refused(&guard, &long, "thousands of terms");
    let nested = format!("select {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    is_refused(&guard, &nested, "brackets in each other");
    let just = format!(
        "select * from a where {}",
        vec!["n = 1"; 2_500].join(" or ")
    );
    assert!(guard.rewrite(&just).is_ok());
}

#[test]
fn memory_is_bounded() {
    let guard = postgres();
    let comment = "x".repeat(2_000);
    for number in 0..10_000 {
        let sql = format!("select {number} from a -- {comment}");
        guard.rewrite(&sql).unwrap();
    }
    let known = guard.known.read();
    assert!(known.statements.weight() <= SqlGuard::MOST_BYTES);
}

/// The stack of a worker of Tokio is no larger.
#[test]
fn queries_in_each_other_fit_on_the_stack_of_a_worker() {
    for (open, close) in [
        ("(select n from a where n in ", ")"),
        ("(select n from a where exists ", ")"),
        (
            "(select x.n from a left join (select n from b) y on true, lateral ",
            " x)",
        ),
        ("(with c0 as ", " select n from c0)"),
        (
            "(select case when n > 1 then (n + 1) else coalesce(n, ",
            ") end from a)",
        ),
    ] {
        for depth in [5, 10, 20, 30, 45, 60, 90] {
            let text = format!(
                "select * from a where n in {}(select n from b){}",
                open.repeat(depth),
                close.repeat(depth)
            );
            let guarded = move || {
                let _ = postgres().rewrite(&text);
                let _ = sqlite().rewrite(&text);
            };
            let worker = std::thread::Builder::new().stack_size(2 << 20);
            worker.spawn(guarded).unwrap().join().unwrap();
        }
    }
}
