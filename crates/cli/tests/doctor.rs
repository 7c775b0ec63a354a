//! `tenantry doctor`, run where a service is sound and where it is not.

#![allow(clippy::unwrap_used, reason = "a set-up that fails ends the test")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use support::{Server, Service, status, told};
use tenantry_core::TenantId;
use tenantry_outbox::{
    Message, NewMessage, Outbox, OutboxStatus, OutboxWorker, PublishError, PublishErrorKind,
    Publisher, Stopped, WorkerSettings,
};
use tenantry_store::{PlatformStore, PostgresSettings, TenantStore, async_trait};
use tenantry_testkit::{DelayProxy, PostgresServer, ProxyOptions};

/// Returns what is no success, for a test that expects none.
fn troubles(report: &Value) -> Vec<&Value> {
    let checks = report["checks"].as_array().unwrap().iter();
    checks.filter(|it| it["status"] != "ok").collect()
}

#[tokio::test]
async fn a_sound_service_on_postgres_has_nothing_to_mend() {
    let (server, mut service) = (Server::new().await, Service::new());
    let sections = server.sections(&mut service).await;
    service.settings(&sections);
    let (code, report) = service.json(&["doctor"]).await;
    assert_eq!(code, 0, "{report:#}");
    assert!(troubles(&report).is_empty(), "{report:#}");
    for (part, check) in [
        ("database", "connection"),
        ("database", "tls"),
        ("database", "clock"),
        ("database", "bootstrap"),
        ("database", "role"),
        ("database", "isolation"),
        ("database", "migrations"),
        ("database", "outbox tables"),
        ("database", "grants"),
        ("platform", "connection"),
        ("platform", "role"),
        ("platform", "outbox"),
        ("secret database.password", "resolves"),
        ("secret platform.password", "resolves"),
    ] {
        assert_eq!(status(&report, part, check), "ok", "{part} {check}");
    }
    let (code, lines) = service.run(&["doctor", "--deny", "warnings"]).await;
    assert_eq!(code, 0, "{lines}");
    assert!(lines.ends_with("0 failures, 0 warnings\n"), "{lines}");
}

#[tokio::test]
async fn a_wall_that_is_down_is_told_with_the_statement_that_mends_it() {
    let (server, mut service) = (Server::new().await, Service::new());
    let sections = server.sections(&mut service).await;
    service.settings(&sections);
    let down = "alter table invoices disable row level security";
    server.database.execute(down).await.unwrap();
    let (code, report) = service.json(&["doctor"]).await;
    assert_eq!(code, 1, "{report:#}");
    let isolation = told(&report, "database", "isolation");
    assert!(
        isolation
            .iter()
            .any(|(status, found, fix)| status == "failure"
                && found.contains("invoices")
                && fix.starts_with("as owner: ")),
        "{isolation:?}"
    );
    let (code, lines) = service.run(&["doctor"]).await;
    assert!(code == 1 && lines.contains("mend: as owner: "), "{lines}");
}

#[tokio::test]
async fn rights_that_were_taken_are_told() {
    let (server, mut service) = (Server::new().await, Service::new());
    let sections = server.sections(&mut service).await;
    service.settings(&sections);
    let app = server.app.user();
    let taken = format!("revoke all on outbox_inbox from \"{app}\"");
    server.database.execute(&taken).await.unwrap();
    let (code, report) = service.json(&["doctor"]).await;
    let grants = told(&report, "database", "grants");
    assert_eq!(code, 1, "{report:#}");
    assert!(
        grants
            .iter()
            .all(|(_, found, fix)| found.contains("may not")
                && found.contains("outbox_inbox")
                && fix.contains("grant")),
        "{grants:?}"
    );
    // Tables that are named have the rights of their store.
    let (_, report) = service
        .json(&["doctor", "--table", "invoices=domain_data"])
        .await;
    let grants = told(&report, "database", "grants");
    assert!(
        !grants
            .iter()
            .any(|(_, found, _)| found.contains("invoices")),
        "{grants:?}"
    );
}

