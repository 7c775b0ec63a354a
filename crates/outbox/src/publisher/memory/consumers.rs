//! Consumers of this process: which are expected, which are there, and what becomes of a message that one is given.

use std::sync::Arc;

use futures_util::future::join_all;
use tenantry_core::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};

use crate::{Message, PublishError, PublishErrorKind};

/// How many messages wait for a consumer to look; those who publish wait for what becomes of each in any case.
const QUEUE: usize = 64;

/// A message for a consumer, and who waits for what becomes of it.
pub(crate) struct Handed {
    pub(crate) message: Message,
    pub(crate) waiting: oneshot::Sender<Handled>,
}

/// What became of a message, or why it was not handled.
pub(crate) type Handled = Result<(), Unhandled>;

/// Why a message was not handled.
#[derive(Debug, Clone)]
pub(crate) struct Unhandled {
    pub(crate) kind: PublishErrorKind,
    pub(crate) detail: Arc<str>,
}

/// A consumer that is to handle every message of its types before that counts as handed over.
#[derive(Clone)]
pub(super) struct Expected {
    name: Arc<str>,
    prefixes: Arc<[String]>,
    /// To the one who is there.
    queue: Option<mpsc::Sender<Handed>>,
}

impl Expected {
    pub(super) fn new(name: String, prefixes: Vec<String>) -> Self {
        Self {
            name: name.into(),
            prefixes: prefixes.into(),
            queue: None,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn hears(&self, message: &Message) -> bool {
        let mut prefixes = self.prefixes.iter();
        prefixes.any(|prefix| message.event_type().starts_with(&**prefix))
    }

    /// Lets a consumer take its place.
    pub(super) fn attend(&mut self) -> Result<mpsc::Receiver<Handed>> {
        if self.is_there() {
            return Err(Error::new(ErrorKind::Conflict, "start consumer")
                .with_subject(self.name.to_string())
                .with_detail("there is one of its name: stop it first"));
        }
        let (sender, receiver) = mpsc::channel(QUEUE);
        self.queue = Some(sender);
        Ok(receiver)
    }

    pub(super) fn is_there(&self) -> bool {
        self.queue.as_ref().is_some_and(|queue| !queue.is_closed())
    }

    async fn hand(&self, message: &Message) -> Result<(), PublishError> {
        let absent = |what: &str| {
            let detail = format!("the consumer {} {what}: it is waited for", self.name);
            PublishError::new(PublishErrorKind::Unavailable, detail)
        };
        let queue = self.queue.as_ref();
        let queue = queue.ok_or_else(|| absent("was not started"))?;
        let (waiting, handled) = oneshot::channel();
        let message = message.clone();
        let handed = queue.send(Handed { message, waiting }).await;
        handed.map_err(|_| absent("has ended"))?;
        let handled = handled.await.map_err(|_| absent("has ended"))?;
        handled.map_err(|Unhandled { kind, detail }| {
            PublishError::new(kind, format!("the consumer {} {detail}", self.name))
        })
    }
}

/// Gives a message to all who hear of it, and waits until each has said what has become of it: one that fails does not
/// keep it from another.
pub(super) async fn hand_to_all(
    consumers: &[Expected],
    message: &Message,
) -> Result<(), PublishError> {
    let hearing = consumers.iter().filter(|consumer| consumer.hears(message));
    let told = join_all(hearing.map(|consumer| consumer.hand(message))).await;
    let errors = told.into_iter().filter_map(Result::err);
    // Whoever may still handle it has the say: a dead letter comes to nobody by itself.
    match errors.min_by_key(|error| finality(error.kind())) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

const fn finality(kind: PublishErrorKind) -> u8 {
    match kind {
        PublishErrorKind::Unavailable => 0,
        PublishErrorKind::Refused => 1,
        PublishErrorKind::Poison => 2,
    }
}
