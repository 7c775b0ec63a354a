//! Several processes, and several threads, over one folder.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use tenantry_core::{Service, TenantId};

use super::disk::{AtStep, Step};
use super::own::options_of_owner;
use super::scene::{
    CHILDREN, DIE_AT, PUTS, Scene, blobs_in, bytes_of, child, clock, compact_now, fails_at,
    files_in, folder_of_child, name, open_in, put,
};
use super::*;
use crate::retention::{HoldTag, Retention};
use crate::store::{BlobStore, ListOptions, PutOptions};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_lose_no_blob() {
    let scene = Scene::new().await;
    let children: Vec<_> = (0..CHILDREN)
        .map(|number| {
            child(
                "fs::processes::child_puts_blobs",
                scene.folder.path(),
                number.to_string(),
            )
        })
        .collect();
    // A third that only reads sees no half blob.
    let reader = scene.blobs(1).await;
    let total = CHILDREN * PUTS + 1;
    let mut seen = 0;
    for mut process in children {
        while process.try_wait().unwrap().is_none() {
            let page = reader
                .list(ListOptions::new().with_limit(5_000))
                .await
                .unwrap();
            assert!((seen..=total).contains(&page.records.len()), "{seen}");
            seen = page.records.len();
            if let Some(record) = page.records.last() {
                reader.get(&record.name).await.unwrap();
            }
        }
        assert!(process.wait().unwrap().success());
    }
    let page = reader
        .list(ListOptions::new().with_limit(5_000))
        .await
        .unwrap();
    assert_eq!(page.records.len(), total);
    scene.assert_tidy().await;
}

#[tokio::test]
#[ignore = "the child of two_processes_lose_no_blob"]
async fn child_puts_blobs() {
    let child: u128 = std::env::var_os(DIE_AT)
        .unwrap()
        .into_string()
        .unwrap()
        .parse()
        .unwrap();
    let blobs = blobs_in(&folder_of_child(), 1, None).await.unwrap();
    for number in 0..PUTS as u128 {
        put(&blobs, 1_000 * (child + 1) + number, "new")
            .await
            .unwrap();
    }
}

/// Whoever leads must not wait for a thread that waits for it.
#[test]
fn one_thread_for_the_disk_is_enough() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let scene = Scene::new().await;
        let (one, two) = (scene.blobs(1).await, scene.blobs(1).await);
        let tasks = (0..40).map(|number| {
            let blobs = if number % 2 == 0 {
                one.clone()
            } else {
                two.clone()
            };
            tokio::spawn(async move {
                put(&blobs, 100 + number, "new").await.unwrap();
                assert_eq!(bytes_of(&blobs, 100 + number).await.unwrap(), "new");
            })
        });
        for task in join_all(tasks).await {
            task.unwrap();
        }
        scene.assert_tidy().await;
    });
}

#[tokio::test]
async fn a_change_in_a_runtime_that_has_shut_down_is_told_so() {
    let scene = Scene::new().await;
    let blobs = scene.blobs(1).await;
    let (other, old) = (blobs.clone(), name(&blobs, 1));
    let told = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        runtime.shutdown_background();
        let _inside = handle.enter();
        futures_util::FutureExt::now_or_never(other.set_tier(&old, Tier::Cool)).unwrap()
    });
    let error = told.join().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CommitUnknown);
    // Whoever comes next leads.
    put(&blobs, 2, "new").await.unwrap();
    scene.assert_tidy().await;
}

