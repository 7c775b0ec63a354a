//! The outbox on SQLite: what it does on every database, and what is of this one alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection as _, Executor as _, SqliteConnection};
use tenantry_core::{Clock as _, ErrorKind, RequestContext, SystemClock, TenantId};
use tenantry_outbox::conformance::{Broker, SUITE_SQLITE, Subject, quick, until};
use tenantry_outbox::{
    DeadLetterFilter, DeadLetters, Inbox, NewMessage, OUTBOX_SQLITE, Outbox, OutboxStatus,
    OutboxWorker,
};
use tenantry_store::{Migrations, PlatformStore, SqliteSettings, TenantStore, sqlite};

struct OnSqlite {
    store: TenantStore,
    platform: PlatformStore,
}

impl OnSqlite {
    async fn open() -> Self {
        Self::open_in(SqliteSettings::temporary().with_relaxed_durability()).await
    }

    async fn open_in(settings: SqliteSettings) -> Self {
        let migrations =
            Migrations::embedded(&[(1, "outbox", OUTBOX_SQLITE), (2, "suite", SUITE_SQLITE)]);
        sqlite::migrate(&settings, &migrations).await.unwrap();
        Self {
            store: TenantStore::sqlite(settings.clone()).await.unwrap(),
            platform: PlatformStore::sqlite(settings).await.unwrap(),
        }
    }
}

impl Subject for OnSqlite {
    fn store(&self) -> &TenantStore {
        &self.store
    }

    fn platform(&self) -> &PlatformStore {
        &self.platform
    }
}

tenantry_outbox::conformance_suite!(OnSqlite::open);

#[tokio::test]
async fn a_unit_of_work_of_another_store_is_refused() {
    let (subject, other) = (OnSqlite::open().await, OnSqlite::open().await);
    let outbox = Outbox::new(&other.store);
    for tenant in [TenantId::generate(), TenantId::generate()] {
        let work = subject.store.tenant(tenant).begin().await.unwrap();
        let refused = outbox.append_message(&work, NewMessage::new("a", "k"));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
        work.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_database_without_the_tables_is_told_of() {
    let store = TenantStore::sqlite(SqliteSettings::temporary())
        .await
        .unwrap();
    let outbox = Outbox::new(&store);
    for tenant in [TenantId::generate(), TenantId::generate()] {
        let work = store.tenant(tenant).begin().await.unwrap();
        outbox
            .append_message(&work, NewMessage::new("a", "k"))
            .unwrap();
        let error = work.commit().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownTable);
        assert!(error.detail().contains("migration"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_cannot_be_read_holds_up_its_key_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("by_hand.db");
    let subject = OnSqlite::open_in(SqliteSettings::file(&file)).await;
    let url = format!("sqlite:{}", file.display());
    let mut raw = SqliteConnection::connect(&url).await.unwrap();
    let outbox = Outbox::new(&subject.store);
    let [bad, good] = [TenantId::generate(), TenantId::generate()];
    for (tenant, key) in [(bad, "k"), (bad, "k"), (bad, "other"), (good, "k")] {
        let work = subject.store.tenant(tenant).begin().await.unwrap();
        let message = NewMessage::new("suite.a", key);
        outbox.append_message(&work, message).unwrap();
        work.commit().await.unwrap();
    }
    // A time, and a tenant, that is none.
    for statement in [
        "update outbox_messages set occurred_at = 'never' where position = 1",
        "insert into outbox_messages (occurred_at, tenant_id, id, partition_id, event_type, ordering_key, \
             content_type, payload) \
         values ('2026-01-01T00:00:00.000000+00:00', x'07', randomblob(16), 3, 'suite.a', 'k', 'text/plain', \
             x'00')",
    ] {
        raw.execute(statement).await.unwrap();
    }
    let broker = Broker::default();
    let publisher = Arc::new(broker.clone());
    let worker = OutboxWorker::start(&subject.platform, publisher, quick()).unwrap();
    until("all that can have left", || broker.count() == 2).await;
    let mut tries = 0;
    while OutboxStatus::read(&subject.platform).await.unwrap().blocked != 2 {
        tries += 1;
        assert!(tries < 3_000, "they are not given up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let letters = DeadLetters::open(&subject.platform, "a test", RequestContext::system()).unwrap();
    let all = DeadLetterFilter::default();
    let listed = letters.list(&all, 100).await.unwrap();
    let [letter] = &listed[..] else {
        panic!("{listed:?}");
    };
    assert_eq!((letter.tenant, &*letter.reason), (bad, "unreadable"));
    assert_eq!(letters.discard(bad, &all).await.unwrap(), 1);
    until("what stood behind has left", || broker.count() == 3).await;
    worker.stop().await.unwrap();
    let left = sqlx::query_scalar("select count(*) from outbox_messages");
    let left: i64 = left.fetch_one(&mut raw).await.unwrap();
    assert_eq!(left, 0, "what has left is deleted");
}

/// Those of a day are many, and there is one writer at a time: what stops half way keeps what was done.
#[tokio::test]
async fn marks_of_the_inbox_are_removed_in_batches() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("marks.db");
    let subject = OnSqlite::open_in(SqliteSettings::file(&file)).await;
    let url = format!("sqlite:{}", file.display());
    let mut raw = SqliteConnection::connect(&url).await.unwrap();
    let day = SystemClock.now().timestamp_millis().div_euclid(86_400_000);
    // Whichever of both it is, should the day end meanwhile.
    for generation in [day + 2, day + 3] {
        for tenant in [TenantId::generate(), TenantId::generate()] {
            let marks = sqlx::query(
                "with recursive n (i) as (select 1 union all select i + 1 from n where i < 5000) \
                 insert into outbox_inbox (generation, tenant_id, message_id, consumer) \
                 select ?1, ?2, unhex(printf('%012X7%03X8%015X', ?3, 0, i)), 'mail' from n",
            );
            let appended_at = (generation - 16) * 86_400_000;
            let marks = marks
                .bind(generation.rem_euclid(16))
                .bind(tenant.as_uuid().as_bytes().to_vec())
                .bind(appended_at)
                .execute(&mut raw);
            marks.await.unwrap();
        }
    }
    let stop = "create trigger stop before delete on outbox_inbox \
        when (select count(*) from outbox_inbox) <= 13000 begin select raise(abort, 'as the test asks'); end";
    raw.execute(stop).await.unwrap();
    Inbox::prune(&subject.platform).await.unwrap_err();
    let count = "select count(*) from outbox_inbox";
    let left: i64 = sqlx::query_scalar(count).fetch_one(&mut raw).await.unwrap();
    assert!((13_000..20_000).contains(&left), "{left}");
    raw.execute("drop trigger stop").await.unwrap();
    Inbox::prune(&subject.platform).await.unwrap();
    let left: i64 = sqlx::query_scalar(count).fetch_one(&mut raw).await.unwrap();
    assert!(left <= 10_000, "{left}");
}
