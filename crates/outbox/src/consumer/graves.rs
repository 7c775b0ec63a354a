//! Whether the place of dead letters keeps them.

use tenantry_core::{Error, ErrorKind, Result};
use tokio::sync::Mutex;

use crate::publisher::Looked;

/// What was seen of the place of dead letters last.
pub(super) struct Seen {
    looked: Looked,
    /// Held by the one who looks: the others wait for what it sees.
    wrong: Mutex<Option<String>>,
}

impl Seen {
    /// Returns that it is as it should be by now.
    pub(super) fn good() -> Self {
        Self {
            looked: Looked::now(),
            wrong: Mutex::default(),
        }
    }

    /// Refuses a place that would lose what it is given; a look says what is wrong with it, and is asked for after a while,
    /// and again as long as something is.
    pub(super) async fn check(
        &self,
        look: impl Future<Output = Result<Option<String>>>,
    ) -> Result<()> {
        let mut wrong = self.wrong.lock().await;
        if self.looked.is_due() || wrong.is_some() {
            // Without an answer it is as it was.
            if let Ok(seen) = look.await {
                *wrong = seen;
            }
        }
        match &*wrong {
            Some(wrong) => {
                Err(Error::new(ErrorKind::InvalidSettings, "bury message")
                    .with_detail(wrong.clone()))
            }
            None => Ok(()),
        }
    }
}
