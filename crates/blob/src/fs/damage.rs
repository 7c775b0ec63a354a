//! Journals and files that a crash, a disk or a hand has altered.

use std::fs;
use std::io;
use std::io::Write as _;
use std::path::Path;

use tenantry_core::Service;

use super::disk::Step;
use super::own::options_of_owner;
use super::scene::{
    Scene, blobs_in, bytes_of, clock, compact_now, fails_at, files_in, is_cut, name, open_in, put,
};
use super::*;
use crate::retention::Retention;
use crate::store::PutOptions;

#[tokio::test]
async fn a_frame_that_was_half_written_is_cut_off_and_one_in_the_midst_is_damage() {
    let scene = Scene::new().await;
    let whole = fs::read(scene.journal()).unwrap();
    put(&scene.blobs(1).await, 2, "new").await.unwrap();
    let longer = fs::read(scene.journal()).unwrap();
    for length in (whole.len()..longer.len()).step_by(13) {
        fs::write(scene.journal(), &longer[..length]).unwrap();
        let known = open_in(scene.folder.path(), clock(), None).await.unwrap();
        drop(known);
        assert_eq!(fs::read(scene.journal()).unwrap(), whole, "cut at {length}");
    }
    // A loss of power may leave anything where a frame was to be.
    for at in (whole.len()..longer.len()).step_by(13) {
        let mut torn = longer.clone();
        torn[at] ^= 0x20;
        fs::write(scene.journal(), &torn).unwrap();
        open_in(scene.folder.path(), clock(), None).await.unwrap();
        assert_eq!(fs::read(scene.journal()).unwrap(), whole, "torn at {at}");
    }
    for at in (18..whole.len()).step_by(13) {
        let mut damaged = longer.clone();
        damaged[at] ^= 0x20;
        fs::write(scene.journal(), &damaged).unwrap();
        let error = open_in(scene.folder.path(), clock(), None)
            .await
            .unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::Corrupt,
            "damaged at {at}: {error:?}"
        );
        assert_eq!(
            fs::read(scene.journal()).unwrap(),
            damaged,
            "nothing is lost by looking"
        );
    }
}

/// A crash and a disk that alters the last frame leave the same: who looks later can tell them apart.
#[tokio::test]
async fn what_is_cut_off_from_a_journal_is_kept_beside_it() {
    let scene = Scene::new().await;
    let whole = fs::read(scene.journal()).unwrap();
    put(&scene.blobs(1).await, 2, "new").await.unwrap();
    let longer = fs::read(scene.journal()).unwrap();
    let kept = |folder: &Path| -> Vec<_> {
        let files = files_in(folder).into_iter().filter(|file| is_cut(file));
        files
            .map(|file| fs::read(folder.join(file)).unwrap())
            .collect()
    };
    assert!(kept(scene.folder.path()).is_empty());
    let mut expected = Vec::new();
    for at in (whole.len()..longer.len()).step_by(29) {
        let mut altered = longer.clone();
        altered[at] ^= 0x10;
        fs::write(scene.journal(), &altered).unwrap();
        let blobs = scene.blobs(1).await;
        assert_eq!(bytes_of(&blobs, 2).await, None, "altered at {at}");
        assert_eq!(bytes_of(&blobs, 1).await.unwrap(), "old");
        assert_eq!(fs::read(scene.journal()).unwrap(), whole, "altered at {at}");
        expected.push(altered[whole.len()..].to_vec());
        assert_eq!(kept(scene.folder.path()), expected, "altered at {at}");
    }
    // One that has the store open follows; with the byte set right, all of it is there again.
    let witness = scene.blobs(1).await;
    fs::write(scene.journal(), &longer).unwrap();
    for blobs in [witness, scene.blobs(1).await] {
        assert_eq!(bytes_of(&blobs, 2).await.unwrap(), "new");
    }
    assert_eq!(kept(scene.folder.path()), expected, "nothing was cut off");
}

