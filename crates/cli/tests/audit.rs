//! The command, run as people and CI run it.

#![allow(clippy::unwrap_used, reason = "a set-up that fails ends the test")]

#[path = "../../tenant-store/tests/audit/faults.rs"]
#[allow(dead_code, reason = "shared with the tests of the store")]
mod faults;
#[path = "../../tenant-store/tests/wall_two/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the wall")]
mod wall_two;

use std::collections::BTreeSet;

use faults::By;
use serde_json::Value;
use tenantry_testkit::{Login, PgBouncer, PgBouncerOptions, PostgresServer};
use tokio::process::Command;
use wall_two::Walled;

struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }

    fn codes(&self) -> BTreeSet<String> {
        let code = |finding: &Value| finding["code"].as_str().unwrap().to_owned();
        let findings = &self.json()["findings"];
        findings.as_array().unwrap().iter().map(code).collect()
    }
}

/// Runs `tenantry audit` with the URL and the password of a role in its environment.
async fn audit(login: &Login, arguments: &[&str]) -> Answer {
    let secret = format!(":{}@", login.password());
    assert!(login.url().contains(&secret));
    let url = login.url().replace(&secret, "@");
    let answer = run(
        &[
            ("TENANTRY_DATABASE_URL", &*url),
            ("TENANTRY_DATABASE_PASSWORD", login.password()),
        ],
        arguments,
    )
    .await;
    for written in [&answer.stdout, &answer.stderr] {
        assert!(!written.contains(login.password()), "{written}");
    }
    answer
}

