//! The isolation suite passes over a sound repository, and fails over each kind of leak.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use futures_core::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use tenantry_core::TenantId;
use tenantry_store::{
    Aggregate, AggregateId, Changes, Error, Filter, Migrations, Page, Query, Repository, Result,
    SqlRepository, SqliteSettings, TenantScope, TenantStore, Version, async_trait, sqlite,
};
use tenantry_testkit::{IsolationSuite, assert_isolated};
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq, AggregateId)]
struct NoteId(Uuid);

#[derive(Debug, Clone, PartialEq, Eq, Aggregate)]
#[aggregate(table = "notes", soft_delete)]
struct Note {
    #[aggregate(id)]
    id: NoteId,
    text: String,
    #[aggregate(version)]
    version: Version,
}

const NOTES: &str = "create table notes (
    tenant_id blob not null,
    id blob not null,
    text text not null,
    version integer not null,
    deleted_at text,
    deleted_by text,
    primary key (tenant_id, id)
) strict";

fn sample() -> Note {
    Note {
        id: NoteId(Uuid::now_v7()),
        text: "hello".into(),
        version: Version::NEW,
    }
}

async fn open() -> TenantStore {
    let settings = SqliteSettings::temporary().with_relaxed_durability();
    let migrations = Migrations::embedded(&[(1, "notes", NOTES)]);
    sqlite::migrate(&settings, &migrations).await.unwrap();
    TenantStore::sqlite(settings).await.unwrap()
}

#[tokio::test]
async fn a_sound_repository_passes() {
    let store = open().await;
    let report = assert_isolated(&store, |scope| scope.repository::<Note>(), sample).await;
    assert!(report.reads >= 8 && report.writes >= 10, "{report:?}");
}

#[derive(Debug, Clone, PartialEq, Eq, Aggregate)]
#[aggregate(table = "attachments")]
struct Attachment {
    #[aggregate(id)]
    id: Uuid,
    note: NoteId,
    #[aggregate(version)]
    version: Version,
}

const ATTACHMENTS: &str = "create table attachments (
    tenant_id blob not null,
    id blob not null,
    note blob not null,
    version integer not null,
    primary key (tenant_id, id),
    foreign key (tenant_id, note) references notes (tenant_id, id)
) strict";

#[tokio::test]
async fn rows_that_the_samples_refer_to_are_stored_first() {
    let settings = SqliteSettings::temporary().with_relaxed_durability();
    let migrations = Migrations::embedded(&[(1, "notes", NOTES), (2, "attachments", ATTACHMENTS)]);
    sqlite::migrate(&settings, &migrations).await.unwrap();
    let store = TenantStore::sqlite(settings).await.unwrap();
    let note = sample();
    let attachment = || Attachment {
        id: Uuid::now_v7(),
        note: note.id,
        version: Version::NEW,
    };
    let attachments = |scope: &TenantScope| scope.repository::<Attachment>();

    let unprepared = AssertUnwindSafe(assert_isolated(&store, attachments, attachment));
    assert!(unprepared.catch_unwind().await.is_err(), "there is no note");
    let report = IsolationSuite::new(&store)
        .with_preparation(|tenant| {
            let mut note = note.clone();
            async move { tenant.repository().insert(&mut note).await.unwrap() }
        })
        .run(attachments, attachment)
        .await;
    assert!(report.reads >= 8 && report.writes >= 9, "{report:?}");
}

/// The operation that the leaky repository serves from a tenant of its choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leak {
    Find,
    GetMany,
    Exists,
    Count,
    List,
    Stream,
    InsertMany,
    Update,
    Delete,
    Upsert,
    UpsertNew,
    Restore,
    RestoreNothing,
    DeleteWhere,
    Purge,
}

/// Does one operation for every tenant in the other tenant, as a cache without the tenant in its
/// key would.
struct Leaky {
    own: SqlRepository<'static, Note>,
    store: TenantStore,
    /// Every tenant that a repository was made for.
    tenants: Arc<Mutex<Vec<TenantId>>>,
    leak: Leak,
}

impl Leaky {
    fn seen(&self, leak: Leak) -> Vec<SqlRepository<'static, Note>> {
        if self.leak != leak {
            return vec![self.own.clone()];
        }
        let tenants = self.tenants.lock().unwrap();
        tenants
            .iter()
            .rev()
            .map(|tenant| self.store.tenant(*tenant).repository())
            .collect()
    }
}

#[async_trait]
impl Repository<Note> for Leaky {
    fn tenant(&self) -> TenantId {
        self.own.tenant()
    }

    async fn find(&self, id: &NoteId) -> Result<Option<Note>> {
        for repository in self.seen(Leak::Find) {
            if let Some(note) = repository.find(id).await? {
                return Ok(Some(note));
            }
        }
        Ok(None)
    }

    async fn get_many(&self, ids: &[NoteId]) -> Result<Vec<Note>> {
        let mut notes = Vec::new();
        for repository in self.seen(Leak::GetMany) {
            notes.extend(repository.get_many(ids).await?);
        }
        Ok(notes)
    }

