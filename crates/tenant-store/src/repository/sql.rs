use std::fmt;
use std::fmt::Display;
use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_core::stream::BoxStream;
use futures_util::TryStreamExt as _;
use tenantry_core::{Error, ErrorKind, Result, TenantId};

use super::{Repository, ext::not_found};
use crate::aggregate::{Aggregate, Version};
use crate::backend::{Access, ArgumentSink, Begin, Bind, Session, Statement};
use crate::query::{
    Assignment, Bookmark, Changes, Cursor, Direction, Expression, Filter, Page, Query,
    QueryIdentity, TOO_MANY_CONDITIONS,
};
use crate::scope::TenantScope;
use crate::statement::{BulkUpdate, DynamicStatement, ListRequest, Plan, Reading};
use crate::store::PlannedAggregate;
use crate::value::{ColumnValue as _, Row, Value, ValueError};
use crate::work::{ChangeKind, ChangedRow, Rider, UnitOfWork, WorkGuard};

/// The repository of an aggregate in a SQL database, in a scope or inside a unit of work.
///
/// Made by [`TenantScope::repository`] and [`UnitOfWork::repository`]. In a scope each call is a
/// transaction of its own; in a unit of work all calls share its transaction, one after another.
///
/// # Isolation
///
/// Every statement carries the tenant; on PostgreSQL the transaction does too, and row-level
/// security compares the two.
pub struct SqlRepository<'w, A> {
    handle: Handle<'w>,
    planned: Arc<PlannedAggregate>,
    marker: PhantomData<fn() -> A>,
}

#[derive(Clone)]
enum Handle<'w> {
    Scope(TenantScope),
    Work(&'w UnitOfWork),
}

/// The largest number of rows that a bulk call takes or changes.
const MAX_BULK: u32 = 10_000;

impl<'w, A: Aggregate> SqlRepository<'w, A> {
    pub(crate) fn in_scope(scope: TenantScope) -> Self {
        let planned = scope.store().planned::<A>();
        Self {
            handle: Handle::Scope(scope),
            planned,
            marker: PhantomData,
        }
    }

    pub(crate) fn in_work(work: &'w UnitOfWork) -> Self {
        let planned = work.scope().store().planned::<A>();
        Self {
            handle: Handle::Work(work),
            planned,
            marker: PhantomData,
        }
    }

    fn scope(&self) -> &TenantScope {
        match &self.handle {
            Handle::Scope(scope) => scope,
            Handle::Work(work) => work.scope(),
        }
    }

    fn plan(&self) -> &Plan {
        &self.planned.plan
    }

    async fn observe<T>(
        &self,
        operation: &'static str,
        future: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let telemetry = &self.scope().store().telemetry;
        telemetry
            .observe(
                operation,
                A::DESCRIPTOR.table(),
                Some(self.tenant()),
                future,
            )
            .await
    }

    /// Runs a statement that reads: by itself in a scope, in its transaction in a unit of work.
    async fn read(
        &self,
        statement: &Statement<'_>,
        each: &mut crate::backend::Each<'_>,
    ) -> Result<()> {
        match &self.handle {
            Handle::Scope(scope) if self.planned.is_verified() => {
                let begin = begin(scope, statement.operation, Access::ReadOne);
                scope.store().backend.read(&begin, statement, each).await
            }
            _ => {
                let mut opened = self.open(statement.operation, Access::ReadOne).await?;
                opened.session().fetch(statement, each).await
            }
        }
    }

    async fn read_by_id(
        &self,
        operation: &'static str,
        reading: &Reading,
        id: &A::Id,
        each: &mut crate::backend::Each<'_>,
    ) -> Result<()> {
        let bind = self.bind_id(id);
        let statement = Statement {
            entering: reading.entering.as_ref(),
            ..Self::statement(operation, Some(id), &reading.sql, &bind)
        };
        self.read(&statement, each).await
    }

    async fn read_dynamic(
        &self,
        operation: &'static str,
        dynamic: &DynamicStatement,
        each: &mut crate::backend::Each<'_>,
    ) -> Result<()> {
        let bind = |sink: &mut dyn ArgumentSink| dynamic.bind(sink);
        let statement = Self::statement(operation, None, &dynamic.sql, &bind);
        self.read(&statement, each).await
    }

    async fn open(&self, operation: &'static str, access: Access) -> Result<Opened<'_>> {
        let mut opened = match &self.handle {
            Handle::Scope(scope) => {
                let begin = begin(scope, operation, access);
                Opened::Own(scope.store().backend.begin(&begin).await?, scope)
            }
            Handle::Work(work) => Opened::Work(work.lock(operation).await?),
        };
        self.planned.verify(opened.session()).await?;
        if access == Access::Write
            && let Opened::Work(guard) = &mut opened
        {
            guard.start_writing();
        }
        Ok(opened)
    }

    async fn open_stream(&self) -> Result<Opened<'_>> {
        let Handle::Work(work) = &self.handle else {
            return self.open("stream", Access::ReadOne).await;
        };
        let mut opened = Opened::Work(work.lock_for_stream("stream").await?);
        self.planned.verify(opened.session()).await?;
        Ok(opened)
    }

