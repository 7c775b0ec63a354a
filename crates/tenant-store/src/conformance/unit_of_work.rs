use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Specimen, SpecimenId, Subject, new_tenant};
use crate::{
    BeforeCommit, ChangeKind, ChangedRow, Changes, CommitListener, CommitOutcome, CommittedChanges,
    Error, ErrorKind, Filter, Isolation, Repository, RepositoryExt as _, RetryPolicy, UnitOfWork,
    Version, WorkOptions,
};

/// What is written in a unit of work is seen inside at once, outside after the commit, or never.
pub async fn unit_of_work_stands_or_falls_together(subject: &dyn Subject) {
    let (scope, outside) = new_tenant(subject);
    let mut first = Specimen::named("first");
    let mut second = Specimen::named("second");
    let work = scope.begin().await.unwrap();
    let inside = work.repository::<Specimen>();
    inside.insert(&mut first).await.unwrap();
    inside.insert(&mut second).await.unwrap();
    first.label = "changed".into();
    inside.update(&mut first).await.unwrap();
    assert_eq!(inside.get(first.id).await.unwrap(), first);
    assert_eq!(outside.count(Filter::all()).await.unwrap(), 0);
    work.commit().await.unwrap();
    assert_eq!(outside.get(first.id).await.unwrap(), first);
    assert_eq!(outside.count(Filter::all()).await.unwrap(), 2);

    let work = scope.begin().await.unwrap();
    work.repository::<Specimen>().delete(&first).await.unwrap();
    work.rollback().await.unwrap();
    assert_eq!(outside.get(first.id).await.unwrap(), first);
}

/// A unit of work that is dropped was never there.
pub async fn dropped_unit_of_work_is_rolled_back(subject: &dyn Subject) {
    let (scope, outside) = new_tenant(subject);
    for _ in 0..5 {
        let work = scope.begin().await.unwrap();
        work.repository::<Specimen>()
            .insert(&mut Specimen::named("lost"))
            .await
            .unwrap();
        drop(work);
        assert_eq!(outside.count(Filter::all()).await.unwrap(), 0);
    }
    outside.insert(&mut Specimen::named("kept")).await.unwrap();
}

/// A savepoint keeps what came before, and can be gone back to again.
pub async fn savepoint_gives_up_what_came_after(subject: &dyn Subject) {
    let (scope, outside) = new_tenant(subject);
    let work = scope.begin().await.unwrap();
    work.repository()
        .insert(&mut Specimen::named("before"))
        .await
        .unwrap();
    let outer = work.savepoint().await.unwrap();
    work.repository()
        .insert(&mut Specimen::named("after"))
        .await
        .unwrap();
    let inner = work.savepoint().await.unwrap();
    work.repository()
        .insert(&mut Specimen::named("deeper"))
        .await
        .unwrap();
    work.rollback_to(&inner).await.unwrap();
    assert_eq!(
        work.repository::<Specimen>()
            .count(Filter::all())
            .await
            .unwrap(),
        2
    );
    work.rollback_to(&outer).await.unwrap();
    assert_eq!(
        work.repository::<Specimen>()
            .count(Filter::all())
            .await
            .unwrap(),
        1
    );
    let gone = work.rollback_to(&inner).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::InvalidInput);
    work.repository()
        .insert(&mut Specimen::named("again"))
        .await
        .unwrap();
    work.release(outer).await.unwrap();
    work.commit().await.unwrap();
    assert_eq!(outside.count(Filter::all()).await.unwrap(), 2);
}