#[tokio::test]
async fn what_is_still_coming_in_is_not_removed_by_another_who_opens() {
    let scene = Scene::new().await;
    let blobs = scene.blobs(1).await;
    let (send, mut come) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    let body = stream::poll_fn(move |context| come.poll_recv(context)).map(Ok::<_, io::Error>);
    let options = PutOptions::new(Service::Reporting, Retention::days(1));
    let coming = name(&blobs, 9);
    let putting = tokio::spawn({
        let (blobs, coming) = (blobs.clone(), coming.clone());
        async move { blobs.put(&coming, options, body).await }
    });
    send.send(Bytes::from(vec![7; BLOCK])).unwrap();
    while files_in(&scene.folder.path().join("incoming")).is_empty() {
        tokio::task::yield_now().await;
    }
    scene.blobs(2).await;
    assert_eq!(files_in(&scene.folder.path().join("incoming")).len(), 1);
    drop(send);
    putting.await.unwrap().unwrap();
    assert_eq!(blobs.get(&coming).await.unwrap().bytes.len(), BLOCK);
    // One whose process has ended is.
    let left = scene
        .folder
        .path()
        .join("incoming")
        .join(Uuid::nil().to_string());
    drop(options_of_owner().create_new(true).open(&left).unwrap());
    scene.assert_tidy().await;
}

/// As another does who opens the store in the moment between the making of the file and its lock; a storm of
/// processes has found it.
#[tokio::test]
async fn a_file_that_is_removed_before_it_is_locked_is_made_again() {
    let scene = Scene::new().await;
    let (incoming, is_first) = (scene.folder.path().join("incoming"), AtomicBool::new(true));
    let at_step: AtStep = Box::new(move |step| {
        if step == Step::Created && is_first.swap(false, Ordering::Relaxed) {
            for file in files_in(&incoming) {
                fs::remove_file(incoming.join(file))?;
            }
        }
        Ok(())
    });
    let blobs = scene.blobs_with(at_step).await;
    put(&blobs, 2, "new").await.unwrap();
    assert_eq!(bytes_of(&blobs, 2).await.unwrap(), "new");
    scene.assert_tidy().await;
}

/// Each would wait for the lock by itself, and another process that puts all the time would have to wait for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_reader_follows_others_for_all_of_its_process() {
    let scene = Scene::new().await;
    let backend = open_in(scene.folder.path(), clock(), None).await.unwrap();
    let inner = Arc::clone(&backend.inner);
    let reader = BlobStore::new(Arc::new(backend)).tenant(TenantId::from_u128(1).unwrap());
    put(&scene.blobs(1).await, 2, "new").await.unwrap();
    let before = inner.followed.load(Ordering::SeqCst);
    let lock = Disk::new(scene.folder.path().to_owned()).lock().unwrap();
    let reading: Vec<_> = (0..20)
        .map(|_| {
            let reader = reader.clone();
            tokio::spawn(async move { bytes_of(&reader, 2).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(lock);
    for read in reading {
        assert_eq!(read.await.unwrap().unwrap(), "new");
    }
    assert_eq!(inner.followed.load(Ordering::SeqCst), before + 1);
}

/// One sweeps what the other places holds on, at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_holds_is_not_swept() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock();
    let open = async || {
        let backend = open_in(folder.path(), clock.clone(), None).await.unwrap();
        BlobStore::new(Arc::new(backend))
    };
    let (one, two) = (open().await, open().await);
    let tenant = TenantId::from_u128(1).unwrap();
    let (blobs, tag) = (two.tenant(tenant), HoldTag::new("case17").unwrap());
    let names: Vec<_> = (0..60).map(|number| name(&blobs, number)).collect();
    for name in &names {
        let options = PutOptions::new(Service::Reporting, Retention::days(1));
        blobs.put_bytes(name, options, "x").await.unwrap();
    }
    clock.advance(Duration::from_secs(2 * 86_400));
    let sweep = async |store: &BlobStore, batch| {
        let policy = crate::SweepPolicy::default().with_batch(batch);
        crate::Sweeper::new(store, policy).unwrap().run().await
    };
    let hold = async {
        let mut held = Vec::new();
        for name in names.iter().rev() {
            match blobs.place_hold(name, &tag, "they sue").await {
                Ok(_) => held.push(name),
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}"),
            }
        }
        held
    };
    let (held, first, second) = futures_util::join!(hold, sweep(&one, 7), sweep(&two, 3));
    for name in &held {
        assert_eq!(one.tenant(tenant).get(name).await.unwrap().bytes, "x");
    }
    let deleted = first.unwrap().deleted + second.unwrap().deleted;
    assert_eq!(held.len() as u64 + deleted, 60);
}

/// A backup or a script may lock the folder that it works in, and so may whoever can read it.
#[tokio::test]
async fn a_lock_of_the_folder_by_others_is_none_of_the_store() {
    let scene = Scene::new().await;
    let folder = fs::File::open(scene.folder.path()).unwrap();
    folder.lock().unwrap();
    put(&scene.blobs(1).await, 2, "new").await.unwrap();
}

/// Lets changes come together into one batch, which fails at the journal.
async fn together<T: Send + 'static>(
    scene: &Scene,
    changes: impl IntoIterator<Item = impl Future<Output = Result<T>> + Send + 'static>,
) -> Vec<Option<ErrorKind>> {
    let lock = Disk::new(scene.folder.path().to_owned()).lock().unwrap();
    let mut tasks = Vec::new();
    for change in changes {
        tasks.push(tokio::spawn(change));
        // They come in this order.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(lock);
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap().err().map(|error| error.kind()));
    }
    answers
}