    /// Describes changed rows, if anybody wants to know.
    fn changed<'a>(
        &self,
        kind: ChangeKind,
        rows: impl IntoIterator<Item = (&'a A::Id, Option<Version>)>,
    ) -> Vec<ChangedRow> {
        if !self.scope().store().notes_changes() {
            return Vec::new();
        }
        let table = A::DESCRIPTOR.table();
        rows.into_iter()
            .map(|(id, version)| ChangedRow::new(table, id.to_string(), kind, version))
            .collect()
    }

    fn stamp(&self) -> Stamp {
        let context = self.scope().context();
        Stamp {
            at: Value::Timestamp(self.scope().store().clock.now()),
            by: Value::Text(context.actor().as_str().to_owned()),
            trace: context
                .trace()
                .map_or(Value::Null(crate::value::ColumnType::Text), |trace| {
                    Value::Text(trace.trace_id_hex())
                }),
        }
    }

    fn statement<'a>(
        operation: &'static str,
        key: Option<&'a (dyn Display + Send + Sync)>,
        sql: &'a Arc<str>,
        bind: &'a Bind<'a>,
    ) -> Statement<'a> {
        Statement {
            operation,
            descriptor: A::DESCRIPTOR,
            key,
            sql,
            entering: None,
            bind,
        }
    }

    /// Writes the arguments of the statements that have no others: the tenant and the identifier.
    fn bind_id<'a>(
        &self,
        id: &'a A::Id,
    ) -> impl Fn(&mut dyn ArgumentSink) -> Result<(), ValueError> + Send + Sync + use<'a, A> {
        let tenant = self.tenant();
        move |sink| {
            sink.uuid(tenant.as_uuid())?;
            id.write(sink)
        }
    }

    /// Runs a statement that was written for this call.
    async fn fetch_dynamic(
        &self,
        session: &mut dyn Session,
        operation: &'static str,
        dynamic: &DynamicStatement,
        each: &mut crate::backend::Each<'_>,
    ) -> Result<()> {
        let bind = |sink: &mut dyn ArgumentSink| dynamic.bind(sink);
        session
            .fetch(&Self::statement(operation, None, &dynamic.sql, &bind), each)
            .await
    }

    /// Tells why a write found no row to change: it is not there, or it has moved on.
    async fn why_nothing_changed(
        &self,
        session: &mut dyn Session,
        operation: &'static str,
        id: &A::Id,
        expected: Option<Version>,
    ) -> Result<Error> {
        let mut found = None;
        let bind = self.bind_id(id);
        let probe = Self::statement(operation, Some(id), &self.plan().probe, &bind);
        session
            .fetch(&probe, &mut |row| {
                found = Some((row.integer(0)?.unwrap_or(0), row.integer(1)? == Some(1)));
                Ok(())
            })
            .await?;
        Ok(match found {
            None => not_found::<A>(operation, id),
            Some((_, true)) if expected.is_none() => not_found::<A>(operation, id),
            Some((_, true)) => conflict::<A>(operation, id, "the row is marked as deleted"),
            Some((stored, false)) if expected.is_none_or(|version| version.get() == stored) => {
                Error::new(ErrorKind::ConstraintViolated, operation)
                    .with_subject(format!("{} {id}", A::DESCRIPTOR.table()))
                    .with_detail(SUPPRESSED)
            }
            Some((stored, false)) => conflict::<A>(
                operation,
                id,
                format!(
                    "the row has version {stored}, not {}: read it again",
                    expected.unwrap_or(Version::NEW)
                ),
            ),
        })
    }

    /// Runs a write, and what goes along with it.
    async fn execute(
        &self,
        session: &mut dyn Session,
        statement: &Statement<'_>,
        rider: Option<&Rider>,
    ) -> Result<u64> {
        match rider {
            None => session.execute(statement).await,
            #[cfg(feature = "own-tables")]
            Some(rider) => {
                let texts = &self.scope().store().joined;
                rider.execute(texts, session, statement).await
            }
            #[cfg(not(feature = "own-tables"))]
            Some(never) => match *never {},
        }
    }

    /// Inserts, and writes what goes along with it.
    pub(crate) async fn insert_with(&self, aggregate: &mut A, rider: Option<&Rider>) -> Result<()> {
        self.observe("insert", async {
            let mut opened = self.open("insert", Access::Write).await?;
            let result = self.insert_in(opened.session(), aggregate, rider).await;
            opened.close(result).await?;
            aggregate.set_version(Version::NEW.next());
            Ok(())
        })
        .await
    }

    /// Updates, and writes what goes along with it.
    pub(crate) async fn update_with(&self, aggregate: &mut A, rider: Option<&Rider>) -> Result<()> {
        self.observe("update", async {
            let mut opened = self.open("update", Access::Write).await?;
            let result = self.update_in(opened.session(), "update", aggregate, rider);
            let result = result.await;
            let version = opened.close(result).await?;
            aggregate.set_version(version);
            Ok(())
        })
        .await
    }

    async fn insert_in(
        &self,
        session: &mut dyn Session,
        aggregate: &A,
        rider: Option<&Rider>,
    ) -> Result<((), Vec<ChangedRow>)> {
        let bind = self.bind_new(aggregate);
        let sql = &self.plan().insert;
        let statement = Self::statement("insert", Some(aggregate.id()), sql, &bind);
        if self.execute(session, &statement, rider).await? != 1 {
            return Err(suppressed(&statement));
        }
        let first = Version::NEW.next();
        Ok((
            (),
            self.changed(ChangeKind::Inserted, [(aggregate.id(), Some(first))]),
        ))
    }

    /// Writes the arguments of a new row: the tenant, the columns at version 1, the stamp.
    fn bind_new<'a>(
        &self,
        aggregate: &'a A,
    ) -> impl Fn(&mut dyn ArgumentSink) -> Result<(), ValueError> + Send + Sync + 'a {
        let tenant = self.tenant();
        let stamp = self.stamp();
        move |sink| {
            sink.uuid(tenant.as_uuid())?;
            for index in 0..A::DESCRIPTOR.columns().len() {
                if Some(index) == A::DESCRIPTOR.version() {
                    Version::NEW.next().write(sink)?;
                } else {
                    aggregate.write(index, sink)?;
                }
            }
            if A::DESCRIPTOR.is_audited() {
                stamp.write(sink)
            } else {
                Ok(())
            }
        }
    }

    async fn insert_many_in(
        &self,
        session: &mut dyn Session,
        aggregates: &[A],
    ) -> Result<((), Vec<ChangedRow>)> {
        let tenant = self.tenant();
        let stamp = self.stamp();
        let rows_per_statement = self.plan().rows_per_insert();
        if aggregates.len() > rows_per_statement {
            // A value that cannot be stored must be found before the first statement is sent.
            check_values(aggregates)?;
        }
        let mut whole: Option<Arc<str>> = None;
        for rows in aggregates.chunks(rows_per_statement) {
            let sql = match &whole {
                Some(sql) if rows.len() == rows_per_statement => Arc::clone(sql),
                _ => self.plan().insert_many(rows.len()),
            };
            let shared = |sink: &mut dyn ArgumentSink| {
                sink.uuid(tenant.as_uuid())?;
                if A::DESCRIPTOR.is_audited() {
                    stamp.write(sink)
                } else {
                    Ok(())
                }
            };
            let bind = |sink: &mut dyn ArgumentSink| self.plan().bind_many(sink, rows, &shared);
            let statement = Self::statement("insert_many", None, &sql, &bind);
            if session.execute(&statement).await? != rows.len() as u64 {
                return Err(suppressed(&statement));
            }
            whole.get_or_insert(sql);
        }
        let first = Some(Version::NEW.next());
        let ids = aggregates.iter().map(|aggregate| (aggregate.id(), first));
        Ok(((), self.changed(ChangeKind::Inserted, ids)))
    }

    async fn update_in(
        &self,
        session: &mut dyn Session,
        operation: &'static str,
        aggregate: &A,
        rider: Option<&Rider>,
    ) -> Result<(Version, Vec<ChangedRow>)> {
        let tenant = self.tenant();
        let stamp = self.stamp();
        let descriptor = A::DESCRIPTOR;
        let bind = |sink: &mut dyn ArgumentSink| {
            sink.uuid(tenant.as_uuid())?;
            aggregate.id().write(sink)?;
            if descriptor.version().is_some() {
                aggregate.version().write(sink)?;
            }
            for index in 0..descriptor.columns().len() {
                if index != descriptor.id() && Some(index) != descriptor.version() {
                    aggregate.write(index, sink)?;
                }
            }
            if descriptor.is_audited() {
                stamp.write(sink)
            } else {
                Ok(())
            }
        };
        let sql = &self.plan().update;
        let statement = Self::statement(operation, Some(aggregate.id()), sql, &bind);
        if self.execute(session, &statement, rider).await? == 0 {
            let expected = Some(aggregate.version());
            return Err(self
                .why_nothing_changed(session, operation, aggregate.id(), expected)
                .await?);
        }
        let version = aggregate.version().next();
        let known = descriptor.version().map(|_| version);
        Ok((
            version,
            self.changed(ChangeKind::Updated, [(aggregate.id(), known)]),
        ))
    }

    async fn upsert_in(
        &self,
        session: &mut dyn Session,
        aggregate: &A,
    ) -> Result<(Version, Vec<ChangedRow>)> {
        if A::DESCRIPTOR.version().is_some() && !aggregate.version().is_new() {
            return self.update_in(session, "upsert", aggregate, None).await;
        }
        let bind = self.bind_new(aggregate);
        let sql = &self.plan().upsert;
        let statement = Self::statement("upsert", Some(aggregate.id()), sql, &bind);
        let mut stored = None;
        session
            .fetch(&statement, &mut |row| {
                stored = row.integer(0)?.map(Version::new);
                Ok(())
            })
            .await?;
        let Some(version) = stored else {
            if !A::DESCRIPTOR.is_soft_deleted() {
                return Err(suppressed(&statement));
            }
            let detail = "the row is marked as deleted: restore it first";
            return Err(conflict::<A>("upsert", aggregate.id(), detail));
        };
        let known = A::DESCRIPTOR.version().map(|_| version);
        Ok((
            version,
            self.changed(ChangeKind::Upserted, [(aggregate.id(), known)]),
        ))
    }

    async fn delete_in(
        &self,
        session: &mut dyn Session,
        id: &A::Id,
        expected: Option<Version>,
    ) -> Result<((), Vec<ChangedRow>)> {
        let tenant = self.tenant();
        let stamp = self.stamp();
        let expected = expected.filter(|_| A::DESCRIPTOR.version().is_some());
        let bind = |sink: &mut dyn ArgumentSink| {
            sink.uuid(tenant.as_uuid())?;
            id.write(sink)?;
            if let Some(version) = expected {
                version.write(sink)?;
            }
            if A::DESCRIPTOR.is_soft_deleted() {
                stamp.at.write(sink)?;
                stamp.by.write(sink)?;
                if A::DESCRIPTOR.is_audited() {
                    stamp.trace.write(sink)?;
                }
            }
            Ok(())
        };
        let sql = match expected {
            Some(_) => &self.plan().delete_version,
            None => &self.plan().delete,
        };
        if session
            .execute(&Self::statement("delete", Some(id), sql, &bind))
            .await?
            == 0
        {
            return Err(self
                .why_nothing_changed(session, "delete", id, expected)
                .await?);
        }
        Ok(((), self.changed(ChangeKind::Deleted, [(id, None)])))
    }

    async fn change_where_in(
        &self,
        session: &mut dyn Session,
        operation: &'static str,
        dynamic: &DynamicStatement,
        kind: ChangeKind,
    ) -> Result<(u64, Vec<ChangedRow>)> {
        let mut count = 0;
        let mut ids: Vec<A::Id> = Vec::new();
        let listening = self.scope().store().notes_changes();
        let mut unreadable = None;
        self.fetch_dynamic(session, operation, dynamic, &mut |row| {
            count += 1;
            if listening {
                match A::Id::read(row, 0) {
                    Ok(id) => ids.push(id),
                    Err(error) => unreadable = Some(error.at(A::DESCRIPTOR.id())),
                }
            }
            Ok(())
        })
        .await?;
        if let Some(error) = unreadable {
            // The rows are changed, and nobody could be told of it: the change is given up.
            return Err(Error::new(ErrorKind::SchemaMismatch, operation)
                .with_subject(A::DESCRIPTOR.table())
                .with_detail(
                    "a row that it changes has an identifier of another form than the struct's",
                )
                .with_source(error));
        }
        Ok((count, self.changed(kind, ids.iter().map(|id| (id, None)))))
    }

    async fn restore_in(
        &self,
        session: &mut dyn Session,
        id: &A::Id,
    ) -> Result<((), Vec<ChangedRow>)> {
        let tenant = self.tenant();
        let stamp = self.stamp();
        let bind = |sink: &mut dyn ArgumentSink| {
            sink.uuid(tenant.as_uuid())?;
            id.write(sink)?;
            if A::DESCRIPTOR.is_audited() {
                stamp.write(sink)
            } else {
                Ok(())
            }
        };
        let sql = &self.plan().restore;
        if session
            .execute(&Self::statement("restore", Some(id), sql, &bind))
            .await?
            == 0
        {
            return Err(not_found::<A>("restore", id));
        }
        Ok(((), self.changed(ChangeKind::Restored, [(id, None)])))
    }

    async fn list_in(&self, query: Query<A>) -> Result<Page<A>> {
        let limit = check_limit::<A>("list", query.limit, Query::<A>::MAX_LIMIT)?;
        let filter = expression("list", query.filter)?;
        let sort = sort_keys::<A>("list", &query.sort)?;
        let identity = QueryIdentity::new(
            self.tenant(),
            A::DESCRIPTOR.table(),
            &filter,
            query.deleted,
            &sort,
        );
        let cursor_key = &self.scope().store().cursor_key;
        let bookmark = match &query.cursor {
            Some(cursor) => Some(identity.open(cursor_key, cursor, &column_types::<A>(&sort))?),
            None => None,
        };
        let dynamic = self.plan().list(&ListRequest {
            tenant: Some(self.tenant()),
            filter: &filter,
            deleted: query.deleted,
            sort: &sort,
            bookmark: bookmark.as_ref(),
            limit: Some(u64::from(limit) + 1),
        });
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut items: Vec<A> = Vec::with_capacity(limit.min(1_024));
        self.read_dynamic("list", &dynamic, &mut |row| {
            items.push(A::read(row)?);
            Ok(())
        })
        .await?;

        let more = items.len() > limit;
        items.truncate(limit);
        let backward = bookmark.as_ref().is_some_and(|bookmark| bookmark.backward);
        if backward {
            items.reverse();
        }
        if let (true, Some(place)) = (items.is_empty(), &bookmark) {
            // What was behind the cursor is gone since: the way back begins at the cursor itself.
            let back = identity.seal(cursor_key, &place.turned());
            let (next, previous) = if backward {
                (Some(back), None)
            } else {
                (None, Some(back))
            };
            return Ok(Page::new(items, next, previous));
        }
        let seal = |item: Option<&A>, backward| -> Result<Option<Cursor>> {
            let Some(item) = item else { return Ok(None) };
            let values = sort
                .iter()
                .map(|(column, _)| Value::capture(|sink| item.write(*column, sink)))
                .collect::<Result<_, _>>()
                .map_err(|error| value_error::<A>("list", &error))?;
            Ok(Some(
                identity.seal(cursor_key, &Bookmark::behind(backward, values)),
            ))
        };
        let has_next = if backward { true } else { more };
        let has_previous = if backward { more } else { bookmark.is_some() };
        let next = if has_next {
            seal(items.last(), false)?
        } else {
            None
        };
        let previous = if has_previous {
            seal(items.first(), true)?
        } else {
            None
        };
        Ok(Page::new(items, next, previous))
    }
}

