//! What ends what is kept, and what does not.

use std::time::Duration;

use tenantry_cache::{Cache, CachePolicy, CachedStore};
use tenantry_core::TenantId;
use tenantry_store::conformance::{SQLITE_SCHEMA, Specimen};
use tenantry_store::{
    Aggregate, Changes, ErrorKind, Migrations, Query, Repository as _, RepositoryExt as _,
    SqliteSettings, TenantStore, sqlite,
};
use uuid::Uuid;

use crate::{Kept, store};

#[tokio::test]
async fn a_commit_ends_what_it_has_changed_and_a_rollback_ends_nothing() {
    let kept = Kept::open().await;
    let scope = kept.tenant();
    let (specimens, reads) = kept.counted(&scope);
    let mut one = Specimen::named("one");
    specimens.insert(&mut one).await.unwrap();
    specimens.get(one.id).await.unwrap();
    let before = reads.calls();

    let work = scope.begin().await.unwrap();
    let mut changed = one.clone();
    changed.label = "changed".to_owned();
    work.repository().update(&mut changed).await.unwrap();
    let inside = work.repository::<Specimen>().get(one.id).await.unwrap();
    assert_eq!(inside.label, "changed", "inside it is read past the cache");
    assert_eq!(specimens.get(one.id).await.unwrap().label, "one");
    work.rollback().await.unwrap();
    assert_eq!(specimens.get(one.id).await.unwrap().label, "one");
    assert_eq!(reads.calls(), before, "what was kept is still used");

    let work = scope.begin().await.unwrap();
    let mut changed = one.clone();
    changed.label = "changed".to_owned();
    let savepoint = work.savepoint().await.unwrap();
    let mut second = Specimen::named("given up");
    work.repository().insert(&mut second).await.unwrap();
    assert_eq!(specimens.find(&second.id).await.unwrap(), None);
    work.rollback_to(&savepoint).await.unwrap();
    work.repository().update(&mut changed).await.unwrap();
    work.commit().await.unwrap();
    assert_eq!(specimens.get(one.id).await.unwrap().label, "changed");
    assert_eq!(specimens.find(&second.id).await.unwrap(), None);
}

#[tokio::test]
async fn every_kind_of_write_ends_what_it_changes() {
    let kept = Kept::open().await;
    let scope = kept.tenant();
    let plain = scope.repository::<Specimen>();
    let specimens = kept.of(&scope);
    let mut one = Specimen::named("one");
    let label = async || {
        let found = specimens.find(&one.id).await.unwrap();
        let listed = specimens.list(Query::new()).await.unwrap();
        let listed = listed.items.into_iter().find(|it| it.id == one.id);
        assert_eq!(found, listed, "a row and a list of it agree");
        found.map(|found| found.label)
    };
    assert_eq!(label().await, None);
    plain.insert(&mut one.clone()).await.unwrap();
    assert_eq!(
        label().await.as_deref(),
        Some("one"),
        "also that there was none"
    );
    one = plain.get(one.id).await.unwrap();

    let mut changed = one.clone();
    changed.label = "two".to_owned();
    plain.update(&mut changed).await.unwrap();
    let label = async || {
        let found = specimens.find(&changed.id).await.unwrap();
        found.map(|found| found.label)
    };
    assert_eq!(label().await.as_deref(), Some("two"));
    let mut changed = changed.clone();
    changed.label = "three".to_owned();
    plain.upsert(&mut changed).await.unwrap();
    assert_eq!(label().await.as_deref(), Some("three"));
    let is_it = || Specimen::ID.eq(one.id);
    let four = Changes::new().set(Specimen::LABEL, "four");
    plain.update_where(is_it(), four, 5).await.unwrap();
    assert_eq!(label().await.as_deref(), Some("four"));
    plain.delete_where(is_it(), 5).await.unwrap();
    assert_eq!(label().await, None);
    plain.insert_many(&mut [one.clone()]).await.unwrap();
    assert_eq!(label().await.as_deref(), Some("one"));
    plain.delete_by_id(&one.id, None).await.unwrap();
    assert_eq!(label().await, None);
}

#[tokio::test]
async fn what_was_written_by_hand_ends_all_of_the_table() {
    let kept = Kept::open().await;
    let scope = kept.tenant();
    let specimens = kept.of(&scope);
    let mut rows = ["one", "two"].map(Specimen::named);
    specimens.insert_many(&mut rows).await.unwrap();
    for row in &rows {
        specimens.get(row.id).await.unwrap();
    }
    specimens.list(Query::new()).await.unwrap();
    let work = scope.begin().await.unwrap();
    sqlx::query("update specimens set label = ? where label = ?")
        .bind("by hand")
        .bind("two")
        .execute(work.sqlx_sqlite().unwrap())
        .await
        .unwrap();
    work.commit().await.unwrap();
    assert_eq!(specimens.get(rows[1].id).await.unwrap().label, "by hand");
    let listed = specimens.list(Query::new()).await.unwrap().items;
    assert!(listed.iter().any(|it| it.label == "by hand"));
}

