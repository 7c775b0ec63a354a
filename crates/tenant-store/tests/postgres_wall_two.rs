//! Wall two on PostgreSQL: what the server itself refuses, whatever a service sends.
//!
//! Nothing of wall one takes part: the statements are plain SQL, over plain connections, as the
//! role that a service connects as.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a set-up that fails ends the test")]

mod wall_two;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tenantry_core::Secret;
use tenantry_store::postgres::{Bootstrap, Role, bootstrap, migrate, verify};
use tenantry_store::{ErrorKind, Migrations};
use tenantry_testkit::{PgBouncer, PgBouncerOptions, PostgresServer, TestDatabase, wall_two_alone};
use wall_two::{T1, T2, Walled, connect, refuses, run, run_as, texts, texts_as};

const COUNT: &str = "select count(*)::text from invoices";

// --- The wall ------------------------------------------------------------------------------------

#[tokio::test]
async fn without_a_tenant_there_are_no_rows() {
    let walled = Walled::with_invoices().await;
    let mut app = walled.app().await;
    assert_eq!(texts(&mut app, COUNT).await, ["0"], "never set");

    assert_eq!(texts_as(&mut app, T1, COUNT).await, ["2"]);
    assert_eq!(
        texts(&mut app, "select current_setting('tenantry.tenant_id')").await,
        [""],
        "after a transaction the setting is empty, not null"
    );
    assert_eq!(
        texts(&mut app, COUNT).await,
        ["0"],
        "set in an earlier transaction"
    );

    assert_eq!(
        run_as(&mut app, "junk", COUNT).await.unwrap_err().code,
        "22P02"
    );
    assert_eq!(
        run(
            &mut app,
            &format!("insert into invoices values ('{T1}', 9)")
        )
        .await
        .unwrap_err()
        .code,
        "42501"
    );
}

#[tokio::test]
async fn the_rows_of_another_tenant_are_out_of_reach() {
    let walled = Walled::with_invoices().await;
    let mut app = walled.app().await;

    for (sql, touched) in [
        (
            format!("update invoices set status = 'paid' where tenant_id = '{T2}'"),
            0,
        ),
        (format!("delete from invoices where tenant_id = '{T2}'"), 0),
        ("update invoices set status = 'paid'".to_owned(), 2),
        (
            "update invoices i set status = c.name from customers c where c.id = i.customer_id"
                .to_owned(),
            1,
        ),
        (
            "with gone as (delete from invoices where id = 2 returning tenant_id) \
             insert into customers select tenant_id, 8 from gone"
                .to_owned(),
            1,
        ),
        (
            format!("select from invoices where tenant_id = '{T2}' for update"),
            0,
        ),
    ] {
        assert_eq!(run_as(&mut app, T1, &sql).await.unwrap(), touched, "{sql}");
    }
    let mut platform = walled.platform().await;
    assert_eq!(
        texts(
            &mut platform,
            "select tenant_id || ' ' || id || ' ' || status from invoices order by 1"
        )
        .await,
        [
            format!("{T1} 1 c"),
            format!("{T2} 1 open"),
            format!("{T2} 2 open")
        ]
    );
}

#[tokio::test]
async fn a_row_cannot_be_given_to_another_tenant() {
    let walled = Walled::with_invoices().await;
    let mut app = walled.app().await;
    for (sql, code) in [
        (format!("insert into invoices values ('{T2}', 9)"), "42501"),
        (
            format!("insert into invoices select '{T2}', id + 10 from invoices"),
            "42501",
        ),
        (format!("update invoices set tenant_id = '{T2}'"), "42501"),
        (
            format!(
                "insert into invoices values ('{T2}', 1) on conflict (tenant_id, id) do update set status = 'x'"
            ),
            "42501",
        ),
        (
            format!("insert into invoices values ('{T2}', 1) on conflict do nothing"),
            "42501",
        ),
        (
            format!(
                "insert into invoices values ('{T1}', 1) \
                 on conflict (tenant_id, id) do update set tenant_id = '{T2}'"
            ),
            "42501",
        ),
        ("copy invoices from stdin".to_owned(), "0A000"),
    ] {
        assert_eq!(
            run_as(&mut app, T1, &sql).await.unwrap_err().code,
            code,
            "{sql}"
        );
    }
    // The parent is the other tenant's; the answer is that of a parent that is nowhere.
    run_as(&mut app, T2, "delete from invoices where customer_id = 7")
        .await
        .unwrap();
    run_as(&mut app, T2, "update customers set id = 70")
        .await
        .unwrap();
    for customer in [70, 71] {
        let sql = format!("update invoices set customer_id = {customer} where id = 1");
        assert_eq!(run_as(&mut app, T1, &sql).await.unwrap_err().code, "23503");
    }
}

#[tokio::test]
async fn truncate_and_its_like_are_not_granted() {
    let walled = Walled::with_invoices().await;
    let (mut app, mut platform) = (walled.app().await, walled.platform().await);
    for sql in [
        "truncate invoices",
        "create table spy (tenant_id uuid, id int, foreign key (tenant_id, id) references invoices)",
        "create trigger spy before insert on invoices execute function suppress_redundant_updates_trigger()",
        "alter table invoices disable row level security",
        "create policy open on invoices using (true)",
        "drop table invoices",
        "update tenantry.settings set app_role = current_user::regrole",
        "select tenantry.unprotect('invoices')",
        "select tenantry.as_platform()",
    ] {
        assert_eq!(run(&mut app, sql).await.unwrap_err().code, "42501", "{sql}");
        assert_eq!(
            run(&mut platform, sql).await.unwrap_err().code,
            "42501",
            "{sql}"
        );
    }
    let sql = walled.named("set role {platform}");
    assert_eq!(run(&mut app, &sql).await.unwrap_err().code, "42501");
    assert_eq!(
        run(&mut app, "select tenantry.as_owner()")
            .await
            .unwrap_err()
            .code,
        "42501"
    );
    // With row-level security off the server refuses, rather than show everything.
    let error = run_as(
        &mut app,
        T1,
        "set local row_security = off; select from invoices",
    )
    .await;
    assert_eq!(error.unwrap_err().code, "42501");
}

#[tokio::test]
async fn the_owner_sees_no_row_and_is_told_so() {
    let walled = Walled::with_invoices().await;
    let mut owner = walled.owner().await;
    let refused = run(&mut owner, "update invoices set status = 'paid'")
        .await
        .unwrap_err();
    assert_eq!(refused.code, "42501");
    run(&mut owner, "set row_security = on").await.unwrap();
    assert_eq!(texts(&mut owner, COUNT).await, ["0"]);
}

