use std::fmt::Debug;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use tenantry_store::{Aggregate, ErrorKind, Filter, Query, Repository, RepositoryExt as _};

use super::IsolationReport;

/// After every time that a row can be marked at.
const LAST_SECOND: DateTime<Utc> =
    DateTime::from_timestamp(253_402_300_799, 0).expect("the end of year 9999 is a time");

/// Two tenants, of which the first reaches for the rows of the second.
pub(super) struct Trial<R> {
    ours: R,
    theirs: R,
    report: IsolationReport,
}

impl<R> Trial<R> {
    pub(super) fn between(ours: R, theirs: R) -> Self {
        Self {
            ours,
            theirs,
            report: IsolationReport::default(),
        }
    }

    pub(super) async fn run<A>(mut self, sample: &(impl Fn() -> A + Sync)) -> IsolationReport
    where
        A: Aggregate + Clone + PartialEq + Debug,
        R: Repository<A>,
    {
        let mut own = sample();
        let mut foreign = sample();
        let mut shared = foreign.clone();
        assert!(
            own.id() != foreign.id(),
            "`sample` must give another identifier at every call"
        );
        self.ours
            .insert(&mut own)
            .await
            .unwrap_or_else(|error| panic!("{}", not_inserted(&error)));
        self.theirs
            .insert(&mut foreign)
            .await
            .unwrap_or_else(|error| panic!("{}", not_inserted(&error)));

        self.reads(&own, &foreign).await;
        self.writes(&foreign, sample).await;

        // One identifier in both tenants: two rows that know nothing of each other.
        self.ours.insert(&mut shared).await.unwrap_or_else(|error| {
            panic!("insert of an identifier that another tenant uses: {error}")
        });
        let mut changed = shared.clone();
        self.ours
            .update(&mut changed)
            .await
            .unwrap_or_else(|error| panic!("update: {error}"));
        self.unharmed("update of the same identifier", &foreign)
            .await;
        let seen = self.ours.find(shared.id()).await;
        assert!(
            matches!(&seen, Ok(Some(row)) if row.version() == changed.version()),
            "find answered another row than the tenant's own: {seen:?}"
        );
        self.ours
            .delete_where(Filter::all(), 10_000)
            .await
            .unwrap_or_else(|error| panic!("delete_where: {error}"));
        self.unharmed("delete_where of everything", &foreign).await;
        self.upserts(sample).await;
        self.report.writes += 3;
        self.report
    }

    async fn reads<A>(&mut self, own: &A, foreign: &A)
    where
        A: Aggregate + PartialEq + Debug,
        R: Repository<A>,
    {
        let id = foreign.id();
        let found = self.ours.find(id).await;
        assert!(
            matches!(found, Ok(None)),
            "find answered a foreign row: {found:?}"
        );
        let error = self
            .ours
            .get(id.clone())
            .await
            .err()
            .map(|error| error.kind());
        assert_eq!(error, Some(ErrorKind::NotFound), "get of a foreign row");
        let exists = self.ours.exists(id).await;
        assert!(
            matches!(exists, Ok(false)),
            "exists saw a foreign row: {exists:?}"
        );

        let many = self.ours.get_many(&[id.clone(), own.id().clone()]).await;
        only(
            own,
            "get_many",
            &many.unwrap_or_else(|error| panic!("get_many: {error}")),
        );
        let page = self.ours.list(Query::new().limit(100)).await;
        only(
            own,
            "list",
            &page.unwrap_or_else(|error| panic!("list: {error}")).items,
        );
        let rows: Result<Vec<A>, _> = self.ours.stream(Query::new()).try_collect().await;
        only(
            own,
            "stream",
            &rows.unwrap_or_else(|error| panic!("stream: {error}")),
        );
        let count = self.ours.count(Filter::all()).await;
        assert!(matches!(count, Ok(1)), "count saw foreign rows: {count:?}");
        self.report.reads += 7;
    }

