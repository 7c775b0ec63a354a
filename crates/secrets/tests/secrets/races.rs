//! What several readers, writers and runtimes do to each other.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tenantry_core::{
    ErrorKind, Secret, SecretReference, SecretResolver as _, SecretSource as _, SecretWatch,
};
use tenantry_secrets::{CachePolicy, MemoryVault, Secrets, Vault as _};

use super::vault::Trouble;
use super::{Fixture, reference, runtime, settle};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn who_follows_outside_of_a_runtime_does_not_panic() {
    let fixture = Fixture::new();
    let watch = runtime().block_on(async {
        fixture.vault.store("db", "one").await;
        fixture.watch("kv://vault/db").await
    });
    let _ = watch.changed_from(0).now_or_never();
}

#[tokio::test]
async fn two_versions_that_were_switched_off_while_one_is_read_are_refused() {
    let fixture = Fixture::new();
    let first = fixture.vault.store("db", "one").await;
    fixture.text("kv://vault/db").await.unwrap();
    let gate = fixture.vault.close();
    fixture.clock.advance(241 * SECOND);
    fixture.text("kv://vault/db").await.unwrap();
    settle().await;
    assert_eq!(
        fixture.vault.reads(),
        2,
        "one is under way, and has read one"
    );
    let second = fixture.vault.store("db", "two").await;
    fixture.vault.fail([ErrorKind::Unavailable; 20]);
    let db = reference("kv://vault/db");
    let disabling: Vec<_> = [first, second]
        .into_iter()
        .map(|version| {
            let (secrets, versioned) =
                (fixture.secrets.clone(), db.with_version(&version).unwrap());
            tokio::spawn(async move { secrets.disable_version(&versioned).await })
        })
        .collect();
    settle().await;
    gate.add_permits(100);
    for task in disabling {
        task.await.unwrap().unwrap();
    }
    let got = fixture.text("kv://vault/db").await;
    assert!(got.is_err(), "served though switched off: {got:?}");
}

