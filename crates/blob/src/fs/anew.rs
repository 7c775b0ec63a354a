//! What is put again under a name whose blob was deleted: both have the same place.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use tenantry_core::Service;
use tokio::sync::oneshot;

use super::disk::Step;
use super::scene::{Scene, files_in, name};
use super::*;
use crate::record::Metadata;
use crate::retention::Retention;
use crate::store::PutOptions;

fn options() -> PutOptions {
    PutOptions::new(Service::Reporting, Retention::days(0))
}

/// Who follows another process does again what that may have left half done: not what was undone since.
#[tokio::test]
async fn what_was_put_anew_stays_where_its_deletion_is_followed() {
    let scene = Scene::new().await;
    let (writer, reader) = (scene.blobs(1).await, scene.blobs(1).await);
    let again = name(&writer, 3);
    for bytes in ["one", "two", "three"] {
        writer.put_bytes(&again, options(), bytes).await.unwrap();
        assert_eq!(reader.get(&again).await.unwrap().bytes, bytes);
        writer.delete(&again).await.unwrap();
    }
    writer.put_bytes(&again, options(), "four").await.unwrap();
    let third = scene.blobs(1).await;
    for blobs in [&writer, &reader, &third] {
        assert_eq!(blobs.get(&again).await.unwrap().bytes, "four");
    }
    writer.delete(&again).await.unwrap();
    assert!(reader.get(&again).await.is_err());
    scene.assert_tidy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_beside_its_deletion_is_put_after_it() {
    let scene = Scene::new().await;
    let [is_halted, halts] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let blobs = scene
        .blobs_with(Box::new({
            let (is_halted, halts) = (Arc::clone(&is_halted), Arc::clone(&halts));
            move |step| {
                while step == Step::Listed && halts.load(Ordering::SeqCst) {
                    is_halted.store(true, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            }
        }))
        .await;
    let (again, other) = (name(&blobs, 3), name(&blobs, 4));
    // A slow one that began when nobody had the name.
    let (end, ended) = oneshot::channel::<Bytes>();
    let slow = tokio::spawn({
        let (blobs, again) = (blobs.clone(), again.clone());
        let bytes = stream::once(async { Ok::<_, io::Error>(ended.await.unwrap()) });
        async move { blobs.put(&again, options(), bytes).await }
    });
    let is_staged = |file: &PathBuf| file.starts_with("incoming");
    until(|| files_in(scene.folder.path()).iter().any(is_staged)).await;
    blobs.put_bytes(&again, options(), "one").await.unwrap();
    // While the batch of another halts, the deletion comes first, and then the end of the slow one.
    halts.store(true, Ordering::SeqCst);
    let first = tokio::spawn({
        let blobs = blobs.clone();
        async move { blobs.put_bytes(&other, options(), "").await.map(drop) }
    });
    until(|| is_halted.load(Ordering::SeqCst)).await;
    let mut deletion = Box::pin(blobs.delete(&again));
    assert!(futures_util::poll!(&mut deletion).is_pending());
    end.send(Bytes::from_static(b"two")).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    halts.store(false, Ordering::SeqCst);
    deletion.await.unwrap();
    first.await.unwrap().unwrap();
    slow.await.unwrap().unwrap();
    assert_eq!(blobs.get(&again).await.unwrap().bytes, "two");
    scene.assert_tidy().await;
}

/// Neither their bytes nor what was known of them; what is there and what comes afterwards is.
#[tokio::test]
async fn nothing_of_an_erased_tenant_is_left_in_the_folder() {
    let scene = Scene::new().await;
    let (blobs, other) = (scene.blobs(3).await, scene.blobs(1).await);
    let metadata = Metadata::new().with("file_name", "payslip").unwrap();
    let personal = PutOptions::new(Service::Reporting, Retention::days(9)).with_metadata(metadata);
    let erased = name(&blobs, 5);
    blobs
        .put_bytes(&erased, personal, "personal")
        .await
        .unwrap();
    let report = blobs.erase("they left").await.unwrap();
    assert!(report.is_complete() && report.erased.len() == 1);
    let after = name(&other, 6);
    other.put_bytes(&after, options(), "after").await.unwrap();
    for file in files_in(scene.folder.path()) {
        let bytes = std::fs::read(scene.folder.path().join(&file)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let is_left =
            ["payslip", "personal", &blobs.tenant().to_string()].map(|it| text.contains(it));
        assert_eq!(is_left, [false; 3], "{}", file.display());
    }
    assert_eq!(
        scene.blobs(1).await.get(&after).await.unwrap().bytes,
        "after"
    );
    scene.assert_tidy().await;
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_is_put_anew_while_it_is_read_is_read_anew() {
    let scene = Scene::new().await;
    let blobs = scene.blobs(1).await;
    let again = name(&blobs, 3);
    blobs.put_bytes(&again, options(), "one").await.unwrap();
    let writing = tokio::spawn({
        let (blobs, again) = (scene.blobs(1).await, again.clone());
        async move {
            for bytes in ["two", "one"].into_iter().cycle().take(60) {
                blobs.delete(&again).await.unwrap();
                blobs.put_bytes(&again, options(), bytes).await.unwrap();
            }
        }
    });
    let mut read = 0;
    while !writing.is_finished() {
        match blobs.range(&again, 0..3).await {
            Ok(bytes) => assert!(bytes == "one" || bytes == "two", "{bytes:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}"),
        }
        read += 1;
        tokio::task::yield_now().await;
    }
    writing.await.unwrap();
    assert!(read > 0);
}
