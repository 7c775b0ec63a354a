use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_stream::try_stream;
use futures_core::future::BoxFuture;
use futures_core::stream::{BoxStream, Stream};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use sqlx::error::{DatabaseError, ErrorKind as DriverErrorKind};
use sqlx::{Arguments as _, Database, Either, Execute, SqlSafeStr as _, SqlStr};
use tenantry_core::{Error, ErrorKind, Result, TenantId};

use super::GuardedStatement;
use crate::backend::{Access, Begin, Session};
use crate::platform::PlatformScope;
use crate::scope::TenantScope;
use crate::work::UnitOfWork;

/// An [`sqlx::Executor`] that puts its tenant into every statement, or refuses it.
///
/// Made by `sqlx_postgres` and `sqlx_sqlite` on a [`UnitOfWork`], inside whose transaction it runs
/// statements that read and write, and on a [`TenantScope`], where each statement that reads is
/// a transaction by itself. It is copied freely: each query takes one.
///
/// Everything that ends in an executor works on it: `sqlx::query`, `query_as`, `query_scalar`, their
/// macros, `QueryBuilder`. Not so `raw_sql`, texts without arguments passed by themselves, and
/// `prepare`; sqlx keeps statements prepared without being asked.
///
/// A [`Secret`](tenantry_core::Secret) is bound to none of them:
///
/// ```compile_fail,E0277
/// # use sqlx::Sqlite;
/// let password = tenantry_core::Secret::new("hunter2");
/// sqlx::query::<Sqlite>("update connections set password = $1").bind(password);
/// ```
///
/// # Errors
///
/// sqlx's own, as sqlx answers them: [`store_error`](super::store_error) turns one into [`Error`].
/// What the guard or the unit of work refuses comes as [`sqlx::Error::Database`] with the text of
/// an [`Error`] of ours, and changes nothing.
///
/// # Cancel safety
///
/// As a repository: a dropped read does no harm, a dropped write ends the unit of work.
pub struct GuardedExecutor<'w, DB> {
    handle: Handle<'w>,
    database: PhantomData<fn() -> DB>,
}

#[derive(Clone, Copy)]
enum Handle<'w> {
    Work(&'w UnitOfWork),
    Scope(&'w TenantScope),
}

/// An [`sqlx::Executor`] across tenants, which runs statements that read as they are written.
///
/// Made by `sqlx_postgres` and `sqlx_sqlite` on a [`PlatformScope`], whose reason stands in a trace
/// event for each statement. Each is a transaction of its own that takes no writes; to write, name
/// the tenant by [`PlatformScope::tenant`].
///
/// # Isolation
///
/// Nothing is put into a statement: it sees the rows of all tenants. What a statement does to its
/// session beyond the transaction, such as taking an advisory lock, stays on a connection that
/// others use.
///
/// # Errors
///
/// As [`GuardedExecutor`].
pub struct UnguardedExecutor<'w, DB> {
    scope: &'w PlatformScope,
    database: PhantomData<fn() -> DB>,
}

/// A database whose statements can be guarded.
pub trait GuardedDatabase: Database + sealed::Sealed {}

pub(crate) mod sealed {
    use super::{BoxStream, Database, Either, Session, SqlStr};

    pub(crate) type Rows<'s, DB> = BoxStream<
        's,
        Result<Either<<DB as Database>::QueryResult, <DB as Database>::Row>, sqlx::Error>,
    >;

    #[allow(unnameable_types, reason = "it seals the trait")]
    pub trait Sealed: Database {
        /// Runs a statement in a session of this database.
        #[allow(private_interfaces, reason = "it seals the trait")]
        fn run(
            session: &mut dyn Session,
            sql: SqlStr,
            arguments: Self::Arguments,
            persistent: bool,
        ) -> Rows<'_, Self>;

        fn copy(arguments: &Self::Arguments) -> Self::Arguments;

        /// Returns whether a statement was prepared for tables as they were before a migration.
        fn is_stale(error: &sqlx::Error) -> bool;

        /// Returns whether a text is one statement; where the protocol takes no more, it is.
        fn is_one_statement(sql: &str) -> bool;
    }
}

use sealed::Rows;

impl<'w, DB> GuardedExecutor<'w, DB> {
    pub(crate) const fn in_work(work: &'w UnitOfWork) -> Self {
        Self {
            handle: Handle::Work(work),
            database: PhantomData,
        }
    }

    pub(crate) const fn in_scope(scope: &'w TenantScope) -> Self {
        Self {
            handle: Handle::Scope(scope),
            database: PhantomData,
        }
    }

    /// Returns the tenant that is put into the statements.
    #[must_use]
    pub fn tenant(&self) -> TenantId {
        self.scope().tenant()
    }

