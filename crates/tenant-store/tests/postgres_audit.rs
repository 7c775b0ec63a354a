//! Every kind of fault is found in a database that has it, and is gone after its fix.

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, reason = "a set-up that fails ends the test")]

#[path = "trouble/capture.rs"]
mod capture;
#[path = "audit/faults.rs"]
mod faults;
#[allow(dead_code, reason = "shared with the tests of the wall")]
mod wall_two;

use std::collections::BTreeSet;

use capture::Capture;
use faults::{By, Fault};
use tenantry_store::postgres::{Pooler, PostgresSettings, Role, ServerFacts, audit, verify};
use tenantry_store::{AuditReport, BootAudit, ErrorKind, Finding, Fix, Severity, TenantStore};
use tenantry_testkit::{PgBouncer, PgBouncerOptions, PostgresServer};
use wall_two::{Walled, refuses, texts};

impl Walled {
    async fn audit(&self) -> AuditReport<ServerFacts> {
        audit(self.app.url(), Role::App).await.unwrap()
    }

    async fn runs(&self, by: By, sql: &str) {
        match by {
            By::Owner => self
                .owner_runs(sql)
                .await
                .unwrap_or_else(|error| panic!("{sql}: {error:?}")),
            By::Administrator => self.admin_runs(sql).await,
        }
    }

    async fn make(&self, fault: &Fault) {
        self.runs(fault.by, fault.made).await;
    }

    /// Does what the report says, each statement once.
    async fn mend(&self, report: &AuditReport<ServerFacts>, fault: &Fault) {
        let mut done = BTreeSet::new();
        for finding in report.findings() {
            let (by, sql) = match &finding.fix {
                Fix::Owner(sql) => (By::Owner, sql.as_str()),
                Fix::Administrator(sql) => (By::Administrator, sql.as_str()),
                _ => (fault.by, fault.followed),
            };
            if done.insert(sql) {
                self.runs(by, sql).await;
            }
        }
    }
}

fn found(report: &AuditReport<ServerFacts>) -> Vec<(String, String)> {
    let pair = |finding: &Finding| (finding.code.clone(), finding.object.clone());
    report.findings().iter().map(pair).collect()
}

fn expected(walled: &Walled, fault: &Fault) -> Vec<(String, String)> {
    let named = |(code, object): &(&str, &str)| ((*code).to_owned(), walled.named(object));
    fault.found.iter().map(named).collect()
}

/// So many rounds of fixes may build on one another.
const ROUNDS: usize = 4;

async fn each_is_found_and_mended(faults: &[Fault]) {
    for fault in faults {
        let walled = Walled::empty().await;
        assert!(walled.audit().await.is_clean());
        walled.make(fault).await;

        let mut report = walled.audit().await;
        assert_eq!(
            found(&report),
            expected(&walled, fault),
            "{}: {:?}",
            fault.name,
            report.findings()
        );
        assert_eq!(
            walled.verify().await.is_err(),
            report.has(Severity::Error),
            "{}: a service is refused for errors alone",
            fault.name
        );

        for _ in 0..ROUNDS {
            walled.mend(&report, fault).await;
            report = walled.audit().await;
        }
        assert!(report.is_clean(), "{}: {:?}", fault.name, report.findings());
        walled.verify().await.unwrap();
    }
}

#[tokio::test]
async fn faults_of_shape_are_found_and_mended() {
    each_is_found_and_mended(faults::SHAPES).await;
}

#[tokio::test]
async fn faults_of_the_wall_are_found_and_mended() {
    each_is_found_and_mended(faults::WALLS).await;
}

#[tokio::test]
async fn faults_of_grants_are_found_and_mended() {
    each_is_found_and_mended(faults::GRANTS).await;
}

#[tokio::test]
async fn faults_of_roles_are_found_and_mended() {
    each_is_found_and_mended(faults::ROLES).await;
}

#[tokio::test]
async fn all_faults_are_found_at_once() {
    let walled = Walled::empty().await;
    let mut all = Vec::new();
    for fault in faults::all().filter(|fault| !fault.alone) {
        walled.make(fault).await;
        all.extend(expected(&walled, fault));
    }
    let found = found(&walled.audit().await);
    for pair in &all {
        assert!(found.contains(pair), "{pair:?} is not among {found:?}");
    }
    let codes: BTreeSet<_> = found.iter().map(|(code, _)| code).collect();
    assert!(codes.len() >= 28, "{codes:?}");
}

