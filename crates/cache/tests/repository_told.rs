//! Repositories with a cache in front, where commits are told of in a roundabout way, late, or not at all.

#![cfg(all(feature = "repository", feature = "redis"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tenantry_cache::{
    Cache, CachePolicy, CachedStore, Format, INVALIDATIONS_SQLITE, Lookup, RedisSettings,
};
use tenantry_core::{Result, TenantId};
use tenantry_store::{
    Aggregate, Changes, Filter, Json, Migrations, Page, PlatformStore, PostgresSettings, Query,
    Repository, RepositoryExt as _, SqlRepository, SqliteSettings, TenantStore, Version, postgres,
    sqlite,
};
use tenantry_testkit::{PostgresServer, RedisServer, Roles, TestDatabase};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "papers")]
struct Paper {
    #[aggregate(id)]
    id: Uuid,
    text: String,
}

impl Paper {
    fn new(text: &str) -> Self {
        Self {
            id: Uuid::now_v7(),
            text: text.to_owned(),
        }
    }
}

const PAPERS: &str = "create table papers (
    tenant_id blob not null, id blob not null, text text not null, primary key (tenant_id, id)
) strict";

fn redis_of(url: &str, prefix: &str) -> RedisSettings {
    RedisSettings::new(url).with_prefix(prefix)
}

fn prefix() -> String {
    format!("t{:032x}", rand::random::<u128>())
}

async fn redis() -> RedisSettings {
    redis_of(RedisServer::shared().await.unwrap().url(), &prefix())
}

async fn sqlite_with(
    settings: &SqliteSettings,
    tables: &[(i64, &'static str, &'static str)],
) -> TenantStore {
    sqlite::migrate(settings, &Migrations::embedded(tables))
        .await
        .unwrap();
    TenantStore::sqlite(settings.clone()).await.unwrap()
}

async fn papers() -> TenantStore {
    sqlite_with(&SqliteSettings::temporary(), &[(1, "papers", PAPERS)]).await
}

fn near() -> Cache {
    Cache::builder().build().unwrap()
}

/// A PostgreSQL database with `papers`, in a schema of its own if one is named.
async fn postgres_with(schema: Option<&str>, more: &str) -> (TestDatabase, PostgresSettings) {
    let database = TestDatabase::create(PostgresServer::shared().await.unwrap())
        .await
        .unwrap();
    let Roles { owner, app, .. } = database.bootstrap().await.unwrap();
    let of = match schema {
        Some(schema) => {
            database
                .execute(&format!(
                    "create schema {schema} authorization \"{}\"; grant usage on schema {schema} to \"{}\"",
                    owner.user(), app.user()
                ))
                .await
                .unwrap();
            format!("{schema}.")
        }
        None => String::new(),
    };
    let table: &'static str = String::leak(format!(
        "create table {of}papers (tenant_id uuid not null, id uuid not null, text text not null,
            primary key (tenant_id, id));
         select tenantry.protect('{of}papers'); {more}"
    ));
    let tables = [(1, "papers", table)];
    postgres::migrate(owner.url(), &Migrations::embedded(&tables))
        .await
        .unwrap();
    let settings = PostgresSettings::new(app.url()).with_max_connections(4);
    let settings = match schema {
        Some(schema) => settings.with_schema(schema),
        None => settings,
    };
    (database, settings)
}

/// docs: "A commit ends what it has changed before it returns, whoever wrote it: … SQL by hand (which
/// ends all rows of the table …)". The tables are in a schema that is not on the search path.
#[tokio::test]
async fn sql_by_hand_ends_rows_of_a_table_in_a_schema_of_its_own() {
    let (_database, settings) = postgres_with(Some("billing"), "").await;
    let store = TenantStore::postgres(settings).await.unwrap();
    let cached = CachedStore::new(&store, &near()).unwrap();
    let kept = cached.aggregate::<Paper>(CachePolicy::default()).unwrap();
    let scope = store.tenant(TenantId::generate());
    let papers = kept.repository(&scope).unwrap();
    let mut paper = Paper::new("one");
    papers.insert(&mut paper).await.unwrap();
    assert_eq!(papers.get(paper.id).await.unwrap().text, "one");

    let work = scope.begin().await.unwrap();
    let done = sqlx::query("update billing.papers set text = 'two' where id = $1")
        .bind(paper.id)
        .execute(work.sqlx_postgres().unwrap())
        .await
        .unwrap();
    assert_eq!(done.rows_affected(), 1);
    work.commit().await.unwrap();
    let stored = scope.repository::<Paper>().get(paper.id).await.unwrap();
    assert_eq!(stored.text, "two");
    assert_eq!(papers.get(paper.id).await.unwrap().text, "two", "stale");
}

