//! The calls of a repository as values: made at random, run on a backend, told to the model.

use std::fmt::Debug;

use futures_util::TryStreamExt as _;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tenantry_store::conformance::{Specimen, SpecimenId, Tracked};
use tenantry_store::{Aggregate, Deleted, ErrorKind, Query, Repository, Version};

use super::field::{Change, Condition, Fields, Order, changes, changes_of, condition, order};
use super::values;

/// One call.
#[derive(Debug, Clone)]
pub(crate) enum Operation<A: Aggregate> {
    Find(A::Id),
    GetMany(Vec<A::Id>),
    Exists(A::Id),
    Count(Condition<A>),
    List(Condition<A>, Order<A>, Deleted, u32),
    Stream(Condition<A>, Order<A>, Deleted),
    Insert(A),
    InsertMany(Vec<A>),
    Update(A),
    Delete(A::Id, Option<Version>),
    Upsert(A),
    UpdateWhere(Condition<A>, Vec<Change<A>>, u32),
    DeleteWhere(Condition<A>, u32),
    Restore(A::Id),
    /// Of all rows that are marked.
    Purge,
}

/// What a call answers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome<A> {
    Row(Option<A>),
    Rows(Vec<A>),
    /// A first page, and whether there is a second.
    Page(Vec<A>, bool),
    Flag(bool),
    Count(u64),
    /// The structs as the call left them.
    Written(Vec<A>),
    Done,
}

/// An aggregate that the model can hold.
pub(crate) trait Modelled: Fields<Id: Ord + Copy> + PartialEq + Debug {
    fn any_id() -> BoxedStrategy<Self::Id>;
    fn any_row() -> BoxedStrategy<Self>;

    /// What no two rows of a tenant share, besides the identifier.
    fn unique_key(&self) -> Option<&str> {
        None
    }

    fn at_version(mut self, version: Version) -> Self {
        self.set_version(version);
        self
    }
}

impl Modelled for Specimen {
    fn any_id() -> BoxedStrategy<SpecimenId> {
        values::shared_id().prop_map(SpecimenId).boxed()
    }

    fn any_row() -> BoxedStrategy<Self> {
        values::specimen(values::shared_id()).boxed()
    }
}

impl Modelled for Tracked {
    fn any_id() -> BoxedStrategy<uuid::Uuid> {
        values::shared_id().boxed()
    }

    fn any_row() -> BoxedStrategy<Self> {
        values::tracked().boxed()
    }

    fn unique_key(&self) -> Option<&str> {
        Some(&self.name)
    }
}

/// The version of [`Operation`]s that were made before anything was stored: whatever the row has.
pub(crate) const CURRENT: Version = Version::new(-1);

impl<A: Modelled> Operation<A> {
    pub(crate) fn any() -> BoxedStrategy<Self> {
        let seen = || prop_oneof![4 => Just(CURRENT), 1 => values::version()];
        let row = || (A::any_row(), seen()).prop_map(|(row, version)| row.at_version(version));
        let limit = 1_u32..6;
        prop_oneof![
            3 => Self::read(),
            4 => A::any_row().prop_map(Self::Insert),
            2 => vec(A::any_row(), 1..4).prop_map(Self::InsertMany),
            3 => row().prop_map(Self::Update),
            3 => (A::any_id(), proptest::option::of(seen())).prop_map(|(id, seen)| Self::Delete(id, seen)),
            3 => prop_oneof![row(), A::any_row()].prop_map(Self::Upsert),
            2 => (condition(), changes(), limit.clone())
                .prop_map(|(condition, changes, limit)| Self::UpdateWhere(condition, changes, limit)),
            1 => (condition(), limit).prop_map(|(condition, limit)| Self::DeleteWhere(condition, limit)),
            2 => A::any_id().prop_map(Self::Restore),
            1 => Just(Self::Purge),
        ]
        .boxed()
    }

