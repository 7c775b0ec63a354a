use std::sync::Arc;

use chrono::{DateTime, TimeZone as _, Utc};
use uuid::Uuid;

use super::unit_of_work::Recorder;
use super::{Subject, Tracked, TrackedColumns, new_tenant};
use crate::{
    ChangeKind, CommitListener, Deleted, ErrorKind, Filter, Query, Repository, RepositoryExt as _,
    Version,
};

/// Marked rows are removed for good, all others stay, and what the removed ones held is free.
pub async fn purge_removes_marked_rows_for_good(subject: &dyn Subject) {
    let (scope, specimens) = new_tenant(subject);
    let (tracked, columns) = (scope.repository::<Tracked>(), scope.repository());
    let mut rows = [marked("old", 10), marked("young", 20), unmarked("kept")];
    columns.insert_many(&mut rows).await.unwrap();
    let names = async || {
        let query = Query::new().deleted(Deleted::Include);
        let page = tracked.list(query.sort(Tracked::NAME.asc())).await.unwrap();
        let names: Vec<_> = page.items.into_iter().map(|row| row.name).collect();
        names.join(" ")
    };

    assert_eq!(tracked.purge(at(10), 10).await.unwrap(), 0, "not before");
    assert_eq!(tracked.purge(at(20), 10).await.unwrap(), 1);
    assert_eq!(names().await, "kept young");
    let gone = tracked.restore(&rows[0].id).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    let mut again = Tracked {
        id: rows[0].id,
        name: "old".into(),
        version: Version::NEW,
    };
    tracked.insert(&mut again).await.unwrap();

    let work = scope.begin().await.unwrap();
    let inside = work.repository::<Tracked>();
    assert_eq!(inside.purge(at(i64::from(i32::MAX)), 10).await.unwrap(), 1);
    work.rollback().await.unwrap();
    assert_eq!(names().await, "kept old young");
    assert_eq!(tracked.purge(Utc::now(), 10).await.unwrap(), 1);
    assert_eq!(names().await, "kept old");

    let error = specimens.purge(Utc::now(), 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let far = tracked.purge(DateTime::<Utc>::MAX_UTC, 10).await;
    assert_eq!(far.unwrap_err().kind(), ErrorKind::InvalidValue);
    for limit in [0, 10_001, u32::MAX] {
        let error = tracked.purge(Utc::now(), limit).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

/// Up to the limit, those that were marked first go first.
pub async fn purge_takes_the_first_marked_first(subject: &dyn Subject) {
    let (scope, _) = new_tenant(subject);
    let columns = scope.repository::<TrackedColumns>();
    let mut rows: Vec<_> = [6, 2, 9, 4, 1, 8, 3, 7, 5]
        .map(|second| marked(&second.to_string(), second))
        .into();
    columns.insert_many(&mut rows).await.unwrap();
    let tracked = scope.repository::<Tracked>();
    for (limit, left) in [(4, "5 6 7 8 9"), (1, "6 7 8 9"), (10_000, "9")] {
        tracked.purge(at(9), limit).await.unwrap();
        let query = Query::new().sort(TrackedColumns::NAME.asc());
        let page = columns.list(query).await.unwrap();
        let names: Vec<_> = page.items.into_iter().map(|row| row.name).collect();
        assert_eq!(names.join(" "), left, "after a limit of {limit}");
    }
}

/// The marked rows of other tenants stay, and listeners hear of those that went.
pub async fn purge_keeps_to_its_tenant_and_tells_listeners(subject: &dyn Subject) {
    let (ours, _) = new_tenant(subject);
    let (theirs, _) = new_tenant(subject);
    let mut row = marked("ours", 1);
    ours.repository().insert(&mut row).await.unwrap();
    let mut their = [
        marked("theirs", 1),
        TrackedColumns {
            name: "one id".into(),
            ..row.clone()
        },
    ];
    theirs.repository().insert_many(&mut their).await.unwrap();

    let recorder = Arc::new(Recorder::default());
    let store = subject.store();
    store.on_commit(Arc::clone(&recorder) as Arc<dyn CommitListener>);
    let purged = ours.repository::<Tracked>().purge(at(2), 10_000).await;
    assert_eq!(purged.unwrap(), 1);
    let stayed = theirs.repository::<TrackedColumns>();
    assert_eq!(stayed.count(Filter::all()).await.unwrap(), 2);
    assert_eq!(stayed.get(row.id).await.unwrap().name, "one id");

    let heard = recorder.0.lock().clone();
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].tenant, ours.tenant());
    let told: Vec<_> = heard[0]
        .rows
        .iter()
        .map(|row| (row.kind, &*row.id))
        .collect();
    assert_eq!(told, [(ChangeKind::Purged, &*row.id.to_string())]);
}

fn at(second: i64) -> DateTime<Utc> {
    Utc.timestamp_opt(second, 0).single().unwrap()
}

fn unmarked(name: &str) -> TrackedColumns {
    TrackedColumns {
        id: Uuid::now_v7(),
        name: name.to_owned(),
        version: Version::NEW,
        created_at: at(0),
        created_by: "ada".into(),
        modified_at: at(0),
        modified_by: "ada".into(),
        trace_id: None,
        deleted_at: None,
        deleted_by: None,
    }
}

/// Returns a row that was marked as deleted so many seconds after the epoch.
fn marked(name: &str, second: i64) -> TrackedColumns {
    TrackedColumns {
        deleted_at: Some(at(second)),
        deleted_by: Some("ada".into()),
        ..unmarked(name)
    }
}