#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "pages")]
struct Leaf {
    #[aggregate(id)]
    id: Uuid,
    paper: Uuid,
}

#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "lines")]
struct Line {
    #[aggregate(id)]
    id: Uuid,
    leaf: Uuid,
}

/// `with_change_by`: "the database changes rows of this aggregate whenever rows of another table change,
/// as by `on delete cascade`". Papers → pages → lines, each said.
#[tokio::test]
async fn a_cascade_of_a_cascade_ends_what_it_changes() {
    const PAGES: &str = "create table pages (
        tenant_id blob not null, id blob not null, paper blob not null, primary key (tenant_id, id),
        foreign key (tenant_id, paper) references papers (tenant_id, id) on delete cascade
    ) strict";
    const LINES: &str = "create table lines (
        tenant_id blob not null, id blob not null, leaf blob not null, primary key (tenant_id, id),
        foreign key (tenant_id, leaf) references pages (tenant_id, id) on delete cascade
    ) strict";
    let tables = [
        (1, "papers", PAPERS),
        (2, "pages", PAGES),
        (3, "lines", LINES),
    ];
    let store = sqlite_with(&SqliteSettings::temporary(), &tables).await;
    let cached = CachedStore::new(&store, &near()).unwrap();
    let leaves = cached.aggregate::<Leaf>(CachePolicy::default()).unwrap();
    let leaves = leaves.with_change_by("papers");
    let lines = cached.aggregate::<Line>(CachePolicy::default()).unwrap();
    let lines = lines.with_change_by("pages");

    let scope = store.tenant(TenantId::generate());
    let mut paper = Paper::new("one");
    scope.repository().insert(&mut paper).await.unwrap();
    let mut leaf = Leaf {
        id: Uuid::now_v7(),
        paper: paper.id,
    };
    let leaves = leaves.repository(&scope).unwrap();
    leaves.insert(&mut leaf).await.unwrap();
    let mut line = Line {
        id: Uuid::now_v7(),
        leaf: leaf.id,
    };
    let lines = lines.repository(&scope).unwrap();
    lines.insert(&mut line).await.unwrap();
    assert!(leaves.find(&leaf.id).await.unwrap().is_some());
    assert!(lines.find(&line.id).await.unwrap().is_some());

    scope
        .repository::<Paper>()
        .delete_by_id(&paper.id, None)
        .await
        .unwrap();
    assert_eq!(
        scope.repository::<Line>().find(&line.id).await.unwrap(),
        None
    );
    assert_eq!(leaves.find(&leaf.id).await.unwrap(), None);
    assert_eq!(lines.find(&line.id).await.unwrap(), None, "stale");
}

