//! The blobs of one tenant as an `object_store::ObjectStore`, for those who read and write by that.

mod attributes;
mod multipart;
mod path;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use ::object_store::path::Path;
use ::object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions as StorePutOptions, PutPayload, PutResult, RenameOptions,
    Result as StoreResult, coalesce_ranges,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tenantry_core::{Error, ErrorKind, Result};

use self::attributes::{attributes_of, options_of};
use self::multipart::Upload;
use self::path::{existing, listing, path_of};
use crate::name::{BlobKind, BlobName};
use crate::record::BlobRecord;
use crate::store::{BlobReader, PutOptions, TenantBlobs, not_found, outside};

const STORE: &str = "tenantry";
const IMPLEMENTER: &str = "TenantObjectStore";
/// How many deletions are on their way at once.
const DELETIONS: usize = 10;

/// The blobs of one tenant as an [`ObjectStore`], for DataFusion and others who read by that.
///
/// # Paths
///
/// A path is what stands behind the tenant in a name: `<kind>/<yyyy>/<mm>/<id>`. Names are never chosen
/// by a user, so a path to put to comes from [`path`](Self::path); another is refused with
/// [`NotSupported`](StoreError::NotSupported), and under it nothing is found. What chooses names itself,
/// as table formats with a log do, can read here and not write.
///
/// # Isolation
///
/// Every path is taken within the tenant, whatever stands in it: `..`, escapes or another tenant's id
/// make a path under which nothing is found.
///
/// # What differs from other stores
///
/// - Blobs are never replaced: [`PutMode::Overwrite`] puts to a free path, and is
///   [`AlreadyExists`](StoreError::AlreadyExists) at one that is taken; copies the same.
///   [`PutMode::Update`] is [`NotImplemented`](StoreError::NotImplemented).
/// - All are put with the options that were given at the beginning, their retention above all, also
///   copies.
/// - What retention, a lock or a hold keeps is not deleted:
///   [`PermissionDenied`](StoreError::PermissionDenied), with our error as its source. A rename of such a
///   blob is refused before it is copied.
/// - Parts of an upload go on as they come; one that is dropped or aborted leaves nothing. One that is
///   aborted while it is completed is deleted again, and fails to be where a lock keeps it.
/// - A list with a delimiter goes through all that lies under the prefix.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use object_store::{ObjectStore as _, ObjectStoreExt as _};
/// use tenantry_blob::{
///     BlobKind, BlobStore, MemoryBlobs, PutOptions, Retention, TenantObjectStore,
/// };
/// use tenantry_core::{Service, TenantId};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let blobs = BlobStore::new(Arc::new(MemoryBlobs::new())).tenant(TenantId::generate());
/// let options = PutOptions::new(Service::Reporting, Retention::days(365));
/// let store = TenantObjectStore::new(blobs, options);
///
/// let path = store.path(&BlobKind::new("exports")?)?;
/// store.put(&path, "id,total\n".into()).await?;
/// assert_eq!(store.get_range(&path, 3..8).await?, "total");
/// let kinds = store.list_with_delimiter(None).await?.common_prefixes;
/// assert_eq!(kinds, ["exports".into()]);
///
/// let error = store.delete(&path).await.unwrap_err();                      // it is kept for a year
/// assert!(matches!(error, object_store::Error::PermissionDenied { .. }));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TenantObjectStore {
    blobs: TenantBlobs,
    options: PutOptions,
}

impl TenantObjectStore {
    /// Returns the blobs of a tenant; what is put is put with these options, and with what is said of
    /// each beside.
    ///
    /// A length and a digest that the options have are of no effect.
    #[must_use]
    pub fn new(blobs: TenantBlobs, options: PutOptions) -> Self {
        Self {
            blobs,
            options: options.of_any_bytes(),
        }
    }

    /// Returns a path to put to, which no blob has.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the clock shows a year after 9999.
    pub fn path(&self, kind: &BlobKind) -> Result<Path> {
        self.blobs.name(kind).map(|name| path_of(&name))
    }

    /// Returns the path of a blob.
    ///
    /// # Errors
    ///
    /// - [`NotFound`](ErrorKind::NotFound): the name is another tenant's.
    pub fn path_of(&self, name: &BlobName) -> Result<Path> {
        match name.tenant() == self.blobs.tenant() {
            true => Ok(path_of(name)),
            false => Err(not_found("look up blob", name)),
        }
    }