/// By either name, while the vault stays silent.
#[tokio::test(start_paused = true)]
async fn what_was_switched_off_is_refused_by_both_names_at_once() {
    let fixture = Fixture::new();
    let version = fixture.vault.store("db", "one").await;
    let versioned = reference("kv://vault/db").with_version(&version).unwrap();
    fixture.text("kv://vault/db").await.unwrap();
    fixture.text(&versioned.to_string()).await.unwrap();
    fixture.vault.trouble(Trouble::Silence);
    let disabling = tokio::spawn({
        let secrets = fixture.secrets.clone();
        async move { secrets.disable_version(&versioned).await }
    });
    tokio::time::sleep(5 * SECOND).await;
    assert!(
        !fixture
            .vault
            .memory
            .read("db", None)
            .await
            .unwrap()
            .validity
            .enabled
    );
    let got = fixture.text("kv://vault/db").await;
    disabling.await.unwrap().unwrap();
    assert!(
        got.is_err(),
        "5 s after the vault has switched it off: {got:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_switched_off_is_refused_though_who_did_it_has_gone() {
    let fixture = Fixture::new();
    let version = fixture.vault.store("db", "one").await;
    let versioned = reference("kv://vault/db").with_version(&version).unwrap();
    fixture.text("kv://vault/db").await.unwrap();
    fixture.text(&versioned.to_string()).await.unwrap();
    fixture.vault.trouble(Trouble::Delay(2 * SECOND));
    let disabling = fixture.secrets.disable_version(&versioned);
    tokio::time::timeout(SECOND, disabling).await.unwrap_err();
    assert!(
        !fixture
            .vault
            .memory
            .read("db", None)
            .await
            .unwrap()
            .validity
            .enabled
    );
    tokio::time::sleep(60 * SECOND).await;
    fixture.clock.advance(60 * SECOND);
    let got = fixture.text("kv://vault/db").await;
    assert!(
        got.is_err(),
        "a minute after the vault has switched it off: {got:?}"
    );
}

/// The runtime ends before the read that was to tell what became of it.
#[test]
fn what_is_switched_on_again_is_used_though_a_read_was_lost() {
    let fixture = Fixture::new();
    let first = runtime();
    let version = first.block_on(async {
        let version = fixture.vault.store("db", "one").await;
        fixture.text("kv://vault/db").await.unwrap();
        let versioned = reference("kv://vault/db").with_version(&version).unwrap();
        assert!(
            fixture
                .secrets
                .disable_version(&versioned)
                .now_or_never()
                .is_none()
        );
        version
    });
    drop(first);
    runtime().block_on(async {
        // Somebody enables it again.
        fixture
            .vault
            .set_enabled("db", &version, true)
            .await
            .unwrap();
        for _ in 0..50 {
            fixture.clock.advance(60 * SECOND);
            if fixture.text("kv://vault/db").await.is_ok() {
                return;
            }
        }
        panic!(
            "refused for 50 minutes: {:?}",
            fixture.text("kv://vault/db").await
        );
    });
}

/// A report, a resolve and a write, of which each comes while another is under way.
#[test]
fn a_write_joins_no_read_that_began_before_it() {
    let fixture = written_while_reads_overlap(|secrets, _| async move {
        let (db, value) = (reference("kv://vault/db"), Secret::new("two"));
        let stored = secrets.put_new_version(&db, value, Default::default());
        stored.await.map(drop)
    });
    let got = runtime().block_on(fixture.text("kv://vault/db")).unwrap();
    assert_eq!(got, "two", "after the put has ended");
}

#[test]
fn a_switch_joins_no_read_that_began_before_it() {
    let fixture = written_while_reads_overlap(|secrets, version| async move {
        let versioned = reference("kv://vault/db").with_version(&version)?;
        secrets.disable_version(&versioned).await
    });
    let got = runtime().block_on(fixture.text("kv://vault/db"));
    assert!(got.is_err(), "after the disabling has ended: {got:?}");
}

/// Writes while a read from before is under way, for which a report waits in a runtime that is busy.
fn written_while_reads_overlap<F>(write: impl FnOnce(Secrets, String) -> F) -> Fixture
where
    F: Future<Output = tenantry_core::Result<()>> + Send + 'static,
{
    let fixture = Fixture::new();
    let (slow, quick) = (runtime(), runtime());
    let (watch, gate, version) = quick.block_on(async {
        let version = fixture.vault.store("db", "one").await;
        let watch = fixture.watch("kv://vault/db").await;
        let gate = fixture.vault.close();
        fixture.clock.advance(241 * SECOND);
        fixture.text("kv://vault/db").await.unwrap();
        settle().await;
        (watch, gate, version)
    });
    let reporting = slow.spawn(async move { watch.report_failure(0).await.map(drop) });
    slow.block_on(tokio::task::yield_now());
    quick.block_on(async {
        gate.add_permits(1);
        settle().await;
        // The read under way has landed; another begins.
        let secrets = fixture.secrets.clone();
        let asking =
            tokio::spawn(async move { secrets.resolve(&reference("kv://vault/db")).await });
        settle().await;
        let writing = tokio::spawn(write(fixture.secrets.clone(), version));
        settle().await;
        assert!(!writing.is_finished());
        std::thread::spawn(move || slow.block_on(reporting));
        std::thread::sleep(Duration::from_millis(100));
        gate.add_permits(100);
        let _ = asking.await.unwrap();
        writing.await.unwrap().unwrap();
    });
    fixture
}

/// Secrets that may read as often as they like.
fn hurried(vault: Arc<dyn tenantry_secrets::Vault>) -> Secrets {
    let policy = CachePolicy::default()
        .with_jitter(0.0)
        .with_failure_interval(Duration::ZERO)
        .with_call_budget(100_000_000, SECOND);
    let secrets = Secrets::builder().with_policy(policy);
    secrets.with_vault("vault", vault).unwrap().build().unwrap()
}

/// Returns the reference of a secret that is there, and follows it.
async fn watched(secrets: &Secrets) -> (SecretReference, Arc<dyn SecretWatch>) {
    let db = reference("kv://vault/db");
    let stored = secrets.put_new_version(&db, Secret::new("v"), Default::default());
    stored.await.unwrap();
    let watch = secrets.watch(&db).await.unwrap();
    (db, watch)
}

/// Puts one value after the other, each of which is then resolved; returns how many there were, and how
/// many were others.
async fn write_and_read(secrets: Secrets, db: SecretReference) -> (usize, usize) {
    let begun = std::time::Instant::now();
    let (mut rounds, mut wrong) = (0, 0);
    while begun.elapsed() < 2 * SECOND {
        let value = format!("value {rounds}");
        let stored = secrets.put_new_version(&db, Secret::new(&*value), Default::default());
        stored.await.unwrap();
        let got = secrets.resolve(&db).await.unwrap();
        wrong += usize::from(got.expose() != value);
        rounds += 1;
    }
    (rounds, wrong)
}

/// One writer: what it has put is what is resolved after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_written_is_read_by_who_wrote_it_whatever_others_do() {
    let secrets = hurried(Arc::new(MemoryVault::new()));
    let (db, watch) = watched(&secrets).await;
    let mut others = Vec::new();
    for number in 0..6 {
        let (secrets, watch, db) = (secrets.clone(), Arc::clone(&watch), db.clone());
        others.push(tokio::spawn(async move {
            loop {
                if number % 2 == 0 {
                    let number = watch.generations().current.number();
                    let _ = watch.report_failure(number).await;
                } else {
                    let _ = secrets.resolve(&db).await;
                }
                tokio::task::yield_now().await;
            }
        }));
    }
    let (rounds, wrong) = write_and_read(secrets, db).await;
    for other in others {
        other.abort();
    }
    assert_eq!(wrong, 0, "of {rounds}");
}

