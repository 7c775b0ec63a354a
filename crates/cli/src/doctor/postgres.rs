//! A database on PostgreSQL, as a role of the settings sees it.

use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join3;
use tenantry_core::{ErrorKind, Service};
use tenantry_outbox::OUTBOX_GRANTS;
use tenantry_store::postgres::{
    self, GrantDifferenceKind, PostgresSettings, Role, ServerProbe, TlsDemand,
};
use tenantry_store::{AuditReport, Finding, Fix, Grants, Severity};

use super::check::Sheet;
use super::{Plan, tables};

/// Clocks that differ by less need no mending: leases and expiry go by the database alone.
const CLOCK_WARNING: TimeDelta = TimeDelta::seconds(1);
const CLOCK_FAILURE: TimeDelta = TimeDelta::seconds(60);

/// So many findings are told one by one.
const SHOWN: usize = 20;

pub(super) async fn look(sheet: &mut Sheet, settings: PostgresSettings, role: Role, plan: &Plan) {
    let Some(probe) = sheet
        .ask("connection", postgres::probe(settings.clone()))
        .await
    else {
        return;
    };
    connection(sheet, &probe);
    tls(sheet, &probe);
    clock(sheet, &probe);
    let is_app = role == Role::App;
    let walls = async {
        let mut walls = sheet.beside();
        let audited = postgres::audit(settings.clone(), role);
        match walls.answer(audited).await {
            Ok(report) => told(&mut walls, &report, is_app),
            Err(error) => match error.kind() {
                ErrorKind::UnsafeRole => walls.failed("role", &error),
                ErrorKind::SchemaMismatch => walls.failed("bootstrap", &error),
                _ => walls.failed("isolation", &error),
            },
        }
        walls.checks
    };
    let migrations = async {
        let mut migrations = sheet.beside();
        if is_app {
            history(&mut migrations, &probe, plan).await;
        }
        migrations.checks
    };
    let rights = async {
        let mut rights = sheet.beside();
        if is_app {
            let expected = OUTBOX_GRANTS.iter().map(|(table, _)| *table);
            let has_outbox = tables::outbox(&mut rights, &probe.tables, expected, plan);
            if has_outbox || !plan.tables.is_empty() {
                grants(&mut rights, &settings, &probe, has_outbox, plan).await;
            }
        }
        rights.checks
    };
    let (walls, migrations, rights) = join3(walls, migrations, rights).await;
    sheet.checks.extend(walls);
    sheet.checks.extend(migrations);
    sheet.checks.extend(rights);
}

fn connection(sheet: &mut Sheet, probe: &ServerProbe) {
    let version = probe.server_version_num;
    let found = format!(
        "{} at {}, PostgreSQL {}.{}, {}",
        probe.user,
        probe.address,
        version / 10_000,
        version % 10_000,
        millis(probe.round_trip)
    );
    match probe.in_recovery {
        false => sheet.ok("connection", found),
        true => sheet.failure(
            "connection",
            format!("{found}: a replica, which takes no writes"),
            "let the url lead to the primary server",
        ),
    }
}

fn tls(sheet: &mut Sheet, probe: &ServerProbe) {
    const VERIFY: &str = "write ?sslmode=verify-full behind the url, and &sslrootcert=<file> for an authority of your own";
    match (&probe.tls, probe.tls_demand) {
        (Some(tls), TlsDemand::Verified | TlsDemand::Trusted) => {
            sheet.ok("tls", format!("{tls}, and the server is known"));
        }
        (Some(tls), _) => sheet.warning(
            "tls",
            format!("{tls}, and nobody looks whether it is the right server"),
            VERIFY,
        ),
        (None, _) if probe.is_local => sheet.ok("tls", "not encrypted, and on this machine"),
        (None, _) => sheet.warning("tls", "the connection is not encrypted", VERIFY),
    }
}

fn clock(sheet: &mut Sheet, probe: &ServerProbe) {
    let ahead = probe.clock_ahead;
    let unsure = TimeDelta::from_std(probe.round_trip).unwrap_or_default() / 2;
    let off = ahead.abs() - unsure;
    let way = match ahead < TimeDelta::zero() {
        true => "behind",
        false => "before",
    };
    let found = format!(
        "the clock of the server is {} ms {way} that of this machine",
        ahead.abs().num_milliseconds()
    );
    let fix = "set both by NTP: `timedatectl set-ntp true`";
    match off {
        off if off >= CLOCK_FAILURE => sheet.failure("clock", found, fix),
        off if off >= CLOCK_WARNING => sheet.warning("clock", found, fix),
        _ => sheet.ok("clock", found),
    }
}

