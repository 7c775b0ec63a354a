//! What the tests of troubles share: a table or two, what an error must tell and must not, and
//! the proof that nothing is left half done.

#![allow(dead_code, reason = "not every test file uses all of it")]

use std::error::Error as _;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tenantry_core::TenantId;
use tenantry_store::{
    Aggregate, CommitListener, CommitOutcome, CommittedChanges, Error, ErrorKind, Filter,
    Repository, RepositoryExt as _, Result, TenantScope, TenantStore, Version, async_trait,
};
use uuid::Uuid;

#[allow(unused_imports, reason = "not every test file uses all of it")]
pub(crate) use tenantry_store::conformance::poll_times;

/// A stored value: none of it may ever stand in an error.
pub(crate) const VALUE: &str = "xyzzy-4711-plugh";

#[derive(Debug, Clone, PartialEq, Eq, Aggregate)]
#[aggregate(table = "customers")]
pub(crate) struct Customer {
    #[aggregate(id)]
    pub(crate) id: Uuid,
    /// May lack in the struct, and not in the table.
    pub(crate) name: Option<String>,
    #[aggregate(version)]
    pub(crate) version: Version,
}

impl Customer {
    pub(crate) fn named(name: &str) -> Self {
        Self {
            id: Uuid::now_v7(),
            name: Some(name.to_owned()),
            version: Version::NEW,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Aggregate)]
#[aggregate(table = "invoices")]
pub(crate) struct Invoice {
    #[aggregate(id)]
    pub(crate) id: Uuid,
    pub(crate) customer_id: Option<Uuid>,
    pub(crate) cents: i64,
    #[aggregate(version)]
    pub(crate) version: Version,
}

impl Invoice {
    pub(crate) fn over(cents: i64) -> Self {
        Self {
            id: Uuid::now_v7(),
            customer_id: None,
            cents,
            version: Version::NEW,
        }
    }

    pub(crate) fn for_customer(customer: Uuid) -> Self {
        Self {
            customer_id: Some(customer),
            ..Self::over(1)
        }
    }
}

pub(crate) const POSTGRES_TABLES: &str = "
    create table customers (
        tenant_id uuid not null, id uuid not null, name text not null, version bigint not null,
        primary key (tenant_id, id), constraint one_name unique (tenant_id, name)
    );
    create table invoices (
        tenant_id uuid not null, id uuid not null, customer_id uuid,
        cents bigint not null constraint not_negative check (cents >= 0), version bigint not null,
        primary key (tenant_id, id),
        constraint of_customer foreign key (tenant_id, customer_id)
            references customers (tenant_id, id)
    );
    select tenantry.protect('customers'), tenantry.protect('invoices');";

pub(crate) const SQLITE_TABLES: &str = "
    create table customers (
        tenant_id blob not null, id blob not null, name text not null, version integer not null,
        primary key (tenant_id, id), unique (tenant_id, name)
    ) strict;
    create table invoices (
        tenant_id blob not null, id blob not null, customer_id blob,
        cents integer not null constraint not_negative check (cents >= 0), version integer not null,
        primary key (tenant_id, id),
        foreign key (tenant_id, customer_id) references customers (tenant_id, id)
    ) strict;";

/// Two tenants of one store.
pub(crate) struct Tenants {
    pub(crate) one: TenantScope,
    pub(crate) two: TenantScope,
}

impl Tenants {
    pub(crate) fn of(store: &TenantStore) -> Self {
        Self {
            one: store.tenant(TenantId::generate()),
            two: store.tenant(TenantId::generate()),
        }
    }

    /// Asserts that the trouble is over for either tenant: each writes, and reads what it wrote
    /// and nothing else.
    pub(crate) async fn go_on(&self) {
        for scope in [&self.one, &self.two, &self.one] {
            let customers = scope.repository::<Customer>();
            let before = customers.count(Filter::all()).await.unwrap();
            let mut customer = Customer::named(&format!("{} {}", scope.tenant(), Uuid::now_v7()));
            customers.insert(&mut customer).await.unwrap();
            assert_eq!(customers.get(customer.id).await.unwrap(), customer);
            assert_eq!(customers.count(Filter::all()).await.unwrap(), before + 1);
            let other = if scope.tenant() == self.one.tenant() {
                &self.two
            } else {
                &self.one
            };
            let foreign = other.repository::<Customer>();
            assert_eq!(foreign.find(&customer.id).await.unwrap(), None);
            customers.delete(&customer).await.unwrap();
        }
    }
}

/// Stores a customer whose name is [`VALUE`].
pub(crate) async fn customer(scope: &TenantScope) -> Customer {
    let mut customer = Customer::named(VALUE);
    scope.repository().insert(&mut customer).await.unwrap();
    customer
}

/// Returns how many customers the tenant has.
pub(crate) async fn customers(scope: &TenantScope) -> u64 {
    let all = Filter::<Customer>::all();
    scope.repository::<Customer>().count(all).await.unwrap()
}

/// Asserts the kind of a trouble, that its text says what to do, and that nothing in it may not be
/// seen: no stored value, and none of `secrets`, in text, debug form or any cause.
pub(crate) fn trouble<T: Debug>(
    outcome: Result<T>,
    kind: ErrorKind,
    advice: &[&str],
    secrets: &[&str],
) -> Error {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    let text = error.to_string();
    for advice in advice {
        assert!(text.contains(advice), "no `{advice}` in `{text}`");
    }
    for shown in everything_in(&error) {
        for secret in secrets.iter().chain([&VALUE]) {
            assert!(!shown.contains(secret), "`{secret}` in `{shown}`");
        }
    }
    error
}

/// Returns the text of an error, its debug form, and both of each cause.
pub(crate) fn everything_in(error: &Error) -> Vec<String> {
    let mut all = vec![error.to_string(), format!("{error:?}")];
    let mut cause = error.source();
    while let Some(error) = cause {
        all.extend([error.to_string(), format!("{error:?}")]);
        cause = error.source();
    }
    all
}

/// Waits until a state is reached.
pub(crate) async fn eventually(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !reached().await {
        assert!(started.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A listener that writes down what it hears.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Vec<CommittedChanges>>);

impl Recorder {
    pub(crate) fn on(store: &TenantStore) -> Arc<Self> {
        let recorder = Arc::new(Self::default());
        store.on_commit(Arc::clone(&recorder) as Arc<dyn CommitListener>);
        recorder
    }

    pub(crate) fn outcomes(&self) -> Vec<CommitOutcome> {
        self.0
            .lock()
            .iter()
            .map(|changes| changes.outcome)
            .collect()
    }
}

#[async_trait]
impl CommitListener for Recorder {
    async fn committed(&self, changes: &CommittedChanges) {
        self.0.lock().push(changes.clone());
    }
}
