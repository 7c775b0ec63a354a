//! Troubles on PostgreSQL: each is a kind of its own, says what to do, shows nothing that is
//! nobody's business, and leaves nothing half done.

#![cfg(all(feature = "postgres", feature = "conformance"))]
#![allow(clippy::unwrap_used, reason = "a set-up that fails ends the test")]

mod support;
mod trouble;

#[path = "trouble/postgres.rs"]
mod postgres;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use futures_util::future::join_all;
use postgres::{Fixture, PATIENCE, connect, run};
use rust_decimal::Decimal;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use tenantry_core::{Secret, TenantId};
use tenantry_store::conformance;
use tenantry_store::{
    Aggregate, Changes, CommitOutcome, ErrorKind, Filter, Isolation, PostgresSettings, Query,
    Repository, RepositoryExt as _, RetryPolicy, TenantStore, UnitOfWork, Version, WorkOptions,
};
use tenantry_testkit::{PostgresServer, ProxyOptions, ServerOptions, StopMode, wall_two_alone};
use tokio::sync::Barrier;
use trouble::{Customer, Invoice, Recorder, Tenants, customer, customers, eventually, poll_times};
use uuid::Uuid;

const REACHABLE: &str = "see that the server runs and can be reached";
const NO_CONNECTION: &str = "the server took no new connection within";

// --- Opening -------------------------------------------------------------------------------------

#[tokio::test]
async fn closed_port_is_unavailable() {
    let fixture = Fixture::open().await;
    let address = fixture.proxy.address();
    drop(fixture.proxy);
    let url = fixture.walled.app.url();
    let port = url.rsplit(':').next().unwrap().split('/').next().unwrap();
    let url = url.replace(&format!(":{port}/"), &format!(":{}/", address.port()));
    let outcome = TenantStore::postgres(PostgresSettings::new(url)).await;
    let password = fixture.walled.app.password();
    trouble::trouble(outcome, ErrorKind::Unavailable, &[REACHABLE], &[password]);
}

#[tokio::test]
async fn server_that_hangs_up_is_unavailable() {
    let fixture = Fixture::open().await;
    fixture.proxy.refuse();
    let url = fixture.proxy.url(fixture.walled.app.url()).unwrap();
    let outcome = TenantStore::postgres(PostgresSettings::new(url)).await;
    fixture.trouble(outcome, ErrorKind::Unavailable, &[REACHABLE]);
}

#[tokio::test]
async fn server_that_does_not_answer_is_unavailable() {
    let fixture = Fixture::open().await;
    fixture.proxy.pause();
    let url = fixture.proxy.url(fixture.walled.app.url()).unwrap();
    let settings = PostgresSettings::new(url).with_acquire_timeout(PATIENCE);
    let outcome = TenantStore::postgres(settings).await;
    fixture.trouble(outcome, ErrorKind::Unavailable, &["no answer within 300ms"]);
}

#[tokio::test]
async fn wrong_password_is_refused() {
    let fixture = Fixture::open().await;
    let wrong = "wrong-horse-battery";
    let outcome = fixture
        .another(|settings| settings.with_password(Secret::new(wrong.to_owned())))
        .await;
    let advice = ["correct the role or its password"];
    let error = fixture.trouble(outcome, ErrorKind::AuthenticationFailed, &advice);
    assert!(
        trouble::everything_in(&error)
            .iter()
            .all(|text| !text.contains(wrong))
    );
}

#[tokio::test]
async fn unknown_database_is_named_a_wrong_setting() {
    let fixture = Fixture::open().await;
    let url = fixture.walled.app.url();
    let (server, _) = url.rsplit_once('/').unwrap();
    let settings = PostgresSettings::new(format!("{server}/no_such_database"));
    let outcome = TenantStore::postgres(settings).await;
    let advice = ["there is no such database: correct the URL, or create it"];
    fixture.trouble(outcome, ErrorKind::InvalidSettings, &advice);
}

#[tokio::test]
async fn url_that_is_none_is_refused_and_not_repeated() {
    for url in [
        "postgres://app:hunter2@host:port/db",
        "hunter2",
        "mysql://app:hunter2@h/d?x",
    ] {
        let outcome =
            TenantStore::postgres(PostgresSettings::new(url).with_acquire_timeout(PATIENCE)).await;
        let advice = ["write postgres://role@host:port/database"];
        trouble::trouble(outcome, ErrorKind::InvalidSettings, &advice, &["hunter2"]);
    }
}

#[tokio::test]
async fn tls_that_the_server_does_not_have_is_refused() {
    let fixture = Fixture::open().await;
    let url = format!("{}?sslmode=require", fixture.walled.app.url());
    let outcome = TenantStore::postgres(PostgresSettings::new(url)).await;
    let advice = ["set up TLS on the server", "postgres-tls"];
    fixture.trouble(outcome, ErrorKind::TlsFailed, &advice);
}

#[tokio::test]
async fn server_that_is_full_is_unavailable_and_no_pool_is_to_blame() {
    let fixture = Fixture::open().await;
    let user = fixture.walled.app.user();
    let limit = async |connections: i32| {
        let sql = format!("alter role {user} connection limit {connections}");
        run(fixture.walled.database.admin_url(), &sql).await;
    };
    limit(1).await;
    let store = fixture
        .another(|settings| settings.with_acquire_timeout(PATIENCE))
        .await
        .unwrap();
    let tenants = Tenants::of(&store);

    let work = tenants.one.begin().await.unwrap();
    let later = tenants.two.begin().await;
    fixture.trouble(later, ErrorKind::Unavailable, &[NO_CONNECTION]);
    let opened = fixture.another(|settings| settings).await;
    let advice = ["lower max_connections of its clients"];
    fixture.trouble(opened, ErrorKind::Unavailable, &advice);

    limit(-1).await;
    work.commit().await.unwrap();
    tenants.go_on().await;
}

