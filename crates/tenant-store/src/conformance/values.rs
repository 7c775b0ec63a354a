use chrono::{DateTime, NaiveDate, TimeDelta, TimeZone as _, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

use super::{NarrowSpecimen, Notes, Specimen, State, Subject, new_tenant};
use crate::{ErrorKind, Json, Query, Repository, RepositoryExt as _};

/// What can be stored comes back as it was, to the last bit, by every way in.
pub async fn every_value_comes_back(subject: &dyn Subject) {
    let (_, specimens) = new_tenant(subject);
    let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let long = "ß".repeat(100_000);
    let odd = "\u{1}\u{7f}\u{80}\u{d7ff}\u{e000}\u{fffd}\u{10ffff}'\"\\%_\r\n\t$1 ?";
    let mut all = vec![
        Specimen {
            label: String::new(),
            remark: Some(String::new()),
            ..Specimen::named("")
        },
        Specimen {
            label: long.clone(),
            remark: Some(odd.to_owned()),
            ..Specimen::named("")
        },
        Specimen {
            small: i16::MIN,
            medium: i32::MIN,
            big: i64::MIN,
            rank: Some(i64::MIN),
            ratio: f64::MIN,
            amount: Decimal::MIN,
            seen_at: time("0001-01-01T00:00:00Z"),
            due: NaiveDate::from_ymd_opt(1, 1, 1),
            ..Specimen::named("smallest")
        },
        Specimen {
            small: i16::MAX,
            medium: i32::MAX,
            big: i64::MAX,
            rank: Some(i64::MAX),
            ratio: f64::MAX,
            amount: Decimal::MAX,
            seen_at: time("9999-12-31T23:59:59.999999Z"),
            due: NaiveDate::from_ymd_opt(9999, 12, 31),
            flag: true,
            ..Specimen::named("largest")
        },
        Specimen {
            ratio: f64::MIN_POSITIVE,
            amount: Decimal::new(1, 28),
            seen_at: time("1969-12-31T23:59:59.999999Z"),
            due: NaiveDate::from_ymd_opt(2000, 2, 29),
            payload: (0..=255).collect(),
            link: Some(Uuid::nil()),
            ..Specimen::named("finest")
        },
        Specimen {
            payload: vec![],
            link: Some(Uuid::max()),
            ratio: 0.1 + 0.2,
            ..Specimen::named("")
        },
        Specimen {
            state: State::InProgress,
            notes: Notes {
                tags: vec![odd.to_owned(), "\\u0000".to_owned(), String::new()],
                level: i64::MIN,
            },
            ..Specimen::named("json")
        },
        Specimen {
            amount: "1.2300".parse().unwrap(),
            ..Specimen::named("scale")
        },
    ];
    let mut one_by_one = all.clone();
    for specimen in &mut one_by_one {
        specimen.id.0 = Uuid::now_v7();
        specimens.insert(specimen).await.unwrap();
        assert_eq!(specimens.get(specimen.id).await.unwrap(), *specimen);
    }
    specimens.insert_many(&mut all).await.unwrap();
    for specimen in &mut all {
        assert_eq!(specimens.get(specimen.id).await.unwrap(), *specimen);
        specimens.update(specimen).await.unwrap();
        assert_eq!(specimens.get(specimen.id).await.unwrap(), *specimen);
        specimens.upsert(specimen).await.unwrap();
        assert_eq!(specimens.get(specimen.id).await.unwrap(), *specimen);
    }
    let nanoseconds = Utc.timestamp_opt(1, 123_456_789).single().unwrap();
    let mut cut = Specimen {
        seen_at: nanoseconds,
        ..Specimen::named("nanoseconds")
    };
    specimens.insert(&mut cut).await.unwrap();
    let stored = specimens.get(cut.id).await.unwrap().seen_at;
    assert_eq!(
        stored,
        nanoseconds - TimeDelta::nanoseconds(789),
        "cut to the microsecond"
    );
    assert_eq!(
        specimens
            .count(Specimen::SEEN_AT.eq(nanoseconds))
            .await
            .unwrap(),
        1
    );
    let leap = Utc
        .timestamp_opt(1_483_228_799, 1_500_000_000)
        .single()
        .unwrap();
    let mut told = Specimen {
        seen_at: leap,
        ..Specimen::named("leap second")
    };
    specimens.insert(&mut told).await.unwrap();
    let stored = specimens.get(told.id).await.unwrap().seen_at;
    assert_eq!(
        stored,
        time("2017-01-01T00:00:00.5Z"),
        "told as the second after it"
    );
}

/// What cannot be stored is refused before it is sent, by every way in, and nothing is stored.
pub async fn values_out_of_range_are_refused(subject: &dyn Subject) {
    let (_, specimens) = new_tenant(subject);
    let mut stored = Specimen::named("stored");
    specimens.insert(&mut stored).await.unwrap();
    let notes = Notes {
        tags: vec!["nul \0 inside".into()],
        level: 0,
    };
    let far = DateTime::<Utc>::MAX_UTC;
    let bad = [
        (
            "label",
            Specimen {
                label: "nul\0".into(),
                ..stored.clone()
            },
        ),
        (
            "remark",
            Specimen {
                remark: Some("\0".into()),
                ..stored.clone()
            },
        ),
        (
            "ratio",
            Specimen {
                ratio: f64::NAN,
                ..stored.clone()
            },
        ),
        (
            "ratio",
            Specimen {
                ratio: f64::INFINITY,
                ..stored.clone()
            },
        ),
        (
            "seen_at",
            Specimen {
                seen_at: far,
                ..stored.clone()
            },
        ),
        (
            "due",
            Specimen {
                due: NaiveDate::from_ymd_opt(0, 12, 31),
                ..stored.clone()
            },
        ),
        (
            "due",
            Specimen {
                due: NaiveDate::from_ymd_opt(10_000, 1, 1),
                ..stored.clone()
            },
        ),
        (
            "notes",
            Specimen {
                notes,
                ..stored.clone()
            },
        ),
    ];
    for (column, specimen) in bad {
        let mut new = Specimen {
            id: super::SpecimenId(Uuid::now_v7()),
            ..specimen.clone()
        };
        let mut old = specimen;
        let mut many = [Specimen::named("good"), new.clone()];
        for error in [
            specimens.insert(&mut new).await.unwrap_err(),
            specimens.insert_many(&mut many).await.unwrap_err(),
            specimens.update(&mut old).await.unwrap_err(),
            specimens.upsert(&mut old).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidValue);
            let text = error.to_string();
            assert!(text.contains(&format!("column {column} ")), "{text}");
            assert!(!text.contains('\0'), "{text:?}");
        }
    }
    let error = specimens
        .count(Specimen::RATIO.lt(f64::NAN))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidValue);
    assert!(error.to_string().contains("column ratio "), "{error}");
    let far = Specimen::DUE.lt(NaiveDate::MAX);
    let error = specimens.count(far).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidValue);
    assert!(error.to_string().contains("column due "), "{error}");
    let any = || Json(Notes::default());
    for filter in [Specimen::NOTES.lt(any()), !Specimen::NOTES.ge(any())] {
        let error = specimens.count(filter).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidValue, "JSON has no order");
        assert!(error.to_string().contains("column notes "), "{error}");
    }
    assert_eq!(specimens.list(Query::new()).await.unwrap().items, [stored]);
}

