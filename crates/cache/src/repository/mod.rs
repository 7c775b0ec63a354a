//! Repositories of a store, with a cache in front.

mod cached;
mod record;
mod replay;
mod row;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::RwLock;
use tenantry_core::{Error, ErrorKind, Result};
use tenantry_store::{
    Aggregate, ChangedRow, CommitListener, CommitOutcome, CommittedChanges, PlatformStore,
    Repository, SqlRepository, TenantScope, TenantStore,
};

pub use self::cached::CachedRepository;
pub use self::record::{INVALIDATIONS_POSTGRES, INVALIDATIONS_SQLITE};
use self::record::{InvalidationRecord, Recorder};
use self::replay::Acknowledged;
pub use self::replay::Replay;
use self::row::{KeptPage, KeptRow, schema_of};

use crate::shared::Invalidation;
use crate::{Cache, CacheCounts, CacheKind, CachePolicy, ConsistencyChecker, TenantCache};

/// How many rows of one table end by themselves; where a transaction changes more, all of the table do.
const MOST_ROWS: usize = 1_000;

/// When what a commit without an answer may have changed ends once more.
const UNTIL_LANDED: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(25),
];

/// A store with a cache in front of its repositories; cheap to clone.
///
/// Whatever is committed by the store ends what is kept of it, before the commit returns: by
/// repositories with the cache or without, in units of work, or written by hand. Nothing that was
/// rolled back ends anything, and nothing is kept that was not committed.
///
/// # Examples
///
/// ```
/// use tenantry_cache::{Cache, CachePolicy, CachedStore};
/// use tenantry_core::TenantId;
/// use tenantry_store::{
///     Aggregate, Migrations, Repository as _, RepositoryExt as _, SqliteSettings, TenantStore,
///     Version, sqlite,
/// };
/// use uuid::Uuid;
///
/// #[derive(Debug, Clone, PartialEq, Aggregate)]
/// #[aggregate(table = "invoices")]
/// pub struct Invoice {
///     #[aggregate(id)]
///     pub id: Uuid,
///     pub total_cents: i64,
///     #[aggregate(version)]
///     pub version: Version,
/// }
///
/// const INVOICES: &str = "create table invoices (
///     tenant_id blob not null, id blob not null, total_cents integer not null,
///     version integer not null, primary key (tenant_id, id)
/// ) strict";
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> tenantry_core::Result<()> {
/// let settings = SqliteSettings::temporary();
/// sqlite::migrate(&settings, &Migrations::embedded(&[(1, "invoices", INVOICES)])).await?;
/// let store = TenantStore::sqlite(settings).await?;
///
/// let cached = CachedStore::new(&store, &Cache::builder().build()?)?;         // once, for the service
/// let kept = cached.aggregate::<Invoice>(CachePolicy::default())?;            // once, for the aggregate
///
/// let tenant = store.tenant(TenantId::generate());                            // for each request
/// let invoices = kept.repository(&tenant)?;                                   // a Repository<Invoice>
/// let mut invoice = Invoice { id: Uuid::now_v7(), total_cents: 500, version: Version::NEW };
/// invoices.insert(&mut invoice).await?;
/// assert_eq!(invoices.get(invoice.id).await?.total_cents, 500);               // read once, and kept
///
/// let work = tenant.begin().await?;
/// invoice.total_cents += 100;
/// work.repository().update(&mut invoice).await?;                              // past the cache
/// work.commit().await?;                                                       // ends what is kept
/// assert_eq!(invoices.get(invoice.id).await?.total_cents, 600);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CachedStore {
    store: TenantStore,
    cache: Cache,
    tables: Arc<Tables>,
    acknowledged: Arc<Acknowledged>,
}