/// A read of a runtime that rests holds up all others.
#[test]
fn a_runtime_that_rests_holds_nobody_up_for_ever() {
    let fixture = Fixture::new();
    let (resting, other) = (runtime(), runtime());
    resting.block_on(async {
        fixture.vault.store("db", "one").await;
        let asked = fixture.text("kv://vault/db");
        assert!(asked.now_or_never().is_none(), "who asked goes away");
    });
    other.block_on(async {
        let asked = tokio::time::timeout(120 * SECOND, fixture.text("kv://vault/db"));
        asked.await.expect("no answer within 2 minutes").unwrap();
    });
    drop(resting);
}

/// A renewal of a runtime that rests makes each resolve a read.
#[test]
fn a_runtime_that_rests_makes_nobody_read_on_and_on() {
    let fixture = Fixture::new();
    let (resting, other) = (runtime(), runtime());
    let watch = other.block_on(async {
        fixture.vault.store("db", "one").await;
        fixture.watch("kv://vault/db").await
    });
    resting.block_on(async {
        assert!(
            watch.report_failure(0).now_or_never().is_none(),
            "who reported goes away"
        );
    });
    other.block_on(async {
        fixture.clock.advance(241 * SECOND);
        for _ in 0..1_000 {
            fixture.text("kv://vault/db").await.unwrap();
            settle().await;
            fixture.clock.advance(Duration::from_millis(1));
        }
        let db = reference("kv://vault/db");
        let stored = fixture
            .secrets
            .put_new_version(&db, Secret::new("two"), Default::default());
        let ended = tokio::time::timeout(300 * SECOND, stored).await.is_ok();
        assert!(
            fixture.vault.reads() < 10 && ended,
            "{} reads, put ended: {ended}",
            fixture.vault.reads()
        );
    });
    drop(resting);
}

fn event() -> &'static [u8] {
    br#"[{"eventType": "Microsoft.KeyVault.SecretNewVersionCreated",
        "data": {"VaultName": "vault", "ObjectName": "db"}}]"#
}

