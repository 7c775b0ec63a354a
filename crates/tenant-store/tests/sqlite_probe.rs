//! What a file is, and what of its migrations has not been run.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "a set-up that fails ends the test")]

use tenantry_store::sqlite::{migrate, pending_migrations, probe};
use tenantry_store::{ErrorKind, Migrations, SqliteSettings};

const NOTES: &str = "create table notes (tenant_id blob not null, id integer primary key) strict";
const TAGS: &str = "create table tags (tenant_id blob not null, id integer primary key) strict";

#[tokio::test]
async fn a_file_is_told_as_it_is_and_nothing_is_run() {
    let settings = SqliteSettings::temporary();
    let first = Migrations::embedded(&[(1, "notes", NOTES)]);
    let both = Migrations::embedded(&[(1, "notes", NOTES), (2, "tags", TAGS)]);
    migrate(&settings, &first).await.unwrap();
    for _ in 0..2 {
        let told = probe(&settings).await.unwrap();
        assert_eq!(told.tables, ["notes"]);
        assert_eq!((told.has_history, &*told.journal_mode), (true, "wal"));
        assert_eq!(pending_migrations(&settings, &both).await.unwrap(), [2]);
    }
    migrate(&settings, &both).await.unwrap();
    assert!(
        pending_migrations(&settings, &both)
            .await
            .unwrap()
            .is_empty()
    );
    let error = pending_migrations(&settings, &first).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaMismatch, "{error}");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nobody.db");
    let settings = SqliteSettings::file(&path);
    let error = probe(&settings).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let error = pending_migrations(&settings, &Migrations::embedded(&[]))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(!path.exists());
}
