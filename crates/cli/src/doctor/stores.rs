//! Cache, broker and blobs.

use std::time::Instant;

use tenantry::Parts;

use super::check::Sheet;
use super::folder;
use super::postgres::millis;

pub(super) async fn cache(sheet: &mut Sheet, parts: &Parts) {
    let cache = match parts.cache() {
        Ok(None) => return,
        Ok(Some(cache)) => cache,
        Err(error) => return sheet.failed("connection", &error),
    };
    let started = Instant::now();
    if sheet.ask("connection", cache.check()).await.is_some() {
        sheet.ok(
            "connection",
            format!("answers in {}", millis(started.elapsed())),
        );
    }
}

pub(super) async fn broker(sheet: &mut Sheet, parts: &Parts) {
    let publisher = match parts.publisher() {
        Ok(None) => return,
        Ok(Some(publisher)) => publisher,
        Err(error) => return sheet.failed("connection", &error),
    };
    let system = publisher.system();
    if system == "memory" {
        return sheet.warning(
            "connection",
            "the broker is in the process: nobody else hears of a message",
            "let broker.url lead to a server where others are to hear",
        );
    }
    let started = Instant::now();
    if sheet.ask("connection", publisher.check()).await.is_some() {
        let took = millis(started.elapsed());
        sheet.ok(
            "connection",
            format!("{system} answers in {took}, and what messages go to is there"),
        );
    }
}

pub(super) async fn blobs(sheet: &mut Sheet, parts: &Parts) {
    if let Some(place) = parts.blob_folder() {
        let journal = place.join("journal");
        let is_there = folder::look(sheet, "folder", place.to_owned(), true).await;
        // Opened, a folder becomes a store: that is for the service to do.
        let has_journal = folder::blocking(move || journal.is_file());
        if !is_there || !sheet.ask("folder", has_journal).await.unwrap_or(false) {
            return;
        }
    }
    let started = Instant::now();
    let checked = async {
        let Some(backend) = parts.blobs().await? else {
            return Ok(None);
        };
        backend.check().await?;
        Ok(Some(backend.system()))
    };
    match sheet.ask("list", checked).await {
        Some(Some("memory")) => sheet.warning(
            "list",
            "blobs are kept in memory, and gone with the process",
            "let blobs.url lead to a folder or an account: file:/var/lib/<service>/blobs",
        ),
        Some(Some(system)) => {
            sheet.ok(
                "list",
                format!("{system} answers in {}", millis(started.elapsed())),
            );
        }
        Some(None) | None => {}
    }
}
