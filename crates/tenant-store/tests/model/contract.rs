//! The contract of a repository and of a unit of work, as naive as it can be written.
//!
//! Rows stand in one map for each tenant. Whatever the backends do about transactions, indexes,
//! collations and NULLs, they must answer what is answered here.

use std::collections::BTreeMap;

use tenantry_store::{Deleted, ErrorKind, Version};

use super::field::{Condition, Order};
use super::operation::{Modelled, Operation, Outcome};

/// The rows of all tenants.
#[derive(Debug, Clone)]
pub(crate) struct Contract<A: Modelled> {
    rules: Rules,
    tenants: Vec<BTreeMap<A::Id, Stored<A>>>,
}

#[derive(Debug, Clone)]
struct Stored<A> {
    row: A,
    marked: bool,
}

/// Rules that can be switched off, to show that the comparison would notice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) identifiers_are_of_a_tenant: bool,
    pub(crate) stale_writes_conflict: bool,
    pub(crate) marked_rows_are_hidden: bool,
    pub(crate) ties_follow_the_last_key: bool,
    pub(crate) rollback_gives_up: bool,
}

pub(crate) const RULES: Rules = Rules {
    identifiers_are_of_a_tenant: true,
    stale_writes_conflict: true,
    marked_rows_are_hidden: true,
    ties_follow_the_last_key: true,
    rollback_gives_up: true,
};

/// Why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// An answer as good as any: a unit of work goes on.
    Answer(ErrorKind),
    /// An error of the database: it ends a unit of work.
    Failure(ErrorKind),
}

impl Refusal {
    pub(crate) fn kind(self) -> ErrorKind {
        match self {
            Self::Answer(kind) | Self::Failure(kind) => kind,
        }
    }
}

type Answer<A> = Result<Outcome<A>, Refusal>;

impl<A: Modelled> Contract<A> {
    pub(crate) fn new(rules: Rules, tenants: usize) -> Self {
        Self {
            rules,
            tenants: vec![BTreeMap::new(); tenants],
        }
    }

    /// Returns the version of a row, marked or not.
    pub(crate) fn version_of(&self, tenant: usize, id: &A::Id) -> Version {
        self.tenants[tenant]
            .get(id)
            .map_or(Version::NEW, |stored| stored.row.version())
    }

    /// Returns the rows that a query of all pages answers.
    pub(crate) fn list(
        &self,
        tenant: usize,
        condition: &Condition<A>,
        order: &Order<A>,
        deleted: Deleted,
    ) -> Vec<A> {
        let mut rows: Vec<A> = self.tenants[tenant]
            .values()
            .filter(|stored| match deleted {
                Deleted::Exclude => !self.is_hidden(stored),
                Deleted::Only => stored.marked,
                _ => true,
            })
            .map(|stored| stored.row.clone())
            .filter(|row| (condition.holds)(row))
            .collect();
        let ties = self.rules.ties_follow_the_last_key;
        rows.sort_by(|left, right| order.compare(left, right, ties));
        rows
    }

    /// Answers a call, which changes everything or, refused, nothing.
    pub(crate) fn answer(&mut self, tenant: usize, operation: &Operation<A>) -> Answer<A> {
        let before = self.tenants[tenant].clone();
        let answer = self.answer_or_half_done(tenant, operation);
        if answer.is_err() {
            self.tenants[tenant] = before;
        }
        answer
    }

