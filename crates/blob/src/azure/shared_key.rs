//! Requests and signatures by a key of the account, which the official client has none of.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::base64;
use azure_core::http::headers::{AUTHORIZATION, Headers};
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Request, Url};
use azure_core::time::{OffsetDateTime, to_rfc7231};
use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac as _};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tenantry_core::{Clock as _, Result, Secret, SystemClock};

use super::settings::invalid;

/// The version of shared access signatures that is written: the first with encryption scopes in them.
const SIGNATURE_VERSION: &str = "2020-12-06";

/// A key of an account.
pub(super) struct AccountKey {
    account: String,
    /// With the key taken in: the key itself is kept nowhere else.
    mac: Hmac<sha2::Sha256>,
}

impl AccountKey {
    pub(super) fn new(account: &str, key: &Secret) -> Result<Self> {
        let key = base64::decode(key.expose()).map_err(|_| invalid("the key is no Base64"))?;
        if key.is_empty() {
            return Err(invalid("the key is empty"));
        }
        let mac = Hmac::new_from_slice(&key).map_err(|_| invalid("the key is none"))?;
        Ok(Self {
            account: account.to_owned(),
            mac,
        })
    }

    fn sign(&self, text: &str) -> String {
        let mut mac = self.mac.clone();
        mac.update(text.as_bytes());
        base64::encode(mac.finalize().into_bytes())
    }

    /// Returns the query by which whoever has it reads one blob until a time.
    pub(super) fn signature_to_read(
        &self,
        (container, blob): (&str, &str),
        until: DateTime<Utc>,
        protocol: &str,
    ) -> String {
        let until = until.format("%FT%TZ").to_string();
        let resource = format!("/blob/{}/{container}/{blob}", self.account);
        // Permissions, start, end, what, policy, addresses, protocol, version, kind of what, snapshot,
        // encryption scope, and five headers of the answer.
        let text = format!(
            "r\n\n{until}\n{resource}\n\n\n{protocol}\n{SIGNATURE_VERSION}\nb\n\n\n\n\n\n\n"
        );
        let signature = self.sign(&text);
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        format!(
            "sv={SIGNATURE_VERSION}&sr=b&sp=r&se={}&spr={}&sig={}",
            encoded(&until),
            encoded(protocol),
            encoded(&signature)
        )
    }
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountKey")
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

/// Signs each try of a request, as it leaves.
#[derive(Debug)]
pub(super) struct SharedKey(Arc<AccountKey>);

impl SharedKey {
    pub(super) const fn new(key: Arc<AccountKey>) -> Self {
        Self(key)
    }
}

#[allow(
    elided_lifetimes_in_paths,
    reason = "as the trait has it, without a name for the lifetime"
)]
#[async_trait]
impl Policy for SharedKey {
    async fn send(
        &self,
        context: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        // The service refuses a request that is older than a quarter of an hour by its own clock.
        let now = SystemClock.now().timestamp();
        let now = OffsetDateTime::from_unix_timestamp(now).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        request.insert_header("x-ms-date", to_rfc7231(&now));
        let signature = self.0.sign(&text_to_sign(&self.0.account, request));
        request.insert_header(
            AUTHORIZATION,
            format!("SharedKey {}:{signature}", self.0.account),
        );
        next[0].send(context, request, &next[1..]).await
    }
}

/// Returns what is signed of a request: <https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>.
fn text_to_sign(account: &str, request: &Request) -> String {
    let headers = request.headers();
    let length = match request.body().len() {
        None | Some(0) => String::new(),
        Some(length) => length.to_string(),
    };
    let mut text = format!("{}\n", request.method());
    for name in ["content-encoding", "content-language"] {
        let _ = writeln!(text, "{}", header(headers, name));
    }
    let _ = writeln!(text, "{length}");
    // In place of the date there is a header of the service's own.
    for name in [
        "content-md5",
        "content-type",
        "",
        "if-modified-since",
        "if-match",
        "if-none-match",
        "if-unmodified-since",
        "range",
    ] {
        let _ = writeln!(text, "{}", header(headers, name));
    }
    let own: BTreeMap<_, _> = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_ascii_lowercase(), value.as_str()))
        .filter(|(name, _)| name.starts_with("x-ms-"))
        .collect();
    for (name, value) in own {
        let _ = writeln!(text, "{name}:{}", value.trim());
    }
    text.push_str(&resource(account, request.url()));
    text
}

fn header<'h>(headers: &'h Headers, name: &'static str) -> &'h str {
    match name {
        "" => "",
        name => headers.get_optional_str(&name.into()).unwrap_or_default(),
    }
}

fn resource(account: &str, url: &Url) -> String {
    let mut text = format!("/{account}{}", url.path());
    let mut query: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in url.query_pairs() {
        let values = query.entry(name.to_ascii_lowercase()).or_default();
        values.push(value.into_owned());
    }
    for (name, mut values) in query {
        values.sort();
        let _ = write!(text, "\n{name}:{}", values.join(","));
    }
    text
}

#[cfg(test)]
mod tests {
    use azure_core::http::Method;

    use super::*;

    #[test]
    fn what_is_signed_is_what_the_service_signs() {
        // The example of the documentation, but for the version of it.
        let url = "http://myaccount.blob.core.windows.net/mycontainer?restype=container&comp=metadata&timeout=20";
        let mut request = Request::new(url.parse().unwrap(), Method::Get);
        request.insert_header("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT");
        request.insert_header("x-ms-version", "2015-02-21");
        assert_eq!(
            text_to_sign("myaccount", &request),
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\n\
             x-ms-version:2015-02-21\n/myaccount/mycontainer\ncomp:metadata\nrestype:container\n\
             timeout:20"
        );
    }

    #[test]
    fn a_key_is_shown_nowhere() {
        let key = AccountKey::new("billing", &Secret::new("Y2FuYXJ5")).unwrap();
        let key = Arc::new(key);
        let shown = format!("{key:?} {:?}", SharedKey::new(Arc::clone(&key)));
        assert!(
            !shown.contains("canary") && !shown.contains("Y2FuYXJ5"),
            "{shown}"
        );
        for key in ["", "canary!"] {
            let error = AccountKey::new("billing", &Secret::new(key)).unwrap_err();
            assert!(!format!("{error:?}").contains("canary"));
        }
    }
}
