use std::pin::pin;
use std::task::Poll;

use ::bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use tenantry_core::{Error, ErrorKind, Result};

use super::bytes::bytes_of;
use super::{Scene, new_name, options};
use crate::retention::Retention;

pub(super) async fn a_dropped_put_leaves_all_or_nothing(scene: &Scene) {
    let block = scene.backend.block_length(None);
    let whole = bytes_of(2 * block + 1);
    for polls in 0.. {
        let name = new_name(&scene.one);
        // Each piece takes a poll of its own.
        let body = stream::iter(vec![whole.slice(..block), whole.slice(block..)]).then(
            |piece| async move {
                tokio::task::yield_now().await;
                Ok::<Bytes, Error>(piece)
            },
        );
        let put = scene.one.put(&name, options(Retention::days(1)), body);
        let is_done = polled(put, polls).await.is_some();
        match scene.one.get(&name).await {
            Ok(read) => {
                assert!(
                    read.bytes == whole,
                    "dropped after {polls} polls: it is whole"
                );
                assert!(read.record.retention.until.is_some(), "and kept");
            }
            Err(error) => assert!(
                error.kind() == ErrorKind::NotFound && !is_done,
                "dropped after {polls} polls: {error:?}"
            ),
        }
        // Whatever goes on behind is in nobody's way.
        let again = scene
            .one
            .put_bytes(&name, options(Retention::days(1)), whole.clone())
            .await;
        match again {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error:?}"),
        }
        let read = scene.one.get(&name).await.expect("it is there now");
        assert!(read.bytes == whole);
        if is_done {
            assert!(polls > 2, "it was dropped in its midst");
            return;
        }
    }
}

pub(super) async fn of_many_puts_under_one_name_one_wins(scene: &Scene) {
    let name = new_name(&scene.one);
    let block = scene.backend.block_length(None);
    let puts = (0..8_u8).map(|number| {
        let name = name.clone();
        async move {
            let bytes = vec![number; block + 1];
            let put = scene
                .one
                .put_bytes(&name, options(Retention::days(1)), bytes)
                .await;
            put.map(|_| number)
        }
    });
    let outcomes: Vec<Result<u8>> = join_all(puts).await;
    let winners: Vec<_> = outcomes.iter().filter_map(|it| it.as_ref().ok()).collect();
    let [winner] = winners[..] else {
        panic!("one wins, and not {winners:?}");
    };
    for lost in outcomes.iter().filter_map(|it| it.as_ref().err()) {
        assert_eq!(lost.kind(), ErrorKind::AlreadyExists, "{lost:?}");
    }
    let read = scene.one.get(&name).await.expect("its bytes");
    assert!(read.bytes.iter().all(|byte| byte == winner) && read.bytes.len() == block + 1);
}

/// Polls a future until it is ready, or so often that it is dropped.
async fn polled<T>(future: impl Future<Output = T>, most: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut polls = 0;
    std::future::poll_fn(|context| {
        if polls == most {
            return Poll::Ready(None);
        }
        polls += 1;
        let polled = future.as_mut().poll(context).map(Some);
        if polled.is_pending() && polls == most {
            return Poll::Ready(None);
        }
        polled
    })
    .await
}
