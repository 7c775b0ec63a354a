use super::*;

/// What is wrong with a text, of which nothing is repeated that could be a password.
fn refusal(text: &str) -> Error {
    let Err(error) = Settings::from_toml(text) else {
        panic!("it is taken: {text}");
    };
    let told = format!("{error} {error:?}");
    assert!(!told.contains("hunter2"), "{told}");
    error
}

fn read(text: &str) -> Settings {
    Settings::from_toml(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A text with the database that each needs.
#[cfg(feature = "sqlite")]
fn with(section: &str) -> String {
    format!("[database]\nurl = \"sqlite::memory:\"\n{section}")
}

#[test]
fn a_database_has_to_be_named() {
    for text in [
        "",
        "service = \"reporting\"",
        "[database]\n",
        "database = 1",
    ] {
        let error = refusal(text);
        assert_eq!(error.kind(), ErrorKind::InvalidSettings);
        assert!(error.subject().starts_with("database"), "{error}");
    }
}

#[test]
fn another_database_is_refused() {
    let error = refusal("[database]\nurl = \"mysql://app:hunter2@db/app\"");
    assert_eq!(
        (error.kind(), error.subject()),
        (ErrorKind::InvalidSettings, "database.url")
    );
}

#[cfg(feature = "sqlite")]
#[test]
fn a_key_that_is_not_known_is_named_with_those_that_are() {
    for (section, key) in [
        ("cash = 1", "cash"),
        ("[cash]\nurl = \"memory:\"", "cash"),
        // What is of PostgreSQL alone.
        ("schema = \"billing\"", "database.schema"),
        ("password = \"env:HUNTER\"", "database.password"),
    ] {
        let text = match section.starts_with("cash") {
            true => format!("{section}\n{}", with("")),
            false => with(section),
        };
        let error = refusal(&text);
        assert_eq!(
            (error.kind(), error.subject()),
            (ErrorKind::InvalidSettings, key)
        );
        assert!(error.detail().contains("known are "), "{error}");
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn the_service_is_one_of_the_storage_map() {
    let settings = read(&format!("service = \"reporting\"\n{}", with("")));
    assert_eq!(settings.service, Some(Service::Reporting));
    let error = refusal(&format!("service = \"hunter2\"\n{}", with("")));
    assert_eq!(
        (error.kind(), error.subject()),
        (ErrorKind::InvalidSettings, "service")
    );
}

#[cfg(all(feature = "postgres", feature = "secrets"))]
#[test]
fn a_database_and_the_role_across_tenants_are_read_alike() {
    let settings = read(
        r#"
        [database]
        url = "postgres://billing_app@db.internal:5432/billing?sslmode=verify-full"
        password = "kv://billing-prod/db-password"
        schema = "billing"
        max_connections = 20
        pooler = "transaction-mode"

        [platform]
        url = "postgres://billing_platform@db.internal:5432/billing"
        password = "env:PLATFORM_PASSWORD"
        "#,
    );
    assert_eq!(
        settings
            .database
            .password
            .as_ref()
            .map(ToString::to_string)
            .as_deref(),
        Some("kv://billing-prod/db-password")
    );
    let shown = format!("{settings:?}");
    for set in [
        "max_connections: 20",
        "TransactionMode",
        "schema: \"billing\"",
    ] {
        assert!(shown.contains(set), "{shown}");
    }
    assert_eq!(settings.references().len(), 2);
}

#[cfg(all(feature = "postgres", feature = "secrets"))]
#[test]
fn a_password_is_a_reference_and_nothing_else() {
    for (key, text) in [
        (
            "database.password",
            "url = \"postgres://app@db/app\"\npassword = \"hunter2\"",
        ),
        ("database.url", "url = \"postgres://app:hunter2@db/app\""),
        (
            "database.url",
            "url = \"postgres://app@db/app?password=hunter2\"",
        ),
        (
            "database.max_connections",
            "url = \"postgres://app@db/app\"\nmax_connections = \"hunter2\"",
        ),
        (
            "database.pooler",
            "url = \"postgres://app@db/app\"\npooler = \"hunter2\"",
        ),
    ] {
        let error = refusal(&format!("[database]\n{text}"));
        assert_eq!(
            (error.kind(), error.subject()),
            (ErrorKind::InvalidSettings, key)
        );
    }
}

#[cfg(all(feature = "cache", feature = "sqlite"))]
#[test]
fn a_cache_in_the_process_has_a_size() {
    let settings = read(&with("[cache]\nurl = \"memory:\"\nbytes = 1048576"));
    assert!(matches!(
        settings.cache.place,
        Some(cache::CachePlace::Memory)
    ));
    assert_eq!(settings.cache.bytes, Some(1_048_576));
    let error = refusal(&with("[cache]\nurl = \"memory:\"\nbytes = -1"));
    assert_eq!(error.subject(), "cache.bytes");
}

#[cfg(all(feature = "redis", feature = "secrets", feature = "sqlite"))]
#[test]
fn a_cache_in_a_redis_has_user_password_and_prefix() {
    let section = "[cache]\nurl = \"redis://cache.internal:6380/0\"\nuser = \"billing\"\n\
                   password = \"kv://billing-prod/redis\"\nprefix = \"billing\"";
    let settings = read(&with(section));
    assert_eq!(settings.references().len(), 1);
    assert!(format!("{settings:?}").contains("prefix: \"billing\""));
    let error = refusal(&with("[cache]\nurl = \"redis://:hunter2@cache\""));
    assert_eq!(error.subject(), "cache.url");
}

#[cfg(all(feature = "blob-fs", feature = "sqlite"))]
#[test]
fn blobs_lie_in_memory_or_in_a_folder() {
    let settings = read(&with("[blobs]\nurl = \"memory:\""));
    assert!(matches!(settings.blobs, Some(Blobs::Memory)));
    for url in ["file:/var/lib/blobs", "file:///var/lib/blobs"] {
        let settings = read(&with(&format!("[blobs]\nurl = \"{url}\"")));
        let Some(Blobs::Folder(folder)) = settings.blobs else {
            panic!("{url}");
        };
        assert_eq!(folder, std::path::Path::new("/var/lib/blobs"));
    }
    assert_eq!(
        refusal(&with("[blobs]\nurl = \"file:\"")).subject(),
        "blobs.url"
    );
    assert_eq!(
        refusal(&with("[blobs]\nurl = \"s3://bucket\"")).subject(),
        "blobs.url"
    );
}

#[cfg(all(feature = "blob-azure", feature = "secrets", feature = "sqlite"))]
#[test]
fn blobs_lie_in_an_account_by_layout_and_credential() {
    let account = |more: &str| {
        let url = "https://billing.blob.core.windows.net";
        with(&format!(
            "[blobs]\nurl = \"{url}\"\nname = \"reports\"\n{more}"
        ))
    };
    for more in [
        "layout = \"container-per-tenant\"\ncredential = \"managed-identity\"",
        "layout = \"container-per-tenant\"\ncredential = \"managed-identity\"\nclient_id = \"17\"",
        "layout = \"prefix-per-tenant\"\ncredential = \"workload-identity\"",
        "layout = \"prefix-per-tenant\"\ncredential = \"shared-key\"\nkey = \"kv://vault/key\"\nrange_checksums = false",
    ] {
        let settings = read(&account(more));
        assert_eq!(
            settings.references().len(),
            usize::from(more.contains("key = "))
        );
    }
    for (key, more) in [
        ("blobs.layout", "credential = \"managed-identity\""),
        ("blobs.layout", "layout = \"hunter2\""),
        ("blobs.credential", "layout = \"prefix-per-tenant\""),
        (
            "blobs.key",
            "layout = \"prefix-per-tenant\"\ncredential = \"shared-key\"",
        ),
        (
            "blobs.key",
            "layout = \"prefix-per-tenant\"\ncredential = \"shared-key\"\nkey = \"hunter2\"",
        ),
        (
            "blobs.key",
            "layout = \"prefix-per-tenant\"\ncredential = \"workload-identity\"\nkey = \"kv://vault/key\"",
        ),
    ] {
        assert_eq!(refusal(&account(more)).subject(), key);
    }
    let signed = "[blobs]\nurl = \"https://a.blob.core.windows.net/?sv=1&sig=hunter2\"";
    assert_eq!(refusal(&with(signed)).subject(), "blobs.url");
}

#[cfg(all(
    feature = "nats",
    feature = "rabbitmq",
    feature = "redis-streams",
    feature = "secrets",
    feature = "sqlite"
))]
#[test]
fn a_broker_has_a_destination_and_the_source_of_its_events() {
    assert!(matches!(
        read(&with("[broker]\nurl = \"memory:\"")).broker,
        Some(Broker::Memory)
    ));
    let login = "user = \"billing\"\npassword = \"kv://billing-prod/broker\"";
    for (url, destination) in [
        ("nats://nats.internal:4222", "stream"),
        ("tls://nats-1:4222,tls://nats-2:4222", "stream"),
        ("amqp://rabbitmq.internal", "exchange"),
        ("amqps://rabbitmq.internal/vhost", "exchange"),
        ("redis://redis.internal", "stream"),
    ] {
        let section = format!(
            "[broker]\nurl = \"{url}\"\n{destination} = \"events\"\nsource = \"/services/billing\"\n"
        );
        read(&with(&section));
        let settings = read(&with(&format!("{section}{login}")));
        assert_eq!(settings.references().len(), 1);
        for (more, key) in [
            ("user = \"billing\"", "broker.password"),
            ("password = \"kv://billing-prod/broker\"", "broker.user"),
            ("queue = \"x\"", "broker.queue"),
        ] {
            assert_eq!(refusal(&with(&format!("{section}{more}"))).subject(), key);
        }
    }
    for (url, key) in [
        ("nats://hunter2@nats", "broker.url"),
        ("nats://a:1,nats://u:hunter2@b:1", "broker.url"),
        ("amqp://app:hunter2@rabbitmq", "broker.url"),
        ("redis://:hunter2@redis", "broker.url"),
        ("kafka://kafka", "broker.url"),
        ("nats://nats", "broker.stream"),
        ("amqp://rabbitmq", "broker.exchange"),
    ] {
        let section = format!("[broker]\nurl = \"{url}\"\nsource = \"/services/billing\"");
        assert_eq!(refusal(&with(&section)).subject(), key, "{url}");
    }
}

#[cfg(all(feature = "key-vault", feature = "file-vault", feature = "sqlite"))]
#[test]
fn vaults_are_of_four_kinds() {
    let settings = read(&with(
        r#"
        [[vaults]]
        url = "https://Billing-Prod.vault.azure.net/"
        credential = "managed-identity"

        [[vaults]]
        name = "local"
        url = "file:/var/lib/billing/vault.age"
        key_file = "/run/keys/billing.key"

        [[vaults]]
        url = "folder:/run/secrets"

        [[vaults]]
        url = "env:"
        variables = ["DB_PASSWORD"]
        "#,
    ));
    assert_eq!(settings.vaults.places.len(), 4);
    for (section, key) in [
        (
            "url = \"https://vault.azure.net.evil.example\"",
            "vaults[0].url",
        ),
        (
            "url = \"https://billing.vault.azure.net\"",
            "vaults[0].credential",
        ),
        (
            "url = \"file:/vault.age\"\nname = \"local\"",
            "vaults[0].key_file",
        ),
        ("url = \"env:\"", "vaults[0].variables"),
        (
            "url = \"folder:/run/secrets\"\nname = \"x\"",
            "vaults[0].name",
        ),
        ("url = \"aws:\"", "vaults[0].url"),
    ] {
        let error = refusal(&with(&format!("[[vaults]]\n{section}")));
        assert_eq!(
            (error.kind(), error.subject()),
            (ErrorKind::InvalidSettings, key)
        );
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn what_is_not_compiled_in_names_its_feature() {
    let cases: &[(bool, &str, &str)] = &[
        (
            cfg!(feature = "cache"),
            "[cache]\nurl = \"memory:\"",
            "cache",
        ),
        (cfg!(feature = "blob"), "[blobs]\nurl = \"memory:\"", "blob"),
        (
            cfg!(feature = "outbox"),
            "[broker]\nurl = \"memory:\"",
            "outbox",
        ),
        (
            cfg!(feature = "outbox"),
            "[outbox]\nmost_bytes = 1000",
            "outbox",
        ),
        (
            cfg!(feature = "secrets"),
            "[[vaults]]\nurl = \"folder:/run/secrets\"",
            "secrets",
        ),
    ];
    for (is_there, section, feature) in cases {
        let outcome = Settings::from_toml(&with(section));
        match outcome {
            Ok(_) => assert!(is_there, "{feature}"),
            Err(error) => {
                assert!(!is_there, "{error}");
                assert_eq!(error.kind(), ErrorKind::Unsupported);
                assert!(error.detail().contains(&format!("`{feature}`")), "{error}");
            }
        }
    }
}

#[cfg(all(feature = "cache", not(feature = "redis"), feature = "sqlite"))]
#[test]
fn a_scheme_that_is_not_compiled_in_names_its_feature() {
    let error = refusal(&with("[cache]\nurl = \"redis://cache\""));
    assert_eq!(
        (error.kind(), error.subject()),
        (ErrorKind::Unsupported, "cache.url")
    );
    assert!(error.detail().contains("`redis`"), "{error}");
}

#[cfg(feature = "sqlite")]
#[test]
fn the_environment_alone_is_enough() {
    let variables = [
        ("TENANTRY__DATABASE__URL", "sqlite::memory:"),
        ("TENANTRY__SERVICE", "gateway"),
        (
            "TENANTRY_TEST_POSTGRES_URL",
            "postgres://postgres:hunter2@localhost",
        ),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = Settings::from_toml_with("", variables).unwrap();
    assert_eq!(settings.service, Some(Service::Gateway));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Settings::from_file("/nowhere/settings.toml").unwrap_err();
    assert_eq!(
        (error.kind(), error.subject()),
        (ErrorKind::InvalidSettings, "/nowhere/settings.toml")
    );
    assert!(std::error::Error::source(&error).is_some());
}

#[cfg(feature = "postgres")]
#[test]
fn debug_shows_no_password_of_a_url_made_in_code() {
    let settings = Settings::from_url("postgres://app:hunter2@db/app").unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
}
