//! An object store whose objects are called as their user likes, around one that gives the names itself.
//!
//! The suite of `object_store` calls objects as it likes. Here its names are written down beside ours; all
//! that is done to an object is done by the store inside. Lists are read from it as well, and put under
//! the names of the suite.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use parking_lot::Mutex;
use tenantry_blob::{BlobKind, TenantObjectStore};

#[derive(Debug, Clone)]
pub(crate) struct Named {
    inner: TenantObjectStore,
    /// Ours by theirs; a name stays when its object is gone.
    names: Arc<Mutex<BTreeMap<Path, Path>>>,
}

impl Named {
    pub(crate) fn new(inner: TenantObjectStore) -> Self {
        Self {
            inner,
            names: Arc::default(),
        }
    }

    fn ours(&self, theirs: &Path) -> Path {
        let free = || self.inner.path(&BlobKind::new("suite").unwrap()).unwrap();
        self.names
            .lock()
            .entry(theirs.clone())
            .or_insert_with(free)
            .clone()
    }

    fn theirs(&self, ours: &Path) -> Path {
        let names = self.names.lock();
        let found = names.iter().find(|(_, it)| *it == ours);
        found.map(|(theirs, _)| theirs.clone()).unwrap()
    }

    fn renamed(&self, meta: ObjectMeta) -> ObjectMeta {
        ObjectMeta {
            location: self.theirs(&meta.location),
            ..meta
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Named {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner
            .put_opts(&self.ours(location), payload, options)
            .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner
            .put_multipart_opts(&self.ours(location), options)
            .await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let got = self.inner.get_opts(&self.ours(location), options).await?;
        Ok(GetResult {
            meta: self.renamed(got.meta.clone()),
            ..got
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (to, back) = (self.clone(), self.clone());
        let ours = locations.map_ok(move |path| to.ours(&path)).boxed();
        self.inner
            .delete_stream(ours)
            .map_ok(move |path| back.theirs(&path))
            .map_err({
                let names = self.clone();
                move |error| match error {
                    object_store::Error::NotFound { path, source } => {
                        let theirs = names.theirs(&Path::from(path)).to_string();
                        object_store::Error::NotFound {
                            path: theirs,
                            source,
                        }
                    }
                    other => other,
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (names, prefix) = (self.clone(), prefix.cloned().unwrap_or_default());
        let all = self.inner.list(None).try_collect::<Vec<_>>();
        let listed = stream::once(async move {
            let mut metas: Vec<_> = all.await?.into_iter().map(|it| names.renamed(it)).collect();
            metas.sort_by(|one, other| one.location.cmp(&other.location));
            metas.retain(|meta| {
                let rest = meta.location.prefix_match(&prefix);
                rest.is_some_and(|mut rest| rest.next().is_some())
            });
            Ok::<_, object_store::Error>(stream::iter(metas).map(Ok))
        });
        listed.try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let depth = prefix.map_or(0, |prefix| prefix.parts().count());
        let (mut prefixes, mut objects) = (BTreeSet::new(), Vec::new());
        for meta in self.list(prefix).try_collect::<Vec<_>>().await? {
            if meta.location.parts().count() > depth + 1 {
                prefixes.insert(meta.location.parts().take(depth + 1).collect());
            } else {
                objects.push(meta);
            }
        }
        Ok(ListResult {
            common_prefixes: prefixes.into_iter().collect(),
            objects,
            extensions: Default::default(),
        })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner
            .copy_opts(&self.ours(from), &self.ours(to), options)
            .await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner
            .rename_opts(&self.ours(from), &self.ours(to), options)
            .await
    }
}