/// The tables of which something is kept.
#[derive(Debug, Default)]
struct Tables(RwLock<HashMap<&'static str, Table>>);

/// What ends when rows of a table change.
#[derive(Debug, Clone, Default)]
struct Table {
    /// The kind that its rows are kept as; nothing where only others depend on it.
    rows: Option<Arc<str>>,
    /// Whose rows end as well, whatever changes.
    dependents: Vec<&'static str>,
}

/// What all that is kept of a table's rows depends on.
fn all_rows(table: &str) -> String {
    format!("rows of {table}")
}

/// What all pages that are kept of a table depend on.
fn all_lists(table: &str) -> String {
    format!("lists of {table}")
}

impl Tables {
    fn change(&self, table: &'static str, change: impl FnOnce(&mut Table)) {
        change(self.0.write().entry(table).or_default());
    }

    /// Returns what ends with these changes.
    fn over(&self, rows: &[ChangedRow], tables: &[Arc<str>]) -> Vec<Invalidation> {
        let mut by_table: HashMap<&str, Vec<&str>> = HashMap::new();
        for row in rows {
            by_table.entry(row.table).or_default().push(&row.id);
        }
        // Its schema stands before the name of a table that is not on the search path.
        let tables = tables.iter().map(|name| match name.rsplit_once('.') {
            Some((_, name)) => name,
            None => &**name,
        });
        self.over_of(&by_table, tables)
    }

    /// Returns what ends with changes of these rows, and of any row of these tables.
    fn over_of<'n>(
        &self,
        by_table: &HashMap<&'n str, Vec<&str>>,
        tables: impl Iterator<Item = &'n str>,
    ) -> Vec<Invalidation> {
        let known = self.0.read();
        let mut over = Vec::new();
        let mut seen = HashSet::new();
        let mut end = |what: Invalidation| {
            if seen.insert(what.clone()) {
                over.push(what);
            }
        };
        let tag = |name: String| Invalidation::Tag(name.into());
        // Whatever was written by hand may be any row.
        for (name, ids) in by_table
            .iter()
            .map(|(name, ids)| (*name, Some(ids)))
            .chain(tables.map(|name| (name, None)))
        {
            let Some(table) = known.get(name) else {
                continue;
            };
            // And what those change in turn.
            let (mut next, mut reached) = (table.dependents.clone(), Vec::new());
            while let Some(dependent) = next.pop() {
                if !reached.contains(&dependent) {
                    reached.push(dependent);
                    end(tag(all_rows(dependent)));
                    next.extend(
                        known
                            .get(dependent)
                            .into_iter()
                            .flat_map(|it| &it.dependents),
                    );
                }
            }
            let Some(kind) = &table.rows else { continue };
            match ids {
                Some(ids) if ids.len() <= MOST_ROWS => {
                    for id in ids {
                        end(Invalidation::Key {
                            kind: Arc::clone(kind),
                            key: (*id).into(),
                        });
                    }
                    // Also where another process alone keeps lists.
                    end(tag(all_lists(name)));
                }
                // Pages depend on this too.
                _ => end(tag(all_rows(name))),
            }
        }
        over
    }
}

impl CachedStore {
    /// Puts a cache in front of a store: from now on each commit of it ends what is kept of the
    /// aggregates that are [declared](Self::aggregate) here; of a unit of work, if it has begun from now on.
    ///
    /// One cache, and one prefix of a Redis, is for one database: what two of them hold of a tenant under one
    /// table is one to the cache. What is written by [`PlatformScope::tenant`](tenantry_store::PlatformScope::tenant)
    /// is not heard of: [`wrap`](CachedAggregate::wrap) such a repository.
    ///
    /// A process that writes aggregates which others cache does so through one of these as well, with
    /// a cache over the same Redis.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): the cache is in front of another store already.
    pub fn new(store: &TenantStore, cache: &Cache) -> Result<Self> {
        if !cache.is_before(store.id()) {
            return Err(Error::new(ErrorKind::InvalidSettings, "cache store").with_detail(
                "the cache is in front of another store, whose rows it could not tell from those of this \
                 one: build one for each, with a prefix of its own in a Redis",
            ));
        }
        let cached = Self {
            store: store.clone(),
            cache: cache.clone(),
            tables: Arc::default(),
            acknowledged: Arc::default(),
        };
        store.on_commit(Arc::new(Invalidator {
            cache: cache.clone(),
            tables: Arc::clone(&cached.tables),
            acknowledged: Arc::clone(&cached.acknowledged),
        }));
        Ok(cached)
    }