    pub(crate) fn read() -> BoxedStrategy<Self> {
        let deleted = || select(vec![Deleted::Exclude, Deleted::Include, Deleted::Only]);
        prop_oneof![
            A::any_id().prop_map(Self::Find),
            vec(A::any_id(), 1..5).prop_map(Self::GetMany),
            A::any_id().prop_map(Self::Exists),
            condition().prop_map(Self::Count),
            (condition(), order(), deleted(), 1_u32..6).prop_map(
                |(condition, order, deleted, limit)| Self::List(condition, order, deleted, limit)
            ),
            (condition(), order(), deleted())
                .prop_map(|(condition, order, deleted)| Self::Stream(condition, order, deleted)),
        ]
        .boxed()
    }

    /// Puts the version of the row where the caller is to have read it.
    pub(crate) fn having_read(self, version_of: impl Fn(&A::Id) -> Version) -> Self {
        let read = |id: &A::Id, version| {
            if version == CURRENT {
                version_of(id)
            } else {
                version
            }
        };
        let row_read = |row: A| {
            let version = read(row.id(), row.version());
            row.at_version(version)
        };
        match self {
            Self::Update(row) => Self::Update(row_read(row)),
            Self::Upsert(row) => Self::Upsert(row_read(row)),
            Self::Delete(id, expected) => {
                Self::Delete(id, expected.map(|version| read(&id, version)))
            }
            operation => operation,
        }
    }

    /// Makes the call; an error must leave the structs that were handed in as they were.
    pub(crate) async fn run(self, on: &dyn Repository<A>) -> Result<Outcome<A>, ErrorKind> {
        let query = |condition: Condition<A>, order: Order<A>, deleted| {
            order.on(Query::new().filter(condition.filter).deleted(deleted))
        };
        let answer = match self {
            Self::Find(id) => on.find(&id).await.map(Outcome::Row),
            Self::GetMany(ids) => on.get_many(&ids).await.map(Outcome::Rows),
            Self::Exists(id) => on.exists(&id).await.map(Outcome::Flag),
            Self::Count(condition) => on.count(condition.filter).await.map(Outcome::Count),
            Self::List(condition, order, deleted, limit) => on
                .list(query(condition, order, deleted).limit(limit))
                .await
                .map(|page| Outcome::Page(page.items, page.next.is_some())),
            Self::Stream(condition, order, deleted) => on
                .stream(query(condition, order, deleted))
                .try_collect()
                .await
                .map(Outcome::Rows),
            Self::Insert(row) => {
                let mut written = row.clone();
                written_or_as_before(on.insert(&mut written).await, &[row], vec![written])
            }
            Self::InsertMany(rows) => {
                let mut written = rows.clone();
                written_or_as_before(on.insert_many(&mut written).await, &rows, written)
            }
            Self::Update(row) => {
                let mut written = row.clone();
                written_or_as_before(on.update(&mut written).await, &[row], vec![written])
            }
            Self::Upsert(row) => {
                let mut written = row.clone();
                written_or_as_before(on.upsert(&mut written).await, &[row], vec![written])
            }
            Self::Delete(id, expected) => {
                on.delete_by_id(&id, expected).await.map(|()| Outcome::Done)
            }
            Self::UpdateWhere(condition, changes, limit) => on
                .update_where(condition.filter, changes_of(&changes), limit)
                .await
                .map(Outcome::Count),
            Self::DeleteWhere(condition, limit) => on
                .delete_where(condition.filter, limit)
                .await
                .map(Outcome::Count),
            Self::Restore(id) => on.restore(&id).await.map(|()| Outcome::Done),
            Self::Purge => on
                .purge(values::last_second(), 10_000)
                .await
                .map(Outcome::Count),
        };
        answer.map_err(|error| error.kind())
    }
}

fn written_or_as_before<A: PartialEq + Debug>(
    answer: tenantry_store::Result<()>,
    before: &[A],
    after: Vec<A>,
) -> tenantry_store::Result<Outcome<A>> {
    if answer.is_err() {
        assert_eq!(after, before, "a failed write leaves the struct alone");
    }
    answer.map(|()| Outcome::Written(after))
}
