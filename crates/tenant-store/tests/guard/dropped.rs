//! What is dropped half way, at each of its polls.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::Executor as _;
use tenantry_store::conformance::poll_times;
use tenantry_store::{ErrorKind, TenantScope, UnitOfWork};
use tokio::time::timeout;

/// More polls than any statement here needs.
const POLLS: usize = 30;

/// Fails instead of hanging.
async fn in_time<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(10), future).await.unwrap()
}

/// A text that no connection has prepared yet.
fn new_text(text: &str, number: usize) -> &'static str {
    text.replace('#', &number.to_string()).leak()
}

macro_rules! dropped_suite {
    ($open:path, $executor:ident) => {
        use super::*;

        async fn cents(scope: &TenantScope) -> Vec<i64> {
            let all = sqlx::query_scalar("select cents from invoices order by id")
                .fetch_all(scope.$executor().unwrap());
            in_time(all).await.unwrap()
        }

        /// Runs a statement in one of the ways to do so.
        async fn run(work: &UnitOfWork, way: usize, sql: &'static str) -> Result<(), sqlx::Error> {
            let executor = work.$executor().unwrap();
            let query = sqlx::query(sql);
            match way {
                0 => query.execute(executor).await.map(drop),
                1 => query.fetch_all(executor).await.map(drop),
                2 => query.fetch_optional(executor).await.map(drop),
                3 => query
                    .fetch(executor)
                    .try_collect::<Vec<_>>()
                    .await
                    .map(drop),
                _ => executor.execute(query).await.map(drop),
            }
        }

        #[tokio::test]
        async fn a_dropped_write_is_never_committed_by_half() {
            let fixture = $open().await;
            let theirs = cents(&fixture.theirs).await;
            let mut before = cents(&fixture.ours).await;
            for way in 0..5 {
                for polls in 0..POLLS {
                    let sql = "update invoices set cents = cents + 1 + 0 * # returning id";
                    let sql = new_text(sql, way * POLLS + polls);
                    let work = in_time(fixture.ours.begin()).await.unwrap();
                    let done = poll_times(run(&work, way, sql), polls).await;
                    let committed = in_time(work.commit()).await;
                    let after = cents(&fixture.ours).await;
                    match (done, committed) {
                        (Some(done), Ok(())) => {
                            done.unwrap();
                            before = before.iter().map(|cents| cents + 1).collect();
                        }
                        (None, Ok(())) => assert_eq!(polls, 0),
                        (done, Err(error)) => {
                            assert!(done.is_none());
                            assert_eq!(error.kind(), ErrorKind::WorkAborted);
                        }
                    }
                    assert_eq!(after, before, "way {way}, {polls} polls");
                }
            }
            assert_eq!(cents(&fixture.theirs).await, theirs);
        }

        #[tokio::test]
        async fn a_savepoint_undoes_a_dropped_write_whatever_became_of_it() {
            let fixture = $open().await;
            let before = cents(&fixture.ours).await;
            let texts = [
                "update invoices set cents = cents + 1 + 0 * #",
                "insert into invoices (id, cents) values (70, #), (1, 1)",
            ];
            for polls in 0..POLLS {
                for sql in texts {
                    let work = in_time(fixture.ours.begin()).await.unwrap();
                    let start = work.savepoint().await.unwrap();
                    poll_times(run(&work, 0, new_text(sql, polls)), polls).await;
                    in_time(work.rollback_to(&start)).await.unwrap();
                    let same = run(&work, 0, "update invoices set cents = cents");
                    in_time(same).await.unwrap();
                    in_time(work.commit()).await.unwrap();
                    assert_eq!(cents(&fixture.ours).await, before);
                }
            }
        }

        #[tokio::test]
        async fn a_dropped_read_does_no_harm_to_what_comes_after() {
            let fixture = $open().await;
            let before = cents(&fixture.ours).await;
            for way in 0..5 {
                for polls in 0..POLLS {
                    let sql =
                        "select i.id, # from invoices i, invoices j, customers c, customers d";
                    let sql = new_text(sql, way * POLLS + polls);
                    let work = in_time(fixture.ours.begin()).await.unwrap();
                    run(&work, 0, "select 1").await.unwrap();
                    poll_times(run(&work, way, sql), polls).await;
                    let alone = sqlx::query(sql).fetch_all(fixture.ours.$executor().unwrap());
                    poll_times(alone, polls).await;
                    let lines = sqlx::query_scalar("select cents from invoices order by id")
                        .fetch_all(work.$executor().unwrap());
                    let lines: Vec<i64> = in_time(lines).await.unwrap();
                    assert_eq!(lines, before);
                    let add = run(&work, 0, "update invoices set cents = cents + 1");
                    in_time(add).await.unwrap();
                    in_time(work.commit()).await.unwrap();
                    let work = in_time(fixture.ours.begin()).await.unwrap();
                    run(&work, 0, "update invoices set cents = cents - 1")
                        .await
                        .unwrap();
                    work.commit().await.unwrap();
                    assert_eq!(cents(&fixture.ours).await, before);
                }
            }
        }

        /// sqlx's own future ends before it is dropped; that of the executor is kept by its caller.
        #[tokio::test]
        async fn a_statement_that_failed_does_not_hold_the_work() {
            let fixture = $open().await;
            let work = fixture.ours.begin().await.unwrap();
            let start = work.savepoint().await.unwrap();
            let taken = sqlx::query("insert into invoices (id, cents) values (1, 1)");
            let mut kept = work.$executor().unwrap().execute(taken);
            assert!((&mut kept).await.is_err());
            in_time(work.rollback_to(&start)).await.unwrap();
        }

        #[tokio::test]
        async fn a_stream_that_failed_does_not_hold_the_work() {
            let fixture = $open().await;
            let work = fixture.ours.begin().await.unwrap();
            let start = work.savepoint().await.unwrap();
            let taken = sqlx::query("insert into invoices (id, cents) values (1, 1)");
            let mut kept = taken.fetch(work.$executor().unwrap());
            assert!(kept.try_next().await.is_err());
            in_time(work.rollback_to(&start)).await.unwrap();
        }

        #[tokio::test]
        async fn a_dropped_read_does_no_harm_if_it_is_the_first() {
            let fixture = $open().await;
            for polls in 1..POLLS {
                let work = in_time(fixture.ours.begin()).await.unwrap();
                poll_times(run(&work, 1, "select * from invoices"), polls).await;
                let next = in_time(run(&work, 0, "select 1")).await;
                assert!(next.is_ok(), "{polls} polls: {next:?}");
            }
        }
    };
}

mod sqlite {
    dropped_suite!(crate::sqlite::open, sqlx_sqlite);
}

mod postgres {
    dropped_suite!(crate::postgres::open, sqlx_postgres);
}

/// Behind a pooler in transaction mode everything is the same.
mod pooled {
    dropped_suite!(crate::postgres::pooled::open, sqlx_postgres);
}