    /// Returns the name that a path is, if it is one.
    #[must_use]
    pub fn name_of(&self, path: &Path) -> Option<BlobName> {
        path::name_of(self.blobs.tenant(), path)
    }

    fn existing(&self, path: &Path) -> StoreResult<BlobName> {
        existing(self.blobs.tenant(), path)
    }

    fn new_name(&self, path: &Path) -> StoreResult<BlobName> {
        path::new(self.blobs.tenant(), path)
    }

    fn records(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        let Some(options) = listing(prefix) else {
            return stream::empty().boxed();
        };
        let (blobs, prefix) = (self.blobs.clone(), prefix.cloned());
        let pages = stream::try_unfold(Some(options), move |options| {
            let blobs = blobs.clone();
            async move {
                let Some(options) = options else {
                    return Ok(None);
                };
                let page = blobs.list(options.clone()).await?;
                let next = page.next.map(|next| options.with_after(next));
                Ok(Some((stream::iter(page.records).map(Ok), next)))
            }
        });
        pages
            .try_flatten()
            .map_ok(|record| meta_of(&record))
            .map_err(|error| told(&Path::default(), error))
            .try_filter(move |meta| std::future::ready(is_under(prefix.as_ref(), &meta.location)))
            .boxed()
    }

    async fn copied(&self, from: &Path, to: &Path) -> StoreResult<()> {
        let (source, target) = (self.existing(from)?, self.new_name(to)?);
        let retention = self.options.retention().clone();
        let copied = self.blobs.copy(&source, &target, retention).await;
        match copied {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(told(to, error)),
            Err(error) => Err(told(from, error)),
        }
    }

    async fn opened(&self, path: &Path, options: &GetOptions) -> StoreResult<Opened> {
        let name = self.existing(path)?;
        let told = |error| told(path, error);
        let is_conditional = options.if_match.is_some()
            || options.if_none_match.is_some()
            || options.if_modified_since.is_some()
            || options.if_unmodified_since.is_some();
        if !is_conditional && !options.head && options.range.is_none() {
            let reader = self.blobs.stream(&name).await.map_err(told)?;
            let range = 0..reader.record().length;
            return Ok(Opened::new(reader, range));
        }
        loop {
            let record = self.blobs.head(&name).await.map_err(told)?;
            options.check_preconditions(&meta_of(&record))?;
            if options.head {
                return Ok(Opened {
                    range: 0..record.length,
                    record,
                    bytes: stream::empty().boxed(),
                });
            }
            let range = match &options.range {
                None => 0..record.length,
                Some(range) => {
                    range
                        .as_range(record.length)
                        .map_err(|cause| StoreError::Generic {
                            store: STORE,
                            source: Box::new(cause),
                        })?
                }
            };
            // The whole is checked by its digest, which a range is not.
            let reader = match range == (0..record.length) {
                true => self.blobs.stream(&name).await,
                false => self.blobs.stream_range(&name, range.clone()).await,
            };
            let reader = reader.map_err(told)?;
            // What was put anew meanwhile is another state, for which the conditions are asked again.
            if reader.record().etag == record.etag {
                return Ok(Opened::new(reader, range));
            }
        }
    }
}

/// A blob that is read, or a part of it.
struct Opened {
    record: BlobRecord,
    range: Range<u64>,
    bytes: BoxStream<'static, Result<Bytes>>,
}

impl Opened {
    fn new(reader: BlobReader, range: Range<u64>) -> Self {
        Self {
            record: reader.record().clone(),
            range,
            bytes: reader.boxed(),
        }
    }
}

