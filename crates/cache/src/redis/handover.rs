//! Going over to a new password, or a new token, while connections live on.

use std::sync::Arc;

use parking_lot::Mutex;
use tenantry_core::Secret;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::connection::{Connected, Lines};
use super::error::error;
use super::login::{Login, Watch};

const RENEW: &str = "show new token to redis";

/// Follows what connections were opened with, since the first of them stood.
#[derive(Default)]
pub(super) struct Handover {
    task: Mutex<Option<JoinHandle<()>>>,
    /// How many tokens have been shown.
    renewed: watch::Sender<u64>,
}

impl Handover {
    /// Begins to follow, if it is not done already: a task ends with its runtime.
    ///
    /// `before` is the number of the password before the connection was opened.
    pub(super) fn begin(&self, login: &Arc<Login>, lines: &Arc<Lines>, before: Option<u64>) {
        let Some(watch) = login.watch() else {
            return;
        };
        let mut task = self.task.lock();
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            let number = before.unwrap_or_else(|| watch.number());
            let (login, lines) = (Arc::clone(login), Arc::clone(lines));
            let renewed = self.renewed.clone();
            *task = Some(tokio::spawn(async move {
                if let Some(watch) = login.watch() {
                    follow(&login, watch, &lines, &renewed, number).await;
                }
            }));
        }
    }

    /// Tells when what listens has to be opened anew.
    pub(super) fn renewed(&self) -> watch::Receiver<u64> {
        self.renewed.subscribe()
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut() {
            task.abort();
        }
    }
}

async fn follow(
    login: &Login,
    watch: &Watch,
    lines: &Lines,
    renewed: &watch::Sender<u64>,
    mut number: u64,
) {
    loop {
        let current = watch.changed_from(number).await.current;
        number = current.number();
        if !watch.runs_out() {
            // Connections stand for as long as the server lets them: calls that are under way end on them.
            lines.forget_all();
            continue;
        }
        {
            // Whoever connects meanwhile would do so with the one before.
            let _connecting = lines.connecting.lock().await;
            for stripe in &lines.stripes {
                let connected = stripe.0.read().clone();
                if let Some(connected) = connected
                    && !shows(login, &connected, current.secret()).await
                {
                    stripe.forget(&connected.identity);
                }
            }
        }
        renewed.send_modify(|count| *count += 1);
    }
}

/// Shows a connection another token; calls that are under way on it go on.
async fn shows(login: &Login, connected: &Connected, token: &Secret) -> bool {
    let mut auth = redis::cmd("AUTH");
    if let Some(user) = login.info().redis_settings().username() {
        auth.arg(user);
    }
    auth.arg(token.expose());
    let mut connection = connected.connection.clone();
    let shown = auth.query_async::<()>(&mut connection).await;
    if let Err(cause) = &shown {
        tracing::warn!(
            target: "tenantry::cache",
            error = %error(RENEW, cause),
            "a connection does not take the new token, and is opened anew"
        );
    }
    shown.is_ok()
}