#[tokio::test]
async fn a_role_that_gets_round_the_walls_is_told() {
    let (server, mut service) = (Server::new().await, Service::new());
    // The administrator has its password in the URL of the test; here it is a reference.
    let admin = server.database.admin_url();
    let (user, rest) = admin.split_once("://").unwrap().1.split_once('@').unwrap();
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let password = match password {
        "" => String::new(),
        password => format!("password = \"{}\"\n", service.keep("admin", password)),
    };
    service.settings(&format!(
        "[database]\nurl = \"postgres://{user}@{rest}\"\n{password}"
    ));
    let (code, report) = service.json(&["doctor"]).await;
    assert_eq!(code, 1, "{report:#}");
    assert_eq!(status(&report, "database", "connection"), "ok");
    let role = told(&report, "database", "role");
    assert!(
        role.iter().any(|(status, found, fix)| status == "failure"
            && found.contains("superuser")
            && !fix.is_empty()),
        "{role:?}"
    );
}

#[tokio::test]
async fn a_database_without_bootstrap_migrations_and_outbox_is_told() {
    let (server, mut service) = (Server::empty().await, Service::new());
    let sections = server.sections(&mut service).await;
    service.settings(&format!("{sections}[broker]\nurl = \"memory:\"\n"));
    let (code, report) = service.json(&["doctor"]).await;
    assert_eq!(code, 1, "{report:#}");
    assert_eq!(status(&report, "database", "migrations"), "failure");
    assert_eq!(status(&report, "database", "outbox tables"), "failure");
    assert_eq!(status(&report, "broker", "connection"), "warning");

    server
        .database
        .execute("drop schema tenantry cascade")
        .await
        .unwrap();
    let (_, report) = service.json(&["doctor"]).await;
    let walls = told(&report, "database", "bootstrap");
    assert!(
        walls[0].1.contains("schema tenantry is missing") && walls[0].2.contains("Bootstrap"),
        "{walls:?}"
    );
}

#[tokio::test]
async fn migrations_are_compared_by_the_owner_alone() {
    let (server, mut service) = (Server::new().await, Service::new());
    let sections = server.sections(&mut service).await;
    service.settings(&sections);
    let folder = service.path("migrations");
    Server::write_migrations(&folder);
    let folder = folder.display().to_string();
    let doctor = ["doctor", "--migrations", &folder];
    let (code, report) = service.json(&doctor).await;
    assert_eq!(
        (code, &*status(&report, "database", "migrations")),
        (0, "warning")
    );

    // Of the owner the password stands in the URL, as people do it.
    service.hides(server.owner.password());
    service.set("TENANTRY_DATABASE_URL", server.owner.url());
    let (code, report) = service.json(&doctor).await;
    assert_eq!(
        (code, &*status(&report, "database", "migrations")),
        (0, "ok"),
        "{report:#}"
    );
    std::fs::write(service.path("migrations/0003_more.sql"), "select 1").unwrap();
    let (code, report) = service.json(&doctor).await;
    let migrations = told(&report, "database", "migrations");
    assert_eq!((code, &*migrations[0].1), (1, "not run yet: 0003"));
    std::fs::write(service.path("migrations/0002_invoices.sql"), "select 2").unwrap();
    let (code, report) = service.json(&doctor).await;
    let migrations = told(&report, "database", "migrations");
    assert!(
        code == 1 && migrations[0].1.contains("text was changed"),
        "{migrations:?}"
    );
}

#[tokio::test]
async fn a_wrong_password_is_told_and_holds_up_nothing_else() {
    let (server, mut service) = (Server::new().await, Service::new());
    let sections = server.sections(&mut service).await;
    service.settings(&sections);
    service.keep("database", "hunter2-and-more");
    let (code, report) = service.json(&["doctor"]).await;
    assert_eq!(code, 1, "{report:#}");
    let connection = told(&report, "database", "connection");
    assert!(
        connection[0].0 == "failure" && connection[0].2.contains("database.password"),
        "{connection:?}"
    );
    assert_eq!(status(&report, "platform", "outbox"), "ok");
}

