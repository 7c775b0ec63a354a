use std::any::Any;
use std::fmt;

use parking_lot::Mutex;

use crate::work::UnitOfWork;

/// What waits in a unit of work for its commit.
///
/// It is no part of the session, so that something can be added while a stream is open.
#[derive(Default)]
pub(crate) struct Deferred(Mutex<Vec<Box<dyn Any + Send>>>);

impl Deferred {
    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }

    pub(crate) fn truncate(&self, len: usize) {
        self.0.lock().truncate(len);
    }
}

impl fmt::Debug for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Deferred").field(&self.len()).finish()
    }
}

impl UnitOfWork {
    /// Keeps something until the commit, when a [`BeforeCommit`](crate::BeforeCommit) takes all of its
    /// type by [`take_deferred`](Self::take_deferred) and writes it together.
    ///
    /// What was kept since a savepoint goes with a rollback to it, and all of it with the unit of work. A
    /// commit before which nobody has taken it is refused.
    pub fn defer<T: Send + 'static>(&self, item: T) {
        self.deferred().0.lock().push(Box::new(item));
    }

    /// Takes what was kept of a type, in order.
    #[must_use]
    pub fn take_deferred<T: Send + 'static>(&self) -> Vec<T> {
        let mut deferred = self.deferred().0.lock();
        let (of_type, others): (Vec<_>, Vec<_>) =
            deferred.drain(..).partition(|item| item.is::<T>());
        *deferred = others;
        // None fails: all are of the type.
        let items = of_type.into_iter().filter_map(|item| item.downcast().ok());
        items.map(|item| *item).collect()
    }
}