#[async_trait]
impl<A: Aggregate> Repository<A> for SqlRepository<'_, A> {
    fn tenant(&self) -> TenantId {
        self.scope().tenant()
    }

    async fn find(&self, id: &A::Id) -> Result<Option<A>> {
        self.observe("find", async {
            let mut found = None;
            self.read_by_id("find", &self.plan().find, id, &mut |row| {
                found = Some(A::read(row)?);
                Ok(())
            })
            .await?;
            Ok(found)
        })
        .await
    }

    async fn get_many(&self, ids: &[A::Id]) -> Result<Vec<A>> {
        self.observe("get_many", async {
            if ids.is_empty() {
                return Ok(Vec::new());
            }
            if u32::try_from(ids.len()).map_or(true, |count| count > MAX_BULK) {
                return Err(invalid_input::<A>(
                    "get_many",
                    "at most 10,000 identifiers can be read at once: split them",
                ));
            }
            let values = ids
                .iter()
                .map(Value::of)
                .collect::<Result<_, _>>()
                .map_err(|error| value_error::<A>("get_many", &error.at(A::DESCRIPTOR.id())))?;
            let dynamic = self.plan().get_many(self.tenant(), values);
            let mut found = Vec::with_capacity(ids.len());
            self.read_dynamic("get_many", &dynamic, &mut |row| {
                found.push(A::read(row)?);
                Ok(())
            })
            .await?;
            Ok(found)
        })
        .await
    }

    async fn exists(&self, id: &A::Id) -> Result<bool> {
        self.observe("exists", async {
            let mut found = false;
            self.read_by_id("exists", &self.plan().exists, id, &mut |_| {
                found = true;
                Ok(())
            })
            .await?;
            Ok(found)
        })
        .await
    }

    async fn count(&self, filter: Filter<A>) -> Result<u64> {
        self.observe("count", async {
            let filter = expression("count", filter)?;
            let dynamic =
                self.plan()
                    .count(Some(self.tenant()), &filter, crate::query::Deleted::Exclude);
            let mut count = 0;
            let mut opened = self.open("count", Access::ReadOne).await?;
            self.fetch_dynamic(opened.session(), "count", &dynamic, &mut |row| {
                count = row
                    .integer(0)?
                    .and_then(|count| u64::try_from(count).ok())
                    .unwrap_or(0);
                Ok(())
            })
            .await?;
            Ok(count)
        })
        .await
    }

    async fn list(&self, query: Query<A>) -> Result<Page<A>> {
        self.observe("list", self.list_in(query)).await
    }

    fn stream(&self, query: Query<A>) -> BoxStream<'_, Result<A>> {
        let stream = Box::pin(async_stream::try_stream! {
            let filter = expression("stream", query.filter)?;
            let sort = sort_keys::<A>("stream", &query.sort)?;
            if query.cursor.is_some() {
                Err(invalid_input::<A>("stream", "a stream begins at the first row: leave the cursor out"))?;
            }
            let dynamic = self.plan().list(&ListRequest {
                tenant: Some(self.tenant()),
                filter: &filter,
                deleted: query.deleted,
                sort: &sort,
                bookmark: None,
                limit: None,
            });
            let bind = |sink: &mut dyn ArgumentSink| dynamic.bind(sink);
            let statement = Self::statement("stream", None, &dynamic.sql, &bind);
            let mut opened = self.open_stream().await?;
            let mut rows = opened.session().stream(&statement);
            while let Some(row) = rows.try_next().await? {
                let item = read_row::<A>(&*row).map_err(|error| value_error::<A>("stream", &error))?;
                drop(row);
                yield item;
            }
        });
        let telemetry = &self.scope().store().telemetry;
        telemetry.observe_stream("stream", A::DESCRIPTOR.table(), Some(self.tenant()), stream)
    }

    async fn insert(&self, aggregate: &mut A) -> Result<()> {
        self.insert_with(aggregate, None).await
    }

    async fn insert_many(&self, aggregates: &mut [A]) -> Result<()> {
        self.observe("insert_many", async {
            if aggregates.is_empty() {
                return Ok(());
            }
            let mut opened = self.open("insert_many", Access::Write).await?;
            let result = self.insert_many_in(opened.session(), aggregates).await;
            opened.close(result).await?;
            for aggregate in aggregates {
                aggregate.set_version(Version::NEW.next());
            }
            Ok(())
        })
        .await
    }

    async fn update(&self, aggregate: &mut A) -> Result<()> {
        self.update_with(aggregate, None).await
    }

    async fn delete_by_id(&self, id: &A::Id, expected: Option<Version>) -> Result<()> {
        self.observe("delete", async {
            let mut opened = self.open("delete", Access::Write).await?;
            let result = self.delete_in(opened.session(), id, expected).await;
            opened.close(result).await
        })
        .await
    }

    async fn upsert(&self, aggregate: &mut A) -> Result<()> {
        self.observe("upsert", async {
            let mut opened = self.open("upsert", Access::Write).await?;
            let result = self.upsert_in(opened.session(), aggregate).await;
            let version = opened.close(result).await?;
            aggregate.set_version(version);
            Ok(())
        })
        .await
    }

    async fn update_where(
        &self,
        filter: Filter<A>,
        changes: Changes<A>,
        limit: u32,
    ) -> Result<u64> {
        self.observe("update_where", async {
            let limit = check_limit::<A>("update_where", limit, MAX_BULK)?;
            let filter = expression("update_where", filter)?;
            let assignments = assignments::<A>(changes)?;
            let Stamp { at, by, trace } = self.stamp();
            let update = BulkUpdate {
                assignments: &assignments,
                delete: false,
                at,
                by,
                trace,
            };
            let dynamic =
                self.plan()
                    .update_where(self.tenant(), &filter, u64::from(limit), &update);
            let mut opened = self.open("update_where", Access::Write).await?;
            let session = opened.session();
            let result = self
                .change_where_in(session, "update_where", &dynamic, ChangeKind::Updated)
                .await;
            opened.close(result).await
        })
        .await
    }

    async fn delete_where(&self, filter: Filter<A>, limit: u32) -> Result<u64> {
        self.observe("delete_where", async {
            let limit = u64::from(check_limit::<A>("delete_where", limit, MAX_BULK)?);
            let filter = expression("delete_where", filter)?;
            let dynamic = if A::DESCRIPTOR.is_soft_deleted() {
                let Stamp { at, by, trace } = self.stamp();
                let update = BulkUpdate {
                    assignments: &[],
                    delete: true,
                    at,
                    by,
                    trace,
                };
                self.plan()
                    .update_where(self.tenant(), &filter, limit, &update)
            } else {
                self.plan().delete_where(self.tenant(), &filter, limit)
            };
            let mut opened = self.open("delete_where", Access::Write).await?;
            let session = opened.session();
            let result = self
                .change_where_in(session, "delete_where", &dynamic, ChangeKind::Deleted)
                .await;
            opened.close(result).await
        })
        .await
    }

    async fn restore(&self, id: &A::Id) -> Result<()> {
        self.observe("restore", async {
            check_soft_delete::<A>("restore")?;
            let mut opened = self.open("restore", Access::Write).await?;
            let result = self.restore_in(opened.session(), id).await;
            opened.close(result).await
        })
        .await
    }

    async fn purge(&self, deleted_before: DateTime<Utc>, limit: u32) -> Result<u64> {
        self.observe("purge", async {
            check_soft_delete::<A>("purge")?;
            let limit = u64::from(check_limit::<A>("purge", limit, MAX_BULK)?);
            let deleted_before =
                Value::of(&deleted_before).map_err(|error| value_error::<A>("purge", &error))?;
            let dynamic = self.plan().purge(self.tenant(), deleted_before, limit);
            let mut opened = self.open("purge", Access::Write).await?;
            let session = opened.session();
            let result = self
                .change_where_in(session, "purge", &dynamic, ChangeKind::Purged)
                .await;
            opened.close(result).await
        })
        .await
    }
}

