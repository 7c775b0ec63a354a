//! `tenantry retention` and `tenantry blobs`, run as people and schedules run them.

#![allow(clippy::unwrap_used, reason = "a set-up that fails ends the test")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use tenantry_blob::{
    BlobKind, BlobName, BlobStore, FsBlobs, FsSettings, HoldTag, PutOptions, Retention,
};
use tenantry_core::{Service, TenantId};

struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// Runs the command over a folder.
fn run(folder: &Path, arguments: &[&str]) -> Answer {
    let output = Command::new(env!("CARGO_BIN_EXE_tenantry"))
        .args(arguments)
        .arg("--folder")
        .arg(folder)
        .output()
        .unwrap();
    Answer {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A store with two tenants, each with three blobs: one that is over, one that is held, one that is kept.
struct Scene {
    folder: TempDir,
    tenants: [TenantId; 2],
    over: Vec<BlobName>,
    held: Vec<BlobName>,
    kept: Vec<BlobName>,
}

impl Scene {
    async fn new() -> Self {
        let mut scene = Self {
            folder: tempfile::tempdir().unwrap(),
            tenants: [1, 10].map(|number| TenantId::from_u128(number).unwrap()),
            over: Vec::new(),
            held: Vec::new(),
            kept: Vec::new(),
        };
        let store = scene.store().await;
        for tenant in scene.tenants {
            let blobs = store.tenant(tenant);
            for (days, names) in [
                (0, &mut scene.over),
                (0, &mut scene.held),
                (90, &mut scene.kept),
            ] {
                let name = blobs.name(&BlobKind::new("exports").unwrap()).unwrap();
                let options = PutOptions::new(Service::Reporting, Retention::days(days));
                blobs.put_bytes(&name, options, "bytes").await.unwrap();
                names.push(name);
            }
        }
        for name in &scene.held {
            let blobs = store.tenant(name.tenant());
            let tag = HoldTag::new("case17").unwrap();
            blobs.place_hold(name, &tag, "they sue").await.unwrap();
        }
        scene
    }

    async fn store(&self) -> BlobStore {
        let settings = FsSettings::new(self.folder.path());
        BlobStore::new(Arc::new(FsBlobs::open(settings).await.unwrap()))
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        run(self.folder.path(), arguments)
    }

    /// Erases the first tenant.
    fn erase(&self, audit: &Path, reason: &str) -> Answer {
        let tenant = self.tenants[0].to_string();
        let erase = [
            "blobs", "erase", "--tenant", &tenant, "--actor", "user:ada", "--yes",
        ];
        let how = ["--reason", reason, "--audit", audit.to_str().unwrap()];
        self.run(&[&erase[..], &how].concat())
    }

    async fn is_there(&self, name: &BlobName) -> bool {
        let blobs = self.store().await.tenant(name.tenant());
        blobs.head(name).await.is_ok()
    }
}

#[tokio::test]
async fn a_plan_tells_what_a_sweep_does_and_does_nothing() {
    let scene = Scene::new().await;
    for arguments in [
        &["retention", "plan"][..],
        &["retention", "sweep", "--dry-run"],
    ] {
        let plan = scene.run(arguments);
        assert_eq!((plan.code, &*plan.stderr), (1, ""), "something is due");
        assert!(
            plan.stdout
                .starts_with("2 would be deleted (10 bytes), 0 would be archived")
        );
        for name in &scene.over {
            assert!(scene.is_there(name).await);
        }
    }
    let listed = scene.run(&["retention", "list", "--json"]);
    assert_eq!(listed.code, 1);
    let due = listed.json()["due"].as_array().unwrap().clone();
    let names: Vec<_> = due
        .iter()
        .map(|due| due["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, [scene.over[0].as_str(), scene.over[1].as_str()]);
    assert_eq!(due[0]["action"], "delete");

    let swept = scene.run(&["retention", "sweep", "--json"]);
    assert_eq!(
        (swept.code, &*swept.stderr),
        (0, ""),
        "no bar without a terminal"
    );
    let report = swept.json();
    assert_eq!(
        (&report["deleted"], &report["backlog"]),
        (&2.into(), &0.into())
    );
    for name in &scene.over {
        assert!(!scene.is_there(name).await);
    }
    for name in scene.held.iter().chain(&scene.kept) {
        assert!(scene.is_there(name).await);
    }
    let plan = scene.run(&["retention", "plan"]);
    assert_eq!(plan.code, 0, "nothing is due any more");
    assert_eq!(scene.run(&["retention", "list"]).code, 0);
}

#[tokio::test]
async fn a_sweep_that_is_bounded_tells_what_is_left() {
    let scene = Scene::new().await;
    let swept = scene.run(&["retention", "sweep", "--most", "1"]);
    assert_eq!((swept.code, &*swept.stderr), (1, ""));
    assert_eq!(
        swept.stdout,
        "1 deleted (5 bytes), 0 archived, 0 skipped, 0 failed, 1 left\n"
    );
    assert_eq!(scene.run(&["retention", "sweep"]).code, 0);
}

#[tokio::test]
async fn what_keeps_a_blob_is_explained() {
    let scene = Scene::new().await;
    let why = scene.run(&["retention", "why", scene.held[0].as_str()]);
    assert_eq!(why.code, 0);
    assert!(why.stdout.contains("legal hold case17"), "{}", why.stdout);
    let why = scene.run(&["retention", "why", scene.kept[1].as_str(), "--json"]);
    assert_eq!(why.json()["is_retained"], true);
    assert!(why.json()["deletable_from"].is_string());
    // What is not there, is no name, or is no store.
    let gone = scene.over[0].as_str().replace("/exports/", "/reports/");
    for (name, says) in [(&*gone, "not found"), ("../journal", "invalid value")] {
        let why = scene.run(&["retention", "why", name]);
        assert_eq!((why.code, &*why.stdout), (2, ""), "{says}");
        assert!(!why.stderr.is_empty());
    }
    let nowhere = tempfile::tempdir().unwrap();
    let plan = run(nowhere.path(), &["retention", "plan"]);
    assert_eq!((plan.code, &*plan.stdout), (2, ""));
    assert!(
        plan.stderr
            .contains("there is no store of blobs in this folder")
    );
    assert_eq!(
        nowhere.path().read_dir().unwrap().count(),
        0,
        "none is made"
    );
}

#[tokio::test]
async fn the_blobs_of_a_tenant_are_listed_and_shown() {
    let scene = Scene::new().await;
    let tenant = scene.tenants[0].to_string();
    let listed = scene.run(&["blobs", "list", "--tenant", &tenant]);
    assert_eq!((listed.code, listed.stdout.lines().count()), (0, 3));
    assert!(listed.stdout.lines().all(|line| line.starts_with(&tenant)));
    let listed = scene.run(&[
        "blobs", "list", "--tenant", &tenant, "--json", "--limit", "2",
    ]);
    assert_eq!(listed.json()["is_complete"], false);
    assert_eq!(listed.json()["blobs"].as_array().unwrap().len(), 2);
    let head = scene.run(&["blobs", "head", scene.kept[0].as_str(), "--json"]);
    assert_eq!((head.code, &head.json()["length"]), (0, &5.into()));
    let head = scene.run(&["blobs", "head", scene.kept[0].as_str()]);
    assert!(head.stdout.contains("fixed-period"));
}

#[tokio::test]
async fn a_tenant_is_erased_with_a_report_and_an_audit() {
    let scene = Scene::new().await;
    let tenant = scene.tenants[0].to_string();
    let audit = scene.folder.path().join("audit.jsonl");
    let erase = [
        "blobs",
        "erase",
        "--tenant",
        &tenant,
        "--reason",
        "they have left",
        "--actor",
        "user:ada",
        "--audit",
        audit.to_str().unwrap(),
    ];
    let refused = scene.run(&erase);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("--yes"));
    assert!(scene.is_there(&scene.kept[0]).await && !audit.exists());

    let meant = [&erase[..], &["--yes", "--json"]].concat();
    let erased = scene.run(&meant);
    assert_eq!(
        (erased.code, &*erased.stderr),
        (1, ""),
        "what is held has to stay"
    );
    let report = erased.json();
    assert_eq!(report["erased"].as_array().unwrap().len(), 2);
    assert_eq!(report["kept"].as_array().unwrap().len(), 1);
    assert_eq!(report["actor"], "user:ada");
    let acts = std::fs::read_to_string(&audit).unwrap();
    assert_eq!(acts.lines().count(), 2);
    for act in acts.lines() {
        let act: Value = serde_json::from_str(act).unwrap();
        assert_eq!(
            (&act["reason"], &act["action"]),
            (&"they have left".into(), &"erased".into())
        );
    }
    assert!(!scene.is_there(&scene.kept[0]).await);
    assert!(
        scene.is_there(&scene.kept[1]).await,
        "the other tenant has its blobs"
    );
}

#[tokio::test]
async fn an_audit_that_ends_with_half_a_line_keeps_the_next_act_readable() {
    let scene = Scene::new().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let audit = elsewhere.path().join("audit.jsonl");
    std::fs::write(&audit, "{\"name\":\"half").unwrap();
    let answer = scene.erase(&audit, "they left");
    assert_eq!(answer.code, 1, "{}", answer.stderr);
    let acts = std::fs::read_to_string(&audit).unwrap();
    let lines: Vec<_> = acts.lines().collect();
    assert_eq!(lines[0], "{\"name\":\"half");
    assert!(lines.len() > 1);
    for act in &lines[1..] {
        assert!(serde_json::from_str::<Value>(act).is_ok(), "{act}");
    }
}

#[tokio::test]
async fn an_audit_in_a_place_of_the_store_is_refused() {
    let scene = Scene::new().await;
    let folder = scene.folder.path();
    let journal = std::fs::read(folder.join("journal")).unwrap();
    for place in ["journal", "journal.reserve", "incoming/acts", "blobs/acts"] {
        let answer = scene.erase(&folder.join(place), "they left");
        assert_eq!(answer.code, 2, "{place}: {}", answer.stdout);
        assert!(
            answer.stderr.contains("a place of the store"),
            "{}",
            answer.stderr
        );
    }
    assert!(scene.is_there(&scene.kept[0]).await);
    assert_eq!(std::fs::read(folder.join("journal")).unwrap(), journal);
}

#[tokio::test]
async fn a_list_that_is_cut_says_so_and_none_of_nothing_is_asked_for() {
    let scene = Scene::new().await;
    let tenant = scene.tenants[0].to_string();
    for arguments in [
        vec!["blobs", "list", "--tenant", &tenant],
        vec!["retention", "list"],
    ] {
        let with = |limit: &'static str| {
            let arguments = arguments.iter().copied();
            scene.run(&arguments.chain(["--limit", limit]).collect::<Vec<_>>())
        };
        let cut = with("1");
        assert_eq!(cut.stdout.lines().count(), 2, "{}", cut.stdout);
        assert!(cut.stdout.ends_with("and more: --limit\n"));
        let all = with("100");
        assert!(!all.stdout.contains("and more"), "{}", all.stdout);
        assert_eq!(with("0").code, 2);
    }
}
