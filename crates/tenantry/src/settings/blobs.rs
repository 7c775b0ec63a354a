#[cfg(feature = "blob-fs")]
use std::path::PathBuf;
use std::sync::Arc;

#[cfg(feature = "blob-azure")]
use tenantry_blob::AzureLayout;
use tenantry_blob::BlobBackend;
#[cfg(feature = "blob-azure")]
use tenantry_core::SecretReference;

#[cfg(feature = "settings-file")]
use super::{file::Section, url::Url};
#[cfg(feature = "settings-file")]
use tenantry_store::Result;

/// Where blobs are kept.
#[derive(Debug, Clone)]
pub(crate) enum Blobs {
    Made(Arc<dyn BlobBackend>),
    Memory,
    #[cfg(feature = "blob-fs")]
    Folder(PathBuf),
    #[cfg(feature = "blob-azure")]
    Azure(AzureAccount),
}

/// An account of Azure Blob Storage.
#[cfg(feature = "blob-azure")]
#[derive(Debug, Clone)]
pub(crate) struct AzureAccount {
    pub(crate) url: String,
    pub(crate) account: Option<String>,
    pub(crate) layout: AzureLayout,
    pub(crate) identity: AzureIdentity,
    pub(crate) checks_ranges: bool,
}

/// Who the process is there.
#[cfg(feature = "blob-azure")]
#[derive(Debug, Clone)]
pub(crate) enum AzureIdentity {
    Managed(Option<String>),
    Workload,
    SharedKey(SecretReference),
}

impl Blobs {
    #[cfg(feature = "blob-azure")]
    pub(crate) const fn has_key(&self) -> bool {
        matches!(
            self,
            Self::Azure(AzureAccount {
                identity: AzureIdentity::SharedKey(_),
                ..
            })
        )
    }

    #[cfg(all(feature = "blob-azure", feature = "secrets"))]
    pub(super) const fn key(&self) -> Option<&SecretReference> {
        match self {
            Self::Azure(AzureAccount {
                identity: AzureIdentity::SharedKey(key),
                ..
            }) => Some(key),
            _ => None,
        }
    }

    #[cfg(feature = "settings-file")]
    pub(super) fn read(mut section: Section) -> Result<Self> {
        let url = section.url()?;
        let blobs = match url.scheme.as_str() {
            "memory" => Self::Memory,
            "file" => of_folder(&section, &url)?,
            // Without TLS it leads to this machine alone, to an emulator: that is looked at where it is opened.
            "https" | "http" => of_azure(&mut section, &url)?,
            _ => {
                return Err(section.unknown_scheme(
                    "memory:, file:<folder> or https://<account>.blob.core.windows.net",
                ));
            }
        };
        section.end()?;
        Ok(blobs)
    }
}

#[cfg(all(feature = "settings-file", feature = "blob-fs"))]
fn of_folder(section: &Section, url: &Url) -> Result<Blobs> {
    section.path_of_url(url).map(Blobs::Folder)
}

#[cfg(all(feature = "settings-file", not(feature = "blob-fs")))]
fn of_folder(section: &Section, _url: &Url) -> Result<Blobs> {
    Err(section.without_feature("blob-fs"))
}

#[cfg(all(feature = "settings-file", feature = "blob-azure"))]
fn of_azure(section: &mut Section, url: &Url) -> Result<Blobs> {
    section.refuse_password(url, super::url::UserInUrl::Refused)?;
    let name = section.needed("name")?;
    let make = match section.needed("layout")?.as_str() {
        "container-per-tenant" => AzureLayout::container_per_tenant,
        "prefix-per-tenant" => AzureLayout::prefix_per_tenant,
        _ => {
            return Err(section.refuse(
                "layout",
                "expected container-per-tenant or prefix-per-tenant",
            ));
        }
    };
    let layout = make(&name).map_err(|error| section.refuse("name", error.detail()))?;
    Ok(Blobs::Azure(AzureAccount {
        url: url.text.clone(),
        account: section.text("account")?,
        layout,
        identity: identity(section)?,
        checks_ranges: section.flag("range_checksums")?.unwrap_or(true),
    }))
}

#[cfg(all(feature = "settings-file", feature = "blob-azure"))]
fn identity(section: &mut Section) -> Result<AzureIdentity> {
    #[derive(Clone, Copy)]
    enum Kind {
        Managed,
        Workload,
        SharedKey,
    }
    let kinds = [
        ("managed-identity", Kind::Managed),
        ("workload-identity", Kind::Workload),
        ("shared-key", Kind::SharedKey),
    ];
    let kind = section.word("credential", &kinds)?;
    let expected = "expected managed-identity, workload-identity or shared-key";
    Ok(match kind {
        None => return Err(section.refuse("credential", expected)),
        Some(Kind::Managed) => AzureIdentity::Managed(section.text("client_id")?),
        Some(Kind::Workload) => AzureIdentity::Workload,
        Some(Kind::SharedKey) => {
            let key = section.password("key")?;
            AzureIdentity::SharedKey(key.ok_or_else(|| section.refuse("key", "it is missing"))?)
        }
    })
}

#[cfg(all(feature = "settings-file", not(feature = "blob-azure")))]
fn of_azure(section: &mut Section, _url: &Url) -> Result<Blobs> {
    Err(section.without_feature("blob-azure"))
}