/// What rests on a change that failed has failed with it: it is not told as if that one had happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_judged_by_what_failed_before_it_in_its_batch() {
    let scene = Scene::new().await;
    let over = PutOptions::new(Service::Reporting, Retention::days(0));
    let blobs = scene.blobs(1).await;
    let old = name(&blobs, 3);
    blobs.put_bytes(&old, over.clone(), "over").await.unwrap();
    let blobs = scene
        .blobs_with(fails_at(Step::Appended, io::ErrorKind::Other))
        .await;
    let failed = Some(ErrorKind::Unavailable);
    let new = name(&blobs, 2);
    let putting = (0..3).map(|_| {
        let (blobs, new, over) = (blobs.clone(), new.clone(), over.clone());
        async move { blobs.put_bytes(&new, over, "new").await.map(drop) }
    });
    // The first of them may make a batch of its own, for which the lock is waited.
    assert_eq!(together(&scene, putting).await, [failed; 3]);
    let tag = HoldTag::new("case17").unwrap();
    let changing = [true, false].map(|deletes| {
        let (blobs, old, tag) = (blobs.clone(), old.clone(), tag.clone());
        async move {
            match deletes {
                true => blobs.delete(&old).await,
                false => blobs.place_hold(&old, &tag, "they sue").await.map(drop),
            }
        }
    });
    assert_eq!(together(&scene, changing).await, [failed; 2]);
}

/// As where somebody looks after a store by `sudo`.
#[cfg(unix)]
#[tokio::test]
async fn what_an_administrator_makes_belongs_to_whose_the_folder_is() {
    use std::os::unix::fs::{MetadataExt as _, chown};

    let scene = Scene::new().await;
    let root = scene.folder.path();
    let all = || {
        let mut paths = vec![root.to_owned()];
        let mut found = Vec::new();
        while let Some(path) = paths.pop() {
            if path.is_dir() {
                paths.extend(
                    fs::read_dir(&path)
                        .unwrap()
                        .map(|entry| entry.unwrap().path()),
                );
            }
            found.push(path);
        }
        found
    };
    // Nobody else may give anything away.
    if fs::metadata(root).unwrap().uid() == 0 {
        for path in all() {
            chown(path, Some(65_534), Some(65_534)).unwrap();
        }
    }
    let blobs = scene.blobs(3).await;
    let options = PutOptions::new(Service::Reporting, Retention::days(0));
    for number in [1, 2] {
        let name = name(&blobs, number);
        blobs
            .put_bytes(&name, options.clone(), "new")
            .await
            .unwrap();
    }
    blobs.delete(&name(&blobs, 1)).await.unwrap();
    compact_now(&blobs).await;
    fs::remove_file(root.join("journal.reserve")).unwrap();
    let other = scene.blobs(4).await;
    other
        .put_bytes(&name(&other, 1), options, "new")
        .await
        .unwrap();
    let of = |path: &Path| {
        let metadata = fs::metadata(path).unwrap();
        (metadata.uid(), metadata.gid())
    };
    let owner = of(root);
    for path in all() {
        assert_eq!(of(&path), owner, "{}", path.display());
    }
}
