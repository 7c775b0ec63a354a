use uuid::Uuid;

use super::{NarrowSpecimen, Order, Specimen, State, Subject, Tracked, new_tenant};
use crate::{Changes, ErrorKind, Filter, Query, Repository as _, RepositoryExt as _, Version};

/// `insert_many` stores what `insert` would.
pub async fn insert_many_stores_all(subject: &dyn Subject) {
    let (_, specimens) = new_tenant(subject);
    let mut all: Vec<_> = (0..1_000)
        .map(|index: i64| Specimen {
            remark: (index % 3 == 0).then(|| format!("remark {index}")),
            rank: (index % 2 == 0).then_some(index),
            link: (index % 5 == 0).then(Uuid::now_v7),
            big: index,
            payload: index.to_be_bytes().to_vec(),
            ..Specimen::named(&format!("é{index}"))
        })
        .collect();
    specimens.insert_many(&mut all).await.unwrap();
    assert!(
        all.iter()
            .all(|specimen| specimen.version == Version::new(1))
    );
    let page = specimens
        .list(Query::new().sort(Specimen::BIG.asc()).limit(1_000))
        .await
        .unwrap();
    assert_eq!(page.items, all);
    specimens.insert_many(&mut []).await.unwrap();
}

/// One row that cannot be stored, and none is.
pub async fn insert_many_stores_all_or_none(subject: &dyn Subject) {
    let (_, specimens) = new_tenant(subject);
    let mut taken = Specimen::named("taken");
    specimens.insert(&mut taken).await.unwrap();
    let mut all: Vec<_> = (0..600)
        .map(|index| Specimen::named(&index.to_string()))
        .collect();
    all.push(Specimen::with_id(taken.id.0, "again"));
    let error = specimens.insert_many(&mut all).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(all.iter().all(|specimen| specimen.version.is_new()));
    assert_eq!(specimens.count(Filter::all()).await.unwrap(), 1);
    all.pop();
    all[599].label = "nul\0".to_owned();
    let error = specimens.insert_many(&mut all).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidValue);
    assert_eq!(specimens.count(Filter::all()).await.unwrap(), 1);
}

/// A value that is refused in a late batch leaves nothing of the earlier ones, in a unit of work
/// that is committed as well.
pub async fn insert_many_that_is_refused_stores_nothing(subject: &dyn Subject) {
    let (scope, specimens) = new_tenant(subject);
    let mut many: Vec<_> = (0..21_000).map(|_| Specimen::named("many")).collect();
    many[20_500].ratio = f64::NAN;
    let work = scope.begin().await.unwrap();
    let inside = work.repository::<Specimen>();
    inside.insert(&mut Specimen::named("before")).await.unwrap();
    let error = inside.insert_many(&mut many).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidValue);
    work.commit().await.unwrap();
    assert_eq!(specimens.count(Filter::all()).await.unwrap(), 1);
}

/// `update_where` changes so many rows and no more, raises their versions, and leaves others' rows.
pub async fn update_where_changes_up_to_the_limit(subject: &dyn Subject) {
    let (_, ours) = new_tenant(subject);
    let (_, theirs) = new_tenant(subject);
    let mut their = Specimen::named("theirs");
    theirs.insert(&mut their).await.unwrap();
    let mut all: Vec<_> = (0..10)
        .map(|index| Specimen::named(&index.to_string()))
        .collect();
    ours.insert_many(&mut all).await.unwrap();
    all.sort_by_key(|specimen| specimen.id);

    let changes = Changes::new()
        .set(Specimen::STATE, State::Done)
        .set(Specimen::REMARK, "changed".to_owned())
        .add(Specimen::BIG, 40)
        .add(Specimen::RANK, 1)
        .add(Specimen::RATIO, 0.25);
    let fresh = || Specimen::STATE.eq(State::New);
    assert_eq!(
        ours.update_where(fresh(), changes.clone(), 4)
            .await
            .unwrap(),
        4
    );
    let first = ours.get(all[3].id).await.unwrap();
    assert_eq!(
        (first.state, first.big, first.version),
        (State::Done, 43, Version::new(2))
    );
    assert_eq!((first.rank, first.ratio), (None, 0.75));
    assert_eq!(first.remark.as_deref(), Some("changed"));
    assert_eq!(ours.get(all[4].id).await.unwrap(), all[4]);
    assert_eq!(
        ours.update_where(fresh(), changes.clone(), 10)
            .await
            .unwrap(),
        6
    );
    assert_eq!(ours.update_where(fresh(), changes, 10).await.unwrap(), 0);
    assert_eq!(theirs.get(their.id).await.unwrap(), their);
}

