use std::sync::Arc;

use chrono::{TimeZone as _, Utc};
use tenantry_core::{Actor, RequestContext, TenantId};
use uuid::Uuid;

use super::{
    Order, Setting, Specimen, SpecimenId, State, Subject, Tracked, TrackedColumns, new_tenant,
};
use crate::{Deleted, ErrorKind, Query, Repository, RepositoryExt as _, Version};

/// What was inserted is found, at version 1, and the struct knows it.
pub async fn inserted_is_found_at_version_one(subject: &dyn Subject) {
    let (_, specimens) = new_tenant(subject);
    let mut specimen = Specimen::named("first");
    specimens.insert(&mut specimen).await.unwrap();
    assert_eq!(specimen.version, Version::new(1));
    assert_eq!(specimens.get(specimen.id).await.unwrap(), specimen);
}

/// What is not there is `None`, and `NotFound` for `get`.
pub async fn missing_is_none_and_not_found(subject: &dyn Subject) {
    let (_, specimens) = new_tenant(subject);
    let id = SpecimenId(Uuid::now_v7());
    assert_eq!(specimens.find(&id).await.unwrap(), None);
    let error = specimens.get(id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.to_string(), format!("get specimens {id}: not found"));
}

/// An update stores every column and raises the version.
pub async fn update_raises_the_version(subject: &dyn Subject) {
    let (_, specimens) = new_tenant(subject);
    let mut specimen = Specimen::named("before");
    specimens.insert(&mut specimen).await.unwrap();
    specimen.label = "after".to_owned();
    specimen.remark = Some("said".to_owned());
    specimen.state = State::Done;
    specimens.update(&mut specimen).await.unwrap();
    assert_eq!(specimen.version, Version::new(2));
    assert_eq!(specimens.get(specimen.id).await.unwrap(), specimen);
}

/// The second of two who read the same version is told, and changes nothing.
pub async fn stale_update_conflicts(subject: &dyn Subject) {
    let (_, specimens) = new_tenant(subject);
    let mut first = Specimen::named("original");
    specimens.insert(&mut first).await.unwrap();
    let mut second = first.clone();
    first.label = "first".to_owned();
    specimens.update(&mut first).await.unwrap();
    second.label = "second".to_owned();
    let error = specimens.update(&mut second).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(
        second.version,
        Version::new(1),
        "a failed update leaves the struct alone"
    );
    assert_eq!(specimens.get(first.id).await.unwrap(), first);
}

