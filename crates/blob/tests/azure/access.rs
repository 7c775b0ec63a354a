//! Who may do what: signed URLs, credentials, and what errors and traces show of them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::time::OffsetDateTime;
use tenantry_blob::{
    AzureBlobs, AzureCredential, AzureSettings, BlobKind, BlobName, BlobStore, ListOptions,
    PutOptions, Retention, TenantBlobs, Tier,
};
use tenantry_core::{ErrorKind, Secret, Service, TenantId};
use tenantry_testkit::{AzuriteOptions, AzuriteServer, BlobFault, WormFront};

use super::{layouts, open, settings};

async fn put(blobs: &TenantBlobs, bytes: &'static str) -> BlobName {
    let name = blobs.name(&BlobKind::new("exports").unwrap()).unwrap();
    let options = PutOptions::new(Service::Reporting, Retention::days(1));
    blobs.put_bytes(&name, options, bytes).await.unwrap();
    name
}

fn client(builder: reqwest::ClientBuilder) -> reqwest::Client {
    // Whoever was first has set it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    builder.no_proxy().build().unwrap()
}

/// Holds a URL to what it is for: this one blob, read, until its time.
async fn assert_reads_one_blob(client: &reqwest::Client, blobs: &TenantBlobs) {
    let (one, other) = (put(blobs, "one").await, put(blobs, "other").await);
    let signed = blobs
        .signed_url(&one, Duration::from_secs(60))
        .await
        .unwrap();
    let url = signed.url.expose();
    assert!(!format!("{signed:?}").contains("sig="));
    let read = client.get(url).send().await.unwrap();
    assert_eq!(read.status(), 200);
    assert_eq!(read.text().await.unwrap(), "one");
    let elsewhere = url.replace(&one.id().to_string(), &other.id().to_string());
    assert_ne!(elsewhere, url);
    assert_eq!(client.get(&elsewhere).send().await.unwrap().status(), 403);
    assert_eq!(client.delete(url).send().await.unwrap().status(), 403);
    let written = client
        .put(url)
        .header("x-ms-blob-type", "BlockBlob")
        .body("x");
    assert_eq!(written.send().await.unwrap().status(), 403);
    let short = blobs
        .signed_url(&one, Duration::from_secs(1))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(
        client
            .get(short.url.expose())
            .send()
            .await
            .unwrap()
            .status(),
        403
    );
    assert_eq!(blobs.get(&one).await.unwrap().bytes, "one");
}

#[tokio::test]
async fn a_url_signed_by_a_key_reads_one_blob_for_a_time() {
    let server = AzuriteServer::shared().await.unwrap();
    let client = client(reqwest::Client::builder());
    for layout in layouts() {
        let store = BlobStore::new(open(settings(server.url(), server, layout)));
        assert_reads_one_blob(&client, &store.tenant(TenantId::generate())).await;
    }
}

#[derive(Debug)]
struct Token(String);

#[async_trait]
impl TokenCredential for Token {
    async fn get_token(
        &self,
        scopes: &[&str],
        _options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        assert_eq!(scopes, ["https://storage.azure.com/.default"]);
        let until = OffsetDateTime::now_utc() + Duration::from_secs(3_000);
        Ok(AccessToken::new(self.0.clone(), until))
    }
}

#[tokio::test]
async fn an_identity_of_entra_reads_writes_and_signs() {
    let options = AzuriteOptions::default().with_tls();
    let server = AzuriteServer::start_with(options).await.unwrap();
    let pem = server.certificate_pem().unwrap();
    let trusted = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
    let client = client(reqwest::Client::builder().tls_certs_only([trusted]));
    for layout in layouts() {
        let identity = AzureCredential::custom(Arc::new(Token(server.token())));
        let settings = AzureSettings::new(server.url(), layout.clone(), identity.clone());
        let store = BlobStore::new(open(settings.clone().with_ca_certificate(pem)));
        assert_reads_one_blob(&client, &store.tenant(TenantId::generate())).await;

        let distrustful = BlobStore::new(open(settings)).tenant(TenantId::generate());
        let listed = distrustful.list(ListOptions::new()).await.unwrap_err();
        assert_eq!(listed.kind(), ErrorKind::TlsFailed, "{listed:?}");
        let clear = server.url().replace("https", "http");
        let error = AzureBlobs::new(AzureSettings::new(clear, layout, identity)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSettings);
    }
}