/// A row that does not fit the struct is an error with the column's name and without its value.
pub async fn rows_that_do_not_fit_are_refused(subject: &dyn Subject) {
    let (scope, specimens) = new_tenant(subject);
    let fits = Specimen {
        remark: Some("there".into()),
        notes: Notes {
            tags: vec!["secret-tag".into()],
            level: 1,
        },
        ..Specimen::named("json")
    };
    let rows = [
        (
            "big",
            Specimen {
                big: 40_000,
                ..Specimen {
                    remark: Some("x".into()),
                    ..Specimen::named("")
                }
            },
        ),
        ("remark", Specimen::named("null")),
        (
            "progress",
            Specimen {
                state: State::Done,
                remark: Some("x".into()),
                ..Specimen::named("")
            },
        ),
        ("notes", fits),
    ];
    let narrow = scope.repository::<NarrowSpecimen>();
    for (column, mut specimen) in rows {
        specimens.insert(&mut specimen).await.unwrap();
        let error = narrow.get(specimen.id).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidValue);
        let text = format!("{error} {error:?}");
        assert!(text.contains(&format!("column {column} ")), "{text}");
        assert!(
            !text.contains("40000") && !text.contains("secret-tag"),
            "{text}"
        );
    }
    assert_eq!(specimens.list(Query::new()).await.unwrap().items.len(), 4);
}
