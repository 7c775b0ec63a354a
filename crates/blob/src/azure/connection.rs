//! The way to the account.

use std::sync::Arc;
use std::time::Duration;

use azure_core::http::policies::Policy;
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_storage_blob::models::BlobClientDownloadOptions;
use azure_storage_blob::{BlobServiceClient, BlobServiceClientOptions};
use reqwest::redirect;
use tenantry_core::Result;

use super::answer::Answers;
use super::checksum::OneRequest;
use super::credential::Source;
use super::retry::Retry;
use super::settings::{AzureSettings, invalid, is_here};
use super::shared_key::{AccountKey, SharedKey};
use super::signature::SharedAccessSignature;
use crate::tls::tls;

/// How long a connection may take to stand, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the client of an account, its name, and its key where that is the credential.
pub(super) fn connect(
    settings: &AzureSettings,
) -> Result<(BlobServiceClient, String, Option<Arc<AccountKey>>)> {
    let (url, account) = settings.endpoint()?;
    if shows_values() {
        return Err(invalid(
            "the feature `debug` of azure_core is on, with which credentials are logged: find by \
             `cargo tree -e features -i typespec_client_core` who asks for it",
        ));
    }
    let is_https = url.scheme() == "https";
    let tls = tls(&settings.authorities, invalid)?;
    let mut client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .https_only(is_https);
    if url.host_str().is_some_and(is_here) {
        client = client.no_proxy();
    }
    let client = client
        .build()
        .map_err(|_| invalid("the HTTP client cannot be set up"))?;
    let mut key = None;
    let mut token = None;
    let mut per_try: Vec<Arc<dyn Policy>> = Vec::new();
    match &settings.credential.0 {
        Source::Entra(credential) if is_https => token = Some(Arc::clone(credential)),
        Source::Identity(identity) if is_https => {
            let way = identity
                .way(&tls)
                .map_err(|_| invalid("the HTTP client cannot be set up"))?;
            let connected = identity.connect(way);
            token = Some(connected.map_err(|_| invalid(identity.missing()))?);
        }
        Source::Identity(_) | Source::Entra(_) => {
            return Err(invalid("a token of Entra ID is sent over https alone"));
        }
        Source::SharedAccessSignature(query) => {
            per_try.push(Arc::new(SharedAccessSignature::new(query)?));
        }
        Source::SharedKey(secret) => {
            let of_account = Arc::new(AccountKey::new(&account, secret)?);
            per_try.push(Arc::new(SharedKey::new(Arc::clone(&of_account))));
            key = Some(of_account);
        }
    }
    let client_options = ClientOptions {
        per_call_policies: vec![
            Arc::new(OneRequest),
            Arc::new(Retry::new(settings.try_timeout, settings.deadline)),
        ],
        per_try_policies: per_try,
        retry: RetryOptions::none(),
        transport: Some(Transport::with_policy(Arc::new(Answers::by(client)))),
        ..ClientOptions::default()
    };
    let options = BlobServiceClientOptions {
        client_options,
        ..BlobServiceClientOptions::default()
    };
    let client = BlobServiceClient::new(url, token, Some(options))
        .map_err(|_| invalid("the official client cannot be set up"))?;
    Ok((client, account, key))
}

/// Returns whether the official crates were built to show values.
fn shows_values() -> bool {
    let canary = BlobClientDownloadOptions {
        encryption_key: Some("canary".to_owned()),
        ..BlobClientDownloadOptions::default()
    };
    format!("{canary:?}").contains("canary")
}
