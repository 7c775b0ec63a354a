//! Lists of blobs: those of a tenant, and those of all tenants for which something is due.

use std::fmt;

use azure_core::http::Context;
use azure_core::http::pager::{PagerContinuation, PagerOptions};
use azure_storage_blob::models::{
    BlobContainerClientListBlobsOptions, BlobItem, BlobServiceClientListContainersOptions,
    ListBlobsIncludeItem,
};
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use tenantry_core::{Error, ErrorKind, Result};
use tokio::time::timeout_at;

use super::Inner;
use super::answer::Longest;
use super::document::Told;
use super::refusal::Refusal;
use super::retry::after;
use super::settings::Layout;
use crate::backend::{BackendPage, DueBlob, ListedBlob, ListedDue};
use crate::name::BlobPrefix;
use crate::record::BlobRecord;
use crate::store::{check_progress, invalid_cursor};

const LIST: &str = "list blobs";
const DUE: &str = "list due blobs";
/// How many blobs the service lists at most in an answer.
const MOST: usize = 5_000;
/// How many of them a look for what is due reads at a time: with what the client makes of each that is 10 KiB, and the
/// service that sweeps has much else in memory.
const READ_FOR_DUE: usize = 1_000;
/// How long a blob can be in a list: 8 KiB of metadata, each byte of which may be written as six.
const ITEM: usize = 64 * 1024;
/// How long a container can be in a list, in which its metadata do not stand.
const CONTAINER: usize = 4 * 1024;
/// After so many lists without anything due the caller has its turn.
const LISTS: usize = 100;

pub(super) async fn list(
    inner: &Inner,
    prefix: &BlobPrefix,
    after: Option<&str>,
    limit: usize,
) -> Result<BackendPage<BlobRecord>> {
    let page = list_each(inner, prefix, after, limit).await?;
    let records = page.items.into_iter().map(|listed| listed.record);
    Ok(BackendPage {
        items: records.collect::<Result<_>>()?,
        next: page.next,
    })
}

pub(super) async fn list_each(
    inner: &Inner,
    prefix: &BlobPrefix,
    after: Option<&str>,
    limit: usize,
) -> Result<BackendPage<ListedBlob>> {
    let (container, begin) = inner.settings.layout.place_of_prefix(prefix);
    let page = listed(inner, LIST, &container, begin, after, limit).await?;
    let items = page.items.into_iter();
    Ok(BackendPage {
        items: items
            .filter_map(|item| blob_of(inner, &container, item))
            // Who ignores the prefix tells of the blobs of other tenants.
            .filter(|listed| prefix.includes(&listed.name))
            .collect(),
        next: page.next,
    })
}

/// Looks through all blobs, in the order of their names.
///
/// The index over tags would tell of those that are due alone; but it is late, is missing where there
/// are directories, and has to be written with every change under a right of its own. A list is neither.
pub(super) async fn due(
    inner: &Inner,
    at: DateTime<Utc>,
    after: Option<&str>,
    limit: usize,
) -> Result<BackendPage<ListedDue>> {
    let mut cursor = match after {
        None => None,
        Some(text) => Some(Cursor::parse(text).ok_or_else(|| invalid_cursor(DUE))?),
    };
    let mut containers = containers(inner, cursor.as_ref()).await?.into_iter();
    let mut container = containers.next();
    let mut items = Vec::new();
    for _ in 0..LISTS {
        let Some(current) = container.clone() else {
            return Ok(BackendPage { items, next: None });
        };
        let at_it = cursor.take().filter(|it| it.container == current);
        let (marker, mut last) = at_it.map_or((None, String::new()), |it| (it.marker, it.after));
        let page = listed(inner, DUE, &current, "", marker.as_deref(), READ_FOR_DUE).await?;
        for item in page.items {
            let blob = item.name.clone().unwrap_or_default();
            if blob <= last {
                continue;
            }
            // What nobody of us put is nobody's to delete.
            let Some(ListedBlob { name, record }) = blob_of(inner, &current, item) else {
                continue;
            };
            let Some(due) = record.map(|record| DueBlob::of(&record, at)).transpose() else {
                continue;
            };
            if items.len() == limit {
                // The same list again, from behind the last of them on.
                let next = Cursor {
                    container: current,
                    after: last,
                    marker,
                };
                return Ok(BackendPage {
                    items,
                    next: Some(next.to_string()),
                });
            }
            items.push(ListedDue { name, due });
            last = blob;
        }
        cursor = match page.next {
            Some(marker) => Some(Cursor {
                container: current,
                after: String::new(),
                marker: Some(marker),
            }),
            None => {
                container = containers.next();
                container.clone().map(|container| Cursor {
                    container,
                    after: String::new(),
                    marker: None,
                })
            }
        };
        if !items.is_empty() {
            break;
        }
    }
    Ok(BackendPage {
        items,
        next: cursor.map(|cursor| cursor.to_string()),
    })
}

