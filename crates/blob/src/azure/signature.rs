//! Requests by a shared access signature.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Request};
use tenantry_core::{Result, Secret};

use super::settings::invalid;

/// Adds a shared access signature to each try of a request: no URL that is kept or shown has it.
pub(super) struct SharedAccessSignature(Arc<Secret>);

impl SharedAccessSignature {
    pub(super) fn new(query: &Arc<Secret>) -> Result<Self> {
        let text = query.expose().trim_start_matches('?');
        let has = |name: &str| text.split('&').any(|pair| pair.starts_with(name));
        if !has("sig=") || !has("sv=") || text.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(invalid(
                "expected a shared access signature as a query, with sv= and sig= in it",
            ));
        }
        Ok(Self(Arc::clone(query)))
    }
}

#[allow(
    elided_lifetimes_in_paths,
    reason = "as the trait has it, without a name for the lifetime"
)]
#[async_trait]
impl Policy for SharedAccessSignature {
    async fn send(
        &self,
        context: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let signature = self.0.expose().trim_start_matches('?');
        let query = match request.url().query() {
            None | Some("") => signature.to_owned(),
            Some(query) => format!("{query}&{signature}"),
        };
        request.url_mut().set_query(Some(&query));
        next[0].send(context, request, &next[1..]).await
    }
}

impl fmt::Debug for SharedAccessSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedAccessSignature")
    }
}
