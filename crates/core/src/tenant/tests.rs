use proptest::prelude::*;
use serde::de::IntoDeserializer;
use serde_json::json;

use super::*;
use crate::ErrorKind;

const LOWER: &str = "0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a";

#[test]
fn hyphenated_form_parses_in_lower_and_in_upper_case() {
    let tenant: TenantId = LOWER.parse().unwrap();
    assert_eq!(LOWER.to_uppercase().parse::<TenantId>().unwrap(), tenant);
    assert_eq!(tenant.to_string(), LOWER);
    assert_eq!(format!("{tenant:?}"), format!("TenantId({LOWER})"));
    assert_eq!(Uuid::parse_str(LOWER).unwrap(), tenant.as_uuid());
}

#[test]
fn junk_is_not_constructible() {
    let simple = LOWER.replace('-', "");
    for text in [
        "",
        " ",
        "*",
        "%",
        "0",
        "-1",
        "null",
        "NULL",
        "default",
        "\"; drop",
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "0190B5a4-8f2e-7c3d-9a61-4f0e5d2c1b7a",
        &simple,
        &format!("{{{LOWER}}}"),
        &format!("urn:uuid:{LOWER}"),
        &format!("{LOWER}\n"),
        &format!("{LOWER}\r\n"),
        &format!("{LOWER}\0"),
        &format!(" {LOWER}"),
        &format!("{LOWER} "),
        &format!("{}\n", &LOWER[..35]),
        &LOWER[..35],
        &"a".repeat(36),
        &"a".repeat(64),
        &LOWER.replace('-', "_"),
        &LOWER.replace('-', "–"),
        "0190b5a48-f2e-7c3d-9a61-4f0e5d2c1b7a",
        "0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7g",
        "0190b5a4-8f2e-7c3d-9a61-4f0e5d2c1bé",
        "٠190b5a4-8f2e-7c3d-9a61-4f0e5d2c1b7",
    ] {
        let error = text.parse::<TenantId>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text:?}");
        assert!(TenantId::try_from(text).is_err(), "{text:?}");
        assert!(
            serde_json::from_value::<TenantId>(json!(text)).is_err(),
            "{text:?}"
        );
    }
}

#[test]
fn nil_and_max_are_refused_from_uuids_and_numbers() {
    for number in [0, u128::MAX] {
        assert_eq!(TenantId::from_u128(number), None);
        let error = TenantId::new(Uuid::from_u128(number)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(TenantId::try_from(Uuid::from_u128(number)).is_err());
    }
}

#[test]
fn refusal_does_not_repeat_the_text() {
    let error = "hunter2".parse::<TenantId>().unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn only_a_string_deserialises_from_json() {
    for value in [
        json!(null),
        json!(0),
        json!(true),
        json!([LOWER]),
        json!({ "id": LOWER }),
    ] {
        assert!(
            serde_json::from_value::<TenantId>(value.clone()).is_err(),
            "{value}"
        );
    }
}

#[test]
fn generated_ids_ascend_and_are_of_version_7() {
    let (first, second) = (TenantId::generate(), TenantId::generate());
    assert!(first < second);
    assert_eq!(first.as_uuid().get_version_num(), 7);
}

#[test]
fn compact_formats_take_exactly_sixteen_valid_bytes() {
    let tenant: TenantId = LOWER.parse().unwrap();
    assert_eq!(
        TenantId::deserialize(Compact(tenant.as_uuid().as_bytes())).unwrap(),
        tenant
    );
    for bytes in [
        &[][..],
        &[1; 15],
        &[1; 17],
        &[0; 16],
        &[0xff; 16],
        LOWER.as_bytes(),
    ] {
        assert!(TenantId::deserialize(Compact(bytes)).is_err(), "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn every_form_round_trips(number in 1..u128::MAX) {
        let tenant = TenantId::from_u128(number).unwrap();
        prop_assert_eq!(tenant.to_string().parse::<TenantId>()?, tenant);
        prop_assert_eq!(tenant.to_string().to_uppercase().parse::<TenantId>()?, tenant);
        let json = serde_json::to_string(&tenant)?;
        prop_assert_eq!(&json, &format!("\"{tenant}\""));
        prop_assert_eq!(serde_json::from_str::<TenantId>(&json)?, tenant);
    }

    #[test]
    fn what_parses_is_the_text_of_that_tenant(text in "[0-9a-fA-F-]{34,38}|\\PC{0,40}") {
        if let Ok(tenant) = text.parse::<TenantId>() {
            prop_assert_eq!(tenant.to_string(), text.to_lowercase());
        }
    }
}

/// A format that is not for people, reduced to what a tenant id reads.
struct Compact<'a>(&'a [u8]);

impl<'de> Deserializer<'de> for Compact<'de> {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.0.into_deserializer().deserialize_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}
