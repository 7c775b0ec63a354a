//! What was found of tenants.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tenantry_core::{Error, ErrorKind, Result, TenantId};

use crate::figures::Count;

/// Tenants that have data, by their identifiers.
pub(super) struct Listed {
    pub(super) tenants: Vec<(TenantId, Tenant)>,
    pub(super) is_complete: bool,
    /// The tables that took too long.
    pub(super) unknown: Vec<String>,
}

/// Where a tenant has data.
#[derive(Debug, Default)]
pub(super) struct Tenant {
    pub(super) tables: BTreeMap<String, Count>,
    pub(super) has_blobs: bool,
}

impl Tenant {
    /// Returns the rows of all tables.
    pub(super) fn rows(&self) -> Count {
        let counts = self.tables.values();
        Count {
            rows: counts.clone().map(|it| it.rows).sum(),
            is_cut: counts.clone().any(|it| it.is_cut),
        }
    }
}

/// What one tenant has.
pub(super) struct Shown {
    pub(super) tenant: TenantId,
    /// `None` where the count took too long.
    pub(super) tables: Vec<(String, Option<Count>)>,
    /// Files in blobs, by their state.
    pub(super) artifacts: Option<Vec<(String, u64)>>,
    /// Messages that were not handed over at once, by what becomes of them.
    pub(super) parked: Option<Vec<(String, u64)>>,
    pub(super) blobs: Option<Blobs>,
}

#[derive(Debug, Default)]
pub(super) struct Blobs {
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) is_cut: bool,
}

impl Shown {
    pub(super) const fn of(tenant: TenantId) -> Self {
        Self {
            tenant,
            tables: Vec::new(),
            artifacts: None,
            parked: None,
            blobs: None,
        }
    }
}

/// Lists the tenants that have a folder in a store of blobs: one that was erased has none.
pub(super) async fn tenants_of_folder(folder: PathBuf) -> Result<Vec<TenantId>> {
    let place = folder.display().to_string();
    let read = tokio::task::spawn_blocking(move || read(&folder)).await;
    let read = read.map_err(io::Error::other).and_then(|read| read);
    read.map_err(|cause| {
        Error::new(ErrorKind::Unavailable, "list tenants of blobs")
            .with_subject(place)
            .with_source(cause)
    })
}

fn read(folder: &Path) -> io::Result<Vec<TenantId>> {
    let entries = match fs::read_dir(folder.join("blobs")) {
        // Nothing was ever put.
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut tenants = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        tenants.extend(name.to_str().and_then(|name| name.parse::<TenantId>().ok()));
    }
    Ok(tenants)
}
