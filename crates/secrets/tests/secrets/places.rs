//! Variables, files, and the secrets of tenants.

use tenantry_core::{Error, ErrorKind, Secret, SecretReference, SecretResolver as _, TenantId};
use tenantry_secrets::Secrets;

use super::{Fixture, reference};

async fn resolve(secrets: &Secrets, text: &str) -> Result<String, ErrorKind> {
    let resolved = secrets.resolve(&reference(text)).await;
    resolved
        .map(|secret| secret.expose().to_owned())
        .map_err(|error| error.kind())
}

#[tokio::test]
async fn a_file_is_read_below_the_folders_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let (mounted, outside) = (folder.path().join("mounted"), folder.path().join("outside"));
    std::fs::create_dir_all(mounted.join("deep")).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "foreign").unwrap();
    std::fs::write(mounted.join("deep/password"), "hunter2\r\n").unwrap();
    std::fs::write(mounted.join("all.json"), r#"{"db": "one", "smtp": "two"}"#).unwrap();
    std::fs::write(mounted.join("numbers.json"), r#"{"db": 1}"#).unwrap();
    std::fs::write(mounted.join("bytes"), [0xff, 0xfe]).unwrap();
    std::fs::write(mounted.join("large"), "x".repeat(25 * 1024 + 1)).unwrap();
    std::fs::write(mounted.join("largest"), "x".repeat(25 * 1024)).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&outside, mounted.join("way-out")).unwrap();
    let secrets = Secrets::builder().with_folder(&mounted).build().unwrap();

    assert_eq!(
        resolve(&secrets, "file:deep/password").await.unwrap(),
        "hunter2"
    );
    let whole = format!("file:{}", mounted.join("deep/password").display());
    assert_eq!(resolve(&secrets, &whole).await.unwrap(), "hunter2");
    assert_eq!(
        resolve(&secrets, "file:all.json#smtp").await.unwrap(),
        "two"
    );
    assert_eq!(
        resolve(&secrets, "file:largest").await.unwrap().len(),
        25 * 1024
    );
    let foreign = format!("file:{}", outside.join("secret").display());
    for (text, kind) in [
        (&*foreign, ErrorKind::NotFound),
        ("file:way-out/secret", ErrorKind::NotFound),
        ("file:deep", ErrorKind::NotFound),
        ("file:nowhere", ErrorKind::NotFound),
        ("file:all.json#other", ErrorKind::NotFound),
        ("file:deep/password#db", ErrorKind::InvalidValue),
        ("file:numbers.json#db", ErrorKind::InvalidValue),
        ("file:bytes", ErrorKind::InvalidValue),
        ("file:large", ErrorKind::InvalidValue),
    ] {
        assert_eq!(resolve(&secrets, text).await, Err(kind), "{text}");
    }
}

#[tokio::test]
async fn a_variable_is_read_if_it_is_allowed() {
    let secrets = Secrets::builder()
        .with_variable("PATH")
        .with_variable("TENANTRY_TEST_NOT_SET")
        .build()
        .unwrap();
    assert!(!resolve(&secrets, "env:PATH").await.unwrap().is_empty());
    for text in ["env:TENANTRY_TEST_NOT_SET", "env:HOME"] {
        assert_eq!(resolve(&secrets, text).await, Err(ErrorKind::NotFound));
    }
}

#[tokio::test]
async fn anybody_elses_secret_answers_as_a_missing_one() {
    let fixture = Fixture::new();
    let (ours, theirs) = (TenantId::generate(), TenantId::generate());
    let own = SecretReference::of_tenant("vault", ours, "smtp").unwrap();
    let foreign = SecretReference::of_tenant("vault", theirs, "smtp").unwrap();
    for (reference, value) in [(&own, "ours"), (&foreign, "theirs")] {
        let stored =
            fixture
                .secrets
                .put_new_version(reference, Secret::new(value), Default::default());
        stored.await.unwrap();
    }
    fixture.vault.store("db-password", "platform").await;

    let tenant = fixture.secrets.tenant(ours);
    assert_eq!(tenant.resolve(&own).await.unwrap().expose(), "ours");
    let missing = SecretReference::of_tenant("vault", ours, "none").unwrap();
    let told = |error: Error, reference: &SecretReference| {
        format!("{error} {error:?}").replace(&reference.to_string(), "…")
    };
    let expected = told(tenant.resolve(&missing).await.unwrap_err(), &missing);
    let upper = reference(
        &foreign
            .to_string()
            .to_uppercase()
            .replace("KV://VAULT", "kv://vault"),
    );
    for other in [
        foreign,
        upper,
        reference("kv://vault/db-password"),
        reference("kv://elsewhere/db-password"),
        reference("env:PATH"),
        reference("file:password"),
    ] {
        let error = tenant.resolve(&other).await.unwrap_err();
        assert_eq!(told(error, &other), expected, "{other}");
        use tenantry_core::SecretSource as _;
        assert_eq!(
            tenant.watch(&other).await.unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }
}