/// A push that failed, while another read went well, swallows events for minutes.
#[test]
fn an_event_after_one_that_failed_is_heard() {
    let fixture = Fixture::new();
    let quick = runtime();
    let slow = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .event_interval(1)
        .build()
        .unwrap();
    let watch = quick.block_on(async {
        fixture.vault.store("db", "one").await;
        fixture.watch("kv://vault/db").await
    });
    slow.block_on(async {
        fixture.vault.fail([ErrorKind::Unavailable]);
        fixture.secrets.accept_event(event()).unwrap();
        while fixture.vault.reads() < 2 {
            tokio::task::yield_now().await;
        }
    });
    // Busy for a moment; meanwhile the vault is read well.
    quick.block_on(async {
        watch.report_failure(0).await.unwrap();
        assert_eq!(fixture.vault.reads(), 3);
    });
    slow.block_on(async {
        settle().await;
        fixture.clock.advance(2 * SECOND);
        tokio::time::sleep(2 * SECOND).await;
        settle().await;
        fixture.vault.store("db", "two").await;
        fixture.secrets.accept_event(event()).unwrap();
        fixture.clock.advance(100 * SECOND);
        tokio::time::sleep(100 * SECOND).await;
        settle().await;
        assert_eq!(
            watch.generations().current.number(),
            1,
            "100 s after the event"
        );
    });
}

/// The answer to a write is lost, and it is stored.
#[tokio::test(start_paused = true)]
async fn a_write_without_an_answer_is_looked_for() {
    let fixture = Fixture::new();
    fixture.vault.store("db", "one").await;
    let watch = fixture.watch("kv://vault/db").await;
    fixture.vault.hold_writes();
    let db = reference("kv://vault/db");
    let stored = fixture
        .secrets
        .put_new_version(&db, Secret::new("two"), Default::default());
    assert_eq!(stored.await.unwrap_err().kind(), ErrorKind::CommitUnknown);
    let seen = tokio::time::timeout(10 * SECOND, watch.changed_from(0)).await;
    assert!(seen.is_ok(), "followers were told within 10 s");
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_refuses_is_not_read_on_and_on() {
    let policy = CachePolicy::default().with_negative_time_to_live(Duration::ZERO);
    let fixture = Fixture::with(policy);
    let version = fixture.vault.store("db", "one").await;
    let _watch = fixture.watch("kv://vault/db").await;
    let versioned = reference("kv://vault/db").with_version(&version).unwrap();
    fixture.secrets.disable_version(&versioned).await.unwrap();
    let before = fixture.vault.reads();
    for _ in 0..1_000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        fixture.clock.advance(Duration::from_millis(10));
        settle().await;
    }
    let reads = fixture.vault.reads() - before;
    assert!(reads < 50, "{reads} in 10 s");
}

/// A file of the first folder that is replaced as Kubernetes does, and one of the same name in the
/// second.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_replaced_hides_that_of_another_folder() {
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};

    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(second.path().join("password"), "of the second").unwrap();
    let root = first.path().to_owned();
    let put = move |round: usize| {
        let data = root.join(format!("..{round}"));
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("password"), "of the first").unwrap();
        let new = root.join("..data_tmp");
        symlink(format!("..{round}"), &new).unwrap();
        std::fs::rename(&new, root.join("..data")).unwrap();
        if round > 0 {
            std::fs::remove_dir_all(root.join(format!("..{}", round - 1))).unwrap();
        }
    };
    put(0);
    symlink("..data/password", first.path().join("password")).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let swapping = std::thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let mut round = 1;
            while !over.load(Ordering::Relaxed) {
                put(round);
                round += 1;
            }
            round
        }
    });
    let policy = CachePolicy::default().with_time_to_live(Duration::from_nanos(1));
    let secrets = Secrets::builder()
        .with_folder(first.path())
        .with_folder(second.path())
        .with_policy(policy)
        .build()
        .unwrap();
    let (mut wrong, mut failed, mut reads) = (0, 0, 0);
    let begun = std::time::Instant::now();
    while begun.elapsed() < 2 * SECOND {
        match secrets.resolve(&reference("file:password")).await {
            Ok(secret) => wrong += usize::from(secret.expose() != "of the first"),
            Err(_) => failed += 1,
        }
        reads += 1;
    }
    over.store(true, Ordering::Relaxed);
    let swaps = swapping.join().unwrap();
    assert_eq!(
        (wrong, failed),
        (0, 0),
        "(wrong, failed) of {reads} reads, {swaps} swaps"
    );
}

