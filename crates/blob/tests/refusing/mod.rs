//! A backend around another that refuses what a test says, before it is done or after.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tenantry_blob::{
    BackendPage, BlobBackend, BlobEncryption, BlobName, BlobPrefix, BlobRead, BlobRecord,
    BlobUpload, Deletion, ETag, ListedBlob, ListedDue, NewBlob, RehydratePriority, RetentionAct,
    RetentionState, SignedUrl, Tier,
};
use tenantry_core::{Error, ErrorKind, Result, TenantId};

/// What is asked of a blob; the last is a deletion that has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Head,
    Tier,
    Delete,
    Deleted,
}

/// What lists answer in place of what they should.
#[allow(dead_code, reason = "each test file uses a part of it")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lists {
    /// So many, and then a failure.
    FailAfter(usize),
    /// A page that leads to itself.
    NeverEnd,
    /// What this tenant has.
    Of(TenantId),
}

type Refusal = dyn Fn(Call, &BlobName) -> Option<ErrorKind> + Send + Sync;

pub(crate) struct Refusing {
    inner: Arc<dyn BlobBackend>,
    refusal: Mutex<Option<Box<Refusal>>>,
    calls: Mutex<Vec<Call>>,
    /// What happens between a list of what is due and the acts that rest on it.
    behind_list: Mutex<Option<BoxFuture<'static, ()>>>,
    /// Whether locks are taken and not kept.
    ignores_locks: AtomicBool,
    lists: Mutex<Option<Lists>>,
    /// How long blobs are said to be.
    length: Mutex<Option<u64>>,
}

#[allow(dead_code, reason = "each test file uses a part of it")]
impl Refusing {
    pub(crate) fn around(inner: impl BlobBackend + 'static) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::new(inner),
            refusal: Mutex::default(),
            calls: Mutex::default(),
            behind_list: Mutex::default(),
            ignores_locks: AtomicBool::new(false),
            lists: Mutex::default(),
            length: Mutex::default(),
        })
    }

    pub(crate) fn refuse(
        &self,
        refusal: impl Fn(Call, &BlobName) -> Option<ErrorKind> + Send + Sync + 'static,
    ) {
        *self.refusal.lock() = Some(Box::new(refusal));
    }

    pub(crate) fn refuse_nothing(&self) {
        *self.refusal.lock() = None;
    }

    pub(crate) fn answer_lists(&self, lists: Option<Lists>) {
        *self.lists.lock() = lists;
    }

    pub(crate) fn tell_length(&self, length: u64) {
        *self.length.lock() = Some(length);
    }

    pub(crate) fn ignore_locks(&self) {
        self.ignores_locks.store(true, Ordering::Relaxed);
    }

    pub(crate) fn behind_next_list(&self, then: impl Future<Output = ()> + Send + 'static) {
        *self.behind_list.lock() = Some(Box::pin(then));
    }

    /// Returns what was asked since it was last asked for that.
    pub(crate) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock())
    }

    fn check(&self, call: Call, name: &BlobName) -> Result<()> {
        self.calls.lock().push(call);
        let refusal = self.refusal.lock();
        match refusal.as_ref().and_then(|refusal| refusal(call, name)) {
            Some(kind) => Err(Error::new(kind, "call backend").with_subject(name.to_string())),
            None => Ok(()),
        }
    }

    fn told(&self, record: BlobRecord) -> BlobRecord {
        let length = self.length.lock().unwrap_or(record.length);
        BlobRecord { length, ..record }
    }
}

async fn again<T>() -> BackendPage<T> {
    tokio::task::yield_now().await;
    BackendPage {
        items: Vec::new(),
        next: Some("again".to_owned()),
    }
}

impl fmt::Debug for Refusing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Refusing").field(&self.inner).finish()
    }
}