    fn answer_or_half_done(&mut self, tenant: usize, operation: &Operation<A>) -> Answer<A> {
        match operation.clone() {
            Operation::Find(id) => Ok(Outcome::Row(self.find(tenant, &id))),
            Operation::GetMany(mut ids) => {
                ids.sort();
                ids.dedup();
                Ok(Outcome::Rows(
                    ids.iter().filter_map(|id| self.find(tenant, id)).collect(),
                ))
            }
            Operation::Exists(id) => Ok(Outcome::Flag(self.find(tenant, &id).is_some())),
            Operation::Count(condition) => Ok(Outcome::Count(
                self.ids_where(tenant, &condition).len() as u64,
            )),
            Operation::List(condition, order, deleted, limit) => {
                let mut rows = self.list(tenant, &condition, &order, deleted);
                let more = rows.len() > limit as usize;
                rows.truncate(limit as usize);
                Ok(Outcome::Page(rows, more))
            }
            Operation::Stream(condition, order, deleted) => Ok(Outcome::Rows(
                self.list(tenant, &condition, &order, deleted),
            )),
            Operation::Insert(row) => Ok(Outcome::Written(vec![self.insert(tenant, row)?])),
            Operation::InsertMany(rows) => {
                let rows = rows.into_iter().map(|row| self.insert(tenant, row));
                rows.collect::<Result<_, _>>().map(Outcome::Written)
            }
            Operation::Update(row) => self.update(tenant, row),
            Operation::Upsert(row) if !row.version().is_new() => self.update(tenant, row),
            Operation::Upsert(row) => match self.tenants[tenant].get(row.id()) {
                None => Ok(Outcome::Written(vec![self.insert(tenant, row)?])),
                Some(stored) if stored.marked => Err(Refusal::Answer(ErrorKind::Conflict)),
                Some(stored) => {
                    let version = stored.row.version().next();
                    self.store(tenant, row.at_version(version))
                }
            },
            Operation::Delete(id, expected) => {
                self.check_version(tenant, &id, expected)?;
                self.delete(tenant, &id);
                Ok(Outcome::Done)
            }
            Operation::UpdateWhere(condition, changes, limit) => {
                let ids = self
                    .ids_where(tenant, &condition)
                    .into_iter()
                    .take(limit as usize);
                let mut count = 0;
                let mut all_fit = true;
                for id in ids {
                    count += 1;
                    self.change(tenant, &id, |row| {
                        all_fit &= changes.iter().all(|change| (change.apply)(row));
                    });
                }
                if !all_fit {
                    return Err(Refusal::Failure(ErrorKind::InvalidValue));
                }
                self.check_unique(tenant)?;
                Ok(Outcome::Count(count))
            }
            Operation::DeleteWhere(condition, limit) => {
                let ids = self
                    .ids_where(tenant, &condition)
                    .into_iter()
                    .take(limit as usize);
                let count = ids.map(|id| self.delete(tenant, &id)).count();
                Ok(Outcome::Count(count as u64))
            }
            Operation::Restore(_) | Operation::Purge if !A::DESCRIPTOR.is_soft_deleted() => {
                Err(Refusal::Answer(ErrorKind::Unsupported))
            }
            Operation::Restore(id) => {
                match self.tenants[tenant]
                    .get_mut(&id)
                    .filter(|stored| stored.marked)
                {
                    None => Err(Refusal::Answer(ErrorKind::NotFound)),
                    Some(stored) => {
                        stored.marked = false;
                        self.change(tenant, &id, |_| {});
                        Ok(Outcome::Done)
                    }
                }
            }
            Operation::Purge => {
                let rows = &mut self.tenants[tenant];
                let before = rows.len();
                rows.retain(|_, stored| !stored.marked);
                Ok(Outcome::Count((before - rows.len()) as u64))
            }
        }
    }

    fn is_hidden(&self, stored: &Stored<A>) -> bool {
        stored.marked && self.rules.marked_rows_are_hidden
    }

    fn find(&self, tenant: usize, id: &A::Id) -> Option<A> {
        let stored = self.tenants[tenant].get(id)?;
        (!self.is_hidden(stored)).then(|| stored.row.clone())
    }

    /// Returns the identifiers, smallest first.
    fn ids_where(&self, tenant: usize, condition: &Condition<A>) -> Vec<A::Id> {
        let rows = self.tenants[tenant]
            .values()
            .filter(|stored| !self.is_hidden(stored));
        rows.filter(|stored| (condition.holds)(&stored.row))
            .map(|stored| *stored.row.id())
            .collect()
    }

    fn insert(&mut self, tenant: usize, row: A) -> Result<A, Refusal> {
        let mut holders = self.tenants.iter().enumerate();
        if holders.any(|(holder, rows)| {
            rows.contains_key(row.id())
                && (holder == tenant || !self.rules.identifiers_are_of_a_tenant)
        }) {
            return Err(Refusal::Failure(ErrorKind::AlreadyExists));
        }
        let row = row.at_version(Version::new(1));
        self.store(tenant, row.clone())?;
        Ok(row)
    }

    fn update(&mut self, tenant: usize, row: A) -> Answer<A> {
        self.check_version(tenant, row.id(), Some(row.version()))?;
        let version = row.version().next();
        self.store(tenant, row.at_version(version))
    }

    fn check_version(
        &self,
        tenant: usize,
        id: &A::Id,
        expected: Option<Version>,
    ) -> Result<(), Refusal> {
        let stored = self.tenants[tenant].get(id);
        match (stored, expected) {
            (None, _) => Err(Refusal::Answer(ErrorKind::NotFound)),
            (Some(stored), None) if stored.marked => Err(Refusal::Answer(ErrorKind::NotFound)),
            (Some(stored), Some(version))
                if stored.marked
                    || (stored.row.version() != version && self.rules.stale_writes_conflict) =>
            {
                Err(Refusal::Answer(ErrorKind::Conflict))
            }
            _ => Ok(()),
        }
    }

