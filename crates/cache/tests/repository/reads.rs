//! What is read once and kept.

use tenantry_store::conformance::{Specimen, SpecimenId};
use tenantry_store::{ErrorKind, Query, Repository as _, RepositoryExt as _};
use uuid::Uuid;

use crate::Kept;

#[tokio::test]
async fn what_was_read_is_not_read_again() {
    let kept = Kept::open().await;
    let (specimens, reads) = kept.counted(&kept.tenant());
    let mut one = Specimen::named("one");
    specimens.insert(&mut one).await.unwrap();
    let missing = SpecimenId(Uuid::now_v7());
    for _ in 0..3 {
        assert_eq!(specimens.get(one.id).await.unwrap(), one);
        let error = specimens.get(missing).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    assert_eq!(reads.calls(), 2, "each once, that there is none as well");
}

#[tokio::test]
async fn of_many_only_those_are_read_that_are_not_known() {
    let kept = Kept::open().await;
    let (specimens, reads) = kept.counted(&kept.tenant());
    let mut all: Vec<_> = (0..20)
        .map(|number| Specimen::named(&number.to_string()))
        .collect();
    specimens.insert_many(&mut all).await.unwrap();
    all.sort_by_key(|specimen| specimen.id);
    for specimen in &all[..5] {
        specimens.get(specimen.id).await.unwrap();
    }
    let mut ids: Vec<_> = all.iter().rev().map(|specimen| specimen.id).collect();
    ids.push(all[3].id);
    let missing = SpecimenId(Uuid::now_v7());
    ids.push(missing);
    for _ in 0..2 {
        assert_eq!(specimens.get_many(&ids).await.unwrap(), all);
    }
    assert_eq!(*reads.asked.lock(), [16], "15 and the missing one, at once");
    assert_eq!(specimens.find(&missing).await.unwrap(), None);
    assert_eq!(reads.calls(), 6);
}

#[tokio::test]
async fn many_who_ask_for_many_wait_for_no_circle() {
    let kept = Kept::open().await;
    let scope = kept.tenant();
    let (specimens, reads) = kept.counted(&scope);
    let mut all: Vec<_> = (0..50)
        .map(|number| Specimen::named(&number.to_string()))
        .collect();
    specimens.insert_many(&mut all).await.unwrap();
    let ids: Vec<_> = all.iter().map(|specimen| specimen.id).collect();
    for (round, changed) in all[..20].iter_mut().enumerate() {
        let readers = (0..8).map(|reader| {
            let (specimens, mut ids) = (specimens.clone(), ids.clone());
            ids.rotate_left((reader * 7 + round) % 50);
            async move { specimens.get_many(&ids).await.unwrap().len() }
        });
        let found = futures_util::future::join_all(readers).await;
        assert!(found.iter().all(|found| *found == 50), "{found:?}");
        scope.repository().update(changed).await.unwrap();
    }
    let asked: usize = reads.asked.lock().iter().sum();
    assert_eq!(asked, 50 + 19, "each once, and each again that was changed");
}

#[tokio::test]
async fn another_tenant_has_nothing_of_it() {
    let kept = Kept::open().await;
    let (one, other) = (kept.of(&kept.tenant()), kept.of(&kept.tenant()));
    let mut of_one = Specimen::named("one");
    one.insert(&mut of_one).await.unwrap();
    assert_eq!(one.get(of_one.id).await.unwrap(), of_one);
    assert_eq!(one.list(Query::new()).await.unwrap().items.len(), 1);
    assert_eq!(other.find(&of_one.id).await.unwrap(), None);
    assert!(other.get_many(&[of_one.id]).await.unwrap().is_empty());
    assert!(other.list(Query::new()).await.unwrap().items.is_empty());
    let mut same_id = Specimen {
        id: of_one.id,
        ..Specimen::named("other")
    };
    other.insert(&mut same_id).await.unwrap();
    assert_eq!(other.get(of_one.id).await.unwrap().label, "other");
    assert_eq!(one.get(of_one.id).await.unwrap().label, "one");
}

#[tokio::test]
async fn a_list_is_kept_until_any_row_changes() {
    let kept = Kept::open().await;
    let (specimens, reads) = kept.counted(&kept.tenant());
    let mut rows = ["one", "two", "three"].map(Specimen::named);
    specimens.insert_many(&mut rows).await.unwrap();
    let query = || Query::new().sort(Specimen::LABEL.asc()).limit(2);
    let mut labels = Vec::new();
    for _ in 0..2 {
        let first = specimens.list(query()).await.unwrap();
        let next = first.next.clone().unwrap();
        let last = specimens.list(query().cursor(next)).await.unwrap();
        labels = first
            .items
            .into_iter()
            .chain(last.items)
            .map(|it| it.label)
            .collect();
    }
    assert_eq!(labels, ["one", "three", "two"]);
    assert_eq!(reads.calls(), 2, "each page once");
    specimens.list(query().limit(3)).await.unwrap();
    specimens
        .list(query().filter(Specimen::LABEL.eq("one")))
        .await
        .unwrap();
    assert_eq!(reads.calls(), 4, "what asks for something else is another");

    specimens.delete(&rows[0]).await.unwrap();
    let first = specimens.list(query()).await.unwrap();
    assert_eq!(first.items[0].label, "three");
    assert!(specimens.list(query().limit(0)).await.is_err());
}