    /// Writes a record of what ends into each transaction from now on, so that a process that dies
    /// between the commit and the invalidation leaves no other with the old value: whoever runs
    /// [`replay`](Self::replay) makes up for it.
    ///
    /// It costs one statement in each transaction that changes something which is kept, and is of no
    /// use where no Redis is shared. The table `cache_invalidations` has to be there:
    /// [`INVALIDATIONS_POSTGRES`], [`INVALIDATIONS_SQLITE`].
    ///
    /// # Errors
    ///
    /// - `UnknownTable`, `UnprotectedTable`, `SchemaMismatch`: the table is not there, or is another one.
    /// - [`Unavailable`](ErrorKind::Unavailable) and the like: the database does not answer.
    pub async fn record_invalidations(&self) -> Result<()> {
        self.store.verify::<InvalidationRecord>().await?;
        self.store.before_commit(Arc::new(Recorder {
            tables: Arc::clone(&self.tables),
        }));
        Ok(())
    }

    /// Makes up for invalidations that were recorded and not done, within two seconds of the commit,
    /// and removes the records of those that were done; goes on until the [`Replay`] is dropped.
    ///
    /// One process of a service has to do it, and several may: what is done twice is read once more.
    ///
    /// # Errors
    ///
    /// - [`Unsupported`](ErrorKind::Unsupported): it is called outside a runtime of Tokio.
    pub fn replay(&self, platform: &PlatformStore) -> Result<Replay> {
        Replay::start(self, platform)
    }

    /// Declares an aggregate that is kept.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): the policy contradicts itself, or no
    ///   [kind](Cache::kind) can be called as the table is.
    pub fn aggregate<A: Aggregate>(&self, policy: CachePolicy) -> Result<CachedAggregate<A>> {
        let table = A::DESCRIPTOR.table();
        let rows = self.cache.kind::<KeptRow<A>>(table, policy)?;
        self.tables
            .change(table, |it| it.rows = Some(rows.shared_name()));
        Ok(CachedAggregate {
            store: self.clone(),
            rows: rows.with_schema(schema_of::<A>()),
            lists: None,
            tag_of_rows: all_rows(table).into(),
            tag_of_lists: all_lists(table).into(),
            checked: None,
            marker: PhantomData,
        })
    }
}

/// An aggregate that is kept: how, and for how long; cheap to clone.
///
/// What the database changes by itself nobody tells of, such as rows that a foreign key or a trigger
/// removes or changes: say so by [`with_change_by`](Self::with_change_by).
pub struct CachedAggregate<A> {
    store: CachedStore,
    rows: CacheKind<KeptRow<A>>,
    lists: Option<CacheKind<KeptPage<A>>>,
    tag_of_rows: Arc<str>,
    tag_of_lists: Arc<str>,
    checked: Option<Checked<A>>,
    marker: PhantomData<fn() -> A>,
}

/// By what a part of the reads is checked.
struct Checked<A> {
    checker: ConsistencyChecker,
    is_same: fn(&KeptRow<A>, &KeptRow<A>) -> bool,
}

impl<A: Aggregate> CachedAggregate<A> {
    /// Keeps pages of [`list`](Repository::list) as well: all of a tenant end with each change of any
    /// of its rows, so that it helps where there is far more reading than writing.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): as [`CachedStore::aggregate`].
    pub fn with_lists(mut self, policy: CachePolicy) -> Result<Self> {
        let table = A::DESCRIPTOR.table();
        let kind = self.store.cache.kind(&format!("{table}-lists"), policy)?;
        self.lists = Some(kind.with_schema(schema_of::<A>()));
        Ok(self)
    }

    /// Returns how often rows were asked for in this process, and what came of it.
    #[must_use]
    pub fn counts(&self) -> CacheCounts {
        self.rows.counts()
    }

    /// Says that the database changes rows of this aggregate whenever rows of another table change, as
    /// by `on delete cascade`: all that is kept of this one's rows then ends too.
    #[must_use]
    pub fn with_change_by(self, table: &'static str) -> Self {
        let dependent = A::DESCRIPTOR.table();
        self.store.tables.change(table, |it| {
            if !it.dependents.contains(&dependent) {
                it.dependents.push(dependent);
            }
        });
        self
    }

    /// Has a part of what [`find`](Repository::find) answers compared with the repository behind, in the
    /// background, as the [policy](crate::CheckPolicy) of the checker says.
    ///
    /// # Errors
    ///
    /// - [`InvalidSettings`](ErrorKind::InvalidSettings): the checker is one of another cache.
    pub fn with_checker(mut self, checker: &ConsistencyChecker) -> Result<Self>
    where
        A: PartialEq,
    {
        if !checker.cache().is_same(&self.store.cache) {
            return Err(
                Error::new(ErrorKind::InvalidSettings, "check cached aggregate")
                    .with_subject(A::DESCRIPTOR.table())
                    .with_detail("the checker looks at another cache than the one it is kept in"),
            );
        }
        self.checked = Some(Checked {
            checker: checker.clone(),
            is_same: |one, other| one == other,
        });
        Ok(self)
    }

