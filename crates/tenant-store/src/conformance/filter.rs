use std::cmp::Ordering;

use rust_decimal::Decimal;

use super::{Specimen, State, Subject, new_tenant};
use crate::{Filter, Query, Repository};

fn zoo() -> Vec<Specimen> {
    let labels = [
        "",
        "a",
        "A",
        "ab",
        "b",
        "é",
        "e\u{301}",
        "z",
        "Z",
        "%",
        "_",
        "a%b",
        "日本",
        "\u{10FFFF}",
    ];
    let amounts = [
        "0",
        "-1",
        "1.0",
        "1.00",
        "10",
        "9",
        "0.1",
        "-0.05",
        "79228162514264337593543950335",
    ];
    labels
        .iter()
        .enumerate()
        .map(|(place, label)| {
            let index = i64::try_from(place).unwrap();
            Specimen {
                remark: (index % 3 > 0).then(|| label.repeat(2)),
                flag: index % 2 == 0,
                rank: (index % 4 > 0).then_some(index % 5),
                ratio: [-1.5, 0.0, 2.0, 1e300][place % 4],
                amount: amounts[place % amounts.len()].parse::<Decimal>().unwrap(),
                payload: vec![0; place],
                state: [State::New, State::InProgress, State::Done][place % 3],
                big: [i64::MIN, -1, 0, i64::MAX][place % 4],
                ..Specimen::named(label)
            }
        })
        .collect()
}

/// Every filter answers what the same condition answers in Rust, NULLs included.
pub async fn filters_agree_with_rust(subject: &dyn Subject) {
    type Case = (&'static str, Filter<Specimen>, fn(&Specimen) -> bool);
    let (_, specimens) = new_tenant(subject);
    let mut all = zoo();
    specimens.insert_many(&mut all).await.unwrap();
    let nine = || "9".parse::<Decimal>().unwrap();
    let cases: Vec<Case> = vec![
        ("all", Filter::all(), |_| true),
        ("text =", Specimen::LABEL.eq("a"), |row| row.label == "a"),
        ("text <>", Specimen::LABEL.ne("a"), |row| row.label != "a"),
        ("text <", Specimen::LABEL.lt("b"), |row| &*row.label < "b"),
        ("text >=", Specimen::LABEL.ge("z"), |row| &*row.label >= "z"),
        ("null =", Specimen::REMARK.eq("abab"), |row| {
            row.remark.as_deref() == Some("abab")
        }),
        ("null <>", Specimen::REMARK.ne("abab"), |row| {
            row.remark.as_deref() != Some("abab")
        }),
        ("null <", Specimen::REMARK.lt("b"), |row| {
            row.remark.as_deref().is_some_and(|it| it < "b")
        }),
        ("is null", Specimen::RANK.is_null(), |row| {
            row.rank.is_none()
        }),
        ("is not null", Specimen::RANK.is_not_null(), |row| {
            row.rank.is_some()
        }),
        ("not over null", !Specimen::RANK.gt(2), |row| {
            !row.rank.is_some_and(|rank| rank > 2)
        }),
        ("not not", !!Specimen::RANK.gt(2), |row| {
            row.rank.is_some_and(|rank| rank > 2)
        }),
        (
            "not of and",
            !Specimen::RANK.gt(2).and(Specimen::REMARK.lt("b")),
            |row| {
                let gt = row.rank.is_some_and(|rank| rank > 2);
                !(gt && row.remark.as_deref().is_some_and(|it| it < "b"))
            },
        ),
        (
            "not of or",
            !Specimen::RANK.gt(2).or(Specimen::REMARK.lt("b")),
            |row| {
                let gt = row.rank.is_some_and(|rank| rank > 2);
                !(gt || row.remark.as_deref().is_some_and(|it| it < "b"))
            },
        ),
        ("bool", Specimen::FLAG.eq(true), |row| row.flag),
        ("bounds", Specimen::BIG.eq(i64::MIN), |row| {
            row.big == i64::MIN
        }),
        ("bounds >", Specimen::BIG.gt(i64::MIN), |row| {
            row.big > i64::MIN
        }),
        ("double", Specimen::RATIO.le(0.0), |row| row.ratio <= 0.0),
        ("decimal =", Specimen::AMOUNT.eq(Decimal::ONE), |row| {
            row.amount == Decimal::ONE
        }),
        ("decimal >", Specimen::AMOUNT.gt(nine()), |row| {
            row.amount > "9".parse().unwrap()
        }),
        (
            "decimal in",
            Specimen::AMOUNT.one_of([Decimal::ONE, nine()]),
            |row| row.amount == Decimal::ONE || row.amount == "9".parse().unwrap(),
        ),
        ("bytes <", Specimen::PAYLOAD.lt(vec![0, 0, 0]), |row| {
            row.payload < vec![0, 0, 0]
        }),
        ("enum", Specimen::STATE.eq(State::InProgress), |row| {
            row.state == State::InProgress
        }),
        (
            "enum in",
            Specimen::STATE.one_of([State::New, State::Done]),
            |row| row.state != State::InProgress,
        ),
        (
            "in nothing",
            Specimen::LABEL.one_of(Vec::<String>::new()),
            |_| false,
        ),
        (
            "not in nothing",
            !Specimen::LABEL.one_of(Vec::<String>::new()),
            |_| true,
        ),
        ("in", Specimen::RANK.one_of([1, 3]), |row| {
            matches!(row.rank, Some(1 | 3))
        }),
        ("not in", !Specimen::RANK.one_of([1, 3]), |row| {
            !matches!(row.rank, Some(1 | 3))
        }),
        ("prefix", Specimen::LABEL.starts_with("a"), |row| {
            row.label.starts_with('a')
        }),
        ("prefix %", Specimen::LABEL.starts_with("%"), |row| {
            row.label.starts_with('%')
        }),
        ("prefix _", Specimen::LABEL.starts_with("_"), |row| {
            row.label.starts_with('_')
        }),
        ("empty prefix", Specimen::REMARK.starts_with(""), |row| {
            row.remark.is_some()
        }),
        ("wide prefix", Specimen::LABEL.starts_with("日"), |row| {
            row.label.starts_with('日')
        }),
        (
            "all and",
            Filter::all()
                .and(Specimen::FLAG.eq(false))
                .and(Filter::all()),
            |row| !row.flag,
        ),
        ("all or", Filter::all().or(Specimen::FLAG.eq(false)), |_| {
            true
        }),
        (
            "nested",
            Specimen::FLAG
                .eq(true)
                .and(Specimen::LABEL.eq("a").or(Specimen::LABEL.eq("A"))),
            |row| row.flag && (row.label == "a" || row.label == "A"),
        ),
    ];
    for (name, filter, expected) in cases {
        let mut found = specimens
            .list(Query::new().filter(filter.clone()))
            .await
            .unwrap()
            .items;
        let mut wanted: Vec<_> = all.iter().filter(|row| expected(row)).cloned().collect();
        found.sort_by_key(|row| row.id);
        wanted.sort_by_key(|row| row.id);
        assert_eq!(found, wanted, "{name}");
        let count = specimens.count(filter).await.unwrap();
        assert_eq!(count, wanted.len() as u64, "{name}");
    }
}

/// A filter that is too big is refused before it is sent.
pub async fn filter_size_is_checked(subject: &dyn Subject) {
    let (_, specimens) = new_tenant(subject);
    let conditions = |count: i64| {
        (0..count)
            .map(|big| Specimen::BIG.eq(big))
            .reduce(Filter::or)
            .unwrap()
    };
    assert_eq!(specimens.count(conditions(499)).await.unwrap(), 0);
    let error = specimens.count(conditions(500)).await.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::InvalidInput);
    assert_eq!(
        specimens
            .count(Specimen::BIG.one_of(0..10_000_i64))
            .await
            .unwrap(),
        0
    );
    let error = specimens
        .count(Specimen::BIG.one_of(0..10_001_i64))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::InvalidInput);

    let nested = (0..100_000_i64).fold(Filter::all(), |filter, number| {
        let other = Specimen::BIG.eq(number);
        if number % 2 == 0 {
            !filter.and(other)
        } else {
            filter.or(other)
        }
    });
    let error = specimens.count(nested).await.unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::InvalidInput);
    let twice = (0..100_000).fold(Specimen::BIG.eq(3), |filter, _| !filter);
    assert_eq!(specimens.count(twice).await.unwrap(), 0);
}

