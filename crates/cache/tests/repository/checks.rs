//! Reads that are compared with the store.

use tenantry_cache::{Cache, CachePolicy, CachedStore, CheckPolicy, Verdict};
use tenantry_core::TenantId;
use tenantry_store::conformance::{SQLITE_SCHEMA, Specimen};
use tenantry_store::{
    ErrorKind, Migrations, Repository as _, RepositoryExt as _, SqliteSettings, TenantStore, sqlite,
};

use crate::store;

/// Another process writes to the same database, and does not tell the cache.
#[tokio::test]
async fn a_write_past_the_store_is_found() {
    let folder = std::env::temp_dir().join(format!("tenantry-checks-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&folder).unwrap();
    let settings = || SqliteSettings::file(folder.join("specimens.db"));
    let migrations = Migrations::embedded(&[(1, "conformance", SQLITE_SCHEMA)]);
    sqlite::migrate(&settings(), &migrations).await.unwrap();
    let ours = TenantStore::sqlite(settings()).await.unwrap();
    let elsewhere = TenantStore::sqlite(settings()).await.unwrap();

    let cache = Cache::builder().build().unwrap();
    let policy = CheckPolicy::default()
        .with_fraction(1.0)
        .with_most_per_second(1_000_000);
    let checker = cache.checker(policy).unwrap();
    let cached = CachedStore::new(&ours, &cache).unwrap();
    let kept = cached
        .aggregate::<Specimen>(CachePolicy::default())
        .unwrap();
    let kept = kept.with_checker(&checker).unwrap();

    let tenants = [TenantId::generate(), TenantId::generate()];
    let mut rows = Vec::new();
    for tenant in tenants {
        let mut one = Specimen::named("one");
        let specimens = kept.repository(&ours.tenant(tenant)).unwrap();
        specimens.insert(&mut one).await.unwrap();
        specimens.get(one.id).await.unwrap();
        rows.push(one);
    }
    let differed = || checker.report().iter().map(|it| it.differed).sum::<u64>();
    crate::until(|| async { checker.report().iter().any(|it| it.looks >= 2) }).await;
    assert_eq!(differed(), 0);

    rows[0].label = "two".to_owned();
    let theirs = elsewhere.tenant(tenants[0]).repository::<Specimen>();
    theirs.update(&mut rows[0]).await.unwrap();
    for (tenant, row) in tenants.iter().zip(&rows) {
        let specimens = kept.repository(&ours.tenant(*tenant)).unwrap();
        assert_eq!(specimens.get(row.id).await.unwrap().label, "one");
    }
    crate::until(|| async { checker.report()[0].looks >= 4 }).await;
    assert_eq!(differed(), 1, "of one of the tenants");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_checker_of_another_cache_is_refused() {
    let cached = CachedStore::new(&store().await, &Cache::builder().build().unwrap()).unwrap();
    let kept = cached
        .aggregate::<Specimen>(CachePolicy::default())
        .unwrap();
    let elsewhere = Cache::builder().build().unwrap();
    let checker = elsewhere.checker(CheckPolicy::default()).unwrap();
    let error = kept.with_checker(&checker).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSettings);
    let tenant = TenantId::generate();
    let kind = elsewhere
        .kind::<u8>("number", CachePolicy::default())
        .unwrap();
    let load = || async { Ok(Some(7)) };
    let verdict = checker.check(tenant, &kind, "7", load).await.unwrap();
    assert_eq!(verdict, Verdict::NotKept);
}