#[tokio::test]
async fn a_server_that_says_nothing_holds_up_no_other() {
    let (server, mut service) = (Server::new().await, Service::new());
    let address = PostgresServer::shared().await.unwrap().address();
    let proxy = DelayProxy::start(&address, ProxyOptions::default())
        .await
        .unwrap();
    proxy.pause();
    let sections = server.sections_at(&mut service, &proxy.address().to_string());
    // The role across tenants goes the short way.
    let (database, platform) = sections.split_at(sections.find("[platform]").unwrap());
    let platform = platform.replace(&proxy.address().to_string(), &address);
    service.settings(&format!("{database}{platform}"));
    let (code, report) = service.json(&["doctor", "--timeout", "1"]).await;
    assert_eq!(code, 1, "{report:#}");
    let connection = told(&report, "database", "connection");
    assert!(
        connection[0].1.contains("no answer within 1s"),
        "{connection:?}"
    );
    assert_eq!(status(&report, "platform", "connection"), "ok");
    assert_eq!(
        status(&report, "secret database.password", "resolves"),
        "ok"
    );
}

/// Takes nothing, for ever.
#[derive(Debug)]
struct Refuses;

#[async_trait]
impl Publisher for Refuses {
    async fn publish(&self, _messages: &[Message]) -> Result<(), Stopped> {
        let error = PublishError::new(PublishErrorKind::Poison, "too large");
        Err(Stopped::new(0, error))
    }

    async fn check(&self) -> tenantry_core::Result<()> {
        Ok(())
    }

    fn system(&self) -> &'static str {
        "refuses"
    }
}

#[tokio::test]
async fn messages_that_wait_for_nobody_and_keys_that_stand_still_are_told() {
    let (server, mut service) = (Server::new().await, Service::new());
    let sections = server.sections(&mut service).await;
    service.settings(&sections);
    let tenant = TenantId::generate();
    let store = TenantStore::postgres(PostgresSettings::new(server.app.url()))
        .await
        .unwrap();
    let work = store.tenant(tenant).begin().await.unwrap();
    let message = NewMessage::new("billing.invoice.paid", "invoice-7");
    Outbox::new(&store).append_message(&work, message).unwrap();
    work.commit().await.unwrap();
    let (code, report) = service.json(&["doctor"]).await;
    let outbox = told(&report, "platform", "outbox");
    assert!(
        code == 1 && outbox[0].1.contains("no worker is alive"),
        "{outbox:?}"
    );

    let platform = PlatformStore::postgres(PostgresSettings::new(server.platform.url()))
        .await
        .unwrap();
    let worker =
        OutboxWorker::start(&platform, Arc::new(Refuses), WorkerSettings::default()).unwrap();
    while OutboxStatus::read(&platform).await.unwrap().blocked == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (code, report) = service.json(&["doctor"]).await;
    let outbox = told(&report, "platform", "outbox");
    assert!(
        code == 1 && outbox[0].1.contains("block their keys"),
        "{outbox:?}"
    );
    worker.stop().await.unwrap();
    let shown = service
        .json(&["tenants", "show", &tenant.to_string()])
        .await
        .1;
    assert_eq!(shown["messages"], serde_json::json!({ "blocked": 1 }));
}

