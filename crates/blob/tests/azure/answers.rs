//! Answers that no service gives, and lengths that nobody sends: nothing hangs, no other bytes come, and memory
//! stays flat.

use bytes::Bytes;
use futures_util::stream;
use tenantry_blob::{
    BlobKind, BlobName, ListOptions, PutOptions, Retention,
    TenantBlobs,
};
use tenantry_core::{Error, ErrorKind, Service, TenantId};

use super::account::Account;

fn options() -> PutOptions {
    PutOptions::new(Service::Reporting, Retention::days(1))
}

async fn put(blobs: &TenantBlobs, bytes: impl Into<Bytes>) -> BlobName {
    let name = blobs.name(&BlobKind::new("exports").unwrap()).unwrap();
    blobs.put_bytes(&name, options(), bytes).await.unwrap();
    name
}

#[tokio::test]
async fn an_account_of_a_test_answers_as_a_service_does() {
    let account = Account::start().await;
    let store = account.store();
    let [one, other] = [1, 10].map(|it| store.tenant(TenantId::from_u128(it).unwrap()));
    let name = put(&one, vec![7; 9_000]).await;
    let of_other = put(&other, "theirs").await;
    assert_eq!(one.get(&name).await.unwrap().bytes, vec![7; 9_000]);
    assert_eq!(one.range(&name, 10..20).await.unwrap(), [7; 10][..]);
    let page = one.list(ListOptions::new()).await.unwrap();
    assert_eq!(page.records.len(), 1);
    let report = one.erase("they left").await.unwrap();
    assert!(report.is_complete() && report.erased.len() == 1, "{report}");
    assert_eq!(other.get(&of_other).await.unwrap().bytes, "theirs");
}

#[tokio::test]
async fn a_length_that_is_only_said_takes_no_memory() {
    const LONGEST: u64 = 50_000 * 4_000 * 1024 * 1024;
    let account = Account::start().await;
    let blobs = account.tenant();
    let put = async |length| {
        let name = blobs.name(&BlobKind::new("exports").unwrap())?;
        let piece = Bytes::from(vec![1; 16 * 1024]);
        let body = stream::iter((0..16).map(move |_| Ok::<_, Error>(piece.clone())));
        let options = options().with_length(length);
        blobs.put(&name, options, body).await.map(drop)
    };
    for length in [LONGEST + 1, 1 << 58, u64::MAX] {
        let error = put(length).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
        assert!(format!("{error:?}").contains("50,000 blocks"), "{error:?}");
    }
    let error = put(LONGEST).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    assert!(format!("{error:?}").contains("fewer bytes"), "{error:?}");
}
