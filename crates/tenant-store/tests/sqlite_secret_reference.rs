//! An aggregate that holds a reference to a secret of its tenant.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::sync::Arc;

use tenantry_core::{Secret, SecretReference, SecretResolver as _, TenantId};
use tenantry_secrets::{MemoryVault, SecretAttributes, Secrets};
use tenantry_store::{
    Aggregate, ErrorKind, Migrations, Repository as _, RepositoryExt as _, SqliteSettings,
    TenantStore, sqlite,
};
use uuid::Uuid;

#[derive(Debug, Clone, Aggregate)]
#[aggregate(table = "mailboxes")]
struct Mailbox {
    #[aggregate(id)]
    id: Uuid,
    password: SecretReference,
}

const MAILBOXES: &str = "
    create table mailboxes (
        tenant_id blob not null, id blob not null, password text not null,
        primary key (tenant_id, id)
    ) strict, without rowid;";

#[tokio::test]
async fn rows_hold_the_reference_and_only_its_tenant_resolves_it() {
    const CANARY: &str = "canary-5b1e7c";
    let folder = tempfile::tempdir().unwrap();
    let settings = SqliteSettings::file(folder.path().join("mail.db"));
    let migrations = Migrations::embedded(&[(1, "mailboxes", MAILBOXES)]);
    sqlite::migrate(&settings, &migrations).await.unwrap();
    let store = TenantStore::sqlite(settings).await.unwrap();
    let secrets = Secrets::builder()
        .with_vault("mail", Arc::new(MemoryVault::new()))
        .unwrap()
        .build()
        .unwrap();
    let (ours, theirs) = (TenantId::generate(), TenantId::generate());
    let password = SecretReference::of_tenant("mail", ours, "smtp").unwrap();
    let (value, attributes) = (Secret::new(CANARY), SecretAttributes::default());
    secrets
        .put_new_version(&password, value, attributes)
        .await
        .unwrap();

    let mut mailbox = Mailbox {
        id: Uuid::now_v7(),
        password,
    };
    for tenant in [ours, theirs] {
        // The other tenant writes what it has seen of ours into a row of its own.
        let mailboxes = store.tenant(tenant).repository::<Mailbox>();
        mailboxes.insert(&mut mailbox).await.unwrap();
    }
    let resolved = async |tenant: TenantId| {
        let mailboxes = store.tenant(tenant).repository::<Mailbox>();
        let stored = mailboxes.get(mailbox.id).await.unwrap();
        secrets.tenant(tenant).resolve(&stored.password).await
    };
    assert_eq!(resolved(ours).await.unwrap().expose(), CANARY);
    let error = resolved(theirs).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    store.close().await;
    let mut bytes = Vec::new();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let holds = |text: &str| {
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    assert!(holds(&mailbox.password.to_string()));
    assert!(!holds(CANARY));
}