    fn scope(&self) -> &'w TenantScope {
        match self.handle {
            Handle::Work(work) => work.scope(),
            Handle::Scope(scope) => scope,
        }
    }
}

impl<'w, DB> UnguardedExecutor<'w, DB> {
    pub(crate) const fn new(scope: &'w PlatformScope) -> Self {
        Self {
            scope,
            database: PhantomData,
        }
    }
}

impl<DB> Clone for UnguardedExecutor<'_, DB> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<DB> Copy for UnguardedExecutor<'_, DB> {}

impl<DB> fmt::Debug for UnguardedExecutor<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnguardedExecutor")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl<DB> Clone for GuardedExecutor<'_, DB> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<DB> Copy for GuardedExecutor<'_, DB> {}

impl<DB> fmt::Debug for GuardedExecutor<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedExecutor")
            .field("tenant", &self.tenant())
            .finish_non_exhaustive()
    }
}

/// What a caller wants to run.
struct Call<DB: Database> {
    sql: SqlStr,
    arguments: DB::Arguments,
    persistent: bool,
}

impl<DB: Database> Call<DB> {
    fn new<'q>(mut query: impl Execute<'q, DB>) -> Result<Self, sqlx::Error> {
        if query.statement().is_some() {
            return Err(refused("a statement that was prepared by hand"));
        }
        let arguments = query.take_arguments().map_err(sqlx::Error::Encode)?;
        let Some(arguments) = arguments else {
            return Err(refused("raw_sql, or a text by itself"));
        };
        let persistent = query.persistent();
        Ok(Self {
            sql: query.sql(),
            arguments,
            persistent,
        })
    }

    fn copy(&self) -> Self
    where
        DB: GuardedDatabase,
    {
        Self {
            sql: self.sql.clone(),
            arguments: DB::copy(&self.arguments),
            persistent: self.persistent,
        }
    }

    fn run(self, session: &mut dyn Session) -> Rows<'_, DB>
    where
        DB: GuardedDatabase,
    {
        DB::run(session, self.sql, self.arguments, self.persistent)
    }

    /// Says whether the text could write, before the guard has been asked: of all that it lets pass,
    /// only what begins with one of these words surely does not.
    fn may_write(&self) -> bool {
        let begin = |character: char| character.is_whitespace() || character == '(';
        let text = self.sql.as_str().trim_start_matches(begin);
        let is = |word: &str| {
            let first = text.as_bytes().get(..word.len());
            first.is_some_and(|first| first.eq_ignore_ascii_case(word.as_bytes()))
        };
        !is("select") && !is("values")
    }

    /// Puts the tenant behind the arguments, whose number has to be what the statement says: one
    /// too many would be taken for the tenant.
    fn guarded(self, statement: &GuardedStatement, tenant: TenantId) -> Result<Self, sqlx::Error>
    where
        uuid::Uuid: for<'t> sqlx::Encode<'t, DB> + sqlx::Type<DB>,
    {
        let mut arguments = self.arguments;
        if arguments.len() != statement.arguments() {
            let error = Error::new(ErrorKind::InvalidInput, OPERATION).with_detail(format!(
                "the statement takes {} arguments, and {} are bound",
                statement.arguments(),
                arguments.len()
            ));
            return Err(into_driver_error(error));
        }
        if statement.binds_tenant() {
            arguments
                .add(tenant.as_uuid())
                .map_err(sqlx::Error::Encode)?;
        }
        Ok(Self {
            sql: sqlx::AssertSqlSafe(Arc::clone(statement.text())).into_sql_str(),
            arguments,
            persistent: self.persistent,
        })
    }
}

