//! The checksum of bytes that are put by one request, for which the official client has no argument.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::base64;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Request};

use crate::integrity::Crc64;

/// Returns a checksum as the service writes it.
pub(super) fn written(crc64: Crc64) -> Vec<u8> {
    crc64.0.to_le_bytes().to_vec()
}

/// Returns the checksum that a header tells.
pub(super) fn read(bytes: &[u8]) -> Option<Crc64> {
    Some(Crc64(u64::from_le_bytes(bytes.try_into().ok()?)))
}

/// Stands in the context of a request whose body has this checksum.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyChecksum(pub(super) Crc64);

/// Adds the checksum of the body to a request that carries a whole blob.
#[derive(Debug)]
pub(super) struct OneRequest;

#[allow(
    elided_lifetimes_in_paths,
    reason = "as the trait has it, without a name for the lifetime"
)]
#[async_trait]
impl Policy for OneRequest {
    async fn send(
        &self,
        context: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        if let Some(BodyChecksum(crc64)) = context.value() {
            request.insert_header("x-ms-content-crc64", base64::encode(written(*crc64)));
        }
        next[0].send(context, request, &next[1..]).await
    }
}
