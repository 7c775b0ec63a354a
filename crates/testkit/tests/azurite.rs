//! Azurite, started, stopped and started again, and the front before it.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use tenantry_testkit::{AzuriteOptions, AzuriteServer, Result, Settings, StopMode, Way, WormFront};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Returns what a server answers to a request without a signature.
async fn asked(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // All that an operation needs is said, or that is refused first.
    let request = format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\
         x-ms-version: 2026-04-06\r\nx-ms-legal-hold: true\r\n\
         x-ms-immutability-policy-until-date: Fri, 01 Jan 2100 00:00:00 GMT\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn an_account_is_stopped_and_started_again_on_its_port() -> Result<()> {
    let server = AzuriteServer::start().await?;
    let other = AzuriteServer::start().await?;
    assert_ne!(server.address(), other.address());
    assert_ne!(server.key(), other.key());
    assert!(!format!("{server:?}").contains(server.key()));
    let address = server.address();
    for mode in [StopMode::Immediate, StopMode::Fast] {
        assert!(
            asked(&address, "GET /devstoreaccount1?comp=list")
                .await
                .contains("403")
        );
        server.stop(mode).await?;
        TcpStream::connect(&address).await.unwrap_err();
        server.restart().await?;
    }
    // Under its URL it is found like one of somebody else.
    let settings = Settings::from_env()?
        .with_way(Way::Url)
        .with_azurite_url(server.url_with_key());
    let found = AzuriteServer::find(&settings).await?;
    assert_eq!((found.url(), found.key()), (server.url(), server.key()));
    assert!(
        found.stop(StopMode::Fast).await.is_err(),
        "it is not ours to stop"
    );
    Ok(())
}

#[tokio::test]
async fn over_https_there_is_a_certificate_and_a_token() -> Result<()> {
    let server = AzuriteServer::start_with(AzuriteOptions::default().with_tls()).await?;
    assert!(server.url().starts_with("https://127.0.0.1:"));
    assert!(
        server
            .certificate_pem()
            .is_some_and(|pem| pem.contains("BEGIN CERTIFICATE"))
    );
    assert_eq!(server.token().split('.').count(), 3);
    Ok(())
}

#[tokio::test]
async fn a_url_that_is_none_says_how_one_is_written() {
    for url in [
        "",
        "redis://localhost",
        "http://127.0.0.1:10000",
        "https://127.0.0.1/x",
    ] {
        let settings = Settings::from_env()
            .unwrap()
            .with_way(Way::Url)
            .with_azurite_url(url);
        let error = AzuriteServer::find(&settings).await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("http://127.0.0.1:10000/devstoreaccount1"),
            "{error}"
        );
    }
}

/// Who may change a lock is for the account to say.
#[tokio::test]
async fn the_front_lets_nobody_in_whom_the_account_does_not() -> Result<()> {
    let server = AzuriteServer::start().await?;
    let front = WormFront::start(&server).await?;
    let address = front.url().trim_start_matches("http://");
    let address = address.split('/').next().unwrap();
    for request in [
        "GET /devstoreaccount1?comp=list",
        "PUT /devstoreaccount1/reports/b?comp=legalhold",
        "PUT /devstoreaccount1/reports/b?comp=immutabilityPolicies",
        "DELETE /devstoreaccount1/reports/b?comp=immutabilityPolicies",
    ] {
        let answer = asked(address, request).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{request}: {answer}");
    }
    assert_eq!(front.requests(), 4);
    Ok(())
}