#[tokio::test]
async fn the_platform_is_held_to_the_tenant_that_it_works_for() {
    let walled = Walled::with_invoices().await;
    let mut platform = walled.platform().await;
    assert_eq!(texts_as(&mut platform, T1, COUNT).await, ["2"]);
    assert_eq!(
        run_as(&mut platform, T1, "update invoices set status = 'paid'")
            .await
            .unwrap(),
        2
    );
    assert_eq!(
        run_as(&mut platform, T1, "delete from invoices where id = 2")
            .await
            .unwrap(),
        1
    );
    for foreign in [
        format!("insert into customers values ('{T2}', 8, 'c')"),
        format!("update customers set tenant_id = '{T2}', id = 9"),
    ] {
        let refused = run_as(&mut platform, T1, &foreign).await.unwrap_err();
        assert_eq!(refused.code, "42501", "{foreign}");
    }
    // What a transaction has left behind is an empty text, and no tenant.
    assert_eq!(texts(&mut platform, COUNT).await, ["3"]);
}

#[tokio::test]
async fn the_platform_sees_every_tenant_but_stores_no_nil_tenant() {
    let walled = Walled::with_invoices().await;
    let mut platform = walled.platform().await;
    assert_eq!(texts(&mut platform, COUNT).await, ["4"]);
    let nil = "insert into customers values ('00000000-0000-0000-0000-000000000000', 1)";
    assert_eq!(run(&mut platform, nil).await.unwrap_err().code, "23514");
    assert_eq!(
        verify(walled.platform.url(), Role::Platform)
            .await
            .unwrap()
            .user,
        walled.platform.user()
    );
}

#[tokio::test]
async fn another_permissive_policy_opens_nothing() {
    let walled = Walled::with_invoices().await;
    walled
        .owner_runs("create policy open on invoices using (true) with check (true)")
        .await
        .unwrap();
    let mut app = walled.app().await;
    assert_eq!(texts_as(&mut app, T1, COUNT).await, ["2"]);
    assert_eq!(texts(&mut app, COUNT).await, ["0"]);
    let foreign = format!("insert into invoices values ('{T2}', 9)");
    assert_eq!(
        run_as(&mut app, T1, &foreign).await.unwrap_err().code,
        "42501"
    );

    walled
        .refuses(
            ErrorKind::UnprotectedTable,
            &[
                "public.invoices: its policy open lets rows through",
                "drop policy open on public.invoices",
            ],
        )
        .await;
}

#[tokio::test]
async fn a_partition_is_reached_through_its_table_alone() {
    let walled = Walled::empty().await;
    walled
        .owner_runs(
            "create table events (tenant_id uuid not null, at date not null, primary key (tenant_id, at))
                 partition by range (at);
             create table events_2026 partition of events
                 for values from ('2026-01-01') to ('2027-01-01') partition by hash (tenant_id);
             create table events_2026_0 partition of events_2026 for values with (modulus 1, remainder 0);
             select tenantry.protect('events');",
        )
        .await
        .unwrap();
    let mut app = walled.app().await;
    for tenant in [T1, T2] {
        let sql = format!("insert into events values ('{tenant}', '2026-05-01')");
        assert_eq!(run_as(&mut app, tenant, &sql).await.unwrap(), 1);
    }
    assert_eq!(
        texts_as(&mut app, T1, "select tenant_id::text from events").await,
        [T1]
    );
    for leaf in ["events_2026", "events_2026_0"] {
        let sql = format!("select from {leaf}");
        assert_eq!(run_as(&mut app, T1, &sql).await.unwrap_err().code, "42501");
    }
    walled.verify().await.unwrap();

    // Granted by mistake, the leaf is under the wall as well; and the mistake is found.
    walled
        .owner_runs("grant select on events_2026_0 to {app}")
        .await
        .unwrap();
    assert_eq!(
        texts_as(&mut app, T1, "select tenant_id::text from events_2026_0").await,
        [T1]
    );
    walled
        .refuses(
            ErrorKind::UnprotectedTable,
            &[
                "public.events_2026_0: this partition",
                "select tenantry.protect('public.events')",
            ],
        )
        .await;
    walled
        .owner_runs("select tenantry.protect('events')")
        .await
        .unwrap();
    walled.verify().await.unwrap();

    // So does a new leaf; until it is protected nobody is granted it, and the table's wall holds.
    walled
        .owner_runs(
            "create table events_2027 partition of events for values from ('2027-01-01') to ('2028-01-01')",
        )
        .await
        .unwrap();
    walled.verify().await.unwrap();
    let refused = walled
        .owner_runs("select tenantry.protect('events_2027')")
        .await
        .unwrap_err();
    assert_eq!(
        (&*refused.code, refused.hint.contains("public.events")),
        ("TN012", true)
    );
}

#[tokio::test]
async fn what_was_revoked_is_not_given_back() {
    let walled = Walled::with_invoices().await;
    let rights = async |table: &str| {
        let held = format!(
            "select concat_ws(' ', acl.grantee::regrole, acl.privilege_type, acl.is_grantable, a.attname)
             from pg_class c left join pg_attribute a on a.attrelid = c.oid and a.attacl is not null,
                 lateral (
                     select (aclexplode(c.relacl)).* union all select (aclexplode(a.attacl)).*
                 ) acl
             where c.oid = '{table}'::regclass order by 1"
        );
        texts(&mut walled.admin().await, &held).await
    };
    let whole = rights("customers").await;
    walled
        .owner_runs(
            "revoke update, delete on invoices from {app}; grant update (status) on invoices to {app};
             revoke delete on invoices from {platform}; revoke all on customers from {app};",
        )
        .await
        .unwrap();
    let before = [rights("invoices").await, rights("customers").await];
    walled
        .owner_runs("select tenantry.protect('customers'), tenantry.protect('invoices')")
        .await
        .unwrap();
    assert_eq!(
        [rights("invoices").await, rights("customers").await],
        before
    );
    walled.verify().await.unwrap();

    // Who wants all of it again builds the wall anew.
    walled
        .owner_runs("select tenantry.unprotect('customers'), tenantry.protect('customers')")
        .await
        .unwrap();
    assert_eq!(rights("customers").await, whole);
}

#[tokio::test]
async fn views_and_functions_of_the_owner_show_nothing() {
    let walled = Walled::with_invoices().await;
    walled
        .owner_runs(
            "create view every_invoice as select * from invoices;
             grant select on every_invoice to {app};
             set local row_security = on;
             create function count_invoices() returns bigint language sql security definer
                 as 'select count(*) from invoices';",
        )
        .await
        .unwrap();
    let mut app = walled.app().await;
    assert_eq!(
        texts_as(&mut app, T1, "select count(*)::text from every_invoice").await,
        ["0"]
    );
    assert_eq!(
        texts_as(&mut app, T1, "select count_invoices()::text").await,
        ["0"]
    );
    let finding = "public.every_invoice: this view reads with the rights of its owner";
    walled
        .refuses(ErrorKind::UnprotectedTable, &[finding])
        .await;

    // Before version 15 there is no such option, and the advice is to revoke.
    if server_version(&mut app).await >= 150_000 {
        let fix = "alter view public.every_invoice set (security_invoker = true)";
        walled.refuses(ErrorKind::UnprotectedTable, &[fix]).await;
        walled
            .owner_runs("alter view every_invoice set (security_invoker = true)")
            .await
            .unwrap();
        assert_eq!(
            texts_as(&mut app, T1, "select count(*)::text from every_invoice").await,
            ["2"]
        );
        walled.verify().await.unwrap();
    }
}