/// An update of what is not there is `NotFound`, whatever its version.
pub async fn update_of_a_missing_row_is_not_found(subject: &dyn Subject) {
    let (_, specimens) = new_tenant(subject);
    let mut specimen = Specimen::named("never stored");
    for version in [0, 1, 7] {
        specimen.version = Version::new(version);
        let error = specimens.update(&mut specimen).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}

/// `delete` takes the version that was read: a stale one conflicts, a gone row is not found.
pub async fn delete_removes_the_version_that_was_read(subject: &dyn Subject) {
    let (_, specimens) = new_tenant(subject);
    let mut specimen = Specimen::named("short-lived");
    specimens.insert(&mut specimen).await.unwrap();
    let stale = specimen.clone();
    specimens.update(&mut specimen).await.unwrap();
    assert_eq!(
        specimens.delete(&stale).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    specimens.delete(&specimen).await.unwrap();
    assert_eq!(specimens.find(&specimen.id).await.unwrap(), None);
    assert_eq!(
        specimens.delete(&specimen).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

/// `delete_by_id` without a version removes whatever is there.
pub async fn delete_by_id_needs_no_version(subject: &dyn Subject) {
    let (_, specimens) = new_tenant(subject);
    let mut specimen = Specimen::named("short-lived");
    specimens.insert(&mut specimen).await.unwrap();
    specimens.update(&mut specimen).await.unwrap();
    specimens.delete_by_id(&specimen.id, None).await.unwrap();
    let error = specimens
        .delete_by_id(&specimen.id, None)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

/// An identifier is taken once in a tenant.
pub async fn identifier_is_taken_once(subject: &dyn Subject) {
    let (_, specimens) = new_tenant(subject);
    let mut specimen = Specimen::named("first");
    specimens.insert(&mut specimen).await.unwrap();
    let mut again = Specimen::with_id(specimen.id.0, "second");
    let error = specimens.insert(&mut again).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(
        again.version.is_new(),
        "a failed insert leaves the struct alone"
    );
    assert_eq!(specimens.get(specimen.id).await.unwrap(), specimen);
}

/// Two tenants may hold the same identifier, and each changes its own row alone.
pub async fn one_identifier_serves_two_tenants(subject: &dyn Subject) {
    let (_, ours) = new_tenant(subject);
    let (_, theirs) = new_tenant(subject);
    let mut our = Specimen::named("ours");
    let mut their = Specimen::with_id(our.id.0, "theirs");
    ours.insert(&mut our).await.unwrap();
    theirs.insert(&mut their).await.unwrap();
    our.label = "ours, changed".to_owned();
    ours.update(&mut our).await.unwrap();
    assert_eq!(theirs.get(their.id).await.unwrap(), their);
    ours.delete(&our).await.unwrap();
    assert_eq!(theirs.get(their.id).await.unwrap(), their);
}

/// A new struct is inserted or stored over the row; versions go on counting.
pub async fn upsert_inserts_then_overwrites(subject: &dyn Subject) {
    let (_, specimens) = new_tenant(subject);
    let mut specimen = Specimen::named("first");
    specimens.upsert(&mut specimen).await.unwrap();
    assert_eq!(specimen.version, Version::new(1));
    let mut over = Specimen::with_id(specimen.id.0, "second");
    specimens.upsert(&mut over).await.unwrap();
    assert_eq!(over.version, Version::new(2));
    assert_eq!(specimens.get(over.id).await.unwrap(), over);
}

/// A struct that was read is updated by an upsert, not inserted again.
pub async fn upsert_of_what_was_read_is_an_update(subject: &dyn Subject) {
    let (_, specimens) = new_tenant(subject);
    let mut specimen = Specimen::named("first");
    specimens.insert(&mut specimen).await.unwrap();
    let mut stale = specimen.clone();
    specimens.upsert(&mut specimen).await.unwrap();
    assert_eq!(specimen.version, Version::new(2));
    assert_eq!(
        specimens.upsert(&mut stale).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    specimens.delete(&specimen).await.unwrap();
    assert_eq!(
        specimens.upsert(&mut specimen).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

/// `get_many` leaves out what is missing, answers repeated ones once, and sorts by identifier.
pub async fn get_many_answers_what_is_there(subject: &dyn Subject) {
    let (_, specimens) = new_tenant(subject);
    let mut all: Vec<_> = (0..5)
        .map(|index| Specimen::named(&index.to_string()))
        .collect();
    specimens.insert_many(&mut all).await.unwrap();
    all.sort_by_key(|specimen| specimen.id);
    let missing = SpecimenId(Uuid::now_v7());
    let ids = [all[3].id, missing, all[1].id, all[3].id];
    let found = specimens.get_many(&ids).await.unwrap();
    assert_eq!(found, [all[1].clone(), all[3].clone()]);
    assert_eq!(specimens.get_many(&[]).await.unwrap(), []);
    let too_many = vec![missing; 10_001];
    let error = specimens.get_many(&too_many).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(specimens.get_many(&too_many[..10_000]).await.unwrap(), []);
}

/// `exists` and `count` answer for the tenant alone.
pub async fn exists_and_count_see_the_tenant(subject: &dyn Subject) {
    let (_, ours) = new_tenant(subject);
    let (_, theirs) = new_tenant(subject);
    let mut all: Vec<_> = (0..3)
        .map(|index| Specimen::named(&index.to_string()))
        .collect();
    ours.insert_many(&mut all).await.unwrap();
    assert!(ours.exists(&all[0].id).await.unwrap());
    assert!(!theirs.exists(&all[0].id).await.unwrap());
    assert_eq!(ours.count(Specimen::LABEL.ne("1")).await.unwrap(), 2);
    assert_eq!(theirs.count(crate::Filter::all()).await.unwrap(), 0);
}

/// Without a version field the last write wins.
pub async fn aggregate_without_version_is_overwritten(subject: &dyn Subject) {
    let (scope, _) = new_tenant(subject);
    let settings = scope.repository::<Setting>();
    let mut setting = Setting {
        key: "colour".into(),
        value: "red".into(),
    };
    settings.insert(&mut setting).await.unwrap();
    let mut other = setting.clone();
    other.value = "green".into();
    settings.update(&mut other).await.unwrap();
    setting.value = "blue".into();
    settings.update(&mut setting).await.unwrap();
    settings.upsert(&mut setting).await.unwrap();
    assert_eq!(settings.get("colour".to_owned()).await.unwrap(), setting);
    let mut forbidden = Setting {
        key: "colour".into(),
        value: "forbidden".into(),
    };
    let error = settings.update(&mut forbidden).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConstraintViolated);
    settings.delete(&setting).await.unwrap();
    assert_eq!(
        settings.update(&mut setting).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

/// Identifiers are UUIDs, numbers and texts of any form.
pub async fn identifiers_of_every_type_serve(subject: &dyn Subject) {
    let (scope, _) = new_tenant(subject);
    let orders = scope.repository::<Order>();
    for number in [i64::MIN, -1, 0, 1, i64::MAX] {
        let mut order = Order {
            number,
            version: Version::NEW,
        };
        orders.insert(&mut order).await.unwrap();
        orders.update(&mut order).await.unwrap();
        assert_eq!(orders.get(number).await.unwrap().version, Version::new(2));
    }
    let page = orders
        .list(Query::new().sort(Order::NUMBER.desc()).limit(2))
        .await
        .unwrap();
    let numbers: Vec<_> = page.items.iter().map(|order| order.number).collect();
    assert_eq!(numbers, [i64::MAX, 1]);
    let settings = scope.repository::<Setting>();
    for key in [
        "",
        " ",
        "'; drop table settings; --",
        "%",
        "\u{1F600}",
        "a\nb",
        "$1",
        "\\",
    ] {
        let mut setting = Setting {
            key: key.into(),
            value: String::new(),
        };
        settings.insert(&mut setting).await.unwrap();
        assert_eq!(settings.get(key.to_owned()).await.unwrap(), setting);
    }
    assert_eq!(settings.count(crate::Filter::all()).await.unwrap(), 8);
}

/// A marked row is gone for every read, until it is asked for or restored.
pub async fn soft_delete_hides_and_restore_brings_back(subject: &dyn Subject) {
    let (scope, specimens) = new_tenant(subject);
    let tracked = scope.repository::<Tracked>();
    let mut row = Tracked {
        id: Uuid::now_v7(),
        name: "n".into(),
        version: Version::NEW,
    };
    tracked.insert(&mut row).await.unwrap();
    tracked.delete(&row).await.unwrap();
    assert_eq!(tracked.find(&row.id).await.unwrap(), None);
    assert!(!tracked.exists(&row.id).await.unwrap());
    assert_eq!(tracked.count(crate::Filter::all()).await.unwrap(), 0);
    assert_eq!(tracked.get_many(&[row.id]).await.unwrap(), []);
    assert_eq!(tracked.list(Query::new()).await.unwrap().items, []);
    let only = tracked
        .list(Query::new().deleted(Deleted::Only))
        .await
        .unwrap()
        .items;
    assert_eq!(only.len(), 1);
    assert_eq!(
        tracked
            .list(Query::new().deleted(Deleted::Include))
            .await
            .unwrap()
            .items,
        only
    );

    assert_eq!(
        tracked.update(&mut row).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    assert_eq!(
        tracked.delete(&row).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    let gone = tracked.delete_by_id(&row.id, None).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    let mut again = Tracked {
        version: Version::NEW,
        ..row.clone()
    };
    assert_eq!(
        tracked.insert(&mut again).await.unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    assert_eq!(
        tracked.upsert(&mut again).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );

    tracked.restore(&row.id).await.unwrap();
    let restored = tracked.get(row.id).await.unwrap();
    assert_eq!(
        restored.version,
        Version::new(3),
        "delete and restore each raise the version"
    );
    assert_eq!(
        tracked.restore(&row.id).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    let missing = tracked.restore(&Uuid::now_v7()).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);

    assert_eq!(
        tracked
            .delete_where(Tracked::NAME.eq("n"), 10)
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        tracked
            .delete_where(Tracked::NAME.eq("n"), 10)
            .await
            .unwrap(),
        0
    );
    assert_eq!(tracked.count(crate::Filter::all()).await.unwrap(), 0);

    let id = SpecimenId(row.id);
    assert_eq!(
        specimens.restore(&id).await.unwrap_err().kind(),
        ErrorKind::Unsupported
    );
}

/// Every write, single or bulk, stamps who and when, from the context and the clock.
pub async fn audit_columns_are_stamped_from_the_context(subject: &dyn Subject) {
    let tenant = TenantId::generate();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let by = |actor: &str| RequestContext::new(Actor::new(actor).unwrap());
    let ada = subject.store().tenant(tenant).with_context(by("ada"));
    let bob = subject
        .store()
        .tenant(tenant)
        .with_context(by("bob").with_trace(trace.parse().unwrap()));
    let begun = Utc::now();

    let mut rows: Vec<_> = ["a", "b", "c"]
        .map(|name| Tracked {
            id: Uuid::now_v7(),
            name: name.into(),
            version: Version::NEW,
        })
        .into();
    let (single, bulk) = rows.split_at_mut(1);
    ada.repository::<Tracked>()
        .insert(&mut single[0])
        .await
        .unwrap();
    ada.repository::<Tracked>().insert_many(bulk).await.unwrap();
    let columns = ada.repository::<TrackedColumns>();
    for row in &rows {
        let stored = columns.get(row.id).await.unwrap();
        assert_eq!((&*stored.created_by, &*stored.modified_by), ("ada", "ada"));
        assert_eq!(stored.created_at, stored.modified_at);
        assert!(stored.created_at >= Utc.timestamp_micros(begun.timestamp_micros()).unwrap());
        assert_eq!(
            (stored.trace_id, stored.deleted_at, stored.deleted_by),
            (None, None, None)
        );
    }

    let tracked = bob.repository::<Tracked>();
    tracked.update(&mut rows[0]).await.unwrap();
    let changes = crate::Changes::new().set(Tracked::NAME, "bulk");
    tracked
        .update_where(Tracked::NAME.eq("b"), changes, 10)
        .await
        .unwrap();
    let mut over = Tracked {
        version: Version::NEW,
        ..rows[2].clone()
    };
    tracked.upsert(&mut over).await.unwrap();
    for row in &rows {
        let stored = columns.get(row.id).await.unwrap();
        assert_eq!((&*stored.created_by, &*stored.modified_by), ("ada", "bob"));
        assert!(stored.modified_at >= stored.created_at);
        assert_eq!(
            stored.trace_id.as_deref(),
            Some("4bf92f3577b34da6a3ce929d0e0e4736")
        );
        assert_eq!(stored.version, Version::new(2));
    }

    tracked.delete_by_id(&rows[0].id, None).await.unwrap();
    tracked
        .delete_where(Tracked::NAME.eq("bulk"), 10)
        .await
        .unwrap();
    for row in &rows[..2] {
        let stored = columns.get(row.id).await.unwrap();
        assert_eq!(stored.deleted_by.as_deref(), Some("bob"));
        assert!(stored.deleted_at.is_some());
        assert_eq!(stored.version, Version::new(3));
    }
    ada.repository::<Tracked>()
        .restore(&rows[0].id)
        .await
        .unwrap();
    let stored = columns.get(rows[0].id).await.unwrap();
    assert_eq!((stored.deleted_at, stored.deleted_by), (None, None));
    assert_eq!(stored.modified_by, "ada");
}

#[allow(dead_code)]
fn repositories_are_objects(
    repository: Arc<dyn Repository<Specimen>>,
) -> Arc<dyn Repository<Specimen>> {
    repository
}