/// After an error of the database nothing but a rollback is left, and the commit says so.
pub async fn error_ends_the_unit_of_work(subject: &dyn Subject) {
    let (scope, outside) = new_tenant(subject);
    let mut specimen = Specimen::named("first");
    let work = scope.begin().await.unwrap();
    let inside = work.repository::<Specimen>();
    inside.insert(&mut specimen).await.unwrap();
    let mut again = Specimen::with_id(specimen.id.0, "second");
    let error = inside.insert(&mut again).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(
        inside.find(&specimen.id).await.unwrap_err().kind(),
        ErrorKind::WorkAborted
    );
    let error = inside
        .insert(&mut Specimen::named("third"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WorkAborted);
    assert_eq!(
        work.commit().await.unwrap_err().kind(),
        ErrorKind::WorkAborted
    );
    assert_eq!(outside.count(Filter::all()).await.unwrap(), 0);
}

/// `NotFound`, `Conflict` and refused values are answers: the work goes on.
pub async fn not_found_and_conflict_end_nothing(subject: &dyn Subject) {
    let (scope, outside) = new_tenant(subject);
    let mut specimen = Specimen::named("first");
    let work = scope.begin().await.unwrap();
    let inside = work.repository::<Specimen>();
    inside.insert(&mut specimen).await.unwrap();
    let mut stale = Specimen {
        version: Version::new(7),
        ..specimen.clone()
    };
    assert_eq!(
        inside.update(&mut stale).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    let missing = Specimen::named("missing");
    assert_eq!(
        inside.delete(&missing).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    let mut nul = Specimen::named("\0");
    assert_eq!(
        inside.insert(&mut nul).await.unwrap_err().kind(),
        ErrorKind::InvalidValue
    );
    let none = inside
        .update_where(Filter::all(), Changes::new(), 1)
        .await
        .unwrap_err();
    assert_eq!(none.kind(), ErrorKind::InvalidInput);
    work.commit().await.unwrap();
    assert_eq!(outside.get(specimen.id).await.unwrap(), specimen);
}

/// Behind a savepoint an error costs what came after it, and no more.
pub async fn savepoint_survives_an_error(subject: &dyn Subject) {
    let (scope, outside) = new_tenant(subject);
    let mut specimen = Specimen::named("first");
    let work = scope.begin().await.unwrap();
    work.repository().insert(&mut specimen).await.unwrap();
    let savepoint = work.savepoint().await.unwrap();
    let mut again = Specimen::with_id(specimen.id.0, "second");
    work.repository().insert(&mut again).await.unwrap_err();
    assert_eq!(
        work.savepoint().await.unwrap_err().kind(),
        ErrorKind::WorkAborted
    );
    work.rollback_to(&savepoint).await.unwrap();
    specimen.label = "after".into();
    work.repository().update(&mut specimen).await.unwrap();
    work.commit().await.unwrap();
    assert_eq!(outside.get(specimen.id).await.unwrap(), specimen);
}

/// A unit of work for reading reads, and refuses to write.
pub async fn read_only_unit_of_work_refuses_writes(subject: &dyn Subject) {
    let (scope, outside) = new_tenant(subject);
    let mut specimen = Specimen::named("there");
    outside.insert(&mut specimen).await.unwrap();
    let options = || {
        WorkOptions::default()
            .read_only()
            .with_isolation(Isolation::RepeatableRead)
    };
    let work = scope.begin_with(options()).await.unwrap();
    assert_eq!(
        work.repository::<Specimen>()
            .get(specimen.id)
            .await
            .unwrap(),
        specimen
    );
    outside.insert(&mut Specimen::named("later")).await.unwrap();
    assert_eq!(
        work.repository::<Specimen>()
            .count(Filter::all())
            .await
            .unwrap(),
        1
    );
    work.commit().await.unwrap();
    let work = scope.begin_with(options()).await.unwrap();
    let error = work
        .repository()
        .insert(&mut Specimen::named("no"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly);
}

#[derive(Debug, Default)]
pub(super) struct Recorder(pub(super) Mutex<Vec<CommittedChanges>>);

#[async_trait]
impl CommitListener for Recorder {
    async fn committed(&self, changes: &CommittedChanges) {
        self.0.lock().push(changes.clone());
    }
}

/// Listeners hear of every commit, of what changed in order, and of no rollback.
pub async fn listeners_hear_of_commits_alone(subject: &dyn Subject) {
    let recorder = Arc::new(Recorder::default());
    subject
        .store()
        .on_commit(Arc::clone(&recorder) as Arc<dyn CommitListener>);
    let (scope, specimens) = new_tenant(subject);
    let mut specimen = Specimen::named("first");
    specimens.insert(&mut specimen).await.unwrap();
    let missing = SpecimenId(uuid::Uuid::now_v7());
    specimens.delete_by_id(&missing, None).await.unwrap_err();

    let work = scope.begin().await.unwrap();
    work.repository().update(&mut specimen).await.unwrap();
    let savepoint = work.savepoint().await.unwrap();
    work.repository::<Specimen>()
        .delete(&specimen)
        .await
        .unwrap();
    work.rollback_to(&savepoint).await.unwrap();
    let mut second = Specimen::named("second");
    work.repository().upsert(&mut second).await.unwrap();
    let changes = Changes::new().add(Specimen::BIG, 1);
    let only = Specimen::ID.eq(second.id);
    work.repository()
        .update_where(only, changes, 5)
        .await
        .unwrap();
    assert_eq!(
        recorder.0.lock().len(),
        1,
        "nothing is told before the commit"
    );
    work.commit().await.unwrap();

    let work = scope.begin().await.unwrap();
    work.repository()
        .insert(&mut Specimen::named("lost"))
        .await
        .unwrap();
    work.rollback().await.unwrap();
    specimens
        .delete_where(Specimen::ID.eq(second.id), 5)
        .await
        .unwrap();

    let heard = recorder.0.lock().clone();
    assert!(heard.iter().all(|changes| changes.tenant == scope.tenant()));
    assert!(
        heard
            .iter()
            .all(|changes| changes.outcome == CommitOutcome::Committed)
    );
    let rows: Vec<Vec<_>> = heard
        .iter()
        .map(|changes| {
            changes
                .rows
                .iter()
                .map(|row| (row.kind, row.id.clone(), row.version))
                .collect()
        })
        .collect();
    let (first, second) = (specimen.id.to_string(), second.id.to_string());
    assert_eq!(
        rows,
        [
            vec![(ChangeKind::Inserted, first.clone(), Some(Version::new(1)))],
            vec![
                (ChangeKind::Updated, first, Some(Version::new(2))),
                (ChangeKind::Upserted, second.clone(), Some(Version::new(1))),
                (ChangeKind::Updated, second.clone(), None),
            ],
            vec![(ChangeKind::Deleted, second, None)],
        ]
    );
}

/// Writes one specimen beside each change, and refuses what it is told to.
#[derive(Debug)]
struct Companion;

#[async_trait]
impl BeforeCommit for Companion {
    async fn write(
        &self,
        work: &UnitOfWork,
        rows: &[ChangedRow],
        tables: &[Arc<str>],
    ) -> crate::Result<()> {
        assert!(tables.is_empty());
        let specimens = work.repository::<Specimen>();
        if specimens.count(Specimen::LABEL.eq("refused")).await? > 0 {
            return Err(Error::new(ErrorKind::InvalidInput, "pretend"));
        }
        let mut companion = Specimen::named(&format!("beside {}", rows.len()));
        specimens.insert(&mut companion).await
    }
}

/// What is written before a commit stands or falls with it, in a unit of work and out of it.
pub async fn what_is_written_before_a_commit_is_part_of_it(subject: &dyn Subject) {
    let recorder = Arc::new(Recorder::default());
    let store = subject.store();
    store.before_commit(Arc::new(Companion));
    store.on_commit(Arc::clone(&recorder) as Arc<dyn CommitListener>);
    let (scope, specimens) = new_tenant(subject);
    specimens.insert(&mut Specimen::named("one")).await.unwrap();
    let work = scope.begin().await.unwrap();
    for label in ["two", "three"] {
        let mut specimen = Specimen::named(label);
        work.repository().insert(&mut specimen).await.unwrap();
    }
    work.commit().await.unwrap();
    let with_label = async |label: &str| specimens.count(Specimen::LABEL.eq(label)).await.unwrap();
    assert_eq!(with_label("beside 1").await, 1);
    assert_eq!(with_label("beside 2").await, 1);
    let heard: Vec<_> = recorder.0.lock().iter().map(|it| it.rows.len()).collect();
    assert_eq!(heard, [2, 3], "listeners hear of it too");

    // Nothing is written beside nothing.
    scope.begin().await.unwrap().commit().await.unwrap();
    let missing = SpecimenId(uuid::Uuid::now_v7());
    specimens.delete_by_id(&missing, None).await.unwrap_err();
    assert_eq!(specimens.count(Filter::all()).await.unwrap(), 5);

    let refused = specimens.insert(&mut Specimen::named("refused")).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
    let work = scope.begin().await.unwrap();
    let mut specimen = Specimen::named("refused");
    work.repository().insert(&mut specimen).await.unwrap();
    assert_eq!(
        work.commit().await.unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(specimens.count(Filter::all()).await.unwrap(), 5);
    assert_eq!(recorder.0.lock().len(), 2);
}

/// `run` tries a unit of work again after an error that can pass, and commits once.
pub async fn run_tries_again_when_that_helps(subject: &dyn Subject) {
    let (scope, outside) = new_tenant(subject);
    let attempts = &AtomicU32::new(0);
    let policy = RetryPolicy::new().with_waits(Duration::ZERO, Duration::ZERO);
    let answer = scope
        .run(policy, WorkOptions::default(), |work| async move {
            work.repository()
                .insert(&mut Specimen::named("once"))
                .await?;
            match attempts.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => Err(Error::new(ErrorKind::SerializationFailure, "pretend")),
                _ => Ok(7),
            }
        })
        .await;
    assert_eq!(answer.unwrap(), 7);
    assert_eq!(attempts.load(Ordering::SeqCst), 3);
    assert_eq!(outside.count(Filter::all()).await.unwrap(), 1);
}

/// `run` gives up after so many attempts, and at once when trying again cannot help.
pub async fn run_gives_up_after_its_attempts(subject: &dyn Subject) {
    let (scope, outside) = new_tenant(subject);
    for (kind, expected) in [
        (ErrorKind::Deadlock, 4),
        (ErrorKind::Conflict, 1),
        (ErrorKind::CommitUnknown, 1),
        (ErrorKind::AlreadyExists, 1),
    ] {
        let attempts = &AtomicU32::new(0);
        let policy = RetryPolicy::new()
            .with_attempts(4)
            .with_waits(Duration::ZERO, Duration::ZERO);
        let answer: crate::Result<()> = scope
            .run(policy, WorkOptions::default(), |work| async move {
                attempts.fetch_add(1, Ordering::SeqCst);
                work.repository()
                    .insert(&mut Specimen::named("never"))
                    .await?;
                Err(Error::new(kind, "pretend"))
            })
            .await;
        assert_eq!(answer.unwrap_err().kind(), kind);
        assert_eq!(attempts.load(Ordering::SeqCst), expected);
    }
    assert_eq!(outside.count(Filter::all()).await.unwrap(), 0);
}

/// A statement that runs longer than allowed is interrupted, and harms nobody after it.
pub async fn statement_timeout_interrupts(subject: &dyn Subject) {
    let (scope, specimens) = new_tenant(subject);
    let mut all: Vec<_> = (0..10_000)
        .map(|index| Specimen::named(&format!("{index}")))
        .collect();
    specimens.insert_many(&mut all).await.unwrap();
    let slow = || {
        (0..400)
            .map(|number| Specimen::LABEL.starts_with(format!("no such {number}")))
            .reduce(Filter::or)
            .unwrap()
    };
    let options = WorkOptions::default()
        .read_only()
        .with_statement_timeout(Duration::from_millis(1));
    let work = scope.begin_with(options).await.unwrap();
    let error = work
        .repository::<Specimen>()
        .count(slow())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StatementTimeout, "{error}");
    drop(work);
    for _ in 0..4 {
        assert_eq!(specimens.count(slow()).await.unwrap(), 0);
    }
}