/// docs: "A process that writes what others cache declares the aggregate too, over the same Redis and
/// prefix." It does, without lists: the release before the one that keeps lists.
#[tokio::test]
async fn a_process_that_keeps_no_lists_ends_those_of_others() {
    let settings = SqliteSettings::temporary();
    let store = sqlite_with(&settings, &[(1, "papers", PAPERS)]).await;
    let redis = redis().await;
    let cache = || {
        let builder = Cache::builder().with_bytes_of_a_tenant(1);
        builder.with_redis(&redis).unwrap().build().unwrap()
    };
    let new = CachedStore::new(&store, &cache()).unwrap();
    let new = new.aggregate::<Paper>(CachePolicy::default()).unwrap();
    let new = new.with_lists(CachePolicy::default()).unwrap();
    let before = TenantStore::sqlite(settings).await.unwrap();
    let old = CachedStore::new(&before, &cache()).unwrap();
    let old = old.aggregate::<Paper>(CachePolicy::default()).unwrap();

    let tenant = TenantId::generate();
    let reader = new.repository(&store.tenant(tenant)).unwrap();
    let writer = old.repository(&before.tenant(tenant)).unwrap();
    let mut paper = Paper::new("one");
    writer.insert(&mut paper).await.unwrap();
    assert_eq!(
        reader.list(Query::new()).await.unwrap().items[0].text,
        "one"
    );
    tokio::time::sleep(Duration::from_millis(200)).await;
    paper.text = "two".to_owned();
    writer.update(&mut paper).await.unwrap();
    assert_eq!(reader.get(paper.id).await.unwrap().text, "two");
    let listed = reader.list(Query::new()).await.unwrap();
    assert_eq!(listed.items[0].text, "two", "stale");
}

/// `CachedRepository`: "A write that is dropped may have been committed or not, and what is kept of it
/// ends." Of a store that the cache does not hear of, as `wrap` is for.
#[tokio::test]
async fn a_write_by_a_wrapper_that_is_dropped_while_it_commits_ends_what_it_changes() {
    let slow = "create function slow() returns trigger language plpgsql as
            $$ begin perform pg_sleep(0.5); return null; end $$;
        create constraint trigger slow after update on papers deferrable initially deferred
            for each row execute function slow();";
    let (_database, settings) = postgres_with(None, slow).await;
    let elsewhere = TenantStore::postgres(settings).await.unwrap();
    let cached = CachedStore::new(&papers().await, &near()).unwrap();
    let kept = cached.aggregate::<Paper>(CachePolicy::default()).unwrap();
    let scope = elsewhere.tenant(TenantId::generate());
    let papers = kept.wrap(scope.repository::<Paper>());
    let mut paper = Paper::new("one");
    papers.insert(&mut paper).await.unwrap();
    assert_eq!(papers.get(paper.id).await.unwrap().text, "one");

    let mut changed = paper.clone();
    changed.text = "two".to_owned();
    let writing = tokio::time::timeout(Duration::from_millis(250), papers.update(&mut changed));
    assert!(writing.await.is_err(), "it is dropped while it commits");
    // A reader comes while the commit is under way.
    assert_eq!(papers.get(paper.id).await.unwrap().text, "one");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let stored = scope.repository::<Paper>().get(paper.id).await.unwrap();
    assert_eq!(stored.text, "two", "the commit has landed");
    assert_eq!(papers.get(paper.id).await.unwrap().text, "two", "stale");
}

/// `UnitOfWork::commit`: "Dropped later, it goes on to its end in the background, and listeners are told
/// of that."
#[test]
fn a_commit_that_is_dropped_outside_a_runtime_ends_what_it_changes() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut stale = 0;
    let (mut landed, mut panics) = (0, 0);
    for _ in 0..20 {
        let (papers, scope, paper, mut commit) = runtime.block_on(async {
            let store = papers().await;
            let cached = CachedStore::new(&store, &near()).unwrap();
            let kept = cached.aggregate::<Paper>(CachePolicy::default()).unwrap();
            let scope = store.tenant(TenantId::generate());
            let papers = kept.repository(&scope).unwrap();
            let mut paper = Paper::new("one");
            papers.insert(&mut paper).await.unwrap();
            papers.get(paper.id).await.unwrap();
            let work = scope.begin().await.unwrap();
            let mut changed = paper.clone();
            changed.text = "two".to_owned();
            work.repository().update(&mut changed).await.unwrap();
            (papers, scope, paper, Box::pin(work.commit()))
        });
        runtime.block_on(async {
            // Polled once, which sends the commit.
            let _ = futures_util::poll!(&mut commit);
        });
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(commit)));
        panics += usize::from(dropped.is_err());
        runtime.block_on(async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let stored = scope.repository::<Paper>().get(paper.id).await.unwrap();
            landed += usize::from(stored.text == "two");
            stale += usize::from(papers.get(paper.id).await.unwrap() != stored);
        });
    }
    println!("of 20 commits {landed} have landed, {stale} left a stale value, {panics} panicked");
    assert_eq!((stale, panics), (0, 0));
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Open {
    name: String,
    #[serde(flatten)]
    more: HashMap<String, String>,
}