/// Answers late, with what was there when it was asked.
#[derive(Debug, Default)]
struct LateVault {
    memory: MemoryVault,
    calls: std::sync::atomic::AtomicU64,
}

#[async_trait::async_trait]
impl tenantry_secrets::Vault for LateVault {
    async fn read(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> tenantry_core::Result<tenantry_secrets::SecretRecord> {
        let record = self.memory.read(name, version).await;
        let call = self
            .calls
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(1 + call % 4)).await;
        record
    }

    async fn put(
        &self,
        name: &str,
        value: &Secret,
        attributes: &tenantry_secrets::SecretAttributes,
    ) -> tenantry_core::Result<tenantry_secrets::SecretVersion> {
        self.memory.put(name, value, attributes).await
    }

    async fn set_enabled(&self, name: &str, version: &str, on: bool) -> tenantry_core::Result<()> {
        self.memory.set_enabled(name, version, on).await
    }

    async fn versions(
        &self,
        name: &str,
    ) -> tenantry_core::Result<Vec<tenantry_secrets::SecretVersion>> {
        self.memory.versions(name).await
    }

    async fn newest(
        &self,
    ) -> tenantry_core::Result<Vec<(String, tenantry_secrets::SecretVersion)>> {
        self.memory.newest().await
    }
}

/// One writer, in one runtime whose threads are busy now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_written_is_read_in_a_busy_runtime() {
    let secrets = hurried(Arc::new(LateVault::default()));
    let (db, watch) = watched(&secrets).await;
    let mut others = Vec::new();
    for number in 0..12 {
        let (secrets, watch, db) = (secrets.clone(), Arc::clone(&watch), db.clone());
        others.push(tokio::spawn(async move {
            loop {
                match number % 3 {
                    0 => {
                        let number = watch.generations().current.number();
                        let _ = watch.report_failure(number).await;
                    }
                    1 => drop(secrets.resolve(&db).await),
                    _ => {
                        // Work that does not yield.
                        std::thread::sleep(Duration::from_micros(800));
                    }
                }
                tokio::task::yield_now().await;
            }
        }));
    }
    let writing = tokio::spawn(write_and_read(secrets, db));
    let (rounds, wrong) = writing.await.unwrap();
    for other in others {
        other.abort();
    }
    assert_eq!(wrong, 0, "of {rounds}");
}

/// A vault that writes versions in capitals.
#[derive(Debug)]
struct Capitals(Arc<super::vault::ScriptedVault>);

