use std::collections::HashSet;

use chrono::{TimeZone as _, Utc};
use futures_util::TryStreamExt as _;

use super::{Specimen, State, Subject, new_tenant};
use crate::{Cursor, ErrorKind, Filter, Page, Query, Repository, Sort};

/// A page leads to the next and back, with the same rows in the same order.
pub async fn pages_lead_forward_and_back(subject: &dyn Subject) {
    let (_, specimens) = new_tenant(subject);
    let mut all: Vec<_> = (0..23_i64)
        .map(|index| Specimen {
            big: index / 4,
            rank: (index % 3 > 0).then_some(index % 5),
            label: format!("{}", index % 2),
            ..Specimen::named("")
        })
        .collect();
    specimens.insert_many(&mut all).await.unwrap();
    let sorts: [Vec<Sort<Specimen>>; 6] = [
        vec![],
        vec![Specimen::BIG.asc()],
        vec![Specimen::BIG.desc(), Specimen::LABEL.desc()],
        vec![Specimen::RANK.asc(), Specimen::BIG.desc()],
        vec![Specimen::RANK.desc(), Specimen::LABEL.asc()],
        vec![
            Specimen::LABEL.asc(),
            Specimen::RANK.desc(),
            Specimen::ID.desc(),
        ],
    ];
    for sort in sorts {
        let query = || {
            sort.iter()
                .fold(Query::new().limit(5), |query, key| query.sort(*key))
        };
        let whole = specimens.list(query().limit(100)).await.unwrap();
        assert_eq!(whole.items.len(), 23);
        assert_eq!((whole.next, whole.previous), (None, None));

        let mut pages: Vec<Page<Specimen>> = vec![specimens.list(query()).await.unwrap()];
        assert_eq!(pages[0].previous, None);
        while let Some(next) = pages[pages.len() - 1].next.clone() {
            pages.push(specimens.list(query().cursor(next)).await.unwrap());
        }
        let forward: Vec<_> = pages.iter().flat_map(|page| page.items.clone()).collect();
        assert_eq!(forward, whole.items);
        assert_eq!(pages.len(), 5);

        let mut backward = pages[4].items.clone();
        let mut place = pages[4].previous.clone();
        let mut page_number = 4;
        while let Some(previous) = place {
            page_number -= 1;
            let page = specimens.list(query().cursor(previous)).await.unwrap();
            assert_eq!(page.items, pages[page_number].items);
            assert!(page.next.is_some());
            backward.splice(0..0, page.items);
            place = page.previous;
        }
        assert_eq!(page_number, 0);
        assert_eq!(backward, whole.items);
    }
}

/// 10,000 rows with one and the same sort value: no page drops or repeats a row, on either way.
pub async fn ten_thousand_rows_of_one_time_are_paged(subject: &dyn Subject) {
    let (_, specimens) = new_tenant(subject);
    let mut all: Vec<_> = (0..10_000).map(|_| Specimen::named("same")).collect();
    specimens.insert_many(&mut all).await.unwrap();
    let query = || Query::new().sort(Specimen::SEEN_AT.asc()).limit(7);
    let mut seen = HashSet::new();
    let mut forward = Vec::new();
    let mut page = specimens.list(query()).await.unwrap();
    loop {
        for item in &page.items {
            assert!(seen.insert(item.id), "{} came twice", item.id);
            forward.push(item.id);
        }
        let Some(next) = page.next.clone() else { break };
        page = specimens.list(query().cursor(next)).await.unwrap();
    }
    assert_eq!(forward.len(), 10_000);
    let mut backward: Vec<_> = page.items.iter().rev().map(|item| item.id).collect();
    while let Some(previous) = page.previous.clone() {
        page = specimens.list(query().cursor(previous)).await.unwrap();
        backward.extend(page.items.iter().rev().map(|item| item.id));
    }
    backward.reverse();
    assert_eq!(backward, forward);
}

/// A page that is empty because its rows were deleted leads back to those that are there.
pub async fn emptied_page_leads_back(subject: &dyn Subject) {
    let (_, specimens) = new_tenant(subject);
    for nullable in [false, true] {
        let mut all: Vec<_> = (0..6_i64)
            .map(|index| Specimen {
                big: index,
                rank: (index > 2).then_some(index),
                ..Specimen::named("")
            })
            .collect();
        specimens.insert_many(&mut all).await.unwrap();
        let sort = if nullable {
            Specimen::RANK.desc()
        } else {
            Specimen::BIG.asc()
        };
        let query = || Query::new().sort(sort).limit(3);
        let first = specimens.list(query()).await.unwrap();
        let last = specimens
            .list(query().cursor(first.next.clone().unwrap()))
            .await
            .unwrap();
        for row in &last.items {
            specimens.delete_by_id(&row.id, None).await.unwrap();
        }
        let empty = specimens
            .list(query().cursor(first.next.unwrap()))
            .await
            .unwrap();
        assert_eq!((empty.items.len(), empty.next), (0, None));
        let back = specimens
            .list(query().cursor(empty.previous.unwrap()))
            .await
            .unwrap();
        assert_eq!(back.items, first.items);
        for row in &first.items {
            specimens.delete_by_id(&row.id, None).await.unwrap();
        }
        let empty = specimens
            .list(query().cursor(last.previous.unwrap()))
            .await
            .unwrap();
        assert_eq!((empty.items.len(), empty.previous), (0, None));
        let forth = specimens
            .list(query().cursor(empty.next.unwrap()))
            .await
            .unwrap();
        assert_eq!(forth.items, []);
    }
}

