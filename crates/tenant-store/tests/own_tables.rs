//! What waits in a unit of work for its commit, and the statements of another crate.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::sync::Arc;

use parking_lot::Mutex;
use tenantry_core::{RequestContext, TenantId};
use tenantry_store::own::{OwnStatement, OwnTable};
use tenantry_store::{
    BeforeCommit, ChangedRow, CommitListener, CommittedChanges, ErrorKind, Migrations,
    PlatformStore, Result, SqliteSettings, TenantStore, UnitOfWork, async_trait, sqlite,
};

static NOTES: OwnTable = OwnTable::new("notes");

const SCHEMA: &str = "create table notes (tenant_id blob not null, text text not null) strict";

/// Writes the notes of a unit of work.
#[derive(Debug)]
struct Notes {
    sql: Arc<str>,
}

struct Note(&'static str);

#[async_trait]
impl BeforeCommit for Notes {
    async fn write(&self, work: &UnitOfWork, _: &[ChangedRow], _: &[Arc<str>]) -> Result<()> {
        for note in work.take_deferred::<Note>() {
            let written = work
                .execute_own(&OwnStatement {
                    operation: "write note",
                    table: &NOTES,
                    sql: &self.sql,
                    bind: &|arguments| arguments.value().text(note.0),
                })
                .await?;
            assert_eq!(written, 1);
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Told(Mutex<Vec<(TenantId, Vec<Arc<str>>)>>);

#[async_trait]
impl CommitListener for Told {
    async fn committed(&self, changes: &CommittedChanges) {
        let told = (changes.tenant, changes.tables.clone());
        self.0.lock().push(told);
    }
}

struct Opened {
    store: TenantStore,
    platform: PlatformStore,
    told: Arc<Told>,
}

impl Opened {
    async fn new() -> Self {
        let settings = SqliteSettings::temporary();
        let migrations = Migrations::embedded(&[(1, "notes", SCHEMA)]);
        sqlite::migrate(&settings, &migrations).await.unwrap();
        let store = TenantStore::sqlite(settings.clone()).await.unwrap();
        let sql = store.own_sql("insert into {schema}notes values (?1, ?2)");
        store.before_commit(Arc::new(Notes { sql }));
        let told = Arc::new(Told::default());
        store.on_commit(Arc::clone(&told) as Arc<dyn CommitListener>);
        Self {
            store,
            platform: PlatformStore::sqlite(settings).await.unwrap(),
            told,
        }
    }

    /// Returns all notes with their tenants, in the order in which they were written.
    async fn notes(&self) -> Vec<(TenantId, String)> {
        let scope = self
            .platform
            .scope("a test", RequestContext::system())
            .unwrap();
        let sql = scope.own_sql("select tenant_id, text from {schema}notes order by rowid");
        let mut notes = Vec::new();
        let mut work = scope.read_own("read notes").await.unwrap();
        let statement = OwnStatement {
            operation: "read notes",
            table: &NOTES,
            sql: &sql,
            bind: &|_| Ok(()),
        };
        work.fetch(&statement, &mut |row| {
            let tenant = TenantId::new(row.uuid(0)?.unwrap()).unwrap();
            notes.push((tenant, row.text(1)?.unwrap().to_owned()));
            Ok(())
        })
        .await
        .unwrap();
        notes
    }
}

#[tokio::test]
async fn what_waits_is_written_with_the_commit_and_not_without() {
    let opened = Opened::new().await;
    let (one, two) = (TenantId::generate(), TenantId::generate());

    let kept = opened.store.tenant(one).begin().await.unwrap();
    kept.defer(Note("first"));
    let savepoint = kept.savepoint().await.unwrap();
    kept.defer(Note("given up"));
    kept.rollback_to(&savepoint).await.unwrap();
    kept.defer(Note("second"));
    kept.commit().await.unwrap();

    let dropped = opened.store.tenant(two).begin().await.unwrap();
    dropped.defer(Note("dropped"));
    drop(dropped);
    let rolled_back = opened.store.tenant(two).begin().await.unwrap();
    rolled_back.defer(Note("rolled back"));
    rolled_back.rollback().await.unwrap();
    let other = opened.store.tenant(two).begin().await.unwrap();
    other.defer(Note("third"));
    other.commit().await.unwrap();

    let expected = [(one, "first"), (one, "second"), (two, "third")];
    assert_eq!(
        opened.notes().await,
        expected.map(|(tenant, text)| (tenant, text.to_owned()))
    );
    // That the table was written to, and by whom.
    let tables = vec![Arc::<str>::from("notes")];
    assert_eq!(
        *opened.told.0.lock(),
        [(one, tables.clone()), (two, tables)]
    );
}

#[tokio::test]
async fn a_commit_is_refused_that_would_throw_away_what_waits() {
    let opened = Opened::new().await;
    let work = opened
        .store
        .tenant(TenantId::generate())
        .begin()
        .await
        .unwrap();
    work.defer(Note("written"));
    work.defer("that nobody takes");
    assert_eq!(
        work.commit().await.unwrap_err().kind(),
        ErrorKind::Unsupported
    );
    assert_eq!(opened.notes().await, []);
    assert!(opened.told.0.lock().is_empty());
}

#[tokio::test]
async fn a_transaction_across_tenants_that_is_dropped_has_written_nothing() {
    let opened = Opened::new().await;
    let tenants = [TenantId::generate(), TenantId::generate()];
    let scope = opened
        .platform
        .scope("a test", RequestContext::system())
        .unwrap();
    let sql = scope.own_sql("insert into {schema}notes values (?1, 'x')");
    for commits in [false, true] {
        let mut work = scope.begin_own("write notes").await.unwrap();
        for tenant in tenants {
            let statement = OwnStatement {
                operation: "write notes",
                table: &NOTES,
                sql: &sql,
                bind: &|arguments| arguments.value().uuid(tenant.as_uuid()),
            };
            assert_eq!(work.execute(&statement).await.unwrap(), 1);
        }
        if commits {
            work.commit().await.unwrap();
        } else {
            drop(work);
            assert_eq!(opened.notes().await, []);
        }
    }
    assert_eq!(opened.notes().await.len(), 2);
}
