//! What looks at no database: the map of stores, and completions.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::process::{Command, Output};

fn tenantry(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tenantry"))
        .args(arguments)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn each_store_has_a_line_with_its_owner() {
    let all = text(&tenantry(&["map"]));
    assert_eq!(all.lines().count(), 18, "{all}");
    let reports = all
        .lines()
        .find(|line| line.starts_with("report_artifacts "))
        .unwrap();
    assert!(
        reports.contains("reporting") && reports.contains("365 days"),
        "{reports}"
    );

    let own = text(&tenantry(&["map", "--service", "reporting", "--json"]));
    let own: serde_json::Value = serde_json::from_str(&own).unwrap();
    let stores: Vec<_> = own["stores"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["store"].as_str().unwrap())
        .collect();
    assert_eq!(stores, ["reports", "report_artifacts", "outbox", "secrets"]);
}

#[test]
fn a_service_that_is_none_is_refused() {
    let output = tenantry(&["map", "--service", "nobody"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
}

/// Who names another database than that of the settings would be told of that one.
#[test]
fn two_databases_are_refused() {
    for command in ["map", "tenants"] {
        for other in [
            &["--url", "sqlite:other.db"][..],
            &["--schema", "other"],
            &["--pooler", "transaction"],
        ] {
            let output = tenantry(&[&[command, "--settings", "service.toml"], other].concat());
            assert_eq!(output.status.code(), Some(2), "{output:?}");
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(told.contains("say where the database is once"), "{told}");
        }
    }
}

#[test]
fn shells_complete_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&tenantry(&["completions", shell]));
        for command in [
            "audit",
            "blobs",
            "doctor",
            "map",
            "migrate",
            "outbox",
            "retention",
            "secrets",
            "tenants",
        ] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
}