impl<A> Clone for SqlRepository<'_, A> {
    fn clone(&self) -> Self {
        Self {
            handle: self.handle.clone(),
            planned: Arc::clone(&self.planned),
            marker: PhantomData,
        }
    }
}

impl<A: Aggregate> fmt::Debug for SqlRepository<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlRepository")
            .field("table", &A::DESCRIPTOR.table())
            .field("tenant", &self.tenant())
            .finish_non_exhaustive()
    }
}

/// Says what one call of a repository in a scope opens a session for.
fn begin(scope: &TenantScope, operation: &'static str, access: Access) -> Begin {
    Begin {
        operation,
        tenant: Some(scope.tenant()),
        access,
        isolation: None,
        statement_timeout: scope.store().statement_timeout(),
    }
}

/// The session of one call: its own transaction, or that of the unit of work.
enum Opened<'r> {
    Own(Box<dyn Session>, &'r TenantScope),
    Work(WorkGuard<'r>),
}

impl Opened<'_> {
    fn session(&mut self) -> &mut dyn Session {
        match self {
            Self::Own(session, _) => &mut **session,
            Self::Work(guard) => guard.session(),
        }
    }

    /// Ends a write: commits, or gives up, what is its own.
    async fn close<T>(self, result: Result<(T, Vec<ChangedRow>)>) -> Result<T> {
        match self {
            Self::Own(session, scope) => {
                let (value, rows) = result?;
                UnitOfWork::commit_session(scope.clone(), session, rows).await?;
                Ok(value)
            }
            Self::Work(guard) => match result {
                Ok((value, rows)) => {
                    guard.finish(rows);
                    Ok(value)
                }
                Err(error) => {
                    if is_answer(error.kind()) {
                        guard.finish(Vec::new());
                    }
                    // Otherwise something may have been done before the error: the guard, dropped
                    // unfinished, ends the work.
                    Err(error)
                }
            },
        }
    }
}