/// docs: JSON is "for … types that postcard cannot read back (`serde_json::Value`, `untagged`, `flatten`)".
#[tokio::test]
async fn a_value_that_postcard_cannot_write_is_kept() {
    let cache = near();
    let policy = CachePolicy::default().with_format(Format::Json);
    let kind = cache.kind::<Open>("open", policy).unwrap();
    let tenant = cache.tenant(TenantId::generate());
    let loads = Arc::new(AtomicUsize::new(0));
    for _ in 0..10 {
        let loads = Arc::clone(&loads);
        let load = move || async move {
            loads.fetch_add(1, Ordering::SeqCst);
            Ok(Some(Open {
                name: "Ada".to_owned(),
                more: HashMap::new(),
            }))
        };
        tenant.get_or_load(&kind, "7", load).await.unwrap();
    }
    assert_eq!(
        loads.load(Ordering::SeqCst),
        1,
        "loaded each time, and nobody is told"
    );
}

#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "words")]
struct Word {
    #[aggregate(id)]
    id: String,
    meaning: String,
}

/// The records of invalidations, as a later release may write them.
#[derive(Debug, Clone, Aggregate)]
#[aggregate(table = "cache_invalidations")]
struct Record {
    #[aggregate(id)]
    id: Uuid,
    over: Json<serde_json::Value>,
}

/// One record that this release does not read keeps no other from being made up for.
#[tokio::test]
async fn a_record_that_is_not_understood_keeps_no_other_from_its_replay() {
    let settings = SqliteSettings::temporary();
    let tables = [(1, "papers", PAPERS), (2, "records", INVALIDATIONS_SQLITE)];
    let store = sqlite_with(&settings, &tables).await;
    let cached = CachedStore::new(&store, &near()).unwrap();
    let kept = cached.aggregate::<Paper>(CachePolicy::default()).unwrap();
    let tenant = TenantId::generate();
    let papers = kept.repository(&store.tenant(tenant)).unwrap();
    let mut paper = Paper::new("one");
    papers.insert(&mut paper).await.unwrap();
    papers.get(paper.id).await.unwrap();
    // Another process, whose store nobody hears of, has written, recorded and died.
    let another = TenantStore::sqlite(settings.clone()).await.unwrap();
    paper.text = "two".to_owned();
    another
        .tenant(tenant)
        .repository()
        .update(&mut paper)
        .await
        .unwrap();
    let key = serde_json::json!([{"key": {"kind": "papers", "key": paper.id.to_string()}}]);
    let mut known = Record {
        id: Uuid::now_v7(),
        over: Json(key),
    };
    another
        .tenant(tenant)
        .repository()
        .insert(&mut known)
        .await
        .unwrap();
    let of_later = serde_json::json!([{"kind": "papers"}]);
    let mut unknown = Record {
        id: Uuid::now_v7(),
        over: Json(of_later),
    };
    another
        .tenant(TenantId::generate())
        .repository()
        .insert(&mut unknown)
        .await
        .unwrap();

    let platform = PlatformStore::sqlite(settings).await.unwrap();
    let _replay = cached.replay(&platform).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(
        papers.get(paper.id).await.unwrap().text,
        "two",
        "stale, for ever"
    );
}