#[tokio::test]
async fn the_wrong_role_is_a_finding() {
    let walled = Walled::empty().await;
    for (url, role, object) in [
        (walled.owner.url(), Role::App, "{owner}"),
        (walled.platform.url(), Role::App, "{platform}"),
        (walled.app.url(), Role::Platform, "{app}"),
    ] {
        let report = audit(url, role).await.unwrap();
        assert_eq!(found(&report), [("TN032".to_owned(), walled.named(object))]);
        assert!(matches!(report.findings()[0].fix, Fix::Advice(_)));
    }
    assert!(
        audit(walled.platform.url(), Role::Platform)
            .await
            .unwrap()
            .is_clean()
    );
}

#[tokio::test]
async fn rights_through_a_group_are_taken_where_they_were_given() {
    let walled = Walled::empty().await;
    let group = walled.database.create_login("group").await.unwrap();
    walled
        .owner_runs(
            "create table t (tenant_id uuid not null, id uuid not null, primary key (tenant_id, id));
             select tenantry.protect('t');
             create table s (id int); select tenantry.share('s');
             create materialized view m as select 1 as id;",
        )
        .await
        .unwrap();
    walled
        .admin_runs(&format!(
            "grant {group} to {{app}}; grant truncate on t to {group}; grant insert on s to {group};
             grant select on m to {group}; grant {{platform}} to {group}",
            group = group.user()
        ))
        .await;
    let fault = &faults::ROLES[0];
    let report = walled.audit().await;
    let codes: BTreeSet<_> = found(&report).into_iter().map(|(code, _)| code).collect();
    for code in ["TN031", "TN056", "TN058", "TN059"] {
        assert!(codes.contains(code), "{code}: {:?}", report.findings());
    }
    walled.mend(&report, fault).await;
    let report = walled.audit().await;
    assert!(report.is_clean(), "{:?}", report.findings());
}

#[tokio::test]
async fn a_pooler_that_nobody_told_of_is_a_finding() {
    let walled = Walled::empty().await;
    let server = PostgresServer::shared().await.unwrap();
    let options = PgBouncerOptions::default()
        .with_pool_size(1)
        .with_login(&walled.app);
    let pooler = PgBouncer::start(server, options).await.unwrap();
    let settings = PostgresSettings::new(pooler.url(walled.app.url()).unwrap());

    let report = audit(settings.clone(), Role::App).await.unwrap();
    let [finding] = report.findings() else {
        panic!("{:?}", report.findings())
    };
    assert_eq!(
        (&*finding.code, finding.severity),
        ("TN042", Severity::Error)
    );
    assert!(finding.object.contains(walled.database.name()));

    let told = settings.with_pooler(Pooler::TransactionMode);
    assert!(audit(told, Role::App).await.unwrap().is_clean());
}

#[tokio::test]
async fn what_cannot_be_audited_is_an_error() {
    let walled = Walled::empty().await;
    let stranger = walled.database.create_login("stranger").await.unwrap();
    refuses(
        audit(stranger.url(), Role::App).await,
        ErrorKind::UnsafeRole,
        &[
            "none of the roles of this database",
            "connect as the app role",
        ],
    );
    walled.admin_runs("drop schema tenantry cascade").await;
    refuses(
        audit(walled.app.url(), Role::App).await,
        ErrorKind::SchemaMismatch,
        &["the schema tenantry is missing"],
    );
    refuses(
        audit(walled.database.admin_url(), Role::App).await,
        ErrorKind::UnsafeRole,
        &["superuser", "run that first"],
    );
}

#[tokio::test]
async fn a_boot_audit_that_warns_lets_tables_be_and_no_role() {
    let walled = Walled::with_invoices().await;
    walled
        .owner_runs("alter table invoices no force row level security; create table idle (id int)")
        .await
        .unwrap();
    let settings = PostgresSettings::new(walled.app.url());
    refuses(
        TenantStore::postgres(settings.clone()).await,
        ErrorKind::UnprotectedTable,
        &["TN051 public.invoices"],
    );
    let lenient = settings.with_boot_audit(BootAudit::Warn);
    let capture = Capture::start();
    TenantStore::postgres(lenient.clone()).await.unwrap();
    let logged: Vec<_> = capture
        .of("tenantry::store")
        .iter()
        .map(|event| ["code", "object", "severity", "fix"].map(|field| event.get(field).to_owned()))
        .collect();
    let [forced, idle] = &*logged else {
        panic!("{logged:?}")
    };
    assert_eq!(
        *forced,
        [
            "TN051",
            "public.invoices",
            "error",
            "select tenantry.protect('public.invoices')"
        ]
    );
    assert_eq!(idle[..3], ["TN064", "public.idle", "warning"]);
    drop(capture);
    // Who asks is told.
    refuses(
        verify(lenient.clone(), Role::App).await,
        ErrorKind::UnprotectedTable,
        &["TN051 public.invoices"],
    );

    walled.admin_runs("alter role {app} bypassrls").await;
    refuses(
        TenantStore::postgres(lenient).await,
        ErrorKind::UnsafeRole,
        &["bypasses row-level security"],
    );
}