impl<'w, DB: GuardedDatabase> GuardedExecutor<'w, DB>
where
    uuid::Uuid: for<'t> sqlx::Encode<'t, DB> + sqlx::Type<DB>,
{
    /// Runs a statement; `streams` says that the caller may hold the rows open while it makes
    /// other calls, which are refused then and do not wait.
    fn rows(self, call: Result<Call<DB>, sqlx::Error>, streams: bool) -> Rows<'w, DB> {
        let rows: Rows<'w, DB> = match self.handle {
            Handle::Work(work) => Box::pin(try_stream! {
                let call = call?;
                let locked = match streams {
                    true => work.lock_for_stream(OPERATION).await,
                    false => work.lock(OPERATION).await,
                };
                let mut guard = locked.map_err(into_driver_error)?;
                let store = work.scope().store();
                if call.may_write() {
                    // Dropped from here on it ends the work, as any dropped write does, until it is
                    // known not to write.
                    guard.start_writing();
                }
                let guarded = store
                    .guarded(guard.session(), call.sql.as_str())
                    .await
                    .map_err(into_driver_error)
                    .and_then(|statement| {
                        let call = call.guarded(&statement, work.tenant())?;
                        Ok((statement, call))
                    });
                match &guarded {
                    Ok((statement, _)) if statement.writes() => guard.start_writing(),
                    _ => guard.end_writing(),
                }
                let (statement, call) = guarded?;
                {
                    let mut rows = call.run(guard.session());
                    while let Some(row) = rows.try_next().await.inspect_err(|error| store.take_note(error))? {
                        yield answered::<DB>(&statement, row);
                    }
                }
                guard.finish_tables(statement.written_tables());
            }),
            Handle::Scope(scope) => Box::pin(try_stream! {
                let call = call?;
                let store = scope.store();
                let begin = Begin {
                    operation: OPERATION,
                    tenant: Some(scope.tenant()),
                    // One snapshot for the schema and the statement.
                    access: Access::Read,
                    isolation: None,
                    statement_timeout: store.statement_timeout(),
                };
                let mut may_try_again = true;
                loop {
                    let mut session = store.backend.begin(&begin).await.map_err(into_driver_error)?;
                    let statement = store
                        .guarded(&mut *session, call.sql.as_str())
                        .await
                        .map_err(into_driver_error)?;
                    if statement.writes() {
                        let error = Error::new(ErrorKind::ReadOnly, OPERATION)
                            .with_detail("a scope reads: begin a unit of work to write");
                        Err(into_driver_error(error))?;
                    }
                    let mut rows = call.copy().guarded(&statement, scope.tenant())?.run(&mut *session);
                    let failed = loop {
                        match rows.try_next().await {
                            Ok(Some(row)) => {
                                may_try_again = false;
                                yield answered::<DB>(&statement, row);
                            }
                            Ok(None) => break None,
                            Err(error) => break Some(error),
                        }
                    };
                    drop(rows);
                    let Some(error) = failed else {
                        break;
                    };
                    if !(may_try_again && DB::is_stale(&error)) {
                        store.take_note(&error);
                        Err(error)?;
                    }
                    may_try_again = false;
                    // The connection then prepares its statements anew.
                    let _ = session.rollback().await;
                }
            }),
        };
        let scope = self.scope();
        let rows = UntilError(Some(rows)).boxed();
        scope
            .store()
            .telemetry
            .observe_rows(OPERATION, Some(scope.tenant()), rows)
    }
}

/// Returns the answer of a statement. SQLite tells of one that does not write what the one before has
/// written, whoever sent it.
fn answered<DB: Database>(
    statement: &GuardedStatement,
    step: Either<DB::QueryResult, DB::Row>,
) -> Either<DB::QueryResult, DB::Row> {
    match step {
        Either::Left(_) if !statement.writes() => Either::Left(DB::QueryResult::default()),
        step => step,
    }
}

/// Ends with the first error, and lets go of everything by then: the caller may keep the future.
struct UntilError<S>(Option<S>);

impl<S, T, E> Stream for UntilError<S>
where
    S: Stream<Item = Result<T, E>> + Unpin,
{
    type Item = Result<T, E>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(steps) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let step = ready!(steps.poll_next_unpin(context));
        if !matches!(step, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(step)
    }
}

impl<'w, DB: GuardedDatabase> UnguardedExecutor<'w, DB> {
    fn rows(self, call: Result<Call<DB>, sqlx::Error>, _streams: bool) -> Rows<'w, DB> {
        let store = self.scope.store();
        let rows: Rows<'w, DB> = Box::pin(try_stream! {
            let call = call?;
            self.scope.leave_trace(OPERATION, "", None);
            check_reads::<DB>(call.sql.as_str())?;
            let begin = Begin {
                // Whatever it does is taken back in the end.
                access: Access::Read,
                ..self.scope.begin(OPERATION)
            };
            let mut session = store.backend.begin(&begin).await.map_err(into_driver_error)?;
            let mut rows = call.run(&mut *session);
            while let Some(row) = rows.try_next().await? {
                yield row;
            }
        });
        let rows = UntilError(Some(rows)).boxed();
        store.telemetry.observe_rows(OPERATION, None, rows)
    }
}

