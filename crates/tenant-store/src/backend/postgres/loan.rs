use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, PgConnection, Postgres, SqlStr};
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep_until};

use super::error::{is_connection_loss, is_failed_transaction};

/// A connection on loan from the pool, maybe inside a transaction.
///
/// Dropped inside one, or before its server has answered, it is rolled back and waited for off the
/// caller's path, and goes back to the pool after that; dropped outside any runtime, it is closed,
/// and the server rolls back. The driver's own transaction panics there, and hands a connection on
/// as it is when the server has refused the message that begins it half way.
pub(super) struct Loan {
    /// `None` once it was given back.
    connection: Option<PoolConnection<Postgres>>,
    in_transaction: bool,
    /// True while the server owes an answer.
    busy: bool,
    /// True once the connection is to be closed.
    closing: bool,
    alarm: Alarm,
}

impl Loan {
    pub(super) const fn new(connection: PoolConnection<Postgres>, patience: Patience) -> Self {
        Self {
            connection: Some(connection),
            in_transaction: false,
            busy: false,
            closing: false,
            alarm: Alarm::new(patience),
        }
    }

    /// Returns the connection, to ask the server something, and what limits the wait for the
    /// answer; an error once it was given back.
    pub(super) fn ask(&mut self) -> Result<(&mut PgConnection, &mut Alarm), sqlx::Error> {
        self.busy = true;
        match self.connection.as_deref_mut() {
            Some(connection) => Ok((connection, &mut self.alarm)),
            None => Err(sqlx::Error::PoolClosed),
        }
    }

    /// Says that the server has answered, and with what.
    pub(super) fn answered<T>(&mut self, answer: &Result<T, sqlx::Error>) {
        self.busy = false;
        if let Err(error) = answer {
            self.take_note(error);
        }
    }

    /// Begins a transaction with one message; if that fails, the connection is closed.
    ///
    /// Dropped half way, what has begun is rolled back.
    pub(super) async fn begin(mut self, statement: SqlStr) -> Result<Self, sqlx::Error> {
        self.in_transaction = true;
        let outcome = self.short(statement).await;
        if outcome.is_err() {
            self.close();
        }
        outcome.map(|()| self)
    }

    /// Runs a statement that the server answers at once.
    pub(super) async fn short(&mut self, statement: SqlStr) -> Result<(), sqlx::Error> {
        let (connection, alarm) = self.ask()?;
        let answer = sqlx::raw_sql(statement).execute(connection);
        let outcome = alarm.short(answer).await;
        self.answered(&outcome);
        outcome.map(drop)
    }

    /// Commits. Dropped half way, what becomes of the transaction is not known.
    ///
    /// Until the server says that it is done, the transaction may be open: COMMIT may not have been
    /// sent. So whatever else happens a ROLLBACK follows, of which a server that has committed takes
    /// no more notice than a warning in its log.
    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        let (connection, alarm) = self.ask()?;
        let answer = sqlx::raw_sql("COMMIT").execute(connection);
        let outcome = alarm.statement(answer).await;
        self.answered(&outcome);
        if outcome.is_ok() {
            self.in_transaction = false;
        }
        outcome.map(drop)
    }

    /// Rolls back and waits for it.
    pub(super) async fn rollback(mut self) -> Result<(), sqlx::Error> {
        // What a statement still had to say whose caller is gone is of no interest any more, and
        // must not be taken for the answer to this one.
        if let Err(error) = self.settle().await
            && is_connection_loss(&error)
        {
            return Err(error);
        }
        let outcome = self.short(SqlStr::from_static("ROLLBACK")).await;
        // Even if it was refused: then nobody knows what state the connection is in.
        self.in_transaction = false;
        if outcome.is_err() {
            self.close();
        }
        outcome
    }

    /// Waits for the answer that a dropped caller no longer waits for; an error is its statement's.
    pub(super) async fn settle(&mut self) -> Result<(), sqlx::Error> {
        if !self.busy {
            return Ok(());
        }
        let (connection, alarm) = self.ask()?;
        let outcome = alarm.statement(connection.ping()).await;
        self.answered(&outcome);
        outcome
    }

    /// Closes the connection if an error says that it is of no more use: the pool would ask it
    /// whether it lives, and wait for the answer.
    fn take_note(&mut self, error: &sqlx::Error) {
        if is_connection_loss(error) || !self.in_transaction && is_failed_transaction(error) {
            self.close();
        }
    }

    fn close(&mut self) {
        self.in_transaction = false;
        self.closing = true;
        if let Some(connection) = &mut self.connection {
            connection.close_on_drop();
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        let Ok(runtime) = Handle::try_current() else {
            // The pool gives a connection back in a task; there is none here.
            drop(connection.detach());
            return;
        };
        if self.closing {
            // By the driver, which gives it five seconds.
            return;
        }
        if !self.in_transaction && !self.busy {
            // Left to itself the driver asks the connection whether it lives, and waits for the
            // answer without a limit: whatever is on its way back when a network falls silent would
            // be missing from the pool until TCP gives up.
            if let Some(limit) = self.alarm.patience.short {
                let returned = connection.return_to_pool();
                runtime.spawn(async move { drop(tokio::time::timeout(limit, returned).await) });
            }
            return;
        }
        let Self {
            in_transaction,
            busy,
            alarm: Alarm { patience, .. },
            ..
        } = *self;
        runtime.spawn(async move {
            // A loan from here on only: a runtime that is shutting down drops this unrun, and the
            // loan would come here again.
            let mut left = Self::new(connection, patience);
            (left.in_transaction, left.busy) = (in_transaction, busy);
            // Whatever comes of it, the connection is closed if it failed.
            let _ = match in_transaction {
                true => left.rollback().await,
                false => left.settle().await,
            };
        });
    }
}

