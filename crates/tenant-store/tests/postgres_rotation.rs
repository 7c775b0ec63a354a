//! A password that is rotated while the store is in use.
//!
//! Each with a thread for what goes on in the background: a database is dropped at the end of a test,
//! which waits for whoever is just logging in.

#![cfg(all(feature = "postgres", feature = "conformance"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![allow(clippy::print_stdout, reason = "scripts/prove keeps what is printed")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};
use support::Walled;
use tenantry_core::{
    ManualClock, Secret, SecretReference, SecretSource, SharedClock, SystemClock, TenantId,
};
use tenantry_secrets::{
    CachePolicy, MemoryVault, SecretAttributes, SecretRecord, SecretVersion, Secrets, Vault,
};
use tenantry_store::conformance::Specimen;
use tenantry_store::postgres::{Role, audit, verify};
use tenantry_store::{
    ErrorKind, Pooler, PostgresSettings, Query, Repository as _, Result, TenantStore,
};
use tenantry_testkit::{PgBouncer, PgBouncerOptions, PostgresServer};

/// A database whose app role has its password in a vault.
struct Fixture {
    walled: Walled,
    vault: Arc<MemoryVault>,
    secrets: Secrets,
    clock: ManualClock,
    reference: SecretReference,
}

impl Fixture {
    async fn open() -> Self {
        Self::with(CachePolicy::default(), None).await
    }

    /// By the clock of the machine if there is no other.
    async fn with(policy: CachePolicy, time: Option<SharedClock>) -> Self {
        let walled = Walled::create().await;
        let vault = Arc::new(MemoryVault::new());
        let clock = ManualClock::new(chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap());
        let secrets = Secrets::builder()
            .with_vault("vault", Arc::clone(&vault) as Arc<_>)
            .unwrap()
            .with_clock(time.unwrap_or_else(|| Arc::new(clock.clone())))
            .with_policy(policy)
            .build()
            .unwrap();
        let fixture = Self {
            walled,
            vault,
            secrets,
            clock,
            reference: "kv://vault/db".parse().unwrap(),
        };
        fixture.store_silently("first").await;
        fixture.alter("first").await;
        fixture
    }

    fn settings(&self) -> PostgresSettings {
        self.settings_at(self.walled.app.url())
    }

    fn settings_at(&self, url: &str) -> PostgresSettings {
        PostgresSettings::new(url)
            .with_max_connections(4)
            .with_password_from(
                Arc::new(self.secrets.clone()) as Arc<dyn SecretSource>,
                self.reference.clone(),
            )
    }

    async fn store(&self) -> TenantStore {
        TenantStore::postgres(self.settings()).await.unwrap()
    }

    /// As somebody else does, of whom this process does not hear.
    async fn store_silently(&self, password: &str) {
        let (secret, attributes) = (Secret::new(password), SecretAttributes::default());
        let stored = self.vault.put("db", &secret, &attributes);
        stored.await.unwrap();
    }

    async fn put(&self, password: &str) {
        let secret = Secret::new(password);
        let stored =
            self.secrets
                .put_new_version(&self.reference, secret, SecretAttributes::default());
        stored.await.unwrap();
    }

    async fn alter(&self, password: &str) {
        self.alter_role(&format!("password '{password}'")).await;
    }

    async fn alter_role(&self, change: &str) {
        let role = self.walled.app.user();
        let alter = format!("alter role {role} {change}");
        self.walled.database.execute(&alter).await.unwrap();
    }

    /// Waits until connections are closed, which is done off the caller's path.
    async fn until_gone(&self, processes: &[i32]) {
        let mut left = processes.to_vec();
        for _ in 0..1_000 {
            let now = self.processes().await;
            left.retain(|pid| now.contains(pid));
            if left.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("still open: {left:?}");
    }

    /// Cuts every connection of the app role, so that new ones have to be opened.
    async fn cut(&self) {
        let cut = format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = '{}'",
            self.walled.app.user()
        );
        self.walled.database.execute(&cut).await.unwrap();
    }

    /// Cuts those that are not in a transaction.
    async fn cut_idle(&self) {
        let cut = format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = '{}' and \
             state = 'idle'",
            self.walled.app.user()
        );
        self.walled.database.execute(&cut).await.unwrap();
    }

    async fn processes(&self) -> Vec<i32> {
        let mut admin = PgConnection::connect(self.walled.database.admin_url())
            .await
            .unwrap();
        let sql = format!(
            "select pid from pg_stat_activity where usename = '{}' order by pid",
            self.walled.app.user()
        );
        sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_all(&mut admin)
            .await
            .unwrap()
    }
}

