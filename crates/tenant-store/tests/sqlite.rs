//! The conformance suite on SQLite.

#![cfg(all(feature = "sqlite", feature = "conformance"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use tenantry_store::conformance::SQLITE_SCHEMA;
use tenantry_store::{Migrations, SqliteSettings, TenantStore, sqlite};

async fn open() -> TenantStore {
    let settings = SqliteSettings::temporary()
        .with_max_readers(2)
        .with_relaxed_durability();
    let migrations = Migrations::embedded(&[(1, "conformance", SQLITE_SCHEMA)]);
    sqlite::migrate(&settings, &migrations).await.unwrap();
    TenantStore::sqlite(settings).await.unwrap()
}

tenantry_store::conformance_suite!(open);

/// A unit of work that is tried again can run in a task of its own: its future is `Send`.
#[tokio::test]
async fn run_can_be_spawned() {
    use tenantry_core::TenantId;
    use tenantry_store::conformance::Specimen;
    use tenantry_store::{Error, Repository as _, RetryPolicy, WorkOptions};

    let scope = open().await.tenant(TenantId::generate());
    let label = "spawned".to_owned();
    let task = tokio::spawn(async move {
        let label = &label;
        scope
            .run(
                RetryPolicy::new(),
                WorkOptions::default(),
                |work| async move {
                    let specimens = work.repository::<Specimen>();
                    specimens.insert(&mut Specimen::named(label)).await?;
                    specimens.count(Specimen::LABEL.eq(label.as_str())).await
                },
            )
            .await
    });
    let count: Result<u64, Error> = task.await.unwrap();
    assert_eq!(count.unwrap(), 1);
}

/// Closing refuses new work at once, even if nobody waits for it to end, and waits for what is open.
#[tokio::test]
async fn close_waits_for_the_open_unit_of_work_and_refuses_others() {
    use futures_util::FutureExt as _;
    use tenantry_core::{ErrorKind, TenantId};
    use tenantry_store::conformance::Specimen;
    use tenantry_store::{Filter, Repository as _};

    let store = open().await;
    let scope = store.tenant(TenantId::generate());
    let work = scope.begin().await.unwrap();

    assert!(store.close().now_or_never().is_none());
    assert!(store.close().now_or_never().is_none());
    let refused = scope.begin().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    let refused = scope.repository::<Specimen>().count(Filter::all()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);

    let mut specimen = Specimen::named("last");
    work.repository().insert(&mut specimen).await.unwrap();
    work.commit().await.unwrap();
    store.close().await;
}

/// A reader that is still open keeps no writer open.
#[tokio::test]
async fn close_beside_an_open_stream_refuses_writes() {
    use futures_util::{FutureExt as _, StreamExt as _};
    use tenantry_core::{ErrorKind, TenantId};
    use tenantry_store::conformance::Specimen;
    use tenantry_store::{Query, Repository as _};

    let store = open().await;
    let scope = store.tenant(TenantId::generate());
    let specimens = scope.repository::<Specimen>();
    let mut rows: Vec<_> = (0..500).map(|_| Specimen::named("row")).collect();
    specimens.insert_many(&mut rows).await.unwrap();
    let mut stream = specimens.stream(Query::new());
    stream.next().await.unwrap().unwrap();

    assert!(store.close().now_or_never().is_none());
    let refused = scope.begin().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(
        refused
            .to_string()
            .contains("the store was closed: open it anew")
    );
    drop(stream);
    store.close().await;
}

mod secret_references {
    use tenantry_core::{SecretReference, TenantId};
    use tenantry_store::{
        Aggregate, ErrorKind, Migrations, Query, Repository as _, RepositoryExt as _,
        SqliteSettings, TenantStore, sqlite,
    };
    use uuid::Uuid;

    #[derive(Debug, Clone, PartialEq, Aggregate)]
    #[aggregate(table = "connections")]
    struct Connection {
        #[aggregate(id)]
        id: Uuid,
        password: SecretReference,
        token: Option<SecretReference>,
    }

    const CONNECTIONS: &str = "create table connections (
        tenant_id blob not null, id blob not null, password text not null, token text,
        primary key (tenant_id, id)) strict";

    #[tokio::test]
    async fn a_row_holds_a_reference_and_tells_nothing_of_what_stands_there_instead() {
        let settings = SqliteSettings::temporary();
        let migrations = Migrations::embedded(&[(1, "connections", CONNECTIONS)]);
        sqlite::migrate(&settings, &migrations).await.unwrap();
        let store = TenantStore::sqlite(settings.clone()).await.unwrap();
        let tenant = TenantId::generate();
        let connections = store.tenant(tenant).repository::<Connection>();
        let reference = SecretReference::of_tenant("vault", tenant, "smtp").unwrap();
        let mut connection = Connection {
            id: Uuid::now_v7(),
            password: reference.clone(),
            token: None,
        };
        connections.insert(&mut connection).await.unwrap();
        let found = Query::new().filter(Connection::PASSWORD.eq(reference));
        assert_eq!(
            connections.list(found).await.unwrap().items,
            [connection.clone()]
        );

        let work = store.tenant(tenant).begin().await.unwrap();
        #[cfg(feature = "guard")]
        sqlx::query("update connections set token = 'hunter2'")
            .execute(work.sqlx_sqlite().unwrap())
            .await
            .unwrap();
        work.commit().await.unwrap();
        #[cfg(feature = "guard")]
        {
            let error = connections.get(connection.id).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidValue);
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
