//! No connection rests in a transaction, and none remembers a tenant, whatever was dropped.

#![cfg(all(feature = "postgres", feature = "conformance"))]
#![allow(clippy::unwrap_used, reason = "a set-up that fails ends the test")]

mod support;
mod trouble;

#[path = "trouble/postgres.rs"]
mod postgres;

use std::time::Duration;

use futures_util::StreamExt as _;
use postgres::{Fixture, connect};
use sqlx::Row as _;
use tenantry_store::{
    Changes, Filter, Isolation, Pooler, PostgresSettings, Query, Repository, RepositoryExt as _,
    TenantScope, TenantStore, WorkOptions,
};
use tenantry_testkit::{PgBouncer, PgBouncerOptions, PostgresServer, ProxyOptions};
use trouble::{Customer, Invoice, Tenants, customer, customers, eventually, poll_times};

/// More polls than any operation here needs.
const POLLS: usize = 60;

/// Every answer comes late, so that a future can be dropped while it waits for it.
async fn fixture() -> Fixture {
    let server = PostgresServer::shared().await.unwrap();
    let slow = ProxyOptions::default().with_delay(Duration::from_millis(1));
    Fixture::with(server, slow, |settings| settings).await
}

impl Fixture {
    /// Waits until all connections rest, outside any transaction.
    async fn comes_to_rest(&self) {
        self.until_connections(0, "state <> 'idle' or xact_start is not null")
            .await;
        self.tenants.go_on().await;
        self.until_connections(0, "state <> 'idle' or xact_start is not null")
            .await;
    }
}

#[tokio::test]
async fn dropped_reads_leave_no_transaction() {
    let fixture = fixture().await;
    let row = customer(&fixture.tenants.one).await;
    let repository = fixture.tenants.one.repository::<Customer>();
    let mut ended = 0;
    for polls in 1..=POLLS {
        ended += usize::from(poll_times(repository.find(&row.id), polls).await.is_some());
        ended += usize::from(
            poll_times(repository.list(Query::new()), polls)
                .await
                .is_some(),
        );
    }
    assert!(ended > 0, "{POLLS} polls are too few to see a read end");
    fixture.comes_to_rest().await;
    assert_eq!(repository.get(row.id).await.unwrap(), row);
}

#[tokio::test]
async fn dropped_streams_leave_no_transaction() {
    let fixture = fixture().await;
    let mut rows: Vec<_> = (0..5_000).map(Invoice::over).collect();
    fixture
        .tenants
        .one
        .repository()
        .insert_many(&mut rows)
        .await
        .unwrap();
    let invoices = fixture.tenants.one.repository::<Invoice>();
    for taken in 0..20 {
        let stream = invoices.stream(Query::new());
        let seen = stream.take(taken).collect::<Vec<_>>().await;
        assert_eq!(seen.into_iter().filter_map(Result::ok).count(), taken);
        poll_times(invoices.stream(Query::new()).next(), taken).await;
    }
    fixture.comes_to_rest().await;
}

#[tokio::test]
async fn dropped_writes_leave_no_transaction_and_no_half_of_a_write() {
    let fixture = fixture().await;
    let tenant = &fixture.tenants.one;
    let row = customer(tenant).await;
    let repository = tenant.repository::<Customer>();
    for polls in 1..=POLLS {
        let mut pair = [1, 2].map(|half| Customer::named(&format!("{polls} {half}")));
        poll_times(repository.insert_many(&mut pair), polls).await;
        let changes = Changes::new().set(Invoice::CENTS, 1);
        let invoices = tenant.repository::<Invoice>();
        poll_times(invoices.update_where(Filter::all(), changes, 1), polls).await;
    }
    fixture.comes_to_rest().await;
    assert_eq!(customers(tenant).await % 2, 1, "{row:?} and whole pairs");
}

#[tokio::test]
async fn dropped_units_of_work_leave_no_transaction() {
    let fixture = fixture().await;
    let tenant = &fixture.tenants.one;
    for polls in 0..20 {
        let work = tenant.begin().await.unwrap();
        let inside = work.repository::<Customer>();
        inside.insert(&mut Customer::named("lost")).await.unwrap();
        poll_times(inside.insert(&mut Customer::named("half")), polls).await;
        let savepoint = poll_times(work.savepoint(), polls).await;
        drop((savepoint, work));

        let work = tenant.begin().await.unwrap();
        poll_times(work.rollback(), polls).await;
    }
    fixture.comes_to_rest().await;
    assert_eq!(customers(tenant).await, 0);
}