/// Returns whether a write that fails so has done nothing: it was refused before it was sent, or
/// found no row to change.
const fn is_answer(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::InvalidValue
            | ErrorKind::InvalidInput
            | ErrorKind::Unsupported
    )
}

const SUPPRESSED: &str = "the database took the statement and kept fewer rows: a trigger or a conflict clause of the \
     table suppressed the write";

/// What the database took without an error, and did not do.
fn suppressed(statement: &Statement<'_>) -> Error {
    statement
        .error(ErrorKind::ConstraintViolated)
        .with_detail(SUPPRESSED)
}

/// Finds a value that cannot be stored, as binding it would.
fn check_values<A: Aggregate>(aggregates: &[A]) -> Result<()> {
    for aggregate in aggregates {
        for column in 0..A::DESCRIPTOR.columns().len() {
            Value::capture(|sink| aggregate.write(column, sink))
                .map_err(|error| value_error::<A>("insert_many", &error.at(column)))?;
        }
    }
    Ok(())
}

/// Who writes, and when; the columns of the audit.
struct Stamp {
    at: Value,
    by: Value,
    trace: Value,
}

impl Stamp {
    fn write(&self, sink: &mut dyn ArgumentSink) -> Result<(), ValueError> {
        self.at.write(sink)?;
        self.by.write(sink)?;
        self.trace.write(sink)
    }
}