/// Tells an audit: what of the role, what of the connection, and what of the tables, which is the same for all roles
/// and told once.
fn told(sheet: &mut Sheet, report: &AuditReport<postgres::ServerFacts>, with_tables: bool) {
    let facts = report.facts();
    sheet.ok("bootstrap", format!("version {}", facts.schema_version));
    let findings = report.findings();
    for (check, clean) in [
        ("role", "neither owner nor superuser, and held by the walls"),
        (
            "connection settings",
            "no tenant and no way round the walls",
        ),
        ("isolation", "each table within reach is behind the walls"),
    ] {
        if check == "isolation" && !with_tables {
            continue;
        }
        let own: Vec<_> = findings
            .iter()
            .filter(|finding| check_of(finding) == check)
            .collect();
        if own.is_empty() {
            sheet.ok(check, clean);
        }
        for finding in own.iter().take(SHOWN) {
            let found = format!("{} {}: {}", finding.code, finding.object, finding.problem);
            let fix = match &finding.fix {
                Fix::Owner(sql) => format!("as owner: {sql}"),
                Fix::Administrator(sql) => format!("as administrator: {sql}"),
                other => other.text().to_owned(),
            };
            match finding.severity {
                Severity::Warning => sheet.warning(check, found, fix),
                _ => sheet.failure(check, found, fix),
            }
        }
        if let Some(more) = own.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            sheet.warning(check, format!("and {more} more"), "see `tenantry audit`");
        }
    }
}

fn check_of(finding: &Finding) -> &'static str {
    match finding.code.get(..4) {
        Some("TN03") => "role",
        Some("TN04") => "connection settings",
        _ => "isolation",
    }
}

async fn history(sheet: &mut Sheet, probe: &ServerProbe, plan: &Plan) {
    if !probe.has_history {
        return sheet.failure(
            "migrations",
            "none was ever run",
            "as owner: tenantry migrate --url postgres://<owner role>@<host>/<database> --migrations migrations",
        );
    }
    let Some(migrations) = &plan.migrations else {
        return sheet.ok(
            "migrations",
            "some have run; --migrations FOLDER compares them",
        );
    };
    let Some(owner) = plan.owner.clone() else {
        return sheet.warning(
            "migrations",
            "the owner role alone may read which have run",
            "name it in TENANTRY_DATABASE_URL, and its password in TENANTRY_DATABASE_PASSWORD",
        );
    };
    let pending = postgres::pending_migrations(owner, migrations);
    match sheet.answer(pending).await {
        Ok(pending) => tables::pending(sheet, migrations, &pending),
        Err(error) => tables::not_compared(sheet, &error),
    }
}

async fn grants(
    sheet: &mut Sheet,
    settings: &PostgresSettings,
    probe: &ServerProbe,
    has_outbox: bool,
    plan: &Plan,
) {
    // Any service may have an outbox.
    let service = plan.service.unwrap_or(Service::Domain);
    let grants = Grants::for_service(service, &probe.user).with_schema(settings.schema());
    let grants = match has_outbox {
        true => grants.tables_with_rights(tenantry_core::Store::Outbox, OUTBOX_GRANTS),
        false => Ok(grants),
    };
    let grants = grants.and_then(|grants| {
        let mut tables = plan.tables.iter();
        tables.try_fold(grants, |grants, (name, store)| grants.table(name, *store))
    });
    let audited = async { postgres::audit_grants(settings.clone(), &grants?).await };
    let Some(report) = sheet.ask("grants", audited).await else {
        return;
    };
    // Of tables that nobody has named, it is not known what is meant.
    let is_meant = |table: &str| !plan.tables.is_empty() || table.contains("outbox_");
    let differences = report.differences().iter();
    let differences: Vec<_> = differences.filter(|it| is_meant(&it.table)).collect();
    if differences.is_empty() {
        return sheet.ok("grants", "the role may do what is meant, and no more");
    }
    for difference in differences.iter().take(SHOWN) {
        let (right, table) = (difference.right, &difference.table);
        let fix = format!("as owner: {}", difference.fix);
        match difference.kind {
            GrantDifferenceKind::TooMuch => {
                let found = format!("{} may {right} on {table}, and is not meant to", probe.user);
                sheet.warning("grants", found, fix);
            }
            GrantDifferenceKind::NoTable => {
                sheet.failure("grants", format!("there is no table {table}"), fix);
            }
            _ => {
                let found = format!("{} may not {right} on {table}", probe.user);
                sheet.failure("grants", found, fix);
            }
        }
    }
}

pub(super) fn millis(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1_000.0)
}