#[async_trait]
impl BlobBackend for Refusing {
    fn system(&self) -> &'static str {
        self.inner.system()
    }

    fn now(&self) -> DateTime<Utc> {
        self.inner.now()
    }

    fn check_clock(&self, operation: &'static str) -> Result<()> {
        self.inner.check_clock(operation)
    }

    fn block_length(&self, length: Option<u64>) -> usize {
        self.inner.block_length(length)
    }

    fn takes_whole_blocks(&self) -> bool {
        self.inner.takes_whole_blocks()
    }

    async fn keeps_deleted_for(&self) -> Result<Option<Duration>> {
        self.inner.keeps_deleted_for().await
    }

    async fn create(&self, mut blob: NewBlob) -> Result<Box<dyn BlobUpload>> {
        if self.ignores_locks.load(Ordering::Relaxed) {
            blob.retention.lock = None;
        }
        self.inner.create(blob).await
    }

    async fn head(&self, name: &BlobName) -> Result<BlobRecord> {
        self.check(Call::Head, name)?;
        Ok(self.told(self.inner.head(name).await?))
    }

    async fn read(&self, name: &BlobName, range: Option<Range<u64>>) -> Result<BlobRead> {
        self.inner.read(name, range).await
    }

    async fn list(
        &self,
        prefix: &BlobPrefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<BlobRecord>> {
        let lists = *self.lists.lock();
        let foreign = match lists {
            Some(Lists::FailAfter(0)) => {
                return Err(Error::new(ErrorKind::Unavailable, "list blobs"));
            }
            Some(Lists::FailAfter(lists)) => {
                self.answer_lists(Some(Lists::FailAfter(lists - 1)));
                None
            }
            Some(Lists::NeverEnd) => return Ok(again().await),
            Some(Lists::Of(tenant)) => Some(BlobPrefix::of(tenant)),
            None => None,
        };
        let prefix = foreign.as_ref().unwrap_or(prefix);
        let page = self.inner.list(prefix, after, limit).await?;
        let items = page.items.into_iter().map(|record| self.told(record));
        Ok(BackendPage {
            items: items.collect(),
            next: page.next,
        })
    }

    async fn list_each(
        &self,
        prefix: &BlobPrefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<ListedBlob>> {
        self.list(prefix, after, limit).await.map(Into::into)
    }

    async fn check(&self) -> Result<()> {
        let nobody = BlobPrefix::of(TenantId::generate());
        BlobBackend::list(self, &nobody, None, 1).await.map(drop)
    }

    async fn forget_deleted(&self, tenant: TenantId) -> Result<()> {
        self.inner.forget_deleted(tenant).await
    }

    async fn due(
        &self,
        at: DateTime<Utc>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<BackendPage<ListedDue>> {
        if *self.lists.lock() == Some(Lists::NeverEnd) {
            return Ok(again().await);
        }
        let page = self.inner.due(at, after, limit).await;
        let then = self.behind_list.lock().take();
        if let Some(then) = then {
            then.await;
        }
        page
    }

    async fn delete(&self, deletions: &[Deletion]) -> Vec<Result<()>> {
        let mut answers = Vec::new();
        for deletion in deletions {
            answers.push(match self.check(Call::Delete, &deletion.name) {
                Ok(()) => {
                    let one = std::slice::from_ref(deletion);
                    let answer = self.inner.delete(one).await.remove(0);
                    answer.and_then(|()| self.check(Call::Deleted, &deletion.name))
                }
                refused => refused,
            });
        }
        answers
    }

    async fn set_retention(
        &self,
        name: &BlobName,
        etag: &ETag,
        next: &RetentionState,
        act: &RetentionAct,
    ) -> Result<BlobRecord> {
        self.inner.set_retention(name, etag, next, act).await
    }

    async fn set_tier(
        &self,
        name: &BlobName,
        etag: &ETag,
        tier: Tier,
        priority: RehydratePriority,
    ) -> Result<BlobRecord> {
        self.check(Call::Tier, name)?;
        self.inner.set_tier(name, etag, tier, priority).await
    }

    async fn set_encryption(
        &self,
        name: &BlobName,
        etag: &ETag,
        next: &BlobEncryption,
    ) -> Result<BlobRecord> {
        self.inner.set_encryption(name, etag, next).await
    }

    async fn signed_url(&self, name: &BlobName, valid_for: Duration) -> Result<SignedUrl> {
        self.inner.signed_url(name, valid_for).await
    }
}
