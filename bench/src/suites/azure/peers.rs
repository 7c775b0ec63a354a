//! An Azurite, and three ways into it.

use std::hint::black_box;
use std::num::NonZero;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use azure_core::http::Body;
use azure_core::stream::SeekableStream;
use azure_storage_blob::BlobServiceClient;
use azure_storage_blob::models::{BlobClientDownloadOptions, BlockBlobClientUploadOptions};
use bytes::Bytes;
use futures_util::{AsyncRead, Stream, StreamExt as _, TryStreamExt as _, stream};
use object_store::azure::{MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStoreExt as _, WriteMultipart};
use tenantry_blob::{
    AzureBlobs, AzureCredential, AzureLayout, AzureSettings, BlobKind, BlobStore, PutOptions,
    Retention, TenantBlobs,
};
use tenantry_core::{Secret, Service, TenantId};
use tenantry_testkit::AzuriteServer;

use crate::error::{Error, Result};

pub(super) const MIB: usize = 1024 * 1024;
/// How long the blocks are of those that let one choose, as ours.
const BLOCK: usize = 4 * MIB;
/// How many requests are under way at a time, as with ours.
const AT_ONCE: usize = 4;
pub(super) const CONTAINER: &str = "measured";

/// Who puts and reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// With checksums, on both ways.
    Ours,
    /// The official client alone, with the transport of ours and without checksums.
    Client,
    /// `object_store`, which reads a blob by one request.
    Objects,
}

pub(super) const SIDES: [Side; 3] = [Side::Ours, Side::Client, Side::Objects];

impl Side {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ours => "tenantry",
            Self::Client => "client",
            Self::Objects => "object_store",
        }
    }
}

/// An account of an Azurite of its own, which is gone with the value, and all that it keeps.
pub(super) struct Account {
    _server: AzuriteServer,
    pub(super) blobs: TenantBlobs,
    pub(super) client: BlobServiceClient,
    pub(super) objects: MicrosoftAzure,
}

impl Account {
    pub(super) async fn start() -> Result<Self> {
        let server = AzuriteServer::start().await?;
        let layout = AzureLayout::prefix_per_tenant(CONTAINER)?;
        let key = AzureCredential::shared_key(Secret::new(server.key()));
        let settings = AzureSettings::new(server.url(), layout, key);
        let client = AzureBlobs::official_client(&settings)?;
        client.blob_container_client(CONTAINER).create(None).await?;
        // Whoever came first has set it: it is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let objects = MicrosoftAzureBuilder::new()
            .with_account(server.account())
            .with_access_key(server.key())
            .with_endpoint(server.url().to_owned())
            .with_container_name(CONTAINER)
            .with_allow_http(true)
            .build()?;
        let backend = Arc::new(AzureBlobs::new(settings)?);
        Ok(Self {
            blobs: BlobStore::new(backend).tenant(TenantId::generate()),
            client,
            objects,
            _server: server,
        })
    }

    /// Puts a blob, and returns its name.
    pub(super) async fn put(&self, side: Side, source: &Source) -> Result<String> {
        let name = side.name().to_owned();
        match side {
            Side::Ours => {
                let name = self.blobs.name(&BlobKind::new("measured")?)?;
                let options = PutOptions::new(Service::Reporting, Retention::days(1));
                self.blobs.put(&name, options, source.pieces()).await?;
                return Ok(name.to_string());
            }
            Side::Client => {
                let options = BlockBlobClientUploadOptions {
                    parallel: NonZero::new(AT_ONCE),
                    ..BlockBlobClientUploadOptions::default()
                };
                let body: Box<dyn SeekableStream> = Box::new(source.clone());
                let blob = self.client.blob_client(CONTAINER, &name);
                blob.upload(Body::from(body).into(), Some(options)).await?;
            }
            Side::Objects => {
                let place = ObjectPath::from(name.as_str());
                let upload = self.objects.put_multipart(&place).await?;
                let mut upload = WriteMultipart::new_with_chunk_size(upload, BLOCK);
                let mut body = source.pieces().boxed();
                while let Some(piece) = body.try_next().await? {
                    upload.wait_for_capacity(AT_ONCE).await?;
                    upload.put(piece);
                }
                upload.finish().await?;
            }
        }
        Ok(name)
    }

    /// Reads a blob to its end, and returns its length.
    pub(super) async fn stream(&self, side: Side, name: &str) -> Result<usize> {
        match side {
            Side::Ours => {
                let stream = self.blobs.stream(&name.parse()?).await?;
                drained(stream.map_err(Error::from)).await
            }
            Side::Client => {
                let options = BlobClientDownloadOptions {
                    parallel: NonZero::new(AT_ONCE),
                    ..BlobClientDownloadOptions::default()
                };
                let blob = self.client.blob_client(CONTAINER, name);
                let answer = blob.download(Some(options)).await?;
                drained(answer.body.map_err(Error::from)).await
            }
            Side::Objects => {
                let answer = self.objects.get(&ObjectPath::from(name)).await?;
                drained(answer.into_stream().map_err(Error::from)).await
            }
        }
    }
}

async fn drained(body: impl Stream<Item = Result<Bytes>> + Send) -> Result<usize> {
    let mut body = std::pin::pin!(body);
    let mut length = 0;
    while let Some(piece) = body.try_next().await? {
        length += black_box(piece).len();
    }
    Ok(length)
}

/// Bytes that are like no others, for so many MiB.
#[derive(Debug, Clone)]
pub(super) struct Source {
    piece: Bytes,
    mib: usize,
    at: usize,
}

impl Source {
    pub(super) fn new(mib: usize) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut piece = Vec::with_capacity(MIB);
        while piece.len() < MIB {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            piece.extend_from_slice(&state.to_le_bytes());
        }
        Self {
            piece: piece.into(),
            mib,
            at: 0,
        }
    }

    /// Returns the bytes as a service has them that reads them from somewhere: each piece its own.
    fn pieces(&self) -> impl Stream<Item = std::io::Result<Bytes>> + Send + use<> {
        let piece = self.piece.clone();
        stream::iter(0..self.mib).map(move |_| Ok(Bytes::copy_from_slice(&piece)))
    }
}

impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.at == self.mib * MIB {
            return Poll::Ready(Ok(0));
        }
        let start = self.at % MIB;
        let length = buffer.len().min(MIB - start);
        buffer[..length].copy_from_slice(&self.piece[start..start + length]);
        self.at += length;
        Poll::Ready(Ok(length))
    }
}

#[async_trait::async_trait]
impl SeekableStream for Source {
    async fn reset(&mut self) -> azure_core::Result<()> {
        self.at = 0;
        Ok(())
    }

    fn len(&self) -> Option<u64> {
        u64::try_from(self.mib * MIB).ok()
    }

    fn buffer_size(&self) -> usize {
        MIB
    }
}