/// Every sort answers the order of Rust, with NULL as the largest.
pub async fn sorts_agree_with_rust(subject: &dyn Subject) {
    type Case = (crate::Sort<Specimen>, fn(&Specimen, &Specimen) -> Ordering);
    fn null_last<T: Ord>(left: &Option<T>, right: &Option<T>) -> Ordering {
        (left.is_none(), left).cmp(&(right.is_none(), right))
    }
    let (_, specimens) = new_tenant(subject);
    let mut all = zoo();
    specimens.insert_many(&mut all).await.unwrap();
    let cases: Vec<Case> = vec![
        (Specimen::LABEL.asc(), |left, right| {
            left.label.cmp(&right.label)
        }),
        (Specimen::LABEL.desc(), |left, right| {
            right.label.cmp(&left.label)
        }),
        (Specimen::REMARK.asc(), |left, right| {
            null_last(&left.remark, &right.remark)
        }),
        (Specimen::REMARK.desc(), |left, right| {
            null_last(&right.remark, &left.remark)
        }),
        (Specimen::RANK.desc(), |left, right| {
            null_last(&right.rank, &left.rank)
        }),
        (Specimen::RATIO.asc(), |left, right| {
            left.ratio.total_cmp(&right.ratio)
        }),
        (Specimen::AMOUNT.asc(), |left, right| {
            left.amount.cmp(&right.amount)
        }),
        (Specimen::AMOUNT.desc(), |left, right| {
            right.amount.cmp(&left.amount)
        }),
        (Specimen::PAYLOAD.desc(), |left, right| {
            right.payload.cmp(&left.payload)
        }),
        (Specimen::FLAG.asc(), |left, right| {
            left.flag.cmp(&right.flag)
        }),
        (Specimen::BIG.asc(), |left, right| left.big.cmp(&right.big)),
        (Specimen::ID.desc(), |left, right| right.id.cmp(&left.id)),
    ];
    for (sort, order) in cases {
        let found = specimens.list(Query::new().sort(sort)).await.unwrap().items;
        assert!(
            found.is_sorted_by(|left, right| order(left, right).is_le()),
            "{sort:?}"
        );
        assert_eq!(found.len(), all.len());
    }
}