    fn store(&mut self, tenant: usize, row: A) -> Answer<A> {
        self.tenants[tenant].insert(
            *row.id(),
            Stored {
                row: row.clone(),
                marked: false,
            },
        );
        self.check_unique(tenant)?;
        Ok(Outcome::Written(vec![row]))
    }

    /// Marked rows keep their keys.
    fn check_unique(&self, tenant: usize) -> Result<(), Refusal> {
        let keys = self.tenants[tenant]
            .values()
            .filter_map(|stored| stored.row.unique_key());
        let mut keys: Vec<&str> = keys.collect();
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        if keys.len() == count {
            Ok(())
        } else {
            Err(Refusal::Failure(ErrorKind::AlreadyExists))
        }
    }

    /// Changes a row and raises its version.
    fn change(&mut self, tenant: usize, id: &A::Id, change: impl FnOnce(&mut A)) {
        if let Some(stored) = self.tenants[tenant].get_mut(id) {
            change(&mut stored.row);
            stored.row.set_version(stored.row.version().next());
        }
    }

    fn delete(&mut self, tenant: usize, id: &A::Id) {
        if A::DESCRIPTOR.is_soft_deleted() {
            self.change(tenant, id, |_| {});
            if let Some(stored) = self.tenants[tenant].get_mut(id) {
                stored.marked = true;
            }
        } else {
            self.tenants[tenant].remove(id);
        }
    }
}

/// A unit of work of one tenant over the contract.
#[derive(Debug)]
pub(crate) struct Work<A: Modelled> {
    tenant: usize,
    inside: Contract<A>,
    /// What there was at each savepoint that is set, outermost first.
    savepoints: Vec<(usize, Contract<A>)>,
    next_savepoint: usize,
    ended: bool,
}

impl<A: Modelled> Work<A> {
    pub(crate) fn begin(outside: &Contract<A>, tenant: usize) -> Self {
        let inside = outside.clone();
        Self {
            tenant,
            inside,
            savepoints: Vec::new(),
            next_savepoint: 0,
            ended: false,
        }
    }

    pub(crate) fn version_of(&self, id: &A::Id) -> Version {
        self.inside.version_of(self.tenant, id)
    }

    pub(crate) fn answer(&mut self, operation: &Operation<A>) -> Result<Outcome<A>, ErrorKind> {
        // What no statement is needed for is refused first.
        let unsupported = matches!(operation, Operation::Restore(_) | Operation::Purge)
            && !A::DESCRIPTOR.is_soft_deleted();
        if self.ended && !unsupported {
            return Err(ErrorKind::WorkAborted);
        }
        let answer = self.inside.answer(self.tenant, operation);
        self.ended |= matches!(answer, Err(Refusal::Failure(_)));
        answer.map_err(Refusal::kind)
    }

    /// Sets a savepoint and returns its number.
    pub(crate) fn savepoint(&mut self) -> Result<usize, ErrorKind> {
        if self.ended {
            return Err(ErrorKind::WorkAborted);
        }
        let number = self.next_savepoint;
        self.next_savepoint += 1;
        self.savepoints.push((number, self.inside.clone()));
        Ok(number)
    }

    pub(crate) fn rollback_to(&mut self, number: usize) -> Result<(), ErrorKind> {
        let place = self.place_of(number)?;
        self.savepoints.truncate(place + 1);
        if self.inside.rules.rollback_gives_up {
            self.inside = self.savepoints[place].1.clone();
        }
        self.ended = false;
        Ok(())
    }

    pub(crate) fn release(&mut self, number: usize) -> Result<(), ErrorKind> {
        let place = self.place_of(number)?;
        if self.ended {
            return Err(ErrorKind::WorkAborted);
        }
        self.savepoints.truncate(place);
        Ok(())
    }

    pub(crate) fn commit(self, outside: &mut Contract<A>) -> Result<(), ErrorKind> {
        if self.ended {
            return Err(ErrorKind::WorkAborted);
        }
        *outside = self.inside;
        Ok(())
    }

    pub(crate) fn rollback(self, outside: &mut Contract<A>) {
        if !self.inside.rules.rollback_gives_up {
            *outside = self.inside;
        }
    }

    fn place_of(&self, number: usize) -> Result<usize, ErrorKind> {
        let mut numbers = self.savepoints.iter().map(|(number, _)| *number);
        numbers
            .position(|set| set == number)
            .ok_or(ErrorKind::InvalidInput)
    }
}