/// A crash on a full disk is the usual one, and only deletions make room.
#[tokio::test]
async fn a_journal_that_is_cut_off_on_a_full_disk_does_not_close_the_store() {
    let scene = Scene::new().await;
    let mut journal = options_of_owner()
        .append(true)
        .open(scene.journal())
        .unwrap();
    journal.write_all(b"\xf1TBJ half a frame").unwrap();
    let full = fails_at(Step::Cutting, io::ErrorKind::StorageFull);
    let blobs = scene.blobs_with(full).await;
    assert_eq!(bytes_of(&blobs, 1).await.as_deref(), Some(&b"old"[..]));
    assert!(
        !files_in(scene.folder.path())
            .iter()
            .any(|file| is_cut(file))
    );
    journal.write_all(b"\xf1TBJ half a frame").unwrap();
    let broken = fails_at(Step::Cutting, io::ErrorKind::PermissionDenied);
    let error = blobs_in(scene.folder.path(), 1, Some(broken)).await;
    assert!(error.is_err(), "for another reason nothing is thrown away");
    scene.blobs(1).await;
    let files = files_in(scene.folder.path());
    assert_eq!(files.iter().filter(|file| is_cut(file)).count(), 1);
}

#[tokio::test]
async fn a_file_that_was_altered_cut_or_lost_is_corrupt() {
    let scene = Scene::new().await;
    let blobs = scene.blobs(1).await;
    let place = scene
        .folder
        .path()
        .join("blobs")
        .join(name(&blobs, 1).as_str());
    let whole = fs::read(&place).unwrap();
    let read = async || blobs.get(&name(&blobs, 1)).await.map(|read| read.bytes);
    for at in 0..whole.len() {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        fs::write(&place, &altered).unwrap();
        assert_eq!(
            read().await.unwrap_err().kind(),
            ErrorKind::Corrupt,
            "altered at {at}"
        );
        fs::write(&place, &whole[..at]).unwrap();
        assert_eq!(
            read().await.unwrap_err().kind(),
            ErrorKind::Corrupt,
            "cut at {at}"
        );
    }
    let mut longer = fs::File::options().append(true).open(&place).unwrap();
    longer.write_all(&whole).unwrap();
    assert_eq!(read().await.unwrap_err().kind(), ErrorKind::Corrupt);
    fs::remove_file(&place).unwrap();
    assert_eq!(read().await.unwrap_err().kind(), ErrorKind::Corrupt);
    fs::write(&place, &whole).unwrap();
    assert_eq!(read().await.unwrap(), "old");
}