/// Writes, and never says that it has.
struct NeverAnswers(SqlRepository<'static, Paper>, Arc<tokio::sync::Notify>);

#[async_trait]
impl Repository<Paper> for NeverAnswers {
    fn tenant(&self) -> TenantId {
        self.0.tenant()
    }
    async fn find(&self, id: &Uuid) -> Result<Option<Paper>> {
        self.0.find(id).await
    }
    async fn get_many(&self, ids: &[Uuid]) -> Result<Vec<Paper>> {
        self.0.get_many(ids).await
    }
    async fn exists(&self, id: &Uuid) -> Result<bool> {
        self.0.exists(id).await
    }
    async fn count(&self, filter: Filter<Paper>) -> Result<u64> {
        self.0.count(filter).await
    }
    async fn list(&self, query: Query<Paper>) -> Result<Page<Paper>> {
        self.0.list(query).await
    }
    fn stream(&self, query: Query<Paper>) -> BoxStream<'_, Result<Paper>> {
        self.0.stream(query)
    }
    async fn insert(&self, paper: &mut Paper) -> Result<()> {
        self.0.insert(paper).await
    }
    async fn insert_many(&self, papers: &mut [Paper]) -> Result<()> {
        self.0.insert_many(papers).await?;
        self.1.notify_one();
        std::future::pending().await
    }
    async fn update(&self, paper: &mut Paper) -> Result<()> {
        self.0.update(paper).await
    }
    async fn delete_by_id(&self, id: &Uuid, expected: Option<Version>) -> Result<()> {
        self.0.delete_by_id(id, expected).await
    }
    async fn upsert(&self, paper: &mut Paper) -> Result<()> {
        self.0.upsert(paper).await
    }
    async fn update_where(
        &self,
        filter: Filter<Paper>,
        changes: Changes<Paper>,
        limit: u32,
    ) -> Result<u64> {
        self.0.update_where(filter, changes, limit).await
    }
    async fn delete_where(&self, filter: Filter<Paper>, limit: u32) -> Result<u64> {
        self.0.delete_where(filter, limit).await
    }
    async fn restore(&self, id: &Uuid) -> Result<()> {
        self.0.restore(id).await
    }
    async fn purge(&self, deleted_before: DateTime<Utc>, limit: u32) -> Result<u64> {
        self.0.purge(deleted_before, limit).await
    }
}

/// The same, of a write that is over in the store when it is dropped: whoever reads between the end here
/// and the note that the shared level has not heard of it takes the old value from there, and keeps it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_by_a_wrapper_that_is_dropped_ends_what_the_shared_level_has() {
    let elsewhere = papers().await;
    let redis = redis().await;
    let cache = Cache::builder()
        .with_redis(&redis)
        .unwrap()
        .build()
        .unwrap();
    let cached = CachedStore::new(&papers().await, &cache).unwrap();
    let policy = CachePolicy::default().with_negative_time_to_live(Duration::from_secs(250));
    let kept = cached.aggregate::<Paper>(policy).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut stale = 0;
    for _ in 0..30 {
        let scope = elsewhere.tenant(TenantId::generate());
        let landed = Arc::new(tokio::sync::Notify::new());
        let papers = kept.wrap(NeverAnswers(scope.repository(), Arc::clone(&landed)));
        let mut all: Vec<_> = (0..1_000)
            .map(|number| Paper::new(&number.to_string()))
            .collect();
        let first = all[0].id;
        assert_eq!(papers.find(&first).await.unwrap(), None);
        let reader = {
            let papers = papers.clone();
            tokio::spawn(async move {
                loop {
                    let _ = papers.find(&first).await;
                    tokio::task::yield_now().await;
                }
            })
        };
        tokio::select! {
            _ = papers.insert_many(&mut all) => unreachable!(),
            // It has been committed, for all to see, before it is dropped.
            () = landed.notified() => {}
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
        reader.abort();
        let _ = reader.await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(
            scope
                .repository::<Paper>()
                .find(&first)
                .await
                .unwrap()
                .is_some()
        );
        stale += usize::from(papers.find(&first).await.unwrap().is_none());
    }
    println!("{stale} of 30 left a stale value in this process");
    assert_eq!(stale, 0);
}

/// The same handle, before and after lists were asked for: both are of one aggregate.
#[tokio::test]
async fn a_write_by_a_wrapper_without_lists_ends_the_lists_that_are_kept() {
    let cached = CachedStore::new(&papers().await, &near()).unwrap();
    let without = cached.aggregate::<Paper>(CachePolicy::default()).unwrap();
    let with = without.clone().with_lists(CachePolicy::default()).unwrap();
    let scope = papers().await.tenant(TenantId::generate());
    let (writer, reader) = (
        without.wrap(scope.repository()),
        with.wrap(scope.repository()),
    );
    let mut paper = Paper::new("one");
    writer.insert(&mut paper).await.unwrap();
    assert_eq!(
        reader.list(Query::new()).await.unwrap().items[0].text,
        "one"
    );
    paper.text = "two".to_owned();
    writer.update(&mut paper).await.unwrap();
    assert_eq!(
        reader.list(Query::new()).await.unwrap().items[0].text,
        "two",
        "stale"
    );
}