#[tokio::test]
async fn more_rows_than_are_ended_one_by_one_end_all() {
    let kept = Kept::open().await;
    let scope = kept.tenant();
    let specimens = kept.of(&scope);
    let mut rows: Vec<_> = (0..1_500)
        .map(|number| Specimen::named(&number.to_string()))
        .collect();
    let last = rows[1_499].id;
    assert_eq!(specimens.find(&last).await.unwrap(), None);
    specimens.insert_many(&mut rows).await.unwrap();
    assert!(specimens.find(&last).await.unwrap().is_some());
}

#[tokio::test]
async fn a_write_through_a_wrapper_ends_what_no_store_tells_of() {
    // The store that the cache hears of is another one.
    let kept = Kept::open().await;
    let elsewhere = store().await;
    let scope = elsewhere.tenant(TenantId::generate());
    let (specimens, _) = kept.counted(&scope);
    let mut one = Specimen::named("one");
    assert_eq!(specimens.find(&one.id).await.unwrap(), None);
    specimens.insert(&mut one).await.unwrap();
    assert_eq!(specimens.get(one.id).await.unwrap(), one);
    one.label = "two".to_owned();
    specimens.update(&mut one).await.unwrap();
    assert_eq!(specimens.get(one.id).await.unwrap(), one);
    let error = kept.specimens.repository(&scope).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_dropped_ends_what_it_may_have_changed() {
    let kept = Kept::open().await;
    let scope = kept.tenant();
    let specimens = kept.of(&scope);
    let mut one = Specimen::named("one");
    specimens.insert(&mut one).await.unwrap();
    for number in 0..200 {
        specimens.get(one.id).await.unwrap();
        one = scope.repository().get(one.id).await.unwrap();
        one.label = number.to_string();
        let writing = specimens.update(&mut one);
        let patience = Duration::from_micros(number * 10);
        let _ = tokio::time::timeout(patience, writing).await;
        // A commit that was dropped may still be under way: both are read until they agree.
        let mut is_same = false;
        for _ in 0..1_000 {
            let stored = scope.repository::<Specimen>().get(one.id).await.unwrap();
            is_same = specimens.get(one.id).await.unwrap() == stored;
            if is_same {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(is_same, "a value from before the write {number} stays");
    }
}

/// A row that goes with a specimen.
#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "labels")]
struct Label {
    #[aggregate(id)]
    id: Uuid,
    specimen: Uuid,
}

#[tokio::test]
async fn what_the_database_changes_by_itself_ends_where_it_is_said() {
    const LABELS: &str = "create table labels (
        tenant_id blob not null, id blob not null, specimen blob not null,
        primary key (tenant_id, id),
        foreign key (tenant_id, specimen) references specimens (tenant_id, id) on delete cascade
    ) strict";
    let settings = SqliteSettings::temporary();
    let tables = [(1, "conformance", SQLITE_SCHEMA), (2, "labels", LABELS)];
    sqlite::migrate(&settings, &Migrations::embedded(&tables))
        .await
        .unwrap();
    let store = TenantStore::sqlite(settings).await.unwrap();
    let cached = CachedStore::new(&store, &Cache::builder().build().unwrap()).unwrap();
    let labels = cached.aggregate::<Label>(CachePolicy::default()).unwrap();
    let labels = labels.with_change_by("specimens");
    let scope = store.tenant(TenantId::generate());
    let labels = labels.repository(&scope).unwrap();
    let mut specimen = Specimen::named("one");
    scope.repository().insert(&mut specimen).await.unwrap();
    let mut label = Label {
        id: Uuid::now_v7(),
        specimen: specimen.id.0,
    };
    labels.insert(&mut label).await.unwrap();
    assert_eq!(labels.find(&label.id).await.unwrap(), Some(label.clone()));
    scope.repository().delete(&specimen).await.unwrap();
    assert_eq!(labels.find(&label.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_second_store_before_one_cache_is_refused() {
    let (ours, theirs) = (store().await, store().await);
    let cache = Cache::builder().build().unwrap();
    CachedStore::new(&ours, &cache).unwrap();
    let error = CachedStore::new(&theirs, &cache).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSettings);
    CachedStore::new(&ours.clone(), &cache.clone()).unwrap();
    CachedStore::new(&theirs, &Cache::builder().build().unwrap()).unwrap();
}
