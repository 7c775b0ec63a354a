//! Blobs of a service.

use std::sync::Arc;

use tenantry_blob::{BlobBackend, BlobStore, MemoryBlobs};
use tenantry_core::Store;
use tenantry_store::{Error, ErrorKind, Result};

use super::Storage;
use super::open::Passwords;
use super::ownership::{check, has_blobs, missing, owns};
use crate::settings::Settings;
use crate::settings::blobs::Blobs as Place;

/// Where they are kept, and the handle of the service.
#[derive(Debug)]
pub(super) struct Blobs {
    pub(super) backend: Arc<dyn BlobBackend>,
    store: BlobStore,
}

/// Returns where the blobs of a service are, if it has any.
pub(super) fn place(settings: &Settings) -> Option<&Place> {
    let mut stores = Store::ALL.iter().filter(|store| has_blobs(**store));
    let is_owner = stores.any(|store| owns(settings.service, *store));
    settings.blobs.as_ref().filter(|_| is_owner)
}

/// Opens the blobs of a service that has any.
pub(super) async fn open(settings: &Settings, passwords: &Passwords) -> Result<Option<Blobs>> {
    let Some(place) = place(settings) else {
        return Ok(None);
    };
    let backend: Arc<dyn BlobBackend> = match place {
        Place::Made(backend) => Arc::clone(backend),
        Place::Memory => Arc::new(MemoryBlobs::new()),
        #[cfg(feature = "blob-fs")]
        Place::Folder(folder) => {
            use tenantry_blob::{FsBlobs, FsSettings};

            Arc::new(FsBlobs::open(FsSettings::new(folder)).await?)
        }
        #[cfg(feature = "blob-azure")]
        Place::Azure(account) => azure(account, passwords).await?,
    };
    #[cfg(not(feature = "blob-azure"))]
    let _ = passwords;
    Ok(Some(Blobs {
        store: BlobStore::new(Arc::clone(&backend)),
        backend,
    }))
}

#[cfg(feature = "blob-azure")]
async fn azure(
    account: &crate::settings::blobs::AzureAccount,
    passwords: &Passwords,
) -> Result<Arc<dyn BlobBackend>> {
    use tenantry_blob::{AzureBlobs, AzureCredential, AzureSettings};
    use tenantry_core::Secret;

    use crate::settings::blobs::AzureIdentity;

    let credential = match &account.identity {
        AzureIdentity::Managed(None) => AzureCredential::managed_identity(),
        AzureIdentity::Managed(Some(client)) => AzureCredential::user_assigned_identity(client),
        AzureIdentity::Workload => AzureCredential::workload_identity(),
        // The client signs with the key that it was given: one that is rotated is taken at the next start.
        AzureIdentity::SharedKey(key) => {
            let key = passwords.source()?.resolve(key).await?;
            AzureCredential::shared_key(Secret::new(key.expose()))
        }
    };
    let mut settings = AzureSettings::new(&account.url, account.layout.clone(), credential);
    if let Some(name) = &account.account {
        settings = settings.with_account(name);
    }
    if !account.checks_ranges {
        settings = settings.without_range_checksums();
    }
    Ok(Arc::new(AzureBlobs::new(settings)?))
}

impl Storage {
    /// Returns the blobs of a store of the service.
    ///
    /// # Errors
    ///
    /// - `PermissionDenied`: the store is not one of the service; the error names store, service and owners.
    /// - `InvalidInput`: the store has no blobs.
    /// - `InvalidSettings`: the settings do not say where blobs are kept.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(all(feature = "sqlite", feature = "blob-fs"))]
    /// # mod example {
    /// use tenantry::blob::{BlobKind, PutOptions, Retention};
    /// use tenantry::core::{Service, Store, TenantId};
    /// use tenantry::Storage;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let storage = Storage::embedded(folder.path()).await?;
    /// let artifacts = storage.blobs(Store::ReportArtifacts)?.tenant(TenantId::generate());
    ///
    /// let name = artifacts.name(&BlobKind::new("report-exports")?)?;
    /// let options = PutOptions::new(Service::Reporting, Retention::days(365));
    /// artifacts.put_bytes(&name, options, "id,total\n").await?;
    /// assert_eq!(artifacts.get(&name).await?.bytes, "id,total\n");
    /// # storage.close().await;
    /// # Ok(())
    /// # }
    /// # }
    /// # #[cfg(all(feature = "sqlite", feature = "blob-fs"))]
    /// # example::main().unwrap();
    /// ```
    pub fn blobs(&self, store: Store) -> Result<&BlobStore> {
        check(self.inner.service, store)?;
        if !has_blobs(store) {
            return Err(Error::new(ErrorKind::InvalidInput, "open store")
                .with_subject(store.as_str())
                .with_detail(format!(
                    "it has no blobs: it is kept in {}",
                    store.descriptor().backend
                )));
        }
        let blobs = self.inner.blobs.as_ref();
        blobs.map(|blobs| &blobs.store).ok_or_else(|| {
            missing(
                "blobs",
                "add a section [blobs] with a url to the settings, or make them in code by \
                 Settings::with_blobs; in a folder they are by the feature `blob-fs`",
            )
        })
    }
}