#[tokio::test]
async fn dropped_commits_leave_no_transaction() {
    let fixture = fixture().await;
    let tenant = &fixture.tenants.one;
    for polls in 0..20 {
        let work = tenant.begin().await.unwrap();
        for half in 0..2 {
            let mut row = Customer::named(&format!("{polls} {half}"));
            work.repository().insert(&mut row).await.unwrap();
        }
        poll_times(work.commit(), polls).await;
    }
    fixture.comes_to_rest().await;
    let stored = customers(tenant).await;
    assert!(
        stored.is_multiple_of(2) && stored > 0,
        "{stored} rows of whole pairs"
    );
}

/// A read is dropped, and then the commit that has to wait for its answer: COMMIT may not have been
/// sent at all, and is.
#[tokio::test]
async fn commit_dropped_behind_a_dropped_read_leaves_no_transaction() {
    let server = PostgresServer::shared().await.unwrap();
    let slow = ProxyOptions::default().with_delay(Duration::from_millis(2));
    let fixture = Fixture::with(server, slow, |settings| settings.with_max_connections(1)).await;
    let (one, two) = (&fixture.tenants.one, &fixture.tenants.two);
    let mut invoices: Vec<_> = (0..5_000).map(Invoice::over).collect();
    one.repository().insert_many(&mut invoices).await.unwrap();
    let kept = customer(one).await;
    for polls in 1..12 {
        let options = if polls % 2 == 0 {
            WorkOptions::default()
        } else {
            WorkOptions::default().with_isolation(Isolation::RepeatableRead)
        };
        let work = one.begin_with(options).await.unwrap();
        let name = format!("abandoned {polls}");
        work.repository()
            .insert(&mut Customer::named(&name))
            .await
            .unwrap();
        if polls % 3 == 0 {
            let inside = work.repository::<Invoice>();
            let mut stream = inside.stream(Query::new());
            stream.next().await.unwrap().unwrap();
        } else {
            poll_times(work.repository::<Customer>().find(&kept.id), 1).await;
        }
        let committed = poll_times(work.commit(), polls).await;
        // Whoever comes next is alone, sees what is there, and stores what is theirs.
        let theirs = customer(two).await;
        assert_eq!(
            two.repository::<Customer>().get(theirs.id).await.unwrap(),
            theirs
        );
        two.repository().delete(&theirs).await.unwrap();
        fixture.until_connections(0, "xact_start is not null").await;
        if committed.is_none() {
            let stored = format!("select count(*) from customers where name = '{name}'");
            let stored = fixture.count(&stored).await;
            assert_eq!(stored, 1, "it goes on to its end");
        }
    }
}

#[tokio::test]
async fn begin_that_is_dropped_at_any_poll_leaves_no_transaction() {
    let fixture = fixture().await;
    let mut ended = 0;
    for round in 0..3 {
        for polls in 0..POLLS {
            // First on connections that are yet to be made, then on those that rest.
            let tenant = fixture.store.tenant(fixture.tenants.one.tenant());
            ended += usize::from(poll_times(tenant.begin(), polls).await.is_some());
        }
        assert!(ended > 0, "{POLLS} polls are too few to see a begin end");
        fixture.comes_to_rest().await;
        if round == 0 {
            fixture.proxy.cut();
        }
    }
    let busy = fixture.connections("true").await;
    assert!(busy <= 2, "{busy} connections of a pool of 2");
}

#[tokio::test]
async fn single_read_costs_its_caller_one_round_trip() {
    let fixture = fixture().await;
    let row = customer(&fixture.tenants.one).await;
    let repository = fixture.tenants.one.repository::<Customer>();
    for _ in 0..10 {
        repository.get(row.id).await.unwrap();
        repository.list(Query::new()).await.unwrap();
    }
    eventually("the last connection is back in the pool", async || {
        let before = fixture.proxy.round_trips();
        tokio::time::sleep(Duration::from_millis(20)).await;
        fixture.proxy.round_trips() == before
    })
    .await;
    for turn in 0..10 {
        let before = fixture.proxy.round_trips();
        if turn % 2 == 0 {
            assert_eq!(repository.get(row.id).await.unwrap(), row);
        } else {
            let page = repository.list(Query::new()).await.unwrap();
            assert_eq!(page.items, std::slice::from_ref(&row));
        }
        assert_eq!(fixture.proxy.round_trips() - before, 1);
        // The pool looks after its connection behind the caller's back.
        eventually("the connection is back in the pool", async || {
            fixture.proxy.round_trips() - before == 2
        })
        .await;
    }
}