#[async_trait::async_trait]
impl tenantry_secrets::Vault for Capitals {
    async fn read(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> tenantry_core::Result<tenantry_secrets::SecretRecord> {
        let mut record = self.0.read(name, version).await?;
        record.version = record.version.map(|version| version.to_uppercase().into());
        Ok(record)
    }

    async fn put(
        &self,
        _: &str,
        _: &Secret,
        _: &tenantry_secrets::SecretAttributes,
    ) -> tenantry_core::Result<tenantry_secrets::SecretVersion> {
        unreachable!()
    }

    async fn set_enabled(&self, name: &str, version: &str, on: bool) -> tenantry_core::Result<()> {
        self.0.set_enabled(name, version, on).await
    }

    async fn versions(
        &self,
        name: &str,
    ) -> tenantry_core::Result<Vec<tenantry_secrets::SecretVersion>> {
        self.0.versions(name).await
    }

    async fn newest(
        &self,
    ) -> tenantry_core::Result<Vec<(String, tenantry_secrets::SecretVersion)>> {
        self.0.newest().await
    }
}

#[tokio::test]
async fn versions_are_the_same_in_capitals() {
    let fixture = Fixture::new();
    let secrets = Secrets::builder()
        .with_vault("vault", Arc::new(Capitals(Arc::clone(&fixture.vault))))
        .unwrap()
        .with_clock(Arc::new(fixture.clock.clone()))
        .build()
        .unwrap();
    let version = fixture.vault.store("db", "one").await;
    let db = reference("kv://vault/db");
    secrets.resolve(&db).await.unwrap();
    fixture.vault.fail([ErrorKind::Unavailable; 10]);
    let versioned = db.with_version(&version.to_uppercase()).unwrap();
    secrets.disable_version(&versioned).await.unwrap();
    let got = secrets.resolve(&db).await;
    assert!(got.is_err(), "served though switched off");
}

/// The runtime that reads ends; who waits in another is refused, though the vault is well.
#[test]
fn who_waits_for_a_read_of_a_runtime_that_ends_reads_by_itself() {
    let fixture = Fixture::new();
    let (ending, other) = (runtime(), runtime());
    other.block_on(async {
        fixture.vault.store("db", "one").await;
        fixture.text("kv://vault/db").await.unwrap();
    });
    // Past its time, and not too old.
    fixture.clock.advance(400 * SECOND);
    ending.block_on(async {
        assert!(fixture.text("kv://vault/db").now_or_never().is_none());
    });
    let got = other.block_on(async {
        let asked = fixture.text("kv://vault/db");
        futures_util::pin_mut!(asked);
        assert!(futures_util::poll!(&mut asked).is_pending());
        std::thread::spawn(move || drop(ending)).join().unwrap();
        asked.await
    });
    assert_eq!(got.unwrap(), "one");
}

/// Runtimes come and go, and one goes on.
#[test]
fn runtimes_that_come_and_go_harm_nobody() {
    let secrets = hurried(Arc::new(LateVault::default()));
    let db = reference("kv://vault/db");
    let going = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    going
        .block_on(async {
            secrets
                .put_new_version(&db, Secret::new("v"), Default::default())
                .await
        })
        .unwrap();
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let threads: Vec<_> = (0..3u64)
        .map(|number| {
            let (secrets, db, over) = (secrets.clone(), db.clone(), Arc::clone(&over));
            std::thread::spawn(move || {
                let mut round = number;
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    round += 1;
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .unwrap();
                    runtime.block_on(async {
                        let secrets = secrets.clone();
                        let db = db.clone();
                        let job = async move {
                            if let Ok(watch) = secrets.watch(&db).await {
                                let number = watch.generations().current.number();
                                let _ = watch.report_failure(number).await;
                                let _ = watch.report_failure(number).await;
                            }
                        };
                        let _ = tokio::time::timeout(Duration::from_millis(round % 7), job).await;
                    });
                }
            })
        })
        .collect();
    let (mut rounds, mut wrong, mut failed) = (0, 0, 0);
    going.block_on(async {
        let begun = std::time::Instant::now();
        while begun.elapsed() < 2 * SECOND {
            let value = format!("value {rounds}");
            let put = secrets.put_new_version(&db, Secret::new(&*value), Default::default());
            tokio::time::timeout(5 * SECOND, put)
                .await
                .expect("put hangs")
                .unwrap();
            let got = tokio::time::timeout(5 * SECOND, secrets.resolve(&db))
                .await
                .expect("resolve hangs");
            match got {
                Ok(got) => wrong += usize::from(got.expose() != value),
                Err(_) => failed += 1,
            }
            rounds += 1;
        }
    });
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!((wrong, failed), (0, 0), "(wrong, failed) of {rounds}");
}
