//! What holds on every database; `guarded` names the method that makes the executor.

use std::sync::Arc;

use parking_lot::Mutex;
use tenantry_store::{
    CommitListener, CommittedChanges, PlatformStore, TenantScope, TenantStore, async_trait,
};

/// A store with two tenants, who have the same identifiers and other values.
pub(crate) struct Fixture<K> {
    pub(crate) store: TenantStore,
    pub(crate) ours: TenantScope,
    pub(crate) theirs: TenantScope,
    /// What must live as long.
    pub(crate) keeper: K,
}

/// Opens the store of the platform over the database of a fixture.
pub(crate) trait OpensPlatform {
    async fn platform_store(&self) -> PlatformStore;
}

/// Writes down which tables are told of.
#[derive(Debug, Default)]
pub(crate) struct Told(pub(crate) Mutex<Vec<CommittedChanges>>);

#[async_trait]
impl CommitListener for Told {
    async fn committed(&self, changes: &CommittedChanges) {
        self.0.lock().push(changes.clone());
    }
}

pub(crate) fn listen(store: &TenantStore) -> Arc<Told> {
    let told = Arc::new(Told::default());
    store.on_commit(Arc::clone(&told) as Arc<dyn CommitListener>);
    told
}

macro_rules! guard_suite {
    ($open:path, $executor:ident, $database:ty) => {
        use futures_util::TryStreamExt as _;
        use sqlx::{Executor as _, QueryBuilder};
        use tenantry_store::ErrorKind;
        use tenantry_store::guard::{OrStoreError as _, store_error};

        #[derive(Debug, PartialEq)]
        struct Line(i64, Option<String>);

        impl<'r, R: sqlx::Row> sqlx::FromRow<'r, R> for Line
        where
            i64: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
            String: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
            usize: sqlx::ColumnIndex<R>,
        {
            fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
                Ok(Self(row.try_get(0)?, row.try_get(1)?))
            }
        }

        #[tokio::test]
        async fn every_way_to_read_sees_one_tenant() {
            let fixture = $open().await;
            let work = fixture.ours.begin().await.unwrap();
            for executor in [work.$executor().unwrap(), fixture.ours.$executor().unwrap()] {
                let count: i64 = sqlx::query_scalar("select count(*) from invoices")
                    .fetch_one(executor)
                    .await
                    .unwrap();
                assert_eq!(count, 3);
                let lines: Vec<Line> = sqlx::query_as(
                    "select i.id, c.name from invoices i left join customers c on c.id = \
                     i.customer where i.cents >= $1 order by i.id",
                )
                .bind(200_i64)
                .fetch_all(executor)
                .await
                .unwrap();
                assert_eq!(
                    lines,
                    [Line(2, Some("ours 2".to_owned())), Line(3, None)]
                );
                let rows = sqlx::query("select * from invoices").fetch_all(executor).await;
                assert_eq!(rows.unwrap().len(), 3);
                let none = sqlx::query("select * from invoices where customer = 9")
                    .fetch_optional(executor)
                    .await;
                assert!(none.unwrap().is_none());
                let streamed: Vec<i64> = sqlx::query_scalar::<_, i64>("select cents from invoices order by 1")
                    .fetch(executor)
                    .try_collect()
                    .await
                    .unwrap();
                assert_eq!(streamed, [100, 200, 300]);
                let mut builder =
                    QueryBuilder::<$database>::new("select count(*) from invoices where id in (");
                let mut ids = builder.separated(", ");
                for id in [1_i64, 2, 9] {
                    ids.push_bind(id);
                }
                builder.push(")");
                let count: i64 = builder.build_query_scalar().fetch_one(executor).await.unwrap();
                assert_eq!(count, 2);
                let named: Vec<Line> = sqlx::query_as("select id, name from named order by id")
                    .fetch_all(executor)
                    .await
                    .unwrap();
                assert_eq!(named.len(), 3);
                assert_eq!(named[1], Line(2, Some("ours 2".to_owned())));
            }
        }

        #[tokio::test]
        async fn a_write_touches_one_tenant_and_stamps_its_rows() {
            let fixture = $open().await;
            let told = crate::suite::listen(&fixture.store);
            let before = all(&fixture.theirs).await;
            let work = fixture.ours.begin().await.unwrap();
            let run = async |sql: &'static str| {
                let done = sqlx::query(sql).execute(work.$executor().unwrap()).await;
                done.unwrap().rows_affected()
            };
            assert_eq!(run("update invoices set cents = cents + 1").await, 3);
            assert_eq!(run("update invoices set cents = 0 where id = 1 or id = 3").await, 2);
            assert_eq!(run("delete from invoices where id = 3").await, 1);
            assert_eq!(
                run("insert into invoices (id, customer, cents) values (7, 1, 70), (8, 2, 80)").await,
                2
            );
            assert_eq!(
                run("insert into invoices (id, customer, cents) select id + 10, customer, cents from \
                     invoices where id = 7").await,
                1
            );
            let upsert = "insert into invoices (id, customer, cents) values (2, 2, 1) on conflict \
                 (tenant_id, id) do update set cents = excluded.cents + invoices.cents";
            assert_eq!(run(upsert).await, 1);
            work.commit().await.unwrap();

            assert_eq!(all(&fixture.theirs).await, before);
            assert_eq!(
                all(&fixture.ours).await,
                [(1, 0), (2, 202), (7, 70), (8, 80), (17, 70)]
            );
            let told = told.0.lock();
            assert_eq!(told.len(), 1);
            assert_eq!(told[0].tables, ["invoices".into()]);
            assert_eq!(told[0].tenant, fixture.ours.tenant());
        }

        #[tokio::test]
        async fn the_platform_sees_all_tenants_and_writes_to_none() {
            use crate::suite::OpensPlatform as _;

            let fixture = open().await;
            let platform = fixture.keeper.platform_store().await;
            let scope = platform
                .scope("statistics", tenantry_core::RequestContext::system())
                .unwrap();
            let executor = scope.$executor().unwrap();
            let tenants: i64 = sqlx::query_scalar("select count(distinct tenant_id) from invoices")
                .fetch_one(executor)
                .await
                .unwrap();
            assert_eq!(tenants, 2);
            for sql in [
                "delete from invoices",
                "update invoices set cents = 0 where id = 1",
            ] {
                let error = sqlx::query(sql)
                    .execute(executor)
                    .await
                    .or_store_error()
                    .unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error:?}");
            }
            // To write, a tenant is named, and the statement is guarded again.
            let work = scope.tenant(fixture.ours.tenant()).begin().await.unwrap();
            let done = sqlx::query("delete from invoices")
                .execute(work.$executor().unwrap())
                .await
                .unwrap();
            assert_eq!(done.rows_affected(), 3);
            work.commit().await.unwrap();
            assert_eq!(all(&fixture.theirs).await.len(), 3);
        }

        async fn all(scope: &tenantry_store::TenantScope) -> Vec<(i64, i64)> {
            sqlx::query_as("select id, cents from invoices order by id")
                .fetch_all(scope.$executor().unwrap())
                .await
                .unwrap()
        }

        #[tokio::test]
        async fn what_is_refused_changes_nothing_and_ends_nothing() {
            let fixture = $open().await;
            let work = fixture.ours.begin().await.unwrap();
            for sql in [
                "drop table invoices",
                "update invoices set tenant_id = null",
                "insert into invoices (id) values (1) on conflict (id) do nothing",
                "select * from nowhere",
                "select 1; select 2",
                "update editions set name = 'x'",
                "commit",
            ] {
                let refused = sqlx::query(sql).execute(work.$executor().unwrap()).await;
                let error = store_error(refused.unwrap_err());
                assert_eq!(error.kind(), ErrorKind::RefusedStatement, "{sql}: {error}");
                assert!(!error.is_retryable());
            }
            let done = sqlx::query("delete from invoices where id = 1")
                .execute(work.$executor().unwrap())
                .await;
            assert_eq!(done.unwrap().rows_affected(), 1);
            work.commit().await.unwrap();
            assert_eq!(all(&fixture.ours).await.len(), 2);
        }

        #[tokio::test]
        async fn what_has_no_arguments_or_is_prepared_is_refused() {
            let fixture = $open().await;
            let executor = fixture.ours.$executor().unwrap();
            let raw = sqlx::raw_sql("select 1").execute(executor).await;
            let text = executor.execute("select 1").await;
            let prepared = executor
                .prepare(sqlx::SqlSafeStr::into_sql_str("select 1"))
                .await;
            for error in [raw.unwrap_err(), text.unwrap_err(), prepared.unwrap_err()] {
                assert_eq!(store_error(error).kind(), ErrorKind::RefusedStatement);
            }
        }

        #[tokio::test]
        async fn an_argument_too_many_is_never_the_tenant() {
            let fixture = $open().await;
            let theirs = fixture.theirs.tenant().as_uuid();
            let more = sqlx::query("select * from invoices where id = $1")
                .bind(1_i64)
                .bind(theirs)
                .fetch_all(fixture.ours.$executor().unwrap())
                .await;
            assert_eq!(store_error(more.unwrap_err()).kind(), ErrorKind::InvalidInput);
            let less = sqlx::query("select * from invoices where id = $1")
                .fetch_all(fixture.ours.$executor().unwrap())
                .await;
            assert_eq!(store_error(less.unwrap_err()).kind(), ErrorKind::InvalidInput);
        }

        #[tokio::test]
        async fn an_error_of_the_database_ends_the_work_until_a_savepoint() {
            let fixture = $open().await;
            let work = fixture.ours.begin().await.unwrap();
            let insert = || {
                sqlx::query("insert into invoices (id, customer, cents) values (1, 1, 1)")
                    .execute(work.$executor().unwrap())
            };
            let before = work.savepoint().await.unwrap();
            let error = insert().await.or_store_error().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AlreadyExists);
            let error = insert().await.or_store_error().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WorkAborted);
            work.rollback_to(&before).await.unwrap();
            let count: i64 = sqlx::query_scalar("select count(*) from invoices")
                .fetch_one(work.$executor().unwrap())
                .await
                .unwrap();
            assert_eq!(count, 3);
            work.commit().await.unwrap();
        }

        #[tokio::test]
        async fn calls_side_by_side_wait_and_a_stream_refuses_them() {
            let fixture = $open().await;
            let work = fixture.ours.begin().await.unwrap();
            let count = || {
                sqlx::query_scalar::<_, i64>("select count(*) from invoices")
                    .fetch_one(work.$executor().unwrap())
            };
            let (one, two) = tokio::join!(count(), count());
            assert_eq!((one.unwrap(), two.unwrap()), (3, 3));
            {
                let mut rows =
                    sqlx::query("select * from invoices").fetch(work.$executor().unwrap());
                rows.try_next().await.unwrap().unwrap();
                let error = count().await.or_store_error().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
            }
            assert_eq!(count().await.unwrap(), 3);
        }

        #[tokio::test]
        async fn a_dropped_write_ends_the_work() {
            let fixture = $open().await;
            let work = fixture.ours.begin().await.unwrap();
            {
                let mut rows = sqlx::query("update invoices set cents = 1 returning id")
                    .fetch(work.$executor().unwrap());
                rows.try_next().await.unwrap();
            }
            let error = work.commit().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WorkAborted);
            assert_eq!(all(&fixture.ours).await, [(1, 100), (2, 200), (3, 300)]);
        }

        #[tokio::test]
        async fn an_error_says_what_was_wrong_with_the_statement() {
            let fixture = $open().await;
            let executor = fixture.ours.$executor().unwrap();
            let unknown = sqlx::query("select nothing_of_the_kind from invoices")
                .fetch_all(executor)
                .await
                .or_store_error()
                .unwrap_err();
            assert!(!unknown.to_string().contains("struct"), "{unknown}");
        }

        #[tokio::test]
        async fn a_scope_reads_and_does_not_write() {
            let fixture = $open().await;
            let error = sqlx::query("delete from invoices")
                .execute(fixture.ours.$executor().unwrap())
                .await
                .or_store_error()
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ReadOnly);
            let missing = sqlx::query("select * from invoices where id = 99")
                .fetch_one(fixture.ours.$executor().unwrap())
                .await
                .or_store_error()
                .unwrap_err();
            assert_eq!(missing.kind(), ErrorKind::NotFound);
        }
    };
}