#[tokio::test]
async fn what_row_level_security_cannot_stop_is_found() {
    let walled = Walled::with_invoices().await;
    for (make, finding, unmake) in [
        (
            "create function count_invoices() returns bigint language sql security definer \
                 as 'select count(*) from public.invoices'",
            "count_invoices(): this function runs with the rights of",
            "drop function count_invoices()",
        ),
        (
            "create materialized view copies as select * from invoices; grant select on copies to {app}",
            "public.copies: this materialized view keeps rows of all tenants",
            "drop materialized view copies",
        ),
        (
            "create foreign data wrapper elsewhere; create server far foreign data wrapper elsewhere;
             create foreign table far_invoices (id int) server far; grant select on far_invoices to {app}",
            "public.far_invoices: this foreign table cannot have row-level security",
            "drop foreign data wrapper elsewhere cascade",
        ),
        (
            "grant truncate, references (id) on invoices to {app}",
            "has the privilege TRUNCATE, REFERENCES (fix: select tenantry.protect('public.invoices'))",
            "revoke truncate, references on invoices from {app}",
        ),
        (
            "create table plain (id int); grant select (id) on plain to public",
            "public.plain: row-level security is off",
            "drop table plain",
        ),
        (
            "create schema far; grant usage on schema far to {app};
             create table far.\"Odd name\" (tenant_id uuid); grant delete on far.\"Odd name\" to {app}",
            "select tenantry.protect('far.\"Odd name\"')",
            "drop schema far cascade",
        ),
    ] {
        // Whatever the owner could not do, an administrator could.
        walled.admin_runs(make).await;
        let error = walled.verify().await.expect_err(make).to_string();
        assert!(error.contains(&walled.named(finding)), "{error}");
        walled.admin_runs(unmake).await;
        walled.verify().await.unwrap();
    }
}

#[tokio::test]
async fn the_wall_costs_one_comparison_for_a_statement() {
    let walled = Walled::with_invoices().await;
    let mut app = walled.app().await;
    run(
        &mut app,
        "set plan_cache_mode = force_generic_plan; set enable_seqscan = off",
    )
    .await
    .unwrap();
    run(
        &mut app,
        "prepare one (uuid, int) as select status from invoices where tenant_id = $1 and id = $2",
    )
    .await
    .unwrap();
    let explain = format!("explain (costs off) execute one ('{T1}', 1)");
    let plan = texts_as(&mut app, T1, &explain).await.join("\n");
    assert_eq!(
        plan,
        "Result\n  One-Time Filter: ((NULLIF(current_setting('tenantry.tenant_id'::text, true), \
         ''::text))::uuid = $1)\n  \
         ->  Index Scan using invoices_pkey on invoices\n        \
         Index Cond: ((tenant_id = $1) AND (id = $2))"
    );
}

// --- tenantry.protect ----------------------------------------------------------------------------

#[tokio::test]
async fn protecting_and_sharing_twice_changes_nothing() {
    let walled = Walled::with_invoices().await;
    let catalog = "select string_agg(c.xmin || ' ' || c.oid::regclass || coalesce(p.xmin || p.polname, '') \
                   || coalesce(k.xmin || k.conname, ''), ',' order by c.oid, p.oid, k.oid) \
                   from pg_class c left join pg_policy p on polrelid = c.oid \
                   left join pg_constraint k on conrelid = c.oid where relnamespace = 'public'::regnamespace";
    walled
        .owner_runs("create table editions (id int primary key); select tenantry.share('editions')")
        .await
        .unwrap();
    let mut admin = walled.admin().await;
    let before = texts(&mut admin, catalog).await;
    walled
        .owner_runs("select tenantry.protect('invoices'), tenantry.protect('customers'), tenantry.share('editions')")
        .await
        .unwrap();
    assert_eq!(texts(&mut admin, catalog).await, before);
}

#[tokio::test]
async fn protecting_again_mends_what_was_damaged() {
    let walled = Walled::with_invoices().await;
    for (damage, code) in [
        ("alter table invoices disable row level security", "TN050"),
        ("alter table invoices no force row level security", "TN051"),
        ("drop policy tenantry_wall on invoices", "TN052"),
        ("drop policy tenantry_access on invoices", "TN052"),
        ("drop policy tenantry_platform on invoices", "TN052"),
        ("alter policy tenantry_wall on invoices using (true)", "TN052"),
        ("alter policy tenantry_wall on invoices with check (true)", "TN052"),
        ("alter policy tenantry_wall on invoices to {platform}", "TN052"),
        ("alter policy tenantry_access on invoices to public", "TN052"),
        (
            "drop policy tenantry_wall on invoices; create policy tenantry_wall on invoices to {app}
             using (tenant_id = (select nullif(current_setting('tenantry.tenant_id', true), '')::uuid))",
            "TN052",
        ),
        ("alter table invoices drop constraint tenantry_not_nil", "TN060"),
        (
            "alter table invoices drop constraint tenantry_not_nil;
             alter table invoices add constraint tenantry_not_nil check (tenant_id is not null)",
            "TN060",
        ),
        ("grant trigger on invoices to {app} with grant option", "TN058"),
        ("grant truncate on invoices to public", "TN058"),
        ("grant references (status) on invoices to {app}", "TN058"),
    ] {
        walled.owner_runs(damage).await.unwrap();
        assert_eq!(walled.codes().await, [code], "{damage}");
        walled.refuses(ErrorKind::UnprotectedTable, &["public.invoices"]).await;
        walled.owner_runs("select tenantry.protect('invoices')").await.unwrap();
        assert!(walled.codes().await.is_empty(), "{damage}");
        walled.verify().await.unwrap();
    }
}

