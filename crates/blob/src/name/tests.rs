use proptest::prelude::*;

use super::*;

fn tenant(number: u128) -> TenantId {
    TenantId::from_u128(number).unwrap()
}

fn name(tenant_number: u128, kind: &str, id: u128) -> BlobName {
    let at = "2026-02-03T04:05:06Z".parse().unwrap();
    let kind = BlobKind::new(kind).unwrap();
    BlobName::new(
        tenant(tenant_number),
        &kind,
        at,
        BlobId(Uuid::from_u128(id)),
    )
    .unwrap()
}

#[test]
fn a_name_gives_back_its_parts() {
    let name = name(7, "audit-archive", 9);
    assert_eq!(
        name.as_str(),
        "00000000-0000-0000-0000-000000000007/audit-archive/2026/02/\
         00000000-0000-0000-0000-000000000009"
    );
    assert_eq!(name.tenant(), tenant(7));
    assert_eq!(name.kind().as_str(), "audit-archive");
    assert_eq!(name.id(), BlobId(Uuid::from_u128(9)));
}

#[test]
fn what_no_name_is_written_like_is_refused_without_being_repeated() {
    let good = name(7, "exports", 9);
    let good = good.as_str();
    let id = "00000000-0000-0000-0000-000000000009";
    let junk = [
        String::new(),
        "/".repeat(4),
        "x".repeat(1_024),
        format!("{}/{id}", &good[..good.len() - 37]).replace("exports", &"x".repeat(950)),
        format!("/{good}"),
        format!("{good}/"),
        format!("{good}\n"),
        format!(" {good}"),
        good.replace("exports", "Exports"),
        good.replace("exports", ".."),
        good.replace("exports", "exports%2f"),
        good.replace("exports", "exports\\.."),
        good.replace("/2026/", "/+026/"),
        good.replace("/02/", "/13/"),
        good.replace("/02/", "/2/"),
        good.replace("/02/", "/02//"),
        good.replace(id, "00000000-0000-0000-0000-00000000000A"),
        good.replace(id, "00000000000000000000000000000009"),
        good.replace("0007", "0000"),
        good.replace("0000-000000000007", "0000-00000000000A"),
        good.replace("exports", "expor\u{0442}s"),
    ];
    for text in junk {
        let error = text.parse::<BlobName>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text:?}");
        assert!(error.subject().is_empty(), "{text:?}");
    }
    assert_eq!(good.parse::<BlobName>().unwrap().as_str(), good);
}

#[test]
fn a_kind_or_a_tenant_that_begins_another_does_not_mean_it() {
    let kind = |name| BlobKind::new(name).unwrap();
    let report = BlobPrefix::of(tenant(1)).with_kind(&kind("report"));
    assert!(report.includes(&name(1, "report", 1)));
    for other in ["reports", "report-s", "report_", "report1"] {
        assert!(!report.includes(&name(1, other, 1)), "{other}");
    }
    assert!(!BlobPrefix::of(tenant(1)).includes(&name(10, "report", 1)));
    let month = report.clone().with_month(2026, 2).unwrap();
    assert!(month.includes(&name(1, "report", 1)));
    assert!(
        !report
            .clone()
            .with_month(2026, 1)
            .unwrap()
            .includes(&name(1, "report", 1))
    );
    assert!(report.clone().with_month(2026, 13).is_err());
    assert!(BlobPrefix::of(tenant(1)).with_month(2026, 1).is_err());
}

#[test]
fn a_year_of_five_digits_is_refused() {
    let kind = BlobKind::new("exports").unwrap();
    for at in [DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MIN_UTC] {
        assert!(BlobName::new(tenant(1), &kind, at, BlobId::generate()).is_err());
    }
}

proptest! {
    #[test]
    fn what_parses_is_written_the_same(text in "[0-9a-f/.%-]{0,120}") {
        if let Ok(name) = text.parse::<BlobName>() {
            prop_assert_eq!(name.as_str(), &text);
        }
    }

    #[test]
    fn every_name_parses(
        number in 1_u128..u128::MAX,
        kind in "[a-z][a-z0-9_-]{0,62}",
        seconds in 0_i64..200_000_000_000,
        id: u128,
    ) {
        let at = DateTime::from_timestamp(seconds, 0).unwrap();
        let kind = BlobKind::new(&kind).unwrap();
        let name = BlobName::new(tenant(number), &kind, at, BlobId(Uuid::from_u128(id))).unwrap();
        prop_assert_eq!(name.as_str().parse::<BlobName>().unwrap(), name.clone());
        prop_assert_eq!(name.tenant(), tenant(number));
        prop_assert_eq!(name.kind(), kind);
    }
}
