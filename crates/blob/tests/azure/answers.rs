//! Answers that no service gives, and lengths that nobody sends: nothing hangs, no other bytes come, and memory
//! stays flat.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream;
use tenantry_blob::{
    AzureLayout, AzureSettings, BlobKind, BlobName, HoldTag, ListOptions, PutOptions, Retention,
    SweepPolicy, Sweeper, TenantBlobs,
};
use tenantry_core::{Error, ErrorKind, Service, TenantId};
use tokio::time::timeout;

use super::account::{Account, Answer, list, listed};

/// Longer than all that ends.
const LONG: Duration = Duration::from_secs(30);

fn layout() -> AzureLayout {
    AzureLayout::prefix_per_tenant("all").unwrap()
}

/// Waits so long for an answer that no limit of time ends a test.
fn patient(settings: AzureSettings) -> AzureSettings {
    let hours = Duration::from_secs(10_000);
    settings.with_try_timeout(hours).with_deadline(hours)
}

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

/// What an answer means stands in its head.
#[tokio::test]
async fn a_refusal_whose_body_never_comes_is_one() {
    let account = Account::start().await;
    let store = account.store_with(layout(), patient);
    let blobs = store.tenant(TenantId::generate());
    let name = put(&blobs, vec![7; 9_000]).await;
    for (status, code, kind) in [
        (
            "403 Forbidden",
            "AuthorizationFailure",
            ErrorKind::PermissionDenied,
        ),
        ("404 Not Found", "BlobNotFound", ErrorKind::NotFound),
        ("409 Conflict", "BlobArchived", ErrorKind::Rehydrating),
    ] {
        let headers = format!("x-ms-error-code: {code}\r\n");
        account.answers(move |request, _| {
            let is_it = request.is_read();
            is_it.then(|| Answer::without_its_body(status, &headers))
        });
        let range = timeout(LONG, blobs.range(&name, 1..9)).await;
        let error = range.expect("it ends").unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_waits_for_a_body_that_never_comes() {
    let statuses = [
        "200 OK",
        "201 Created",
        "206 Partial Content",
        "404 Not Found",
        "412 Precondition Failed",
        "500 Internal Server Error",
        "503 Service Unavailable",
    ];
    // Each in a task: together they are too much for one stack.
    let ends = statuses.map(|status| tokio::spawn(ends_without_bodies(status)));
    for end in join_all(ends).await {
        end.unwrap();
    }
}

async fn ends_without_bodies(status: &'static str) {
    let account = Account::start().await;
    let blobs = account.tenant();
    let name = put(&blobs, vec![7; 9_000]).await;
    let other = blobs.name(&BlobKind::new("exports").unwrap()).unwrap();
    account.answers(move |request, _| {
        let has_body = request.method != "HEAD";
        has_body.then(|| Answer::without_its_body(status, "etag: \"1\"\r\n"))
    });
    let case = HoldTag::new("case1").unwrap();
    let (get, range, copy, list, hold, delete) = tokio::join!(
        timeout(LONG, blobs.get(&name)),
        timeout(LONG, blobs.range(&name, 1..9)),
        timeout(LONG, blobs.copy(&name, &other, Retention::days(1))),
        timeout(LONG, blobs.list(ListOptions::new())),
        timeout(LONG, blobs.place_hold(&name, &case, "they sue")),
        timeout(LONG, blobs.delete_early(&name, "a request")),
    );
    assert!(get.expect("get ends").is_err(), "{status}");
    assert!(range.expect("range ends").is_err(), "{status}");
    assert!(copy.expect("copy ends").is_err(), "{status}");
    // What is answered by a status alone may be done.
    let _ = list.expect("list ends");
    let _ = hold.expect("hold ends");
    let _ = delete.expect("delete ends");
}

/// Where the look fails, the bytes that are on their way beside it are waited for by nobody.
#[tokio::test]
async fn a_read_ends_with_its_look() {
    let account = Account::start().await;
    let store = account.store_with(layout(), patient);
    let blobs = store.tenant(TenantId::generate());
    let name = blobs.name(&BlobKind::new("exports").unwrap()).unwrap();
    account.answers(|request, _| {
        let is_it = request.is_read();
        is_it.then(|| Answer::without_its_body("200 OK", "etag: \"1\"\r\n"))
    });
    let get = timeout(LONG, blobs.get(&name)).await;
    let error = get.expect("it does not wait").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_without_end_ends() {
    let account = Account::start().await;
    let store = account.store_with(layout(), patient);
    let blobs = store.tenant(TenantId::generate());
    let name = put(&blobs, vec![7; 9_000]).await;
    for status in ["404 Not Found", "500 Internal Server Error"] {
        account.answers(move |request, _| {
            let is_it = request.is_read();
            is_it.then(|| Answer::without_end(status, "", "<Error>"))
        });
        let read = timeout(LONG, blobs.range(&name, 1..9)).await;
        assert!(read.expect("it ends").is_err(), "{status}");
    }
}

#[tokio::test]
async fn of_another_range_than_was_asked_for_no_bytes_come() {
    let account = Account::start().await;
    let blobs = account
        .store_with(layout(), patient)
        .tenant(TenantId::generate());
    let bytes: Vec<u8> = (0..=250).cycle().take(1_000).collect();
    let name = put(&blobs, bytes.clone()).await;
    type Other = fn((usize, usize)) -> (usize, usize);
    let other: [Other; 4] = [
        |(start, end)| (start + 200, end + 200),
        |(start, end)| (start - 100, end),
        |(start, end)| (start, end + 1),
        |(start, end)| (start, end - 1),
    ];
    for other in other {
        account.answers(move |request, blobs| {
            let range = request.is_read().then(|| request.range())??;
            let (_, kept) = blobs.first_key_value()?;
            let told = other(range);
            Some(kept.part(told, told))
        });
        let error = blobs.range(&name, 100..110).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    }
    // All of it is not the part that was asked for, though it is as long.
    account.answers(move |request, blobs| {
        let (start, end) = request.is_read().then(|| request.range())??;
        let (_, kept) = blobs.first_key_value()?;
        Some(kept.whole(end - start))
    });
    let error = blobs.range(&name, 100..110).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    account.answers_as_usual();
    assert_eq!(blobs.range(&name, 100..110).await.unwrap(), bytes[100..110]);
    assert_eq!(blobs.range(&name, 990..1_000).await.unwrap(), bytes[990..]);
}

/// As by a store between, which knows no conditions.
#[tokio::test]
async fn of_another_state_than_was_asked_for_no_bytes_come() {
    let account = Account::start().await;
    let blobs = account
        .store_with(layout(), patient)
        .tenant(TenantId::generate());
    let name = put(&blobs, "the bytes that were put").await;
    for etag in ["etag: \"ff\"\r\n", ""] {
        account.answers(move |request, blobs| {
            let range = request.is_read().then(|| request.range())??;
            let (_, kept) = blobs.first_key_value()?;
            Some(kept.part(range, range).without("etag", etag))
        });
        let error = blobs.range(&name, 0..10).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    }
}

#[tokio::test]
async fn without_the_checksum_that_was_asked_for_no_bytes_come() {
    let account = Account::start().await;
    let tenant = TenantId::generate();
    let blobs = account.store().tenant(tenant);
    let name = put(&blobs, "the bytes that were put").await;
    let empty = put(&blobs, "").await;
    let tells_none = |server: &'static str| {
        account.answers(move |request, blobs| {
            let (start, end) = request.is_read().then(|| request.range())??;
            let kept = blobs.get(request.path())?;
            let range = (start, end.min(kept.length()));
            let is_some = range.0 < range.1;
            is_some.then(|| {
                kept.part(range, range)
                    .without("x-ms-content-crc64", server)
            })
        });
    };
    tells_none("");
    let get = blobs.get(&name).await.unwrap_err();
    let range = blobs.range(&name, 0..10).await.unwrap_err();
    for error in [get, range] {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        assert!(
            format!("{error:?}").contains("without the checksum"),
            "{error:?}"
        );
    }
    assert!(blobs.get(&empty).await.unwrap().bytes.is_empty());
    // Who does not ask misses none.
    let settings = AzureSettings::without_range_checksums;
    let trusting = account.store_with(layout(), settings).tenant(tenant);
    assert_eq!(trusting.range(&name, 0..3).await.unwrap(), "the");
    // Azurite ignores the wish.
    tells_none("server: Azurite-Blob/3.35.0\r\n");
    assert_eq!(blobs.range(&name, 0..3).await.unwrap(), "the");
}

/// The official client reckons with what an answer tells of a range, without a look at it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_beyond_all_numbers_panics_nobody() {
    let account = Account::start().await;
    let blobs = account.tenant();
    let name = put(&blobs, vec![7; 1_000]).await;
    for told in [
        "bytes 0-18446744073709551615/1",
        "bytes 1-18446744073709551615/18446744073709551615",
        "bytes 0-0/18446744073709551615",
        "bytes 9-3/10",
        "bytes */0",
        "bytes",
        "",
    ] {
        account.answers(move |request, _| {
            let headers = format!("etag: \"1\"\r\ncontent-range: {told}\r\n");
            let is_it = request.is_read();
            is_it.then(|| Answer::of("206 Partial Content", &headers, [7; 8]))
        });
        let (get, range) = tokio::join!(blobs.get(&name), blobs.range(&name, 1..9));
        for error in [get.unwrap_err(), range.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{told}: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_list_that_ignores_the_prefix_tells_of_no_other_tenant() {
    let account = Account::start().await;
    let store = account.store();
    let [one, other] = [1, 10].map(|it| store.tenant(TenantId::from_u128(it).unwrap()));
    let name = put(&one, "ours").await;
    let of_other = put(&other, "theirs").await;
    account.answers(|request, blobs| request.is_list().then(|| listed(blobs, "", "")));
    let page = one.list(ListOptions::new()).await.unwrap();
    let names: Vec<_> = page.records.into_iter().map(|it| it.name).collect();
    assert_eq!(names, std::slice::from_ref(&name));
    let report = one.erase("they left").await.unwrap();
    assert!(report.is_complete(), "{report}");
    assert_eq!(report.erased.len(), 1);
    account.answers_as_usual();
    assert_eq!(other.get(&of_other).await.unwrap().bytes, "theirs");
    assert_eq!(
        one.get(&name).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[tokio::test]
async fn a_list_that_does_not_go_on_ends() {
    let account = Account::start().await;
    let tenant = TenantId::generate();
    let blobs = account.store_with(layout(), patient).tenant(tenant);
    put(&blobs, "bytes").await;
    account.answers(|request, _| request.is_list().then(|| list("Blobs", "", "again")));
    let erased = timeout(LONG, blobs.erase("they left")).await;
    erased.expect("an erasure ends").unwrap_err();
    let layouts = [layout(), AzureLayout::container_per_tenant("t").unwrap()];
    for (layout, of) in layouts.into_iter().zip(["Blobs", "Containers"]) {
        account.answers(move |request, _| request.is_list().then(|| list(of, "", "again")));
        let store = account.store_with(layout, patient);
        let sweeper = Sweeper::new(&store, SweepPolicy::default()).unwrap();
        let swept = timeout(LONG, sweeper.run()).await;
        let error = swept.expect("a sweep ends").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unexpected, "{of}: {error:?}");
    }
}

/// Each page goes on elsewhere, and none has a container.
#[tokio::test]
async fn a_list_of_containers_without_end_ends_with_the_deadline() {
    let account = Account::start().await;
    let pages = AtomicUsize::new(0);
    account.answers(move |request, _| {
        let marker = pages.fetch_add(1, Ordering::Relaxed).to_string();
        request.is_list().then(|| list("Containers", "", &marker))
    });
    let layout = AzureLayout::container_per_tenant("t").unwrap();
    let store = account.store_with(layout, |settings| settings);
    let sweeper = Sweeper::new(&store, SweepPolicy::default()).unwrap();
    let swept = timeout(LONG, sweeper.run()).await;
    let error = swept.expect("a sweep ends").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_is_longer_than_what_was_asked_for_is_none() {
    let account = Account::start().await;
    let blobs = account
        .store_with(layout(), patient)
        .tenant(TenantId::generate());
    let begin = "<EnumerationResults><Blobs><Blob><Name>a</Name></Blob>";
    account.answers(move |request, _| {
        let is_it = request.is_list();
        is_it.then(|| Answer::without_end("200 OK", "", begin))
    });
    let page = timeout(LONG, blobs.list(ListOptions::new().with_limit(100))).await;
    let error = page.expect("it ends").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected, "{error:?}");
}