    /// Returns the repository of a tenant, with the cache in front.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](ErrorKind::InvalidInput): the scope is one of another store, whose commits
    ///   nobody hears of.
    pub fn repository(
        &self,
        scope: &TenantScope,
    ) -> Result<CachedRepository<A, SqlRepository<'static, A>>>
    where
        A: Clone,
    {
        if !self.store.store.is_store_of(scope) {
            return Err(Error::new(ErrorKind::InvalidInput, "cache repository")
                .with_subject(A::DESCRIPTOR.table())
                .with_detail(
                    "the scope is one of another store than the one that the cache hears of",
                ));
        }
        Ok(CachedRepository::new(self, scope.repository(), false))
    }

    /// Puts the cache in front of any repository, such as one that a service has wrapped itself.
    ///
    /// What is written by the repository that this returns ends what is kept; what is written otherwise
    /// does only if it is committed by the store of [`CachedStore::new`].
    #[must_use]
    pub fn wrap<R>(&self, inner: R) -> CachedRepository<A, R>
    where
        A: Clone,
        R: Repository<A> + 'static,
    {
        CachedRepository::new(self, inner, true)
    }
}

/// Ends what is kept of what was committed.
struct Invalidator {
    cache: Cache,
    tables: Arc<Tables>,
    acknowledged: Arc<Acknowledged>,
}

#[async_trait]
impl CommitListener for Invalidator {
    async fn committed(&self, changes: &CommittedChanges) {
        let over = self.tables.over(&changes.rows, &changes.tables);
        if over.is_empty() {
            return;
        }
        let tenant = self.cache.tenant(changes.tenant);
        let is_committed = changes.outcome == CommitOutcome::Committed;
        if !is_committed {
            end_again(tenant.clone(), over.clone());
        }
        let is_told = end(&tenant, over).await;
        // A record that is not there yet is one for who makes up for it.
        if is_told && is_committed {
            let records = changes.rows.iter();
            let records = records.filter(|row| row.table == InvalidationRecord::TABLE);
            self.acknowledged.add(changes.tenant, records);
        }
    }
}

/// Ends what is kept of what was written; says whether the shared level has heard of it.
async fn end(tenant: &TenantCache, over: Vec<Invalidation>) -> bool {
    let told = tenant.end_all(over).await;
    if let Err(error) = &told {
        // It is told to the shared level as soon as that can be reached.
        tracing::warn!(
            target: "tenantry::cache",
            tenant = %tenant.tenant(),
            %error,
            "what was written could not be told to the shared cache yet"
        );
    }
    told.is_ok()
}

/// Ends once more, and again, what a commit has changed whose answer was lost: it may land yet.
fn end_again(tenant: TenantCache, over: Vec<Invalidation>) {
    tokio::spawn(async move {
        for wait in UNTIL_LANDED {
            tokio::time::sleep(wait).await;
            if let Err(error) = tenant.end_all(over.clone()).await {
                // It is told to the shared level as soon as that can be reached.
                tracing::debug!(target: "tenantry::cache", %error, "not told yet");
            }
        }
    });
}

impl<A> Clone for CachedAggregate<A> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            rows: self.rows.clone(),
            lists: self.lists.clone(),
            tag_of_rows: Arc::clone(&self.tag_of_rows),
            tag_of_lists: Arc::clone(&self.tag_of_lists),
            checked: self.checked.clone(),
            marker: PhantomData,
        }
    }
}

impl<A> Clone for Checked<A> {
    fn clone(&self) -> Self {
        Self {
            checker: self.checker.clone(),
            is_same: self.is_same,
        }
    }
}

impl fmt::Debug for CachedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedStore")
            .field("store", &self.store)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

impl<A> fmt::Debug for CachedAggregate<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedAggregate")
            .field("rows", &self.rows)
            .field("lists", &self.lists)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Invalidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invalidator")
            .field("tables", &self.tables)
            .finish_non_exhaustive()
    }
}