/// What is said by `with_change_by` holds for writes by wrappers too.
#[tokio::test]
async fn a_write_by_a_wrapper_ends_what_is_changed_by_it() {
    const PAGES: &str = "create table pages (
        tenant_id blob not null, id blob not null, paper blob not null, primary key (tenant_id, id),
        foreign key (tenant_id, paper) references papers (tenant_id, id) on delete cascade
    ) strict";
    let tables = [(1, "papers", PAPERS), (2, "pages", PAGES)];
    let elsewhere = sqlite_with(&SqliteSettings::temporary(), &tables).await;
    let cached = CachedStore::new(&papers().await, &near()).unwrap();
    let scope = elsewhere.tenant(TenantId::generate());
    let kept = cached.aggregate::<Paper>(CachePolicy::default()).unwrap();
    let papers = kept.wrap(scope.repository());
    let leaves = cached.aggregate::<Leaf>(CachePolicy::default()).unwrap();
    let leaves = leaves.with_change_by("papers").wrap(scope.repository());
    let mut paper = Paper::new("one");
    papers.insert(&mut paper).await.unwrap();
    let mut leaf = Leaf {
        id: Uuid::now_v7(),
        paper: paper.id,
    };
    leaves.insert(&mut leaf).await.unwrap();
    assert!(leaves.find(&leaf.id).await.unwrap().is_some());
    papers.delete_by_id(&paper.id, None).await.unwrap();
    assert_eq!(
        scope.repository::<Leaf>().find(&leaf.id).await.unwrap(),
        None
    );
    assert_eq!(leaves.find(&leaf.id).await.unwrap(), None, "stale");
}

/// A bulk write that fails for an identifier that cannot be read has changed nothing, or ends the work.
#[tokio::test]
async fn a_bulk_write_that_fails_over_an_identifier_leaves_nothing_old() {
    let store = papers().await;
    let cached = CachedStore::new(&store, &near()).unwrap();
    let kept = cached.aggregate::<Paper>(CachePolicy::default()).unwrap();
    let scope = store.tenant(TenantId::generate());
    let papers = kept.repository(&scope).unwrap();
    let mut paper = Paper::new("one");
    papers.insert(&mut paper).await.unwrap();
    let work = scope.begin().await.unwrap();
    sqlx::query("insert into papers (id, text) values (x'ff', 'bad')")
        .execute(work.sqlx_sqlite().unwrap())
        .await
        .unwrap();
    work.commit().await.unwrap();
    assert_eq!(papers.get(paper.id).await.unwrap().text, "one");
    let work = scope.begin().await.unwrap();
    let two = Changes::new().set(Paper::TEXT, "two");
    let outcome = work
        .repository::<Paper>()
        .update_where(Filter::all(), two, 100)
        .await;
    println!("update_where: {:?}", outcome.map_err(|error| error.kind()));
    println!(
        "commit: {:?}",
        work.commit().await.map_err(|error| error.kind())
    );
    let stored = scope.repository::<Paper>().get(paper.id).await.unwrap();
    println!("stored: {}", stored.text);
    assert_eq!(papers.get(paper.id).await.unwrap(), stored, "stale");
}