// A function of its own: `dyn Row` must not live in the state of the stream.
fn read_row<A: Aggregate>(row: &dyn Row) -> Result<A, ValueError> {
    A::read(row)
}

pub(crate) fn expression<A: Aggregate>(
    operation: &'static str,
    filter: Filter<A>,
) -> Result<Expression> {
    let expression = filter.expression.map_err(|error| {
        if error == TOO_MANY_CONDITIONS {
            invalid_input::<A>(operation, format!("the filter {}", error.reason()))
        } else {
            value_error::<A>(operation, &error)
        }
    })?;
    let (_, values) = expression.size();
    if values > Expression::MAX_VALUES {
        return Err(invalid_input::<A>(
            operation,
            format!(
                "a filter compares with at most {} values, not {values}",
                Expression::MAX_VALUES
            ),
        ));
    }
    Ok(expression)
}

/// Returns the sort keys of a query, up to and with the identifier, which makes the order total.
fn sort_keys<A: Aggregate>(
    operation: &'static str,
    sort: &[crate::query::Sort<A>],
) -> Result<Vec<(usize, Direction)>> {
    let id = A::DESCRIPTOR.id();
    let mut keys: Vec<(usize, Direction)> = Vec::with_capacity(sort.len() + 1);
    for key in sort {
        let column = &A::DESCRIPTOR.columns()[key.column];
        if !column.column_type().is_ordered() {
            return Err(invalid_input::<A>(
                operation,
                format!(
                    "column {} holds JSON, which has no order to sort by",
                    column.name()
                ),
            ));
        }
        if keys.iter().all(|(column, _)| *column != key.column) {
            keys.push((key.column, key.direction));
        }
        if key.column == id {
            return Ok(keys);
        }
    }
    let direction = keys.last().map_or(Direction::Ascending, |key| key.1);
    keys.push((id, direction));
    Ok(keys)
}