#[tokio::test]
async fn a_password_in_the_settings_or_the_environment_is_refused_and_not_shown() {
    let mut service = Service::new();
    service.hides("hunter2");
    service.settings("[database]\nurl = \"postgres://billing:hunter2@127.0.0.1:1/billing\"\n");
    for command in [
        &["doctor"][..],
        &["map"],
        &["tenants"],
        &["secrets", "expiring"],
    ] {
        for json in [&[][..], &["--json"]] {
            let (code, written) = service.run(&[command, json].concat()).await;
            assert_eq!(code, 2, "{written}");
            assert!(written.contains("database.url"), "{written}");
        }
    }
    service.settings("[database]\nurl = \"sqlite:/nowhere.db\"\n");
    service.set(
        "TENANTRY__DATABASE__URL",
        "postgres://billing:hunter2@127.0.0.1:1/billing",
    );
    for command in [
        &["doctor"][..],
        &["map"],
        &["tenants"],
        &["secrets", "expiring"],
    ] {
        let (code, written) = service.run(command).await;
        assert_eq!(code, 2, "{written}");
        assert!(written.contains("database.url"), "{written}");
    }
}

#[tokio::test]
async fn settings_that_cannot_be_read_are_no_finding() {
    let service = Service::new();
    let (code, written) = service.run(&["doctor"]).await;
    assert!(code == 2 && written.contains("cannot be read"), "{written}");
    service.settings("[database]\nurl = \"sqlite:/nowhere.db\"\n[blobs]\nurl = \"https://a.blob.core.windows.net\"\nname = \"a\"\n");
    let (code, written) = service.run(&["doctor"]).await;
    assert_eq!(code, 2, "{written}");
    #[cfg(not(feature = "blob-azure"))]
    assert!(written.contains("--features blob-azure"), "{written}");
}

#[cfg(feature = "sqlite")]
mod embedded {
    use super::*;

    fn sections(service: &Service) -> String {
        let path = |name: &str| service.path(name).display().to_string();
        let (database, blobs) = (path("tenants.db"), path("blobs"));
        format!(
            "[database]\nurl = \"sqlite:{database}\"\n[platform]\nurl = \"sqlite:{database}\"\n\
             [blobs]\nurl = \"file:{blobs}\"\n"
        )
    }

    #[tokio::test]
    async fn a_sound_service_in_files_has_nothing_to_mend() {
        let service = Service::new();
        support::file(&service.path("tenants.db")).await;
        let blobs = tenantry_blob::FsSettings::new(service.path("blobs"));
        drop(tenantry_blob::FsBlobs::open(blobs).await.unwrap());
        service.settings(&sections(&service));
        let (code, report) = service.json(&["doctor", "--deny", "warnings"]).await;
        assert_eq!(code, 0, "{report:#}");
        for (part, check) in [
            ("database", "connection"),
            ("database", "isolation"),
            ("database", "migrations"),
            ("database", "outbox tables"),
            ("platform", "outbox"),
            ("blobs", "folder"),
            ("blobs", "list"),
        ] {
            assert_eq!(status(&report, part, check), "ok", "{part} {check}");
        }
        // Nothing is left behind.
        let left = std::fs::read_dir(service.path("blobs")).unwrap();
        let left = left.filter(|it| {
            let name = it.as_ref().unwrap().file_name();
            name.to_string_lossy().contains("doctor")
        });
        assert_eq!(left.count(), 0);
    }

