use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use chrono::{TimeDelta, Utc};
use uuid::Uuid;

use super::{Specimen, SpecimenId, Subject, Tracked, new_tenant};
use crate::{Changes, Deleted, ErrorKind, Filter, Query, Repository, RepositoryExt as _, Version};

/// 64 tasks of 16 tenants over few connections: every row that is read is the tenant's own.
pub async fn many_tenants_share_two_connections(subject: &dyn Subject) {
    let tenants: Vec<_> = (0..16).map(|_| new_tenant(subject)).collect();
    let shared = Uuid::now_v7();
    for (scope, specimens) in &tenants {
        let mut row = Specimen::with_id(shared, &scope.tenant().to_string());
        specimens.insert(&mut row).await.unwrap();
    }
    let tasks: Vec<_> = (0..64)
        .map(|number| {
            let (scope, specimens) = tenants[number % 16].clone();
            tokio::spawn(async move {
                let own = scope.tenant().to_string();
                for round in 0..40 {
                    let found = specimens.get(SpecimenId(shared)).await.unwrap();
                    assert_eq!(found.label, own);
                    let page = specimens.list(Query::new().limit(5)).await.unwrap();
                    assert!(page.items.iter().all(|row| row.label == own));
                    if round % 10 == number % 10 {
                        let work = scope.begin().await.unwrap();
                        let inside = work.repository::<Specimen>();
                        inside.insert(&mut Specimen::named(&own)).await.unwrap();
                        assert_eq!(
                            inside.count(Specimen::LABEL.ne(own.clone())).await.unwrap(),
                            0
                        );
                        work.commit().await.unwrap();
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for (_, specimens) in &tenants {
        assert_eq!(specimens.count(Filter::all()).await.unwrap(), 1 + 4 * 4);
    }
}

/// Polls a future so many times and then drops it; `None` if it had not ended.
pub async fn poll_times<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Each operation is dropped at each of its awaits; after that the connections serve another
/// tenant, who sees its own row and nothing else, and the row of the first is whole.
pub async fn dropped_futures_leave_nothing_behind(subject: &dyn Subject) {
    let (scope, ours) = new_tenant(subject);
    let (_, theirs) = new_tenant(subject);
    let mut their = Specimen::named("theirs");
    theirs.insert(&mut their).await.unwrap();
    let look = async || {
        let page = theirs.list(Query::new()).await.unwrap();
        assert_eq!(page.items, [their.clone()]);
        assert_eq!(theirs.count(Filter::all()).await.unwrap(), 1);
    };

    macro_rules! at_each_await {
        ($operation:expr) => {{
            let mut times = 0;
            loop {
                let ended = poll_times($operation, times).await;
                look().await;
                if let Some(result) = ended {
                    break result;
                }
                times += 1;
                assert!(times < 1_000, "an operation that never ends");
            }
        }};
    }

    let id = Uuid::now_v7();
    let stored = async || ours.find(&SpecimenId(id)).await.unwrap();
    at_each_await!(async {
        let mut row = Specimen::with_id(id, "upserted");
        ours.upsert(&mut row).await.unwrap();
    });
    assert!(stored().await.is_some());
    at_each_await!(async {
        assert!(ours.find(&SpecimenId(id)).await.unwrap().is_some());
    });
    // The commit of an attempt that was dropped may land between the read and the write of the next.
    at_each_await!(async {
        loop {
            let mut row = ours.get(SpecimenId(id)).await.unwrap();
            row.label = "updated".into();
            match ours.update(&mut row).await {
                Ok(()) => break,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
            }
        }
    });
    assert_eq!(stored().await.unwrap().label, "updated");
    at_each_await!(async {
        let changes = Changes::new().set(Specimen::LABEL, "changed");
        ours.update_where(Filter::all(), changes, 10).await.unwrap();
    });
    assert_eq!(stored().await.unwrap().label, "changed");
    at_each_await!(async {
        let mut many: Vec<_> = (0..600).map(|_| Specimen::named("many")).collect();
        ours.insert_many(&mut many).await.unwrap();
    });
    let many = ours.count(Specimen::LABEL.eq("many")).await.unwrap();
    assert!(
        many > 0 && many.is_multiple_of(600),
        "{many} rows of batches of 600"
    );
    at_each_await!(async {
        loop {
            let work = scope.begin().await.unwrap();
            let inside = work.repository::<Specimen>();
            let mut row = inside.get(SpecimenId(id)).await.unwrap();
            row.label = "in work".into();
            match inside.update(&mut row).await {
                Ok(()) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Conflict);
                    continue;
                }
            }
            inside.insert(&mut Specimen::named("beside")).await.unwrap();
            work.commit().await.unwrap();
            break;
        }
    });
    let beside = ours.count(Specimen::LABEL.eq("beside")).await.unwrap();
    assert!(beside >= 1);
    assert_eq!(stored().await.unwrap().label, "in work");
    at_each_await!(async {
        ours.delete_where(Filter::all(), 10_000).await.unwrap();
    });
    assert_eq!(ours.count(Filter::all()).await.unwrap(), 0);
    let tracked = scope.repository::<Tracked>();
    let mut marked = Tracked {
        id,
        name: "marked".into(),
        version: Version::NEW,
    };
    tracked.insert(&mut marked).await.unwrap();
    tracked.delete(&marked).await.unwrap();
    at_each_await!(async {
        let all = Utc::now() + TimeDelta::days(1);
        tracked.purge(all, 10_000).await.unwrap();
    });
    let rest = Query::new().deleted(Deleted::Include);
    assert_eq!(tracked.list(rest).await.unwrap().items, []);
}

/// A write that is dropped inside a unit of work ends it: nobody knows what it did.
pub async fn dropped_write_ends_the_unit_of_work(subject: &dyn Subject) {
    let (scope, outside) = new_tenant(subject);
    let work = scope.begin().await.unwrap();
    let inside = work.repository::<Specimen>();
    inside.insert(&mut Specimen::named("first")).await.unwrap();
    drop(poll_times(inside.count(Filter::all()), 1).await);
    assert_eq!(
        inside.count(Filter::all()).await.unwrap(),
        1,
        "a dropped read does no harm"
    );
    // SQLite may have answered at the first poll; then nothing was dropped, and another is tried. Many
    // rows take it longer than a poll.
    let mut dropped = false;
    for _ in 0..100 {
        let mut second = vec![Specimen::named("second"); 1_000];
        for specimen in &mut second {
            specimen.id = SpecimenId(Uuid::now_v7());
        }
        match poll_times(inside.insert_many(&mut second), 1).await {
            Some(outcome) => outcome.unwrap(),
            None => {
                dropped = true;
                break;
            }
        }
    }
    assert!(dropped, "one poll was enough a hundred times");
    let error = inside.count(Filter::all()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WorkAborted);
    assert_eq!(
        work.commit().await.unwrap_err().kind(),
        ErrorKind::WorkAborted
    );
    assert_eq!(outside.count(Filter::all()).await.unwrap(), 0);
}