/// Tables that must not be protected as they are: SQL, code, message, and whether the hint is a
/// statement that mends it.
const BAD_SHAPES: &[(&str, &str, &str, bool)] = &[
    ("create table t (id int primary key)", "TN004", "it has no column tenant_id", false),
    (
        "create table t (tenant_id text not null, id int, primary key (tenant_id, id))",
        "TN004",
        "its column tenant_id is text, not a plain uuid",
        true,
    ),
    (
        "create table t (base uuid, tenant_id uuid generated always as (base) stored primary key, id int)",
        "TN004",
        "uuid and generated",
        true,
    ),
    ("create table t (tenant_id uuid, id int); create index on t (tenant_id)", "TN005", "tenant_id may be null", true),
    (
        "create table t (tenant_id uuid not null, id int primary key); create index on t (tenant_id)",
        "TN006",
        "its primary key t_pkey does not contain tenant_id",
        true,
    ),
    (
        "create table t (tenant_id uuid not null, id int, \"E mail\" text unique, primary key (tenant_id, id))",
        "TN006",
        "its unique key \"t_E mail_key\" does not contain tenant_id",
        true,
    ),
    (
        "create table t (tenant_id uuid not null, id int, email text, primary key (tenant_id, id));
         create unique index t_email on t (lower(email)) where id > 0",
        "TN006",
        "its unique key public.t_email does not contain tenant_id",
        false,
    ),
    (
        "create table t (tenant_id uuid not null, id int, email text, primary key (tenant_id, id));
         create unique index t_email on t (email) include (tenant_id)",
        "TN006",
        "t_email does not contain tenant_id",
        false,
    ),
    (
        "create table t (tenant_id uuid not null, id int, span int4range, primary key (tenant_id, id),
             exclude using gist (span with &&))",
        "TN006",
        "its exclusion constraint t_span_excl does not contain tenant_id",
        false,
    ),
    (
        "create table parent (tenant_id uuid not null, id int unique, primary key (tenant_id, id));
         create table t (tenant_id uuid not null, id int, parent_id int references parent (id),
             primary key (tenant_id, id))",
        "TN007",
        "foreign key t_parent_id_fkey from public.t to public.parent does not pair tenant_id",
        true,
    ),
    (
        "create table parent (tenant_id uuid not null, other uuid, id int, primary key (tenant_id, id));
         create table t (tenant_id uuid not null, id int, owner uuid, parent_id int,
             primary key (tenant_id, id),
             foreign key (owner, parent_id) references parent (tenant_id, id))",
        "TN007",
        "does not pair tenant_id",
        false,
    ),
    (
        "create table t (tenant_id uuid not null, id int, primary key (tenant_id, id));
         create table child (tenant_id uuid not null, owner uuid, t_id int,
             constraint up foreign key (owner, t_id) references t (tenant_id, id))",
        "TN007",
        "foreign key up from public.child to public.t does not pair tenant_id",
        false,
    ),
    (
        "create table t (tenant_id uuid not null, id int, up int, primary key (tenant_id, id),
             constraint up foreign key (tenant_id, up) references t on delete set null)",
        "TN008",
        "foreign key up from public.t to public.t would set tenant_id",
        false,
    ),
    (
        "create table t (tenant_id uuid not null, id int, up int, primary key (tenant_id, id),
             constraint up foreign key (tenant_id, up) references t on update set default)",
        "TN008",
        "would set tenant_id to null or to a default",
        false,
    ),
    ("create table t (tenant_id uuid not null, id int)", "TN009", "no index of it begins with tenant_id", true),
    (
        "create table t (tenant_id uuid not null, id int, primary key (id, tenant_id));
         create index on t (tenant_id) where id > 0; create index on t using hash (tenant_id)",
        "TN009",
        "no index of it begins with tenant_id",
        true,
    ),
    (
        "create table t (tenant_id uuid primary key); create policy \"Open\" on t using (true)",
        "TN010",
        "its policy \"Open\" lets rows through beside the wall",
        true,
    ),
    (
        "create table t (tenant_id uuid primary key); create rule silent as on delete to t do instead nothing",
        "TN011",
        "its rule silent runs with the rights of the owner",
        true,
    ),
    (
        "create table base (tenant_id uuid primary key); create table t (primary key (tenant_id)) inherits (base)",
        "TN012",
        "inherits from a table",
        false,
    ),
    ("create view t as select 1", "TN002", "public.t is a view, not a table", false),
    ("create materialized view t as select 1", "TN002", "public.t is a materialized view", false),
    ("create sequence t", "TN002", "public.t is a sequence", false),
    ("create temporary table t (tenant_id uuid primary key)", "TN002", "t is a temporary table", false),
];

#[tokio::test]
async fn a_bad_shape_is_refused_with_the_statement_that_mends_it() {
    let walled = Walled::empty().await;
    let mut owner = walled.owner().await;
    for (sql, code, fragment, mends) in BAD_SHAPES {
        let mut tx = owner.begin().await.unwrap();
        run(&mut tx, sql).await.unwrap();
        run(&mut tx, "savepoint made").await.unwrap();
        let refused = run(&mut tx, "select tenantry.protect('t')")
            .await
            .unwrap_err();
        assert_eq!(refused.code, *code, "{sql}: {}", refused.message);
        assert!(
            refused.message.contains(fragment),
            "{sql}: {}",
            refused.message
        );
        assert!(!refused.hint.is_empty(), "{sql}");
        run(&mut tx, "rollback to made").await.unwrap();
        if *mends {
            run(&mut tx, &refused.hint)
                .await
                .unwrap_or_else(|error| panic!("{}: {error:?}", refused.hint));
            run(&mut tx, "select tenantry.protect('t')")
                .await
                .unwrap_or_else(|error| panic!("{}: {error:?}", refused.hint));
        }
        tx.rollback().await.unwrap();
    }
}

#[tokio::test]
async fn an_action_that_spares_the_tenant_is_accepted() {
    let walled = Walled::empty().await;
    // Before version 15 an action cannot name columns.
    if server_version(&mut walled.admin().await).await >= 150_000 {
        walled
            .owner_runs(
                "create table t (tenant_id uuid not null, id int, up int, primary key (tenant_id, id),
                     foreign key (tenant_id, up) references t on delete set null (up));
                 select tenantry.protect('t')",
            )
            .await
            .unwrap();
        walled.verify().await.unwrap();
    }
}

#[tokio::test]
async fn a_table_of_somebody_else_and_rows_of_nobody_are_refused() {
    let walled = Walled::empty().await;
    walled
        .admin_runs("create table t (tenant_id uuid primary key)")
        .await;
    let mut admin = walled.admin().await;
    let refused = run(&mut admin, "select tenantry.protect('t')")
        .await
        .unwrap_err();
    assert_eq!(refused.code, "TN003");
    assert!(
        refused
            .hint
            .contains(&walled.named("alter table public.t owner to {owner}"))
    );

    walled.admin_runs("alter table t owner to {owner}").await;
    walled
        .owner_runs("insert into t values ('00000000-0000-0000-0000-000000000000')")
        .await
        .unwrap();
    let refused = walled
        .owner_runs("select tenantry.protect('t')")
        .await
        .unwrap_err();
    assert_eq!(refused.code, "23514");
    walled
        .owner_runs("delete from t; select tenantry.protect('t')")
        .await
        .unwrap();
}

#[tokio::test]
async fn sequences_and_the_schema_of_a_table_are_granted_along() {
    let walled = Walled::empty().await;
    walled
        .owner_runs(
            "create schema \"Sales\";
             create table \"Sales\".\"Orders\" (tenant_id uuid not null, a serial,
                 b int generated always as identity, primary key (tenant_id, a));
             select tenantry.protect('\"Sales\".\"Orders\"');",
        )
        .await
        .unwrap();
    let sql = format!("insert into \"Sales\".\"Orders\" values ('{T1}')");
    assert_eq!(run_as(&mut walled.app().await, T1, &sql).await.unwrap(), 1);
    walled.verify().await.unwrap();
}