#[tokio::test]
async fn tables_of_the_platform_and_the_history_of_migrations_are_nobody_elses() {
    let walled = Walled::empty().await;
    walled
        .owner_runs(
            "create table jobs (id int); grant select on jobs to {platform};
             create table _sqlx_migrations (version bigint);
             create schema elsewhere; create table elsewhere.notes (id int);",
        )
        .await
        .unwrap();
    let report = walled.audit().await;
    assert!(report.is_clean(), "{:?}", report.findings());
    let settings = PostgresSettings::new(walled.app.url()).with_schema("elsewhere");
    let report = audit(settings, Role::App).await.unwrap();
    assert_eq!(
        found(&report),
        [("TN064".to_owned(), "elsewhere.notes".to_owned())]
    );
}

#[tokio::test]
async fn the_functions_of_an_earlier_version_give_way() {
    let walled = Walled::empty().await;
    walled
        .owner_runs(
            "drop function tenantry.shape_problems, tenantry.audit;
             create function tenantry.shape_problems(target regclass)
                 returns table (code text, problem text, fix text) language sql as 'select null, null, null';
             create function tenantry.audit(who regrole, purpose text default 'app')
                 returns table (code text, object text, problem text, fix text)
                 language sql as 'select null, null, null, null';",
        )
        .await
        .unwrap();
    for _ in 0..2 {
        walled.bootstrap().run().await.unwrap();
    }
    assert!(walled.codes().await.is_empty());
    assert!(walled.audit().await.is_clean());
}

#[tokio::test]
async fn functions_of_the_owner_over_protected_tables_open_nothing() {
    let walled = Walled::with_invoices().await;
    walled
        .owner_runs(
            "create view own as select * from invoices;
             create function counted() returns bigint language plpgsql security definer
                 as 'begin return (select count(*) from own); end';
             create table jobs (id int); grant select on jobs to {platform};",
        )
        .await
        .unwrap();
    let report = walled.audit().await;
    assert!(report.is_clean(), "{:?}", report.findings());
}

#[tokio::test]
async fn a_materialized_view_that_was_taken_from_its_owner_can_be_refreshed() {
    let walled = Walled::empty().await;
    walled
        .owner_runs(
            "create materialized view totals as select 1 as id; grant select on totals to {platform};
             create function total() returns int language sql security definer as 'select id from totals';",
        )
        .await
        .unwrap();
    let fault = &faults::GRANTS[0];
    walled.mend(&walled.audit().await, fault).await;
    assert!(walled.audit().await.is_clean());
    walled
        .owner_runs("refresh materialized view totals")
        .await
        .unwrap();
    walled
        .owner_runs("create unique index on totals (id)")
        .await
        .unwrap();
    assert!(
        walled
            .owner_runs("refresh materialized view concurrently totals")
            .await
            .is_err()
    );
    let mut admin = walled.admin().await;
    let kept = walled.named("select has_table_privilege('{platform}', 'totals', 'SELECT')::text");
    assert_eq!(wall_two::texts(&mut admin, &kept).await, ["true"]);
}

