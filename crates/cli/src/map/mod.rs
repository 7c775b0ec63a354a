//! `tenantry map`: the stores that a product may have, who owns them, and how long they keep what is in them.

use std::io::Write;

use clap::Args;
use serde_json::json;
use tenantry_core::{Error, ErrorKind, Result, STORAGE_MAP, Service, StoreDescriptor};

use crate::Verdict;
use crate::output::columns;

/// Lists the stores of the storage map with their owners, backends and retention.
///
/// It looks at no database: what stands there is what services are built on. Exits with 0.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only the stores that this service owns or may read, such as `reporting`
    #[arg(long)]
    service: Option<Service>,
    /// Writes one JSON object
    #[arg(long)]
    json: bool,
}

/// Writes the map.
///
/// # Errors
///
/// `Unavailable` if nobody takes what is written.
pub(crate) fn run(options: &Options, out: &mut impl Write) -> Result<Verdict> {
    let is_asked_for = |it: &&StoreDescriptor| {
        let service = options.service;
        service.is_none_or(|service| it.owners.include(service))
    };
    let stores: Vec<_> = STORAGE_MAP.iter().filter(is_asked_for).collect();
    let written = match options.json {
        true => {
            let stores: Vec<_> = stores.iter().map(|it| shown(it)).collect();
            serde_json::to_writer_pretty(&mut *out, &json!({ "stores": stores }))
                .map_err(Into::into)
                .and_then(|()| writeln!(out))
        }
        false => {
            let rows = stores.iter().map(|it| {
                [
                    it.store.to_string(),
                    it.backend.to_string(),
                    it.owners.to_string(),
                    it.retention.to_string(),
                    it.notes.to_owned(),
                ]
            });
            let heads = ["store", "backend", "owner", "retention", ""].map(str::to_owned);
            columns(std::iter::once(heads).chain(rows), out)
        }
    };
    written.map_err(|cause| Error::new(ErrorKind::Unavailable, "write map").with_source(cause))?;
    Ok(Verdict::Clean)
}

fn shown(it: &StoreDescriptor) -> serde_json::Value {
    json!({
        "store": it.store.as_str(),
        "backend": it.backend.as_str(),
        "owner": it.owners.to_string(),
        "access": it.access.as_str(),
        "retention": it.retention.to_string(),
        "notes": it.notes,
    })
}