/// Where a look for what is due goes on: behind a blob in the list of a container from a marker on.
#[derive(Debug)]
struct Cursor {
    container: String,
    after: String,
    marker: Option<String>,
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("v1>")?.splitn(3, '>');
        let (container, after, marker) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            container: container.to_owned(),
            after: after.to_owned(),
            marker: (!marker.is_empty()).then(|| marker.to_owned()),
        })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let marker = self.marker.as_deref().unwrap_or_default();
        write!(f, "v1>{}>{}>{marker}", self.container, self.after)
    }
}

/// Returns the containers with blobs of tenants in the order of their names, from that of the cursor on.
async fn containers(inner: &Inner, cursor: Option<&Cursor>) -> Result<Vec<String>> {
    let prefix = match &inner.settings.layout.0 {
        Layout::PrefixPerTenant(container) => return Ok(vec![container.clone()]),
        Layout::ContainerPerTenant(prefix) => format!("{prefix}-"),
    };
    let options = BlobServiceClientListContainersOptions {
        prefix: Some(prefix),
        method_options: no_longer_than(MOST * CONTAINER),
        ..BlobServiceClientListContainersOptions::default()
    };
    let refused = |error: azure_core::Error| Refusal::of(&error).told(DUE, "");
    let pages = inner.client.list_containers(Some(options));
    let mut pages = pages.map_err(refused)?.into_pages();
    let mut marker = None;
    let mut names = Vec::new();
    let all = async {
        while let Some(page) = pages.try_next().await.map_err(refused)? {
            for container in page.into_model().map_err(refused)?.container_items {
                let is_ours = |name: &String| inner.settings.layout.tenant_of(name).is_some();
                let is_to_come = |name: &String| cursor.is_none_or(|it| *name >= it.container);
                names.extend(container.name.filter(is_ours).filter(is_to_come));
            }
            marker = goes_on(DUE, "", marker.as_deref(), pages.continuation())?;
        }
        Ok(())
    };
    // The list of a stranger has no end.
    let all = timeout_at(after(inner.settings.deadline), all).await;
    all.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Unavailable, DUE).with_detail(
            "the list of containers takes longer than the deadline: give it more time",
        ))
    })?;
    Ok(names)
}

/// Returns where a list goes on, if it does.
fn goes_on(
    operation: &'static str,
    container: &str,
    marker: Option<&str>,
    next: Option<&PagerContinuation>,
) -> Result<Option<String>> {
    let next = match next {
        Some(PagerContinuation::Token(next)) => Some(next.as_str()),
        _ => None,
    };
    check_progress(operation, marker, next)
        .map_err(|error| error.with_subject(container.to_owned()))?;
    Ok(next.map(str::to_owned))
}

/// Bounds the answers with the pages of a list.
fn no_longer_than(length: usize) -> PagerOptions<'static> {
    PagerOptions {
        context: Context::new().with_value(Longest(length)),
        ..PagerOptions::default()
    }
}

/// Returns a page of the list of a container: of one that is not there, an empty one.
async fn listed(
    inner: &Inner,
    operation: &'static str,
    container: &str,
    begin: &str,
    marker: Option<&str>,
    limit: usize,
) -> Result<BackendPage<BlobItem>> {
    let limit = limit.min(MOST);
    let refused = |error: azure_core::Error| match Refusal::of(&error).code() {
        "OutOfRangeInput" | "InvalidQueryParameterValue" if marker.is_some() => {
            invalid_cursor(operation)
        }
        _ => Refusal::of(&error).told(operation, container),
    };
    let options = BlobContainerClientListBlobsOptions {
        include: Some(vec![
            ListBlobsIncludeItem::Metadata,
            ListBlobsIncludeItem::ImmutabilityPolicy,
            ListBlobsIncludeItem::LegalHold,
        ]),
        marker: marker.map(str::to_owned),
        maxresults: i32::try_from(limit).ok(),
        method_options: no_longer_than((limit + 1) * ITEM),
        prefix: (!begin.is_empty()).then(|| begin.to_owned()),
        ..BlobContainerClientListBlobsOptions::default()
    };
    let pages = inner.container(container).list_blobs(Some(options));
    let mut pages = pages.map_err(refused)?.into_pages();
    let page = match pages.try_next().await {
        Ok(page) => page,
        Err(error) if Refusal::of(&error).code() == "ContainerNotFound" => None,
        Err(error) => return Err(refused(error)),
    };
    let Some(page) = page else {
        return Ok(BackendPage {
            items: Vec::new(),
            next: None,
        });
    };
    let next = goes_on(operation, container, marker, pages.continuation())?;
    Ok(BackendPage {
        items: page.into_model().map_err(refused)?.blob_items,
        next,
    })
}

/// Reads an item of a list; what has no name of ours is none of ours.
fn blob_of(inner: &Inner, container: &str, item: BlobItem) -> Option<ListedBlob> {
    let name = inner
        .settings
        .layout
        .name_at(container, item.name.as_deref()?)?;
    let metadata = item.metadata.and_then(|it| it.values).unwrap_or_default();
    let told = Told::of_list(item.properties.unwrap_or_default(), metadata);
    let record = told.read(&name).map(|seen| seen.record);
    Some(ListedBlob { name, record })
}
