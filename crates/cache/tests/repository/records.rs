//! Invalidations that are recorded, and made up for.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tenantry_cache::{
    Cache, CachePolicy, CachedAggregate, CachedStore, INVALIDATIONS_POSTGRES, INVALIDATIONS_SQLITE,
    RedisSettings, Replay,
};
use tenantry_core::TenantId;
use tenantry_store::conformance::{POSTGRES_SCHEMA, SQLITE_SCHEMA, Specimen, SpecimenId};
use tenantry_store::{
    Aggregate, CommitListener, CommittedChanges, Filter, Json, Migrations, PlatformStore,
    PostgresSettings, Repository as _, RepositoryExt as _, SqliteSettings, TenantStore,
    async_trait, postgres, sqlite,
};
use tenantry_testkit::{PostgresServer, RedisServer, Roles, TestDatabase};
use uuid::Uuid;

use crate::until;

/// The table of the records, as an operator would look at it.
#[derive(Debug, Clone, Aggregate)]
#[aggregate(table = "cache_invalidations")]
struct Record {
    #[aggregate(id)]
    id: Uuid,
    over: Json<Vec<serde_json::Value>>,
}

/// One process, as far as store and cache are concerned.
struct Node {
    store: TenantStore,
    cached: CachedStore,
    specimens: CachedAggregate<Specimen>,
}

impl Node {
    async fn new(store: TenantStore, redis: &RedisSettings) -> Self {
        let builder = Cache::builder().with_redis(redis).unwrap();
        let cached = CachedStore::new(&store, &builder.build().unwrap()).unwrap();
        cached.record_invalidations().await.unwrap();
        Self {
            specimens: cached.aggregate(CachePolicy::default()).unwrap(),
            store,
            cached,
        }
    }

    async fn label(&self, tenant: TenantId, id: SpecimenId) -> String {
        let scope = self.store.tenant(tenant);
        let specimens = self.specimens.repository(&scope).unwrap();
        specimens.get(id).await.unwrap().label
    }

    async fn set(&self, tenant: TenantId, id: SpecimenId, label: &str) {
        let work = self.store.tenant(tenant).begin().await.unwrap();
        let specimens = work.repository::<Specimen>();
        let mut specimen = specimens.get(id).await.unwrap();
        specimen.label = label.to_owned();
        specimens.update(&mut specimen).await.unwrap();
        work.commit().await.unwrap();
    }

    async fn add(&self, tenant: TenantId, label: &str) -> SpecimenId {
        let mut specimen = Specimen::named(label);
        let specimens = self.store.tenant(tenant).repository();
        specimens.insert(&mut specimen).await.unwrap();
        specimen.id
    }

    async fn records(&self, tenant: TenantId) -> u64 {
        let records = self.store.tenant(tenant).repository::<Record>();
        records.count(Filter::all()).await.unwrap()
    }
}

fn file(folder: &Path) -> SqliteSettings {
    SqliteSettings::file(folder.join("specimens.db"))
}

async fn prepare(folder: &Path) {
    let tables = [
        (1, "conformance", SQLITE_SCHEMA),
        (2, "records", INVALIDATIONS_SQLITE),
    ];
    let migrations = Migrations::embedded(&tables);
    sqlite::migrate(&file(folder), &migrations).await.unwrap();
}

fn prefix() -> String {
    format!("t{:032x}", rand::random::<u128>())
}

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("tenantry-records-{}", Uuid::now_v7()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Ends the process after the commit, before anything else is done.
#[derive(Debug)]
struct Dies;

#[async_trait]
impl CommitListener for Dies {
    async fn committed(&self, _: &CommittedChanges) {
        std::process::abort();
    }
}

const ORDER: &str = "TENANTRY_TEST_ORDER";

/// Writes what a parent has ordered, and dies.
#[tokio::test]
#[ignore = "run by its parent, in a process of its own"]
async fn write_and_die() {
    let order = std::env::var(ORDER).unwrap();
    let [folder, url, prefix, tenant, id, label] =
        order.split('\n').collect::<Vec<_>>().try_into().unwrap();
    let store = TenantStore::sqlite(file(Path::new(folder))).await.unwrap();
    // The first who hears.
    store.on_commit(std::sync::Arc::new(Dies));
    let node = Node::new(store, &RedisSettings::new(url).with_prefix(prefix)).await;
    let id = SpecimenId(id.parse().unwrap());
    node.set(tenant.parse().unwrap(), id, label).await;
}

/// Several processes over one database and one Redis, one of which runs here.
struct Family {
    folder: Folder,
    url: String,
    prefix: String,
    node: Node,
    tenant: TenantId,
}

impl Family {
    async fn new() -> Self {
        let folder = Folder::new();
        prepare(&folder.0).await;
        let url = RedisServer::shared().await.unwrap().url().to_owned();
        let prefix = prefix();
        let store = TenantStore::sqlite(file(&folder.0)).await.unwrap();
        let settings = RedisSettings::new(&url).with_prefix(&prefix);
        Self {
            node: Node::new(store, &settings).await,
            tenant: TenantId::generate(),
            folder,
            url,
            prefix,
        }
    }

    async fn replay(&self) -> Replay {
        let platform = PlatformStore::sqlite(file(&self.folder.0)).await.unwrap();
        self.node.cached.replay(&platform).unwrap()
    }

    /// Has another process write, which dies after its commit.
    async fn write_and_die(&self, id: SpecimenId, label: &str) {
        let order = [
            self.folder.0.to_str().unwrap(),
            &self.url,
            &self.prefix,
            &self.tenant.to_string(),
            &id.0.to_string(),
            label,
        ];
        let ended = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "records::write_and_die", "--ignored"])
            .env(ORDER, order.join("\n"))
            .output()
            .await
            .unwrap();
        assert_eq!(ended.status.code(), None, "killed by a signal: {ended:?}");
    }
}