    async fn exists(&self, id: &NoteId) -> Result<bool> {
        for repository in self.seen(Leak::Exists) {
            if repository.exists(id).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn count(&self, filter: Filter<Note>) -> Result<u64> {
        let mut count = 0;
        for repository in self.seen(Leak::Count) {
            count += repository.count(filter.clone()).await?;
        }
        Ok(count)
    }

    async fn list(&self, query: Query<Note>) -> Result<Page<Note>> {
        let mut page = self.own.list(query.clone()).await?;
        if self.leak == Leak::List {
            page.items.clear();
            for repository in self.seen(Leak::List) {
                page.items
                    .extend(repository.list(query.clone()).await?.items);
            }
        }
        Ok(page)
    }

    fn stream(&self, query: Query<Note>) -> BoxStream<'_, Result<Note>> {
        let seen = self.seen(Leak::Stream);
        let read = async move {
            let mut notes = Vec::new();
            for repository in seen {
                notes.extend(
                    repository
                        .stream(query.clone())
                        .try_collect::<Vec<_>>()
                        .await?,
                );
            }
            Ok::<_, Error>(stream::iter(notes).map(Ok))
        };
        Box::pin(stream::once(read).try_flatten())
    }

    async fn insert(&self, note: &mut Note) -> Result<()> {
        self.own.insert(note).await
    }

    async fn insert_many(&self, notes: &mut [Note]) -> Result<()> {
        for repository in self.seen(Leak::InsertMany) {
            repository.insert_many(notes).await?;
        }
        Ok(())
    }

    async fn update(&self, note: &mut Note) -> Result<()> {
        let mut answer = self.own.update(note).await;
        for repository in self.seen(Leak::Update) {
            if answer.is_err() {
                answer = repository.update(note).await;
            }
        }
        answer
    }

    async fn delete_by_id(&self, id: &NoteId, expected: Option<Version>) -> Result<()> {
        let mut answer = self.own.delete_by_id(id, expected).await;
        for repository in self.seen(Leak::Delete) {
            if answer.is_err() {
                answer = repository.delete_by_id(id, expected).await;
            }
        }
        answer
    }

    async fn upsert(&self, note: &mut Note) -> Result<()> {
        if self.leak == Leak::UpsertNew && note.version.is_new() {
            // As `on conflict (id) do update` without the tenant in the key.
            for repository in self.seen(Leak::UpsertNew) {
                if repository.exists(&note.id).await? {
                    return repository.upsert(note).await;
                }
            }
        }
        let mut answer = self.own.upsert(note).await;
        for repository in self.seen(Leak::Upsert) {
            if answer.is_err() {
                answer = repository.upsert(note).await;
            }
        }
        answer
    }

    async fn update_where(
        &self,
        filter: Filter<Note>,
        changes: Changes<Note>,
        limit: u32,
    ) -> Result<u64> {
        self.own.update_where(filter, changes, limit).await
    }

    async fn delete_where(&self, filter: Filter<Note>, limit: u32) -> Result<u64> {
        let mut deleted = 0;
        for repository in self.seen(Leak::DeleteWhere) {
            deleted += repository.delete_where(filter.clone(), limit).await?;
        }
        Ok(deleted)
    }

    async fn restore(&self, id: &NoteId) -> Result<()> {
        if self.leak == Leak::RestoreNothing {
            return Ok(());
        }
        let mut answer = self.own.restore(id).await;
        for repository in self.seen(Leak::Restore) {
            if answer.is_err() {
                answer = repository.restore(id).await;
            }
        }
        answer
    }

    async fn purge(&self, deleted_before: DateTime<Utc>, limit: u32) -> Result<u64> {
        let mut purged = 0;
        for repository in self.seen(Leak::Purge) {
            purged += repository.purge(deleted_before, limit).await?;
        }
        Ok(purged)
    }
}

#[tokio::test]
async fn every_leak_is_found() {
    for leak in [
        Leak::Find,
        Leak::GetMany,
        Leak::Exists,
        Leak::Count,
        Leak::List,
        Leak::Stream,
        Leak::InsertMany,
        Leak::Update,
        Leak::Delete,
        Leak::Upsert,
        Leak::UpsertNew,
        Leak::Restore,
        Leak::RestoreNothing,
        Leak::DeleteWhere,
        Leak::Purge,
    ] {
        let store = open().await;
        let tenants = Arc::new(Mutex::new(Vec::new()));
        let leaky = |scope: &TenantScope| {
            tenants.lock().unwrap().push(scope.tenant());
            Leaky {
                own: scope.repository(),
                store: store.clone(),
                tenants: Arc::clone(&tenants),
                leak,
            }
        };
        let trial = AssertUnwindSafe(assert_isolated(&store, leaky, sample))
            .catch_unwind()
            .await;
        assert!(trial.is_err(), "{leak:?} was not found");
    }
}
