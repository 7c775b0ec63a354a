//! Troubles on SQLite: each is a kind of its own, says what to do, shows nothing that is nobody's
//! business, and leaves nothing half done.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "a set-up that fails ends the test")]

mod trouble;

#[path = "trouble/disk.rs"]
mod disk;

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use disk::SmallDisk;
use futures_util::TryStreamExt as _;
use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use tenantry_core::TenantId;
use tenantry_store::{
    Aggregate, Changes, ErrorKind, Filter, Migrations, Query, Repository, RepositoryExt as _,
    Result, RetryPolicy, SqliteSettings, TenantStore, Version, WorkOptions, sqlite,
};
use trouble::{Customer, Invoice, Recorder, SQLITE_TABLES, Tenants, customer, customers};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_millis(200);

/// A store in a folder of its own, two tenants, and a way past the store.
struct Fixture {
    store: TenantStore,
    tenants: Tenants,
    path: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

impl Fixture {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tenants.db");
        Self {
            _folder: Some(folder),
            ..Self::at(path).await
        }
    }

    async fn at(path: PathBuf) -> Self {
        let settings = settings(&path);
        let migrations = Migrations::embedded(&[(1, "tables", SQLITE_TABLES)]);
        sqlite::migrate(&settings, &migrations).await.unwrap();
        let store = TenantStore::sqlite(settings).await.unwrap();
        Self {
            tenants: Tenants::of(&store),
            store,
            path,
            _folder: None,
        }
    }

    /// Returns a connection as another process has one.
    async fn raw(&self) -> SqliteConnection {
        let url = format!("sqlite://{}", self.path.display());
        SqliteConnection::connect(&url).await.unwrap()
    }

    async fn run(&self, sql: &str) {
        let mut raw = self.raw().await;
        run(&mut raw, sql).await;
        raw.close().await.unwrap();
    }

    fn trouble<T: std::fmt::Debug>(
        &self,
        outcome: Result<T>,
        kind: ErrorKind,
        advice: &[&str],
    ) -> tenantry_store::Error {
        let two = self.tenants.two.tenant();
        trouble::trouble(outcome, kind, advice, &[&two.to_string()])
    }
}

fn settings(path: impl AsRef<std::path::Path>) -> SqliteSettings {
    SqliteSettings::file(path)
        .with_max_readers(2)
        .with_busy_timeout(PATIENCE)
        .with_acquire_timeout(PATIENCE)
}

async fn run(connection: &mut SqliteConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .unwrap();
}

// --- Opening -------------------------------------------------------------------------------------

#[tokio::test]
async fn file_in_a_folder_that_is_not_there_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path().join("missing/tenants.db"));
    let advice = ["the file cannot be opened or read: see that its folder is there"];
    let opened = TenantStore::sqlite(settings.clone()).await;
    trouble::trouble(opened, ErrorKind::Unavailable, &advice, &[]);
    let migrated = sqlite::migrate(&settings, &Migrations::embedded(&[])).await;
    trouble::trouble(migrated, ErrorKind::Unavailable, &advice, &[]);
}

#[tokio::test]
async fn folder_in_the_place_of_the_file_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let opened = TenantStore::sqlite(settings(folder.path())).await;
    trouble::trouble(
        opened,
        ErrorKind::Unavailable,
        &["the file cannot be opened"],
        &[],
    );
}

#[tokio::test]
async fn name_that_is_no_file_is_refused() {
    for (name, advice) in [
        ("", "take `in_memory()` or `temporary()`"),
        (":memory:", "take `in_memory()` or `temporary()`"),
        (
            "file::memory:",
            "takes the name of the file for a URI: give a path",
        ),
    ] {
        let settings = settings(name);
        let opened = TenantStore::sqlite(settings.clone()).await;
        trouble::trouble(opened, ErrorKind::InvalidSettings, &[advice], &[]);
        let migrated = sqlite::migrate(&settings, &Migrations::embedded(&[])).await;
        trouble::trouble(migrated, ErrorKind::InvalidSettings, &[advice], &[]);
    }
}