/// Each file is whole, so that its own checksums tell nothing.
#[tokio::test]
async fn no_part_of_a_file_in_the_place_of_another_is_given_out() {
    let scene = Scene::new().await;
    let (mine, theirs) = (scene.blobs(1).await, scene.blobs(2).await);
    let place = |name: &BlobName| scene.folder.path().join("blobs").join(name.as_str());
    let [a, b] = [name(&mine, 1), name(&theirs, 1)];
    // Of the same length; and of the same bytes.
    put(&theirs, 2, "new").await.unwrap();
    for foreign in [name(&theirs, 2), b.clone()] {
        let own = fs::read(place(&a)).unwrap();
        fs::copy(place(&foreign), place(&a)).unwrap();
        for read in [
            mine.get(&a).await.map(|read| read.bytes),
            mine.range(&a, 0..2).await,
            mine.range(&a, 3..3).await,
        ] {
            let error = read.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{foreign}: {error:?}");
        }
        fs::write(place(&a), own).unwrap();
        assert_eq!(mine.range(&a, 1..3).await.unwrap(), "ld");
    }
    // One's own of before, under the same name.
    let own = fs::read(place(&a)).unwrap();
    let options = PutOptions::new(Service::Reporting, Retention::days(0));
    let again = name(&mine, 3);
    mine.put_bytes(&again, options.clone(), "one")
        .await
        .unwrap();
    let before = fs::read(place(&again)).unwrap();
    mine.delete(&again).await.unwrap();
    mine.put_bytes(&again, options, "two").await.unwrap();
    fs::write(place(&again), before).unwrap();
    let error = mine.range(&again, 0..1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert_eq!(fs::read(place(&a)).unwrap(), own);
}

#[tokio::test]
async fn another_file_in_the_place_of_a_journal_is_refused() {
    for (content, kind) in [
        ("", ErrorKind::Corrupt),
        ("something else entirely", ErrorKind::Corrupt),
        ("tenantry-blobs 2\r\n", ErrorKind::SchemaMismatch),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("journal"), content).unwrap();
        let error = open_in(folder.path(), clock(), None).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{content:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = open_in(&file, clock(), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{error:?}");
}

/// As where another process has cut a damaged end off, or a backup is copied over it.
#[tokio::test]
async fn a_journal_that_became_shorter_is_read_anew_and_not_written_behind_its_end() {
    let scene = Scene::new().await;
    let journal = scene.folder.path().join("journal");
    let running = scene.blobs(1).await;
    let backup = fs::read(&journal).unwrap();
    put(&running, 2, "lost").await.unwrap();
    let etag = running.head(&name(&running, 2)).await.unwrap().etag;
    fs::write(&journal, &backup).unwrap();
    assert_eq!(bytes_of(&running, 2).await, None);
    put(&running, 2, "new").await.unwrap();
    for blobs in [&running, &scene.blobs(1).await] {
        assert_eq!(bytes_of(blobs, 1).await.unwrap(), "old");
        assert_eq!(bytes_of(blobs, 2).await.unwrap(), "new");
        let anew = blobs.head(&name(blobs, 2)).await.unwrap().etag;
        assert_ne!(anew, etag, "a state that is told apart by its etag");
    }
}

/// Nothing but its last frame tells that it is another.
#[tokio::test]
async fn a_journal_that_was_cut_and_written_on_to_the_same_length_is_read_anew() {
    let scene = Scene::new().await;
    let journal = scene.folder.path().join("journal");
    let running = scene.blobs(1).await;
    let backup = fs::read(&journal).unwrap();
    put(&running, 2, "lost").await.unwrap();
    let length = fs::metadata(&journal).unwrap().len();
    fs::write(&journal, &backup).unwrap();
    put(&scene.blobs(1).await, 3, "new!").await.unwrap();
    assert_eq!(fs::metadata(&journal).unwrap().len(), length);
    assert_eq!(bytes_of(&running, 2).await, None);
    assert_eq!(bytes_of(&running, 3).await.unwrap(), "new!");
    put(&running, 4, "more").await.unwrap();
    for blobs in [&running, &scene.blobs(1).await] {
        let found = [bytes_of(blobs, 3).await, bytes_of(blobs, 4).await];
        assert_eq!(found, ["new!", "more"].map(|bytes| Some(bytes.into())));
    }
}

/// A frame that a disk has altered was answered for, and its etags were told.
#[tokio::test]
async fn etags_of_what_was_cut_off_do_not_come_again() {
    for by_the_next in [false, true] {
        let scene = Scene::new().await;
        let journal = scene.folder.path().join("journal");
        let lost = {
            let blobs = scene.blobs(1).await;
            put(&blobs, 2, "lost").await.unwrap();
            blobs.head(&name(&blobs, 2)).await.unwrap().etag
        };
        let mut bytes = fs::read(&journal).unwrap();
        let end = bytes.len() - 1;
        bytes[end] ^= 1;
        fs::write(&journal, &bytes).unwrap();
        let mut blobs = scene.blobs(1).await;
        assert_eq!(bytes_of(&blobs, 2).await, None);
        if by_the_next {
            blobs = scene.blobs(1).await;
        }
        for number in 2..6 {
            put(&blobs, number, "new").await.unwrap();
            let anew = blobs.head(&name(&blobs, number)).await.unwrap().etag;
            assert_ne!(anew, lost, "a state that is told apart by its etag");
        }
    }
}

/// What has happened does not happen again, as the end of a hold would.
#[tokio::test]
async fn a_frame_that_comes_again_is_damage() {
    let scene = Scene::new().await;
    let journal = scene.folder.path().join("journal");
    let header = fs::read(&journal).unwrap().len();
    put(&scene.blobs(1).await, 2, "new").await.unwrap();
    let before = fs::read(&journal).unwrap();
    put(&scene.blobs(1).await, 3, "newer").await.unwrap();
    let mut bytes = fs::read(&journal).unwrap();
    bytes.extend_from_slice(&before[header..]);
    fs::write(&journal, &bytes).unwrap();
    let opened = FsBlobs::open(FsSettings::new(scene.folder.path())).await;
    assert_eq!(opened.err().map(|it| it.kind()), Some(ErrorKind::Corrupt));
}

/// All frames of a shorter journal have one revision, and none behind them has it.
#[tokio::test]
async fn a_part_of_a_shorter_journal_that_comes_again_is_damage() {
    let scene = Scene::new().await;
    let journal = scene.folder.path().join("journal");
    let blobs = scene.blobs(1).await;
    compact_now(&blobs).await;
    let header = "tenantry-blobs 1\r\n".len();
    let short = fs::read(&journal).unwrap();
    put(&blobs, 2, "new").await.unwrap();
    let mut bytes = fs::read(&journal).unwrap();
    bytes.extend_from_slice(&short[header..]);
    fs::write(&journal, &bytes).unwrap();
    let opened = FsBlobs::open(FsSettings::new(scene.folder.path())).await;
    assert_eq!(opened.err().map(|it| it.kind()), Some(ErrorKind::Corrupt));
    // Nor is it taken by a process that runs.
    assert_eq!(
        put(&blobs, 3, "new").await.unwrap_err().kind(),
        ErrorKind::Corrupt
    );
}

/// Locked blobs are not forgotten for a file that somebody has removed.
#[tokio::test]
async fn a_lost_journal_beside_bytes_is_no_new_store() {
    let scene = Scene::new().await;
    let running = scene.blobs(1).await;
    fs::remove_file(scene.folder.path().join("journal")).unwrap();
    let opened = FsBlobs::open(FsSettings::new(scene.folder.path())).await;
    assert_eq!(opened.err().map(|it| it.kind()), Some(ErrorKind::Corrupt));
    assert!(running.head(&name(&running, 1)).await.is_err());
    // Nor beside bytes that have not come into their place.
    fs::remove_dir_all(scene.folder.path().join("blobs")).unwrap();
    fs::write(scene.folder.path().join("incoming/bytes"), "new").unwrap();
    let opened = FsBlobs::open(FsSettings::new(scene.folder.path())).await;
    assert_eq!(opened.err().map(|it| it.kind()), Some(ErrorKind::Corrupt));
}

/// All of it was on the disk before it took the place of the longer one: nothing of it is what a crash has torn.
#[tokio::test]
async fn a_shorter_journal_that_is_damaged_anywhere_is_no_shorter_store() {
    let scene = Scene::new().await;
    let journal = scene.folder.path().join("journal");
    let blobs = scene.blobs(1).await;
    compact_now(&blobs).await;
    let whole = fs::read(&journal).unwrap();
    let header = "tenantry-blobs 1\r\n".len();
    let refused = async |altered: &[u8], how: String| {
        fs::write(&journal, altered).unwrap();
        let error = open_in(scene.folder.path(), clock(), None)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{how}: {error:?}");
        assert!(fs::read(&journal).unwrap() == altered, "{how}: it is left");
    };
    for at in (header..whole.len()).step_by(13) {
        let mut altered = whole.clone();
        altered[at] ^= 0x20;
        refused(&altered, format!("altered at {at}")).await;
        refused(&whole[..at], format!("cut at {at}")).await;
    }
    fs::write(&journal, &whole).unwrap();
    assert_eq!(bytes_of(&scene.blobs(1).await, 1).await.unwrap(), "old");
}