#[async_trait]
impl ObjectStore for TenantObjectStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: StorePutOptions,
    ) -> StoreResult<PutResult> {
        if matches!(opts.mode, PutMode::Update(_)) {
            return Err(StoreError::NotImplemented {
                operation: "put that replaces a version: blobs are never replaced".to_owned(),
                implementer: IMPLEMENTER.to_owned(),
            });
        }
        let name = self.new_name(location)?;
        let told = |error| told(location, error);
        let options = options_of(&self.options, &opts.attributes, &opts.tags)?.map_err(told)?;
        let length = u64::try_from(payload.content_length()).unwrap_or(u64::MAX);
        let body = stream::iter(payload).map(Ok::<_, Error>);
        let put = self.blobs.put(&name, options.with_length(length), body);
        let stored = put.await.map_err(told)?;
        Ok(put_result(&stored.record))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        let name = self.new_name(location)?;
        let options = options_of(&self.options, &opts.attributes, &opts.tags)?;
        let options = options.map_err(|error| told(location, error))?;
        let upload = Upload::begin(self.blobs.clone(), location.clone(), name, options);
        Ok(Box::new(upload))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        if options.version.is_some() {
            return Err(StoreError::NotImplemented {
                operation: "get of a version: a blob has one".to_owned(),
                implementer: IMPLEMENTER.to_owned(),
            });
        }
        let Opened {
            record,
            range,
            bytes,
        } = self.opened(location, &options).await?;
        let path = location.clone();
        Ok(GetResult {
            meta: meta_of(&record),
            attributes: attributes_of(&record),
            payload: GetResultPayload::Stream(
                bytes.map_err(move |error| told(&path, error)).boxed(),
            ),
            range,
            extensions: Default::default(),
        })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        let name = &self.existing(location)?;
        // They are joined before one is read, and that of one which ends before it begins is no length.
        if ranges.iter().any(|range| range.start > range.end) {
            return Err(told(location, outside(name)));
        }
        let read = |range| async move {
            let read = self.blobs.range(name, range).await;
            read.map_err(|error| told(location, error))
        };
        coalesce_ranges(ranges, read, OBJECT_STORE_COALESCE_DEFAULT).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        let store = self.clone();
        locations
            .map(move |location| {
                let store = store.clone();
                async move {
                    let location = location?;
                    let name = store.existing(&location)?;
                    match store.blobs.delete(&name).await {
                        Ok(()) => Ok(location),
                        Err(error) => Err(told(&location, error)),
                    }
                }
            })
            .buffered(DELETIONS)
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.records(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        let depth = prefix.map_or(0, |prefix| prefix.parts().count());
        let (mut prefixes, mut objects) = (BTreeSet::new(), Vec::new());
        let mut records = self.records(prefix);
        while let Some(meta) = records.try_next().await? {
            match meta.location.parts().count() > depth + 1 {
                true => drop(prefixes.insert(meta.location.parts().take(depth + 1).collect())),
                false => objects.push(meta),
            }
        }
        Ok(ListResult {
            common_prefixes: prefixes.into_iter().collect(),
            objects,
            extensions: Default::default(),
        })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, _options: CopyOptions) -> StoreResult<()> {
        // Whichever mode it is: nothing is ever replaced.
        self.copied(from, to).await
    }

    async fn rename_opts(
        &self,
        from: &Path,
        to: &Path,
        _options: RenameOptions,
    ) -> StoreResult<()> {
        let source = self.existing(from)?;
        let told = |error| told(from, error);
        // What cannot go is not copied either.
        self.blobs.check_deletable(&source).await.map_err(told)?;
        self.copied(from, to).await?;
        self.blobs.delete(&source).await.map_err(told)
    }
}

impl fmt::Display for TenantObjectStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{IMPLEMENTER}({})", self.blobs.tenant())
    }
}

fn meta_of(record: &BlobRecord) -> ObjectMeta {
    ObjectMeta {
        location: path_of(&record.name),
        last_modified: record.created_at,
        size: record.length,
        e_tag: Some(record.etag.to_string()),
        version: None,
    }
}

fn put_result(record: &BlobRecord) -> PutResult {
    PutResult {
        e_tag: Some(record.etag.to_string()),
        version: None,
        extensions: Default::default(),
    }
}

fn is_under(prefix: Option<&Path>, path: &Path) -> bool {
    prefix.is_none_or(|prefix| {
        let rest = path.prefix_match(prefix);
        rest.is_some_and(|mut rest| rest.next().is_some())
    })
}

/// Tells of an error in the words of an object store, with ours as its source.
fn told(path: &Path, error: Error) -> StoreError {
    let path = path.to_string();
    let kind = error.kind();
    let source = Box::new(error);
    match kind {
        ErrorKind::NotFound => StoreError::NotFound { path, source },
        ErrorKind::AlreadyExists => StoreError::AlreadyExists { path, source },
        ErrorKind::Retained | ErrorKind::PermissionDenied | ErrorKind::KeyUnavailable => {
            StoreError::PermissionDenied { path, source }
        }
        ErrorKind::AuthenticationFailed => StoreError::Unauthenticated { path, source },
        ErrorKind::Conflict => StoreError::Precondition { path, source },
        ErrorKind::Unsupported => StoreError::NotSupported { source },
        _ => StoreError::Generic {
            store: STORE,
            source,
        },
    }
}