#[tokio::test]
async fn unprotecting_shuts_the_table() {
    let walled = Walled::with_invoices().await;
    walled
        .owner_runs("select tenantry.unprotect('invoices')")
        .await
        .unwrap();
    for connection in [&mut walled.app().await, &mut walled.platform().await] {
        assert_eq!(
            run(connection, "select from invoices")
                .await
                .unwrap_err()
                .code,
            "42501"
        );
    }
    let mut owner = walled.owner().await;
    assert_eq!(texts(&mut owner, COUNT).await, ["4"]);
    let left = "select relrowsecurity or relforcerowsecurity or exists (select from pg_policy where polrelid = c.oid) \
                or exists (select from pg_constraint where conrelid = c.oid and contype = 'c') \
                from pg_class c where oid = 'invoices'::regclass";
    assert_eq!(
        texts(&mut owner, &format!("select ({left})::text")).await,
        ["false"]
    );
    walled.verify().await.unwrap();

    walled
        .owner_runs("select tenantry.unprotect('invoices')")
        .await
        .unwrap();
    walled
        .owner_runs("select tenantry.protect('invoices')")
        .await
        .unwrap();
    assert_eq!(texts_as(&mut walled.app().await, T1, COUNT).await, ["2"]);
}

#[tokio::test]
async fn a_shared_table_is_read_by_all_and_written_by_the_platform() {
    let walled = Walled::empty().await;
    walled
        .owner_runs(
            "create table editions (id int primary key, name text not null);
             select tenantry.share('editions'); select tenantry.share('editions');
             insert into editions values (1, 'basic');",
        )
        .await
        .unwrap();
    let (mut app, mut platform) = (walled.app().await, walled.platform().await);
    assert_eq!(
        texts(&mut app, "select name from editions").await,
        ["basic"]
    );
    for sql in [
        "insert into editions values (2, 'x')",
        "update editions set name = 'x'",
        "delete from editions",
    ] {
        assert_eq!(run(&mut app, sql).await.unwrap_err().code, "42501");
    }
    assert_eq!(
        run(&mut platform, "update editions set name = 'free'")
            .await
            .unwrap(),
        1
    );
    walled.verify().await.unwrap();

    for (damage, fragment) in [
        ("grant insert on editions to {app}", "may write it"),
        (
            "alter table editions disable row level security",
            "row-level security is off",
        ),
        (
            "alter policy tenantry_shared on editions using (id > 1)",
            "tenantry_shared was changed",
        ),
        (
            "drop policy tenantry_platform on editions",
            "tenantry_platform is missing",
        ),
    ] {
        walled.owner_runs(damage).await.unwrap();
        walled
            .refuses(
                ErrorKind::UnprotectedTable,
                &[fragment, "select tenantry.share('public.editions')"],
            )
            .await;
        walled
            .owner_runs("select tenantry.share('editions')")
            .await
            .unwrap();
        walled.verify().await.unwrap();
    }

    // The mark goes with the table.
    walled
        .owner_runs(
            "alter table editions rename to plans; create schema s; alter table plans set schema s",
        )
        .await
        .unwrap();
    walled.admin_runs("grant usage on schema s to {app}").await;
    walled.verify().await.unwrap();

    walled
        .owner_runs("select tenantry.unshare('s.plans')")
        .await
        .unwrap();
    assert_eq!(
        run(&mut app, "select from s.plans").await.unwrap_err().code,
        "42501"
    );
    walled.verify().await.unwrap();
}

#[tokio::test]
async fn a_table_is_shared_or_protected_never_both() {
    let walled = Walled::with_invoices().await;
    for (sql, hint) in [
        (
            "select tenantry.share('invoices')",
            "select tenantry.protect('public.invoices')",
        ),
        (
            "select tenantry.unshare('invoices')",
            "select tenantry.unprotect('public.invoices')",
        ),
    ] {
        let refused = walled.owner_runs(sql).await.unwrap_err();
        assert_eq!(refused.code, "TN013");
        assert!(refused.hint.contains(hint), "{}", refused.hint);
    }
    walled
        .owner_runs("create table t (id int); select tenantry.share('t'); alter table t add tenant_id uuid primary key")
        .await
        .unwrap();
    walled
        .refuses(
            ErrorKind::UnprotectedTable,
            &["it is shared, and has a column tenant_id"],
        )
        .await;
    let refused = walled
        .owner_runs("select tenantry.protect('t')")
        .await
        .unwrap_err();
    assert_eq!(
        (&*refused.code, &*refused.hint),
        ("TN010", "select tenantry.unshare('public.t')")
    );
    assert_eq!(
        walled
            .owner_runs("select tenantry.unprotect('t')")
            .await
            .unwrap_err()
            .code,
        "TN013"
    );
    walled
        .owner_runs("select tenantry.unshare('t'); select tenantry.protect('t')")
        .await
        .unwrap();
    walled.verify().await.unwrap();
}

// --- The boot check ------------------------------------------------------------------------------

#[tokio::test]
async fn a_role_that_gets_round_the_wall_is_refused() {
    let walled = Walled::with_invoices().await;
    walled.verify().await.unwrap();
    for (make, fragments, unmake) in [
        (
            "alter role {app} superuser",
            &[
                "{app}: this role is a superuser",
                "alter role {app} nosuperuser",
            ][..],
            "alter role {app} nosuperuser",
        ),
        (
            "alter role {app} bypassrls",
            &["{app}: this role bypasses row-level security"],
            "alter role {app} nobypassrls",
        ),
        (
            "alter role {app} createrole",
            &["this role creates roles", "nocreaterole"],
            "alter role {app} nocreaterole",
        ),
        (
            "alter role {app} replication",
            &["replication"],
            "alter role {app} noreplication",
        ),
        (
            "grant {owner} to {app}",
            &["member of {owner}, which owns the tables (fix: revoke {owner} from {app})"],
            "revoke {owner} from {app}",
        ),
        (
            "alter role {app} noinherit; grant {platform} to {app}",
            &["member of {platform}, which sees every tenant"],
            "alter role {app} inherit; revoke {platform} from {app}",
        ),
        (
            "grant pg_execute_server_program to {app}",
            &["files of the server"],
            "revoke pg_execute_server_program from {app}",
        ),
        (
            "alter table invoices owner to {app}",
            &["{app} owns 1 relation(s), such as public.invoices"],
            "alter table invoices owner to {owner}; select tenantry.protect('invoices')",
        ),
        (
            "grant create on schema public to {app}",
            &["revoke create on schema public from {app}"],
            "revoke create on schema public from {app}",
        ),
        (
            "grant create on schema public to public",
            &["revoke create on schema public from public"],
            "revoke create on schema public from public",
        ),
        (
            "alter role {owner} bypassrls",
            &["the owner role bypasses row-level security"],
            "alter role {owner} nobypassrls",
        ),
        (
            "grant {owner} to {app}; grant truncate on invoices to {app}",
            &["member of {owner}", "TRUNCATE"],
            "revoke {owner} from {app}; revoke truncate on invoices from {app}",
        ),
    ] {
        walled.admin_runs(make).await;
        walled.refuses(ErrorKind::UnsafeRole, fragments).await;
        walled.admin_runs(unmake).await;
        walled
            .verify()
            .await
            .unwrap_or_else(|error| panic!("after {unmake}: {error}"));
    }
}

