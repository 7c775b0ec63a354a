use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::ErrorKind;

const TENANT: TenantId = TenantId::from_u128(0x0190_b5a4_8f2e_7c3d_9a61_4f0e_5d2c_1b7a).unwrap();
const PREFIX: &str = "t:0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a:";

fn key(segments: &[&str]) -> TenantKey {
    segments
        .iter()
        .fold(TenantKey::new(TENANT, "cache").unwrap(), TenantKey::segment)
}

#[test]
fn separator_inside_a_segment_makes_another_key() {
    assert_eq!(
        key(&["a:b", "c"]).as_str(),
        format!("{PREFIX}cache:a%3Ab:c")
    );
    assert_eq!(
        key(&["a", "b:c"]).as_str(),
        format!("{PREFIX}cache:a:b%3Ac")
    );
    let lists: [&[&str]; 10] = [
        &["a:b", "c"],
        &["a", "b:c"],
        &["a:b:c"],
        &["a%3Ab", "c"],
        &["a", "b", "c"],
        &["a:b", "c", ""],
        &[],
        &[""],
        &["", ""],
        &["%-"],
    ];
    for (index, first) in lists.iter().enumerate() {
        for second in &lists[index + 1..] {
            assert_ne!(
                key(first).as_str(),
                key(second).as_str(),
                "{first:?} {second:?}"
            );
        }
    }
}

#[test]
fn segment_cannot_reach_into_another_tenant() {
    let other = TenantId::from_u128(1).unwrap();
    let crafted = key(&[&format!("x\r\n{}cache:y", TenantKey::prefix_of(other))]);
    assert!(crafted.as_str().starts_with(PREFIX));
    assert_eq!(TenantKey::parse(crafted.as_str()).unwrap().tenant(), TENANT);
}

#[test]
fn other_spellings_are_refused() {
    for text in [
        "",
        "t:",
        "t:*:cache",
        PREFIX,
        &PREFIX[..PREFIX.len() - 1],
        &format!("{PREFIX}Cache"),
        &format!("{PREFIX}cache:"),
        &format!("{PREFIX}cache::a"),
        &format!("{PREFIX}cache:%3a"),
        &format!("{PREFIX}cache:%41"),
        &format!("{PREFIX}cache:%"),
        &format!("{PREFIX}cache:%3"),
        &format!("{PREFIX}cache:%-a"),
        &format!("{PREFIX}cache:%C3"),
        &format!("{PREFIX}cache:a b"),
        &format!("{PREFIX}cache:ü"),
        &format!("{PREFIX}cache\n"),
        &format!("{}cache", PREFIX.to_uppercase()),
        &format!("t:{}:cache", "00000000-0000-0000-0000-000000000000"),
    ] {
        let error = TenantKey::parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text:?}");
    }
}

#[test]
fn kind_is_a_plain_name() {
    for kind in ["", "1st", "a:b", "Cache", "a%", "a b", "ä", &"a".repeat(64)] {
        assert!(TenantKey::new(TENANT, kind).is_err(), "{kind:?}");
    }
    assert!(TenantKey::new(TENANT, &"a".repeat(63)).is_ok());
}

#[test]
fn schema_name_of_a_tenant_fits_postgresql_and_keeps_the_whole_id() {
    let name = SqlName::for_tenant("tenant", TENANT).unwrap();
    assert_eq!(name.as_str(), "tenant_0190b5a48f2e7c3d9a614f0e5d2c1b7a");
    assert_eq!(
        SqlName::for_tenant(&"p".repeat(30), TENANT)
            .unwrap()
            .as_str()
            .len(),
        63
    );
    for prefix in ["", "1", "Tenant", "t-", "t\"; drop", "ä", &"p".repeat(31)] {
        let refused = SqlName::for_tenant(prefix, TENANT);
        assert_eq!(
            refused.unwrap_err().kind(),
            ErrorKind::InvalidInput,
            "{prefix:?}"
        );
    }
}

#[test]
fn sql_name_takes_only_what_needs_no_quotes() {
    for name in ["a", "_", "_a1", "invoice_lines", &"a".repeat(63)] {
        assert_eq!(SqlName::new(name).unwrap().to_string(), name);
    }
    for name in [
        "",
        "1a",
        "A",
        "a-b",
        "a.b",
        "a b",
        "a\"",
        "a\n",
        "a\0",
        "é",
        &"a".repeat(64),
    ] {
        assert_eq!(
            SqlName::new(name).unwrap_err().kind(),
            ErrorKind::InvalidInput,
            "{name:?}"
        );
    }
}

/// Segments with what tends to collide: separators, escapes, nothing at all.
fn segments() -> impl Strategy<Value = Vec<String>> {
    vec(
        prop_oneof!["[a:%3A-]{0,4}", "\\PC{0,8}", any::<String>()],
        0..4,
    )
}

fn tenant() -> impl Strategy<Value = TenantId> {
    (1..u128::MAX).prop_map(|number| TenantId::from_u128(number).unwrap())
}

fn build(tenant: TenantId, kind: &str, segments: &[String]) -> TenantKey {
    segments
        .iter()
        .fold(TenantKey::new(tenant, kind).unwrap(), TenantKey::segment)
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        tenant in tenant(),
        kind in "[a-z][a-z0-9_-]{0,62}",
        segments in segments(),
    ) {
        let key = build(tenant, &kind, &segments);
        let read = TenantKey::parse(key.as_str())?;
        prop_assert_eq!(&read, &key);
        prop_assert_eq!((read.tenant(), read.kind()), (tenant, kind.as_str()));
        prop_assert_eq!(read.segments(), segments);
    }

    #[test]
    fn distinct_segments_make_distinct_keys(first in segments(), second in segments()) {
        let same = build(TENANT, "cache", &first) == build(TENANT, "cache", &second);
        prop_assert_eq!(same, first == second);
    }

    #[test]
    fn what_reads_is_written_the_same(tail in "[a:%34A-]{0,12}|(:(a|%[0-9A-F]{2}|%-)){0,3}") {
        let text = format!("{PREFIX}cache{tail}");
        if let Ok(key) = TenantKey::parse(&text) {
            let written = build(key.tenant(), key.kind(), &key.segments());
            prop_assert_eq!(written.as_str(), &text);
        }
    }

    #[test]
    fn parsing_never_panics(text in any::<String>()) {
        let _ = TenantKey::parse(&text);
    }

    #[test]
    fn tenants_never_share_a_schema_name(first in tenant(), second in tenant()) {
        let (a, b) = (SqlName::for_tenant("t", first)?, SqlName::for_tenant("t", second)?);
        prop_assert_eq!(a == b, first == second);
    }
}
