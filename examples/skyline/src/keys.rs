//! Keys of signatures and codes of tenants, as files: a vault that a folder is mounted from.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use tenantry::core::{Secret, SecretReference};
use uuid::Uuid;

use crate::{Result, Slug};

/// A folder of keys, each in a file of its name.
#[derive(Debug, Clone)]
pub struct Keys(PathBuf);

impl Keys {
    /// By which the edge vouches for callers.
    pub(crate) const EDGE: &str = "edge";

    /// By which Reporting signs links.
    pub(crate) const LINKS: &str = "links";

    /// Opens a folder, and makes it where it is not there.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn in_folder(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        // References are absolute, wherever a process was started.
        Ok(Self(folder.canonicalize()?))
    }

    /// Returns the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Makes the keys of the product itself and the code of its operator, unless they are there.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn make_own(&self) -> Result<()> {
        [Self::EDGE, Self::LINKS, Slug::OPERATOR]
            .into_iter()
            .try_for_each(|name| self.make(name))
    }

    /// Makes a key, unless it is there: what an operator puts into the vault beforehand elsewhere.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn make(&self, name: &str) -> Result<()> {
        let path = self.0.join(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&path) {
            Ok(mut file) => {
                file.write_all(Uuid::new_v4().simple().to_string().as_bytes())?;
                file.sync_all()?;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(format!("{}: {error}", path.display()).into()),
        }
    }

    /// Reads a key.
    ///
    /// # Errors
    ///
    /// There is none of this name.
    pub fn read(&self, name: &str) -> Result<Secret> {
        let path = self.0.join(name);
        let text = fs::read_to_string(&path);
        let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Secret::new(text))
    }

    /// Returns by what name a vault of this folder knows a key.
    pub(crate) fn reference(&self, name: &str) -> tenantry::Result<SecretReference> {
        format!("file:{}", self.0.join(name).display()).parse()
    }
}