/// Refuses what is no read by its first word: what a statement sets or forgets stays on a connection
/// that others use.
fn check_reads<DB: GuardedDatabase>(sql: &str) -> Result<(), sqlx::Error> {
    let begin = |character: char| character.is_whitespace() || character == '(';
    let mut text = sql.trim_start_matches(begin);
    loop {
        let comment = match text.get(..2) {
            Some("--") => text
                .find('\n')
                // Which ends one for PostgreSQL.
                .filter(|end| !text[..*end].trim_end_matches('\r').contains('\r'))
                .map(|end| end + 1),
            Some("/*") => text[2..]
                .find("*/")
                // One in another is one to SQLite and two to PostgreSQL.
                .filter(|end| !text[2..2 + end].contains("/*"))
                .map(|end| end + 4),
            _ => break,
        };
        text = comment.map_or("", |end| text[end..].trim_start_matches(begin));
    }
    let end = text.find(|character: char| !character.is_ascii_alphabetic());
    let word = text[..end.unwrap_or(text.len())].to_ascii_lowercase();
    let reads = ["select", "with", "values", "table", "explain", "show"];
    if reads.contains(&&*word) && DB::is_one_statement(sql) {
        return Ok(());
    }
    let kind = match &*word {
        "insert" | "update" | "delete" | "merge" => ErrorKind::ReadOnly,
        _ => ErrorKind::RefusedStatement,
    };
    Err(into_driver_error(Error::new(kind, OPERATION).with_detail(
        "the platform reads by one SELECT, WITH or EXPLAIN: to write, name a tenant",
    )))
}

/// Makes an executor of a type that has `rows`.
macro_rules! impl_executor {
    ($executor:ident) => {
        impl<'w, DB: GuardedDatabase> sqlx::Executor<'w> for $executor<'w, DB>
        where
            uuid::Uuid: for<'t> sqlx::Encode<'t, DB> + sqlx::Type<DB>,
        {
            type Database = DB;

            fn execute<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxFuture<'e, Result<DB::QueryResult, sqlx::Error>>
            where
                'w: 'e,
                E: 'q + Execute<'q, DB>,
            {
                let steps = self.rows(Call::new(query), false);
                steps
                    .try_filter_map(|step| async move { Ok(step.left()) })
                    .try_collect()
                    .boxed()
            }

            fn fetch_many<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxStream<'e, Result<Either<DB::QueryResult, DB::Row>, sqlx::Error>>
            where
                'w: 'e,
                E: 'q + Execute<'q, DB>,
            {
                self.rows(Call::new(query), true)
            }

            fn fetch_all<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxFuture<'e, Result<Vec<DB::Row>, sqlx::Error>>
            where
                'w: 'e,
                E: 'q + Execute<'q, DB>,
            {
                let steps = self.rows(Call::new(query), false);
                steps
                    .try_filter_map(|step| async move { Ok(step.right()) })
                    .try_collect()
                    .boxed()
            }

            fn fetch_optional<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxFuture<'e, Result<Option<DB::Row>, sqlx::Error>>
            where
                'w: 'e,
                E: 'q + Execute<'q, DB>,
            {
                let mut steps = self.rows(Call::new(query), false);
                async move {
                    // To the end: a constraint may refuse the statement after its first row.
                    let mut first = None;
                    while let Some(step) = steps.try_next().await? {
                        first = first.or(step.right());
                    }
                    Ok(first)
                }
                .boxed()
            }

            fn prepare_with<'e>(
                self,
                _: SqlStr,
                _: &'e [DB::TypeInfo],
            ) -> BoxFuture<'e, Result<DB::Statement, sqlx::Error>>
            where
                'w: 'e,
            {
                async { Err(refused("prepare")) }.boxed()
            }

            // The trait has it with the feature `offline`, which either driver turns on here.
            #[doc(hidden)]
            #[cfg(any(feature = "postgres", feature = "sqlite"))]
            fn describe<'e>(
                self,
                _: SqlStr,
            ) -> BoxFuture<'e, Result<sqlx::Describe<DB>, sqlx::Error>>
            where
                'w: 'e,
            {
                async { Err(refused("describe")) }.boxed()
            }
        }
    };
}

impl_executor!(GuardedExecutor);
impl_executor!(UnguardedExecutor);

fn refused(construct: &'static str) -> sqlx::Error {
    into_driver_error(
        Error::new(ErrorKind::RefusedStatement, OPERATION)
            .with_subject(construct)
            .with_detail("pass sqlx::query, query_as or query_scalar with its arguments"),
    )
}

/// An error of ours, as sqlx carries it to the caller.
#[derive(Debug)]
pub(super) struct Carried(pub(super) Error);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Carried {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl DatabaseError for Carried {
    fn message(&self) -> &str {
        self.0.kind().as_str()
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> DriverErrorKind {
        DriverErrorKind::Other
    }
}

/// Lets sqlx carry an error of ours.
pub(crate) fn into_driver_error(error: Error) -> sqlx::Error {
    sqlx::Error::Database(Box::new(Carried(error)))
}

/// What the spans and errors of hand-written statements call them.
pub(super) const OPERATION: &str = "sqlx";
