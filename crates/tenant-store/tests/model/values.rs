//! Values of every type that can be stored: common ones, so that rows meet, and odd ones.

use chrono::{DateTime, NaiveDate, Utc};
use proptest::collection::vec;
use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
use proptest::prelude::*;
use proptest::sample::select;
use rust_decimal::Decimal;
use tenantry_store::Version;
use tenantry_store::conformance::{Notes, Specimen, SpecimenId, State, Tracked};
use uuid::Uuid;

/// All of Unicode but NUL.
pub(crate) fn text() -> impl Strategy<Value = String> + Clone {
    let common = select(vec![
        "",
        "a",
        "A",
        "ab",
        "b",
        "z",
        "é",
        "e\u{301}",
        "%",
        "_",
        "a%b",
        "\\",
        "'",
        "日本",
        "\u{ffff}",
        "\u{10ffff}",
    ]);
    let odd = vec(any::<char>(), 0..6).prop_map(|all| {
        all.into_iter()
            .filter(|one| *one != '\0')
            .collect::<String>()
    });
    prop_oneof![3 => common.prop_map(str::to_owned), 2 => odd]
}

pub(crate) fn int16() -> impl Strategy<Value = i16> + Clone {
    prop_oneof![select(vec![i16::MIN, -1, 0, 1, i16::MAX]), any::<i16>()]
}

pub(crate) fn int32() -> impl Strategy<Value = i32> + Clone {
    prop_oneof![select(vec![i32::MIN, -1, 0, 1, i32::MAX]), any::<i32>()]
}

pub(crate) fn int64() -> impl Strategy<Value = i64> + Clone {
    let near_doubles = 1_i64 << 53;
    let common = vec![
        i64::MIN,
        i64::MIN + 1,
        -1,
        0,
        1,
        2,
        near_doubles,
        near_doubles + 1,
        i64::MAX - 1,
        i64::MAX,
    ];
    prop_oneof![select(common), any::<i64>()]
}

pub(crate) fn double() -> impl Strategy<Value = f64> + Clone {
    let least = f64::from_bits(1);
    let common = vec![
        0.0,
        -0.0,
        1.0,
        -1.5,
        0.1 + 0.2,
        1e15,
        least,
        -least,
        f64::MIN_POSITIVE,
        f64::MIN,
        f64::MAX,
    ];
    prop_oneof![
        select(common),
        POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO
    ]
}

/// Up to 28 digits, with the point anywhere among or in front of them; and the bounds of the type.
pub(crate) fn decimal() -> impl Strategy<Value = Decimal> + Clone {
    const DIGITS_28: i128 = 10_i128.pow(28) - 1;
    prop_oneof![
        (-20_i64..20, 0_u32..3).prop_map(|(number, scale)| Decimal::new(number, scale)),
        (-DIGITS_28..=DIGITS_28, 0_u32..=28)
            .prop_map(|(number, scale)| Decimal::from_i128_with_scale(number, scale)),
        select(vec![
            Decimal::MIN,
            Decimal::MAX,
            Decimal::new(1, 28),
            Decimal::new(10, 28)
        ]),
    ]
}

pub(crate) fn bytes() -> impl Strategy<Value = Vec<u8>> + Clone {
    prop_oneof![
        vec(select(vec![0_u8, 1, 255]), 0..3),
        vec(any::<u8>(), 0..12)
    ]
}

pub(crate) fn uuid() -> impl Strategy<Value = Uuid> + Clone {
    prop_oneof![shared_id(), any::<u128>().prop_map(Uuid::from_u128)]
}

/// One of three, so that calls and tenants meet on the same rows.
pub(crate) fn shared_id() -> impl Strategy<Value = Uuid> + Clone {
    select(vec![Uuid::nil(), Uuid::from_u128(1 << 127), Uuid::max()])
}

/// From year 1 to year 9999, to the microsecond.
pub(crate) fn time() -> impl Strategy<Value = DateTime<Utc>> + Clone {
    const FIRST: i64 = -62_135_596_800_000_000;
    const LAST: i64 = 253_402_300_799_999_999;
    let common = vec![
        FIRST,
        FIRST + 1,
        -1,
        0,
        1,
        1_356_998_400_000_000,
        LAST - 1,
        LAST,
    ];
    prop_oneof![select(common), FIRST..=LAST]
        .prop_map(|micros| DateTime::from_timestamp_micros(micros).unwrap())
}

/// From year 1 to year 9999.
pub(crate) fn date() -> impl Strategy<Value = NaiveDate> + Clone {
    const FIRST: i32 = 1;
    const LAST: i32 = 3_652_059;
    let common = vec![FIRST, FIRST + 1, 719_162, 719_163, 730_120, LAST - 1, LAST];
    prop_oneof![select(common), FIRST..=LAST]
        .prop_map(|day| NaiveDate::from_num_days_from_ce_opt(day).unwrap())
}

/// Later than any row is marked.
pub(crate) fn last_second() -> DateTime<Utc> {
    DateTime::from_timestamp(253_402_300_799, 0).unwrap()
}

pub(crate) fn state() -> impl Strategy<Value = State> + Clone {
    select(vec![State::New, State::InProgress, State::Done])
}

pub(crate) fn notes() -> impl Strategy<Value = Notes> + Clone {
    let odd = select(vec![
        "\"",
        "\\",
        "\\u0000",
        "{\"a\": [1]}",
        "\u{1}",
        "\u{2028}",
        "\u{10ffff}",
    ]);
    let tag = prop_oneof![odd.prop_map(str::to_owned), text()];
    (vec(tag, 0..3), int64()).prop_map(|(tags, level)| Notes { tags, level })
}

pub(crate) fn version() -> impl Strategy<Value = Version> + Clone {
    (0_i64..4).prop_map(Version::new)
}

pub(crate) fn specimen(id: impl Strategy<Value = Uuid>) -> impl Strategy<Value = Specimen> {
    let texts = (text(), proptest::option::of(text()), notes(), state());
    let numbers = (
        int16(),
        int32(),
        int64(),
        proptest::option::of(int64()),
        double(),
        decimal(),
    );
    let others = (any::<bool>(), bytes(), proptest::option::of(uuid()));
    let times = (time(), proptest::option::of(date()));
    (id, texts, numbers, others, times).prop_map(|(id, texts, numbers, others, times)| {
        let (label, remark, notes, state) = texts;
        let (small, medium, big, rank, ratio, amount) = numbers;
        let (flag, payload, link) = others;
        let (seen_at, due) = times;
        Specimen {
            id: SpecimenId(id),
            label,
            remark,
            flag,
            small,
            medium,
            big,
            rank,
            ratio,
            amount,
            payload,
            link,
            seen_at,
            due,
            state,
            notes,
            version: Version::NEW,
        }
    })
}

/// Names are unique in a tenant, and few.
pub(crate) fn tracked() -> impl Strategy<Value = Tracked> {
    (shared_id(), tracked_name()).prop_map(|(id, name)| Tracked {
        id,
        name,
        version: Version::NEW,
    })
}

pub(crate) fn tracked_name() -> impl Strategy<Value = String> + Clone {
    prop_oneof![3 => select(vec!["a", "b", "B", "é"]).prop_map(str::to_owned), 1 => text()]
}