#[tokio::test]
async fn an_owner_that_inherits_from_the_platform_is_found_and_mended() {
    let walled = Walled::with_invoices().await;
    let version = server_version(&mut walled.admin().await).await;
    walled
        .admin_runs(if version >= 160_000 {
            "grant {platform} to {owner} with inherit true"
        } else {
            "alter role {owner} inherit"
        })
        .await;
    walled
        .refuses(
            ErrorKind::UnsafeRole,
            &["the owner role inherits from {platform}"],
        )
        .await;
    walled.bootstrap().run().await.unwrap();
    walled.verify().await.unwrap();
}

#[tokio::test]
async fn bootstrap_takes_from_everybody_the_right_to_create() {
    let walled = Walled::empty().await;
    walled
        .admin_runs("grant create on schema public to public, {app}")
        .await;
    walled
        .refuses(
            ErrorKind::UnsafeRole,
            &["may create objects in this schema"],
        )
        .await;
    walled.bootstrap().run().await.unwrap();
    walled.verify().await.unwrap();
}

#[tokio::test]
async fn the_wrong_role_is_told_which_is_right() {
    let walled = Walled::with_invoices().await;
    let stranger = walled.database.create_login("stranger").await.unwrap();
    let app = walled.named("connect as {app}");
    for (url, role, fragments) in [
        (walled.owner.url(), Role::App, ["owns the tables", &app]),
        (
            walled.platform.url(),
            Role::App,
            ["sees every tenant", &app],
        ),
        (
            walled.app.url(),
            Role::Platform,
            [
                "role of the services",
                &walled.named("connect as {platform}"),
            ],
        ),
        (
            stranger.url(),
            Role::App,
            [
                "none of the roles of this database",
                "connect as the app role",
            ],
        ),
        (
            walled.database.admin_url(),
            Role::App,
            ["superuser", "connect as"],
        ),
        (
            walled.database.admin_url(),
            Role::Platform,
            ["superuser", "connect as"],
        ),
    ] {
        let outcome = verify(url, role).await;
        // Its settings are right for migrations, and no reason to refuse it.
        let text = outcome.as_ref().unwrap_err().to_string();
        assert!(!text.contains("row_security is off"), "{text}");
        refuses(outcome, ErrorKind::UnsafeRole, &fragments);
    }

    // A login of its own for each service is fine, as long as it inherits the wall.
    walled
        .admin_runs(&format!("grant {{app}} to {}", stranger.user()))
        .await;
    assert_eq!(
        verify(stranger.url(), Role::App).await.unwrap().user,
        stranger.user()
    );
    let mut service = connect(&wall_two_alone(stranger.url()).unwrap()).await;
    assert_eq!(texts_as(&mut service, T1, COUNT).await, ["2"]);
    assert_eq!(texts(&mut service, COUNT).await, ["0"]);
}

#[tokio::test]
async fn a_tenant_set_by_default_is_refused() {
    let walled = Walled::with_invoices().await;
    walled
        .admin_runs(&format!(
            "alter role {{app}} set tenantry.tenant_id = '{T1}'"
        ))
        .await;
    walled
        .refuses(
            ErrorKind::InvalidSettings,
            &["tenantry.tenant_id is set outside any unit of work"],
        )
        .await;
    walled
        .admin_runs("alter role {app} reset \"tenantry.tenant_id\"")
        .await;
    walled
        .admin_runs("alter role {app} set row_security = off")
        .await;
    walled
        .refuses(ErrorKind::InvalidSettings, &["row_security is off"])
        .await;
}

#[tokio::test]
async fn an_extension_may_bring_tables_of_its_own() {
    let walled = Walled::with_invoices().await;
    // What an extension like PostGIS does: a catalog of its own that everybody reads.
    walled
        .admin_runs(
            "create extension if not exists plpgsql; create table srs (id int); grant select on srs to public;
             alter extension plpgsql add table srs",
        )
        .await;
    walled.verify().await.unwrap();
    walled
        .admin_runs("alter table srs add column tenant_id uuid")
        .await;
    walled
        .refuses(ErrorKind::UnprotectedTable, &["public.srs"])
        .await;
}

#[tokio::test]
async fn a_schema_of_another_version_is_refused() {
    let walled = Walled::empty().await;
    let replace =
        "create or replace function tenantry.schema_version() returns integer language sql return";
    walled.owner_runs(&format!("{replace} 0")).await.unwrap();
    walled
        .refuses(
            ErrorKind::SchemaMismatch,
            &["has version 0, and 3 is needed: run the bootstrap"],
        )
        .await;

    walled.owner_runs(&format!("{replace} 4")).await.unwrap();
    walled
        .refuses(ErrorKind::SchemaMismatch, &["version 4", "newer Tenantry"])
        .await;
    refuses(
        walled.bootstrap().run().await,
        ErrorKind::SchemaMismatch,
        &["newer Tenantry"],
    );

    walled.owner_runs(&format!("{replace} 0")).await.unwrap();
    let report = walled.bootstrap().run().await.unwrap();
    assert_eq!(
        (report.previous_schema_version, report.schema_version),
        (Some(0), 3)
    );
    walled.verify().await.unwrap();

    walled.admin_runs("drop schema tenantry cascade").await;
    walled
        .refuses(
            ErrorKind::SchemaMismatch,
            &["the schema tenantry is missing: run the bootstrap"],
        )
        .await;
}

#[tokio::test]
async fn the_check_tells_what_it_learnt() {
    let walled = Walled::empty().await;
    let facts = walled.verify().await.unwrap();
    assert_eq!(
        facts.server_version_num,
        server_version(&mut walled.app().await).await
    );
    assert_eq!((facts.schema_version, facts.in_recovery), (3, false));
    assert_eq!(
        (&*facts.user, &*facts.database),
        (walled.app.user(), walled.database.name())
    );
}

#[tokio::test]
async fn check_and_wall_hold_through_a_pooler_in_transaction_mode() {
    let walled = Walled::with_invoices().await;
    let server = PostgresServer::shared().await.unwrap();
    let options = PgBouncerOptions::default()
        .with_pool_size(1)
        .with_login(&walled.app);
    let pooler = PgBouncer::start(server, options).await.unwrap();
    let url = pooler
        .url(&wall_two_alone(walled.app.url()).unwrap())
        .unwrap();
    // Twice over the one connection to the server: nothing that was prepared is in the way.
    for _ in 0..2 {
        verify(&url, Role::App).await.unwrap();
    }
    let (mut first, mut second) = (connect(&url).await, connect(&url).await);
    assert_eq!(
        texts_as(
            &mut first,
            T1,
            "select distinct tenant_id::text from invoices"
        )
        .await,
        [T1]
    );
    assert_eq!(
        texts(&mut second, COUNT).await,
        ["0"],
        "over the connection that first has used"
    );
    assert_eq!(
        texts_as(
            &mut second,
            T2,
            "select distinct tenant_id::text from invoices"
        )
        .await,
        [T2]
    );

    let admin = pooler.url(walled.database.admin_url()).unwrap();
    let bootstrap = Bootstrap::new(admin)
        .with_owner_role(walled.owner.user(), None)
        .with_app_role(walled.app.user(), None)
        .with_platform_role(walled.platform.user(), None);
    for _ in 0..2 {
        bootstrap.run().await.unwrap();
    }
}