/// Ways round the wall that no table shows: each reads or changes what another tenant has.
#[tokio::test]
async fn no_way_round_the_wall_is_called_clean() {
    let mut unseen = Vec::new();
    for (name, made, way, leaves) in [
        (
            "the owner's function over a materialized view",
            "create materialized view totals as select * from customers;
             alter materialized view totals owner to {owner};
             create function totals_of() returns setof text language sql security definer
                 as 'select tenant_id::text from totals';
             alter function totals_of() owner to {owner};",
            "select * from totals_of()",
            "",
        ),
        (
            "the owner's function over an administrator's",
            "create function secrets() returns setof text language sql security definer
                 as 'select tenant_id::text from customers';
             revoke all on function secrets() from public;
             grant execute on function secrets() to {owner};
             create function open() returns setof text language sql security definer
                 as 'select * from secrets()';
             alter function open() owner to {owner};",
            "select * from open()",
            "",
        ),
        (
            "an administrator's aggregate",
            "create function step(text, text) returns text language sql security definer
                 as 'select string_agg(tenant_id::text, '' '') from customers';
             revoke all on function step(text, text) from public;
             create aggregate peek(text) (sfunc = step, stype = text);",
            "select peek('x')",
            "",
        ),
        (
            "an administrator's view in the schema of the standard",
            "create view information_schema.customers as select * from customers;
             grant select on information_schema.customers to {app};",
            "select tenant_id::text from information_schema.customers",
            "",
        ),
        (
            "a rule of an administrator's view",
            "create view names with (security_invoker = true) as select id, name from customers;
             create rule renamed as on update to names do instead
                 update customers set name = new.name where id = old.id;
             grant select, update on names to {app};",
            "update names set name = 'ours'",
            "select name from customers where name = 'ours' and tenant_id = '{T2}'",
        ),
        (
            "what lies in a closed schema, by a view that leads there",
            "create schema closed;
             create materialized view closed.copies as select * from customers;
             create view copied with (security_invoker = true) as select tenant_id::text from closed.copies;
             grant select on closed.copies, copied to {app};",
            "select * from copied",
            "",
        ),
        (
            "an administrator's function in a closed schema, by a view that calls it",
            "create schema closed;
             create function closed.seen() returns text language sql security definer
                 as 'select string_agg(tenant_id::text, '' '') from customers';
             create view calling with (security_invoker = true) as select closed.seen();
             grant select on calling to {app};",
            "select * from calling",
            "",
        ),
        (
            "an administrator's trigger on a table that only a foreign key writes",
            "insert into customers values ('{T1}', 70, 'one');
             create table marks (tenant_id uuid not null, id int not null, primary key (tenant_id, id));
             insert into marks values ('{T1}', 70);
             alter table marks add foreign key (tenant_id, id) references customers (tenant_id, id)
                 on delete cascade;
             alter table marks owner to {owner};
             select tenantry.protect('marks');
             revoke all on marks from {app};
             create function marked() returns trigger language plpgsql security definer
                 as 'begin update customers set name = ''ours''; return old; end';
             revoke all on function marked() from public;
             create trigger marked after delete on marks for each row execute function marked();",
            "delete from customers where name = 'one'",
            "select name from customers where name = 'ours' and tenant_id = '{T2}'",
        ),
    ] {
        let walled = Walled::with_invoices().await;
        assert!(walled.audit().await.is_clean());
        let made = made.replace("{T1}", wall_two::T1);
        walled.admin_runs(&made).await;
        let mut app = walled.app().await;
        let is_round = match leaves {
            "" => wall_two::texts_as(&mut app, wall_two::T1, way)
                .await
                .iter()
                .any(|text| text.contains(wall_two::T2)),
            leaves => {
                wall_two::run_as(&mut app, wall_two::T1, way).await.unwrap();
                let leaves = leaves.replace("{T2}", wall_two::T2);
                !wall_two::texts(&mut walled.admin().await, &leaves)
                    .await
                    .is_empty()
            }
        };
        let report = walled.audit().await;
        if is_round && !report.has(Severity::Error) {
            unseen.push(name);
        }
    }
    assert_eq!(unseen, <[&str; 0]>::default());
}

#[tokio::test]
async fn a_foreign_key_that_is_mended_does_what_it_did() {
    let walled = Walled::empty().await;
    walled
        .owner_runs(
            "create table bills (tenant_id uuid not null, id int not null, primary key (tenant_id, id));
             create table lines (tenant_id uuid not null, id int not null, invoice int, primary key (tenant_id, id));
             select tenantry.protect('bills'), tenantry.protect('lines');
             alter table bills no force row level security, add constraint one unique (id);
             alter table lines no force row level security;
             alter table lines add constraint of_invoice foreign key (invoice) references bills (id)
                 on update set null on delete set null deferrable initially deferred;
             alter table bills force row level security;
             alter table lines force row level security;",
        )
        .await
        .unwrap();
    let report = walled.audit().await;
    let key = report.findings().iter().find(|it| it.code == "TN007");
    let Some(Fix::Owner(sql)) = key.map(|key| &key.fix) else {
        panic!("{report:?}");
    };
    walled.runs(By::Owner, sql).await;
    let definition =
        "select pg_get_constraintdef(oid) from pg_constraint where conname = 'of_invoice'";
    assert_eq!(
        texts(&mut walled.admin().await, definition).await,
        [
            "FOREIGN KEY (tenant_id, invoice) REFERENCES bills(tenant_id, id) ON DELETE SET NULL (invoice) \
         DEFERRABLE INITIALLY DEFERRED"
        ]
    );
}
