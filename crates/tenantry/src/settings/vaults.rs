use std::path::PathBuf;

use tenantry_secrets::Secrets;

#[cfg(feature = "settings-file")]
use super::{file::Section, url::Url};
#[cfg(feature = "settings-file")]
use tenantry_store::Result;

/// Where references lead.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vaults {
    pub(crate) made: Option<Secrets>,
    pub(crate) places: Vec<VaultPlace>,
}

#[derive(Debug, Clone)]
pub(crate) enum VaultPlace {
    #[cfg(feature = "key-vault")]
    KeyVault {
        /// As references call it.
        name: String,
        /// As Azure does.
        vault: String,
        credential: tenantry_secrets::KeyVaultCredential,
    },
    #[cfg(feature = "file-vault")]
    File {
        name: String,
        path: PathBuf,
        key: PathBuf,
        /// Whether a key that is not there is made.
        makes_key: bool,
    },
    Folder(PathBuf),
    Variables(Vec<String>),
}

impl Vaults {
    /// Returns the vault of a folder in which everything is.
    #[cfg(all(feature = "file-vault", feature = "sqlite"))]
    pub(super) fn local(folder: &std::path::Path) -> Self {
        let local = VaultPlace::File {
            name: "local".to_owned(),
            path: folder.join("vault.age"),
            key: folder.join("vault.key"),
            makes_key: true,
        };
        Self {
            made: None,
            places: vec![local],
        }
    }

    #[cfg(feature = "settings-file")]
    pub(super) fn read(&mut self, mut section: Section) -> Result<()> {
        let url = section.url()?;
        let place = match url.scheme.as_str() {
            "https" => of_key_vault(&mut section, &url)?,
            "file" => of_file(&mut section, &url)?,
            "folder" => VaultPlace::Folder(section.path_of_url(&url)?),
            "env" => {
                let names = section.texts("variables")?;
                if names.is_empty() || url.text != "env:" {
                    return Err(section.refuse(
                        "variables",
                        "expected `url = \"env:\"`, and the names of variables here",
                    ));
                }
                VaultPlace::Variables(names)
            }
            _ => {
                return Err(section.unknown_scheme(
                    "https://<name>.vault.azure.net, file:<vault>, folder:<folder> or env:",
                ));
            }
        };
        section.end()?;
        self.places.push(place);
        Ok(())
    }
}

#[cfg(all(feature = "settings-file", feature = "key-vault"))]
fn of_key_vault(section: &mut Section, url: &Url) -> Result<VaultPlace> {
    use tenantry_secrets::KeyVaultCredential;

    #[derive(Clone, Copy)]
    enum Kind {
        Managed,
        Workload,
        DeveloperTools,
    }
    let host = url.text.split_once("://").map_or("", |(_, rest)| rest);
    let host = host.strip_suffix('/').unwrap_or(host);
    let vault = host.strip_suffix(".vault.azure.net");
    let vault = vault.filter(|vault| {
        vault
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || it == b'-')
    });
    let vault = vault
        .ok_or_else(|| section.refuse("url", "expected https://<name>.vault.azure.net"))?
        .to_owned();
    let kinds = [
        ("managed-identity", Kind::Managed),
        ("workload-identity", Kind::Workload),
        ("developer-tools", Kind::DeveloperTools),
    ];
    let credential = match section.word("credential", &kinds)? {
        Some(Kind::Managed) => match section.text("client_id")? {
            Some(client) => KeyVaultCredential::user_assigned_identity(client),
            None => KeyVaultCredential::managed_identity(),
        },
        Some(Kind::Workload) => KeyVaultCredential::workload_identity(),
        Some(Kind::DeveloperTools) => KeyVaultCredential::developer_tools(),
        None => {
            return Err(section.refuse(
                "credential",
                "expected managed-identity, workload-identity or developer-tools",
            ));
        }
    };
    Ok(VaultPlace::KeyVault {
        name: section.text("name")?.unwrap_or_else(|| vault.clone()),
        vault,
        credential,
    })
}

#[cfg(all(feature = "settings-file", feature = "file-vault"))]
fn of_file(section: &mut Section, url: &Url) -> Result<VaultPlace> {
    Ok(VaultPlace::File {
        name: section.needed("name")?,
        path: section.path_of_url(url)?,
        key: section.needed("key_file")?.into(),
        makes_key: false,
    })
}

#[cfg(all(feature = "settings-file", not(feature = "key-vault")))]
fn of_key_vault(section: &mut Section, _url: &Url) -> Result<VaultPlace> {
    Err(section.without_feature("key-vault"))
}

#[cfg(all(feature = "settings-file", not(feature = "file-vault")))]
fn of_file(section: &mut Section, _url: &Url) -> Result<VaultPlace> {
    Err(section.without_feature("file-vault"))
}