/// How long the server may owe an answer before its connection is given up.
///
/// A network that swallows packets, or a server that is frozen, sends no error: without a limit a
/// call would wait until TCP gives up, a quarter of an hour later.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For what the server does at once: begin, savepoints, rollback.
    short: Option<Duration>,
    /// For a statement, which the server itself ends at its time-out.
    statement: Option<Duration>,
}

impl Patience {
    /// Takes the silence that is borne, and the time-out of statements on the server; without
    /// that, nobody knows how long a statement may take.
    pub(super) fn new(silence: Option<Duration>, statement_timeout: Option<Duration>) -> Self {
        Self {
            short: silence,
            statement: silence
                .zip(statement_timeout)
                .and_then(|(silence, timeout)| silence.checked_add(timeout)),
        }
    }
}

/// Rings when the server owes an answer for too long.
///
/// One timer serves a loan from its first wait to its last: to set one wakes the thread that
/// watches the clock, at the price of a tenth of a short statement. So it is set for the first
/// wait, and when it rings early for a later one, it is set again.
pub(super) struct Alarm {
    patience: Patience,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    const fn new(patience: Patience) -> Self {
        Self {
            patience,
            timer: None,
        }
    }

    /// Waits for the answer to a statement.
    pub(super) async fn statement<T>(
        &mut self,
        answer: impl Future<Output = Result<T, sqlx::Error>> + Send,
    ) -> Result<T, sqlx::Error> {
        self.within(self.patience.statement, answer).await
    }

    /// Waits for the answer to what the server does at once.
    pub(super) async fn short<T>(
        &mut self,
        answer: impl Future<Output = Result<T, sqlx::Error>> + Send,
    ) -> Result<T, sqlx::Error> {
        self.within(self.patience.short, answer).await
    }

    async fn within<T>(
        &mut self,
        limit: Option<Duration>,
        answer: impl Future<Output = Result<T, sqlx::Error>> + Send,
    ) -> Result<T, sqlx::Error> {
        let Some(limit) = limit else {
            return answer.await;
        };
        let mut answer = std::pin::pin!(answer);
        let mut deadline = None;
        poll_fn(|context| {
            if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            // What is there already, such as a row behind another, is not waited for.
            let deadline = *deadline.get_or_insert_with(|| in_time(limit));
            ready!(self.poll_until(deadline, context));
            Poll::Ready(Err(sqlx::Error::Io(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the server gave no answer within {limit:?}"),
            ))))
        })
        .await
    }

    fn poll_until(&mut self, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(context).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// Returns the time when a limit is over; one beyond all clocks is some decades away.
fn in_time(limit: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(limit)
        .unwrap_or_else(|| now + Duration::from_secs(30 * 365 * 24 * 60 * 60))
}

/// Returns whether the server owed an answer for too long.
pub(super) fn is_silence(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(cause) if cause.kind() == io::ErrorKind::TimedOut)
}
