//! A server that runs out of room, under services that write and a worker that hands over.

#![allow(clippy::print_stdout, reason = "what a proof has found")]

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::Connection as _;
use tenantry_core::{ErrorKind, TenantId};
use tenantry_outbox::conformance::{Broker, Ledger, Subject, quick, until};
use tenantry_outbox::{Outbox, OutboxWorker};
use tenantry_testkit::{PostgresServer, ServerOptions, StopMode};
use uuid::Uuid;

use crate::OnPostgres;

/// How often the disk is filled, and room is made again.
const ROUNDS: usize = 3;

/// What units of work that lose a race for a row end by, whatever the disk is like.
const RACES: [ErrorKind; 3] = [
    ErrorKind::AlreadyExists,
    ErrorKind::Conflict,
    ErrorKind::Deadlock,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_of_tables_that_is_full_loses_nothing_and_reorders_nothing() {
    let test = "disk::a_disk_of_tables_that_is_full_loses_nothing_and_reorders_nothing";
    let Some(disk) = SmallDisk::mount(test, 48) else {
        return;
    };
    let server = PostgresServer::start().await.unwrap();
    let tables = disk.folder_for(&server, "tables").await;
    for statement in [
        format!("create tablespace small location '{}'", tables.display()),
        "grant create on tablespace small to public".to_owned(),
        "alter system set default_tablespace = 'small'".to_owned(),
        "select pg_reload_conf()".to_owned(),
    ] {
        server.execute(&statement).await.unwrap();
    }
    let services = Services::start(OnPostgres::open_on(&server).await).await;
    for _ in 0..ROUNDS {
        services.commit_some().await;
        let full = services.failures_of(ErrorKind::StorageFull);
        let ballast = disk.fill();
        until("the disk is full for everybody", || {
            services.failures_of(ErrorKind::StorageFull) >= full + 50
        })
        .await;
        std::fs::remove_file(ballast).unwrap();
    }
    let failures = services.end().await;
    // The server goes on, and says what is the matter.
    let expected = |kind: &ErrorKind| *kind == ErrorKind::StorageFull || RACES.contains(kind);
    assert!(failures.keys().all(expected), "{failures:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_of_the_log_that_is_full_loses_nothing_and_reorders_nothing() {
    let test = "disk::a_disk_of_the_log_that_is_full_loses_nothing_and_reorders_nothing";
    let Some(disk) = SmallDisk::mount(test, 192) else {
        return;
    };
    let options = ServerOptions::default()
        .with_setting("min_wal_size", "32MB")
        .with_setting("max_wal_size", "32MB");
    let server = PostgresServer::start_with(&options).await.unwrap();
    let folder = disk.folder_for(&server, "log").await;
    let log = data_directory(&server).await.join("pg_wal");
    server.stop(StopMode::Fast).await.unwrap();
    run(Command::new("cp").arg("-a").arg(log.join(".")).arg(&folder));
    std::fs::remove_dir_all(&log).unwrap();
    symlink(&folder, &log).unwrap();
    server.restart().await.unwrap();

    let services = Services::start(OnPostgres::open_on(&server).await).await;
    for _ in 0..ROUNDS {
        services.commit_some().await;
        // A standby that is away keeps the log from being used again, and somebody else writes what is left of it full:
        // then the server panics, and does not come up for as long as there is no room.
        let slot = "select pg_create_physical_replication_slot('away', true)";
        server.execute(slot).await.unwrap();
        let ballast = disk.fill();
        let noise = "drop table if exists noise; create table noise as \
            select repeat(md5(n::text), 30) as text from generate_series(1, 20000) n";
        while server.execute(noise).await.is_ok() {}
        let failed = services.failures();
        // Each waits for a connection for as long as it is willing to.
        until("nobody gets through", || services.failures() >= failed + 4).await;
        std::fs::remove_file(ballast).unwrap();
        come_up(&server).await;
        let slot = "select pg_drop_replication_slot('away')";
        server.execute(slot).await.unwrap();
        server.execute("checkpoint").await.unwrap();
    }
    let failures = services.end().await;
    let expected = |kind: &ErrorKind| {
        let outage = [
            ErrorKind::StorageFull,
            ErrorKind::Unavailable,
            ErrorKind::PoolExhausted,
            ErrorKind::CommitUnknown,
        ];
        outage.contains(kind) || RACES.contains(kind)
    };
    assert!(failures.keys().all(expected), "{failures:?}");
}

/// Starts a server that may be about to give up by itself.
async fn come_up(server: &PostgresServer) {
    for _ in 0..20 {
        if server.restart().await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    server.restart().await.unwrap();
}

/// Services that write for two tenants, and a worker that hands over what they commit.
struct Services {
    subject: OnPostgres,
    ledger: Ledger,
    broker: Broker,
    worker: OutboxWorker,
    is_over: Arc<AtomicBool>,
    writers: tokio::task::JoinSet<()>,
    failures: Arc<Mutex<HashMap<ErrorKind, usize>>>,
}

impl Services {
    async fn start(subject: OnPostgres) -> Self {
        let outbox = Outbox::new(subject.store());
        let broker = Broker::default();
        let settings = quick().with_outbox(&outbox);
        let worker =
            OutboxWorker::start(subject.platform(), Arc::new(broker.clone()), settings).unwrap();
        let mut services = Self {
            subject,
            ledger: Ledger::default(),
            broker,
            worker,
            is_over: Arc::default(),
            writers: tokio::task::JoinSet::new(),
            failures: Arc::default(),
        };
        let tenants = [TenantId::generate(), TenantId::generate()];
        for writer in 0..4_usize {
            let tenant = services.subject.store().tenant(tenants[writer % 2]);
            let (outbox, ledger) = (outbox.clone(), services.ledger.clone());
            let (is_over, failures) = (
                Arc::clone(&services.is_over),
                Arc::clone(&services.failures),
            );
            services.writers.spawn(async move {
                let accounts: Vec<_> = (0..30).map(Uuid::from_u128).collect();
                while !is_over.load(Ordering::Relaxed) {
                    let first = rand::random_range(0..accounts.len());
                    let last = (first + rand::random_range(1..=4)).min(accounts.len());
                    let accounts = &accounts[first..last];
                    let commits = rand::random_range(0..10) > 0;
                    let written = match rand::random_range(0..3) {
                        0 => ledger.write_riding(&outbox, &tenant, accounts).await,
                        _ => ledger.write(&outbox, &tenant, accounts, commits).await,
                    };
                    if let Err(error) = written {
                        *failures.lock().entry(error.kind()).or_default() += 1;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            });
        }
        services
    }

    /// Returns when there is room for what services write.
    async fn commit_some(&self) {
        let before = self.ledger.count();
        until("services commit", || self.ledger.count() >= before + 300).await;
    }

    fn failures_of(&self, kind: ErrorKind) -> usize {
        self.failures.lock().get(&kind).copied().unwrap_or_default()
    }

    fn failures(&self) -> usize {
        self.failures.lock().values().sum()
    }

    /// Ends it all, asserts that what was committed has left, and returns how often what has failed.
    async fn end(mut self) -> HashMap<ErrorKind, usize> {
        self.commit_some().await;
        self.is_over.store(true, Ordering::Relaxed);
        while self.writers.join_next().await.is_some() {}
        for _ in 0..600 {
            if self.ledger.is_empty_after(&self.broker.got()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.worker.stop().await.unwrap();
        let outcome = self.ledger.assert_whole(&self.broker.got());
        let failures = std::mem::take(&mut *self.failures.lock());
        println!("{outcome:?}, {failures:?}");
        failures
    }
}

async fn data_directory(server: &PostgresServer) -> PathBuf {
    let mut admin = sqlx::PgConnection::connect(server.admin_url())
        .await
        .unwrap();
    let found: String = sqlx::query_scalar("show data_directory")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    found.into()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// A file system in memory, of a size of its own, until this is dropped.
struct SmallDisk {
    path: PathBuf,
    /// None in a name space that somebody else has made for this test.
    mounted: Option<tempfile::TempDir>,
}

/// Where the disk is, for whoever is run again in a name space.
const MOUNTED: &str = "TENANTRY_TEST_SMALL_DISK";

impl SmallDisk {
    /// Mounts a disk of so many MiB. Whoever may not mount runs the test of this name once more, in a name space where
    /// they may; `None` says that it has passed there.
    #[allow(clippy::disallowed_methods, reason = "what a parent orders its child")]
    fn mount(test: &str, mebibytes: usize) -> Option<Self> {
        if let Some(path) = std::env::var_os(MOUNTED) {
            return Some(Self {
                path: path.into(),
                mounted: None,
            });
        }
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={mebibytes}m,mode=1777");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &options, "tenantry-test"])
            .arg(folder.path());
        let mounted = mount.output().unwrap();
        if mounted.status.success() {
            return Some(Self {
                path: folder.path().to_owned(),
                mounted: Some(folder),
            });
        }
        let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        let said = String::from_utf8_lossy(&mounted.stderr);
        assert!(!is_root, "cannot mount: {said}");
        // Root there, to mount, and nobody in particular again after that: a server does not run as root.
        let inside = "mount -t tmpfs -o \"$1\" tenantry-test \"$2\" && shift 2 && \
            exec unshare --user --map-user=1000 --map-group=1000 \"$@\"";
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", inside])
            .args(["sh", &options])
            .arg(folder.path())
            .arg(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(MOUNTED, folder.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "run this test as root, or let users have name spaces of their own: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        None
    }

    /// Makes a folder that the server may write to, as whoever it runs as.
    async fn folder_for(&self, server: &PostgresServer, name: &str) -> PathBuf {
        let data = std::fs::metadata(data_directory(server).await).unwrap();
        let folder = self.path.join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        chown(&folder, Some(data.uid()), Some(data.gid())).unwrap();
        folder
    }

    /// Fills the disk with a file that can be removed again.
    fn fill(&self) -> PathBuf {
        let path = self.path.join("ballast");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.mounted.is_some() {
            // A server may still be ending: the disk goes with it.
            let _ = Command::new("umount")
                .arg("--lazy")
                .arg(&self.path)
                .status();
        }
    }
}