#[tokio::test]
async fn longest_time_outs_are_waited_for() {
    let settings = SqliteSettings::temporary()
        .with_busy_timeout(Duration::MAX)
        .with_acquire_timeout(Duration::MAX)
        .with_statement_timeout(Some(Duration::MAX));
    let migrations = Migrations::embedded(&[(1, "tables", SQLITE_TABLES)]);
    sqlite::migrate(&settings, &migrations).await.unwrap();
    let store = TenantStore::sqlite(settings).await.unwrap();
    Tenants::of(&store).go_on().await;
    let options = WorkOptions::default().with_statement_timeout(Duration::MAX);
    let scope = store.tenant(TenantId::generate());
    let work = scope.begin_with(options).await.unwrap();
    let mut row = Customer::named("patient");
    work.repository().insert(&mut row).await.unwrap();
    work.commit().await.unwrap();
    assert_eq!(customers(&scope).await, 1);
}

#[tokio::test]
async fn work_dropped_on_a_thread_without_a_runtime_is_rolled_back() {
    let fixture = Fixture::open().await;
    let tenant = &fixture.tenants.one;
    let work = tenant.begin().await.unwrap();
    let mut row = Customer::named("never");
    work.repository().insert(&mut row).await.unwrap();
    std::thread::spawn(move || drop(work)).join().unwrap();
    fixture.tenants.go_on().await;
    assert_eq!(customers(tenant).await, 0);
}

#[test]
fn work_that_outlives_its_runtime_is_dropped_in_silence() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (fixture, work) = runtime.block_on(async {
        let fixture = Fixture::open().await;
        let work = fixture.tenants.one.begin().await.unwrap();
        (fixture, work)
    });
    drop(runtime);
    drop(work);
    drop(fixture);
}

#[tokio::test]
async fn file_that_is_no_database_is_corrupt_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tenants.db");
    let text = format!("{} is no database. ", trouble::VALUE).repeat(100);
    fs::write(&path, &text).unwrap();
    let opened = TenantStore::sqlite(settings(&path)).await;
    let advice = ["damaged, or no SQLite database: restore a backup"];
    trouble::trouble(opened, ErrorKind::Corrupt, &advice, &[]);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

// --- The file ------------------------------------------------------------------------------------

#[tokio::test]
async fn damaged_page_is_corrupt_and_the_rest_is_still_read() {
    let fixture = Fixture::open().await;
    let tenant = &fixture.tenants.one;
    let mut rows: Vec<_> = (0..2_000)
        .map(|number| Customer::named(&format!("{} {number}", trouble::VALUE)))
        .collect();
    tenant.repository().insert_many(&mut rows).await.unwrap();
    let mut invoice = Invoice::over(7);
    tenant.repository().insert(&mut invoice).await.unwrap();
    // What is in the log goes into the file with the last connection.
    fixture.store.close().await;
    let file = fs::File::options().write(true).open(&fixture.path).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    assert!(pages > 40, "{pages} pages");
    for page in pages / 4..pages / 2 {
        file.write_all_at(&[0xa5; 4096], page * 4096).unwrap();
    }

    let store = TenantStore::sqlite(settings(&fixture.path)).await.unwrap();
    let tenant = store.tenant(tenant.tenant());
    let customers = tenant.repository::<Customer>();
    let read = customers.stream(Query::new()).try_collect::<Vec<_>>().await;
    let advice = ["customers", "the file is damaged", "restore a backup"];
    let error = fixture.trouble(read, ErrorKind::Corrupt, &advice);
    assert!(!error.is_retryable());
    assert_eq!(
        tenant
            .repository::<Invoice>()
            .get(invoice.id)
            .await
            .unwrap(),
        invoice
    );
}