/// A URL that reads one blob is a signature as well: with it that blob is read, and nothing else done.
#[tokio::test]
async fn a_shared_access_signature_does_what_it_is_for() {
    let server = AzuriteServer::shared().await.unwrap();
    let [_, layout] = layouts();
    let store = BlobStore::new(open(settings(server.url(), server, layout.clone())));
    let blobs = store.tenant(TenantId::generate());
    let name = put(&blobs, "one").await;
    let signed = blobs
        .signed_url(&name, Duration::from_secs(60))
        .await
        .unwrap();
    let query = signed.url.expose().split_once('?').unwrap().1.to_owned();
    let credential = AzureCredential::shared_access_signature(Secret::new(query));
    let store = BlobStore::new(open(AzureSettings::new(server.url(), layout, credential)));
    let blobs = store.tenant(name.tenant());
    assert_eq!(blobs.get(&name).await.unwrap().bytes, "one");
    let refused = blobs.delete_early(&name, "a whim").await.unwrap_err();
    let kinds = [ErrorKind::PermissionDenied, ErrorKind::AuthenticationFailed];
    assert!(kinds.contains(&refused.kind()), "{refused:?}");
    let signed = blobs
        .signed_url(&name, Duration::from_secs(60))
        .await
        .unwrap_err();
    assert_eq!(signed.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_wrong_key_is_told_of() {
    // Azurite has the code of network rules for it.
    let refused = [ErrorKind::AuthenticationFailed, ErrorKind::PermissionDenied];
    let server = AzuriteServer::shared().await.unwrap();
    for layout in layouts() {
        let credential = AzureCredential::shared_key(Secret::new("Y2FuYXJ5"));
        let settings = AzureSettings::new(server.url(), layout, credential);
        let blobs = BlobStore::new(open(settings)).tenant(TenantId::generate());
        let error = blobs.list(ListOptions::new()).await.unwrap_err();
        assert!(refused.contains(&error.kind()), "{error:?}");
        let name = blobs.name(&BlobKind::new("exports").unwrap()).unwrap();
        let error = blobs.head(&name).await.unwrap_err();
        assert!(refused.contains(&error.kind()), "{error:?}");
        assert_eq!(error.subject(), name.as_str());
    }
}

/// Everything is traced at the finest level while all goes wrong: no part of it has the canary.
#[tokio::test]
async fn no_error_and_no_trace_shows_a_credential() {
    use std::io::Write as _;
    let shown = Arc::new(std::sync::Mutex::new(Vec::new()));
    let writer = Arc::clone(&shown);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || Writer(Arc::clone(&writer)))
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = AzuriteServer::shared().await.unwrap();
    let front = WormFront::start(server).await.unwrap();
    let key = "Y2FuYXJ5LWNhbmFyeS1jYW5hcnk=";
    let signature = "sv=2026-04-06&sp=rwdl&sig=canarycanarycanary";
    let credentials = [
        AzureCredential::shared_key(Secret::new(key)),
        AzureCredential::shared_access_signature(Secret::new(signature)),
    ];
    let mut texts = Vec::new();
    for credential in credentials {
        let [layout, _] = layouts();
        texts.push(format!("{credential:?}"));
        let settings = AzureSettings::new(front.url(), layout, credential)
            .with_try_timeout(Duration::from_millis(200))
            .with_deadline(Duration::from_millis(400));
        texts.push(format!("{settings:?}"));
        let backend = open(settings);
        texts.push(format!("{backend:?}"));
        let blobs = BlobStore::new(backend).tenant(TenantId::generate());
        let name = blobs.name(&BlobKind::new("exports").unwrap()).unwrap();
        for fault in [
            None,
            Some(BlobFault::CutWithin(0)),
            Some(BlobFault::Silence),
            Some(BlobFault::Refused {
                status: 500,
                code: "InternalError",
                retry_after: None,
            }),
        ] {
            if let Some(fault) = fault {
                for method in ["GET", "PUT", "HEAD", "DELETE"] {
                    front.inject_at(fault, (method, ""), 0, 20);
                }
            }
            let options = PutOptions::new(Service::Reporting, Retention::days(1));
            let long = vec![0; 5 * 1024 * 1024];
            let outcomes = [
                blobs.put_bytes(&name, options, long).await.map(drop),
                blobs.get(&name).await.map(drop),
                blobs.list(ListOptions::new()).await.map(drop),
                blobs.set_tier(&name, Tier::Cool).await.map(drop),
                blobs.delete_early(&name, "a whim").await,
            ];
            for error in outcomes.into_iter().map(Result::unwrap_err) {
                let mut cause: Option<&dyn std::error::Error> = Some(&error);
                while let Some(it) = cause {
                    texts.push(format!("{it} {it:?}"));
                    cause = it.source();
                }
            }
        }
    }
    texts.push(String::from_utf8_lossy(&shown.lock().unwrap()).into_owned());
    writeln!(
        std::io::stdout(),
        "{} bytes of traces",
        texts.last().unwrap().len()
    )
    .unwrap();
    for text in texts {
        for canary in ["canary", "Y2FuYXJ5", "SharedKey devstore", "sig=c"] {
            let found = text
                .find(canary)
                .map(|at| &text[at.saturating_sub(200)..at + 30]);
            assert_eq!(found, None);
        }
    }
}

struct Writer(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The rules of a life cycle find a blob by its class and its kind, beside the tags of the service's own.
#[tokio::test]
async fn a_blob_says_its_class_and_kind_where_rules_are_to_find_it() {
    let server = AzuriteServer::shared().await.unwrap();
    let client = client(reqwest::Client::builder());
    let tags = tenantry_blob::Tags::new().with("team", "data").unwrap();
    for (layout, finds) in layouts().into_iter().zip([true, false]) {
        let settings = settings(server.url(), server, layout);
        let settings = match finds {
            true => settings.with_lifecycle_tags(),
            false => settings,
        };
        let store = BlobStore::new(open(settings));
        for tenant in [TenantId::generate(), TenantId::generate()] {
            let blobs = store.tenant(tenant);
            let name = blobs.name(&BlobKind::new("exports").unwrap()).unwrap();
            let options = PutOptions::new(Service::Reporting, Retention::days(1));
            let options = options.with_tags(tags.clone());
            let put = blobs.put_bytes(&name, options, "bytes").await.unwrap();
            assert_eq!(put.record.tags, tags);
            assert_eq!(blobs.head(&name).await.unwrap().tags, tags);
            let minute = Duration::from_secs(60);
            let signed = blobs.signed_url(&name, minute).await.unwrap();
            let read = client.get(signed.url.expose()).send().await.unwrap();
            let count = if finds { "3" } else { "1" };
            assert_eq!(read.headers()["x-ms-tag-count"], count);
        }
    }
}