// --- The bootstrap -------------------------------------------------------------------------------

#[tokio::test]
async fn bootstrap_runs_many_times_at_once_in_two_databases() {
    let server = PostgresServer::start().await.unwrap();
    let databases = [
        TestDatabase::create(&server).await.unwrap(),
        TestDatabase::create(&server).await.unwrap(),
    ];
    let secret = |text: &str| Some(Secret::new(text.to_owned()).into());
    let tasks = (0..8).map(|number: usize| {
        let bootstrap = Bootstrap::new(databases[number % 2].admin_url())
            .with_owner_role("tenantry_owner", secret("the owner's"))
            .with_app_role("tenantry_app", secret("it's \"quoted\" $$ \\ % too"))
            .with_platform_role("tenantry_platform", None);
        tokio::spawn(async move { bootstrap.run().await })
    });
    let mut reports = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        reports.push(task.await.unwrap().unwrap());
    }
    let created =
        |report: &&tenantry_store::postgres::BootstrapReport| !report.created_roles.is_empty();
    assert_eq!(reports.iter().filter(created).count(), 1);
    let first = |report: &&tenantry_store::postgres::BootstrapReport| {
        report.previous_schema_version.is_none()
    };
    assert_eq!(reports.iter().filter(first).count(), 2);

    for database in &databases {
        let url = database.url("tenantry_app", "it's \"quoted\" $$ \\ % too");
        verify(&url, Role::App).await.unwrap();
        let wrong = verify(&database.url("tenantry_app", "wrong"), Role::App).await;
        assert_eq!(wrong.unwrap_err().kind(), ErrorKind::AuthenticationFailed);
        let report = bootstrap(database.admin_url()).await.unwrap();
        assert_eq!(
            (report.created_roles, report.previous_schema_version),
            (vec![], Some(3))
        );
    }
}

#[tokio::test]
async fn bootstrap_needs_no_superuser() {
    let server = PostgresServer::start().await.unwrap();
    let database = TestDatabase::create(&server).await.unwrap();
    let admin = database.create_login("admin").await.unwrap();
    database
        .execute(&format!(
            "alter role {0} createrole; alter database {1} owner to {0}",
            admin.user(),
            database.name()
        ))
        .await
        .unwrap();
    let mut connection = connect(admin.url()).await;
    if server_version(&mut connection).await < 150_000 {
        // There the superuser owns the schema.
        refuses(
            bootstrap(admin.url()).await,
            ErrorKind::PermissionDenied,
            &[
                "schema public",
                "revoke create on schema public from public",
            ],
        );
        database
            .execute(&format!("alter schema public owner to {}", admin.user()))
            .await
            .unwrap();
    }
    let password = || Some(Secret::new("secret".to_owned()).into());
    let options = Bootstrap::new(admin.url())
        .with_owner_role("tenantry_owner", password())
        .with_app_role("tenantry_app", password());
    assert_eq!(options.run().await.unwrap().created_roles.len(), 3);
    verify(&database.url("tenantry_app", "secret"), Role::App)
        .await
        .unwrap();
    assert!(options.run().await.unwrap().created_roles.is_empty());
    // The membership that was lent for the bootstrap was given back.
    let member = "select pg_has_role('tenantry_owner', 'USAGE')::text";
    assert_eq!(texts(&mut connection, member).await, ["false"]);

    let migrations = Migrations::embedded(&[(
        1,
        "invoices",
        "create table invoices (tenant_id uuid primary key); select tenantry.protect('invoices')",
    )]);
    migrate(&database.url("tenantry_owner", "secret"), &migrations)
        .await
        .unwrap();
    verify(&database.url("tenantry_app", "secret"), Role::App)
        .await
        .unwrap();

    // A role without rights is told which it lacks, and nothing is left behind.
    let nobody = database.create_login("nobody").await.unwrap();
    refuses(
        Bootstrap::new(nobody.url())
            .with_app_role("another_app", None)
            .run()
            .await,
        ErrorKind::PermissionDenied,
        &[""],
    );
}

#[tokio::test]
async fn a_strong_role_is_refused_and_left_as_it_is() {
    let walled = Walled::empty().await;
    let strong = walled.database.create_login("strong").await.unwrap();
    for attribute in ["superuser", "bypassrls", "createrole", "replication"] {
        walled
            .admin_runs(&format!("alter role {} {attribute}", strong.user()))
            .await;
        refuses(
            walled
                .bootstrap()
                .with_app_role(strong.user(), None)
                .run()
                .await,
            ErrorKind::UnsafeRole,
            &["is too strong to be the app role", "name another role"],
        );
        walled
            .admin_runs(&format!("alter role {} no{attribute}", strong.user()))
            .await;
    }
    walled
        .admin_runs(&format!("grant {{owner}} to {}", strong.user()))
        .await;
    refuses(
        walled
            .bootstrap()
            .with_app_role(strong.user(), None)
            .run()
            .await,
        ErrorKind::UnsafeRole,
        &["is a member of role", "revoke"],
    );
    walled
        .admin_runs(&format!("revoke {{owner}} from {}", strong.user()))
        .await;
    refuses(
        walled
            .bootstrap()
            .with_app_role(strong.user(), None)
            .run()
            .await,
        ErrorKind::InvalidSettings,
        &["was bootstrapped with the roles", walled.app.user()],
    );
    walled.verify().await.unwrap();
}

#[tokio::test]
async fn roles_are_followed_when_they_are_renamed() {
    let walled = Walled::with_invoices().await;
    let renamed = format!("{}_2", walled.app.user());
    walled
        .admin_runs(&format!("alter role {{app}} rename to {renamed}"))
        .await;
    walled
        .bootstrap()
        .with_app_role(&renamed, None)
        .run()
        .await
        .unwrap();
    walled
        .owner_runs("select tenantry.protect('invoices')")
        .await
        .unwrap();
    verify(
        &walled.database.url(&renamed, walled.app.password()),
        Role::App,
    )
    .await
    .unwrap();
    walled
        .admin_runs(&format!("alter role {renamed} rename to {{app}}"))
        .await;
}

// --- Migrations ----------------------------------------------------------------------------------

const CUSTOMERS: (i64, &str, &str) = (
    1,
    "customers",
    "create table customers (tenant_id uuid not null, id int, name text, primary key (tenant_id, id));
     select tenantry.protect('customers');",
);
const INVOICES: (i64, &str, &str) = (
    2,
    "invoices",
    "create table invoices (tenant_id uuid not null, id int, customer_id int, primary key (tenant_id, id));
     select tenantry.protect('invoices');
     select tenantry.as_platform();
     insert into customers values ('11111111-1111-4111-8111-111111111111', 1);
     update customers set name = 'nobody' where name is null;
     select tenantry.as_owner();",
);

