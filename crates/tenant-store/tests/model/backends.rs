//! Both backends, opened once for all cases of a test; every case has tenants of its own.

use std::fmt::Debug;

use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestCaseError, TestError, TestRunner};
use tenantry_core::TenantId;
use tenantry_store::conformance::SQLITE_SCHEMA;
use tenantry_store::{
    Aggregate, Migrations, SqlRepository, SqliteSettings, TenantScope, TenantStore, sqlite,
};

use super::support::Postgres;

/// A few tenants that nobody has used yet, on one backend.
pub(crate) struct Tenants {
    pub(crate) backend: &'static str,
    scopes: Vec<TenantScope>,
}

impl Tenants {
    fn new(backend: &'static str, store: &TenantStore, count: usize) -> Self {
        let scopes = (0..count)
            .map(|_| store.tenant(TenantId::generate()))
            .collect();
        Self { backend, scopes }
    }

    pub(crate) fn scope(&self, tenant: usize) -> &TenantScope {
        &self.scopes[tenant]
    }

    pub(crate) fn repository<A: Aggregate>(&self, tenant: usize) -> SqlRepository<'static, A> {
        self.scopes[tenant].repository()
    }
}

/// How many tenants share the tables in a case.
pub(crate) const TENANTS: usize = 2;

/// Runs `test` on each backend with random values, and panics with the smallest that fails.
pub(crate) fn check<S: Strategy>(
    strategy: &S,
    test: impl AsyncFn(Tenants, S::Value) -> TestCaseResult,
) where
    S::Value: Clone,
{
    // Where a failure is kept, to be tried first from then on; to be committed with its repair.
    const FAILURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/model/failures.txt");
    let config = ProptestConfig {
        cases: cases(64),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(FAILURES))),
        // Less than the time after which nextest gives a test up.
        max_shrink_iters: u32::MAX,
        max_shrink_time: 20_000,
        ..ProptestConfig::default()
    };
    if let Err(error) = run(config, strategy, test) {
        panic!("{error}");
    }
}

/// Returns whether `test` fails with some random value.
pub(crate) fn is_noticed<S: Strategy>(
    strategy: &S,
    test: impl AsyncFn(Tenants, S::Value) -> TestCaseResult,
) -> bool
where
    S::Value: Clone,
{
    let config = ProptestConfig {
        cases: cases(256),
        failure_persistence: None,
        max_shrink_iters: 0,
        ..ProptestConfig::default()
    };
    matches!(run(config, strategy, test), Err(TestError::Fail(..)))
}

type TestCaseResult = Result<(), TestCaseError>;

fn run<S: Strategy>(
    config: ProptestConfig,
    strategy: &S,
    test: impl AsyncFn(Tenants, S::Value) -> TestCaseResult,
) -> Result<(), TestError<S::Value>>
where
    S::Value: Clone + Debug,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (sqlite, postgres) =
        runtime.block_on(async { (open_sqlite().await, Postgres::open().await) });
    let outcome = TestRunner::new(config).run(strategy, |value| {
        runtime.block_on(async {
            test(Tenants::new("SQLite", &sqlite, TENANTS), value.clone()).await?;
            test(Tenants::new("PostgreSQL", &postgres.store, TENANTS), value).await
        })
    });
    // Dropping the database waits for the server, and asks for the runtime.
    runtime.block_on(async move { drop((sqlite, postgres)) });
    outcome
}

async fn open_sqlite() -> TenantStore {
    let settings = SqliteSettings::temporary()
        .with_max_readers(2)
        .with_relaxed_durability();
    let migrations = Migrations::embedded(&[(1, "conformance", SQLITE_SCHEMA)]);
    sqlite::migrate(&settings, &migrations).await.unwrap();
    TenantStore::sqlite(settings).await.unwrap()
}

/// Returns what `PROPTEST_CASES` asks for, or `by_default`.
#[allow(
    clippy::disallowed_methods,
    reason = "read by proptest too, with a default of its own"
)]
fn cases(by_default: u32) -> u32 {
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(by_default)
}
