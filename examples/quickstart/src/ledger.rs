//! Counts every read and write, and looks at whose rows came back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use futures_util::stream::{BoxStream, StreamExt as _};
use tenantry::prelude::*;

use crate::flight::{Airline, Flight, FlightId};
use crate::input::Timetable;

/// Knows from the file which airline each flight belongs to; the database is not asked.
#[derive(Debug)]
pub(crate) struct Ledger {
    owners: HashMap<FlightId, Airline>,
    reads: AtomicU64,
    writes: AtomicU64,
    foreign_rows: AtomicU64,
}

impl Ledger {
    pub(crate) fn new(timetables: &[Timetable]) -> Self {
        let owners = timetables.iter().flat_map(|timetable| {
            timetable
                .flights
                .iter()
                .map(|flight| (flight.id, timetable.airline))
        });
        Self {
            owners: owners.collect(),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            foreign_rows: AtomicU64::new(0),
        }
    }

    /// Returns a repository of `airline` that is watched.
    pub(crate) fn watch<R: Repository<Flight>>(
        &self,
        airline: Airline,
        inner: R,
    ) -> Watched<'_, R> {
        Watched {
            inner,
            airline,
            ledger: self,
        }
    }

    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    pub(crate) fn foreign_rows(&self) -> u64 {
        self.foreign_rows.load(Ordering::Relaxed)
    }
}

/// A repository around another one: each method counts, forwards, and looks at what came back.
///
/// A service wraps a repository in the same way, to cache, to measure or to audit.
#[derive(Debug)]
pub(crate) struct Watched<'l, R> {
    inner: R,
    airline: Airline,
    ledger: &'l Ledger,
}

impl<R> Watched<'_, R> {
    fn count_read(&self) {
        self.ledger.reads.fetch_add(1, Ordering::Relaxed);
    }

    fn count_write(&self) {
        self.ledger.writes.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a row that was handed out, changed or removed.
    fn touched(&self, id: &FlightId) {
        if self.ledger.owners.get(id) != Some(&self.airline) {
            self.ledger.foreign_rows.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl<R: Repository<Flight>> Repository<Flight> for Watched<'_, R> {
    fn tenant(&self) -> TenantId {
        self.inner.tenant()
    }

    async fn find(&self, id: &FlightId) -> Result<Option<Flight>> {
        self.count_read();
        let found = self.inner.find(id).await?;
        found.iter().for_each(|flight| self.touched(&flight.id));
        Ok(found)
    }

    async fn get_many(&self, ids: &[FlightId]) -> Result<Vec<Flight>> {
        self.count_read();
        let found = self.inner.get_many(ids).await?;
        found.iter().for_each(|flight| self.touched(&flight.id));
        Ok(found)
    }

    async fn exists(&self, id: &FlightId) -> Result<bool> {
        self.count_read();
        let exists = self.inner.exists(id).await?;
        if exists {
            self.touched(id);
        }
        Ok(exists)
    }

    async fn count(&self, filter: Filter<Flight>) -> Result<u64> {
        self.count_read();
        self.inner.count(filter).await
    }

    async fn list(&self, query: Query<Flight>) -> Result<Page<Flight>> {
        self.count_read();
        let page = self.inner.list(query).await?;
        page.items
            .iter()
            .for_each(|flight| self.touched(&flight.id));
        Ok(page)
    }

    fn stream(&self, query: Query<Flight>) -> BoxStream<'_, Result<Flight>> {
        self.count_read();
        let rows = self.inner.stream(query);
        rows.inspect(|row| row.iter().for_each(|flight| self.touched(&flight.id)))
            .boxed()
    }

    async fn insert(&self, flight: &mut Flight) -> Result<()> {
        self.count_write();
        self.inner.insert(flight).await?;
        self.touched(&flight.id);
        Ok(())
    }

    async fn insert_many(&self, flights: &mut [Flight]) -> Result<()> {
        self.count_write();
        self.inner.insert_many(flights).await?;
        flights.iter().for_each(|flight| self.touched(&flight.id));
        Ok(())
    }

    async fn update(&self, flight: &mut Flight) -> Result<()> {
        self.count_write();
        self.inner.update(flight).await?;
        self.touched(&flight.id);
        Ok(())
    }

    async fn delete_by_id(&self, id: &FlightId, expected: Option<Version>) -> Result<()> {
        self.count_write();
        self.inner.delete_by_id(id, expected).await?;
        self.touched(id);
        Ok(())
    }

    async fn upsert(&self, flight: &mut Flight) -> Result<()> {
        self.count_write();
        self.inner.upsert(flight).await?;
        self.touched(&flight.id);
        Ok(())
    }

    // These two tell how many rows they changed, and not which. Whether it was a foreign one shows
    // at the end, when every row of every airline is compared with the file.
    async fn update_where(
        &self,
        filter: Filter<Flight>,
        changes: Changes<Flight>,
        limit: u32,
    ) -> Result<u64> {
        self.count_write();
        self.inner.update_where(filter, changes, limit).await
    }

    async fn delete_where(&self, filter: Filter<Flight>, limit: u32) -> Result<u64> {
        self.count_write();
        self.inner.delete_where(filter, limit).await
    }

    async fn restore(&self, id: &FlightId) -> Result<()> {
        self.count_write();
        self.inner.restore(id).await?;
        self.touched(id);
        Ok(())
    }

    async fn purge(&self, deleted_before: DateTime<Utc>, limit: u32) -> Result<u64> {
        self.count_write();
        self.inner.purge(deleted_before, limit).await
    }
}
