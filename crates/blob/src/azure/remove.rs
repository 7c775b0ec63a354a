//! Deleting blobs.

use std::collections::HashSet;
use std::sync::Arc;

use azure_storage_blob::models::{BlobClientDeleteOptions, DeleteSnapshotsOptionType};
use futures_util::{StreamExt as _, stream};
use tenantry_core::{Error, ErrorKind, Result};

use super::document::{Policy, Seen, Told, quoted};
use super::refusal::Refusal;
use super::retry::Lost;
use super::{Inner, apart, retain, watched};
use crate::backend::{Deletion, shelf};
use crate::name::BlobName;
use crate::retention::LockMode;
use crate::store::about;

/// How many blobs are deleted at a time.
const AT_ONCE: usize = 16;

pub(super) async fn delete(inner: &Arc<Inner>, deletions: &[Deletion]) -> Vec<Result<()>> {
    let mut seen = HashSet::new();
    // A name that comes again is for later: the first has to be answered first.
    let (once, again): (Vec<_>, Vec<_>) = deletions
        .iter()
        .enumerate()
        .partition(|(_, deletion)| seen.insert(&deletion.name));
    let mut work: Vec<_> = Vec::with_capacity(once.len());
    for (at, deletion) in once {
        work.push(answered(inner, at, deletion));
    }
    let mut answers: Vec<_> = stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
    for (at, deletion) in again {
        answers.push(answered(inner, at, deletion).await);
    }
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

async fn answered(inner: &Arc<Inner>, at: usize, deletion: &Deletion) -> (usize, Result<()>) {
    let name = &deletion.name;
    let work = delete_one(Arc::clone(inner), deletion.clone());
    (at, apart(shelf::DELETE, name, work).await)
}

/// Deletes a blob; where an act ends its unlocked lock, nothing keeps it between two requests, so nobody may
/// break off there.
async fn delete_one(inner: Arc<Inner>, deletion: Deletion) -> Result<()> {
    let name = &deletion.name;
    let _turn = inner.turn(shelf::DELETE, name).await?;
    let seen = inner.look(shelf::DELETE, name).await?;
    shelf::check_deletion(&seen.record, &deletion, &inner.clock)?;
    let now = inner.now();
    let is_to_end = |policy: Policy| policy.mode == LockMode::Unlocked && policy.until > now;
    match seen.told.policy.is_some_and(is_to_end) {
        true => remove_unlocked(&inner, &seen).await,
        false => remove(&inner, name, &seen.told).await,
    }
}

/// Takes an unlocked lock off a blob and deletes it; where that fails, the lock is set again.
async fn remove_unlocked(inner: &Inner, seen: &Seen) -> Result<()> {
    let name = &seen.record.name;
    let taken_off = inner.blob(name).delete_immutability_policy(None).await;
    let removed = match taken_off.map_err(|error| inner.refused(shelf::DELETE, name, &error)) {
        Ok(_) => remove(inner, name, &seen.told).await,
        Err(error) => Err(error),
    };
    match removed {
        Ok(()) => Ok(()),
        Err(error) => Err(retain::set_again(inner, shelf::DELETE, (seen, None), error).await),
    }
}

/// Deletes a blob in the state in which it was seen.
pub(super) async fn remove(inner: &Inner, name: &BlobName, told: &Told) -> Result<()> {
    let lost = Lost::default();
    let options = BlobClientDeleteOptions {
        // What others have taken of it would be left otherwise, and keep it from being deleted.
        delete_snapshots: Some(DeleteSnapshotsOptionType::Include),
        if_match: Some(quoted(told).into()),
        method_options: watched(&lost),
        ..BlobClientDeleteOptions::default()
    };
    let answer = inner.blob(name).delete(Some(options)).await;
    match answer.map_err(|error| inner.refused(shelf::DELETE, name, &error)) {
        Ok(_) => {}
        Err(error) if lost.is_set() => match inner.look(shelf::DELETE, name).await {
            // An earlier try of this request has deleted it.
            Err(seen) if seen.kind() == ErrorKind::NotFound => {}
            _ => return Err(error),
        },
        Err(error) => return Err(error),
    }
    match &told.version {
        Some(version) => remove_version(inner, name, version).await,
        None => Ok(()),
    }
}

/// Where versions are kept, what was deleted is there still, as a version.
async fn remove_version(inner: &Inner, name: &BlobName, version: &str) -> Result<()> {
    let options = BlobClientDeleteOptions {
        version_id: Some(version.to_owned()),
        ..BlobClientDeleteOptions::default()
    };
    match inner.blob(name).delete(Some(options)).await {
        Ok(_) => Ok(()),
        Err(error) if Refusal::of(&error).status() == Some(404) => Ok(()),
        Err(error) => {
            let cause = inner.refused(shelf::DELETE, name, &error);
            // No list shows it any longer: whoever looks again would take it for gone.
            let kind = match cause.kind() {
                ErrorKind::Conflict => ErrorKind::Retained,
                kind => kind,
            };
            Err(about(Error::new(kind, shelf::DELETE), name)
                .with_detail("it is deleted, and a version of it is still there: delete that")
                .with_source(cause))
        }
    }
}