    async fn writes<A>(&mut self, foreign: &A, sample: &(impl Fn() -> A + Sync))
    where
        A: Aggregate + Clone + PartialEq + Debug,
        R: Repository<A>,
    {
        let mut copy = foreign.clone();
        let answer = self.ours.update(&mut copy).await;
        self.refused("update", answer, foreign).await;
        let answer = self.ours.delete(foreign).await;
        self.refused("delete", answer, foreign).await;
        let answer = self.ours.delete_by_id(foreign.id(), None).await;
        self.refused("delete_by_id", answer, foreign).await;
        if A::DESCRIPTOR.version().is_some() {
            let answer = self.ours.upsert(&mut copy).await;
            self.refused("upsert", answer, foreign).await;
        }
        if A::DESCRIPTOR.is_soft_deleted() {
            let answer = self.ours.restore(foreign.id()).await;
            self.refused("restore", answer, foreign).await;
            self.marked(sample).await;
        }
        let mut more = [sample(), sample()];
        self.ours
            .insert_many(&mut more)
            .await
            .unwrap_or_else(|error| panic!("insert_many: {error}"));
        let count = self.theirs.count(Filter::all()).await;
        assert!(
            matches!(count, Ok(1)),
            "insert_many stored rows in another tenant: {count:?}"
        );
        self.report.writes += 2;
        self.report.reads += 1;
    }

    /// Upserts a new aggregate under an identifier that the other tenant uses.
    async fn upserts<A>(&mut self, sample: &(impl Fn() -> A + Sync))
    where
        A: Aggregate + Clone + PartialEq + Debug,
        R: Repository<A>,
    {
        let mut foreign = sample();
        let mut shared = foreign.clone();
        self.theirs
            .insert(&mut foreign)
            .await
            .unwrap_or_else(|error| panic!("{}", not_inserted(&error)));
        self.ours.upsert(&mut shared).await.unwrap_or_else(|error| {
            panic!("upsert of an identifier that another tenant uses: {error}")
        });
        self.unharmed("upsert of the same identifier", &foreign)
            .await;
        let own = self.ours.find(shared.id()).await;
        assert!(
            matches!(&own, Ok(Some(_))),
            "upsert stored no row of the tenant's own: {own:?}"
        );
        self.report.writes += 1;
    }

    /// Marks a row of the other tenant, which nobody else may restore, and a purge must leave there.
    async fn marked<A>(&mut self, sample: &(impl Fn() -> A + Sync))
    where
        A: Aggregate + Debug,
        R: Repository<A>,
    {
        let mut marked = sample();
        self.theirs
            .insert(&mut marked)
            .await
            .unwrap_or_else(|error| panic!("{}", not_inserted(&error)));
        self.theirs
            .delete(&marked)
            .await
            .unwrap_or_else(|error| panic!("delete: {error}"));
        let kind = self.ours.restore(marked.id()).await.err();
        assert_eq!(
            kind.map(|error| error.kind()),
            Some(ErrorKind::NotFound),
            "restore of a foreign row that is marked"
        );
        let seen = self.theirs.find(marked.id()).await;
        assert!(
            matches!(seen, Ok(None)),
            "restore by another tenant brought a row back: {seen:?}"
        );
        let purged = self.ours.purge(LAST_SECOND, 10_000).await;
        assert!(
            matches!(purged, Ok(0)),
            "purge removed foreign rows: {purged:?}"
        );
        self.theirs
            .restore(marked.id())
            .await
            .unwrap_or_else(|error| {
                panic!("purge by another tenant removed a marked row: {error}")
            });
        self.theirs
            .delete_by_id(marked.id(), None)
            .await
            .unwrap_or_else(|error| panic!("delete: {error}"));
        self.report.writes += 2;
    }

    async fn refused<A>(&mut self, operation: &str, answer: tenantry_store::Result<()>, foreign: &A)
    where
        A: Aggregate + PartialEq + Debug,
        R: Repository<A>,
    {
        let kind = answer.err().map(|error| error.kind());
        assert_eq!(
            kind,
            Some(ErrorKind::NotFound),
            "{operation} of a foreign row"
        );
        self.report.writes += 1;
        self.unharmed(operation, foreign).await;
    }

    async fn unharmed<A>(&self, operation: &str, foreign: &A)
    where
        A: Aggregate + PartialEq + Debug,
        R: Repository<A>,
    {
        let row = self.theirs.get(foreign.id().clone()).await;
        assert!(
            matches!(&row, Ok(row) if row == foreign),
            "{operation} by another tenant changed a row: it was {foreign:?}, and is {row:?}"
        );
    }
}

/// Says why a sample could not be stored.
fn not_inserted(error: &tenantry_store::Error) -> String {
    match error.kind() {
        ErrorKind::AlreadyExists => format!(
            "insert: {error}; `sample` must give other values for every unique key at every call"
        ),
        _ => format!("insert: {error}"),
    }
}

fn only<A: PartialEq + Debug>(own: &A, operation: &str, rows: &[A]) {
    assert!(
        matches!(rows, [row] if row == own),
        "{operation} answered other rows than the tenant's own: {rows:?}"
    );
}
