//! What a role may do against what the storage map gives its service.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod support;

use support::Walled;
use tenantry_core::{ErrorKind, Service, Store};
use tenantry_store::postgres::{GrantDifferenceKind, GrantsReport, audit_grants, migrate};
use tenantry_store::{Grants, Migrations};

const TABLES: &str = "
    create table entries (tenant_id uuid not null, id uuid not null, text text not null, primary key (tenant_id, id));
    create table exports (tenant_id uuid not null, id uuid not null, at timestamptz, primary key (tenant_id, id));
    select tenantry.protect('entries');
    select tenantry.protect('exports');
";

struct Audited {
    walled: Walled,
    grants: Grants,
}

impl Audited {
    async fn new() -> Self {
        let walled = Walled::create().await;
        let migrations = Migrations::embedded(&[
            (
                1,
                "conformance",
                tenantry_store::conformance::POSTGRES_SCHEMA,
            ),
            (2, "audit trail", TABLES),
        ]);
        migrate(walled.owner.url(), &migrations).await.unwrap();
        let grants = Grants::for_service(Service::AuditTrail, walled.app.user())
            .table("entries", Store::AuditEntries)
            .unwrap()
            .table("exports", Store::AuditArchive)
            .unwrap();
        Self { walled, grants }
    }

    async fn report(&self) -> GrantsReport {
        audit_grants(self.walled.app.url(), &self.grants)
            .await
            .unwrap()
    }

    /// What is told of the tables of this test; the suite has others.
    async fn told(&self) -> Vec<(GrantDifferenceKind, String)> {
        let report = self.report().await;
        let differences = report.differences().iter();
        let of_test =
            differences.filter(|it| it.table.contains("entries") || it.table.contains("exports"));
        let told = of_test.map(|it| {
            (
                it.kind,
                format!("{} {} {:?}", it.right, it.table, it.columns),
            )
        });
        told.collect()
    }
}

#[tokio::test]
async fn what_is_too_much_is_told_and_the_statements_of_the_grants_take_it() {
    let audited = Audited::new().await;
    let entries = |right: &str| {
        (
            GrantDifferenceKind::TooMuch,
            format!("{right} \"public\".\"entries\" []"),
        )
    };
    // `protect` lets rows be changed and removed.
    assert_eq!(audited.told().await, [entries("DELETE"), entries("UPDATE")]);
    audited
        .walled
        .database
        .execute(&audited.grants.sql())
        .await
        .unwrap();
    assert_eq!(audited.told().await, []);

    // Run again, it takes no more and gives nothing back.
    audited
        .walled
        .database
        .execute("select tenantry.protect('entries')")
        .await
        .unwrap();
    assert_eq!(audited.told().await, []);
}

#[tokio::test]
async fn each_fix_mends_what_it_is_told_for() {
    let audited = Audited::new().await;
    let app = audited.walled.app.user();
    for trouble in [
        format!("grant truncate on entries to {app}"),
        "grant select on exports to public".to_owned(),
        format!("revoke insert on entries from {app}; grant insert (id) on entries to {app}"),
        format!("revoke all on exports from {app}; revoke select on entries from {app}"),
        format!("grant update (text) on entries to {app}"),
    ] {
        audited
            .walled
            .database
            .execute(&audited.grants.sql())
            .await
            .unwrap();
        audited
            .walled
            .database
            .execute("revoke all on exports from public")
            .await
            .unwrap();
        assert!(audited.told().await.is_empty());
        audited.walled.database.execute(&trouble).await.unwrap();
        let is_held_twice = trouble.contains("public");
        assert_eq!(audited.told().await.is_empty(), is_held_twice, "{trouble}");
        for difference in audited.report().await.differences() {
            audited
                .walled
                .database
                .execute(&difference.fix)
                .await
                .unwrap();
        }
        assert_eq!(audited.told().await, [], "{trouble}");
    }
}

#[tokio::test]
async fn a_table_of_others_is_too_much_whole_as_it_is() {
    let audited = Audited::new().await;
    let report = audited.report().await;
    let is_of_suite = |table: &str| !table.contains("entries") && !table.contains("exports");
    let mut others = report
        .differences()
        .iter()
        .filter(|it| is_of_suite(&it.table));
    assert!(
        others.all(|it| it.kind == GrantDifferenceKind::TooMuch),
        "{report}"
    );
    for difference in report.differences() {
        audited
            .walled
            .database
            .execute(&difference.fix)
            .await
            .unwrap();
    }
    let report = audited.report().await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn a_table_and_a_role_that_are_not_there_are_told() {
    let audited = Audited::new().await;
    let grants = audited
        .grants
        .clone()
        .table("exported", Store::AuditArchive)
        .unwrap();
    let report = audit_grants(audited.walled.owner.url(), &grants)
        .await
        .unwrap();
    let mut missing = report.differences().iter();
    let missing = missing
        .find(|it| it.kind == GrantDifferenceKind::NoTable)
        .unwrap();
    assert_eq!(missing.table, "\"public\".\"exported\"");

    let nobody = Grants::for_service(Service::AuditTrail, "nobody_at_all");
    let error = audit_grants(audited.walled.app.url(), &nobody)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSettings);
    assert!(error.subject().contains("nobody_at_all"), "{error}");
}