#[tokio::test]
async fn file_that_may_not_be_written_is_read_only() {
    let disk = SmallDisk::mount("file_that_may_not_be_written_is_read_only");
    let Some(disk) = disk else { return };
    let fixture = Fixture::at(disk.path().join("tenants.db")).await;
    let row = customer(&fixture.tenants.one).await;
    fixture.store.close().await;
    // Without its log, the file can be read where nothing can be written.
    fixture.run("pragma journal_mode = delete").await;
    disk.remount("ro");

    let opened = TenantStore::sqlite(settings(&fixture.path)).await;
    let advice = ["let the process write to the file and its folder"];
    fixture.trouble(opened, ErrorKind::ReadOnly, &advice);

    disk.remount("rw");
    let store = TenantStore::sqlite(settings(&fixture.path)).await.unwrap();
    let tenant = store.tenant(fixture.tenants.one.tenant());
    assert_eq!(
        tenant.repository::<Customer>().get(row.id).await.unwrap(),
        row
    );
    store.close().await;
    drop(fixture);
}

#[tokio::test]
async fn file_of_a_later_format_is_read_and_not_written() {
    const WRITE_VERSION: u64 = 18;
    let fixture = Fixture::open().await;
    let row = customer(&fixture.tenants.one).await;
    fixture.store.close().await;
    let file = fs::File::options().write(true).open(&fixture.path).unwrap();
    file.write_all_at(&[3], WRITE_VERSION).unwrap();

    let store = TenantStore::sqlite(settings(&fixture.path)).await.unwrap();
    let tenant = store.tenant(fixture.tenants.one.tenant());
    let customers = tenant.repository::<Customer>();
    let advice = ["the file is read-only", "let the process write to the file"];
    let inserted = customers.insert(&mut Customer::named("never")).await;
    let error = fixture.trouble(inserted, ErrorKind::ReadOnly, &advice);
    assert!(!error.is_retryable());
    assert_eq!(customers.get(row.id).await.unwrap(), row);
    assert_eq!(customers.count(Filter::all()).await.unwrap(), 1);
}

#[tokio::test]
async fn full_disk_stores_nothing_and_work_goes_on_when_there_is_room() {
    let disk = SmallDisk::mount("full_disk_stores_nothing_and_work_goes_on_when_there_is_room");
    let Some(disk) = disk else { return };
    let fixture = Fixture::at(disk.path().join("tenants.db")).await;
    let tenant = &fixture.tenants.one;
    let heard = Recorder::on(&fixture.store);
    let before = customer(tenant).await;
    let ballast = disk.fill();
    let advice = ["the disk is full, and nothing was stored: make room"];
    let big = || Customer::named(&trouble::VALUE.repeat(10_000));

    let inserted = tenant.repository().insert(&mut big()).await;
    let error = fixture.trouble(inserted, ErrorKind::StorageFull, &advice);
    assert!(!error.is_retryable());

    let work = tenant.begin().await.unwrap();
    let inside = work.repository::<Customer>();
    let outcome = async {
        inside.insert(&mut Customer::named("small")).await?;
        inside.insert(&mut big()).await
    };
    // The pages are written when they no longer fit the memory, or at the commit.
    let outcome = match outcome.await {
        Ok(()) => work.commit().await,
        failed => failed,
    };
    fixture.trouble(outcome, ErrorKind::StorageFull, &advice);
    assert_eq!(heard.outcomes().len(), 1, "of the first customer alone");
    let customers = tenant.repository::<Customer>();
    assert_eq!(customers.list(Query::new()).await.unwrap().items, [before]);

    fs::remove_file(ballast).unwrap();
    customers.insert(&mut big()).await.unwrap();
    fixture.tenants.go_on().await;
    let mut raw = fixture.raw().await;
    let sound: String = sqlx::query_scalar("pragma integrity_check")
        .fetch_one(&mut raw)
        .await
        .unwrap();
    assert_eq!(sound, "ok");
    raw.close().await.unwrap();
    fixture.store.close().await;
    drop(fixture);
}