#[test]
fn unit_of_work_may_be_dropped_outside_its_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let fixture = runtime.block_on(fixture());
    for _ in 0..3 {
        let work = runtime.block_on(async {
            let work = fixture.tenants.one.begin().await.unwrap();
            let mut lost = Customer::named("lost");
            work.repository().insert(&mut lost).await.unwrap();
            work
        });
        drop(work);
    }
    runtime.block_on(async {
        fixture.comes_to_rest().await;
        assert_eq!(customers(&fixture.tenants.one).await, 0);
    });
    // Closed outside as well.
    drop(fixture);
}

#[test]
fn runtime_may_end_while_answers_are_owed() {
    let outside = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let fixture = outside.block_on(fixture());
    let url = fixture.walled.app.url();
    let proxied = fixture.proxy.url(url).unwrap();
    for threads in [1, 2] {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()
            .unwrap();
        let tenant = fixture.tenants.one.tenant();
        let (store, work) = runtime.block_on(async {
            let settings = PostgresSettings::new(&*proxied).with_max_connections(4);
            let store = TenantStore::postgres(settings).await.unwrap();
            let customers = store.tenant(tenant).repository::<Customer>();
            customers.find(&uuid::Uuid::nil()).await.unwrap();
            let work = store.tenant(tenant).begin().await.unwrap();
            fixture.proxy.pause();
            poll_times(customers.find(&uuid::Uuid::nil()), 1).await;
            poll_times(work.repository::<Customer>().count(Filter::all()), 1).await;
            let other = store.tenant(tenant);
            tokio::spawn(async move { other.begin().await.map(drop) });
            tokio::task::yield_now().await;
            (store, work)
        });
        let entered = runtime.enter();
        drop(work);
        drop(entered);
        runtime.shutdown_background();
        drop(store);
        fixture.proxy.resume();
        outside.block_on(fixture.comes_to_rest());
    }
    outside.block_on(async { drop(fixture) });
}

#[tokio::test]
async fn connection_remembers_neither_tenant_nor_timeout() {
    let server = PostgresServer::shared().await.unwrap();
    let fixture = Fixture::on(server).await;
    let app = &fixture.walled.app;
    // One connection to the server, which this test takes turns at with the store.
    let options = PgBouncerOptions::default()
        .with_login(app)
        .with_pool_size(1);
    let pooler = PgBouncer::start(server, options).await.unwrap();
    let url = pooler.url(app.url()).unwrap();
    let settings = PostgresSettings::new(&*url)
        .with_max_connections(1)
        .with_pooler(Pooler::TransactionMode)
        .with_statement_timeout(Some(Duration::from_millis(12_345)));
    let store = TenantStore::postgres(settings).await.unwrap();
    let tenants = Tenants::of(&store);
    let mut raw = connect(&url).await;
    let mut processes = std::collections::BTreeSet::new();
    for (polls, scope) in (0..12).zip([&tenants.one, &tenants.two].into_iter().cycle()) {
        use_and_drop(scope, polls).await;
        let row = sqlx::query(
            "select pg_backend_pid(), current_setting('tenantry.tenant_id', true), \
             current_setting('statement_timeout')",
        )
        .persistent(false)
        .fetch_one(&mut raw)
        .await
        .unwrap();
        processes.insert(row.get::<i32, _>(0));
        assert_eq!(row.get::<Option<&str>, _>(1).unwrap_or_default(), "");
        assert_eq!(row.get::<&str, _>(2), "0");
    }
    assert_eq!(
        processes.len(),
        1,
        "another connection than the store's was looked at"
    );
    tenants.go_on().await;
}

/// Reads and writes, and leaves something unfinished.
async fn use_and_drop(scope: &TenantScope, polls: usize) {
    customers(scope).await;
    poll_times(scope.repository::<Customer>().count(Filter::all()), polls).await;
    let work = scope.begin().await.unwrap();
    work.repository()
        .insert(&mut Customer::named("lost"))
        .await
        .unwrap();
    poll_times(work.repository::<Customer>().count(Filter::all()), polls).await;
    drop(work);
    let mut row = Customer::named(&format!("kept {polls}"));
    scope.repository().insert(&mut row).await.unwrap();
}