    #[tokio::test]
    async fn what_is_not_there_is_told_and_not_made() {
        let service = Service::new();
        service.settings(&sections(&service));
        let (code, report) = service.json(&["doctor"]).await;
        assert_eq!(code, 1, "{report:#}");
        let connection = told(&report, "database", "connection");
        assert!(
            connection[0].1.contains("there is no file")
                && connection[0].2.starts_with("tenantry migrate"),
            "{connection:?}"
        );
        assert_eq!(status(&report, "blobs", "folder"), "warning");
        assert!(!service.path("tenants.db").exists() && !service.path("blobs").exists());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_folder_that_others_may_enter_is_told() {
        use std::os::unix::fs::PermissionsExt as _;

        let service = Service::new();
        support::file(&service.path("tenants.db")).await;
        std::fs::create_dir(service.path("blobs")).unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(service.path("blobs"), open).unwrap();
        service.settings(&sections(&service));
        let (code, report) = service.json(&["doctor"]).await;
        let folder = told(&report, "blobs", "folder");
        assert!(
            code == 0 && folder[0].2.starts_with("chmod 700"),
            "{folder:?}"
        );
        let (code, _) = service.run(&["doctor", "--deny", "warnings"]).await;
        assert_eq!(code, 1);
    }

    #[tokio::test]
    async fn a_table_without_its_tenant_first_is_told() {
        let service = Service::new();
        let settings = support::file(&service.path("tenants.db")).await;
        let more = tenantry_store::Migrations::embedded(&[
            (1, "outbox", tenantry_outbox::OUTBOX_SQLITE),
            (2, "invoices", support::INVOICES_SQLITE),
            (
                3,
                "notes",
                "create table notes (tenant_id blob, id integer primary key) strict",
            ),
        ]);
        tenantry_store::sqlite::migrate(&settings, &more)
            .await
            .unwrap();
        service.settings(&sections(&service));
        let (code, report) = service.json(&["doctor"]).await;
        let isolation = told(&report, "database", "isolation");
        assert_eq!(code, 1, "{report:#}");
        assert!(
            isolation
                .iter()
                .all(|(_, found, fix)| found.contains("notes") && !fix.is_empty()),
            "{isolation:?}"
        );
    }
}

/// Servers that the command was built for.
#[cfg(any(feature = "redis", feature = "nats"))]
mod servers {
    use super::*;

    #[cfg(feature = "redis")]
    #[tokio::test]
    async fn a_redis_is_told_of_when_it_answers_and_when_it_is_down() {
        use tenantry_testkit::{RedisServer, StopMode};

        let (server, mut service) = (Server::new().await, Service::new());
        let redis = RedisServer::start().await.unwrap();
        let (login, _) = redis
            .url()
            .split_once("://")
            .unwrap()
            .1
            .split_once('@')
            .unwrap();
        let (user, password) = login.split_once(':').unwrap();
        let reference = service.keep("redis", password);
        let user = match user {
            "" => String::new(),
            user => format!("user = \"{user}\"\n"),
        };
        let sections = server.sections(&mut service).await;
        service.settings(&format!(
            "{sections}[cache]\nurl = \"redis://{}\"\n{user}password = \"{reference}\"\n",
            redis.address()
        ));
        let (code, report) = service.json(&["doctor"]).await;
        assert_eq!(
            (code, &*status(&report, "cache", "connection")),
            (0, "ok"),
            "{report:#}"
        );
        redis.stop(StopMode::Immediate).await.unwrap();
        let (code, report) = service.json(&["doctor", "--timeout", "3"]).await;
        let cache = told(&report, "cache", "connection");
        assert!(code == 1 && cache[0].2.contains("cache.url"), "{cache:?}");
        assert_eq!(status(&report, "database", "isolation"), "ok");
    }

    #[cfg(feature = "nats")]
    #[tokio::test]
    async fn a_stream_that_is_not_there_is_told() {
        use tenantry_testkit::NatsServer;

        let (server, mut service) = (Server::new().await, Service::new());
        let nats = NatsServer::start().await.unwrap();
        let sections = server.sections(&mut service).await;
        let login = nats.url().split_once("://").unwrap().1.split_once('@');
        let login = login.and_then(|(login, _)| login.split_once(':'));
        let login = login.map_or_else(String::new, |(user, password)| {
            let reference = service.keep("nats", password);
            format!("user = \"{user}\"\npassword = \"{reference}\"\n")
        });
        service.settings(&format!(
            "{sections}[broker]\nurl = \"nats://{}\"\nstream = \"NOBODYS\"\nsource = \"/tests\"\n{login}",
            nats.address()
        ));
        let (code, report) = service.json(&["doctor"]).await;
        let broker = told(&report, "broker", "connection");
        assert!(code == 1 && broker[0].0 == "failure", "{report:#}");
        assert!(broker[0].1.contains("NOBODYS"), "{broker:?}");
    }
}