fn column_types<A: Aggregate>(sort: &[(usize, Direction)]) -> Vec<crate::value::ColumnType> {
    sort.iter()
        .map(|(column, _)| A::DESCRIPTOR.columns()[*column].column_type())
        .collect()
}

fn assignments<A: Aggregate>(changes: Changes<A>) -> Result<Vec<(usize, Assignment)>> {
    if changes.changes.is_empty() {
        return Err(invalid_input::<A>(
            "update_where",
            "nothing to change: set a column",
        ));
    }
    let mut assignments: Vec<(usize, Assignment)> = Vec::with_capacity(changes.changes.len());
    for change in changes.changes {
        let name = A::DESCRIPTOR.column_name(change.column);
        if change.column == A::DESCRIPTOR.id() || Some(change.column) == A::DESCRIPTOR.version() {
            return Err(invalid_input::<A>(
                "update_where",
                format!("column {name} is kept by the store and cannot be set"),
            ));
        }
        if assignments
            .iter()
            .any(|(column, _)| *column == change.column)
        {
            return Err(invalid_input::<A>(
                "update_where",
                format!("column {name} is changed twice"),
            ));
        }
        let assignment = change
            .assignment
            .map_err(|error| value_error::<A>("update_where", &error.at(change.column)))?;
        assignments.push((change.column, assignment));
    }
    Ok(assignments)
}

