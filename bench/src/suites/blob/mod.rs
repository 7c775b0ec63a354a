//! Blobs in a folder: long ones on their way in and out, and many.

mod long;
mod many;
mod peers;

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::options::Options;
use crate::report::Report;

/// A folder on the disk that the report goes to: a folder for temporary files may be memory.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn create(options: &Options) -> Result<Self> {
        let beside = options.out.parent().unwrap_or(Path::new(""));
        let folder = beside.join(format!("blobs-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is seen where the report is.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    let folder = Folder::create(options)?;
    long::run(&folder.0, options.quick, report).await?;
    many::run(&folder.0, options.quick, report).await
}