async fn run(environment: &[(&str, &str)], arguments: &[&str]) -> Answer {
    let output = Command::new(env!("CARGO_BIN_EXE_tenantry"))
        .arg("audit")
        .args(arguments)
        .env_remove("TENANTRY_DATABASE_URL")
        .env_remove("TENANTRY_DATABASE_PASSWORD")
        .envs(environment.iter().copied())
        .output()
        .await
        .unwrap();
    Answer {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test]
async fn a_database_seeded_with_each_fault_shows_them_all() {
    let walled = Walled::empty().await;
    let mut expected = Vec::new();
    for fault in faults::all().filter(|fault| !fault.alone) {
        match fault.by {
            By::Owner => walled.owner_runs(fault.made).await.unwrap(),
            By::Administrator => walled.admin_runs(fault.made).await,
        }
        let named = |(code, object): &(&str, &str)| ((*code).to_owned(), walled.named(object));
        expected.extend(fault.found.iter().map(named));
    }

    let table = audit(&walled.app, &[]).await;
    assert_eq!((table.code, &*table.stderr), (1, ""));
    let lines: Vec<Vec<&str>> = table
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    for (code, object) in &expected {
        assert!(
            lines
                .iter()
                .any(|words| words.get(1) == Some(&code.as_str())
                    && words.get(2) == Some(&object.split(' ').next().unwrap())),
            "no {code} of {object} in\n{}",
            table.stdout
        );
    }

    let json = audit(&walled.app, &["--json"]).await;
    assert_eq!((json.code, &*json.stderr), (1, ""));
    let findings = json.json()["findings"].as_array().unwrap().clone();
    for (code, object) in &expected {
        assert!(
            findings
                .iter()
                .any(|finding| finding["code"] == **code && finding["object"] == **object),
            "no {code} of {object}"
        );
    }
    assert_eq!(json.json()["facts"]["user"], walled.app.user());
    assert_eq!(
        table.stdout.lines().count(),
        2 * findings.len() + 1,
        "two lines each, and one in the end"
    );
}

/// For the page about it: every fault in a database, those that hide others in one of their own.
#[tokio::test]
#[ignore = "run by scripts/prove"]
#[allow(clippy::print_stdout, reason = "scripts/prove keeps what is printed")]
async fn prove_audit_of_seeded_databases() {
    let make = async |walled: &Walled, fault: &faults::Fault| match fault.by {
        By::Owner => walled.owner_runs(fault.made).await.unwrap(),
        By::Administrator => walled.admin_runs(fault.made).await,
    };
    let shown = |walled: &Walled, answer: &Answer| {
        let (owner, app, platform) = (
            walled.named("{owner}"),
            walled.named("{app}"),
            walled.named("{platform}"),
        );
        let text = answer.stdout.replace(&owner, "owner").replace(&app, "app");
        println!(
            "{}exit code {}\n",
            text.replace(&platform, "platform"),
            answer.code
        );
    };
    let walled = Walled::empty().await;
    let (mut count, mut alone) = (0, 0);
    for fault in faults::all().filter(|fault| !fault.alone) {
        make(&walled, fault).await;
        count += 1;
    }
    println!("$ tenantry audit        # {count} faults in one database");
    shown(&walled, &audit(&walled.app, &[]).await);
    for fault in faults::all().filter(|fault| fault.alone) {
        let walled = Walled::empty().await;
        make(&walled, fault).await;
        let answer = audit(&walled.app, &[]).await;
        println!("$ tenantry audit        # {}", fault.name);
        shown(&walled, &answer);
        assert_ne!(answer.code, 0, "{}", fault.name);
        alone += 1;
    }
    println!("{count} faults found in one database, {alone} each in one of its own");
}

#[tokio::test]
async fn a_clean_database_is_told_in_one_line() {
    let walled = Walled::with_invoices().await;
    let answer = audit(&walled.app, &["--deny", "warnings"]).await;
    assert_eq!(
        (answer.code, &*answer.stdout, &*answer.stderr),
        (0, "0 errors, 0 warnings\n", "")
    );
    let platform = audit(&walled.platform, &["--role", "platform"]).await;
    assert_eq!(platform.code, 0, "{}", platform.stdout);
    let wrong = audit(&walled.platform, &["--json"]).await;
    assert_eq!(
        (wrong.code, wrong.codes()),
        (1, ["TN032".to_owned()].into())
    );
}

#[tokio::test]
async fn what_a_finding_looks_like() {
    let walled = Walled::with_invoices().await;
    walled
        .owner_runs(
            "alter table invoices no force row level security; create table \"a\u{1b}b\" (id int)",
        )
        .await
        .unwrap();
    let answer = audit(&walled.app, &[]).await;
    assert_eq!(
        answer.stdout,
        "\
error    TN051  public.invoices    row-level security is not forced, so that the owner's views and functions show every row
               fix, as owner: select tenantry.protect('public.invoices')
warning  TN064  public.\"a\\u{1b}b\"  it is neither protected nor shared: the next grant would open it
               advice: select tenantry.share('public.\"a\\u{1b}b\"') if services read it, protect it once it has a tenant_id, or move it to another schema
1 error, 1 warning
"
    );
}

#[tokio::test]
async fn warnings_count_if_denied_and_not_allowed() {
    let walled = Walled::empty().await;
    walled
        .owner_runs(
            "create table idle (id int); create sequence s; grant usage on sequence s to {app};
             create schema other",
        )
        .await
        .unwrap();
    for (arguments, code, last) in [
        (&[][..], 0, "0 errors, 2 warnings"),
        (&["--deny", "warnings"], 1, "0 errors, 2 warnings"),
        (
            &["--deny", "warnings", "--allow", "TN061"],
            1,
            "0 errors, 1 warning, 1 warning allowed",
        ),
        (
            &["--deny", "warnings", "--allow", "TN061", "--allow", "TN064"],
            0,
            "0 errors, 0 warnings, 2 warnings allowed",
        ),
        (
            &[
                "--deny", "warnings", "--allow", "TN061", "--schema", "other",
            ],
            0,
            "0 errors, 0 warnings, 1 warning allowed",
        ),
    ] {
        let answer = audit(&walled.app, arguments).await;
        assert_eq!(answer.code, code, "{arguments:?}");
        assert_eq!(answer.stdout.lines().last(), Some(last), "{arguments:?}");
    }
    for arguments in [&["--schema", "nowhere"][..], &["--allow", "nonsense"]] {
        let answer = audit(&walled.app, arguments).await;
        assert_eq!(answer.code, 2, "{arguments:?}");
    }
    walled
        .owner_runs("grant select on idle to {app}")
        .await
        .unwrap();
    let answer = audit(&walled.app, &["--allow", "TN050"]).await;
    assert_eq!(answer.code, 2, "an error cannot be allowed");
}

#[tokio::test]
async fn a_pooler_has_to_be_told_of() {
    let walled = Walled::empty().await;
    let server = PostgresServer::shared().await.unwrap();
    let options = PgBouncerOptions::default()
        .with_pool_size(1)
        .with_login(&walled.app);
    let pooler = PgBouncer::start(server, options).await.unwrap();
    let url = pooler.url(walled.app.url()).unwrap();
    let hidden = run(&[("TENANTRY_DATABASE_URL", &url)], &["--json"]).await;
    assert_eq!(
        (hidden.code, hidden.codes()),
        (1, ["TN042".to_owned()].into())
    );
    let told = run(&[], &["--url", &url, "--pooler", "transaction"]).await;
    assert_eq!(told.code, 0, "{}", told.stderr);
}

#[tokio::test]
async fn what_could_not_be_audited_is_no_finding() {
    let walled = Walled::empty().await;
    walled.admin_runs("drop schema tenantry cascade").await;
    let answer = audit(&walled.app, &[]).await;
    assert_eq!((answer.code, &*answer.stdout), (2, ""));
    assert!(
        answer.stderr.contains("run the bootstrap"),
        "{}",
        answer.stderr
    );

    for (arguments, fragment) in [
        (&[][..], "--url or TENANTRY_DATABASE_URL"),
        (
            &["--url", "mysql://secret@host/db"],
            "must begin with postgres:// or sqlite:",
        ),
        (
            &["--url", "postgres://u:secret@127.0.0.1:1/db"],
            "127.0.0.1:1/db",
        ),
        (
            &["--url", "postgres://u:secret@host:junk/db"],
            "cannot be parsed",
        ),
        (&["--url", "sqlite:/nowhere/at/all.db"], "unable to open"),
        (&["--deny", "everything"], "invalid value"),
    ] {
        let answer = run(&[], arguments).await;
        assert_eq!((answer.code, &*answer.stdout), (2, ""), "{arguments:?}");
        assert!(
            answer.stderr.contains(fragment) && !answer.stderr.contains("secret"),
            "{arguments:?}: {}",
            answer.stderr
        );
    }
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_file_of_sqlite_is_audited_as_well() {
    use sqlx::{ConnectOptions as _, Connection as _};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tenants.db");
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap();
    sqlx::raw_sql("create table notes (tenant_id blob not null, id blob not null, primary key (id, tenant_id))")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    for prefix in ["sqlite:", "sqlite://"] {
        let url = format!("{prefix}{}", path.display());
        let answer = run(&[], &["--url", &url, "--json"]).await;
        assert_eq!(
            (answer.code, answer.codes()),
            (1, ["TN009".to_owned()].into())
        );
        assert_eq!(answer.json()["facts"]["tenant_tables"], 1);
    }
}