fn check_soft_delete<A: Aggregate>(operation: &'static str) -> Result<()> {
    if A::DESCRIPTOR.is_soft_deleted() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unsupported, operation)
        .with_subject(A::DESCRIPTOR.table())
        .with_detail("the aggregate has no soft delete: add #[aggregate(soft_delete)]"))
}

fn check_limit<A: Aggregate>(operation: &'static str, limit: u32, most: u32) -> Result<u32> {
    if (1..=most).contains(&limit) {
        Ok(limit)
    } else {
        Err(invalid_input::<A>(
            operation,
            format!("the limit must be from 1 to {most}, not {limit}"),
        ))
    }
}

fn invalid_input<A: Aggregate>(
    operation: &'static str,
    detail: impl Into<std::borrow::Cow<'static, str>>,
) -> Error {
    Error::new(ErrorKind::InvalidInput, operation)
        .with_subject(A::DESCRIPTOR.table())
        .with_detail(detail)
}

fn conflict<A: Aggregate>(
    operation: &'static str,
    id: &A::Id,
    detail: impl Into<std::borrow::Cow<'static, str>>,
) -> Error {
    Error::new(ErrorKind::Conflict, operation)
        .with_subject(format!("{} {id}", A::DESCRIPTOR.table()))
        .with_detail(detail)
}

fn value_error<A: Aggregate>(operation: &'static str, error: &ValueError) -> Error {
    let error_of_kind =
        Error::new(ErrorKind::InvalidValue, operation).with_subject(A::DESCRIPTOR.table());
    match error.column() {
        Some(column) => error_of_kind.with_detail(format!(
            "column {} {}",
            A::DESCRIPTOR.column_name(column),
            error.reason()
        )),
        None => error_of_kind.with_detail(error.to_string()),
    }
}