/// A cursor serves the tenant, filter and sort that it came from, and nothing else.
pub async fn cursor_is_refused_elsewhere(subject: &dyn Subject) {
    let (_, ours) = new_tenant(subject);
    let (_, theirs) = new_tenant(subject);
    let mut all: Vec<_> = (0..5)
        .map(|index| Specimen::named(&index.to_string()))
        .collect();
    ours.insert_many(&mut all).await.unwrap();
    let query = || {
        Query::new()
            .filter(Specimen::STATE.eq(State::New))
            .sort(Specimen::LABEL.asc())
            .limit(2)
    };
    let cursor = ours.list(query()).await.unwrap().next.unwrap();
    assert_eq!(
        ours.list(query().cursor(cursor.clone()))
            .await
            .unwrap()
            .items
            .len(),
        2
    );
    let resized = ours
        .list(query().limit(1).cursor(cursor.clone()))
        .await
        .unwrap();
    assert_eq!(
        resized.items.len(),
        1,
        "another page size is the same query"
    );

    let refused = |page: crate::Result<Page<Specimen>>| {
        assert_eq!(page.unwrap_err().kind(), ErrorKind::InvalidCursor);
    };
    refused(theirs.list(query().cursor(cursor.clone())).await);
    let other_filter = Query::new()
        .filter(Specimen::STATE.eq(State::Done))
        .sort(Specimen::LABEL.asc())
        .cursor(cursor.clone());
    refused(ours.list(other_filter).await);
    refused(
        ours.list(
            Query::new()
                .sort(Specimen::LABEL.asc())
                .cursor(cursor.clone()),
        )
        .await,
    );
    let other_sort = Query::new()
        .filter(Specimen::STATE.eq(State::New))
        .sort(Specimen::LABEL.desc())
        .cursor(cursor.clone());
    refused(ours.list(other_sort).await);
    let longer = query().sort(Specimen::BIG.asc()).cursor(cursor.clone());
    refused(ours.list(longer).await);
    let deleted = query()
        .deleted(crate::Deleted::Include)
        .cursor(cursor.clone());
    refused(ours.list(deleted).await);

    let text = cursor.as_str();
    for altered in [
        "",
        "x",
        &text[1..],
        &text[..text.len() - 1],
        &format!("{text}A"),
    ] {
        refused(ours.list(query().cursor(Cursor::new(altered))).await);
    }
    for place in 0..text.len() {
        let mut altered = text.to_owned();
        let other = if &altered[place..=place] == "A" {
            "B"
        } else {
            "A"
        };
        altered.replace_range(place..=place, other);
        refused(ours.list(query().cursor(Cursor::new(altered))).await);
    }
}

/// Pages have from 1 to 10,000 rows, and JSON is no sort key.
pub async fn page_limit_is_checked(subject: &dyn Subject) {
    let (_, specimens) = new_tenant(subject);
    for limit in [0, 10_001, u32::MAX] {
        let error = specimens.list(Query::new().limit(limit)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    let error = specimens
        .list(Query::new().sort(Specimen::NOTES.asc()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(
        specimens
            .list(Query::new().limit(10_000))
            .await
            .unwrap()
            .items,
        []
    );
}

/// A stream yields every row of the tenant once, in order, and may be dropped in between.
pub async fn stream_yields_every_row_in_order(subject: &dyn Subject) {
    let (scope, specimens) = new_tenant(subject);
    let (_, theirs) = new_tenant(subject);
    theirs.insert(&mut Specimen::named("theirs")).await.unwrap();
    let mut all: Vec<_> = (0..2_500_i64)
        .map(|index| Specimen {
            big: index * 7 % 2_500,
            ..Specimen::named("mine")
        })
        .collect();
    specimens.insert_many(&mut all).await.unwrap();
    let query = || {
        Query::new()
            .filter(Specimen::BIG.ge(100))
            .sort(Specimen::BIG.desc())
            .limit(1)
    };
    let streamed: Vec<Specimen> = specimens.stream(query()).try_collect().await.unwrap();
    let expected: Vec<i64> = (100..2_500).rev().collect();
    assert_eq!(
        streamed.iter().map(|item| item.big).collect::<Vec<_>>(),
        expected
    );

    for _ in 0..5 {
        let mut stream = specimens.stream(query());
        assert_eq!(stream.try_next().await.unwrap().unwrap().big, 2_499);
        drop(stream);
        assert_eq!(specimens.count(Filter::all()).await.unwrap(), 2_500);
    }
    let work = scope.begin().await.unwrap();
    let inside = work.repository::<Specimen>();
    let mut stream = inside.stream(query());
    assert_eq!(stream.try_next().await.unwrap().unwrap().big, 2_499);
    let meanwhile = inside.count(Filter::all()).await.unwrap_err();
    assert_eq!(
        meanwhile.kind(),
        ErrorKind::InvalidInput,
        "and not a wait without end"
    );
    drop(stream);
    let late = Utc.with_ymd_and_hms(2040, 1, 1, 0, 0, 0).unwrap();
    assert_eq!(
        inside.count(Specimen::SEEN_AT.lt(late)).await.unwrap(),
        2_500
    );
    work.commit().await.unwrap();
    let cursor = specimens.list(query()).await.unwrap().next.unwrap();
    let with_cursor = specimens.stream(query().cursor(cursor)).try_next().await;
    assert_eq!(with_cursor.unwrap_err().kind(), ErrorKind::InvalidInput);
}