#[tokio::test]
async fn migrations_run_once_whoever_runs_them() {
    let walled = Walled::empty().await;
    let url = walled.owner.url().to_owned();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move {
                migrate(&url, &Migrations::embedded(&[INVOICES, CUSTOMERS])).await
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let mut platform = walled.platform().await;
    assert_eq!(
        texts(&mut platform, "select name from customers").await,
        ["nobody"]
    );
    walled.verify().await.unwrap();
}

#[tokio::test]
async fn a_folder_of_migrations_is_the_same_as_the_embedded_ones() {
    let walled = Walled::empty().await;
    let folder = tempfile::tempdir().unwrap();
    for (version, name, sql) in [CUSTOMERS, INVOICES] {
        std::fs::write(folder.path().join(format!("{version:04}_{name}.sql")), sql).unwrap();
    }
    let read = Migrations::from_dir(folder.path()).await.unwrap();
    assert_eq!(read.versions().collect::<Vec<_>>(), [1, 2]);
    migrate(walled.owner.url(), &read).await.unwrap();
    migrate(
        walled.owner.url(),
        &Migrations::embedded(&[CUSTOMERS, INVOICES]),
    )
    .await
    .unwrap();

    let empty = tempfile::tempdir().unwrap();
    for folder in [empty.path(), &empty.path().join("missing")] {
        refuses(
            Migrations::from_dir(folder).await,
            ErrorKind::InvalidSettings,
            &["read migrations"],
        );
    }
}

#[tokio::test]
async fn a_history_that_does_not_fit_is_refused() {
    let walled = Walled::empty().await;
    let url = walled.owner.url();
    migrate(url, &Migrations::embedded(&[CUSTOMERS, INVOICES]))
        .await
        .unwrap();
    let changed = (2, "invoices", "select 1");
    refuses(
        migrate(url, &Migrations::embedded(&[CUSTOMERS, changed])).await,
        ErrorKind::SchemaMismatch,
        &["2 (invoices)", "its text was changed"],
    );
    refuses(
        migrate(url, &Migrations::embedded(&[CUSTOMERS])).await,
        ErrorKind::SchemaMismatch,
        &["migrate 2", "the program is older than the database"],
    );
    refuses(
        migrate(url, &Migrations::embedded(&[CUSTOMERS, INVOICES, changed])).await,
        ErrorKind::InvalidSettings,
        &["two migrations have the number 2"],
    );
}

#[tokio::test]
async fn a_migration_that_fails_tells_why_and_leaves_nothing() {
    let walled = Walled::empty().await;
    let url = walled.owner.url();
    migrate(url, &Migrations::embedded(&[CUSTOMERS, INVOICES]))
        .await
        .unwrap();
    for (sql, kind, fragments) in [
        (
            "create table t (tenant_id uuid, id int primary key); select tenantry.protect('t')",
            ErrorKind::UnprotectedTable,
            [
                "migrate 3 (next)",
                "may be null (fix: alter table public.t alter column tenant_id set not null)",
            ],
        ),
        (
            "create function f() returns bigint language sql as 'select count(*) from customers'",
            ErrorKind::PermissionDenied,
            ["\"customers\"", "set local row_security = on"],
        ),
        (
            "update customers set name = 'x'",
            ErrorKind::PermissionDenied,
            ["\"customers\"", "tenantry.as_platform()"],
        ),
        (
            "alter table invoices add foreign key (tenant_id, customer_id) references customers",
            ErrorKind::PermissionDenied,
            ["foreign key", "lift FORCE from both tables"],
        ),
        (
            "select tenantry.as_platform()",
            ErrorKind::PermissionDenied,
            ["_sqlx_migrations", "tenantry.as_owner()"],
        ),
        (
            "create table t (tenant_id uuid; select 1",
            ErrorKind::InvalidInput,
            [
                "migrate 3 (next)",
                "syntax error at or near \";\": correct the migration",
            ],
        ),
        (
            "create table t (tenant_id uuid, amount decimall)",
            ErrorKind::InvalidInput,
            ["type \"decimall\" does not exist", "correct the migration"],
        ),
        (
            "select tenantry.protect('nope')",
            ErrorKind::InvalidInput,
            ["relation \"nope\" does not exist", "correct the migration"],
        ),
        (
            "do $$ begin raise exception 'invoices of 2012 are missing'; end $$",
            ErrorKind::ConstraintViolated,
            ["migrate 3 (next)", "invoices of 2012 are missing"],
        ),
        (
            "create extension file_fdw",
            ErrorKind::PermissionDenied,
            ["migrate 3 (next)", ""],
        ),
    ] {
        let next = (3, "next", sql);
        refuses(
            migrate(url, &Migrations::embedded(&[CUSTOMERS, INVOICES, next])).await,
            kind,
            &fragments,
        );
    }
    walled.admin_runs("drop schema tenantry cascade").await;
    let next = (3, "next", "select tenantry.protect('customers')");
    refuses(
        migrate(url, &Migrations::embedded(&[CUSTOMERS, INVOICES, next])).await,
        ErrorKind::SchemaMismatch,
        &["run the bootstrap first"],
    );
}

#[tokio::test]
async fn migrations_by_another_role_leave_nothing_that_the_owner_cannot_touch() {
    let walled = Walled::empty().await;
    let migrations = Migrations::embedded(&[CUSTOMERS]);
    for other in [walled.database.admin_url(), walled.app.url()] {
        let named = walled.named("connect as {owner}");
        refuses(
            migrate(other, &migrations).await,
            ErrorKind::InvalidSettings,
            &["migrations run as the owner role", &named],
        );
    }
    migrate(walled.owner.url(), &migrations).await.unwrap();
    // As another tool might have left it.
    walled
        .admin_runs("alter table _sqlx_migrations owner to current_user")
        .await;
    let mend = walled.named("alter table _sqlx_migrations owner to {owner}");
    refuses(
        migrate(walled.owner.url(), &migrations).await,
        ErrorKind::PermissionDenied,
        &[&*mend],
    );
    walled.admin_runs(&mend).await;
    migrate(walled.owner.url(), &migrations).await.unwrap();
}

#[tokio::test]
async fn a_foreign_key_is_added_later_with_its_rows_looked_at() {
    let walled = Walled::empty().await;
    let url = walled.owner.url();
    migrate(url, &Migrations::embedded(&[CUSTOMERS, INVOICES]))
        .await
        .unwrap();
    let mut platform = walled.platform().await;
    run(
        &mut platform,
        &format!("insert into invoices values ('{T1}', 1, 99)"),
    )
    .await
    .unwrap();
    let next = (
        3,
        "next",
        "alter table invoices no force row level security;
         alter table customers no force row level security;
         alter table invoices add foreign key (tenant_id, customer_id) references customers (tenant_id, id);
         select tenantry.protect('invoices'), tenantry.protect('customers');",
    );
    let migrations = Migrations::embedded(&[CUSTOMERS, INVOICES, next]);
    let error = migrate(url, &migrations).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConstraintViolated, "{error}");

    run(&mut platform, "update invoices set customer_id = 1")
        .await
        .unwrap();
    migrate(url, &migrations).await.unwrap();
    walled.verify().await.unwrap();
}

async fn server_version(connection: &mut PgConnection) -> i32 {
    sqlx::query_scalar(AssertSqlSafe(
        "select current_setting('server_version_num')::int4".to_owned(),
    ))
    .fetch_one(connection)
    .await
    .unwrap()
}