/// The identifier and the version are the store's; a column is changed once; something changes.
pub async fn update_where_refuses_what_the_store_keeps(subject: &dyn Subject) {
    let (scope, specimens) = new_tenant(subject);
    let other = super::SpecimenId(Uuid::now_v7());
    for changes in [
        Changes::new(),
        Changes::new().set(Specimen::ID, other),
        Changes::new().set(Specimen::VERSION, Version::new(9)),
        Changes::new().set(Specimen::BIG, 1).add(Specimen::BIG, 1),
    ] {
        let error = specimens
            .update_where(Filter::all(), changes, 1)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    let nul = Changes::new().set(Specimen::LABEL, "\0");
    let error = specimens
        .update_where(Filter::all(), nul, 1)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidValue);

    let tracked = scope.repository::<Tracked>();
    let mut rows: Vec<_> = ["a", "b"]
        .map(|name| Tracked {
            id: Uuid::now_v7(),
            name: name.into(),
            version: Version::NEW,
        })
        .into();
    tracked.insert_many(&mut rows).await.unwrap();
    let same = Changes::new().set(Tracked::NAME, "same");
    let error = tracked
        .update_where(Filter::all(), same, 10)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(tracked.get(rows[0].id).await.unwrap(), rows[0]);
}

/// A sum beyond the column's range is an error, never another number.
pub async fn sum_that_overflows_is_refused(subject: &dyn Subject) {
    let (scope, specimens) = new_tenant(subject);
    let mut specimen = Specimen {
        small: i16::MAX,
        medium: i32::MIN,
        big: i64::MAX,
        ratio: f64::MAX,
        ..Specimen::named("full")
    };
    specimens.insert(&mut specimen).await.unwrap();
    for changes in [
        Changes::new().add(Specimen::SMALL, 1_i16),
        Changes::new().add(Specimen::MEDIUM, -1),
        Changes::new().add(Specimen::BIG, 1),
        Changes::new().add(Specimen::RATIO, f64::MAX),
    ] {
        let error = specimens
            .update_where(Filter::all(), changes, 1)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidValue, "{error}");
    }
    assert_eq!(specimens.get(specimen.id).await.unwrap(), specimen);
    let narrow = scope.repository::<NarrowSpecimen>();
    let beyond_the_field = Changes::new().add(NarrowSpecimen::BIG, 1_i16);
    let error = narrow
        .update_where(Filter::all(), beyond_the_field, 1)
        .await
        .unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::InvalidValue,
        "the column is wider than the field"
    );
    let fits = Changes::new()
        .add(Specimen::SMALL, -1_i16)
        .add(Specimen::BIG, i64::MIN);
    assert_eq!(
        specimens
            .update_where(Filter::all(), fits, 1)
            .await
            .unwrap(),
        1
    );
    let stored = specimens.get(specimen.id).await.unwrap();
    assert_eq!((stored.small, stored.big), (i16::MAX - 1, -1));
}

/// `delete_where` removes so many rows and no more, and leaves others' rows.
pub async fn delete_where_removes_up_to_the_limit(subject: &dyn Subject) {
    let (scope, ours) = new_tenant(subject);
    let (other, theirs) = new_tenant(subject);
    let mut their = Specimen::named("theirs");
    theirs.insert(&mut their).await.unwrap();
    let mut all: Vec<_> = (0..10)
        .map(|index| Specimen::named(&index.to_string()))
        .collect();
    ours.insert_many(&mut all).await.unwrap();
    assert_eq!(ours.delete_where(Filter::all(), 4).await.unwrap(), 4);
    assert_eq!(
        ours.delete_where(Specimen::LABEL.eq("no such"), 4)
            .await
            .unwrap(),
        0
    );
    assert_eq!(ours.delete_where(Filter::all(), 10_000).await.unwrap(), 6);
    assert_eq!(theirs.get(their.id).await.unwrap(), their);

    for tenant in [&scope, &other] {
        let mut order = Order {
            number: 1,
            version: Version::NEW,
        };
        tenant
            .repository::<Order>()
            .insert(&mut order)
            .await
            .unwrap();
    }
    assert_eq!(
        scope
            .repository::<Order>()
            .delete_where(Filter::all(), 5)
            .await
            .unwrap(),
        1
    );
    assert!(other.repository::<Order>().exists(&1).await.unwrap());
}

/// Limits run from 1 to 10,000.
pub async fn bulk_limits_are_checked(subject: &dyn Subject) {
    let (_, specimens) = new_tenant(subject);
    for limit in [0, 10_001, u32::MAX] {
        let changes = Changes::new().add(Specimen::BIG, 1);
        let error = specimens
            .update_where(Filter::all(), changes, limit)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let error = specimens
            .delete_where(Filter::all(), limit)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
