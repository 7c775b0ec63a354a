//! Variables, files, and the secrets of tenants.

use tenantry_core::{
    Error, ErrorKind, ManualClock, Secret, SecretReference, SecretResolver as _, TenantId,
};
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
    std::fs::write(
        mounted.join("numbers.json"),
        r#"{"port": 1, "smtp": "hunter2", "more": {"db": "x"}}"#,
    )
    .unwrap();
    std::fs::write(mounted.join("cut.json"), r#"{"db": "x", "#).unwrap();
    std::fs::write(mounted.join("list.json"), r#"["db"]"#).unwrap();
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
        resolve(&secrets, "file:numbers.json#smtp").await.unwrap(),
        "hunter2",
        "whatever is beside it"
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
        ("file:numbers.json#port", ErrorKind::InvalidValue),
        ("file:numbers.json#more", ErrorKind::InvalidValue),
        ("file:numbers.json#db", ErrorKind::NotFound),
        ("file:cut.json#db", ErrorKind::InvalidValue),
        ("file:list.json#db", ErrorKind::InvalidValue),
        ("file:bytes", ErrorKind::InvalidValue),
        ("file:large", ErrorKind::InvalidValue),
    ] {
        assert_eq!(resolve(&secrets, text).await, Err(kind), "{text}");
    }
}

/// Two folders, the first of which comes and goes; and a clock, by which nothing is known for long.
struct TwoFolders {
    parent: tempfile::TempDir,
    clock: ManualClock,
    secrets: Secrets,
}

impl TwoFolders {
    fn new(is_first_there: bool) -> Self {
        let parent = tempfile::tempdir().unwrap();
        let path = |name| parent.path().join(name);
        std::fs::create_dir(path("second")).unwrap();
        if is_first_there {
            std::fs::create_dir(path("first")).unwrap();
        }
        let clock = ManualClock::new(chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap());
        let secrets = Secrets::builder()
            .with_folder(path("first"))
            .with_folder(path("second"))
            .with_clock(std::sync::Arc::new(clock.clone()))
            .build()
            .unwrap();
        Self {
            parent,
            clock,
            secrets,
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.parent.path().join(name)
    }

    fn write(&self, name: &str, value: &str) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), value).unwrap();
    }

    /// Reads anew.
    async fn resolve(&self, text: &str) -> Result<String, ErrorKind> {
        self.clock.advance(std::time::Duration::from_secs(310));
        resolve(&self.secrets, text).await
    }
}

/// One that was never there has nothing to lose: what is taken away from the other ends.
#[tokio::test]
async fn a_folder_that_never_was_there_is_passed_over() {
    let folders = TwoFolders::new(false);
    folders.write("second/password", "hunter2");
    let whole = format!("file:{}", folders.path("second/password").display());
    for text in ["file:password", &whole] {
        assert_eq!(folders.resolve(text).await.unwrap(), "hunter2");
    }
    std::fs::remove_file(folders.path("second/password")).unwrap();
    for text in ["file:password", &whole] {
        assert_eq!(folders.resolve(text).await, Err(ErrorKind::NotFound));
    }
    folders.write("first/password", "mounted");
    assert_eq!(folders.resolve("file:password").await.unwrap(), "mounted");
}

/// A volume that is not mounted has not lost its files, and no other folder's take their place.
#[tokio::test]
async fn a_folder_that_is_gone_is_no_missing_secret() {
    let folders = TwoFolders::new(true);
    folders.write("first/password", "first");
    folders.write("second/password", "second");
    folders.write("second/other", "other");
    let of_second = format!("file:{}", folders.path("second/other").display());
    let of_first = format!("file:{}", folders.path("first/password").display());
    assert_eq!(folders.resolve("file:password").await.unwrap(), "first");

    std::fs::rename(folders.path("first"), folders.path("away")).unwrap();
    for known in ["file:password", "file:password"] {
        assert_eq!(folders.resolve(known).await.unwrap(), "first", "is stale");
    }
    for unseen in ["file:none", "file:other", &of_first] {
        let outcome = folders.resolve(unseen).await;
        assert_eq!(outcome, Err(ErrorKind::Unavailable), "{unseen}");
    }
    assert_eq!(folders.resolve(&of_second).await.unwrap(), "other");
    std::fs::remove_file(folders.path("second/other")).unwrap();
    let gone = folders.resolve(&of_second).await;
    assert_eq!(gone, Err(ErrorKind::NotFound), "is below no other folder");

    std::fs::rename(folders.path("away"), folders.path("first")).unwrap();
    assert_eq!(folders.resolve("file:password").await.unwrap(), "first");
    assert_eq!(folders.resolve("file:none").await, Err(ErrorKind::NotFound));
}

/// As Kubernetes does: the files are behind links, of which one is put in another's place.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_replaced_while_it_is_read_is_there_at_all_times() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    for number in 0..2 {
        let data = path.join(number.to_string());
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("password"), "hunter2").unwrap();
    }
    symlink("0", path.join("data")).unwrap();
    symlink("data/password", path.join("password")).unwrap();
    let policy = tenantry_secrets::CachePolicy::default()
        .with_time_to_live(std::time::Duration::from_nanos(1))
        .with_call_budget(usize::MAX, std::time::Duration::from_secs(1));
    let secrets = Secrets::builder()
        .with_folder(&path)
        .with_policy(policy)
        .build()
        .unwrap();
    let swapping = tokio::task::spawn_blocking(move || {
        for number in 0..2_000 {
            symlink((number % 2).to_string(), path.join("next")).unwrap();
            std::fs::rename(path.join("next"), path.join("data")).unwrap();
        }
    });
    while !swapping.is_finished() {
        assert_eq!(resolve(&secrets, "file:password").await.unwrap(), "hunter2");
    }
    swapping.await.unwrap();
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