#[tokio::test]
async fn unknown_parameter_of_a_url_is_refused_and_its_value_not_repeated() {
    let fixture = Fixture::open().await;
    let url = format!("{}?sslpassword=hunter2", fixture.walled.app.url());
    let outcome = TenantStore::postgres(PostgresSettings::new(url)).await;
    let advice = ["parameter sslpassword that is not known"];
    trouble::trouble(outcome, ErrorKind::InvalidSettings, &advice, &["hunter2"]);

    // An option of the server is taken in either spelling.
    for option in ["options[work_mem]=8MB", "options%5Bwork_mem%5D=8MB"] {
        let url = format!("{}?{option}", fixture.walled.app.url());
        TenantStore::postgres(PostgresSettings::new(url))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn pooler_that_the_settings_do_not_tell_of_is_refused() {
    let server = tenantry_testkit::PostgresServer::shared().await.unwrap();
    let fixture = Fixture::open().await;
    let options = tenantry_testkit::PgBouncerOptions::default().with_login(&fixture.walled.app);
    let pooler = tenantry_testkit::PgBouncer::start(server, options)
        .await
        .unwrap();
    let url = pooler.url(fixture.walled.app.url()).unwrap();
    let outcome = TenantStore::postgres(PostgresSettings::new(url)).await;
    fixture.trouble(
        outcome,
        ErrorKind::InvalidSettings,
        &["Pooler::TransactionMode"],
    );
}

#[tokio::test]
async fn longest_timeout_is_taken_and_harms_no_connection() {
    let fixture = Fixture::open().await;
    let store = fixture
        .another(|settings| settings.with_statement_timeout(Some(Duration::MAX)))
        .await
        .unwrap();
    let tenants = Tenants::of(&store);
    let options = WorkOptions::default().with_statement_timeout(Duration::from_secs(86_400 * 30));
    let work = tenants.one.begin_with(options).await.unwrap();
    work.commit().await.unwrap();
    tenants.go_on().await;
}

// --- The pool ------------------------------------------------------------------------------------

#[tokio::test]
async fn pool_in_use_tells_how_long_was_waited_and_who_holds_it() {
    let fixture = Fixture::open().await;
    let store = fixture
        .another(|settings| {
            settings
                .with_max_connections(2)
                .with_acquire_timeout(PATIENCE)
        })
        .await
        .unwrap();
    let tenants = Tenants::of(&store);
    let first = tenants.one.begin().await.unwrap();
    let second = tenants.two.begin().await.unwrap();

    let error = fixture.trouble(
        tenants
            .one
            .repository::<Customer>()
            .count(Filter::all())
            .await,
        ErrorKind::PoolExhausted,
        &[
            "2 of 2 connections are in use",
            "end units of work sooner, or raise max_connections",
        ],
    );
    let text = error.to_string();
    let waited = text
        .split("waited ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .unwrap();
    let waited = Duration::from_millis(waited.parse().unwrap());
    assert!(waited >= PATIENCE && waited < 10 * PATIENCE, "{text}");
    assert!(error.is_retryable());

    drop((first, second));
    tenants.go_on().await;
}

#[tokio::test]
async fn network_that_is_gone_is_unavailable_until_it_is_back() {
    let fixture = Fixture::open().await;
    let kept = customer(&fixture.tenants.one).await;
    fixture.proxy.refuse();
    fixture.proxy.cut();
    let found = fixture
        .tenants
        .one
        .repository::<Customer>()
        .find(&kept.id)
        .await;
    assert!(
        fixture
            .trouble(found, ErrorKind::Unavailable, &[REACHABLE])
            .is_retryable()
    );
    let begun = fixture.tenants.two.begin().await;
    fixture.trouble(begun, ErrorKind::Unavailable, &[REACHABLE]);

    fixture.proxy.accept();
    fixture.tenants.go_on().await;
    assert_eq!(customers(&fixture.tenants.one).await, 1);
}

#[tokio::test]
async fn network_that_swallows_everything_holds_nobody_for_long() {
    // One more than is used: what was used last may still be on its way back.
    let fixture = impatient(4).await;
    let (one, two) = (&fixture.tenants.one, &fixture.tenants.two);
    let kept = customer(one).await;
    let customers_of_one = one.repository::<Customer>();
    warm(&fixture.tenants, 4).await;
    let [reading, committing] = [one.begin().await.unwrap(), one.begin().await.unwrap()];
    let mut added = Customer::named("maybe");
    committing.repository().insert(&mut added).await.unwrap();
    let heard = Recorder::on(&fixture.store);

    fixture.proxy.pause();
    let (single, inside, committed) = tokio::join!(
        customers_of_one.find(&kept.id),
        async { reading.repository::<Customer>().find(&kept.id).await },
        committing.commit(),
    );
    fixture.trouble(single, ErrorKind::Unavailable, &[]);
    let silent = fixture.trouble(inside, ErrorKind::Unavailable, &[REACHABLE]);
    assert!(
        trouble::everything_in(&silent)
            .iter()
            .any(|text| text.contains("the server gave no answer within")),
        "{silent:?}"
    );
    fixture.trouble(
        committed,
        ErrorKind::CommitUnknown,
        &["read before you try again"],
    );
    fixture.trouble(two.begin().await, ErrorKind::Unavailable, &[]);
    fixture.trouble(reading.commit().await, ErrorKind::WorkAborted, &[]);
    assert!(
        heard.outcomes().is_empty(),
        "nothing was changed before the listener came"
    );

    fixture.proxy.resume();
    fixture.tenants.go_on().await;
    let found = customers_of_one.find(&added.id).await.unwrap();
    assert_eq!(found.is_some(), customers(one).await == 2);
    fixture
        .until_connections(0, "state like 'idle in transaction%'")
        .await;
}

#[tokio::test]
async fn calls_that_are_dropped_in_a_silent_network_keep_no_connection() {
    let fixture = impatient(5).await;
    let one = &fixture.tenants.one;
    let kept = customer(one).await;
    let customers_of_one = one.repository::<Customer>();
    customers_of_one.get(kept.id).await.unwrap();
    warm(&fixture.tenants, 5).await;
    let [reading, committing] = [one.begin().await.unwrap(), one.begin().await.unwrap()];

    // On their way back to the pool when it happens.
    for read in join_all((0..2).map(|_| customers_of_one.get(kept.id))).await {
        read.unwrap();
    }
    fixture.proxy.pause();
    // Their callers have limits of their own, shorter than those of the store.
    let inside = reading.repository::<Customer>();
    assert!(
        poll_times(customers_of_one.find(&kept.id), 1)
            .await
            .is_none()
    );
    assert!(poll_times(inside.find(&kept.id), 1).await.is_none());
    drop(inside);
    drop(reading);
    assert!(poll_times(committing.commit(), 1).await.is_none());
    eventually("all connections are given up", async || {
        // Who finds the network silent closes those that rest.
        let begun = one.begin().await;
        assert!(begun.is_err());
        format!("{:?}", fixture.store).contains("connections: 0")
    })
    .await;
    fixture.proxy.resume();
    fixture.tenants.go_on().await;
}

#[tokio::test]
async fn stopped_server_is_unavailable_for_all_who_wait() {
    let server = PostgresServer::start().await.unwrap();
    let fixture = Fixture::on(&server).await;
    let store = fixture
        .another(|settings| {
            settings
                .with_max_connections(2)
                .with_acquire_timeout(PATIENCE)
        })
        .await
        .unwrap();
    let tenants = Tenants::of(&store);
    tenants.go_on().await;
    server.stop(StopMode::Fast).await.unwrap();
    // More than there are connections: those who wait behind two that cannot connect are not to
    // be told that the pool is too small.
    let outcomes = join_all((0..8).map(|_| tenants.one.begin())).await;
    for outcome in outcomes {
        fixture.trouble(outcome, ErrorKind::Unavailable, &[NO_CONNECTION]);
    }
    server.restart().await.unwrap();
    tenants.go_on().await;
}

#[tokio::test]
async fn closed_store_says_so() {
    let fixture = Fixture::open().await;
    fixture.store.close().await;
    let begun = fixture.tenants.one.begin().await;
    let advice = ["the store was closed: open it anew"];
    fixture.trouble(begun, ErrorKind::Unavailable, &advice);
}

// --- Waiting for others --------------------------------------------------------------------------

#[tokio::test]
async fn wait_for_a_row_ends_with_the_statement_timeout() {
    let fixture = Fixture::open().await;
    let tenant = &fixture.tenants.one;
    let mut row = customer(tenant).await;
    let holder = tenant.begin().await.unwrap();
    holder.repository().update(&mut row.clone()).await.unwrap();

    let options = WorkOptions::default().with_statement_timeout(Duration::from_millis(50));
    let waiting = tenant.begin_with(options).await.unwrap();
    let error = fixture.trouble(
        waiting.repository().update(&mut row).await,
        ErrorKind::StatementTimeout,
        &["ran longer than statement_timeout allows", "try again"],
    );
    assert!(error.is_retryable());
    assert_eq!(
        waiting.commit().await.unwrap_err().kind(),
        ErrorKind::WorkAborted
    );
    holder.rollback().await.unwrap();

    tenant.repository().update(&mut row).await.unwrap();
    assert_eq!(row.version, Version::new(2));
    fixture.tenants.go_on().await;
}

#[tokio::test]
async fn row_that_is_restored_meanwhile_is_not_purged() {
    let fixture = Fixture::open().await;
    let tenant = &fixture.tenants.one;
    let tracked = tenant.repository::<conformance::Tracked>();
    let mut row = conformance::Tracked {
        id: Uuid::now_v7(),
        name: "back".into(),
        version: Version::NEW,
    };
    tracked.insert(&mut row).await.unwrap();
    tracked.delete(&row).await.unwrap();
    let work = tenant.begin().await.unwrap();
    let inside = work.repository::<conformance::Tracked>();
    inside.restore(&row.id).await.unwrap();
    let end_of_9999 = chrono::DateTime::from_timestamp(253_402_300_799, 0).unwrap();
    let purge = tracked.purge(end_of_9999, 10);
    let restore = async {
        let waits = "wait_event_type = 'Lock'";
        fixture.until_connections(1, waits).await;
        work.commit().await.unwrap();
    };
    let (purged, ()) = futures_util::join!(purge, restore);
    assert_eq!(purged.unwrap(), 0);
    assert!(tracked.exists(&row.id).await.unwrap());
}

/// A caller with a time-out of its own gives up a read that waits for a lock; the server ends it
/// later, and the transaction with it.
#[tokio::test]
async fn dropped_read_that_fails_later_ends_its_unit_of_work_alone() {
    let fixture = Fixture::open().await;
    let store = fixture
        .another(|settings| {
            settings
                .with_max_connections(1)
                .with_statement_timeout(Some(PATIENCE))
        })
        .await
        .unwrap();
    let tenants = Tenants::of(&store);
    let (one, two) = (&tenants.one, &tenants.two);
    let id = Uuid::now_v7();
    assert_eq!(one.repository::<Invoice>().find(&id).await.unwrap(), None);
    assert_eq!(one.repository::<Customer>().find(&id).await.unwrap(), None);
    for end in ["commit", "rollback", "rollback_to", "insert", "drop"] {
        let work = one.begin().await.unwrap();
        let savepoint = work.savepoint().await.unwrap();
        work.repository()
            .insert(&mut Customer::named("abandoned"))
            .await
            .unwrap();
        let mut locker = connect(fixture.walled.owner.url()).await;
        let mut lock = locker.begin().await.unwrap();
        sqlx::query("lock table invoices in access exclusive mode")
            .execute(&mut *lock)
            .await
            .unwrap();
        assert!(
            poll_times(work.repository::<Invoice>().find(&id), 1)
                .await
                .is_none()
        );
        fixture
            .until_connections(1, "state = 'idle in transaction (aborted)'")
            .await;
        lock.rollback().await.unwrap();
        let advice = ["a call whose future was dropped has failed since"];
        match end {
            "commit" => drop(fixture.trouble(work.commit().await, ErrorKind::WorkAborted, &advice)),
            "rollback" => work.rollback().await.unwrap(),
            "rollback_to" => {
                work.rollback_to(&savepoint).await.unwrap();
                work.repository()
                    .insert(&mut Customer::named("kept"))
                    .await
                    .unwrap();
                work.commit().await.unwrap();
            }
            "insert" => {
                let mut more = Customer::named("more");
                let outcome = work.repository().insert(&mut more).await;
                fixture.trouble(outcome, ErrorKind::WorkAborted, &advice);
                fixture.trouble(work.commit().await, ErrorKind::WorkAborted, &[]);
            }
            _ => drop(work),
        }
        // The one connection serves the other tenant.
        for _ in 0..3 {
            assert_eq!(two.repository::<Customer>().find(&id).await.unwrap(), None);
            assert_eq!(customers(two).await, 0);
        }
        fixture
            .until_connections(0, "state like 'idle in transaction%'")
            .await;
    }
    assert_eq!(customers(one).await, 1, "what was kept after rollback_to");
}

#[tokio::test]
async fn serialization_failure_is_retryable_and_nothing_is_stored() {
    let fixture = Fixture::open().await;
    let tenant = &fixture.tenants.one;
    let options = || WorkOptions::default().with_isolation(Isolation::Serializable);
    let first = tenant.begin_with(options()).await.unwrap();
    let second = tenant.begin_with(options()).await.unwrap();
    for work in [&first, &second] {
        assert_eq!(
            work.repository::<Invoice>()
                .count(Filter::all())
                .await
                .unwrap(),
            0
        );
        work.repository()
            .insert(&mut Invoice::over(1))
            .await
            .unwrap();
    }
    first.commit().await.unwrap();
    let advice = ["run the unit of work again from its start, as TenantScope::run does"];
    let error = fixture.trouble(
        second.commit().await,
        ErrorKind::SerializationFailure,
        &advice,
    );
    assert!(error.is_retryable());
    assert_eq!(
        tenant
            .repository::<Invoice>()
            .count(Filter::all())
            .await
            .unwrap(),
        1
    );
    fixture.tenants.go_on().await;
}

#[tokio::test]
async fn run_recovers_from_a_serialization_failure() {
    let fixture = Fixture::open().await;
    let tenant = &fixture.tenants.one;
    let (attempts, both) = (AtomicU32::new(0), Barrier::new(2));
    let (counted, barrier) = (&attempts, &both);
    let number_an_invoice = || {
        let options = WorkOptions::default().with_isolation(Isolation::Serializable);
        let work = move |work: Arc<UnitOfWork>| async move {
            let invoices = work.repository::<Invoice>();
            let number = invoices.count(Filter::all()).await?;
            // The first attempts of both have counted before either inserts.
            if counted.fetch_add(1, Ordering::SeqCst) < 2 {
                barrier.wait().await;
            }
            invoices
                .insert(&mut Invoice::over(number.try_into().unwrap()))
                .await
        };
        tenant.run(RetryPolicy::new(), options, work)
    };
    let (first, second) = tokio::join!(number_an_invoice(), number_an_invoice());
    first.unwrap();
    second.unwrap();
    assert!(attempts.load(Ordering::SeqCst) >= 3);
    let query = Query::new().sort(Invoice::CENTS.asc());
    let invoices = tenant.repository::<Invoice>().list(query).await.unwrap();
    assert_eq!(
        invoices.items.iter().map(|it| it.cents).collect::<Vec<_>>(),
        [0, 1]
    );
}

#[tokio::test]
async fn deadlock_is_retryable_and_run_recovers() {
    let fixture = Fixture::open().await;
    let tenant = &fixture.tenants.one;
    let mut rows = [Invoice::over(0), Invoice::over(0)];
    tenant.repository().insert_many(&mut rows).await.unwrap();
    let (attempts, both) = (AtomicU32::new(0), Barrier::new(2));
    let kinds = parking_lot::Mutex::new(Vec::new());
    let (counted, barrier, met) = (&attempts, &both, &kinds);
    let raise = |order: [Uuid; 2]| {
        let work = move |work: Arc<UnitOfWork>| async move {
            let invoices = work.repository::<Invoice>();
            let raise = || Changes::new().add(Invoice::CENTS, 1);
            invoices
                .update_where(Invoice::ID.eq(order[0]), raise(), 1)
                .await?;
            if counted.fetch_add(1, Ordering::SeqCst) < 2 {
                barrier.wait().await;
            }
            let second = invoices
                .update_where(Invoice::ID.eq(order[1]), raise(), 1)
                .await;
            if let Err(error) = &second {
                met.lock().push((error.kind(), error.to_string()));
            }
            second.map(drop)
        };
        tenant.run(RetryPolicy::new(), WorkOptions::default(), work)
    };
    let [one, two] = rows.map(|row| row.id);
    let (first, second) = tokio::join!(raise([one, two]), raise([two, one]));
    first.unwrap();
    second.unwrap();
    let kinds = kinds.into_inner();
    let [(kind, text)] = &kinds[..] else {
        panic!("{kinds:?}")
    };
    assert_eq!(*kind, ErrorKind::Deadlock);
    assert!(
        kind.is_retryable() && text.contains("as TenantScope::run does"),
        "{text}"
    );
    for id in [one, two] {
        assert_eq!(
            tenant.repository::<Invoice>().get(id).await.unwrap().cents,
            2
        );
    }
    fixture.tenants.go_on().await;
}

// --- The connection goes -------------------------------------------------------------------------

#[tokio::test]
async fn restart_of_the_server_costs_the_open_transaction_and_no_more() {
    let server = PostgresServer::start().await.unwrap();
    let fixture = Fixture::on(&server).await;
    let store = fixture
        .another(|settings| settings.with_max_connections(4))
        .await
        .unwrap();
    let tenants = Tenants::of(&store);
    let heard = Recorder::on(&store);
    warm(&tenants, 4).await;
    let work = tenants.one.begin().await.unwrap();
    work.repository()
        .insert(&mut Customer::named("lost"))
        .await
        .unwrap();

    server.stop(StopMode::Fast).await.unwrap();
    server.restart().await.unwrap();
    // All connections that rest in the pool are dead; nobody is to notice.
    let counts = join_all((0..8).map(|_| customers(&tenants.two))).await;
    assert_eq!(counts, [0; 8]);
    let outcome = work
        .repository()
        .insert(&mut Customer::named("after"))
        .await;
    fixture.trouble(outcome, ErrorKind::Unavailable, &[REACHABLE]);
    assert_eq!(
        work.commit().await.unwrap_err().kind(),
        ErrorKind::WorkAborted
    );

    assert_eq!(customers(&tenants.one).await, 0);
    assert_eq!(heard.outcomes(), []);
    tenants.go_on().await;
}

#[tokio::test]
async fn crash_of_a_server_process_costs_the_open_transaction_and_no_more() {
    let server = PostgresServer::start().await.unwrap();
    let fixture = Fixture::on(&server).await;
    let store = fixture.another(|settings| settings).await.unwrap();
    let tenants = Tenants::of(&store);
    warm(&tenants, 3).await;
    let work = tenants.one.begin().await.unwrap();
    work.repository()
        .insert(&mut Customer::named("lost"))
        .await
        .unwrap();

    let process = fixture.process("state = 'idle in transaction'").await;
    // The server takes the death of one process for a corruption of all, and starts them anew;
    // the statement that brings it about gets no answer.
    let kill = format!("copy (select 1) to program 'cat && kill -9 {process}'");
    let mut admin = connect(server.admin_url()).await;
    drop(sqlx::raw_sql(AssertSqlSafe(kill)).execute(&mut admin).await);
    let outcome = work.repository::<Customer>().count(Filter::all()).await;
    fixture.trouble(outcome, ErrorKind::Unavailable, &[REACHABLE]);
    drop(work);

    // Until the server has ended all its processes, a transaction may still begin on one of them.
    let user = fixture.walled.app.user();
    let left = format!("select count(*) from pg_stat_activity where usename = '{user}'");
    eventually("the server is up again", async || {
        let Ok(mut admin) = PgConnection::connect(server.admin_url()).await else {
            return false;
        };
        let left = sqlx::query_scalar(AssertSqlSafe(left.clone()));
        left.fetch_one(&mut admin)
            .await
            .is_ok_and(|left: i64| left == 0)
    })
    .await;
    assert_eq!(customers(&tenants.one).await, 0);
    tenants.go_on().await;
}

#[tokio::test]
async fn terminated_connection_ends_its_unit_of_work_alone() {
    let server = PostgresServer::shared().await.unwrap();
    let fixture = Fixture::on(server).await;
    let other = fixture.tenants.two.begin().await.unwrap();
    other
        .repository()
        .insert(&mut Customer::named("kept"))
        .await
        .unwrap();
    other.commit().await.unwrap();
    let work = fixture.tenants.one.begin().await.unwrap();
    work.repository()
        .insert(&mut Customer::named("lost"))
        .await
        .unwrap();

    let process = fixture.process("state = 'idle in transaction'").await;
    server.kill_backend(process).await.unwrap();
    let outcome = work
        .repository()
        .insert(&mut Customer::named("after"))
        .await;
    fixture.trouble(outcome, ErrorKind::Unavailable, &[REACHABLE]);
    drop(work);

    assert_eq!(customers(&fixture.tenants.one).await, 0);
    assert_eq!(customers(&fixture.tenants.two).await, 1);
    fixture.tenants.go_on().await;
}

#[tokio::test]
async fn unit_of_work_that_rests_too_long_is_ended_by_the_server() {
    let fixture = Fixture::open().await;
    let user = fixture.walled.app.user();
    let limit = format!("alter role {user} set idle_in_transaction_session_timeout = '50ms'");
    run(fixture.walled.database.admin_url(), &limit).await;
    let work = fixture.tenants.one.begin().await.unwrap();
    work.repository()
        .insert(&mut Customer::named("lost"))
        .await
        .unwrap();
    fixture
        .until_connections(0, "state = 'idle in transaction'")
        .await;
    let outcome = work
        .repository()
        .insert(&mut Customer::named("after"))
        .await;
    let error = fixture.trouble(outcome, ErrorKind::Unavailable, &[REACHABLE]);
    assert!(error.is_retryable());
    drop(work);
    fixture.tenants.go_on().await;
    assert_eq!(customers(&fixture.tenants.one).await, 0);
}

#[tokio::test]
async fn connection_cut_in_the_middle_of_a_query_changes_nothing() {
    let fixture = Fixture::open().await;
    let tenant = &fixture.tenants.one;
    let row = customer(tenant).await;
    let direct = fixture.another(|settings| settings).await.unwrap();
    let holder = direct.tenant(tenant.tenant()).begin().await.unwrap();
    holder.repository().update(&mut row.clone()).await.unwrap();

    let mut changed = Customer {
        name: Some("changed".into()),
        ..row.clone()
    };
    let customers = tenant.repository::<Customer>();
    let cut = async {
        fixture
            .until_connections(1, "wait_event_type = 'Lock'")
            .await;
        fixture.proxy.cut();
    };
    let (outcome, ()) = tokio::join!(customers.update(&mut changed), cut);
    fixture.trouble(outcome, ErrorKind::Unavailable, &[REACHABLE]);
    assert_eq!(
        changed.version, row.version,
        "a failed update leaves the struct's version alone"
    );

    holder.rollback().await.unwrap();
    // The server finds out that its client is gone when it wants to answer, and rolls back.
    fixture
        .until_connections(0, "state = 'active' and query like 'UPDATE%'")
        .await;
    assert_eq!(customers.get(row.id).await.unwrap(), row);
    fixture.tenants.go_on().await;
}

#[tokio::test]
async fn stream_that_breaks_ends_with_the_error() {
    let fixture = Fixture::open().await;
    let tenant = &fixture.tenants.one;
    let mut rows: Vec<_> = (0..20_000).map(Invoice::over).collect();
    for rows in rows.chunks_mut(10_000) {
        tenant.repository().insert_many(rows).await.unwrap();
    }
    let invoices = tenant.repository::<Invoice>();
    let mut stream = invoices.stream(Query::new());
    let mut seen = 0;
    let outcome = loop {
        match futures_util::StreamExt::next(&mut stream).await {
            Some(Ok(_)) => seen += 1,
            Some(Err(error)) => break Err::<(), _>(error),
            None => break Ok(()),
        }
        if seen == 10 {
            fixture.proxy.cut();
        }
    };
    fixture.trouble(outcome, ErrorKind::Unavailable, &[REACHABLE]);
    assert!(futures_util::StreamExt::next(&mut stream).await.is_none());
    assert!(seen < 20_000);
    drop(stream);
    fixture.tenants.go_on().await;
}

// --- The commit ----------------------------------------------------------------------------------

#[tokio::test]
async fn lost_answer_of_a_commit_is_unknown_and_the_row_is_there() {
    let fixture = Fixture::open().await;
    let tenant = &fixture.tenants.one;
    customers(tenant).await;
    let heard = Recorder::on(&fixture.store);
    for (stored, in_work) in [(1, false), (2, true)] {
        fixture.proxy.cut_after("COMMIT");
        let mut row = Customer::named(&format!("row {stored}"));
        let outcome = if in_work {
            let work = tenant.begin().await.unwrap();
            work.repository().insert(&mut row).await.unwrap();
            work.commit().await
        } else {
            tenant.repository().insert(&mut row).await
        };
        let advice = ["all changes are stored, or none is; read before you try again"];
        let error = fixture.trouble(outcome, ErrorKind::CommitUnknown, &advice);
        assert!(!error.is_retryable());
        assert!(!fixture.proxy.is_armed());
        assert_eq!(customers(tenant).await, stored);
    }
    assert_eq!(heard.outcomes(), [CommitOutcome::Unknown; 2]);
    fixture.tenants.go_on().await;
}

#[tokio::test]
async fn commit_that_does_not_arrive_is_unknown_and_the_row_is_not_there() {
    let fixture = Fixture::open().await;
    let tenant = &fixture.tenants.one;
    customers(tenant).await;
    let heard = Recorder::on(&fixture.store);
    fixture.proxy.cut_before("COMMIT");
    let outcome = tenant
        .repository()
        .insert(&mut Customer::named("lost"))
        .await;
    fixture.trouble(
        outcome,
        ErrorKind::CommitUnknown,
        &["read before you try again"],
    );
    fixture
        .until_connections(0, "state like 'idle in transaction%'")
        .await;
    assert_eq!(customers(tenant).await, 0);
    assert_eq!(heard.outcomes(), [CommitOutcome::Unknown]);
    fixture.tenants.go_on().await;
}

#[tokio::test]
async fn run_does_not_try_again_what_may_be_stored() {
    let fixture = Fixture::open().await;
    let tenant = &fixture.tenants.one;
    customers(tenant).await;
    fixture.proxy.cut_after("COMMIT");
    let attempts = AtomicU32::new(0);
    let counted = &attempts;
    let outcome = tenant
        .run(
            RetryPolicy::new(),
            WorkOptions::default(),
            |work| async move {
                counted.fetch_add(1, Ordering::SeqCst);
                work.repository().insert(&mut Customer::named("once")).await
            },
        )
        .await;
    fixture.trouble(
        outcome,
        ErrorKind::CommitUnknown,
        &["read before you try again"],
    );
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
    assert_eq!(customers(tenant).await, 1);
}

#[tokio::test]
async fn listeners_hear_of_a_commit_that_its_caller_dropped() {
    let fixture = Fixture::open().await;
    let heard = Recorder::on(&fixture.store);
    let work = fixture.tenants.one.begin().await.unwrap();
    work.repository()
        .insert(&mut Customer::named("perhaps"))
        .await
        .unwrap();
    fixture.proxy.pause();
    assert!(poll_times(work.commit(), 1).await.is_none());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(heard.outcomes().is_empty(), "it has not ended yet");
    fixture.proxy.resume();
    eventually("the listener hears", async || {
        heard.outcomes() == [CommitOutcome::Committed]
    })
    .await;
    assert_eq!(customers(&fixture.tenants.one).await, 1);
    fixture.tenants.go_on().await;
}

// --- A server that takes no writes ---------------------------------------------------------------

#[tokio::test]
async fn replica_reads_and_refuses_writes() {
    let server = PostgresServer::start().await.unwrap();
    let fixture = Fixture::on(&server).await;
    let tenant = &fixture.tenants.one;
    let row = customer(tenant).await;
    // A standby without a primary: it has all that was written up to here, and takes no more.
    // The program reads what it is given, or the server may fail to write it.
    let signal = "copy (select) to program 'cat && touch standby.signal'";
    run(server.admin_url(), signal).await;
    server.restart().await.unwrap();
    assert_eq!(
        fixture
            .count("select pg_is_in_recovery()::int::bigint")
            .await,
        1
    );

    // A store that was open when its server became a replica, and one that is opened on it.
    let opened = fixture.another(|settings| settings).await.unwrap();
    for store in [&fixture.store, &opened] {
        let tenant = store.tenant(tenant.tenant());
        let repository = tenant.repository::<Customer>();
        assert_eq!(repository.get(row.id).await.unwrap(), row);
        let work = tenant
            .begin_with(WorkOptions::default().read_only())
            .await
            .unwrap();
        assert_eq!(
            work.repository::<Customer>()
                .count(Filter::all())
                .await
                .unwrap(),
            1
        );
        work.commit().await.unwrap();
        let foreign = store.tenant(TenantId::generate()).repository::<Customer>();
        assert_eq!(foreign.find(&row.id).await.unwrap(), None);

        let advice = ["the server is a replica", "write through the primary"];
        let outcome = repository.insert(&mut Customer::named("never")).await;
        let error = fixture.trouble(outcome, ErrorKind::ReadOnly, &advice);
        assert!(!error.is_retryable());
        assert_eq!(customers(&tenant).await, 1);

        // A replica begins such a transaction, and then refuses it: nothing of it may stay.
        let serializable = WorkOptions::default().with_isolation(Isolation::Serializable);
        let outcome = tenant.begin_with(serializable).await;
        fixture.trouble(outcome, ErrorKind::Unsupported, &[]);
        fixture
            .until_connections(0, "state like 'idle in transaction%'")
            .await;
        assert_eq!(customers(&tenant).await, 1);
    }
}

// --- Constraints ---------------------------------------------------------------------------------

#[tokio::test]
async fn unique_key_names_the_constraint_and_no_value() {
    let fixture = Fixture::open().await;
    customer(&fixture.tenants.one).await;
    customer(&fixture.tenants.two).await;
    let mut again = Customer::named(trouble::VALUE);
    let outcome = fixture.tenants.one.repository().insert(&mut again).await;
    let advice = ["constraint one_name: the tenant has a row with this key"];
    let error = fixture.trouble(outcome, ErrorKind::AlreadyExists, &advice);
    assert_eq!(error.constraint(), Some("one_name"));
    assert_eq!(customers(&fixture.tenants.one).await, 1);
    fixture.tenants.go_on().await;
}

#[tokio::test]
async fn check_names_the_constraint_and_no_value() {
    let fixture = Fixture::open().await;
    let outcome = fixture
        .tenants
        .one
        .repository()
        .insert(&mut Invoice::over(-47_110_815))
        .await;
    let advice = ["constraint not_negative refuses the row"];
    let error = fixture.trouble(outcome, ErrorKind::ConstraintViolated, &advice);
    assert_eq!(error.constraint(), Some("not_negative"));
    assert!(
        trouble::everything_in(&error)
            .iter()
            .all(|text| !text.contains("47110815"))
    );
    fixture.tenants.go_on().await;
}

/// Whatever state a trigger chooses, its text is its own and may quote the row.
#[tokio::test]
async fn what_a_trigger_raises_is_not_shown() {
    let fixture = Fixture::open().await;
    for state in [
        "P0001", "23514", "23505", "23503", "42501", "40001", "55000", "XX000", "53100", "57014",
        "0A000", "42P01", "TN123",
    ] {
        fixture
            .owner_runs(&format!(
                "create or replace function say() returns trigger language plpgsql as $$ begin
                     raise exception using errcode = '{state}', message = 'bad ' || new.name,
                         constraint = 'c ' || new.name, column = new.name;
                 end $$;
                 create or replace trigger say before insert on customers
                     for each row execute function say()"
            ))
            .await;
        let mut row = Customer::named(trouble::VALUE);
        let outcome = fixture.tenants.one.repository().insert(&mut row).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.constraint(), None);
        let kind = error.kind();
        fixture.trouble(Err::<(), _>(error), kind, &[]);
    }
}

#[tokio::test]
async fn missing_value_names_the_column() {
    let fixture = Fixture::open().await;
    let mut nameless = Customer {
        name: None,
        ..Customer::named("")
    };
    let outcome = fixture.tenants.one.repository().insert(&mut nameless).await;
    let advice = ["column name must have a value"];
    fixture.trouble(outcome, ErrorKind::ConstraintViolated, &advice);
    fixture.tenants.go_on().await;
}

#[tokio::test]
async fn parent_of_another_tenant_answers_as_a_missing_one() {
    let fixture = Fixture::open().await;
    let foreign = customer(&fixture.tenants.two).await;
    let mut answers = Vec::new();
    for parent in [foreign.id, Uuid::now_v7()] {
        let mut child = Invoice::for_customer(parent);
        let id = child.id.to_string();
        let outcome = fixture.tenants.one.repository().insert(&mut child).await;
        let advice = ["constraint of_customer: the row that is referred to is not there"];
        let error = fixture.trouble(outcome, ErrorKind::ConstraintViolated, &advice);
        assert_eq!(error.constraint(), Some("of_customer"));
        let texts = trouble::everything_in(&error);
        assert!(texts.iter().all(|text| !text.contains(&parent.to_string())));
        answers.push(
            texts
                .into_iter()
                .map(|text| text.replace(&id, "ID"))
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(answers[0], answers[1]);
    let mut own = Invoice::for_customer(customer(&fixture.tenants.one).await.id);
    fixture
        .tenants
        .one
        .repository()
        .insert(&mut own)
        .await
        .unwrap();
}

#[tokio::test]
async fn parent_that_is_referred_to_stays() {
    let fixture = Fixture::open().await;
    let tenant = &fixture.tenants.one;
    let parent = customer(tenant).await;
    tenant
        .repository()
        .insert(&mut Invoice::for_customer(parent.id))
        .await
        .unwrap();
    let outcome = tenant.repository().delete(&parent).await;
    let advice = ["constraint of_customer", "others still refer to this one"];
    fixture.trouble(outcome, ErrorKind::ConstraintViolated, &advice);
    assert_eq!(customers(tenant).await, 1);
    // The other tenant's row under the same identifier is nobody's parent.
    let mut twin = Customer {
        version: Version::NEW,
        ..parent
    };
    let two = fixture.tenants.two.repository::<Customer>();
    two.insert(&mut twin).await.unwrap();
    two.delete(&twin).await.unwrap();
}

#[tokio::test]
async fn unique_key_that_is_checked_at_commit_stores_nothing() {
    let fixture = Fixture::open().await;
    fixture
        .owner_runs(
            "alter table customers drop constraint one_name, add constraint one_name
                 unique (tenant_id, name) deferrable initially deferred",
        )
        .await;
    let heard = Recorder::on(&fixture.store);
    let work = fixture.tenants.one.begin().await.unwrap();
    for _ in 0..2 {
        work.repository()
            .insert(&mut Customer::named(trouble::VALUE))
            .await
            .unwrap();
    }
    let advice = ["constraint one_name: the tenant has a row with this key"];
    let error = fixture.trouble(work.commit().await, ErrorKind::AlreadyExists, &advice);
    assert_eq!(error.constraint(), Some("one_name"));
    assert_eq!(customers(&fixture.tenants.one).await, 0);
    assert_eq!(heard.outcomes(), []);
    fixture.tenants.go_on().await;
}

// --- The schema ----------------------------------------------------------------------------------

#[derive(Debug, Clone, PartialEq, Eq, Aggregate)]
#[aggregate(table = "nowhere")]
struct Unknown {
    #[aggregate(id)]
    id: Uuid,
}

#[tokio::test]
async fn table_that_is_not_there_is_unknown() {
    let fixture = Fixture::open().await;
    let advice = ["public.nowhere", "run the migrations, as the owner role"];
    fixture.trouble(
        fixture.store.verify::<Unknown>().await,
        ErrorKind::UnknownTable,
        &advice,
    );
    let unknown = fixture.tenants.one.repository::<Unknown>();
    let found = unknown.find(&Uuid::now_v7()).await;
    fixture.trouble(found, ErrorKind::UnknownTable, &advice);
    fixture.tenants.go_on().await;
}

#[tokio::test]
async fn table_that_is_dropped_under_way_is_unknown() {
    let fixture = Fixture::open().await;
    let invoices = fixture.tenants.one.repository::<Invoice>();
    invoices.count(Filter::all()).await.unwrap();
    fixture.owner_runs("drop table invoices").await;
    for _ in 0..3 {
        let outcome = invoices.insert(&mut Invoice::over(1)).await;
        let advice = ["invoices", "run the migrations, as the owner role"];
        fixture.trouble(outcome, ErrorKind::UnknownTable, &advice);
    }
    fixture.tenants.go_on().await;
}

#[tokio::test]
async fn table_without_its_wall_is_refused() {
    let fixture = Fixture::open().await;
    fixture
        .owner_runs("select tenantry.unprotect('invoices')")
        .await;
    let outcome = fixture
        .tenants
        .one
        .repository()
        .insert(&mut Invoice::over(1))
        .await;
    let advice = ["run `select tenantry.protect('public.invoices')` in a migration"];
    fixture.trouble(outcome, ErrorKind::UnprotectedTable, &advice);

    fixture
        .owner_runs("select tenantry.protect('invoices')")
        .await;
    fixture
        .tenants
        .one
        .repository()
        .insert(&mut Invoice::over(1))
        .await
        .unwrap();
}

#[tokio::test]
async fn wall_that_is_removed_under_way_takes_the_rights_along() {
    let fixture = Fixture::open().await;
    fixture
        .tenants
        .one
        .repository()
        .insert(&mut Invoice::over(1))
        .await
        .unwrap();
    fixture
        .owner_runs("select tenantry.unprotect('invoices')")
        .await;
    let count = fixture
        .tenants
        .one
        .repository::<Invoice>()
        .count(Filter::all())
        .await;
    let advice = ["migrations grant rights by tenantry.protect"];
    fixture.trouble(count, ErrorKind::PermissionDenied, &advice);
    fixture.tenants.go_on().await;
}

#[tokio::test]
async fn schema_that_is_older_or_newer_or_different_is_told_by_column() {
    for (change, advice) in [
        (
            "alter table customers drop column name",
            "column name is missing: the schema is older than the code, run the migrations",
        ),
        (
            "alter table customers add column region text not null default '';
             alter table customers alter column region drop default",
            "column region must have a value and the struct has none: the schema is newer than the \
             code, deploy the new code or give the column a default",
        ),
        (
            "alter table customers alter column name type bytea using name::bytea",
            "column name is bytea, which cannot hold Text",
        ),
    ] {
        let fixture = Fixture::open().await;
        fixture.owner_runs(change).await;
        let outcome = fixture
            .tenants
            .one
            .repository()
            .insert(&mut Customer::named("a"))
            .await;
        fixture.trouble(outcome, ErrorKind::SchemaMismatch, &["customers", advice]);
        let invoices = fixture.tenants.one.repository();
        invoices.insert(&mut Invoice::over(1)).await.unwrap();
    }
}

#[tokio::test]
async fn table_without_the_tenant_in_its_key_is_refused() {
    let fixture = Fixture::open().await;
    fixture
        .owner_runs(
            "alter table invoices drop constraint invoices_pkey, add primary key (id);
             create index on invoices (tenant_id)",
        )
        .await;
    let outcome = fixture
        .tenants
        .one
        .repository()
        .insert(&mut Invoice::over(1))
        .await;
    let advice = ["no unique key of exactly (tenant_id, id): make it the primary key"];
    fixture.trouble(outcome, ErrorKind::SchemaMismatch, &advice);
    fixture.tenants.go_on().await;
}

#[tokio::test]
async fn column_that_is_dropped_under_way_is_a_mismatch() {
    let fixture = Fixture::open().await;
    let invoices = fixture.tenants.one.repository::<Invoice>();
    let mut row = Invoice::over(1);
    invoices.insert(&mut row).await.unwrap();
    fixture
        .owner_runs("alter table invoices drop column cents")
        .await;
    let advice = ["the table differs from the struct: run the migrations of this release"];
    fixture.trouble(
        invoices.find(&row.id).await,
        ErrorKind::SchemaMismatch,
        &advice,
    );
    fixture.tenants.go_on().await;
}

#[tokio::test]
async fn column_that_is_widened_under_way_goes_on_being_read() {
    let fixture = Fixture::open().await;
    fixture
        .owner_runs("alter table invoices alter column cents type integer")
        .await;
    let tenant = &fixture.tenants.one;
    let mut row = Invoice::over(7);
    tenant.repository().insert(&mut row).await.unwrap();
    // Both connections have the statement prepared.
    let invoices = tenant.repository::<Invoice>();
    let reads = join_all((0..4).map(|_| invoices.get(row.id))).await;
    assert!(reads.into_iter().all(|read| read.is_ok()));

    fixture
        .owner_runs("alter table invoices alter column cents type bigint")
        .await;
    for _ in 0..6 {
        let read = tenant
            .run(
                RetryPolicy::new(),
                WorkOptions::default(),
                |work| async move { work.repository::<Invoice>().get(row.id).await },
            )
            .await;
        assert_eq!(read.unwrap(), row);
    }
    for _ in 0..6 {
        assert_eq!(invoices.get(row.id).await.unwrap(), row);
    }
}

#[tokio::test]
async fn stream_over_a_column_that_is_widened_under_way_fails_once_at_most() {
    let fixture = Fixture::open().await;
    fixture
        .owner_runs("alter table invoices alter column cents type integer")
        .await;
    let tenant = &fixture.tenants.one;
    tenant
        .repository()
        .insert(&mut Invoice::over(7))
        .await
        .unwrap();
    let invoices = tenant.repository::<Invoice>();
    let read = async || invoices.stream(Query::new()).try_collect::<Vec<_>>().await;
    for _ in 0..4 {
        read().await.unwrap();
    }
    fixture
        .owner_runs("alter table invoices alter column cents type bigint")
        .await;
    let advice = ["run the unit of work again from its start"];
    let error = fixture.trouble(read().await, ErrorKind::SerializationFailure, &advice);
    assert!(error.is_retryable());
    // The other connections are made anew before they can fail the same way.
    for _ in 0..4 {
        eventually("the pool has come to rest", async || {
            fixture.connections("state <> 'idle'").await == 0
        })
        .await;
        assert_eq!(read().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn days_and_times_that_no_struct_can_hold_are_told_by_column() {
    let fixture = Fixture::open().await;
    let specimens = fixture.tenants.one.repository::<conformance::Specimen>();
    let mut specimen = conformance::Specimen::named("far");
    specimens.insert(&mut specimen).await.unwrap();
    for (column, far) in [
        ("due", "infinity"),
        ("due", "-infinity"),
        ("due", "5874897-12-31"),
        ("due", "10000-01-01"),
        ("due", "0001-12-31 BC"),
        ("seen_at", "infinity"),
        ("seen_at", "-infinity"),
        ("seen_at", "10000-01-01"),
    ] {
        let admin = fixture.walled.database.admin_url();
        let back = "update specimens set due = null, seen_at = now()";
        run(
            admin,
            &format!("{back}; update specimens set {column} = '{far}'"),
        )
        .await;
        let advice = format!("column {column} ");
        let found = specimens.find(&specimen.id).await;
        fixture.trouble(found, ErrorKind::InvalidValue, &[&advice]);
        run(admin, back).await;
        assert!(specimens.find(&specimen.id).await.unwrap().is_some());
    }
}

#[derive(Debug, Clone, PartialEq, Aggregate)]
#[aggregate(table = "set_config")]
struct Oddity {
    #[aggregate(id)]
    id: Uuid,
    entered: Option<String>,
    own: Option<String>,
    read: Option<String>,
    tenant: Option<String>,
    set_config: Decimal,
}

/// A single read puts names of its own around the statement.
#[tokio::test]
async fn names_that_the_store_uses_itself_are_free_for_tables_and_columns() {
    let fixture = Fixture::open().await;
    fixture
        .owner_runs(
            "create table set_config (
                 tenant_id uuid not null, id uuid not null, entered text, own text, read text,
                 tenant text, set_config numeric not null, primary key (tenant_id, id)
             );
             select tenantry.protect('set_config')",
        )
        .await;
    let oddities = fixture.tenants.one.repository::<Oddity>();
    let filled = |id, text: Option<&str>| Oddity {
        id,
        entered: text.map(str::to_owned),
        own: text.map(str::to_owned),
        read: text.map(str::to_owned),
        tenant: text.map(str::to_owned),
        set_config: Decimal::ONE,
    };
    let mut rows = [
        filled(Uuid::now_v7(), None),
        filled(Uuid::now_v7(), Some("x")),
    ];
    oddities.insert_many(&mut rows).await.unwrap();
    let ids = rows.each_ref().map(|row| row.id);
    for row in &rows {
        assert_eq!(oddities.find(&row.id).await.unwrap().as_ref(), Some(row));
        assert!(oddities.exists(&row.id).await.unwrap());
    }
    assert_eq!(oddities.get_many(&ids).await.unwrap(), rows);
    assert_eq!(oddities.list(Query::new()).await.unwrap().items, rows);
}

/// Whatever places a column shows, a value that was taken is given back.
#[tokio::test]
async fn decimals_come_back_from_columns_of_every_scale() {
    let fixture = Fixture::open().await;
    let mut values = vec![Decimal::MAX, Decimal::MIN, Decimal::ZERO];
    for scale in 0..=Decimal::MAX_SCALE {
        for mantissa in [
            1,
            5_000,
            12_345_678_901_234_567_890_123_456_789,
            1_i128 << 95,
        ] {
            values.push(Decimal::from_i128_with_scale(mantissa, scale));
            values.push(Decimal::from_i128_with_scale(-mantissa, scale));
        }
    }
    for column in [
        "numeric",
        "numeric(60,28)",
        "numeric(57,28)",
        "numeric(60,30)",
    ] {
        fixture
            .owner_runs(&format!(
                "drop table if exists set_config;
                 create table set_config (
                     tenant_id uuid not null, id uuid not null, entered text, own text, read text,
                     tenant text, set_config {column} not null, primary key (tenant_id, id)
                 );
                 select tenantry.protect('set_config')"
            ))
            .await;
        let store = fixture.another(|settings| settings).await.unwrap();
        let oddities = store.tenant(TenantId::generate()).repository::<Oddity>();
        let mut rows: Vec<_> = values
            .iter()
            .map(|value| Oddity {
                id: Uuid::now_v7(),
                entered: None,
                own: None,
                read: None,
                tenant: None,
                set_config: *value,
            })
            .collect();
        oddities.insert_many(&mut rows).await.unwrap();
        let found = oddities.list(Query::new().limit(1_000)).await.unwrap();
        assert_eq!(found.items, rows, "{column}");
    }
}

// --- The walls -----------------------------------------------------------------------------------

#[tokio::test]
async fn rows_of_another_tenant_are_invisible_without_wall_one() {
    let fixture = Fixture::open().await;
    let own = customer(&fixture.tenants.one).await;
    customer(&fixture.tenants.two).await;
    let mut app = connect(&wall_two_alone(fixture.walled.app.url()).unwrap()).await;
    let begin = format!(
        "begin; set local tenantry.tenant_id = '{}'",
        fixture.tenants.one.tenant()
    );
    sqlx::raw_sql(AssertSqlSafe(begin))
        .execute(&mut app)
        .await
        .unwrap();
    let seen: Vec<Uuid> = sqlx::query_scalar("select id from customers")
        .fetch_all(&mut app)
        .await
        .unwrap();
    assert_eq!(seen, [own.id]);
    assert_eq!(fixture.count("select count(*) from customers").await, 2);
}

#[tokio::test]
async fn every_statement_names_the_tenant() {
    let options = ServerOptions::default()
        .with_setting("logging_collector", "on")
        .with_setting("log_directory", "log")
        .with_setting("log_filename", "all.log")
        .with_setting("log_line_prefix", "%u ")
        .with_setting("log_statement", "all");
    let server = PostgresServer::start_with(&options).await.unwrap();
    let walled = support::Walled::on(&server).await;
    let store = walled.store().await;
    conformance::every_operation_keeps_to_its_tenant(&store).await;
    conformance::foreign_and_missing_answer_alike(&store).await;
    conformance::soft_delete_hides_and_restore_brings_back(&store).await;
    conformance::audit_columns_are_stamped_from_the_context(&store).await;
    conformance::aggregate_without_version_is_overwritten(&store).await;
    conformance::identifiers_of_every_type_serve(&store).await;
    conformance::pages_lead_forward_and_back(&store).await;
    conformance::insert_many_stores_all(&store).await;
    store.close().await;

    let mut admin = connect(server.admin_url()).await;
    let log: String = sqlx::query_scalar("select pg_read_file('log/all.log')")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    let prefix = format!("{} LOG:  ", walled.app.user());
    // What is no statement on a table of a tenant is the check's, on the catalog.
    let lines: Vec<&str> = log
        .lines()
        .filter_map(|line| line.strip_prefix(&*prefix))
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    for line in &lines {
        let Some((_, statement)) = line
            .strip_prefix("execute ")
            .and_then(|it| it.split_once(": "))
        else {
            continue;
        };
        let tables = ["specimens", "tracked", "settings", "order"];
        let uses: usize = tables
            .iter()
            .map(|table| {
                statement
                    .matches(&format!("\"public\".\"{table}\""))
                    .count()
            })
            .sum();
        if uses == 0 {
            continue;
        }
        let word = statement.split(' ').next().unwrap();
        let predicates = statement.matches("\"tenant_id\" = $1").count();
        let named = if word == "INSERT" {
            statement.contains("(\"tenant_id\",")
                && (statement.contains("ON CONFLICT") == (predicates > 0))
        } else {
            predicates >= uses
        };
        assert!(named, "the tenant is not in `{statement}`");
        seen.insert(statement.to_owned());
    }
    assert!(
        seen.len() >= 30,
        "only {} statements: {seen:#?}",
        seen.len()
    );

    let mut entering = 0;
    // It prepares statements by SQL, which binds no argument.
    let mut app = connect(&wall_two_alone(walled.app.url()).unwrap()).await;
    for statement in &seen {
        if statement.contains("set_config") {
            entering += 1;
            sets_the_tenant_first(&mut app, statement).await;
        }
    }
    assert!(entering >= 10, "only {entering} statements set the tenant");

    let begins: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("statement: BEGIN"))
        .collect();
    assert!(begins.len() > 30);
    for begin in begins {
        let by_check = begin.contains("SET LOCAL search_path TO pg_catalog");
        assert!(
            begin.contains("SET LOCAL tenantry.tenant_id = '") || by_check,
            "{begin}"
        );
    }
}

/// Asserts that a statement which sets the tenant by itself does so before row-level security asks
/// for it, whatever the planner would rather do: the setting is the outer side of the outermost
/// loop, and nothing is asked above that.
async fn sets_the_tenant_first(app: &mut PgConnection, statement: &str) {
    let number = |text: &str| -> usize {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    };
    let arguments = statement.split('$').skip(1).map(number).max().unwrap();
    let nulls = vec!["null"; arguments].join(", ");
    let script = format!(
        "set plan_cache_mode = force_generic_plan; set parallel_setup_cost = 0;
         set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0;
         deallocate all; prepare entering (uuid) as {statement}"
    );
    sqlx::raw_sql(AssertSqlSafe(script))
        .execute(&mut *app)
        .await
        .unwrap();
    for disabled in [
        "",
        "set enable_indexscan = off",
        "set enable_nestloop = off",
    ] {
        let script = format!("reset all; set plan_cache_mode = force_generic_plan; {disabled}");
        sqlx::raw_sql(AssertSqlSafe(script))
            .execute(&mut *app)
            .await
            .unwrap();
        let explain = format!("explain (costs off) execute entering ({nulls})");
        let plan: Vec<String> = sqlx::raw_sql(AssertSqlSafe(explain))
            .fetch_all(&mut *app)
            .await
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
        let plan: Vec<&str> = plan
            .iter()
            .map(|line| line.as_str())
            .filter(|line| !line.trim().starts_with("Disabled"))
            .collect();
        assert_eq!(
            plan[..2],
            ["Nested Loop", "  ->  Function Scan on set_config entered"],
            "{statement}\n{plan:#?}"
        );
        assert!(plan[2].starts_with("  ->  "), "{plan:#?}");
        assert!(
            plan[3..]
                .iter()
                .any(|line| line.contains("One-Time Filter")),
            "{plan:#?}"
        );
    }
}

/// Opens a store of so many connections that waits for nothing longer than a test can bear.
async fn impatient(connections: u32) -> Fixture {
    let server = PostgresServer::shared().await.unwrap();
    Fixture::with(server, ProxyOptions::default(), |settings| {
        settings
            .with_max_connections(connections)
            .with_acquire_timeout(PATIENCE)
            .with_statement_timeout(Some(PATIENCE))
            .with_silence_limit(Some(PATIENCE))
    })
    .await
}

/// Opens so many connections, which then rest in the pool.
async fn warm(tenants: &Tenants, connections: usize) {
    let works = join_all((0..connections).map(|_| tenants.one.begin())).await;
    for work in works {
        work.unwrap().rollback().await.unwrap();
    }
}