/// Of `returning`, the first row alone is taken, or the stream is left half way.
#[tokio::test]
async fn sql_by_hand_of_which_not_all_rows_are_read_leaves_nothing_old() {
    let store = papers().await;
    let cached = CachedStore::new(&store, &near()).unwrap();
    let kept = cached.aggregate::<Paper>(CachePolicy::default()).unwrap();
    let scope = store.tenant(TenantId::generate());
    let papers = kept.repository(&scope).unwrap();
    let mut all = ["one", "one"].map(Paper::new);
    papers.insert_many(&mut all).await.unwrap();
    for (number, text) in ["two", "three", "four"].iter().enumerate() {
        for paper in &all {
            papers.get(paper.id).await.unwrap();
        }
        let work = scope.begin().await.unwrap();
        let sql = "update papers set text = $1 returning id";
        let query = sqlx::query_scalar::<_, Uuid>(sql).bind(text);
        let sqlite = work.sqlx_sqlite().unwrap();
        match number {
            0 => drop(query.fetch_one(sqlite).await),
            1 => drop(query.fetch_optional(sqlite).await),
            _ => {
                use futures_util::TryStreamExt as _;
                let mut rows = query.fetch(sqlite);
                drop(rows.try_next().await);
            }
        }
        println!(
            "{text}: {:?}",
            work.commit().await.map_err(|error| error.kind())
        );
        for paper in &all {
            let stored = scope.repository::<Paper>().get(paper.id).await.unwrap();
            assert_eq!(papers.get(paper.id).await.unwrap(), stored, "stale");
        }
    }
}

/// A key that is asked for twice in one call, under other tags, with another process that loads it too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_with_doubles_and_other_tags_never_hang_and_are_never_old() {
    let redis = redis().await;
    let nodes: Vec<_> = (0..2)
        .map(|_| {
            let cache = Cache::builder()
                .with_redis(&redis)
                .unwrap()
                .build()
                .unwrap();
            let kind = cache.kind::<u64>("number", CachePolicy::default()).unwrap();
            (cache, kind)
        })
        .collect();
    let tenant = TenantId::generate();
    let source = Arc::new(std::sync::atomic::AtomicU64::new(1));
    let started = std::time::Instant::now();
    let mut longest = Duration::ZERO;
    for round in 0..300_u64 {
        let before = source.load(Ordering::SeqCst);
        let mut readers = Vec::new();
        for number in 0..8 {
            let (cache, kind) = nodes[number % 2].clone();
            let source = Arc::clone(&source);
            readers.push(tokio::spawn(async move {
                let tags: [&[&str]; 3] = [&[], &["a"], &["a", "b"]];
                let keys: Vec<String> =
                    (0..6).map(|key| ((key + number) % 5).to_string()).collect();
                let lookups: Vec<_> = keys
                    .iter()
                    .enumerate()
                    .map(|(place, key)| Lookup::new(key).with_tags(tags[(place + number) % 3]))
                    .collect();
                let load = move |places: Vec<usize>| {
                    let source = Arc::clone(&source);
                    async move {
                        let value = source.load(Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        Ok(places.iter().map(|_| Some(value)).collect())
                    }
                };
                let reading = cache.tenant(tenant);
                let began = std::time::Instant::now();
                let found = match number {
                    // Some go away.
                    7 => {
                        let reading = reading.get_or_load_many(&kind, &lookups, load);
                        drop(tokio::time::timeout(Duration::from_micros(300), reading).await);
                        return Duration::ZERO;
                    }
                    _ => reading
                        .get_or_load_many(&kind, &lookups, load)
                        .await
                        .unwrap(),
                };
                assert!(
                    found
                        .iter()
                        .all(|value| **value.as_ref().unwrap() >= before)
                );
                began.elapsed()
            }));
        }
        for reader in readers {
            longest = longest.max(reader.await.unwrap());
        }
        source.fetch_add(1, Ordering::SeqCst);
        // Both hear of it: one by the other.
        let (cache, kind) = &nodes[usize::try_from(round % 2).unwrap()];
        let told = cache.tenant(tenant);
        match round % 3 {
            0 => told.flush().await.unwrap(),
            1 => {
                for key in 0..5 {
                    told.invalidate(kind, &key.to_string()).await.unwrap();
                }
            }
            _ => {
                for key in 0..5 {
                    told.invalidate(kind, &key.to_string()).await.unwrap();
                }
                told.invalidate_tag("a").await.unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "300 rounds in {:?}, longest call {longest:?}",
        started.elapsed()
    );
    assert!(longest < Duration::from_secs(5), "{longest:?}");
}