async fn read(store: &TenantStore, tenant: TenantId) -> Result<()> {
    let read = store.tenant(tenant).repository::<Specimen>();
    read.list(Query::new().limit(1)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_nobody_told_of_is_found_when_the_old_one_is_refused() {
    let fixture = Fixture::open().await;
    let (store, tenant) = (fixture.store().await, TenantId::generate());
    read(&store, tenant).await.unwrap();
    for password in ["second", "third"] {
        fixture.store_silently(password).await;
        fixture.alter(password).await;
        fixture.cut().await;
        fixture.clock.advance(Duration::from_secs(10));
        for _ in 0..5 {
            read(&store, tenant).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_are_refused_at_once_all_get_in() {
    let fixture = Fixture::open().await;
    let (store, tenant) = (fixture.store().await, TenantId::generate());
    for round in 0..5 {
        let password = format!("password {round}");
        fixture.store_silently(&password).await;
        fixture.alter(&password).await;
        fixture.cut().await;
        fixture.clock.advance(Duration::from_secs(10));
        let reads = (0..20).map(|_| read(&store, tenant));
        for outcome in futures_util::future::join_all(reads).await {
            outcome.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_is_stored_and_not_yet_set_lets_the_one_before_in() {
    let fixture = Fixture::open().await;
    let (store, tenant) = (fixture.store().await, TenantId::generate());
    read(&store, tenant).await.unwrap();
    fixture.put("second").await;
    for _ in 0..3 {
        fixture.cut().await;
        read(&store, tenant).await.unwrap();
    }
    fixture.alter("second").await;
    for _ in 0..3 {
        fixture.cut().await;
        read(&store, tenant).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_the_old_password_finish_their_work_and_are_closed() {
    let fixture = Fixture::open().await;
    let (store, tenant) = (fixture.store().await, TenantId::generate());
    let work = store.tenant(tenant).begin().await.unwrap();
    read(&store, tenant).await.unwrap();
    let before = fixture.processes().await;
    assert!(before.len() >= 2, "{before:?}");

    fixture.put("second").await;
    fixture.alter("second").await;
    let repository = work.repository::<Specimen>();
    repository.list(Query::new().limit(1)).await.unwrap();
    work.commit().await.unwrap();
    fixture.until_gone(&before).await;
    read(&store, tenant).await.unwrap();
}

/// The role has no more connections than the pool, and those are all of the old password.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_without_a_connection_to_spare_goes_over_to_a_new_password() {
    let fixture = Fixture::open().await;
    let (store, tenant) = (fixture.store().await, TenantId::generate());
    let mut works = Vec::new();
    for _ in 0..4 {
        works.push(store.tenant(tenant).begin().await.unwrap());
    }
    for work in works {
        work.commit().await.unwrap();
    }
    fixture.alter_role("connection limit 4").await;
    let before = fixture.processes().await;
    assert_eq!(before.len(), 4);
    fixture.put("second").await;
    fixture.alter("second").await;
    fixture.until_gone(&before).await;
    read(&store, tenant).await.unwrap();
}

/// The server counts a role's connections after it has taken the password.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_right_though_the_role_has_no_connection_to_spare() {
    let fixture = Fixture::open().await;
    let (store, tenant) = (fixture.store().await, TenantId::generate());
    let mut works = Vec::new();
    for _ in 0..3 {
        works.push(store.tenant(tenant).begin().await.unwrap());
    }
    let options: PgConnectOptions = fixture.walled.app.url().parse().unwrap();
    let another = options.password("first").connect().await.unwrap();
    let limit = fixture.processes().await.len();
    fixture
        .alter_role(&format!("connection limit {limit}"))
        .await;
    fixture.store_silently("second").await;
    fixture.alter("second").await;
    fixture.clock.advance(Duration::from_secs(10));
    let error = read(&store, tenant).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.detail().contains("took no new connection"), "{error}");
    another.close().await.unwrap();
    // It ends a moment after that.
    while fixture.processes().await.len() == limit {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let reads = (0..8).map(|_| read(&store, tenant));
    for outcome in futures_util::future::join_all(reads).await {
        outcome.unwrap();
    }
    for work in works {
        work.commit().await.unwrap();
    }
}

/// All of them are at work all the time, and none is idle in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saturated_pool_of_a_limited_role_goes_over_to_a_new_password() {
    let fixture = Fixture::open().await;
    let (store, tenant) = (fixture.store().await, TenantId::generate());
    fixture.alter_role("connection limit 4").await;
    let over = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..16)
        .map(|_| {
            let (store, over) = (store.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    read(&store, tenant).await.unwrap();
                }
            })
        })
        .collect();
    while fixture.processes().await.len() < 4 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let before = fixture.processes().await;
    fixture.put("second").await;
    fixture.alter("second").await;
    fixture.until_gone(&before).await;
    over.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
}

/// A change that is taken back leaves no connection of the password that was taken back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_opened_with_a_password_that_is_taken_back_is_closed() {
    let fixture = Fixture::open().await;
    let (store, tenant) = (fixture.store().await, TenantId::generate());
    let before = fixture.processes().await;
    fixture.put("second").await;
    fixture.alter("second").await;
    fixture.until_gone(&before).await;
    let mut works = Vec::new();
    for _ in 0..3 {
        works.push(store.tenant(tenant).begin().await.unwrap());
    }
    let second = fixture.processes().await;
    fixture.alter("first").await;
    fixture.cut_idle().await;
    // Opens another, which is refused with the second.
    read(&store, tenant).await.unwrap();
    for work in works {
        work.commit().await.unwrap();
    }
    fixture.until_gone(&second).await;
}

/// Whatever is stored meanwhile, and however long ago.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_refusal_of_a_moment_the_password_that_let_in_still_does() {
    for (stored, age) in [("second", 0), ("second", 700), ("line break\n", 0)] {
        let fixture = Fixture::open().await;
        let (store, tenant) = (fixture.store().await, TenantId::generate());
        read(&store, tenant).await.unwrap();
        fixture.put(stored).await;
        fixture.clock.advance(Duration::from_secs(age));
        fixture.alter_role("nologin").await;
        fixture.cut().await;
        let error = read(&store, tenant).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{error:?}");
        assert!(error.detail().contains("kv://vault/db"), "{error}");
        fixture.alter_role("login").await;
        for _ in 0..3 {
            fixture.clock.advance(Duration::from_secs(6));
            read(&store, tenant).await.unwrap();
        }
    }
}

/// The newest never was the password, nor is the one before any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_was_mistyped_and_corrected_is_found_by_whoever_is_refused() {
    let fixture = Fixture::open().await;
    let (store, tenant) = (fixture.store().await, TenantId::generate());
    read(&store, tenant).await.unwrap();
    fixture.put("mistyped").await;
    fixture.store_silently("third").await;
    fixture.alter("third").await;
    fixture.cut().await;
    fixture.clock.advance(Duration::from_secs(6));
    read(&store, tenant).await.unwrap();
}

/// A vault that can be made to stay silent.
#[derive(Debug)]
struct SilentVault {
    memory: Arc<MemoryVault>,
    is_silent: AtomicBool,
}

#[async_trait::async_trait]
impl Vault for SilentVault {
    async fn read(&self, name: &str, version: Option<&str>) -> Result<SecretRecord> {
        if self.is_silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.memory.read(name, version).await
    }

    async fn put(&self, _: &str, _: &Secret, _: &SecretAttributes) -> Result<SecretVersion> {
        unreachable!("nothing is stored through it")
    }

    async fn set_enabled(&self, _: &str, _: &str, _: bool) -> Result<()> {
        unreachable!("nothing is stored through it")
    }

    async fn versions(&self, name: &str) -> Result<Vec<SecretVersion>> {
        self.memory.versions(name).await
    }

    async fn newest(&self) -> Result<Vec<(String, SecretVersion)>> {
        self.memory.newest().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_known_is_tried_before_a_vault_that_stays_silent() {
    let fixture = Fixture::open().await;
    let vault = Arc::new(SilentVault {
        memory: Arc::clone(&fixture.vault),
        is_silent: AtomicBool::new(false),
    });
    let secrets = Secrets::builder()
        .with_vault("vault", Arc::clone(&vault) as Arc<_>)
        .unwrap()
        .build()
        .unwrap();
    let settings = fixture
        .walled
        .settings()
        .with_acquire_timeout(Duration::from_millis(500))
        .with_password_from(Arc::new(secrets.clone()), fixture.reference.clone());
    let (store, tenant) = (
        TenantStore::postgres(settings).await.unwrap(),
        TenantId::generate(),
    );
    fixture.store_silently("second").await;
    fixture.alter("second").await;
    fixture.cut().await;
    read(&store, tenant).await.unwrap();

    vault.is_silent.store(true, Ordering::Relaxed);
    // The change is taken back.
    fixture.alter("first").await;
    fixture.cut().await;
    read(&store, tenant).await.unwrap();
    fixture.alter("third").await;
    fixture.cut().await;
    // The vault would be given up after ten seconds.
    let refused = tokio::time::timeout(Duration::from_secs(5), read(&store, tenant)).await;
    let error = refused.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_is_wrong_is_an_error_and_the_vault_is_left_alone() {
    let fixture = Fixture::open().await;
    let (store, tenant) = (fixture.store().await, TenantId::generate());
    fixture.alter("another").await;
    fixture.cut().await;
    for _ in 0..5 {
        let error = read(&store, tenant).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{error:?}");
        assert!(!format!("{error:?}").contains("first"), "{error:?}");
    }
    fixture.store_silently("another").await;
    fixture.clock.advance(Duration::from_secs(10));
    read(&store, tenant).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_remembered_from_before_a_rotation_is_read_again_at_connect() {
    let fixture = Fixture::open().await;
    fixture.store().await;
    fixture.store_silently("second").await;
    fixture.alter("second").await;
    fixture.store().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_refuses_the_old_password_has_it_read_again_too() {
    let fixture = Fixture::open().await;
    // Remembered, and not known to the pooler.
    fixture.store().await;
    fixture.store_silently("second").await;
    fixture.alter("second").await;
    let users = PgBouncerOptions::default().with_user(fixture.walled.app.user(), "second");
    let server = PostgresServer::shared().await.unwrap();
    let pooler = PgBouncer::start(server, users).await.unwrap();
    let url = pooler.url(fixture.walled.app.url()).unwrap();
    let settings = || {
        fixture
            .settings_at(&url)
            .with_pooler(Pooler::TransactionMode)
    };
    let store = TenantStore::postgres(settings()).await.unwrap();
    read(&store, TenantId::generate()).await.unwrap();

    fixture.put("third").await;
    let error = TenantStore::postgres(settings().with_password(Secret::new("fourth")))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthenticationFailed, "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_connections_take_the_password_as_it_is() {
    let fixture = Fixture::open().await;
    verify(fixture.settings(), Role::App).await.unwrap();
    assert!(
        audit(fixture.settings(), Role::App)
            .await
            .unwrap()
            .is_clean()
    );
    let missing = fixture.walled.settings().with_password_from(
        Arc::new(fixture.secrets.clone()) as Arc<dyn SecretSource>,
        "kv://vault/none".parse().unwrap(),
    );
    let error = TenantStore::postgres(missing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        "resolve secret kv://vault/none: not found: create it, or correct the reference"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_passwords_are_rotated() {
    rotated_under_load(Duration::from_secs(4), 500, 4).await;
}

/// 2,000 requests a second, for as long as is asked for, with a rotation every ten seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/prove"]
async fn prove_rotation_under_load() {
    #[allow(clippy::disallowed_methods, reason = "set by scripts/prove")]
    let seconds: u64 = std::env::var("TENANTRY_PROVE_SECONDS")
        .unwrap()
        .parse()
        .unwrap();
    let rotations = usize::try_from(seconds / 10).unwrap().max(3);
    rotated_under_load(Duration::from_secs(seconds), 2_000, rotations).await;
}

/// How a process hears of a new version.
#[derive(Debug, Clone, Copy)]
enum Heard {
    /// It has stored it itself.
    Itself,
    /// By an event of Event Grid.
    Push,
    /// By reading time and again, every 400 to 500 milliseconds here.
    Poll,
}

async fn rotated_under_load(length: Duration, rate: u64, rotations: usize) {
    let policy = CachePolicy::default().with_time_to_live(Duration::from_millis(625));
    let fixture = Fixture::with(policy, Some(Arc::new(SystemClock))).await;
    let store = fixture.store().await;
    let (done, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let over = Arc::new(AtomicBool::new(false));
    let senders = 20;
    let pause = Duration::from_micros(1_000_000 * senders / rate);
    let tasks: Vec<_> = (0..senders)
        .map(|_| {
            let (store, tenant) = (store.clone(), TenantId::generate());
            let (done, failed, over) = (Arc::clone(&done), Arc::clone(&failed), Arc::clone(&over));
            tokio::spawn(async move {
                let mut ticks = tokio::time::interval(pause);
                while !over.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    match read(&store, tenant).await {
                        Ok(()) => done.fetch_add(1, Ordering::Relaxed),
                        Err(error) => {
                            println!("failed: {error:?}");
                            failed.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            })
        })
        .collect();
    let begun = Instant::now();
    let share = length / u32::try_from(rotations + 1).unwrap();
    let ways = [Heard::Itself, Heard::Push, Heard::Poll];
    let mut switched: Vec<(Heard, Duration)> = Vec::new();
    for (rotation, heard) in (0..rotations).zip(ways.into_iter().cycle()) {
        tokio::time::sleep(share).await;
        let old = fixture.processes().await;
        let password = format!("password {rotation}");
        let stored = Instant::now();
        match heard {
            Heard::Itself => fixture.put(&password).await,
            Heard::Poll => fixture.store_silently(&password).await,
            Heard::Push => {
                fixture.store_silently(&password).await;
                let event = br#"[{"eventType": "Microsoft.KeyVault.SecretNewVersionCreated",
                    "data": {"VaultName": "vault", "ObjectName": "db"}}]"#;
                assert_eq!(fixture.secrets.accept_event(event).unwrap().secrets, 1);
            }
        }
        fixture.alter(&password).await;
        loop {
            let now = fixture.processes().await;
            if !old.iter().any(|pid| now.contains(pid)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        switched.push((heard, stored.elapsed()));
    }
    tokio::time::sleep(share).await;
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let (done, failed) = (done.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
    println!(
        "{done} requests in {:?}, {rotations} rotations, {failed} failed\nfrom the new version to the \
         last connection of the old one, by how the process heard of it:",
        begun.elapsed()
    );
    for (heard, time) in switched {
        println!("  {heard:?} {time:?}");
    }
    assert_eq!(failed, 0);
    assert!(done > 100);
}

#[derive(Clone, Default)]
struct Written(Arc<parking_lot::Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// In no event of ours or of the driver, no error, no `Debug`, and no row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_is_written_nowhere() {
    const CANARY: &str = "canary-5b1e7c";
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_max_level(tracing::Level::TRACE)
        .finish();
    // For the process: which events are wanted is remembered for all threads together.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let fixture = Fixture::open().await;
    fixture.put(CANARY).await;
    fixture.alter(CANARY).await;
    written.0.lock().clear();
    let (store, tenant) = (fixture.store().await, TenantId::generate());
    read(&store, tenant).await.unwrap();
    fixture.walled.database.execute("select 1").await.unwrap();
    let mut shown = format!("{:?} {store:?} {:?}", fixture.settings(), fixture.secrets);
    fixture.alter("other").await;
    fixture.cut().await;
    let error = read(&store, tenant).await.unwrap_err();
    shown.push_str(&format!("{error} {error:?}"));
    let error = TenantStore::postgres(fixture.settings()).await.unwrap_err();
    shown.push_str(&format!("{error} {error:?}"));
    let written = String::from_utf8(written.0.lock().clone()).unwrap();
    assert!(written.contains("secret was refused where it was used"));
    assert!(!written.contains(CANARY), "{written}");
    assert!(!shown.contains(CANARY), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_cannot_be_sent_and_was_corrected_is_read_again_at_connect() {
    let fixture = Fixture::open().await;
    fixture.store_silently("first\n").await;
    let error = TenantStore::postgres(fixture.settings()).await.unwrap_err();
    assert!(error.detail().contains("kv://vault/db"), "{error}");
    fixture.store_silently("first").await;
    fixture.clock.advance(Duration::from_secs(10));
    TenantStore::postgres(fixture.settings()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_connect_the_password_before_one_that_does_not_let_in_is_tried() {
    for stored in ["mistyped", "first\n"] {
        let fixture = Fixture::open().await;
        let _followed = fixture.store().await;
        fixture.put(stored).await;
        TenantStore::postgres(fixture.settings())
            .await
            .map(drop)
            .unwrap_or_else(|error| panic!("{stored:?}: {error:?}"));
    }
}

/// A watch whose generations are set by hand.
#[derive(Debug)]
struct ByHand {
    reference: SecretReference,
    known: tokio::sync::watch::Sender<tenantry_core::SecretGenerations>,
}

fn generation(number: u64, text: &str) -> tenantry_core::SecretGeneration {
    tenantry_core::SecretGeneration::new(number, None, Arc::new(Secret::new(text)))
}

#[async_trait::async_trait]
impl tenantry_core::SecretWatch for ByHand {
    fn reference(&self) -> &SecretReference {
        &self.reference
    }
    fn generations(&self) -> tenantry_core::SecretGenerations {
        self.known.borrow().clone()
    }
    async fn changed_from(&self, number: u64) -> tenantry_core::SecretGenerations {
        let mut known = self.known.subscribe();
        known
            .wait_for(|known| known.current.number() != number)
            .await
            .unwrap()
            .clone()
    }
    async fn report_failure(&self, _: u64) -> Result<tenantry_core::SecretGenerations> {
        Ok(self.generations())
    }
}

#[derive(Debug)]
struct Source(Arc<ByHand>);

#[async_trait::async_trait]
impl tenantry_core::SecretResolver for Source {
    async fn resolve(&self, _: &SecretReference) -> Result<Arc<Secret>> {
        Ok(Arc::clone(self.0.known.borrow().current.secret()))
    }
}

#[async_trait::async_trait]
impl SecretSource for Source {
    async fn watch(&self, _: &SecretReference) -> Result<Arc<dyn tenantry_core::SecretWatch>> {
        Ok(Arc::clone(&self.0) as Arc<_>)
    }
}

/// The follower tries the second for long; meanwhile one that was refused finds the third.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_try_of_a_password_takes_nothing_from_a_newer_one() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let fixture = Fixture::open().await;
    let url = fixture.walled.app.url().to_owned();
    let options: PgConnectOptions = url.parse().unwrap();
    let (host, port) = (options.get_host().to_owned(), options.get_port());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy_port = listener.local_addr().unwrap().port();
    let hold = Arc::new(AtomicBool::new(false));
    let (held, release) = (
        Arc::new(tokio::sync::Notify::new()),
        Arc::new(tokio::sync::Notify::new()),
    );
    tokio::spawn({
        let (hold, held, release) = (Arc::clone(&hold), Arc::clone(&held), Arc::clone(&release));
        async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = tokio::net::TcpStream::connect((&*host, port))
                    .await
                    .unwrap();
                let (hold, held, release) =
                    (Arc::clone(&hold), Arc::clone(&held), Arc::clone(&release));
                tokio::spawn(async move {
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    tokio::spawn(async move {
                        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
                        let _ = to_server.shutdown().await;
                    });
                    let mut buffer = vec![0; 64 * 1024];
                    while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                        let bytes = &buffer[..length];
                        if bytes.windows(14).any(|text| text == b"server_version")
                            && hold.swap(false, Ordering::SeqCst)
                        {
                            held.notify_one();
                            release.notified().await;
                        }
                        if to_client.write_all(bytes).await.is_err() {
                            break;
                        }
                    }
                });
            }
        }
    });
    let by_hand = Arc::new(ByHand {
        reference: fixture.reference.clone(),
        known: tokio::sync::watch::Sender::new(tenantry_core::SecretGenerations {
            current: generation(0, "first"),
            previous: None,
        }),
    });
    let proxied = {
        let (before, after) = url.split_once(&format!(":{port}")).unwrap();
        let at = before.rfind('@').unwrap();
        format!("{}@127.0.0.1:{proxy_port}{after}", &before[..at])
    };
    let settings = PostgresSettings::new(proxied)
        .with_max_connections(4)
        .with_password_from(
            Arc::new(Source(Arc::clone(&by_hand))),
            fixture.reference.clone(),
        );
    let (store, tenant) = (
        TenantStore::postgres(settings).await.unwrap(),
        TenantId::generate(),
    );
    read(&store, tenant).await.unwrap();
    // A third that never was the password comes to be the newest while the third is looked for.
    fixture.alter("second").await;
    hold.store(true, Ordering::SeqCst);
    by_hand
        .known
        .send_modify(|known| known.current = generation(1, "second"));
    held.notified().await;
    fixture.alter("third").await;
    by_hand
        .known
        .send_modify(|known| known.current = generation(2, "third"));
    fixture.cut_idle().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    read(&store, tenant).await.unwrap();
    let work = store.tenant(tenant).begin().await.unwrap();
    let of_third = fixture.processes().await;
    release.notify_waiters();
    release.notify_one();
    tokio::time::sleep(Duration::from_millis(300)).await;
    work.commit().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let now = fixture.processes().await;
    read(&store, tenant).await.unwrap();
    assert!(
        now.iter().any(|pid| of_third.contains(pid)),
        "a connection of the newest was closed"
    );
}