#[tokio::test]
async fn interrupted_write_is_undone_and_the_next_one_works() {
    let fixture = Fixture::open().await;
    let tenant = &fixture.tenants.one;
    let mut rows: Vec<_> = (0..10_000).map(Invoice::over).collect();
    tenant.repository().insert_many(&mut rows).await.unwrap();
    for give_up in [true, false] {
        let options = WorkOptions::default().with_statement_timeout(Duration::from_millis(1));
        let work = tenant.begin_with(options).await.unwrap();
        let changes = Changes::new().add(Invoice::CENTS, 1);
        let inside = work.repository::<Invoice>();
        let outcome = inside.update_where(Filter::all(), changes, 10_000).await;
        let advice = ["ran longer than its time-out allows", "allow it more time"];
        fixture.trouble(outcome, ErrorKind::StatementTimeout, &advice);
        if give_up {
            work.rollback().await.unwrap();
        } else {
            assert_eq!(
                work.commit().await.unwrap_err().kind(),
                ErrorKind::WorkAborted
            );
        }
        fixture.tenants.go_on().await;
    }
    let invoices = tenant.repository::<Invoice>();
    assert_eq!(invoices.get(rows[0].id).await.unwrap(), rows[0]);
    assert_eq!(
        invoices
            .count(Invoice::VERSION.eq(Version::new(1)))
            .await
            .unwrap(),
        10_000
    );
}

// --- Others at the file --------------------------------------------------------------------------

#[tokio::test]
async fn file_that_another_process_has_locked_is_locked_and_still_read() {
    let fixture = Fixture::open().await;
    let tenant = &fixture.tenants.one;
    let row = customer(tenant).await;
    let mut other = fixture.raw().await;
    run(&mut other, "begin exclusive; delete from customers").await;

    let advice = ["another process holds the lock of the file: try again"];
    let inserted = tenant
        .repository()
        .insert(&mut Customer::named("waits"))
        .await;
    assert!(
        fixture
            .trouble(inserted, ErrorKind::Locked, &advice)
            .is_retryable()
    );
    fixture.trouble(tenant.begin().await, ErrorKind::Locked, &advice);
    assert_eq!(
        tenant.repository::<Customer>().get(row.id).await.unwrap(),
        row
    );

    run(&mut other, "rollback").await;
    fixture.tenants.go_on().await;
    assert_eq!(customers(tenant).await, 1);
}

#[tokio::test]
async fn run_waits_for_the_lock_of_another_process() {
    let fixture = Fixture::open().await;
    let mut other = fixture.raw().await;
    run(&mut other, "begin immediate").await;
    let attempts = AtomicU32::new(0);
    let counted = &attempts;
    let tenant = &fixture.tenants.one;
    let insert = tenant.run(
        RetryPolicy::new(),
        WorkOptions::default(),
        |work| async move {
            counted.fetch_add(1, Ordering::SeqCst);
            work.repository()
                .insert(&mut Customer::named("waits"))
                .await
        },
    );
    // Gives up after the first attempt has, for it waits longer.
    let patient = settings(&fixture.path).with_busy_timeout(PATIENCE * 3 / 2);
    let release = async {
        let store = TenantStore::sqlite(patient).await.unwrap();
        let refused = store.tenant(tenant.tenant()).begin().await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Locked);
        run(&mut other, "rollback").await;
    };
    let (inserted, ()) = tokio::join!(insert, release);
    inserted.unwrap();
    assert_eq!(
        attempts.load(Ordering::SeqCst),
        1,
        "an attempt without the lock runs nothing"
    );
    assert_eq!(customers(tenant).await, 1);
}