#[tokio::test]
async fn what_a_process_that_died_could_not_tell_is_made_up_for() {
    let family = Family::new().await;
    let (node, tenant) = (&family.node, family.tenant);
    let id = node.add(tenant, "one").await;
    assert_eq!(node.label(tenant, id).await, "one");
    family.write_and_die(id, "two").await;
    assert_eq!(node.label(tenant, id).await, "one", "nobody has told of it");
    let _replay = family.replay().await;
    until(|| async { node.label(tenant, id).await == "two" }).await;
    until(|| async { node.records(tenant).await == 0 }).await;
}

#[tokio::test]
async fn records_of_what_was_told_go_and_those_of_a_rollback_never_were() {
    let family = Family::new().await;
    let (node, tenant) = (&family.node, family.tenant);
    let id = node.add(tenant, "one").await;
    node.set(tenant, id, "two").await;
    assert_eq!(node.records(tenant).await, 2, "nobody removes them yet");
    let work = node.store.tenant(tenant).begin().await.unwrap();
    let mut lost = Specimen::named("lost");
    work.repository().insert(&mut lost).await.unwrap();
    work.rollback().await.unwrap();
    assert_eq!(node.records(tenant).await, 2);
    let _replay = family.replay().await;
    until(|| async { node.records(tenant).await == 0 }).await;
    node.set(tenant, id, "three").await;
    until(|| async { node.records(tenant).await == 0 }).await;
    assert_eq!(node.label(tenant, id).await, "three");
}

#[tokio::test]
async fn what_a_process_without_redis_has_written_is_told_by_another() {
    let database = TestDatabase::create(PostgresServer::shared().await.unwrap())
        .await
        .unwrap();
    let Roles {
        owner,
        app,
        platform: operator,
    } = database.bootstrap().await.unwrap();
    let tables = [
        (1, "conformance", POSTGRES_SCHEMA),
        (2, "records", INVALIDATIONS_POSTGRES),
    ];
    postgres::migrate(owner.url(), &Migrations::embedded(&tables))
        .await
        .unwrap();
    let settings = || PostgresSettings::new(app.url()).with_max_connections(3);
    let redis = RedisSettings::new(RedisServer::shared().await.unwrap().url());
    let reader = Node::new(
        TenantStore::postgres(settings()).await.unwrap(),
        &redis.with_prefix(prefix()),
    )
    .await;
    // Nobody listens there.
    let writer = Node::new(
        TenantStore::postgres(settings()).await.unwrap(),
        &RedisSettings::new("redis://127.0.0.1:1"),
    )
    .await;
    let platform = PostgresSettings::new(operator.url()).with_max_connections(2);
    let platform = PlatformStore::postgres(platform).await.unwrap();

    let (tenant, other) = (TenantId::generate(), TenantId::generate());
    let ids = [
        reader.add(tenant, "one").await,
        reader.add(other, "one").await,
    ];
    assert_eq!(reader.label(tenant, ids[0]).await, "one");
    assert_eq!(reader.label(other, ids[1]).await, "one");
    writer.set(tenant, ids[0], "two").await;
    assert_eq!(
        writer.label(tenant, ids[0]).await,
        "two",
        "it knows of it itself"
    );
    assert_eq!(reader.label(tenant, ids[0]).await, "one");
    let _replay = reader.cached.replay(&platform).unwrap();
    until(|| async { reader.label(tenant, ids[0]).await == "two" }).await;
    assert_eq!(reader.label(other, ids[1]).await, "one");
    until(|| async { reader.records(tenant).await == 0 }).await;
}

/// Kills processes between commit and invalidation, and tells for how long the old value was given out.
#[tokio::test]
#[ignore = "run by scripts/prove"]
async fn prove_staleness_after_a_crash() {
    let family = Family::new().await;
    let (node, tenant) = (&family.node, family.tenant);
    let _replay = family.replay().await;
    let id = node.add(tenant, "0").await;
    let seconds = std::env::var("TENANTRY_PROVE_SECONDS").ok();
    let seconds = seconds.and_then(|it| it.parse().ok()).unwrap_or(30);
    let (started, mut times) = (Instant::now(), Vec::new());
    while started.elapsed() < Duration::from_secs(seconds) {
        let label = (times.len() + 1).to_string();
        node.label(tenant, id).await;
        family.write_and_die(id, &label).await;
        // Its last act was the commit.
        let died = Instant::now();
        while node.label(tenant, id).await != label {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        times.push(died.elapsed());
    }
    times.sort_unstable();
    let (count, half) = (times.len(), times[times.len() / 2]);
    let longest = times[times.len() - 1];
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    println!("processes killed between commit and invalidation: {count}");
    println!("old value given out after the commit: half {half:?}, longest {longest:?}");
}