#[tokio::test]
async fn writer_in_use_tells_how_long_was_waited() {
    let fixture = Fixture::open().await;
    let work = fixture.tenants.one.begin().await.unwrap();
    let mut row = Customer::named("waits");
    let inserted = fixture.tenants.two.repository().insert(&mut row).await;
    let advice = [
        "the one writer is in use (1 of 1): end units of work sooner",
        " ms; ",
    ];
    let error = fixture.trouble(inserted, ErrorKind::PoolExhausted, &advice);
    assert_waited(&error.to_string());
    assert!(error.is_retryable());
    assert_eq!(
        customers(&fixture.tenants.two).await,
        0,
        "reads do not wait"
    );

    work.rollback().await.unwrap();
    fixture.tenants.go_on().await;
}

#[tokio::test]
async fn readers_in_use_tell_how_long_was_waited() {
    let fixture = Fixture::open().await;
    let read_only = || WorkOptions::default().read_only();
    let first = fixture.tenants.one.begin_with(read_only()).await.unwrap();
    let second = fixture.tenants.two.begin_with(read_only()).await.unwrap();
    let count = fixture
        .tenants
        .one
        .repository::<Customer>()
        .count(Filter::all())
        .await;
    let advice = ["all readers are in use (2 of 2): end units of work sooner"];
    let error = fixture.trouble(count, ErrorKind::PoolExhausted, &advice);
    assert_waited(&error.to_string());
    let mut row = Customer::named("writes");
    fixture
        .tenants
        .one
        .repository()
        .insert(&mut row)
        .await
        .unwrap();

    drop((first, second));
    fixture.tenants.go_on().await;
}

fn assert_waited(text: &str) {
    let rest = text.split("waited ").nth(1).unwrap();
    let waited: u64 = rest.split(' ').next().unwrap().parse().unwrap();
    let waited = Duration::from_millis(waited);
    assert!(waited >= PATIENCE && waited < 10 * PATIENCE, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_on_one_file_lose_no_update() {
    const ROUNDS: i64 = 25;
    let fixture = Fixture::open().await;
    let patient = |settings: SqliteSettings| {
        settings
            .with_busy_timeout(Duration::from_secs(10))
            .with_acquire_timeout(Duration::from_secs(10))
            .with_relaxed_durability()
    };
    let mut stores = Vec::new();
    for _ in 0..2 {
        stores.push(
            TenantStore::sqlite(patient(settings(&fixture.path)))
                .await
                .unwrap(),
        );
    }
    let tenant = TenantId::generate();
    let mut counter = Invoice::over(0);
    stores[0]
        .tenant(tenant)
        .repository()
        .insert(&mut counter)
        .await
        .unwrap();
    let id = counter.id;
    let tasks = (0..8).map(|number| {
        let scope = stores[number % 2].tenant(tenant);
        tokio::spawn(async move {
            let invoices = scope.repository::<Invoice>();
            for _ in 0..ROUNDS {
                loop {
                    let mut row = invoices.get(id).await.unwrap();
                    row.cents += 1;
                    match invoices.update(&mut row).await {
                        Ok(()) => break,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
                    }
                }
            }
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
    let counted = stores[1]
        .tenant(tenant)
        .repository::<Invoice>()
        .get(id)
        .await
        .unwrap();
    assert_eq!(counted.cents, 8 * ROUNDS);
    assert_eq!(counted.version, Version::new(8 * ROUNDS + 1));
}

// --- Constraints ---------------------------------------------------------------------------------

#[tokio::test]
async fn what_a_trigger_raises_is_not_shown() {
    let fixture = Fixture::open().await;
    fixture
        .run(
            "create trigger say before insert on customers
             begin select raise(abort, 'bad ' || new.name); end",
        )
        .await;
    let mut row = Customer::named(trouble::VALUE);
    let outcome = fixture.tenants.one.repository().insert(&mut row).await;
    fixture.trouble(outcome, ErrorKind::ConstraintViolated, &[]);
    assert_eq!(customers(&fixture.tenants.one).await, 0);
}

#[tokio::test]
async fn constraints_are_told_apart_and_show_no_value() {
    let fixture = Fixture::open().await;
    let tenant = &fixture.tenants.one;
    customer(tenant).await;
    let unique = tenant
        .repository()
        .insert(&mut Customer::named(trouble::VALUE))
        .await;
    let advice = ["the tenant has a row with this key", "customers.name"];
    let error = fixture.trouble(unique, ErrorKind::AlreadyExists, &advice);
    assert_eq!(error.constraint(), None, "SQLite names its columns");

    let advice = ["a foreign key, check or not-null constraint refuses the row"];
    let check = tenant
        .repository()
        .insert(&mut Invoice::over(-47_110_815))
        .await;
    let error = fixture.trouble(check, ErrorKind::ConstraintViolated, &advice);
    assert_eq!(error.constraint(), Some("not_negative"));
    assert!(
        trouble::everything_in(&error)
            .iter()
            .all(|text| !text.contains("47110815"))
    );

    let mut nameless = Customer {
        name: None,
        ..Customer::named("")
    };
    let not_null = tenant.repository().insert(&mut nameless).await;
    let error = fixture.trouble(not_null, ErrorKind::ConstraintViolated, &advice);
    assert_eq!(error.constraint(), None);
    assert_eq!(customers(tenant).await, 1);
    fixture.tenants.go_on().await;
}

#[tokio::test]
async fn parent_of_another_tenant_answers_as_a_missing_one() {
    let fixture = Fixture::open().await;
    let foreign = customer(&fixture.tenants.two).await;
    let mut answers = Vec::new();
    for parent in [foreign.id, Uuid::now_v7()] {
        let mut child = Invoice::for_customer(parent);
        let id = child.id.to_string();
        let outcome = fixture.tenants.one.repository().insert(&mut child).await;
        let error = fixture.trouble(outcome, ErrorKind::ConstraintViolated, &["foreign key"]);
        let texts = trouble::everything_in(&error);
        assert!(texts.iter().all(|text| !text.contains(&parent.to_string())));
        answers.push(
            texts
                .into_iter()
                .map(|text| text.replace(&id, "ID"))
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(answers[0], answers[1]);
    let mut own = Invoice::for_customer(customer(&fixture.tenants.one).await.id);
    fixture
        .tenants
        .one
        .repository()
        .insert(&mut own)
        .await
        .unwrap();
}

// --- The schema ----------------------------------------------------------------------------------

#[derive(Debug, Clone, PartialEq, Eq, Aggregate)]
#[aggregate(table = "nowhere")]
struct Unknown {
    #[aggregate(id)]
    id: Uuid,
}

#[tokio::test]
async fn table_that_is_not_there_is_unknown() {
    let fixture = Fixture::open().await;
    let advice = ["nowhere", "there is no such table: run the migrations"];
    let verified = fixture.store.verify::<Unknown>().await;
    fixture.trouble(verified, ErrorKind::UnknownTable, &advice);
    let unknown = fixture.tenants.one.repository::<Unknown>();
    let inserted = unknown.insert(&mut Unknown { id: Uuid::now_v7() }).await;
    fixture.trouble(inserted, ErrorKind::UnknownTable, &advice);
    fixture.tenants.go_on().await;
}

#[tokio::test]
async fn schema_that_is_older_or_newer_or_different_is_told_by_column() {
    for (change, advice) in [
        (
            "alter table invoices drop column customer_id",
            "column customer_id is missing: the schema is older than the code, run the migrations",
        ),
        (
            "create table invoices (tenant_id blob not null, id blob not null, customer_id blob, \
             cents integer not null, version integer not null, region text not null, \
             primary key (tenant_id, id))",
            "column region must have a value and the struct has none: the schema is newer than the \
             code, deploy the new code or give the column a default",
        ),
        (
            "create table invoices (tenant_id blob not null, id blob not null, customer_id blob, \
             cents text not null, version integer not null, primary key (tenant_id, id))",
            "column cents is TEXT, which cannot hold Int64",
        ),
        (
            "create table invoices (tenant_id blob not null, id blob not null primary key, \
             customer_id blob, cents integer not null, version integer not null)",
            "no unique key of exactly (tenant_id, id): make it the primary key",
        ),
        (
            "create table invoices (tenant_id blob, id blob not null, customer_id blob, \
             cents integer not null, version integer not null, unique (tenant_id, id))",
            "column tenant_id must be NOT NULL",
        ),
    ] {
        let fixture = Fixture::open().await;
        fixture.run("drop table invoices").await;
        let before = "create table invoices (tenant_id blob not null, id blob not null, \
             customer_id blob, cents integer not null, version integer not null, \
             primary key (tenant_id, id));";
        if change.starts_with("alter") {
            fixture.run(before).await;
        }
        fixture.run(change).await;
        let outcome = fixture
            .tenants
            .one
            .repository()
            .insert(&mut Invoice::over(1))
            .await;
        fixture.trouble(outcome, ErrorKind::SchemaMismatch, &["invoices", advice]);
        fixture.tenants.go_on().await;
    }
}

/// Tables as the store wants them, but for what is replaced in them.
fn tables_with(replaced: &str, by: &str) -> String {
    assert!(SQLITE_TABLES.contains(replaced), "{replaced}");
    let tables = SQLITE_TABLES.replace(replaced, by);
    format!("drop table invoices; drop table customers; {tables}")
}

#[tokio::test]
async fn schema_in_which_tenants_reach_each_other_is_refused() {
    const REFERENCE: &str = "foreign key (tenant_id, customer_id) references customers";
    const ONE_NAME: &str = "unique (tenant_id, name)";
    const INVOICE_KEY: &str = "primary key (tenant_id, id),\n        foreign";
    for (change, customers_advice, invoices_advice) in [
        (
            tables_with(ONE_NAME, "unique (name)"),
            "the unique key (name) is without tenant_id, so that tenants meet in it: make it \
             (tenant_id, name)",
            "",
        ),
        (
            "create unique index one_name on customers (lower(name)) where version > 0".to_owned(),
            "the unique index one_name on (an expression) is without tenant_id",
            "",
        ),
        (
            tables_with(
                "version integer not null,\n        primary key (tenant_id, id), unique",
                "version integer not null, number integer primary key,\n unique (tenant_id, id), unique",
            ),
            "the primary key (number) is without tenant_id, so that tenants meet in it: make it \
             (tenant_id, number)",
            "",
        ),
        (
            tables_with(
                &format!("{REFERENCE} (tenant_id, id)"),
                "foreign key (customer_id) references customers (id) on delete cascade",
            ),
            "the foreign key invoices (customer_id) to customers (id) leads from one tenant to \
             another: refer from (tenant_id, …) to (tenant_id, …)",
            "the foreign key invoices (customer_id) to customers (id) leads",
        ),
        (
            tables_with(
                &format!("{REFERENCE} (tenant_id, id)"),
                "foreign key (customer_id, tenant_id) references customers",
            ),
            "the foreign key invoices (customer_id, tenant_id) to customers (tenant_id, id) leads",
            "the foreign key invoices (customer_id, tenant_id) to customers (tenant_id, id) leads",
        ),
        (
            tables_with(
                &format!("{REFERENCE} (tenant_id, id)"),
                &format!("{REFERENCE} (tenant_id, id) on delete set null"),
            ),
            "sets tenant_id when the parent changes: take CASCADE or RESTRICT",
            "sets tenant_id when the parent changes: take CASCADE or RESTRICT",
        ),
        (
            "create table notes (tenant_id blob, invoice blob references Invoices (ID) \
             on delete cascade)"
                .to_owned(),
            "the foreign key notes (invoice) to Invoices (ID) leads",
            "the foreign key notes (invoice) to Invoices (ID) leads",
        ),
        (
            tables_with(
                INVOICE_KEY,
                "primary key (tenant_id, id) ON\nConflict ignore, foreign",
            ),
            "",
            "the table says ON CONFLICT, which replaces or drops rows unasked: leave the clause out",
        ),
    ] {
        let fixture = Fixture::open().await;
        fixture.run(&change).await;
        let verified = fixture.store.verify::<Customer>().await;
        refused(&fixture, verified, customers_advice);
        let verified = fixture.store.verify::<Invoice>().await;
        refused(&fixture, verified, invoices_advice);
    }
}

/// Asserts that a table is refused with the advice, or taken if there is none.
fn refused(fixture: &Fixture, verified: Result<()>, advice: &str) {
    if advice.is_empty() {
        verified.unwrap();
    } else {
        fixture.trouble(verified, ErrorKind::SchemaMismatch, &[advice]);
    }
}

#[tokio::test]
async fn table_that_all_tenants_share_may_be_referred_to() {
    let fixture = Fixture::open().await;
    let change = tables_with(
        "name text not null,",
        "name text not null default 'on conflict' references names on delete set default,",
    );
    let change = format!("create table names (name text primary key); {change}");
    fixture.run(&change).await;
    fixture
        .run("create table tenants (tenant_id blob primary key)")
        .await;
    fixture
        .run("create table logins (tenant_id blob references tenants, other text)")
        .await;
    fixture.store.verify::<Customer>().await.unwrap();
    fixture.store.verify::<Invoice>().await.unwrap();
}

#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "measures")]
struct Measure {
    #[aggregate(id)]
    id: Uuid,
    value: f64,
}

#[tokio::test]
async fn type_that_converts_what_is_stored_is_refused() {
    for (type_name, is_taken) in [
        ("real", true),
        ("double precision", true),
        ("float", true),
        ("floating point", false),
        ("numeric", false),
    ] {
        let fixture = Fixture::open().await;
        let table = format!(
            "create table measures (tenant_id blob not null, id blob not null, \
             value {type_name} not null, primary key (tenant_id, id))"
        );
        fixture.run(&table).await;
        let verified = fixture.store.verify::<Measure>().await;
        let advice = format!(
            "column value is {}, which cannot hold Float64",
            type_name.to_uppercase()
        );
        refused(&fixture, verified, if is_taken { "" } else { &advice });
    }
}

#[tokio::test]
async fn schema_that_changes_under_way_is_told() {
    let fixture = Fixture::open().await;
    let invoices = fixture.tenants.one.repository::<Invoice>();
    let mut row = Invoice::over(1);
    invoices.insert(&mut row).await.unwrap();
    fixture
        .run("alter table invoices rename column cents to amount")
        .await;
    let advice = ["the table differs from the struct: run the migrations of this release"];
    fixture.trouble(
        invoices.find(&row.id).await,
        ErrorKind::SchemaMismatch,
        &advice,
    );
    let inserted = invoices.insert(&mut Invoice::over(1)).await;
    fixture.trouble(inserted, ErrorKind::SchemaMismatch, &advice);
    // SQLite would take an unknown name in double quotes for a text, which is not 7.
    let deleted = invoices.delete_where(Invoice::CENTS.ne(7), 10).await;
    fixture.trouble(deleted, ErrorKind::SchemaMismatch, &advice);
    let all = Filter::<Invoice>::all();
    assert_eq!(invoices.count(all).await.unwrap(), 1);
    fixture.run("drop table invoices").await;
    let advice = ["invoices", "run the migrations"];
    fixture.trouble(
        invoices.find(&row.id).await,
        ErrorKind::UnknownTable,
        &advice,
    );
    fixture.tenants.go_on().await;
}
